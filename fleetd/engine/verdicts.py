"""The one verdict on an intent: written, counted, and remembered so that nothing gives it a second one."""

from __future__ import annotations

from datetime import datetime

from fleetd.engine.ports import Meter
from fleetd.model.journal import Intent
from fleetd.model.reasons import Outcome
from fleetd.store.port import Journal

REMEMBERED = 10_000
"""Verdicts that are remembered: far more than are given during one pass."""


class Verdicts:
    """Closes intents. Whoever gives a verdict does so here."""

    def __init__(self, journal: Journal, meter: Meter) -> None:
        self._journal = journal
        self._meter = meter
        self._given: dict[int, None] = {}
        """Intents that have theirs, the newest last: a pass may hold one that was open when it began."""

    async def give(self, intent: Intent, outcome: Outcome, error: str | None, at: datetime) -> bool:
        """Close an intent; whether it was open. The first verdict stands, and it alone is counted."""
        first = await self._journal.close_intent(intent.id, at=at, outcome=outcome, error=error)
        self._given[intent.id] = None
        while len(self._given) > REMEMBERED:
            del self._given[next(iter(self._given))]
        if first:
            self._meter.action(fleet=intent.fleet, verb=intent.verb, result=outcome)
        return first

    def given(self, intent_id: int) -> bool:
        """Whether an intent has its verdict from this process."""
        return intent_id in self._given
