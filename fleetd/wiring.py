"""The one place where everything is put together: ports meet their adapters here, and nowhere else."""

from __future__ import annotations

import getpass
import os
import random
import secrets
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import structlog

from fleetd import __version__, config
from fleetd.activity.opening import open_sources
from fleetd.cloud.calls import HttpLimits, OnRequest
from fleetd.cloud.dialects import DIALECTS
from fleetd.cloud.port import Cloud, MachinesApi
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
from fleetd.engine.status import hold_document, status_document
from fleetd.engine.survey import survey
from fleetd.engine.vetoes import entry_words, veto_entry
from fleetd.model.errors import ConfigError, Fault, FleetdError, Unauthorized, Unavailable
from fleetd.model.journal import HistoryEntry, IdleReport, MachineOrder, VetoOrder
from fleetd.model.machine import Machine
from fleetd.model.settings import DaemonSettings, ProviderSettings, Settings
from fleetd.ops import alarms as alarm_clock
from fleetd.ops import systemd
from fleetd.ops.control import serve_control
from fleetd.ops.control_client import ControlClient, NoDaemon, NotAllowed, is_listening
from fleetd.ops.escape import printable
from fleetd.ops.http import serve_http
from fleetd.ops.lag import watch_lag
from fleetd.ops.logs import Secrets
from fleetd.ops.metrics import Metrics
from fleetd.ops.page.service import Page
from fleetd.ops.reads import read_routes
from fleetd.planner.billing import Bill, bill_of
from fleetd.planner.ownership import owners
from fleetd.simulator.boot import Boot, boot
from fleetd.store.lock import StateLock
from fleetd.store.paths import CONTROL_SOCKET, control_socket_path, journal_path, state_dir
from fleetd.store.port import Journal
from fleetd.store.sqlite import SqliteJournal

log = structlog.get_logger(__name__)

DEFAULT_CONFIG = Path("/etc/fleetd/fleetd.toml")
SERVICE_STATE = Path("/var/lib/fleetd")
"""Where systemd's StateDirectory= puts the unit's state; commands in a shell look there too."""
SERVICE_RUNTIME = Path("/run/fleetd")
ONE_SHOT_LIMIT = 25.0
"""Seconds in which a one-shot command must have its first answer from the provider."""

SECRETS = Secrets()
"""Masked in every log line and error message of this process."""


@dataclass(frozen=True, slots=True)
class Engine:
    """The daemon and its parts, put together."""

    daemon: Daemon
    reconciler: Reconciler
    poller: Poller
    follower: Follower
    seat: EngineSeat


def find_config(option: Path | None) -> Path:
    """The config file: the option, else $FLEETD_CONFIG, else /etc/fleetd/fleetd.toml."""
    if option is not None:
        return option
    named = os.environ.get("FLEETD_CONFIG")
    return Path(named) if named else DEFAULT_CONFIG


def load_settings(path: Path) -> Settings:
    """Read a config file.

    Raises:
        ConfigError: it cannot be read, or has faults; all of them are in it.
    """
    return config.load(path)


def load_for_daemon(path: Path) -> Settings:
    """What a command needs that speaks to the running daemon: a faulty file keeps nobody from asking or stopping it.

    Where the file has faults and a daemon listens, which then runs on the config before them, the settings say no
    more than where it listens; they have no fleets, and no key.

    Raises:
        ConfigError: the file has faults, and no daemon listens.
    """
    try:
        return load_settings(path)
    except ConfigError:
        nothing = ProviderSettings(kind="", base_url="", api_key=None)
        daemon = DaemonSettings(state_dir=config.state_dir_of(path))
        found = Settings(source=str(path), provider=nothing, fleets=(), daemon=daemon)
        if any(is_listening(control) for control in _control_sockets(found)):
            return found
        raise


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
    idleness = _idleness(journal, clock, leases, sources)
    reconciler = Reconciler(
        settings, cloud, journal, clock, meter, rng, follower, recall, idleness, progress=notifier.alive
    )
    daemon = Daemon(reconciler, poller, follower, notifier, meter, clock, rng, alarms, load=load, on_pass=on_pass)
    return Engine(daemon, reconciler, poller, follower, EngineSeat(daemon, leases, clock))


@asynccontextmanager
async def open_cloud(
    settings: Settings, *, on_request: OnRequest = lambda _operation, _code, _seconds: None
) -> AsyncIterator[Cloud]:
    """The provider of a config, behind the port; the embedded simulator where that is what it names.

    Raises:
        ConfigError: the key cannot be read.
    """
    limits = _limits(settings.provider)
    async with _address(settings.provider, settings.source) as (base_url, key):
        opened = DIALECTS[settings.provider.dialect].open_cloud
        cloud = opened(base_url, lambda: key, rng=random.Random(), limits=limits, on_request=on_request)
        try:
            yield cloud
        finally:
            await cloud.aclose()


@asynccontextmanager
async def open_machines_api(settings: Settings) -> AsyncIterator[MachinesApi]:
    """The provider's machines API call for call, for use by hand."""
    async with _address(settings.provider, settings.source) as (base_url, key):
        opened = DIALECTS[settings.provider.dialect].open_api
        api = opened(base_url, lambda: key, rng=random.Random(), limits=_limits(settings.provider))
        try:
            yield api
        finally:
            await api.aclose()


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
        if limit.cancelled_caught:
            raise ApplyTimedOut(f"not converged; {goes_on}")
        raise ApplyInterrupted(f"interrupted before it had converged; {goes_on}")
    return document


async def plan_once(settings: Settings, *, at: datetime | None = None) -> PassReport:
    """``fleetd plan``: what the next pass would do, or one at another time. Writes nothing.

    Who is idle is asked of the running daemon; without one of the idle sources, from where its clocks stood.

    Raises:
        CloudError: the provider could not be looked at within 25 s.
        StoreError: the journal cannot be read.
    """
    return await _survey(settings, at=at, idle=await _idle_now(settings))


async def current_status(settings: Settings) -> dict[str, Any]:
    """``fleetd status``: from the running daemon, else from the journal and the API."""
    running = await _running_status(settings)
    if running is not None:
        return running
    report = await _survey(settings)
    daemon = {
        "running": False,
        "pid": None,
        "since": None,
        "config": settings.source,
        "last_pass": None,
        "provider": "ok",
    }
    return status_document(report, daemon=daemon)


async def _running_status(settings: Settings) -> dict[str, Any] | None:
    for socket in _control_sockets(settings):
        try:
            async with ControlClient(socket) as client:
                return await client.status()
        except NoDaemon:
            continue
    return None


async def _idle_now(settings: Settings) -> dict[str, IdleReport] | None:
    """What the running daemon knows of who is idle; None without one."""
    document = await _running_status(settings)
    if document is None:
        return None
    return {
        row["id"]: IdleReport(
            row["idle"]["verdict"],
            None if row["idle"]["since"] is None else datetime.fromisoformat(row["idle"]["since"]),
            row["idle"]["evidence"],
        )
        for row in document["machines"]
        if row.get("idle") is not None
    }


async def order(settings: Settings, method: str, path: str, **body: Any) -> dict[str, Any]:
    """One order to the running daemon.

    Raises:
        NoDaemon: none runs on this state directory, or this user may not ask it.
        OrderRefused: it declined.
    """
    refusal = NoDaemon(f"no daemon runs on {state_path(settings)}")
    for socket in _control_sockets(settings):
        try:
            async with ControlClient(socket) as client:
                return await client.order(method, path, **body)
        except NoDaemon as error:
            refusal = error
    raise refusal


async def veto(settings: Settings, order_: VetoOrder) -> dict[str, Any]:
    """``fleetd hold`` and ``freeze``: through the running daemon; without one, into the journal for the next one.

    Raises:
        NotAllowed: a daemon runs, and this user may not ask it.
        OrderRefused: it declined.
        StoreError: the journal cannot be written.
    """
    body = {
        "kind": order_.kind,
        "verbs": sorted(order_.verbs),
        "reason": order_.reason,
        "seconds": order_.lasts.total_seconds(),
    }
    try:
        return await order(
            settings, "POST", "/veto", **body, **({"subject": order_.subject} if order_.subject else {})
        )
    except NotAllowed:
        raise
    except NoDaemon:
        now, actor = datetime.now(UTC), _myself()
        async with _offline_journal(settings) as journal:
            hold = await journal.add_hold(
                kind=order_.kind,
                subject=order_.subject,
                verbs=order_.verbs,
                reason=order_.reason,
                actor=actor,
                now=now,
                expires_at=now + order_.lasts,
            )
            found = await _known(journal, order_.subject) if order_.kind == "hold" else []
            entry = veto_entry(order_.kind, order_.subject, found, actor, now, entry_words(hold))
            await journal.append_history(entry)
        return hold_document(hold) | {"machines": [m.id for m, _ in found]}


async def lift(settings: Settings, kind: str, subject: str | None) -> int:
    """``fleetd release`` and ``unfreeze``: the number of vetoes ended. Raises as ``veto`` does."""
    try:
        body = {"kind": kind, **({"subject": subject} if subject else {})}
        return int((await order(settings, "POST", "/lift", **body))["removed"])
    except NotAllowed:
        raise
    except NoDaemon:
        async with _offline_journal(settings) as journal:
            found = await _known(journal, subject) if kind == "hold" else []
            subjects = {subject, *(m.id for m, _ in found), *(m.name for m, _ in found)}
            removed = sum([await journal.remove_holds(kind=kind, subject=s) for s in sorted(subjects, key=str)])
            if removed:
                verb = "release" if kind == "hold" else "unfreeze"
                entry = veto_entry(verb, subject, found, _myself(), datetime.now(UTC), None)
                await journal.append_history(entry)
            return removed


async def order_machine(settings: Settings, order_: MachineOrder) -> dict[str, Any]:
    """``fleetd start``, ``stop`` and ``restart``: what the daemon's next pass made of it.

    Raises:
        NoDaemon: none runs; only a daemon's pass carries an order out.
        OrderRefused: it declined; ``status`` 409 is "not now".
    """
    body: dict[str, Any] = {"verb": str(order_.verb), "machine": order_.subject, "reason": order_.reason}
    if order_.even_if_busy:
        body["even_if_busy"] = True
    if order_.keep_off:
        body["seconds"] = order_.keep_off.total_seconds()
    return await order(settings, "POST", "/request", **body)


async def read_history(
    settings: Settings,
    *,
    since: datetime | None = None,
    fleet: str | None = None,
    machine: str | None = None,
    after_id: int = 0,
    limit: int | None = None,
) -> list[tuple[int, HistoryEntry]]:
    """``fleetd history``: entries with their row ids, oldest first."""
    journal = await SqliteJournal.open_read_only(journal_path(state_path(settings)))
    try:
        return list(await journal.history(since=since, fleet=fleet, machine=machine, after_id=after_id, limit=limit))
    finally:
        await journal.aclose()


def journal_mark(settings: Settings) -> tuple[object, ...]:
    """Changes when the journal may have: reading it again before that shows nothing new."""
    path = journal_path(state_path(settings))
    found: list[object] = []
    for one in (path, path.with_name(f"{path.name}-wal")):
        try:
            status = one.stat()
        except OSError:
            found.append(None)
        else:
            found.append((status.st_ino, status.st_size, status.st_mtime_ns))
    return tuple(found)


async def month_bills(settings: Settings, month: str) -> dict[str, list[tuple[Machine, Bill]]]:
    """``fleetd cost``: by fleet, every owned machine with its month (``YYYY-MM``), as the provider bills it.

    Raises:
        CloudError: the provider could not be asked; ``Unsupported`` where the dialect has no billing data.
    """
    journal = await SqliteJournal.open_read_only(journal_path(state_path(settings)))
    try:
        async with open_cloud(settings) as cloud:
            with _within(ONE_SHOT_LIMIT):
                listing = await cloud.list_machines()
            facts = {f.machine_id: f for f in await journal.facts()}
            owned = owners(listing.machines, settings.fleets, facts, await journal.open_intents())
            bills: dict[str, list[tuple[Machine, Bill]]] = {f.name: [] for f in settings.fleets}

            async def ask(machine: Machine) -> None:
                use = await cloud.utilization(machine.id, month)
                bills[owned[machine.id].fleet].append((machine, bill_of(use)))

            async with anyio.create_task_group() as group:
                for machine in listing.machines:
                    if machine.id in owned:
                        group.start_soon(ask, machine)
            return {name: sorted(rows, key=lambda row: row[0].name) for name, rows in bills.items()}
    finally:
        await journal.aclose()


async def check_online(settings: Settings) -> list[Fault]:
    """``fleetd check --online``: what the account lacks of what the config names.

    Raises:
        CloudError: the account could not be asked within 25 s.
    """
    async with open_machines_api(settings) as api:
        with _within(ONE_SHOT_LIMIT):
            return await DIALECTS[settings.provider.dialect].inquire(api, settings)


async def serve_simulator(
    *,
    host: str,
    port: int,
    speed: float,
    seed: int,
    faults: Path | None,
    key: str | None,
    on_ready: Callable[[str], None],
) -> None:
    """``fleetd simulator``: until SIGTERM or SIGINT. ``on_ready`` is handed the URL."""
    async with boot(Boot(speed=speed, seed=seed, faults=faults), key=key, host=host, port=port) as server:
        # Who reads that it is ready may end it at once.
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            on_ready(server.url)
            async for _signal in signals:
                return


def state_path(settings: Settings) -> Path:
    """The state directory of a config.

    Where neither the config nor the environment names one, the service's config has the service's state: a freeze
    given in a shell must reach the journal that the daemon reads. With another config, a shell finds the service's
    where it has none of its own.
    """
    chosen = state_dir(settings.daemon.state_dir, os.environ)
    if settings.daemon.state_dir is not None or "STATE_DIRECTORY" in os.environ:
        return chosen
    if Path(settings.source) == DEFAULT_CONFIG:
        return SERVICE_STATE
    # lexists: under DynamicUser= the service's is a link to where only root may look
    return SERVICE_STATE if os.path.lexists(SERVICE_STATE) and not os.path.lexists(chosen) else chosen


def _control_sockets(settings: Settings) -> Iterator[Path]:
    state = state_path(settings)
    yield control_socket_path(os.environ, state)
    if state == SERVICE_STATE:
        yield SERVICE_RUNTIME / CONTROL_SOCKET


@asynccontextmanager
async def _offline_journal(settings: Settings) -> AsyncIterator[SqliteJournal]:
    """The journal for writing while no daemon runs; the lock sees to that."""
    state = state_path(settings)
    with StateLock(state, pid=os.getpid(), since=datetime.now(UTC)):
        journal = await SqliteJournal.open(journal_path(state))
        try:
            yield journal
        finally:
            await journal.aclose()


def _myself() -> str:
    """Who gives an order without a daemon, as one would record it."""
    login, uid = os.environ.get("SUDO_USER", ""), os.getuid()
    behind = f" for {printable(login, 32)}" if uid == 0 and login else ""
    return f"{getpass.getuser()} (uid {uid}){behind}"


async def _known(journal: Journal, subject: str | None) -> list[tuple[Machine, str]]:
    """Machines that the journal remembers by that id or name, each with its fleet."""
    return [
        (Machine(f.machine_id, f.name, f.last_state), f.fleet)
        for f in await journal.facts()
        if subject in {f.machine_id, f.name} and f.gone_at is None and not f.destroyed
    ]


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


@asynccontextmanager
async def _address(provider: ProviderSettings, source: str) -> AsyncIterator[tuple[str, str]]:
    """(base URL, key) of a provider; for the simulator, of one that runs as long as the block."""
    if provider.kind != "simulator":
        if provider.api_key is None:  # the config's checks see to it; a key is never guessed
            raise Unauthorized("no API key is configured (provider.api_key)")
        key = config.read_key(provider.api_key, os.environ, config=source)
        SECRETS.add(key)
        yield provider.base_url, key
        return
    key = secrets.token_hex(16)
    SECRETS.add(key)
    async with boot(Boot.from_settings(provider.simulator), key=key) as server:
        yield server.url + DIALECTS[provider.dialect].simulated_path, key


def _limits(provider: ProviderSettings) -> HttpLimits:
    return HttpLimits(
        max_concurrency=provider.max_concurrency,
        max_requests_per_second=provider.max_requests_per_second,
        request_timeout=provider.request_timeout.total_seconds(),
    )


async def _survey(
    settings: Settings, *, at: datetime | None = None, idle: Mapping[str, IdleReport] | None = None
) -> PassReport:
    journal = await SqliteJournal.open_read_only(journal_path(state_path(settings)))
    try:
        async with open_cloud(settings) as cloud:
            with _within(ONE_SHOT_LIMIT):
                clock = SystemClock()
                idleness = _idleness(journal, clock, Leases(journal))
                return await survey(settings, cloud, journal, clock, idleness, at=at, idle=idle)
    finally:
        await journal.aclose()


def _idleness(journal: Journal, clock: Clock, leases: Leases, sources: OpenSources | None = None) -> Idleness:
    return Idleness(sources or (lambda tables: open_sources(tables, leases.holder)), leases, journal, clock)


@contextmanager
def _within(seconds: float) -> Iterator[None]:
    try:
        with anyio.fail_after(seconds):
            yield
    except TimeoutError as error:
        raise Unavailable(f"no answer from the provider within {seconds:.0f} s") from error


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
