"""Leases: a job's own word that its machine is in use until then. Always with an expiry."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta

from fleetd.store.port import Journal

_NOTE = "leases"
KEEP = timedelta(days=31)
"""Leases that ended so much earlier than the newest one are dropped; none lasts longer."""


@dataclass(frozen=True, slots=True)
class Lease:
    """One machine is in use, says one source."""

    source: str
    until: datetime
    actor: str


class Leases:
    """Kept in the journal, so that they survive a restart."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._leases: dict[tuple[str, str], Lease] = {}

    async def load(self) -> None:
        """Read what an earlier process was told."""
        note = await self._journal.get_note(_NOTE)
        self._leases = {
            (row["machine"], row["source"]): Lease(row["source"], datetime.fromisoformat(row["until"]), row["actor"])
            for row in json.loads(note or "[]")
        }

    async def put(self, machine_id: str, source: str, until: datetime, actor: str) -> None:
        """Store a lease, replacing the same source's earlier one. Durable before it returns."""
        self._leases[machine_id, source] = Lease(source, until, actor)
        newest = max(lease.until for lease in self._leases.values())
        self._leases = {k: v for k, v in self._leases.items() if v.until > newest - KEEP}
        rows = [
            {"machine": m, "source": s, "until": lease.until.isoformat(), "actor": lease.actor}
            for (m, s), lease in sorted(self._leases.items())
        ]
        await self._journal.put_note(_NOTE, json.dumps(rows))

    def in_force(self, machine_id: str, now: datetime) -> Lease | None:
        """The longest lease on a machine that has not expired."""
        held = [lease for (m, _), lease in self._leases.items() if m == machine_id and lease.until > now]
        return max(held, key=lambda lease: lease.until, default=None)

    def holder(self, machine_id: str, now: datetime) -> str | None:
        """Who holds a lease on a machine, in words; None where nobody does."""
        lease = self.in_force(machine_id, now)
        return None if lease is None else f"{lease.source} ({lease.actor}) until {lease.until:%Y-%m-%d %H:%M:%S} UTC"
