"""Writes one history entry when a parking window closes: what it parked, and what it kept up and why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import structlog

from fleetd.model.journal import HistoryEntry
from fleetd.model.lists import some
from fleetd.model.plan import Plan, Skip
from fleetd.model.reasons import Outcome, Reason, Verb
from fleetd.store.port import Journal
from fleetd.words.quotes import clause
from fleetd.words.reasons import SENTENCES

log = structlog.get_logger(__name__)

NAMED = 12
"""Machines that were not parked and are named with their reason."""


@dataclass(slots=True)
class _Night:
    """One fleet's open window, as the latest pass that could see saw it."""

    window: str
    up: int
    down: int
    kept: list[Skip]


class Nightly:
    """Remembers why machines are not parked while a window is open, and writes it down when that closes."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._nights: dict[str, _Night] = {}

    async def passed(self, plan: Plan, skips: Iterable[Skip]) -> None:
        """Take in a pass; one that could not see adds nothing."""
        if not plan.complete:
            return
        stops = [s for s in skips if s.verb is Verb.STOP]
        for fleet, view in plan.fleets.items():
            night = self._nights.get(fleet)
            if night is not None and (not view.parked or view.window != night.window):
                del self._nights[fleet]
                await self._closed(plan, fleet, night)
            if view.parked and view.window is not None:
                kept = [s for s in stops if s.fleet == fleet]
                self._nights[fleet] = _Night(view.window, view.up, view.down, kept)
        for fleet in set(self._nights) - set(plan.fleets):
            del self._nights[fleet]

    async def _closed(self, plan: Plan, fleet: str, night: _Night) -> None:
        log.info("window.was_closed", fleet=fleet, window=night.window, up=night.up, down=night.down)
        await self._journal.append_history(
            HistoryEntry(
                ts=plan.at,
                fleet=fleet,
                machine=None,
                name=night.window,
                verb="window",
                reason=Reason.WINDOW_PARKED,
                outcome=Outcome.OBSERVED,
                evidence=_words(night),
            )
        )


def _words(night: _Night) -> str:
    words = f"closed with {night.down} off and {night.up} up"
    kept = [f"{s.name}: {SENTENCES[s.reason]}{_said(s.detail)}" for s in night.kept]
    return f"{words}; not parked: {some(kept, NAMED, '; ')}" if kept else words


def _said(detail: str) -> str:
    return f" ({clause(detail)})" if detail else ""
