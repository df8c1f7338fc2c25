"""Looking at snapshots, rule by rule: what a plan is made with, the last word before a destroy, what is said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from structlog.testing import capture_logs

from fleetd.engine.snapshots import KEPT, LOOKS_A_PASS, Snapshots
from fleetd.model.errors import Unavailable
from fleetd.model.fleet import AutoSnapshot
from fleetd.model.journal import Memory
from fleetd.model.machine import Machine, MachineEvent, SnapshotPolicy, SnapshotSight
from fleetd.model.plan import Action, Check, Skip
from fleetd.model.reasons import Reason, Verb
from fleetd.planner.ownership import Owner
from fleetd.planner.policies import NOT_LOOKED
from tests.support.build import NOW, ago, fleet, later, machine
from tests.support.virtual_time import virtual

P = pytest.param
DAILY = fleet(auto_snapshot=AutoSnapshot("day", 7))
CAREFUL = fleet(destroy_requires_snapshot=timedelta(hours=24))
POLICY = SnapshotPolicy(True, "day", 7)
DUE = frozenset({Check.SNAPSHOT})


def sight(n: int, at: Any = None, **fields: Any) -> SnapshotSight:
    return SnapshotSight(f"ps{n}", at, "" if at else "it has no snapshot", **fields)


def box(n: int, state: str = "ready", **fields: Any) -> Machine:
    return machine(n, state, snapshots=fields.pop("snapshots", POLICY), **fields)


class World:
    """A provider whose snapshots are as ``sights`` says; a machine that is not there cannot be looked at."""

    def __init__(self, *sights: SnapshotSight) -> None:
        self.now = NOW
        self.sights = {one.machine_id: one for one in sights}
        self.looked: list[str] = []
        self.progressed = 0
        self.shown = SimpleNamespace(snapshots_visible=True)
        self.cloud: Any = SimpleNamespace(snapshots=self.look, capabilities=self.shown)
        clock: Any = SimpleNamespace(now=lambda: self.now)
        self.snapshots = Snapshots(self.cloud, clock, progress=self._progress)
        self.plans: list[dict[str, SnapshotSight]] = []

    def _progress(self) -> None:
        self.progressed += 1

    async def look(self, machine_id: str) -> SnapshotSight:
        self.looked.append(machine_id)
        await anyio.sleep(1)
        if machine_id not in self.sights:
            raise Unavailable("down", operation="snapshots")
        return self.sights[machine_id]

    async def plans_without(self, *lacking: str | None, complete: bool = True) -> tuple[Any, Memory]:
        """Decide, where the plan lacks a look at those machines until it knows of them."""

        def plan(memory: Memory) -> Any:
            self.plans.append(dict(memory.snapshots))
            of: Any = ("training", Verb.DESTROY)
            skips = [
                Skip(*of, Reason.SNAPSHOT_TOO_OLD, "old", detail="its newest is 3 d old"),
                Skip(*of, Reason.GUARD_DESTROYS, "guarded", detail=NOT_LOOKED),
            ]
            skips += [
                Skip(*of, Reason.SNAPSHOT_TOO_OLD, m, detail=NOT_LOOKED) for m in lacking if m not in memory.snapshots
            ]
            return SimpleNamespace(skips=tuple(skips), complete=complete, of=dict(memory.snapshots))

        return await self.snapshots.decide(Memory(), plan)

    async def check(self, *machines: Machine, of: Any = DAILY, due: Sequence[str] | None = None) -> list[Any]:
        """One pass's check, and what it said: machine, and what of it."""
        owned = {m.id: Owner("training", adopted=False) for m in machines if m.name != "stranger"}
        ids = [m.id for m in machines] if due is None else due
        with capture_logs() as logs:
            await self.snapshots.check(dict.fromkeys(ids, DUE), [of], machines, owned)
        words = {"snapshot.failed": "error", "snapshot.was_missed": "detail"}
        return [
            (line["event"], line["machine"], line[words[line["event"]]]) for line in logs if line["event"] in words
        ]


@pytest.mark.parametrize(
    ("lacking", "complete", "looked"),
    [
        P(("ps1", "ps2"), True, ["ps1", "ps2"], id="those that it hangs on"),
        P((None, "ps1"), True, ["ps1"], id="one that has no id yet cannot be looked at"),
        P((), True, [], id="none"),
        P(("ps1",), False, [], id="nothing is destroyed by a listing that is not whole"),
        P(
            tuple(f"ps{n}" for n in range(1, LOOKS_A_PASS + 3)), True,
            [f"ps{n}" for n in range(1, LOOKS_A_PASS + 1)], id="so many in a pass",
        ),
    ],
)  # fmt: skip
@virtual
async def test_a_plan_that_lacks_a_look_is_made_again_with_it(
    lacking: tuple[str | None, ...], complete: bool, looked: list[str]
) -> None:
    world = World(*[sight(n, ago(hours=1)) for n in range(1, 20)])
    began = anyio.current_time()
    plan, memory = await world.plans_without(*lacking, complete=complete)
    known = {m: world.sights[m] for m in looked}
    assert sorted(world.looked) == sorted(looked)
    assert anyio.current_time() - began == pytest.approx(1.0 if looked else 0.0), "side by side"
    assert world.plans == ([{}, known] if looked else [{}])
    assert plan.of == memory.snapshots == known
    assert world.progressed == len(looked)


@pytest.mark.parametrize(
    ("age", "again"), [P(timedelta(0), False, id="at once"), P(KEPT - timedelta(seconds=2), False, id="still good"),
                       P(KEPT, True, id="too old")],
)  # fmt: skip
@virtual
async def test_a_look_is_planned_with_for_a_while(age: timedelta, again: bool) -> None:
    world = World(sight(1, ago(hours=1)))
    await world.plans_without("ps1")
    world.now += age
    _, memory = await world.plans_without("ps1")
    assert world.looked == ["ps1"] * (1 + again)
    assert memory.snapshots == world.sights


@virtual
async def test_what_could_not_be_looked_at_is_planned_with_as_no_snapshot_and_looked_at_again() -> None:
    world = World(sight(1, ago(hours=1)))
    await world.plans_without("ps1")
    world.sights, world.now = {}, later(minutes=6)
    _, memory = await world.plans_without("ps1")
    assert memory.snapshots == {
        "ps1": SnapshotSight("ps1", None, "its snapshots could not be looked at: snapshots: down")
    }
    await world.plans_without("ps1")
    assert world.looked == ["ps1"] * 3


@virtual
async def test_after_a_look_that_failed_an_older_one_counts_no_more() -> None:
    world = World(sight(1, ago(hours=1)))
    await world.plans_without("ps1")
    with capture_logs() as logs:
        assert await world.snapshots.last_word(CAREFUL, DESTROY, World().cloud) is Reason.SNAPSHOT_TOO_OLD
    assert logs == [
        {"event": "check.look_failed", "log_level": "debug", "machine": "ps1", "error": "snapshots: down"}
    ]
    await world.plans_without("ps1")
    assert world.looked == ["ps1", "ps1"]


DESTROY = Action(Verb.DESTROY, "training", Reason.OVER_TARGET, "ps1")


@pytest.mark.parametrize(
    ("action", "of", "newest", "says", "looks"),
    [
        P(DESTROY, CAREFUL, ago(hours=23), None, 1, id="fresh"),
        P(DESTROY, CAREFUL, ago(hours=25), Reason.SNAPSHOT_TOO_OLD, 1, id="too old"),
        P(DESTROY, CAREFUL, None, Reason.SNAPSHOT_TOO_OLD, 1, id="none"),
        P(DESTROY, CAREFUL, "down", Reason.SNAPSHOT_TOO_OLD, 1, id="nobody can say"),
        P(DESTROY, fleet(), None, None, 0, id="the fleet needs none"),
        P(replace(DESTROY, verb=Verb.STOP), CAREFUL, None, None, 0, id="a stop needs none"),
        P(replace(DESTROY, machine=None), CAREFUL, None, None, 0, id="of no machine"),
    ],
)
@virtual
async def test_the_last_word_before_a_destroy(action: Action, of: Any, newest: Any, says: Any, looks: int) -> None:
    world = World()
    place = World(*([] if newest == "down" else [sight(1, newest)]))
    assert await world.snapshots.last_word(of, action, place.cloud) is says
    assert (place.looked, world.looked) == (["ps1"] * looks, []), "from the call's place in the rate limit"


LATE = ("snapshot.was_missed", "ps1", "its newest snapshot is 72.0 h old")


@pytest.mark.parametrize(
    ("of", "listed", "due", "looked", "said"),
    [
        P(DAILY, box(1), None, ["ps1"], [LATE], id="missed"),
        P(DAILY, box(1), [], [], [], id="not due"),
        P(DAILY, box(1), ["ps2"], [], [], id="due for another"),
        P(DAILY, box(1, "off"), None, [], [], id="one that is off changes nothing"),
        P(DAILY, box(1, name="stranger"), None, [], [], id="not ours"),
        P(fleet(), box(1), None, [], [], id="the fleet has no such policy"),
        P(fleet(auto_snapshot=AutoSnapshot("none", 7)), box(1), None, [], [], id="or wants none"),
        P(fleet("other", auto_snapshot=AutoSnapshot("day", 7)), box(1), None, [], [], id="another fleet's policy"),
        P(
            DAILY,
            box(1, snapshots=SnapshotPolicy(True, "week", 7)),
            None,
            ["ps1"],
            [],
            id="its settings are another's",
        ),
    ],
)
@virtual
async def test_for_whom_the_check_looks(
    of: Any, listed: Machine, due: Any, looked: list[str], said: list[Any]
) -> None:
    world = World(sight(1, ago(hours=72)))
    assert await world.check(listed, of=of, due=due) == said
    assert world.looked == looked
    world.looked.clear()
    world.shown.snapshots_visible = False
    assert await world.check(listed, of=of) == []
    assert world.looked == [], "a dialect that shows none is not asked"


@virtual
async def test_the_check_looks_at_some_in_each_pass_those_that_have_waited_longest_first() -> None:
    many = [box(n) for n in range(1, 2 * LOOKS_A_PASS + 4)]
    world = World(*[sight(n, ago(hours=1)) for n in range(1, 30)])
    await world.check(*many)
    assert world.looked == [m.id for m in many[:LOOKS_A_PASS]]
    await world.check(*many, due=["ps1"])
    assert world.looked[LOOKS_A_PASS:] == [m.id for m in many[LOOKS_A_PASS : 2 * LOOKS_A_PASS]]
    down = replace(many[-1], state="off")
    await world.check(*many[:-1], down, due=[])
    assert world.looked[2 * LOOKS_A_PASS :] == ["ps21", "ps22", "ps1"], "and not at one that has gone down"
    await world.check(*many, due=[])
    assert len(world.looked) == 2 * LOOKS_A_PASS + 3


@virtual
async def test_one_that_could_not_be_looked_at_has_its_turn_behind_the_others() -> None:
    many = [box(n) for n in range(1, LOOKS_A_PASS + 2)]
    world = World(*[sight(n, ago(hours=1)) for n in range(2, 30)])
    assert await world.check(*many) == []
    await world.check(*many, due=[])
    assert world.looked[LOOKS_A_PASS:] == [many[-1].id, "ps1"]
    world.sights["ps1"] = sight(1, ago(hours=72))
    assert await world.check(*many, due=[]) == [LATE]
    assert await world.check(*many, due=[]) == []
    assert world.looked[LOOKS_A_PASS + 2 :] == ["ps1"]


FAILED = MachineEvent("snapshot-create", "error", error="disk is busy", handle="e1")


@virtual
async def test_what_was_said_once_is_said_again_when_it_is_another() -> None:
    world = World(sight(1, ago(hours=72), failure=FAILED))
    failed = ("snapshot.failed", "ps1", "disk is busy")
    assert await world.check(box(1)) == [failed, LATE]
    assert await world.check(box(1)) == []
    world.sights["ps1"] = sight(1, ago(hours=72), failure=replace(FAILED, handle="e2"))
    assert await world.check(box(1)) == [failed], "another failure"
    world.sights["ps1"] = sight(1, ago(hours=1))
    assert await world.check(box(1)) == []
    world.sights["ps1"] = sight(1, ago(hours=72), failure=replace(FAILED, handle="e2"))
    assert await world.check(box(1)) == [LATE], "it was behind, was not, and is again; the failure is the old one"


@virtual
async def test_what_is_said_of_one_machine_is_said_of_the_next_as_well() -> None:
    world = World(*[sight(n, ago(hours=72), failure=FAILED) for n in (1, 2)])
    with capture_logs() as logs:
        await world.snapshots.check(
            {"ps1": DUE, "ps2": DUE}, [DAILY], [box(1), box(2)],
            {m: Owner("training", adopted=False) for m in ("ps1", "ps2")},
        )  # fmt: skip
    of = {"log_level": "warning", "fleet": "training"}
    assert logs == [
        {"event": event, "machine": m.id, "name": m.name, words: said, **of}
        for m in (box(1), box(2))
        for event, words, said in (
            ("snapshot.failed", "error", "disk is busy"), ("snapshot.was_missed", "detail", LATE[2]),
        )
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("days", "missed"), [P(2, False, id="two periods"), P(2.1, True, id="more than that")]
)  # fmt: skip
@virtual
async def test_the_first_snapshot_by_a_new_policy_has_as_long_as_any(days: float, missed: bool) -> None:
    """The machine is old and the policy may be of today: counted from when its absence was noticed."""
    world = World(sight(1))
    assert await world.check(box(1)) == []
    world.now = later(days=days)
    said = await world.check(box(1))
    assert said == [("snapshot.was_missed", "ps1", "it has no snapshot")] * missed


@pytest.mark.parametrize("meanwhile", ["it went down", "it had one"])
@virtual
async def test_a_wait_for_the_first_snapshot_begins_anew(meanwhile: str) -> None:
    world = World(sight(1))
    await world.check(box(1))
    world.now = later(days=1)
    if meanwhile == "it went down":
        await world.check(box(1, "off"))
    else:
        world.sights["ps1"] = sight(1, later(days=1))
        await world.check(box(1))
        world.sights["ps1"] = sight(1)
    await world.check(box(1))
    world.now = later(days=2.5)
    assert await world.check(box(1)) == []
    world.now = later(days=3.5)
    assert await world.check(box(1)) == [("snapshot.was_missed", "ps1", "it has no snapshot")]


@pytest.mark.parametrize(("ahead", "missed"), [(0, True), (71, False)])
@virtual
async def test_a_snapshot_is_as_old_as_the_provider_s_clock_says(ahead: int, missed: bool) -> None:
    world = World(sight(1, ago(hours=72)))
    world.snapshots.theirs = lambda now: now - timedelta(hours=ahead)
    assert await world.check(box(1)) == [LATE] * missed
