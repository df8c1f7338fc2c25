"""The two ends of the wire: fleetd's real sources, and hostile answers to what they ask.

Most nights answer in the place of aiohttp's session, without sockets, which costs a tenth; some over real ones. A
command is answered in the place of the process.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol, Self
from unittest import mock
from urllib.parse import parse_qs, unquote, urlsplit

import aiohttp
import anyio
from multidict import CIMultiDict

import fleetd.activity.asking
import fleetd.activity.command
from tests.nights.hostile import Told

TAKES = 0.01
"""Seconds that an answer takes at the least."""


class Answers(Protocol):
    """What is behind the wire."""

    def measured(self, form: Mapping[str, str]) -> Told:
        """The answer to a query_range."""

    def agreed(self, ip: str) -> Told:
        """The answer of the agent under an address."""

    def printed(self, ip: str) -> tuple[bytes, int, float]:
        """A command's output, exit status, and how long it takes."""


@contextmanager
def in_place(answers: Answers) -> Iterator[None]:
    """Sources are answered without sockets, and no process is begun."""
    with ExitStack() as stack:
        session = _Session(answers)
        stack.enter_context(mock.patch.object(fleetd.activity.asking, "open_session", return_value=session))
        stack.enter_context(_no_process(answers))
        yield


@contextlib.asynccontextmanager
async def over_sockets(answers: Answers) -> AsyncIterator[int]:
    """Sources are answered on loopback; the port."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await _serve(answers, reader, writer)
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    with _no_process(answers):
        yield server.sockets[0].getsockname()[1]
    server.close()
    for task in tuple(tasks):
        task.cancel()
    if tasks:
        await asyncio.wait(tuple(tasks))


async def _serve(answers: Answers, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    _, target, _ = head[0].split(" ")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    raw = await reader.readexactly(int(fields.get("content-length", "0")))
    told = _told(answers, target, raw.decode())
    await asyncio.sleep(told.delay)
    if told.reset:
        writer.transport.abort()
        return
    headers = "".join(f"{k}: {v}\r\n" for k, v in told.headers.items())
    text = f"HTTP/1.1 {told.status} Status\r\nContent-Length: {len(told.body)}\r\n{headers}\r\n".encode() + told.body
    writer.write(text[: -len(told.body) // 2] if told.cut else text * (1 + told.twice))
    await writer.drain()


def _told(answers: Answers, url: str, form: str | Mapping[str, str]) -> Told:
    path = urlsplit(url).path
    if path.startswith("/idle/"):
        return answers.agreed(unquote(path.removeprefix("/idle/")))
    fields = {k: v[0] for k, v in parse_qs(form).items()} if isinstance(form, str) else form
    return answers.measured(fields)


class _Session:
    """What the sources use of ``aiohttp.ClientSession``."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers

    def request(
        self,
        _method: str,
        url: str,
        *,
        timeout: aiohttp.ClientTimeout,
        data: Mapping[str, str] | None = None,
        **_more: Any,
    ) -> _Exchange:
        return _Exchange(lambda: _told(self._answers, url, data or ""), timeout.total or 0.0)

    async def close(self) -> None: ...


class _Exchange:
    """One question and its answer."""

    def __init__(self, ask: Callable[[], Told], timeout: float) -> None:
        self._ask = ask
        self._timeout = timeout
        self.status = 0
        self.headers: CIMultiDict[str] = CIMultiDict()
        self.content = self

    async def __aenter__(self) -> Self:
        told = self._ask()
        await anyio.sleep(min(told.delay, self._timeout) + TAKES)
        if told.delay >= self._timeout:
            raise TimeoutError
        if told.reset:
            raise aiohttp.ClientOSError(104, "Connection reset by peer")
        self._told, self.status, self.headers = told, told.status, CIMultiDict(told.headers)
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def iter_any(self) -> AsyncIterator[bytes]:
        half = len(self._told.body) // 2
        yield self._told.body[:half]
        if self._told.cut:
            raise aiohttp.ClientPayloadError("not enough data to satisfy content length header")
        yield self._told.body[half:]

    def close(self) -> None: ...


@contextmanager
def _no_process(answers: Answers) -> Iterator[None]:
    async def open_process(argv: Sequence[str], **_more: Any) -> _Process:
        return _Process(*answers.printed(argv[1]))

    async def end_all(_mark: str) -> None: ...

    module = fleetd.activity.command
    with (
        mock.patch.object(module.anyio, "open_process", open_process),
        mock.patch.object(module.strays, "watched", return_value=contextlib.nullcontext("")),
        mock.patch.object(module.strays, "began"),
        mock.patch.object(module.strays, "end_all", end_all),
    ):
        yield


class _Process:
    """What the exec source uses of a process."""

    pid = 0

    def __init__(self, output: bytes, status: int, takes: float) -> None:
        self._output, self._status, self._takes = output, status, takes
        self.stdout = self._read()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def _read(self) -> AsyncIterator[bytes]:
        await anyio.sleep(self._takes)
        yield self._output

    async def wait(self) -> int:
        return self._status
