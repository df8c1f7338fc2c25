from __future__ import annotations

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
