"""Up to the target, down to it, and parked: what the number of machines asks for."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from decimal import Decimal

from fleetd.model.fleet import ScaleIn
from fleetd.model.journal import MachineFacts
from fleetd.model.machine import Machine, Phase
from fleetd.model.plan import Action, Skip
from fleetd.model.reasons import Reason, Verb
from fleetd.model.vetoes import veto_detail
from fleetd.planner.draft import Draft, veto, veto_reason
from fleetd.planner.guards import shrink_wait
from fleetd.planner.idle import idle_surge
from fleetd.planner.policies import NOT_LOOKED
from fleetd.planner.rates import fleet_rate
from fleetd.planner.roster import is_late, start_order, timed_out, victim_order
from fleetd.planner.waits import is_waiting
from fleetd.planner.windows import Effective

_BY_HAND = frozenset({"operator", Reason.OPERATOR_REQUEST})
"""A person at the console, or by an order: whom they start is not parked, and whom they stop keeps its place."""


def rise(draft: Draft, short: int) -> None:
    """Start stopped machines first, then create. A machine that is still starting or stopping keeps its place.

    ``short``: how many are missing from the target; 0 or less when none is.
    """
    places = _places(draft, short)
    kept = _may_stay(draft, len(places))
    del places[: len(kept)]
    waiting = left_empty = 0
    started = sum(m.id in draft.taken for m in draft.members.down)
    for machine, blocked, by_hand in _may_start(draft):
        if blocked is None:
            if started + left_empty < len(places):
                draft.act(Verb.START, places[started], machine)
                started += 1
        elif started + waiting < len(places):
            draft.skips.append(blocked)
            waiting += blocked.reason is not Reason.HELD
            left_empty += by_hand
    falling = [m for m in draft.members.falling if m not in kept and not is_late(m, draft.members, draft.memory)]
    for machine in falling[: max(0, len(places) - started - waiting)]:
        waiting += 1
        moving = draft.members.moving.get(machine.id)
        draft.skip(Verb.START, Reason.STILL_FALLING, machine, until=None if moving is None else moving.deadline_at)
    for reason, count in Counter(places[started + waiting :]).items():
        _create(draft, count, reason)


def shrink(draft: Draft, surplus: int) -> None:
    """Give up surplus machines by the scale-in rule."""
    surge = min(draft.fleet.guards.max_surge, sum(timed_out(m, draft.memory) for m in draft.members.rising))
    surplus -= surge + sum(a.verb is Verb.STOP for a in draft.actions)
    destroys = draft.fleet.scale_in is ScaleIn.DESTROY and draft.fleet.allow_destroy
    stops = max(0, draft.fleet.standby - len(draft.members.down)) if destroys else surplus
    members = draft.members
    first = {m.id for m in members.rising if m.id in members.moving} - {m.id for m in members.uncertain}
    for machine in _departing_first(draft, victim_order(members, draft.memory, draft.prices)):
        if surplus <= 0:
            return
        verb = Verb.STOP if stops > 0 else Verb.DESTROY
        going = draft.departing(machine)
        if draft.may_not_touch(verb, machine):
            # One that is coming up goes before any that has been ready, as soon as it has its verdict.
            surplus -= going or machine.id in first
            continue
        surplus -= 1
        stops -= 1
        if verb is Verb.DESTROY:
            strange = draft.strange(machine)
            why = None if strange else draft.snapshot_veto(machine)
            if why == NOT_LOOKED:
                continue
            if strange or why is not None:
                # Its place goes to no other machine, and it costs less stopped.
                if draft.may_not_touch(Verb.STOP, machine):
                    continue
                verb = Verb.STOP
        draft.act(verb, Reason.OVER_TARGET, machine)
        if draft.fleet.scale_in is ScaleIn.DESTROY and not draft.fleet.allow_destroy:
            draft.skip(Verb.DESTROY, Reason.DESTROY_NOT_ALLOWED, machine)


def park(draft: Draft, effective: Effective) -> None:
    """Stop what is idle; start and create nothing while the window is open."""
    floor = effective.floor
    running = [m for m in victim_order(draft.members, draft.memory, draft.prices) if m not in draft.members.rising]
    excess = len(draft.members.up) - floor - sum(a.verb is Verb.STOP for a in draft.actions)
    surge = idle_surge(draft.fleet.idle, running, draft.memory.idle, draft.now)
    for machine in _departing_first(draft, running):
        if excess <= 0:
            break
        going = draft.departing(machine)
        excess -= going  # it may be gone at any moment, whatever is said of it now
        if draft.may_not_touch(Verb.STOP, machine, needs_idle=True):
            continue
        facts = draft.memory.facts.get(machine.id)
        if facts is not None and effective.opened_at is not None and _started_by_hand(facts, effective.opened_at):
            draft.skip(Verb.STOP, Reason.MANUAL_START, machine, until=effective.closes_at)
            continue
        if surge is not None:
            draft.skip(Verb.STOP, Reason.IDLE_SURGE, machine, until=surge)
            continue
        excess -= not going
        report = draft.memory.idle.get(machine.id)
        evidence = report.evidence if report is not None else None
        draft.act(Verb.STOP, Reason.PARKED_IDLE, machine, evidence=evidence)
    short = effective.target - draft.members.have
    if short > 0:
        draft.skips.append(
            Skip(draft.fleet.name, Verb.START, Reason.WINDOW_PARKED, until=effective.closes_at, count=short)
        )


def drop_standby(draft: Draft) -> None:
    """Stopped machines beyond ``standby`` go, where the fleet scales in by destroying."""
    if draft.fleet.scale_in is not ScaleIn.DESTROY or not draft.fleet.allow_destroy:
        return
    beyond = sum(m.id not in draft.taken for m in draft.members.down) - draft.fleet.standby
    for machine in reversed(start_order(draft.members, draft.memory)):
        if beyond <= 0:
            return
        if machine.id in draft.taken or machine.id in draft.members.moving or draft.vetoed(Verb.DESTROY, machine):
            continue
        beyond -= 1
        if draft.lately_used(Verb.DESTROY, machine):
            continue
        if draft.refused(Verb.DESTROY, machine) or draft.strange(machine) or draft.snapshot_veto(machine) is not None:
            continue
        draft.act(Verb.DESTROY, Reason.BEYOND_STANDBY, machine)


def _departing_first(draft: Draft, machines: list[Machine]) -> list[Machine]:
    return sorted(machines, key=lambda m: not draft.departing(m))


def _places(draft: Draft, short: int) -> list[Reason]:
    """One reason for each machine that may be started or made.

    A machine that ran late keeps its place, also one that does not stop: it may be billed for as long. ``max_surge``
    says how many of those may be stood in for.
    """
    members, memory = draft.members, draft.memory
    stuck = sum(is_late(m, members, memory) for m in members.falling)
    late = stuck + sum(is_late(m, members, memory) for m in members.rising)
    surge = min(draft.fleet.guards.max_surge, late)
    short -= stuck
    reasons = [Reason.SHORT_OF_TARGET] * short + [Reason.REPLACES_TIMED_OUT] * surge
    return reasons[: max(0, short + surge)]


def _may_stay(draft: Draft, short: int) -> list[Machine]:
    """Machines that are up although their stop or destroy was sent, as many as places are short.

    They keep their places until they are seen to go, whatever was answered: a call that is accepted may come to
    nothing, and whoever took the place would be paid for beside a machine that is up after all.
    """
    kept: list[Machine] = []
    for machine in (*draft.members.leaving, *draft.members.falling):
        intent = draft.members.moving.get(machine.id)
        if intent is None or len(kept) >= short:
            continue
        is_up = machine.phase in {Phase.UP, Phase.RISING}
        if is_up or (intent.accepted_at is None and machine.phase is not Phase.FALLING):
            kept.append(machine)
            draft.skip(Verb.START, Reason.IN_TRANSITION, machine, until=intent.deadline_at)
    return kept


def _create(draft: Draft, count: int, reason: Reason) -> None:
    blocked = _blocks_create(draft, count)
    if blocked is not None:
        draft.skips.append(blocked)
        return
    rate = fleet_rate(draft.fleet, draft.prices)
    starts = draft.fleet.parameters.get("startOnCreate") is not False
    delta = rate if starts else Decimal(0)
    create = Action(Verb.CREATE, draft.fleet.name, reason, hourly_delta=delta)
    draft.actions.extend([create] * count)


def _may_start(draft: Draft) -> list[tuple[Machine, Skip | None, bool]]:
    """Stopped machines in the order in which places are theirs, and why each is not started now.

    The last says that a person stopped it, which is respected: those come first, for nothing takes their places,
    neither a start nor a create.
    """
    found: list[tuple[Machine, Skip | None, bool]] = []
    for machine in start_order(draft.members, draft.memory):
        if machine.id in draft.taken:
            continue
        blocked, facts = _blocks_start(draft, machine), draft.memory.facts.get(machine.id)
        by_hand = facts is not None and facts.stopped_by in _BY_HAND
        respected = blocked is not None and blocked.reason is Reason.RESPECT_MANUAL
        found.append((machine, blocked, by_hand and respected))
    return sorted(found, key=lambda one: not one[2])


def _blocks_start(draft: Draft, machine: Machine) -> Skip | None:
    fleet, now = draft.fleet, draft.now
    intent = draft.members.moving.get(machine.id)
    if intent is not None:  # off already, and its stop has no verdict yet
        return draft.make_skip(Verb.START, Reason.IN_TRANSITION, machine, until=intent.deadline_at)
    stop = veto(draft.memory, Verb.START, fleet.name, machine, now)
    if stop is not None:
        reason = Reason.RESPECT_MANUAL if stop.keeps_off else veto_reason(stop)
        return draft.make_skip(Verb.START, reason, machine, until=stop.expires_at, detail=veto_detail(stop))
    found = [skip for skip in (_respects_a_human(draft, machine), _blocks_retry(draft, machine)) if skip is not None]
    # What ends last is the limit; the others would promise a start too early.
    return max(found, key=lambda skip: skip.until or now, default=None)


def _blocks_retry(draft: Draft, machine: Machine) -> Skip | None:
    """The last did not come up, or the provider refused it, or it came to nothing, not long ago."""
    fleet, now = draft.fleet, draft.now
    key = (machine.region or fleet.region, machine.machine_type or fleet.machine_type)
    backoff = draft.memory.backoffs.get(key)
    if backoff is not None and now < backoff.until:
        return draft.make_skip(
            Verb.START, Reason.CAPACITY_BACKOFF, machine, until=backoff.until, detail=backoff.reason
        )
    return draft.set_back(Verb.START, machine)


def _respects_a_human(draft: Draft, machine: Machine) -> Skip | None:
    fleet, now = draft.fleet, draft.now
    facts = draft.memory.facts.get(machine.id)
    if facts is not None and facts.stopped_at is not None and facts.stopped_by == "operator":
        lasts, ahead = fleet.respect_manual, draft.memory.clock_ahead
        ends = [
            facts.stopped_at + lasts + by
            for by in (timedelta(0), ahead)
            if is_waiting(facts.stopped_at, lasts, now - by)
        ]
        if ends:
            stopped = f"at {facts.stopped_at:%Y-%m-%d %H:%M} UTC, at the provider's console or by another program"
            return draft.make_skip(Verb.START, Reason.RESPECT_MANUAL, machine, until=max(ends), detail=stopped)
    return None


def _blocks_create(draft: Draft, count: int) -> Skip | None:
    fleet, now = draft.fleet, draft.now
    freeze = veto(draft.memory, Verb.CREATE, fleet.name, None, now)
    if freeze is not None:
        return draft.make_skip(
            Verb.CREATE, Reason.FROZEN, None, until=freeze.expires_at, detail=veto_detail(freeze), count=count
        )
    backoff = draft.memory.backoffs.get(fleet.capacity_key)
    if backoff is not None and now < backoff.until:
        return draft.make_skip(
            Verb.CREATE, Reason.CAPACITY_BACKOFF, None, until=backoff.until, detail=backoff.reason, count=count
        )
    back = draft.set_back(Verb.CREATE, None, count=count)
    if back is not None:
        return back
    if draft.memory.creates_wait is not None:
        until, words = draft.memory.creates_wait
        return draft.make_skip(Verb.CREATE, Reason.PROVIDER_SAID_WAIT, None, until=until, detail=words, count=count)
    shrunk = shrink_wait(fleet, draft.members, draft.memory, draft.observed_at)
    if shrunk is not None:
        until, missing = shrunk
        return draft.make_skip(
            Verb.CREATE, Reason.GUARD_SHRINK, None, until=until, detail=f"{missing} gone", count=count
        )
    return None


def _started_by_hand(facts: MachineFacts, since: datetime) -> bool:
    return facts.started_by in _BY_HAND and facts.started_at is not None and facts.started_at >= since
