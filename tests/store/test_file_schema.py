"""The format of the journal's file: which is opened, which is refused, and what a step that fails leaves."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from fleetd.model.errors import StateMoved, StateUnusable
from fleetd.store import schema

PATH = Path("/var/lib/fleetd/journal.db")
NEWER = schema.VERSION + 1


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    """A journal of this version."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        schema.prepare(db, PATH)
        yield db


def version(db: sqlite3.Connection) -> int:
    (found,) = db.execute("PRAGMA user_version").fetchone()
    return int(found)


def shape(db: sqlite3.Connection) -> dict[str, list[tuple[object, ...]]]:
    """Every table's columns: name, type, whether it may be missing, default, place in the key."""
    tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
    return {t: sorted(row[1:] for row in db.execute(f"PRAGMA table_info({t})")) for t in tables}


def test_columns_that_older_versions_do_not_miss_are_added_as_they_are_declared() -> None:
    """As rows of the bill and of a hold are, that a version before these columns has left."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        for statements in schema.MIGRATIONS:
            for statement in statements:
                db.execute(statement)
        db.execute("INSERT INTO bill VALUES ('2026-03', 'ps1', 'f', 'f-1', 0, 1.5, '0.51', 2.5, NULL, 0, 0)")
        db.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {schema.VERSION}")
        schema.prepare(db, PATH)
        added = ("machine_type", "spent_least", "spent_most", "stored_least", "stored_most", "off", "gone_at")
        row = db.execute(f"SELECT {', '.join(added)}, more_seconds FROM bill").fetchone()
        assert row == (None, None, None, None, None, 0, None, 0.0)
        kinds = {(table, c[0]): c[1:4] for table, columns in shape(db).items() for c in columns}
        assert kinds["hold", "machine"] == ("TEXT", 0, None)
        assert kinds["facts", "unconfirmed"] == ("INTEGER", 1, "0")
        for column in added[:5]:
            assert kinds["bill", column] == ("TEXT", 0, None)
        assert kinds["bill", "off"] == ("INTEGER", 1, "0")
        assert kinds["bill", "gone_at"] == ("INTEGER", 0, None)
        assert kinds["bill", "more_seconds"] == ("REAL", 1, "0")


@pytest.mark.parametrize(
    ("readers", "opens"),
    [
        ("1", True),
        (str(schema.VERSION), True),
        (str(NEWER), False),
        (None, False),
        ("", False),
        ("x", False),
        ("-1", False),
        ("\u00b2", False),  # a digit to Python, and no number
        ("\u0661", False),
        ("0" * 8 + "1", False),
        ("1" * 5000, False),  # more than Python turns into a number
    ],
)
def test_a_newer_file_is_opened_where_it_says_that_it_can_be_used(
    db: sqlite3.Connection, readers: str | None, opens: bool
) -> None:
    db.execute(f"PRAGMA user_version = {NEWER}")
    db.execute("DELETE FROM note WHERE key = 'schema.oldest_reader'")
    if readers is not None:
        db.execute("INSERT INTO note VALUES ('schema.oldest_reader', ?)", (readers,))
    if opens:
        schema.prepare(db, PATH)
    else:
        with pytest.raises(StateUnusable, match=rf"newer fleetd, .*its format is {NEWER}, .*up to {schema.VERSION}"):
            schema.prepare(db, PATH)
    assert version(db) == NEWER, "it is left as it is"


def test_a_version_before_the_table_of_leases_refuses_a_journal_with_one(
    db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would see none of them, and stop a machine that somebody uses."""
    monkeypatch.setattr(schema, "VERSION", 2)
    with pytest.raises(StateUnusable, match=r"newer fleetd.*up to 2\). Nothing was changed.* Install that version"):
        schema.prepare(db, PATH)


def test_a_newer_file_without_notes_is_refused(db: sqlite3.Connection) -> None:
    db.execute(f"PRAGMA user_version = {NEWER}")
    db.execute("DROP TABLE note")
    with pytest.raises(StateUnusable, match="newer fleetd"):
        schema.prepare(db, PATH)


def test_a_file_of_this_version_says_so_and_is_not_written_again(db: sqlite3.Connection) -> None:
    assert version(db) == schema.VERSION
    assert db.execute("PRAGMA application_id").fetchone() == (int.from_bytes(b"fltd", "big"),)
    assert db.execute("SELECT * FROM note").fetchall() == [("schema.oldest_reader", "3")]
    db.execute("UPDATE note SET value = '99'")  # what is said there is for versions before it
    before = db.total_changes
    schema.prepare(db, PATH)
    assert db.total_changes == before


@pytest.mark.parametrize(
    ("notes", "words"),
    [
        (
            {"state.arriving": "/state on a", "state.moved_to": "somewhere"},
            f"the journal is being moved from /state on a to {PATH}, and has not come whole",
        ),
        (
            {"state.moved_to": "postgresql://db/fleetd"},
            f"the journal was moved from {PATH} to postgresql://db/fleetd:",
        ),
        ({}, f"the journal was moved from {PATH} to somewhere else:"),
    ],
)
def test_a_file_that_is_no_journal_any_more_says_where_that_is(
    db: sqlite3.Connection, notes: dict[str, str], words: str
) -> None:
    db.execute("PRAGMA user_version = 1000000")
    db.executemany("INSERT INTO note VALUES (?, ?)", notes.items())
    with pytest.raises(StateMoved, match=re.escape(words)):
        schema.prepare(db, PATH)


def test_what_lost_its_number_is_no_new_journal(db: sqlite3.Connection) -> None:
    """One with tables in it is never taken for a file that was just made, whatever its header says."""
    db.execute("PRAGMA user_version = 0")
    assert not schema.is_blank(db)
    with pytest.raises(sqlite3.OperationalError, match="already exists"):
        schema.prepare(db, PATH)


def test_an_empty_file_with_a_number_is_not_blank() -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        assert schema.is_blank(db)
        db.execute("PRAGMA user_version = 1")
        assert not schema.is_blank(db)


@pytest.mark.parametrize("added", [True, False], ids=["a column", "a format"])
def test_a_step_that_fails_is_undone_and_said(
    db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch, added: bool
) -> None:
    before = shape(db)
    if added:
        monkeypatch.setattr(schema, "ADDED", (*schema.ADDED, ("hold", "one", "TEXT"), ("hold", "two", "TEXT UNIQUE")))
    else:
        monkeypatch.setattr(schema, "VERSION", NEWER)
        more = ("CREATE TABLE more (id)", "INSERT INTO nowhere VALUES (1)")
        monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, more))
    with pytest.raises(sqlite3.OperationalError, match="UNIQUE column" if added else "nowhere"):
        schema.prepare(db, PATH)
    assert not db.in_transaction
    assert shape(db) == before
    assert version(db) == NEWER - 1
