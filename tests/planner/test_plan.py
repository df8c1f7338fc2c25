"""Tables for ``plan``: a fleet, what was seen, what is remembered; and what comes of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from fleetd.model.fleet import Costs, Guards, IdleRule, Limit, ScaleIn
from fleetd.model.journal import Backoff, Setback
from fleetd.model.plan import Plan
from fleetd.model.reasons import Outcome, Reason, Verb
from fleetd.planner.plan import plan
from tests.support.build import (
    NOW,
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
    token_name,
)

PRICES = Costs({"P4000": Decimal("0.51")})
LOOSE = Guards(max_stops_per_pass=Limit(percent=100), max_destroys_per_pass=10)
TYPE = ("East Coast (NY2)", "P4000")
NO_ROOM = {TYPE: Backoff(*TYPE, attempt=1, until=later(minutes=1), reason="insufficient capacity")}
IDLE = IdleRule(sources=("gpu",))
KEYS = {"create:training": Setback(later(minutes=1), "templateId not found")}


def decide(fleets, observation, recalled=None, **kwargs) -> Plan:
    if not isinstance(fleets, list):
        fleets = [fleets]
    kwargs.setdefault("costs", PRICES)
    return plan(fleets, observation, remembered(observation, recalled or memory()), NOW, **kwargs)


def actions(decided: Plan) -> list[str]:
    return [f"{a.verb} {a.machine}" if a.machine else str(a.verb) for a in decided.actions]


def reasons(decided: Plan) -> set[str]:
    return {f"{s.reason} {s.machine}" if s.machine else str(s.reason) for s in decided.skips}


def destroying(**fields):
    return fleet(scale_in=ScaleIn.DESTROY, allow_destroy=True, guards=LOOSE, **fields)


@pytest.mark.parametrize(
    ("want", "listed", "recalled", "does"),
    [
        pytest.param(fleet(), "", {}, ["create"] * 3, id="from nothing"),
        pytest.param(fleet(), "ready ready ready", {}, [], id="at target"),
        pytest.param(fleet(), "ready serviceready provisioning", {}, [], id="rising counts"),
        pytest.param(fleet(), "starting restarting upgrading", {}, [], id="every rising state counts"),
        pytest.param(fleet(), "ready ready off", {}, ["start ps3"], id="start before create"),
        pytest.param(fleet(), "ready ready stopping", {}, [], id="a falling one is waited for"),
        pytest.param(fleet(), "ready ready hibernating", {}, [], id="an unknown state keeps its place"),
        pytest.param(
            fleet(),
            "ready ready",
            {"intents": (intent(Verb.CREATE),)},
            [],
            id="an open create counts as one machine",
        ),
        pytest.param(
            fleet(),
            "ready ready ready off off",
            {},
            [],
            id="stopped machines beyond the target stay, where surplus is stopped",
        ),
        pytest.param(
            fleet(target=1),
            "off off off",
            {"facts": (facts(1, last_up_at=ago(days=3)), facts(2, last_up_at=ago(days=1)), facts(3))},
            ["start ps2"],
            id="most recently up first",
        ),
        pytest.param(
            fleet(target=1), "off off", {"holds": (hold("ps1"),)}, ["start ps2"], id="a held machine is not started"
        ),
        pytest.param(
            fleet(target=1), "off", {"holds": (hold("ps1"),)}, ["create"], id="a held machine is made up for"
        ),
        pytest.param(fleet(), "off off off", {"backoffs": NO_ROOM}, [], id="no start without capacity"),
        pytest.param(fleet(), "", {"backoffs": NO_ROOM}, [], id="no create without capacity"),
        pytest.param(
            fleet(target=1),
            "off",
            {"facts": (facts(1, stopped_by="operator", stopped_at=ago(minutes=10)),)},
            [],
            id="a human's stop is respected and not made up for",
        ),
        pytest.param(
            fleet(target=1),
            "off",
            {"facts": (facts(1, stopped_by="operator", stopped_at=ago(minutes=31)),)},
            ["start ps1"],
            id="but not for ever",
        ),
        pytest.param(
            fleet(target=1, respect_manual=timedelta(0)),
            "off",
            {"facts": (facts(1, stopped_by="operator", stopped_at=NOW),)},
            ["start ps1"],
            id="0 fights",
        ),
        pytest.param(fleet(), "", {"refusals": KEYS}, [], id="a refused create waits"),
        pytest.param(
            fleet(target=1),
            "off",
            {"refusals": {"start:ps1": Setback(later(minutes=1), "not the owner")}},
            [],
            id="a refused start waits",
        ),
        pytest.param(fleet(), "", {"holds": (hold(None, "freeze"),)}, [], id="frozen"),
        pytest.param(fleet(), "", {"holds": (hold("training", "freeze"),)}, [], id="this fleet frozen"),
        pytest.param(fleet(), "", {"holds": (hold("other", "freeze"),)}, ["create"] * 3, id="another fleet frozen"),
        pytest.param(
            fleet(target=0, guards=LOOSE),
            "ready",
            {"holds": (hold(None, "freeze", verbs=frozenset({Verb.CREATE})),)},
            ["stop ps1"],
            id="only creates frozen",
        ),
        pytest.param(
            fleet(target=1, guards=LOOSE),
            "ready ready",
            {"intents": (intent(Verb.STOP, 1),)},
            [],
            id="a stop under way is not doubled",
        ),
        pytest.param(
            fleet(target=2),
            "ready off",
            {"intents": (intent(Verb.START, 2),)},
            [],
            id="an accepted start that the listing does not show yet counts",
        ),
        pytest.param(
            fleet(),
            "ready ready provisioning",
            {"facts": (facts(3, failure=Outcome.TIMED_OUT),)},
            [],
            id="a late machine is not replaced",
        ),
        pytest.param(
            fleet(guards=Guards(max_surge=1)),
            "ready ready provisioning",
            {"facts": (facts(3, failure=Outcome.TIMED_OUT),)},
            ["create"],
            id="unless a surge is allowed",
        ),
        pytest.param(
            fleet(guards=Guards(max_surge=1, max_stops_per_pass=Limit(count=9))),
            "ready ready provisioning provisioning",
            {"facts": (facts(3, failure=Outcome.TIMED_OUT),)},
            [],
            id="the surge is not fought as a surplus",
        ),
    ],
)
def test_rising_to_the_target(want, listed, recalled, does) -> None:
    assert actions(decide(want, seen(*machines(listed)), memory(**recalled))) == does


@pytest.mark.parametrize(
    ("want", "listed", "recalled", "does"),
    [
        pytest.param(fleet(target=1, guards=LOOSE), "ready ready", {}, ["stop ps2"], id="the youngest"),
        pytest.param(
            fleet(target=1, guards=LOOSE), "provisioning ready", {}, ["stop ps1"], id="an unready one first"
        ),
        pytest.param(
            fleet(target=2, guards=LOOSE),
            "ready ready off",
            {"intents": (intent(Verb.START, 3, ambiguous_since=ago(seconds=5)),)},
            [],
            id="none for a start whose answer was lost",
        ),
        pytest.param(
            fleet(target=2, guards=LOOSE),
            "ready ready starting",
            {"intents": (intent(Verb.START, 3, ambiguous_since=ago(seconds=5)),)},
            [],
            id="nor for one that is seen to start: it goes first, once it is up",
        ),
        pytest.param(
            fleet(target=1, guards=LOOSE),
            "ready ready provisioning",
            {"facts": (facts(1, failure=Outcome.TIMED_OUT),)},
            ["stop ps1", "stop ps3"],
            id="a failed one before all",
        ),
        pytest.param(
            fleet(target=1, guards=LOOSE, idle=IDLE),
            "ready ready",
            {"idle": {"ps1": idle(minutes=90), "ps2": idle(minutes=30)}},
            ["stop ps1"],
            id="the one idle longest",
        ),
        pytest.param(
            fleet(target=0, guards=LOOSE, idle=IDLE),
            "ready ready",
            {"idle": {"ps1": idle("active"), "ps2": idle()}},
            ["stop ps2"],
            id="a busy one never",
        ),
        pytest.param(
            fleet(target=0, guards=LOOSE, idle=IDLE),
            "ready ready",
            {"idle": {"ps1": idle("unknown")}},
            [],
            id="unknown activity counts as active",
        ),
        pytest.param(
            fleet(target=0, guards=LOOSE, idle=IDLE),
            "ready ready",
            {"idle": {"ps1": idle(minutes=2), "ps2": idle(minutes=600)}},
            ["stop ps2"],
            id="what says idle since two minutes proves nothing",
        ),
        pytest.param(
            fleet(target=0, guards=LOOSE, idle=IDLE),
            "ready",
            {"idle": {"ps1": idle(minutes=600)}, "facts": (facts(1, up_since=ago(seconds=20)),)},
            ["stop ps1"],
            id="min_uptime is for parking alone",
        ),
        pytest.param(
            fleet(target=0, guards=LOOSE, idle=IDLE),
            "provisioning",
            {},
            ["stop ps1"],
            id="nobody uses an unready one",
        ),
        pytest.param(
            fleet(target=0, guards=LOOSE),
            "ready ready",
            {"holds": (hold("ps1"),)},
            ["stop ps2"],
            id="a held one never",
        ),
        pytest.param(
            fleet(target=0, guards=LOOSE),
            "ready",
            {"holds": (hold(token_name(1)),)},
            [],
            id="held by its name",
        ),
        pytest.param(
            fleet(target=0, guards=LOOSE),
            "ready",
            {"holds": (hold("ps1", expires_at=ago(seconds=1)),)},
            ["stop ps1"],
            id="an expired hold holds nothing",
        ),
        pytest.param(fleet(target=0, guards=LOOSE), "hibernating", {}, [], id="an unknown state never"),
        pytest.param(
            fleet(target=0, guards=LOOSE),
            "ready",
            {"refusals": {"stop:ps1": Setback(later(minutes=1), "not the owner")}},
            [],
            id="a refused stop waits",
        ),
        pytest.param(destroying(target=1), "ready ready", {}, ["destroy ps2"], id="destroyed where allowed"),
        pytest.param(
            fleet(target=1, scale_in=ScaleIn.DESTROY, guards=LOOSE),
            "ready ready",
            {},
            ["stop ps2"],
            id="stopped where destroying is not allowed",
        ),
        pytest.param(
            destroying(target=1, standby=1),
            "ready ready ready",
            {},
            ["stop ps3", "destroy ps2"],
            id="standby is filled first",
        ),
        pytest.param(
            destroying(target=1, standby=1),
            "ready off off",
            {"facts": (facts(2, last_up_at=ago(days=2)), facts(3, last_up_at=ago(days=1)))},
            ["destroy ps2"],
            id="beyond standby the one down longest goes",
        ),
        pytest.param(
            destroying(target=2), "ready off off", {}, ["start ps2"], id="nothing is destroyed while short of target"
        ),
        pytest.param(
            destroying(target=1), "ready off", {"holds": (hold("ps2"),)}, [], id="a held stopped one is not destroyed"
        ),
        pytest.param(
            destroying(target=0), "off", {"intents": (intent(Verb.DESTROY, 1),)}, [], id="a destroy is not doubled"
        ),
    ],
)
def test_giving_up_a_surplus(want, listed, recalled, does) -> None:
    assert actions(decide(want, seen(*machines(listed)), memory(**recalled))) == does


@pytest.mark.parametrize(
    ("fields", "spared"),
    [
        pytest.param({"last_up_at": ago(minutes=2)}, True, id="up two minutes ago"),
        pytest.param({"last_up_at": ago(minutes=61)}, False, id="up longer ago than idle.after"),
        pytest.param({}, False, id="never up"),
        pytest.param(
            {"last_up_at": ago(minutes=2), "stopped_by": "operator", "stopped_at": ago(minutes=2)},
            True,
            id="stopped by a person",
        ),
        pytest.param(
            {"last_up_at": ago(minutes=2), "stopped_by": "vendor_timeout", "stopped_at": ago(minutes=2)},
            True,
            id="stopped by the vendor's timer",
        ),
        pytest.param(
            {"last_up_at": ago(minutes=2), "stopped_by": str(Reason.OPERATOR_REQUEST), "stopped_at": ago(minutes=2)},
            True,
            id="stopped by an order",
        ),
        pytest.param(
            {"last_up_at": ago(minutes=2), "stopped_by": str(Reason.PARKED_IDLE), "stopped_at": ago(minutes=2)},
            False,
            id="parked: it was idle for long enough",
        ),
        pytest.param(
            {"last_up_at": ago(minutes=2), "stopped_by": str(Reason.PARKED_IDLE), "stopped_at": ago(days=2)},
            True,
            id="parked two days ago, and up since",
        ),
    ],
)
@pytest.mark.parametrize("state", ["off", "starting"])
def test_what_may_have_been_used_lately_is_not_taken_although_it_is_not_up(state, fields, spared) -> None:
    for want in (destroying(target=0, idle=IDLE), destroying(target=0)):
        asks = want.idle is not None
        decided = decide(want, seen(*machines(state)), memory(facts=(facts(1, last_state=state, **fields),)))
        assert actions(decided) == ([] if spared and asks else ["destroy ps1"])
        assert ("not_idle_long_enough ps1" in reasons(decided)) is (spared and asks)


@pytest.mark.parametrize("state", ["off", "starting", "provisioning"])
@pytest.mark.parametrize(
    ("until", "spared"), [(later(minutes=5), True), (ago(minutes=5), True), (ago(minutes=61), False)]
)
def test_a_lease_counts_although_its_machine_is_not_up(state, until, spared) -> None:
    known = facts(1, last_state=state)
    for rule in (IDLE, None):
        decided = decide(
            destroying(target=0, idle=rule), seen(*machines(state)), memory(facts=(known,), leased={"ps1": until})
        )
        waits = spared if rule is not None else until > NOW
        assert actions(decided) == ([] if waits else ["destroy ps1"])
        assert bool({"not_idle_long_enough ps1", "busy ps1"} & reasons(decided)) is waits


def test_a_start_that_came_to_nothing_is_given_up_although_the_machine_was_up_lately() -> None:
    known = facts(1, last_state="starting", last_up_at=ago(minutes=20), failure=Outcome.TIMED_OUT)
    assert actions(decide(destroying(target=0, idle=IDLE), seen(*machines("starting")), memory(facts=(known,)))) == [
        "destroy ps1"
    ]


LATE = {"facts": (facts(2, failure=Outcome.TIMED_OUT), facts(3, last_up_at=ago(days=1)))}
SURGE = replace(LOOSE, max_surge=1)


@pytest.mark.parametrize(
    ("standby", "listed", "does"),
    [
        pytest.param(0, "ready starting off", ["start ps3"], id="the only one is started, not destroyed as well"),
        pytest.param(0, "ready starting off off", ["destroy ps4", "start ps3"], id="another one goes"),
        pytest.param(1, "ready starting off off", ["start ps3"], id="one that is started is no standby any more"),
    ],
)
def test_one_plan_never_starts_and_destroys_the_same_machine(standby, listed, does) -> None:
    want = replace(destroying(target=2, standby=standby), guards=SURGE)
    assert actions(decide(want, seen(*machines(listed)), memory(**LATE))) == does


@pytest.mark.parametrize(
    ("target", "surge", "listed", "late", "does"),
    [
        pytest.param(
            3, 1, "ready starting off", [2], ["start ps3 short_of_target", "create replaces_timed_out"],
            id="what is short first, then in its place: another machine each",
        ),
        pytest.param(2, 0, "ready stopping", [2], [], id="one that does not stop keeps its place"),
        pytest.param(2, 0, "ready stopping off", [2], [], id="and none is started beside it"),
        pytest.param(2, 1, "ready stopping", [2], ["create replaces_timed_out"], id="unless a surge is allowed"),
        pytest.param(2, 1, "ready stopping off", [2], ["start ps3 replaces_timed_out"], id="which starts one first"),
        pytest.param(2, 1, "ready ready stopping", [3], [], id="its place is taken, and once is enough"),
        pytest.param(2, 1, "ready starting stopping", [2, 3], [], id="one that does not stop uses the surge"),
        pytest.param(
            2, 2, "ready starting stopping", [2, 3], ["create replaces_timed_out"], id="and may be one of two"
        ),
        pytest.param(3, 0, "ready stopping", [2], ["create short_of_target"], id="other places are filled"),
        pytest.param(1, 1, "stopping stopping", [1, 2], [], id="two that may be billed for a target of one"),
        pytest.param(2, 1, "ready stopping", [], [], id="one that stops in time is waited for"),
    ],
)  # fmt: skip
def test_a_surge_stands_in_for_machines_that_ran_late(target, surge, listed, late, does) -> None:
    want = fleet(target=target, guards=replace(LOOSE, max_surge=surge))
    overdue = tuple(facts(n, failure=Outcome.TIMED_OUT) for n in late)
    decided = decide(want, seen(*machines(listed)), memory(facts=overdue))
    assert [f"{said} {a.reason}" for said, a in zip(actions(decided), decided.actions, strict=True)] == does
    assert {r for r in reasons(decided) if r.startswith("timed_out")} == {f"timed_out ps{n}" for n in late}
    assert ("still_falling ps2" in reasons(decided)) is (not late)


def test_a_late_machine_that_is_tried_with_again_is_not_stood_in_for() -> None:
    recalled = memory(facts=(facts(2, failure=Outcome.TIMED_OUT),), intents=(intent(Verb.STOP, 2),))
    decided = decide(fleet(target=2, guards=SURGE), seen(*machines("ready stopping")), recalled)
    assert actions(decided) == []
    assert reasons(decided) == {"still_falling ps2"}


def test_victims_that_drifted_or_cost_more_go_first() -> None:
    drifted = machine(1, region="Europe (AMS1)")
    dear = machine(2, hourly_rate=Decimal(3))
    plain = machine(3)
    want = fleet(target=0, guards=Guards(max_stops_per_pass=Limit(count=2)))
    decided = decide(want, seen(plain, dear, drifted))
    assert actions(decided) == ["stop ps1", "stop ps2"]


@pytest.mark.parametrize(
    ("observation", "reason"),
    [
        pytest.param({"complete": False}, Reason.OBSERVATION_PARTIAL, id="partial"),
        pytest.param({"rejected": "lacks ps9"}, Reason.OBSERVATION_REJECTED, id="rejected"),
        pytest.param({"at": ago(seconds=61)}, Reason.OBSERVATION_STALE, id="stale"),
        pytest.param({"at": later(seconds=61)}, Reason.OBSERVATION_STALE, id="from the future: the clock stepped"),
    ],
)
def test_nothing_is_done_on_an_observation_that_is_not_sane(observation, reason) -> None:
    short = decide(fleet(), seen(*machines("ready off"), **observation))
    over = decide(destroying(target=0), seen(*machines("ready off"), **observation))
    assert actions(short) == actions(over) == []
    assert str(reason) in {str(s.reason) for s in short.skips}
    assert str(reason) in {str(s.reason) for s in over.skips}


@pytest.mark.parametrize(
    ("minutes_ago", "reason", "until"),
    [
        pytest.param(10, Reason.RESPECT_MANUAL, later(minutes=20), id="the human's half hour ends last"),
        pytest.param(29.5, Reason.CAPACITY_BACKOFF, later(minutes=1), id="the shortage ends last"),
    ],
)
def test_a_stop_by_hand_during_a_shortage_is_reported_with_what_ends_last(minutes_ago, reason, until) -> None:
    stopped = facts(1, stopped_by="operator", stopped_at=ago(minutes=minutes_ago))
    decided = decide(fleet(target=1), seen(*machines("off")), memory(facts=(stopped,), backoffs=NO_ROOM))
    assert actions(decided) == []
    assert [(s.reason, s.until) for s in decided.skips if s.verb is Verb.START] == [(reason, until)]


def test_a_failing_provider_forbids_what_is_destructive_only() -> None:
    failing = memory(provider_failing=timedelta(seconds=61))
    assert actions(decide(fleet(target=0, guards=LOOSE), seen(*machines("ready")), failing)) == []
    assert actions(decide(fleet(target=1), seen(*machines("off")), failing)) == ["start ps1"]
    barely = memory(provider_failing=timedelta(seconds=60))
    assert actions(decide(fleet(target=0, guards=LOOSE), seen(*machines("ready")), barely)) == ["stop ps1"]


@pytest.mark.parametrize(
    ("want", "listed", "recalled", "does", "left"),
    [
        pytest.param(fleet(target=12), "", {}, ["create"] * 10, "guard_creates", id="creates"),
        pytest.param(
            fleet(target=0), "ready " * 8, {}, ["stop ps7", "stop ps8"], "guard_stops ps6", id="a quarter is stopped"
        ),
        pytest.param(fleet(target=0), "ready", {}, ["stop ps1"], None, id="at least one"),
        pytest.param(
            fleet(target=0),
            "ready " * 8,
            {"intents": (intent(Verb.STOP, 1), intent(Verb.STOP, 2))},
            [],
            "guard_stops ps8",
            id="stops under way count",
        ),
        pytest.param(
            replace(destroying(target=0), guards=Guards()),
            "off off",
            {},
            ["destroy ps2"],
            "guard_destroys ps1",
            id="one destroy",
        ),
        pytest.param(
            replace(destroying(target=0), guards=Guards()),
            "off off",
            {"intents": (intent(Verb.DESTROY, 1),)},
            [],
            "guard_destroys ps2",
            id="a destroy under way counts",
        ),
    ],
)
def test_guards_set_the_pace(want, listed, recalled, does, left) -> None:
    decided = decide(want, seen(*machines(listed)), memory(**recalled))
    assert sorted(actions(decided)) == sorted(does)
    if left is not None:
        assert left in reasons(decided)


def gone(*numbers: int, seconds: float = 10):
    return tuple(facts(n, gone_at=ago(seconds=seconds)) for n in numbers)


@pytest.mark.parametrize(
    ("listed", "vanished", "does"),
    [
        pytest.param("ready ready", gone(8, 9), ["create", "create"], id="two may always vanish"),
        pytest.param("ready", gone(7, 8, 9), [], id="three of four is too much at once"),
        pytest.param("ready", gone(7, 8, 9, seconds=90), ["create"] * 3, id="a second look agrees"),
        pytest.param(
            "", tuple(replace(f, destroyed=True) for f in gone(6, 7, 8, 9)), ["create"] * 4, id="our own destroys"
        ),
    ],
)
def test_creates_wait_when_much_of_a_fleet_is_gone(listed, vanished, does) -> None:
    decided = decide(fleet(target=4), seen(*machines(listed)), memory(facts=vanished))
    assert actions(decided) == does
    assert (str(Reason.GUARD_SHRINK) in reasons(decided)) is (not does)


@pytest.mark.parametrize(
    ("cap", "overall", "prices", "does", "reason"),
    [
        pytest.param("0", "0", PRICES.prices, 3, None, id="no cap"),
        pytest.param("1.02", "0", PRICES.prices, 2, Reason.GUARD_COST, id="the fleet's cap"),
        pytest.param("0", "1.60", PRICES.prices, 3, None, id="fits"),
        pytest.param("0", "1.52", PRICES.prices, 2, Reason.GUARD_COST, id="the cap over all"),
        pytest.param("0", "99", {}, 0, Reason.PRICE_UNKNOWN, id="an unknown price cannot be proven to fit"),
        pytest.param("0", "0", {}, 3, None, id="an unknown price matters only under a cap"),
    ],
)
def test_cost_caps_refuse_creates(cap, overall, prices, does, reason) -> None:
    want = fleet(guards=Guards(max_hourly_cost=Decimal(cap)))
    decided = decide(want, seen(), costs=Costs(prices, Decimal(overall)))
    assert actions(decided) == ["create"] * does
    if reason is not None:
        assert str(reason) in reasons(decided)


@pytest.mark.parametrize(
    ("under_way", "listed", "before", "does"),
    [
        pytest.param({"accepted_at": ago(seconds=2)}, "off off", "0.51", [], id="accepted"),
        pytest.param({}, "off off", "0.51", [], id="being called"),
        pytest.param({"ambiguous_since": ago(seconds=2)}, "off off", "0.51", [], id="the answer was lost"),
        pytest.param({"accepted_at": ago(seconds=9)}, "starting off", "0.51", [], id="shown: it counts once"),
        pytest.param({"accepted_at": ago(seconds=9)}, "ready off", "0.51", [], id="up: it counts once"),
        pytest.param(None, "off off", "0", ["start ps1"], id="none"),
    ],
)
@pytest.mark.parametrize("overall", [False, True])
def test_cost_caps_count_a_start_that_the_listing_does_not_show_yet(under_way, listed, before, does, overall) -> None:
    cap = Decimal("0.60")
    want = fleet(target=2, guards=Guards(max_hourly_cost=Decimal(0) if overall else cap))
    starts = () if under_way is None else (intent(Verb.START, 1, **under_way),)
    costs = replace(PRICES, max_hourly_cost=cap if overall else Decimal(0))
    decided = decide(want, seen(*machines(listed)), memory(intents=starts), costs=costs)
    assert decided.hourly_before == Decimal(before)
    assert actions(decided) == does


def test_the_cap_over_all_counts_other_fleets() -> None:
    both = [fleet("inference", 1), fleet("training", 2)]
    up = machine(1, fleet="inference")
    decided = decide(both, seen(up), costs=Costs(PRICES.prices, Decimal("1.02")))
    assert actions(decided) == ["create"]
    assert decided.hourly_before == Decimal("0.51")
    assert decided.hourly_after == Decimal("1.02")


def test_sums_are_unknown_when_any_price_is() -> None:
    decided = decide(fleet(target=2), seen(machine(1, machine_type="V100")))
    assert decided.hourly_before is None
    assert decided.hourly_after is None


def test_a_young_machine_without_a_type_costs_what_the_fleet_costs() -> None:
    young = machine(1, "provisioning", machine_type=None, region=None)
    assert decide(fleet(target=1), seen(young)).hourly_before == Decimal("0.51")


def test_foreign_machines_are_never_planned_for() -> None:
    strangers = (machine(1, name="training-backup"), machine(2, name="desktop", state="off"))
    decided = decide(destroying(target=0), seen(*strangers))
    assert decided.actions == ()
    assert decided.fleets["training"].up == 0


def test_the_view_counts_what_is_seen() -> None:
    listed = machines("ready provisioning stopping off hibernating")
    recalled = memory(intents=(intent(Verb.CREATE, ambiguous_since=ago(seconds=30)),))
    decided = decide(fleet(target=4), seen(*listed), recalled)
    view = decided.fleets["training"]
    assert (view.target, view.up, view.rising, view.falling, view.down, view.unknown, view.intents) == (
        4, 1, 1, 1, 1, 1, 1,
    )  # fmt: skip
    assert not view.converged
    assert {"unknown_state ps5", "create_unsettled"} <= reasons(decided)


def test_the_same_question_has_the_same_answer() -> None:
    listed = machines("ready off provisioning off ready")
    assert decide(fleet(target=9), seen(*listed)) == decide(fleet(target=9), seen(*reversed(listed)))


GOING = intent(Verb.DESTROY, 2, accepted_at=ago(seconds=5))
UNSETTLED = intent(Verb.DESTROY, 2, ambiguous_since=ago(seconds=5))


@pytest.mark.parametrize(
    ("states", "destroy", "does"),
    [
        pytest.param("ready destroying", GOING, ["create"], id="one that is seen to go is replaced"),
        pytest.param("ready off", GOING, ["create"], id="one that is off, and was accepted, too"),
        pytest.param("ready ready", GOING, [], id="one that is up was accepted, and may stay all the same"),
        pytest.param("ready ready", UNSETTLED, [], id="one that may stay is not"),
        pytest.param("ready off", UNSETTLED, [], id="nor one that may stay off: it could be started"),
        pytest.param("ready ready off", UNSETTLED, [], id="nothing is started in its place either"),
        pytest.param("ready ready off", GOING, [], id="nor while it is up"),
        pytest.param("ready destroying off", GOING, ["start ps3"], id="but in place of one that goes"),
    ],
)
def test_a_destroy_frees_a_place_when_it_is_seen_to_work(states, destroy, does) -> None:
    """It may never have arrived, or come to nothing: then its machine is paid for beside the one in its place."""
    decided = decide(destroying(target=2, standby=5), seen(*machines(states)), memory(intents=(destroy,)))
    assert actions(decided) == does
    assert ("in_transition ps2" in reasons(decided)) is (does == [])


STOPPING = intent(Verb.STOP, 2, accepted_at=ago(seconds=5), expected_state="ready")
UNSTOPPED = intent(Verb.STOP, 2, ambiguous_since=ago(seconds=5), expected_state="ready")


@pytest.mark.parametrize(
    ("states", "stop", "does"),
    [
        pytest.param("ready ready off", STOPPING, [], id="nothing while it is up, whatever was answered"),
        pytest.param("ready stopping off", STOPPING, ["start ps3"], id="in place of one that stops"),
        pytest.param("ready ready off", UNSTOPPED, [], id="not of one that may go on"),
        pytest.param("ready stopping off", UNSTOPPED, ["start ps3"], id="of one that is seen to stop"),
        pytest.param("ready off off", UNSTOPPED, ["start ps3"], id="one that has stopped is left to its verdict"),
        pytest.param("ready off", STOPPING, [], id="and waited for where there is no other"),
    ],
)
def test_a_stop_frees_a_place_when_it_is_seen_to_work(states, stop, does) -> None:
    """It may come to nothing, or never have arrived: a process that dies before the call leaves no more than this."""
    decided = decide(fleet(target=2), seen(*machines(states)), memory(intents=(stop,)))
    assert actions(decided) == does


RISING = tuple(intent(Verb.CREATE, n, accepted_at=ago(seconds=30), id=n) for n in (3, 4))


@pytest.mark.parametrize(
    ("states", "target", "does"),
    [
        pytest.param("ready ready provisioning provisioning", 2, [], id="they go first, after their verdicts"),
        pytest.param("ready ready provisioning provisioning", 1, ["stop ps2"], id="the rest goes now"),
        pytest.param("ready ready ready off", 2, ["stop ps2"], id="one without a verdict yet is left alone"),
    ],
)
def test_no_ready_machine_is_given_up_for_one_that_is_coming_up(states, target, does) -> None:
    """It may fail to come up (no capacity, say), and then the ready one is missing."""
    want = fleet(target=target, guards=LOOSE)
    assert actions(decide(want, seen(*machines(states)), memory(intents=RISING))) == does
