"""A journal's whole content out of the database and into it: for moving it, and for a copy to plan on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from fleetd.model.errors import StateMoved
from fleetd.store.database import Database as FileDatabase
from fleetd.store.moving import COLUMNS, NUMBERED, Content, fill, leave_word, open_again, word_left, write_content
from fleetd.store.postgres.address import Address
from fleetd.store.postgres.cells import read, stored
from fleetd.store.postgres.database import held_by, one, session
from fleetd.store.postgres.opening import prepared
from fleetd.store.postgres.schema import Cursor
from fleetd.store.schema import ARRIVING, MOVED_TO
from fleetd.store.sqlite import SqliteJournal

T = TypeVar("T")


async def scratch_copy(address: Address) -> SqliteJournal:
    """What the database holds, in a copy in memory that can be written.

    Raises:
        StateAway, StateUnusable: it cannot be read.
    """
    content = await _transaction(address, _read_content, "REPEATABLE READ READ ONLY")
    nowhere = Path("/nonexistent") / "copy of the database"
    copy = await FileDatabase.open_copy(nowhere, executor=None, read_only=False)
    await copy.write(lambda db: write_content(db, content))
    return SqliteJournal(copy)


async def move_in(content: Content, path: Path, address: Address, origin: str) -> None:
    """Take a file's journal into the database, and leave word in the file; its lock is held by the caller.

    Run again after whatever cut it short, it goes on where it ended: until word is left in the file the database is
    not used, and from then on the file is not.

    Args:
        content: the file's; not used where word has been left in it.
        path: the file.
        address: the database.
        origin: the file in words for others.

    Raises:
        StateLocked: a replica acts on the database.
        StateMoved: the database has a journal of its own, or the file's went somewhere else, from there perhaps.
    """
    word = await word_left(path)
    if word is not None and word != (MOVED_TO, str(address)):
        raise StateMoved(f"{path} holds no journal: it was moved to or from {word[1]}")
    await prepared(address, moving=True)

    async def take_in(cursor: Cursor) -> None:
        moved, arriving = await _locked(cursor, address)
        if word is not None:
            if arriving not in {origin, None}:
                raise StateMoved(f"a journal from {arriving} is on its way to {address}, and {path} holds none")
            if moved is not None:
                raise StateMoved(f"{path} holds no journal: it was moved to {address}, and from there to {moved}")
            if arriving is None and not await _has_rows(cursor):
                raise StateMoved(f"{path} holds no journal: it was moved to {address}, and nothing is there")
            return
        if arriving not in {origin, None} or (moved is None and arriving is None and await _has_rows(cursor)):
            raise StateMoved(f"{address} has a journal of its own: nothing is moved over it")
        await _write_content(cursor, content)
        await cursor.execute("UPDATE fleetd SET arriving = %s, moved_to = NULL", (origin,))

    await _transaction(address, take_in)
    if word is None:
        await leave_word(path, str(address))

    async def finish(cursor: Cursor) -> None:
        await cursor.execute("UPDATE fleetd SET arriving = NULL WHERE arriving = %s", (origin,))

    await _transaction(address, finish)


async def move_out(path: Path, address: Address, to: str) -> None:
    """Take the database's journal into a file, and leave word in the database; the file's lock is held by the caller.

    Run again as ``move_in``. ``to``: the file in words for others.

    Raises:
        StateLocked: a replica acts on the database.
        StateMoved: the file has a journal of its own, or the database's went somewhere else.
    """
    await prepared(address, moving=True)

    async def give(cursor: Cursor) -> None:
        words = await _locked(cursor, address)
        # One that was cut short is filled once more: an older fleetd did it, perhaps, and made older tables.
        unfinished = words == (to, None) and await word_left(path) == (ARRIVING, str(address))
        if words != (None, None) and not unfinished:
            raise StateMoved(f"{address} holds no journal: it was moved to or from {words[0] or words[1]}")
        # The lease's row stays locked until the file is there: nobody acts on what is being copied.
        await cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        await fill(path, await _read_content(cursor), str(address))
        await cursor.execute("UPDATE fleetd SET moved_to = %s", (to,))

    await _transaction(address, give)
    await open_again(path)


async def _locked(cursor: Cursor, address: Address) -> tuple[str | None, str | None]:
    """Lock the lease's row, free as it must be: what moves have left in the database."""
    row = await one(cursor, "SELECT about, holder IS NULL OR expires_at <= clock_timestamp() FROM lease FOR UPDATE")
    if row is not None and not row[1]:
        raise held_by(address, str(row[0]))
    words = await one(cursor, "SELECT moved_to, arriving FROM fleetd FOR UPDATE")
    return (None, None) if words is None else (words[0], words[1])


async def _has_rows(cursor: Cursor) -> bool:
    some = " UNION ALL ".join(f"(SELECT 1 FROM {table} LIMIT 1)" for table in COLUMNS)  # noqa: S608
    return await one(cursor, some) is not None


async def _read_content(cursor: Cursor) -> Content:
    rows, last = {}, {}
    for table, columns in COLUMNS.items():
        await cursor.execute(f"SELECT {', '.join(columns)} FROM {table}".encode())  # noqa: S608
        rows[table] = [tuple(read(cell) for cell in row) for row in await cursor.fetchall()]
    for table in NUMBERED:
        given = f"SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {table}_id_seq"  # noqa: S608
        await cursor.execute(given.encode())
        ((last[table],),) = await cursor.fetchall()
    return Content(rows, last)


async def _write_content(cursor: Cursor, content: Content) -> None:
    for table, columns in COLUMNS.items():
        marks = ", ".join(["%s"] * len(columns))
        await cursor.execute(f"DELETE FROM {table}".encode())  # noqa: S608
        await cursor.executemany(
            f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})".encode(),  # noqa: S608
            [tuple(stored(cell) for cell in row) for row in content.rows[table]],
        )
    for table in NUMBERED:
        number = content.last[table]
        await cursor.execute(f"SELECT setval('{table}_id_seq', %s, %s)".encode(), (max(number, 1), number > 0))


async def _transaction(address: Address, job: Callable[[Cursor], Awaitable[T]], mode: str = "") -> T:
    async with session(address, "fleetd state") as db, db.transaction(), db.cursor() as cursor:
        await cursor.execute("SET LOCAL statement_timeout = 0")
        if mode:
            await cursor.execute(f"SET TRANSACTION ISOLATION LEVEL {mode}".encode())
        return await job(cursor)
