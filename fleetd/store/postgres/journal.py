"""The journal in a PostgreSQL database: what ``sqlite`` keeps in a file, behind the fence of the lease.

Every call that adds a row carries a key drawn here, so that one whose answer was lost finds its row when it is
repeated: what was written is looked up, never guessed. Where that cannot be, the call raises, and nothing may follow
from what it was to write.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from fleetd.model.errors import VetoStands
from fleetd.model.journal import Backoff, BilledMonth, HistoryEntry, Hold, Intent, MachineFacts
from fleetd.model.reasons import Outcome, Verb
from fleetd.model.vetoes import veto_detail
from fleetd.store import statements
from fleetd.store.postgres.cells import decoded, encoded, read, stored
from fleetd.store.postgres.database import Database, one, only
from fleetd.store.postgres.schema import Cursor
from fleetd.store.rows import (
    BACKOFFS,
    BILLS,
    FACTS,
    HISTORY,
    HOLDS,
    INTENTS,
    Cell,
    Table,
    as_text,
    instant_to_cell,
    made_by,
    text_to_cell,
)

T = TypeVar("T")

_AT_ONCE = 500
"""Rows of one statement: it has room for 65,535 cells."""


class PostgresJournal:
    """``fleetd.store.port.Journal`` on a database whose tables are there (``schema.prepare``)."""

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
        cells = {c: stored(INTENTS.encode_cell(c, value)) for c, value in given.items() if value is not None}
        if cells:
            assignments = ", ".join(f"{column} = %s" for column in cells)
            sql = f"UPDATE intent SET {assignments} WHERE id = %s AND closed_at IS NULL"  # noqa: S608 - names above
            await self._do(sql, (*cells.values(), intent_id))

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

    async def open_intents(self) -> Sequence[Intent]:
        """See ``Journal.open_intents``."""
        return await self._rows(INTENTS, "WHERE closed_at IS NULL ORDER BY id")

    async def reached(self, limit: int) -> Sequence[Intent]:
        """See ``Journal.reached``."""
        return await self._rows(INTENTS, statements.REACHED, (limit,))

    async def made(self, machines: Mapping[str, str]) -> frozenset[str]:
        """See ``Journal.made``."""

        async def look(cursor: Cursor) -> frozenset[str]:
            await cursor.execute("SELECT name, machine_id, outcome FROM intent WHERE verb = %s", (str(Verb.CREATE),))
            return made_by(machines, ([_text(cell) for cell in row] for row in await cursor.fetchall()))

        return await self._database.read(look) if machines else frozenset()

    async def append_history(self, entry: HistoryEntry) -> None:
        """See ``Journal.append_history``."""
        key = _key()
        await self._database.write(lambda cursor: _insert(cursor, HISTORY, entry, key))

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
        sql, cells = statements.history(_cell, since=since, fleet=fleet, machine=machine, after_id=after_id)
        cells.append(None if limit is None else max(limit, 0))

        async def look(cursor: Cursor) -> list[tuple[int, HistoryEntry]]:
            await cursor.execute(_marked(sql), cells)
            return [(int(number), decoded(HISTORY, row)) for number, *row in await cursor.fetchall()]

        return (await self._database.read(look))[::-1]

    async def facts(self) -> Sequence[MachineFacts]:
        """See ``Journal.facts``. Ordered by machine id."""
        return await self._rows(FACTS, "ORDER BY machine_id")

    async def put_facts(self, facts: Iterable[MachineFacts]) -> None:
        """See ``Journal.put_facts``."""
        await self._put(FACTS, facts, ("machine_id",))

    async def forget_facts(self, machine_ids: Iterable[str]) -> None:
        """See ``Journal.forget_facts``."""
        ids = [_cell(machine_id) for machine_id in machine_ids]
        if ids:
            await self._do("DELETE FROM facts WHERE machine_id = ANY(%s)", (ids,))

    async def backoffs(self) -> Sequence[Backoff]:
        """See ``Journal.backoffs``. Ordered by region and machine type."""
        return await self._rows(BACKOFFS, "ORDER BY region, machine_type")

    async def put_backoff(self, backoff: Backoff) -> None:
        """See ``Journal.put_backoff``."""
        await self._put(BACKOFFS, [backoff], ("region", "machine_type"))

    async def clear_backoff(self, region: str, machine_type: str) -> None:
        """See ``Journal.clear_backoff``."""
        key = (_cell(region), _cell(machine_type))
        await self._do("DELETE FROM backoff WHERE region = %s AND machine_type = %s", key)

    async def bills(self, *, month: str) -> Sequence[BilledMonth]:
        """See ``Journal.bills``. Ordered by machine id."""
        return await self._rows(BILLS, "WHERE month = %s ORDER BY machine_id", (month,))

    async def put_bills(self, bills: Iterable[BilledMonth]) -> None:
        """See ``Journal.put_bills``."""
        await self._put(BILLS, bills, ("month", "machine_id"))

    async def holds(self, *, now: datetime) -> Sequence[Hold]:
        """See ``Journal.holds``. Oldest first."""
        return await self._rows(HOLDS, "WHERE expires_at > %s ORDER BY id", (instant_to_cell(now),))

    async def add_hold(self, hold: Hold) -> Hold:
        """See ``Journal.add_hold``."""
        key = _key()
        return replace(hold, id=await self._database.write(lambda cursor: _insert(cursor, HOLDS, hold, key)))

    async def remove_holds(self, *, kind: str, subject: str | None) -> int:
        """See ``Journal.remove_holds``. Expired ones that ``prune`` has not dropped yet count."""
        cells = (kind, None if subject is None else _cell(subject))

        async def remove(cursor: Cursor) -> int:
            await cursor.execute("DELETE FROM hold WHERE kind = %s AND subject IS NOT DISTINCT FROM %s::text", cells)
            return cursor.rowcount

        return await self._database.write(remove, repeatable=False)

    async def remove_hold(self, hold_id: int) -> None:
        """See ``Journal.remove_hold``."""
        await self._do("DELETE FROM hold WHERE id = %s", (hold_id,))

    async def get_note(self, key: str) -> str | None:
        """See ``Journal.get_note``."""
        cell = _cell(key)
        row = await self._database.read(lambda cursor: one(cursor, "SELECT value FROM note WHERE key = %s", (cell,)))
        return None if row is None else as_text(read(row[0]))

    async def put_note(self, key: str, value: str) -> None:
        """See ``Journal.put_note``."""
        cells = (_cell(key), _cell(value))
        await self._do(
            "INSERT INTO note (key, value) VALUES (%s, %s) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            cells,
        )

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

    async def _do(self, sql: str, cells: Sequence[object]) -> None:
        async def do(cursor: Cursor) -> None:
            await cursor.execute(sql.encode(), cells)

        await self._database.write(do)

    async def _rows(self, table: Table[T], tail: str, cells: Sequence[Cell] = ()) -> list[T]:
        async def look(cursor: Cursor) -> list[T]:
            await cursor.execute(_marked(f"{table.select} {tail}"), cells)
            return [decoded(table, row) for row in await cursor.fetchall()]

        return await self._database.read(look)

    async def _put(self, table: Table[T], values: Iterable[T], key: tuple[str, ...]) -> None:
        places = [table.columns.index(column) for column in key]
        # The last of several with one key counts, as if they came one after the other.
        by_key = {tuple(row[p] for p in places): row for row in (encoded(table, value) for value in values)}
        rows = list(by_key.values())
        others = ", ".join(f"{c} = excluded.{c}" for c in table.columns if c not in key)
        names, marks = ", ".join(table.columns), ", ".join(["%s"] * len(table.columns))

        async def put(cursor: Cursor) -> None:
            # Not executemany, which is a pipeline: a holder that is paused in the middle of one keeps the lease's row
            # locked, and to the server it is neither idle nor at a statement, so that no timeout ends it.
            for begin in range(0, len(rows), _AT_ONCE):
                some = rows[begin : begin + _AT_ONCE]
                sql = (
                    f"INSERT INTO {table.name} ({names}) VALUES {', '.join([f'({marks})'] * len(some))} "  # noqa: S608
                    f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {others}"
                )
                await cursor.execute(sql.encode(), [cell for row in some for cell in row])

        if rows:
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


def _marked(sql: str) -> bytes:
    """A statement of ``statements`` with the marks that PostgreSQL's driver knows."""
    return sql.replace("?", "%s").encode()


def _cell(text: str) -> Cell:
    return stored(text_to_cell(text))


def _text(cell: object) -> str | None:
    return None if cell is None else as_text(read(cell))


def _key() -> str:
    return secrets.token_hex(16)
