"""What lies between a host and the provider: requests that are on their way for a while, and cuts."""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from aiohttp import web

from fleetd.simulator import faults as f
from fleetd.simulator.calls import Call
from fleetd.simulator.server import SimServer
from fleetd.simulator.wire import Answer
from tests.sim.replicas.life import ReplicaLife, ReplicaSite
from tests.sim.replicas.record import Sent
from tests.sim.replicas.story import ReplicaStory
from tests.support.virtual_time import virtual_loop

_SENT: contextvars.ContextVar[Sent] = contextvars.ContextVar("sent")


class Wire:
    """One host's way to the provider, with what it has sent."""

    def __init__(self, site: ReplicaSite, server: SimServer, rng: random.Random, story: ReplicaStory) -> None:
        self.site = site
        self.server = server
        self.sent: list[Sent] = []
        self.on_sent: Callable[[ReplicaLife, str], None] = lambda _life, _what: None
        """Told of every request that has left: method and path."""
        self.on_arrival: Callable[[ReplicaLife | None, Call, Answer], None] = lambda _life, _call, _answer: None
        """Told of every call right after it was carried out."""
        self.calm = False
        self._rng = rng
        self._late, self._lag = story.late, story.lag
        server.on_call = self._arrived

    def cut(self, way: str, rules: tuple[f.Rule, ...]) -> None:
        """Nothing gets ``there``, or no answer ``back``, or every connection is ``reset``."""
        rule = {"there": f.TimeoutBefore, "back": f.TimeoutAfter, "reset": f.ResetBefore}[way]
        self.server.set_faults((rule(operation="any"), *rules))

    async def carry(self, http: web.BaseRequest, handle: Callable[[web.BaseRequest], Any]) -> web.StreamResponse:
        """Bring a request to the provider, whether whoever sent it still waits or not."""
        await http.read()
        life = self._sender()
        sent = Sent(virtual_loop().time(), life.number if life is not None else 0, self.site.name)
        self.sent.append(sent)
        if life is not None:
            self.on_sent(life, f"{http.method} {http.path}")
        task = asyncio.ensure_future(self._bring(http, handle, sent))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(task)

    async def _bring(self, http: web.BaseRequest, handle: Callable[[web.BaseRequest], Any], sent: Sent) -> Any:
        _SENT.set(sent)
        if http.method != "GET" and not self.calm and self._rng.random() < self._late:
            await asyncio.sleep(self._rng.uniform(*self._lag))
        return await handle(http)

    def _arrived(self, call: Call, answer: Answer) -> None:
        sent = _SENT.get()
        sent.call = call
        life = next((one for one in self.site.lives if one.number == sent.life), None)
        self.on_arrival(life, call, answer)  # type: ignore[arg-type]

    def _sender(self) -> ReplicaLife | None:
        """Whoever acts here; or has just ended, with its last bytes on the way."""
        acting = [life for life in self.site.lives if life.engine is not None]
        return acting[-1] if acting else None  # type: ignore[return-value]


@contextmanager
def wired(wires: dict[SimServer, Wire]) -> Iterator[None]:
    """Every simulator that has a wire gets its requests over it."""
    handle = SimServer.handle

    async def over_the_wire(self: SimServer, http: web.BaseRequest) -> web.StreamResponse:
        wire = wires.get(self)
        if wire is None:
            return await handle(self, http)
        return await wire.carry(http, lambda request: handle(self, request))

    with mock.patch.object(SimServer, "handle", over_the_wire):
        yield
