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
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from fleetd.model.journal import Backoff, BilledMonth, HistoryEntry, Hold, Intent, MachineFacts
from fleetd.model.reasons import Outcome, Verb
from fleetd.store import statements
from fleetd.store.database import Database
from fleetd.store.rows import (
    BACKOFFS,
    BILLS,
    FACTS,
    HISTORY,
    HOLDS,
    INTENTS,
    as_text,
    cell_to_text,
    instant_to_cell,
    made_by,
    text_to_cell,
)


class SqliteJournal:
    """``fleetd.store.port.Journal`` on a file. Made by ``open`` or ``open_read_only``; ends with ``aclose``."""

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
    async def open_read_only(
        cls, path: Path, *, executor: Executor | None = None, busy_timeout: float = 5.0
    ) -> SqliteJournal:
        """What the journal holds at this moment, whether a daemon runs or not; empty where there is none yet.

        Nothing on disk is written or made, and no lock is kept. What a daemon writes later is not seen: open anew
        to look again. Methods that write raise ``StateUnusable``.

        Raises:
            StateUnusable: the file cannot be read, is damaged, or is of a newer fleetd.
        """
        return cls(await Database.open_copy(path, executor=executor, busy_timeout=busy_timeout, read_only=True))

    @classmethod
    async def open_scratch(
        cls, path: Path, *, executor: Executor | None = None, busy_timeout: float = 5.0
    ) -> SqliteJournal:
        """As ``open_read_only``, and can be written: what is written goes into the copy, and is gone with it.

        Raises:
            StateUnusable: the file cannot be read, is damaged, or is of a newer fleetd.
        """
        return cls(await Database.open_copy(path, executor=executor, busy_timeout=busy_timeout, read_only=False))

    def check(self) -> None:
        """Make sure that the file is still this process's to write. Raises ``LockLost``."""
        self._database.check()

    async def write_intent(self, intent: Intent) -> Intent:
        """See ``Journal.write_intent``."""
        row = INTENTS.encode(intent)
        number = await self._database.write(lambda db: db.execute(INTENTS.insert, row).lastrowid)
        return replace(intent, id=number or 0)

    async def update_intent(
        self,
        intent_id: int,
        *,
        machine_id: str | None = None,
        accepted_at: datetime | None = None,
        ambiguous_since: datetime | None = None,
        baseline_event: str | None = None,
    ) -> None:
        """See ``Journal.update_intent``. One that is closed, or dropped by ``prune``, stays as it is."""
        given = {
            "machine_id": machine_id,
            "accepted_at": accepted_at,
            "ambiguous_since": ambiguous_since,
            "baseline_event": baseline_event,
        }
        cells = {column: INTENTS.encode_cell(column, value) for column, value in given.items() if value is not None}
        if cells:
            assignments = ", ".join(f"{column} = ?" for column in cells)
            sql = f"UPDATE intent SET {assignments} WHERE id = ? AND closed_at IS NULL"  # noqa: S608 - names from above
            await self._database.write(lambda db: db.execute(sql, (*cells.values(), intent_id)))

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

    async def open_intents(self) -> Sequence[Intent]:
        """See ``Journal.open_intents``."""
        return await self._database.rows(INTENTS, "WHERE closed_at IS NULL ORDER BY id")

    async def reached(self, limit: int) -> Sequence[Intent]:
        """See ``Journal.reached``."""
        return await self._database.rows(INTENTS, statements.REACHED, (limit,))

    async def made(self, machines: Mapping[str, str]) -> frozenset[str]:
        """See ``Journal.made``."""

        def look(db: sqlite3.Connection) -> frozenset[str]:
            rows = db.execute(
                "SELECT name, machine_id, outcome FROM intent WHERE verb = ?", (str(Verb.CREATE),)
            ).fetchall()
            texts = ([None if cell is None else cell_to_text(cell) for cell in row] for row in rows)
            return made_by(machines, texts)

        return await self._database.read(look) if machines else frozenset()

    async def append_history(self, entry: HistoryEntry) -> None:
        """See ``Journal.append_history``."""
        row = HISTORY.encode(entry)
        await self._database.write(lambda db: db.execute(HISTORY.insert, row))

    async def history(
        self,
        *,
        since: datetime | None = None,
        fleet: str | None = None,
        machine: str | None = None,
        after_id: int = 0,
        limit: int | None = None,
    ) -> Sequence[tuple[int, HistoryEntry]]:
        """See ``Journal.history``. In the order of writing, which no step of the wall clock disturbs."""
        sql, cells = statements.history(text_to_cell, since=since, fleet=fleet, machine=machine, after_id=after_id)
        # Newest first for the limit, then turned round. A limit of -1 is none (sqlite.org/lang_select.html).
        cells.append(-1 if limit is None else max(limit, 0))
        rows = await self._database.read(
            lambda db: [(int(number), HISTORY.decode(row)) for number, *row in db.execute(sql, cells)]
        )
        return rows[::-1]

    async def facts(self) -> Sequence[MachineFacts]:
        """See ``Journal.facts``. Ordered by machine id."""
        return await self._database.rows(FACTS, "ORDER BY machine_id")

    async def put_facts(self, facts: Iterable[MachineFacts]) -> None:
        """See ``Journal.put_facts``."""
        rows = [FACTS.encode(fact) for fact in facts]
        if rows:
            await self._database.write(lambda db: db.executemany(FACTS.replace, rows))

    async def forget_facts(self, machine_ids: Iterable[str]) -> None:
        """See ``Journal.forget_facts``."""
        rows = [(text_to_cell(machine_id),) for machine_id in machine_ids]
        if rows:
            await self._database.write(lambda db: db.executemany("DELETE FROM facts WHERE machine_id = ?", rows))

    async def backoffs(self) -> Sequence[Backoff]:
        """See ``Journal.backoffs``. Ordered by region and machine type."""
        return await self._database.rows(BACKOFFS, "ORDER BY region, machine_type")

    async def put_backoff(self, backoff: Backoff) -> None:
        """See ``Journal.put_backoff``."""
        row = BACKOFFS.encode(backoff)
        await self._database.write(lambda db: db.execute(BACKOFFS.replace, row))

    async def clear_backoff(self, region: str, machine_type: str) -> None:
        """See ``Journal.clear_backoff``."""
        key = (text_to_cell(region), text_to_cell(machine_type))
        sql = "DELETE FROM backoff WHERE region = ? AND machine_type = ?"
        await self._database.write(lambda db: db.execute(sql, key))

    async def bills(self, *, month: str) -> Sequence[BilledMonth]:
        """See ``Journal.bills``. Ordered by machine id."""
        return await self._database.rows(BILLS, "WHERE month = ? ORDER BY machine_id", (month,))

    async def put_bills(self, bills: Iterable[BilledMonth]) -> None:
        """See ``Journal.put_bills``."""
        rows = [BILLS.encode(bill) for bill in bills]
        if rows:
            await self._database.write(lambda db: db.executemany(BILLS.replace, rows))

    async def holds(self, *, now: datetime) -> Sequence[Hold]:
        """See ``Journal.holds``. Oldest first."""
        return await self._database.rows(HOLDS, "WHERE expires_at > ? ORDER BY id", (instant_to_cell(now),))

    async def add_hold(self, hold: Hold) -> Hold:
        """See ``Journal.add_hold``."""
        row = HOLDS.encode(hold)
        number = await self._database.write(lambda db: db.execute(HOLDS.insert, row).lastrowid)
        return replace(hold, id=number or 0)

    async def remove_holds(self, *, kind: str, subject: str | None) -> int:
        """See ``Journal.remove_holds``. Expired ones that ``prune`` has not dropped yet count."""
        key = (kind, None if subject is None else text_to_cell(subject))
        sql = "DELETE FROM hold WHERE kind = ? AND subject IS ?"
        return await self._database.write(lambda db: db.execute(sql, key).rowcount)

    async def remove_hold(self, hold_id: int) -> None:
        """See ``Journal.remove_hold``."""
        await self._database.write(lambda db: db.execute("DELETE FROM hold WHERE id = ?", (hold_id,)))

    async def get_note(self, key: str) -> str | None:
        """See ``Journal.get_note``."""
        cell = text_to_cell(key)
        row = await self._database.read(
            lambda db: db.execute("SELECT value FROM note WHERE key = ?", (cell,)).fetchone()
        )
        return None if row is None else as_text(row[0])

    async def put_note(self, key: str, value: str) -> None:
        """See ``Journal.put_note``."""
        row = (text_to_cell(key), text_to_cell(value))
        await self._database.write(
            lambda db: db.execute("INSERT OR REPLACE INTO note (key, value) VALUES (?, ?)", row)
        )

    async def prune(self, *, before: datetime, max_rows: int) -> int:
        """See ``Journal.prune``. ``max_rows`` holds for intents and history each; open intents always stay.

        Holds that expired before then are dropped, and counted, as well.
        """
        drops = statements.prune(before, max_rows)
        return await self._database.write(lambda db: sum(db.execute(sql, cells).rowcount for sql, cells in drops))

    async def aclose(self) -> None:
        """Close the file. Idempotent."""
        await self._database.aclose()
