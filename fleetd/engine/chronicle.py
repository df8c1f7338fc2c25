"""What happened to fleetd itself, as lines of history: so ``fleetd history`` answers "what changed?".

Started and stopped, the config reloaded and with which difference, the provider lost and back, the listing not
believed and believed again. Written after a pass, and never the reason that one fails.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import structlog

from fleetd.engine.ports import Clock
from fleetd.model.errors import StoreError
from fleetd.model.journal import HistoryEntry
from fleetd.model.lists import some
from fleetd.model.reasons import Outcome
from fleetd.store.port import Journal

log = structlog.get_logger(__name__)

MOST_WAITING = 100
"""Lines kept for a journal that cannot be written; then the oldest go."""
MOST_DIFFERENCES = 20
"""Differences that a line of a reload names."""


class Chronicle:
    """Remembers what was written last, and writes what is new."""

    def __init__(self, journal: Journal, clock: Clock, command: str) -> None:
        self._journal = journal
        self._clock = clock
        self._command = command
        self._waiting: list[HistoryEntry] = []
        self._provider = "ok"
        self._believed = True

    def started(self, version: str) -> None:
        """The process has begun."""
        self._note("daemon", "started", f"fleetd {self._command}", words=version)

    def stopped(self) -> None:
        """It ends, and has the time to say so."""
        self._note("daemon", "stopped", f"fleetd {self._command}")

    def reloaded(self, differences: Mapping[str, Sequence[str]]) -> None:
        """The config was read anew; ``differences``: lines by fleet, under "" what is about everything."""
        for fleet, lines in (differences or {"": ["nothing is different"]}).items():
            self._note("config", "reloaded", "config", fleet=fleet, words=some(lines, MOST_DIFFERENCES, "; "))

    def rejected(self, why: str) -> None:
        """A config was read and has faults: the old one stays in force."""
        self._note("config", "rejected", "config", error=why)

    def provider(self, word: str, error: str | None) -> None:
        """How the provider does: ok, unavailable or key_refused, and with which error."""
        if word != self._provider:
            self._provider = word
            self._note("provider", "recovered" if word == "ok" else word, "provider", error=error)

    def looked(self, problem: str | None) -> None:
        """Whether a pass believed what it saw; ``problem``: why not."""
        if (problem is None) != self._believed:
            self._believed = problem is None
            self._note("listing", "believed" if self._believed else "not_believed", "listing", error=problem)

    async def save(self) -> None:
        """Write what waits. Where the journal cannot be written it goes on waiting."""
        try:
            while self._waiting:
                entry = self._waiting[0]
                await self._journal.append_history(entry)
                self._waiting = [other for other in self._waiting if other is not entry]
        except StoreError as error:
            log.error("journal.failed", error=str(error))  # noqa: TRY400 - no traceback wanted

    def _note(
        self,
        verb: str,
        reason: str,
        name: str,
        *,
        fleet: str = "",
        words: str | None = None,
        error: str | None = None,
    ) -> None:
        entry = HistoryEntry(
            ts=self._clock.now(),
            fleet=fleet,
            machine=None,
            name=name,
            verb=verb,
            reason=reason,
            outcome=Outcome.OBSERVED,
            error=error,
            evidence=words,
        )
        self._waiting = [*self._waiting, entry][-MOST_WAITING:]
