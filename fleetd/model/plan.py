"""What a pass sees and what it decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType

from fleetd.model.machine import Machine
from fleetd.model.reasons import Reason, Verb


class Check(StrEnum):
    """A policy check that is due: by schedule, and at start."""

    SHUTDOWN_TIMEOUT = "shutdown_timeout_check"
    SNAPSHOT = "snapshot_check"


Due = Mapping[str, frozenset[Check]]
"""The checks that are due, by machine id."""
NOTHING_DUE: Due = MappingProxyType({})


NOT_WHOLE = "the listing is not whole"


def why_undecided(*, complete: bool, rejected: str | None) -> str | None:
    """Why nothing is decided on a look; None where it is good."""
    return rejected or (None if complete else NOT_WHOLE)


@dataclass(frozen=True, slots=True)
class Listing:
    """What ``Cloud.list`` returns: every machine that the key can see, each id once."""

    machines: tuple[Machine, ...]
    complete: bool = True
    """False when a page is missing, or when pages shifted under the reader."""
    problem: str = ""
    """Why it is not complete."""
    unidentified: int = 0
    """Entries without an id that can be read: any machine that the listing lacks may be one of them."""


@dataclass(frozen=True, slots=True)
class Observation:
    """The world at one moment, with what is known of how far it can be trusted."""

    at: datetime
    """When the listing was asked for."""
    machines: tuple[Machine, ...]
    complete: bool = True
    problem: str = ""
    """Why it is not complete."""
    rejected: str | None = None
    """Why nothing may be built on it; None when it is sane."""
    gone: frozenset[str] = frozenset()
    """Ids that the listing lacks and ``show`` does not know either: proven gone."""
    shown: Mapping[str, Machine] = field(default_factory=lambda: MappingProxyType({}))
    """By id, with their events: the machines that had to be looked at closer."""
    unverified: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """By id, why: the machines that are listed otherwise than they were left, or not so that it can be read, while
    ``show`` fails. Their state is ``UNVERIFIED``, so each keeps its place in its fleet and is left alone."""
    unidentified: int = 0
    """Entries of the listing without an id that can be read."""
    leaving: frozenset[str] = frozenset()
    """Ids of machines that somebody else destroys, or may, by what ``show`` says (``planner.leaving``). They are
    among ``machines`` while it finds them, and nothing else waits for them."""

    @property
    def sane(self) -> bool:
        """Whether creates, stops and destroys may be decided on it."""
        return self.complete and self.rejected is None

    @property
    def undecided(self) -> str | None:
        """Why nothing is decided on it; None where it is sane."""
        return why_undecided(complete=self.complete, rejected=self.rejected)

    @property
    def doubt(self) -> str | None:
        """The same, with the provider's side of it."""
        return None if self.sane else self.rejected or self.problem or NOT_WHOLE


@dataclass(frozen=True, slots=True)
class Action:
    """One call that the planner decided."""

    verb: Verb
    fleet: str
    reason: Reason
    machine: str | None = None
    """Machine id; None for a create."""
    name: str = ""
    """Machine name; "" for a create, whose token is drawn when the intent is written."""
    expected_state: str | None = None
    hourly_delta: Decimal | None = Decimal(0)
    """Dollars an hour; None when the price is not known."""
    changes: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    """For an update: what to change, by the port's names."""
    evidence: str | None = None
    """Why the machine was thought idle, or the operator's words."""
    actor: str = "fleetd"
    even_if_busy: bool = False
    """An operator wants it although somebody uses the machine."""


@dataclass(frozen=True, slots=True)
class Skip:
    """One thing that is not done, and why."""

    fleet: str
    verb: Verb | None
    """What is not being done; None when nothing could be."""
    reason: Reason
    machine: str | None = None
    name: str = ""
    until: datetime | None = None
    """When this may change by itself; None when a person or the world has to change it."""
    detail: str = ""
    """Numbers and the provider's words, for the sentence that explains it."""
    count: int = 1
    """How many machines it is about, where they have no names yet."""
    since: datetime | None = None
    """Since when it has come to nothing, for what was tried and is tried again."""


@dataclass(frozen=True, slots=True)
class NextChange:
    """What the config will make of a fleet when a window opens or closes."""

    at: datetime
    target: int
    window: str | None
    """The one in force from then on; None outside of all."""
    parked: bool


_COUNTED = (Verb.CREATE, Verb.START, Verb.STOP, Verb.DESTROY)
"""What changes how many machines there are; a setting that cannot be mended keeps no fleet from its target."""


@dataclass(frozen=True, slots=True)
class Unlike:
    """Machines of a fleet that are otherwise than the config would make them."""

    what: str
    """machineType or region."""
    found: str
    wanted: str
    count: int


@dataclass(frozen=True, slots=True)
class FleetView:
    """One fleet as a pass saw it."""

    target: int
    """After windows."""
    configured_target: int
    window: str | None
    up: int
    rising: int
    falling: int
    down: int
    unknown: int
    intents: int
    """Open create intents without a machine."""
    hourly: Decimal | None = None
    parked: bool = False
    """A window is open in which idle machines are stopped and nothing is started."""
    next_change: NextChange | None = None
    """None without windows."""
    leaving: int = 0
    """Being destroyed by somebody else: they hold no place, and nothing waits for them."""
    no_effect: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """By verb: for how many machines it is wanted and has come to nothing, until one has its effect."""
    unlike: tuple[Unlike, ...] = ()
    """They are kept: a change of the ``machine`` table replaces nothing."""

    @property
    def converged(self) -> bool:
        """At target, with nothing on the way up or down and nothing unaccounted for."""
        at_target = self.up <= self.target if self.parked else self.up == self.target
        stuck = any(self.no_effect.get(verb) for verb in _COUNTED)
        return at_target and not (self.rising or self.falling or self.intents or self.unknown or stuck)


@dataclass(frozen=True, slots=True)
class OrphanView:
    """Machines that a fleetd made for a fleet which this config lacks: billed, and nobody looks after them."""

    fleet: str
    """The fleet that they were made for."""
    machines: tuple[str, ...]
    """Names."""
    billed: int
    """How many are billed by the hour now; a stopped one pays for storage only."""
    hourly: Decimal | None
    """Dollars an hour; None when the price of one that is billed is not known."""


@dataclass(frozen=True, slots=True)
class OverCap:
    """A cap that is passed already: fleetd adds nothing, and stops nothing because of it."""

    fleet: str | None
    """None: the cap of all fleets together."""
    hourly: Decimal
    """Dollars an hour that run now."""
    cap: Decimal


WARN_AT = 0.8
"""Committed share of a budget from which on it is reported."""


@dataclass(frozen=True, slots=True)
class BudgetView:
    """One monthly budget. Dollars."""

    fleet: str | None
    """None: the budget of everything together."""
    month: str
    """``YYYY-MM``, UTC."""
    budget: Decimal
    """0: none is configured."""
    spent: Decimal | None
    """Billed in the month so far, at the most; None when a price is not known."""
    committed: Decimal | None
    """What was billed, and what the machines that run now will cost by the end of the month, windows honoured."""
    wanted: Decimal | None
    """As ``committed``, with every fleet at its target from now on."""
    used_up_at: datetime | None
    """When ``wanted`` passes the budget; None when it does not in this month."""
    at_most: bool = False
    """The provider has not told all: ``spent`` may be less."""
    unbilled: tuple[str, ...] = ()
    """Machines whose bill is not known; in ``spent`` as if they had run since they were made."""

    @property
    def share(self) -> float:
        """Committed money as a share of the budget; 0 when it is not known, or there is none."""
        return float(self.committed / self.budget) if self.committed is not None and self.budget > 0 else 0.0

    @property
    def is_short(self) -> bool:
        """Whether it is used up, or soon, or not known to last."""
        return self.budget > 0 and (self.committed is None or self.share >= WARN_AT or self.used_up_at is not None)


@dataclass(frozen=True, slots=True)
class Unconfirmed:
    """A machine of ours that is not destroyed before a person has confirmed it."""

    machine: str
    """Id."""
    name: str
    fleet: str
    reason: Reason
    """``RECOVERED``, or ``ADOPTED_BY_GLOB``."""


@dataclass(frozen=True, slots=True)
class Later:
    """What the guards' limits of one pass leave to the passes after it, as things stand.

    What is decided only then is not in it: a fleet short of its target drops nothing that is beyond its standby.
    """

    counts: Mapping[Verb, int]
    hourly: Decimal | None
    """Dollars an hour when all of it is done, and what is under way has ended; None when a price is not known."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What the next pass does and does not do."""

    at: datetime
    complete: bool
    """False when the observation was not sane, so that the plan is not the whole truth."""
    fleets: Mapping[str, FleetView]
    actions: tuple[Action, ...]
    skips: tuple[Skip, ...]
    hourly_before: Decimal | None
    """Dollars an hour of everything that a fleetd made, orphans included."""
    hourly_after: Decimal | None
    orphans: tuple[OrphanView, ...] = ()
    over_caps: tuple[OverCap, ...] = ()
    budgets: tuple[BudgetView, ...] = ()
    unconfirmed: tuple[Unconfirmed, ...] = ()
    clocks_apart: str | None = None
    """By how much our clock and the provider's differ, in words; None while they agree, or it tells no time."""
    later: Later | None = None
    """What follows, where the guards have cut the plan; None where they have not."""
