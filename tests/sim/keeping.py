"""Where the lives of a site keep their journal: in a file on its disk, or in a database elsewhere."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING, Any, Protocol

from fleetd.store.sqlite import SqliteJournal
from tests.support.inline_executor import InlineExecutor

if TYPE_CHECKING:
    from tests.sim.life import Life, Site


class Keeping(Protocol):
    def journal(self, life: Life, guard: Callable[[], None]) -> Any:
        """A context: the journal as this life has it."""

    def rows(self, site: Site, sql: str) -> list[tuple[Any, ...]]:
        """What the journal holds at this instant, read by somebody else."""


class OnDisk:
    """The file in the state directory, which a kill leaves as it is at that instant."""

    @asynccontextmanager
    async def journal(self, life: Life, guard: Callable[[], None]) -> AsyncIterator[SqliteJournal]:
        journal = await SqliteJournal.open(life.site.journal, executor=MortalExecutor(life), guard=guard)
        try:
            yield journal
        finally:
            journal._database._closed = life.dead or journal._database._closed
            if life.dead:
                journal._database._disconnect()
            await journal.aclose()

    def rows(self, site: Site, sql: str) -> list[tuple[Any, ...]]:
        try:
            with closing(sqlite3.connect(f"{site.journal.as_uri()}?mode=ro", uri=True)) as db:
                return db.execute(sql).fetchall()
        except sqlite3.Error:
            return []


class MortalExecutor(InlineExecutor):
    """Runs nothing for a life that is over."""

    def __init__(self, life: Life) -> None:
        self._life = life

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self._life.check()
        return super().submit(fn, *args, **kwargs)
