"""The control socket: one aiohttp application on a unix socket, for root and for the daemon's own user."""

from __future__ import annotations

import os
import pwd
import socket
import struct
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager, suppress
from functools import lru_cache, partial
from pathlib import Path

import anyio
import structlog
from aiohttp import web
from aiohttp.typedefs import Middleware

from fleetd.model.answers import Lifted, Reloaded
from fleetd.model.errors import ConfigError, NotYet, OrderDeclined, StateLocked, StateUnusable, StoreError
from fleetd.model.reasons import VetoKind
from fleetd.ops import orders
from fleetd.ops.addressee import MISDIRECTED, STANDS_BY, Identity
from fleetd.ops.control_client import LOGIN, RELAYED, is_listening
from fleetd.ops.daemon_handle import DaemonHandle
from fleetd.ops.escape import printable
from fleetd.ops.http_answers import MAX_BODY, Fault, Handler, Listen, json_answer, serving, tell_faults

log = structlog.get_logger(__name__)

LOOK_EVERY = 2.0
"""Seconds between looks at whether the socket is still there."""
_LONGEST_LOGIN = 32
_LONGEST_RELAYED = 150
_UCRED = struct.Struct("3i")


@asynccontextmanager
async def serve_control(
    handle: DaemonHandle, path: Path, *, identity: Identity | None = None, reads: Iterable[web.RouteDef] = ()
) -> AsyncIterator[Callable[[], Coroutine[object, None, object]]]:
    """Listen on ``path`` (mode 0600) while entered; one that a killed daemon left there is replaced.

    What it yields is to be run in a task: it makes the socket anew when somebody took it away, for a daemon that
    nobody can reach cannot be told to stop.

    Args:
        handle: the daemon.
        path: where; a directory that is missing is made with mode 0700.
        identity: who this is; an order that is for another daemon is refused.
        reads: further routes, as ``read_routes`` gives them.

    Raises:
        StateLocked: somebody listens there: a socket in use is never taken away.
        StateUnusable: the socket cannot be made.
    """
    async with _serve(path, identity, [*_Orders(handle).routes(), *reads]) as keep_socket:
        yield keep_socket


@asynccontextmanager
async def serve_standby_control(
    read_again: Callable[[], Reloaded], path: Path, *, identity: Identity
) -> AsyncIterator[Callable[[], Coroutine[object, None, object]]]:
    """The control socket of a replica that stands by, as ``serve_control``: it can read its config again.

    Whatever else is asked is for the replica that acts, and the answer says so.
    """

    async def reload(_request: web.Request) -> web.Response:
        return json_answer(read_again())

    async def stands_by(_request: web.Request) -> web.Response:
        words = f"the replica here (pid {os.getpid()}) stands by, and only the one that acts can do this"
        raise Fault(MISDIRECTED, words, reason=STANDS_BY)

    routes = [web.post("/reload", reload)]
    async with _serve(path, identity, routes, rest=web.route("*", "/{rest:.*}", stands_by)) as keep_socket:
        yield keep_socket


@asynccontextmanager
async def _serve(
    path: Path, identity: Identity | None, routes: Iterable[web.RouteDef], *, rest: web.RouteDef | None = None
) -> AsyncIterator[Callable[[], Coroutine[object, None, object]]]:
    listening = _bind(path)
    mine = _Mine(path)
    try:
        checks = [tell_faults, _check_peer, *([] if identity is None else [_addressed(identity)]), _tell_of_orders]
        app = web.Application(client_max_size=MAX_BODY, middlewares=checks)
        app.add_routes(routes)
        if identity is not None:
            app.add_routes([web.get("/whoami", _whoami(identity))])
        if rest is not None:
            app.add_routes([rest])
        async with serving(app, listening) as listen:
            yield partial(mine.keep, listen)
    finally:
        if mine.is_there():  # another's may have come in its place
            _remove(path)


class _Mine:
    """The socket that this process made at a path."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._own = _identity(path)

    def is_there(self) -> bool:
        """Whether commands still find it."""
        return self._own is not None and _identity(self._path) == self._own

    async def keep(self, listen: Listen) -> None:
        """Look every few seconds, and make it anew where it is gone. One that another process listens on stays."""
        failed: str | None = None
        while True:
            await anyio.sleep(LOOK_EVERY)
            if self.is_there():
                continue
            try:
                await listen(_bind(self._path))
            except (StateLocked, StateUnusable) as error:
                if failed != str(error):
                    failed = str(error)
                    log.error("control.socket_lost", socket=str(self._path), error=failed)  # noqa: TRY400
                continue
            self._own, failed = _identity(self._path), None
            log.warning("control.socket_renewed", socket=str(self._path))


def _bind(path: Path) -> socket.socket:
    if is_listening(path):
        raise StateLocked(f"{path}: another fleetd listens there; end that one first, or ask it (fleetd status)")
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _remove(path)
        before = os.umask(0o177)  # never, not even for a moment, open to others
        try:
            listening.bind(str(path))
        finally:
            os.umask(before)
    except OSError as error:
        listening.close()
        raise StateUnusable(f"{path}: the control socket cannot be made: {error.strerror or error}") from error
    return listening


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _remove(path: Path) -> None:
    with suppress(FileNotFoundError):
        path.unlink()


class _Orders:
    """One method for each path: parse, ask the handle, answer."""

    def __init__(self, handle: DaemonHandle) -> None:
        self._handle = handle

    def routes(self) -> Iterable[web.RouteDef]:
        return (
            web.get("/status", self.status),
            web.post("/reload", self.reload),
            web.post("/wake", self.wake),
            web.post("/veto", self.veto),
            web.post("/lift", self.lift),
            web.post("/adopt", self.adopt),
            web.post("/request", self.request),
            web.put("/lease", self.lease),
        )

    async def status(self, _request: web.Request) -> web.Response:
        return json_answer(self._handle.status())

    async def reload(self, request: web.Request) -> web.Response:
        self._handle.reload(actor_of(request))
        daemon = self._handle.status().daemon
        replica = None if daemon.lease is None else daemon.lease.holder
        return json_answer(Reloaded(reloaded=True, config=daemon.config, replica=replica))

    async def wake(self, _request: web.Request) -> web.Response:
        self._handle.wake()
        return web.json_response({"woken": True})

    async def veto(self, request: web.Request) -> web.Response:
        actor, order = actor_of(request), orders.veto(await orders.read_body(request))
        return json_answer(await self._handle.veto(order, actor))

    async def lift(self, request: web.Request) -> web.Response:
        actor, (kind, subject) = actor_of(request), orders.lift(await orders.read_body(request))
        removed = await self._handle.lift(kind, subject, actor)
        left = tuple(v for v in self._handle.status().vetoes if v.kind == VetoKind.FREEZE)
        return json_answer(Lifted(removed=removed, left=left))

    async def adopt(self, request: web.Request) -> web.Response:
        actor, (machine, reason) = actor_of(request), orders.adoption(await orders.read_body(request))
        return json_answer(await self._handle.adopt(machine, reason, actor))

    async def request(self, request: web.Request) -> web.Response:
        actor, order = actor_of(request), orders.machine_order(await orders.read_body(request))
        return json_answer(await self._handle.request(order, actor))

    async def lease(self, request: web.Request) -> web.Response:
        actor, (machine, source, lasts) = actor_of(request), orders.lease(await orders.read_body(request))
        return json_answer(await self._handle.lease(machine, source, lasts, actor))


@web.middleware
async def _check_peer(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Only root and the daemon's own user may ask anything."""
    if _peer_uid(request) not in {0, os.getuid()}:
        raise Fault(403, "only root and the daemon's own user may use the control socket")
    return await handler(request)


def _addressed(identity: Identity) -> Middleware:
    """Only orders that are for this daemon, by its config file or its state directory."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not identity.is_meant(request.headers):
            who = f"the daemon found there (pid {os.getpid()}) runs on {identity.config}, state in {identity.state}"
            raise Fault(MISDIRECTED, f"{who}: nothing was done")
        return await handler(request)

    return check


def _whoami(identity: Identity) -> Handler:
    async def whoami(_request: web.Request) -> web.Response:
        return json_answer(identity.answer())

    return whoami


@web.middleware
async def _tell_of_orders(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Say in the log who ordered what, and turn the handle's errors into faults."""
    if request.method in {"GET", "HEAD"}:
        return await handler(request)
    keys = {"order": request.path.lstrip("/"), "actor": actor_of(request)}
    try:
        answer = await handler(request)
    except Fault as fault:
        if fault.more.get("reason") != STANDS_BY:  # it goes to the replica that acts, which says what became of it
            log.warning("order.was_refused", **keys, status=fault.status, error=fault.message)
        raise
    except ConfigError as error:
        faults = [{"path": f.path, "problem": f.problem, "line": f.line} for f in error.faults]
        log.warning("order.was_refused", **keys, status=422, error=str(error))
        raise Fault(422, str(error), faults=faults) from error
    except LookupError as error:
        message = str(error.args[0]) if error.args else "not found"
        log.warning("order.was_refused", **keys, status=404, error=message)
        raise Fault(404, message) from error
    except OrderDeclined as error:
        log.warning("order.was_refused", **keys, status=409, error=str(error), reason=error.reason or None)
        raise Fault(409, str(error), reason=error.reason) from error
    except (NotYet, StoreError) as error:
        log.warning("order.was_refused", **keys, status=503, error=str(error))
        raise Fault(503, str(error)) from error
    log.info("order.was_taken", **keys)
    return answer


def _peer_uid(request: web.Request) -> int:
    transport = request.transport
    peer = transport.get_extra_info("socket") if transport is not None else None
    if peer is None:
        return -1
    _pid, uid, _gid = _UCRED.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return int(uid)


def actor_of(request: web.Request) -> str:
    """Who asks, for the log and for history. To be asked before anything is waited for: who has left has no name."""
    uid = _peer_uid(request)
    relayed = request.headers.get(RELAYED, "").strip() if uid == os.getuid() else ""
    if relayed:
        return printable(relayed, _LONGEST_RELAYED)
    login = request.headers.get(LOGIN, "").strip() if uid == 0 else ""
    return f"{_name(uid)} for {printable(login, _LONGEST_LOGIN)}" if login else _name(uid)


@lru_cache(maxsize=8)
def _name(uid: int) -> str:
    try:
        return f"{pwd.getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:
        return f"uid {uid}"
