"""Leases: a job's own word that its machine is in use until then. Always with an expiry, and kept beyond their end.

A lease is in force for as long as it was asked for: by the event loop's clock in the process that took it or found it
in force, by the wall clock, and by the provider's where that is far from ours, whichever says so longer. One that
begins ahead of both wall clocks is not in force after a restart (``planner.waits``). Where a lease ended matters
longer than the lease: a machine was in use until then, also if nobody looked while it was in force.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

import anyio
import structlog

from fleetd.model.bounds import FIRST, LAST
from fleetd.model.errors import OrderDeclined, StateUnusable
from fleetd.model.journal import KeptLease
from fleetd.planner.waits import is_waiting
from fleetd.store.port import Journal

log = structlog.get_logger(__name__)

_NOTE = "leases"
"""In which earlier versions kept them all."""
LONGEST = timedelta(days=31)
"""No lease lasts longer."""
KEEP = timedelta(days=31)
"""How long the end of a lease is remembered."""
TRUST_AFTER = timedelta(days=1)
"""A process drops nothing by the wall clock before it has run for so long: its clock may be wrong at the start."""
MOST = 10_000
"""Leases that are kept. One more is refused as long as all of them are in force."""


@dataclass(frozen=True, slots=True)
class Lease(KeptLease):
    """One machine is in use, says one source."""

    ticks: float
    """Its end on the event loop's clock."""
    loops: bool = True
    """This process took it, or found it in force: the event loop's clock counts as well."""

    def in_force(self, now: datetime, ticks: float) -> bool:
        """Whether the machine is leased at this moment of both clocks."""
        by_wall = is_waiting(self.began, self.until - self.began, now)
        return by_wall or (self.loops and ticks < self.ticks)

    def ended(self, now: datetime, ticks: float) -> datetime:
        """When it ended, by the wall clock of now; for one that is not in force."""
        by_loop = now - timedelta(seconds=max(0.0, ticks - self.ticks))
        if self.until > now:  # the wall clock was set back since: only the loop's can tell, and it goes on
            return by_loop
        return max(self.until, by_loop) if self.loops else self.until


class Leases:
    """Kept in the journal, so that they survive a restart."""

    def __init__(self, journal: Journal) -> None:
        self.theirs: Callable[[datetime], datetime] = lambda now: now
        """What the provider's clock reads at a reading of ours; a lease lasts by whichever says so longer."""
        self.latest: Callable[[datetime], datetime] = lambda now: now
        """The later of what it and the other clock that counts read; what is given is counted from it."""
        self._journal = journal
        self._leases: dict[tuple[str, str], Lease] = {}
        self._since: float | None = None
        self._putting = anyio.Lock()

    async def load(self, now: datetime) -> None:
        """Read what an earlier process was told. A row that cannot be read is said, and ends no process."""
        rows = {(row.machine, row.source): row for row in await self._journal.leases()}
        rows = await self._noted(now, rows) | rows
        self._since = anyio.current_time()
        self._leases = {key: _found(row, now, self._since) for key, row in rows.items()}

    async def put(self, machine_id: str, source: str, until: datetime, actor: str, *, now: datetime) -> None:
        """Store a lease, replacing the same source's earlier one. Durable before it returns.

        Args:
            machine_id: the machine.
            source: who says so; one lease each.
            until: when it ends; now, or earlier, for a use that has just ended.
            actor: who gave it.
            now: wall time.

        Raises:
            OrderDeclined: there are too many to keep another.
            StoreError: it could not be written.
        """
        ticks = anyio.current_time()
        lasts, latest = max(until - now, timedelta(0)), self.latest(now)
        lease = Lease(machine_id, source, latest, latest + lasts, actor, ticks + lasts.total_seconds())
        async with self._putting:  # one after the other: who waits for the file must not forget who came meanwhile
            key = machine_id, source
            dropped = self._dropped(key, now, ticks)
            await self._journal.put_leases([lease], drop=dropped)
            self._leases = {other: one for other, one in self._leases.items() if other not in dropped} | {key: lease}

    def in_force(self, machine_id: str, now: datetime) -> Lease | None:
        """The longest lease on a machine that has not expired."""
        ticks = anyio.current_time()
        held = [one for one in self._of(machine_id) if self._lasts(one, now, ticks)]
        return max(held, key=lambda one: one.until, default=None)

    def last_use(self, machine_id: str, now: datetime) -> datetime | None:
        """When the newest lease on a machine ended; None where there was none."""
        ticks = anyio.current_time()
        over = (one for one in self._of(machine_id) if not self._lasts(one, now, ticks))
        return max((one.ended(now, ticks) for one in over), default=None)

    def ends(self, now: datetime) -> dict[str, datetime]:
        """By machine id, when its newest lease ends, or ended."""
        ticks = anyio.current_time()
        found: dict[str, datetime] = {}
        for (machine, _), one in self._leases.items():
            end = (
                max(one.until, now + timedelta(seconds=1)) if self._lasts(one, now, ticks) else one.ended(now, ticks)
            )
            found[machine] = max(end, found.get(machine, end))
        return found

    def holder(self, machine_id: str, now: datetime) -> str | None:
        """Who holds a lease on a machine, in words; None where nobody does."""
        lease = self.in_force(machine_id, now)
        return None if lease is None else f"{lease.source} ({lease.actor}) until {lease.until:%Y-%m-%d %H:%M:%S} UTC"

    def _lasts(self, lease: Lease, now: datetime, ticks: float) -> bool:
        return lease.in_force(now, ticks) or lease.in_force(self.theirs(now), ticks)

    def _of(self, machine_id: str) -> Iterable[Lease]:
        return [lease for (machine, _), lease in self._leases.items() if machine == machine_id]

    async def _noted(
        self, now: datetime, known: Mapping[tuple[str, str], KeptLease]
    ) -> dict[tuple[str, str], KeptLease]:
        """Take over the note of an earlier version; whoever is cut short at it, or cannot write, does it again."""
        note = await self._journal.get_note(_NOTE)
        if not note:
            return {}
        rows = {(row.machine, row.source): row for row in _rows(note, now)}
        with suppress(StateUnusable):  # the disk is full, perhaps
            await self._journal.put_leases([row for key, row in rows.items() if key not in known])
            await self._journal.put_note(_NOTE, "")
        return rows

    def _dropped(self, key: tuple[str, str], now: datetime, ticks: float) -> set[tuple[str, str]]:
        """Those that make room for a new one under that key: never one in force."""
        others = {other: one for other, one in self._leases.items() if other != key}
        over = {other: one.ended(now, ticks) for other, one in others.items() if not self._lasts(one, now, ticks)}
        trusted = self._since is not None and ticks - self._since >= TRUST_AFTER.total_seconds()
        dropped = {other for other, at in over.items() if trusted and at < now - KEEP}
        oldest_first = sorted(over.keys() - dropped, key=lambda other: over[other])
        dropped |= set(oldest_first[: max(0, len(others) - len(dropped) - MOST + 1)])
        if len(others) - len(dropped) >= MOST:
            raise OrderDeclined(f"{MOST} leases are in force, and no more can be kept: end some, or let them expire")
        return dropped


def _found(row: KeptLease, now: datetime, ticks: float) -> Lease:
    """A lease of an earlier process, as it stands."""
    began = row.began if row.began > FIRST else now  # it cannot be read
    until = row.until if row.until < LAST else began + LONGEST  # it cannot be read: the lease may last yet
    if until - began > LONGEST:  # no clock has written this: it ended nobody knows when, now at the latest
        began, until = min(began, now), min(until, now)
    ends = ticks + (until - now).total_seconds()
    if is_waiting(began, until - began, now):
        return Lease(row.machine, row.source, began, until, row.actor, ends)
    # By this clock; the provider's may say yet that this one is behind.
    return Lease(row.machine, row.source, began, until, row.actor, min(ends, ticks), loops=False)


def _rows(note: str, now: datetime) -> Iterable[KeptLease]:
    try:
        rows = json.loads(note)
    except (ValueError, RecursionError):
        rows = [note]
    for row in rows if isinstance(rows, list) else [rows]:
        try:
            began = _instant(row["began"]) if "began" in row else now  # the first versions did not write it
            machine, source, actor = str(row["machine"]), str(row["source"]), str(row["actor"])
            lease = KeptLease(machine, source, began, _instant(row["until"]), actor)
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            log.warning("lease.was_unreadable", error=f"{type(error).__name__} {error}", row=str(row)[:200])
        else:
            yield lease


def _instant(text: str) -> datetime:
    return min(max(datetime.fromisoformat(text), FIRST), LAST)
