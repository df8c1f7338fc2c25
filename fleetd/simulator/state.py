"""The world's memory: records, agenda, time line, and the few ways in which they are changed."""

from __future__ import annotations

import random
import uuid
from collections import deque
from dataclasses import dataclass, replace
from decimal import Decimal
from heapq import heappush

from fleetd.simulator.catalogue import MACHINE_TYPES, OWNER_ID, TEAM_ID, TEMPLATES, Template, storage_monthly
from fleetd.simulator.clock import WorldClock
from fleetd.simulator.records import (
    BILLED_STATES,
    Change,
    EventRecord,
    MachineRecord,
    NetworkRecord,
    Refusal,
    ScriptRecord,
    UserRecord,
)

_LETTERS = "abcdefghijkmnpqrstuvwxyz0123456789"
_EVENTS_KEPT = 50
_FEED_KEPT = 20_000

Span = tuple[float, float]
"""Least and most seconds of world time."""


@dataclass(frozen=True, slots=True)
class Durations:
    """How long the vendor takes, in world seconds; each is drawn from its span."""

    provisioning: Span = (60.0, 120.0)
    starting: Span = (30.0, 60.0)
    serviceready: Span = (2.0, 6.0)
    stopping: Span = (15.0, 30.0)
    restarting: Span = (40.0, 80.0)
    upgrading: Span = (60.0, 120.0)
    failing: Span = (5.0, 20.0)
    """From an accepted start to off, when there is no capacity."""
    deleting: Span = (2.0, 8.0)
    """From destroy until list and show lack it; (0, 0) for at once."""
    snapshot: Span = (20.0, 60.0)


class WorldState:
    """Everything that the simulated account holds. Change it through ``World``."""

    def __init__(self, seed: int | str, clock: WorldClock, durations: Durations, *, vendor_timer: bool) -> None:
        self.seed = seed
        self.clock = clock
        self.durations = durations
        self.vendor_timer = vendor_timer
        self.rng = random.Random(f"{seed}:world")
        self.t = 0.0
        """World seconds up to which everything due has happened."""
        self.machines: dict[str, MachineRecord] = {}
        self.gone: dict[str, MachineRecord] = {}
        self.feed: deque[EventRecord] = deque(maxlen=_FEED_KEPT)
        """Events of all machines, oldest first."""
        self.timeline: list[Change] = []
        self.agenda: list[tuple[float, int, str, str]] = []
        self.prices: dict[str, Decimal] = {}
        """Dollars an hour of the machine types whose price is not the catalogue's any more."""
        self.no_capacity: set[tuple[str, str]] = set()
        """(region, machine type) pairs that are sold out."""
        self.remembered = 0.0
        """For how many seconds superseded records are kept, so that stale listings can be told."""
        self.past: dict[str, deque[tuple[float, MachineRecord]]] = {}
        """By machine: since when it looked like this, oldest first."""
        self.reserved_ips: list[str] = []
        """Static addresses of destroyed machines that nobody released."""
        self.team_id, self.owner_id = TEAM_ID, OWNER_ID
        self.templates: dict[str, Template] = dict(TEMPLATES)
        self.users = {user.id: user for user in _users()}
        self.networks = {network.id: network for network in _networks()}
        self.scripts = {script.id: script for script in _scripts()}
        self._given: set[str] = set()
        self._tickets = 0
        self._events = 0
        self._internal_ids = 1713422
        self._addresses = 0

    def draw(self, span: Span) -> float:
        """A duration from a span, whole milliseconds."""
        return round(self.rng.uniform(*span), 3)

    def new_id(self, prefix: str, length: int = 7) -> str:
        """An id that looks like the vendor's, never given before."""
        while True:
            text = prefix + "".join(self.rng.choices(_LETTERS, k=length))
            if text not in self._given:
                self._given.add(text)
                return text

    def claim_id(self, text: str) -> str:
        """Take an id that somebody else chose.

        Raises:
            Refusal: it is taken.
        """
        if text in self._given:
            raise Refusal(f"the id {text} is taken", subject="id")
        self._given.add(text)
        return text

    def new_internal_id(self) -> int:
        """The number that the vendor's listing calls internalId."""
        self._internal_ids += 1
        return self._internal_ids

    def new_address(self, *, public: bool) -> str:
        """An IPv4 address: private in 10.64.0.0/16, public in the range of the page's example."""
        self._addresses += 1
        number = self._addresses % 60_000
        third, fourth = divmod(number, 250)
        return f"172.83.{third}.{fourth + 2}" if public else f"10.64.{third}.{fourth + 2}"

    def schedule(self, record: MachineRecord, action: str, at: float) -> None:
        """Put something due on the agenda; it replaces what was planned under that name for this machine."""
        self._tickets += 1
        record.due[action] = self._tickets
        heappush(self.agenda, (at, self._tickets, action, record.id))

    def touch(self, record: MachineRecord) -> None:
        """Say that the record has changed. Call it after every change."""
        record.cache = {}
        record.modified = self.t
        if self.remembered > 0:
            self._remember(record)

    def note(self, record: MachineRecord, state: str, cause: str) -> None:
        """Move the machine to a state, in the record, in the bill and on the time line."""
        billed = state in BILLED_STATES and record.doom is None and not record.deleting
        if billed and not record.billed:
            record.sessions.append((self.t, None))
        elif not billed and record.billed:
            record.sessions[-1] = (record.sessions[-1][0], self.t)
        if state != "gone":
            record.state = state
        self.timeline.append(Change(self.t, record.id, record.name, state, cause, billed))
        self.touch(record)

    def open_event(self, record: MachineRecord, name: str, *, at: float | None = None) -> EventRecord:
        """A new event in progress, newest of its machine."""
        created = self.t if at is None else at
        handle = str(uuid.UUID(int=self.rng.getrandbits(128), version=4))
        self._events += 1
        event = EventRecord(handle, self._events, name, record.id, created, created)
        record.events.append(event)
        del record.events[:-_EVENTS_KEPT]
        self.feed.append(event)
        self.touch(record)
        return event

    def close_event(self, record: MachineRecord, event: EventRecord | None, error: str = "") -> None:
        """The event is over: done, or in error for a reason."""
        if event is None or event.state != "in progress":
            return
        self.end_event(record, event, "error" if error else "done", error)

    def end_event(self, record: MachineRecord, event: EventRecord, state: str, error: str | None) -> None:
        """The event is in a state, for a reason or for none that is told."""
        event.state, event.error = state, error
        event.modified = self.t
        event.finished = None if state == "in progress" else self.t
        self.touch(record)

    def price(self, machine_type: str) -> Decimal:
        """Dollars an hour now."""
        return self.prices.get(machine_type, MACHINE_TYPES[machine_type].hourly)

    def reprice(self, record: MachineRecord) -> None:
        """The machine costs what its type and its disk cost now. Touch it afterwards."""
        for tariff, rate in (
            (record.tariff, self.price(record.machine_type)),
            (record.storage_tariff, storage_monthly(record.size_gb)),
        ):
            if not tariff:
                tariff.append((float("-inf"), rate))
            elif tariff[-1][1] != rate:
                tariff.append((self.t, rate))

    def remember(self, seconds: float) -> None:
        """Keep superseded records for so many world seconds from now on; 0 forgets them."""
        if seconds > 0 and not self.past:
            for record in self.machines.values():
                self.past[record.id] = deque([(record.created, replace(record, cache={}))])
        if seconds <= 0:
            self.past.clear()
        self.remembered = seconds

    def as_of(self, t: float) -> list[MachineRecord]:
        """The machines as they were at world second ``t``, as far as ``remember`` reaches back."""
        horizon = self.t - self.remembered
        for machine_id in [id_ for id_, record in self.gone.items() if (record.gone or 0.0) < horizon]:
            self.past.pop(machine_id, None)
        found = []
        for versions in self.past.values():
            then = next((record for since, record in reversed(versions) if since <= t), None)
            if then is not None and then.gone is None:
                found.append(then)
        return sorted(found, key=lambda record: record.internal_id)

    def _remember(self, record: MachineRecord) -> None:
        versions = self.past.setdefault(record.id, deque())
        if versions and versions[-1][0] == self.t:
            versions.pop()
        versions.append((self.t, replace(record, cache={})))
        horizon = self.t - self.remembered
        while len(versions) > 1 and versions[1][0] <= horizon:
            versions.popleft()


def _users() -> list[UserRecord]:
    return [
        UserRecord(OWNER_ID, "owner@example.com", "Jon", "Snow", "2017-04-15T16:20:59.609Z", TEAM_ID),
        UserRecord("u789ghi2k", "jeff@example.com", "Jeff", "Green", "2016-12-07T15:59:09.769Z", TEAM_ID),
    ]


def _networks() -> list[NetworkRecord]:
    rows = (
        ("nng82wb", "Team Network", "East Coast (NY2)", "10.64.1.0"),
        ("n4c1ca7", "Team Network West", "West Coast (CA1)", "10.64.2.0"),
        ("nams1k2", "Team Network Europe", "Europe (AMS1)", "10.64.3.0"),
    )
    return [
        NetworkRecord(id_, name, region, network, "255.255.0.0", "2016-12-22T16:36:42.613Z", TEAM_ID)
        for id_, name, region, network in rows
    ]


def _scripts() -> list[ScriptRecord]:
    return [
        ScriptRecord(
            "sc8k2m4xa",
            "node exporter",
            "original file: exporter.sh",
            "2017-05-30T14:49:16.724Z",
            OWNER_ID,
            text="systemctl start node_exporter",
        )
    ]
