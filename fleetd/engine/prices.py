"""Prices by machine type, learnt anew from what the provider bills with every policy check."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal

import structlog

from fleetd.cloud.port import Cloud
from fleetd.engine.notes import read_note
from fleetd.engine.observed_prices import ObservedPrices
from fleetd.model.bounds import MOST_MONEY
from fleetd.model.errors import CloudError
from fleetd.model.machine import Machine
from fleetd.planner.rates import differ, higher
from fleetd.store.port import Journal

log = structlog.get_logger(__name__)

_NOTE = "prices"
ASKED_OF_A_TYPE = 3
"""Machines of one type that a check asks about, at the most, until one of them has a price."""


class Prices:
    """Dollars an hour by machine type: the higher of what the config says and what the provider bills.

    A cap works with these, so a price that went up must be seen, and one that is too low in the config must not
    count.
    """

    def __init__(self, cloud: Cloud, journal: Journal, tariffs: ObservedPrices) -> None:
        self._cloud = cloud
        self._journal = journal
        self._tariffs = tariffs
        self._learnt: dict[str, Decimal] = {}
        self._turn: dict[str, int] = {}
        """By machine type: which of its machines is asked about first."""
        self._said: dict[str, tuple[Decimal, Decimal]] = {}
        """By machine type: the two prices that were reported as apart."""

    async def load(self) -> None:
        """Read what an earlier process learnt."""
        self._learnt = await read_note(self._journal, _NOTE, _read, {})

    def known(self, configured: Mapping[str, Decimal]) -> dict[str, Decimal]:
        """All prices above 0."""
        kinds = sorted({*self._learnt, *configured})
        found = {kind: higher(self._learnt.get(kind), configured.get(kind)) for kind in kinds}
        return {kind: price for kind, price in found.items() if price is not None}

    async def learn(
        self,
        machines: Sequence[Machine],
        configured: Mapping[str, Decimal],
        now: datetime,
        *,
        billed: Mapping[str, Decimal] | None = None,
        keep: bool = True,
    ) -> None:
        """Take the rate of every type among ``machines``: as they say, else by asking about some of them.

        A provider that does not tell, or tells 0, changes nothing. Where a type's machines have several rates the
        highest counts, ``billed`` (by machine id, of their last bills) among them. Without ``keep`` nothing is
        written and nothing reported.
        """
        before = dict(self._learnt)
        for kind in sorted({m.machine_type for m in machines if m.machine_type is not None}):
            of_kind = sorted((m for m in machines if m.machine_type == kind), key=lambda m: m.id)
            for machine in of_kind:
                self._tariffs.saw(kind, machine.hourly_rate, now)
            told = ((billed or {}).get(m.id) for m in of_kind)
            rate = higher(*(m.hourly_rate for m in of_kind)) or higher(await self._ask(kind, of_kind, now), *told)
            if rate is not None and rate != self._learnt.get(kind):
                if keep:
                    before_text = _text(self._learnt.get(kind))
                    log.info("price.learnt", machine_type=kind, hourly=str(rate), before=before_text)
                self._learnt[kind] = rate
        if not keep:
            return
        if self._learnt != before:
            prices = {k: str(v) for k, v in sorted(self._learnt.items())}
            await self._journal.put_note(_NOTE, json.dumps(prices))
        self._compare(configured)

    def _compare(self, configured: Mapping[str, Decimal]) -> None:
        """Warn of every configured price that is more than a tenth away from the provider's, once for each pair."""
        apart = {
            kind: (price, self._learnt[kind])
            for kind, price in configured.items()
            if kind in self._learnt and differ(price, self._learnt[kind])
        }
        for kind, (price, learnt) in apart.items():
            if self._said.get(kind) != (price, learnt):
                log.warning(
                    "price.differed",
                    machine_type=kind,
                    configured=str(price),
                    hourly=str(learnt),
                    used=str(max(price, learnt)),
                )
        self._said = apart

    async def _ask(self, kind: str, machines: Sequence[Machine], now: datetime) -> Decimal | None:
        """Ask about a few of them until one tells; about others the next time."""
        able = self._cloud.capabilities
        if not able.utilization or able.utilization_computed:
            return None
        first = self._turn.get(kind, 0) % len(machines)
        self._turn[kind] = first + 1
        for machine in (*machines[first:], *machines[:first])[:ASKED_OF_A_TYPE]:
            try:
                rate = (await self._cloud.utilization(machine.id, f"{now:%Y-%m}")).hourly_rate
            except CloudError as error:
                log.debug("check.look_failed", machine=machine.id, error=str(error))
                continue
            if higher(rate) is not None:
                self._tariffs.saw(kind, rate, now)
                return rate
        return None


def _read(note: Mapping[str, object]) -> dict[str, Decimal]:
    """Those that somebody could be billed; the others are learnt anew."""
    told = {str(kind): Decimal(str(price)) for kind, price in note.items()}
    return {kind: price for kind, price in told.items() if higher(price) is not None and price <= MOST_MONEY}


def _text(price: Decimal | None) -> str | None:
    return None if price is None else str(price)
