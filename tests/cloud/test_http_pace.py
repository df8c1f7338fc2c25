"""How often, how many at once, how long, and when again."""

from __future__ import annotations

import random
from contextlib import asynccontextmanager
from datetime import datetime
from itertools import pairwise

import anyio
import pytest

from fleetd.cloud.calls import Call, Effect, HttpLimits, KeyHeader
from fleetd.cloud.core.errors import classify
from fleetd.cloud.http import HttpClient
from fleetd.cloud.retry import RetryPolicy
from fleetd.model.errors import Ambiguous, CloudError, RateLimited, Unavailable
from tests.support.scripted_server import HANG, RESET, answer, scripted
from tests.support.virtual_time import virtual

LIST = Call("list", "GET", "/machines/getMachines")
STOP = Call("stop", "POST", "/machines/ps1/stop", Effect.REPEATABLE, body={}, names_machine=True, repeat_write=True)
FINE = answer(200, [])
DOWN = answer(503)
BUSY = answer(429, headers={"Retry-After": "4"})


@asynccontextmanager
async def client(url, *, rate=1000.0, width=10, timeout=30.0, retries=None, seed=3, **more):
    limits = HttpLimits(max_requests_per_second=rate, max_concurrency=width, request_timeout=timeout, **more)
    made = HttpClient(
        url, KeyHeader("x-api-key", lambda: "k3y"), classify, rng=random.Random(seed), limits=limits, retries=retries
    )
    try:
        yield made
    finally:
        await made.aclose()


def gaps(server):
    times = [heard.at for heard in server.requests]
    return [round(b - a, 3) for a, b in pairwise(times)]


@virtual
async def test_a_read_is_made_again_with_growing_jittered_waits():
    async with scripted(DOWN, RESET, DOWN, FINE) as server, client(server.url) as made:
        await made.send(LIST)
    first, second, third = gaps(server)
    assert 0.25 <= first <= 0.5
    assert 0.5 <= second <= 1.0
    assert 1.0 <= third <= 2.0


@virtual
async def test_jitter_comes_from_the_seed():
    waits = []
    for seed in (1, 1, 2):
        async with scripted(DOWN, FINE) as server, client(server.url, seed=seed) as made:
            await made.send(LIST)
        waits += gaps(server)
    assert waits[0] == waits[1] != waits[2]


@virtual
async def test_retry_after_is_waited_for():
    async with scripted(BUSY, FINE) as server, client(server.url) as made:
        await made.send(LIST)
    assert 4.0 <= gaps(server)[0] <= 4.5


@virtual
async def test_a_retry_after_date_is_read_against_the_answers_own_clock():
    headers = {"Date": "Tue, 05 Mar 2030 10:00:00 GMT", "Retry-After": "Tue, 05 Mar 2030 10:00:09 GMT"}
    async with scripted(answer(503, headers=headers), FINE) as server, client(server.url) as made:
        await made.send(LIST)
    assert 9.0 <= gaps(server)[0] <= 9.5


@virtual
async def test_a_retry_after_beyond_the_calls_time_is_handed_on_at_once():
    async with scripted(answer(429, headers={"Retry-After": "120"})) as server, client(server.url) as made:
        began = anyio.current_time()
        with pytest.raises(RateLimited) as caught:
            await made.send(LIST)
    assert caught.value.retry_after == 120.0
    assert anyio.current_time() - began < 1.0
    assert len(server.requests) == 1


@virtual
async def test_attempts_are_bounded():
    async with scripted(DOWN) as server, client(server.url, retries=RetryPolicy(attempts=3)) as made:
        with pytest.raises(Unavailable):
            await made.send(LIST)
    assert len(server.requests) == 3


@pytest.mark.parametrize("said", [HANG, BUSY, DOWN], ids=["hangs", "busy", "down"])
@virtual
async def test_the_request_timeout_bounds_the_whole_call(said):
    async with scripted(said) as server, client(server.url, timeout=10.0, retries=RetryPolicy(attempts=99)) as made:
        began = anyio.current_time()
        with pytest.raises(CloudError):
            await made.send(LIST)
        assert anyio.current_time() - began <= 10.1


@virtual
async def test_queueing_does_not_use_up_a_calls_time():
    async with (
        scripted(FINE, latency=2.0) as server,
        client(server.url, width=1, timeout=3.0) as made,
        anyio.create_task_group() as group,
    ):
        for _ in range(5):
            group.start_soon(made.send, LIST)
    assert len(server.requests) == 5


@virtual
async def test_no_more_requests_at_once_than_allowed():
    async with (
        scripted(FINE, latency=1.0) as server,
        client(server.url, width=3) as made,
        anyio.create_task_group() as group,
    ):
        for _ in range(10):
            group.start_soon(made.send, LIST)
    assert server.most_at_once == 3


@pytest.mark.parametrize(("rate", "burst"), [(10.0, 10), (3.0, 3), (0.5, 1), (97.3, 97)])
@virtual
async def test_requests_keep_to_the_rate_after_a_burst(rate, burst):
    count = burst + 20
    async with scripted(FINE) as server, client(server.url, rate=rate, width=50) as made:
        began = anyio.current_time()
        async with anyio.create_task_group() as group:
            for _ in range(count):
                group.start_soon(made.send, LIST)
        took = anyio.current_time() - began
    assert len(server.requests) == count
    assert 20 / rate <= took <= 21.1 / rate
    # Never more in any second than a full bucket and what came in meanwhile.
    times = [heard.at for heard in server.requests]
    for start in times:
        assert sum(start <= t < start + 1.0 for t in times) <= burst + rate + 1


@virtual
async def test_a_write_that_is_made_again_until_it_succeeds_has_succeeded():
    async with scripted(RESET, DOWN, b"HTTP/1.1 204 No Content\r\n\r\n") as server, client(server.url) as made:
        assert (await made.send(STOP)).status == 204
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    "then",
    [
        answer(404, {"error": {"status": 404, "message": "Machine not found"}}),
        answer(400, {"error": {"status": 400, "message": "Machine is stopping"}}),
        answer(401),
    ],
    ids=["not found", "refused", "unauthorized"],
)
@virtual
async def test_after_a_lost_answer_only_a_success_tells_what_happened(then):
    async with scripted(RESET, then, FINE) as server, client(server.url) as made:
        with pytest.raises(Ambiguous, match="then: "):
            await made.send(STOP)
    assert len(server.requests) == 2


@virtual
async def test_after_a_lost_answer_a_provider_out_of_reach_does_not_undo_it():
    async with scripted(RESET, answer(429), answer(429), answer(429)) as server, client(server.url) as made:
        with pytest.raises(Ambiguous):
            await made.send(STOP)


@virtual
async def test_cancelling_frees_the_place_in_the_queue():
    async with scripted(HANG, FINE) as server, client(server.url, width=1) as made:
        with anyio.move_on_after(1.0):
            await made.send(LIST)
        with anyio.fail_after(1.0):
            await made.send(LIST)
    assert len(server.requests) == 2


@virtual
async def test_the_date_of_every_answer_is_told_and_an_odd_one_is_not():
    told: list[datetime] = []
    dates = ["Tue, 05 Mar 2030 10:00:00 GMT", "soon", "Tue, 05 Mar 9999 10:00:00 GMT"]
    dates.append("Tue, 05 Mar 2030 10:00:07 GMT")
    script = [answer(200, [], headers={"Date": date}) for date in dates[:3]]
    script.append(answer(404, {"message": "no"}, headers={"Date": dates[3]}))
    async with scripted(*script) as server, client(server.url, on_date=told.append) as made:
        for _ in dates[:3]:
            await made.send(LIST)
        with pytest.raises(CloudError):
            await made.send(LIST)
    assert [at.isoformat() for at in told] == ["2030-03-05T10:00:00+00:00", "2030-03-05T10:00:07+00:00"]
