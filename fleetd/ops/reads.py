"""What may be read of a running daemon by HTTP: the same paths on the control socket and on ``daemon.listen``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Protocol

from aiohttp import web

from fleetd.model.report import Report
from fleetd.ops.daemon_handle import Told
from fleetd.ops.http_answers import json_answer
from fleetd.ops.metrics import CONTENT_TYPE


class Numbers(Protocol):
    """What ``/metrics`` shows: ``Metrics`` of a daemon, ``StandbyMetrics`` of a replica that stands by."""

    def show(self, report: Report, now: datetime) -> None:
        """Set every gauge."""
        ...

    def render(self) -> bytes:
        """The text that Prometheus scrapes."""
        ...


def read_routes(handle: Told, metrics: Numbers, now: Callable[[], datetime]) -> Iterable[web.RouteDef]:
    """``/livez``, ``/readyz``, ``/metrics`` and ``/status.json``, each for GET and HEAD.

    Args:
        handle: the daemon, or a replica that stands by.
        metrics: shown as they are after its status has been put into them.
        now: wall time, from the Clock port.
    """

    async def livez(_request: web.Request) -> web.Response:
        # An answer proves that the event loop turns. The provider's health is no reason to restart this process.
        return _probe("alive", handle.alive())

    async def readyz(_request: web.Request) -> web.Response:
        return _probe("ready", handle.ready())

    async def show_metrics(_request: web.Request) -> web.Response:
        metrics.show(handle.status(), now())
        return web.Response(body=metrics.render(), headers={"Content-Type": CONTENT_TYPE})

    async def status(_request: web.Request) -> web.Response:
        return json_answer(handle.status())

    return (
        web.get("/livez", livez),
        web.get("/readyz", readyz),
        web.get("/metrics", show_metrics),
        web.get("/status.json", status),
    )


def _probe(word: str, problem: str | None) -> web.Response:
    if problem is None:
        return web.json_response({word: True})
    return web.json_response({word: False, "reason": problem}, status=503)
