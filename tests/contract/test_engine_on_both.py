"""The engine on either dialect, while the provider misbehaves: the same ends, and no machine too many."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from fleetd.model.fleet import ScaleIn
from fleetd.simulator import faults
from fleetd.simulator.server import SimServer
from tests.contract.daemon import daemon, the_account, wanted, written
from tests.support.virtual_time import run_virtual

BOTH = pytest.mark.parametrize("kind", ["paperspace-core", "paperspace"])
LOST = pytest.mark.parametrize(
    "rule", [faults.ResetBefore, faults.ResetAfter, faults.ErrorAnswer], ids=["not carried out", "carried out", "500"]
)


def states(server: SimServer) -> list[str]:
    return sorted(record.state for record in server.world.machines.values())


@BOTH
@LOST
@pytest.mark.parametrize("verb", ["create", "start", "stop", "destroy"])
def test_an_answer_that_is_lost_is_settled_by_looking(
    tmp_path: Path, kind: str, verb: str, rule: type[faults.AnswerRule]
) -> None:
    async def story() -> None:
        async with the_account() as server:
            if verb == "create":
                server.set_faults([rule(operation="create", nth=2)])
            async with daemon(kind, server, tmp_path, wanted(kind)):
                await anyio.sleep(900)
            assert states(server) == ["ready"] * 3
            server.set_faults([rule(operation=verb, nth=1)])
            scale = {"scale_in": ScaleIn.DESTROY, "allow_destroy": True} if verb == "destroy" else {}
            async with daemon(kind, server, tmp_path, wanted(kind, target=2, **scale)):
                await anyio.sleep(900)
            assert states(server) == (["ready"] * 2 if scale else ["off", "ready", "ready"])
            async with daemon(kind, server, tmp_path, wanted(kind, target=3)):
                await anyio.sleep(900)
            assert states(server) == ["ready"] * 3
            operations = [w.split()[1] for w in written(server)]
            assert operations.count("create") <= 3 + (verb in {"create", "destroy"}) + (verb == "destroy")
            again = {"start": 1, "stop": 1, "destroy": 1}
            for other, once in again.items():
                assert operations.count(other) <= once + (verb == other), operations

    run_virtual(story)


@BOTH
def test_a_bad_quarter_of_an_hour_is_waited_out_and_made_up_for(tmp_path: Path, kind: str) -> None:
    bad = [
        faults.RateLimit(operation="any", probability=0.2, retry_after=5, until=900),
        faults.ErrorAnswer(operation="any", probability=0.2, status=502, until=900),
        faults.TimeoutAfter(operation="write", probability=0.2, seconds=60, until=900),
        faults.PartialList(share=0.5, probability=0.3, until=900),
        faults.StaleList(seconds=120, probability=0.3, until=900),
        faults.Invisible(seconds=45, probability=0.5, until=900),
        faults.UnknownState(state="hibernating", share=0.3, probability=0.3, until=900),
        faults.Unauthorized(after=400, until=460),
    ]

    async def story() -> None:
        async with the_account() as server:
            server.world.add_machine("training-backup", "off", id="psbackup")
            server.set_faults(bad)
            async with daemon(kind, server, tmp_path, wanted(kind, target=8)) as engine:
                await anyio.sleep(900)
                assert {struck for call in server.calls for struck in call.faults} >= {rule.kind for rule in bad[:7]}
                server.set_faults([])
                await anyio.sleep(900)
                assert engine.last is not None
                assert engine.last.converged
            mine = [record for record in server.world.machines.values() if record.id != "psbackup"]
            assert sum(record.state == "ready" for record in mine) == 8
            assert len(mine) == 8, "lost creates were found, and none was made twice"
            assert "psbackup" not in {call.machine_id for call in server.calls.writes}

    run_virtual(story)


@BOTH
def test_without_capacity_it_backs_off_and_makes_no_second_machine(tmp_path: Path, kind: str) -> None:
    async def story() -> None:
        async with the_account() as server:
            server.set_faults([faults.Capacity(until=1500)])
            async with daemon(kind, server, tmp_path, wanted(kind, target=1)) as engine:
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
