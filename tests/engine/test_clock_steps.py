"""The wall clock is set back by two hours: what was waited for is waited for no longer than it would have been."""

from __future__ import annotations

from datetime import timedelta

import anyio
import pytest

from fleetd.engine.clock_steps import LEAST, ClockSteps
from fleetd.model.errors import Ambiguous, Refused
from fleetd.model.fleet import Guards, Limit
from tests.engine.test_passes import settle_down, up
from tests.support.build import fleet
from tests.support.rig import rig
from tests.support.virtual_time import run_virtual, virtual, virtual_clock

BACK = -7200.0


def test_a_persons_stop_is_respected_twice_as_long_at_most() -> None:
    """Read off a clock that was set back, it is respected anew from then on."""

    async def story() -> None:
        wanted = fleet(target=1, respect_manual=timedelta(minutes=10))
        async with rig(wanted) as world, world.passes_by_hand():
            await settle_down(world)
            world.cloud.human("stop", "ps1")
            await settle_down(world, 120)
            assert up(world) == 0
            world.clock.step(BACK)
            await settle_down(world, 500)
            assert up(world) == 0
            await settle_down(world, 200)
            assert up(world) == 1

    run_virtual(story)


def test_a_lost_create_is_looked_for_no_longer() -> None:
    async def story() -> None:
        async with rig(fleet(target=1)) as world, world.passes_by_hand():
            lost = [Ambiguous("no answer", operation="create")]
            world.cloud.before = lambda op, _id: lost.pop() if op == "create" and lost else None
            await world.reconciler.run_pass()
            world.clock.step(BACK)
            await settle_down(world, 60)
            assert world.cloud.writes() == ["create"]
            await settle_down(world, 180)
            assert up(world) == 1

    run_virtual(story)


def test_a_shortage_is_waited_out_no_longer() -> None:
    async def story() -> None:
        async with rig(fleet(target=1)) as world, world.passes_by_hand():
            world.cloud.no_capacity = True
            await settle_down(world, 180)
            world.clock.step(BACK)
            world.cloud.no_capacity = False
            await settle_down(world, 420)
            assert up(world) == 1

    run_virtual(story)


def test_a_refusal_is_waited_out_no_longer() -> None:
    async def story() -> None:
        async with rig(fleet(target=1)) as world, world.passes_by_hand():
            refusals = [Refused("quota exceeded", operation="create")]
            world.cloud.before = lambda op, _id: refusals.pop() if op == "create" and refusals else None
            await world.reconciler.run_pass()
            world.clock.step(BACK)
            await settle_down(world, 240)
            assert up(world) == 1

    run_virtual(story)


def test_a_shrunk_fleet_is_looked_at_no_longer() -> None:
    async def story() -> None:
        guards = Guards(max_shrink=Limit(percent=30))
        async with rig(fleet(target=6, guards=guards)) as world, world.passes_by_hand():
            await settle_down(world)
            for n in range(1, 6):
                world.cloud.remove(f"ps{n}")
            await world.reconciler.run_pass()
            world.clock.step(BACK)
            await settle_down(world, 300)
            assert up(world) == 6

    run_virtual(story)


@pytest.mark.parametrize(
    ("steps", "taken"),
    [
        pytest.param([], [], id="never asked"),
        pytest.param([0, 0], [0, 0], id="nobody set it"),
        pytest.param([3600], [0], id="before the first look: nobody knows"),
        pytest.param([0, 7200, 0, 0], [0, 7200, 0, 0], id="ahead: told once"),
        pytest.param([0, BACK, 0], [0, BACK, 0], id="back: told once"),
        pytest.param([0, BACK, 7200, 0], [0, BACK, 7200, 0], id="back and ahead again"),
        pytest.param([0, LEAST, -LEAST], [0, LEAST, -LEAST], id="just enough"),
        pytest.param([0, LEAST - 1, 1 - LEAST], [0, 0, 0], id="too little to make anybody late"),
        pytest.param([0, 20, 20, 20], [0, 0, 0, 0], id="a little at a time is no step"),
    ],
)
@virtual
async def test_a_step_is_what_the_wall_clock_went_beside_the_loops(steps: list[float], taken: list[float]) -> None:
    clock = virtual_clock()
    watch, found = ClockSteps(clock), []
    for by in steps:
        await anyio.sleep(600)
        clock.step(by)
        found.append(round(watch.taken(), 3))
    assert found == taken
