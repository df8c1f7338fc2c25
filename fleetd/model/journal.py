"""What is remembered between passes: intents, holds, backoffs, facts about machines, history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from types import MappingProxyType

from fleetd.model.machine import Machine, SnapshotSight
from fleetd.model.reasons import Activity, Outcome, Reason, Verb, VetoKind
from fleetd.model.regions import normal_region


@dataclass(frozen=True, slots=True)
class Intent:
    """The journal's record of an action, written and synced before the call.

    Its life: written -> accepted (the provider said yes; a transition is followed) -> closed with an outcome.
    A create whose answer was lost is *ambiguous*: ``machine_id`` is None and ``ambiguous_since`` is set.
    A create that is neither accepted nor ambiguous is under way, or was when the process died.
    """

    id: int
    fleet: str
    verb: Verb
    reason: Reason
    name: str
    created_at: datetime
    deadline_at: datetime
    machine_id: str | None = None
    parameters: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    """Of the call; of a start the machine's region and type, which a lack of capacity is remembered under."""
    expected_state: str | None = None
    """The state that the plan saw; the fresh look must agree."""
    baseline_event: str | None = None
    """Handle of the machine's newest event before the call ("" when it had none): younger ones belong to this
    transition. None when nobody looked."""
    accepted_at: datetime | None = None
    ambiguous_since: datetime | None = None
    closed_at: datetime | None = None
    outcome: Outcome | None = None
    error: str | None = None
    actor: str = "fleetd"
    evidence: str | None = None
    """Why the machine was thought idle, in words."""

    @property
    def capacity_key(self) -> tuple[str, str] | None:
        """(region, machineType) of a create or start; None where it was written without.

        A create's region is as the config spells it, and a shortage is asked about by the region's full name.
        """
        region, machine_type = self.parameters.get("region"), self.parameters.get("machineType")
        return None if region is None or machine_type is None else (normal_region(str(region)), str(machine_type))

    @property
    def subject(self) -> str:
        """What it is about: of a create the fleet's name, else the machine's id."""
        return self.fleet if self.verb is Verb.CREATE else self.machine_id or ""

    @property
    def log_keys(self) -> dict[str, object]:
        """What a log line says of it."""
        return {
            "fleet": self.fleet,
            "machine": self.machine_id,
            "name": self.name,
            "action": str(self.verb),
            "intent": self.id,
        }

    @property
    def ends_up(self) -> bool:
        """Whether its machine is up when it has reached its end; a machine may be made and left off."""
        made_off = self.verb is Verb.CREATE and self.parameters.get("startOnCreate") is False
        return self.verb not in {Verb.STOP, Verb.DESTROY} and not made_off


OUTSIDE = "outside"
"""History's verb for a change that fleetd did not ask for."""
GONE = "gone"
"""The state of a machine that the provider does not list any more."""


CHRONICLED = frozenset({"daemon", "config", "provider", "listing", "lease"})
"""First words of the history lines that are about fleetd itself and what it sees, and about no machine."""


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One line of ``fleetd history``: an action's outcome or a change from outside."""

    ts: datetime
    fleet: str
    machine: str | None
    name: str
    verb: str
    """A Verb, ``OUTSIDE``, an order's word, or one of ``CHRONICLED``."""
    reason: str
    outcome: Outcome
    intent: int | None = None
    duration_s: float | None = None
    error: str | None = None
    actor: str = "fleetd"
    evidence: str | None = None

    @property
    def tells_gone(self) -> bool:
        """Whether it is of a machine that was found to be gone although fleetd did not destroy it."""
        return self.verb == OUTSIDE and (self.error or "").endswith(f"-> {GONE}")


@dataclass(frozen=True, slots=True)
class BilledMonth:
    """What one machine used in one billing month, as far as the provider had told it at ``as_of``.

    Kept for good: a machine that goes, or whose fleet leaves the config, has been billed all the same. What was used
    is added up from answer to answer, each step at the prices before and after it, because the provider names but
    one price a month: the one that holds when it is asked.
    """

    month: str
    """``YYYY-MM``, UTC."""
    machine_id: str
    fleet: str
    name: str
    as_of: datetime
    seconds_used: float | None
    """None: the provider does not say."""
    hourly_rate: Decimal | None
    """The newest."""
    storage_seconds_used: float
    storage_monthly_rate: Decimal | None
    gone: bool = False
    """The machine is no more: nothing is added to this."""
    at_most: bool = False
    """It may have been used after ``as_of``, until it went; where ``gone_at`` is None, ``seconds_used`` has that."""
    machine_type: str | None = None
    spent_least: Decimal | None = None
    """Dollars by the hour until ``as_of``, at the least; None: ``seconds_used`` at ``hourly_rate``."""
    spent_most: Decimal | None = None
    stored_least: Decimal | None = None
    """Dollars for storage until ``as_of``, likewise."""
    stored_most: Decimal | None = None
    off: bool = False
    """It was off at ``as_of``, and whenever it was looked at since."""
    gone_at: datetime | None = None
    """When it was known to be no more, at the latest."""
    more_seconds: float = 0.0
    """For how long it may have run after ``as_of``, until it was seen to be off, or known to be no more."""


@dataclass(frozen=True, slots=True)
class Hold:
    """A human's veto: on one machine, or (as a freeze) on a fleet or on everything."""

    id: int
    subject: str | None
    """As it was typed: machine id or name for a hold, fleet name for a freeze, None for a freeze of everything."""
    kind: VetoKind
    reason: str
    actor: str
    created_at: datetime
    expires_at: datetime
    verbs: frozenset[Verb] = frozenset(Verb)
    """The verbs that it forbids."""
    machine: str | None = None
    """Id of the machine that was called so when a hold was given; None where nobody could tell, and of a freeze."""

    @property
    def keeps_off(self) -> bool:
        """Whether it is what an operator's stop leaves behind: the machine is not to be started for a while."""
        return self.kind == VetoKind.HOLD and self.verbs == {Verb.START}

    def forbids(self, verb: Verb, *, fleet: str, machine_id: str | None, name: str, now: datetime) -> bool:
        """Whether it stands in the way of ``verb`` on that machine now."""
        if now >= self.expires_at or verb not in self.verbs:
            return False
        if self.kind not in set(VetoKind):  # of another version: whatever it may be on
            return self.subject in {None, fleet, machine_id, name}
        if self.kind == VetoKind.FREEZE:
            return self.subject is None or self.subject == fleet
        return self.is_on(machine_id, name)

    def is_on(self, machine_id: str | None, name: str) -> bool:
        """Whether it is a hold on that machine, whatever that is called by now."""
        if self.kind != VetoKind.HOLD:
            return False
        return self.subject in {machine_id, name} if self.machine is None else self.machine == machine_id


@dataclass(frozen=True, slots=True)
class KeptLease:
    """A job's word that its machine is in use, or was; one for each source."""

    machine: str
    source: str
    began: datetime
    """When it was taken or renewed."""
    until: datetime
    actor: str


@dataclass(frozen=True, slots=True)
class Backoff:
    """After a capacity failure: no create or start for this (region, machineType) until then."""

    region: str
    machine_type: str
    attempt: int
    until: datetime
    reason: str
    """The provider's own words."""


@dataclass(frozen=True, slots=True)
class Setback:
    """A call that came to nothing, once or several times in a row: when it may be tried again."""

    until: datetime
    words: str
    """The provider's own, as far as it gave any."""
    since: datetime | None = None
    """When it came to nothing for the first time; None where nobody knows."""
    attempt: int = 1
    """How often in a row; 0 is one that is forgiven: it may be tried again at once."""
    baseline: str | None = None
    """``Intent.baseline_event`` of the last attempt: the events after it show whose a late effect is."""
    why: Reason | None = None
    """For a declined call: the reason its skip reports."""
    lasts: timedelta | None = None
    """The length of a wait that the provider asked for; None where ``attempt`` tells it."""


@dataclass(frozen=True, slots=True)
class Departure:
    """A stop or destroy that came to nothing, and may have its effect late."""

    at: datetime
    """When it came to nothing."""
    lasts: timedelta
    verb: Verb = Verb.STOP


def setback_key(verb: Verb, subject: str, reason: Reason | None = None) -> str:
    """What a setback is remembered under: the verb, and the machine's id (of a create: the fleet's name).

    A machine has several settings, and an update of one of them says nothing of another: these go by their reason.
    """
    return f"{verb}:{subject}:{reason}" if verb is Verb.UPDATE and reason is not None else f"{verb}:{subject}"


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """What fleetd remembers of a machine that it owns."""

    machine_id: str
    fleet: str
    name: str
    first_seen: datetime
    last_seen: datetime
    last_state: str
    adopted: bool = False
    """Owned only because the config adopts it: no longer ours once ``adopt`` stops matching."""
    first_ready_at: datetime | None = None
    """When it was first seen ready: one that has been ready is never given up before an unready one."""
    up_since: datetime | None = None
    """When it was last seen to come up; None while it is not up."""
    last_up_at: datetime | None = None
    """When it was last seen up."""
    gone_at: datetime | None = None
    """When it was proven gone, although fleetd had not destroyed it."""
    destroyed: bool = False
    """fleetd destroyed it."""
    failure: Outcome | None = None
    """How its last transition ended, when not well; None once it was up again."""
    failure_reason: str | None = None
    stopped_by: str | None = None
    """Why fleetd stopped it last (a ``Reason``), or the class of an outside change."""
    stopped_at: datetime | None = None
    started_by: str | None = None
    """As ``stopped_by``."""
    started_at: datetime | None = None
    unconfirmed: bool = False
    """Ours by its name alone, or by a pattern of ``adopt``: never destroyed before a person has confirmed it."""


@dataclass(frozen=True, slots=True)
class IdleReport:
    """What the idle sources say of one machine, all taken together."""

    verdict: Activity
    idle_since: datetime | None = None
    """Start of the covered, unbroken idle span; None unless idle."""
    evidence: str = ""
    at: datetime | None = None
    unknown_s: float = 0.0
    """For how many seconds it has been unknown although somebody should know."""


@dataclass(frozen=True, slots=True)
class VetoOrder:
    """A hold or freeze that an operator asks for."""

    kind: VetoKind
    subject: str | None
    """Machine id or name for a hold; fleet name, or None for everything, for a freeze."""
    verbs: frozenset[Verb]
    reason: str
    lasts: timedelta


@dataclass(frozen=True, slots=True)
class MachineOrder:
    """What an operator asks for one machine by name."""

    verb: Verb
    """start, stop or restart."""
    subject: str
    """Machine id or name."""
    reason: str
    """The operator's words."""
    even_if_busy: bool = False
    """Stop or restart it although somebody uses it, or nobody can tell."""
    keep_off: timedelta = timedelta(0)
    """For a stop: how long it is not to be started again."""


@dataclass(frozen=True, slots=True)
class Request:
    """An operator's order for one machine of ours: the next pass carries it out, or declines it and says why."""

    verb: Verb
    """start, stop or restart."""
    machine_id: str
    actor: str
    reason: str
    """The operator's words."""
    even_if_busy: bool = False
    keep_off: timedelta = timedelta(0)
    """For a stop: how long it is not to be started again."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Everything that ``plan`` may know besides the config and the observation."""

    intents: tuple[Intent, ...] = ()
    """Open intents only."""
    facts: Mapping[str, MachineFacts] = field(default_factory=lambda: MappingProxyType({}))
    """By machine id, owned machines only, gone ones included until they are forgotten."""
    holds: tuple[Hold, ...] = ()
    backoffs: Mapping[tuple[str, str], Backoff] = field(default_factory=lambda: MappingProxyType({}))
    """By (region, machineType)."""
    refusals: Mapping[str, Setback] = field(default_factory=lambda: MappingProxyType({}))
    """By ``setback_key``: what the provider declined."""
    futile: Mapping[str, Setback] = field(default_factory=lambda: MappingProxyType({}))
    """By ``setback_key``: what the provider accepted, and nothing came of it."""
    departing: Mapping[str, Departure] = field(default_factory=lambda: MappingProxyType({}))
    """By machine id: whose stop or destroy may have its effect late."""
    addresses: Mapping[str, str | None] = field(default_factory=lambda: MappingProxyType({}))
    """By machine id, of creates since this is kept: the static public address that it assigned, "" for none, None for
    one that nobody has seen yet."""
    creates_wait: tuple[datetime, str] | None = None
    """Until when the provider asked creates to wait, and its words."""
    idle: Mapping[str, IdleReport] = field(default_factory=lambda: MappingProxyType({}))
    """By machine id."""
    leased: Mapping[str, datetime] = field(default_factory=lambda: MappingProxyType({}))
    """By machine id: when its newest lease ends or ended, or the newest hold on one that is not up ended."""
    requests: tuple[Request, ...] = ()
    shown: Mapping[str, Machine] = field(default_factory=lambda: MappingProxyType({}))
    """By machine id: machines that a check looked at with ``show``, events included."""
    unjudged: frozenset[str] = frozenset()
    """Ids of machines whose timeout should be enforced, and whose events do not tell when they were started."""
    snapshots: Mapping[str, SnapshotSight] = field(default_factory=lambda: MappingProxyType({}))
    """By machine id: machines whose snapshots were looked at, because a destroy or a check depends on them."""
    bills: tuple[BilledMonth, ...] = ()
    """Of the current month, one a machine that was ours in it."""
    clocks_apart: str | None = None
    """How far our clock and the provider's are apart, where no age can be relied on because of it."""
    clock_ahead: timedelta = timedelta(0)
    """By how much ours is ahead then, negative for behind."""
    provider_failing: timedelta = timedelta(0)
    """For how long the provider has answered nothing but errors."""

    def theirs(self, now: datetime) -> datetime:
        """What the provider's clock reads when ours reads ``now``; the same as long as they agree."""
        return now - self.clock_ahead
