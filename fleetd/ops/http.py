"""The read-only endpoints on ``daemon.listen``, for Prometheus, probes and a browser on the same machine.

Anyone who reaches the port may read them, a web page in the operator's browser included. So the Host header must
name this machine (a page that rebinds its own name to 127.0.0.1 does not), nothing is shared across origins, and
there is nothing to write.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import datetime
from ipaddress import ip_address

import structlog
import yarl
from aiohttp import web
from aiohttp.typedefs import Middleware

from fleetd.model.errors import ListenFailed
from fleetd.ops.daemon_handle import Told
from fleetd.ops.http_answers import Fault, Handler, serving, tell_faults
from fleetd.ops.reads import Numbers, read_routes

log = structlog.get_logger(__name__)

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""On every answer; a route may set its own instead."""


_ABSENT = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
"""What binding says where the machine has no IPv6; its IPv4 address serves all the same."""


@asynccontextmanager
async def serve_http(
    handle: Told,
    metrics: Numbers,
    listen: str,
    *,
    now: Callable[[], datetime],
    pages: Iterable[web.RouteDef] = (),
) -> AsyncIterator[str | None]:
    """Serve ``host:port`` while entered, and give the URL; ``""`` serves nothing and gives None.

    Args:
        handle: the daemon, or a replica that stands by; only read.
        metrics: what ``/metrics`` shows.
        listen: ``daemon.listen``, as the config's check let it pass; port 0 takes a free one.
        now: wall time, from the Clock port.
        pages: further routes for GET.

    Raises:
        ListenFailed: the address is taken, or is not this machine's.
    """
    if not listen:
        yield None
        return
    host, port = _split(listen)
    sockets = await _bind(host, port, listen)
    app = web.Application(middlewares=[tell_faults, _only_for(host)])
    app.on_response_prepare.append(_add_headers)
    app.add_routes([*read_routes(handle, metrics, now), *pages])
    url = f"http://{f'[{host}]' if ':' in host else host}:{sockets[0].getsockname()[1]}"
    async with serving(app, *sockets):
        log.info("endpoint.opened", url=url)
        yield url


def _split(listen: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


async def _bind(host: str, port: int, listen: str) -> list[socket.socket]:
    """One socket for each address of the host, so that ``localhost`` is reached by IPv4 and by IPv6."""
    sockets: list[socket.socket] = []
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        absent: OSError | None = None
        for family, address in dict.fromkeys((entry[0], entry[4]) for entry in found):
            try:
                sockets.append(_listening(family, address))
            except OSError as error:
                if error.errno not in _ABSENT:
                    raise
                absent = error
        if absent is not None and not sockets:
            raise absent
    except OSError as error:
        for one in sockets:
            one.close()
        why = f"daemon.listen: {listen}: {error.strerror or error}"
        raise ListenFailed(f'{why}; choose another address, or "" to serve nothing') from error
    return sockets


def _listening(family: int, address: tuple[object, ...]) -> socket.socket:
    one = socket.socket(family, socket.SOCK_STREAM)
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        one.bind(address)
        one.listen()
    except OSError:
        one.close()
        raise
    return one


def _only_for(host: str) -> Middleware:
    # A name of this machine's own; an address is compared with the one that was called.
    names = {"localhost", os.uname().nodename.lower(), host.lower()} - {"", "0.0.0.0", "::"}  # noqa: S104 - not bound

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not _is_ours(request, names):
            raise Fault(421, "the Host header names another machine")
        return await handler(request)

    return check


def _is_ours(request: web.Request, names: set[str]) -> bool:
    """Whether the Host header names this server: by a name of its own, or by the address that was called."""
    try:
        named = yarl.URL(f"http://{request.headers.get('Host', '')}").host or ""
    except ValueError:
        return False
    if named.lower().removesuffix(".") in names:
        return True
    called = request.transport.get_extra_info("sockname") if request.transport is not None else None
    try:
        address = ip_address(named)
        return address.is_loopback or (called is not None and address == ip_address(called[0]))
    except ValueError:
        return False


async def _add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers["Server"] = "fleetd"
