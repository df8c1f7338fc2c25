"""One life of the daemon as it ships: client over loopback HTTP, planner, executor, journal on a real file, lock.

A life can be ended at any await, as ``kill -9`` does: from that instant on nothing of it reaches the provider, the
journal, the log or anything else. What the disk held at that instant is what the next life finds.

    site = Site(root, url, "key", virtual_clock(), seed="7")
    site.write_config(text)
    life = site.new_life()
    task = asyncio.create_task(life.run())
    ...
    life.kill()                       # or life.stop(), life.reload()
    await task                        # life.how says how it ended

``site.on_point`` is told of every place where a crash could matter, by name, and may kill the life right there::

    before call.create | executed create | after call.create      a call of the Cloud port, and its request's effect
    before journal.write_intent | after journal.write_intent      a write of the journal
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import io
import random
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, aclosing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from unittest import mock

import anyio

from fleetd import config
from fleetd.activity.plain import LeaseSource
from fleetd.activity.port import Source
from fleetd.cloud.calls import HttpLimits
from fleetd.cloud.port import Cloud
from fleetd.engine.leases import Leases
from fleetd.model.errors import ConfigError, FleetdError
from fleetd.model.machine import Machine
from fleetd.model.plan import Plan
from fleetd.model.reasons import Activity
from fleetd.model.settings import IdleSource, Settings
from fleetd.ops import logs
from fleetd.planner.plan import plan
from fleetd.store.lock import StateLock
from fleetd.store.paths import JOURNAL, journal_path
from fleetd.store.port import Journal
from fleetd.store.sqlite import SqliteJournal
from fleetd.wiring import Engine, assemble
from tests.sim.keeping import Keeping, OnDisk
from tests.sim.record import Look, Span
from tests.sim.watched import SiteSource, WatchedCloud, WatchedJournal, WatchedLooks
from tests.support.clients import open_core_cloud
from tests.support.rig import RecordingMeter
from tests.support.virtual_alarms import VirtualAlarms
from tests.support.virtual_time import VirtualClock, virtual_loop

OpenCloud = Callable[..., Cloud]
"""``open_core_cloud``, or another dialect's function of the same signature."""


LOCK_LOOK = 60.0
"""Seconds between two looks at the state directory; every write looks for itself."""


class Killed(BaseException):
    """The process is no more. No ``except Exception`` survives it."""


@dataclass(eq=False)
class Site:
    """What outlives a process: its disk, its config file, the provider's address, the wall clock, its users."""

    root: Path
    url: str
    key: str
    clock: VirtualClock
    seed: str = "0"
    open_cloud: OpenCloud = open_core_cloud
    keeping: Keeping = field(default_factory=OnDisk)
    """Where the journal is."""
    limits: HttpLimits = field(default_factory=lambda: HttpLimits(max_requests_per_second=1000))
    says: Callable[[str, Machine], Activity | None] = lambda _source, _machine: Activity.IDLE
    """What an idle source answers about a machine; None: nothing."""
    on_point: Callable[[Life, str], None] = lambda _life, _point: None
    on_call: Callable[[Life, str, Sequence[Any]], None] = lambda _life, _name, _arguments: None
    """Told of every call of the port right before it."""
    source: Callable[[IdleSource], Source] | None = None
    """Opens an idle source in place of one that asks ``says``."""
    late: Callable[[], float] = lambda: 0.0
    """Seconds after which an idle source answers now."""
    trouble: int = 0
    """How many times more the planner breaks down."""
    disk: str = "ok"
    """ok, full (what needs another page fails) or readonly (every write fails)."""
    lives: list[Life] = field(default_factory=list)
    log: io.StringIO = field(default_factory=io.StringIO)
    faults_wanted: bool = False
    """Whether the story puts faults into fleetd's own code; else one that is contained is a crash all the same."""
    looks: list[Look] = field(default_factory=list)
    asked: list[tuple[float, int, str]] = field(default_factory=list)
    visible: Callable[[], frozenset[str]] = frozenset
    """Ids that a true listing holds now."""

    def __post_init__(self) -> None:
        self.state = self.root / "state"
        self.config = self.root / "fleetd.toml"
        self._copies = 0

    def capture_log(self, level: str = "info") -> None:
        """Send the log of this process to ``log``: what a life that is over still says is not heard."""
        secrets = logs.Secrets()
        secrets.add(self.key)
        logs.configure(_Heard(self), now=self.clock.now, secrets=secrets, level=level, fmt="json", environ={})

    def write_config(self, text: str) -> None:
        """Put a config file in place."""
        self.config.write_text(text)

    def load(self) -> Settings:
        """The config file, parsed and checked as ``fleetd run`` does.

        Raises:
            ConfigError: with every fault in it.
        """
        return config.load(self.config)

    @property
    def journal(self) -> Path:
        """The journal's file."""
        return journal_path(self.state)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """What the journal holds at this instant, as somebody else reads it; nothing where it cannot be read."""
        return self.keeping.rows(self, sql)

    @property
    def alive(self) -> Life | None:
        """The life that runs now; the eldest where another one tries to."""
        return next((life for life in self.lives if life.running and life.engine is not None), None)

    def new_life(self) -> Life:
        """The next process; ``run`` it."""
        life = Life(self, len(self.lives) + 1)
        self.lives.append(life)
        return life

    def leave_disk(self) -> None:
        """Go on with the disk as it is now: what the dying process's libraries do to it stays behind."""
        self._copies += 1
        after = self.root / f"state-{self._copies}"
        after.mkdir(mode=0o700)
        for name in (JOURNAL, f"{JOURNAL}-wal", f"{JOURNAL}-shm"):
            with suppress(FileNotFoundError):
                shutil.copyfile(self.state / name, after / name)
        self.state = after

    def mask(self, line: str) -> str:
        """A log line without what differs from run to run: the scratch directory and the free port."""
        port = self.url.rpartition(":")[2].partition("/")[0]
        return line.replace(str(self.root), "ROOT").replace(f"127.0.0.1:{port}", "SIM")


class Life:
    """One process."""

    def __init__(self, site: Site, number: int) -> None:
        self.site = site
        self.span = Span(number, virtual_loop().time())
        self.engine: Engine | None = None
        """There once it has its state and its config."""
        self.dead = False
        self.troubles = 0
        """How often its planner broke down because the story has it so."""
        self._task: asyncio.Task[Any] | None = None

    @property
    def number(self) -> int:
        return self.span.number

    @property
    def running(self) -> bool:
        return self._task is not None and not self.dead and not self._task.done()

    async def run(self) -> None:
        """From exec to exit. Never raises; ``span.how`` says how it ended."""
        self._task = asyncio.current_task()
        LIFE.set(self)
        how = "stopped"
        try:
            await self._run()
            faults = self.engine.daemon.faults if self.engine is not None else None
            if faults is not None and faults.count > self.troubles and not self.site.faults_wanted:
                how = f"crashed: {faults.count} faults were contained, the last: {faults.last}"
        except BaseException as error:  # noqa: BLE001 - a kill arrives as anything; all else is a crash, reported
            leaf = _leaf(error)
            how = f"refused: {leaf}" if isinstance(leaf, FleetdError) else f"crashed: {leaf!r}"
            how = "killed" if self.dead else how
        if not self.dead:
            self.span.how, self.span.ended = how, virtual_loop().time()
        self.dead = True

    def kill(self) -> None:
        """``kill -9``, from anywhere. What it had already sent is on its way."""
        if self.dead or self._task is None:
            return
        for life in self.site.lives:  # two at a time, where the lock was removed: the host goes down under both
            life._die()
        self.site.leave_disk()

    def _die(self) -> None:
        if not self.dead and self._task is not None:
            self.dead = True
            self.span.how, self.span.ended = "killed", virtual_loop().time()
            self._task.cancel()

    def stop(self) -> None:
        """SIGTERM."""
        if self.engine is not None and not self.dead:
            self.engine.daemon.stop()

    def reload(self) -> bool:
        """SIGHUP; whether the config was accepted. Without an engine yet, the signal is lost."""
        if self.engine is None or self.dead:
            return False
        context = contextvars.copy_context()
        context.run(LIFE.set, self)
        try:
            context.run(self.engine.daemon.reload)
        except ConfigError:
            return False
        return True

    def point(self, name: str) -> None:
        """A place to die at."""
        self.check()
        self.site.on_point(self, name)
        self.check()

    def check(self) -> None:
        """Nothing of a dead process goes on."""
        if self.dead:
            raise Killed

    async def _run(self) -> None:
        site = self.site
        settings = site.load()
        with StateLock(site.state, pid=self.number, since=site.clock.now()) as lock:
            cloud = site.open_cloud(
                site.url,
                lambda: site.key,
                rng=random.Random(f"{site.seed}:{self.number}:http"),
                limits=replace(site.limits, on_date=self._dated),
            )
            async with aclosing(cloud), site.keeping.journal(self, lock.check) as journal:
                self.engine = self._assemble(settings, cloud, journal)
                async with anyio.create_task_group() as group:
                    group.start_soon(_watch_lock, journal)
                    await self.engine.daemon.run()
                    group.cancel_scope.cancel()

    def _dated(self, date: datetime) -> None:
        if self.engine is not None:
            self.engine.reconciler.agreement.told(date)

    def _assemble(self, settings: Settings, cloud: Cloud, journal: Journal, **more: Any) -> Engine:
        """``more``: as ``assemble`` takes it."""
        site, watched = self.site, WatchedCloud(self, cloud)
        engine = assemble(
            settings,
            watched,
            WatchedJournal(self, journal),  # type: ignore[arg-type]
            clock=site.clock,
            meter=RecordingMeter(),
            notifier=_Nobody(),
            alarms=VirtualAlarms(site.clock),
            rng=random.Random(f"{site.seed}:{self.number}"),
            load=site.load,
            sources=lambda tables: {name: self._source(table) for name, table in tables.items()},
            **more,
        )
        # Listings of passes are told from those of the poller.
        engine.reconciler._look._observer._cloud = WatchedLooks(self, cloud)  # type: ignore[assignment]
        return engine

    def _source(self, table: IdleSource) -> Source:
        if table.kind == "lease":
            return LeaseSource(table.name, lambda machine, now: self._leases().holder(machine, now))
        if self.site.source is not None:
            return self.site.source(table)
        return SiteSource(table.name, self)

    def _leases(self) -> Leases:
        assert self.engine is not None
        return self.engine.reconciler._idleness.leases


@contextmanager
def breakable() -> Iterator[None]:
    """The planner breaks down whenever the site of its process has it so."""
    # Asked of the modules: what decides a pass may be known in several places.
    known = [m for n, m in sys.modules.items() if n.startswith("fleetd.engine") and getattr(m, "plan", None) is plan]

    @functools.wraps(plan)
    def breaks(*arguments: Any, **named: Any) -> Plan:
        life = LIFE.get()
        if life is not None and life.site.trouble > 0:
            life.site.trouble -= 1
            life.troubles += 1
            raise KeyError("trouble")
        return plan(*arguments, **named)

    with ExitStack() as stack:
        for module in known:
            stack.enter_context(mock.patch.object(module, "plan", breaks))
        yield


async def _watch_lock(journal: SqliteJournal) -> None:
    """As ``fleetd run`` does, less often: in virtual time every look costs real time."""
    while True:
        await anyio.sleep(LOCK_LOOK)
        journal.check()


class _Nobody:
    """No supervisor listens."""

    def ready(self) -> None: ...

    def status(self, text: str) -> None: ...

    def alive(self) -> None: ...

    def reloading(self) -> None: ...

    def stopping(self) -> None: ...


class _Heard(io.StringIO):
    """Where log lines go, unless their life is over."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        self._site = site

    def write(self, text: str) -> int:
        life = LIFE.get()
        return 0 if life is not None and life.dead else self._site.log.write(self._site.mask(text))


def _leaf(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


LIFE: contextvars.ContextVar[Life | None] = contextvars.ContextVar("life", default=None)
"""Whose context it is."""
