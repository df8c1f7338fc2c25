"""What all sources that ask somebody else share: a question a machine, a connection each, bounded answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any

import aiohttp
import anyio
from multidict import CIMultiDictProxy

from fleetd.model.machine import Machine
from fleetd.model.reasons import Activity
from fleetd.model.settings import IdleSource
from fleetd.planner.idle import Reading

Said = tuple[Activity, str]
"""A verdict and its evidence in words."""


_ONCE = ("Age", "Date", "Content-Type", "Content-Encoding")
"""Headers that are acted on, so that a second one would be a second answer."""


class Unusable(Exception):
    """An answer from which nothing follows; the text says why."""


async def ask_each(
    name: str,
    machines: Sequence[Machine],
    ask: Callable[[Machine], Awaitable[Said]],
    *,
    at_once: int,
    now: datetime,
) -> Mapping[str, Reading]:
    """One question a machine, ``at_once`` of them under way at one time. Readings by machine id."""
    readings: dict[str, Reading] = {}
    limiter = anyio.CapacityLimiter(at_once)

    async def one(machine: Machine) -> None:
        async with limiter:
            verdict, evidence = await ask(machine)
            readings[machine.id] = Reading(name, verdict, now, evidence)

    async with anyio.create_task_group() as group:
        for machine in machines:
            group.start_soon(one, machine)
    return readings


def open_session() -> aiohttp.ClientSession:
    """A session whose every question has a connection of its own.

    On a connection that is kept, an answer that comes late or twice is taken for the next machine's. Nothing is
    unpacked either: a few kilobytes can unpack to gigabytes.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(force_close=True, limit=0),
        headers={"Accept-Encoding": "identity"},
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
    )


class Asking:
    """What sources share that ask a question for each machine."""

    def __init__(self, settings: IdleSource) -> None:
        self.name = settings.name
        self._timeout = settings.timeout
        self._at_once = settings.at_once

    async def aclose(self) -> None:
        """Nothing is kept open."""

    async def _ask_each(
        self, machines: Sequence[Machine], ask: Callable[[Machine], Awaitable[Said]], now: datetime
    ) -> Mapping[str, Reading]:
        return await ask_each(self.name, machines, ask, at_once=self._at_once, now=now)


class AskingByHttp(Asking):
    """Those that ask a web service. The session is opened by the first question."""

    _session: aiohttp.ClientSession | None = None

    async def aclose(self) -> None:
        """Close connections. Idempotent."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _request(self, method: str, url: str, **more: Any) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        if self._session is None:
            self._session = open_session()
        timeout = aiohttp.ClientTimeout(total=self._timeout.total_seconds())
        return self._session.request(method, url, timeout=timeout, allow_redirects=False, **more)


def refuse_what_headers_say(headers: CIMultiDictProxy[str]) -> None:
    """A part of an answer, one that a cache warns of, and headers that say two things are no answer.

    Raises:
        Unusable: it is one of these.
    """
    for name in _ONCE:
        if len(headers.getall(name, ())) > 1:
            raise Unusable(f"it says {name} twice: which of them is it?")
    if "Content-Range" in headers or headers.get("Content-Type", "").strip().lower().startswith("multipart/"):
        raise Unusable("a part of an answer only")
    if "Warning" in headers:
        raise Unusable(f"it comes with a warning: {headers['Warning'][:60]!r}")


async def read_body(answer: aiohttp.ClientResponse, *, longest: int) -> bytes:
    """The body, in however many pieces it comes.

    Raises:
        Unusable: it is longer than ``longest`` bytes, or packed, or its headers say that nothing follows from it.
    """
    try:
        refuse_what_headers_say(answer.headers)
    except Unusable:
        answer.close()
        raise
    packed = answer.headers.get("Content-Encoding", "identity").strip().lower()
    if packed not in {"", "identity"}:
        answer.close()
        raise Unusable(f"it is packed ({packed[:20]}), which was not asked for")
    body = bytearray()
    async for piece in answer.content.iter_any():
        body += piece
        if len(body) > longest:
            answer.close()
            raise Unusable(f"longer than {longest} bytes")
    return bytes(body)
