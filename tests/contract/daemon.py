"""The whole daemon on one simulated account, in either dialect, on virtual time."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio

from fleetd.engine.reconciler import Reconciler
from fleetd.model.fleet import Fleet, Guards, Limit
from fleetd.simulator.clock import WorldClock
from fleetd.simulator.server import SimServer, serve
from fleetd.simulator.world import World
from fleetd.store.sqlite import SqliteJournal
from fleetd.wiring import assemble
from tests.contract.account import KEY, PARAMETERS, ways_in
from tests.support.build import fleet
from tests.support.inline_executor import InlineExecutor
from tests.support.rig import RecordingMeter, RecordingNotifier, SilentAlarms, settings
from tests.support.virtual_time import virtual_clock, virtual_loop

LOOSE = Guards(max_stops_per_pass=Limit(percent=100), max_destroys_per_pass=10)


def wanted(kind: str, **fields: Any) -> Fleet:
    """A fleet of three, in the dialect's words."""
    return fleet(parameters=PARAMETERS[kind], **{"target": 3, "guards": LOOSE} | fields)


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
            config,
            cloud,
            journal,
            clock=virtual_clock(),
            meter=RecordingMeter(),
            notifier=RecordingNotifier(),
            alarms=SilentAlarms(),
            rng=random.Random(1),
            load=lambda: config,
        )
        async with anyio.create_task_group() as group:
            group.start_soon(engine.daemon.run)
            yield engine.reconciler
            engine.daemon.stop()
        assert not engine.daemon.faults.count, engine.daemon.faults.last
        await journal.aclose()


def written(server: SimServer) -> list[str]:
    return [f"{call.dialect} {call.operation} {call.machine_id}" for call in server.calls.writes]
