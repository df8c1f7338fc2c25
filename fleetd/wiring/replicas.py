"""Several replicas on one database: waiting for the lease, holding it, and asking whoever holds it."""

from __future__ import annotations

import getpass
import json
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import anyio
import structlog

from fleetd import config
from fleetd.engine.ports import Notifier
from fleetd.model.errors import Fault, SeatLost, StateAway, StateLocked, StateMoved, StoreError
from fleetd.model.report import LeaseReport
from fleetd.model.settings import KeySource, Settings
from fleetd.ops.control_client import RELAYED, patience, understood
from fleetd.ops.control_errors import NoDaemon, NotReached
from fleetd.ops.escape import printable
from fleetd.store.lock import StateLock
from fleetd.store.moving import EMPTY, file_content, has_journal, word_left
from fleetd.store.paths import journal_path
from fleetd.store.port import Journal
from fleetd.store.postgres import errands
from fleetd.store.postgres.address import Address
from fleetd.store.postgres.advice import advice
from fleetd.store.postgres.copying import move_in, move_out, scratch_copy
from fleetd.store.postgres.database import Database, held_by
from fleetd.store.postgres.journal import PostgresJournal
from fleetd.store.postgres.lease import SCAN, Holder, Lease, between_holders, fenced, kernel_fuse
from fleetd.store.postgres.opening import prepared
from fleetd.store.sqlite import SqliteJournal
from fleetd.wiring.holding import StoppedWaiting
from fleetd.wiring.places import state_path
from fleetd.wiring.secrecy import SECRETS

log = structlog.get_logger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Held:
    """The lease is this process's."""

    journal: PostgresJournal
    lease: Lease

    async def keep(self, control: Path) -> None:
        """Renew it, and run errands of commands elsewhere, for as long as the process acts.

        Raises:
            SeatLost: it is lost.
        """
        database = errands.for_errands(self.lease)
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self.lease.keep)
                group.start_soon(_run_errands, self.lease.address, database, control)
        finally:
            with anyio.CancelScope(shield=True):
                await database.aclose()


def address_of(settings: Settings) -> Address:
    """The database of a config that names one.

    Raises:
        ConfigError: its password cannot be read.
    """
    daemon = settings.daemon
    if daemon.state is None:
        raise RuntimeError("only for a config with daemon.state")
    password = None
    if daemon.state_password is not None:
        password = config.read_password(daemon.state_password, os.environ, config=settings.source)
        SECRETS.add(password)
    return Address(daemon.state, password)


@asynccontextmanager
async def holding_lease(settings: Settings, notifier: Notifier, *, waits: bool) -> AsyncIterator[Held]:
    """The lease of a config's database, given back at the end.

    Args:
        settings: with ``daemon.state``.
        notifier: told that this replica stands by.
        waits: whether to stand by while another replica has the lease, and while the database is away.

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
    address = address_of(settings)
    lease = Lease(address, f"{socket.gethostname()}, pid {os.getpid()}", fuse=kernel_fuse)
    try:
        before = await (_wait_for(lease, notifier) if waits else _take(lease))
        how = "first" if before.epoch == 0 else "given_back" if before.given_back else "expired"
        log.info("lease.taken", database=str(address), epoch=lease.epoch, reason=how, before=before.about or None)
        journal = PostgresJournal(fenced(lease))
        try:
            yield Held(journal, lease)
        finally:
            with anyio.CancelScope(shield=True):
                await journal.aclose()
                if lease.held:
                    await lease.give_back()
                    log.info("lease.given_back", database=str(address), epoch=lease.epoch)
    finally:
        with anyio.CancelScope(shield=True):
            await lease.aclose()


async def _take(lease: Lease) -> Holder:
    await prepared(lease.address)
    before = await lease.take()
    if before is None:
        raise held_by(lease.address, (await lease.look()).about)
    return before


async def _wait_for(lease: Lease, notifier: Notifier) -> Holder:
    """Stand by until the lease is this process's. The database may come and go meanwhile."""
    found: list[Holder] = []
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with anyio.create_task_group() as group:

            async def end() -> None:
                async for _ in signals:
                    log.info("daemon.stop_requested")
                    notifier.stopping()
                    group.cancel_scope.cancel()

            group.start_soon(end)
            found.append(await _stood_by(lease, notifier))
            group.cancel_scope.cancel()
    if not found:
        raise StoppedWaiting
    return found[0]


async def _stood_by(lease: Lease, notifier: Notifier) -> Holder:
    ready, said, enrolled = False, "", float("-inf")
    while True:
        try:
            if anyio.current_time() - enrolled > lease.ttl:
                await prepared(lease.address)
                await lease.enrol()
                enrolled = anyio.current_time()
            before = await lease.take()
            if before is not None:
                return before
            holder = await lease.look()
            words = f"standing by: {printable(holder.about, 100)} has the lease"
            if words != said:
                log.info("lease.waiting", database=str(lease.address), holder=holder.about, epoch=holder.epoch)
            await lease.heard(SCAN)
        except (StateAway, StateLocked) as error:
            words = f"standing by: {error}"
            if words != said:
                log.warning("lease.unreachable", database=str(lease.address), error=str(error))
            await anyio.sleep(SCAN)
        if words != said:
            said = words
            notifier.status(words)
        if not ready:
            ready = True
            notifier.ready()
        notifier.alive()


async def _run_errands(address: Address, database: Database, control: Path) -> None:
    bell = errands.Bell(address, errands.ASKED)
    try:
        async with anyio.create_task_group() as group:
            while True:
                try:
                    for errand in await errands.claimed(database):
                        group.start_soon(_run_errand, database, errand, control)
                except SeatLost:
                    raise
                except StoreError as error:
                    log.debug("errand.look_failed", error=str(error))
                await bell.heard(errands.LOOK)
    finally:
        with anyio.CancelScope(shield=True):
            await bell.aclose()


async def _run_errand(database: Database, errand: errands.Errand, control: Path) -> None:
    """Ask our own control socket, as the command would if it were here."""
    status, text = await _asked_here(errand, control)
    try:
        await errands.answer(database, errand, status, text)
    except SeatLost:
        raise
    except StoreError as error:
        log.warning("errand.answer_lost", order=errand.path.lstrip("/"), actor=errand.actor, error=str(error))


async def _asked_here(errand: errands.Errand, control: Path) -> tuple[int, str]:
    timeout = aiohttp.ClientTimeout(total=patience(errand.method, errand.path))
    try:
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=str(control)), timeout=timeout) as session,
            session.request(
                errand.method,
                f"http://fleetd{errand.path}",
                json=json.loads(errand.body) if errand.body else None,
                headers={RELAYED: errand.actor},
            ) as answer,
        ):
            return answer.status, (await answer.read()).decode("utf-8", "replace")
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        return 503, json.dumps({"error": {"message": f"the replica that acts cannot be asked: {error!s:.200}"}})


async def ask_holder(settings: Settings, kind: type[T], method: str, path: str, body: dict[str, Any]) -> T:
    """One request to the replica that has the lease, through the database.

    Raises:
        NoDaemon: none has it.
        NotReached: it does not answer; the text says whether it may carry it out later.
        OrderRefused: it declined.
        StoreError: the database cannot be asked.
    """
    address = address_of(settings)
    holder = await _last_holder(address)
    if holder.over:
        raise NoDaemon(f"no replica has the lease of {address}")
    text = json.dumps(body) if body else ""
    asked = await errands.Asking(address).ask(method, path, text, _myself(), seconds=patience(method, path))
    if isinstance(asked, bool):
        later = "what was asked was withdrawn" if asked or method == "GET" else "it may still carry this out"
        raise NotReached(f"the replica that has the lease ({holder.about}) does not answer: {later}")
    return understood(kind, *asked, holder.about)


async def lease_report(settings: Settings) -> LeaseReport:
    """Who acts, by the database.

    Raises:
        StoreError: it cannot be asked.
    """
    holder = await _last_holder(address_of(settings))
    if holder.over:
        return LeaseReport(holder=None, epoch=holder.epoch)
    return LeaseReport(holder=holder.about, since=holder.since, epoch=holder.epoch)


async def _last_holder(address: Address) -> Holder:
    await prepared(address)
    lease = Lease(address, "", fuse=lambda _seconds: None)
    try:
        return await lease.look()
    finally:
        await lease.aclose()


@asynccontextmanager
async def between_replicas(settings: Settings) -> AsyncIterator[Journal]:
    """The journal for writing while no replica has the lease.

    Raises:
        StateLocked: one has taken it.
    """
    journal = PostgresJournal(between_holders(address_of(settings)))
    try:
        yield journal
    finally:
        await journal.aclose()


@asynccontextmanager
async def replicated_journal(settings: Settings) -> AsyncIterator[Journal]:
    """The journal for looking: what the database holds now."""
    address = address_of(settings)
    await prepared(address)
    async with between_replicas(settings) as journal:
        yield journal


async def replicated_scratch(settings: Settings) -> SqliteJournal:
    """A copy of the journal in memory, which takes what a pass would write."""
    address = address_of(settings)
    await prepared(address)
    return await scratch_copy(address)


async def database_advice(settings: Settings) -> list[Fault]:
    """``fleetd check --online``: what of the database's server makes promises weaker.

    Raises:
        StateAway, StateUnusable: it cannot be asked.
    """
    return [Fault("daemon.state", words) for words in await advice(address_of(settings))]


async def move_state(settings: Settings, to: str | Path, password: KeySource | None = None) -> str:
    """``fleetd state move``: the journal of a config's state directory into a database, or back; how much it was.

    Args:
        settings: where the journal is.
        to: the database's address, or the directory, absolute.
        password: the database's, where ``to`` is one.

    Raises:
        StateLocked: a daemon or a replica acts on one of the two.
        StateMoved: there is nothing to move here, or a journal of its own there.
        StateUnusable: one of the two cannot be used.
    """
    if isinstance(to, str):
        return await _move_in(settings, to, password)
    target = journal_path(to)
    with StateLock(target.parent, pid=os.getpid(), since=datetime.now(UTC)):
        await move_out(target, address_of(settings), _place(target.parent))
        return (await file_content(target)).told


async def _move_in(settings: Settings, to: str, password: KeySource | None) -> str:
    daemon = replace(settings.daemon, state=to, state_password=password)
    address, state = address_of(replace(settings, daemon=daemon)), state_path(settings)
    path = journal_path(state)
    with StateLock(state, pid=os.getpid(), since=datetime.now(UTC)):
        if not path.exists():
            raise StateMoved(f"{state} holds no journal: there is nothing to move")
        content = EMPTY if await word_left(path) else await file_content(path)
        await move_in(content, path, address, _place(state))
        return content.told if content is not EMPTY else "what an earlier move had brought"


def _place(state: Path) -> str:
    return f"{state} on {socket.gethostname()}"


def _myself() -> str:
    login = os.environ.get("SUDO_USER", "") if os.getuid() == 0 else ""
    behind = f" for {printable(login, 32)}" if login else ""
    return f"{getpass.getuser()} (uid {os.getuid()}){behind} on {socket.gethostname()}"
