"""A stop or destroy that came to nothing may work late: nothing else goes in its place, so the target is kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from fleetd.model.fleet import ScaleIn
from fleetd.simulator import faults
from fleetd.simulator.faults import Rule
from fleetd.simulator.server import SimServer
from tests.contract.daemon import daemon, the_account, wanted
from tests.support.virtual_time import run_virtual

WAYS: dict[str, Callable[[str, str], Rule]] = {
    "done": lambda verb, m: faults.NoEffect(operation=verb, machine=m),
    "error": lambda verb, m: faults.NoEffect(operation=verb, machine=m, event="error", message="the host is gone"),
    "no event": lambda verb, m: faults.NoEffect(operation=verb, machine=m, event="none"),
    "refused": lambda verb, m: faults.ErrorAnswer(operation=verb, machine=m, status=400, message="not now"),
    "busy": lambda verb, m: faults.ErrorAnswer(operation=verb, machine=m, status=409, message="machine is busy"),
    "limited": lambda verb, m: faults.RateLimit(operation=verb, machine=m, retry_after=2),
    "unavailable": lambda verb, m: faults.Unavailable(operation=verb, machine=m),
    "lost": lambda verb, m: faults.ResetBefore(operation=verb, machine=m),
}


def up(server: SimServer) -> int:
    return sum(record.state == "ready" for record in server.world.machines.values())


def asked(server: SimServer, verb: str) -> list[str]:
    return [str(call.machine_id) for call in server.calls.writes if call.operation == verb]


@pytest.mark.long
@pytest.mark.parametrize("kind", ["paperspace-core", "paperspace"])
@pytest.mark.parametrize("verb", ["stop", "destroy"])
@pytest.mark.parametrize(("way", "restarted"), [*((way, False) for way in WAYS), ("done", True), ("refused", True)])
def test_nothing_goes_in_the_place_of_what_may_go_late(
    tmp_path: Path, kind: str, verb: str, way: str, restarted: bool
) -> None:
    """Two machines, one wanted. The first call comes to nothing at first, and works eight minutes later."""
    scale = {"scale_in": ScaleIn.DESTROY, "allow_destroy": True} if verb == "destroy" else {}

    async def watched(server: SimServer, seconds: float) -> None:
        for _ in range(int(seconds / 5)):
            await anyio.sleep(5)
            assert up(server) >= 1, asked(server, verb)

    async def story() -> None:
        async with the_account() as server:
            async with daemon(kind, server, tmp_path, wanted(kind, target=2)):
                await anyio.sleep(600)
            assert up(server) == 2
            server.set_faults([WAYS[way](verb, "*")])
            async with daemon(kind, server, tmp_path, wanted(kind, target=1, **scale)):
                await anyio.sleep(20)
                victim = asked(server, verb)[0]
                server.set_faults([WAYS[way](verb, victim)])
                await watched(server, 120)
                if not restarted:
                    await watched(server, 400)
            if restarted:
                async with daemon(kind, server, tmp_path, wanted(kind, target=1, **scale)):
                    await watched(server, 400)
            async with daemon(kind, server, tmp_path, wanted(kind, target=1, **scale)):
                await watched(server, 60)
                getattr(server.world, verb)(victim)  # the late effect
                server.set_faults([])
                await watched(server, 300)
            assert up(server) == 1
            assert set(asked(server, verb)) == {victim}

    run_virtual(story)
