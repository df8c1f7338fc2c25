"""Which prices a machine may have had, as far as they were seen."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from fleetd.planner.amounts import NOTHING, Amount, PriceSpan, hourly, known_total, monthly, prices_during, total
from tests.support.build import NOW

P = pytest.param


def span(price: int, first: float, last: float) -> PriceSpan:
    return PriceSpan(Decimal(price), NOW + timedelta(hours=first), NOW + timedelta(hours=last))


@pytest.mark.parametrize(
    ("seen", "since", "until", "found"),
    [
        P([], 0, 1, set(), id="none was seen"),
        P([(1, 0, 9)], 2, 3, {1}, id="the same all the time"),
        P([(1, 2, 3)], 0, 9, {1}, id="within the span"),
        P([(1, 0, 2)], 2, 3, {1}, id="seen last as it begins"),
        P([(1, 3, 9)], 2, 3, {1}, id="seen first as it ends"),
        P([(1, 0, 1)], 2, 3, {1}, id="before it: that may hold still"),
        P([(1, 4, 5)], 2, 3, {1}, id="after it: that may have held already"),
        P([(1, 0, 1), (2, 4, 5)], 2, 3, {1, 2}, id="one before and one after"),
        P([(1, 0, 1), (2, 1, 1.5)], 2, 3, {2}, id="the last of those before"),
        P([(2, 1, 1.5), (1, 0, 1)], 2, 3, {2}, id="in whatever order"),
        P([(1, 4, 5), (2, 6, 7)], 2, 3, {1}, id="the first of those after"),
        P([(2, 6, 7), (1, 4, 5)], 2, 3, {1}, id="in whatever order they stand"),
        P([(1, 0, 1), (2, 2, 3), (3, 4, 5)], 2, 3, {2}, id="looks at its very ends say otherwise"),
        P([(1, 0, 1), (2, 2, 2.5), (3, 4, 5)], 2, 3, {2, 3}, id="only at its begin"),
        P([(1, 0, 1), (2, 2.5, 3), (3, 4, 5)], 2, 3, {1, 2}, id="only at its end"),
        P([(1, 0, 1), (2, 2.2, 2.8), (3, 4, 5)], 2, 3, {1, 2, 3}, id="at neither"),
        P([(1, 0, 5), (2, 3, 9)], 2, 4, {1, 2}, id="two in turns"),
    ],
)
def test_the_prices_of_a_span(
    seen: list[tuple[int, float, float]], since: float, until: float, found: set[int]
) -> None:
    history = {"P4000": tuple(span(*one) for one in seen), "A6000": (span(9, 0, 9),)}
    begins, ends = NOW + timedelta(hours=since), NOW + timedelta(hours=until)
    assert prices_during(history, "P4000", begins, ends) == {Decimal(p) for p in found}
    assert prices_during(history, "RTX", begins, ends) == prices_during(history, None, begins, ends) == set()


def amount(least: float, most: float) -> Amount:
    return Amount(Decimal(str(least)), Decimal(str(most)))


@pytest.mark.parametrize(
    ("seconds", "prices", "an_hour", "a_month"),
    [
        P(3600, {2}, amount(2, 2), amount(1, 1), id="one price"),
        P(3600, {2, 6}, amount(2, 6), amount(1, 3), id="the least and the most"),
        P(1800, {2}, amount(1, 1), amount(0.5, 0.5), id="half of it"),
        P(14400, {2}, amount(8, 8), amount(2, 2), id="never more than the month's"),
        P(0, {2}, NOTHING, NOTHING, id="nothing was used"),
        P(0, set(), NOTHING, NOTHING, id="whatever it costs"),
        P(-5, {2}, NOTHING, NOTHING, id="or less"),
        P(1, set(), None, None, id="no price"),
    ],
)
def test_what_seconds_cost(seconds: int, prices: set[int], an_hour: Amount | None, a_month: Amount | None) -> None:
    known = {Decimal(p) for p in prices}
    assert hourly(seconds, known) == an_hour
    assert monthly(seconds, 7200, known) == a_month


@pytest.mark.parametrize(
    ("parts", "whole", "known"),
    [
        P([], NOTHING, NOTHING, id="nothing"),
        P([amount(1, 2), amount(3, 5)], amount(4, 7), amount(4, 7), id="both"),
        P([amount(1, 2), None, amount(3, 5)], None, amount(4, 7), id="one is not known"),
    ],
)
def test_the_sum_of_amounts(parts: list[Amount | None], whole: Amount | None, known: Amount) -> None:
    assert total(parts) == whole
    assert known_total(parts) == known
