"""One fleet's part of a plan while it is being decided: what is done, what is not, and what may not be touched."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal

from fleetd.model.fleet import Fleet
from fleetd.model.journal import Hold, Memory, Setback, setback_key
from fleetd.model.machine import Machine
from fleetd.model.plan import Action, Skip
from fleetd.model.reasons import Reason, Verb, VetoKind, known
from fleetd.model.vetoes import veto_detail
from fleetd.planner.idle import lost_until, may_lose, may_park, parkable_at
from fleetd.planner.policies import snapshot_veto
from fleetd.planner.rates import BILLED, member_rate
from fleetd.planner.roster import Roster

OnFault = Callable[[str, Exception], str]
"""Told where a fault in the planner's own code was met (``machine`` or ``fleet``), and which; gives its words."""

SOMEONE_IS_AT_IT = frozenset({"restarting", "upgrading"})
"""States that fleetd does not bring about by itself: a person does, to a machine that has been ready before."""


@dataclass(slots=True)
class Draft:
    """The roster and the memory that it is decided on, and what has been decided so far."""

    members: Roster
    memory: Memory
    now: datetime
    observed_at: datetime
    prices: Mapping[str, Decimal]
    unverified: Mapping[str, str] = field(default_factory=dict)
    """By machine id: why its state is not known."""
    on_fault: OnFault | None = None
    """None: a fault is raised."""
    unconfirmed: Mapping[str, Reason] = field(default_factory=dict)
    """By machine id, why it is not destroyed before a person has confirmed it."""
    actions: list[Action] = field(default_factory=list)
    skips: list[Skip] = field(default_factory=list)
    taken: set[str] = field(default_factory=set)
    """Machines that an action is decided for: the calls are made side by side, so no other rule acts on these."""

    @property
    def fleet(self) -> Fleet:
        """The fleet that it is about."""
        return self.members.fleet

    def alone(self, machine: Machine, work: Callable[[], None]) -> None:
        """Do what is about this machine only: a fault met in it leaves the machine alone, and is nobody else's."""
        try:
            work()
        except Exception as error:
            if self.on_fault is None:
                raise
            self.actions = [a for a in self.actions if a.machine != machine.id]
            self.taken.add(machine.id)
            self.skip(None, Reason.INTERNAL_FAULT, machine, detail=self.on_fault("machine", error))

    def departing(self, machine: Machine) -> bool:
        """Whether a stop or destroy of it, that came to nothing, may have its effect yet: no other goes in its place.

        One that came up since has had that effect, or will not have it.
        """
        found = self.memory.departing.get(machine.id)
        facts = self.memory.facts.get(machine.id)
        since = None if facts is None else facts.up_since
        return found is not None and machine.id not in self.taken and (since is None or since <= found.at)

    def may_not_touch(self, verb: Verb, machine: Machine, *, needs_idle: bool = False) -> bool:
        """True if no action may touch this machine now; records a skip with the reason."""
        if machine.id in self.taken:
            return True
        if machine.id in self.members.moving or machine.state in SOMEONE_IS_AT_IT:
            moving = self.members.moving.get(machine.id)
            until = None if moving is None else moving.deadline_at
            self.skip(verb, Reason.IN_TRANSITION, machine, until=until, detail=machine.state)
            return True
        if self.vetoed(verb, machine) or self.refused(verb, machine):
            return True
        if not needs_idle and (machine in self.members.rising or self.fleet.idle is None):
            # Nobody can use a machine that has not come up, and nobody tells of one without sources. But somebody may
            # be restarting it, or wait for it, or has leased it.
            return self.lately_used(verb, machine)
        facts = self.memory.facts.get(machine.id)
        report = self.memory.idle.get(machine.id)
        # min_uptime is for parking: surplus has no claim to it.
        reason = (
            may_park(self.fleet, facts, report, self.now) if needs_idle else may_lose(self.fleet, report, self.now)
        )
        if reason is None:
            return False
        until = parkable_at(self.fleet, facts, report, reason)
        self.skip(
            verb, reason, machine, until=until, detail=report.evidence if report is not None else "no reading yet"
        )
        return True

    def leased(self, verb: Verb, machine: Machine) -> bool:
        """Whether a lease on it is in force, of whatever fleet it is; records a skip."""
        until = self.memory.leased.get(machine.id)
        if until is None or until <= self.now:
            return False
        self.skip(verb, Reason.BUSY, machine, until=until, detail="leased")
        return True

    def lately_used(self, verb: Verb, machine: Machine) -> bool:
        """Whether it is leased, or may have been used within ``idle.after``, where no source can tell; says so."""
        if self.leased(verb, machine):
            return True
        facts, leased = self.memory.facts.get(machine.id), self.memory.leased.get(machine.id)
        if facts is not None and facts.failure is not None and machine in self.members.rising:
            facts = None  # a start that came to nothing: it was fleetd that tried
        until = lost_until(self.fleet, facts, leased, self.now, self.memory.theirs(self.now))
        if until is None:
            return False
        used = until - self.fleet.idle.after if self.fleet.idle is not None else until
        words = f"it was up or leased until {used:%Y-%m-%d %H:%M:%S} UTC"
        self.skip(verb, Reason.NOT_IDLE_LONG_ENOUGH, machine, until=until, detail=words)
        return True

    def puzzled(self, verb: Verb | None, machine: Machine) -> None:
        """Say that a machine is of no phase that fleetd knows, so that nothing is done to it."""
        moving = self.members.moving.get(machine.id)
        if moving is not None and not known(moving.verb):
            self.skip(verb, Reason.IN_TRANSITION, machine, until=moving.deadline_at, detail=str(moving.verb))
            return
        why = self.unverified.get(machine.id)
        reason = Reason.UNKNOWN_STATE if why is None else Reason.OBSERVATION_REJECTED
        self.skip(verb, reason, machine, detail=why or machine.unreadable or machine.state)

    def vetoed(self, verb: Verb, machine: Machine) -> bool:
        """Whether a hold or freeze forbids it; says so."""
        found = veto(self.memory, verb, self.fleet.name, machine, self.now)
        if found is None:
            return False
        self.skip(verb, veto_reason(found), machine, until=found.expires_at, detail=veto_detail(found))
        return True

    def refused(self, verb: Verb, machine: Machine, reason: Reason | None = None) -> bool:
        """Whether the provider declined it not long ago, or it came to nothing; says so."""
        found = self.set_back(verb, machine, reason)
        if found is not None:
            self.skips.append(found)
        return found is not None

    def set_back(
        self, verb: Verb, machine: Machine | None, reason: Reason | None = None, *, count: int = 1
    ) -> Skip | None:
        """Why what came to nothing not long ago is not tried again yet, or None. ``machine`` is None for a create."""
        subject = self.fleet.name if machine is None else machine.id
        keys = {setback_key(verb, subject), setback_key(verb, subject, reason)}
        found = [
            (setback, setback.why or why)
            for why, known in (
                (Reason.REFUSED_RECENTLY, self.memory.refusals),
                (Reason.NO_EFFECT, self.memory.futile),
            )
            for setback in (known[key] for key in sorted(keys & known.keys()))
            if self.now < setback.until
        ]
        if not found:
            return None
        setback, why = max(found, key=lambda one: one[0].until)
        detail = tried(setback) if why is Reason.NO_EFFECT else setback.words
        skip = self.make_skip(verb, why, machine, until=setback.until, detail=detail, count=count)
        return replace(skip, since=setback.since)

    def strange(self, machine: Machine) -> bool:
        """Whether a person has to confirm that the machine is ours before it is destroyed; says so."""
        why = self.unconfirmed.get(machine.id)
        if why is not None:
            self.skip(Verb.DESTROY, why, machine)
        return why is not None

    def snapshot_veto(self, machine: Machine) -> str | None:
        """Why ``destroy_requires_snapshot`` blocks the destroy (a skip is recorded), or None."""
        why = snapshot_veto(self.fleet, self.memory.snapshots.get(machine.id), self.now)
        if why is not None:
            self.skip(Verb.DESTROY, Reason.SNAPSHOT_TOO_OLD, machine, detail=why)
        return why

    def act(self, verb: Verb, reason: Reason, machine: Machine, *, evidence: str | None = None) -> None:
        """Do it."""
        self.take(
            Action(
                verb,
                self.fleet.name,
                reason,
                machine=machine.id,
                name=machine.name,
                expected_state=machine.state,
                hourly_delta=self.delta(verb, machine),
                evidence=evidence,
                changes=self._released(machine) if verb is Verb.DESTROY else {},
            )
        )

    def delta(self, verb: Verb, machine: Machine) -> Decimal | None:
        """What it changes in dollars an hour; None when the price is not known."""
        if verb is Verb.RESTART or (verb is not Verb.START and machine.phase not in BILLED):
            return Decimal(0)
        rate = member_rate(self.fleet, machine, self.prices)
        return rate if rate is None or verb is Verb.START else -rate

    def _released(self, machine: Machine) -> Mapping[str, object]:
        """What a destroy gives back besides the machine: the address that this fleet's create assigned.

        Not one that a person has given it since. Of a machine from before creates were remembered the config tells.
        """
        facts, known = self.memory.facts.get(machine.id), self.memory.addresses
        if machine.id in known:
            assigned = known[machine.id] in {None, machine.public_ip}
        else:
            made_here = facts is None or not facts.adopted
            assigned = self.fleet.parameters.get("assignPublicIp") is True and made_here
        return {"release_public_ip": True} if assigned and self.fleet.release_public_ip else {}

    def take(self, action: Action) -> None:
        """Do it, and nothing else to its machine in this plan."""
        self.actions.append(action)
        if action.machine is not None:
            self.taken.add(action.machine)

    def skip(
        self,
        verb: Verb | None,
        reason: Reason,
        machine: Machine,
        *,
        until: datetime | None = None,
        detail: str = "",
    ) -> None:
        """Do not do it, and say why."""
        self.skips.append(self.make_skip(verb, reason, machine, until=until, detail=detail))

    def make_skip(
        self,
        verb: Verb | None,
        reason: Reason,
        machine: Machine | None,
        *,
        until: datetime | None = None,
        detail: str = "",
        count: int = 1,
    ) -> Skip:
        """The words for not doing it."""
        return Skip(
            fleet=self.fleet.name,
            verb=verb,
            reason=reason,
            machine=machine.id if machine is not None else None,
            name=machine.name if machine is not None else "",
            until=until,
            detail=detail,
            count=count,
        )


def tried(setback: Setback) -> str:
    """How often it came to nothing, and the last words: ``3 times since 2026-03-02 20:00 UTC: host is gone``."""
    times = "once" if setback.attempt <= 1 else f"{setback.attempt} times"
    since = "" if setback.since is None or setback.attempt <= 1 else f" since {setback.since:%Y-%m-%d %H:%M} UTC"
    return f"{times}{since}: {setback.words}"


def veto(memory: Memory, verb: Verb, fleet: str, machine: Machine | None, now: datetime) -> Hold | None:
    """The hold or freeze that forbids it, the longest-lasting one of several."""
    machine_id = machine.id if machine is not None else None
    name = machine.name if machine is not None else ""
    found = [h for h in memory.holds if h.forbids(verb, fleet=fleet, machine_id=machine_id, name=name, now=now)]
    return max(found, key=lambda h: h.expires_at, default=None)


def veto_reason(hold: Hold) -> Reason:
    """The reason code of what a veto forbids."""
    return Reason.FROZEN if hold.kind == VetoKind.FREEZE else Reason.HELD
