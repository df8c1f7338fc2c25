"""A replica that stands by and answers meanwhile, and what the one that acts leaves for it in the database."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from datetime import datetime
from functools import partial

import anyio
import structlog
from anyio.abc import TaskStatus

from fleetd import __version__, config
from fleetd.engine.faults import Faults
from fleetd.engine.ports import Clock
from fleetd.engine.reloading import Reloading
from fleetd.model.answers import Reloaded
from fleetd.model.errors import ConfigError, FleetdError, LockLost, StateAway, StoreError
from fleetd.model.journal import HistoryEntry
from fleetd.model.report import LeaseReport, Report, StandbyReport, decoded, encoded
from fleetd.model.settings import Settings
from fleetd.ops.addressee import Identity
from fleetd.ops.control import serve_standby_control
from fleetd.ops.escape import printable
from fleetd.ops.hangup import hangup_came, keep_hangups
from fleetd.ops.http import serve_http
from fleetd.ops.lease_metrics import StandbyMetrics
from fleetd.ops.page.scene import Known
from fleetd.ops.page.service import Page
from fleetd.ops.socket_pointer import word_left
from fleetd.ops.standby import StandbyHandle
from fleetd.planner.aged import patience_of
from fleetd.store.paths import control_socket_path
from fleetd.store.port import Journal
from fleetd.store.postgres import bulletin
from fleetd.store.postgres.bulletin import Heard
from fleetd.store.postgres.database import Database
from fleetd.store.postgres.journal import PostgresJournal
from fleetd.store.postgres.lease import Lease, between_holders
from fleetd.wiring.places import absolute, state_path
from fleetd.wiring.reloads import Reloads

log = structlog.get_logger(__name__)

HEAR = 2.0
"""Seconds between two looks of a standby at what the holder has said."""
MOST_LINES = 20
"""Of a rejected reload, for the others."""
HANGUPS = 0.2
"""Seconds between two looks of a standby at whether SIGHUP came."""
SAY = 5.0
"""Seconds between two bulletins of the holder, at least; it says nothing where no pass has ended meanwhile."""


def lease_report_of(heard: Heard) -> LeaseReport:
    """Who has the lease, and who stands by."""
    holder = heard.holder
    digest = next((r.digest for r in heard.replicas if r.holds), "")
    return LeaseReport(
        holder=None if holder.over else holder.about,
        since=None if holder.over else holder.since,
        epoch=holder.epoch,
        reason=holder.reason or None,
        before=holder.previous or None,
        takeovers=dict(heard.takeovers),
        standbys=tuple(
            StandbyReport(
                about=replica.about,
                config=replica.config or None,
                config_differs=config.configs_differ(digest, replica.digest),
                config_fault=replica.fault or None,
            )
            for replica in heard.replicas
            if not replica.holds
        ),
    )


class Speaker:
    """The holder's side: says how everything stands after each pass, and learns who stands by."""

    def __init__(self, lease: Lease, database: Database) -> None:
        self._lease = lease
        self._database = database
        self._report: Report | None = None
        self._settings: Settings | None = None
        self.told = LeaseReport(holder=lease.about, epoch=lease.epoch, reason=lease.reason or None)

    def passed(self, report: Report, settings: Settings) -> None:
        """A pass has ended, well or not, on these settings. Only takes note."""
        self._report = report
        if settings is not self._settings:
            self._settings = settings
            self._lease.config = (settings.source, config.config_digest(settings))

    async def run(self) -> None:
        """Say it for as long as the process acts.

        Raises:
            LockLost: it may not any more.
        """
        while True:
            try:
                self.told = lease_report_of(await self._database.read(bulletin.roll))
                report, self._report = self._report, None
                if report is not None:
                    packed = await anyio.to_thread.run_sync(bulletin.packed, encoded(report))
                    await bulletin.leave(self._database, self._lease.epoch, packed)
            except LockLost:
                raise
            except StoreError as error:
                log.warning("bulletin.was_not_left", error=str(error))
            await anyio.sleep(SAY)


class Standby:
    """A replica that waits for the lease, and answers meanwhile. To be told of each look at the database."""

    def __init__(self, settings: Settings, lease: Lease, reloads: Reloads, clock: Clock) -> None:
        self.settings = settings
        """What it would act on."""
        self._lease = lease
        self._meter = reloads.meter
        self._hangup = reloads.hangup
        self._metrics = StandbyMetrics(version=__version__, began=clock.now())
        faults = Faults(clock, reloads.meter)
        self.reloading = Reloading(reloads.load, reloads.notifier, faults, self._reloaded, clock.now)
        self._known: datetime | None = None
        self._differs: tuple[str, str] | None = None
        self._shown: object = None
        self._heard_at = float("-inf")
        patience = patience_of(settings.daemon.interval)
        self._clock = clock
        now, file = clock.now, absolute(settings)
        self.handle = StandbyHandle(lease.about, settings.source, now, patience)
        self._journal = PostgresJournal(between_holders(lease.address))
        self._page = Page(
            self.handle.status,
            _Reading(self._journal, self.handle.ready),
            now,
            interval=lambda: self.settings.daemon.interval,
            version=__version__,
            known=lambda: Known.of(self.settings, file),
        )

    def reload(self) -> Reloaded:
        """Read the config again: what this replica acts on once it takes over.

        Raises:
            ConfigError: it has faults; the one from before stays.
        """
        try:
            self.settings = settings = self.reloading.read(self.settings)
        finally:
            rejection = self.reloading.rejection
            self._lease.fault = "" if rejection is None else _lines(rejection.why)
        self._lease.config = (settings.source, config.config_digest(settings))
        self.handle.on_config(patience_of(settings.daemon.interval))
        log.info("config.reloaded", config=settings.source, fleets=len(settings.fleets), stands_by=True)
        return Reloaded(reloaded=True, config=settings.source, replica=self._lease.about, acts=False)

    async def look(self) -> None:
        """Learn who acts and what it said, every few seconds.

        Raises:
            StateAway, StateUnusable: the database cannot be asked.
        """
        if anyio.current_time() - self._heard_at < HEAR and self.handle.ready() is None:
            return
        heard = await self._lease.ask(partial(bulletin.hear, known=self._known))
        self._heard_at = anyio.current_time()
        said, word = heard.bulletin, None
        if said is not None and said.report is not None:
            word = _understood(said.report)
            self._known = said.said_at
        self.handle.heard(
            lease_report_of(heard),
            epoch=0 if said is None else said.epoch,
            age=0.0 if said is None else said.age,
            word=word,
        )
        self._compare(heard)
        self._show()

    def away(self, error: FleetdError) -> None:
        """The database could not be asked."""
        self.handle.away(str(error))
        self._show()

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Answer on the control socket and on ``daemon.listen`` until it is cancelled; started once it does.

        Raises:
            ListenFailed: it cannot be listened on.
            StateLocked, StateUnusable: the control socket cannot be made.
        """
        listen, state = self.settings.daemon.listen, state_path(self.settings)
        identity = Identity.running_on(self.settings, state, stands_by=True)
        control = control_socket_path(os.environ, state)
        try:
            async with AsyncExitStack() as stack:
                asked = serve_standby_control(self.reload, control, identity=identity)
                keep_socket = await stack.enter_async_context(asked)
                stack.enter_context(word_left(identity, control, os.environ))
                if listen:
                    served = serve_http(
                        self.handle, self._metrics, listen, now=self._clock.now, pages=self._page.routes()
                    )
                    await stack.enter_async_context(served)
                    await stack.enter_async_context(self._page.open())
                task_status.started()
                await keep_socket()
        finally:
            with anyio.CancelScope(shield=True):
                await self._journal.aclose()

    async def obey_hangups(self) -> None:
        """Read the config again at each SIGHUP, for as long as this replica stands by.

        Not by a handler of the loop's: to take that off leaves the signal ending the process for a moment, and who
        acts takes it over from here.
        """
        if not self._hangup:
            return
        keep_hangups()
        while True:
            if hangup_came():
                with suppress(ConfigError):  # logged and shown in status; the old config stays
                    self.reload()
            await anyio.sleep(HANGUPS)

    def _compare(self, heard: Heard) -> None:
        """Say in the log that a takeover would change the config, once for each of the holder's."""
        holder = next((r for r in heard.replicas if r.holds), None)
        if holder is None:
            return
        differs = (holder.about, holder.digest) if self._is_other(holder.digest) else None
        if differs is not None and differs != self._differs:
            log.warning(
                "lease.config_differs", config=self.settings.source, holder=holder.about, its_config=holder.config
            )
        self._differs = differs

    def _reloaded(self, *, ok: bool) -> None:
        self._meter.reload(ok=ok)
        self._metrics.reload(ok=ok)

    def _is_other(self, digest: str) -> bool:
        return config.configs_differ(digest, self._lease.config[1])

    def _show(self) -> None:
        """Tell open pages where something is new."""
        shown = (self._known, self.handle.doubted())
        if shown != self._shown:
            self._shown = shown
            self._page.passed(self.handle.status())


class _Reading:
    """The part of the journal that the page needs; what it would keep, the holder's own page keeps."""

    def __init__(self, journal: Journal, away: Callable[[], str | None]) -> None:
        self._journal = journal
        self._away = away

    async def history(
        self,
        *,
        since: datetime | None = None,
        fleet: str | None = None,
        machine: str | None = None,
        limit: int | None = None,
    ) -> Sequence[tuple[int, HistoryEntry]]:
        self._must_be_there()
        return await self._journal.history(since=since, fleet=fleet, machine=machine, limit=limit)

    async def get_note(self, key: str) -> str | None:
        self._must_be_there()
        return await self._journal.get_note(key)

    async def put_note(self, key: str, value: str) -> None:
        """Keep nothing."""

    def _must_be_there(self) -> None:
        """Who looks at the page is not to wait until a database that is known to be away has not answered."""
        if (why := self._away()) is not None:
            raise StateAway(why)


def _lines(text: str) -> str:
    return "\n".join(printable(line) for line in text.splitlines()[:MOST_LINES])


def _understood(report: bytes) -> Report | None:
    try:
        return decoded(report, Report)
    except ValueError as error:  # of another version
        log.warning("bulletin.was_unreadable", error=str(error))
        return None
