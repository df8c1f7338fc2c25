"""What the simulated world is made of. Times are world seconds since the epoch; nothing here speaks a dialect."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from fleetd.simulator.catalogue import MACHINE_TYPES, MachineType, Template

BILLED_STATES = frozenset({"starting", "serviceready", "ready", "restarting", "stopping", "upgrading"})
"""A machine is billed by the hour from the moment it boots until it is off; its disk from creation to the end."""


class Refusal(Exception):
    """The world declines a request. The dialects put it into their own words.

    Attributes:
        subject: the thing it is about: machine, template, region, machine_type, network, script, user, team, ...
        missing: whether the thing does not exist, as against existing and not permitting this.
    """

    def __init__(self, message: str, *, subject: str = "", missing: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.subject = subject
        self.missing = missing


@dataclass(slots=True)
class EventRecord:
    """One entry of a machine's event list."""

    handle: str
    number: int
    """Counts up over all events of the world."""
    name: str
    machine_id: str
    created: float
    modified: float
    finished: float | None = None
    state: str = "in progress"
    """in progress, done or error."""
    error: str | None = ""


@dataclass(slots=True)
class SnapshotRecord:
    """A snapshot of one machine's disk."""

    id: str
    name: str
    machine_id: str
    auto: bool
    created: float


@dataclass(slots=True)
class UserRecord:
    """A member of the team."""

    id: str
    email: str
    first_name: str
    last_name: str
    created: str
    team_id: str


@dataclass(slots=True)
class NetworkRecord:
    """A private network."""

    id: str
    name: str
    region: str
    network: str
    netmask: str
    created: str
    team_id: str


@dataclass(slots=True)
class ScriptRecord:
    """A startup script."""

    id: str
    name: str
    description: str
    created: str
    owner_id: str
    enabled: bool = True
    run_once: bool = False
    text: str = ""


@dataclass(frozen=True, slots=True)
class Usage:
    """What one machine has used in one month."""

    seconds: float
    hourly: Decimal
    storage_seconds: float
    storage_monthly: Decimal


@dataclass(frozen=True, slots=True)
class Change:
    """One step of the world's time line: from ``at`` on, the machine is in ``state`` ("gone" at the end)."""

    at: float
    machine_id: str
    name: str
    state: str
    cause: str
    billed: bool
    """Whether it is billed by the hour from here on."""


@dataclass(slots=True)
class MachineRecord:
    """One machine, with everything that either dialect can show of it."""

    id: str
    internal_id: int
    name: str
    machine_type: str
    region: str
    template: Template
    size_gb: int
    created: float
    user_id: str
    team_id: str
    network_id: str
    script_id: str | None = None
    state: str = "provisioning"
    young: bool = True
    """Still being made: the vendor shows null in most fields."""
    private_ip: str | None = None
    public_ip: str | None = None
    public_ip_type: str = "none"
    """none, static or dynamic."""
    shutdown_hours: float | None = 168
    shutdown_forces: bool = False
    auto_snapshots: bool = False
    snapshot_frequency: str | None = None
    """hour, day, week or month."""
    snapshot_keep: int | None = None
    initial_snapshot: bool = False
    """A snapshot is to be taken at the first boot."""
    restore_point_frequency: str | None = None
    restore_point_snapshot_id: str | None = None
    start_on_create: bool = True
    updates_pending: bool = False
    modified: float = 0.0
    booted: float | None = None
    """When it began to come up last."""
    last_run: float | None = None
    """When the startup script ran last."""
    connected: bool = False
    """Somebody is logged in through the vendor's client; only this holds the vendor's shutdown timer back."""
    disconnected: float | None = None
    """When the last one left."""
    snapshots: list[SnapshotRecord] = field(default_factory=list)
    """Oldest first."""
    accessors: list[str] = field(default_factory=list)
    events: list[EventRecord] = field(default_factory=list)
    """Oldest first."""
    event: EventRecord | None = None
    """The one that the current transition belongs to."""
    path: list[tuple[str, float]] = field(default_factory=list)
    """States still to come, each with its time."""
    doom: str | None = None
    """Why the current transition will end in off."""
    deleting: bool = False
    listed_from: float = float("-inf")
    shown_from: float = float("-inf")
    sessions: list[tuple[float, float | None]] = field(default_factory=list)
    """Spans billed by the hour; the last one is open while it runs."""
    tariff: list[tuple[float, Decimal]] = field(default_factory=list)
    """From when on it costs how many dollars an hour, oldest first."""
    storage_tariff: list[tuple[float, Decimal]] = field(default_factory=list)
    """From when on its disk costs how many dollars a month."""
    gone: float | None = None
    due: dict[str, int] = field(default_factory=dict)
    """Which entry of the agenda is the valid one, by what is to happen."""
    cache: dict[str, Any] = field(default_factory=dict)
    """Encoded forms, by dialect; emptied when the record changes."""

    @property
    def kind(self) -> MachineType:
        """Its entry of the price list."""
        return MACHINE_TYPES[self.machine_type]

    @property
    def hourly(self) -> Decimal:
        """Dollars an hour while it runs, at today's price."""
        return self.tariff[-1][1] if self.tariff else self.kind.hourly

    @property
    def billed(self) -> bool:
        """Whether it is billed by the hour now."""
        return bool(self.sessions) and self.sessions[-1][1] is None

    def billed_seconds(self, since: float, until: float) -> float:
        """Seconds billed by the hour within a span of world time."""
        return sum(
            max(0.0, (until if end is None else min(until, end)) - max(since, start)) for start, end in self.sessions
        )

    def stored_seconds(self, since: float, until: float) -> float:
        """Seconds for which its disk is billed within a span of world time."""
        end = until if self.gone is None else min(until, self.gone)
        return max(0.0, end - max(since, self.created))
