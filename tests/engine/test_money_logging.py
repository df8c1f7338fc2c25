"""Caps that are passed and budgets that are nearly used up: each said once until it changes."""

from __future__ import annotations

from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from fleetd.engine.money_logging import MoneyLogger
from fleetd.model.plan import BudgetView, OverCap
from tests.support.build import NOW

P = pytest.param


def over(*fleets: str | None) -> Any:
    caps = tuple(OverCap(fleet, Decimal(3), Decimal(2)) for fleet in fleets)
    return SimpleNamespace(complete=True, over_caps=caps, budgets=())


def budget(committed: float | None, *, fleet: str | None = "training", month: str = "2026-03", **fields: Any) -> Any:
    view = BudgetView(
        fleet,
        month,
        Decimal(fields.pop("budget", 100)),
        Decimal(10),
        None if committed is None else Decimal(str(committed)),
        fields.pop("wanted", None),
        fields.pop("used_up_at", None),
    )
    return SimpleNamespace(complete=True, over_caps=(), budgets=(view,))


def said(*plans: Any) -> list[list[dict[str, Any]]]:
    """The lines of each pass."""
    logger, lines = MoneyLogger(), []
    for plan in plans:
        with capture_logs() as logs:
            logger.passed(plan)
        lines.append([dict(line) for line in logs])
    return lines


@pytest.mark.parametrize(
    ("plans", "told"),
    [
        P([over()], [[]], id="none"),
        P([over("a"), over("a")], [["a"], []], id="said once"),
        P([over("a", None), over("a", "b", None)], [["a", None], ["b"]], id="each by itself"),
        P([over("a"), over(), over("a")], [["a"], [], ["a"]], id="again when it is passed again"),
        P(
            [over("a"), SimpleNamespace(complete=False, over_caps=(), budgets=()), over("a")],
            [["a"], [], []],
            id="a look that is not whole says nothing",
        ),
    ],
)
def test_a_cap_that_is_passed_is_said_once(plans: list[Any], told: list[list[str | None]]) -> None:
    lines = said(*plans)
    assert [[line["fleet"] for line in of_pass] for of_pass in lines] == told
    for line in (line for of_pass in lines for line in of_pass):
        assert (line["event"], line["log_level"]) == ("cost.exceeded_cap", "warning")
        assert (line["hourly"], line["cap"]) == ("3", "2")


NEARED, REACHED = "budget.was_neared", "budget.was_reached"


@pytest.mark.parametrize(
    ("plans", "told"),
    [
        P([budget(79.99)], [[]], id="not yet"),
        P([budget(80), budget(90)], [[NEARED], []], id="neared, once"),
        P([budget(99.99), budget(100), budget(150)], [[NEARED], [REACHED], []], id="then reached"),
        P([budget(100), budget(90)], [[REACHED], [NEARED]], id="and near again"),
        P([budget(90), budget(10), budget(90)], [[NEARED], [], [NEARED]], id="it was raised in between"),
        P([budget(90), budget(90, month="2026-04")], [[NEARED], [NEARED]], id="each month"),
        P([budget(90), budget(90, fleet=None)], [[NEARED], [NEARED]], id="each budget"),
        P([budget(None)], [[]], id="nobody knows"),
        P([budget(90, budget=0)], [[]], id="there is none"),
    ],
)
def test_a_budget_is_said_when_it_is_neared_and_when_it_is_reached(plans: list[Any], told: list[list[str]]) -> None:
    assert [[line["event"] for line in of_pass] for of_pass in said(*plans)] == told


def test_what_is_said_of_a_budget() -> None:
    keys = {"fleet": "training", "month": "2026-03", "budget": "100", "spent": "10", "committed": "90"}
    ((line,),) = said(budget(90, wanted=Decimal(120), used_up_at=NOW))
    more = {"wanted": "120", "used_up_at": NOW.isoformat()}
    assert line == {"event": NEARED, "log_level": "warning"} | keys | more
    ((line,),) = said(budget(90))
    assert line == {"event": NEARED, "log_level": "warning"} | keys | {"wanted": None, "used_up_at": None}
