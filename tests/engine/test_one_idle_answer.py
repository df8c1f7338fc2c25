"""One answer that says idle proves nothing: not for parking, a surplus, a timeout or a destroy."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from fleetd.model.fleet import Fleet, Guards, IdleRule, Limit, ScaleIn, ShutdownTimeout, Window
from fleetd.model.journal import Request
from fleetd.model.machine import Machine
from fleetd.model.reasons import Activity, Verb
from tests.support.build import fleet, token_name
from tests.support.fakecloud import FakeCloud
from tests.support.rig import Rig, rig
from tests.support.scripted_source import ScriptedSource
from tests.support.virtual_alarms import VirtualAlarms
from tests.support.virtual_time import run_virtual, virtual_clock, virtual_loop

AFTER = 900.0
RULE = IdleRule(("gpu",), after=timedelta(seconds=AFTER), min_uptime=timedelta(minutes=5))
LOOSE = Guards(max_stops_per_pass=Limit(percent=100))
START = datetime(2026, 3, 2, 14, 0, tzinfo=UTC)
NIGHT = Window("night", start=14 * 60, end=23 * 60, timezone="UTC", park_idle=True)

ASKED_FOR = {
    "parked": fleet(target=1, windows=(NIGHT,), idle=RULE, guards=LOOSE),
    "surplus": fleet(target=0, idle=RULE, guards=LOOSE),
    "destroyed": fleet(target=0, idle=RULE, guards=LOOSE, scale_in=ScaleIn.DESTROY, allow_destroy=True),
    "a target of the window's": fleet(target=1, windows=(Window("night", 840, 1380, "UTC", target=0),), idle=RULE),
    "outlived": fleet(target=1, idle=RULE, guards=LOOSE, shutdown_timeout=ShutdownTimeout(1, enforce=True)),
}
"""All that fleetd stops a machine for of its own accord."""


def asked_for(name: str) -> Fleet:
    return ASKED_FOR[name]


def rig_of(want: Fleet, says: Callable[[Machine], Activity]) -> AbstractAsyncContextManager[Rig]:
    alarms = VirtualAlarms(virtual_clock())
    return rig(want, sources={"gpu": ScriptedSource(says=says)}, interval=60, alarms=alarms)


async def night(want: Fleet, says: Callable[[Machine], Activity], hours: float) -> list[float]:
    """When a machine that came up long ago was taken from its users, in seconds since the daemon's start."""
    async with rig(
        want, sources={"gpu": ScriptedSource(says=says)}, interval=60, alarms=VirtualAlarms(virtual_clock())
    ) as world:
        world.cloud.add(token_name(1), machine_type="P4000")
        world.cloud.human("start", "ps1", hours_ago=30)
        began = world.clock.now()
        async with world.daemon_running():
            await anyio.sleep(hours * 3600)
        return [(c.at - began).total_seconds() for c in world.cloud.calls if c.operation in {"stop", "destroy"}]


@pytest.mark.parametrize("why", ASKED_FOR)
@pytest.mark.parametrize("every", [120.0, 840.0])
def test_a_source_that_flickers_has_nobody_stopped(why: str, every: float) -> None:
    """It is in use throughout; the source says so every ``every`` seconds, and idle in between."""

    def says(_machine: Machine) -> Activity:
        return Activity.ACTIVE if virtual_loop().time() % every < 75 else Activity.IDLE

    assert run_virtual(night, asked_for(why), says, 2, start=START) == []


@pytest.mark.parametrize("why", ASKED_FOR)
def test_nothing_is_stopped_within_after_of_the_last_use(why: str) -> None:
    def says(_machine: Machine) -> Activity:
        return Activity.ACTIVE if virtual_loop().time() < 1800 else Activity.IDLE

    (stopped,) = run_virtual(night, asked_for(why), says, 2, start=START)
    assert 1800 + AFTER - 61 <= stopped <= 1800 + AFTER + 1000


@pytest.mark.parametrize("why", ASKED_FOR)
def test_use_that_the_last_word_alone_has_seen_was_use(why: str) -> None:
    """A job of ten seconds runs just when fleetd asks for the last time: the next pass sees nothing of it."""
    asked: list[float] = []
    used: list[float] = []

    def says(_machine: Machine) -> Activity:
        now = virtual_loop().time()
        if asked and 0 < now - asked[-1] < 5 and not used:  # asked again right after the pass
            used.append(now)
        asked.append(now)
        return Activity.ACTIVE if used == [now] else Activity.IDLE

    (stopped,) = run_virtual(night, asked_for(why), says, 2, start=START)
    assert used
    assert stopped - used[0] >= AFTER


@pytest.mark.parametrize("why", ASKED_FOR)
def test_use_that_a_later_pass_was_told_of_holds_back_a_stop_that_still_waits(why: str) -> None:
    """The stop waits for two minutes between the pass and its last word; a pass meanwhile was told of use."""

    async def story() -> None:
        working: list[float] = []

        def says(_machine: Machine) -> Activity:
            now = virtual_loop().time()
            return Activity.ACTIVE if working and now - working[0] < 90 else Activity.IDLE

        async with rig(
            asked_for(why),
            sources={"gpu": ScriptedSource(says=says)},
            interval=60,
            alarms=VirtualAlarms(virtual_clock()),
        ) as world:
            hold_looks(world, working)
            world.cloud.add(token_name(1), machine_type="P4000")
            world.cloud.human("start", "ps1", hours_ago=30)
            async with world.daemon_running():
                await anyio.sleep(2 * 3600)
            stops = [c.at for c in world.cloud.calls if c.operation in {"stop", "destroy"}]
            assert working
            assert stops
            assert (stops[0] - START).total_seconds() - working[0] >= AFTER

    run_virtual(story, start=START)


def hold_looks(world: Rig, working: list[float]) -> None:
    """The first look before the call takes two minutes and more, and somebody begins to work as it begins."""

    def hangs(operation: str, _detail: object) -> float:
        if operation != "show" or working or not waits(world):
            return 0.0
        working.append(virtual_loop().time())
        return 150.0

    world.cloud.hangs = hangs


def waits(world: Rig) -> bool:
    return any(t.looking for t in world.reconciler.executor.gate.tickets)


def test_a_person_who_orders_a_stop_need_not_wait_for_after() -> None:
    """What a person knows of the use is theirs; a machine that is in use at the moment is declined all the same."""

    async def story() -> None:
        def says(_machine: Machine) -> Activity:
            return Activity.ACTIVE if virtual_loop().time() < 600 else Activity.IDLE

        async with rig(
            fleet(target=1, idle=RULE),
            sources={"gpu": ScriptedSource(says=says)},
            interval=60,
            alarms=VirtualAlarms(virtual_clock()),
        ) as world:
            world.cloud.add(token_name(1), machine_type="P4000")
            async with world.daemon_running() as daemon:
                await anyio.sleep(700)
                daemon.wake()
                order = Request(Verb.STOP, "ps1", "ada", "done", even_if_busy=False)
                await daemon.reconciler.recall.orders.ask(order, patience=60)
                await anyio.sleep(60)
            assert world.cloud.writes() == ["stop ps1"]

    run_virtual(story, start=START)


@pytest.mark.parametrize("seen_by", ["a pass", "the last word"])
def test_use_that_was_reported_is_not_lost_with_the_process(seen_by: str, tmp_path: Path) -> None:
    """A process is killed right after a source told it of use, and the next one is told idle."""

    async def story() -> None:
        cloud = FakeCloud(virtual_clock())
        cloud.add(token_name(1), machine_type="P4000")
        cloud.human("start", "ps1", hours_ago=30)
        want = asked_for("parked") if seen_by == "the last word" else fleet(target=1, idle=RULE, guards=LOOSE)
        asked: list[float] = []
        used: list[float] = []

        def says(_machine: Machine) -> Activity:
            now = virtual_loop().time()
            due = now > AFTER + 200 if seen_by == "a pass" else bool(asked) and 0 < now - asked[-1] < 5
            if due and not used:
                used.append(now)
            asked.append(now)
            return Activity.ACTIVE if used == [now] else Activity.IDLE

        more: dict[str, Any] = {"cloud": cloud, "sources": {"gpu": ScriptedSource(says=says)}, "state": tmp_path}
        async with rig(want, interval=30, **more) as world, world.passes_by_hand() as reconciler:
            while not used:
                await reconciler.run_pass()
                await anyio.sleep(29)
        async with rig(asked_for("parked"), interval=30, **more) as world, world.passes_by_hand() as reconciler:
            while not cloud.writes():
                await reconciler.run_pass()
                await anyio.sleep(29)
        (stop,) = [c.at for c in cloud.calls if c.operation == "stop"]
        assert (stop - START).total_seconds() - used[0] >= AFTER

    run_virtual(story, start=START)
