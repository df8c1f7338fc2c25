"""What the policy checks say beside the actions that follow from them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest
from structlog.testing import capture_logs

from fleetd.cli.explain import sentences_about
from fleetd.cloud.rate import Admission
from fleetd.engine.handle import EngineHandle
from fleetd.engine.leases import Leases
from fleetd.model.errors import Unavailable
from fleetd.model.fleet import AutoSnapshot, Guards, IdleRule, Limit, ShutdownTimeout
from fleetd.model.machine import SnapshotPolicy
from fleetd.model.plan import Check
from fleetd.model.reasons import Activity, Verb
from tests.support.build import fleet, hold, token_name
from tests.support.rig import Rig, rig
from tests.support.scripted_source import ScriptedSource
from tests.support.virtual_time import run_virtual

START = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
TIMED = fleet(
    target=1,
    shutdown_timeout=ShutdownTimeout(hours=24),
    idle=IdleRule(("gpu",), after=timedelta(minutes=30), min_uptime=timedelta(minutes=10)),
)


def said(logs: list[Any], event: str) -> list[Any]:
    return [line for line in logs if line["event"] == event]


async def rings(world: Rig, daemon, check: Check, times: int = 1) -> None:
    for _ in range(times):
        daemon._rung(check)
        await anyio.sleep(900)


@pytest.mark.parametrize(
    ("activity", "started", "warned"),
    [
        pytest.param(Activity.ACTIVE, 22.5, True, id="in use, an hour and a half left"),
        pytest.param(Activity.ACTIVE, 21, False, id="in use, three hours left"),
        pytest.param(Activity.IDLE, 22.5, False, id="not in use"),
        pytest.param(Activity.UNKNOWN, 22.5, False, id="nobody knows: no source says that it is"),
    ],
)
def test_somebody_is_told_before_the_vendors_timer_ends_a_machine_in_use(activity, started, warned) -> None:
    async def story() -> None:
        with capture_logs() as logs:
            async with rig(TIMED, sources={"gpu": ScriptedSource(says=lambda _m: activity)}) as world:
                box = world.cloud.add(token_name(1), machine_type="P4000", shutdown_timeout_hours=24)
                world.cloud.human("start", box.id, hours_ago=started)
                async with world.daemon_running() as daemon:
                    await anyio.sleep(300)
                    lines = said(logs, "machine.timeout_neared")
                    assert len(lines) == warned, "once for each ring, not once a pass"
                    if warned:
                        assert lines[0]["machine"] == box.id
                        assert lines[0]["left_s"] == pytest.approx(1.5 * 3600, abs=5)
                        assert lines[0]["evidence"] == "gpu: active, scripted active"
                    await rings(world, daemon, Check.SHUTDOWN_TIMEOUT)
                    assert len(said(logs, "machine.timeout_neared")) == 2 * warned
                assert world.cloud.writes() == []

    run_virtual(story, start=START)


def test_what_the_provider_does_not_say_is_unverified_and_said_once() -> None:
    want = replace(TIMED, auto_snapshot=AutoSnapshot("day", 7), idle=None)

    async def story() -> None:
        with capture_logs() as logs:
            async with rig(want) as world:
                world.cloud.add(token_name(1), machine_type="P4000", snapshots=SnapshotPolicy(True, "day", None))
                async with world.daemon_running() as daemon:
                    await rings(world, daemon, Check.SNAPSHOT, 3)
                assert world.cloud.writes() == [], "not known is not wrong"
        fields = [line["fields"] for line in said(logs, "policy.was_unverified")]
        assert fields == ["shutdownTimeoutInHours, shutdownTimeoutForces, autoSnapshotSaveCount"]

    run_virtual(story, start=START)


def test_a_machine_that_cannot_be_looked_at_is_not_stopped() -> None:
    want = replace(TIMED, shutdown_timeout=ShutdownTimeout(hours=24, enforce=True), idle=None)

    async def story() -> None:
        async with rig(want) as world:
            box = world.cloud.add(
                token_name(1), machine_type="P4000", shutdown_timeout_hours=24, shutdown_timeout_forces=False
            )
            world.cloud.human("start", box.id, hours_ago=25)
            blind = [True]
            world.cloud.before = lambda operation, _id: (
                Unavailable("down", operation="show", status=503) if operation == "show" and blind[0] else None
            )
            async with world.daemon_running() as daemon:
                await rings(world, daemon, Check.SHUTDOWN_TIMEOUT, 2)
                assert world.cloud.writes() == []
                blind[0] = False
                await rings(world, daemon, Check.SHUTDOWN_TIMEOUT)
                assert world.cloud.writes()[:1] == ["stop ps1"]
            (stop,) = [e for _, e in await world.journal.history() if e.verb == "stop"]
            assert (stop.reason, stop.evidence) == ("outlived_timeout", "up for 25.5 h of 24 h")

    run_virtual(story, start=START)


def test_that_a_start_is_not_known_is_told_until_it_is() -> None:
    """Nobody knows whether it has outlived its timeout, so it is not enforced: in the passes between, too."""
    want = replace(TIMED, shutdown_timeout=ShutdownTimeout(hours=24, enforce=True), idle=None)

    async def story() -> None:
        async with rig(want) as world:
            box = world.cloud.add(
                token_name(1), machine_type="P4000", shutdown_timeout_hours=24, shutdown_timeout_forces=False
            )
            handle = EngineHandle(world.daemon, Leases(world.journal), world.clock)
            async with world.daemon_running() as daemon:
                for _ in range(3):
                    await anyio.sleep(100)
                    told = " ".join(sentences_about(handle.status(), box.id, (), world.clock.now()))
                    assert "its timeout is not enforced" in told
                world.cloud.human("start", box.id, hours_ago=1)
                await rings(world, daemon, Check.SHUTDOWN_TIMEOUT)
                told = " ".join(sentences_about(handle.status(), box.id, (), world.clock.now()))
                assert "not enforced" not in told
                assert world.cloud.writes() == []

    run_virtual(story, start=START)


ENFORCED = ShutdownTimeout(hours=1, enforce=True)


def outlived(world: Rig, count: int) -> None:
    """So many machines of the fleet, up for five hours of one."""
    for n in range(1, count + 1):
        box = world.cloud.add(
            token_name(n), machine_type="P4000", shutdown_timeout_hours=1, shutdown_timeout_forces=False
        )
        world.cloud.human("start", box.id, hours_ago=5)


def paced(world: Rig, per_second: float) -> None:
    """So many calls a second, as the client's queue has it."""
    world.cloud.admission = Admission(per_second, 10)


async def passes(world: Rig, count: int) -> None:
    for _ in range(count):
        await world.reconciler.run_pass()
        await anyio.sleep(30)


def stopped(world: Rig) -> list[str]:
    return [w for w in world.cloud.writes() if w.startswith("stop")]


@pytest.mark.long
def test_a_fleet_that_takes_long_to_look_at_is_held_to_its_timeout_in_turns() -> None:
    everything = Guards(max_stops_per_pass=Limit(percent=100))

    async def story() -> None:
        wanted = fleet(target=700, shutdown_timeout=ENFORCED, guards=everything)
        async with rig(wanted) as world, world.passes_by_hand() as reconciler:
            outlived(world, 700)
            paced(world, 10)
            await reconciler.run_pass()
            assert 50 <= len(stopped(world)) <= 100, "as many as half an interval allows to look at and call"
            for turn in range(2, 16):  # the schedule rings on meanwhile, and starves nobody
                if turn % 3 == 0:
                    reconciler.checks.rung(Check.SHUTDOWN_TIMEOUT)
                await passes(world, 1)
            assert set(stopped(world)) == {f"stop ps{n}" for n in range(1, 701)}

    run_virtual(story)


def test_machines_that_cannot_be_looked_at_take_no_others_turn() -> None:
    async def story() -> None:
        async with rig(fleet(target=30, shutdown_timeout=ENFORCED)) as world, world.passes_by_hand():
            outlived(world, 30)
            paced(world, 1)
            broken = {f"ps{n}" for n in range(1, 21)}
            world.cloud.before = lambda operation, machine: (
                Unavailable("down") if operation == "show" and machine in broken else None
            )
            await passes(world, 3)
            assert set(stopped(world)) & {f"stop ps{n}" for n in range(21, 31)}

    run_virtual(story)


@pytest.mark.parametrize("way", ["guard", "a failed look", "a failed fresh look", "a failed call"])
def test_a_stop_that_is_put_off_does_not_wait_for_the_next_ring(way: str) -> None:
    async def story() -> None:
        async with rig(fleet(target=4, shutdown_timeout=ENFORCED)) as world, world.passes_by_hand():
            outlived(world, 1 if way != "guard" else 4)
            looks = {"a failed look": 1, "a failed fresh look": 2}.get(way, 0)
            seen = {"show": 0, "stop": 0}

            def fault(operation: str, _machine: str | None) -> Exception | None:
                if operation not in seen or way == "guard":
                    return None
                seen[operation] += 1
                failing = (
                    seen["show"] == looks if operation == "show" else way == "a failed call" and seen["stop"] == 1
                )
                return Unavailable("down", operation=operation) if failing else None

            world.cloud.before = fault
            await passes(world, 1)
            at_first = 1 if way in {"guard", "a failed call"} else 0
            assert len(stopped(world)) == at_first
            await passes(world, 20)
            wanted = {f"stop ps{n}" for n in range(1, 5 if way == "guard" else 2)}
            assert set(stopped(world)) == wanted
            assert len(stopped(world)) == len(wanted) + (way == "a failed call")

    run_virtual(story)


@pytest.mark.parametrize("way", ["a hold", "use"])
def test_a_stop_that_is_forbidden_waits_for_the_next_ring(way: str) -> None:
    busy = [True]
    source = ScriptedSource(says=lambda _m: Activity.ACTIVE if busy[0] else Activity.IDLE)
    rule = IdleRule(("gpu",), after=timedelta(minutes=5), min_uptime=timedelta(minutes=10))

    async def story() -> None:
        wanted = fleet(target=1, shutdown_timeout=ENFORCED, idle=rule if way == "use" else None)
        async with rig(wanted, sources={"gpu": source}) as world, world.passes_by_hand() as reconciler:
            outlived(world, 1)
            if way == "a hold":
                await reconciler.vetoes.add(
                    hold(
                        "ps1",
                        verbs=frozenset({Verb.STOP}),
                        reason="a demo",
                        actor="ada",
                        expires_at=world.clock.now() + timedelta(minutes=5),
                        created_at=world.clock.now(),
                    )
                )
            await passes(world, 2)
            busy[0] = False
            await passes(world, 20)
            assert stopped(world) == []
            assert sum(c.operation == "show" for c in world.cloud.calls) == 1, "nothing was left to look for"
            reconciler.checks.rung(Check.SHUTDOWN_TIMEOUT)
            await passes(world, 1)
            assert stopped(world) == ["stop ps1"]

    run_virtual(story)


def test_a_price_is_learnt_when_a_machine_is_up_and_the_config_names_none() -> None:
    async def story() -> None:
        with capture_logs() as logs:
            async with rig(fleet(target=2)) as world:
                world.cloud.hourly_rate = 0.51
                async with world.daemon_running():
                    await anyio.sleep(600)
                asked = [c.machine for c in world.cloud.calls if c.operation == "utilization"]
                assert len(asked) == 3, "each machine's first bill, and one machine of a type"
        assert [line["hourly"] for line in said(logs, "price.learnt")] == ["0.51"]

    run_virtual(story, start=START)
