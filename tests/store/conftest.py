from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fleetd.store.sqlite import SqliteJournal
from tests.support.inline_executor import InlineExecutor


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


@pytest.fixture
async def journal(path: Path) -> AsyncIterator[SqliteJournal]:
    journal = await SqliteJournal.open(path, executor=InlineExecutor(), busy_timeout=0.05)
    yield journal
    await journal.aclose()


@pytest.fixture
def no_locks_on_directories(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on NFS."""
    flock = fcntl.flock

    def files_only(descriptor: int, operation: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EBADF, "no locks on directories")
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", files_only)
