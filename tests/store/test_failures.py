"""Disks that are full, read-only, damaged or somebody else's: a clear refusal, and hands off the files."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import anyio
import pytest

from fleetd.model.errors import LockLost, StateUnusable
from fleetd.store import connection, schema
from fleetd.store.failures import database_failure, file_failure
from fleetd.store.sqlite import SqliteJournal
from tests.store.test_journal import ENTRY, INTENT, NOW
from tests.support.build import hold
from tests.support.inline_executor import InlineExecutor


async def opened(path: Path) -> SqliteJournal:
    return await SqliteJournal.open(path, executor=InlineExecutor(), busy_timeout=0.05)


async def filled(path: Path) -> None:
    journal = await opened(path)
    await journal.write_intent(INTENT)
    for number in range(200):
        await journal.put_note(str(number), "x" * 500)
    await journal.append_history(ENTRY)
    await journal.aclose()


def content(directory: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in directory.iterdir()}


@contextmanager
def tiny_disk(size: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as place:
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", place]
        mounted = subprocess.run(command, capture_output=True, check=False)
        if mounted.returncode:
            pytest.skip("mounting a tmpfs is not permitted here")
        try:
            yield Path(place)
        finally:
            subprocess.run(["umount", "--lazy", place], check=True)


async def fill_up(journal: SqliteJournal) -> None:
    for number in range(10_000):
        await journal.put_note(str(number), "x" * 1000)


async def test_a_full_disk_is_named_and_freeing_some_mends_it():
    with tiny_disk("1m") as place:
        ballast = place / "ballast"
        ballast.write_bytes(bytes(300_000))
        journal = await opened(place / "journal.db")
        intent = await journal.write_intent(INTENT)
        with pytest.raises(StateUnusable, match=r"no space left for the journal .*/journal\.db: free some"):
            await fill_up(journal)
        assert await journal.open_intents() == [intent]
        ballast.unlink()
        second = await journal.write_intent(INTENT)
        assert await journal.open_intents() == [intent, second]
        await journal.aclose()
        journal = await opened(place / "journal.db")
        assert await journal.open_intents() == [intent, second]
        await journal.aclose()


async def test_a_disk_that_is_full_from_the_start_is_named():
    with tiny_disk("64k") as place:
        (place / "ballast").write_bytes(bytes(64 * 1024))
        with pytest.raises(StateUnusable, match="no space left for"):
            await opened(place / "journal.db")


async def test_a_file_size_limit_is_told(path):
    journal = await opened(path)
    intent = await journal.write_intent(INTENT)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
    try:
        with pytest.raises(StateUnusable, match=r"writing the journal .* failed: check the disk, its quota"):
            await fill_up(journal)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert await journal.open_intents() == [intent]
    await journal.put_note("a", "b")
    await journal.aclose()


@contextmanager
def free_descriptors(number: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        for _ in range(number):
            os.close(taken.pop())
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in taken:
            os.close(descriptor)


@pytest.mark.parametrize("free", [0, 1, 2])
async def test_a_lack_of_descriptors_is_told(path, free):
    with free_descriptors(free), pytest.raises(StateUnusable, match=r"no descriptor is left for .*LimitNOFILE="):
        await opened(path)
    journal = await opened(path)
    await journal.aclose()


async def test_a_read_only_disk_is_told():
    with tiny_disk("1m") as place:
        journal = await opened(place / "journal.db")
        await journal.aclose()
        await anyio.run_process(["mount", "-o", "remount,ro", place])
        with pytest.raises(StateUnusable, match=r"(?i)read-only"):
            await opened(place / "journal.db")
        with pytest.raises(StateUnusable, match=r"other\.db is on a read-only file system"):
            await opened(place / "other.db")
        looking = await SqliteJournal.open_read_only(place / "journal.db")
        assert await looking.open_intents() == []
        await looking.aclose()


@pytest.fixture
def closed_directory() -> Iterator[Path]:
    """A directory in which this process may not write."""
    place = Path(tempfile.mkdtemp())
    place.chmod(0o555)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    yield place
    os.seteuid(user)
    shutil.rmtree(place)


async def test_a_directory_of_somebody_else_is_told(closed_directory):
    with pytest.raises(
        StateUnusable,
        match=rf"{closed_directory}/journal\.db cannot be used by uid \d+: .*run this as the user it belongs to",
    ):
        await opened(closed_directory / "journal.db")
    empty = await SqliteJournal.open_read_only(closed_directory / "journal.db")
    assert await empty.history() == []
    await empty.aclose()


async def test_a_path_under_a_file_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StateUnusable, match="lies under a file"):
        await opened(tmp_path / "file" / "journal.db")


async def test_a_file_system_without_shared_memory_is_told(path, monkeypatch):
    """SQLite then stays with a journal that a crash may leave half, and says so by the mode that it answers."""

    def connect(path: Path, mode: str, *, busy_timeout: float) -> sqlite3.Connection:
        return plain(path, mode, "vfs=unix-dotfile", busy_timeout=busy_timeout)

    plain = connection.connect
    monkeypatch.setattr(connection, "connect", connect)
    with pytest.raises(
        StateUnusable, match=r"cannot carry the journal \(no WAL\): state_dir must be on a local disk"
    ):
        await opened(path)


def garbage(path: Path) -> None:
    path.write_bytes(b"no database at all" * 1000)


def torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:9000])


def overwritten(path: Path) -> None:
    whole = bytearray(path.read_bytes())
    whole[8192:40960] = b"\x5a" * (40960 - 8192)
    path.write_bytes(whole)


@pytest.mark.parametrize("damage", [garbage, torn, overwritten])
@pytest.mark.parametrize("opening", [opened, SqliteJournal.open_read_only], ids=["writing", "looking"])
async def test_a_damaged_journal_is_refused_and_left_as_it_is(path, damage, opening):
    await filled(path)
    damage(path)
    before = path.read_bytes()
    with pytest.raises(StateUnusable, match="damaged") as caught:
        await opening(path)
    for word in (str(path), "journal.db-wal", "holds and freezes", "machines stay owned"):
        assert word in str(caught.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize("opening", [opened, SqliteJournal.open_read_only], ids=["writing", "looking"])
async def test_a_newer_journal_is_refused(path, opening):
    await filled(path)
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
        db.execute("UPDATE note SET value = ? WHERE key = ?", (str(schema.VERSION + 1), schema.READERS))
        db.commit()
    before = content(path.parent)
    with pytest.raises(StateUnusable, match="newer fleetd"):
        await opening(path)
    assert content(path.parent) == before


@pytest.mark.parametrize("opening", [opened, SqliteJournal.open_read_only], ids=["writing", "looking"])
async def test_somebody_elses_database_is_refused_and_left_as_it_is(path, opening):
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE intent (id)")
    with pytest.raises(StateUnusable, match="not one of fleetd's"):
        await opening(path)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT name FROM sqlite_master").fetchall() == [("intent",)]


async def test_a_file_left_empty_by_a_crash_becomes_a_journal(path):
    path.touch()
    looking = await SqliteJournal.open_read_only(path)
    assert await looking.open_intents() == []
    await looking.aclose()
    journal = await opened(path)
    assert (await journal.write_intent(INTENT)).id == 1
    await journal.aclose()


async def test_another_process_that_keeps_it_locked_is_told(path, journal):
    script = (
        "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('BEGIN IMMEDIATE'); print(flush=True); input()"
    )
    async with await anyio.open_process([sys.executable, "-c", script, path]) as other:
        await other.stdout.receive()
        with pytest.raises(StateUnusable, match="locked by another process"):
            await journal.write_intent(INTENT)
        assert await journal.open_intents() == []
        await other.stdin.send(b"\n")
        await other.wait()
    assert (await journal.write_intent(INTENT)).id == 1


@pytest.mark.parametrize("replaced", [False, True])
async def test_a_journal_deleted_under_the_daemon_takes_no_more_writes(path, journal, replaced):
    await journal.write_intent(INTENT)
    path.rename(path.with_name("gone.db"))
    if replaced:
        path.touch()
    with pytest.raises(LockLost, match="moved, deleted or replaced"):
        await journal.write_intent(INTENT)


@pytest.mark.parametrize("replaced", [False, True])
@pytest.mark.parametrize("suffix", ["-wal", "-shm"])
async def test_nor_does_one_whose_side_files_were_taken_away(path, journal, suffix, replaced):
    """The newest commits are in the log alone: writes to a deleted one return, and are lost with the process."""
    await journal.write_intent(INTENT)
    beside = path.with_name(f"{path.name}{suffix}")
    beside.unlink()
    if replaced:
        beside.touch()
    with pytest.raises(LockLost, match="moved, deleted or replaced"):
        await journal.add_hold(hold("ps1", reason="r", actor="a", created_at=NOW, expires_at=NOW))
    with pytest.raises(LockLost):
        journal.check()


async def test_an_upgrade_is_whole_or_not_at_all(path, monkeypatch):
    await filled(path)
    monkeypatch.setattr(schema, "VERSION", schema.VERSION + 1)
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, ("CREATE TABLE more (id)", "INSERT INTO nowhere")))
    with pytest.raises(StateUnusable, match="cannot be used"):
        await opened(path)
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS[:-1], ("CREATE TABLE more (id)",)))
    journal = await opened(path)
    assert len(await journal.open_intents()) == 1
    assert await journal._database.read(lambda db: db.execute("SELECT count(*) FROM more").fetchone()) == (0,)
    await journal.aclose()


async def test_looking_at_an_older_journal_upgrades_only_the_copy(path, monkeypatch):
    await filled(path)
    before = content(path.parent)
    monkeypatch.setattr(schema, "VERSION", schema.VERSION + 1)
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, ("ALTER TABLE note ADD COLUMN more",)))
    looking = await SqliteJournal.open_read_only(path)
    assert len(await looking.open_intents()) == 1
    await looking.aclose()
    assert content(path.parent) == before


def reported(name: str) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("so SQLite says")
    error.sqlite_errorname, error.sqlite_errorcode = name, getattr(sqlite3, name)
    return error


@contextmanager
def place_with(free: int, flags: int) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(10**9, 10**9 - free, free))
        patch.setattr(os, "statvfs", lambda _path: SimpleNamespace(f_flag=flags))
        yield


@contextmanager
def place_gone() -> Iterator[None]:
    def gone(_path: object) -> None:
        raise FileNotFoundError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shutil, "disk_usage", gone)
        patch.setattr(os, "statvfs", gone)
        yield


USUAL = partial(place_with, 10**8, os.ST_NOSUID)
FULL = partial(place_with, 40 * 1024, os.ST_NOSUID)
READ_ONLY = partial(place_with, 10**8, os.ST_NOSUID | os.ST_RDONLY)


@pytest.mark.parametrize(
    ("name", "world", "words"),
    [
        ("SQLITE_FULL", USUAL, "no space left for the journal"),
        ("SQLITE_IOERR_WRITE", USUAL, "failed: check the disk"),
        ("SQLITE_IOERR_WRITE", FULL, "no space left for the journal"),
        ("SQLITE_IOERR_WRITE", place_gone, "failed: check the disk"),
        ("SQLITE_BUSY", FULL, "locked by another process"),
        ("SQLITE_LOCKED", USUAL, "locked by another process"),
        ("SQLITE_READONLY", USUAL, "cannot be written by uid"),
        ("SQLITE_CANTOPEN", USUAL, "cannot be opened by uid"),
        ("SQLITE_CANTOPEN", READ_ONLY, "cannot be written by uid"),
        ("SQLITE_CANTOPEN", place_gone, "cannot be opened by uid"),
        ("SQLITE_CANTOPEN", partial(free_descriptors, 3), "no descriptor is left"),
        ("SQLITE_CANTOPEN", partial(free_descriptors, 4), "cannot be opened by uid"),
        ("SQLITE_BUSY", partial(free_descriptors, 0), "locked by another process"),
        ("SQLITE_PERM", USUAL, "cannot be opened by uid"),
        ("SQLITE_AUTH", USUAL, "cannot be opened by uid"),
        ("SQLITE_CORRUPT", READ_ONLY, "is damaged"),
        ("SQLITE_NOTADB", USUAL, "is damaged"),
        ("SQLITE_TOOBIG", USUAL, "cannot be used"),
    ],
)
def test_what_sqlite_reports_is_told_as_what_it_is(path, name, world, words):
    """It reports some full disks, read-only ones and want of descriptors under more general names."""
    error = reported(name)
    with world():
        told = str(database_failure(error, path))
    assert words in told
    assert str(path) in told
    if "descriptor" not in words:  # that one is told in the system's words
        assert told.endswith(f"(so SQLite says, {name})")


def test_an_error_that_sqlite_gives_no_name_is_told_by_its_kind(path):
    told = str(database_failure(sqlite3.ProgrammingError("so Python says"), path))
    assert told == f"the journal {path} cannot be used (so Python says, ProgrammingError)"


ASK_ITS_USER = "run this as the user it belongs to (sudo fleetd ..., or sudo -u {} fleetd ...)"


@pytest.mark.parametrize(
    ("owners", "advice"),
    [
        pytest.param({"/var/lib/fleetd/journal.db": 0}, ASK_ITS_USER.format("root"), id="of root's"),
        pytest.param({"/var/lib/fleetd": 0}, ASK_ITS_USER.format("root"), id="not made yet, in root's directory"),
        pytest.param({"/var/lib": 54321, "/var": 0}, ASK_ITS_USER.format("'#54321'"), id="of a user without a name"),
        pytest.param(
            {"/var/lib/fleetd/journal.db": 7, "/var/lib": 0}, "check its mode and that of the directories", id="ours"
        ),
        pytest.param({}, "check its mode and that of the directories", id="nothing of it can be seen"),
    ],
)
def test_whom_to_be_is_told_by_the_owner_of_what_is_there(monkeypatch, owners, advice):
    def owner(place: Path) -> SimpleNamespace:
        try:
            return SimpleNamespace(st_uid=owners[str(place)])
        except KeyError:
            raise PermissionError from None

    monkeypatch.setattr(os, "geteuid", lambda: 7)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat", owner)
        told = str(file_failure(PermissionError(errno.EACCES, "denied"), Path("/var/lib/fleetd/journal.db")))
    assert advice in told
    assert "uid 7" in told
