"""What both servers have in common: how they listen, how long they wait, and how they say that something is wrong."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus

import anyio
import structlog
from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from fleetd.model.report import encoded

log = structlog.get_logger(__name__)

MAX_BODY = 64 * 1024
"""Bytes of a request's body."""
PATIENCE = 15.0
"""Seconds within which a connection must have sent a request, and another one after that."""
MOST_CONNECTIONS = 100
"""At one time on one server. Each costs a descriptor, and without one the provider cannot be reached either: who
opens connections by the thousand must not keep fleetd from its passes. The oldest makes room for a new one."""
FAREWELL = 1.0
"""Seconds that requests under way may take when the daemon stops."""

_BACKLOG = 32
"""Connections that may wait; as many are taken at one turn of the loop, before any is counted."""

_QUIET = logging.getLogger("fleetd.http")
_QUIET.addFilter(lambda _record: False)
"""For aiohttp, which logs a traceback for each connection that speaks nonsense. What fails here is logged here."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Fault(Exception):
    """A request ends in an error: its HTTP status, its text and what else belongs into the answer."""

    def __init__(self, status: int, message: str, **more: object) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.more = more


def json_answer(report: object) -> web.Response:
    """A report, or anything else that ``encoded`` takes, as JSON."""
    return web.Response(body=encoded(report), content_type="application/json", charset="utf-8")


Listen = Callable[[socket.socket], Awaitable[None]]
"""Takes one more bound socket."""


@asynccontextmanager
async def serving(app: web.Application, *listening: socket.socket) -> AsyncIterator[Listen]:
    """Answer on bound sockets while entered, and on those handed over later; they are closed in any case."""
    runner = web.AppRunner(
        app,
        access_log=None,
        logger=_QUIET,
        handle_signals=False,
        keepalive_timeout=PATIENCE,
        lingering_time=FAREWELL,
        shutdown_timeout=FAREWELL,
    )
    servers: list[asyncio.Server] = []
    taken = list(listening)

    async def listen(one: socket.socket) -> None:
        if one not in taken:
            taken.append(one)
        doors = asyncio.get_running_loop().create_server(door, sock=one, backlog=_BACKLOG)
        servers.append(await doors)

    try:
        await runner.setup()
        door = _Door(runner)
        for one in listening:
            await listen(one)
        yield listen
    finally:
        for server in servers:
            server.close()
        with anyio.CancelScope(shield=True):  # it takes no longer than the farewell
            await runner.cleanup()
        for one in taken:
            one.close()


@web.middleware
async def tell_faults(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn everything that goes wrong into ``{"error": {"status": ..., "message": ...}}``."""
    try:
        return await handler(request)
    except Fault as fault:
        return fault_answer(fault.status, fault.message, fault.more)
    except web.HTTPException as error:
        return fault_answer(error.status, error.reason, headers=_allow(error))
    except Exception:
        log.exception("request.crashed", method=request.method, path=request.path)
        return fault_answer(500, "fleetd failed on this request; its log says how")


def fault_answer(
    status: int, message: str, more: Mapping[str, object] = {}, headers: dict[str, str] | None = None
) -> web.Response:
    """The answer that says what is wrong."""
    error = {"status": status, "message": message or HTTPStatus(status).phrase, **more}
    return web.json_response({"error": error}, status=status, headers=headers)


class _Door:
    """Makes the protocol of each new connection. Where there are enough, the oldest makes room for it.

    Who holds connections, idle or slow to read, must not keep a supervisor's probe or a person's freeze out. One that
    asks for nothing goes before one whose request is being answered.
    """

    def __init__(self, runner: web.AppRunner) -> None:
        self._runner = runner
        self._open: dict[RequestHandler, bool] = {}
        """Oldest first; the value: whether it has been seen connected, which takes a moment after it was made."""

    def __call__(self) -> asyncio.Protocol:
        """The next connection's."""
        server = self._runner.server
        if server is None:
            return _Closed()
        handler = server()
        there = {
            one: seen or one.transport is not None
            for one, seen in self._open.items()
            if not (seen and one.transport is None)
        }
        while len(there) >= MOST_CONNECTIONS:
            oldest = next((one for one in there if not _answers(one)), next(iter(there)))
            del there[oldest]
            asyncio.get_running_loop().call_soon(_abort, oldest)
        self._open = {**there, handler: False}
        return handler


def _answers(handler: RequestHandler) -> bool:
    return getattr(handler, "_current_request", None) is not None


def _abort(handler: RequestHandler) -> None:
    if handler.transport is not None:
        handler.transport.abort()


class _Closed(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


def _allow(error: web.HTTPException) -> dict[str, str]:
    return {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
