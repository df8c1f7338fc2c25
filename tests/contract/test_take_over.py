"""A fleet made through the Core API goes on through v1, and nothing is written but what the config asks for."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from fleetd.model.fleet import AutoSnapshot, ScaleIn, ShutdownTimeout
from fleetd.model.reasons import Reason, Verb
from fleetd.simulator.server import SimServer
from tests.contract.daemon import daemon, the_account, wanted, written
from tests.contract.v1_facts import request_faults
from tests.support.virtual_time import run_virtual

CORE, V1 = "paperspace-core", "paperspace"


@pytest.fixture
def state() -> Any:
    with tempfile.TemporaryDirectory(prefix="fleetd-contract-") as name:
        yield Path(name)


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
            create, start = sorted(written(server)[1:])  # side by side: neither waits for the other
            assert (create.rpartition(" ")[0], start) == ("v1 create", f"v1 start {stopped}")
            assert set(mine) < set(server.world.machines)
            assert {m.state for m in server.world.machines.values()} == {"ready"}
            assert [fault for call in server.calls for fault in request_faults(call)] == []

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
