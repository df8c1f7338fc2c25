"""Who goes first, and what a place in the queue is good for."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
import pytest

from fleetd.cloud.calls import Call, Effect, HttpLimits, KeyHeader
from fleetd.cloud.core.errors import classify
from fleetd.cloud.http import HttpClient
from fleetd.cloud.rate import FIRST, Admission
from fleetd.model.errors import Withheld
from tests.support.scripted_server import answer, scripted
from tests.support.virtual_time import virtual

LIST = Call("list", "GET", "/list")
SHOW = Call("show", "GET", "/show", names_machine=True)
STOP = Call("stop", "POST", "/stop", Effect.REPEATABLE, body={}, names_machine=True)
FINE = answer(200, [])


def free() -> None:
    """Holds nothing back."""


@asynccontextmanager
async def client(url, *, rate=1.0, width=10):
    limits = HttpLimits(max_requests_per_second=rate, max_concurrency=width)
    made = HttpClient(url, KeyHeader("x-api-key", lambda: "k3y"), classify, rng=random.Random(3), limits=limits)
    try:
        yield made
    finally:
        await made.aclose()


async def together(*calls: Callable[[], Awaitable[object]]) -> None:
    """One after the other into the queue, within the same instant."""
    async with anyio.create_task_group() as group:
        for call in calls:
            group.start_soon(call)
            await anyio.lowlevel.checkpoint()


def paths(server):
    return [heard.path for heard in server.requests]


@pytest.mark.parametrize("width", [1, 2, 10])
@pytest.mark.parametrize("rate", [0.5, 1.0, 4.0])
@virtual
async def test_look_and_write_go_together_at_any_rate_and_width(rate, width):
    """A place pays for both beforehand: between them nobody waits for the rate, and with one slot nobody for ever."""
    async with scripted(FINE, latency=0.1) as server, client(server.url, rate=rate, width=width) as made:

        async def stop() -> None:
            async with made.place(2, leave=free) as place:
                await place.send(SHOW)
                await place.send(STOP)

        began = anyio.current_time()
        await together(*[stop] * 8)
        took = anyio.current_time() - began
    looks = [heard.at for heard in server.requests if heard.path == "/show"]
    writes = [heard.at for heard in server.requests if heard.path == "/stop"]
    assert len(looks) == len(writes) == 8
    assert max(write - look for look, write in zip(looks, writes, strict=True)) < 0.5
    assert took >= (16 - max(1, rate)) / rate - 2 / rate


@virtual
async def test_listings_go_first_then_writes_then_looks():
    async with scripted(FINE) as server, client(server.url) as made:

        async def stop() -> None:
            async with made.place(1, leave=free) as place:
                await place.send(STOP)

        await made.send(SHOW)  # takes what there is at first
        await together(*[lambda: made.send(SHOW)] * 2, *[stop] * 2, lambda: made.send(LIST))
    assert paths(server)[1:] == ["/list", "/stop", "/stop", "/show", "/show"]


@virtual
async def test_looks_do_not_wait_for_ever_behind_writes():
    async with scripted(FINE) as server, client(server.url) as made:

        async def stop() -> None:
            async with made.place(1, leave=free) as place:
                await place.send(STOP)

        async with anyio.create_task_group() as group:
            group.start_soon(made.send, SHOW)
            group.start_soon(made.send, SHOW)
            for _ in range(30):
                group.start_soon(stop)
                await anyio.sleep(0.5)
    assert "/show" in paths(server)[1:8]


@virtual
async def test_fleets_go_side_by_side():
    """A fleet's fourth write does not wait for another's thirtieth."""
    went: list[str] = []
    admission = Admission(1.0, 10)

    async def write(fleet: str, behind: int) -> None:
        async with admission.place(due=anyio.current_time() + behind * 0.25) as place:
            await admission.pay(place)
            went.append(fleet)

    async with anyio.create_task_group() as group:
        for number in range(30):
            group.start_soon(write, "big", number)
        await anyio.lowlevel.checkpoint()
        for number in range(4):
            group.start_soon(write, "small", number)
    assert went.index("small") <= 2
    assert [n for n, fleet in enumerate(went) if fleet == "small"][-1] <= 9


@pytest.mark.parametrize(("width", "free_for_others"), [(10, 2), (3, 2), (2, 1)])
@virtual
async def test_creates_that_hang_leave_room_for_others(width, free_for_others):
    admission = Admission(1000.0, width)

    async def hang() -> None:
        async with admission.place(due=0.0, create=True):
            await anyio.sleep(3600)

    async def use() -> None:
        async with admission.place(due=9.0):
            used.append(anyio.current_time())
            await anyio.sleep(100)

    used: list[float] = []
    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(hang)
        await anyio.sleep(1)
        for _ in range(20):
            group.start_soon(use)
        await anyio.sleep(50)
        assert len(used) == free_for_others
        group.cancel_scope.cancel()


@virtual
async def test_a_request_more_than_was_paid_for_waits_for_the_rate_and_for_no_slot():
    """Who has the only one is not to wait for himself."""
    admission = Admission(1.0, 1)
    async with admission.place(1, due=0.0) as place:
        began = anyio.current_time()
        for _ in range(3):
            await admission.pay(place)
    assert anyio.current_time() - began == pytest.approx(2.0, abs=0.01)


@virtual
async def test_what_was_not_used_goes_back():
    admission = Admission(1.0, 1)
    for _ in range(5):
        async with admission.place(2, due=FIRST):
            pass
    assert anyio.current_time() < 2.0


@virtual
async def test_one_that_gives_up_holds_nobody_up():
    admission = Admission(1.0, 1)
    async with admission.place(due=0.0):
        with anyio.move_on_after(5) as limit:
            async with admission.place(due=FIRST):
                pytest.fail("there is one slot")
    assert limit.cancelled_caught
    with anyio.fail_after(2):
        async with admission.place(due=9.0):
            pass


@virtual
async def test_who_comes_after_one_that_gives_up_has_its_turn():
    """Behind the first nobody knows when it will be his turn: he waits to be told."""
    admission = Admission(1.0, 10)
    went: list[str] = []

    async def first() -> None:
        with anyio.move_on_after(0.1):
            async with admission.place(2, due=0.0):
                pytest.fail("two requests have not come in yet")

    async def second() -> None:
        async with admission.place(1, due=9.0):
            went.append("second")

    async with admission.place(1, due=FIRST) as place:
        await admission.pay(place)
        with anyio.fail_after(5):
            await together(first, second)
    assert went == ["second"]


@virtual
async def test_a_write_that_may_not_leave_does_not():
    """Asked at the last moment, with the connection there: nothing reaches the provider."""

    def withheld() -> None:
        asked.append(anyio.current_time())
        raise Withheld("frozen")

    asked: list[float] = []
    async with scripted(FINE) as server, client(server.url, rate=10.0) as made:
        async with made.place(2, leave=withheld) as place:
            await place.send(SHOW)
            assert asked == []
            with pytest.raises(Withheld, match="frozen"):
                await place.send(STOP)
        await anyio.sleep(1)
    assert len(asked) == 1
    assert paths(server) == ["/show"]
