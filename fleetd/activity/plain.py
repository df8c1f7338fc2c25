"""Sources that need no one else: leases that jobs took, and uptime."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from fleetd.model.machine import Machine
from fleetd.model.reasons import Activity
from fleetd.planner.idle import Reading

LeaseOf = Callable[[str, datetime], str | None]
"""Who holds a lease on a machine (id) at an instant, in words; None where nobody does."""


class LeaseSource:
    """Active while a job's lease on the machine has not expired; idle without one.

    Only as good as the jobs: on a machine whose users take no leases it says idle.
    """

    def __init__(self, name: str, lease_of: LeaseOf) -> None:
        self.name = name
        self._lease_of = lease_of

    async def read(self, machines: Sequence[Machine], *, window: timedelta, now: datetime) -> Mapping[str, Reading]:
        """See ``Source.read``."""
        del window  # a lease speaks for now
        return {m.id: self._one(m, now) for m in machines}

    async def aclose(self) -> None:
        """Nothing is kept open."""

    def _one(self, machine: Machine, now: datetime) -> Reading:
        holder = self._lease_of(machine.id, now)
        if holder is None:
            return Reading(self.name, Activity.IDLE, now, "no lease")
        return Reading(self.name, Activity.ACTIVE, now, f"leased by {holder}")


class UptimeSource:
    """Idle always, so that ``idle.after`` and ``idle.min_uptime`` become a fixed life for a machine.

    It knows nothing of use: meant for machines that nobody works on, or beside a source that does know.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    async def read(self, machines: Sequence[Machine], *, window: timedelta, now: datetime) -> Mapping[str, Reading]:
        """See ``Source.read``."""
        del window
        return {m.id: Reading(self.name, Activity.IDLE, now, "by uptime alone") for m in machines}

    async def aclose(self) -> None:
        """Nothing is kept open."""
