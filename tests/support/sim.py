"""A simulator with a clock that stands still until it is moved, and a client that speaks plain HTTP to it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import aiohttp

from fleetd.simulator.clock import WorldClock
from fleetd.simulator.faults import Rule
from fleetd.simulator.server import SimServer, serve
from fleetd.simulator.state import Durations
from fleetd.simulator.world import World

EPOCH = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
KEY = "key-of-the-tests"
EXACT = Durations(
    provisioning=(90, 90),
    starting=(40, 40),
    serviceready=(5, 5),
    stopping=(20, 20),
    restarting=(60, 60),
    upgrading=(100, 100),
    failing=(10, 10),
    deleting=(4, 4),
    snapshot=(30, 30),
)
CREATE: Mapping[str, Any] = {
    "region": "East Coast (NY2)",
    "machineType": "P4000",
    "size": 50,
    "billingType": "hourly",
    "machineName": "My Machine 1",
    "templateId": "tbu200wi",
    "teamId": "tewr3st2z",
}
"""The page's create example."""


class Hand:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds

    def move(self, seconds: float) -> None:
        self.seconds += seconds


@dataclass
class Reply:
    status: int
    body: Any
    headers: Mapping[str, str]

    @property
    def error(self) -> tuple[int, str]:
        return self.body["error"]["status"], self.body["error"]["message"]


@dataclass
class Sim:
    """A running simulator as a test sees it."""

    world: World
    server: SimServer
    hand: Hand
    session: aiohttp.ClientSession

    async def ask(self, method: str, path: str, **arguments: Any) -> Reply:
        async with self.session.request(method, path, **arguments) as response:
            text = await response.text()
            is_json = response.content_type == "application/json" and text
            return Reply(response.status, json.loads(text) if is_json else text, response.headers)

    async def get(self, path: str, **query: Any) -> Reply:
        return await self.ask("GET", path, params=query)

    async def post(self, path: str, body: Any = None, **arguments: Any) -> Reply:
        return (
            await self.ask("POST", path, json=body, **arguments) if body is not None else await self.ask("POST", path)
        )

    async def show(self, machine_id: str) -> Any:
        return (await self.get("/machines/getMachinePublic", machineId=machine_id)).body

    async def list(self, **query: Any) -> Any:
        return (await self.get("/machines/getMachines", **query)).body

    async def create(self, **changes: Any) -> Any:
        return (await self.post("/machines/createSingleMachinePublic", {**CREATE, **changes})).body


def still_world(**arguments: Any) -> tuple[World, Hand]:
    """A world whose time is moved by hand, with exact durations unless told otherwise."""
    hand = Hand()
    arguments.setdefault("durations", EXACT)
    speed = arguments.pop("speed", 1.0)
    return World(clock=WorldClock(EPOCH, hand, speed, origin=0.0), **arguments), hand


@asynccontextmanager
async def simulated(
    faults: Iterable[Rule] = (),
    *,
    headers: Mapping[str, str] | None = None,
    world: World | None = None,
    **options: Any,
) -> AsyncIterator[Sim]:
    """A simulator without latency, and a session that opens a connection for every request."""
    own, hand = still_world()
    options.setdefault("latency", None)
    async with serve(world or own, key=KEY, faults=faults, **options) as server:
        connector = aiohttp.TCPConnector(force_close=True)  # a reused one repeats a broken-off GET by itself
        async with aiohttp.ClientSession(
            server.url, headers=headers or {"x-api-key": KEY}, connector=connector
        ) as session:
            yield Sim(server.world, server, hand, session)
