"""What the journal's file is, beside being a journal."""

from __future__ import annotations

import os
import sqlite3
import stat
from contextlib import closing

import pytest

from fleetd.model.errors import LockLost, StateUnusable
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


@pytest.mark.parametrize("looks", [1, 2])
async def test_who_may_not_write_is_told_before_anything_and_at_the_last_moment(path, looks):
    """A transaction may wait for another process, and the lock be lost meanwhile."""
    left = [looks]

    def guard() -> None:
        left[0] -= 1
        if left[0] <= 0:
            raise LockLost("gone")

    journal = await SqliteJournal.open(path, executor=InlineExecutor(), busy_timeout=0.05, guard=guard)
    begun = []

    def write(db: sqlite3.Connection) -> None:
        begun.append(db.in_transaction)
        db.execute("INSERT INTO note (key, value) VALUES ('a', 'b')")

    with pytest.raises(LockLost):
        await journal._database.write(write)
    assert begun == [True] * (looks - 1)
    assert await journal.get_note("a") is None
    await journal.aclose()


async def test_who_may_not_write_waits_for_no_other_process(path):
    def guard() -> None:
        raise LockLost("gone")

    journal = await SqliteJournal.open(path, executor=InlineExecutor(), busy_timeout=0.05, guard=guard)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LockLost):
            await journal.put_note("a", "b")
    await journal.aclose()


@pytest.mark.parametrize("threaded", [True, False])
async def test_a_closed_one_says_so_and_is_closed_once(path, threaded):
    executor = None if threaded else InlineExecutor()
    journal = await SqliteJournal.open(path, executor=executor)
    await journal.put_note("a", "b")
    await journal.aclose()
    await journal.aclose()
    for call in (journal.get_note("a"), journal.put_note("a", "c"), journal.open_intents()):
        with pytest.raises(StateUnusable, match=r"the journal .*journal\.db is closed"):
            await call


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
