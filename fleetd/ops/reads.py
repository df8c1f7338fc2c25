"""What may be read of a running daemon by HTTP: the same paths on the control socket and on ``daemon.listen``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Protocol

from aiohttp import web

from fleetd.model.report import Report
from fleetd.ops.answers import json_answer
from fleetd.ops.metrics import CONTENT_TYPE
from fleetd.ops.seat import Told


class Numbers(Protocol):
    """What ``/metrics`` shows: ``Metrics`` of a daemon, ``StandbyMetrics`` of a replica that stands by."""

    def show(self, report: Report, now: datetime) -> None:
        """Set every gauge."""
        ...

    def render(self) -> bytes:
        """The text that Prometheus scrapes."""
        ...


def read_routes(seat: Told, metrics: Numbers, now: Callable[[], datetime]) -> Iterable[web.RouteDef]:
    """``/livez``, ``/readyz``, ``/metrics`` and ``/status.json``, each for GET and HEAD.

    Args:
        seat: the daemon, or a replica that stands by.
        metrics: shown as they are after its status has been put into them.
        now: wall time, from the Clock port.
    """

    async def livez(_request: web.Request) -> web.Response:
        # An answer proves that the event loop turns. The provider's health is no reason to restart this process.
        return _probe("alive", seat.alive())

    async def readyz(_request: web.Request) -> web.Response:
        return _probe("ready", seat.ready())

    async def show_metrics(_request: web.Request) -> web.Response:
        metrics.show(seat.status(), now())
        return web.Response(body=metrics.render(), headers={"Content-Type": CONTENT_TYPE})

    async def status(_request: web.Request) -> web.Response:
        return json_answer(seat.status())

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
