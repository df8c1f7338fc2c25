"""What is true of a run: all that the checker may know. None of it is fleetd's own word.

Times are seconds of the event loop, which are the world's seconds as well; the wall clock is ``epoch`` plus the
seconds plus the steps that were made in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from fleetd.model.reasons import Verb
from fleetd.model.settings import Settings
from fleetd.simulator.calls import Call
from fleetd.simulator.records import Change, MachineRecord

FOREVER = float("inf")


@dataclass(slots=True)
class Span:
    """From when until when a process lived, and how it ended."""

    number: int
    began: float
    ended: float = FOREVER
    how: str = "runs"
    """runs, stopped, killed, refused: ... (an error of its own, as at a locked state), or crashed: ..."""


@dataclass(slots=True)
class Look:
    """One observation of a pass: the listing that it was built on."""

    life: int
    began: float
    ended: float = FOREVER
    visible: frozenset[str] = frozenset()
    """Ids that a true listing holds when it begins."""
    listed: frozenset[str] | None = None
    """Ids that it was given; None when it was given nothing."""
    told: frozenset[tuple[str, str | None]] = frozenset()
    """Ids with the names, of every entry of the provider's answers, whatever became of it here."""

    def tells_of(self, machine_id: str) -> bool:
        """Whether an answer had that id."""
        return any(known == machine_id for known, _ in self.told)


@dataclass(slots=True)
class Veto:
    """A hold or freeze, from its acknowledgement on."""

    kind: str
    subject: str | None
    verbs: frozenset[Verb]
    since: float
    expires: datetime
    """By the wall clock."""
    until: float = FOREVER
    """When it was lifted, or lost with the journal."""
    machine_id: str | None = None
    """A hold: of the machine that was meant, whatever it is called later."""
    name: str = ""
    """What that machine was called then."""
    unattended: bool = False
    """Given while no daemon ran: nobody knew then what the provider's clock says."""


@dataclass(slots=True)
class Lease:
    """A job's word that it works on a machine, from its acknowledgement on."""

    machine_id: str
    since: float
    expires: datetime
    """By the wall clock."""
    until: float = FOREVER
    """When another took its place, or it was lost with the journal."""


@dataclass(frozen=True, slots=True)
class Act:
    """Something that a person did to a machine, in the console or through fleetd."""

    at: float
    verb: str
    machine_id: str
    ordered: bool = False
    """Through fleetd's own control socket ..."""
    forced: bool = False
    """... although the machine may be in use."""


@dataclass(slots=True)
class Record:
    """A run. Lists are in the order of time."""

    seed: str
    epoch: datetime
    calls: list[Call] = field(default_factory=list)
    timeline: list[Change] = field(default_factory=list)
    machines: dict[str, MachineRecord] = field(default_factory=dict)
    """Every machine that there ever was."""
    steps: list[tuple[float, float]] = field(default_factory=list)
    """(when, by how many seconds) the wall clock was set."""
    configs: list[tuple[float, Settings]] = field(default_factory=list)
    """From when on which config is in force."""
    vetoes: list[Veto] = field(default_factory=list)
    lives: list[Span] = field(default_factory=list)
    asked: list[tuple[float, int, str]] = field(default_factory=list)
    """(when, which life, by which call) asked the provider."""
    unlocked: list[float] = field(default_factory=list)
    """When the lock's file was removed."""
    others: list[Call] = field(default_factory=list)
    """Calls of somebody else's fleetd, which has another config and another state directory."""
    others_began: list[float] = field(default_factory=list)
    """When it was started, each time."""
    looks: list[Look] = field(default_factory=list)
    heard: dict[int, tuple[float, str]] = field(default_factory=dict)
    """By the number of a write: when the idle sources were last asked about its machine, and what was true then."""
    uses: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    """By machine: spans in which somebody used it."""
    leases: list[Lease] = field(default_factory=list)
    readings: dict[str, list[tuple[float, str]]] = field(default_factory=dict)
    """By machine: when the source was asked about it, and what it answered: idle, active or nothing."""
    gaps: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    """By machine: spans in which the idle source has nothing of it, although (or because) somebody works there."""
    late: list[tuple[float, float, float]] = field(default_factory=list)
    """(since, until, seconds): spans in which the idle source answers so late."""
    silences: list[tuple[float, float]] = field(default_factory=list)
    """Spans in which the idle sources knew nothing."""
    prices: list[tuple[float, str, Decimal]] = field(default_factory=list)
    """(from when on, machine type, dollars an hour) as the provider bills it, where it was changed."""
    acts: list[Act] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    """When the journal was deleted."""
    unjournaled: list[str] = field(default_factory=list)
    """Writes that arrived without an open intent in the journal's file."""
    exposures: list[str] = field(default_factory=list)
    """Places where the API key was found."""
    overdue: list[str] = field(default_factory=list)
    """Intents without a verdict past their deadline, and verdicts that were not true."""
    calm_from: float = FOREVER
    """When the last fault ended."""
    end: float = 0.0
    rest: float = 3600.0
    """Seconds without a write that the run must end with."""

    def ignorant_from(self) -> list[float]:
        """For each loss of the journal, when the process began that knows nothing of what was before.

        One that had the lost journal open goes on with what it remembers, writes nothing, and leaves no word.
        """
        return [min((life.began for life in self.lives if life.began >= lost), default=lost) for lost in self.losses]

    def wall(self, at: float) -> datetime:
        """The wall clock's reading at an instant."""
        return self.epoch + timedelta(seconds=at + self._offset(at))

    def true(self, at: float) -> datetime:
        """What the provider's answers tell of the time."""
        return self.epoch + timedelta(seconds=at)

    def apart(self, at: float) -> bool:
        """Whether the wall clock and the provider's are so far apart that neither is to be relied on."""
        return abs(self._offset(at)) > APART

    def reached(self, at: float) -> datetime:
        """The time that has come for sure: until then lasts what lasts until a time."""
        return min(self.wall(at), self.true(at)) if self.apart(at) else self.wall(at)

    def latest(self, at: float) -> datetime:
        """What is to last from now on is counted from it: whichever of the two clocks is set right."""
        return max(self.wall(at), self.true(at)) if self.apart(at) else self.wall(at)

    def config(self, at: float) -> Settings | None:
        """The config in force."""
        return next((settings for since, settings in reversed(self.configs) if since <= at), None)

    def configs_within(self, since: float, until: float) -> Sequence[Settings]:
        """The configs in force at some time of a span."""
        first = self.config(since)
        later = [settings for at, settings in self.configs if since < at <= until]
        return ([first] if first is not None else []) + later

    def in_use(self, machine_id: str, since: float, until: float | None = None) -> bool:
        """Whether somebody used a machine at an instant, or within a span."""
        last = since if until is None else until
        return any(begins <= last and since < ends for begins, ends in self.uses.get(machine_id, ()))

    def leased(self, machine_id: str, at: float) -> bool:
        """Whether an acknowledged lease is in force at an instant; a clock that is set back revives none."""
        return any(
            lease.machine_id == machine_id and lease.since < at < self.lease_end(lease) for lease in self.leases
        )

    def lease_end(self, lease: Lease) -> float:
        """When a lease ended: after the time that it was asked for, or because another took its place.

        Small steps ahead, which the provider's clock does not contradict, may take that much off it after a restart.
        """
        lasts = (lease.expires - self.latest(lease.since)).total_seconds()
        ahead = sum(by for when, by in self.steps if when > lease.since and 0 < by <= APART)
        return min(lease.since + max(0.0, lasts - ahead), lease.until)

    def _offset(self, at: float) -> float:
        """Seconds by which the wall clock is ahead of the provider's."""
        return sum(by for when, by in self.steps if when <= at)

    def silent(self, at: float) -> bool:
        """Whether the idle sources knew nothing at an instant."""
        return any(since <= at < until for since, until in self.silences)


APART = 300.0
"""Seconds: docs/decisions/0013-which-clock.md."""
EPOCH = datetime(2026, 3, 2, 0, 0, tzinfo=UTC)
"""A Monday."""
