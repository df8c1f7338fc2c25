"""``plan()``: the one decision of a pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TypeVar

from fleetd.model.fleet import Costs, Fleet
from fleetd.model.journal import Memory, setback_key
from fleetd.model.machine import Machine
from fleetd.model.plan import (
    NOTHING_DUE,
    Action,
    BudgetView,
    Due,
    FleetView,
    NextChange,
    Observation,
    Plan,
    Skip,
    Unconfirmed,
)
from fleetd.model.reasons import Reason, Verb
from fleetd.planner.budgets import cut_budgets
from fleetd.planner.draft import Draft, OnFault
from fleetd.planner.fleetplan import decide
from fleetd.planner.guards import Doubt, cut_apart, cut_costs, cut_counts, cut_doubtful, doubt_of, merge, over_caps
from fleetd.planner.leaving import frees_its_place
from fleetd.planner.orphans import orphan_views, orphans_of
from fleetd.planner.outlook import outlook, put_off
from fleetd.planner.ownership import Owner, owners
from fleetd.planner.rates import fleet_rate, member_rate, total
from fleetd.planner.roster import Roster, roster, unlike
from fleetd.planner.windows import Effective, effective, next_change

T = TypeVar("T")
Affordable = tuple[list[Action], list[Skip], tuple[BudgetView, ...]]
"""What caps and budgets leave, what they refuse, and how each budget looks."""

_ORDER = {Verb.STOP: 0, Verb.DESTROY: 1, Verb.START: 2, Verb.CREATE: 3, Verb.RESTART: 4, Verb.UPDATE: 5}
"""What saves money goes first; what costs money last."""


def plan(
    fleets: Sequence[Fleet],
    observation: Observation,
    memory: Memory,
    now: datetime,
    *,
    costs: Costs | None = None,
    stale_after: timedelta = timedelta(minutes=1),
    due: Due = NOTHING_DUE,
    on_fault: OnFault | None = None,
    forecast: bool = False,
    owned: Mapping[str, Owner] | None = None,
) -> Plan:
    """What the next pass does, and what it does not do and why.

    Args:
        fleets: what is wanted.
        observation: what was seen.
        memory: what is remembered; only intents that are open.
        now: the instant to decide for, timezone-aware.
        costs: prices and the cap over all fleets.
        stale_after: age from which an observation allows nothing (two intervals).
        due: policy checks that are due, by machine id.
        on_fault: told of a fault in the code that decides about one machine or one fleet, which is then left alone;
            without it the fault is raised.
        forecast: work out every fleet's month, with a budget or without.
        owned: what ``owners`` says of these machines, fleets, facts and intents, where the caller has asked already.
    """
    costs = costs or Costs()
    if owned is None:
        owned = owners(observation.machines, fleets, memory.facts, memory.intents)
    unconfirmed = {m: o.unconfirmed for m, o in owned.items() if o.unconfirmed is not None}
    doubt = doubt_of(observation, now, stale_after, memory.provider_failing)
    machines_of = _grouped((owned[m.id].fleet, m) for m in observation.machines if m.id in owned)
    intents_of = _grouped((i.fleet, i) for i in memory.intents)
    going = [m for m in observation.machines if m.id in observation.leaving]
    decided: dict[str, _OfFleet] = {}
    for fleet in fleets:
        mine = machines_of.get(fleet.name, ())
        freed = _left(going, memory, fleet, observation.at)
        members = roster(fleet, mine, intents_of.get(fleet.name, ()), freed)
        drafted = Draft(
            members, memory, now, observation.at, costs.prices, observation.unverified, on_fault, unconfirmed
        )
        decided[fleet.name] = _of_fleet(drafted, mine, due, doubt, costs)
    rates = {name: one.rate for name, one in decided.items()}
    members_of = {name: one.members for name, one in decided.items()}
    rest = [a for one in decided.values() for a in one.rest]
    caps = {f.name: f.guards.max_hourly_cost for f in fleets}
    orphans = orphans_of(observation.machines, owned, memory.facts, fleets)
    left = orphan_views(orphans, costs.prices)
    others = {view.fleet: view.hourly for view in left}

    def affordable(wanted: Sequence[Action], forecast: bool = False) -> Affordable:
        kept, too_dear = cut_costs(wanted, caps, rates, costs.max_hourly_cost, others)
        kept, beyond, budgets = cut_budgets(kept, fleets, members_of, memory, orphans, costs, now, forecast=forecast)
        return kept, [*too_dear, *beyond], budgets

    actions, refused, budgets = affordable([a for one in decided.values() for a in one.actions], forecast)
    before = total([*rates.values(), *others.values()])
    after = total([before, *(a.hourly_delta for a in actions)])
    return Plan(
        at=now,
        complete=observation.sane,
        fleets={name: one.view for name, one in decided.items()},
        actions=tuple(sorted(actions, key=lambda a: _ORDER[a.verb])),
        skips=tuple(merge([*(s for one in decided.values() for s in one.skips), *refused])),
        hourly_before=before,
        hourly_after=after,
        orphans=left,
        over_caps=over_caps(caps, rates, costs.max_hourly_cost, others),
        budgets=budgets,
        unconfirmed=_unconfirmed(observation.machines, owned, unconfirmed),
        clocks_apart=memory.clocks_apart,
        # Seldom: in all other passes no machine is priced once more for it.
        later=outlook(
            actions,
            rest,
            total([*(_settled_rate(m, costs.prices) for m in members_of.values()), *others.values()]),
            lambda wanted: affordable(wanted)[0],
        )
        if rest
        else None,
    )


@dataclass(frozen=True, slots=True)
class _OfFleet:
    """What is decided of one fleet, before what it costs is looked at."""

    members: Roster
    rate: Decimal | None
    view: FleetView
    actions: Sequence[Action] = ()
    rest: Sequence[Action] = ()
    """What its guards put off."""
    skips: Sequence[Skip] = ()


def _of_fleet(drafted: Draft, mine: Sequence[Machine], due: Due, doubt: Doubt | None, costs: Costs) -> _OfFleet:
    members, memory, now = drafted.members, drafted.memory, drafted.now
    fleet, now_in_force = members.fleet, effective(members.fleet, now)
    rate = _current_rate(members, costs.prices)
    view = _view(members, now_in_force, rate, now)
    try:
        decide(drafted, now_in_force, due)
    except Exception as error:
        if drafted.on_fault is None:
            raise
        words = drafted.on_fault("fleet", error)
        return _OfFleet(members, rate, view, skips=[Skip(fleet.name, None, Reason.INTERNAL_FAULT, detail=words)])
    sure, doubtful = cut_doubtful(drafted.actions, doubt)
    sure, apart = cut_apart(fleet, sure, memory, now, costs)
    late = _late_destroys(mine, memory, {*members.moving, *(a.machine for a in sure)})
    kept, beyond = cut_counts(fleet, members.size, sure, members.moving.values(), late=late)
    view = replace(view, no_effect=_stuck(memory, members, drafted))
    skips = [*drafted.skips, *doubtful, *apart, *beyond]
    return _OfFleet(members, rate, view, kept, put_off(sure, kept), skips)


def _unconfirmed(
    machines: Sequence[Machine], owned: Mapping[str, Owner], reasons: Mapping[str, Reason]
) -> tuple[Unconfirmed, ...]:
    if not reasons:  # as nearly always, in an account of 100,000
        return ()
    listed = sorted((m for m in machines if m.id in reasons), key=lambda m: (m.name, m.id))
    return tuple(Unconfirmed(m.id, m.name, owned[m.id].fleet, reasons[m.id]) for m in listed)


def _grouped(pairs: Iterable[tuple[str, T]]) -> dict[str, list[T]]:
    groups: dict[str, list[T]] = {}
    for fleet, one in pairs:
        groups.setdefault(fleet, []).append(one)
    return groups


def _current_rate(members: Roster, prices: Mapping[str, Decimal]) -> Decimal | None:
    """What is billed now, or will be without another call: a start that was made may not show in the listing yet."""
    return _rate_of(members.billed, members, prices)


def _settled_rate(members: Roster, prices: Mapping[str, Decimal]) -> Decimal | None:
    """The same without what is on its way down."""
    going = {m.id for m in (*members.falling, *members.leaving)}
    return _rate_of([m for m in members.billed if m.id not in going], members, prices)


def _rate_of(billed: Sequence[Machine], members: Roster, prices: Mapping[str, Decimal]) -> Decimal | None:
    fleet = members.fleet
    alike = Counter((m.machine_type, m.hourly_rate) for m in billed)
    one_of = {(m.machine_type, m.hourly_rate): m for m in billed}
    listed = [(member_rate(fleet, one_of[kind], prices), count) for kind, count in alike.items()]
    made = (fleet_rate(fleet, prices), len(members.creating))
    return total(None if rate is None else rate * count for rate, count in (*listed, made) if count)


def _left(leaving: Sequence[Machine], memory: Memory, fleet: Fleet, now: datetime) -> frozenset[str]:
    """Ids of machines that somebody else destroys, and whose places are free."""
    patience = fleet.guards.deadlines.destroy
    return frozenset(m.id for m in leaving if frees_its_place(m, memory.facts.get(m.id), patience, now))


def _late_destroys(machines: Iterable[Machine], memory: Memory, others: Container[str | None]) -> int:
    """How many destroys of ours may have their effect yet, beside those that are under way, or are repeated now."""
    late = (memory.departing.get(m.id) for m in machines if m.id not in others)
    return sum(one is not None and one.verb is Verb.DESTROY for one in late)


def _stuck(memory: Memory, members: Roster, drafted: Draft) -> Mapping[str, int]:
    """How many machines each verb is wanted for, and has come to nothing: between two attempts, and during one."""
    fleet = members.fleet.name
    blocked = {(s.verb, s.machine or fleet) for s in drafted.skips if s.reason is Reason.NO_EFFECT}
    tried = {(a.verb, a.machine or fleet) for a in drafted.actions}
    under_way = {(i.verb, m) for m, i in members.moving.items()} | {(i.verb, fleet) for i in members.creating}
    under_way |= {(Verb.UPDATE, m) for m in members.updating}
    update = f"{Verb.UPDATE}:"
    keys = {key for key, back in memory.futile.items() if back.attempt}
    futile = {key.rpartition(":")[0] if key.startswith(update) else key for key in keys}
    wanted = {(v, subject) for v, subject in blocked | tried | under_way if v is not None}
    return Counter(str(verb) for verb, subject in sorted(wanted) if setback_key(verb, subject) in futile)


def _view(members: Roster, now_in_force: Effective, rate: Decimal | None, now: datetime) -> FleetView:
    change = next_change(members.fleet, now)
    return FleetView(
        target=now_in_force.target,
        configured_target=members.fleet.target,
        window=now_in_force.window,
        up=len(members.up),
        rising=len(members.rising),
        falling=len(members.falling) + sum(m.id in members.moving for m in members.leaving),
        down=len(members.down),
        unknown=len(members.unknown),
        intents=len(members.creating),
        hourly=rate,
        parked=now_in_force.park_idle,
        leaving=sum(m.id not in members.moving for m in members.leaving),
        unlike=unlike(members),
        next_change=None
        if change is None
        else NextChange(change[0], change[1].target, change[1].window, change[1].park_idle),
    )
