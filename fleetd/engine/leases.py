"""Leases: a job's own word that its machine is in use until then. Always with an expiry."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from fleetd.store.port import Journal

_NOTE = "leases"


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
        rows = [
            {"machine": m, "source": s, "until": lease.until.isoformat(), "actor": lease.actor}
            for (m, s), lease in sorted(self._leases.items())
        ]
        await self._journal.put_note(_NOTE, json.dumps(rows))

    def in_force(self, machine_id: str, now: datetime) -> Lease | None:
        """The longest lease on a machine that has not expired."""
        held = [lease for (m, _), lease in self._leases.items() if m == machine_id and lease.until > now]
        return max(held, key=lambda lease: lease.until, default=None)

    def drop_expired(self, now: datetime) -> Mapping[tuple[str, str], Lease]:
        """Forget what has expired, in memory; the next ``put`` writes it. Returns what is left."""
        self._leases = {key: lease for key, lease in self._leases.items() if lease.until > now}
        return self._leases
