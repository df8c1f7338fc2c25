"""A journal's whole content, and the file's part in moving it: filled, emptied of meaning, made a journal again."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from fleetd.model.errors import StateMoved
from fleetd.store import schema
from fleetd.store.connection import connect, explained, open_snapshot, open_writable
from fleetd.store.rows import BACKOFFS, BILLS, FACTS, HISTORY, HOLDS, INTENTS, LEASES, Cell
from fleetd.store.worker import Worker

T = TypeVar("T")

COLUMNS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "intent": INTENTS.columns,
        "history": ("id", *HISTORY.columns),
        "facts": FACTS.columns,
        "backoff": BACKOFFS.columns,
        "hold": HOLDS.columns,
        "note": ("key", "value"),
        "bill": BILLS.columns,
        "use_lease": LEASES.columns,
    }
)
"""Every table with its columns."""
_TOLD = MappingProxyType(
    {"intent": "intent", "history": "history", "hold": "hold", "use_lease": "lease", "facts": "facts"}
)
"""Tables whose rows a person counts after a move, and what they are called; a table `lease` is who acts."""
NUMBERED = ("intent", "history", "hold")
"""Tables whose rows have numbers that are never given twice."""
_BUSY = 5.0
_OWN_NOTES = (schema.READERS, schema.MOVED_TO, schema.ARRIVING)
"""About the file, and not of the journal."""


@dataclass(frozen=True, slots=True)
class Content:
    """All rows of a journal, and the last number that each table has given."""

    rows: Mapping[str, Sequence[Sequence[Cell]]]
    last: Mapping[str, int]

    @property
    def empty(self) -> bool:
        """Whether nothing was ever written."""
        return not any(self.rows.values())

    @property
    def told(self) -> str:
        """How much it is, in words."""
        return ", ".join(f"{len(self.rows[table])} {word}" for table, word in _TOLD.items())


EMPTY = Content(MappingProxyType({}), MappingProxyType({}))
"""Nothing."""


async def has_journal(path: Path) -> bool:
    """Whether a file holds a journal with anything in it, that has not been moved."""
    return await word_left(path) is None and not (await file_content(path)).empty


async def word_left(path: Path) -> tuple[str, str] | None:
    """Which note a move has left in a file, and what it says; None in one that is a journal, or is not there."""

    def look() -> tuple[str, str] | None:
        with explained(path):
            if not path.exists():
                return None
        with _opened(path) as db:
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if version != schema.MOVED:
                return None
            for note in (schema.ARRIVING, schema.MOVED_TO):
                row = db.execute("SELECT value FROM note WHERE key = ?", (note,)).fetchone()
                if row is not None:
                    return note, str(row[0])
            return schema.MOVED_TO, "somewhere else"

    return await _in_thread(look)


async def file_content(path: Path) -> Content:
    """All that a file's journal holds; nothing where there is none.

    Raises:
        StateMoved, StateUnusable: it cannot be read.
    """

    def look() -> Content:
        with contextlib.closing(open_snapshot(path, busy_timeout=_BUSY)) as db:
            return read_content(db)

    return await _in_thread(look)


async def leave_word(path: Path, to: str) -> None:
    """Turn the file into a marker that says where the journal went."""

    def mark() -> None:
        with _opened(path) as db, _transaction(db):
            _mark(db, {schema.MOVED_TO: to, schema.READERS: str(schema.MOVED)}, schema.MOVED)

    await _in_thread(mark)


async def fill(path: Path, content: Content, origin: str) -> None:
    """Put a journal's content into a file that is none, or an empty one, without making it one yet.

    Raises:
        StateMoved: the file has a journal of its own, or one is on its way to it from elsewhere.
    """
    word = await word_left(path)
    if word is None and not (await file_content(path)).empty:
        raise StateMoved(f"{path} has a journal of its own: nothing is moved over it")
    if word is not None and word[0] == schema.ARRIVING and word[1] != origin:
        # Perhaps its only whole copy: the other may say already that it is here.
        raise StateMoved(f"a journal from {word[1]} is on its way to {path}: nothing is moved over it")

    def write() -> None:
        if word is None:
            open_writable(path, busy_timeout=_BUSY).close()
        with _opened(path) as db, _transaction(db):
            # An older version may have made its tables: what was moved away was not brought up to date before.
            schema.make_anew(db)
            write_content(db, content)
            _mark(db, {schema.ARRIVING: origin, schema.READERS: str(schema.MOVED)}, schema.MOVED)

    await _in_thread(write)


async def open_again(path: Path) -> None:
    """Make a filled file a journal."""

    def reopen() -> None:
        with _opened(path) as db, _transaction(db):
            _mark(db, {schema.READERS: str(schema.OLDEST_READER)}, schema.VERSION)

    await _in_thread(reopen)


def read_content(db: sqlite3.Connection) -> Content:
    """All that a journal's connection sees."""
    rows = {t: db.execute(f"SELECT {', '.join(c)} FROM {t}").fetchall() for t, c in COLUMNS.items()}  # noqa: S608
    rows["note"] = [row for row in rows["note"] if row[0] not in _OWN_NOTES]
    last = dict(db.execute("SELECT name, seq FROM sqlite_sequence").fetchall())
    return Content(rows, {table: int(last.get(table, 0)) for table in NUMBERED})


def write_content(db: sqlite3.Connection, content: Content) -> None:
    """Put it into tables that hold nothing."""
    for table, columns in COLUMNS.items():
        marks = ", ".join("?" * len(columns))
        sql = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608 - from the table above
        db.executemany(sql, content.rows[table])
    for table in NUMBERED:
        db.execute("DELETE FROM sqlite_sequence WHERE name = ?", (table,))
        db.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (table, content.last[table]))


def _mark(db: sqlite3.Connection, notes: Mapping[str, str], version: int) -> None:
    """Write down of a move what these notes say and no others, and which format the file has."""
    db.executemany("DELETE FROM note WHERE key = ?", [(schema.ARRIVING,), (schema.MOVED_TO,)])
    db.executemany("INSERT OR REPLACE INTO note (key, value) VALUES (?, ?)", notes.items())
    db.execute(f"PRAGMA user_version = {version}")


async def _in_thread(job: Callable[[], T]) -> T:
    worker = Worker()
    try:
        return await worker.run(job)
    finally:
        worker.close()


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    with explained(path), contextlib.closing(connect(path, "rw", busy_timeout=_BUSY)) as db:
        db.execute("PRAGMA synchronous = FULL")
        yield db


@contextlib.contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    yield
    db.execute("COMMIT")  # what raised before ends with the connection
