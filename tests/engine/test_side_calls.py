"""How long a pass waits for its calls: as long as they move, and never for one that hangs."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from fleetd.engine.gate import Gate, Objection
from fleetd.engine.pace import Pace
from fleetd.engine.side_calls import LEFT_OVER, SideCalls
from fleetd.model.errors import StoreError
from fleetd.model.reasons import Reason, Verb
from tests.support.build import NOW, fleet
from tests.support.rig import settings
from tests.support.virtual_time import run_virtual

PACE = Pace(acting=15, requests=100, looks=10, doubtful=2, quiet=2)
SLOW = Objection(Reason.FRESH_LOOK_DIFFERS, "looking and asking took more than 15 s")
P = pytest.param


@pytest.mark.parametrize(
    ("looking", "committed", "lasts", "took", "objection"),
    [
        P(False, False, 1000, 2, LEFT_OVER, id="nothing moves in the queue"),
        P(True, False, 1000, 15, SLOW, id="it looks, and asks its idle sources: that takes time"),
        P(True, True, 1000, 2, None, id="it is called, and hangs"),
        P(False, True, 1000, 2, None, id="a create is, and hangs"),
        P(True, True, 1, 1, None, id="done"),
        P(True, False, 7, 7, None, id="done before the pass's time is over"),
    ],
)
@pytest.mark.parametrize("attached", [True, False])
def test_a_pass_waits_as_long_as_something_moves(
    looking: bool, committed: bool, lasts: float, took: float, objection: Objection | None, attached: bool
) -> None:
    async def story() -> None:
        vetoes: Any = SimpleNamespace()
        clock: Any = SimpleNamespace(now=lambda: NOW)
        gate = Gate(vetoes, clock, in_force=lambda _name: None)
        beside = SideCalls(gate)
        seen: list[Objection | None] = []

        async def job() -> None:
            with gate.ticket(Verb.STOP, fleet(), "ps1", "a") as ticket:
                ticket.looking, ticket.committed = looking, committed
                with ticket.scope:
                    await anyio.sleep(lasts)
                seen.append(ticket.objection)

        async with anyio.create_task_group() as group:
            if attached:
                beside.attach(group)
            began = anyio.current_time()
            await beside.run([job], PACE)
            ended = anyio.current_time() - began
            assert ended == (took if attached or (seen and not committed) else max(took, lasts))
            await beside.drain()
            assert seen == [objection]

    run_virtual(story)


@pytest.mark.parametrize(
    ("steps", "took"),
    [
        P([(True, False), (True, True)], 15, id="one looks while another hangs: it is waited for"),
        P([(True, True), (True, False)], 15, id="in whatever order"),
        P([(False, False), (True, False)], 15, id="one looks while another is in the queue"),
        P([(True, True), (False, True)], 2, id="all of them hang"),
        P([(False, False), (True, True)], 2, id="none looks"),
    ],
)
def test_a_pass_waits_while_one_of_its_calls_looks(steps: list[tuple[bool, bool]], took: float) -> None:
    async def story() -> None:
        nothing: Any = SimpleNamespace(now=lambda: NOW)
        gate = Gate(nothing, nothing, in_force=lambda _name: None)
        beside = SideCalls(gate)

        async def one(looking: bool, committed: bool) -> None:
            with gate.ticket(Verb.STOP, fleet(), "ps1", "a") as ticket:
                ticket.looking, ticket.committed = looking, committed
                with ticket.scope:
                    await anyio.sleep(1000)

        async with anyio.create_task_group() as group:
            beside.attach(group)
            began = anyio.current_time()
            await beside.run([partial(one, *step) for step in steps], PACE)
            assert anyio.current_time() - began == took
            await beside.drain()

    run_virtual(story)


@pytest.mark.parametrize(
    ("error", "lasts", "told"),
    [
        P(ValueError("x"), 1, "raised", id="while it is waited for"),
        P(ValueError("x"), 9, "a fault", id="of one that was left"),
        P(StoreError("full"), 9, "logged", id="the journal's"),
    ],
)
def test_what_a_call_raises_reaches_the_pass_or_is_noted(error: Exception, lasts: float, told: str) -> None:
    async def story() -> None:
        nothing: Any = SimpleNamespace(now=lambda: NOW)
        gate = Gate(nothing, nothing, in_force=lambda _name: None)
        faults: list[tuple[str, BaseException]] = []
        beside = SideCalls(gate, lambda where, fault: faults.append((where, fault)))

        async def job() -> None:
            with gate.ticket(Verb.STOP, fleet(), "ps1", "a") as ticket:
                ticket.committed = True
                await anyio.sleep(lasts)
                raise error

        async with anyio.create_task_group() as group:
            beside.attach(group)
            if told == "raised":
                with pytest.raises(ExceptionGroup) as raised:
                    await beside.run([job], PACE)
                assert raised.value.exceptions == (error,)
            else:
                await beside.run([job], PACE)
            await beside.drain()
        assert faults == ([("call", error)] if told == "a fault" else [])

    run_virtual(story)


@pytest.mark.parametrize("concurrency", [1, 2, 3, 4, 10, 50])
@pytest.mark.parametrize("rate", [0.2, 1.0, 10.0, 1000.0])
@pytest.mark.parametrize("interval", [1, 10, 60, 3600])
def test_a_pass_leaves_room_for_what_comes_after_it(concurrency: int, rate: float, interval: int) -> None:
    base = settings(fleet(), interval=interval)
    pace = Pace.of(
        replace(base, provider=replace(base.provider, max_requests_per_second=rate, max_concurrency=concurrency))
    )
    assert pace.requests <= max(2, rate * pace.acting), "no more than the rate lets through while it acts"
    assert pace.acting < interval or interval <= 15
    assert pace.looks <= max(2, rate * interval / 2)
    assert pace.doubtful >= 1
    assert pace.doubtful * 2 + 2 <= max(4, concurrency), "creates that hang leave as many slots, and two for looks"
    assert pace.quiet <= pace.acting
    assert pace.quiet >= min(pace.acting, 1.0, 4 / rate), "at a slow rate, a look and a call are no standstill"
    if rate <= 1.0:
        assert pace.quiet >= min(pace.acting, 4 / rate)
