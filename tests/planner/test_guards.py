"""Which actions rest on a clock, and whether both clocks would have them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from fleetd.model.fleet import Costs, Guards, Window
from fleetd.model.plan import Action
from fleetd.model.reasons import Reason, Verb
from fleetd.planner.guards import agree_on, goes_by_age
from tests.support.build import NOW, fleet

P = pytest.param
LATE = NOW.replace(month=3, day=31, hour=23)
OVER = timedelta(hours=2)
"""Two hours after ``LATE`` it is April; two hours after noon the window is open."""
EVENING = Window("evening", 13 * 60, 20 * 60, "UTC", target=1)
PARKED = Window("evening", 13 * 60, 20 * 60, "UTC", park_idle=True)
PARKED_BUT_THREE = Window("evening", 13 * 60, 20 * 60, "UTC", park_idle=True, target=3)
NO_BUDGET, BUDGET = Costs({}, Decimal(0), Decimal(0)), Costs({}, Decimal(0), Decimal("0.5"))
OWN = {"guards": Guards(max_monthly_cost=Decimal("0.5"))}


def action(verb: Verb, reason: Reason = Reason.SHORT_OF_TARGET) -> Action:
    return Action(verb, "training", reason, machine="ps1", name="a")


@pytest.mark.parametrize(
    ("fields", "what", "agree"),
    [
        P({}, action(Verb.CREATE), True, id="no windows"),
        P({"windows": (EVENING,)}, action(Verb.CREATE), False, id="another target"),
        P({"windows": (EVENING,)}, action(Verb.STOP), False, id="whatever is done"),
        P({"windows": (PARKED,)}, action(Verb.STOP), False, id="parked by one of them"),
        P({"windows": (PARKED_BUT_THREE,)}, action(Verb.STOP), False, id="the target is the same"),
        P({"windows": (replace(EVENING, target=None),)}, action(Verb.STOP), True, id="the window changes nothing"),
        P({"windows": (EVENING,)}, action(Verb.UPDATE), True, id="an update does not hang on windows"),
        P({"windows": (EVENING,)}, action(Verb.STOP, Reason.OPERATOR_REQUEST), True, id="nor does an order"),
    ],
)
def test_whether_windows_ask_for_the_same_by_both_clocks(fields: dict[str, Any], what: Action, agree: bool) -> None:
    want = fleet(**{"target": 3, **fields})
    assert agree_on(want, what, NOW, NOW + OVER, NO_BUDGET) is agree
    assert agree_on(want, what, NOW + OVER, NOW, NO_BUDGET) is agree
    assert agree_on(want, what, NOW, NOW, NO_BUDGET) is True


@pytest.mark.parametrize(
    ("fields", "costs", "what", "agree"),
    [
        P({}, NO_BUDGET, action(Verb.CREATE), True, id="no budget"),
        P({}, BUDGET, action(Verb.CREATE), False, id="one of all"),
        P(OWN, NO_BUDGET, action(Verb.CREATE), False, id="one of the fleet"),
        P(OWN, BUDGET, action(Verb.START), False, id="a start"),
        P(OWN, BUDGET, action(Verb.START, Reason.OPERATOR_REQUEST), False, id="an order for a start too"),
        P(OWN, BUDGET, action(Verb.STOP), True, id="a stop costs nothing"),
        P(OWN, BUDGET, action(Verb.UPDATE), True, id="nor does an update"),
    ],
)
def test_whether_both_clocks_are_in_one_month_of_a_budget(
    fields: dict[str, Any], costs: Costs, what: Action, agree: bool
) -> None:
    want = fleet(**fields)
    assert agree_on(want, what, LATE, LATE + OVER, costs) is agree
    assert agree_on(want, what, LATE + OVER, LATE, costs) is agree
    assert agree_on(want, what, LATE - OVER, LATE, costs) is True


@pytest.mark.parametrize(
    ("what", "by_age"),
    [
        P(action(Verb.DESTROY), True, id="a destroy cannot be undone"),
        P(action(Verb.STOP, Reason.OUTLIVED_TIMEOUT), True, id="an age is its reason"),
        P(action(Verb.STOP), False, id="any other stop"),
        P(action(Verb.CREATE), False, id="a create"),
    ],
)
def test_what_rests_on_an_age(what: Action, by_age: bool) -> None:
    assert goes_by_age(what) is by_age
