"""Several replicas on one database: asking whoever acts, and what may be done while none does."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from fleetd import config
from fleetd.model.errors import Fault, StateMoved
from fleetd.model.report import LeaseReport
from fleetd.model.settings import KeySource, Settings
from fleetd.ops.control_client import patience, understood
from fleetd.ops.control_errors import NoDaemon, NotReached
from fleetd.store.lock import StateLock
from fleetd.store.moving import EMPTY, file_content, word_left
from fleetd.store.paths import journal_path
from fleetd.store.port import Journal
from fleetd.store.postgres import requests
from fleetd.store.postgres.address import Address
from fleetd.store.postgres.advice import advice
from fleetd.store.postgres.bulletin import roll
from fleetd.store.postgres.copying import move_in, move_out, scratch_copy
from fleetd.store.postgres.holder import Holder
from fleetd.store.postgres.journal import PostgresJournal
from fleetd.store.postgres.lease import Lease, between_holders
from fleetd.store.postgres.opening import prepared
from fleetd.store.sqlite import SqliteJournal
from fleetd.wiring.places import myself, state_path
from fleetd.wiring.secrecy import SECRETS
from fleetd.wiring.standby import lease_report_of

T = TypeVar("T")


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


async def ask_holder(settings: Settings, kind: type[T], method: str, path: str, body: dict[str, object]) -> T:
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
    who = f"{myself()} on {socket.gethostname()}"
    asked = await requests.Requester(address).ask(method, path, text, who, seconds=patience(method, path))
    if asked is True and (await _last_holder(address)).over:  # it died meanwhile, and nobody has taken over
        raise NoDaemon(f"no replica has the lease of {address}")
    if isinstance(asked, bool):
        later = "what was asked was withdrawn" if asked or method == "GET" else "it may still carry this out"
        raise NotReached(f"the replica that has the lease ({holder.about}) does not answer: {later}")
    return understood(kind, *asked, holder.about)


async def lease_report(settings: Settings) -> LeaseReport:
    """Who acts, by the database.

    Raises:
        StoreError: it cannot be asked.
    """
    address = address_of(settings)
    await prepared(address)
    async with aclosing(Lease(address, "", fuse=lambda _seconds: None)) as lease:
        return lease_report_of(await lease.ask(roll))


async def _last_holder(address: Address) -> Holder:
    await prepared(address)
    async with aclosing(Lease(address, "", fuse=lambda _seconds: None)) as lease:
        return await lease.look()


@asynccontextmanager
async def between_replicas(settings: Settings) -> AsyncIterator[Journal]:
    """The journal for writing while no replica has the lease.

    Raises:
        StateLocked: one has taken it.
    """
    async with aclosing(PostgresJournal(between_holders(address_of(settings)))) as journal:
        yield journal


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
