"""What ``plan`` shows right before a pass is what that pass decides, whatever has happened since the last one."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import anyio
import pytest

from fleetd.engine import survey as surveying
from fleetd.engine.idleness import Idleness
from fleetd.engine.leases import Leases
from fleetd.model.errors import Ambiguous
from fleetd.model.fleet import AutoSnapshot, Fleet, Guards, IdleRule, Limit, ScaleIn, Window
from fleetd.model.machine import SnapshotPolicy
from fleetd.model.plan import Plan
from fleetd.planner.idle import Activity
from fleetd.store.sqlite import SqliteJournal
from tests.sim.mutation import rewritten
from tests.support.build import fleet, hold, token_name
from tests.support.inline_executor import InlineExecutor
from tests.support.rig import Rig, rig
from tests.support.scripted_source import ScriptedSource
from tests.support.virtual_time import run_virtual

START = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
SEEDS = (*range(24), 56, 59, 124, 165, 195)
"""The others once showed something else than was done."""
STEPS = 8
Done = Counter[tuple[str, str, str | None, str]]


def drawn(rng: random.Random) -> Fleet:
    destroys = rng.random() < 0.5
    window = Window("day", 12 * 60 + rng.randrange(60), 15 * 60, "UTC", park_idle=rng.random() < 0.5, target=1)
    return fleet(
        target=rng.randrange(2, 5),
        scale_in=ScaleIn.DESTROY if destroys else ScaleIn.STOP,
        allow_destroy=destroys,
        respect_manual=timedelta(minutes=rng.choice((0, 30))),
        windows=(window,) if rng.random() < 0.5 else (),
        idle=IdleRule(("gpu",), after=timedelta(minutes=20), min_uptime=timedelta(minutes=5)),
        auto_snapshot=AutoSnapshot("day", 7),
        guards=Guards(max_stops_per_pass=Limit(percent=50)),
    )


async def befall(world: Rig, rng: random.Random) -> None:
    """One thing that happens between two passes."""
    cloud, want = world.cloud, world.reconciler.settings.fleets[0]
    here = sorted(cloud._machines)
    one = rng.choice(here) if here else None
    match rng.randrange(10):
        case 0 | 1 if one:
            cloud.human("stop", one)
        case 2 if one:
            cloud.remove(one)
        case 3 if one:
            cloud.set(one, name=f"renamed-{rng.randrange(1000)}")
        case 4 if one:
            kind, subject = rng.choice((("hold", one), ("freeze", want.name)))
            await world.reconciler.vetoes.add(
                hold(
                    subject,
                    kind,
                    reason="test",
                    actor="test",
                    expires_at=world.clock.now() + timedelta(minutes=rng.randrange(1, 60)),
                    machine=subject if kind == "hold" else None,
                    created_at=world.clock.now(),
                )
            )
        case 5:
            world.configure(replace(want, target=rng.randrange(5)))
        case 6:
            world.configure(replace(want, auto_snapshot=AutoSnapshot("day", rng.randrange(5, 10))))
        case 7:
            cloud.add(token_name(rng.randrange(900), rng.choice(("training", "gone"))), machine_type="P4000")
        case 8 if one:
            cloud.set(one, snapshots=SnapshotPolicy(False, None, None))
        case _:  # the next call of a pass is carried out, and its answer lost
            lost = [rng.choice(("create", "start", "stop"))]
            cloud.after = lambda op, _id: Ambiguous("lost", operation=lost.pop()) if [op] == lost else None


async def shown(world: Rig, source: ScriptedSource) -> Done:
    await world.reconciler._idleness.save(at_once=True)  # as at the end of a daemon: who runs tells it by itself
    journal = await SqliteJournal.open_scratch(world.journal._database.path, executor=InlineExecutor())
    idleness = Idleness(lambda _tables: {"gpu": source}, Leases(journal), journal, world.clock)
    standing = world.reconciler.checks.standing()
    try:
        report = await surveying.survey(
            world.reconciler.settings, world.cloud, journal, world.clock, idleness, standing=standing
        )
    finally:
        await journal.aclose()
    return does(report.plan)


def does(plan: Plan) -> Done:
    """A create has a token of its own in each: they are counted."""
    return Counter((a.fleet, a.verb, a.machine, a.reason) for a in plan.actions)


async def differences(seed: int) -> tuple[list[str], int]:
    rng = random.Random(f"plan is the pass: {seed}")
    source = ScriptedSource(says=lambda m: Activity.ACTIVE if int(m.id[2:]) % 3 == 0 else Activity.IDLE)
    found: list[str] = []
    ended: list[int] = []
    acted = 0
    want = drawn(rng)
    async with rig(want, sources={"gpu": source}) as world, world.passes_by_hand() as reconciler:
        world.follower.on_end = lambda intent, _ending: ended.append(intent.id)
        for step in range(STEPS):
            for _ in range(rng.randrange(3)):
                await befall(world, rng)
            before = len(ended)
            said = await shown(world, source)
            done = does((await reconciler.run_pass()).plan)
            if len(ended) > before:  # a transition had its verdict in between: something has happened since
                said = done
            acted += done.total()
            if said != done:
                found.append(f"seed {seed}, step {step}: only shown {said - done}, only done {done - said}")
            await anyio.sleep(rng.choice((20, 90, 400, 1500)))
    return found, acted


@pytest.mark.parametrize("seed", SEEDS)
def test_plan_shows_what_the_next_pass_does(seed: int) -> None:
    async def story() -> None:
        found, acted = await differences(seed)
        assert found == []
        assert acted, "nothing was decided: nothing was shown"

    run_virtual(story, start=START)


@pytest.mark.parametrize(
    ("piece", "old", "new"),
    [
        pytest.param(surveying.survey, "look.checks.assume(standing or {})", "pass", id="takes every check as due"),
        pytest.param(surveying.survey, "await look.load()", "pass", id="remembers nothing"),
    ],
)
def test_a_plan_that_knows_less_than_the_pass_is_caught(piece, old, new) -> None:
    async def story() -> None:
        found: list[str] = []
        with rewritten(piece, old, new):
            for seed in SEEDS:
                found += (await differences(seed))[0]
                if found:
                    break
        assert found

    run_virtual(story, start=START)
