"""How long history is kept: by age and by number, so that the journal's size is bounded."""

from __future__ import annotations

from datetime import datetime, timedelta

import anyio
import structlog

from fleetd.model.journal import CHRONICLED
from fleetd.store.port import Journal

log = structlog.get_logger(__name__)

KEEP = timedelta(days=90)
"""History, closed intents and ended vetoes older than this are dropped ..."""
MOST_ROWS = 100_000
"""... and the oldest of more than so many, of history and of intents: about 45 MB of file (measured)."""
EVERY = timedelta(hours=24)
_LOOKED_THROUGH = 1000
"""Lines of history among which a start looks for the newest that tells of a machine."""
STEP = timedelta(hours=1)
"""A wall clock that goes further ahead than that, against the monotonic one, is doubted for a day."""


class Retention:
    """Prunes the journal once a day, and after a start.

    By age only where the clock is believed. One that is ahead of all that the journal holds by more than ``KEEP``
    would drop it all: it is doubted until the process has run for a day. So is one that was set ahead meanwhile.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._pruned_at: datetime | None = None
        self._newest: datetime | None = None
        self._apart: float | None = None
        self._doubted_at: float | None = None

    async def load(self) -> None:
        """See what was written last by an earlier process."""
        rows = await self._journal.history(limit=_LOOKED_THROUGH)
        # A start under a wrong clock writes a line too; the start after it must not take that for a second witness.
        dates = [entry.ts for _, entry in rows if entry.verb not in CHRONICLED]
        self._newest = dates[-1] if dates else None

    async def keep(self, now: datetime) -> None:
        """Prune if it is time. A clock that was set back counts as time."""
        doubted = self._doubts(now)
        if self._pruned_at is not None and timedelta(0) <= now - self._pruned_at < EVERY:
            return
        self._pruned_at = now
        before = datetime.min.replace(tzinfo=now.tzinfo) if doubted else now - KEEP
        dropped = await self._journal.prune(before=before, max_rows=MOST_ROWS)
        if dropped:
            log.info("journal.was_pruned", dropped=dropped, before=before.isoformat())

    def _doubts(self, now: datetime) -> bool:
        """Whether the wall clock may be far ahead."""
        ticks = anyio.current_time()
        apart = now.timestamp() - ticks
        if self._apart is None:
            ahead = self._newest is not None and now - self._newest > KEEP
        else:
            ahead = apart - self._apart > STEP.total_seconds()
        self._apart = apart
        if ahead:
            self._doubted_at = ticks
            log.warning("journal.was_not_pruned", now=now.isoformat(), newest=str(self._newest or ""))
        return self._doubted_at is not None and ticks - self._doubted_at < EVERY.total_seconds()
