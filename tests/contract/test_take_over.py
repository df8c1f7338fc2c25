"""A fleet made through the Core API goes on through v1, and nothing is written but what the config asks for."""

from __future__ import annotations

import random
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from fleetd.engine.reconciler import Reconciler
from fleetd.model.fleet import AutoSnapshot, Fleet, Guards, Limit, ScaleIn, ShutdownTimeout
from fleetd.model.reasons import Reason, Verb
from fleetd.simulator import faults
from fleetd.simulator.clock import WorldClock
from fleetd.simulator.server import SimServer, serve
from fleetd.simulator.world import World
from fleetd.store.sqlite import SqliteJournal
from fleetd.wiring import assemble
from tests.contract.account import KEY, PARAMETERS, ways_in
from tests.contract.v1_facts import request_faults
from tests.support.build import fleet
from tests.support.inline_executor import InlineExecutor
from tests.support.rig import RecordingMeter, RecordingNotifier, SilentAlarms, settings
from tests.support.virtual_time import run_virtual, virtual_clock, virtual_loop

CORE, V1 = "paperspace-core", "paperspace"
BOTH = pytest.mark.parametrize("kind", [CORE, V1])
LOOSE = Guards(max_stops_per_pass=Limit(percent=100), max_destroys_per_pass=10)


def wanted(kind: str, **fields: Any) -> Fleet:
    return fleet(parameters=PARAMETERS[kind], **{"target": 3, "guards": LOOSE} | fields)


@pytest.fixture
def state() -> Any:
    with tempfile.TemporaryDirectory(prefix="fleetd-contract-") as name:
        yield Path(name)


@asynccontextmanager
async def the_account() -> AsyncIterator[SimServer]:
    clock = WorldClock(epoch=virtual_clock().now(), now_seconds=virtual_loop().time)
    async with serve(World(seed=7, clock=clock), key=KEY, latency=None) as server:
        yield server


@asynccontextmanager
async def daemon(kind: str, server: SimServer, state: Path, *fleets: Fleet) -> AsyncIterator[Reconciler]:
    """A daemon on that dialect for as long as the block."""
    async with ways_in(kind, server) as (cloud, _):
        journal = await SqliteJournal.open(state / "journal.db", executor=InlineExecutor())
        config = settings(*fleets, interval=30, poll=5)
        engine = assemble(
            config, cloud, journal,
            clock=virtual_clock(), meter=RecordingMeter(), notifier=RecordingNotifier(), alarms=SilentAlarms(),
            rng=random.Random(1), load=lambda: config,
        )  # fmt: skip
        async with anyio.create_task_group() as group:
            group.start_soon(engine.daemon.run)
            yield engine.reconciler
            engine.daemon.stop()
        await journal.aclose()


def written(server: SimServer) -> list[str]:
    return [f"{call.dialect} {call.operation} {call.machine_id}" for call in server.calls.writes]


async def made_on_core(server: SimServer, state: Path) -> list[str]:
    """Three machines of ours, up, made through the Core API; the log is empty afterwards."""
    others = set(server.world.machines)
    async with daemon(CORE, server, state, wanted(CORE)):
        await anyio.sleep(600)
    mine = sorted(set(server.world.machines) - others)
    assert [server.world.machines[m].state for m in mine] == ["ready"] * 3
    server.calls.reset()
    return mine


@pytest.mark.parametrize("lost", [False, True], ids=["with its journal", "without it"])
def test_nothing_is_written_where_nothing_differs(state: Path, lost: bool) -> None:
    async def story() -> None:
        async with the_account() as server:
            server.world.add_machine("training-backup", "off")
            mine = await made_on_core(server, state)
            if lost:
                (state / "journal.db").rename(state / "lost.db")
            async with daemon(V1, server, state, wanted(V1)) as engine:
                await anyio.sleep(1800)
                assert engine.last is not None
                assert engine.last.converged
                assert sorted(engine.last.owned) == mine
            assert written(server) == []
            assert {call.dialect for call in server.calls} == {"v1"}
            assert [fault for call in server.calls for fault in request_faults(call)] == []

    run_virtual(story)


def test_only_what_the_config_asks_for_is_written(state: Path) -> None:
    policies = {"shutdown_timeout": ShutdownTimeout(hours=24), "auto_snapshot": AutoSnapshot("day", 7)}

    async def story() -> None:
        async with the_account() as server:
            mine = await made_on_core(server, state)
            async with daemon(V1, server, state, wanted(V1, **policies)):
                await anyio.sleep(600)
            assert sorted(written(server)) == sorted(f"v1 update {m}" for m in mine for _ in range(2))
            assert {
                (r.shutdown_hours, r.snapshot_frequency, r.snapshot_keep) for r in server.world.machines.values()
            } == {(24, "day", 7)}
            server.calls.reset()
            async with daemon(V1, server, state, wanted(V1, **policies)):
                await anyio.sleep(600)
            assert written(server) == [], "and back on Core it is as it should be, too"
            async with daemon(CORE, server, state, wanted(CORE, **policies)):
                await anyio.sleep(600)
            assert written(server) == []

    run_virtual(story)


def test_a_machine_with_a_name_of_its_own_is_adopted_on_either(state: Path) -> None:
    async def story() -> None:
        async with the_account() as server:
            server.world.add_machine("old-gpu-7", "ready", id="psold7")
            for kind in (CORE, V1):
                async with daemon(kind, server, state, wanted(kind, target=1, adopt=("psold7",))) as engine:
                    await anyio.sleep(300)
                    assert engine.last is not None
                    assert list(engine.last.owned) == ["psold7"]
            assert written(server) == []

    run_virtual(story)


def test_the_target_goes_on_being_kept(state: Path) -> None:
    async def story() -> None:
        async with the_account() as server:
            mine = await made_on_core(server, state)
            async with daemon(V1, server, state, wanted(V1, target=2)):
                await anyio.sleep(600)
            (stop,) = written(server)
            assert stop.startswith("v1 stop ps")
            async with daemon(V1, server, state, wanted(V1, target=4)):
                await anyio.sleep(600)
            stopped = stop.split()[-1]
            assert written(server)[1] == f"v1 start {stopped}"
            assert [w.rpartition(" ")[0] for w in written(server)] == ["v1 stop", "v1 start", "v1 create"]
            assert set(mine) < set(server.world.machines)
            assert {m.state for m in server.world.machines.values()} == {"ready"}
            assert [fault for call in server.calls for fault in request_faults(call)] == []

    run_virtual(story)


@BOTH
def test_without_capacity_it_backs_off_and_makes_no_second_machine(state: Path, kind: str) -> None:
    async def story() -> None:
        async with the_account() as server:
            server.set_faults([faults.Capacity(until=1500)])
            async with daemon(kind, server, state, wanted(kind, target=1)) as engine:
                await anyio.sleep(1400)
                assert engine.last is not None
                (backoff,) = engine.last.memory.backoffs.values()
                assert "insufficient capacity" in backoff.reason
                await anyio.sleep(3600)
                assert engine.last.converged
            operations = [call.operation for call in server.calls.writes]
            assert operations.count("create") == 1
            assert 3 <= operations.count("start") <= 8
            assert len(server.world.machines) == 1

    run_virtual(story)


def test_a_destroy_waits_for_a_fresh_snapshot(state: Path) -> None:
    careful = {
        "scale_in": ScaleIn.DESTROY,
        "allow_destroy": True,
        "destroy_requires_snapshot": timedelta(hours=24),
    }

    async def story() -> None:
        async with the_account() as server:
            await made_on_core(server, state)
            async with daemon(V1, server, state, wanted(V1, target=2, **careful)) as engine:
                await anyio.sleep(600)
                ((_, _, victim),) = [w.split() for w in written(server)]
                assert written(server) == [f"v1 stop {victim}"], "without a snapshot it costs less, and no more"
                assert engine.last is not None
                assert [(s.machine, s.reason, s.detail) for s in engine.last.skips] == [
                    (victim, Reason.SNAPSHOT_TOO_OLD, "it has no snapshot")
                ]
                snapshot, _ = server.world.snapshot(victim, "by hand")
                await anyio.sleep(600)
                assert written(server)[1:] == [f"v1 destroy {victim}"]
                assert snapshot.machine_id == victim
            assert [fault for call in server.calls for fault in request_faults(call)] == []

    run_virtual(story)


def test_a_snapshot_deleted_since_forbids_the_destroy(state: Path) -> None:
    async def story() -> None:
        async with the_account() as server:
            mine = await made_on_core(server, state)
            for machine_id in mine:
                server.world.snapshot(machine_id, "kept")
                await anyio.sleep(120)
                newer, _ = server.world.snapshot(machine_id, "newer")
                await anyio.sleep(120)
                server.world.drop_snapshot(newer.id)
                await anyio.sleep(120)
            careful = wanted(V1, target=0, scale_in=ScaleIn.DESTROY, allow_destroy=True)
            careful = replace(careful, destroy_requires_snapshot=timedelta(days=30))
            async with daemon(V1, server, state, careful) as engine:
                await anyio.sleep(900)
                assert engine.last is not None
                details = {s.detail for s in engine.last.skips if s.verb is Verb.DESTROY}
                assert details == {"a snapshot was deleted since the newest was made"}
            assert {w.split()[1] for w in written(server)} == {"stop"}

    run_virtual(story)
