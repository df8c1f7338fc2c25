"""Moments of real fleets: the engine on the simulator for a day and a third of virtual time."""

from __future__ import annotations

import random
import tempfile
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import anyio
from msgspec import structs
from structlog.testing import capture_logs

from fleetd.cloud.calls import HttpLimits
from fleetd.model.errors import ConfigError, Fault, FleetdError
from fleetd.model.fleet import Costs, IdleRule, Window
from fleetd.model.journal import MachineOrder, VetoOrder
from fleetd.model.reasons import Verb
from fleetd.model.settings import IdleSource, Settings
from fleetd.ops.page.record import Record
from fleetd.ops.page.scene import Known, Scene
from fleetd.simulator.clock import WorldClock
from fleetd.simulator.faults import Capacity, EmptyList, Stuck, Unavailable, UnknownState
from fleetd.simulator.server import SimServer, serve
from fleetd.simulator.world import World
from fleetd.store.sqlite import SqliteJournal
from fleetd.wiring import Engine, assemble
from tests.support.build import PARAMETERS
from tests.support.build import fleet as make_fleet
from tests.support.clients import open_core_cloud
from tests.support.inline_executor import InlineExecutor
from tests.support.rig import RecordingMeter, RecordingNotifier, settings
from tests.support.virtual_alarms import VirtualAlarms
from tests.support.virtual_time import run_virtual, virtual_clock, virtual_loop

START = datetime(2026, 3, 23, 12, 30, tzinfo=UTC)
NIGHT = Window("night", 20 * 60, 7 * 60, "Europe/Berlin", target=6)
INTERVAL = 60


def make_scenes() -> dict[str, Scene]:
    """``parked``, ``converged``, ``converging``, ``blocked``, ``troubled``, ``blind``, ``doubted`` and ``frozen``."""
    with tempfile.TemporaryDirectory(prefix="fleetd-page-") as state, capture_logs():
        return run_virtual(_story, Path(state), start=START)


def wanted(training: int, **fields: object) -> Settings:
    c5 = {**PARAMETERS, "machineType": "C5", "region": "Europe (AMS1)"}
    fleets = (
        make_fleet("training", training, windows=(NIGHT,)),
        make_fleet("inference", 6, machine_type="C5", region="Europe (AMS1)", parameters=c5),
        make_fleet(
            "notebooks",
            4,
            machine_type="C5",
            region="Europe (AMS1)",
            parameters=c5,
            windows=(replace(NIGHT, target=None, park_idle=True),),
            idle=IdleRule(("up",), after=timedelta(minutes=20), min_uptime=timedelta(minutes=20)),
        ),
    )
    costs = Costs({"P4000": Decimal("0.51"), "C5": Decimal("0.08")}, max_hourly_cost=Decimal(20))
    whole = settings(*fleets, interval=INTERVAL, poll=5, costs=costs)
    whole = replace(whole, idle_sources={"up": IdleSource("up", "uptime")})
    return replace(whole, source="/etc/fleetd/fleetd.toml", **fields)


@dataclass
class _Stage:
    engine: Engine
    server: SimServer
    journal: SqliteJournal
    record: Record
    scenes: dict[str, Scene] = field(default_factory=dict)

    async def shoot(self, name: str) -> None:
        report = self.engine.handle.status()
        report = structs.replace(report, daemon=structs.replace(report.daemon, pid=4711))
        frozen = Record.load(self.record.dump(), virtual_clock().now())
        history = [entry for _, entry in await self.journal.history(limit=400)]
        known = Known.of(self.engine.reconciler.settings)
        self.scenes[name] = Scene(report, virtual_clock().now(), frozen, history, "0.1.0", known)


async def _story(state: Path) -> dict[str, Scene]:
    clock, record = virtual_clock(), Record()
    world = World(seed=7, clock=WorldClock(epoch=START, now_seconds=virtual_loop().time))
    world.add_machine("training-backup", "ready")
    world.add_machine("grace-desktop", "off")
    config = [wanted(16)]

    def load() -> Settings:
        if not config:
            raise ConfigError(
                "/etc/fleetd/fleetd.toml",
                (Fault("fleets.training.target", "expected a whole number, got 'eight'"),),
            )
        return config[0]

    def passed(result: object) -> None:
        if not isinstance(result, FleetdError):
            record.saw(engine.handle.status(), patience=timedelta(seconds=3 * INTERVAL))

    async with serve(world, key="key", keep_reads=0) as server:
        cloud = open_core_cloud(
            server.url, lambda: "key", rng=random.Random(1), limits=HttpLimits(max_requests_per_second=1000)
        )
        journal = await SqliteJournal.open(state / "journal.db", executor=InlineExecutor())
        engine = assemble(
            config[0],
            cloud,
            journal,
            clock=clock,
            meter=RecordingMeter(),
            notifier=RecordingNotifier(),
            alarms=VirtualAlarms(clock),
            rng=random.Random(1),
            load=load,
            on_pass=passed,
        )
        stage = _Stage(engine, server, journal, record)
        async with anyio.create_task_group() as group:
            group.start_soon(engine.daemon.run)
            await _day(stage, config)
            engine.daemon.stop()
        await journal.aclose()
        await cloud.aclose()
    return stage.scenes


async def _day(stage: _Stage, config: list[Settings]) -> None:
    await anyio.sleep(13.6 * 3600 + 11)  # three in the morning, in Berlin
    await stage.shoot("parked")
    await anyio.sleep(11.9 * 3600)
    await stage.shoot("converged")
    config[:] = [wanted(24)]
    stage.engine.daemon.reload()
    await anyio.sleep(95)
    await stage.shoot("converging")
    await anyio.sleep(1800)
    await _trouble(stage, config)
    await stage.shoot("troubled")
    config[:] = [wanted(28)]
    stage.engine.daemon.reload()
    stage.server.set_faults([])
    await anyio.sleep(1800)
    stage.server.set_faults([Unavailable()])
    await anyio.sleep(13 * 60)
    await stage.shoot("blind")
    stage.server.set_faults([EmptyList()])
    await anyio.sleep(240)
    await stage.shoot("doubted")
    stage.server.set_faults([])
    await anyio.sleep(300)
    order = VetoOrder("freeze", None, frozenset(Verb), "the network is being moved", timedelta(hours=2))
    await stage.engine.handle.veto(order, "ada (uid 1000)")
    (lost, *_) = [m for m in stage.engine.handle.status().machines if m.fleet == "inference"]
    stage.server.world.human_stop(lost.id)
    await anyio.sleep(600)
    await stage.shoot("frozen")


async def _trouble(stage: _Stage, config: list[Settings]) -> None:
    """Capacity runs out, a restart hangs, a state is unheard of; people stop, hold, freeze and misspell."""
    handle, world = stage.engine.handle, stage.server.world
    machines = handle.status().machines
    training = [m for m in machines if m.fleet == "training"]
    inference = [m for m in machines if m.fleet == "inference"]
    stage.server.set_faults([Capacity(machine_type="P4000")])
    config[:] = [wanted(28)]
    stage.engine.daemon.reload()
    await anyio.sleep(720)
    await stage.shoot("blocked")
    stage.server.set_faults(
        [
            Capacity(machine_type="P4000"),
            Stuck(machine_type="C5"),
            UnknownState(machine=training[3].name, state="hibernating"),
        ]
    )
    world.human_stop(inference[1].id)
    await handle.veto(
        VetoOrder("hold", training[5].name, frozenset(Verb), "a run that must not be lost", timedelta(hours=4)),
        "ada (uid 1000)",
    )
    await anyio.sleep(260)
    order = VetoOrder(
        "freeze", "inference", frozenset({Verb.CREATE, Verb.DESTROY}), "moving data", timedelta(hours=1)
    )
    await handle.veto(order, "ada (uid 1000)")
    await handle.request(MachineOrder(Verb.RESTART, inference[4].id, "its disk is full"), "ada (uid 1000)")
    await handle.request(
        MachineOrder(Verb.STOP, training[7].id, "its fan is loud", keep_off=timedelta(hours=4)), "ada (uid 1000)"
    )
    await anyio.sleep(400)
    config.clear()
    try:
        stage.engine.daemon.reload()
    except ConfigError:
        await anyio.sleep(20)
