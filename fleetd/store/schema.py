"""The journal's tables, and how a file becomes one that this version can use."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from fleetd.model.errors import StateMoved, StateUnusable
from fleetd.store.failures import damaged

APPLICATION_ID = 0x666C7464
"""``fltd``: says in the file's header whose it is (sqlite.org/pragma.html#pragma_application_id)."""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        # AUTOINCREMENT: a number is never given twice, history and ``after_id`` rely on it.
        """
        CREATE TABLE intent (
            id              INTEGER PRIMARY KEY AUTOINCREMENT,
            fleet           TEXT    NOT NULL,
            verb            TEXT    NOT NULL,
            reason          TEXT    NOT NULL,
            name            TEXT    NOT NULL,
            created_at      INTEGER NOT NULL,
            deadline_at     INTEGER NOT NULL,
            machine_id      TEXT,
            parameters      TEXT    NOT NULL,
            expected_state  TEXT,
            baseline_event  TEXT,
            accepted_at     INTEGER,
            ambiguous_since INTEGER,
            closed_at       INTEGER,
            outcome         TEXT,
            error           TEXT,
            actor           TEXT    NOT NULL,
            evidence        TEXT
        )
        """,
        "CREATE INDEX intent_open ON intent (id) WHERE closed_at IS NULL",
        """
        CREATE TABLE history (
            id         INTEGER PRIMARY KEY AUTOINCREMENT,
            ts         INTEGER NOT NULL,
            fleet      TEXT    NOT NULL,
            machine    TEXT,
            name       TEXT    NOT NULL,
            verb       TEXT    NOT NULL,
            reason     TEXT    NOT NULL,
            outcome    TEXT    NOT NULL,
            intent     INTEGER,
            duration_s REAL,
            error      TEXT,
            actor      TEXT    NOT NULL,
            evidence   TEXT
        )
        """,
        "CREATE INDEX history_ts ON history (ts)",
        """
        CREATE TABLE facts (
            machine_id     TEXT    PRIMARY KEY,
            fleet          TEXT    NOT NULL,
            name           TEXT    NOT NULL,
            first_seen     INTEGER NOT NULL,
            last_seen      INTEGER NOT NULL,
            last_state     TEXT    NOT NULL,
            adopted        INTEGER NOT NULL,
            first_ready_at INTEGER,
            up_since       INTEGER,
            last_up_at     INTEGER,
            gone_at        INTEGER,
            destroyed      INTEGER NOT NULL,
            failure        TEXT,
            failure_reason TEXT,
            stopped_by     TEXT,
            stopped_at     INTEGER,
            started_by     TEXT,
            started_at     INTEGER
        )
        """,
        """
        CREATE TABLE backoff (
            region       TEXT    NOT NULL,
            machine_type TEXT    NOT NULL,
            attempt      INTEGER NOT NULL,
            until        INTEGER NOT NULL,
            reason       TEXT    NOT NULL,
            PRIMARY KEY (region, machine_type)
        )
        """,
        """
        CREATE TABLE hold (
            id         INTEGER PRIMARY KEY AUTOINCREMENT,
            subject    TEXT,
            kind       TEXT    NOT NULL,
            reason     TEXT    NOT NULL,
            actor      TEXT    NOT NULL,
            created_at INTEGER NOT NULL,
            expires_at INTEGER NOT NULL,
            verbs      TEXT    NOT NULL
        )
        """,
        "CREATE TABLE note (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    ),
    (
        # Decimals are text: money is never a float.
        """
        CREATE TABLE bill (
            month                TEXT    NOT NULL,
            machine_id           TEXT    NOT NULL,
            fleet                TEXT    NOT NULL,
            name                 TEXT    NOT NULL,
            as_of                INTEGER NOT NULL,
            seconds_used         REAL,
            hourly_rate          TEXT,
            storage_seconds_used REAL    NOT NULL,
            storage_monthly_rate TEXT,
            gone                 INTEGER NOT NULL,
            at_most              INTEGER NOT NULL,
            PRIMARY KEY (month, machine_id)
        )
        """,
    ),
    (
        """
        CREATE TABLE use_lease (
            machine TEXT    NOT NULL,
            source  TEXT    NOT NULL,
            began   INTEGER NOT NULL,
            until   INTEGER NOT NULL,
            actor   TEXT    NOT NULL,
            PRIMARY KEY (machine, source)
        )
        """,
    ),
)
"""Statements that lead from version n to n + 1. A released entry is never changed: a change is a new entry."""

ADDED: tuple[tuple[str, str, str], ...] = (
    ("hold", "machine", "TEXT"),
    ("facts", "unconfirmed", "INTEGER NOT NULL DEFAULT 0"),
    ("bill", "machine_type", "TEXT"),
    ("bill", "spent_least", "TEXT"),
    ("bill", "spent_most", "TEXT"),
    ("bill", "stored_least", "TEXT"),
    ("bill", "stored_most", "TEXT"),
    ("bill", "off", "INTEGER NOT NULL DEFAULT 0"),
    ("bill", "gone_at", "INTEGER"),
    ("bill", "more_seconds", "REAL NOT NULL DEFAULT 0"),
)
"""Columns (table, name, declaration) that older versions know nothing of and do not miss: the format's number stays,
so that a rollback keeps history and vetoes."""

VERSION = len(MIGRATIONS)

OLDEST_READER = 3
"""The oldest format whose programs can use this one: raised by a migration that does more than add columns with
defaults, and tables that an older one does not miss. One before 3 sees no leases, and would stop what is in use."""
READERS = "schema.oldest_reader"
"""The note that says so in the file."""


MOVED = 1_000_000
"""The format of a file that is no journal any more: every fleetd refuses it, those that know nothing of moves too."""
MOVED_TO, ARRIVING = "state.moved_to", "state.arriving"
"""Notes in such a file: where its journal went; or from where one is on its way, which has not come whole."""


def prepare(db: sqlite3.Connection, path: Path) -> None:
    """Check that the database is a sound journal of a version that this program knows, and bring it up to date.

    Args:
        db: a connection in autocommit mode.
        path: named in messages.

    Raises:
        StateUnusable: the file is damaged, somebody else's, or of a newer fleetd.
        sqlite3.Error: it cannot be read or written.
    """
    version = _identify(db, path)
    findings = [str(row[0]) for row in db.execute("PRAGMA quick_check(3)")]
    if findings != ["ok"]:
        raise damaged(path, "; ".join(findings))
    if version < VERSION:
        _migrate(db)
    _add_columns(db)


def make_anew(db: sqlite3.Connection) -> None:
    """Every table empty and as this version has it, whatever was there; in the caller's transaction."""
    # That one is SQLite's own, and forgets the numbers of what is dropped (sqlite.org/autoinc.html).
    named = "SELECT name FROM sqlite_master WHERE type = 'table' AND name != 'sqlite_sequence'"
    for (table,) in db.execute(named).fetchall():
        db.execute(f'DROP TABLE "{table}"')
    for statements in MIGRATIONS:
        for statement in statements:
            db.execute(statement)
    for added in ADDED:
        _add_column(db, *added)


def is_blank(db: sqlite3.Connection) -> bool:
    """Whether nothing was ever written: a new file, or one whose creation a crash cut short."""
    return _pragma(db, "user_version") == 0 and db.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)


def _identify(db: sqlite3.Connection, path: Path) -> int:
    if is_blank(db):
        return 0
    if _pragma(db, "application_id") != APPLICATION_ID:
        msg = f"{path} is a database, but not one of fleetd's: daemon.state_dir must name a directory of fleetd's own"
        raise StateUnusable(msg)
    version = _pragma(db, "user_version")
    if version == MOVED:
        raise StateMoved(_word_of_move(db, path))
    oldest = version if version <= VERSION else _oldest_reader(db, version)
    if oldest > VERSION:
        msg = (
            f"the journal {path} was written by a newer fleetd, and this one cannot use it (its format is "
            f"{version}, this one knows up to {VERSION}). Nothing was changed: holds, freezes and history are all in "
            "it. Install that version again"
        )
        raise StateUnusable(msg)
    return version


def _word_of_move(db: sqlite3.Connection, path: Path) -> str:
    notes = dict(db.execute("SELECT key, value FROM note WHERE key IN (?, ?)", (MOVED_TO, ARRIVING)).fetchall())
    if ARRIVING in notes:
        return (
            f"the journal is being moved from {notes[ARRIVING]} to {path}, and has not come whole: "
            "run that fleetd state move again, it goes on where it ended"
        )
    to = notes.get(MOVED_TO, "somewhere else")
    return f"the journal was moved from {path} to {to}: say so in the config (daemon.state), or move it back"


def _oldest_reader(db: sqlite3.Connection, version: int) -> int:
    """The oldest format whose programs can use the file, as the one that brought it up to date wrote it down."""
    try:
        row = db.execute("SELECT value FROM note WHERE key = ?", (READERS,)).fetchone()
    except sqlite3.OperationalError:  # it has no such table any more
        return version
    text = "" if row is None else str(row[0])
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else version


def _migrate(db: sqlite3.Connection) -> None:
    # One transaction: a crash leaves the old version whole. Both pragmas live in the header and roll back with it.
    db.execute("BEGIN IMMEDIATE")
    try:
        for statements in MIGRATIONS[_pragma(db, "user_version") :]:
            for statement in statements:
                db.execute(statement)
        db.execute("INSERT OR REPLACE INTO note (key, value) VALUES (?, ?)", (READERS, str(OLDEST_READER)))
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {VERSION}")
        db.execute("COMMIT")
    except sqlite3.Error:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _add_columns(db: sqlite3.Connection) -> None:
    known = {(table, row[1]) for table, _, _ in ADDED for row in db.execute(f"PRAGMA table_info({table})")}
    missing = [(t, column, declared) for t, column, declared in ADDED if (t, column) not in known]
    if not missing:
        return
    # One transaction: each would be synced to the disk for itself.
    db.execute("BEGIN IMMEDIATE")
    try:
        for added in missing:
            _add_column(db, *added)
        db.execute("COMMIT")
    except sqlite3.Error:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _add_column(db: sqlite3.Connection, table: str, column: str, declaration: str) -> None:
    db.execute(f"ALTER TABLE {table} ADD COLUMN {column} {declaration}")


def _pragma(db: sqlite3.Connection, name: str) -> int:
    (value,) = db.execute(f"PRAGMA {name}").fetchone()
    return int(value)
