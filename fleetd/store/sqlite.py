"""The journal on one SQLite file, worked by one thread.

**Cancellation.** A call that has begun is carried through: its caller goes on only when the transaction has been
committed or rolled back. In a cancelled anyio scope it returns its result, or raises its error, as if nothing had
happened, and the cancellation is delivered at the caller's next await; so a task that is being cancelled can still
record what it did. A bare ``Task.cancel()`` is delivered after the transaction has ended, with the transaction's own
error, if there was one, as its cause. The price is that a slow disk delays cancellation.

**Failure.** A call that raises has changed nothing that a later call sees. Should the power fail right after a commit
whose sync failed, SQLite may find that commit again: an intent too many is settled by looking.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from fleetd.model.journal import HistoryEntry, Hold, Intent
from fleetd.model.reasons import Outcome, VetoKind
from fleetd.store import statements
from fleetd.store.database import Database
from fleetd.store.rows import HISTORY, HOLDS, INTENTS, Cell, Table, instant_to_cell, text_to_cell
from fleetd.store.statements import SqlJournal

T = TypeVar("T")


class SqliteJournal(SqlJournal):
    """``fleetd.store.port.Journal`` on a file. Made by ``open`` or ``open_read_only``; ends with ``aclose``."""

    _NO_LIMIT = -1  # sqlite.org/lang_select.html

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        executor: Executor | None = None,
        busy_timeout: float = 5.0,
        guard: Callable[[], None] = lambda: None,
    ) -> SqliteJournal:
        """Open the journal for writing; make it, or bring it up to date, where needed.

        Args:
            path: the database file, in an existing directory.
            executor: runs one job at a time, always on the same thread, and is not shut down by ``aclose``.
                Default: a thread of the journal's own.
            busy_timeout: seconds to wait for another process's lock on the file.
            guard: asked at every write, on the journal's thread; what it raises keeps the write from being made.
                So no intent is written, and no call made, once ``StateLock.check`` objects.

        Raises:
            StateUnusable: the file cannot be used; the message says why and what to do.
        """
        return cls(await Database.open(path, executor=executor, busy_timeout=busy_timeout, guard=guard))

    @classmethod
    async def open_read_only(cls, path: Path, *, executor: Executor | None = None) -> SqliteJournal:
        """What the journal holds at this moment, whether a daemon runs or not; empty where there is none yet.

        Nothing on disk is written or made, and no lock is kept. What a daemon writes later is not seen: open anew
        to look again. Methods that write raise ``StateUnusable``.

        Raises:
            StateUnusable: the file cannot be read, is damaged, or is of a newer fleetd.
        """
        return cls(await Database.open_copy(path, executor=executor, read_only=True))

    @classmethod
    async def open_scratch(cls, path: Path, *, executor: Executor | None = None) -> SqliteJournal:
        """As ``open_read_only``, and can be written: what is written goes into the copy, and is gone with it.

        Raises:
            StateUnusable: the file cannot be read, is damaged, or is of a newer fleetd.
        """
        return cls(await Database.open_copy(path, executor=executor, read_only=False))

    def check(self) -> None:
        """Make sure that the file is still this process's to write. Raises ``LockLost``."""
        self._database.check()

    async def write_intent(self, intent: Intent) -> Intent:
        """See ``Journal.write_intent``."""
        row = INTENTS.encode(intent)
        number = await self._database.write(lambda db: db.execute(INTENTS.insert, row).lastrowid)
        return replace(intent, id=number or 0)

    async def close_intent(self, intent_id: int, *, at: datetime, outcome: Outcome, error: str | None = None) -> bool:
        """See ``Journal.close_intent``. One that was dropped by ``prune`` is left at that.

        The history entry's duration runs from the intent's creation; 0 when the wall clock was set back meanwhile.
        """
        cells = (instant_to_cell(at), outcome.value, None if error is None else text_to_cell(error), intent_id)

        def close(db: sqlite3.Connection) -> bool:
            tail = "WHERE id = ? AND closed_at IS NULL"
            found = INTENTS.values(db.execute(f"{INTENTS.select} {tail}", (intent_id,)))
            for intent in found:
                db.execute("UPDATE intent SET closed_at = ?, outcome = ?, error = ? WHERE id = ?", cells)
                db.execute(HISTORY.insert, HISTORY.encode(statements.ending(intent, at, outcome, error)))
            return bool(found)

        return await self._database.write(close)

    async def append_history(self, entry: HistoryEntry) -> None:
        """See ``Journal.append_history``."""
        row = HISTORY.encode(entry)
        await self._database.write(lambda db: db.execute(HISTORY.insert, row))

    async def add_hold(self, hold: Hold) -> Hold:
        """See ``Journal.add_hold``."""
        row = HOLDS.encode(hold)
        number = await self._database.write(lambda db: db.execute(HOLDS.insert, row).lastrowid)
        return replace(hold, id=number or 0)

    async def remove_holds(self, *, kind: VetoKind, subject: str | None) -> int:
        """See ``Journal.remove_holds``. Expired ones that ``prune`` has not dropped yet count."""
        key = (str(kind), None if subject is None else text_to_cell(subject))
        sql = "DELETE FROM hold WHERE kind = ? AND subject IS ?"
        return await self._database.write(lambda db: db.execute(sql, key).rowcount)

    async def prune(self, *, before: datetime, max_rows: int) -> int:
        """See ``Journal.prune``. ``max_rows`` holds for intents and history each; open intents always stay.

        Holds that expired before then are dropped, and counted, as well.
        """
        drops = statements.prune(before, max_rows)
        return await self._database.write(lambda db: sum(db.execute(sql, cells).rowcount for sql, cells in drops))

    async def aclose(self) -> None:
        """Close the file. Idempotent."""
        await self._database.aclose()

    async def _select(self, sql: str, cells: Sequence[Cell], make: Callable[[Sequence[Any]], T]) -> list[T]:
        return await self._database.read(lambda db: [make(row) for row in db.execute(sql, cells).fetchall()])

    async def _do(self, sql: str, cells: Sequence[Cell]) -> None:
        await self._database.write(lambda db: db.execute(sql, cells))

    async def _put(
        self, table: Table[T], values: Iterable[T], key: tuple[str, ...], drop: Sequence[Sequence[Cell]] = ()
    ) -> None:
        rows = [table.encode(value) for value in values]
        which = " AND ".join(f"{column} = ?" for column in key)

        def put(db: sqlite3.Connection) -> None:
            db.executemany(f"DELETE FROM {table.name} WHERE {which}", drop)  # noqa: S608 - names from the model
            db.executemany(table.replace, rows)

        if rows or drop:
            await self._database.write(put)
