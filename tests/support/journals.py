"""A real journal, in memory as far as the system has a place for it there: for tests of what is kept."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fleetd.store.sqlite import SqliteJournal
from tests.support.inline_executor import InlineExecutor
from tests.support.rig import IN_MEMORY


@asynccontextmanager
async def a_journal() -> AsyncIterator[SqliteJournal]:
    """Empty, and gone at the end."""
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder:
        journal = await SqliteJournal.open(Path(folder) / "journal.db", executor=InlineExecutor())
        try:
            yield journal
        finally:
            await journal.aclose()
