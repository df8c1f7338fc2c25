from __future__ import annotations

import asyncio
import contextvars
import os
import random
import selectors
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import anyio
import anyio.to_thread
import pytest
from aiohttp import web

from tests.support import virtual_time
from tests.support.inline_executor import InlineExecutor
from tests.support.virtual_time import (
    START,
    Stuck,
    VirtualClock,
    outside_work,
    run_virtual,
    virtual,
    virtual_clock,
    virtual_loop,
)

DAY = 86_400


@pytest.fixture
def real_seconds() -> Iterator[None]:
    """Whatever happens in the test, little of it really takes time."""
    began = time.perf_counter()
    yield
    assert time.perf_counter() - began < 5


@asynccontextmanager
async def serving(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]):
    app = web.Application()
    app.router.add_get("/{tail:.*}", handler)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@virtual
async def test_a_day_passes_at_once(real_seconds):
    await anyio.sleep(DAY)
    assert anyio.current_time() == DAY
    assert virtual_clock().now() == START + timedelta(days=1)


@virtual
async def test_a_month_of_ticks_does_not_drift(real_seconds):
    for _ in range(30 * 24 * 60):
        await anyio.sleep(60)
    assert virtual_clock().now() == START + timedelta(days=30)


@virtual
async def test_timers_fire_in_order_of_time_then_of_making():
    order: list[str] = []

    async def wait(name: str, seconds: float) -> None:
        await anyio.sleep(seconds)
        order.append(name)

    async with anyio.create_task_group() as group:
        for name, seconds in [("c", 3), ("a", 1), ("b2", 2), ("b1", 2), ("d", 3.5)]:
            group.start_soon(wait, name, seconds)
    assert order == ["a", "b2", "b1", "c", "d"]


@virtual
async def test_deadlines_and_cancellation_keep_virtual_time():
    with pytest.raises(TimeoutError), anyio.fail_after(10):
        await anyio.sleep(3600)
    assert anyio.current_time() == 10
    with anyio.move_on_after(5) as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep, DAY)
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert anyio.current_time() == 15
    async with asyncio.timeout(100):
        await asyncio.sleep(99)
    assert anyio.current_time() == 114


@virtual
async def test_a_request_outlives_the_clients_patience(real_seconds):
    finished: list[float] = []

    async def handler(request: web.Request) -> web.Response:
        await anyio.sleep(3600)
        finished.append(anyio.current_time())
        return web.Response(text="late")

    async with serving(handler) as url:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
            with pytest.raises(TimeoutError):
                await session.get(url)
            assert anyio.current_time() == pytest.approx(10)
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=7200)) as session:
            async with session.get(url) as answer:
                assert await answer.text() == "late"
            assert anyio.current_time() == pytest.approx(3610)
    # The server goes on after the first client hung up, as aiohttp does by default.
    assert finished == [pytest.approx(3600), pytest.approx(3610)]


@virtual
async def test_a_large_body_takes_no_time():
    body = os.urandom(20_000_000)  # far beyond the socket buffers: many turns of both ends

    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=body)

    async with serving(handler) as url, aiohttp.ClientSession() as session, session.get(url) as answer:
        assert await answer.read() == body
    assert anyio.current_time() < 1


@virtual
async def test_a_pooled_connection_ages_in_virtual_time():
    peers: list[int] = []

    async def handler(request: web.Request) -> web.Response:
        peers.append(request.transport.get_extra_info("peername")[1])
        return web.Response()

    connector = aiohttp.TCPConnector(keepalive_timeout=15)
    async with serving(handler) as url, aiohttp.ClientSession(connector=connector) as session:
        for pause in (0, 10, 60):
            await anyio.sleep(pause)
            async with session.get(url):
                pass
    assert peers[0] == peers[1] != peers[2]


@virtual
async def test_localhost_needs_no_resolver_and_no_other_name_is_known():
    async def handler(request: web.Request) -> web.Response:
        return web.Response(text="here")

    async with serving(handler) as url, aiohttp.ClientSession() as session:
        answer = await session.get(url.replace("127.0.0.1", "localhost"))
        assert await answer.text() == "here"
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get("http://api.example.test/")
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("asyncio")]


async def converse(seed: int, log: list[str]) -> None:
    """50 clients and a server that all sleep at random, with failures, timeouts and cancellations among them."""
    draw = random.Random(seed)

    async def handler(request: web.Request) -> web.Response:
        log.append(f"{anyio.current_time():.6f} < {request.path}")
        await anyio.sleep(draw.choice([0, 0, 0.001, 1, 30, 7200]))
        if draw.random() < 0.1:
            request.transport.abort()
        log.append(f"{anyio.current_time():.6f} > {request.path}")
        return web.Response(body=b"x" * draw.randrange(100_000))

    async def client(number: int, session: aiohttp.ClientSession, url: str) -> None:
        for call in range(6):
            outcome = "cancelled"
            try:
                with anyio.move_on_after(draw.uniform(1, 9000)):
                    async with session.get(f"{url}/{number}/{call}") as answer:
                        outcome = str(len(await answer.read()))
            except (aiohttp.ClientError, TimeoutError) as error:
                outcome = type(error).__name__
            log.append(f"{anyio.current_time():.6f} {number}/{call} {outcome}")
            await anyio.sleep(draw.choice([0, 0.5, 1]))

    async def witness(number: int) -> None:
        try:
            with anyio.move_on_after(1_000_000):
                await anyio.sleep_forever()
        finally:
            log.append(f"{anyio.current_time():.6f} witness {number} ends")

    async def native() -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(20):
                group.create_task(witness(100 + number))
            await asyncio.sleep(5)
            raise LookupError

    timeout = aiohttp.ClientTimeout(total=600)
    with pytest.raises(ExceptionGroup):
        await native()
    async with (
        serving(handler) as url,
        aiohttp.ClientSession(timeout=timeout) as session,
        anyio.create_task_group() as witnesses,
    ):
        for number in range(20):
            witnesses.start_soon(witness, number)
        async with anyio.create_task_group() as group:
            for number in range(50):
                group.start_soon(client, number, session, url)
        witnesses.cancel_scope.cancel()


def conversation(seed: int) -> str:
    log: list[str] = []
    run_virtual(converse, seed, log)
    return "\n".join(log)


def test_the_same_seed_gives_the_same_order():
    first = conversation(7)
    assert first.count("\n") > 800
    assert all(conversation(7) == first for _ in range(3))
    assert conversation(8) != first


@pytest.mark.parametrize("hash_seed", ["0", "1", "4242"])
def test_the_order_depends_on_neither_process_nor_hash_seed(hash_seed):
    script = "from tests.support.test_virtual_time import conversation; print(conversation(7))"
    environ = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(Path.cwd())}
    other = subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=True)
    assert other.stdout.rstrip("\n") == conversation(7)


def test_the_order_holds_where_the_kernel_hands_packets_over_late(monkeypatch):
    calm = conversation(7)
    poll, sightings = selectors.EpollSelector.select, Counter()

    def late(self, timeout=None):
        """Whatever is there is seen at the fourth look only."""
        seen = poll(self, timeout)
        if timeout != 0:
            return seen
        fds = {key.fd for key, _ in seen}
        for fd in [fd for fd in sightings if fd not in fds]:
            del sightings[fd]
        sightings.update(fds)
        found = [(key, events) for key, events in seen if sightings[key.fd] > 3]
        for key, _ in found:
            del sightings[key.fd]
        return found

    monkeypatch.setattr(selectors.EpollSelector, "select", late)
    assert conversation(7) == calm


@virtual
async def test_what_is_ready_at_once_is_served_in_order_of_registration():
    loop, served = asyncio.get_running_loop(), []
    pairs = [socket.socketpair() for _ in range(10)]
    for number, (near, _) in enumerate(pairs):
        loop.add_reader(near, lambda number=number, near=near: served.append((number, near.recv(1))))
    for _, far in reversed(pairs):
        far.send(b"x")
    await anyio.sleep(1)
    assert served == [(number, b"x") for number in range(10)]
    for near, far in pairs:
        loop.remove_reader(near)
        near.close()
        far.close()


@virtual
async def test_time_stands_still_while_an_executor_works():
    loop = asyncio.get_running_loop()
    ticks: list[float] = []

    async def tick() -> None:
        while True:
            await anyio.sleep(1)
            ticks.append(loop.time())

    async with anyio.create_task_group() as group:
        group.start_soon(tick)
        await anyio.sleep(0.5)
        with ThreadPoolExecutor(1) as executor:
            await loop.run_in_executor(executor, time.sleep, 0.05)
        await loop.run_in_executor(None, time.sleep, 0.05)
        await anyio.to_thread.run_sync(time.sleep, 0.05)
        assert loop.time() == 0.5
        assert ticks == []
        await anyio.sleep(1)
        assert ticks == [1.0]
        group.cancel_scope.cancel()


@virtual
async def test_a_failing_job_does_not_stop_time_for_good():
    def fail() -> None:
        raise LookupError

    with pytest.raises(LookupError):
        await asyncio.get_running_loop().run_in_executor(InlineExecutor(), fail)
    dead = ThreadPoolExecutor(1)
    dead.shutdown()
    with pytest.raises(RuntimeError):
        await asyncio.get_running_loop().run_in_executor(dead, fail)
    await anyio.sleep(DAY)


@virtual
async def test_other_threads_wake_the_loop():
    loop, woken = asyncio.get_running_loop(), asyncio.Event()

    def call() -> None:
        time.sleep(0.05)
        loop.call_soon_threadsafe(woken.set)

    thread = threading.Thread(target=call)
    with outside_work():
        thread.start()
        await woken.wait()
    thread.join()
    assert loop.time() == 0


def test_a_deadlock_names_those_who_wait():
    async def philosopher() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(philosopher, name="kant")
            group.start_soon(philosopher, name="hume")

    with pytest.raises(Stuck, match=r"(?s)hume: .*philosopher \(test_virtual_time.py:\d+\).*kant: "):
        run_virtual(main)


def test_a_spinning_loop_is_caught(monkeypatch):
    monkeypatch.setattr(virtual_time, "STILLSTAND", 1000)

    async def main() -> None:
        while await asyncio.sleep(0, result=True):
            pass

    with pytest.raises(Stuck, match=r"clock still reads 0\.0"):
        run_virtual(main)


def test_work_outside_that_never_ends_is_caught(monkeypatch):
    monkeypatch.setattr(virtual_time, "PATIENCE", 0.05)

    async def main() -> None:
        with outside_work():
            await asyncio.Event().wait()

    with pytest.raises(Stuck, match="outside of the loop"):
        run_virtual(main)


def test_errors_and_results_come_through():
    async def double(number: int) -> int:
        await anyio.sleep(1)
        return 2 * number

    async def fail() -> None:
        raise LookupError

    assert run_virtual(double, 21) == 42
    with pytest.raises(LookupError):
        run_virtual(fail)


def test_the_wall_clock_starts_where_told_and_can_be_stepped():
    start = datetime(2026, 3, 29, 0, 59, 59, tzinfo=UTC)

    async def main() -> None:
        clock: VirtualClock = virtual_loop().clock
        assert clock.now() == start
        await anyio.sleep(1.5)
        assert clock.now() == start + timedelta(seconds=1.5)
        clock.step(-3600)
        assert clock.now() == start + timedelta(seconds=1.5, hours=-1)
        assert anyio.current_time() == 1.5

    run_virtual(main, start=start)


@pytest.fixture
def answer() -> int:
    return 42


@pytest.mark.parametrize("factor", [1, 2])
@virtual
async def test_virtual_tests_take_fixtures_and_parameters(answer, factor):
    assert isinstance(asyncio.get_running_loop(), virtual_time.VirtualTimeLoop)
    assert answer * factor in {42, 84}


@virtual
async def test_who_is_stopped_runs_on_where_it_was_and_finds_what_came_meanwhile() -> None:
    who: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="")
    said: list[tuple[float, str]] = []
    loop = virtual_loop()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            said.append((loop.time(), line.decode().strip()))
            writer.write(line)
        writer.close()

    async def tick() -> None:
        who.set("a")
        reader, writer = await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1])
        for n in range(4):
            writer.write(f"{n}\n".encode())
            assert await reader.readline() == f"{n}\n".encode()
            await asyncio.sleep(1)
        writer.close()

    def belongs(context: contextvars.Context) -> bool:
        return context.get(who) == "a"

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    began = loop.time()
    task = asyncio.create_task(tick())
    await asyncio.sleep(0.5)
    loop.stillness.begin(belongs)
    await asyncio.sleep(10)
    assert [line for _, line in said] == ["0"]
    loop.stillness.end(belongs)
    await task
    assert [(round(at - began, 3), line) for at, line in said] == [(0, "0"), (10.5, "1"), (11.5, "2"), (12.5, "3")]
    await asyncio.sleep(1)
    server.close()
    await server.wait_closed()
