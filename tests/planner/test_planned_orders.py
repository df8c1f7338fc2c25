"""Tables for operators' orders: what the planner makes of one, and what it says when it makes nothing of it."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from fleetd.model.fleet import Costs, Guards, IdleRule, Limit, Window
from fleetd.model.journal import Request
from fleetd.model.plan import Action
from fleetd.model.reasons import Reason, Verb
from fleetd.planner.plan import plan
from tests.support.build import NOW, facts, fleet, hold, idle, intent, later, machines, memory, seen, token_name

PRICES = Costs({"P4000": Decimal("0.51")})
LOOSE = Guards(max_stops_per_pass=Limit(percent=100))
NONE = Guards(max_stops_per_pass=Limit(count=0))
RULE = IdleRule(sources=("gpu",))
NIGHT = Window("night", 0, 1440, "UTC", park_idle=True)
TO_ONE = Window("night", 0, 1440, "UTC", target=1, park_idle=True)


def ask(verb: Verb, n: int = 1, **fields) -> Request:
    return Request(verb, f"ps{n}", "ada", "kernel update", **fields)


def decide(want, listed, recalled, **fields):
    return plan([want], seen(*machines(listed), **fields), memory(**recalled), NOW, costs=PRICES)


def kept_off(n: int = 1, **fields):
    return hold(f"ps{n}", verbs=frozenset({Verb.START}), **fields)


@pytest.mark.parametrize(
    ("want", "listed", "recalled", "does"),
    [
        pytest.param(fleet(target=2), "ready ready", {"requests": (ask(Verb.STOP),)}, ["stop ps1"], id="stop"),
        pytest.param(fleet(target=2), "ready off", {"requests": (ask(Verb.START, 2),)}, ["start ps2"], id="start"),
        pytest.param(fleet(target=1), "ready", {"requests": (ask(Verb.RESTART),)}, ["restart ps1"], id="restart"),
        pytest.param(
            fleet(target=1), "provisioning", {"requests": (ask(Verb.STOP),)}, ["stop ps1"], id="one that is rising"
        ),
        pytest.param(
            fleet(target=1, guards=LOOSE), "ready ready", {"requests": (ask(Verb.STOP),)}, ["stop ps1"],
            id="instead of the surplus",
        ),
        pytest.param(
            fleet(target=2, guards=NONE), "ready ready", {"requests": (ask(Verb.STOP),)}, ["stop ps1"],
            id="whatever the guard on stops allows fleetd itself",
        ),
        pytest.param(
            fleet(target=1, idle=RULE), "ready", {"requests": (ask(Verb.STOP),), "idle": {"ps1": idle()}},
            ["stop ps1"], id="idle",
        ),
        pytest.param(
            fleet(target=1), "ready",
            {"requests": (ask(Verb.STOP, even_if_busy=True),), "leased": {"ps1": later(minutes=5)}},
            ["stop ps1"], id="leased, and stopped all the same",
        ),
        pytest.param(
            fleet(target=1, idle=RULE), "ready",
            {"requests": (ask(Verb.STOP, even_if_busy=True),), "idle": {"ps1": idle("active")}},
            ["stop ps1"], id="busy, and the operator knows",
        ),
        pytest.param(
            fleet(target=1, idle=RULE), "provisioning", {"requests": (ask(Verb.STOP),)}, ["stop ps1"],
            id="nobody uses one that has not come up",
        ),
        pytest.param(
            fleet(target=1), "ready",
            {"requests": (ask(Verb.START), Request(Verb.STOP, "ps9", "ada", "gone"), ask(Verb.RESTART))},
            ["restart ps1"], id="after one that is declined, and one for a machine that is gone",
        ),
        pytest.param(
            fleet(target=2, idle=RULE, windows=(NIGHT,)), "ready off",
            {"requests": (ask(Verb.START, 2),), "idle": {"ps1": idle("active")}}, ["start ps2"],
            id="a start while a window parks",
        ),
        pytest.param(
            fleet(target=2, idle=RULE, windows=(TO_ONE,), guards=LOOSE),
            "ready ready",
            {
                "requests": (ask(Verb.STOP),),
                "idle": {"ps1": idle(), "ps2": idle()},
                "facts": (facts(1, up_since=NOW - timedelta(days=1)), facts(2, up_since=NOW - timedelta(days=1))),
            },
            ["stop ps1"],
            id="an ordered stop counts toward what a window parks",
        ),
    ],
)  # fmt: skip
def test_an_order_is_carried_out_through_the_planner(want, listed, recalled, does) -> None:
    decided = decide(want, listed, recalled)
    assert [f"{a.verb} {a.machine}" for a in decided.actions] == does


@pytest.mark.parametrize(
    ("verb", "state", "delta"), [(Verb.START, "off", 1), (Verb.STOP, "ready", -1), (Verb.RESTART, "ready", 0)]
)
@pytest.mark.parametrize("busy", [True, False])
@pytest.mark.parametrize("price", [Decimal("0.51"), None])
def test_what_the_call_of_an_order_is(verb, state, delta, busy, price) -> None:
    costs = Costs({} if price is None else {"P4000": price})
    recalled = memory(requests=(ask(verb, even_if_busy=busy),))
    decided = plan([fleet(target=1)], seen(*machines(state)), recalled, NOW, costs=costs)
    (action,) = decided.actions
    assert action == Action(
        verb,
        "training",
        Reason.OPERATOR_REQUEST,
        machine="ps1",
        name=token_name(1),
        expected_state=state,
        hourly_delta=Decimal(0) if verb is Verb.RESTART else None if price is None else delta * price,
        evidence="kernel update",
        actor="ada",
        even_if_busy=busy,
    )
    assert all(
        (a.actor, a.evidence, a.reason) == ("ada", "kernel update", Reason.OPERATOR_REQUEST) for a in decided.actions
    )


@pytest.mark.parametrize(
    ("want", "listed", "request_", "recalled", "reason", "detail"),
    [
        pytest.param(fleet(target=1), "ready off", ask(Verb.START, 2), {}, Reason.OVER_TARGET, "1 of 1", id="extra"),
        pytest.param(fleet(target=0), "off", ask(Verb.STOP), {}, Reason.ALREADY_SO, "off", id="off already"),
        pytest.param(fleet(target=1), "ready", ask(Verb.START), {}, Reason.ALREADY_SO, "ready", id="up already"),
        pytest.param(
            fleet(target=1), "ready", ask(Verb.STOP), {"intents": (intent(Verb.STOP, 1),)}, Reason.ALREADY_SO,
            "ready", id="being stopped already",
        ),
        pytest.param(
            fleet(target=1), "ready", ask(Verb.RESTART), {"intents": (intent(Verb.RESTART, 1),)}, Reason.ALREADY_SO,
            "ready", id="being restarted already",
        ),
        pytest.param(fleet(target=0), "off", ask(Verb.RESTART), {}, Reason.WRONG_STATE, "off", id="not up"),
        pytest.param(
            fleet(target=1), "upgrading", ask(Verb.STOP), {}, Reason.WRONG_STATE, "upgrading", id="someone is at it"
        ),
        pytest.param(
            fleet(target=1), "hibernating", ask(Verb.STOP), {}, Reason.UNKNOWN_STATE, "hibernating", id="unknown"
        ),
        pytest.param(
            fleet(target=1), "ready", ask(Verb.STOP), {"intents": (intent(Verb.RESTART, 1),)}, Reason.IN_TRANSITION,
            "restart", id="in transition",
        ),
        pytest.param(
            fleet(target=2), "ready ready", ask(Verb.STOP), {"holds": (hold("ps1"),)}, Reason.HELD, "ada: in use",
            id="held",
        ),
        pytest.param(
            fleet(target=2), "ready ready", ask(Verb.STOP), {"holds": (hold(None, "freeze"),)}, Reason.FROZEN,
            "ada: in use", id="frozen",
        ),
        pytest.param(
            fleet(target=2), "ready off", ask(Verb.START, 2), {"holds": (kept_off(2),)}, Reason.HELD, "ada: in use",
            id="kept off by an earlier stop",
        ),
        pytest.param(
            fleet(target=1, idle=RULE), "ready", ask(Verb.STOP), {"idle": {"ps1": idle("active")}}, Reason.BUSY,
            "gpu active", id="busy",
        ),
        pytest.param(
            fleet(target=1), "ready", ask(Verb.STOP), {"leased": {"ps1": later(minutes=5)}}, Reason.BUSY,
            "leased", id="leased, where nobody is asked",
        ),
        pytest.param(
            fleet(target=1), "starting", ask(Verb.STOP), {"leased": {"ps1": later(minutes=5)}}, Reason.BUSY,
            "leased", id="leased while it comes up",
        ),
        pytest.param(
            fleet(target=1, idle=RULE), "ready", ask(Verb.RESTART),
            {"leased": {"ps1": later(minutes=5)}, "idle": {"ps1": idle()}}, Reason.BUSY,
            "leased", id="leased since it was read about",
        ),
        pytest.param(
            fleet(target=1, idle=RULE), "ready", ask(Verb.RESTART), {}, Reason.ACTIVITY_UNKNOWN, "no reading yet",
            id="unknown activity counts as busy",
        ),
        pytest.param(
            fleet(target=2, guards=Guards(max_hourly_cost=Decimal("0.60"))), "ready off", ask(Verb.START, 2), {},
            Reason.GUARD_COST, "$0.51/h of $0.60/h for fleet training", id="too dear",
        ),
    ],
)  # fmt: skip
def test_an_order_that_is_declined_says_why(want, listed, request_, recalled, reason, detail) -> None:
    decided = decide(want, listed, {"requests": (request_,), **recalled})
    assert [a for a in decided.actions if a.machine == request_.machine_id] == []
    (skip,) = [s for s in decided.skips if s.verb is request_.verb and s.machine == request_.machine_id][:1]
    assert (skip.reason, skip.detail) == (reason, detail)


@pytest.mark.parametrize(
    ("target", "listed", "orders", "does", "declined"),
    [
        pytest.param(
            2, "ready off off", (ask(Verb.START, 2), ask(Verb.START, 3)), ["start ps2"],
            [("start", "ps3", Reason.OVER_TARGET, "2 of 2")], id="two starts for one place",
        ),
        pytest.param(
            3, "ready off off", (ask(Verb.START, 2), ask(Verb.START, 3)), ["start ps2", "start ps3"], [],
            id="two starts for two places",
        ),
        pytest.param(
            1, "ready", (ask(Verb.STOP), ask(Verb.RESTART)), ["stop ps1"],
            [("restart", "ps1", Reason.IN_TRANSITION, "stop")], id="another order for the same machine",
        ),
        pytest.param(
            2, "ready off", (ask(Verb.START, 2), ask(Verb.START, 2)), ["start ps2"], [],
            id="the same order twice is one",
        ),
    ],
)  # fmt: skip
def test_orders_of_one_pass_know_of_each_other(target, listed, orders, does, declined) -> None:
    decided = decide(fleet(target=target), listed, {"requests": orders})
    assert [f"{a.verb} {a.machine}" for a in decided.actions] == does
    assert [(str(s.verb), s.machine, s.reason, s.detail) for s in decided.skips] == declined


def test_an_order_for_one_that_something_else_is_done_to_is_told_when_that_is_over() -> None:
    moving = intent(Verb.RESTART, 1, deadline_at=later(minutes=7))
    (skip,) = decide(fleet(target=1), "ready", {"requests": (ask(Verb.STOP),), "intents": (moving,)}).skips
    assert (skip.reason, skip.until) == (Reason.IN_TRANSITION, later(minutes=7))


def test_no_order_is_carried_out_on_an_observation_that_is_not_sane() -> None:
    decided = decide(fleet(target=1), "ready", {"requests": (ask(Verb.STOP),)}, complete=False)
    assert decided.actions == ()
    assert [(s.reason, s.machine) for s in decided.skips] == [(Reason.OBSERVATION_PARTIAL, "ps1")]


def test_a_machine_that_an_operator_keeps_off_is_neither_started_nor_made_up_for() -> None:
    decided = decide(fleet(target=2), "ready off", {"holds": (kept_off(2),)})
    assert decided.actions == ()
    (skip,) = decided.skips
    assert (skip.reason, skip.until, skip.detail) == (Reason.RESPECT_MANUAL, later(hours=1), "ada: in use")
