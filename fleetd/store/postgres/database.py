"""One connection, made anew when it is lost; transactions behind the lease's fence; errors in our words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

import anyio
import psycopg
from psycopg import AsyncConnection, errors

from fleetd.model.errors import LockLost, StateAway, StateLocked, StateUnusable, StoreError
from fleetd.store.postgres.address import Address
from fleetd.store.postgres.schema import Connection, Cursor
from fleetd.store.worker import carried_through

T = TypeVar("T")
Job = Callable[[Cursor], Awaitable[T]]
"""Statements of one transaction."""

PATIENCE = 6.0
"""Seconds for which a lost connection is made again, for one call."""
BETWEEN = 0.2
"""Seconds between two tries."""
LONGEST = 10.0
"""Seconds that one transaction may take before its connection counts as lost."""
IDLE_IN_TRANSACTION = "3s"
"""A paused replica must not keep the lease's row, nor a takeover waiting, for longer than this."""
_SESSION = " ".join(
    f"-c {setting}"
    for setting in (
        f"idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION}",
        # Nor must one that is cut off: the server is to find out as soon as we do.
        "tcp_keepalives_idle=5",
        "tcp_keepalives_interval=2",
        "tcp_keepalives_count=3",
        "tcp_user_timeout=8000",
        "lock_timeout=5s",
        "statement_timeout=8s",
        # A server that is told to forget commits in a crash is not asked what it would rather do.
        "synchronous_commit=on",
        "client_encoding=UTF8",
        "standard_conforming_strings=on",
        # Instants are read in this form alone, and the fence is thought through at this level: a statement sees
        # what was committed while it waited for the lease's row.
        "datestyle=ISO",
        r"default_transaction_isolation=read\ committed",
    )
)

Enter = Callable[[Cursor], Awaitable[None]]
"""What every writing transaction begins with: it raises where this process may not write."""


async def connect(address: Address, name: str) -> Connection:
    """One connection in autocommit mode, whose sessions cannot hang for ever.

    Raises:
        StateAway: the server cannot be reached, or takes no connection now.
        StateUnusable: it refuses this user.
    """
    try:
        with anyio.fail_after(LONGEST):
            return await AsyncConnection.connect(
                address.url,
                autocommit=True,
                options=_options(address.url),
                application_name=name,
                connect_timeout=5,
                keepalives_idle=5,
                keepalives_interval=2,
                keepalives_count=3,
                tcp_user_timeout=8000,
                password=address.password,
            )
    except psycopg.Error as error:
        raise failure(error, address, unreachable=True) from error
    except (TimeoutError, OSError) as error:
        raise StateAway(f"{address} does not answer") from error


def _options(url: str) -> str:
    given = psycopg.conninfo.conninfo_to_dict(url).get("options")
    return f"{_SESSION} {given}" if given else _SESSION


@asynccontextmanager
async def session(address: Address, name: str) -> AsyncIterator[Connection]:
    """A connection for as long as the block lasts, whose errors are in our words; raises as ``connect``."""
    db = await connect(address, name)
    try:
        yield db
    except psycopg.Error as error:
        raise failure(error, address) from error
    finally:
        await db.close()


class Line:
    """One connection in autocommit mode: made when it is asked for, and anew when it was lost."""

    def __init__(self, address: Address, name: str) -> None:
        self._address = address
        self._name = name
        self.db: Connection | None = None
        """The one that was made last, and not dropped; it may be lost."""

    async def connected(self) -> Connection:
        """The connection; raises as ``connect``."""
        if self.db is None or self.db.closed:
            self.db = await connect(self._address, self._name)
        return self.db

    async def drop(self) -> None:
        """Close it, whatever became of it."""
        db, self.db = self.db, None
        if db is not None:
            with suppress(psycopg.Error):
                await db.close()


class Database:
    """One connection, for one call at a time. A call that has begun is carried through, see ``Worker.run``.

    Args:
        address: where.
        name: what the server's views call it.
        enter: begins every writing transaction.
        allowed: asked before everything; raises where this process may not even try.
    """

    def __init__(self, address: Address, name: str, *, enter: Enter, allowed: Callable[[], None]) -> None:
        self.address = address
        self._enter = enter
        self._allowed = allowed
        self._line = Line(address, name)
        self._turn = asyncio.Lock()
        self._closed = False

    async def write(self, job: Job[T], *, repeatable: bool = True) -> T:
        """Run ``job`` in one transaction behind the fence. Durable when it returns.

        Where the connection is lost, it is made again and the job repeated: a job that came through although its
        answer was lost finds that it did, by its key, or by doing the same again.

        Args:
            job: the statements.
            repeatable: whether doing it twice is doing it once.

        Raises:
            LockLost: the lease is not this process's any more.
            StateAway: the database does not answer; whether it was written is not known then.
            StateUnusable: it refuses.
        """
        return await self._carry(lambda: self._patiently(lambda db: self._written(db, job), repeatable=repeatable))

    async def read(self, job: Job[T]) -> T:
        """Run ``job`` in a transaction that only reads.

        Raises:
            StateAway, StateUnusable: as ``write``.
        """
        return await self._carry(lambda: self._patiently(lambda db: _looked(db, job), repeatable=True))

    async def aclose(self) -> None:
        """Close the connection. Idempotent."""
        self._closed = True
        async with self._turn:
            await self._line.drop()

    def check(self) -> None:
        """Make sure that this process may write.

        Raises:
            LockLost: it may not.
        """
        self._allowed()

    async def _carry(self, call: Callable[[], Awaitable[T]]) -> T:
        async def in_turn() -> T:
            async with self._turn:
                return await call()

        return await carried_through(lambda: asyncio.ensure_future(in_turn()))

    async def _patiently(self, call: Callable[[Connection], Awaitable[T]], *, repeatable: bool) -> T:
        ends = anyio.current_time() + PATIENCE
        while True:
            if self._closed:
                raise StateUnusable(f"the journal in {self.address} is closed")
            self._allowed()
            tried = False
            try:
                db = await self._line.connected()
                tried = True
                with anyio.fail_after(LONGEST):
                    return await call(db)
            except StateAway as error:
                lost: Exception = error
            except TimeoutError as error:
                lost = StateAway(f"{self.address} does not answer within {LONGEST:g} s")
                lost.__cause__ = error
            except psycopg.Error as error:
                lost = failure(error, self.address)
                lost.__cause__ = error
                if not _is_lost(db, error):
                    raise lost from error
            await self._line.drop()
            if anyio.current_time() > ends or (tried and not repeatable):
                raise lost
            await anyio.sleep(BETWEEN)

    async def _written(self, db: Connection, job: Job[T]) -> T:
        async with db.transaction(), db.cursor() as cursor:
            await self._enter(cursor)
            result = await job(cursor)
            self._allowed()  # the last moment
        return result


def _is_lost(db: Connection, error: psycopg.Error) -> bool:
    """Whether the same on another connection may do."""
    return db.closed or isinstance(
        error, errors.SerializationFailure | errors.DeadlockDetected | errors.ReadOnlySqlTransaction
    )


async def _looked(db: Connection, job: Job[T]) -> T:
    async with db.transaction(), db.cursor() as cursor:
        await cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        return await job(cursor)


async def one(cursor: Cursor, sql: str, cells: Sequence[Any] | Mapping[str, Any] = ()) -> tuple[Any, ...] | None:
    """The first row of a statement, if there is one."""
    await cursor.execute(sql.encode(), cells)
    return await cursor.fetchone()


async def only(cursor: Cursor, sql: str, cells: Sequence[Any] | Mapping[str, Any] = ()) -> tuple[Any, ...]:
    """The row of a statement that always gives one.

    Raises:
        StateUnusable: it gave none; nothing may follow from that.
    """
    row = await one(cursor, sql, cells)
    if row is None:
        raise StateUnusable(f"a statement gave no row: {' '.join(sql.split())[:60]} ...")
    return row


def failure(error: psycopg.Error, address: Address, *, unreachable: bool = False) -> StoreError:
    """What the server or the way to it reported, with a word on what to do. Never holds a password."""
    said = " ".join(str(error).split())[:300]
    match error:
        case errors.DiskFull() | errors.OutOfMemory():
            return StateUnusable(f"the server of {address} has no room left ({said}): make some")
        case errors.InvalidPassword() | errors.InvalidAuthorizationSpecification() | errors.InsufficientPrivilege():
            return StateUnusable(f"{address} refuses this user ({said})")
        case errors.InvalidCatalogName():
            return StateUnusable(f"{address}: there is no such database ({said}): createdb makes one")
        case errors.ReadOnlySqlTransaction():
            why = "it follows another, and the one that leads is to be named, or default_transaction_read_only is on"
            return StateAway(f"{address} takes no writes ({said}): {why}")
        case errors.LockNotAvailable() | errors.QueryCanceled():
            return StateAway(f"{address} did not come to it in time ({said})")
        case psycopg.OperationalError() if unreachable and "authentication failed" in said:
            return StateUnusable(f"{address} refuses this user ({said})")
        case psycopg.OperationalError() if unreachable and "unsupported startup parameter" in said:
            return StateUnusable(
                f"{address} leads to a pooler that refuses what fleetd sets for its sessions ({said}): "
                "name the server itself"
            )
        case psycopg.OperationalError() | psycopg.InterfaceError() | errors.IdleInTransactionSessionTimeout():
            return StateAway(f"{address} does not answer ({said})")
        case _:
            return StateUnusable(f"{address} refuses a statement ({said})")


def held_by(address: Address, about: str) -> StateLocked:
    """Another replica has the lease."""
    return StateLocked(f"another replica ({about}) has the lease of {address}, and one acts at a time")


def lost(address: Address, why: str) -> LockLost:
    """The lease is not this process's any more."""
    return LockLost(f"the lease of {address} is lost: {why}; nothing is written any more")
