"""One poller for all waiters: what a tick costs, and what it may conclude."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import anyio
import pytest
from anyio.abc import TaskGroup

from fleetd.engine.faults import Faults
from fleetd.engine.poller import Poller
from fleetd.model.errors import RateLimited, Unavailable
from fleetd.model.plan import Listing
from fleetd.model.reasons import Outcome, Reason, Verb
from fleetd.planner.transitions import Ending
from tests.support.build import intent as make_intent
from tests.support.fakecloud import FakeCloud
from tests.support.rig import RecordingMeter
from tests.support.virtual_time import virtual, virtual_clock

POLL = timedelta(seconds=5)
SETTLE = timedelta(seconds=90)


class Waiting:
    """A cloud, a running poller and the endings it has found, by machine."""

    def __init__(self, cloud: FakeCloud, poller: Poller) -> None:
        self.cloud = cloud
        self.poller = poller
        self.endings: dict[str, Ending] = {}
        self.group: TaskGroup

    async def follow(self, verb: Verb, machine_id: str, number: int, minutes: float) -> None:
        now = self.cloud.clock.now()
        intent = make_intent(
            verb,
            reason=Reason.OVER_TARGET,
            id=number,
            created_at=now,
            accepted_at=now,
            deadline_at=now + timedelta(minutes=minutes),
            expected_state="ready",
            baseline_event="",
        )
        intent = replace(intent, machine_id=machine_id)
        self.endings[machine_id] = await self.poller.wait_for(intent, settle=SETTLE)

    def reads(self) -> Counter[str]:
        return Counter(c.operation for c in self.cloud.calls if c.operation in {"list", "show"})


@asynccontextmanager
async def stopping(count: int, *, minutes: float = 10, **options: object) -> AsyncIterator[Waiting]:
    cloud = FakeCloud(virtual_clock(), **options)  # type: ignore[arg-type]
    poller = Poller(cloud, cloud.clock, Faults(cloud.clock, RecordingMeter()), poll=POLL)
    waiting = Waiting(cloud, poller)
    async with anyio.create_task_group() as group:
        waiting.group = group
        group.start_soon(poller.run)
        for number in range(1, count + 1):
            machine = cloud.add(f"machine-{number}")
            await cloud.stop(machine.id)
            group.start_soon(waiting.follow, Verb.STOP, machine.id, number, minutes)
        yield waiting
        group.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("waiters", "page_size", "shows", "lists"),
    [
        (1, 1000, 1, 0),
        (2, 1000, 0, 1),  # one page costs less than two looks
        (200, 1000, 0, 1),
    ],
)
def test_a_tick_takes_the_cheaper_way(waiters: int, page_size: int, shows: int, lists: int) -> None:
    @virtual
    async def check() -> None:
        async with stopping(waiters, page_size=page_size, takes=3600, minutes=120) as waiting:
            await anyio.sleep(60)
            waiting.cloud.calls.clear()
            await waiting.poller.tick()
            assert waiting.reads() == Counter({"show": shows, "list": lists}) + Counter()

    check()


@virtual
async def test_every_waiter_gets_its_verdict() -> None:
    async with stopping(30, takes=20) as waiting:
        await anyio.sleep(40)
        assert {e.outcome for e in waiting.endings.values()} == {Outcome.REACHED}
        assert len(waiting.endings) == 30


@virtual
async def test_a_deadline_ends_it_although_the_provider_says_nothing() -> None:
    async with stopping(3, takes=3600, minutes=2) as waiting:
        waiting.cloud.before = lambda _operation, _machine: Unavailable("down")
        await anyio.sleep(119)
        assert waiting.endings == {}
        await anyio.sleep(2)
        assert {e.outcome for e in waiting.endings.values()} == {Outcome.TIMED_OUT}


@pytest.mark.parametrize("waiters", [1, 5])
@pytest.mark.parametrize(
    ("listing", "concluded"),
    [
        (lambda whole: whole, True),
        (lambda whole: Listing(whole.machines[1:], complete=False), False),
    ],
    ids=["whole", "partial"],
)
def test_gone_needs_a_whole_listing_that_lacks_it(
    waiters: int, listing: Callable[[Listing], Listing], concluded: bool
) -> None:
    """Show does not find it, and the listing that would agree is not whole: that is no proof."""

    @virtual
    async def check() -> None:
        async with stopping(waiters, takes=3600, minutes=120) as waiting:
            waiting.cloud.add("somebody-else")
            waiting.cloud.listing = listing
            waiting.cloud.remove("ps1")
            await anyio.sleep(30)
            found = {m: e.outcome for m, e in waiting.endings.items()}
            assert found == ({"ps1": Outcome.GONE} if concluded else {})

    check()


@virtual
async def test_nobody_waits_nobody_asks() -> None:
    async with stopping(1, takes=10) as waiting:
        await anyio.sleep(30)
        waiting.cloud.calls.clear()
        await anyio.sleep(3600)
        assert waiting.cloud.calls == []


@pytest.mark.parametrize(
    ("asked_at", "lists"), [(4, 1), (-1, 2)], ids=["asked for after the call", "asked for before it"]
)
def test_what_a_pass_has_seen_serves_as_a_tick(asked_at: float, lists: int) -> None:
    """Of the two ticks at 5 and at 10 s, a listing of 4 s stands for the first, and puts the second off to 9 s."""

    @virtual
    async def check() -> None:
        cloud = FakeCloud(virtual_clock(), takes=3600, latency=0)
        poller = Poller(cloud, cloud.clock, Faults(cloud.clock, RecordingMeter()), poll=POLL)
        waiting = Waiting(cloud, poller)
        async with anyio.create_task_group() as group:
            group.start_soon(poller.run)
            for number in (1, 2):
                machine = await cloud.create(f"training-{number}", {"machineType": "P4000"})
                group.start_soon(waiting.follow, Verb.CREATE, machine.id, number, 120)
            began = anyio.current_time()
            await anyio.sleep(4)
            poller.saw((await cloud.list_machines()).machines, began + asked_at)
            cloud.calls.clear()
            await anyio.sleep(6.5)
            assert waiting.reads()["list"] == lists
            group.cancel_scope.cancel()

    check()


@virtual
async def test_ticks_follow_each_other_faster_while_transitions_end_one_after_the_other() -> None:
    """Those that began together end together; the last is known a second after its end, and not a tick."""
    async with stopping(1, takes=20) as waiting:
        for number in range(2, 8):
            await anyio.sleep(0.5)
            machine = waiting.cloud.add(f"machine-{number}")
            await waiting.cloud.stop(machine.id)
            waiting.group.start_soon(waiting.follow, Verb.STOP, machine.id, number, 10)
        await anyio.sleep(24.5 - anyio.current_time())
        assert len(waiting.endings) == 7


@pytest.mark.parametrize("count", [2, 30])
def test_machines_that_are_gone_share_the_listing_that_proves_it(count: int) -> None:
    @virtual
    async def check() -> None:
        async with stopping(count, takes=3600, minutes=120) as waiting:
            await anyio.sleep(1)
            for number in range(1, count + 1):
                waiting.cloud.remove(f"ps{number}")
            waiting.cloud.calls.clear()
            await anyio.sleep(6)
            assert {e.outcome for e in waiting.endings.values()} == {Outcome.GONE}
            assert waiting.reads()["list"] <= 2  # the tick's own, and the proof

    check()


@pytest.mark.parametrize("retry_after", [None, 60.0])
@pytest.mark.parametrize(("waiters", "fails"), [(1, "show"), (2, "list"), (1, "list")])
def test_a_read_that_fails_is_made_again_when_the_provider_wishes(
    waiters: int, fails: str, retry_after: float | None
) -> None:
    """One is shown, and looked for in a listing where it is not found; several are looked for in a listing."""

    @virtual
    async def check() -> None:
        async with stopping(waiters, takes=3600, minutes=120) as waiting:
            waiting.cloud.add("somebody-else")
            await anyio.sleep(1)
            if (waiters, fails) == (1, "list"):
                waiting.cloud.remove("ps1")
            faults = [RateLimited("slow down", retry_after=retry_after)]
            waiting.cloud.before = lambda operation, _id: faults.pop() if operation == fails and faults else None
            waiting.cloud.calls.clear()
            await anyio.sleep(6)
            assert not faults
            first = sum(waiting.reads().values())
            await anyio.sleep(6)
            assert (sum(waiting.reads().values()) > first) is (retry_after is None)
            await anyio.sleep(58)
            assert sum(waiting.reads().values()) > first

    check()


@pytest.mark.parametrize(("lacks", "ticks"), [(False, 0), (True, 1)])
def test_a_pass_that_has_not_seen_all_that_is_waited_for_puts_no_tick_off(lacks: bool, ticks: int) -> None:
    @virtual
    async def check() -> None:
        cloud = FakeCloud(virtual_clock(), takes=3600, latency=0)
        poller = Poller(cloud, cloud.clock, Faults(cloud.clock, RecordingMeter()), poll=POLL)
        waiting = Waiting(cloud, poller)
        async with anyio.create_task_group() as group:
            group.start_soon(poller.run)
            for number in (1, 2):
                machine = await cloud.create(f"training-{number}", {"machineType": "P4000"})
                group.start_soon(waiting.follow, Verb.CREATE, machine.id, number, 120)
            await anyio.sleep(4)
            seen = (await cloud.list_machines()).machines
            poller.saw(seen[:1] if lacks else seen, anyio.current_time())
            cloud.calls.clear()
            await anyio.sleep(2)
            assert waiting.reads()["list"] == ticks
            group.cancel_scope.cancel()

    check()
