"""Monthly budgets: what was billed, what the machines that run will cost by the month's end, and what is refused.

Three sums, in dollars a calendar month (UTC): *spent* is what was billed so far, at the most; *committed* adds what
the machines that run now will cost by the end of the month if nothing else is started, windows honoured; *wanted*
adds what the targets and windows ask for from now on. A start or create is refused when it would take *committed*
beyond the budget: fleetd stops nothing because of money, so what it has started is what it can no longer save.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from itertools import pairwise

from fleetd.model.fleet import Costs, Fleet
from fleetd.model.journal import BilledMonth, Memory
from fleetd.model.lists import some
from fleetd.model.machine import Machine, month_of
from fleetd.model.plan import Action, BudgetView, Skip
from fleetd.model.reasons import Reason
from fleetd.planner.amounts import CENT, NOTHING, Amount, known_total
from fleetd.planner.billing import Billed, bill_at, dollars_of, month_name, new_month
from fleetd.planner.guards import merge
from fleetd.planner.rates import BILLED, fleet_rate, hourly_rate, member_rate
from fleetd.planner.roster import Roster
from fleetd.planner.windows import Effective, effective, next_change

YOUNG = timedelta(minutes=10)
"""A machine that is not older has had no time to be asked about."""
_CHANGES = 400
"""Changes of windows that are looked at ahead; a month of a fleet with several windows a day has fewer."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A span in which a fleet's windows stay as they are."""

    hours: Decimal
    machines: int
    """How many are up in it at the most: the target, or what a parking window leaves up."""
    ends: datetime


@dataclass(slots=True)
class _Account:
    """One fleet's money in the month, while a plan is cut."""

    segments: tuple[Segment, ...]
    rates: list[Decimal]
    """Dollars an hour of every machine that runs, the costliest first."""
    own_rate: Decimal | None
    """Of a machine as the fleet would create it."""
    spent: Amount = NOTHING
    unpriced: set[str] = field(default_factory=set)
    """Names of machines whose price is not known."""
    unbilled: set[str] = field(default_factory=set)
    """Names of machines whose bill is not known: they count as if they had run since they were made."""

    @property
    def committed(self) -> Decimal:
        return self.spent.most + sum((self._costs(s, first=n == 0) for n, s in enumerate(self.segments)), Decimal(0))

    def added(self, rate: Decimal) -> Decimal:
        """What one more machine costs by the end of the month: in spans that have no room for it, nothing."""
        running = len(self.rates)
        hours = (s.hours for n, s in enumerate(self.segments) if n == 0 or s.machines > running)
        return rate * sum(hours, Decimal(0))

    def wanted_rates(self) -> list[Decimal | None]:
        """Dollars an hour in each segment with the fleet at its target; None when that has no price."""
        found: list[Decimal | None] = []
        for number, segment in enumerate(self.segments):
            count = max(segment.machines, len(self.rates)) if number == 0 else segment.machines
            new = max(0, count - len(self.rates))
            known = sum(self.rates[:count], Decimal(0))
            if new:
                found.append(None if self.own_rate is None else known + new * self.own_rate)
            else:
                found.append(known)
        return found

    def _costs(self, segment: Segment, *, first: bool) -> Decimal:
        # In the present span nothing is stopped for certain: a machine in use outlives the window that parks.
        running = self.rates if first else self.rates[: segment.machines]
        return segment.hours * sum(running, Decimal(0))


@dataclass(slots=True)
class _Scope:
    """What one budget is about."""

    whose: str
    budget: Decimal
    parts: Sequence[_Account]
    committed: Decimal = field(init=False)
    unpriced: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.committed = sum((part.committed for part in self.parts), Decimal(0))
        self.unpriced = sorted({name for part in self.parts for name in part.unpriced})


def cut_budgets(
    actions: Sequence[Action],
    fleets: Sequence[Fleet],
    members: Mapping[str, Roster],
    memory: Memory,
    orphans: Mapping[str, Sequence[Machine]],
    costs: Costs,
    now: datetime,
    *,
    forecast: bool,
) -> tuple[list[Action], list[Skip], tuple[BudgetView, ...]]:
    """Refuse the creates and starts that would take a month beyond a budget; and what each budget looks like.

    ``members``: each fleet's machines. ``memory.bills``: what was billed for each machine in the month so far.
    ``orphans``: machines by the fleet that left the config.
    ``forecast``: show every fleet and the whole, with a budget or without.
    """
    budgets = {f.name: f.guards.max_monthly_cost for f in fleets if f.guards.max_monthly_cost > 0 or forecast}
    overall = costs.max_monthly_cost > 0 or forecast
    if not budgets and not overall:
        return list(actions), [], ()
    month = f"{now.astimezone(UTC):%Y-%m}"
    begins, ends = month_of(month)
    bills = {b.machine_id: b for b in memory.bills if b.month == month}
    accounts = {f.name: _account(f, members[f.name], bills, memory, costs, begins, now, ends) for f in fleets}
    rest = _rest(orphans, bills, memory, costs, begins, now, ends)
    here = {m.id for machines in (*map(_all, members.values()), *orphans.values()) for m in machines}
    for bill in bills.values():
        if bill.machine_id not in here:
            _spend(accounts.get(bill.fleet, rest), bill, memory, now, None)
    kept: list[Action] = []
    cut: list[Skip] = []
    own = {n: [_Scope(f"fleet {n}", budget, [accounts[n]])] for n, budget in budgets.items() if budget > 0}
    whole = _Scope("everything", costs.max_monthly_cost, [*accounts.values(), rest])
    shared = [whole] if costs.max_monthly_cost > 0 else []
    for action in actions:
        if not action.verb.raises_cost:
            kept.append(action)
            continue
        account, scopes = accounts[action.fleet], [*own.get(action.fleet, ()), *shared]
        refusal = _refusal(action, account, scopes, month, ends)
        if refusal is not None:
            cut.append(refusal)
            continue
        kept.append(action)
        rate = action.hourly_delta
        if rate is not None:
            added = account.added(rate)
            for scope in scopes:
                scope.committed += added
            bisect.insort(account.rates, rate, key=lambda known: -known)
    views = [_view(name, month, budget, [accounts[name]], now) for name, budget in budgets.items()]
    if overall:
        views.insert(0, _view(None, month, costs.max_monthly_cost, [*accounts.values(), rest], now))
    return kept, merge(cut), tuple(views)


def segments(fleet: Fleet, now: datetime, ends: datetime) -> tuple[Segment, ...]:
    """The spans from now to ``ends`` in which the fleet's windows stay as they are."""
    found: list[Segment] = []
    at, state = now, effective(fleet, now)
    for _ in range(_CHANGES):
        change = next_change(fleet, at)
        if change is None or change[0] >= ends:
            found.append(Segment(_hours(at, ends), _most_up(state), ends))
            break
        found.append(Segment(_hours(at, change[0]), _most_up(state), change[0]))
        at, state = change
    return tuple(found)


def _account(
    fleet: Fleet,
    roster: Roster,
    bills: Mapping[str, BilledMonth],
    memory: Memory,
    costs: Costs,
    begins: datetime,
    now: datetime,
    ends: datetime,
) -> _Account:
    account = _Account(segments(fleet, now, ends), [], fleet_rate(fleet, costs.prices))
    billed = {m.id for m in roster.billed}
    for machine in _all(roster):
        rate = member_rate(fleet, machine, costs.prices)
        _spend_on(account, fleet.name, machine, bills, memory, begins, now, rate)
        if machine.id in billed and rate is not None:
            account.rates.append(rate)
    for _ in roster.creating:
        if account.own_rate is None:
            account.unpriced.add(f"a new machine of {fleet.name}")
        else:
            account.rates.append(account.own_rate)
    account.rates.sort(reverse=True)
    return account


def _rest(
    orphans: Mapping[str, Sequence[Machine]],
    bills: Mapping[str, BilledMonth],
    memory: Memory,
    costs: Costs,
    begins: datetime,
    now: datetime,
    ends: datetime,
) -> _Account:
    """What is nobody's in the config, and is billed all the same."""
    rest = _Account((Segment(_hours(now, ends), 0, ends),), [], None)
    for fleet, machines in orphans.items():
        for machine in machines:
            rate = hourly_rate(machine, costs.prices)
            _spend_on(rest, fleet, machine, bills, memory, begins, now, rate)
            if machine.phase not in BILLED:
                continue
            if rate is None:
                rest.unpriced.add(f"{fleet} (not in the config)")
            else:
                rest.rates.append(rate)
    return rest


def _spend_on(
    account: _Account,
    fleet: str,
    machine: Machine,
    bills: Mapping[str, BilledMonth],
    memory: Memory,
    begins: datetime,
    now: datetime,
    rate: Decimal | None,
) -> None:
    """What a machine has cost; of one without a bill the provider has told nothing: it has run since it was made."""
    row = bills.get(machine.id)
    if row is None:
        since = min(now, max(begins, machine.created_at or begins))
        row = new_month(month_name(begins), Billed(machine.id, fleet, machine.name), since)
        if now - since > YOUNG:
            account.unbilled.add(machine.name)
    _spend(account, row, memory, now, rate)


def _spend(account: _Account, row: BilledMonth, memory: Memory, now: datetime, price: Decimal | None) -> None:
    fact = memory.facts.get(row.machine_id)
    bill = bill_at(row, now, still_off=None if fact is None else fact.last_seen, price=price)
    amount = dollars_of(bill)
    if amount is None:
        account.unpriced.add(row.name)
    else:
        account.spent += amount


def _refusal(action: Action, account: _Account, scopes: Sequence[_Scope], month: str, ends: datetime) -> Skip | None:
    added = None if action.hourly_delta is None else account.added(action.hourly_delta)
    for scope in scopes:
        if added is None or scope.unpriced:
            named = some(scope.unpriced, 5) or f"a new machine of {action.fleet}"
            detail = f"budget ${scope.budget} a month of {scope.whose}; no price for {named}"
            return _skip(action, Reason.PRICE_UNKNOWN, detail)
        if scope.committed + added > scope.budget:
            spent = _spent(scope.parts)
            detail = (
                f"{scope.whose} in {month}: {'' if spent.is_exact() else 'up to '}${spent.high()} spent, "
                f"${_cents(scope.committed)} with what runs, "
                f"${_cents(scope.committed + added)} with this one, of ${scope.budget}"
            )
            return _skip(action, Reason.GUARD_BUDGET, detail, until=ends)
    return None


def _view(name: str | None, month: str, budget: Decimal, parts: Sequence[_Account], now: datetime) -> BudgetView:
    unknown = any(part.unpriced for part in parts)
    spent = _spent(parts)
    curve = _curve(parts, now)
    wanted, used_up = None, None
    if curve is not None and not unknown:
        wanted, used_up = _run_out(spent.most, curve, budget)
    committed = None if unknown else _cents(sum((part.committed for part in parts), Decimal(0)))
    return BudgetView(
        fleet=name,
        month=month,
        budget=budget,
        spent=None if unknown else spent.high(),
        committed=committed,
        wanted=None if wanted is None else _cents(wanted),
        used_up_at=used_up,
        at_most=not spent.is_exact(),
        unbilled=tuple(sorted({name for part in parts for name in part.unbilled})),
    )


def _spent(parts: Sequence[_Account]) -> Amount:
    return known_total(part.spent for part in parts)


def _curve(parts: Sequence[_Account], now: datetime) -> list[tuple[datetime, datetime, Decimal]] | None:
    """(from, until, dollars an hour) with everything at its target; None when a price is not known."""
    edges = sorted({now, *(s.ends for part in parts for s in part.segments)})
    rates = dict.fromkeys(edges, Decimal(0))
    for part in parts:
        begins = now
        for segment, rate in zip(part.segments, part.wanted_rates(), strict=True):
            if rate is None:
                return None
            for edge in edges:
                if begins <= edge < segment.ends:
                    rates[edge] += rate
            begins = segment.ends
    return [(a, b, rates[a]) for a, b in pairwise(edges)]


def _run_out(
    spent: Decimal, curve: Sequence[tuple[datetime, datetime, Decimal]], budget: Decimal
) -> tuple[Decimal, datetime | None]:
    total, used_up = spent, None
    for begins, until, rate in curve:
        costs = rate * _hours(begins, until)
        if used_up is None and 0 < budget < total + costs:
            used_up = begins if total > budget else begins + (until - begins) * float((budget - total) / costs)
        total += costs
    return total, used_up


def _most_up(state: Effective) -> int:
    return state.floor if state.park_idle else state.target


def _all(roster: Roster) -> tuple[Machine, ...]:
    return (*roster.up, *roster.rising, *roster.falling, *roster.down, *roster.unknown, *roster.leaving)


def _hours(since: datetime, until: datetime) -> Decimal:
    return Decimal(str((until - since).total_seconds())) / 3600


def _cents(amount: Decimal) -> Decimal:
    return amount.quantize(CENT, ROUND_HALF_UP)


def _skip(action: Action, reason: Reason, detail: str, *, until: datetime | None = None) -> Skip:
    return Skip(
        action.fleet, action.verb, reason, machine=action.machine, name=action.name, until=until, detail=detail
    )
