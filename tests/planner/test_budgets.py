"""Money in the rest of a month, span by span: what runs, what one more costs, what the targets ask for."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from fleetd.model.fleet import Costs, Window
from fleetd.model.plan import OverCap
from fleetd.model.reasons import Reason, Verb
from fleetd.planner.amounts import Amount
from fleetd.planner.budgets import Segment, _Account, _curve, _run_out, segments
from fleetd.planner.guards import over_caps
from fleetd.planner.plan import plan
from tests.support.build import NOW, fleet, machine, memory, seen, token_name

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
    why = "budget $5000 a month of everything; no price for old (not in the config)"
    assert [s.detail for s in decided.skips if s.reason is Reason.PRICE_UNKNOWN] == ([] if known else [why])


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


@pytest.mark.parametrize(
    ("caps", "current", "overall", "orphans", "over"),
    [
        P({"a": 1}, {"a": 2}, 0, {}, [("a", 2, 1)], id="one fleet"),
        P({"a": 2}, {"a": 2}, 2, {}, [], id="just at it"),
        P({"a": 0}, {"a": 2}, 0, {}, [], id="no cap"),
        P({"a": 1}, {"a": None}, 0, {}, [], id="what has no price counts as nothing"),
        P({"a": 1}, {}, 0, {}, [], id="nothing runs"),
        P(
            {"a": 1},
            {"a": 2, "b": None},
            2,
            {"old": 1, "older": None},
            [(None, 3, 2), ("a", 2, 1)],
            id="all together",
        ),
    ],
)
def test_the_caps_that_are_passed(
    caps: dict[str, int], current: dict[str, Any], overall: int, orphans: dict[str, Any], over: list[Any]
) -> None:
    def dollars(amounts: dict[str, Any]) -> dict[str, Any]:
        return {name: None if amount is None else Decimal(amount) for name, amount in amounts.items()}

    found = over_caps(dollars(caps), dollars(current), Decimal(overall), dollars(orphans))
    assert found == tuple(OverCap(name, Decimal(had), Decimal(cap)) for name, had, cap in over)
