"""Machines whose events cannot be read are started, stopped and judged by their states."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import anyio
import pytest

from fleetd.model.fleet import Guards, Limit
from fleetd.model.machine import Machine
from tests.support.build import fleet
from tests.support.fakecloud import FakeCloud
from tests.support.rig import Rig, rig
from tests.support.virtual_time import run_virtual, virtual_clock

LOOSE = Guards(max_stops_per_pass=Limit(percent=100))


class Blind(FakeCloud):
    """``show`` gives no events."""

    async def show(self, machine_id: str) -> Machine:
        return replace(await super().show(machine_id), events=None, not_looked="HTTP 500")


async def passes(world: Rig, count: int) -> None:
    for _ in range(count):
        await world.reconciler.run_pass()
        await anyio.sleep(30)


def test_a_fleet_goes_up_and_down_and_every_transition_has_its_verdict() -> None:
    async def story() -> None:
        manual = timedelta(0)
        async with rig(fleet(target=3, guards=LOOSE), cloud=Blind(virtual_clock())) as world, world.passes_by_hand():
            await passes(world, 6)
            world.configure(fleet(target=1, guards=LOOSE, respect_manual=manual))
            await passes(world, 8)
            assert sorted(world.cloud.states().values()) == ["off", "off", "ready"]
            world.configure(fleet(target=3, guards=LOOSE, respect_manual=manual))
            await passes(world, 8)
            assert sorted(world.cloud.states().values()) == ["ready"] * 3
            verbs = [line.split()[0] + " " + line.split()[-1] for line in await world.history()]
            assert sorted(verbs) == ["create reached"] * 3 + ["start reached"] * 2 + ["stop reached"] * 2

    run_virtual(story)


def test_a_start_that_falls_back_to_off_is_a_failure_without_the_providers_words() -> None:
    async def story() -> None:
        cloud = Blind(virtual_clock(), no_capacity=True)
        async with rig(fleet(target=1), cloud=cloud) as world, world.passes_by_hand():
            await passes(world, 12)
            assert any(line.endswith("failed_to_start") for line in await world.history())
            assert world.cloud.writes().count("create") == 1

    run_virtual(story)


@pytest.mark.parametrize("state", ["off", "stopping"])
def test_a_stop_that_nobody_can_explain_is_respected_like_a_persons(state: str) -> None:
    async def story() -> None:
        async with rig(fleet(target=1), cloud=Blind(virtual_clock())) as world, world.passes_by_hand():
            await passes(world, 5)
            world.cloud.human("stop", "ps1")
            world.cloud.set("ps1", state=state)
            await passes(world, 10)
            assert world.cloud.writes() == ["create"]

    run_virtual(story)
