"""A server that answers byte for byte what a test tells it to, and writes down what it was asked.

    async with scripted(answer(200, []), RESET) as server:
        ...
    assert server.requests[0].query == {"limit": "1000"}

Each request takes the next line of the script; the last line is repeated for ever. ``by_path`` may give a script of
its own to one path. Works on real and on virtual time.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

HANG = "hang"
"""Never answer."""
RESET = "reset"
"""Reset the connection after the request was read."""
CLOSE = "close"
"""Close the connection after the request was read."""


@dataclass(frozen=True)
class Heard:
    method: str
    target: str
    headers: Mapping[str, str]
    raw: bytes
    at: float
    """Loop time."""

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))

    @property
    def body(self) -> Any:
        return json.loads(self.raw) if self.raw else None


Line = bytes | str | Callable[[Heard], bytes | str]


def answer(
    status: int, content: object = None, *, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> bytes:
    """An HTTP answer; ``content`` as JSON, or ``body`` as it is, or neither."""
    sent = body if body is not None else b"" if content is None else json.dumps(content).encode()
    fields = {"Content-Length": str(len(sent)), "Content-Type": "application/json", **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} Status\r\n{head}\r\n".encode() + sent


@dataclass
class Scripted:
    script: tuple[Line, ...]
    by_path: Mapping[str, tuple[Line, ...]]
    requests: list[Heard] = field(default_factory=list)
    most_at_once: int = 0
    latency: float = 0.0
    url: str = ""
    _under_way: int = 0
    _asked: dict[str, int] = field(default_factory=dict)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while await self._serve_one(reader, writer):
                pass
        writer.close()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = head[0].split(" ")
        headers = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)
        }
        raw = await reader.readexactly(int(headers.get("content-length", "0")))
        heard = Heard(method, target, headers, raw, asyncio.get_running_loop().time())
        self.requests.append(heard)
        self._under_way += 1
        self.most_at_once = max(self.most_at_once, self._under_way)
        try:
            if self.latency:
                await asyncio.sleep(self.latency)
            line = self._next_line(heard)
        finally:
            self._under_way -= 1
        said = line(heard) if callable(line) else line
        if said == HANG:
            await asyncio.sleep(1e6)
        if isinstance(said, str):
            writer.transport.abort() if said == RESET else writer.close()
            return False
        writer.write(said)
        await writer.drain()
        head_sent, _, body_sent = said.partition(b"\r\n\r\n")
        whole = b"Content-Length: %d" % len(body_sent) in head_sent
        if not whole:
            writer.close()
        return whole

    def _next_line(self, heard: Heard) -> Line:
        lines = self.by_path.get(heard.path, self.script)
        script_of = heard.path if heard.path in self.by_path else ""
        number = self._asked.get(script_of, 0)
        self._asked[script_of] = number + 1
        return lines[min(number, len(lines) - 1)]


@contextlib.asynccontextmanager
async def scripted(
    *script: Line, by_path: Mapping[str, tuple[Line, ...]] | None = None, latency: float = 0.0
) -> AsyncIterator[Scripted]:
    """Listen on loopback until the block is left; connections that hang are broken off then."""
    server = Scripted(script, by_path or {}, latency=latency)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await server.serve(reader, writer)
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            tasks.discard(task)

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = listening.sockets[0].getsockname()[:2]
    server.url = f"http://{host}:{port}"
    try:
        yield server
    finally:
        listening.close()
        for task in tuple(tasks):
            task.cancel()
        if tasks:
            await asyncio.wait(tuple(tasks))
        await asyncio.sleep(0)
