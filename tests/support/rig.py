"""The engine on a fake cloud and a real journal, for tests on virtual time."""

from __future__ import annotations

import random
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import anyio

from fleetd.activity.port import Source
from fleetd.engine.daemon import Daemon
from fleetd.engine.faults import Faults
from fleetd.engine.follower import Follower
from fleetd.engine.pass_report import PassReport
from fleetd.engine.poller import Poller
from fleetd.engine.ports import Alarms
from fleetd.engine.reconciler import Reconciler
from fleetd.model.errors import FleetdError
from fleetd.model.fleet import Costs, Fleet
from fleetd.model.journal import CHRONICLED
from fleetd.model.settings import DaemonSettings, ProviderSettings, Settings
from fleetd.store.sqlite import SqliteJournal
from fleetd.wiring import assemble
from tests.support.build import fleet as make_fleet
from tests.support.fakecloud import FakeCloud
from tests.support.inline_executor import InlineExecutor
from tests.support.virtual_time import VirtualClock, virtual_clock

IN_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Where journals of virtual runs lie: syncing to a disk would take most of their time."""


@dataclass
class RecordingNotifier:
    said: list[str] = field(default_factory=list)

    def ready(self) -> None:
        self.said.append("ready")

    def status(self, text: str) -> None:
        self.said.append(f"status {text}")

    def alive(self) -> None:
        self.said.append("alive")

    def reloading(self) -> None:
        self.said.append("reloading")

    def stopping(self) -> None:
        self.said.append("stopping")


@dataclass
class RecordingMeter:
    said: list[tuple[str, ...]] = field(default_factory=list)

    def action(self, *, fleet: str, verb: str, result: str) -> None:
        self.said.append(("action", fleet, verb, result))

    def transition(self, *, verb: str, seconds: float) -> None:
        self.said.append(("transition", verb))

    def reload(self, *, ok: bool) -> None:
        self.said.append(("reload", str(ok)))

    def fault(self, *, where: str) -> None:
        self.said.append(("fault", where))


class SilentAlarms:
    """Nothing ever rings: passes come at their interval."""

    def start(self, ring: Callable[[str], None]) -> None:
        pass

    def stop(self) -> None:
        pass

    def schedule(self, checks: Mapping[str, str]) -> None:
        pass

    def edge(self, at: datetime | None) -> None:
        pass


def settings(*fleets: Fleet, interval: float = 30, poll: float = 5, **fields: Any) -> Settings:
    return Settings(
        source="test.toml",
        provider=ProviderSettings(kind="paperspace-core", base_url="http://127.0.0.1", api_key=None),
        fleets=fleets or (make_fleet(),),
        daemon=DaemonSettings(interval=timedelta(seconds=interval), poll=timedelta(seconds=poll)),
        costs=fields.pop("costs", Costs()),
        **fields,
    )


@dataclass
class Rig:
    cloud: FakeCloud
    clock: VirtualClock
    journal: SqliteJournal
    reconciler: Reconciler
    poller: Poller
    follower: Follower
    daemon: Daemon
    notifier: RecordingNotifier
    meter: RecordingMeter
    faults: Faults
    """In fleetd's own code, which the engine contains: the end of a test's rig asks for those that were wanted."""

    def configure(self, *fleets: Fleet) -> None:
        self.reconciler.settings = settings(*fleets)

    async def history(self) -> list[str]:
        """What it tells of machines; ``journal.history`` has the rest."""
        rows = [entry for _, entry in await self.journal.history() if entry.verb not in CHRONICLED]
        return [f"{e.verb} {e.machine or e.name} {e.outcome}" for e in rows]

    @asynccontextmanager
    async def daemon_running(self) -> AsyncIterator[Daemon]:
        async with anyio.create_task_group() as group:
            group.start_soon(self.daemon.run)
            await anyio.sleep(0.5)
            yield self.daemon
            self.daemon.stop()

    @asynccontextmanager
    async def passes_by_hand(self) -> AsyncIterator[Reconciler]:
        """The poller and the followers run; passes are run by the test."""
        await self.reconciler.load()
        async with anyio.create_task_group() as group:
            self.follower.attach(group)
            self.reconciler.executor.beside.attach(group)
            group.start_soon(self.poller.run)
            yield self.reconciler
            group.cancel_scope.cancel()


@asynccontextmanager
async def rig(
    *fleets: Fleet,
    cloud: FakeCloud | None = None,
    state: Path | None = None,
    seed: int = 1,
    load: Callable[[], Settings] | None = None,
    alarms: Alarms | None = None,
    sources: dict[str, Source] | None = None,
    faults_wanted: bool = False,
    on_pass: Callable[[PassReport | FleetdError], None] = lambda _result: None,
    journal: Any = None,
    **fields: Any,
) -> AsyncIterator[Rig]:
    """``journal``: another than one in a file of its own; its caller closes it."""
    clock = cloud.clock if cloud is not None else virtual_clock()
    assert isinstance(clock, VirtualClock)
    cloud = cloud or FakeCloud(clock)
    scratch = tempfile.TemporaryDirectory(prefix="fleetd-rig-", dir=IN_MEMORY)
    own = None
    if journal is None:
        place = (state or Path(scratch.name)) / "journal.db"
        journal = own = await SqliteJournal.open(place, executor=InlineExecutor())
    wanted = settings(*fleets, **fields)
    meter, notifier, rng = RecordingMeter(), RecordingNotifier(), random.Random(seed)
    engine = assemble(
        wanted,
        cloud,
        journal,
        clock=clock,
        meter=meter,
        notifier=notifier,
        alarms=alarms or SilentAlarms(),
        rng=rng,
        load=load or (lambda: wanted),
        sources=None if sources is None else (lambda _tables: dict(sources)),
        on_pass=on_pass,
    )
    faults = engine.daemon.faults
    try:
        yield Rig(
            cloud,
            clock,
            journal,
            engine.reconciler,
            engine.poller,
            engine.follower,
            engine.daemon,
            notifier,
            meter,
            faults,
        )
        assert faults_wanted == bool(faults.count), f"faults in fleetd's own code: {faults.count}, last {faults.last}"
    finally:
        if own is not None:
            await own.aclose()
        scratch.cleanup()
