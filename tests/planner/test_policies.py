from __future__ import annotations

import pytest

from fleetd.model.fleet import AutoSnapshot, Guards, IdleRule, Limit, ShutdownTimeout
from fleetd.model.journal import Setback
from fleetd.model.machine import MachineEvent, SnapshotPolicy
from fleetd.model.plan import Check
from fleetd.model.reasons import Verb
from fleetd.planner.plan import plan
from fleetd.planner.policies import (
    is_settled,
    last_started,
    outlived,
    snapshot_drift,
    timeout_drift,
    unmet,
    vendor_stops_soon,
)
from tests.support.build import NOW, ago, facts, fleet, hold, idle, intent, later, machine, memory, seen

DAY = ShutdownTimeout(hours=24)
ENFORCED = ShutdownTimeout(hours=24, enforce=True)
LOOSE = Guards(max_stops_per_pass=Limit(percent=100))
ALL = frozenset(Check)


def started(hours: float, name: str = "start", state: str = "done") -> tuple[MachineEvent, ...]:
    return (MachineEvent(name, state, handle="h", created_at=ago(hours=hours), finished_at=ago(hours=hours)),)


def event_at(*, began: float, ended: float | None) -> MachineEvent:
    end = None if ended is None else ago(hours=ended)
    return MachineEvent("start", "done", handle="h", created_at=ago(hours=began), finished_at=end)


@pytest.mark.parametrize(
    ("policy", "hours", "forces", "changes", "unverified"),
    [
        pytest.param(None, 168, True, {}, (), id="no policy"),
        pytest.param(DAY, 24, False, {}, (), id="as it should be"),
        pytest.param(DAY, 168, False, {"shutdown_timeout_hours": 24}, (), id="hours"),
        pytest.param(DAY, 168, True, {"shutdown_timeout_hours": 24, "shutdown_timeout_forces": False}, (), id="both"),
        pytest.param(
            DAY, None, None, {}, ("shutdownTimeoutInHours", "shutdownTimeoutForces"), id="not said is not good"
        ),
    ],
)
def test_timeout_drift(policy, hours, forces, changes, unverified) -> None:
    box = machine(1, shutdown_timeout_hours=hours, shutdown_timeout_forces=forces)
    drift = timeout_drift(fleet(shutdown_timeout=policy), box)
    assert (drift.changes, drift.unverified) == (changes, unverified)


@pytest.mark.parametrize(
    ("policy", "seen_policy", "changes"),
    [
        pytest.param(None, SnapshotPolicy(True, "day", 1), {}, id="no policy"),
        pytest.param(AutoSnapshot("day", 7), SnapshotPolicy(True, "day", 7), {}, id="as it should be"),
        pytest.param(
            AutoSnapshot("day", 7),
            SnapshotPolicy(False, None, None),
            {"snapshots_enabled": True, "snapshot_frequency": "day", "snapshot_keep": 7},
            id="turned off",
        ),
        pytest.param(AutoSnapshot("day", 7), SnapshotPolicy(True, "day", 1), {"snapshot_keep": 7}, id="count"),
        pytest.param(AutoSnapshot("none"), SnapshotPolicy(True, "day", 1), {"snapshots_enabled": False}, id="none"),
        pytest.param(AutoSnapshot("none"), SnapshotPolicy(False, "day", 1), {}, id="off is off"),
        pytest.param(AutoSnapshot("week"), SnapshotPolicy(True, "week", 3), {}, id="no count wanted"),
        pytest.param(
            AutoSnapshot("day", 7), SnapshotPolicy(True, "month", 7), {"snapshot_frequency": "day"}, id="month"
        ),
    ],
)
def test_snapshot_drift(policy, seen_policy, changes) -> None:
    assert snapshot_drift(fleet(auto_snapshot=policy), machine(1, snapshots=seen_policy)).changes == changes


@pytest.mark.parametrize(
    ("shown", "words", "unverified"),
    [
        pytest.param(SnapshotPolicy(True, "day", 7), "", (), id="as it should be"),
        pytest.param(
            SnapshotPolicy(False, None, None),
            "performAutoSnapshot false -> true, autoSnapshotFrequency none -> day, autoSnapshotSaveCount none -> 7",
            (),
            id="off, and then there is no count",
        ),
        pytest.param(
            SnapshotPolicy(False, "day", 3),
            "performAutoSnapshot false -> true, autoSnapshotSaveCount 3 -> 7",
            (),
            id="off, and the count is told all the same",
        ),
        pytest.param(SnapshotPolicy(True, "week", 7), "autoSnapshotFrequency week -> day", (), id="too seldom"),
        pytest.param(SnapshotPolicy(True, None, 7), "autoSnapshotFrequency none -> day", (), id="never"),
        pytest.param(
            SnapshotPolicy(True, "day", None), "", ("autoSnapshotSaveCount",), id="on, and the count is not said"
        ),
        pytest.param(SnapshotPolicy(None, "day", 7), "", ("performAutoSnapshot",), id="whether it is on is not said"),
    ],
)
def test_what_is_said_of_snapshots_that_drifted(shown, words, unverified) -> None:
    drift = snapshot_drift(fleet(auto_snapshot=AutoSnapshot("day", 7)), machine(1, snapshots=shown))
    assert (drift.words, drift.unverified) == (words, unverified)


OFF = {"snapshots_enabled": False, "snapshot_frequency": "week", "snapshot_keep": 9}


@pytest.mark.parametrize(
    ("asked", "shown", "words"),
    [
        ({"shutdown_timeout_hours": 24}, {"shutdown_timeout_hours": 24}, ""),
        (
            {"shutdown_timeout_hours": 24}, {"shutdown_timeout_hours": 168},
            "shutdownTimeoutInHours 168 in place of 24",
        ),
        ({"shutdown_timeout_hours": 24}, {}, ""),
        ({"shutdown_timeout_hours": None}, {"shutdown_timeout_hours": 168}, ""),
        (
            {"shutdown_timeout_forces": False}, {"shutdown_timeout_forces": True},
            "shutdownTimeoutForces true in place of false",
        ),
        (
            {"snapshots_enabled": True}, {"snapshots": SnapshotPolicy(False, "day", 7)},
            "performAutoSnapshot false in place of true",
        ),
        (
            {"snapshot_frequency": "day"}, {"snapshots": SnapshotPolicy(True, "week", 7)},
            "autoSnapshotFrequency week in place of day",
        ),
        ({"snapshot_frequency": "day"}, {"snapshots": SnapshotPolicy(True, "day", 7)}, ""),
        (
            {"snapshot_frequency": "day"}, {"snapshots": SnapshotPolicy(True, None, 7)},
            "autoSnapshotFrequency none in place of day",
        ),
        (
            {"snapshot_keep": 7}, {"snapshots": SnapshotPolicy(True, "day", 3)},
            "autoSnapshotSaveCount 3 in place of 7",
        ),
        (
            {"snapshots_enabled": True, "snapshot_keep": 7}, {"snapshots": SnapshotPolicy(False, "day", 3)},
            "performAutoSnapshot false in place of true, autoSnapshotSaveCount 3 in place of 7",
        ),
        pytest.param(OFF, {"snapshots": SnapshotPolicy(False, "day", 7)}, "", id="off is off"),
        pytest.param(
            OFF, {"snapshots": SnapshotPolicy(True, "day", 7)}, "performAutoSnapshot true in place of false",
            id="not off: how often does not matter",
        ),
        pytest.param({"release_public_ip": True}, {}, "", id="what no machine shows"),
        pytest.param({}, {"shutdown_timeout_hours": 168}, "", id="nothing asked"),
    ],
)  # fmt: skip
def test_what_of_an_update_does_not_show(asked, shown, words) -> None:
    assert unmet(machine(1, **shown), asked) == words


@pytest.mark.parametrize(
    ("state", "judged"),
    [("ready", True), ("off", True), ("starting", False), ("stopping", False), ("archiving", False)],
)
def test_settings_are_judged_of_a_machine_at_rest(state: str, judged: bool) -> None:
    assert is_settled(machine(1, state), ()) is judged
    assert is_settled(machine(1, state), {"ps2"}) is judged
    assert not is_settled(machine(1, state), {"ps1"})


def test_a_drift_says_what_changes_in_the_vendors_words() -> None:
    box = machine(1, shutdown_timeout_hours=168, shutdown_timeout_forces=True)
    assert timeout_drift(fleet(shutdown_timeout=DAY), box).words == (
        "shutdownTimeoutInHours 168 -> 24, shutdownTimeoutForces true -> false"
    )


@pytest.mark.parametrize(
    ("events", "hours"),
    [
        (started(25), 25),
        pytest.param((event_at(began=26, ended=25),), 25, id="from its end on"),
        pytest.param((event_at(began=26, ended=None),), 26, id="from its beginning, where its end is not told"),
        (started(25, "create"), 25),
        (started(1, state="error") + started(25), 25),
        (started(1, "stop") + started(25), 25),
        pytest.param(started(1, "") + started(25, "create"), None, id="behind an unreadable name"),
        pytest.param(started(1) + started(2, "") + started(25, "create"), 1, id="before an unreadable name"),
        ((), None),
        (None, None),
    ],
)
def test_the_last_start_is_told_by_the_events(events, hours) -> None:
    expected = None if hours is None else ago(hours=hours)
    assert last_started(machine(1, events=events)) == expected


@pytest.mark.parametrize(
    ("policy", "state", "events", "over"),
    [
        pytest.param(ENFORCED, "ready", started(25), True, id="outlived"),
        pytest.param(ENFORCED, "ready", started(24), False, id="to the second"),
        pytest.param(DAY, "ready", started(25), False, id="not enforced"),
        pytest.param(None, "ready", started(25), False, id="no policy"),
        pytest.param(ENFORCED, "off", started(25), False, id="off"),
        pytest.param(ENFORCED, "ready", None, False, id="nobody knows"),
    ],
)
def test_outlived(policy, state, events, over) -> None:
    box = machine(1, state, events=events)
    assert (outlived(fleet(shutdown_timeout=policy), box, NOW) is not None) is over


@pytest.mark.parametrize(("ours", "over"), [(None, True), (30, True), (25, True), (24, False), (0.1, False)])
def test_a_provider_whose_clock_is_hours_behind_does_not_have_machines_stopped_at_once(ours, over) -> None:
    """By its dates the machine has been up for 25 h; by our own clock it came up ``ours`` hours ago."""
    box = machine(1, events=started(25))
    at = None if ours is None else ago(hours=ours)
    assert (outlived(fleet(shutdown_timeout=ENFORCED), box, NOW, started_at=at) is not None) is over


@pytest.mark.parametrize(("hours", "soon"), [(21.9, False), (22, True), (22.5, True), (24, True), (25, False)])
def test_the_vendors_timer_is_seen_coming(hours, soon) -> None:
    box = machine(1, shutdown_timeout_hours=24, events=started(hours))
    assert (vendor_stops_soon(box, NOW) is not None) is soon


@pytest.mark.parametrize(
    ("state", "timeout", "events"),
    [
        pytest.param("ready", None, started(23), id="no timer is told"),
        pytest.param("ready", 24, None, id="nobody knows since when"),
        pytest.param("off", 24, started(23), id="it is off"),
    ],
)
def test_no_timer_ends_what_has_none_or_does_not_run(state, timeout, events) -> None:
    assert vendor_stops_soon(machine(1, state, shutdown_timeout_hours=timeout, events=events), NOW) is None


def check(want, box, checks=ALL, **recalled) -> list[str]:
    decided = plan([want], seen(box), memory(**recalled), NOW, due={box.id: checks})
    return [f"{a.verb} {a.reason}" for a in decided.actions]


DRIFTED = machine(1, shutdown_timeout_hours=168, shutdown_timeout_forces=False, snapshots=SnapshotPolicy(False))
POLICED = fleet(target=1, shutdown_timeout=DAY, auto_snapshot=AutoSnapshot("day"), guards=LOOSE)


@pytest.mark.parametrize(
    ("checks", "recalled", "does"),
    [
        (ALL, {}, ["update timeout_drift", "update snapshot_drift"]),
        (frozenset({Check.SNAPSHOT}), {}, ["update snapshot_drift"]),
        (frozenset(), {}, []),
        (ALL, {"holds": (hold("ps1"),)}, []),
        (ALL, {"intents": (intent(Verb.RESTART, 1),)}, []),
        (ALL, {"refusals": {"update:ps1": Setback(later(minutes=1), "no")}}, []),
    ],
)
def test_drift_is_mended_when_its_check_is_due(checks, recalled, does) -> None:
    assert check(POLICED, DRIFTED, checks, **recalled) == does


@pytest.mark.parametrize(
    ("want", "recalled", "does"),
    [
        pytest.param(fleet(target=1, shutdown_timeout=ENFORCED), {}, ["stop outlived_timeout"], id="stopped"),
        pytest.param(fleet(target=1, shutdown_timeout=ENFORCED), {"holds": (hold("ps1"),)}, [], id="held"),
        pytest.param(
            fleet(target=1, shutdown_timeout=ENFORCED, idle=IdleRule(("gpu",))),
            {"idle": {"ps1": idle("active")}},
            [],
            id="in use",
        ),
        pytest.param(
            fleet(target=1, shutdown_timeout=ENFORCED, idle=IdleRule(("gpu",))), {}, [], id="nobody knows of its use"
        ),
        pytest.param(
            fleet(target=1, shutdown_timeout=ENFORCED, idle=IdleRule(("gpu",))),
            {"idle": {"ps1": idle(minutes=1)}, "facts": (facts(1, up_since=ago(hours=25)),)},
            [],
            id="idle for a minute",
        ),
        pytest.param(
            fleet(target=1, shutdown_timeout=ENFORCED, idle=IdleRule(("gpu",))),
            {"idle": {"ps1": idle(minutes=61)}, "facts": (facts(1, up_since=ago(hours=25)),)},
            ["stop outlived_timeout"],
            id="idle for long enough",
        ),
        pytest.param(
            fleet(target=1, shutdown_timeout=ENFORCED),
            {"facts": (facts(1, started_at=ago(hours=1)),)},
            [],
            id="seen to come up an hour ago, by our clock",
        ),
        pytest.param(
            fleet(target=1, shutdown_timeout=ENFORCED),
            {"facts": (facts(1, started_at=ago(hours=30)),)},
            ["stop outlived_timeout"],
            id="seen to come up before",
        ),
    ],
)
def test_what_outlived_its_timeout_is_stopped_unless_held_or_in_use(want, recalled, does) -> None:
    box = machine(1, shutdown_timeout_hours=24, shutdown_timeout_forces=False)
    shown = {"ps1": machine(1, events=started(25))}
    assert check(want, box, shown=shown, **recalled) == does


def test_an_action_says_which_machine_by_id_and_name_and_what_is_put_right() -> None:
    decided = plan([POLICED], seen(DRIFTED), memory(), NOW, due={"ps1": frozenset({Check.SHUTDOWN_TIMEOUT})})
    (action,) = decided.actions
    assert (action.machine, action.name, action.fleet) == ("ps1", DRIFTED.name, "training")
    assert action.changes == {"shutdown_timeout_hours": 24}
    assert action.evidence is not None
    assert "168" in action.evidence
