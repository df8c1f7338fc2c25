"""The daemon, put together and run: for good, or until every fleet has converged."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import anyio

from fleetd import __version__
from fleetd.activity.opening import open_sources
from fleetd.cloud.port import Cloud
from fleetd.engine.convergence import ApplyInterrupted, ApplyTimedOut, ConvergenceWatch
from fleetd.engine.daemon import Daemon
from fleetd.engine.follower import Follower
from fleetd.engine.idleness import Idleness, OpenSources
from fleetd.engine.leases import Leases
from fleetd.engine.poller import Poller
from fleetd.engine.ports import Alarms, Clock, Meter, Notifier, SystemClock
from fleetd.engine.recall import Recall
from fleetd.engine.reconciler import PassReport, Reconciler
from fleetd.engine.seat import EngineSeat
from fleetd.model.errors import FleetdError
from fleetd.model.settings import Settings
from fleetd.ops import alarms as alarm_clock
from fleetd.ops import systemd
from fleetd.ops.control import serve_control
from fleetd.ops.http import serve_http
from fleetd.ops.lag import watch_lag
from fleetd.ops.metrics import Metrics
from fleetd.ops.page.service import Page
from fleetd.ops.reads import read_routes
from fleetd.store.lock import StateLock
from fleetd.store.paths import control_socket_path, journal_path
from fleetd.store.port import Journal
from fleetd.store.sqlite import SqliteJournal
from fleetd.wiring.places import state_path
from fleetd.wiring.provider import ONE_SHOT_LIMIT, open_cloud


@dataclass(frozen=True, slots=True)
class Engine:
    """The daemon and its parts, put together."""

    daemon: Daemon
    reconciler: Reconciler
    poller: Poller
    follower: Follower
    seat: EngineSeat


def assemble(
    settings: Settings,
    cloud: Cloud,
    journal: Journal,
    *,
    clock: Clock,
    meter: Meter,
    notifier: Notifier,
    alarms: Alarms,
    rng: random.Random,
    load: Callable[[], Settings],
    sources: OpenSources | None = None,
    on_pass: Callable[[PassReport | FleetdError], None] = lambda _result: None,
) -> Engine:
    """The engine on the given ports: what ``fleetd run`` runs, and what the tests run on virtual time.

    ``sources`` makes the idle sources; by default those that the config names.
    """
    recall = Recall(journal)
    poller = Poller(cloud, clock, poll=settings.daemon.poll)
    follower = Follower(poller, recall, clock, meter)
    leases = Leases(journal)
    idleness = idle_clocks(journal, clock, leases, sources)
    reconciler = Reconciler(
        settings, cloud, journal, clock, meter, rng, follower, recall, idleness, progress=notifier.alive
    )
    daemon = Daemon(reconciler, poller, follower, notifier, meter, clock, rng, alarms, load=load, on_pass=on_pass)
    return Engine(daemon, reconciler, poller, follower, EngineSeat(daemon, leases, clock))


def idle_clocks(journal: Journal, clock: Clock, leases: Leases, sources: OpenSources | None = None) -> Idleness:
    """The idle clocks, on the sources that the config names unless others are given."""
    return Idleness(sources or (lambda tables: open_sources(tables, leases.holder)), leases, journal, clock)


async def run_daemon(
    settings: Settings, load: Callable[[], Settings], *, observer: Callable[[dict[str, Any]], None] | None = None
) -> None:
    """``fleetd run``: until SIGTERM or SIGINT. ``observer`` is handed the status document after every pass."""
    notifier, metrics = systemd.from_environment(), Metrics(version=__version__)

    def passed(document: dict[str, Any]) -> None:
        page.passed(document)
        if observer is not None:
            observer(document)

    async with _engine(settings, load, notifier=notifier, metrics=metrics, observer=passed) as engine:
        page = Page(
            engine.seat.status,
            engine.reconciler.recall.journal,
            SystemClock().now,
            interval=lambda: engine.reconciler.settings.daemon.interval,
            version=__version__,
        )
        async with _endpoints(settings, engine.seat, metrics, page), anyio.create_task_group() as group:
            group.start_soon(_obey_signals, engine.daemon)
            group.start_soon(watch_lag, metrics.lag)
            await engine.daemon.run()
            group.cancel_scope.cancel()


async def converge(
    settings: Settings, *, timeout: float, on_status: Callable[[dict[str, Any]], None] = lambda _document: None
) -> dict[str, Any]:
    """``fleetd apply``: passes until every fleet has converged; the last status document.

    Args:
        settings: what is wanted.
        timeout: seconds.
        on_status: handed the status document after every pass.

    Raises:
        ApplyTimedOut: not converged in time.
        ApplyInterrupted: a signal came first.
        ApplyBlocked: it cannot converge without a person.
        CloudError: the provider cannot be reached, or refuses the key.
        StoreError: the state directory cannot be used, or a daemon has it.
    """
    watch = ConvergenceWatch(limit=ONE_SHOT_LIMIT)
    async with _engine(settings, lambda: settings, notifier=systemd.NullNotifier(), on_pass=watch.saw) as engine:
        watch.attach(engine.daemon, lambda: on_status(engine.seat.status()))
        async with anyio.create_task_group() as group:
            group.start_soon(_obey_signals, engine.daemon)
            group.start_soon(watch.first_answer)
            with anyio.move_on_after(timeout) as limit:
                await engine.daemon.run()
            group.cancel_scope.cancel()
        document = engine.seat.status()
    if watch.failure is not None:
        raise watch.failure
    if not watch.converged:
        goes_on = "run it again to go on: machines under way are known to the journal"
        left = watch.unfinished()
        if limit.cancelled_caught:
            raise ApplyTimedOut("\n".join([f"not converged in time; {goes_on}", *left]))
        raise ApplyInterrupted("\n".join([f"interrupted before it had converged; {goes_on}", *left]))
    return document


@asynccontextmanager
async def _engine(
    settings: Settings,
    load: Callable[[], Settings],
    *,
    notifier: Notifier,
    metrics: Metrics | None = None,
    on_pass: Callable[[PassReport | FleetdError], None] = lambda _result: None,
    observer: Callable[[dict[str, Any]], None] | None = None,
) -> AsyncIterator[Engine]:
    """The engine on its real adapters, with the state directory locked."""
    metrics = metrics or Metrics(version=__version__)
    clock = SystemClock()
    state = state_path(settings)
    with StateLock(state, pid=os.getpid(), since=datetime.now(UTC)):
        journal = await SqliteJournal.open(journal_path(state))
        try:
            async with open_cloud(settings, on_request=metrics.request) as cloud:

                def passed(result: PassReport | FleetdError) -> None:
                    on_pass(result)
                    if isinstance(result, PassReport):
                        metrics.pass_done(engine.seat.status())
                    else:
                        metrics.pass_failed()
                    if observer is not None:
                        observer(engine.seat.status())

                engine = assemble(
                    settings,
                    cloud,
                    journal,
                    clock=clock,
                    meter=metrics,
                    notifier=notifier,
                    alarms=alarm_clock.Alarms(),
                    rng=random.Random(),
                    load=load,
                    on_pass=passed,
                )
                yield engine
        finally:
            await journal.aclose()


@asynccontextmanager
async def _endpoints(settings: Settings, seat: EngineSeat, metrics: Metrics, page: Page) -> AsyncIterator[None]:
    """The control socket, and on ``daemon.listen`` the read-only endpoints and the page."""
    now, control = SystemClock().now, control_socket_path(os.environ, state_path(settings))
    async with (
        serve_control(seat, control, reads=read_routes(seat, metrics, now)),
        serve_http(seat, metrics, settings.daemon.listen, now=now, pages=page.routes()),
        page.open() if settings.daemon.listen else nullcontext(),
    ):
        yield


async def _obey_signals(daemon: Daemon) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        async for received in signals:
            if received is not signal.SIGHUP:
                daemon.stop()
                continue
            try:
                daemon.reload()
            except FleetdError:
                continue  # logged and shown in status; the old config stays in force
