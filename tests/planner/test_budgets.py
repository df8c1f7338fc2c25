"""Money in the rest of a month, span by span: what runs, what one more costs, what the targets ask for."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from fleetd.model.fleet import Costs, Fleet, Guards, Window
from fleetd.model.journal import BilledMonth
from fleetd.model.machine import Machine
from fleetd.model.plan import BudgetView, Plan, Skip
from fleetd.model.reasons import Reason, Verb
from fleetd.planner.amounts import Amount
from fleetd.planner.budgets import YOUNG, Segment, _Account, _curve, _run_out, segments
from fleetd.planner.plan import plan
from tests.support.build import NOW, facts, fleet, intent, machine, memory, seen, token_name

P = pytest.param


def spans(*machines: int) -> tuple[Segment, ...]:
    """Ten hours each."""
    return tuple(
        Segment(Decimal(10), count, NOW + timedelta(hours=10 * n)) for n, count in enumerate(machines, start=1)
    )


def account(rates: list[int], *machines: int, own: int | None = 1, spent: int = 0) -> _Account:
    known = [Decimal(r) for r in rates]
    return _Account(
        spans(*machines), known, None if own is None else Decimal(own), Amount(Decimal(0), Decimal(spent))
    )


@pytest.mark.parametrize(
    ("rates", "machines", "committed", "added", "wanted"),
    [
        P([], [0], 0, 10, [0], id="nothing, and nothing wanted: the present span has room all the same"),
        P([], [2], 0, 10, [2], id="two wanted"),
        P([3, 2], [2], 50, 10, [5], id="as wanted"),
        P([3, 2], [1], 50, 10, [5], id="in the present span nothing is stopped for certain"),
        P([3, 2], [1, 1], 80, 10, [5, 3], id="in the next one the costliest stays, at the most"),
        P([3, 2], [2, 0, 3], 100, 20, [5, 0, 6], id="parked, then one more"),
        P([3, 2], [2, 2, 2], 150, 10, [5, 5, 5], id="no room for one more later"),
        P([3], [1, 4], 60, 20, [3, 6], id="three more"),
    ],
)
def test_what_runs_and_what_is_wanted_costs(
    rates: list[int], machines: list[int], committed: int, added: int, wanted: list[int]
) -> None:
    one = account(rates, *machines)
    assert one.committed == committed
    assert account(rates, *machines, spent=7).committed == committed + 7, "at the most"
    assert one.added(Decimal(1)) == added
    assert one.wanted_rates() == wanted
    assert account([], 0).added(Decimal(2)) == 20


@pytest.mark.parametrize(
    ("rates", "machines", "wanted"),
    [([3], [1], [3]), ([3], [2], [None]), ([3], [1, 2], [3, None]), ([3, 2], [1], [5])],
)
def test_what_has_no_price_is_not_wanted_for_a_known_sum(
    rates: list[int], machines: list[int], wanted: list[int | None]
) -> None:
    one = account(rates, *machines, own=None)
    assert one.wanted_rates() == wanted
    assert (_curve([one], NOW) is None) is (None in wanted)


def hour(n: float) -> datetime:
    return NOW + timedelta(hours=n)


def test_the_curve_adds_up_what_all_want_between_the_edges_of_all() -> None:
    other = _Account((Segment(Decimal(15), 1, hour(15)), Segment(Decimal(5), 0, hour(20))), [], Decimal(4))
    found = _curve([account([], 1, 2), other], NOW)
    assert found == [(NOW, hour(10), 5), (hour(10), hour(15), 6), (hour(15), hour(20), 2)]
    assert _curve([], NOW) == []


@pytest.mark.parametrize(
    ("spent", "budget", "total", "used_up"),
    [
        P(0, 0, 30, None, id="no budget"),
        P(0, 30, 30, None, id="just enough"),
        P(0, 29, 30, hour(29.5), id="in the last span"),
        P(0, 5, 30, hour(5), id="in the first span"),
        P(0, 1, 30, hour(1), id="however small it is"),
        P(0, 10, 30, hour(20), id="right where the first span ends: the next costs nothing"),
        P(10, 10, 40, NOW, id="used up now"),
        P(12, 10, 42, NOW, id="and beyond"),
        P(5, 10, 35, hour(5), id="part of it is spent"),
    ],
)
def test_when_a_budget_is_used_up(spent: int, budget: int, total: int, used_up: datetime | None) -> None:
    curve = [(NOW, hour(10), Decimal(1)), (hour(10), hour(20), Decimal(0)), (hour(20), hour(30), Decimal(2))]
    assert _run_out(Decimal(spent), curve, Decimal(budget)) == (total, used_up)


def test_orphans_without_a_bill_are_named() -> None:
    decided = plan(
        [fleet(target=0)], seen(machine(1, fleet="old"), machine(2, fleet="old")), memory(), NOW,
        costs=Costs({"P4000": Decimal("0.50")}, Decimal(0), Decimal(100)),
    )  # fmt: skip
    (view,) = decided.budgets
    assert view.unbilled == (token_name(1, "old"), token_name(2, "old"))


@pytest.mark.parametrize(
    ("kind", "known"), [P("P4000", True, id="its price is known"), P("odd", False, id="it may cost anything")]
)
def test_nothing_is_started_within_a_budget_while_an_orphan_has_no_price(kind: str, known: bool) -> None:
    decided = plan(
        [fleet(target=1)], seen(machine(1, "off"), machine(2, fleet="old", machine_type=kind)), memory(), NOW,
        costs=Costs({"P4000": Decimal(1)}, Decimal(0), Decimal(5000)),
    )  # fmt: skip
    (view,) = decided.budgets
    assert (view.committed is not None) is known
    assert [a.verb for a in decided.actions] == [Verb.START] * known
    why = f"budget $5000 a month of everything; no price for old (not in the config), {token_name(2, 'old')}"
    assert [s.detail for s in decided.skips if s.reason is Reason.PRICE_UNKNOWN] == ([] if known else [why])


def test_a_budget_that_is_passed_already_is_used_up_now_although_nothing_runs() -> None:
    curve = [(NOW, hour(10), Decimal(0)), (hour(10), hour(20), Decimal(1))]
    assert _run_out(Decimal(12), curve, Decimal(10)) == (22, NOW)
    assert _run_out(Decimal(12), curve[:1], Decimal(10)) == (12, NOW)
    assert _run_out(Decimal(10), curve, Decimal(10)) == (20, hour(10)), "nothing is beyond it so far"


NIGHT = Window("night", 20 * 60, 6 * 60, "UTC", target=1)
PARKED = Window("night", 20 * 60, 6 * 60, "UTC", park_idle=True)
ENDS = datetime(2026, 4, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("windows", "begins", "found"),
    [
        P((), 31, [(24, 3, 24)], id="no windows"),
        P((NIGHT,), 31, [(6, 1, 6), (14, 3, 20), (4, 1, 24)], id="a night, the day, and the next one's begin"),
        P((PARKED,), 31, [(6, 0, 6), (14, 3, 20), (4, 0, 24)], id="parked at night"),
        P(
            (replace(NIGHT, start=6 * 60, end=24 * 60),),
            31,
            [(6, 3, 6), (18, 1, 24)],
            id="it closes as the month ends",
        ),
        P((replace(NIGHT, days=frozenset({4})),), 31, [(24, 3, 24)], id="only on days of the next month"),
    ],
)
def test_the_spans_of_the_rest_of_a_month(
    windows: tuple[Window, ...], begins: int, found: list[tuple[int, int, int]]
) -> None:
    day = datetime(2026, 3, begins, tzinfo=UTC)
    spans_found = segments(fleet(target=3, windows=windows), day, ENDS)
    assert [(s.hours, s.machines, (s.ends - day) / timedelta(hours=1)) for s in spans_found] == found


AT = datetime(2026, 3, 31, 14, tzinfo=UTC)
"""Ten hours before the month ends."""
PRICES = {"P4000": Decimal(1), "V100": Decimal(3)}
HALF = Decimal("0.5")


def bill(n: int, hours: float, *, rate: int | None = 1, of: str = "training", **fields: Any) -> BilledMonth:
    return BilledMonth(
        month="2026-03", machine_id=f"ps{n}", fleet=of, name=token_name(n, of), as_of=AT, seconds_used=hours * 3600,
        hourly_rate=None if rate is None else Decimal(rate), storage_seconds_used=0.0, storage_monthly_rate=None,
        **fields,
    )  # fmt: skip


def held_to(amount: Decimal | int = 5000, target: int = 1, **fields: Any) -> Fleet:
    return fleet(target=target, guards=Guards(max_monthly_cost=Decimal(amount)), **fields)


def decide(
    *fleets: Fleet, listed: tuple[Machine, ...] = (), prices: Any = PRICES, overall: Any = 0, forecast: bool = False,
    **recalled: Any,
) -> Plan:  # fmt: skip
    recalled.setdefault("facts", [facts(int(m.id[2:]), fleet=m.name.split("-")[0], up_since=AT) for m in listed])
    costs = Costs(prices, Decimal(0), Decimal(overall))
    return plan(fleets, seen(*listed, at=AT), memory(**recalled), AT, costs=costs, forecast=forecast)


def view_of(*fleets: Fleet, **fields: Any) -> BudgetView:
    return decide(*fleets, **fields).budgets[0]


FOUR = (bill(1, 4),)
MAKING = intent(Verb.CREATE, created_at=AT, deadline_at=AT + timedelta(minutes=10))


@pytest.mark.parametrize(
    ("listed", "recalled", "spent", "committed"),
    [
        P([], {}, 0, 0, id="nothing"),
        P([machine(1)], {"bills": FOUR}, 4, 14, id="it runs on"),
        P([machine(1, "starting")], {"bills": FOUR}, 4, 14, id="it comes up"),
        P([machine(1, "stopping")], {"bills": FOUR}, 4, 14, id="in the present span nothing is off for certain"),
        P([machine(1, "off")], {"bills": FOUR}, 4, 4, id="it is off: what was billed stays"),
        P([machine(1, created_at=AT)], {}, 0, 10, id="it was made just now"),
        P([], {"intents": (MAKING,)}, 0, 10, id="it is being made"),
        P([machine(1), machine(2)], {"bills": (*FOUR, bill(2, 1)), "intents": (MAKING,)}, 5, 35, id="all together"),
        P([machine(1, machine_type="V100")], {"bills": FOUR}, 4, 34, id="one of another type"),
        P([machine(1, machine_type=None)], {"bills": FOUR}, 4, 14, id="of a type not told: the fleet's own"),
        P(
            [machine(1, machine_type=None, hourly_rate=Decimal(2))],
            {"bills": FOUR},
            4,
            24,
            id="with a price of its own",
        ),
        P([machine(1, machine_type="odd", created_at=AT)], {}, 0, 0, id="of a type without a price"),
    ],
)
def test_what_the_rest_of_a_month_is_committed_to(
    listed: list[Machine], recalled: Any, spent: int, committed: int
) -> None:
    view = view_of(held_to(target=0), listed=tuple(listed), **recalled)
    assert (view.spent, view.committed) == (spent, committed)


@pytest.mark.parametrize(
    ("recalled", "named"),
    [
        P({"intents": (MAKING,)}, "a new machine of training", id="one that is being made"),
        P({"bills": (bill(9, 5, rate=None, gone=True),)}, token_name(9), id="one that went"),
    ],
)
def test_nothing_is_known_of_a_month_with_a_part_that_has_no_price(recalled: Any, named: str) -> None:
    prices = {} if "intents" in recalled else PRICES
    decided = decide(held_to(target=2), prices=prices, **recalled)
    (view,) = decided.budgets
    assert (view.spent, view.committed, view.wanted, view.used_up_at) == (None, None, None, None)
    assert decided.actions == ()
    assert named in decided.skips[-1].detail


EVENING = Window("evening", 18 * 60, 24 * 60, "UTC", target=1)


@pytest.mark.parametrize("dear", [1, 2])
def test_in_a_span_with_room_for_some_the_costliest_stay_at_the_most(dear: int) -> None:
    kinds = {dear: "V100", 3 - dear: "P4000"}
    listed = tuple(machine(n, machine_type=kinds[n]) for n in (1, 2))
    view = view_of(held_to(target=2, windows=(EVENING,)), listed=listed, bills=(bill(1, 0), bill(2, 0)))
    assert view.committed == 4 * (3 + 1) + 6 * 3


@pytest.mark.parametrize(("runs", "made"), [("V100", "P4000"), ("P4000", "V100")])
def test_and_so_it_is_with_one_that_this_plan_makes(runs: str, made: str) -> None:
    want = held_to(target=2, windows=(EVENING,), machine_type=made)
    decided = decide(want, listed=(machine(1, machine_type=runs),), bills=(bill(1, 0),))
    assert [a.verb for a in decided.actions] == [Verb.CREATE]
    assert decided.budgets[0].committed == 4 * (3 + 1) + 6 * 3


@pytest.mark.parametrize(
    ("own", "overall", "forecast", "shown", "refused"),
    [
        P(0, 0, False, [], False, id="no budget"),
        P(0, 0, True, [None, "training"], False, id="a forecast shows every month, and holds nobody to it"),
        P(HALF, 0, False, ["training"], True, id="the fleet's own"),
        P(0, HALF, False, [None], True, id="one of everything"),
        P(HALF, HALF, False, [None, "training"], True, id="both: everything goes first"),
        P(10, 10, False, [None, "training"], False, id="just enough"),
    ],
)
def test_which_months_are_shown_and_what_they_are_held_to(
    own: Any, overall: Any, forecast: bool, shown: list[str | None], refused: bool
) -> None:
    decided = decide(held_to(own), overall=overall, forecast=forecast)
    assert [(view.fleet, view.wanted) for view in decided.budgets] == [(whose, 10) for whose in shown]
    assert [a.verb for a in decided.actions] == ([] if refused else [Verb.CREATE])


def test_a_refusal_names_its_machine_and_keeps_no_other_fleet_from_what_it_needs() -> None:
    other = fleet("other", target=1)
    decided = decide(held_to(13), other, listed=(machine(1, "off"),), bills=FOUR)
    assert [(a.verb, a.fleet) for a in decided.actions] == [(Verb.CREATE, "other")]
    detail = "fleet training in 2026-03: $4.00 spent, $4.00 with what runs, $14.00 with this one, of $13"
    refused = Skip("training", Verb.START, Reason.GUARD_BUDGET, "ps1", token_name(1), ENDS, detail)
    assert [s for s in decided.skips if s.reason is Reason.GUARD_BUDGET] == [refused]


OLD = {"fleet": "old"}
SINCE = (AT - datetime(2026, 3, 1, tzinfo=UTC)) / timedelta(hours=1)


@pytest.mark.parametrize(
    ("fields", "bills", "spent", "committed", "named"),
    [
        P({}, (bill(1, 4),), 4, 14, False, id="as it was billed"),
        P({"state": "off"}, (bill(1, 4),), 4, 4, False, id="off"),
        P({"created_at": AT - timedelta(hours=3)}, (), 3, 13, True, id="no bill: since it was made"),
        P({"created_at": None}, (), SINCE, SINCE + 10, True, id="nobody knows since when: all of the month"),
        P({"state": "off", "created_at": AT - timedelta(hours=3)}, (), 3, 3, True, id="off, and it may have run"),
        P({"created_at": AT}, (), 0, 10, False, id="made just now: nothing to be asked about yet"),
        P({"created_at": AT - YOUNG}, (), "0.17", "10.17", False, id="it is young"),
        P({"created_at": AT - timedelta(minutes=6)}, (), "0.10", "10.10", False, id="it is younger"),
        P({"created_at": AT - YOUNG * 1.2}, (), "0.20", "10.20", True, id="it is young no more"),
    ],
)
@pytest.mark.parametrize("whose", ["training", "old"])
def test_one_without_a_bill_has_run_since_it_was_made_whether_its_fleet_is_in_the_config_or_left_it(
    fields: Any, bills: Any, spent: Any, committed: Any, named: bool, whose: str
) -> None:
    """To count it as nothing would lift the budget."""
    one = machine(1, **{"state": "ready", "fleet": whose} | fields)
    view = view_of(
        fleet(target=0), listed=(one,), bills=tuple(replace(b, fleet=whose) for b in bills), overall=10_000
    )
    assert view.fleet is None
    assert (view.spent, view.committed) == (Decimal(spent), Decimal(committed))
    assert view.unbilled == ((one.name,) if named else ())


@pytest.mark.parametrize("state", ["ready", "off"])
def test_what_an_orphan_without_a_price_will_cost_matters_while_it_runs(state: str) -> None:
    odd, dear = machine(1, state, fleet="old", machine_type="odd"), machine(2, fleet="old")
    view = view_of(
        fleet(target=0), listed=(odd, dear), bills=(bill(1, 4, of="old"), bill(2, 0, of="old")), overall=50
    )
    assert view.committed == (4 + 10 if state == "off" else None)


def test_what_was_billed_for_an_orphan_and_its_price_of_today_both_count_since() -> None:
    listed = (machine(1, fleet="old", machine_type="V100"),)
    told = replace(bill(1, 4, of="old"), as_of=AT - timedelta(hours=2))
    assert view_of(fleet(target=0), listed=listed, bills=(told,), overall=5000).spent == 4 + 2 * 3
