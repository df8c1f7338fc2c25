"""Fleets act side by side: what one of them does, or waits for, delays no other."""

from __future__ import annotations

from itertools import pairwise

import anyio
import pytest

from fleetd.cloud.rate import Admission
from fleetd.engine.side_calls import SideCalls
from fleetd.model.errors import Ambiguous, RateLimited
from fleetd.model.fleet import Guards, Limit
from tests.support.build import fleet, token_name
from tests.support.rig import Rig, rig
from tests.support.virtual_time import run_virtual

ALL = Guards(max_stops_per_pass=Limit(percent=100), max_creates_per_pass=100)


def creates(world: Rig, name: str) -> list[float]:
    """When creates of a fleet arrived, in seconds since the first call."""
    first = world.cloud.calls[0].at
    return [
        (c.at - first).total_seconds()
        for c in world.cloud.calls
        if c.operation == "create" and str(c.detail[0]).startswith(f"{name}-")  # type: ignore[index]
    ]


def up(world: Rig, name: str) -> int:
    return sum(state == "ready" for machine, state in world.cloud.states().items() if machine.startswith(f"{name}-"))


def hang(world: Rig, *, lost: bool) -> None:
    """Creates of fleets called bad are not answered for longer than the request timeout; others work."""
    late: list[object] = []

    def hangs(operation: str, detail: object) -> float:
        bad = operation == "create" and str(detail[0]).startswith("bad")  # type: ignore[index]
        late[:] = [bad]
        return 30.0 if bad else 0.0

    world.cloud.hangs = hangs
    if lost:
        create = world.cloud.create

        async def answered_never(name: str, parameters: dict[str, object]) -> object:
            made = await create(name, parameters)
            if name.startswith("bad"):
                world.cloud.remove(made.id)
                raise Ambiguous("no answer within 30 s", operation="create")
            return made

        world.cloud.create = answered_never  # type: ignore[method-assign, assignment]


@pytest.mark.parametrize("bad", [2, 12])
@pytest.mark.parametrize("lost", [True, False])
def test_creates_that_hang_delay_no_other_fleet(bad: int, lost: bool) -> None:
    """The sick ones stand first in the file, and hang in every pass."""

    async def story() -> None:
        fleets = [*(fleet(f"bad{n}", target=2) for n in range(bad)), fleet("good", target=6, guards=ALL)]
        async with rig(*fleets) as world:
            world.cloud.admission = Admission(10, 10)
            hang(world, lost=lost)
            async with world.daemon_running():
                await anyio.sleep(75)
                assert len(creates(world, "good")) == 6
                assert max(creates(world, "good")) < 60
                # And so it stays, while they go on hanging: what is missing is replaced within two intervals.
                await anyio.sleep(300)
                for n in (1, 2):
                    victim = next(m for m in world.cloud._machines.values() if m.name.startswith("good"))
                    world.cloud.remove(victim.id)
                    before = len(creates(world, "good"))
                    await anyio.sleep(75)
                    assert len(creates(world, "good")) == before + 1, n

    run_virtual(story)


def test_passes_keep_their_interval_while_calls_hang() -> None:
    async def story() -> None:
        async with rig(fleet("bad", target=1), fleet("good", target=1)) as world:
            hang(world, lost=True)
            world.cloud.hangs = lambda operation, detail: (
                1000.0 if operation == "create" and str(detail[0]).startswith("bad") else 0.0  # type: ignore[index]
            )
            async with world.daemon_running():
                await anyio.sleep(600)
                lists = [c.at for c in world.cloud.calls if c.operation == "list"]
                gaps = [(b - a).total_seconds() for a, b in pairwise(lists)]
                assert max(gaps) < 45
                assert len(creates(world, "bad")) == 1, "one that has not been answered is not made again"

    run_virtual(story)


def test_a_create_that_shows_before_it_is_answered_is_one_machine() -> None:
    async def story() -> None:
        async with rig(fleet(target=1)) as world:
            create = world.cloud.create

            async def answered_late(name: str, parameters: dict[str, object]) -> object:
                made = await create(name, parameters)
                await anyio.sleep(200)
                return made

            world.cloud.create = answered_late  # type: ignore[method-assign, assignment]
            async with world.daemon_running():
                await anyio.sleep(900)
                assert world.cloud.writes() == ["create"]
                assert world.daemon.reconciler.last is not None
                assert world.daemon.reconciler.last.converged
                endings = [row for row in await world.history() if row.startswith("create")]
                assert len(endings) == 1
                assert endings[0].endswith("reached")
                assert ("action", "training", "create", "reached") in world.meter.said

    run_virtual(story)


def test_sigterm_while_calls_hang_is_over_in_time_and_loses_nothing() -> None:
    async def story() -> None:
        async with rig(fleet("bad", target=1), fleet("good", target=1)) as world:
            world.cloud.hangs = lambda operation, _detail: 1000.0 if operation == "create" else 0.0
            async with anyio.create_task_group() as group:
                group.start_soon(world.daemon.run)
                await anyio.sleep(40)
                world.daemon.stop()
                asked = anyio.current_time()
            assert anyio.current_time() - asked <= 30
            intents = await world.journal.open_intents()
            assert sorted(i.fleet for i in intents) == ["bad", "good"], "the next process looks for them"

    run_virtual(story)


@pytest.mark.long
def test_four_machines_beside_a_thousand_transitions() -> None:
    """At 10 requests a second, in two intervals and the vendor's own time."""

    async def story() -> None:
        big, small = fleet("big", target=1000, guards=ALL), fleet("small", target=4, guards=ALL)
        async with rig(big, fleet("small", target=0)) as world:
            for n in range(1, 1001):
                world.cloud.add(token_name(n, "big"), machine_type="P4000")
            async with world.daemon_running() as daemon:
                await anyio.sleep(100)
                world.cloud.admission = Admission(10, 10)
                world.configure(fleet("big", target=0, guards=ALL), fleet("small", target=0))
                daemon.wake()
                await anyio.sleep(60)
                world.configure(fleet("big", target=0, guards=ALL), small)
                began = anyio.current_time()
                while up(world, "small") < 4:
                    await anyio.sleep(1)
                    assert anyio.current_time() - began < 2 * 30 + world.cloud.takes
                stops = sum(w.startswith("stop") for w in world.cloud.writes())
                assert stops > 200, "and the big one goes on meanwhile"
                while up(world, "big"):  # noqa: ASYNC110 - of virtual time
                    await anyio.sleep(10)
                assert anyio.current_time() - began < 600

    run_virtual(story)


@pytest.mark.long
def test_verdicts_come_in_time_beside_a_thousand_transitions() -> None:
    async def story() -> None:
        async with rig(fleet("big", target=600, guards=ALL)) as world:
            for n in range(1, 601):
                world.cloud.add(token_name(n, "big"), machine_type="P4000")
            async with world.daemon_running() as daemon:
                await anyio.sleep(100)
                world.cloud.admission = Admission(10, 10)
                world.configure(fleet("big", target=0, guards=ALL))
                daemon.wake()
                await anyio.sleep(600)
                outcomes = {row.rpartition(" ")[2] for row in await world.history() if row.startswith("stop")}
                assert outcomes == {"reached"}

    run_virtual(story)


@pytest.mark.parametrize("fails", [False, True])
def test_the_guard_on_creates_is_a_slow_start_and_no_speed_limit(fails: bool) -> None:
    async def story() -> None:
        async with rig(fleet(target=35)) as world:
            if fails:
                tenth: list[int] = []

                def after(operation: str, _machine: str | None) -> Exception | None:
                    tenth.extend([1] if operation == "create" else [])
                    return RateLimited("slow down", operation="create") if len(tenth) == 10 else None

                world.cloud.before = after
            async with world.daemon_running():
                await anyio.sleep(20)
                made = len(creates(world, "training"))
                assert made == (10 if fails else 35)

    run_virtual(story)


def test_one_listings_retry_after_keeps_passes_and_poller_away_for_five_minutes_at_most() -> None:
    async def story() -> None:
        async with rig(fleet(target=3)) as world, world.daemon_running():
            await anyio.sleep(20)  # three creates are followed
            refused = RateLimited("slow down", operation="list", retry_after=3600.0)
            world.cloud.before = lambda operation, _machine: refused if operation in {"list", "show"} else None
            await anyio.sleep(40)
            world.cloud.calls.clear()
            await anyio.sleep(200)
            assert world.cloud.calls == []
            await anyio.sleep(130)
            assert world.cloud.calls

    run_virtual(story)


def test_what_a_call_raises_after_its_pass_is_noted_and_ends_nothing() -> None:
    async def story() -> None:
        async with rig(fleet("bad", target=1), fleet("good", target=1), faults_wanted=True) as world:
            world.cloud.hangs = lambda operation, detail: (
                20.0 if operation == "create" and str(detail[0]).startswith("bad") else 0.0  # type: ignore[index]
            )

            def before(operation: str, _machine: str | None) -> Exception | None:
                late = operation == "create" and anyio.current_time() > 15
                return ValueError("a fault of ours") if late else None

            world.cloud.before = before
            async with world.daemon_running() as daemon:
                await anyio.sleep(100)
                assert isinstance(daemon.reconciler.executor.beside, SideCalls)
                assert daemon.faults.count >= 1
                assert up(world, "good") == 1

    run_virtual(story)
