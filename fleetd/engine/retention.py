"""How long history is kept: by age and by number, so that the journal's size is bounded."""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog

from fleetd.store.port import Journal

log = structlog.get_logger(__name__)

KEEP = timedelta(days=90)
"""History, closed intents and ended vetoes older than this are dropped ..."""
MOST_ROWS = 100_000
"""... and the oldest of more than so many, of history and of intents: about 45 MB of file (measured)."""
EVERY = timedelta(hours=24)


class Retention:
    """Prunes the journal once a day, and after a start."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._pruned_at: datetime | None = None

    async def keep(self, now: datetime) -> None:
        """Prune if it is time. A clock that was set back counts as time."""
        if self._pruned_at is not None and timedelta(0) <= now - self._pruned_at < EVERY:
            return
        self._pruned_at = now
        dropped = await self._journal.prune(before=now - KEEP, max_rows=MOST_ROWS)
        if dropped:
            log.info("journal.was_pruned", dropped=dropped, before=(now - KEEP).isoformat())
