"""The page of one daemon: keeps the record, renders when asked, and tells open pages of every pass."""

from __future__ import annotations

import contextlib
import gzip
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Protocol

import anyio
import structlog
from aiohttp import web

from fleetd.model.errors import StoreError
from fleetd.model.journal import HistoryEntry
from fleetd.model.report import Report
from fleetd.ops.page.feed import Feed
from fleetd.ops.page.record import Record
from fleetd.ops.page.render import content_security_policy, render
from fleetd.ops.page.scene import Scene

log = structlog.get_logger(__name__)

NOTE = "page.record"
"""Where the journal keeps the record."""
EVENTS_SHOWN = 40
SAVE_EVERY = 60.0
"""Seconds between saves of a record that has something new in it."""
SAVE_LATEST = 600.0
"""Seconds after which it is saved in any case: the last look's time is part of it."""
FRESH = 2.0
"""Seconds for which a rendering serves everybody who asks, unless a pass has ended since."""
PACKING = 4
"""gzip's level: a third of the time of its default, and a page hardly larger."""
_LAST_SAVE = 2.0


class Memory(Protocol):
    """The part of the journal that the page needs; see ``store.port.Journal``."""

    async def history(self, *, limit: int | None = None) -> Sequence[tuple[int, HistoryEntry]]:
        """The newest entries with their row ids, oldest first."""
        ...

    async def get_note(self, key: str) -> str | None:
        """A small value."""
        ...

    async def put_note(self, key: str, value: str) -> None:
        """Insert or replace a note."""
        ...


class Page:
    """Serves ``/`` and ``/events``."""

    def __init__(
        self,
        status: Callable[[], Report],
        memory: Memory,
        now: Callable[[], datetime],
        *,
        interval: Callable[[], timedelta],
        version: str,
    ) -> None:
        """Make it.

        Args:
            status: how everything stands, as ``Seat.status`` gives it.
            memory: history, and a place for the record.
            now: wall time, from the Clock port.
            interval: between passes, as it is now.
            version: of fleetd.
        """
        self.feed = Feed()
        self.record = Record()
        self._status = status
        self._memory = memory
        self._now = now
        self._interval = interval
        self._version = version
        self._unsaved = False
        self._rendered: _Rendered | None = None

    def passed(self, report: Report) -> None:
        """A pass ended, well or not. Only takes note: no client is waited for."""
        self._unsaved |= self.record.saw(report, patience=3 * self._interval() + timedelta(minutes=1))
        self.feed.changed()

    def routes(self) -> Iterable[web.RouteDef]:
        """For ``serve_http``."""
        return (web.get("/", self._show), web.get("/events", self.feed.stream, allow_head=False))

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Go on with the record of an earlier life, and keep it in the journal; on leaving, streams end."""
        with self._journal_may_fail():
            self.record = Record.load(await self._memory.get_note(NOTE), self._now())
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._keep_saving, name="page-record")
                try:
                    yield
                finally:
                    self.feed.close()
                    group.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True), anyio.move_on_after(_LAST_SAVE):
                await self._save()

    async def _show(self, request: web.Request) -> web.Response:
        # Not with the headers of JSON answers: a page may run its own script.
        rendered = await self._current()
        headers = {
            "Content-Security-Policy": content_security_policy(),
            "Vary": "Accept-Encoding",
        }
        body = rendered.body
        if _takes_gzip(request):
            headers["Content-Encoding"] = "gzip"
            body = rendered.packed
        return web.Response(body=body, content_type="text/html", charset="utf-8", headers=headers)

    async def _current(self) -> _Rendered:
        version, at = self.feed.version, anyio.current_time()
        if self._rendered is not None and self._rendered.serves(version, at):
            return self._rendered
        history: list[HistoryEntry] | None = None
        with self._journal_may_fail():
            history = [entry for _, entry in await self._memory.history(limit=EVENTS_SHOWN)]
        scene = Scene(self._status(), self._now(), self.record, history, self._version)
        self._rendered = _Rendered(version, at, render(scene).encode())
        return self._rendered

    async def _keep_saving(self) -> None:
        saved_at = anyio.current_time()
        while True:
            await anyio.sleep(SAVE_EVERY)
            if self._unsaved or anyio.current_time() - saved_at >= SAVE_LATEST:
                await self._save()
                saved_at = anyio.current_time()

    async def _save(self) -> None:
        if self.record.begins() is None:
            return
        self._unsaved = False
        with self._journal_may_fail():
            await self._memory.put_note(NOTE, self.record.dump())

    @contextlib.contextmanager
    def _journal_may_fail(self) -> Iterator[None]:
        """Passes say so loudly and stop acting; the page goes on with what it has."""
        try:
            yield
        except StoreError as error:
            log.error("journal.failed", error=str(error))  # noqa: TRY400 - no traceback wanted


@dataclass
class _Rendered:
    """A rendering, made for one pass and packed once, however many look."""

    version: int
    at: float
    body: bytes

    def serves(self, version: int, at: float) -> bool:
        return self.version == version and at - self.at < FRESH

    @cached_property
    def packed(self) -> bytes:
        return gzip.compress(self.body, PACKING, mtime=0)


def _takes_gzip(request: web.Request) -> bool:
    for accepted in request.headers.get("Accept-Encoding", "").split(","):
        name, _, quality = accepted.replace(" ", "").lower().partition(";q=")
        if name == "gzip":
            return quality.strip("0.") != "" or not quality
    return False
