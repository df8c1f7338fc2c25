"""What stands between one life and the world: it notes what is asked, and is where the life can die."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import anyio

from fleetd.cloud.calls import Answer, Call
from fleetd.cloud.port import Cloud, Leave, freely
from fleetd.model.errors import CloudError
from fleetd.model.machine import Machine
from fleetd.model.plan import Listing
from fleetd.model.reasons import Verb
from fleetd.planner.idle import Reading
from tests.sim.record import Look
from tests.support.virtual_time import virtual_loop

if TYPE_CHECKING:
    from tests.sim.life import Life

CALLS = frozenset(
    {
        "list_machines",
        "show",
        "create",
        "start",
        "stop",
        "restart",
        "destroy",
        "update",
        "availability",
        "utilization",
    }
)
KEPT = frozenset(
    {
        *("write_intent", "update_intent", "close_intent", "append_history", "put_facts", "forget_facts"),
        *("put_backoff", "clear_backoff", "add_hold", "remove_holds", "put_note", "put_leases", "prune"),
    }
)
"""Methods of the journal that write."""


class WatchedCloud:
    """The Cloud port, with a place to die before and after every call."""

    def __init__(self, life: Life, cloud: Cloud) -> None:
        self._life = life
        self._cloud = cloud

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._cloud, name)
        if name not in CALLS:
            return found

        async def call(*arguments: Any, **named: Any) -> Any:
            life = self._life
            life.point(f"before call.{name}")
            life.site.on_call(life, name, arguments)
            life.site.asked.append((virtual_loop().time(), life.number, name))
            try:
                answer = await found(*arguments, **named)
            except CloudError:
                life.point(f"after call.{name}")
                raise
            life.point(f"after call.{name}")
            return answer

        return call

    @asynccontextmanager
    async def place(self, verb: Verb, *, behind: int = 0, leave: Leave = freely) -> AsyncIterator[WatchedCloud]:
        async with self._cloud.place(verb, behind=behind, leave=leave) as placed:
            yield WatchedCloud(self._life, placed)


class WatchedJournal:
    """The journal, with a place to die before and after every write."""

    def __init__(self, life: Life, journal: Any) -> None:
        self._life = life
        self._journal = journal
        self._disk = "ok"

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._journal, name)
        if name not in KEPT:
            return found

        async def write(*arguments: Any, **named: Any) -> Any:
            self._life.point(f"before journal.{name}")
            self._feel_disk()
            done = await found(*arguments, **named)
            self._life.point(f"after journal.{name}")
            return done

        return write

    def _feel_disk(self) -> None:
        disk = self._life.site.disk
        if disk == self._disk:
            return
        db = self._journal._database._connection
        if db is not None:
            self._disk = disk
            db.execute(f"PRAGMA query_only = {int(disk == 'readonly')}")
            db.execute(f"PRAGMA max_page_count = {1 if disk == 'full' else 1_000_000_000}")


class WatchedLooks(WatchedCloud):
    """The port as the observer of passes has it; notes what each look was given and what the provider said."""

    def __init__(self, life: Life, cloud: Any) -> None:
        super().__init__(life, cloud)
        send = cloud._http.send

        async def overheard(call: Call, *more: Any) -> Answer:
            answer: Answer = await send(call, *more)
            look = _LOOK.get()
            if look is not None and call.operation == "list":
                look.told |= _told(answer.body)
            return answer

        cloud._http.send = overheard

    async def list_machines(self, progress: Callable[[], None] = lambda: None) -> Listing:
        site = self._life.site
        look = Look(self._life.number, virtual_loop().time(), visible=site.visible())
        site.looks.append(look)
        token = _LOOK.set(look)
        try:
            listing = await self.__getattr__("list_machines")(progress)
            look.listed = frozenset(m.id for m in listing.machines)
            return listing
        finally:
            _LOOK.reset(token)
            look.ended = virtual_loop().time()


_LOOK: ContextVar[Look | None] = ContextVar("look", default=None)
"""Whose answers are heard: those that its own tasks ask for, and not the poller's."""


_DEEP = re.compile(rb"\[{50,}\]{50,}")
"""A list in a list in a list, as deep as json cannot read it."""


def _told(body: bytes) -> frozenset[tuple[str, str | None]]:
    """By the answer's own bytes, not as fleetd understands them."""
    try:
        content = json.loads(_DEEP.sub(b"[]", body))  # one odd value is not to cost the other entries
    except (ValueError, RecursionError):
        return frozenset()
    rows = content.get("items") if isinstance(content, dict) else content
    entries = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    names = [(str(row.get("id")), row.get("name")) for row in entries]
    return frozenset((known, name if isinstance(name, str) else None) for known, name in names)


class SiteSource:
    """An idle source that sees what is true, as far as the story lets it."""

    def __init__(self, name: str, life: Life) -> None:
        self.name = name
        self._life = life

    async def read(self, machines: Sequence[Machine], *, window: timedelta, now: datetime) -> Mapping[str, Reading]:
        del window
        self._life.check()
        said = {m.id: self._life.site.says(self.name, m) for m in machines}
        late = self._life.site.late()
        if late:
            await anyio.sleep(late)  # what it says is as old by then
        return {
            m: Reading(self.name, verdict, now, str(verdict)) for m, verdict in said.items() if verdict is not None
        }

    async def aclose(self) -> None:
        pass
