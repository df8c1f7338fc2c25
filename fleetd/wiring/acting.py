"""The replica that acts: waiting for the lease, holding it, running others' requests, and handing over."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import aiohttp
import anyio
import structlog

from fleetd import config
from fleetd.engine.ports import Clock
from fleetd.engine.reloading import Rejection
from fleetd.model.answers import SteppingDown
from fleetd.model.errors import (
    LockLost,
    OrderDeclined,
    StateAway,
    StateLocked,
    StateMoved,
    SteppedDown,
    StoreError,
)
from fleetd.model.journal import HistoryEntry
from fleetd.model.reasons import Outcome
from fleetd.model.settings import Settings
from fleetd.ops.control_client import RELAYED, patience
from fleetd.ops.escape import printable
from fleetd.store.moving import has_journal
from fleetd.store.paths import journal_path
from fleetd.store.postgres import requests
from fleetd.store.postgres.address import Address
from fleetd.store.postgres.bulletin import for_bulletins, roll
from fleetd.store.postgres.database import Database, held_by
from fleetd.store.postgres.holder import Holder
from fleetd.store.postgres.journal import PostgresJournal
from fleetd.store.postgres.lease import RENEWAL, SCAN, Lease, fenced, pause
from fleetd.store.postgres.opening import prepared
from fleetd.wiring.handover import NOBODY, Handover
from fleetd.wiring.places import state_path
from fleetd.wiring.process import Process
from fleetd.wiring.reloads import Reloads
from fleetd.wiring.replicas import address_of
from fleetd.wiring.signals import StoppedWaiting
from fleetd.wiring.standby import Speaker, Standby

log = structlog.get_logger(__name__)

OLD_CONFIG = "; its last reload was rejected, and it would act on the config from before"
"""What systemd shows beside that a replica stands by."""


@dataclass(frozen=True, slots=True)
class Held:
    """The lease is this process's."""

    journal: PostgresJournal
    lease: Lease
    before: Holder
    clock: Clock
    speaker: Speaker
    handover: Handover
    settings: Settings
    """What to act on: as it was read last, while this process stood by."""
    rejection: Rejection | None
    """Of the file, when it was read after that."""

    async def keep(self, control: Path) -> None:
        """Renew it, and carry out requests of commands elsewhere, for as long as the process acts.

        Raises:
            LockLost: it is lost.
        """
        database = requests.for_requests(self.lease)
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self.lease.keep)
                group.start_soon(self.speaker.run)
                group.start_soon(_record, self.journal, self.lease, self.before, self.clock)
                group.start_soon(_answer_requests, self.lease.address, database, control)
        finally:
            with anyio.CancelScope(shield=True):
                await database.aclose()


@asynccontextmanager
async def holding_lease(
    settings: Settings, reloads: Reloads | None, process: Process | None = None
) -> AsyncIterator[Held]:
    """The lease of a config's database, given back at the end.

    Args:
        settings: with ``daemon.state``.
        reloads: for standing by while another replica has the lease, and while the database is away; None: not to.
        process: this one, unless another is given.

    Raises:
        StoppedWaiting: a signal came first.
        StateLocked: another replica has it, and this one does not wait.
        StateMoved, StateUnusable: the database is not to be used.
    """
    local = journal_path(state_path(settings))
    if await has_journal(local):
        raise StateMoved(
            f"{local} is a journal that was not moved, and daemon.state names a database: "
            "fleetd state move --to takes its holds and its history there"
        )
    address, process = address_of(settings), process or Process()
    lease = Lease(address, process.about, fuse=process.fuse, monotonic=process.monotonic)
    lease.config = (settings.source, config.config_digest(settings))
    try:
        rejection: Rejection | None = None
        if reloads is None:
            before = await _take(lease)
        else:
            before, standby = await _wait_for(lease, reloads, settings, process)
            settings, rejection = standby.settings, standby.reloading.rejection
        log.info(
            "lease.taken", database=str(address), epoch=lease.epoch, reason=lease.reason, before=before.about or None
        )
        journal, saying = PostgresJournal(fenced(lease)), for_bulletins(lease)
        handover = Handover(begin=partial(_begin_handover, lease, journal, saying, process.clock))
        try:
            yield Held(journal, lease, before, process.clock, Speaker(lease, saying), handover, settings, rejection)
        finally:
            lease.disarm()
            with anyio.CancelScope(shield=True):
                await journal.aclose()
                await saying.aclose()
                if lease.held:
                    await lease.give_back("stepped_down" if handover.asked else "given_back")
                    log.info("lease.given_back", database=str(address), epoch=lease.epoch)
        if handover.asked:
            raise SteppedDown(await _handed_over(lease))
    finally:
        with anyio.CancelScope(shield=True):
            await lease.aclose()


async def _begin_handover(
    lease: Lease, journal: PostgresJournal, database: Database, clock: Clock, actor: str
) -> SteppingDown:
    """Who may take over from this process, which then ends.

    Raises:
        OrderDeclined: nobody stands by.
        StoreError: the database cannot be asked.
    """
    heard = await database.read(roll)
    standbys = tuple(replica.about for replica in heard.replicas if not replica.holds)
    if not standbys:
        raise OrderDeclined(NOBODY)
    entry = _entry(lease.about, clock, "step_down", f"to one of: {', '.join(standbys)}", actor)
    await journal.append_history(entry)
    return SteppingDown(holder=lease.about, epoch=lease.epoch, standbys=standbys)


async def _handed_over(lease: Lease) -> str:
    """Wait until another has the lease, so that this process is not started again before; at most its length."""
    with anyio.move_on_after(lease.ttl):
        while True:
            with suppress(StoreError):
                holder = await lease.look()
                if holder.epoch > lease.epoch:
                    log.info("lease.handed_over", database=str(lease.address), holder=holder.about)
                    return f"stepped down: {holder.about} has the lease of {lease.address}"
            await anyio.sleep(SCAN)
    log.warning("lease.was_not_taken", database=str(lease.address))
    return f"stepped down, and nobody has taken the lease of {lease.address} within {lease.ttl:.0f} s"


async def _take(lease: Lease) -> Holder:
    await prepared(lease.address)
    before = await lease.take()
    if before is None:
        raise held_by(lease.address, (await lease.look()).about)
    return before


async def _record(journal: PostgresJournal, lease: Lease, before: Holder, clock: Clock) -> None:
    """A line of history for the takeover, as soon as it can be written: beside what follows, which does not wait."""
    entry = _entry(lease.about, clock, lease.reason, f"before: {before.about}" if before.about else None)
    while True:
        try:
            await journal.append_history(entry)
        except LockLost:
            raise
        except StoreError as error:
            log.error("journal.failed", error=str(error))  # noqa: TRY400 - no traceback wanted
            await anyio.sleep(RENEWAL)
        else:
            return


def _entry(about: str, clock: Clock, reason: str, evidence: str | None, actor: str = "fleetd") -> HistoryEntry:
    return HistoryEntry(
        ts=clock.now(),
        fleet="",
        machine=None,
        name=about,
        verb="lease",
        reason=reason,
        outcome=Outcome.OBSERVED,
        evidence=evidence,
        actor=actor,
    )


async def _wait_for(lease: Lease, reloads: Reloads, settings: Settings, process: Process) -> tuple[Holder, Standby]:
    """Stand by until the lease is this process's: who had it, and what stood by. The database may come and go."""
    found: list[Holder] = []
    standby, notifier = Standby(settings, lease, reloads, process.clock), reloads.notifier
    with process.terminations() as signals:
        async with anyio.create_task_group() as group:

            async def end() -> None:
                async for _ in signals:
                    log.info("daemon.stop_requested")
                    notifier.stopping()
                    group.cancel_scope.cancel()

            group.start_soon(end)
            group.start_soon(standby.obey_hangups)
            found.append(await _stood_by(lease, reloads, standby, lambda: group.start(standby.serve)))
            group.cancel_scope.cancel()
    if not found:
        raise StoppedWaiting
    return found[0], standby


async def _stood_by(
    lease: Lease, reloads: Reloads, standby: Standby, answers: Callable[[], Awaitable[object]]
) -> Holder:
    """``answers``: awaited once, when it is seen that there is something to wait for."""
    ready, said, shown, roll_call, notifier = False, "", "", _RollCall(lease), reloads.notifier
    while True:
        try:
            await roll_call.answer()
            before = await lease.take()
            if before is not None:
                return before
            holder = await lease.look()
            seen_at = anyio.current_time()
            words = f"standing by: {printable(holder.about, 100)} has the lease"
            if words != said:
                log.info("lease.waiting", database=str(lease.address), holder=holder.about, epoch=holder.epoch)
            await standby.look()
            if ready:
                await lease.heard(pause(holder.left, anyio.current_time() - seen_at))
        except (StateAway, StateLocked) as error:
            standby.away(error)
            words = f"standing by: {error}"
            if words != said:
                log.warning("lease.unreachable", database=str(lease.address), error=str(error))
            if ready:
                await anyio.sleep(SCAN)
        said = words
        if (status := words + OLD_CONFIG * bool(standby.reloading.rejection)) != shown:
            shown = status
            notifier.status(status)
        if not ready:
            ready = True
            await answers()
            notifier.ready()
        notifier.alive()


class _RollCall:
    """Says that this process runs, and on what: in time, and at once where its config was read again."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self._last = float("-inf")
        self._said: object = None

    async def answer(self) -> None:
        """Say it, where it is time.

        Raises:
            StateAway, StateUnusable, StateLocked: the database cannot be asked, or used yet.
        """
        says = (self._lease.config, self._lease.fault)
        if says == self._said and anyio.current_time() - self._last <= self._lease.ttl:
            return
        await prepared(self._lease.address)
        await self._lease.enrol()
        self._last, self._said = anyio.current_time(), says


async def _answer_requests(address: Address, database: Database, control: Path) -> None:
    bell = requests.Bell(address, requests.ASKED)
    try:
        async with anyio.create_task_group() as group:
            while True:
                try:
                    for request in await requests.claimed(database):
                        group.start_soon(_answer_request, database, request, control)
                except LockLost:
                    raise
                except StoreError as error:
                    log.debug("relay.look_failed", error=str(error))
                await bell.heard(requests.LOOK)
    finally:
        with anyio.CancelScope(shield=True):
            await bell.aclose()


async def _answer_request(database: Database, request: requests.Request, control: Path) -> None:
    """Ask our own control socket, as the command would if it were here."""
    status, text = await _asked_here(request, control)
    try:
        await requests.answer(database, request, status, text)
    except LockLost:
        raise
    except StoreError as error:
        log.warning("relay.answer_lost", order=request.path.lstrip("/"), actor=request.actor, error=str(error))


async def _asked_here(request: requests.Request, control: Path) -> tuple[int, str]:
    timeout = aiohttp.ClientTimeout(total=patience(request.method, request.path))
    try:
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=str(control)), timeout=timeout) as session,
            session.request(
                request.method,
                f"http://fleetd{request.path}",
                json=json.loads(request.body) if request.body else None,
                headers={RELAYED: request.actor},
            ) as answer,
        ):
            return answer.status, (await answer.read()).decode("utf-8", "replace")
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        return 503, json.dumps({"error": {"message": f"the replica that acts cannot be asked: {error!s:.200}"}})
