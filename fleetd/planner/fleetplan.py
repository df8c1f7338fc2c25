"""What one fleet wants: the difference between its target and its machines, before the guards cut it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from fleetd.model.fleet import Fleet, ScaleIn
from fleetd.model.journal import Hold, MachineFacts, Memory
from fleetd.model.machine import Machine, Phase
from fleetd.model.plan import Action, Check, Skip
from fleetd.model.reasons import Reason, Verb
from fleetd.planner.costs import fleet_rate, hourly_rate
from fleetd.planner.idle import idle_surge, may_park
from fleetd.planner.policies import Drift, outlived, snapshot_drift, timeout_drift
from fleetd.planner.roster import Roster, start_order, timed_out, victim_order
from fleetd.planner.windows import Effective


@dataclass(slots=True)
class Draft:
    """Actions and skips of one fleet while they are being decided."""

    actions: list[Action] = field(default_factory=list)
    skips: list[Skip] = field(default_factory=list)


def draft(
    members: Roster,
    effective: Effective,
    memory: Memory,
    now: datetime,
    observed_at: datetime,
    prices: Mapping[str, Decimal],
    checks: frozenset[Check],
) -> Draft:
    """The next safe things for one fleet, in order, and what is left undone with its reason."""
    wants = _Wants(members, memory, now, observed_at, prices, Draft())
    wants.report_oddities()
    wants.carry_requests(effective.target)
    wants.police(checks)
    if effective.park_idle:
        wants.park(effective)
        return wants.draft
    short = effective.target - members.have
    if short > 0:
        wants.rise(short, Reason.SHORT_OF_TARGET)
    elif short < 0:
        wants.shrink(len(members.up) + len(members.rising) - effective.target)
    wants.replace_timed_out(short)
    if short <= 0:
        wants.drop_standby()
    return wants.draft


def veto(memory: Memory, verb: Verb, fleet: str, machine: Machine | None, now: datetime) -> Hold | None:
    """The hold or freeze that forbids it, the longest-lasting one of several."""
    machine_id = machine.id if machine is not None else None
    name = machine.name if machine is not None else ""
    found = [h for h in memory.holds if h.forbids(verb, fleet=fleet, machine_id=machine_id, name=name, now=now)]
    return max(found, key=lambda h: h.expires_at, default=None)


@dataclass(slots=True)
class _Wants:
    members: Roster
    memory: Memory
    now: datetime
    observed_at: datetime
    prices: Mapping[str, Decimal]
    draft: Draft
    requested: set[str] = field(default_factory=set)
    """Machines whose next step an operator has already decided."""

    @property
    def fleet(self) -> Fleet:
        return self.members.fleet

    def report_oddities(self) -> None:
        """States that fleetd does not know, and transitions that ran late: said, never acted on."""
        for machine in self.members.unknown:
            self._skip(None, Reason.UNKNOWN_STATE, machine, detail=machine.state)
        for machine in self.members.rising:
            if timed_out(machine, self.memory) and machine.id not in self.members.moving:
                self._skip(None, Reason.TIMED_OUT, machine, detail=machine.state)
        for intent in self.members.creating:
            if intent.ambiguous_since is not None:
                until = intent.ambiguous_since + self.fleet.guards.settle
                self.draft.skips.append(
                    Skip(self.fleet.name, Verb.CREATE, Reason.CREATE_UNSETTLED, name=intent.name, until=until)
                )

    def carry_requests(self, target: int) -> None:
        """What an operator asked for goes before what the target asks for; vetoes and guards hold all the same."""
        from_phase = {
            Verb.START: self.members.down,
            Verb.STOP: (*self.members.up, *self.members.rising),
            Verb.RESTART: self.members.up,
        }
        for request in self.memory.requests:
            machine = next((m for m in from_phase[request.verb] if m.id == request.machine_id), None)
            if machine is None:
                continue  # of another fleet, or there already
            if machine.id in self.members.moving:
                self._skip(request.verb, Reason.IN_TRANSITION, machine)
                continue
            if self._vetoed(request.verb, machine):
                continue
            if request.verb is Verb.START and self.members.have >= target:
                self._skip(Verb.START, Reason.OVER_TARGET, machine, detail=f"{self.members.have} of {target}")
                continue
            self.requested.add(machine.id)
            rate = hourly_rate(machine, self.prices)
            signs = {Verb.START: 1, Verb.STOP: -1, Verb.RESTART: 0}
            self.draft.actions.append(
                Action(
                    request.verb,
                    self.fleet.name,
                    Reason.OPERATOR_REQUEST,
                    machine=machine.id,
                    name=machine.name,
                    expected_state=machine.state,
                    hourly_delta=None if rate is None else signs[request.verb] * rate,
                    evidence=request.reason,
                    actor=request.actor,
                )
            )

    def police(self, checks: frozenset[Check]) -> None:
        """Put settings right that drifted, and stop what has outlived its shutdown timeout."""
        fleet = self.fleet
        known = (*self.members.up, *self.members.rising, *self.members.falling, *self.members.down)
        for machine in known:
            if machine.id in self.members.moving or machine.phase in {Phase.RISING, Phase.FALLING}:
                continue
            if Check.SHUTDOWN_TIMEOUT in checks:
                self._mend(machine, timeout_drift(fleet, machine), Reason.TIMEOUT_DRIFT)
            if Check.SNAPSHOT in checks:
                self._mend(machine, snapshot_drift(fleet, machine), Reason.SNAPSHOT_DRIFT)
        if Check.SHUTDOWN_TIMEOUT not in checks:
            return
        for machine in self.members.up:
            evidence = outlived(fleet, self.memory.shown.get(machine.id, machine), self.now)
            if evidence is None or self._spared(Verb.STOP, machine):
                continue
            self.requested.add(machine.id)
            rate = hourly_rate(machine, self.prices)
            delta = None if rate is None else -rate
            self._act(Verb.STOP, Reason.OUTLIVED_TIMEOUT, machine, delta, evidence=evidence)

    def _mend(self, machine: Machine, drift: Drift, reason: Reason) -> None:
        if not drift.changes or self._vetoed(Verb.UPDATE, machine):
            return
        refused = self.memory.refusals.get(f"{Verb.UPDATE}:{machine.id}")
        if refused is not None and self.now < refused[0]:
            self._skip(Verb.UPDATE, Reason.REFUSED_RECENTLY, machine, until=refused[0], detail=refused[1])
            return
        self.draft.actions.append(
            Action(
                Verb.UPDATE,
                self.fleet.name,
                reason,
                machine=machine.id,
                name=machine.name,
                changes=drift.changes,
                evidence=drift.words,
            )
        )

    def rise(self, short: int, reason: Reason) -> None:
        """Start stopped machines first, then create; whoever is only waited for is not replaced."""
        waiting = 0
        started = sum(m.id in self.requested for m in self.members.down)
        for machine in start_order(self.members.down, self.memory):
            if machine.id in self.requested:
                continue
            blocked = self._blocks_start(machine)
            if blocked is None:
                if started < short:
                    started += 1
                    self._act(Verb.START, reason, machine, hourly_rate(machine, self.prices))
            elif started + waiting < short:
                self.draft.skips.append(blocked)
                waiting += blocked.reason is not Reason.HELD
        for machine in self.members.falling[: max(0, short - started - waiting)]:
            waiting += 1
            self._skip(Verb.START, Reason.STILL_FALLING, machine)
        self._create(short - started - waiting, reason)

    def replace_timed_out(self, short: int) -> None:
        """Machines beyond target in place of ones that ran late, as far as ``max_surge`` allows."""
        late = [m for m in self.members.rising if timed_out(m, self.memory) and m.id not in self.members.moving]
        surge = min(self.fleet.guards.max_surge, len(late)) + min(short, 0)
        if surge > 0:
            self.rise(surge, Reason.REPLACES_TIMED_OUT)

    def shrink(self, surplus: int) -> None:
        """Give up surplus machines by the scale-in rule."""
        surge = min(self.fleet.guards.max_surge, sum(timed_out(m, self.memory) for m in self.members.rising))
        surplus -= surge + sum(a.verb is Verb.STOP for a in self.draft.actions)
        destroys = self.fleet.scale_in is ScaleIn.DESTROY and self.fleet.allow_destroy
        stops = max(0, self.fleet.standby - len(self.members.down)) if destroys else surplus
        for machine in victim_order(self.members, self.memory, self.prices):
            if surplus <= 0:
                return
            verb = Verb.STOP if stops > 0 else Verb.DESTROY
            if self._spared(verb, machine):
                continue
            surplus -= 1
            stops -= 1
            rate = hourly_rate(machine, self.prices)
            self._act(verb, Reason.OVER_TARGET, machine, None if rate is None else -rate)
            if self.fleet.scale_in is ScaleIn.DESTROY and not self.fleet.allow_destroy:
                self._skip(Verb.DESTROY, Reason.DESTROY_NOT_ALLOWED, machine)

    def park(self, effective: Effective) -> None:
        """Stop what is idle; start and create nothing while the window is open."""
        floor = effective.floor
        running = [m for m in victim_order(self.members, self.memory, self.prices) if m not in self.members.rising]
        excess = len(self.members.up) - floor
        surge = idle_surge(self.fleet.idle, running, self.memory.idle, self.now)
        for machine in running:
            if excess <= 0:
                break
            if self._spared(Verb.STOP, machine, needs_idle=True):
                continue
            facts = self.memory.facts.get(machine.id)
            if facts is not None and effective.opened_at is not None and _started_by_hand(facts, effective.opened_at):
                self._skip(Verb.STOP, Reason.MANUAL_START, machine, until=effective.closes_at)
                continue
            if surge is not None:
                self._skip(Verb.STOP, Reason.IDLE_SURGE, machine, until=surge)
                continue
            excess -= 1
            rate = hourly_rate(machine, self.prices)
            report = self.memory.idle.get(machine.id)
            evidence = report.evidence if report is not None else None
            self._act(Verb.STOP, Reason.PARKED_IDLE, machine, None if rate is None else -rate, evidence=evidence)
        short = effective.target - self.members.have
        if short > 0:
            self.draft.skips.append(
                Skip(self.fleet.name, Verb.START, Reason.WINDOW_PARKED, until=effective.closes_at, count=short)
            )

    def drop_standby(self) -> None:
        """Stopped machines beyond ``standby`` go, where the fleet scales in by destroying."""
        if self.fleet.scale_in is not ScaleIn.DESTROY or not self.fleet.allow_destroy:
            return
        beyond = len(self.members.down) - self.fleet.standby
        for machine in reversed(start_order(self.members.down, self.memory)):
            if beyond <= 0:
                return
            if machine.id in self.members.moving or self._vetoed(Verb.DESTROY, machine):
                continue
            beyond -= 1
            self._act(Verb.DESTROY, Reason.BEYOND_STANDBY, machine, Decimal(0))

    def _create(self, count: int, reason: Reason) -> None:
        if count <= 0:
            return
        blocked = self._blocks_create(count)
        if blocked is not None:
            self.draft.skips.append(blocked)
            return
        rate = fleet_rate(self.fleet, self.prices)
        starts = self.fleet.parameters.get("startOnCreate") is not False
        delta = rate if starts else Decimal(0)
        create = Action(Verb.CREATE, self.fleet.name, reason, hourly_delta=delta)
        self.draft.actions.extend([create] * count)

    def _blocks_start(self, machine: Machine) -> Skip | None:
        fleet, now = self.fleet, self.now
        stop = veto(self.memory, Verb.START, fleet.name, machine, now)
        if stop is not None:
            reason = Reason.FROZEN if stop.kind == "freeze" else Reason.HELD
            return self._make_skip(Verb.START, reason, machine, until=stop.expires_at, detail=stop.reason)
        return self._blocks_retry(machine) or self._respects_a_human(machine)

    def _blocks_retry(self, machine: Machine) -> Skip | None:
        """The provider had no capacity, or refused, not long ago."""
        fleet, now = self.fleet, self.now
        key = (machine.region or fleet.region, machine.machine_type or fleet.machine_type)
        backoff = self.memory.backoffs.get(key)
        if backoff is not None and now < backoff.until:
            return self._make_skip(
                Verb.START, Reason.CAPACITY_BACKOFF, machine, until=backoff.until, detail=backoff.reason
            )
        refused = self.memory.refusals.get(f"{Verb.START}:{machine.id}")
        if refused is not None and now < refused[0]:
            return self._make_skip(Verb.START, Reason.REFUSED_RECENTLY, machine, until=refused[0], detail=refused[1])
        return None

    def _respects_a_human(self, machine: Machine) -> Skip | None:
        fleet, now = self.fleet, self.now
        facts = self.memory.facts.get(machine.id)
        if facts is not None and facts.stopped_at is not None and facts.stopped_by == "operator":
            until = facts.stopped_at + fleet.respect_manual
            if now < until:
                return self._make_skip(Verb.START, Reason.RESPECT_MANUAL, machine, until=until)
        return None

    def _blocks_create(self, count: int) -> Skip | None:
        fleet, now = self.fleet, self.now
        freeze = veto(self.memory, Verb.CREATE, fleet.name, None, now)
        if freeze is not None:
            return self._make_skip(
                Verb.CREATE, Reason.FROZEN, None, until=freeze.expires_at, detail=freeze.reason, count=count
            )
        backoff = self.memory.backoffs.get(fleet.capacity_key)
        if backoff is not None and now < backoff.until:
            return self._make_skip(
                Verb.CREATE, Reason.CAPACITY_BACKOFF, None, until=backoff.until, detail=backoff.reason, count=count
            )
        refused = self.memory.refusals.get(f"{Verb.CREATE}:{fleet.name}")
        if refused is not None and now < refused[0]:
            return self._make_skip(
                Verb.CREATE, Reason.REFUSED_RECENTLY, None, until=refused[0], detail=refused[1], count=count
            )
        shrunk = shrink_wait(fleet, self.members, self.memory, self.observed_at)
        if shrunk is not None:
            until, missing = shrunk
            return self._make_skip(
                Verb.CREATE, Reason.GUARD_SHRINK, None, until=until, detail=f"{missing} gone", count=count
            )
        return None

    def _spared(self, verb: Verb, machine: Machine, *, needs_idle: bool = False) -> bool:
        """Whether this machine may not be taken now; says why."""
        if machine.id in self.requested:
            return True
        if machine.id in self.members.moving:
            self._skip(verb, Reason.IN_TRANSITION, machine)
            return True
        if self._vetoed(verb, machine):
            return True
        refused = self.memory.refusals.get(f"{verb}:{machine.id}")
        if refused is not None and self.now < refused[0]:
            self._skip(verb, Reason.REFUSED_RECENTLY, machine, until=refused[0], detail=refused[1])
            return True
        if not needs_idle and self.fleet.idle is None:
            return False
        facts = self.memory.facts.get(machine.id)
        report = self.memory.idle.get(machine.id)
        reason = may_park(self.fleet, facts, report, self.now)
        if reason is None:
            return False
        if not needs_idle and reason not in {Reason.BUSY, Reason.ACTIVITY_UNKNOWN}:
            return False  # a surplus machine need not have been idle for long; it must not be in use
        if not needs_idle and machine in self.members.rising:
            return False  # nobody can use a machine that has not come up
        self._skip(verb, reason, machine, detail=report.evidence if report is not None else "no reading yet")
        return True

    def _vetoed(self, verb: Verb, machine: Machine) -> bool:
        found = veto(self.memory, verb, self.fleet.name, machine, self.now)
        if found is None:
            return False
        reason = Reason.FROZEN if found.kind == "freeze" else Reason.HELD
        self._skip(verb, reason, machine, until=found.expires_at, detail=found.reason)
        return True

    def _act(
        self, verb: Verb, reason: Reason, machine: Machine, delta: Decimal | None, evidence: str | None = None
    ) -> None:
        self.draft.actions.append(
            Action(
                verb,
                self.fleet.name,
                reason,
                machine=machine.id,
                name=machine.name,
                expected_state=machine.state,
                hourly_delta=delta,
                evidence=evidence,
            )
        )

    def _skip(
        self,
        verb: Verb | None,
        reason: Reason,
        machine: Machine,
        *,
        until: datetime | None = None,
        detail: str = "",
    ) -> None:
        self.draft.skips.append(self._make_skip(verb, reason, machine, until=until, detail=detail))

    def _make_skip(
        self,
        verb: Verb | None,
        reason: Reason,
        machine: Machine | None,
        *,
        until: datetime | None = None,
        detail: str = "",
        count: int = 1,
    ) -> Skip:
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


def _started_by_hand(facts: MachineFacts, since: datetime) -> bool:
    return facts.started_by == "operator" and facts.started_at is not None and facts.started_at >= since


def shrink_wait(fleet: Fleet, members: Roster, memory: Memory, observed_at: datetime) -> tuple[datetime, int] | None:
    """(until, how many are gone) while creates wait because too much of the fleet vanished at once.

    The guard is max(2, ``max_shrink``) of what the fleet was; a look ``settle`` later that still lacks them ends
    the wait, because by then they have been gone for ``settle``.
    """
    settle: timedelta = fleet.guards.settle
    recent = [
        f.gone_at
        for f in memory.facts.values()
        if f.fleet == fleet.name and f.gone_at is not None and not f.destroyed and observed_at < f.gone_at + settle
    ]
    allowed = max(2, fleet.guards.max_shrink.of(members.size + len(recent)))
    if len(recent) <= allowed:
        return None
    return max(recent) + settle, len(recent)
