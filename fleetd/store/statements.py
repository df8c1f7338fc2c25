"""What SQLite and PostgreSQL are asked alike, up to the mark that a statement's cells stand at."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from fleetd.model.journal import HistoryEntry, Intent
from fleetd.model.reasons import Outcome
from fleetd.store.rows import HISTORY, Cell, instant_to_cell

BILLS_KEPT = 2
"""Years that what was billed is kept beyond the history."""

REACHED = """
WHERE id IN (
    SELECT id FROM intent WHERE closed_at IS NOT NULL AND outcome = 'reached' AND verb != 'destroy'
    ORDER BY id DESC LIMIT ?
) ORDER BY closed_at, id
"""
"""``Journal.reached``: the end of a select."""

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
    """``Journal.prune``: what is dropped, each with its cells; the mark is a question mark."""
    instant = instant_to_cell(before)
    return [
        (PRUNE_HISTORY, (instant, max_rows)),
        (PRUNE_INTENTS, (instant, max_rows)),
        ("DELETE FROM bill WHERE month < ?", (f"{max(before.year - BILLS_KEPT, 1):04}-{before.month:02}",)),
        ("DELETE FROM hold WHERE expires_at < ?", (instant,)),
    ]


def history(
    text: Callable[[str], Cell],
    *,
    since: datetime | None,
    fleet: str | None,
    machine: str | None,
    after_id: int,
) -> tuple[str, list[Cell]]:
    """``Journal.history``, newest first, and its cells but for the limit; ``text``: a cell of text."""
    conditions = ["id > ?"]
    cells: list[Cell] = [after_id]
    if since is not None:
        conditions.append("ts >= ?")
        cells.append(instant_to_cell(since))
    if fleet is not None:
        conditions.append("fleet = ? OR (fleet = '' AND verb IN ('freeze', 'unfreeze'))")
        cells.append(text(fleet))
    if machine is not None:
        conditions.append("machine = ? OR name = ?")
        cells.extend([text(machine)] * 2)
    where = " AND ".join(f"({condition})" for condition in conditions)
    columns = ", ".join(("id", *HISTORY.columns))
    return f"SELECT {columns} FROM history WHERE {where} ORDER BY id DESC LIMIT ?", cells  # noqa: S608 - from names


def ending(intent: Intent, at: datetime, outcome: Outcome, error: str | None) -> HistoryEntry:
    """What history says of an intent that is closed."""
    return HistoryEntry(
        ts=at,
        fleet=intent.fleet,
        machine=intent.machine_id,
        name=intent.name,
        verb=intent.verb.value,
        reason=intent.reason.value,
        outcome=outcome.value,
        intent=intent.id,
        duration_s=max((at - intent.created_at).total_seconds(), 0.0),
        error=error,
        actor=intent.actor,
        evidence=intent.evidence,
    )
