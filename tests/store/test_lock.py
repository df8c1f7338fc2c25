from __future__ import annotations

import fcntl
import os
import re
import shutil
import stat
import subprocess
import sys
import threading
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime

import pytest

from fleetd.model.errors import LockLost, StateLocked, StateUnusable
from fleetd.store.lock import Holder, StateLock, read_holder
from fleetd.store.sqlite import SqliteJournal
from tests.store.test_crash_safety import ROOT

SINCE = datetime(2026, 3, 1, 12, 30, 15, 250_000, tzinfo=UTC)

DAEMON = """
import os, sys
from datetime import UTC, datetime
from pathlib import Path
from fleetd.store.lock import StateLock
with StateLock(Path(sys.argv[1]), pid=os.getpid(), since=datetime(2026, 3, 1, 8, tzinfo=UTC)):
    print("locked", flush=True)
    sys.stdin.read()
"""


def lock(state_dir) -> StateLock:
    return StateLock(state_dir, pid=os.getpid(), since=SINCE)


@contextmanager
def other_daemon(state_dir):
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", DAEMON, state_dir]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ) as process:
        assert process.stdout.readline() == "locked\n"
        yield process
        process.kill()


def test_the_directory_is_made_for_its_owner_alone(tmp_path):
    state_dir = tmp_path / "a" / "state"
    with lock(state_dir) as held:
        assert stat.S_IMODE(state_dir.stat().st_mode) == 0o700
        assert stat.S_IMODE((state_dir / "lock").stat().st_mode) == 0o600
        assert held.is_held()
        assert read_holder(state_dir) == Holder(os.getpid(), SINCE)
    assert not held.is_held()


def test_a_second_daemon_is_told_who_the_first_is(tmp_path):
    with other_daemon(tmp_path) as other:
        words = f"another fleetd (pid {other.pid}, since 2026-03-01T08:00:00+00:00) runs on the state directory"
        for _ in range(2):
            with pytest.raises(StateLocked, match=re.escape(words)), lock(tmp_path):
                pytest.fail("two daemons")
        assert read_holder(tmp_path).pid == other.pid


def test_the_lock_dies_with_its_process(tmp_path):
    with other_daemon(tmp_path) as other:
        other.kill()
        other.wait()
        with lock(tmp_path):
            assert read_holder(tmp_path).pid == os.getpid()


def test_one_process_cannot_take_it_twice(tmp_path):
    with lock(tmp_path), pytest.raises(StateLocked), lock(tmp_path):
        pytest.fail("two daemons")
    with lock(tmp_path):
        pass


def test_programs_started_by_the_daemon_do_not_inherit_it(tmp_path):
    with ExitStack() as stack:
        with lock(tmp_path):
            child = stack.enter_context(subprocess.Popen(["sleep", "60"], close_fds=False))
            stack.callback(child.kill)
        with lock(tmp_path):
            pass


def test_of_many_that_race_one_wins(tmp_path):
    start, results = threading.Barrier(8), []
    done = threading.Event()

    def race() -> None:
        start.wait()
        try:
            with lock(tmp_path):
                results.append("won")
                done.wait(10)
        except StateLocked:
            results.append("lost")
            if results.count("lost") == 7:
                done.set()

    threads = [threading.Thread(target=race) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == ["lost"] * 7 + ["won"]


def remove(state_dir):
    (state_dir / "lock").unlink()


def replace(state_dir):
    (state_dir / "new").write_text("4711\n2026-03-01T08:00:00+00:00\n")
    (state_dir / "new").rename(state_dir / "lock")


def move_directory(state_dir):
    state_dir.rename(state_dir.with_name("moved"))


def replace_directory(state_dir):
    move_directory(state_dir)
    state_dir.mkdir()


def delete_directory(state_dir):
    shutil.rmtree(state_dir)


def link_elsewhere(state_dir):
    move_directory(state_dir)
    state_dir.with_name("other").mkdir()
    state_dir.symlink_to("other")


def take_without_the_directory(state_dir):
    """What a fleetd that locks the file alone would do."""
    remove(state_dir)
    descriptor = os.open(state_dir / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    THEIRS.append(descriptor)


THEIRS: list[int] = []
TAKEN = [replace, move_directory, replace_directory, delete_directory, link_elsewhere, take_without_the_directory]


@pytest.mark.parametrize("meddle", TAKEN)
def test_a_lock_that_was_taken_away_says_so(tmp_path, meddle):
    state_dir = tmp_path / "state"
    with lock(state_dir) as held:
        held.check()
        meddle(state_dir)
        assert not held.is_held()
        with pytest.raises(LockLost, match="removed or replaced"):
            held.check()
    while THEIRS:
        os.close(THEIRS.pop())


@pytest.mark.parametrize("look_between", [False, True])
def test_removing_the_file_lets_nobody_else_in(tmp_path, look_between):
    with lock(tmp_path) as first:
        remove(tmp_path)
        if look_between:
            assert first.is_held()
            assert read_holder(tmp_path) == Holder(os.getpid(), SINCE), "it is made anew"
        with pytest.raises(StateLocked), lock(tmp_path):
            pytest.fail("two daemons")
        assert first.is_held()
    with lock(tmp_path) as heir:
        assert heir.is_held()


@pytest.mark.parametrize("meddle", [remove, replace])
@pytest.mark.usefixtures("no_locks_on_directories")
def test_where_directories_have_no_locks_a_removed_file_is_a_lost_lock(tmp_path, meddle):
    with lock(tmp_path) as first:
        assert first.is_held()
        meddle(tmp_path)
        assert not first.is_held()
        with lock(tmp_path) as second:
            assert second.is_held()
            assert not first.is_held()


async def test_a_write_asks_for_the_lock(tmp_path):
    with lock(tmp_path) as held:
        journal = await SqliteJournal.open(tmp_path / "journal.db", guard=held.check)
        await journal.put_note("before", "1")
        replace(tmp_path)
        with pytest.raises(LockLost):
            await journal.put_note("after", "1")
        with pytest.raises(LockLost):
            journal.check()
        assert await journal.get_note("after") is None
        await journal.aclose()


def test_a_file_deleted_while_it_is_being_locked_is_made_again(tmp_path, monkeypatch):
    flock, calls = fcntl.flock, []

    def meddling(descriptor: int, operation: int) -> None:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            calls.append(descriptor)
        if len(calls) == 1 and (tmp_path / "lock").exists():
            (tmp_path / "lock").unlink()
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", meddling)
    with lock(tmp_path) as held:
        assert len(calls) == 2
        assert held.is_held()
        with pytest.raises(StateLocked), lock(tmp_path):
            pytest.fail("two daemons")


def test_a_state_directory_that_cannot_be_is_told(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(StateUnusable, match=r"file.* (is not a directory|lies under a file).*state_dir"),
        lock(tmp_path / "file"),
    ):
        pytest.fail("locked a file")
    with pytest.raises(StateUnusable, match=r"lies under a file.*state_dir"), lock(tmp_path / "file" / "below"):
        pytest.fail("locked below a file")


@pytest.mark.parametrize("content", ["", "nonsense", "12\n", "12\nyesterday\n", "12\n2026-03-01T08:00:00+00:00"])
def test_an_odd_lock_file_is_no_obstacle(tmp_path, content):
    (tmp_path / "lock").write_text(content)
    read_holder(tmp_path)
    with lock(tmp_path):
        assert read_holder(tmp_path) == Holder(os.getpid(), SINCE)


def test_where_nobody_was_there_is_no_holder(tmp_path):
    assert read_holder(tmp_path) is None
