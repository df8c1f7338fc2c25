"""What is told of fleets, machines and the daemon: ``status --json``, as values.

Made once from a look (``engine.status``), encoded once (``encoded``), decoded once where it arrives (``decoded``);
whatever shows it takes these values. Codes are members of their enums, those of a daemon of another version
too (``Word``). Instants are aware, money is in dollars, None where it is not known.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from fleetd.model.in_mind import NOTHING, InMind
from fleetd.model.instant import Instant
from fleetd.model.journal import Hold
from fleetd.model.machine import Phase
from fleetd.model.plan import BudgetView, NextChange, OrphanView, OverCap, Skip, Unlike, why_undecided
from fleetd.model.reasons import Activity, Reason, Standing, Verb, VetoKind

FORMAT = 1
"""Version of the JSON documents; it grows when a field changes its meaning."""

T = TypeVar("T")


class StepReport(Struct, frozen=True, kw_only=True):
    """One open transition."""

    verb: Verb
    reason: Reason
    intent: int
    since: Instant
    deadline: Instant
    ambiguous: bool = False
    """Its answer was lost, and it is not known yet whether the call arrived."""


class VetoReport(Struct, frozen=True, kw_only=True):
    """One hold or freeze."""

    id: int
    kind: VetoKind
    subject: str | None
    """As it was typed: a machine for a hold, a fleet for a freeze, None for a freeze of everything."""
    machine: str | None = None
    """Id of the machine that is held, where it is known."""
    verbs: tuple[Verb, ...] = ()
    """What it forbids, sorted."""
    reason: str
    actor: str
    created_at: Instant
    expires_at: Instant

    @property
    def keeps_off(self) -> bool:
        """Whether it is what an operator's stop leaves behind: the machine is not to be started for a while."""
        return self.kind == VetoKind.HOLD and self.verbs == (Verb.START,)


class UseReport(Struct, frozen=True, kw_only=True):
    """Whether somebody uses a machine, by its idle sources."""

    verdict: Activity
    since: Instant | None = None
    """Since when it is idle; None unless it is."""
    evidence: str = ""
    unknown_s: float = 0
    """For how many seconds it has been unknown although somebody should know."""


class MachineReport(Struct, frozen=True, kw_only=True):
    """One machine of the account."""

    id: str | None
    """None while its create waits for an answer."""
    name: str
    former_name: str | None = None
    """What it was called when it was first seen, where that is something else."""
    fleet: str | None
    state: str
    """As the provider spells it."""
    phase: Phase
    owned: bool
    leaving: bool = False
    """Somebody else destroys it."""
    look_alike: bool = False
    unconfirmed: str | None = None
    """Why it is not destroyed before a person has confirmed it."""
    transition: StepReport | None = None
    hold: VetoReport | None = None
    type: str | None = None
    private_ip: str | None = None
    public_ip: str | None = None
    up_since: Instant | None = None
    state_since: Instant | None = None
    """Since when at the least it is as it is."""
    failure: str | None = None
    stopped_by: str | None = None
    stopped_at: Instant | None = None
    idle: UseReport | None = None
    standing: Standing | None = None
    turned_outside: int = 0
    """How often somebody else has turned it within an hour."""

    @property
    def kept_off(self) -> bool:
        """Whether a hold keeps it off; one that is up may be held against a start as well, and is up all the same."""
        goes = self.phase in {Phase.DOWN, Phase.FALLING}
        return self.hold is not None and self.hold.keeps_off and goes

    @property
    def since(self) -> Instant | None:
        """Since when it is in its transition, or as it is."""
        return self.transition.since if self.transition is not None else self.state_since or self.up_since


class FleetNumbers(Struct, frozen=True, kw_only=True):
    """One fleet in numbers; see ``FleetView``."""

    target: int
    configured_target: int
    window: str | None = None
    up: int
    rising: int
    falling: int
    down: int
    unknown: int
    intents: int
    leaving: int = 0
    no_effect: dict[str, int] = {}
    unlike: tuple[Unlike, ...] = ()


class FleetReport(FleetNumbers, frozen=True, kw_only=True):
    """One fleet, as it was believed last."""

    converged: bool
    """At its target, and that is believed now."""
    was_converged: bool = False
    """At its target when it was believed last."""
    hourly: Decimal | None = None
    parked: bool = False
    next: NextChange | None = None


class BlockedReport(Struct, frozen=True, kw_only=True):
    """One thing that is not being done; see ``Skip``."""

    fleet: str
    machine: str | None = None
    name: str | None = None
    verb: Verb | None = None
    reason: Reason
    until: Instant | None = None
    detail: str | None = None
    count: int = 1
    since: Instant | None = None


class LastPass(Struct, frozen=True, kw_only=True):
    """The pass that ended last."""

    id: int = 0
    at: Instant
    """When it began."""
    duration_s: float
    actions: int = 0


class LastFault(Struct, frozen=True, kw_only=True):
    """The fault in fleetd's own code that was met last."""

    at: Instant
    where: str
    error: str


class StandbyReport(Struct, frozen=True, kw_only=True):
    """One replica that stands by."""

    about: str
    """Its host and pid."""
    config: str | None = None
    """The config file that it would act on."""
    config_differs: bool = False
    """What that says is not what the holder's says: with a takeover something would change."""
    config_fault: str | None = None
    """Why its last reload was rejected; it would act on what it had read before."""


class LeaseReport(Struct, frozen=True, kw_only=True):
    """Which of several replicas acts, as the database has it."""

    holder: str | None
    """Its host and pid; None while none has the lease."""
    since: Instant | None = None
    epoch: int
    """How often the lease has been taken."""
    reason: str | None = None
    """How the holder came by it, or the last one did: first, given_back, stepped_down or expired."""
    before: str | None = None
    """Who had it before."""
    takeovers: dict[str, int] = {}
    """How often it was taken, by the reason."""
    standbys: tuple[StandbyReport, ...] = ()
    shown_by: str | None = None
    """The standby that shows this; None where the holder itself does."""
    word_at: Instant | None = None
    """Of a standby: when a holder said last how everything stands, by this host's clock."""


class DaemonReport(Struct, frozen=True, kw_only=True):
    """The daemon itself, or that none runs."""

    running: bool
    command: str | None = None
    """run or apply."""
    pid: int | None = None
    since: Instant | None = None
    stopping_since: Instant | None = None
    """When it was told to stop: it begins nothing since then, and ends when its calls have been answered."""
    config: str | None = None
    config_since: Instant | None = None
    config_fault: str | None = None
    """Why the last reload was rejected."""
    config_fault_since: Instant | None = None
    """When it was."""
    last_pass: LastPass | None = None
    provider: str | None = None
    """ok, unavailable or key_refused."""
    provider_until: Instant | None = None
    """When the next pass begins, where the provider asked to be left alone."""
    clock_ahead_s: float | None = None
    provider_remarks: tuple[str, ...] = ()
    error: str | None = None
    """Why the last pass failed."""
    faults: int = 0
    last_fault: LastFault | None = None
    answers: bool | None = None
    """False of one that holds the state directory and does not answer: the rest is from the journal and the API."""
    why: str | None = None
    """Why it does not."""
    lease: LeaseReport | None = None
    """With ``daemon.state``; the daemon is the one that has it, on this host or another."""

    @property
    def provider_away(self) -> bool:
        """Whether the provider was asked, and is not there."""
        return self.provider not in {None, "ok"}


class SightReport(Struct, frozen=True, kw_only=True):
    """How far what is shown of fleets and machines can be relied on."""

    at: Instant | None = None
    """Of the last look."""
    complete: bool = False
    rejected: str | None = None
    """Why nothing is decided on the last look."""
    believed_at: Instant | None = None
    """Of the last look that was believed: what is shown is as of then."""
    doubted_since: Instant | None = None
    """Since when none has been believed; None while the last one is."""
    doubt: str | None = None

    @property
    def undecided(self) -> str | None:
        """Why nothing is decided on the last look; None where it is good."""
        return why_undecided(complete=self.complete, rejected=self.rejected)


UNSEEN = SightReport(complete=True)
"""Of a report that nobody has looked for."""


class Report(Struct, frozen=True, kw_only=True):
    """Everything at one moment."""

    format: int = FORMAT
    daemon: DaemonReport
    fleets: dict[str, FleetReport] = {}
    """In the config's order."""
    machines: tuple[MachineReport, ...] = ()
    """By name."""
    blocked: tuple[BlockedReport, ...] = ()
    vetoes: tuple[VetoReport, ...] = ()
    hourly: Decimal | None = None
    """Of everything that a fleetd made, orphans included."""
    orphans: tuple[OrphanView, ...] = ()
    over_caps: tuple[OverCap, ...] = ()
    budgets: tuple[BudgetView, ...] = ()
    clocks_apart: str | None = None
    observation: SightReport | None = None
    max_hourly_cost: Decimal | None = None
    in_mind: InMind = NOTHING
    """What a plan beside the daemon goes by; of the whole account, and not of one fleet."""

    @property
    def sight(self) -> SightReport:
        """``observation``; of a report without one there is nothing to doubt."""
        return UNSEEN if self.observation is None else self.observation


def encoded(report: object) -> bytes:
    """As JSON, times in UTC with a Z, money as decimal strings."""
    try:
        return msgspec.json.encode(report)
    except UnicodeEncodeError:  # half a surrogate pair: a file's name may hold one
        return json.dumps(document(report)).encode()


def decoded(answer: bytes, kind: type[T]) -> T:
    """What ``encoded`` wrote.

    Raises:
        ValueError: it is something else.
    """
    try:
        return msgspec.json.decode(answer, type=kind)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        return msgspec.convert(json.loads(answer), kind)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def document(report: object) -> Any:
    """The same as plain objects, for ``--json``."""
    return msgspec.to_builtins(report)


def veto_report(hold: Hold) -> VetoReport:
    """One veto."""
    return replace(msgspec.convert(hold, VetoReport, from_attributes=True), verbs=tuple(sorted(hold.verbs)))


def blocked_report(skip: Skip) -> BlockedReport:
    """One thing that is not being done."""
    told = msgspec.convert(skip, BlockedReport, from_attributes=True)
    return replace(told, name=skip.name or None, detail=skip.detail or None)
