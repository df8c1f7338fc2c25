"""Days on the simulator in virtual time: latency, hanging answers and all, the same every time."""

from __future__ import annotations

import random
from dataclasses import asdict
from typing import Any

import aiohttp
import anyio

from fleetd.simulator.clock import WorldClock
from fleetd.simulator.fault_file import parse_faults
from fleetd.simulator.server import serve
from fleetd.simulator.world import World
from tests.support.sim import CREATE, KEY
from tests.support.virtual_time import START, run_virtual

FAULTS = [
    {"kind": "timeout_after", "probability": 0.02},
    {"kind": "reset_after", "operation": "write", "probability": 0.02},
    {"kind": "slow_drip", "operation": "list", "probability": 0.2},
    {"kind": "capacity", "probability": 0.2},
]


async def two_days(clients: int) -> tuple[list[dict[str, Any]], Any, float]:
    """Several clients at once, each doing what it likes for two days."""
    world = World(seed=3, clock=WorldClock(START))
    async with serve(world, key=KEY, faults=parse_faults(FAULTS)) as server:
        url, headers = server.url, {"x-api-key": KEY}

        async def client(number: int) -> None:
            choose = random.Random(number)
            timeout = aiohttp.ClientTimeout(total=30)
            async with aiohttp.ClientSession(url, headers=headers, timeout=timeout) as session:
                while anyio.current_time() < 2 * 86_400:
                    await anyio.sleep(choose.uniform(1, 3000))
                    known = list(world.machines)
                    verb = choose.choice(["list", "create", "start", "stop", "destroyMachine"])
                    body: dict[str, Any] | None
                    method, path, body = "POST", "/machines/createSingleMachinePublic", dict(CREATE)
                    if verb == "list":
                        method, path, body = "GET", "/machines/getMachines", None
                    elif verb != "create" and known:
                        path, body = f"/machines/{choose.choice(known)}/{verb}", {}
                    try:
                        async with session.request(method, path, json=body) as response:
                            await response.read()
                    except (aiohttp.ClientError, TimeoutError):
                        continue

        async with anyio.create_task_group() as tasks:
            for number in range(clients):
                tasks.start_soon(client, number)
        return [asdict(call) for call in server.calls], world.timeline, world.advance()


def test_two_days_are_the_same_twice() -> None:
    first, second = run_virtual(two_days, 3), run_virtual(two_days, 3)
    calls, timeline, ended = first
    assert first == second
    assert ended > 2 * 86_400
    assert len(calls) > 200
    assert len(timeline) > 10
    assert {kind for call in calls for kind in call["faults"]} == {rule["kind"] for rule in FAULTS}
