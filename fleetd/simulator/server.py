"""The simulated vendor on a socket: real HTTP on loopback, with latency, faults and a call log."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from email.utils import format_datetime

import anyio
import anyio.lowlevel
import msgspec
from aiohttp import web

from fleetd.model.errors import FleetdError
from fleetd.simulator import delivery
from fleetd.simulator.calls import HIDDEN_HEADERS, Call, CallLog
from fleetd.simulator.control import ControlApi
from fleetd.simulator.core import CoreApi, CoreOptions
from fleetd.simulator.faultplan import Decision, FaultPlan, Target, chosen
from fleetd.simulator.faults import (
    AnswerRule,
    ErrorAnswer,
    ForeignBody,
    OtherMachine,
    RateLimit,
    Rule,
    Unauthorized,
    Unavailable,
)
from fleetd.simulator.oddities import disfigured
from fleetd.simulator.v1 import V1Api
from fleetd.simulator.views import another
from fleetd.simulator.wire import BROKEN, Answer, Request
from fleetd.simulator.world import World

LATENCY = (0.005, 0.02)
"""Least and most seconds (of the event loop) until an answer is sent."""
CONTROL = "_sim"
"""First part of the control paths; docs/simulator.md lists them."""
V1 = "v1"
"""First part of the v1 API's paths."""
Dialect = CoreApi | V1Api
_NO_ANSWER = Answer(0)
_CLOSING_SECONDS = 0.2
_ACCEPTING_TICKS = 4
_BACKLOG = 512


class SimServer:
    """A listening simulator. Made by ``serve``.

    Attributes:
        world: the account it serves.
        calls: every request to the vendor's API, in order.
        plan: the faults, with their counts; replaced by ``set_faults``.
        key: the key that is accepted; None accepts any that is not empty.
    """

    def __init__(
        self,
        world: World,
        *,
        key: str | None,
        latency: tuple[float, float],
        faults: Iterable[Rule],
        core: CoreOptions | None,
        keep_reads: int | None,
    ) -> None:
        self.world = world
        self.key = key
        self.host = ""
        self.port = 0
        self.calls = CallLog(keep_reads)
        self.closing = anyio.Event()
        self.on_call: Callable[[Call, Answer], None] = lambda _call, _answer: None
        """Told of every call right after it was carried out (or not), before its answer is sent."""
        self._latency = latency
        self._latency_rng = world.stream("latency")
        self._plans = 0
        self._strays = delivery.Strays()
        self._core = CoreApi(world, core)
        self._v1 = V1Api(world)
        self._control = ControlApi(self)
        self.set_faults(faults)

    @property
    def url(self) -> str:
        """Base URL of the Core API, without a slash at its end; the v1 API's is ``{url}/v1``."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    def set_faults(self, rules: Iterable[Rule]) -> None:
        """Replace the fault plan; counts start again."""
        self._plans += 1
        self.plan = FaultPlan(rules, self.world.stream(f"faults {self._plans}"))
        self.world.advance()
        self.world.state.remember(self.plan.oldest)

    async def handle(self, http: web.BaseRequest) -> web.StreamResponse:
        """Answer one HTTP request."""
        request = await _decode(http)
        self._strays.arrived(http)
        if request.segments[0] == CONTROL:
            return await delivery.deliver(http, self._control.answer(request, http.remote), None, self.closing)
        # carried out on arrival, answered after the latency: a client that hangs up early has asked all the same
        dialect: Dialect = self._v1 if request.segments[0] == V1 else self._core
        t = self.world.advance()
        target = dialect.target(request)
        call = self._log(request, target, dialect.name, t)
        decision = self._decide(target, t)
        answer = self._answer(request, target, dialect, decision)
        call.faults = decision.kinds
        call.executed = answer.executed
        call.machine_id = answer.machine_id or call.machine_id
        self.on_call(call, answer)
        seconds = self._latency_rng.uniform(*self._latency)
        if seconds > 0:
            await anyio.sleep(seconds)
        if not delivery.never_answers(decision.answer, answer):
            call.status = answer.status
        if self.world.clock.speed == 1:  # one that runs faster than its client would be a provider with a wrong clock
            date = format_datetime(self.world.clock.now().replace(microsecond=0), usegmt=True)
            answer = replace(answer, headers={"Date": date, **answer.headers})
        return await delivery.deliver(http, answer, decision.answer, self.closing, self._strays)

    def _log(self, request: Request, target: Target, dialect: str, t: float) -> Call:
        record = self.world.machines.get(target.machine_id or "")
        call = Call(
            seq=self.calls.count + 1,
            world_time=self.world.clock.text(t) or "",
            world_seconds=round(t, 6),
            loop_seconds=round(self.world.clock.loop_seconds(), 6),
            dialect=dialect,
            method=request.method,
            path=request.path,
            query=dict(request.query),
            body=request.raw.decode("utf-8", "replace") if request.body is BROKEN else request.body,
            headers={name: value for name, value in request.headers.items() if name not in HIDDEN_HEADERS},
            operation=target.operation,
            write=target.write,
            machine_id=target.machine_id,
            state_before=record.state if record is not None and target.write else None,
        )
        self.calls.add(call)
        return call

    def _decide(self, target: Target, t: float) -> Decision:
        decision = self.plan.decide(target, t)
        for rule in decision.vanish:
            victims = chosen(rule, list(self.world.machines.values()))
            if victims:
                self.world.vanish(self.plan.rng.choice(victims).id)
        return decision

    def _answer(self, request: Request, target: Target, dialect: Dialect, decision: Decision) -> Answer:
        fault = decision.answer
        instead = self._about_another(fault, target, dialect) or _instead(fault, dialect)
        if fault is not None and not _executes(fault):
            return instead or _NO_ANSWER
        key = dialect.key_of(request)
        if not key or (self.key is not None and key != self.key):
            return dialect.wrong_key()
        answer = dialect.answer(request, decision, self.plan)
        if decision.fate.without_effect and target.write:
            answer = replace(answer, executed=False)
        answer = disfigured(answer, decision.views, self.world)
        return answer if instead is None else replace(instead, executed=answer.executed, machine_id=answer.machine_id)

    def _about_another(self, fault: AnswerRule | None, target: Target, dialect: Dialect) -> Answer | None:
        if not isinstance(fault, OtherMachine):
            return None
        other = another(self.world, target.machine_id, target.machine_name, fault, self.plan.rng)
        return dialect.about(target.operation, other)


@asynccontextmanager
async def serve(
    world: World,
    *,
    key: str | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    latency: float | tuple[float, float] | None = LATENCY,
    faults: Iterable[Rule] = (),
    core: CoreOptions | None = None,
    keep_reads: int | None = 50_000,
) -> AsyncIterator[SimServer]:
    """Listen until the block is left; requests that hang are broken off then.

    Args:
        world: the account to serve.
        key: the key to accept; None accepts any that is not empty.
        host: address to listen on.
        port: 0 takes a free one; ``server.port`` says which.
        latency: seconds of the event loop until an answer is sent, or least and most of it; None for none.
        faults: rules, e.g. from ``load_faults``.
        core: which of the vendor's variants the Core API serves.
        keep_reads: how many reads the call log keeps; writes are kept for ever.

    Raises:
        FleetdError: the address cannot be listened on.
    """
    span = latency if isinstance(latency, tuple) else (latency or 0.0, latency or 0.0)
    server = SimServer(world, key=key, latency=span, faults=faults, core=core, keep_reads=keep_reads)
    web_server = web.Server(server.handle, handler_cancellation=True, access_log=None)
    runner = web.ServerRunner(web_server, shutdown_timeout=_CLOSING_SECONDS)
    with _listen(host, port) as listening:
        server.host, server.port = listening.getsockname()[:2]
        await runner.setup()
        try:
            await web.SockSite(runner, listening).start()
            yield server
        finally:
            server.closing.set()
            with anyio.CancelScope(shield=True):
                await _stop_accepting(listening)
                await runner.cleanup()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as e:
        raise FleetdError(f"the simulator cannot listen on {host}:{port}: {e.strerror or e}") from e


async def _stop_accepting(listening: socket.socket) -> None:
    # Python 3.11 leaks a connection that is half accepted when its server closes: let those finish first
    asyncio.get_running_loop().remove_reader(listening)
    for _ in range(_ACCEPTING_TICKS):
        await anyio.lowlevel.checkpoint()


async def _decode(http: web.BaseRequest) -> Request:
    return Request(
        method=http.method,
        path=http.path.rstrip("/") or "/",
        query=tuple(http.query.items()),
        raw=await http.read(),
        headers={name.lower(): value for name, value in http.headers.items()},
    )


def _executes(fault: AnswerRule) -> bool:
    if isinstance(fault, ErrorAnswer | ForeignBody | RateLimit | Unavailable | OtherMachine):
        return fault.executed
    return fault.executes


def _instead(fault: AnswerRule | None, dialect: Dialect) -> Answer | None:
    match fault:
        case ErrorAnswer(body=str() as text):
            return Answer(fault.status, text.encode(), content_type="text/plain")
        case ErrorAnswer(body=dict() as table):
            return Answer(fault.status, msgspec.json.encode(table))
        case ErrorAnswer():
            return dialect.failure(fault.status, fault.message)
        case Unauthorized():
            return dialect.wrong_key()
        case RateLimit():
            return _retry_after(dialect.failure(429, "Too Many Requests"), fault.retry_after)
        case Unavailable():
            return _retry_after(dialect.failure(503, "Service Unavailable"), fault.retry_after)
        case ForeignBody():
            return Answer(fault.status, fault.body.encode(), content_type="text/html")
        case _:
            return None


def _retry_after(answer: Answer, seconds: float | None) -> Answer:
    return answer if seconds is None else replace(answer, headers={"Retry-After": f"{seconds:g}"})
