"""A simulated account, and a dialect's two ways into it."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fleetd.cloud.calls import HttpLimits
from fleetd.cloud.dialects import DIALECTS
from fleetd.cloud.port import Cloud, MachinesApi
from fleetd.simulator.calls import Call
from fleetd.simulator.faults import Rule
from fleetd.simulator.server import SimServer, serve
from fleetd.simulator.world import World

KEY = "k3y-of-the-contract"
LIMITS = HttpLimits(max_requests_per_second=1000.0, max_concurrency=10, request_timeout=30.0)
REGION = "East Coast (NY2)"
PARAMETERS: Mapping[str, Mapping[str, Any]] = {
    "paperspace-core": {
        "region": REGION, "machineType": "P4000", "size": 50, "billingType": "hourly", "templateId": "tbu200wi",
    },
    "paperspace": {"region": REGION, "machineType": "P4000", "diskSize": 50, "templateId": "tbu200wi"},
}  # fmt: skip
"""The same machine, in each dialect's words."""


@dataclass
class Account:
    server: SimServer
    cloud: Cloud
    api: Any
    """The dialect's own, a ``MachinesApi`` and more."""

    @property
    def world(self) -> World:
        return self.server.world

    def asked(self, *operations: str) -> list[str]:
        return [call.operation for call in self.server.calls if not operations or call.operation in operations]

    def writes(self) -> list[Call]:
        return self.server.calls.writes


@asynccontextmanager
async def account(
    kind: str,
    *,
    machines: int = 0,
    rules: Iterable[Rule] = (),
    key: str = KEY,
    world: World | None = None,
    limits: HttpLimits = LIMITS,
) -> AsyncIterator[Account]:
    """``machines`` foreign machines ``ps0``, ``ps1``, ...; ``key`` is what is sent, the account's is ``KEY``."""
    world = world or World(seed=5)
    for number in range(machines):
        world.add_machine(f"other-{number}", id=f"ps{number}")
    async with (
        serve(world, key=KEY, latency=None, faults=rules) as server,
        ways_in(kind, server, key=key, limits=limits) as (cloud, api),
    ):
        yield Account(server, cloud, api)


@asynccontextmanager
async def ways_in(
    kind: str, server: SimServer, *, key: str = KEY, limits: HttpLimits = LIMITS
) -> AsyncIterator[tuple[Cloud, MachinesApi]]:
    dialect = DIALECTS[kind]
    url = server.url + dialect.simulated_path
    cloud = dialect.open_cloud(url, lambda: key, rng=random.Random(2), limits=limits)
    api = dialect.open_api(url, lambda: key, rng=random.Random(3), limits=limits)
    try:
        yield cloud, api
    finally:
        await cloud.aclose()
        await api.aclose()
