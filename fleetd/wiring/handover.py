"""``fleetd step-down``: the replica that acts ends its calls, gives the lease to another, and stands by then."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

import anyio
import structlog
from aiohttp import web

from fleetd.model.answers import SteppingDown
from fleetd.model.errors import OrderDeclined
from fleetd.ops.control import actor_of
from fleetd.ops.http_answers import json_answer

log = structlog.get_logger(__name__)

ALONE = (
    "this daemon keeps its journal in a file, so no other can act in its place: several replicas need daemon.state; "
    "systemctl stop ends this one"
)
HAS_AN_END = "fleetd apply runs there: it ends by itself, and gives the lease back then"
NOBODY = "no replica stands by that could take over: start one first; systemctl stop ends this one all the same"

ANSWERED = 0.5
"""Seconds from the answer to a step-down to the shutdown, which closes the socket that the answer goes through."""


class Handover:
    """Whether this process is to step down.

    Args:
        refusal: why it cannot; unused where it can.
        begin: asked with the actor who wants it: who may take over. Raises ``OrderDeclined``.
    """

    def __init__(
        self, refusal: str = ALONE, *, begin: Callable[[str], Awaitable[SteppingDown]] | None = None
    ) -> None:
        self._refusal = refusal
        self._begin = begin
        self._asked = anyio.Event()

    @property
    def asked(self) -> bool:
        """Whether somebody wants it, and it is on its way."""
        return self._asked.is_set()

    def routes(self) -> Iterable[web.RouteDef]:
        """For the control socket."""
        return (web.post("/step-down", self._step_down),)

    async def obey(self, stop: Callable[[], None]) -> None:
        """Stop the daemon once it is asked to step down."""
        await self._asked.wait()
        await anyio.sleep(ANSWERED)
        stop()

    async def _step_down(self, request: web.Request) -> web.Response:
        if self._begin is None:
            raise OrderDeclined(self._refusal)
        answer = await self._begin(actor_of(request))
        self._asked.set()
        return json_answer(answer)
