"""The daemon, put together and run: for good, or until every fleet is at its target."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial

import anyio

from fleetd import __version__
from fleetd.activity.opening import open_sources
from fleetd.cloud.port import Cloud
from fleetd.engine.convergence import ConvergenceWatch
from fleetd.engine.daemon import Daemon
from fleetd.engine.faults import Faults
from fleetd.engine.follower import Follower
from fleetd.engine.handle import EngineHandle
from fleetd.engine.idleness import Idleness
from fleetd.engine.leases import Leases
from fleetd.engine.pace import looks_a_tick
from fleetd.engine.pass_report import PassReport
from fleetd.engine.poller import Poller
from fleetd.engine.ports import Alarms, Clock, Meter, Notifier, SystemClock
from fleetd.engine.recall import Recall
from fleetd.engine.reconciler import Reconciler
from fleetd.engine.reloading import Rejection
from fleetd.engine.rounds import OpenSources
from fleetd.model.errors import ApplyInterrupted, ApplyTimedOut, FleetdError, OrderDeclined
from fleetd.model.report import LeaseReport, Report
from fleetd.model.settings import Settings
from fleetd.ops import alarms as alarm_clock
from fleetd.ops import systemd
from fleetd.ops.addressee import Identity
from fleetd.ops.control import serve_control
from fleetd.ops.http import serve_http
from fleetd.ops.metrics import Metrics
from fleetd.ops.page.scene import Known
from fleetd.ops.page.service import Page
from fleetd.ops.reads import read_routes
from fleetd.ops.socket_pointer import word_left
from fleetd.store.lock import StateLock
from fleetd.store.paths import control_socket_path, journal_path
from fleetd.store.port import Journal
from fleetd.store.sqlite import SqliteJournal
from fleetd.wiring.extra import needs_postgres
from fleetd.wiring.handover import HAS_AN_END, Handover
from fleetd.wiring.loops import watch_lag
from fleetd.wiring.places import absolute, state_path
from fleetd.wiring.provider import ONE_SHOT_LIMIT, open_cloud
from fleetd.wiring.reloads import Reloads
from fleetd.wiring.signals import LockWatch, StoppedWaiting, obey_signals


@dataclass(frozen=True, slots=True)
class Engine:
    """The daemon and its parts, put together."""

    daemon: Daemon
    reconciler: Reconciler
    poller: Poller
    follower: Follower
    handle: EngineHandle
    watch_lock: Callable[[], Coroutine[object, None, object]] = anyio.sleep_forever
    """Raises ``LockLost`` once the state directory is not this process's any more."""
    handover: Handover = field(default_factory=Handover)


@dataclass(frozen=True, slots=True)
class Kept:
    """The journal, and what there is around it."""

    journal: Journal
    watch: Callable[[], Coroutine[object, None, object]]
    """Raises ``LockLost`` once this process may not write it any more."""
    lease: Callable[[], LeaseReport | None] = lambda: None
    """Which of several replicas acts."""
    passed: Callable[[Report, Settings], None] = lambda _report, _settings: None
    """To be told of each pass and what it was made on, for the replicas that stand by."""
    handover: Handover = field(default_factory=Handover)
    settings: Settings | None = None
    """What to act on, where it was read again since the start."""
    rejection: Rejection | None = None
    """Why the file was not taken when it was read last."""
    began_at: datetime | None = None
    """When it began, by the clock of the database that keeps it; None where a file does."""


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
    command: str = "run",
    lease: Callable[[], LeaseReport | None] = lambda: None,
) -> Engine:
    """The engine on the given ports: what ``fleetd run`` runs, and what the tests run on virtual time.

    ``sources`` makes the idle sources; by default those that the config names. ``command`` is what runs it, for
    status; ``lease`` says which of several replicas acts.
    """
    recall = Recall(journal, meter)
    faults = Faults(clock, meter)
    poller = Poller(cloud, clock, faults, poll=settings.daemon.poll, looks=looks_a_tick(settings))
    follower = Follower(poller, recall, clock, meter, faults)
    leases = Leases(journal)
    idleness = idle_clocks(journal, clock, leases, sources)
    reconciler = Reconciler(
        settings, cloud, journal, clock, rng, follower, recall, idleness, faults, progress=notifier.alive
    )
    daemon = Daemon(
        reconciler,
        poller,
        follower,
        notifier,
        meter,
        clock,
        rng,
        alarms,
        faults,
        load=load,
        on_pass=on_pass,
        command=command,
    )
    return Engine(
        daemon, reconciler, poller, follower, EngineHandle(daemon, leases, clock, command=command, lease=lease)
    )


def idle_clocks(journal: Journal, clock: Clock, leases: Leases, sources: OpenSources | None = None) -> Idleness:
    """The idle clocks, on the sources that the config names unless others are given."""
    return Idleness(sources or (lambda tables: open_sources(tables, leases.holder)), leases, journal, clock)


async def run_daemon(
    settings: Settings,
    load: Callable[[], Settings],
    *,
    observer: Callable[[Report], None] | None = None,
    hangup_reloads: bool = True,
) -> None:
    """``fleetd run``: until SIGTERM or SIGINT.

    Args:
        settings: what is wanted.
        load: reads the config anew.
        observer: handed how everything stands after every pass.
        hangup_reloads: whether SIGHUP has the config read again; else it ends the daemon.

    Raises:
        LockLost: the lock, the journal or the lease was taken from under it.
    """
    try:
        await _run(settings, load, observer, hangup_reloads=hangup_reloads)
    except StoppedWaiting:
        return


async def _run(
    settings: Settings,
    load: Callable[[], Settings],
    observer: Callable[[Report], None] | None,
    *,
    hangup_reloads: bool,
) -> None:
    notifier, metrics = systemd.from_environment(), Metrics(version=__version__)
    file = absolute(settings)

    def passed(report: Report) -> None:
        page.passed(report)
        if observer is not None:
            observer(report)

    async with _engine(
        settings, load, notifier=notifier, metrics=metrics, observer=passed, hangup_reloads=hangup_reloads
    ) as engine:
        page = Page(
            engine.handle.status,
            engine.reconciler.recall.journal,
            SystemClock().now,
            interval=lambda: engine.reconciler.settings.daemon.interval,
            version=__version__,
            known=lambda: Known.of(engine.reconciler.settings, file),
        )
        async with (
            _endpoints(settings, engine, metrics, page) as keep_socket,
            anyio.create_task_group() as group,
        ):
            group.start_soon(keep_socket)
            group.start_soon(partial(obey_signals, engine.daemon, hangup_reloads=hangup_reloads))
            group.start_soon(engine.watch_lock)
            group.start_soon(watch_lag, metrics.lag)
            group.start_soon(engine.handover.obey, engine.daemon.stop)
            await engine.daemon.run()
            group.cancel_scope.cancel()


async def converge(
    settings: Settings, *, timeout: float, on_status: Callable[[Report], None] = lambda _report: None
) -> Report:
    """``fleetd apply``: passes until every fleet is at its target; how everything stands then.

    Args:
        settings: what is wanted.
        timeout: seconds.
        on_status: handed how everything stands after every pass.

    Raises:
        ApplyTimedOut: not at target in time.
        ApplyInterrupted: a signal came first.
        ApplyBlocked: it takes a person to get there.
        CloudError: the provider cannot be reached, or refuses the key.
        StoreError: the state directory cannot be used, a daemon has it, or it was taken from under this one.
    """
    watch, metrics = ConvergenceWatch(limit=ONE_SHOT_LIMIT), Metrics(version=__version__)

    def load() -> Settings:
        msg = "fleetd apply keeps to the config that it began with: end it, and run it again to use another"
        raise OrderDeclined(msg)

    async with _engine(
        settings, load, notifier=systemd.NullNotifier(), metrics=metrics, on_pass=watch.saw, command="apply"
    ) as engine:
        watch.attach(engine.daemon, lambda: on_status(engine.handle.status()))
        async with _control(settings, engine, metrics) as keep_socket, anyio.create_task_group() as group:
            group.start_soon(keep_socket)
            group.start_soon(partial(obey_signals, engine.daemon, hangup_reloads=False))
            group.start_soon(engine.watch_lock)
            group.start_soon(watch.first_answer)
            with anyio.move_on_after(timeout) as limit:
                await engine.daemon.run()
            group.cancel_scope.cancel()
        report = engine.handle.status()
    if watch.failure is not None:
        raise watch.failure
    if not watch.converged:
        goes_on = "run it again to go on: machines under way are known to the journal"
        left = watch.unfinished()
        if limit.cancelled_caught:
            raise ApplyTimedOut("\n".join([f"not every fleet is at its target yet; {goes_on}", *left]))
        raise ApplyInterrupted("\n".join([f"interrupted before every fleet was at its target; {goes_on}", *left]))
    return report


@asynccontextmanager
async def _engine(
    settings: Settings,
    load: Callable[[], Settings],
    *,
    notifier: Notifier,
    metrics: Metrics,
    on_pass: Callable[[PassReport | FleetdError], None] = lambda _result: None,
    observer: Callable[[Report], None] | None = None,
    command: str = "run",
    hangup_reloads: bool = False,
) -> AsyncIterator[Engine]:
    """The engine on its real adapters, with the state directory locked."""
    clock = SystemClock()
    state = state_path(settings)
    with StateLock(state, pid=os.getpid(), since=datetime.now(UTC)) as lock:
        # No intent is written, and so no call made, once the lock is not ours.
        locked = LockWatch(lock.check)
        reloads = Reloads(load, notifier, metrics, hangup=hangup_reloads) if command == "run" else None
        async with _kept(settings, locked, reloads) as kept:
            settings = kept.settings or settings

            def dated(date: datetime) -> None:
                engine.reconciler.agreement.told(date)

            async with open_cloud(settings, on_request=metrics.request, on_date=dated) as cloud:

                def passed(result: PassReport | FleetdError) -> None:
                    on_pass(result)
                    report = engine.handle.status()
                    if isinstance(result, PassReport):
                        metrics.pass_done(report)
                    else:
                        metrics.pass_failed()
                    kept.passed(report, engine.reconciler.settings)
                    if observer is not None:
                        observer(report)

                engine = assemble(
                    settings,
                    cloud,
                    kept.journal,
                    clock=clock,
                    meter=metrics,
                    notifier=notifier,
                    alarms=alarm_clock.Alarms(),
                    rng=random.Random(),
                    load=load,
                    on_pass=passed,
                    command=command,
                    lease=kept.lease,
                )
                engine.daemon.reloading.rejection = kept.rejection
                if kept.began_at is not None:  # a veto that is given before the provider answers lasts by this
                    engine.reconciler.agreement.told_meanwhile(kept.began_at)
                yield replace(engine, watch_lock=kept.watch, handover=kept.handover)


@asynccontextmanager
async def _kept(settings: Settings, locked: LockWatch, reloads: Reloads | None) -> AsyncIterator[Kept]:
    """The journal, where the config says that it is kept; ``reloads``: of a process that may stand by before."""
    state = state_path(settings)
    if settings.daemon.state is None:
        async with aclosing(await SqliteJournal.open(journal_path(state), guard=locked.check)) as journal:
            yield Kept(journal, LockWatch(journal.check).run)
        return
    with needs_postgres(settings):
        from fleetd.wiring.acting import holding_lease  # noqa: PLC0415

    async with holding_lease(settings, reloads) as held:

        async def watch() -> None:
            async with anyio.create_task_group() as group:
                group.start_soon(LockWatch(locked.check, held.journal.check).run)
                group.start_soon(held.keep, control_socket_path(os.environ, state))

        yield Kept(
            held.journal,
            watch,
            lambda: held.speaker.told,
            held.speaker.passed,
            Handover(HAS_AN_END) if reloads is None else held.handover,
            held.settings,
            held.rejection,
            held.lease.taken_at,
        )


@asynccontextmanager
async def _endpoints(
    settings: Settings, engine: Engine, metrics: Metrics, page: Page
) -> AsyncIterator[Callable[[], Coroutine[object, None, object]]]:
    """The control socket, and on ``daemon.listen`` the read-only endpoints and the page; yields as ``_control``."""
    async with (
        _control(settings, engine, metrics) as keep_socket,
        serve_http(engine.handle, metrics, settings.daemon.listen, now=SystemClock().now, pages=page.routes()),
        page.open() if settings.daemon.listen else nullcontext(),
    ):
        yield keep_socket


@asynccontextmanager
async def _control(
    settings: Settings, engine: Engine, metrics: Metrics
) -> AsyncIterator[Callable[[], Coroutine[object, None, object]]]:
    """The control socket, over which commands reach this process; yields what makes it anew when it is removed."""
    state = state_path(settings)
    control, identity = control_socket_path(os.environ, state), Identity.running_on(settings, state)
    handle = engine.handle
    reads = [*read_routes(handle, metrics, SystemClock().now), *engine.handover.routes()]
    async with serve_control(handle, control, identity=identity, reads=reads) as keep_socket:
        with word_left(identity, control, os.environ):
            yield keep_socket
