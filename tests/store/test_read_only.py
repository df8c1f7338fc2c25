"""Looking at a journal that a daemon writes, wrote, or never wrote, without leaving a trace."""

from __future__ import annotations

import contextlib
import random
import sqlite3
import sys
from pathlib import Path

import anyio
import pytest

from fleetd.model.errors import StateUnusable
from fleetd.store import connection, database
from fleetd.store.sqlite import SqliteJournal
from tests.store.test_crash_safety import ROOT, killed_writer
from tests.store.test_journal import ENTRY, FACTS, INTENT
from tests.support.build import NOW, later
from tests.support.inline_executor import InlineExecutor
from tests.support.virtual_time import run_virtual


def trace(directory: Path) -> dict[str, tuple[int, int, bytes]]:
    """Everything that a write would change."""
    found = {}
    for file in (directory, *directory.iterdir()):
        status = file.stat()
        found[file.name] = (status.st_mtime_ns, status.st_size, b"" if file.is_dir() else file.read_bytes())
    return found


@pytest.fixture
def _in_no_time(monkeypatch):
    monkeypatch.setattr(database, "_BETWEEN_LOOKS", 0)


async def test_where_there_is_no_journal_none_is_made(path):
    journal = await SqliteJournal.open_read_only(path)
    assert await journal.open_intents() == []
    assert await journal.history() == []
    assert await journal.facts() == []
    assert await journal.holds(now=NOW) == []
    assert await journal.get_note("a") is None
    await journal.aclose()
    assert list(path.parent.iterdir()) == []


async def test_where_there_is_no_directory_none_is_made(tmp_path):
    journal = await SqliteJournal.open_read_only(tmp_path / "nowhere" / "journal.db")
    assert await journal.open_intents() == []
    await journal.aclose()
    assert list(tmp_path.iterdir()) == []


async def test_a_live_daemons_journal_is_seen_and_left_alone(path):
    script = (
        "import asyncio, sys; from pathlib import Path; from fleetd.store.sqlite import SqliteJournal\n"
        "from tests.store.test_journal import INTENT\n"
        "async def main():\n"
        "    journal = await SqliteJournal.open(Path(sys.argv[1]))\n"
        "    await journal.write_intent(INTENT)\n"
        "    print(flush=True)\n"
        "    sys.stdin.read()\n"
        "asyncio.run(main())\n"
    )
    async with await anyio.open_process([sys.executable, "-c", script, path], cwd=ROOT) as daemon:
        await daemon.stdout.receive()
        before = trace(path.parent)
        looking = await SqliteJournal.open_read_only(path)
        assert [intent.name for intent in await looking.open_intents()] == [INTENT.name]
        await looking.aclose()
        assert trace(path.parent) == before
        daemon.kill()


async def test_a_look_is_a_view_of_its_moment(path, journal):
    intent = await journal.write_intent(INTENT)
    await journal.append_history(ENTRY)
    looking = await SqliteJournal.open_read_only(path)
    assert await looking.open_intents() == [intent]
    # Later writes are not seen, and are not held up.
    await journal.put_facts([FACTS])
    assert await looking.facts() == []
    assert await looking.history() == [(1, ENTRY)]
    await looking.aclose()


async def test_a_cleanly_closed_journal_is_seen_without_side_files(path):
    journal = await SqliteJournal.open(path)
    intent = await journal.write_intent(INTENT)
    await journal.aclose()
    before = trace(path.parent)
    assert list(before) == [path.parent.name, "journal.db"]
    looking = await SqliteJournal.open_read_only(path)
    assert await looking.open_intents() == [intent]
    await looking.aclose()
    assert trace(path.parent) == before


async def test_what_a_killed_daemon_wrote_is_seen(path):
    reported = killed_writer(path, seed=1, seconds=0.1)
    assert (path.parent / "journal.db-wal").stat().st_size > 0
    before = trace(path.parent)
    looking = await SqliteJournal.open_read_only(path)
    seen = {str(intent.id) for intent in await looking.open_intents()}
    seen |= {str(entry.intent) for _, entry in await looking.history()}
    await looking.aclose()
    assert {subject for word, subject in reported if word == "wrote"} <= seen
    assert trace(path.parent) == before


@pytest.mark.usefixtures("_in_no_time")
async def test_a_log_without_its_index_is_told(path):
    killed_writer(path, seed=1, seconds=0.02)
    (path.parent / "journal.db-shm").unlink()
    with pytest.raises(StateUnusable, match="start `fleetd run` once"):
        await SqliteJournal.open_read_only(path)
    journal = await SqliteJournal.open(path)
    await journal.aclose()
    looking = await SqliteJournal.open_read_only(path)
    await looking.aclose()


@pytest.mark.usefixtures("_in_no_time")
@pytest.mark.parametrize("size", [0, 1])
async def test_an_empty_log_says_nothing_and_any_other_does(path, size):
    journal = await SqliteJournal.open(path)
    intent = await journal.write_intent(INTENT)
    await journal.aclose()
    (path.parent / "journal.db-wal").write_bytes(b"x" * size)
    with pytest.raises(StateUnusable, match="a log without its index") if size else contextlib.nullcontext():
        looking = await SqliteJournal.open_read_only(path)
        assert await looking.open_intents() == [intent]
        await looking.aclose()


async def test_a_daemon_that_stops_between_two_looks_at_its_files(path, monkeypatch):
    """SQLite then makes an empty log of its own: found so once, that was "a log without its index" for good."""
    journal = await SqliteJournal.open(path, executor=InlineExecutor())
    intent = await journal.write_intent(INTENT)
    stopped = []

    def stop_first(*args: object, **options: object) -> sqlite3.Connection:
        if not stopped:
            stopped.append(True)
            journal._database._connection.close()
        return connect(*args, **options)

    connect = connection.connect
    monkeypatch.setattr(connection, "connect", stop_first)
    looking = await SqliteJournal.open_read_only(path, executor=InlineExecutor())
    assert stopped
    assert await looking.open_intents() == [intent]
    await looking.aclose()


@pytest.mark.parametrize("running", [False, True])
async def test_what_changes_while_it_is_read_matters_where_there_is_no_lock(path, monkeypatch, running):
    """Beside a log SQLite reads under its locks. Without one it is told that nothing will."""
    journal = await SqliteJournal.open(path, executor=InlineExecutor())
    await journal.put_note("a", "before")
    if not running:
        await journal.aclose()
    changed = []

    def change_first(*args: object, **options: object) -> sqlite3.Connection:
        if not changed:
            changed.append(True)
            with contextlib.closing(sqlite3.connect(path)) as daemon:
                daemon.execute("UPDATE note SET value = 'after'")
                daemon.commit()
                daemon.execute("PRAGMA wal_checkpoint")
        return connect(*args, **options)

    connect = connection.connect
    monkeypatch.setattr(connection, "connect", change_first)
    with contextlib.nullcontext() if running else pytest.raises(connection.Moving, match="kept changing"):
        connection.open_snapshot(path, busy_timeout=0.05).close()
    assert changed
    with contextlib.closing(connection.open_snapshot(path, busy_timeout=0.05)) as copy:
        assert copy.execute("SELECT value FROM note WHERE key = 'a'").fetchone() == ("after",)
    await journal.aclose()


async def test_a_backup_that_links_it_meanwhile_changes_nothing_in_it(path, monkeypatch):
    journal = await SqliteJournal.open(path, executor=InlineExecutor())
    await journal.aclose()

    def link(*args: object, **options: object) -> sqlite3.Connection:
        path.with_name("backup.db").hardlink_to(path)
        path.chmod(0o400)
        return connect(*args, **options)

    connect = connection.connect
    monkeypatch.setattr(connection, "connect", link)
    connection.open_snapshot(path, busy_timeout=0.05).close()
    assert path.with_name("backup.db").exists()


async def test_a_copy_is_for_looking_unless_it_is_asked_for_to_be_written(path, journal):
    await journal.put_note("a", "b")
    with (
        contextlib.closing(connection.open_snapshot(path, busy_timeout=0.05)) as copy,
        pytest.raises(sqlite3.OperationalError, match="readonly"),
    ):
        copy.execute("DELETE FROM note")
    with contextlib.closing(connection.open_snapshot(path, busy_timeout=0.05, read_only=False)) as copy:
        copy.execute("DELETE FROM note")
        assert not copy.in_transaction, "it is in autocommit mode, as its reader's transactions want it"
    assert await journal.get_note("a") == "b"


@pytest.mark.parametrize(("seconds", "opens"), [(0.0, True), (2.0, True), (float("inf"), False)])
def test_it_is_looked_for_again_while_the_file_changes_hands_and_not_for_ever(path, monkeypatch, seconds, opens):
    """A disk that syncs slowly takes a second; after some more nobody waits for it."""

    async def look() -> float:
        began = anyio.current_time()

        def snapshot(*arguments: object, **options: object) -> sqlite3.Connection:
            if anyio.current_time() < began + seconds:
                raise connection.Moving("it is moving")
            return plain(*arguments, **options)

        monkeypatch.setattr(database, "open_snapshot", snapshot)
        with contextlib.nullcontext() if opens else pytest.raises(StateUnusable, match="it is moving"):
            looking = await SqliteJournal.open_read_only(path, executor=InlineExecutor())
            await looking.aclose()
        return anyio.current_time() - began

    plain = connection.open_snapshot
    took = run_virtual(look)
    assert seconds <= took <= seconds + 0.1 if opens else 3 < took < 30


async def test_what_is_written_into_a_scratch_copy_is_gone_with_it_whatever_becomes_of_the_file(path, journal):
    await journal.put_note("a", "b")
    scratch = await SqliteJournal.open_scratch(path, executor=InlineExecutor())
    await scratch.put_note("a", "c")
    path.rename(path.with_name("moved.db"))
    scratch.check()
    await scratch.put_note("d", "e")
    assert (await scratch.get_note("a"), await scratch.get_note("d")) == ("c", "e")
    await scratch.aclose()
    path.with_name("moved.db").rename(path)
    assert (await journal.get_note("a"), await journal.get_note("d")) == ("b", None)


async def test_who_looks_cannot_write(path, journal):
    looking = await SqliteJournal.open_read_only(path)
    for write in (
        looking.write_intent(INTENT),
        looking.append_history(ENTRY),
        looking.put_facts([FACTS]),
        looking.put_note("a", "b"),
        looking.prune(before=later(days=1), max_rows=0),
    ):
        with pytest.raises(StateUnusable, match="for looking only"):
            await write
    await looking.aclose()


async def test_looking_while_daemons_come_go_and_die(path):
    """Every look succeeds, sees a consistent journal, and leaves its writer undisturbed."""
    draw = random.Random(5)
    script = (
        "import asyncio, sys; from pathlib import Path; from fleetd.store.sqlite import SqliteJournal\n"
        "from tests.store.test_journal import INTENT; from fleetd.model.reasons import Outcome\n"
        "async def main():\n"
        "    for _ in range(25):\n"
        "        journal = await SqliteJournal.open(Path(sys.argv[1]))\n"
        "        for _ in range(5):\n"
        "            intent = await journal.write_intent(INTENT)\n"
        "            await journal.close_intent(intent.id, at=INTENT.created_at, outcome=Outcome.REACHED)\n"
        "        await journal.aclose()\n"
        "asyncio.run(main())\n"
    )
    looks = most = 0
    async with await anyio.open_process([sys.executable, "-c", script, path], cwd=ROOT) as writer:
        while writer.returncode is None:
            looking = await SqliteJournal.open_read_only(path, executor=InlineExecutor())
            entries = await looking.history()
            assert [entry.intent for _, entry in entries] == list(range(1, len(entries) + 1))
            assert len(entries) >= most
            assert len(await looking.open_intents()) <= 1
            await looking.aclose()
            looks, most = looks + 1, len(entries)
            await anyio.sleep(draw.uniform(0, 0.003))
    assert writer.returncode == 0
    assert looks > 10
    assert most > 0
