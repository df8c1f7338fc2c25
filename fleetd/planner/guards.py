"""Guards cut a plan: whatever is cut becomes a skip with its reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from types import MappingProxyType

from fleetd.model.fleet import Costs, Fleet
from fleetd.model.journal import Intent, Memory
from fleetd.model.machine import UNVERIFIED
from fleetd.model.plan import NOT_WHOLE, Action, Observation, OverCap, Skip
from fleetd.model.reasons import Reason, Verb
from fleetd.planner.billing import month_name
from fleetd.planner.leaving import LEAVING
from fleetd.planner.roster import Roster
from fleetd.planner.waits import is_waiting
from fleetd.planner.windows import effective

PROVIDER_DOUBT = timedelta(seconds=60)
"""After so long with nothing but errors from the provider, nothing destructive is done."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why an observation allows less than everything."""

    reason: Reason
    detail: str
    verbs: frozenset[Verb]
    """What it forbids."""


def doubt_of(observation: Observation, now: datetime, stale_after: timedelta, failing: timedelta) -> Doubt | None:
    """The gravest doubt about what was seen, or None.

    Starts are held back with creates: a machine that a bad listing lacks may be up, and another would be paid for.
    """
    everything = frozenset(Verb)
    if observation.rejected is not None:
        return Doubt(Reason.OBSERVATION_REJECTED, observation.rejected, everything)
    if not observation.complete:
        return Doubt(Reason.OBSERVATION_PARTIAL, NOT_WHOLE, everything)
    age = now - observation.at
    if age > stale_after or age < -stale_after:
        return Doubt(Reason.OBSERVATION_STALE, f"seen {age.total_seconds():.0f} s ago", everything)
    if failing > PROVIDER_DOUBT:
        destructive = frozenset(v for v in Verb if v.destructive)
        return Doubt(Reason.PROVIDER_FAILING, f"errors for {failing.total_seconds():.0f} s", destructive)
    return None


def cut_doubtful(actions: Iterable[Action], doubt: Doubt | None) -> tuple[list[Action], list[Skip]]:
    """Drop what the doubt forbids."""
    kept: list[Action] = []
    cut: list[Skip] = []
    for action in actions:
        if doubt is not None and action.verb in doubt.verbs:
            cut.append(_skip(action, doubt.reason, doubt.detail))
        else:
            kept.append(action)
    return kept, merge(cut)


def cut_apart(
    fleet: Fleet, actions: Iterable[Action], memory: Memory, now: datetime, costs: Costs
) -> tuple[list[Action], list[Skip]]:
    """While our clock and the provider's do not agree, drop what rests on an age, or on which of them is right."""
    kept: list[Action] = []
    cut: list[Skip] = []
    for action in actions:
        apart = memory.clocks_apart
        if apart is not None and (goes_by_age(action) or not agree_on(fleet, action, now, memory.theirs(now), costs)):
            cut.append(_skip(action, Reason.CLOCKS_APART, apart))
        else:
            kept.append(action)
    return kept, merge(cut)


def goes_by_age(action: Action) -> bool:
    """Whether it rests on how old something is, or cannot be undone."""
    return action.verb is Verb.DESTROY or action.reason is Reason.OUTLIVED_TIMEOUT


def agree_on(fleet: Fleet, action: Action, ours: datetime, theirs: datetime, costs: Costs) -> bool:
    """Whether windows ask for the same by both clocks, and budgets are of one month: whichever is right.

    What a person ordered does not hang on windows, and neither does an update.
    """
    budgeted = fleet.guards.max_monthly_cost > 0 or costs.max_monthly_cost > 0
    if budgeted and action.verb in {Verb.CREATE, Verb.START} and month_name(ours) != month_name(theirs):
        return False
    if action.verb is Verb.UPDATE or action.reason is Reason.OPERATOR_REQUEST:
        return True
    one, other = effective(fleet, ours), effective(fleet, theirs)
    return (one.target, one.park_idle, one.floor) == (other.target, other.park_idle, other.floor)


def cut_counts(
    fleet: Fleet, size: int, actions: Iterable[Action], moving: Iterable[Intent], *, late: int
) -> tuple[list[Action], list[Skip]]:
    """Hold a fleet's actions to its per-pass limits.

    Stops and destroys whose transition is still open count too: passes can follow each other quickly, and the
    limit is a pace. An operator's order counts and is never cut: it is one machine, and a person's decision.

    ``late``: destroys that were not done by their deadline, and may be yet.
    """
    under_way = Counter(i.verb for i in moving)
    under_way[Verb.DESTROY] += late
    guards = fleet.guards
    limits = {
        Verb.CREATE: (guards.max_creates_per_pass, Reason.GUARD_CREATES),
        Verb.STOP: (
            guards.max_stops_per_pass.of(size, at_least=1) - under_way[Verb.STOP],
            Reason.GUARD_STOPS,
        ),
        Verb.DESTROY: (guards.max_destroys_per_pass - under_way[Verb.DESTROY], Reason.GUARD_DESTROYS),
    }
    kept: list[Action] = []
    cut: list[Skip] = []
    used: Counter[Verb] = Counter()
    for action in actions:
        limit = limits.get(action.verb)
        ordered = action.reason is Reason.OPERATOR_REQUEST
        if limit is not None and used[action.verb] >= limit[0] and not ordered:
            busy = under_way[action.verb] if action.verb is not Verb.CREATE else 0
            ways = f", {busy} of them under way" if busy else ""
            cut.append(_skip(action, limit[1], f"limit {limit[0] + busy}{ways}"))
            continue
        used[action.verb] += 1
        kept.append(action)
    return kept, merge(cut)


def cut_costs(
    actions: Sequence[Action],
    caps: Mapping[str, Decimal],
    current: Mapping[str, Decimal | None],
    overall_cap: Decimal,
    orphans: Mapping[str, Decimal | None] = MappingProxyType({}),
) -> tuple[list[Action], list[Skip]]:
    """Refuse creates and starts that would pass a cap; a price that is not known cannot be proven to fit.

    ``caps`` and ``current`` are dollars an hour by fleet, 0 is no cap. ``orphans``: dollars an hour by the fleet that
    left the config; they count in the overall cap, because they are billed to the same account. Stops of the same
    plan make no room: they may fail.
    """
    rates = dict(current)
    kept: list[Action] = []
    cut: list[Skip] = []
    for action in actions:
        if not action.verb.raises_cost:
            kept.append(action)
            continue
        refusal = _over_cap(action, caps.get(action.fleet, Decimal(0)), rates, orphans, overall_cap)
        if refusal is not None:
            cut.append(refusal)
            continue
        before = rates.get(action.fleet)
        if before is not None and action.hourly_delta is not None:
            rates[action.fleet] = before + action.hourly_delta
        kept.append(action)
    return kept, merge(cut)


def over_caps(
    caps: Mapping[str, Decimal],
    current: Mapping[str, Decimal | None],
    overall_cap: Decimal,
    orphans: Mapping[str, Decimal | None],
) -> tuple[OverCap, ...]:
    """The caps that what runs now has passed already. Prices that are not known count as nothing here."""
    known = {name: rate or Decimal(0) for name, rate in current.items()}
    everything = sum((rate or Decimal(0) for rate in (*current.values(), *orphans.values())), Decimal(0))
    found = [OverCap(name, known[name], cap) for name, cap in caps.items() if 0 < cap < known.get(name, Decimal(0))]
    if 0 < overall_cap < everything:
        found.insert(0, OverCap(None, everything, overall_cap))
    return tuple(found)


def shrink_wait(fleet: Fleet, members: Roster, memory: Memory, observed_at: datetime) -> tuple[datetime, int] | None:
    """(until, how many are gone) while creates wait because too much of the fleet vanished at once.

    The guard is max(2, ``max_shrink``) of what the fleet was; a look ``settle`` later that still lacks them ends
    the wait, because by then they have been gone for ``settle``.
    """
    settle: timedelta = fleet.guards.settle
    went = (
        f.last_seen if f.last_state == LEAVING and f.gone_at is None else f.gone_at
        for f in memory.facts.values()
        if f.fleet == fleet.name and not f.destroyed
    )
    recent = [at for at in went if at is not None and is_waiting(at, settle, observed_at)]
    if not recent:
        return None
    # Those of which nobody can tell, or whose turn to be looked at has not come, may be gone with them.
    doubtful = sum(m.state == UNVERIFIED for m in members.unknown)
    allowed = max(2, fleet.guards.max_shrink.of(members.size + len(recent)))
    if len(recent) + doubtful <= allowed:
        return None
    return max(recent) + settle, len(recent) + doubtful


def merge(skips: Iterable[Skip]) -> list[Skip]:
    """One skip where several nameless ones (creates) have the same reason."""
    merged: dict[tuple[object, ...], Skip] = {}
    for skip in skips:
        key = (skip.fleet, skip.verb, skip.reason, skip.machine, skip.name, skip.until, skip.detail)
        known = merged.get(key)
        if known is None:
            merged[key] = skip
        else:
            merged[key] = replace(skip, count=known.count + skip.count)
    return list(merged.values())


def _over_cap(
    action: Action,
    cap: Decimal,
    rates: Mapping[str, Decimal | None],
    orphans: Mapping[str, Decimal | None],
    overall_cap: Decimal,
) -> Skip | None:
    limits: list[tuple[Decimal, Mapping[str, Decimal | None], str]] = []
    if cap > 0:
        limits.append((cap, {action.fleet: rates.get(action.fleet, Decimal(0))}, f"fleet {action.fleet}"))
    if overall_cap > 0:
        left = {f"{name} (not in the config)": rate for name, rate in orphans.items()}
        limits.append((overall_cap, {**left, **rates}, "all fleets"))
    for limit, parts, whose in limits:
        unpriced = {name for name, rate in parts.items() if rate is None}
        if action.hourly_delta is None:
            unpriced.add(action.fleet)
        if unpriced:
            detail = f"cap ${limit}/h of {whose}; no price for a machine of {', '.join(sorted(unpriced))}"
            return _skip(action, Reason.PRICE_UNKNOWN, detail)
        total = sum((rate for rate in parts.values() if rate is not None), Decimal(0))
        if total + (action.hourly_delta or Decimal(0)) > limit:
            return _skip(action, Reason.GUARD_COST, f"${total}/h of ${limit}/h for {whose}")
    return None


def _skip(action: Action, reason: Reason, detail: str) -> Skip:
    return Skip(action.fleet, action.verb, reason, machine=action.machine, name=action.name, detail=detail)
