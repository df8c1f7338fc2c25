"""The journal in a PostgreSQL database: what ``sqlite`` keeps in a file, behind the fence of the lease.

Every call that adds a row carries a key drawn here, so that one whose answer was lost finds its row when it is
repeated: what was written is looked up, never guessed. Where that cannot be, the call raises, and nothing may follow
from what it was to write.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

from fleetd.model.errors import VetoStands
from fleetd.model.journal import HistoryEntry, Hold, Intent
from fleetd.model.reasons import Outcome, VetoKind
from fleetd.model.vetoes import veto_detail
from fleetd.store import statements
from fleetd.store.postgres.cells import decoded, encoded, read, stored
from fleetd.store.postgres.database import Database, one, only
from fleetd.store.postgres.schema import Cursor
from fleetd.store.rows import HISTORY, HOLDS, INTENTS, Cell, Table, instant_to_cell, text_to_cell
from fleetd.store.statements import SqlJournal

T = TypeVar("T")

_AT_ONCE = 500
"""Rows of one statement: it has room for 65,535 cells."""


class PostgresJournal(SqlJournal):
    """``fleetd.store.port.Journal`` on a database whose tables are there (``schema.prepare``)."""

    _NO_LIMIT = None

    def __init__(self, database: Database) -> None:
        self._database = database

    def check(self) -> None:
        """Make sure that the lease is still this process's. Raises ``LockLost``."""
        self._database.check()

    async def write_intent(self, intent: Intent) -> Intent:
        """See ``Journal.write_intent``.

        Raises:
            VetoStands: a veto in the database forbids it. Nobody adds one while the fence is held.
        """
        key = _key()

        async def write(cursor: Cursor) -> int:
            await _refuse_vetoed(cursor, intent)
            return await _insert(cursor, INTENTS, intent, key)

        return replace(intent, id=await self._database.write(write))

    async def close_intent(self, intent_id: int, *, at: datetime, outcome: Outcome, error: str | None = None) -> bool:
        """See ``Journal.close_intent``. The history entry is as in ``SqliteJournal``."""
        key = _key()
        words = None if error is None else _cell(error)

        async def close(cursor: Cursor) -> bool:
            found = await one(
                cursor, f"{INTENTS.select} WHERE id = %s AND closed_at IS NULL FOR UPDATE", (intent_id,)
            )
            if found is None:  # or by the try before this one, whose answer was lost
                again = await one(cursor, "SELECT 1 FROM intent WHERE id = %s AND closed_by = %s", (intent_id, key))
                return again is not None
            await cursor.execute(
                "UPDATE intent SET closed_at = %s, outcome = %s, error = %s, closed_by = %s WHERE id = %s",
                (instant_to_cell(at), outcome.value, words, key, intent_id),
            )
            await _insert(cursor, HISTORY, statements.ending(decoded(INTENTS, found), at, outcome, error), key)
            return True

        return await self._database.write(close)

    async def append_history(self, entry: HistoryEntry) -> None:
        """See ``Journal.append_history``."""
        key = _key()
        await self._database.write(lambda cursor: _insert(cursor, HISTORY, entry, key))

    async def add_hold(self, hold: Hold) -> Hold:
        """See ``Journal.add_hold``."""
        key = _key()
        return replace(hold, id=await self._database.write(lambda cursor: _insert(cursor, HOLDS, hold, key)))

    async def remove_holds(self, *, kind: VetoKind, subject: str | None) -> int:
        """See ``Journal.remove_holds``. Expired ones that ``prune`` has not dropped yet count."""
        cells = (str(kind), None if subject is None else _cell(subject))

        async def remove(cursor: Cursor) -> int:
            await cursor.execute("DELETE FROM hold WHERE kind = %s AND subject IS NOT DISTINCT FROM %s::text", cells)
            return cursor.rowcount

        return await self._database.write(remove, repeatable=False)

    async def prune(self, *, before: datetime, max_rows: int) -> int:
        """See ``Journal.prune`` and ``SqliteJournal.prune``."""
        drops = statements.prune(before, max_rows)

        async def drop(cursor: Cursor) -> int:
            dropped = 0
            for sql, cells in drops:
                await cursor.execute(_marked(sql), cells)
                dropped += cursor.rowcount
            return dropped

        return await self._database.write(drop)

    async def aclose(self) -> None:
        """Close the connection. Idempotent."""
        await self._database.aclose()

    async def _select(self, sql: str, cells: Sequence[Cell], make: Callable[[Sequence[Any]], T]) -> list[T]:
        async def look(cursor: Cursor) -> list[T]:
            await cursor.execute(_marked(sql), [stored(cell) for cell in cells])
            return [make([read(cell) for cell in row]) for row in await cursor.fetchall()]

        return await self._database.read(look)

    async def _do(self, sql: str, cells: Sequence[Cell]) -> None:
        async def do(cursor: Cursor) -> None:
            await cursor.execute(_marked(sql), [stored(cell) for cell in cells])

        await self._database.write(do)

    async def _put(
        self, table: Table[T], values: Iterable[T], key: tuple[str, ...], drop: Sequence[Sequence[Cell]] = ()
    ) -> None:
        places = [table.columns.index(column) for column in key]
        # The last of several with one key counts, as if they came one after the other.
        by_key = {tuple(row[p] for p in places): row for row in (encoded(table, value) for value in values)}
        dropped = [[stored(cell) for cell in row] for row in drop]
        others = ", ".join(f"{c} = excluded.{c}" for c in table.columns if c not in key)
        which, names = ", ".join(key), ", ".join(table.columns)

        async def put(cursor: Cursor) -> None:
            # Not executemany, which is a pipeline: a holder that is paused in the middle of one keeps the lease's row
            # locked, and to the server it is neither idle nor at a statement, so that no timeout ends it.
            for marks, cells in _at_once(dropped):
                sql = f"DELETE FROM {table.name} WHERE ({which}) IN (VALUES {marks})"  # noqa: S608 - from the model
                await cursor.execute(sql.encode(), cells)
            for marks, cells in _at_once(list(by_key.values())):
                sql = (
                    f"INSERT INTO {table.name} ({names}) VALUES {marks} "  # noqa: S608
                    f"ON CONFLICT ({which}) DO UPDATE SET {others}"
                )
                await cursor.execute(sql.encode(), cells)

        if by_key or dropped:
            await self._database.write(put)


async def _refuse_vetoed(cursor: Cursor, intent: Intent) -> None:
    """Under the fence: whoever adds a veto without it waits for this transaction, and is seen by the next."""
    await cursor.execute(f"{HOLDS.select} WHERE expires_at > %s ORDER BY id", (instant_to_cell(intent.created_at),))
    for row in await cursor.fetchall():
        hold = decoded(HOLDS, row)
        if hold.forbids(
            intent.verb, fleet=intent.fleet, machine_id=intent.machine_id, name=intent.name, now=intent.created_at
        ):
            raise VetoStands(f"{intent.name}: no {intent.verb}, {hold.kind} by {veto_detail(hold)}")


async def _insert(cursor: Cursor, table: Table[T], value: T, key: str) -> int:
    """Add a row under its key, or find the one that an earlier try has added; its number."""
    names = ("key", *(c for c in table.columns if c != "id"))
    marks = ", ".join(["%s"] * len(names))
    row = await one(
        cursor,
        f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({marks}) "  # noqa: S608 - names from the model
        "ON CONFLICT (key) DO NOTHING RETURNING id",
        (key, *encoded(table, value)),
    )
    if row is None:
        row = await only(cursor, f"SELECT id FROM {table.name} WHERE key = %s", (key,))  # noqa: S608
    return int(row[0])


def _at_once(rows: Sequence[Sequence[Cell]]) -> Iterator[tuple[str, list[Cell]]]:
    """The marks and the cells of each statement that takes some of the rows."""
    for begin in range(0, len(rows), _AT_ONCE):
        some = rows[begin : begin + _AT_ONCE]
        marks = ", ".join(["%s"] * len(some[0]))
        yield ", ".join([f"({marks})"] * len(some)), [cell for row in some for cell in row]


def _marked(sql: str) -> bytes:
    """A statement of ``statements`` with the marks that PostgreSQL's driver knows."""
    return sql.replace("?", "%s").encode()


def _cell(text: str) -> Cell:
    return stored(text_to_cell(text))


def _key() -> str:
    return secrets.token_hex(16)
