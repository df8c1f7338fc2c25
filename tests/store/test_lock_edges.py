"""The lock of a state directory where something fails: what is said, what is left open, and what another sees."""

from __future__ import annotations

import errno
import fcntl
import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from fleetd.model.errors import LockLost, StateLocked, StateUnusable
from fleetd.store.lock import Holder, is_locked, read_holder
from tests.store.test_lock import SINCE, lock

P = pytest.param


def opened() -> list[str]:
    """What this process has open."""
    found = []
    for number in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the one that was open to list them
            found.append(str(number.readlink()))
    return sorted(found)


def taken(state_dir: Path) -> None:
    descriptor = os.open(state_dir, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    HELD.append(descriptor)


def file_taken(state_dir: Path) -> None:
    descriptor = os.open(state_dir / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    HELD.append(descriptor)


def in_the_way(state_dir: Path) -> None:
    (state_dir / "lock").mkdir()


HELD: list[int] = []


@pytest.mark.parametrize(
    ("trouble", "error"),
    [
        P(taken, StateLocked, id="the directory is another's"),
        P(file_taken, StateLocked, id="the file alone is another's"),
        P(in_the_way, StateUnusable, id="a directory is in the way"),
    ],
)
def test_who_is_refused_leaves_nothing_open_and_can_come_again(
    tmp_path: Path, trouble: Callable[[Path], None], error: type[Exception]
) -> None:
    trouble(tmp_path)
    before = opened()
    wanted = lock(tmp_path)
    for _ in range(2):
        with pytest.raises(error), wanted:
            pytest.fail("two daemons")
        assert opened() == before
        assert not wanted.is_held()
    while HELD:
        os.close(HELD.pop())
    if trouble is in_the_way:
        (tmp_path / "lock").rmdir()
    with wanted:
        assert wanted.is_held()


@pytest.mark.usefixtures("no_locks_on_directories")
def test_where_directories_have_no_locks_the_files_keeps_a_second_one_out(tmp_path: Path) -> None:
    before = opened()
    with lock(tmp_path):
        assert sorted([*before, str(tmp_path / "lock")]) == opened(), "nor is the directory kept open"
        with pytest.raises(StateLocked), lock(tmp_path):
            pytest.fail("two daemons")
    assert opened() == before


def test_what_is_made_anew_is_open_once(tmp_path: Path) -> None:
    with lock(tmp_path) as held:
        before = opened()
        for _ in range(3):
            (tmp_path / "lock").unlink()
            assert held.is_held()
            assert opened() == before


def test_a_file_that_cannot_be_made_anew_is_a_lost_lock(tmp_path: Path) -> None:
    with lock(tmp_path) as held:
        (tmp_path / "lock").unlink()
        for error in (OSError(errno.ENOSPC, "no space"), StateLocked("another")):

            def fail(error: Exception = error) -> int:
                raise error

            held._acquire = fail  # type: ignore[method-assign]
            assert held.is_held() is False


def test_letting_go_twice_closes_nothing_of_somebody_else(tmp_path: Path) -> None:
    held = lock(tmp_path)
    assert held.is_held() is False
    held.__enter__()
    held.__exit__(None, None, None)
    with (tmp_path / "other").open("w") as one, (tmp_path / "another").open("w") as another:
        held.__exit__(None, None, None)
        one.write("still open")
        another.write("still open")
    assert held.is_held() is False


def test_the_same_file_in_another_directory_is_no_lock_of_it(tmp_path: Path) -> None:
    state, moved = tmp_path / "state", tmp_path / "moved"
    with lock(state) as held:
        state.rename(moved)
        state.mkdir()
        (state / "lock").hardlink_to(moved / "lock")
        assert not held.is_held()


def test_the_file_tells_who_holds_it_and_nothing_of_those_before(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("x" * 500)
    with lock(tmp_path):
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n{SINCE.isoformat()}\n"


@pytest.mark.parametrize(
    ("written", "who"),
    [
        P("4711\n2026-03-01T08:00:00+00:00\n", ", and pid 4711 has written itself into it since", id="another"),
        P(f"{os.getpid()}\n{SINCE.isoformat()}\n", "", id="itself"),
        P("nobody knows", "", id="nobody"),
    ],
)
def test_who_has_lost_it_says_who_took_it_where_that_is_known(tmp_path: Path, written: str, who: str) -> None:
    with lock(tmp_path) as held:
        (tmp_path / "new").write_text(written)
        (tmp_path / "new").rename(tmp_path / "lock")
        words = f"the lock {tmp_path / 'lock'} was removed or replaced while fleetd ran{who}: nothing is written"
        with pytest.raises(LockLost, match=re.escape(words)):
            held.check()


@pytest.mark.parametrize(
    ("number", "filename", "named"),
    [
        P(errno.ENOSPC, None, "lock", id="the file, where the system does not say which"),
        P(errno.ENOSPC, "elsewhere", "elsewhere", id="what the system says"),
    ],
)
def test_what_cannot_be_used_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, filename: str | None, named: str
) -> None:
    wanted = lock(tmp_path)

    def fail() -> int:
        raise OSError(number, "no", None if filename is None else str(tmp_path / filename))

    monkeypatch.setattr(wanted, "_acquire", fail)
    with pytest.raises(StateUnusable, match=re.escape(f"no space left for {tmp_path / named}:")), wanted:
        pytest.fail("locked")


def test_whether_a_directory_is_held_is_seen_from_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = opened()
    assert is_locked(tmp_path / "nowhere") is False
    assert is_locked(tmp_path) is False
    with lock(tmp_path):
        assert is_locked(tmp_path) is True
        within = opened()
        for _ in range(3):
            is_locked(tmp_path)
        assert opened() == within
    assert is_locked(tmp_path) is False
    assert read_holder(tmp_path) == Holder(os.getpid(), SINCE), "although it still says who was there"
    assert opened() == before

    def fail(_descriptor: int, _operation: int) -> None:
        raise OSError(errno.ENOLCK, "no locks here")

    monkeypatch.setattr(fcntl, "flock", fail)
    assert is_locked(tmp_path) is False, "nobody can hold what has no locks"
    assert opened() == before


def test_who_looks_whether_it_is_held_keeps_nobody_out(tmp_path: Path) -> None:
    with lock(tmp_path):
        pass
    descriptor = os.open(tmp_path / "lock", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_SH)  # another who looks at this moment
    assert is_locked(tmp_path) is False
    os.close(descriptor)
