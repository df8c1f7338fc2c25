"""What SQLite and PostgreSQL are asked alike. A statement's cells stand at question marks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, TypeVar

from fleetd.model.journal import Backoff, BilledMonth, HistoryEntry, Hold, Intent, KeptLease, MachineFacts
from fleetd.model.reasons import Outcome, Verb
from fleetd.store.rows import (
    BACKOFFS,
    BILLS,
    FACTS,
    HISTORY,
    HOLDS,
    INTENTS,
    LEASES,
    Cell,
    Table,
    as_text,
    cell_to_text,
    instant_to_cell,
    made_by,
    text_to_cell,
)

T = TypeVar("T")

BILLS_KEPT = 2
"""Years that what was billed is kept beyond the history."""

_REACHED = """
WHERE id IN (
    SELECT id FROM intent WHERE closed_at IS NOT NULL AND outcome = 'reached' AND verb != 'destroy'
    ORDER BY id DESC LIMIT ?
) ORDER BY closed_at, id
"""
_PUT_NOTE = "INSERT INTO note (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
# The subquery finds the youngest row that is one too many, or nothing, which compares as false.
PRUNE_HISTORY = """
DELETE FROM history WHERE ts < ? OR id <= (SELECT id FROM history ORDER BY id DESC LIMIT 1 OFFSET ?)
"""
PRUNE_INTENTS = """
DELETE FROM intent WHERE closed_at IS NOT NULL AND (
    closed_at < ? OR id <= (SELECT id FROM intent WHERE closed_at IS NOT NULL ORDER BY id DESC LIMIT 1 OFFSET ?)
)
"""


def prune(before: datetime, max_rows: int) -> list[tuple[str, tuple[Cell, ...]]]:
    """``Journal.prune``: what is dropped, each with its cells."""
    instant = instant_to_cell(before)
    return [
        (PRUNE_HISTORY, (instant, max_rows)),
        (PRUNE_INTENTS, (instant, max_rows)),
        ("DELETE FROM bill WHERE month < ?", (f"{max(before.year - BILLS_KEPT, 1):04}-{before.month:02}",)),
        ("DELETE FROM hold WHERE expires_at < ?", (instant,)),
    ]


def ending(intent: Intent, at: datetime, outcome: Outcome, error: str | None) -> HistoryEntry:
    """What history says of an intent that is closed."""
    return HistoryEntry(
        ts=at,
        fleet=intent.fleet,
        machine=intent.machine_id,
        name=intent.name,
        verb=intent.verb.value,
        reason=intent.reason.value,
        outcome=outcome,
        intent=intent.id,
        duration_s=max((at - intent.created_at).total_seconds(), 0.0),
        error=error,
        actor=intent.actor,
        evidence=intent.evidence,
    )


class SqlJournal(ABC):
    """The methods of ``port.Journal`` that are one statement, the same on either."""

    _NO_LIMIT: ClassVar[Cell]
    """What stands for it at a ``LIMIT``."""

    @abstractmethod
    async def _select(self, sql: str, cells: Sequence[Cell], make: Callable[[Sequence[Any]], T]) -> list[T]:
        """The rows of a statement that only reads, each as ``make`` has it."""

    @abstractmethod
    async def _do(self, sql: str, cells: Sequence[Cell]) -> None:
        """A statement that may be made twice; durable when it returns."""

    @abstractmethod
    async def _put(
        self, table: Table[T], values: Iterable[T], key: tuple[str, ...], drop: Sequence[Sequence[Cell]] = ()
    ) -> None:
        """Insert or replace by the columns of the table's key, and drop others by the same, in one transaction."""

    async def _rows(self, table: Table[T], tail: str, cells: Sequence[Cell] = ()) -> list[T]:
        return await self._select(f"{table.select} {tail}", cells, table.decode)

    async def update_intent(
        self,
        intent_id: int,
        *,
        machine_id: str | None = None,
        accepted_at: datetime | None = None,
        ambiguous_since: datetime | None = None,
    ) -> None:
        """See ``Journal.update_intent``. One that is closed, or dropped by ``prune``, stays as it is."""
        given = {"machine_id": machine_id, "accepted_at": accepted_at, "ambiguous_since": ambiguous_since}
        cells = {column: INTENTS.encode_cell(column, value) for column, value in given.items() if value is not None}
        if cells:
            assignments = ", ".join(f"{column} = ?" for column in cells)
            sql = f"UPDATE intent SET {assignments} WHERE id = ? AND closed_at IS NULL"  # noqa: S608 - names from above
            await self._do(sql, (*cells.values(), intent_id))

    async def open_intents(self) -> Sequence[Intent]:
        """See ``Journal.open_intents``."""
        return await self._rows(INTENTS, "WHERE closed_at IS NULL ORDER BY id")

    async def reached(self, limit: int) -> Sequence[Intent]:
        """See ``Journal.reached``."""
        return await self._rows(INTENTS, _REACHED, (limit,))

    async def made(self, machines: Mapping[str, str]) -> frozenset[str]:
        """See ``Journal.made``."""
        if not machines:
            return frozenset()
        creates = await self._select(
            "SELECT name, machine_id, outcome FROM intent WHERE verb = ?",
            (str(Verb.CREATE),),
            lambda row: [None if cell is None else cell_to_text(cell) for cell in row],
        )
        return made_by(machines, creates)

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
        conditions = ["id > ?"]
        cells: list[Cell] = [after_id]
        if since is not None:
            conditions.append("ts >= ?")
            cells.append(instant_to_cell(since))
        if fleet is not None:
            conditions.append("fleet = ? OR (fleet = '' AND verb IN ('freeze', 'unfreeze'))")
            cells.append(text_to_cell(fleet))
        if machine is not None:
            conditions.append("machine = ? OR name = ?")
            cells.extend([text_to_cell(machine)] * 2)
        where = " AND ".join(f"({condition})" for condition in conditions)
        columns = ", ".join(("id", *HISTORY.columns))
        # Newest first for the limit, then turned round.
        sql = f"SELECT {columns} FROM history WHERE {where} ORDER BY id DESC LIMIT ?"  # noqa: S608 - from names
        cells.append(self._NO_LIMIT if limit is None else max(limit, 0))
        rows = await self._select(sql, cells, lambda row: (int(row[0]), HISTORY.decode(row[1:])))
        return rows[::-1]

    async def facts(self) -> Sequence[MachineFacts]:
        """See ``Journal.facts``. Ordered by machine id."""
        return await self._rows(FACTS, "ORDER BY machine_id")

    async def put_facts(self, facts: Iterable[MachineFacts]) -> None:
        """See ``Journal.put_facts``."""
        await self._put(FACTS, facts, ("machine_id",))

    async def forget_facts(self, machine_ids: Iterable[str]) -> None:
        """See ``Journal.forget_facts``."""
        await self._put(FACTS, (), ("machine_id",), [(text_to_cell(machine_id),) for machine_id in machine_ids])

    async def backoffs(self) -> Sequence[Backoff]:
        """See ``Journal.backoffs``. Ordered by region and machine type."""
        return await self._rows(BACKOFFS, "ORDER BY region, machine_type")

    async def put_backoff(self, backoff: Backoff) -> None:
        """See ``Journal.put_backoff``."""
        await self._put(BACKOFFS, [backoff], ("region", "machine_type"))

    async def clear_backoff(self, region: str, machine_type: str) -> None:
        """See ``Journal.clear_backoff``."""
        key = (text_to_cell(region), text_to_cell(machine_type))
        await self._do("DELETE FROM backoff WHERE region = ? AND machine_type = ?", key)

    async def bills(self, *, month: str) -> Sequence[BilledMonth]:
        """See ``Journal.bills``. Ordered by machine id."""
        return await self._rows(BILLS, "WHERE month = ? ORDER BY machine_id", (month,))

    async def put_bills(self, bills: Iterable[BilledMonth]) -> None:
        """See ``Journal.put_bills``."""
        await self._put(BILLS, bills, ("month", "machine_id"))

    async def holds(self, *, now: datetime) -> Sequence[Hold]:
        """See ``Journal.holds``. Oldest first."""
        return await self._rows(HOLDS, "WHERE expires_at > ? ORDER BY id", (instant_to_cell(now),))

    async def remove_hold(self, hold_id: int) -> None:
        """See ``Journal.remove_hold``."""
        await self._do("DELETE FROM hold WHERE id = ?", (hold_id,))

    async def leases(self) -> Sequence[KeptLease]:
        """See ``Journal.leases``. Ordered by machine and source."""
        return await self._rows(LEASES, "ORDER BY machine, source")

    async def put_leases(self, leases: Iterable[KeptLease], *, drop: Iterable[tuple[str, str]] = ()) -> None:
        """See ``Journal.put_leases``."""
        keys = [(text_to_cell(machine), text_to_cell(source)) for machine, source in drop]
        await self._put(LEASES, leases, ("machine", "source"), keys)

    async def get_note(self, key: str) -> str | None:
        """See ``Journal.get_note``."""
        sql = "SELECT value FROM note WHERE key = ?"
        values = await self._select(sql, (text_to_cell(key),), lambda row: as_text(row[0]))
        return values[0] if values else None

    async def put_note(self, key: str, value: str) -> None:
        """See ``Journal.put_note``."""
        await self._do(_PUT_NOTE, (text_to_cell(key), text_to_cell(value)))
