"""The file's part in moving a journal: whether it is one, where it went, and what comes whole or not at all."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

import pytest

from fleetd.model.errors import StateMoved, StateUnusable
from fleetd.model.journal import Backoff, Hold
from fleetd.model.reasons import Verb
from fleetd.store import connection, schema
from fleetd.store.moving import (
    COLUMNS,
    NUMBERED,
    Content,
    file_content,
    fill,
    has_journal,
    leave_word,
    open_again,
    word_left,
)
from fleetd.store.rows import BACKOFFS, BILLS, HISTORY, HOLDS, INTENTS, LEASES, Cell, Table
from fleetd.store.rows import FACTS as FACTS_OF
from fleetd.store.sqlite import SqliteJournal
from tests.store.test_journal import BILL, ENTRY, FACTS, INTENT, LEASE
from tests.support.build import NOW, later
from tests.support.inline_executor import InlineExecutor

T = TypeVar("T")
BACKOFF = Backoff("NY2", "P4000", 1, later(minutes=1), "out")


def row(table: Table[T], value: T) -> tuple[Cell, ...]:
    return tuple(table.encode_cell(column, getattr(value, column)) for column in table.columns)


THERE, ELSEWHERE = "postgresql://db/fleetd", "postgresql://db/another"
"""Databases in words."""
GIVEN = {"intent": 7, "history": 41, "hold": 3}
"""The last number of each table, whose row is gone."""
EMPTY = Content(MappingProxyType(dict.fromkeys(COLUMNS, ())), MappingProxyType(dict.fromkeys(NUMBERED, 0)))
SOME = Content(
    MappingProxyType(
        {
            "intent": [row(INTENTS, replace(INTENT, id=1))],
            "history": [(1, *row(HISTORY, ENTRY))],
            "facts": [row(FACTS_OF, FACTS)],
            "backoff": [row(BACKOFFS, BACKOFF)],
            "hold": [row(HOLDS, Hold(1, "x", "hold", "", "anna", NOW, later(hours=9), frozenset(Verb)))],
            "note": [("prices", "1")],
            "bill": [row(BILLS, BILL)],
            "use_lease": [row(LEASES, LEASE)],
        }
    ),
    GIVEN,
)
"""A row in each table, and numbers beyond their rows'."""


async def hold(journal: SqliteJournal) -> int:
    added = await journal.add_hold(
        Hold(
            id=0,
            kind="hold",
            subject="x",
            verbs=frozenset(Verb),
            reason="",
            actor="",
            created_at=NOW,
            expires_at=later(hours=9),
        )
    )
    return added.id


ONE_ROW: Mapping[str, Callable[[SqliteJournal], Awaitable[object]]] = {
    "intent": lambda journal: journal.write_intent(INTENT),
    "history": lambda journal: journal.append_history(ENTRY),
    "facts": lambda journal: journal.put_facts([FACTS]),
    "backoff": lambda journal: journal.put_backoff(BACKOFF),
    "hold": hold,
    "note": lambda journal: journal.put_note("prices", "1"),
    "bill": lambda journal: journal.put_bills([BILL]),
    "use_lease": lambda journal: journal.put_leases([LEASE]),
}
"""How a row comes into each table."""


async def opened(path: Path) -> SqliteJournal:
    return await SqliteJournal.open(path, executor=InlineExecutor())


async def write(path: Path, *tables: str) -> None:
    journal = await opened(path)
    for table in tables:
        await ONE_ROW[table](journal)
    await journal.aclose()


def dumped(path: Path) -> list[object]:
    """All that a file says, and its format."""
    with closing(sqlite3.connect(path)) as db:
        return [*db.iterdump(), db.execute("PRAGMA user_version").fetchone()]


def test_how_much_came_is_told_by_what_a_person_counts() -> None:
    counts = {"intent": 3, "history": 41, "hold": 2, "facts": 7, "backoff": 5, "note": 6, "bill": 8, "use_lease": 9}
    content = Content({table: [()] * count for table, count in counts.items()}, GIVEN)
    assert content.told == "3 intent, 41 history, 2 hold, 9 lease, 7 facts"


@pytest.mark.parametrize("table", COLUMNS)
async def test_one_row_in_any_table_is_a_journal(path: Path, table: str) -> None:
    assert not await has_journal(path), "there is no file"
    await write(path)
    assert not await has_journal(path), "its own note of the format is nothing that was written"
    await write(path, table)
    assert await has_journal(path)
    before = dumped(path)
    with pytest.raises(StateMoved, match=f"{path.name} has a journal of its own: nothing is moved over it"):
        await fill(path, EMPTY, THERE)
    assert dumped(path) == before


Step = Callable[[Path], Awaitable[None]]
MOVED: Step = partial(leave_word, to=THERE)
ARRIVING: Step = partial(fill, content=EMPTY, origin=THERE)
STATES: Mapping[str, tuple[tuple[Step, ...], tuple[str, str] | None]] = {
    "no file": ((), None),
    "a journal": ((write,), None),
    "moved": ((write, MOVED), (schema.MOVED_TO, THERE)),
    "moved elsewhere": ((write, partial(leave_word, to=ELSEWHERE)), (schema.MOVED_TO, ELSEWHERE)),
    "on its way": ((ARRIVING,), (schema.ARRIVING, THERE)),
    "on its way, once more": ((ARRIVING, ARRIVING), (schema.ARRIVING, THERE)),
    "on its way into an empty journal": ((write, ARRIVING), (schema.ARRIVING, THERE)),
    "on its way back": ((write, MOVED, ARRIVING), (schema.ARRIVING, THERE)),
    "moved before it had come": ((ARRIVING, MOVED), (schema.MOVED_TO, THERE)),
    "come": ((ARRIVING, open_again), None),
    "come back": ((write, MOVED, ARRIVING, open_again), None),
    "opened again by hand": ((write, MOVED, open_again), None),
}
"""What is done to a file, and the word that is left in it then."""


@pytest.mark.parametrize("state", STATES)
async def test_a_file_is_a_journal_or_says_where_one_went_or_comes_from(path: Path, state: str) -> None:
    steps, word = STATES[state]
    for step in steps:
        await step(path)
    assert await word_left(path) == word
    assert [file.name for file in path.parent.iterdir()] == [path.name] * bool(steps), "looking makes no file"
    if word is None:
        await write(path, "note")
        assert await has_journal(path)
        with closing(sqlite3.connect(path)) as db:
            notes = dict(db.execute("SELECT key, value FROM note"))
        assert notes == {"prices": "1", schema.READERS: str(schema.OLDEST_READER)}
    else:
        assert not await has_journal(path)
        says = f"being moved from {word[1]} to" if word[0] == schema.ARRIVING else f"moved from {path} to {word[1]}"
        with pytest.raises(StateMoved, match=says):
            await opened(path)


@pytest.mark.parametrize("state", STATES)
async def test_a_version_of_before_refuses_what_is_no_journal_and_opens_what_is_one_again(
    path: Path, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    """It knows nothing of moves and an older format, and goes by the note of who can read it."""
    steps, word = STATES[state]
    for step in steps:
        await step(path)
    monkeypatch.setattr(schema, "MOVED", -1)
    monkeypatch.setattr(schema, "VERSION", schema.OLDEST_READER)
    if word is None:
        await write(path, "note")
    else:
        with pytest.raises(StateUnusable, match="newer fleetd"):
            await opened(path)


async def test_a_file_that_lost_its_word_went_somewhere_else(path: Path) -> None:
    await write(path)
    await leave_word(path, THERE)
    with closing(sqlite3.connect(path)) as db:
        db.execute("DELETE FROM note")
        db.commit()
    assert await word_left(path) == (schema.MOVED_TO, "somewhere else")


@pytest.mark.parametrize("state", ["no file", "a journal", "moved", "moved elsewhere", "on its way"])
async def test_what_comes_is_all_there_is_and_no_number_is_given_twice(path: Path, state: str) -> None:
    for step in STATES[state][0]:
        await step(path)
    for _ in range(2):  # as one that was cut short goes on
        await fill(path, SOME, THERE)
    await open_again(path)
    found = await file_content(path)
    assert {t: [tuple(row) for row in rows] for t, rows in found.rows.items()} == SOME.rows
    assert all(SOME.rows.values())
    assert found.last == GIVEN
    journal = await opened(path)
    await journal.append_history(ENTRY)
    (number, _) = (await journal.history())[-1]
    assert [(await journal.write_intent(INTENT)).id, number, await hold(journal)] == [n + 1 for n in GIVEN.values()]
    await journal.aclose()
    with closing(sqlite3.connect(path)) as db:
        names = sorted(name for (name,) in db.execute("SELECT name FROM sqlite_sequence"))
    assert names == sorted(NUMBERED), "one number a table"


async def test_a_journal_in_which_nothing_was_written_has_given_no_number(path: Path) -> None:
    await write(path)
    assert (await file_content(path)).last == EMPTY.last
    await leave_word(path, THERE)
    await fill(path, EMPTY, THERE)
    await open_again(path)
    assert (await file_content(path)).last == EMPTY.last
    journal = await opened(path)
    assert (await journal.write_intent(INTENT)).id == 1
    await journal.aclose()


@pytest.mark.parametrize("state", ["a journal", "moved", "on its way"])
async def test_what_does_not_come_whole_changes_nothing(path: Path, state: str) -> None:
    twice = Content({**SOME.rows, "bill": [*SOME.rows["bill"]] * 2}, GIVEN)
    for step in STATES[state][0]:
        await step(path)
    before = dumped(path)
    with pytest.raises(StateUnusable, match="bill"):
        await fill(path, twice, THERE)
    assert dumped(path) == before
    await fill(path, SOME, THERE)
    await open_again(path)
    assert (await file_content(path)).told == SOME.told


async def test_a_journal_that_comes_from_elsewhere_is_not_moved_over(path: Path) -> None:
    """The other may be the only whole copy: its database says already that it went here."""
    await fill(path, SOME, THERE)
    before = dumped(path)
    with pytest.raises(StateMoved, match=f"a journal from {THERE} is on its way"):
        await fill(path, EMPTY, ELSEWHERE)
    assert dumped(path) == before


@pytest.mark.parametrize("state", ["moved", "on its way"])
async def test_it_comes_back_into_a_file_that_an_older_version_made(path: Path, state: str) -> None:
    """It was moved from there as it was: only the copy that was read of it had the tables of this version."""
    for step in STATES[state][0]:
        await step(path)
    with closing(sqlite3.connect(path)) as db:
        db.execute("DROP TABLE bill")
        db.execute("ALTER TABLE hold DROP COLUMN machine")
        db.commit()
    await fill(path, SOME, THERE)
    await open_again(path)
    assert (await file_content(path)).rows == SOME.rows
    await write(path, *COLUMNS)


@pytest.mark.parametrize("look", [word_left, has_journal])
async def test_a_file_that_may_not_be_looked_at_is_said(
    path: Path, monkeypatch: pytest.MonkeyPatch, look: Callable[[Path], Awaitable[object]]
) -> None:
    def refuse(_path: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "exists", refuse)
    with pytest.raises(StateUnusable, match=f"{path.name} cannot be used by uid"):
        await look(path)


@pytest.mark.parametrize("change", [MOVED, open_again])
async def test_a_file_that_somebody_writes_is_left_as_it_is(
    path: Path, monkeypatch: pytest.MonkeyPatch, change: Step
) -> None:
    await write(path)
    monkeypatch.setattr("fleetd.store.moving._BUSY", 0.01)
    before = dumped(path)
    with closing(connection.open_writable(path, busy_timeout=0.01)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StateUnusable, match="locked by another process"):
            await change(path)
    assert dumped(path) == before


@pytest.fixture
def list_of_shopping(path: Path) -> Path:
    path.write_text("longer than the header of a database is: " + "milk, " * 99)
    return path


async def test_what_is_no_database_is_said(list_of_shopping: Path) -> None:
    with pytest.raises(StateUnusable, match="is damaged"):
        await word_left(list_of_shopping)


async def test_word_is_left_wherever_the_directory_is(tmp_path: Path) -> None:
    path = tmp_path / "50% of #1?" / "journal.db"
    path.parent.mkdir()
    await write(path)
    await leave_word(path, THERE)
    assert await word_left(path) == (schema.MOVED_TO, THERE)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
