"""Up to the target, down to it, and parked: what is not done is said with its reason, its end and its number."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from unittest import mock

import pytest

from fleetd.model.fleet import Costs, Guards, IdleRule, Limit, ScaleIn, ShutdownTimeout, Window
from fleetd.model.journal import Backoff, Setback
from fleetd.model.plan import Check, Plan
from fleetd.model.reasons import Reason, Verb
from fleetd.planner.plan import plan
from tests.support.build import (
    NOW,
    PARAMETERS,
    ago,
    facts,
    fleet,
    hold,
    idle,
    intent,
    later,
    machine,
    machines,
    memory,
    remembered,
    seen,
)

P = pytest.param
RATE = Decimal("0.51")
LOOSE = Guards(max_stops_per_pass=Limit(percent=100), max_destroys_per_pass=10)
HERE, THERE = "East Coast (NY2)", "Europe (AMS1)"
RULE = IdleRule(sources=("gpu",), after=timedelta(minutes=60), min_uptime=timedelta(minutes=30))
NIGHT = Window("night", 0, 1440, "UTC", park_idle=True)
OPENED, CLOSES = NOW.replace(hour=0), NOW.replace(hour=0) + timedelta(days=1)
DESTROYING: dict[str, Any] = {"scale_in": ScaleIn.DESTROY, "allow_destroy": True, "guards": LOOSE}


SOON = later(minutes=1)


def no_room(region: str = HERE, kind: str = "P4000", until: datetime = SOON) -> dict[str, Any]:
    return {"backoffs": {(region, kind): Backoff(region, kind, 1, until, "insufficient capacity")}}


def decide(want, listed, *, ours: bool = True, leaving: frozenset[str] = frozenset(), **recalled) -> Plan:
    observation = seen(*(machines(listed) if isinstance(listed, str) else listed), leaving=leaving)
    known = memory(**recalled)
    costs = Costs({"P4000": RATE})
    return plan([want], observation, remembered(observation, known) if ours else known, NOW, costs=costs)


def does(decided: Plan) -> list[str]:
    return [f"{a.verb} {a.machine}" if a.machine else str(a.verb) for a in decided.actions]


def said(decided: Plan, verb: Verb | None = None) -> list[str]:
    skips = [s for s in decided.skips if verb is None or s.verb is verb]
    return sorted(f"{s.reason} {s.machine}" if s.machine else str(s.reason) for s in skips)


@pytest.mark.parametrize(
    ("target", "listed", "recalled", "acts", "starts_not_made"),
    [
        P(1, "off off", no_room(), [], ["capacity_backoff ps1"], id="as many as are short, and no more"),
        P(2, "off off off", no_room(), [], ["capacity_backoff ps1", "capacity_backoff ps2"], id="two of three"),
        P(1, "off stopping", {}, ["start ps1"], [], id="whoever has another in its place is not waited for"),
        P(1, "off stopping", no_room(), [], ["capacity_backoff ps1"], id="nor beside one that is waited for"),
        P(2, "stopping", {}, ["create"], ["still_falling ps1"], id="one that falls stands for one place"),
        P(3, "stopping stopping", {}, ["create"], ["still_falling ps1", "still_falling ps2"], id="two for two"),
        P(
            1, "ready ready", {"intents": (intent(Verb.STOP, 1), intent(Verb.STOP, 2, id=2))}, [],
            ["in_transition ps1"], id="of two that may stay as many as are short",
        ),
    ],
)  # fmt: skip
def test_every_missing_machine_is_made_up_for_or_waited_for_once(
    target: int, listed: str, recalled: dict[str, Any], acts: list[str], starts_not_made: list[str]
) -> None:
    decided = decide(fleet(target=target), listed, **recalled)
    assert does(decided) == acts
    assert said(decided, Verb.START) == starts_not_made


def test_one_that_may_stay_keeps_its_place_whoever_leaves_beside_it() -> None:
    sent = intent(Verb.DESTROY, 2, ambiguous_since=ago(seconds=5))
    decided = decide(fleet(target=1), "destroying ready", leaving=frozenset({"ps1"}), intents=(sent,))
    assert does(decided) == []
    assert said(decided, Verb.START) == ["in_transition ps2"]


DUE = later(minutes=7)
SENT = intent(Verb.STOP, 1, accepted_at=NOW, deadline_at=DUE)


@pytest.mark.parametrize(
    ("listed", "step", "reason"),
    [
        P("stopping", intent(Verb.STOP, 1, accepted_at=NOW, deadline_at=DUE), Reason.STILL_FALLING, id="it falls"),
        P("ready", intent(Verb.STOP, 1, accepted_at=NOW, deadline_at=DUE), Reason.IN_TRANSITION, id="it is up yet"),
        P(
            "off",
            intent(Verb.STOP, 1, accepted_at=NOW, deadline_at=DUE),
            Reason.IN_TRANSITION,
            id="it is off already",
        ),
        P("stopping", None, Reason.STILL_FALLING, id="of one that fleetd did not stop nobody knows"),
    ],
)
def test_one_that_is_waited_for_is_said_with_the_end_of_its_wait(listed: str, step: Any, reason: Reason) -> None:
    decided = decide(fleet(target=1), listed, intents=() if step is None else (step,))
    (skip,) = [s for s in decided.skips if s.verb is Verb.START]
    assert (skip.reason, skip.machine, skip.until) == (reason, "ps1", None if step is None else DUE)


@pytest.mark.parametrize(
    ("of", "backoff", "starts"),
    [
        P({}, no_room(), False, id="its kind"),
        P({"region": THERE}, no_room(THERE), False, id="its own region"),
        P({"region": THERE}, no_room(), True, id="another region than its own"),
        P({"machine_type": "V100"}, no_room(kind="V100"), False, id="its own type"),
        P({"machine_type": "V100"}, no_room(), True, id="another type than its own"),
        P({"region": None}, no_room(), False, id="a region that is not told is the fleet's"),
        P({"machine_type": None}, no_room(), False, id="so is a type"),
        P({}, no_room(until=NOW), True, id="a wait that ends now"),
        P({}, no_room(until=ago(seconds=1)), True, id="a wait that is over"),
    ],
)
def test_a_shortage_is_of_one_region_and_type(of: dict[str, Any], backoff: dict[str, Any], starts: bool) -> None:
    decided = decide(fleet(target=1), [machine(1, "off", **of)], **backoff)
    assert does(decided) == (["start ps1"] if starts else [])
    if not starts:
        (skip,) = [s for s in decided.skips if s.verb is Verb.START]
        assert (skip.reason, skip.until, skip.detail) == (
            Reason.CAPACITY_BACKOFF, later(minutes=1), "insufficient capacity",
        )  # fmt: skip


STOPPED = "at 2026-03-02 {} UTC, at the provider's console or by another program"


@pytest.mark.parametrize(
    ("minutes", "by", "ahead", "until"),
    [
        P(10, "operator", 0, 20, id="a person"),
        P(30, "operator", 0, None, id="a person, half an hour ago"),
        P(10, "operator", 60, 20, id="by our clock it goes on"),
        P(70, "operator", 60, 20, id="over by ours, not by the provider's"),
        P(15, "operator", 10, 25, id="by both: until the later end"),
        P(95, "operator", 60, None, id="over by both"),
        P(10, "vendor_timeout", 0, None, id="the vendor's timer"),
        P(10, str(Reason.PARKED_IDLE), 0, None, id="fleetd itself"),
        P(10, None, 0, None, id="nobody knows who"),
        P(None, "operator", 0, None, id="nobody knows when"),
    ],
)
def test_a_stop_by_a_person_is_respected_for_a_while(
    minutes: float | None, by: str | None, ahead: float, until: float | None
) -> None:
    """``respect_manual`` is half an hour, by our clock and by the provider's."""
    at = None if minutes is None else ago(minutes=minutes)
    stopped = facts(1, stopped_by=by, stopped_at=at, last_state="off")
    decided = decide(fleet(target=1), "off", facts=(stopped,), clock_ahead=timedelta(minutes=ahead))
    assert does(decided) == (["start ps1"] if until is None else [])
    found = [(s.reason, s.until, s.detail) for s in decided.skips if s.verb is Verb.START]
    if until is None or at is None:
        assert found == []
    else:
        assert found == [(Reason.RESPECT_MANUAL, later(minutes=until), STOPPED.format(f"{at:%H:%M}"))]


ORDERED, CONSOLE = str(Reason.OPERATOR_REQUEST), "operator"


@pytest.mark.parametrize(
    ("target", "listed", "by", "kept_off", "acts"),
    [
        P(2, "ready off off", ORDERED, True, [], id="stopped by an order"),
        P(2, "ready off off", CONSOLE, False, [], id="stopped at the console"),
        P(2, "ready off", ORDERED, True, [], id="nor is one made"),
        P(3, "ready off off off", ORDERED, True, ["start ps3"], id="the other place is free"),
        P(3, "ready off", CONSOLE, False, ["create"], id="also for one that is made"),
        P(1, "ready off off", ORDERED, True, [], id="it had no place"),
        P(2, "ready off off", ORDERED, False, ["start ps3"], id="a start was allowed again"),
        P(2, "ready off off", str(Reason.OVER_TARGET), True, ["start ps3"], id="no person stopped it: it left none"),
        P(2, "ready off off", "vendor_timeout", False, ["start ps3"], id="stopped by the vendor's timer"),
    ],
)
def test_nothing_takes_the_place_of_a_machine_that_a_person_stopped(target, listed, by, kept_off, acts) -> None:
    stopped = facts(2, last_state="off", stopped_by=by, stopped_at=ago(minutes=10), last_up_at=ago(minutes=10))
    others = (facts(3, last_state="off", last_up_at=ago(minutes=5)), facts(4, last_state="off"))
    holds = (hold("ps2", verbs=frozenset({Verb.START})),) if kept_off else ()
    assert does(decide(fleet(target=target), listed, facts=(stopped, *others), holds=holds)) == acts


GONE = tuple(facts(n, gone_at=ago(seconds=10)) for n in (7, 8, 9))


@pytest.mark.parametrize(
    ("recalled", "reason", "until", "detail"),
    [
        P({"holds": (hold(None, "freeze"),)}, Reason.FROZEN, later(hours=1), "ada: in use", id="frozen"),
        P(no_room(), Reason.CAPACITY_BACKOFF, later(minutes=1), "insufficient capacity", id="no capacity"),
        P(
            {"refusals": {"create:training": Setback(later(minutes=2), "no such template")}},
            Reason.REFUSED_RECENTLY, later(minutes=2), "no such template", id="declined",
        ),
        P(
            {"creates_wait": (later(minutes=3), "too many requests")},
            Reason.PROVIDER_SAID_WAIT, later(minutes=3), "too many requests", id="told to wait",
        ),
        P({"facts": GONE}, Reason.GUARD_SHRINK, later(seconds=80), "3 gone", id="much of the fleet is gone"),
    ],
)  # fmt: skip
def test_creates_that_are_not_made_are_said_once_with_their_number(recalled, reason, until, detail) -> None:
    decided = decide(fleet(target=3), "", **recalled)
    assert does(decided) == []
    (skip,) = decided.skips
    assert (skip.verb, skip.reason, skip.until, skip.detail, skip.count) == (Verb.CREATE, reason, until, detail, 3)


@pytest.mark.parametrize("until", [NOW, ago(seconds=1)])
def test_a_shortage_that_is_over_keeps_nothing_from_being_made(until) -> None:
    assert does(decide(fleet(target=1), "", **no_room(until=until))) == ["create"]


@pytest.mark.parametrize(("starts", "delta"), [(None, RATE), (True, RATE), (False, Decimal(0))])
def test_what_is_made_and_not_started_costs_nothing_by_the_hour(starts: bool | None, delta: Decimal) -> None:
    parameters = PARAMETERS if starts is None else {**PARAMETERS, "startOnCreate": starts}
    assert [a.hourly_delta for a in decide(fleet(target=1, parameters=parameters), "").actions] == [delta]


@pytest.mark.parametrize(
    ("want", "listed", "acts", "not_destroyed"),
    [
        P({}, "ready ready", ["stop ps2"], [], id="a fleet that stops its surplus"),
        P({"allow_destroy": True}, "ready ready", ["stop ps2"], [], id="also where it might destroy"),
        P(
            {"scale_in": ScaleIn.DESTROY}, "ready ready", ["stop ps2"], ["destroy_not_allowed ps2"],
            id="one that would destroy, and may not, says so",
        ),
        P(DESTROYING, "ready ready", ["destroy ps2"], [], id="one that destroys"),
        P({**DESTROYING, "standby": 1}, "ready ready off", ["destroy ps2"], [], id="its standby is full"),
        P({**DESTROYING, "standby": 2}, "ready ready off", ["stop ps2"], [], id="its standby has one place"),
        P({"allow_destroy": True}, "ready off", [], [], id="a stopped one, where surplus is stopped"),
        P({"scale_in": ScaleIn.DESTROY}, "ready off", [], [], id="a stopped one that may not be destroyed"),
        P(DESTROYING, "ready off", ["destroy ps2"], [], id="a stopped one beyond standby"),
    ],
)  # fmt: skip
def test_a_surplus_is_stopped_unless_the_fleet_may_destroy_it(want, listed, acts, not_destroyed) -> None:
    decided = decide(fleet(target=1, **{"guards": LOOSE, **want}), listed)
    assert does(decided) == acts
    assert said(decided, Verb.DESTROY) == not_destroyed


def test_a_surplus_that_no_person_has_confirmed_is_stopped_and_not_destroyed() -> None:
    decided = decide(fleet(target=1, **DESTROYING), "ready ready", ours=False)
    assert does(decided) == ["stop ps2"]
    assert said(decided, Verb.DESTROY) == ["recovered ps2"]


@pytest.mark.parametrize(
    ("ours", "recalled", "not_destroyed"),
    [
        P(True, {"refusals": {"destroy:ps1": Setback(later(minutes=1), "locked")}}, ["refused_recently ps1"],
          id="declined"),
        P(False, {}, ["recovered ps1"], id="not confirmed by a person"),
        P(True, {"intents": (intent(Verb.STOP, 1),)}, [], id="its stop has no verdict yet"),
        P(True, {"holds": (hold("ps1"),)}, ["held ps1"], id="held"),
    ],
)  # fmt: skip
def test_a_stopped_machine_beyond_standby_may_be_spared(ours: bool, recalled, not_destroyed) -> None:
    decided = decide(fleet(target=0, **DESTROYING), "off", ours=ours, **recalled)
    assert does(decided) == []
    assert said(decided, Verb.DESTROY) == not_destroyed


def test_beyond_standby_one_that_was_used_lately_keeps_no_other() -> None:
    """One that is not what the config would make goes first; spared, it is still one of those that are too many."""
    listed = [machine(1, "off"), machine(2, "off", machine_type="V100")]
    used = facts(2, last_state="off", last_up_at=ago(minutes=2))
    decided = decide(fleet(target=0, idle=RULE, **DESTROYING), listed, facts=(used,))
    assert does(decided) == ["destroy ps1"]
    assert [a.hourly_delta for a in decided.actions] == [Decimal(0)]


def test_a_machine_whose_decision_met_a_fault_is_not_destroyed_either() -> None:
    want = fleet(target=0, shutdown_timeout=ShutdownTimeout(hours=24), **DESTROYING)
    observation = seen(*machines("off off"))
    known = remembered(observation, memory(facts=(facts(1, last_up_at=ago(days=1)),)))
    due = {"ps2": frozenset({Check.SHUTDOWN_TIMEOUT})}
    with mock.patch("fleetd.planner.policy_actions.timeout_drift", side_effect=ArithmeticError("here")):
        decided = plan([want], observation, known, NOW, due=due, on_fault=lambda where, error: f"{where}: {error}")
    assert does(decided) == ["destroy ps1"]
    assert [(s.machine, s.detail) for s in decided.skips if s.reason is Reason.INTERNAL_FAULT] == [
        ("ps2", "machine: here")
    ]


def parked(target: int, listed: str, report=None, fact: dict[str, Any] | None = None, **want: Any) -> Plan:
    boxes = machines(listed)
    return decide(
        fleet(target=target, idle=RULE, windows=(NIGHT,), guards=LOOSE, **want),
        listed,
        idle={m.id: report or idle() for m in boxes},
        facts=tuple(facts(n, up_since=ago(days=1), **(fact or {})) for n in range(1, len(boxes) + 1)),
    )


@pytest.mark.parametrize(
    ("target", "listed", "missing"),
    [
        P(1, "ready", 0, id="none"),
        P(2, "ready", 1, id="one"),
        P(4, "ready off", 3, id="one that is off does not count"),
        P(1, "ready ready", 0, id="one too many"),
    ],
)
def test_what_a_window_keeps_from_being_started_is_said_with_its_number(target: int, listed: str, missing: int):
    decided = parked(target, listed, idle("active"))
    found = [(s.verb, s.until, s.count) for s in decided.skips if s.reason is Reason.WINDOW_PARKED]
    assert found == ([(Verb.START, CLOSES, missing)] if missing else [])
    assert does(decided) == []


def test_what_is_parked_says_how_it_is_known_to_be_idle() -> None:
    (action,) = parked(1, "ready").actions
    assert (action.verb, action.reason, action.evidence, action.hourly_delta) == (
        Verb.STOP, Reason.PARKED_IDLE, "gpu idle", -RATE,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("fact", "spared"),
    [
        P({"started_by": "operator", "started_at": OPENED}, True, id="by a person, as the window opened"),
        P({"started_by": "operator", "started_at": later(minutes=-90)}, True, id="by a person, since then"),
        P({"started_by": str(Reason.OPERATOR_REQUEST), "started_at": OPENED}, True, id="by an order"),
        P({"started_by": "operator", "started_at": OPENED - timedelta(seconds=1)}, False, id="before it opened"),
        P({"started_by": "operator"}, False, id="nobody knows when"),
        P({"started_by": str(Reason.SHORT_OF_TARGET), "started_at": OPENED}, False, id="by fleetd"),
        P({"started_at": OPENED}, False, id="nobody knows by whom"),
    ],
)
def test_what_a_person_started_while_the_window_is_open_is_not_parked(fact: dict[str, Any], spared: bool) -> None:
    decided = parked(1, "ready", fact=fact)
    assert does(decided) == ([] if spared else ["stop ps1"])
    assert [s.until for s in decided.skips if s.reason is Reason.MANUAL_START] == ([CLOSES] if spared else [])


def test_a_window_with_a_target_keeps_as_many_up() -> None:
    to_one = replace(NIGHT, target=1)
    boxes = machines("ready ready ready")
    decided = decide(
        fleet(target=3, idle=RULE, windows=(to_one,), guards=LOOSE),
        "ready ready ready",
        idle={m.id: idle(minutes=600) for m in boxes},
        facts=tuple(facts(n, up_since=ago(days=1)) for n in (1, 2, 3)),
    )
    assert len(does(decided)) == 2
