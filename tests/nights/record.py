"""The test's own record of a night: who used what from when until when, and what was acknowledged.

Times are seconds of the event loop. Nothing in here is fleetd's own word, but for the acknowledgements that it gave.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tests.nights.draw import EVENING, Job

FOREVER = float("inf")


@dataclass(slots=True)
class Use:
    """Somebody works on a machine."""

    machine: str
    job: Job
    begins: float
    ends: float


@dataclass(slots=True)
class Lease:
    """A lease that was answered with 200."""

    machine: str
    source: str
    since: float
    lasts: float
    began_wall: datetime
    life: int
    until: float = FOREVER
    """When another of the same job took its place, or the job ended it."""


@dataclass(slots=True)
class Hold:
    """A hold that was acknowledged."""

    machine: str
    since: float
    expires: datetime
    until: float = FOREVER
    """When it was released."""


@dataclass
class Record:
    """One night."""

    uses: list[Use] = field(default_factory=list)
    leases: list[Lease] = field(default_factory=list)
    holds: list[Hold] = field(default_factory=list)
    lives: list[tuple[float, float]] = field(default_factory=list)
    """(from, until) of each process."""
    steps: list[tuple[float, float]] = field(default_factory=list)
    """(when, by how many seconds) the wall clock was set."""
    told: Counter[str] = field(default_factory=Counter)
    """How often each trick was played on an answer."""
    refused: int = 0
    """Leases that were not acknowledged."""

    def wall(self, at: float) -> datetime:
        """The wall clock's reading."""
        return EVENING + timedelta(seconds=at + sum(by for when, by in self.steps if when <= at))

    def lease_end(self, lease: Lease) -> float:
        """When a lease ends, at the earliest: what was asked for, but after a restart the wall clock may end it."""
        end = min(lease.since + lease.lasts, lease.until)
        until_wall = lease.began_wall + timedelta(seconds=lease.lasts)
        for restarted, _ in self.lives:
            if lease.since < restarted < end:  # from here on only the wall clock tells
                return min(end, max(restarted, self._by_wall(lease.began_wall, until_wall, restarted)))
        return end

    def hold_end(self, hold: Hold) -> float:
        """When a hold ends: it is an instant of the wall clock."""
        end = hold.since + (hold.expires - self.wall(hold.since)).total_seconds()
        for when, by in self.steps:
            if hold.since < when < end:
                end = max(when, end - by)
        return min(end, hold.until)

    def _by_wall(self, first: datetime, until: datetime, at: float) -> float:
        """From ``at`` on, when the wall clock leaves the span between two of its readings."""
        end = at if self.wall(at) < first else at + (until - self.wall(at)).total_seconds()
        for when, by in self.steps:
            if at < when < end:
                end = when if self.wall(when) < first else max(when, end - by)
        return end
