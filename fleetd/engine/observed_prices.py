"""The prices that the provider was seen to ask, by machine type, with the time at which each was seen first and last.

A bill names one price for a whole month, the present one. What was used before anybody asked is computed with these.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

import msgspec

from fleetd.engine.notes import read_note
from fleetd.model.bounds import MOST_MONEY
from fleetd.model.instant import Instant
from fleetd.planner.amounts import PriceHistory, PriceSpan
from fleetd.store.port import Journal

_NOTE = "tariffs"
KEPT = 30
"""Prices of one machine type that are remembered: those seen last."""
REFRESHED = timedelta(minutes=10)
"""How old the last sight of a price may grow in the journal."""


class ObservedPrices:
    """Prices seen. Dollars an hour."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._seen: dict[str, dict[Decimal, PriceSpan]] = {}
        self._news = False

    @property
    def history(self) -> PriceHistory:
        """All of them."""
        return {kind: tuple(spans.values()) for kind, spans in self._seen.items()}

    async def load(self) -> None:
        """Read what an earlier process saw."""
        self._seen = _by_price(await read_observed_prices(self._journal))

    def saw(self, machine_type: str | None, price: Decimal | None, at: datetime) -> None:
        """Take note of a price. One of 0 is none."""
        if machine_type is None or price is None or not 0 < price <= MOST_MONEY:
            return
        spans = self._seen.setdefault(machine_type, {})
        known = spans.get(price)
        if known is None or at < known.first:
            spans[price] = PriceSpan(price, at, at if known is None else known.last)
            self._news = True
        elif at > known.last:
            self._news = self._news or at - known.last >= REFRESHED
            spans[price] = replace(known, last=at)
        while len(spans) > KEPT:
            del spans[min(spans.values(), key=lambda s: s.last).price]

    async def save(self) -> None:
        """Write down what is new."""
        if not self._news:
            return
        self._news = False
        note = {
            kind: [[str(s.price), s.first.isoformat(), s.last.isoformat()] for s in spans.values()]
            for kind, spans in sorted(self._seen.items())
        }
        await self._journal.put_note(_NOTE, json.dumps(note))


async def read_observed_prices(journal: Journal) -> PriceHistory:
    """What the journal has of prices seen."""
    return await read_note(journal, _NOTE, _read, {})


def _read(note: Mapping[str, object]) -> PriceHistory:
    told = msgspec.convert(note, dict[str, list[tuple[Decimal, Instant, Instant]]])
    spans = {kind: tuple(PriceSpan(*cells) for cells in rows) for kind, rows in told.items()}
    if not all(0 < span.price <= MOST_MONEY for some in spans.values() for span in some):
        raise ValueError(note)
    return spans


def _by_price(history: PriceHistory) -> dict[str, dict[Decimal, PriceSpan]]:
    return {kind: {s.price: s for s in spans} for kind, spans in history.items()}
