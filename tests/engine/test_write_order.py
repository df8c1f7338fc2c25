"""The order of a write: what is acknowledged before it leaves stops it, and nothing waits for a queue to hear so.

Everything is read from the provider's own call log.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import anyio
import pytest

from fleetd.cloud.rate import Admission
from fleetd.engine.handle import EngineHandle
from fleetd.model.errors import OrderDeclined
from fleetd.model.fleet import Guards, Limit
from fleetd.model.journal import VetoOrder
from fleetd.model.reasons import Verb
from tests.support.build import fleet, token_name
from tests.support.rig import Rig, rig
from tests.support.virtual_time import run_virtual

ALL = Guards(max_stops_per_pass=Limit(percent=100), max_destroys_per_pass=100, max_creates_per_pass=100)


def handle_of(world: Rig) -> EngineHandle:
    return EngineHandle(world.daemon, world.reconciler._idleness.leases, world.clock)


def operations(world: Rig) -> list[str]:
    return [c.operation for c in world.cloud.calls]


async def until(so: Callable[[], bool]) -> None:
    while not so():  # noqa: ASYNC110 - of virtual time; nobody tells when it is so
        await anyio.sleep(0.005)


def order(kind: str, subject: str | None, verbs: frozenset[Verb] = frozenset(Verb)) -> VetoOrder:
    return VetoOrder(kind, subject, verbs, "incident", timedelta(hours=1))


@asynccontextmanager
async def full_queue(count: int, *, per_second: float, width: int = 10) -> AsyncIterator[Rig]:
    """A daemon that has just begun to stop ``count`` machines."""
    async with rig(fleet(target=count, guards=ALL)) as world:
        for n in range(1, count + 1):
            world.cloud.add(token_name(n), machine_type="P4000")
        async with world.daemon_running() as daemon:
            await anyio.sleep(100)
            world.cloud.admission = Admission(per_second, width)
            world.configure(fleet(target=0, guards=ALL))
            daemon.wake()
            await until(lambda: "stop" in operations(world))
            yield world


async def freeze(world: Rig) -> None:
    await handle_of(world).veto(order("freeze", None), "ada")


async def freeze_the_fleet(world: Rig) -> None:
    await handle_of(world).veto(order("freeze", "training"), "ada")


async def freeze_stops(world: Rig) -> None:
    await handle_of(world).veto(order("freeze", None, frozenset({Verb.STOP})), "ada")


async def hold_each(world: Rig) -> None:
    for n in range(1, 31):
        await handle_of(world).veto(order("hold", f"ps{n}"), "ada")


async def lease_each(world: Rig) -> None:
    for n in range(1, 31):
        try:
            await handle_of(world).lease(f"ps{n}", "jobs", timedelta(hours=1), "ada")
        except OrderDeclined:
            assert f"stop ps{n}" in world.cloud.writes(), "declined, and yet it has not left"


async def release_the_fleet(world: Rig) -> None:
    world.configure(fleet("other", target=0))


async def sigterm(world: Rig) -> None:
    world.daemon.stop()


@pytest.mark.parametrize("per_second", [4.0, 10.0])
@pytest.mark.parametrize(
    "forbid", [freeze, freeze_the_fleet, freeze_stops, hold_each, lease_each, release_the_fleet, sigterm]
)
def test_what_is_acknowledged_stops_whatever_has_not_left(
    forbid: Callable[[Rig], Awaitable[None]], per_second: float
) -> None:
    """30 stops in the queue: it returns within a second, and no call leaves afterwards."""

    async def story() -> None:
        async with full_queue(30, per_second=per_second) as world:
            began = anyio.current_time()
            await forbid(world)
            assert anyio.current_time() - began < 1.0
            left = len(world.cloud.writes())
            assert left < 15, "the queue was full"
            await anyio.sleep(60)
            late = len(world.cloud.writes()) - left
            # What had left the process arrives within the network's 10 ms; nothing after that.
            acknowledged = world.clock.now() - timedelta(seconds=60)
            assert late <= 1
            assert all(
                (c.at - acknowledged).total_seconds() <= world.cloud.latency + 0.001
                for c in world.cloud.calls
                if c.operation == "stop"
            )
            if forbid is not sigterm:
                world.daemon.stop()

    run_virtual(story)


def test_the_process_is_out_soon_after_sigterm_with_a_full_queue() -> None:
    async def story() -> None:
        async with rig(fleet(target=30, guards=ALL)) as world:
            for n in range(1, 31):
                world.cloud.add(token_name(n), machine_type="P4000")
            async with anyio.create_task_group() as group:
                group.start_soon(world.daemon.run)
                await anyio.sleep(100)
                world.cloud.admission = Admission(0.5, 10)
                world.configure(fleet(target=0, guards=ALL))
                world.daemon.wake()
                await anyio.sleep(10)
                world.daemon.stop()
                asked = anyio.current_time()
            assert anyio.current_time() - asked < 2.0

    run_virtual(story)


def test_forty_leases_before_forty_stops() -> None:
    """40 stops at 10 requests a second, a lease on each before the first call: none is stopped."""

    async def story() -> None:
        async with rig(fleet(target=40, guards=ALL)) as world:
            for n in range(1, 41):
                world.cloud.add(token_name(n), machine_type="P4000")
            async with world.daemon_running() as daemon:
                await anyio.sleep(100)
                world.cloud.admission = Admission(10, 10)
                world.configure(fleet(target=0, guards=ALL))
                listings = operations(world).count("list")
                daemon.wake()
                await until(lambda: operations(world).count("list") > listings)
                assert world.cloud.writes() == []
                for n in range(1, 41):
                    await handle_of(world).lease(f"ps{n}", "jobs", timedelta(minutes=10), "ada")
                await anyio.sleep(300)
                assert world.cloud.writes() == []

    run_virtual(story)


@pytest.mark.parametrize("answer", ["waits", "lost", "here"])
def test_a_lease_on_a_machine_whose_stop_has_left_is_declined(answer: str) -> None:
    async def story() -> None:
        async with rig(fleet(target=1)) as world:
            world.cloud.add(token_name(1), machine_type="P4000")
            async with world.daemon_running() as daemon:
                await anyio.sleep(100)
                world.cloud.latency = 3.0 if answer == "waits" else 0.01
                world.configure(fleet(target=0))
                daemon.wake()
                await until(lambda: world.reconciler.executor.gate.departed("ps1") is not None)
                if answer != "waits":
                    await anyio.sleep(1)
                with pytest.raises(OrderDeclined, match="its stop is on the way"):
                    await handle_of(world).lease("ps1", "jobs", timedelta(minutes=10), "ada")
                await anyio.sleep(10)
                assert world.cloud.writes() == ["stop ps1"]

    run_virtual(story)


@pytest.mark.parametrize("per_second", [0.5, 1.0, 4.0, 10.0])
def test_the_look_is_fresh_whatever_the_queue(per_second: float) -> None:
    async def story() -> None:
        async with full_queue(12, per_second=per_second) as world:
            await anyio.sleep(120)
            looks: dict[str | None, object] = {}
            stops = 0
            for call in world.cloud.calls:
                if call.operation == "show":
                    looks[call.machine] = call.at
                elif call.operation == "stop":
                    stops += 1
                    assert (call.at - looks[call.machine]).total_seconds() < 2.0
            assert stops == 12

    run_virtual(story)
