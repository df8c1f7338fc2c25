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
import io
import random
import shutil
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from fleetd import config
from fleetd.cloud.calls import HttpLimits
from fleetd.cloud.core.factory import open_core_cloud
from fleetd.cloud.port import Cloud, Leave, freely
from fleetd.engine.observer import Observer
from fleetd.model.errors import CloudError, ConfigError, FleetdError
from fleetd.model.machine import Machine
from fleetd.model.plan import Listing
from fleetd.model.reasons import Verb
from fleetd.model.settings import Settings
from fleetd.ops import logs
from fleetd.planner.idle import Activity, Reading
from fleetd.store.lock import StateLock
from fleetd.store.paths import JOURNAL, journal_path
from fleetd.store.sqlite import SqliteJournal
from fleetd.wiring import Engine, assemble
from tests.sim.record import Look, Span
from tests.support.inline_executor import InlineExecutor
from tests.support.rig import RecordingMeter
from tests.support.virtual_alarms import VirtualAlarms
from tests.support.virtual_time import VirtualClock, virtual_loop

OpenCloud = Callable[..., Cloud]
"""``open_core_cloud``, or another dialect's function of the same signature."""

CALLS = frozenset(
    {
        "list_machines",
        "show",
        "create",
        "start",
        "stop",
        "restart",
        "destroy",
        "update",
        "availability",
        "utilization",
    }
)
KEPT = frozenset(
    {
        *("write_intent", "update_intent", "close_intent", "append_history", "put_facts", "forget_facts"),
        *("put_backoff", "clear_backoff", "add_hold", "remove_holds", "put_note", "prune"),
    }
)
"""Methods of the journal that write."""


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
    limits: HttpLimits = field(default_factory=lambda: HttpLimits(max_requests_per_second=1000))
    says: Callable[[str, Machine], Activity | None] = lambda _source, _machine: Activity.IDLE
    """What an idle source answers about a machine; None: nothing."""
    on_point: Callable[[Life, str], None] = lambda _life, _point: None
    disk: str = "ok"
    """ok, full (what needs another page fails) or readonly (every write fails)."""
    lives: list[Life] = field(default_factory=list)
    log: io.StringIO = field(default_factory=io.StringIO)
    faults_wanted: bool = False
    """Whether the story puts faults into fleetd's own code; else one that is contained is a crash all the same."""
    looks: list[Look] = field(default_factory=list)
    asked: list[tuple[float, int]] = field(default_factory=list)
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
        _LIFE.set(self)
        how = "stopped"
        try:
            await self._run()
            faults = self.engine.daemon.faults if self.engine is not None else None
            if faults is not None and faults.count and not self.site.faults_wanted:
                how = f"crashed: {faults.count} faults were contained, the last: {faults.last}"
        except FleetdError as error:
            how = f"refused: {error}"
        except BaseException as error:  # noqa: BLE001 - a kill arrives as anything; all else is a crash, reported
            how = "killed" if self.dead else f"crashed: {_leaf(error)!r}"
        if not self.dead:
            self.span.how, self.span.ended = how, virtual_loop().time()
        self.dead = True

    def kill(self) -> None:
        """``kill -9``, from anywhere. What it had already sent is on its way."""
        if self.dead or self._task is None:
            return
        self.dead = True
        self.span.how, self.span.ended = "killed", virtual_loop().time()
        self.site.leave_disk()
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
        context.run(_LIFE.set, self)
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
        with StateLock(site.state, pid=self.number, since=site.clock.now()):
            journal = await SqliteJournal.open(site.journal, executor=_MortalExecutor(self))
            cloud = site.open_cloud(
                site.url, lambda: site.key, rng=random.Random(f"{site.seed}:{self.number}:http"), limits=site.limits
            )
            try:
                self.engine = self._assemble(settings, cloud, journal)
                await self.engine.daemon.run()
            finally:
                journal._database._closed = self.dead or journal._database._closed
                if self.dead:
                    journal._database._disconnect()
                await journal.aclose()
                await cloud.aclose()

    def _assemble(self, settings: Settings, cloud: Cloud, journal: SqliteJournal) -> Engine:
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
            sources=lambda tables: {name: SiteSource(name, self) for name in tables},
        )
        # Listings of passes are told from those of the poller.
        engine.reconciler._observer = Observer(WatchedLooks(self, cloud), site.clock)  # type: ignore[arg-type]
        return engine


class WatchedCloud:
    """The Cloud port, with a place to die before and after every call."""

    def __init__(self, life: Life, cloud: Cloud) -> None:
        self._life = life
        self._cloud = cloud

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._cloud, name)
        if name not in CALLS:
            return found

        async def call(*arguments: Any) -> Any:
            life = self._life
            life.point(f"before call.{name}")
            life.site.asked.append((virtual_loop().time(), life.number))
            try:
                answer = await found(*arguments)
            except CloudError:
                life.point(f"after call.{name}")
                raise
            life.point(f"after call.{name}")
            return answer

        return call

    @asynccontextmanager
    async def place(self, verb: Verb, *, behind: int = 0, leave: Leave = freely) -> AsyncIterator[WatchedCloud]:
        async with self._cloud.place(verb, behind=behind, leave=leave) as placed:
            yield WatchedCloud(self._life, placed)


class WatchedJournal:
    """The journal, with a place to die before and after every write."""

    def __init__(self, life: Life, journal: SqliteJournal) -> None:
        self._life = life
        self._journal = journal
        self._disk = "ok"

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._journal, name)
        if name not in KEPT:
            return found

        async def write(*arguments: Any, **named: Any) -> Any:
            self._life.point(f"before journal.{name}")
            self._feel_disk()
            done = await found(*arguments, **named)
            self._life.point(f"after journal.{name}")
            return done

        return write

    def _feel_disk(self) -> None:
        disk = self._life.site.disk
        db = self._journal._database._connection
        if disk != self._disk and db is not None:
            self._disk = disk
            db.execute(f"PRAGMA query_only = {int(disk == 'readonly')}")
            db.execute(f"PRAGMA max_page_count = {1 if disk == 'full' else 1_000_000_000}")


class WatchedLooks(WatchedCloud):
    """The port as the observer of passes has it; notes what each look was given."""

    async def list_machines(self, progress: Callable[[], None] = lambda: None) -> Listing:
        site = self._life.site
        look = Look(self._life.number, virtual_loop().time(), visible=site.visible())
        site.looks.append(look)
        try:
            listing = await self.__getattr__("list_machines")(progress)
            look.listed = frozenset(m.id for m in listing.machines)
            return listing
        finally:
            look.ended = virtual_loop().time()


class SiteSource:
    """An idle source that sees what is true, as far as the story lets it."""

    def __init__(self, name: str, life: Life) -> None:
        self.name = name
        self._life = life

    async def read(self, machines: Sequence[Machine], *, window: timedelta, now: datetime) -> Mapping[str, Reading]:
        del window
        self._life.check()
        said = {m.id: self._life.site.says(self.name, m) for m in machines}
        return {
            m: Reading(self.name, verdict, now, str(verdict)) for m, verdict in said.items() if verdict is not None
        }

    async def aclose(self) -> None:
        pass


class _MortalExecutor(InlineExecutor):
    def __init__(self, life: Life) -> None:
        self._life = life

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self._life.check()
        return super().submit(fn, *args, **kwargs)


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
        life = _LIFE.get()
        return 0 if life is not None and life.dead else self._site.log.write(self._site.mask(text))


def _leaf(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


_LIFE: contextvars.ContextVar[Life | None] = contextvars.ContextVar("life", default=None)
