"""The page of one daemon: keeps the record, renders when asked, and tells open pages of every pass."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Protocol

import anyio
import structlog
from aiohttp import web

from fleetd.model.errors import StoreError
from fleetd.model.journal import CHRONICLED, HistoryEntry
from fleetd.model.report import Report
from fleetd.ops.page.feed import Feed
from fleetd.ops.page.fleet_page import READ, fleet_page
from fleetd.ops.page.found import SHOWN, find, hits_page, missing_page, several_page
from fleetd.ops.page.frame import LONGEST_QUESTION
from fleetd.ops.page.headline import summary
from fleetd.ops.page.history_page import SHOWN as LINES
from fleetd.ops.page.history_page import asked_for, history_page, moment_ago
from fleetd.ops.page.home import home
from fleetd.ops.page.links import says
from fleetd.ops.page.machine_page import EVENTS, called, machine_page
from fleetd.ops.page.record import KEPT, Record
from fleetd.ops.page.scene import Known, Scene
from fleetd.ops.page.serving import FRESH, Renderings, Whole, answer
from fleetd.planner.aged import patience_of

log = structlog.get_logger(__name__)

NOTE = "page.record"
"""Where the journal keeps the record."""
EVENTS_SHOWN = 60
"""Entries of the history that a page begins with; alike ones are taken together."""
MOST_MEANT = 5
"""Machines of one name whose histories are looked up together."""
SAVE_EVERY = 60.0
"""Seconds between saves of a record that has something new in it."""
SAVE_LATEST = 600.0
"""Seconds after which it is saved in any case: the last look's time is part of it."""
_LAST_SAVE = 2.0


class Memory(Protocol):
    """The part of the journal that the page needs; see ``store.port.Journal``."""

    async def history(
        self,
        *,
        since: datetime | None = None,
        fleet: str | None = None,
        machine: str | None = None,
        limit: int | None = None,
    ) -> Sequence[tuple[int, HistoryEntry]]:
        """The newest entries with their row ids, oldest first."""
        ...

    async def get_note(self, key: str) -> str | None:
        """A small value."""
        ...

    async def put_note(self, key: str, value: str) -> None:
        """Insert or replace a note."""
        ...


class Page:
    """Serves ``/``, ``/fleet/NAME``, ``/machine/ID-or-NAME``, ``/history``, ``/summary`` and ``/events``."""

    def __init__(
        self,
        status: Callable[[], Report],
        memory: Memory,
        now: Callable[[], datetime],
        *,
        interval: Callable[[], timedelta],
        version: str,
        known: Callable[[], Known] = Known,
    ) -> None:
        """Make it.

        Args:
            status: how everything stands, as ``DaemonHandle.status`` gives it.
            memory: history, and a place for the record.
            now: wall time, from the Clock port.
            interval: between passes, as it is now.
            version: of fleetd.
            known: what the pages show of the config in force.
        """
        self.feed = Feed()
        self.record = Record()
        self._status = status
        self._memory = memory
        self._now = now
        self._interval = interval
        self._version = version
        self._unsaved = False
        self._known = known
        self._renderings = Renderings()
        self._report: tuple[int, float, Report] | None = None

    def passed(self, report: Report) -> None:
        """A pass ended, well or not. Only takes note: no client is waited for."""
        self._unsaved |= self.record.saw(report, patience=self._patience)
        self.feed.changed()

    @property
    def _patience(self) -> timedelta:
        return patience_of(self._interval())

    def routes(self) -> Iterable[web.RouteDef]:
        """For ``serve_http``."""
        return (
            web.get("/", self._home),
            web.get("/fleet/{word}", self._fleet),
            web.get("/machine/{word}", self._machine),
            web.get("/history", self._history),
            web.get("/summary", self._summary),
            web.get("/events", self.feed.stream, allow_head=False),
        )

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

    async def _home(self, request: web.Request) -> web.Response:
        asked = request.query.get("q", "").strip()[:LONGEST_QUESTION]
        if not asked:
            return await self._answer(request, "/", lambda: self._told(home, root=""))
        found = find((await self._scene()).report, asked)
        if found.path is not None:
            return web.Response(status=302, headers={"Location": found.path})
        return await self._answer(request, ("q", asked), lambda: self._told(hits_page, asked, found, root=""))

    async def _fleet(self, request: web.Request) -> web.Response:
        word = request.match_info["word"]

        async def make() -> Whole:
            name = next((n for n in (await self._scene()).report.fleets if says(word, n)), None)
            if name is None:
                scene = await self._scene(root="../", limit=SHOWN, fleet=word)
                its_own = [entry for entry in scene.history or () if entry.fleet == word]
                return Whole(missing_page(replace(scene, history=its_own), "fleet", word), 404)
            scene = await self._scene(root="../", limit=READ, fleet=name)
            return Whole(fleet_page(await self._with_what_befell_all(scene), name))

        return await self._answer(request, ("fleet", word), make)

    async def _machine(self, request: web.Request) -> web.Response:
        word = request.match_info["word"]

        async def make() -> Whole:
            found = called(await self._scene(), word)
            if len(found) == 1:
                one = found[0]
                scene = await self._scene(root="../", limit=EVENTS, machines=[one.id or one.name])
                # What another did that has this one's id for its name is not its own.
                mine = [e for e in scene.history or () if one.id is None or e.machine == one.id]
                return Whole(machine_page(replace(scene, history=None if scene.history is None else mine), one))
            if found:
                return await self._told(several_page, word, found)
            scene = await self._scene(root="../", limit=SHOWN, machines=[word])
            return Whole(missing_page(scene, "machine", word), 404)

        return await self._answer(request, ("machine", word), make)

    async def _history(self, request: web.Request) -> web.Response:
        filters, fault = asked_for(request.query.items())

        async def make() -> Whole:
            if fault:
                return Whole(history_page(await self._scene(), filters, fault=fault), 400)
            try:
                since = moment_ago(filters.since, self._now()) if filters.since else None
            except ValueError as error:
                return Whole(history_page(await self._scene(), filters, fault=str(error)), 400)
            bare = await self._scene()
            fleet = next((n for n in bare.report.fleets if says(filters.fleet, n)), filters.fleet)
            words = {filters.machine, *(m.id or m.name for m in called(bare, filters.machine))} - {""}
            scene = await self._scene(limit=LINES, fleet=fleet or None, machines=sorted(words), since=since)
            return Whole(history_page(scene, filters))

        return await self._answer(request, ("history", filters, fault), make)

    async def _summary(self, request: web.Request) -> web.Response:
        async def make() -> Whole:
            return Whole(summary(await self._scene()), kind="application/json")

        return await self._answer(request, "summary", make)

    async def _told(
        self, page: Callable[..., str], *arguments: object, root: str = "../", limit: int = EVENTS_SHOWN, **about: Any
    ) -> Whole:
        scene = await self._scene(root=root, limit=limit, **about)
        return Whole(page(scene, *arguments))

    async def _answer(
        self, request: web.Request, key: Hashable, make: Callable[[], Awaitable[Whole]]
    ) -> web.Response:
        # Not with the headers of JSON answers: a page may run its own script.
        return answer(request, await self._renderings.get(key, self.feed.version, make))

    async def _scene(self, *, root: str = "", limit: int = 0, **about: Any) -> Scene:
        """How everything stands; ``limit``: so many entries of the history, of what it is asked about."""
        history = await self._lines(limit, **about) if limit else []
        return Scene(
            self._seen(),
            self._now(),
            self.record,
            history,
            self._version,
            known=self._known(),
            patience=self._patience,
            root=root,
        )

    async def _with_what_befell_all(self, scene: Scene) -> Scene:
        """With the outages, reloads and restarts of a day: they happened to every fleet, and stand under none."""
        if scene.history is None:
            return scene
        lately = await self._lines(READ, since=scene.now - KEPT) or ()
        general = [entry for entry in lately if not entry.fleet and entry.verb in CHRONICLED]
        return replace(scene, history=sorted([*scene.history, *general], key=lambda entry: entry.ts))

    async def _lines(
        self,
        limit: int,
        *,
        since: datetime | None = None,
        fleet: str | None = None,
        machines: Sequence[str] = (),
    ) -> list[HistoryEntry] | None:
        """The newest of these entries, oldest first; of several machines of all of them. None: it cannot be read."""
        rows: dict[int, HistoryEntry] = {}
        words: Sequence[str | None] = machines[:MOST_MEANT] or (None,)
        try:
            for word in words:
                found = await self._memory.history(since=since, fleet=fleet, machine=word, limit=limit)
                rows.update(found)
        except StoreError as error:
            self._say(error)
            return None
        return [entry for _, entry in sorted(rows.items(), key=lambda row: row[0])[-limit:]]

    def _seen(self) -> Report:
        """The report, made once for all who ask at one time."""
        version, at = self.feed.version, anyio.current_time()
        kept = self._report
        if kept is None or kept[0] != version or at - kept[1] >= FRESH:
            kept = self._report = (version, at, self._status())
        return kept[2]

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
            self._say(error)

    def _say(self, error: StoreError) -> None:
        log.error("journal.failed", error=str(error))
