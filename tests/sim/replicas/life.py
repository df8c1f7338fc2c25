"""One life of a replica: the lease, the engine and the control socket as ``fleetd run`` has them, in virtual time.

Beside what any life can do it can be paused, as by SIGSTOP, and ended by the kernel's timer while it is.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import anyio

from fleetd.model.report import LeaseReport
from fleetd.model.settings import Settings
from fleetd.ops.control import serve_control
from fleetd.store.lock import StateLock
from fleetd.store.postgres.lease import Lease
from fleetd.wiring.acting import Held, holding_lease
from fleetd.wiring.process import Process
from fleetd.wiring.reloads import Reloads
from fleetd.wiring.signals import LockWatch, StoppedWaiting
from tests.sim.life import LIFE, Life, Site, _Nobody
from tests.sim.replicas.driver import WAY, Way
from tests.sim.replicas.sql import ORIGIN
from tests.support.rig import RecordingMeter
from tests.support.virtual_time import virtual_loop


@dataclass(eq=False)
class ReplicaSite(Site):
    """One host."""

    name: str = ""
    on_take: Callable[[ReplicaLife, Settings], None] = lambda _life, _settings: None
    """Told when a life of it has taken the lease."""
    ways: list[Way] = field(default_factory=list)
    """To the database, of every process that there was on this host."""
    number: Callable[[], int] = lambda: 0
    """The next process's, over all hosts."""
    cut: bool = False
    """Whether the host is cut off from the database."""

    def new_life(self) -> ReplicaLife:
        life = ReplicaLife(self, self.number())
        self.lives.append(life)
        return life

    def new_way(self, who: str) -> Way:
        """A process's way to the database."""
        way = Way(who, random.Random(f"{self.seed}:{self.name}:{len(self.ways)}:way"))
        way.wall = self._wall
        if self.cut:
            way.cut()
        self.ways.append(way)
        return way

    def _wall(self) -> float:
        return (self.clock.now() - ORIGIN).total_seconds()

    def cut_off(self, *, cut: bool) -> None:
        """Cut everything on this host off from the database, or no more."""
        self.cut = cut
        for way in self.ways:
            (way.cut if cut else way.mend)()

    @property
    def newest(self) -> ReplicaLife | None:
        """The process that runs here now, whatever it does."""
        return next((life for life in reversed(self.lives) if life.running), None)  # type: ignore[return-value]


class ReplicaLife(Life):
    """One process."""

    site: ReplicaSite

    def __init__(self, site: ReplicaSite, number: int) -> None:
        super().__init__(site, number)
        self.way = site.new_way(f"{site.name}{number}")
        self.way.check = self.check
        self.lease: Lease | None = None
        """There once it has taken it."""
        self.held: Held | None = None
        self.paused = False
        self.burnt = False
        """Whether the kernel's timer ended it."""
        self._terminated = anyio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._outside = contextvars.Context()

    @property
    def acts(self) -> bool:
        """Whether it has an engine that runs."""
        return self.running and self.engine is not None

    def pause(self) -> None:
        """SIGSTOP: what it does now, to its next await, it still does."""
        if self.running and not self.paused:
            self.paused = True
            virtual_loop().stillness.begin(self._owns)

    def run_on(self) -> None:
        """SIGCONT."""
        if self.paused:
            self.paused = False
            virtual_loop().stillness.end(self._owns)

    def stop(self) -> None:
        self._terminated.set()
        super().stop()

    def kill(self) -> None:
        """``kill -9``: of it alone."""
        self._die()

    def _die(self) -> None:
        if self.dead:
            return
        super()._die()
        if self.dead:
            self.run_on()
            self.way.close()
            self._unset()

    def _owns(self, context: contextvars.Context) -> bool:
        return context.get(LIFE) is self

    def _fuse(self, seconds: float) -> None:
        """The kernel's timer: it goes on while the process is paused."""
        self._unset()
        if seconds > 0 and not self.dead:
            self._timer = virtual_loop().call_later(seconds, self._burn, context=self._outside)

    def _burn(self) -> None:
        self.burnt = not self.dead
        self._die()

    def _unset(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @contextmanager
    def _terminations(self) -> Iterator[AsyncIterator[object]]:
        async def signals() -> AsyncIterator[object]:
            await self._terminated.wait()
            yield signal.SIGTERM

        yield signals()

    async def _run(self) -> None:
        site = self.site
        WAY.set(self.way)
        settings = site.load()
        process = Process(
            f"{site.name}, pid {self.number}", self._fuse, virtual_loop().time, site.clock, self._terminations
        )
        reloads = Reloads(site.load, _Nobody(), RecordingMeter(), hangup=False)
        with StateLock(site.state, pid=self.number, since=site.clock.now()), suppress(StoppedWaiting):
            try:
                async with holding_lease(settings, reloads, process) as held:
                    self.lease, self.held = held.lease, held
                    site.on_take(self, held.settings)
                    await self._act(held.settings, held)
            finally:
                self._unset()

    async def _act(self, settings: Settings, held: Held) -> None:
        site = self.site
        cloud = site.open_cloud(
            site.url,
            lambda: site.key,
            rng=random.Random(f"{site.seed}:{self.number}:http"),
            limits=replace(site.limits, on_date=self._dated),
        )

        def passed(_result: Any) -> None:
            held.speaker.passed(engine.handle.status(), engine.reconciler.settings)

        def told() -> LeaseReport | None:
            return held.speaker.told

        try:
            engine = self.engine = self._assemble(settings, cloud, held.journal, on_pass=passed, lease=told)
            assert held.lease.taken_at is not None
            engine.reconciler.agreement.told_meanwhile(held.lease.taken_at)
            control = self._control()
            async with (
                serve_control(engine.handle, control, reads=held.handover.routes()) as keep_socket,
                anyio.create_task_group() as group,
            ):
                group.start_soon(keep_socket)
                group.start_soon(LockWatch(held.journal.check).run)
                group.start_soon(held.keep, control)
                group.start_soon(held.handover.obey, engine.daemon.stop)
                if self._terminated.is_set():
                    engine.daemon.stop()
                await engine.daemon.run()
                group.cancel_scope.cancel()
        finally:
            await cloud.aclose()

    def _control(self) -> Path:
        return self.site.root / f"control-{self.number}"
