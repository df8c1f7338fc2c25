"""The control socket: one aiohttp application on a unix socket, for root and for the daemon's own user."""

from __future__ import annotations

import json
import os
import pwd
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import structlog
from aiohttp import web

from fleetd.model.errors import ConfigError, StateUnusable, StoreError
from fleetd.model.journal import VetoOrder
from fleetd.model.reasons import Verb
from fleetd.ops.seat import Seat

log = structlog.get_logger(__name__)

MAX_BODY = 64 * 1024
"""Bytes of a request's body."""
LONGEST_VETO = timedelta(days=31)
"""A veto always ends: one that is forgotten must not pay for machines for ever."""
LONGEST_REASON = 500
"""Characters of an operator's reason."""

_UCRED = struct.Struct("3i")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class BadRequest(ValueError):
    """The request cannot be understood; the text says what would be right."""


@asynccontextmanager
async def serve_control(seat: Seat, path: Path) -> AsyncIterator[None]:
    """Listen on ``path`` (mode 0600) while entered; the caller holds the state lock, so a socket there is stale.

    Raises:
        StateUnusable: the socket cannot be made.
    """
    runner = web.AppRunner(_application(seat), access_log=None, handle_signals=False, shutdown_timeout=1.0)
    await runner.setup()
    try:
        listening = _bind(path)
        await web.SockSite(runner, listening).start()
        try:
            yield
        finally:
            _remove(path)
    finally:
        await runner.cleanup()


def _bind(path: Path) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _remove(path)
        before = os.umask(0o177)
        try:
            listening.bind(str(path))
        finally:
            os.umask(before)
    except OSError as error:
        listening.close()
        raise StateUnusable(f"{path}: the control socket cannot be made: {error.strerror or error}") from error
    return listening


def _remove(path: Path) -> None:
    with suppress(FileNotFoundError):
        path.unlink()


def _application(seat: Seat) -> web.Application:
    app = web.Application(client_max_size=MAX_BODY, middlewares=[_guarded])
    orders = _Orders(seat)
    app.add_routes(
        [
            web.get("/status", orders.status),
            web.post("/reload", orders.reload),
            web.post("/wake", orders.wake),
            web.post("/veto", orders.veto),
            web.post("/lift", orders.lift),
            web.post("/request", orders.request),
            web.put("/lease", orders.lease),
        ]
    )
    return app


class _Orders:
    """One method for each path: parse, ask the seat, answer."""

    def __init__(self, seat: Seat) -> None:
        self._seat = seat

    async def status(self, _request: web.Request) -> web.Response:
        return web.json_response(self._seat.status())

    async def reload(self, request: web.Request) -> web.Response:
        self._seat.reload(request["actor"])
        return web.json_response({"reloaded": True})

    async def wake(self, _request: web.Request) -> web.Response:
        self._seat.wake()
        return web.json_response({"woken": True})

    async def veto(self, request: web.Request) -> web.Response:
        body = await _body(request)
        kind = _text(body, "kind")
        if kind not in {"hold", "freeze"}:
            raise BadRequest('kind must be "hold" or "freeze"')
        subject = _text(body, "subject", optional=True)
        if kind == "hold" and subject is None:
            raise BadRequest("subject is missing: the machine's id or name")
        order = VetoOrder(kind, subject, _verbs(body), _reason(body), _lasts(body))
        return web.json_response(await self._seat.veto(order, request["actor"]))

    async def lift(self, request: web.Request) -> web.Response:
        body = await _body(request)
        removed = await self._seat.lift(
            _text(body, "kind") or "", _text(body, "subject", optional=True), request["actor"]
        )
        return web.json_response({"removed": removed})

    async def request(self, request: web.Request) -> web.Response:
        body = await _body(request)
        verb = _text(body, "verb")
        if verb not in {"start", "stop", "restart"}:
            raise BadRequest("verb must be start, stop or restart")
        machine = _text(body, "machine") or ""
        return web.json_response(await self._seat.request(Verb(verb), machine, _reason(body), request["actor"]))

    async def lease(self, request: web.Request) -> web.Response:
        body = await _body(request)
        machine, source = _text(body, "machine") or "", _text(body, "source") or ""
        return web.json_response(
            await self._seat.lease(machine, source, _lasts(body, allow_zero=True), request["actor"])
        )


@web.middleware
async def _guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Check who asks, and turn what goes wrong into an answer."""
    uid = _peer_uid(request)
    if uid not in {0, os.getuid()}:
        return _fault(403, "only root and the daemon's own user may use the control socket")
    request["actor"] = _actor(uid)
    try:
        return await handler(request)
    except (BadRequest, ConfigError) as error:
        return _fault(400, str(error))
    except LookupError as error:
        return _fault(404, str(error.args[0]) if error.args else "not found")
    except StoreError as error:
        return _fault(503, str(error))


def _peer_uid(request: web.Request) -> int:
    transport = request.transport
    peer = transport.get_extra_info("socket") if transport is not None else None
    if peer is None:
        return -1
    _pid, uid, _gid = _UCRED.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return int(uid)


def _actor(uid: int) -> str:
    try:
        return f"{pwd.getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:
        return f"uid {uid}"


def _fault(status: int, message: str) -> web.Response:
    return web.json_response({"error": {"status": status, "message": message}}, status=status)


async def _body(request: web.Request) -> Mapping[str, Any]:
    try:
        body = json.loads(await request.text())
    except (ValueError, RecursionError) as error:
        raise BadRequest("the body must be a JSON object") from error
    if not isinstance(body, dict):
        raise BadRequest("the body must be a JSON object")
    return body


def _text(body: Mapping[str, Any], key: str, *, optional: bool = False) -> str | None:
    value = body.get(key)
    if value is None and optional:
        return None
    if not isinstance(value, str) or not value.strip():
        raise BadRequest(f"{key} must be text")
    return value


def _reason(body: Mapping[str, Any]) -> str:
    return (_text(body, "reason") or "").strip()[:LONGEST_REASON]


def _lasts(body: Mapping[str, Any], *, allow_zero: bool = False) -> timedelta:
    seconds = body.get("seconds")
    limit = LONGEST_VETO.total_seconds()
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= limit:
        raise BadRequest(f"seconds must be a number up to {limit:.0f}: everything here expires")
    if seconds == 0 and not allow_zero:
        raise BadRequest("seconds must be more than 0")
    return timedelta(seconds=seconds)


def _verbs(body: Mapping[str, Any]) -> frozenset[Verb]:
    given = body.get("verbs")
    if given is None:
        return frozenset(Verb)
    known = {str(v) for v in Verb}
    if not isinstance(given, list) or not given or not all(isinstance(v, str) and v in known for v in given):
        raise BadRequest(f"verbs must be a list out of {', '.join(sorted(known))}")
    return frozenset(Verb(v) for v in given)
