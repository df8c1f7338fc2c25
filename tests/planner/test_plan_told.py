"""What a plan tells besides its actions: the fleets as they were seen, what nobody confirmed, and faults."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any
from unittest import mock

import pytest

from fleetd.model.fleet import Costs, Guards, Limit, ScaleIn, ShutdownTimeout, Window
from fleetd.model.journal import Request, Setback
from fleetd.model.plan import Check, FleetView, NextChange, Unconfirmed, Unlike
from fleetd.model.reasons import Reason, Verb
from fleetd.planner.fleetplan import decide
from fleetd.planner.plan import plan
from tests.support.build import (
    NOW,
    ago,
    facts,
    fleet,
    intent,
    later,
    machine,
    machines,
    memory,
    remembered,
    seen,
    token_name,
)

P = pytest.param
RATE = Decimal("0.51")
COSTS = Costs({"P4000": RATE})
LOOSE = Guards(max_stops_per_pass=Limit(percent=100), max_destroys_per_pass=10)


def test_what_saves_money_is_done_first_whichever_fleet_it_is_of() -> None:
    """The fleets stand in the order that is wrong for every two of them."""
    fleets = [
        fleet("a", target=1, shutdown_timeout=ShutdownTimeout(hours=24)),
        fleet("b", target=1),
        fleet("c", target=1),
        fleet("d", target=1),
        fleet("e", target=0, scale_in=ScaleIn.DESTROY, allow_destroy=True, guards=LOOSE),
        fleet("f", target=0, guards=LOOSE),
    ]
    listed = seen(
        machine(1, fleet="a", shutdown_timeout_hours=168),
        machine(2, fleet="b"),
        machine(4, "off", fleet="d"),
        machine(5, fleet="e"),
        machine(6, fleet="f"),
    )
    known = remembered(listed, memory(requests=(Request(Verb.RESTART, "ps2", "ada", "kernel update"),)))
    due = {"ps1": frozenset({Check.SHUTDOWN_TIMEOUT})}
    assert [a.verb for a in plan(fleets, listed, known, NOW, due=due).actions] == [
        Verb.STOP, Verb.DESTROY, Verb.START, Verb.CREATE, Verb.RESTART, Verb.UPDATE,
    ]  # fmt: skip


@pytest.mark.parametrize(("seconds", "acts"), [(0, True), (59, True), (61, False)])
def test_a_look_is_good_for_a_minute_where_nothing_else_is_said(seconds: float, acts: bool) -> None:
    looked = seen(at=ago(seconds=seconds))
    assert bool(plan([fleet(target=1)], looked, memory(), NOW).actions) is acts


def view(want, listed, recalled=None, **fields: Any) -> FleetView:
    observation = seen(*(machines(listed) if isinstance(listed, str) else listed), **fields)
    known = remembered(observation, recalled or memory())
    return plan([want], observation, known, NOW, costs=COSTS).fleets["training"]


NIGHT = Window("night", 0, 13 * 60, "UTC", target=1, park_idle=True)
EVENING = Window("evening", 18 * 60, 22 * 60, "UTC", target=7, park_idle=True)


def test_a_fleet_is_told_as_it_was_seen() -> None:
    listed = machines("ready ready starting stopping off off hibernating")
    assert view(fleet(target=4), listed) == FleetView(
        target=4, configured_target=4, window=None, up=2, rising=1, falling=1, down=2, unknown=1, intents=0,
        hourly=5 * RATE,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("window", "target", "parked", "change"),
    [
        P(None, 3, False, None, id="without windows"),
        P(NIGHT, 1, True, NextChange(later(hours=1), 3, None, parked=False), id="one is open, and closes"),
        P(EVENING, 3, False, NextChange(later(hours=6), 7, "evening", parked=True), id="one opens"),
    ],
)
def test_a_fleets_window_is_told_and_what_changes_next(window, target, parked, change) -> None:
    found = view(fleet(target=3, windows=() if window is None else (window,)), "ready")
    assert (found.target, found.configured_target, found.parked, found.next_change) == (target, 3, parked, change)
    assert found.window == ("night" if parked else None)


@pytest.mark.parametrize(
    ("state", "looked", "step", "falling", "leaving", "unknown"),
    [
        P("destroying", True, None, 0, 1, 0, id="somebody else destroys it"),
        P("destroying", False, None, 0, 0, 1, id="nobody has looked at it: it keeps its place"),
        P("hibernating", True, None, 0, 0, 1, id="it was looked at, and may come back"),
        P("destroying", False, intent(Verb.DESTROY, 1, accepted_at=NOW), 1, 0, 0, id="fleetd destroys it"),
        P("off", False, intent(Verb.DESTROY, 1, accepted_at=NOW), 1, 0, 0, id="before it shows"),
    ],
)
def test_whoever_destroys_a_machine_is_told_apart(state, looked, step, falling, leaving, unknown) -> None:
    recalled = memory(intents=() if step is None else (step,))
    gone = frozenset({"ps1"}) if looked else frozenset()
    found = view(fleet(target=2), [machine(1, state), machine(2)], recalled, leaving=gone)
    assert (found.up, found.falling, found.leaving, found.unknown) == (1, falling, leaving, unknown)


def test_a_fleet_tells_what_came_to_nothing_and_what_is_not_as_configured() -> None:
    back = Setback(later(minutes=1), "no", attempt=2)
    found = view(
        fleet(target=0, guards=LOOSE),
        [machine(1), machine(2, machine_type="V100")],
        memory(futile={"stop:ps1": back}),
    )
    assert found.no_effect == {"stop": 1}
    assert found.unlike == (Unlike("machineType", "V100", "P4000", 1),)


def test_machines_that_nobody_has_confirmed_are_told_by_name() -> None:
    listed = (machine(1, name="old-b"), machine(2, name="old-a"), machine(3), machine(4), machine(5, name="desk"))
    decided = plan([fleet(adopt=("old-*",))], seen(*listed), memory(facts=(facts(3),)), NOW)
    assert decided.unconfirmed == (
        Unconfirmed("ps2", "old-a", "training", Reason.ADOPTED_BY_GLOB),
        Unconfirmed("ps1", "old-b", "training", Reason.ADOPTED_BY_GLOB),
        Unconfirmed("ps4", token_name(4), "training", Reason.RECOVERED),
    )


def test_clocks_that_are_apart_are_told() -> None:
    assert plan([], seen(), memory(clocks_apart="ours is 2 h ahead"), NOW).clocks_apart == "ours is 2 h ahead"


@pytest.mark.parametrize(("forecast", "told"), [(False, []), (True, [None, "training"])])
def test_a_forecast_tells_every_months_money_without_a_budget(forecast: bool, told: list[str | None]) -> None:
    decided = plan([fleet(target=1)], seen(), memory(), NOW, costs=COSTS, forecast=forecast)
    assert sorted((b.fleet for b in decided.budgets), key=str) == told


def fails_for(name: str) -> Any:
    def one_that_fails(draft: Any, *rest: Any) -> None:
        decide(draft, *rest)
        if draft.fleet.name == name:
            raise ArithmeticError("here")

    return mock.patch("fleetd.planner.plan.decide", one_that_fails)


def test_a_fault_in_one_fleets_decision_leaves_that_fleet_alone() -> None:
    fleets = [fleet("a", target=1), fleet("b", target=1), fleet("c", target=1)]
    with fails_for("b"):
        decided = plan(fleets, seen(), memory(), NOW, on_fault=lambda where, error: f"{where}: {error}")
    assert [a.fleet for a in decided.actions] == ["a", "c"]
    assert [(s.fleet, s.verb, s.reason, s.detail) for s in decided.skips] == [
        ("b", None, Reason.INTERNAL_FAULT, "fleet: here")
    ]


def test_a_fault_is_raised_where_nobody_is_told_of_it() -> None:
    with fails_for("a"), pytest.raises(ArithmeticError):
        plan([fleet("a", target=1)], seen(), memory(), NOW)


def test_a_machine_that_somebody_destroys_is_waited_for_as_long_as_a_destroy_may_take() -> None:
    """A state that says nothing, of one that is not listed, may be that of a machine that comes back."""
    odd = seen(machine(1, "hibernating"), leaving=frozenset({"ps1"}))
    patience = fleet().guards.deadlines.destroy
    for since, replaced in ((patience - timedelta(seconds=1), False), (patience, True)):
        known = memory(facts=(facts(1, last_state="leaving", last_seen=NOW - since),))
        assert bool(plan([fleet(target=1)], odd, known, NOW).actions) is replaced
