"""Each machine, order and event is decided by itself: one that is left alone ends nothing for those after it.

In every world the machine that is looked at first is left alone for one reason, and those after it are not.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from fleetd.model.fleet import Costs, Guards, IdleRule, Limit, ScaleIn, Window
from fleetd.model.journal import Request
from fleetd.model.machine import SnapshotSight
from fleetd.model.reasons import Outcome, Reason, Verb
from fleetd.planner.idle import idle_surge
from fleetd.planner.plan import plan
from fleetd.planner.transitions import Course, Sight, has_moved, judge
from tests.support.build import (
    NOW,
    ago,
    event,
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

PRICES = Costs({"P4000": Decimal("0.51")})
LOOSE = Guards(max_stops_per_pass=Limit(percent=100), max_destroys_per_pass=10)
RULE = IdleRule(sources=("gpu",), after=timedelta(minutes=60), min_uptime=timedelta(minutes=30))
NIGHT = Window("night", 0, 1440, "UTC", park_idle=True)
DESTROYING: dict[str, Any] = {"scale_in": ScaleIn.DESTROY, "allow_destroy": True, "guards": LOOSE}
SAVED = {**DESTROYING, "destroy_requires_snapshot": timedelta(hours=24)}


def decide(want, spec, **recalled):
    fleets = want if isinstance(want, list) else [want]
    observation = seen(*(machines(spec) if isinstance(spec, str) else spec))
    return plan(fleets, observation, remembered(observation, memory(**recalled)), NOW, costs=PRICES)


def does(decided) -> list[str]:
    return [f"{a.verb} {a.machine}" if a.machine else str(a.verb) for a in decided.actions]


def ask(verb: Verb, n: int, **fields: Any) -> Request:
    return Request(verb, f"ps{n}", "ada", "kernel update", **fields)


def sight(n: int, hours: float) -> SnapshotSight:
    return SnapshotSight(f"ps{n}", ago(hours=hours))


def up(n: int, **fields: Any):
    return facts(n, up_since=ago(days=1), **fields)


@pytest.mark.parametrize(
    ("want", "spec", "recalled", "expected"),
    [
        pytest.param(
            fleet(target=2), "off off", {"requests": (ask(Verb.START, 1),)}, ["start ps1", "start ps2"],
            id="a start that an order has begun",
        ),
        pytest.param(
            fleet(target=1, **SAVED), "ready ready ready", {"snapshots": {"ps2": sight(2, 1)}}, ["destroy ps2"],
            id="a destroy whose snapshots nobody has looked at",
        ),
        pytest.param(
            fleet(target=1, **SAVED), "ready ready ready",
            {
                "snapshots": {"ps2": sight(2, 1), "ps3": sight(3, 48)},
                "holds": (hold("ps3", machine="ps3", verbs=frozenset({Verb.STOP})),),
            },
            ["destroy ps2"],
            id="a destroy that lacks a snapshot, of a machine that may not be stopped",
        ),
        pytest.param(
            fleet(target=2, idle=RULE, windows=(NIGHT,), guards=LOOSE), "ready ready",
            {
                "idle": {"ps1": idle(), "ps2": idle(minutes=180)}, "facts": (up(1), up(2)),
                "holds": (hold("ps2", machine="ps2"),),
            },
            ["stop ps1"],
            id="parking one that is held",
        ),
        pytest.param(
            fleet(target=2, idle=RULE, windows=(NIGHT,), guards=LOOSE), "ready ready",
            {
                "idle": {"ps1": idle(), "ps2": idle(minutes=180)},
                "facts": (up(1), up(2, started_by="operator", started_at=ago(hours=2))),
            },
            ["stop ps1"],
            id="parking one that a person started",
        ),
        pytest.param(
            fleet(target=0, **DESTROYING), "off off",
            {"holds": (hold("ps2", machine="ps2", verbs=frozenset({Verb.DESTROY})),)}, ["destroy ps1"],
            id="a stopped machine beyond standby that is held",
        ),
        pytest.param(
            fleet(target=0, **SAVED), "off off", {"snapshots": {"ps1": sight(1, 1), "ps2": sight(2, 48)}},
            ["destroy ps1"],
            id="a stopped machine beyond standby that lacks a snapshot",
        ),
        pytest.param(
            fleet(target=2), "ready ready",
            {"requests": (ask(Verb.STOP, 1), ask(Verb.STOP, 2)), "holds": (hold("ps1", machine="ps1"),)},
            ["stop ps2"],
            id="an order that is declined",
        ),
        pytest.param(
            [fleet(target=1), fleet("other", target=1)],
            (machine(1, "ready", fleet="other"), machine(2, "ready")),
            {"requests": (ask(Verb.STOP, 1), ask(Verb.STOP, 2))}, ["stop ps2", "stop ps1"],
            id="an order for another fleet's machine",
        ),
    ],
)  # fmt: skip
def test_those_after_one_that_is_left_alone_are_acted_on(want, spec, recalled, expected) -> None:
    assert does(decide(want, spec, **recalled)) == expected


def test_every_machine_that_a_surge_holds_back_is_said() -> None:
    want = fleet(target=3, idle=RULE, windows=(NIGHT,), guards=LOOSE)
    reports = {f"ps{n}": idle(minutes=61) for n in (1, 2, 3)}
    decided = decide(want, "ready ready ready", idle=reports, facts=(up(1), up(2), up(3)))
    assert does(decided) == []
    held = {s.machine: s.until for s in decided.skips if s.reason is Reason.IDLE_SURGE}
    assert held == dict.fromkeys(reports, ago(minutes=61) + timedelta(minutes=120))


@pytest.mark.parametrize(
    ("spec", "surge", "late", "expected"),
    [
        pytest.param("ready ready", 1, (), ["stop ps2"], id="nothing ran late, so nothing is stood in for"),
        pytest.param("ready ready", 5, (), ["stop ps2"], id="whatever max_surge is"),
        pytest.param("ready provisioning", 0, (2,), ["stop ps2"], id="late, and max_surge allows none"),
        pytest.param("ready provisioning", 1, (2,), [], id="late, and one may stand in"),
        pytest.param("ready provisioning provisioning", 1, (2, 3), ["stop ps3"], id="two late, one may stand in"),
    ],
)
def test_a_surplus_stays_for_machines_that_ran_late_only_and_for_max_surge_of_them(spec, surge, late, expected):
    guards = Guards(max_surge=surge, max_stops_per_pass=Limit(percent=100))
    known = [facts(n, failure=Outcome.TIMED_OUT, last_state="provisioning") for n in late]
    assert does(decide(fleet(target=1, guards=guards), spec, facts=known)) == expected


@pytest.mark.parametrize(
    ("spec", "target", "stops"),
    [
        ("ready ready ready ready", 0, 1),
        ("ready ready ready ready off off off off", 0, 2),
        ("ready ready ready ready stopping stopping stopping stopping", 0, 2),
        ("ready ready ready ready off off stopping stopping", 0, 2),
    ],
)
def test_a_percentage_is_of_all_machines_of_the_fleet(spec: str, target: int, stops: int) -> None:
    """Stopped ones and those on their way down are its machines as well."""
    quarter = Guards(max_stops_per_pass=Limit(percent=25))
    assert len([a for a in does(decide(fleet(target=target, guards=quarter), spec)) if a.startswith("stop")]) == stops


OLD = event("stop", handle="old")
OLDER = (
    event("start", "error", handle="older", error="insufficient capacity"),
    event("restart", "done", handle="oldest"),
    event("start", "done", handle="first"),
)


@pytest.mark.parametrize("state", ["off", "ready"])
@pytest.mark.parametrize("verb", [Verb.START, Verb.STOP, Verb.RESTART, Verb.DESTROY])
def test_events_from_before_the_call_decide_nothing_however_many_there_are(verb: Verb, state: str) -> None:
    call = intent(verb, 1, accepted_at=ago(seconds=30), expected_state=state, baseline_event="old")
    only_old = machine(1, state, events=(OLD,))
    with_older = machine(1, state, events=(OLD, *OLDER))
    assert has_moved(call, with_older) == has_moved(call, only_old)
    long = Course(rest_at=ago(seconds=90))
    known, unknown = (
        judge(call, Sight(m), long, now=NOW, settle=timedelta(seconds=90)) for m in (only_old, with_older)
    )
    assert known == unknown


@pytest.mark.parametrize(
    ("report", "fact", "reason", "until"),
    [
        pytest.param(
            idle(minutes=40), up(1), Reason.NOT_IDLE_LONG_ENOUGH, later(minutes=20), id="not idle for long enough"
        ),
        pytest.param(
            idle(minutes=10), facts(1, up_since=ago(minutes=10)), Reason.MIN_UPTIME, later(minutes=20), id="just up"
        ),
        pytest.param(idle("active"), up(1), Reason.BUSY, None, id="in use: nobody knows for how long"),
        pytest.param(idle("unknown"), up(1), Reason.ACTIVITY_UNKNOWN, None, id="not known"),
        pytest.param(
            idle(minutes=180),
            up(1, started_by="operator", started_at=ago(hours=2)),
            Reason.MANUAL_START,
            NOW.replace(hour=0) + timedelta(days=1),
            id="started by a person: until the window closes",
        ),
    ],
)
def test_what_is_not_parked_says_until_when(report, fact, reason, until) -> None:
    want = fleet(target=1, idle=RULE, windows=(NIGHT,), guards=LOOSE)
    decided = decide(want, "ready", idle={"ps1": report}, facts=(fact,))
    assert [(s.reason, s.until) for s in decided.skips if s.machine == "ps1"] == [(reason, until)]


def test_a_surge_is_over_at_its_very_end() -> None:
    boxes = [machine(n) for n in (1, 2, 3)]
    reports = {m.id: idle(minutes=120) for m in boxes}
    assert idle_surge(RULE, boxes, reports, NOW - timedelta(seconds=1)) == NOW
    assert idle_surge(RULE, boxes, reports, NOW) is None
