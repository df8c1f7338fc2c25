"""What a destroy needs of a snapshot, and which snapshots were missed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from fleetd.model.fleet import AutoSnapshot, Guards, Limit, ScaleIn
from fleetd.model.machine import SnapshotPolicy, SnapshotSight
from fleetd.model.reasons import Reason, Verb
from fleetd.planner.plan import plan
from fleetd.planner.policies import NOT_LOOKED, snapshot_missed, snapshot_veto
from tests.support.build import NOW, ago, fleet, later, machine, machines, memory, remembered, seen

LOOSE = Guards(max_stops_per_pass=Limit(percent=100), max_destroys_per_pass=10)
CAREFUL = fleet(
    target=1,
    scale_in=ScaleIn.DESTROY,
    allow_destroy=True,
    destroy_requires_snapshot=timedelta(hours=24),
    guards=LOOSE,
)
DAILY = fleet(auto_snapshot=AutoSnapshot("day", 7))
HOURLY = fleet(auto_snapshot=AutoSnapshot("hour"))
WEEKLY = fleet(auto_snapshot=AutoSnapshot("week"))
OLD_WEEKLY: dict[str, Any] = {"created_at": ago(days=40), "snapshots": SnapshotPolicy(True, "week", 7)}


def sight(n: int = 1, hours: float | None = 1, doubt: str = "") -> SnapshotSight:
    return SnapshotSight(f"ps{n}", None if hours is None else ago(hours=hours), doubt)


@pytest.mark.parametrize(
    ("want", "known", "why"),
    [
        pytest.param(fleet(), None, None, id="no rule"),
        pytest.param(CAREFUL, None, NOT_LOOKED, id="nobody looked"),
        pytest.param(CAREFUL, sight(hours=23.9), None, id="fresh"),
        pytest.param(CAREFUL, sight(hours=24.1), "its newest snapshot is 24.1 h old, and may be 24.0 h", id="old"),
        pytest.param(CAREFUL, sight(hours=None, doubt="it has no snapshot"), "it has no snapshot", id="none"),
        pytest.param(CAREFUL, sight(hours=24), None, id="just fresh enough"),
        pytest.param(CAREFUL, sight(hours=-0.05), None, id="clocks a little apart"),
        pytest.param(CAREFUL, SnapshotSight("ps1", later(minutes=5)), None, id="as far apart as is believed"),
        pytest.param(
            CAREFUL,
            SnapshotSight("ps1", later(minutes=5, seconds=1)),
            "its newest snapshot is dated 2026-03-02T12:05:01+00:00, which is to come",
            id="further apart than is believed",
        ),
        pytest.param(
            CAREFUL,
            SnapshotSight("ps1", later(hours=2)),
            "its newest snapshot is dated 2026-03-02T14:00:00+00:00, which is to come",
            id="from the future",
        ),
    ],
)
def test_what_stands_in_the_way_of_a_destroy(want, known, why) -> None:
    assert snapshot_veto(want, known, NOW) == why


def decide(listed, **sights):
    known = {s.machine_id: s for s in sights.values()}
    observation = seen(*listed)
    decided = plan([CAREFUL], observation, remembered(observation, memory(snapshots=known)), NOW)
    does = [f"{a.verb} {a.machine}" for a in decided.actions]
    left = {(s.machine, s.detail) for s in decided.skips if s.reason is Reason.SNAPSHOT_TOO_OLD}
    assert all(s.verb is Verb.DESTROY for s in decided.skips if s.reason is Reason.SNAPSHOT_TOO_OLD)
    return does, left


def test_a_surplus_machine_with_a_fresh_snapshot_is_destroyed() -> None:
    assert decide(machines("ready ready"), a=sight(2, 3)) == (["destroy ps2"], set())


def test_before_anybody_looked_nothing_is_done() -> None:
    assert decide(machines("ready ready")) == ([], {("ps2", NOT_LOOKED)})


def test_without_a_fresh_one_it_is_stopped_and_no_other_is_destroyed_in_its_place() -> None:
    does, left = decide(machines("ready ready"), a=sight(1, 3), b=sight(2, None, "it has no snapshot"))
    assert does == ["stop ps2"]
    assert left == {("ps2", "it has no snapshot")}


def test_a_stopped_one_beyond_standby_is_kept() -> None:
    does, left = decide(machines("ready off"), b=sight(2, 48))
    assert does == []
    assert [machine for machine, _ in left] == ["ps2"]
    assert decide(machines("ready off"), b=sight(2, 3))[0] == ["destroy ps2"]


def box(**fields):
    fields.setdefault("snapshots", SnapshotPolicy(True, "day", 7))
    fields.setdefault("created_at", ago(days=9))
    return machine(1, **fields)


@pytest.mark.parametrize(
    ("want", "what", "known", "missed"),
    [
        pytest.param(fleet(), box(), sight(hours=99), None, id="no policy"),
        pytest.param(fleet(auto_snapshot=AutoSnapshot("none")), box(), sight(hours=99), None, id="off"),
        pytest.param(DAILY, box(), sight(hours=47), None, id="one may be late"),
        pytest.param(DAILY, box(), sight(hours=49), "its newest snapshot is 49.0 h old", id="missed"),
        pytest.param(DAILY, box(), sight(hours=None, doubt="it has no snapshot"), "it has no snapshot", id="none"),
        pytest.param(DAILY, box(created_at=ago(hours=47)), sight(hours=None, doubt="none"), None, id="young"),
        pytest.param(DAILY, box(created_at=None), sight(hours=None, doubt="none"), None, id="of unknown age"),
        pytest.param(DAILY, box(state="off"), sight(hours=99), None, id="off, it changes nothing"),
        pytest.param(DAILY, box(snapshots=SnapshotPolicy(False, "day", 7)), sight(hours=99), None, id="drifted"),
        pytest.param(DAILY, box(), sight(hours=48), None, id="to the second"),
        pytest.param(DAILY, box(created_at=ago(hours=48)), sight(hours=None, doubt="none"), None, id="just young"),
        pytest.param(DAILY, box(created_at=ago(hours=49)), sight(hours=None, doubt="none"), "none", id="old by now"),
        pytest.param(HOURLY, box(snapshots=SnapshotPolicy(True, "hour", 7)), sight(hours=1.5), None, id="late"),
        pytest.param(WEEKLY, box(**OLD_WEEKLY), sight(hours=13 * 24), None, id="weekly, late"),
        pytest.param(
            WEEKLY, box(**OLD_WEEKLY), sight(hours=15 * 24), "its newest snapshot is 360.0 h old", id="weekly, missed"
        ),
        pytest.param(
            HOURLY,
            box(snapshots=SnapshotPolicy(True, "hour", 7)),
            sight(hours=3),
            "its newest snapshot is 3.0 h old",
            id="hourly",
        ),
    ],
)
def test_which_snapshots_were_missed(want, what, known, missed) -> None:
    assert snapshot_missed(want, what, known, NOW) == missed
