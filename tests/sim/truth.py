"""What was true when: states from the world's time line, ownership from the call log, targets from the config.

Nothing in here asks fleetd. Windows are evaluated by reading a clock on the wall, as people do.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from fnmatch import fnmatchcase
from zoneinfo import ZoneInfo

from fleetd.model.fleet import Fleet, Window
from fleetd.model.settings import Settings
from fleetd.simulator.calls import Call
from fleetd.simulator.records import Change
from tests.sim.record import Record

ON = frozenset({"provisioning", "starting", "serviceready", "ready", "restarting", "upgrading"})
"""States in which a machine is there for its fleet, or will be."""
UP = frozenset({"serviceready", "ready"})
MOVING = frozenset({"provisioning", "starting", "restarting", "upgrading", "stopping"})
FLEETD_VERBS = frozenset({"create", "start", "stop", "restart", "destroy", "update"})


@dataclass(frozen=True, slots=True)
class Born:
    """A machine that a create of fleetd's made."""

    at: float
    name: str

    @property
    def fleet(self) -> str:
        """The fleet that its name speaks of."""
        return self.name.rpartition("-")[0]


SHOWN_ODDLY = 600.0
"""Seconds after a listing with odd values in which a name may have been one of them."""


class Truth:
    """Answers about one record."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.writes: list[Call] = [c for c in record.calls if c.write]
        self.born: dict[str, Born] = {}
        for call in self.writes:
            if call.operation == "create" and call.executed and call.machine_id:
                self.born[call.machine_id] = Born(moment(call), created_name(call))
        self._changes: dict[str, list[Change]] = defaultdict(list)
        for change in record.timeline:
            self._changes[change.machine_id].append(change)
        self._times = {m: [c.at for c in changes] for m, changes in self._changes.items()}
        # the first time: from then on it is under no name of ours
        self.renamed = {a.machine_id: a.at for a in reversed(record.acts) if a.verb == "rename"}
        self._odd = [moment(c) for c in record.calls if c.operation == "list" and "odd_values" in c.faults]
        self._first_ids: dict[tuple[str, float], tuple[float, set[str]]] = {}
        self._stale = [c.loop_seconds for c in record.calls if "stale_list" in c.faults]

    def change(self, machine_id: str, at: float) -> Change | None:
        """The step of the time line that holds at an instant."""
        number = bisect_right(self._times.get(machine_id, ()), at)
        return self._changes[machine_id][number - 1] if number else None

    def changes(self, machine_id: str) -> list[Change]:
        """A machine's whole time line."""
        return self._changes[machine_id]

    def state(self, machine_id: str, at: float) -> str:
        """A machine's state; "gone" before and after its life."""
        change = self.change(machine_id, at)
        return "gone" if change is None else change.state

    def name(self, machine_id: str, at: float) -> str:
        """A machine's name at an instant."""
        renamed = self.renamed.get(machine_id)
        if renamed is not None and at >= renamed:
            return self.record.machines[machine_id].name
        change = self._changes.get(machine_id)
        return change[0].name if change else ""

    def owner(self, machine_id: str, at: float, settings: Settings) -> tuple[str | None, bool]:
        """(fleet, certain): whose a machine is. Uncertain where no rule can tell, as after a loss of the journal."""
        names = {f.name for f in settings.fleets}
        born = self.born.get(machine_id)
        if born is not None and born.fleet in names:
            renamed = self.renamed.get(machine_id)
            return born.fleet, (renamed is None or at < renamed) and not self._twisted(machine_id, born.name, at)
        name = self.name(machine_id, at)
        for fleet in settings.fleets:
            if machine_id in fleet.adopt:
                return fleet.name, True
            if any(fnmatchcase(name, glob) for glob in fleet.adopt):
                # It is the fleet's by its name alone, and listings may just have had another in its place.
                number = bisect_right(self._odd, at)
                return fleet.name, not number or at - self._odd[number - 1] > SHOWN_ODDLY
        twin = next((b.fleet for b in self.born.values() if b.name == name), None)
        if twin in names and (self.record.losses or self._left_early(name, at)):
            return twin, False  # a copy of a name whose machine nobody remembers
        return None, True

    def on(self, fleet: str, at: float, settings: Settings, *, states: Iterable[str] = ON) -> list[str]:
        """The machines that are certainly of a fleet and in one of the states."""
        return [
            m for m in self._changes if self.state(m, at) in states and self.owner(m, at, settings) == (fleet, True)
        ]

    def doubtful(self, fleet: str, at: float, settings: Settings, *, states: Iterable[str] = ON) -> list[str]:
        """The machines that may be of a fleet."""
        return [
            m for m in self._changes if self.state(m, at) in states and self.owner(m, at, settings) == (fleet, False)
        ]

    def unseen_since(self, machine_id: str, since: float, until: float) -> bool:
        """Whether no listing in a span showed a machine: by what the provider answered, not by what came of it."""
        return not any(
            look.tells_of(machine_id)
            for look in self.record.looks
            if look.listed is not None and since <= look.began and look.ended <= until
        )

    def unnamed_since(self, machine_id: str, since: float, until: float) -> bool:
        """Whether no listing in a span showed a machine by its name: odd values stood there, or it was lacking."""
        name = self.name(machine_id, until)
        return not any(
            (machine_id, name) in look.told
            or (look.tells_of(machine_id) and not any(look.began <= t <= look.ended + 0.001 for t in self._odd))
            for look in self.record.looks
            if look.listed is not None and since <= look.began and look.ended <= until
        )

    def staleness(self, since: float, until: float) -> float:
        """By how many seconds listings within a span were behind the world."""
        return 300.0 if any(since <= t <= until for t in self._stale) else 0.0

    def _twisted(self, machine_id: str, name: str, at: float) -> bool:
        """Whether a journal without memory first heard its name beside a wrong id, in an odd answer.

        The name belongs to that id from then on, and the machine is a look-alike, which is said and left alone.
        """
        since = max((t for t in self.record.ignorant_from() if t <= at), default=None)
        if since is None:
            return False
        if (name, since) not in self._first_ids:
            looks = [look for look in self.record.looks if look.began >= since]
            told = ((look.ended, {m for m, n in look.told if n == name}) for look in looks)
            first = next(((ended, ids) for ended, ids in told if ids), (math.inf, set()))
            self._first_ids[name, since] = first
        ended, ids = self._first_ids[name, since]
        return ended <= at and machine_id not in ids

    def _left_early(self, name: str, at: float) -> bool:
        twin = next((m for m, b in self.born.items() if b.name == name), None)
        return twin is None or self.state(twin, at) == "gone" or twin in self.renamed


def moment(call: Call) -> float:
    """When a call arrived; the call log rounds it, and never beyond the next microsecond."""
    return call.world_seconds + 1e-6


def created_name(call: Call) -> str:
    """The name that a create asks for, in either dialect."""
    body = call.body if isinstance(call.body, dict) else {}
    return str(body.get("machineName") or body.get("name") or "")


def target_at(fleet: Fleet, wall: datetime) -> tuple[int, Window | None]:
    """(target, the window that decides) by the clocks on the wall."""
    for window in reversed(fleet.windows):
        if is_open(window, wall):
            return fleet.target if window.target is None else window.target, window
    return fleet.target, None


def is_open(window: Window, wall: datetime) -> bool:
    """Whether a window is open: the latest local reading there has been lies between its start and its end."""
    zone = ZoneInfo(window.timezone)
    readings = [(wall - timedelta(minutes=back)).astimezone(zone).replace(tzinfo=None) for back in range(0, 180, 10)]
    latest = max(readings)
    for back in (0, 1, 2):
        day = latest.date() - timedelta(days=back)
        if day.weekday() in window.days:
            start = datetime.combine(day, time()) + timedelta(minutes=window.start)
            length = window.end - window.start
            if start <= latest < start + timedelta(minutes=length if length > 0 else length + 1440):
                return True
    return False
