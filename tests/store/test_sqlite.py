"""What the journal's file is, beside being a journal."""

from __future__ import annotations

import os
import sqlite3
import stat

import pytest

from fleetd.model.errors import StateUnusable
from fleetd.store.sqlite import SqliteJournal
from tests.store.test_journal import INTENT
from tests.store.test_lock_edges import opened
from tests.support.inline_executor import InlineExecutor


async def test_commits_are_synced_to_the_disk(journal):
    def settings(db: sqlite3.Connection) -> list[object]:
        return [
            db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous", "foreign_keys")
        ]

    assert await journal._database.read(settings) == ["wal", 2, 1]  # 2 is FULL


async def test_its_connection_begins_no_transaction_and_waits_as_long_as_it_is_told(journal):
    def settings(db: sqlite3.Connection) -> tuple[bool, int]:
        db.execute("DELETE FROM note")
        return db.in_transaction, db.execute("PRAGMA busy_timeout").fetchone()[0]

    assert await journal._database.read(settings) == (False, 50)


async def test_a_new_file_is_synced_into_its_directory_and_an_old_one_is_left_at_that(path, monkeypatch):
    """Else the name may be gone after a power failure, with every commit in it. And nothing stays open."""
    synced, sync = [], os.fsync

    def noted(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    before = opened()
    for times in (1, 1):
        journal = await SqliteJournal.open(path, executor=InlineExecutor())
        await journal.aclose()
        assert synced == [path.parent.stat().st_ino] * times
        assert opened() == before


async def test_a_failed_write_leaves_nothing_and_the_next_one_works(journal):
    def fail(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO note (key, value) VALUES ('a', 'b')")
        db.execute("INSERT INTO nowhere VALUES (1)")

    with pytest.raises(StateUnusable, match="nowhere"):
        await journal._database.write(fail)
    assert await journal.get_note("a") is None
    await journal.put_note("a", "c")
    assert await journal.get_note("a") == "c"


async def test_only_its_owner_can_read_it(journal, path):
    await journal.put_note("a", "b")
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


async def test_an_inline_executor_needs_no_thread(path):
    executor = InlineExecutor()
    journal = await SqliteJournal.open(path, executor=executor)
    assert (await journal.write_intent(INTENT)).id == 1
    await journal.aclose()
    assert executor.submit(lambda: 1).result() == 1
