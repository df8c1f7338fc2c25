"""Runs the week and returns what the provider and the journal recorded."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import anyio

from fleetd.cloud.calls import HttpLimits
from fleetd.cloud.dialects import DIALECTS
from fleetd.model.fleet import AutoSnapshot, Costs, Fleet, IdleRule, ShutdownTimeout, Window
from fleetd.model.journal import HistoryEntry
from fleetd.model.machine import Machine
from fleetd.model.reasons import Activity
from fleetd.planner.windows import effective
from fleetd.simulator.calls import Call
from fleetd.simulator.clock import WorldClock
from fleetd.simulator.server import serve
from fleetd.simulator.world import World
from fleetd.store.sqlite import SqliteJournal
from fleetd.wiring import assemble
from tests.contract.account import PARAMETERS
from tests.support.build import fleet as make_fleet
from tests.support.inline_executor import InlineExecutor
from tests.support.rig import IN_MEMORY, RecordingMeter, RecordingNotifier, settings
from tests.support.scripted_source import ScriptedSource
from tests.support.virtual_alarms import VirtualAlarms
from tests.support.virtual_time import run_virtual, virtual_clock, virtual_loop

BERLIN = ZoneInfo("Europe/Berlin")
MONDAY = datetime(2026, 3, 23, 6, 0, tzinfo=BERLIN).astimezone(UTC)
"""The week ends in the night in which the clocks go forward."""
DAYS = 7
SIZE = 50
NIGHT = Window("night", 20 * 60, 7 * 60, "Europe/Berlin", park_idle=True)
FLEET: Fleet = make_fleet(
    target=SIZE,
    windows=(NIGHT,),
    idle=IdleRule(("gpu",), after=timedelta(minutes=30), min_uptime=timedelta(minutes=10)),
    shutdown_timeout=ShutdownTimeout(hours=120),
    auto_snapshot=AutoSnapshot("day", 7),
)
DRIFTS = ((1, 13, 5), (3, 10, 17), (5, 15, 33))
"""(day, hour, machine): when a person changes a machine's shutdown timeout by hand."""


@dataclass(frozen=True)
class Week:
    calls: list[Call]
    history: list[HistoryEntry]
    workers: dict[str, int]
    """Number of each machine (id), in the order of creation: decides how long it works each night."""
    start: datetime
    end: datetime


def works(number: int, at: datetime) -> bool:
    """By day everybody works; at night number n until 20:00 + 6 min x n, and every tenth, in turn, all night."""
    local = at.astimezone(BERLIN)
    if 7 <= local.hour < 20:
        return True
    night = (local - timedelta(hours=12)).date()
    if (number + night.toordinal()) % 10 == 0:
        return True
    begins = datetime.combine(night, datetime.min.time(), BERLIN) + timedelta(hours=20)
    return local < begins + timedelta(minutes=6 * number)


def run_week(kind: str = "paperspace-core", days: float = DAYS) -> Week:
    """``kind``: the dialect that the daemon speaks."""
    with scratch() as path:
        return run_virtual(_story, path, kind, days, start=MONDAY)


@contextmanager
def scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="fleetd-week-", dir=IN_MEMORY) as name:
        yield Path(name)


async def _story(state: Path, kind: str, days: float) -> Week:
    clock = virtual_clock()
    world = World(seed=7, clock=WorldClock(epoch=MONDAY, now_seconds=virtual_loop().time))
    workers: dict[str, int] = {}

    def says(machine: Machine) -> Activity:
        number = workers.setdefault(machine.id, len(workers))
        return Activity.ACTIVE if works(number, clock.now()) else Activity.IDLE

    async with serve(world, key="key", keep_reads=0) as server:
        dialect = DIALECTS[kind]
        cloud = dialect.open_cloud(
            server.url + dialect.simulated_path,
            lambda: "key",
            rng=random.Random(1),
            limits=HttpLimits(max_requests_per_second=1000),
        )
        journal = await SqliteJournal.open(state / "journal.db", executor=InlineExecutor())
        wanted = settings(
            replace(FLEET, parameters=PARAMETERS[kind]),
            interval=120,
            poll=30,
            costs=Costs({"P4000": Decimal("0.51")}),
        )
        engine = assemble(
            wanted,
            cloud,
            journal,
            clock=clock,
            meter=RecordingMeter(),
            notifier=RecordingNotifier(),
            alarms=VirtualAlarms(clock),
            rng=random.Random(1),
            load=lambda: wanted,
            sources=lambda _tables: {"gpu": ScriptedSource(says=says)},
        )
        async with anyio.create_task_group() as group:
            group.start_soon(engine.daemon.run)
            group.start_soon(_people, world, workers)
            await anyio.sleep(days * 86_400 + 1800)  # the last morning's starts included
            engine.daemon.stop()
        history = [entry for _, entry in await journal.history()]
        await journal.aclose()
        await cloud.aclose()
        return Week(list(server.calls.writes), history, workers, MONDAY, clock.now())


async def _people(world: World, workers: dict[str, int]) -> None:
    passed = 0.0
    for day, hour, number in DRIFTS:
        due = day * 86_400 + (hour - 6) * 3600
        await anyio.sleep(due - passed)
        passed = due
        machine = next(m for m, n in workers.items() if n == number)
        world.update(machine, {"shutdown_hours": 12})


def target_at(instant: datetime) -> int:
    return effective(FLEET, instant).target
