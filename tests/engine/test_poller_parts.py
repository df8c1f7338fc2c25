"""A poller over a provider that is a table: what a tick asks, what a sight is worth, and when the next tick is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from structlog.testing import capture_logs

from fleetd.cloud.retry import LONGEST_RETRY_AFTER
from fleetd.engine.poller import SOON, Poller
from fleetd.model.errors import CloudError, NotFound, RateLimited, RetryLater, Unauthorized, Unavailable
from fleetd.model.journal import Intent
from fleetd.model.machine import Machine
from fleetd.model.plan import Listing
from fleetd.model.reasons import Outcome, Verb
from fleetd.planner.transitions import Ending
from tests.support.build import event, intent, machine, token_name
from tests.support.virtual_time import virtual, virtual_clock

P = pytest.param
POLL = 5.0
SETTLE = timedelta(seconds=90)


class World:
    """A provider with machines by id, an error in place of any; notes what is asked. And who waits for what."""

    def __init__(self, *boxes: Machine, requests: int = 1, **options: Any) -> None:
        self.boxes: dict[str, Any] = {m.id: m for m in boxes}
        self.shown: dict[str, Any] = {}
        self.listing: Any = None
        self.finds: Exception | None = None
        self.requests = requests
        self.asked: list[Any] = []
        self.faults: list[tuple[str, str]] = []
        self.clock = virtual_clock()
        self.endings: dict[str, Ending] = {}
        me: Any = self
        self.poller = Poller(me, self.clock, me, poll=timedelta(seconds=POLL), **options)

    async def find(self, ids: set[str]) -> Any:
        self.asked.append(("find", sorted(ids)))
        await anyio.lowlevel.checkpoint()
        if self.finds is not None:
            raise self.finds
        return SimpleNamespace(machines={m: self.boxes[m] for m in ids if m in self.boxes}, requests=self.requests)

    async def show(self, machine_id: str) -> Machine:
        self.asked.append(("show", machine_id))
        await anyio.lowlevel.checkpoint()
        found = self.shown.get(machine_id, self.boxes.get(machine_id, NotFound("no such machine")))
        if isinstance(found, Exception):
            raise found
        return found  # type: ignore[no-any-return]

    async def list_machines(self) -> Listing:
        self.asked.append("list")
        await anyio.lowlevel.checkpoint()
        if isinstance(self.listing, Exception):
            raise self.listing
        return self.listing or Listing(tuple(m for m in self.boxes.values() if isinstance(m, Machine)))

    def saw(self, where: str, error: Exception) -> None:
        self.faults.append((where, str(error)))

    def step(self, verb: Verb, n: int, minutes: float = 10, **fields: Any) -> Intent:
        now = self.clock.now()
        fields = {"accepted_at": now, "expected_state": "ready", "baseline_event": ""} | fields
        return intent(verb, n, id=n, created_at=now, deadline_at=now + timedelta(minutes=minutes), **fields)

    async def wait(self, one: Intent, *, unseen: bool = False) -> None:
        more = {"unseen": True} if unseen else {}
        self.endings[one.machine_id or ""] = await self.poller.wait_for(one, settle=SETTLE, **more)

    async def ticks(self, *steps: Intent, unseen: bool = False) -> tuple[float, Any]:
        """One tick for those that wait: when the next is due, and what was asked; then nobody waits."""
        async with anyio.create_task_group() as group:
            for one in steps:
                group.start_soon(lambda one=one: self.wait(one, unseen=unseen))
            await anyio.wait_all_tasks_blocked()
            self.asked.clear()
            left = await self.poller.tick()
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
        return left, list(self.asked)

    def ends(self) -> dict[str, Outcome]:
        return {m: e.outcome for m, e in self.endings.items()}


STOPPING, OFF, UP = machine(1, "stopping"), machine(1, "off"), machine(1, "ready")
FIND, SHOW = ("find", ["ps1"]), ("show", "ps1")
GONE, REACHED = {"ps1": Outcome.GONE}, {"ps1": Outcome.REACHED}
NOBODY = NotFound("no such machine")
HIDDEN = Listing((), unidentified=1)


@pytest.mark.parametrize(
    ("verb", "found", "shown", "listing", "asked", "ends"),
    [
        P(Verb.STOP, STOPPING, None, None, [FIND], {}, id="on its way"),
        P(Verb.STOP, OFF, None, None, [FIND], REACHED, id="there"),
        P(Verb.STOP, UP, UP, None, [FIND, SHOW], {}, id="only its events tell"),
        P(Verb.STOP, UP, OFF, None, [FIND, SHOW], REACHED, id="and they do"),
        P(Verb.STOP, replace(UP, events=()), None, None, [FIND], {}, id="it came with its events"),
        P(Verb.STOP, replace(OFF, unreadable="odd"), OFF, None, [FIND, SHOW], REACHED, id="an odd entry"),
        P(Verb.STOP, None, OFF, None, [FIND, SHOW], REACHED, id="not in the answer"),
        P(Verb.STOP, None, NOBODY, None, [FIND, SHOW, "list"], GONE, id="nor shown, nor listed"),
        P(Verb.STOP, NOBODY, None, None, [FIND, "list"], GONE, id="known to be gone, and not listed"),
        P(Verb.STOP, NOBODY, None, Listing((UP,)), [FIND, "list"], {}, id="but listed"),
        P(Verb.STOP, NOBODY, None, Listing((machine(2),)), [FIND, "list"], GONE, id="another is listed"),
        P(Verb.STOP, NOBODY, None, Listing((), complete=False), [FIND, "list"], {}, id="the listing is not whole"),
        P(Verb.STOP, NOBODY, None, Unavailable("503"), [FIND, "list"], {}, id="nor read"),
        P(Verb.STOP, NOBODY, None, HIDDEN, [FIND, "list"], {}, id="it may be an entry without an id"),
        P(Verb.DESTROY, NOBODY, None, HIDDEN, [FIND, "list"], REACHED, id="we destroy it ourselves"),
        P(Verb.STOP, Unavailable("503"), None, None, [FIND], {}, id="it cannot be looked at"),
        P(Verb.STOP, UP, Unavailable("503"), None, [FIND, SHOW], {}, id="nor shown"),
    ],
)
@virtual
async def test_what_a_tick_asks_and_concludes(
    verb: Verb, found: Any, shown: Any, listing: Any, asked: Any, ends: Any
) -> None:
    world = World()
    if found is not None:
        world.boxes["ps1"] = found
    if shown is not None:
        world.shown["ps1"] = shown
    world.listing = listing
    left, told = await world.ticks(world.step(verb, 1))
    assert told == asked
    assert world.ends() == ends
    assert left == (SOON if ends else POLL)


@virtual
async def test_nobody_that_has_its_verdict_or_no_machine_is_looked_for() -> None:
    world = World()
    assert await world.ticks() == (POLL, [])
    assert await world.ticks(replace(world.step(Verb.CREATE, 1), machine_id=None)) == (POLL, [])


@pytest.mark.parametrize(
    ("requests", "shows", "looks", "left"),
    [
        P(1, 0, 1000, SOON, id="soon"),
        P(1, 0, 2, 2.5, id="by what it took of the rate"),
        P(1, 1, 4, 2.5, id="closer looks are requests as well"),
        P(9, 0, 2, POLL, id="a tick later at most"),
    ],
)
@virtual
async def test_when_the_next_tick_is_once_one_has_ended(requests: int, shows: int, looks: int, left: float) -> None:
    world = World(OFF, *[machine(n, "ready") for n in range(2, 2 + shows)], requests=requests, looks=looks)
    steps = [world.step(Verb.STOP, n) for n in range(1, 2 + shows)]
    assert (await world.ticks(*steps))[0] == left


@virtual
async def test_those_that_have_waited_longest_are_looked_at_closer_first() -> None:
    world = World(*[machine(n) for n in range(1, 6)], looks=2)
    async with anyio.create_task_group() as group:
        for n in range(1, 6):
            group.start_soon(world.wait, world.step(Verb.STOP, n))
        await anyio.wait_all_tasks_blocked()
        seen = []
        for _ in range(4):
            world.asked.clear()
            await world.poller.tick()
            seen.append(sorted(asked[1] for asked in world.asked if asked[0] == "show"))
        assert seen == [["ps1", "ps2"], ["ps3", "ps4"], ["ps1", "ps5"], ["ps2", "ps3"]]
        group.cancel_scope.cancel()


@pytest.mark.parametrize("fails", [None, Unavailable("503")])
@virtual
async def test_one_listing_is_asked_for_all_that_is_missing(fails: Exception | None) -> None:
    world = World()
    world.listing = fails
    _, asked = await world.ticks(*[world.step(Verb.STOP, n) for n in (1, 2, 3)])
    assert asked.count("list") == 1
    assert world.ends() == ({} if fails else dict.fromkeys(("ps1", "ps2", "ps3"), Outcome.GONE))


def line(error: Exception, machine_id: str | None) -> dict[str, Any]:
    return {"event": "transition.look_failed", "log_level": "debug", "machine": machine_id, "error": str(error)}


@pytest.mark.parametrize("at", ["find", "machine", "show", "list"])
@virtual
async def test_a_look_that_fails_is_said(at: str) -> None:
    error: Exception = Unavailable("503")
    world = World(UP)
    if at == "find":
        world.finds = error
    elif at == "show":
        world.shown["ps1"] = error
    else:
        world.boxes["ps1"] = error if at == "machine" else NOBODY
        world.listing = error
    with capture_logs() as logs:
        assert (await world.ticks(world.step(Verb.STOP, 1)))[0] == POLL
    assert logs == [line(error, None if at == "find" else "ps1")]


@pytest.mark.parametrize(
    ("errors", "ticks"),
    [
        P([Unavailable("503")], [5, 10, 15], id="an outage"),
        P([RetryLater("x", retry_after=None)], [5, 10, 15], id="nobody says when"),
        P([Unauthorized("no such key")], [5, 10, 15], id="a refusal asks for no pause"),
        P([RateLimited("x", retry_after=3.0)], [5, 10, 15], id="sooner than it would be"),
        P([RateLimited("x", retry_after=20.0)], [5, 25, 30], id="when the provider wishes"),
        P([RetryLater("x", retry_after=LONGEST_RETRY_AFTER + 60)], [5, 5 + LONGEST_RETRY_AFTER], id="in bounds"),
    ],
)
@virtual
async def test_when_it_looks_again_after_an_error(errors: Iterable[CloudError], ticks: list[float]) -> None:
    world, at = World(STOPPING), []
    left = list(errors)

    async def find(ids: set[str]) -> Any:
        at.append(round(anyio.current_time() - began, 2))
        if left:
            raise left.pop()
        return SimpleNamespace(machines=dict(world.boxes), requests=1)

    world.find = find  # type: ignore[method-assign]
    began = anyio.current_time()
    async with anyio.create_task_group() as group:
        group.start_soon(world.poller.run)
        group.start_soon(world.wait, world.step(Verb.STOP, 1, minutes=60))
        await anyio.sleep(ticks[-1] + 1)
        group.cancel_scope.cancel()
    assert (at, world.faults) == (ticks, [])


@virtual
async def test_when_it_looks_again_after_one_has_ended() -> None:
    """Those that began together end together: soon, though not at once, and then as always."""
    world, at = World(OFF, machine(2, "stopping")), []
    find = world.find

    async def noted(ids: set[str]) -> Any:
        at.append(round(anyio.current_time() - began, 2))
        return await find(ids)

    world.find = noted  # type: ignore[method-assign]
    began = anyio.current_time()
    async with anyio.create_task_group() as group:
        group.start_soon(world.poller.run)
        for n in (1, 2):
            group.start_soon(world.wait, world.step(Verb.STOP, n))
        await anyio.sleep(12)
        group.cancel_scope.cancel()
    assert at == [POLL, POLL + SOON, 2 * POLL + SOON]


@virtual
async def test_a_fault_ends_no_poller() -> None:
    world = World(STOPPING)
    world.finds = ValueError("odd")
    async with anyio.create_task_group() as group:
        group.start_soon(world.poller.run)
        group.start_soon(world.wait, world.step(Verb.STOP, 1))
        await anyio.sleep(11)
        assert world.faults == [("poller", "odd")] * 2, "each tick"
        world.finds, world.boxes["ps1"] = None, OFF
        await anyio.sleep(5)
        assert world.ends() == REACHED
        group.cancel_scope.cancel()


@virtual
async def test_what_was_seen_on_the_way_counts_at_the_end() -> None:
    """A restart leaves a machine as it found it: that it was on its way tells that it was restarted."""
    world = World(machine(1, "restarting"))
    async with anyio.create_task_group() as group:
        group.start_soon(world.wait, world.step(Verb.RESTART, 1))
        await anyio.wait_all_tasks_blocked()
        await world.poller.tick()
        world.boxes["ps1"] = UP
        assert world.ends() == {}
        await world.poller.tick()
        await anyio.wait_all_tasks_blocked()
        assert (world.ends(), world.asked) == (REACHED, [FIND, FIND])
        group.cancel_scope.cancel()


@virtual
async def test_a_sight_that_cannot_be_judged_is_left_to_the_deadline() -> None:
    odd: Any = (SimpleNamespace(),)
    world = World(replace(STOPPING, events=odd))
    await world.ticks(world.step(Verb.STOP, 1))
    assert ([where for where, _ in world.faults], world.ends()) == (["poller"], {})


@virtual
async def test_who_waits_gets_a_verdict_by_the_deadline() -> None:
    """It is looked at once at least, however short the time; the poller's sleep begins with the first that waits."""
    world = World(STOPPING, machine(2, "stopping"))
    began = anyio.current_time()
    async with anyio.create_task_group() as group:
        group.start_soon(world.poller.run)
        await anyio.sleep(103)
        assert world.asked == []
        group.start_soon(world.wait, world.step(Verb.STOP, 1, minutes=0))
        await anyio.sleep(9.9)
        assert (world.endings, len(world.asked)) == ({}, 1)
        await anyio.sleep(0.2)
        assert world.endings == {
            "ps1": Ending(Outcome.TIMED_OUT, "stop not done by its deadline, last seen stopping", stayed=False)
        }
        world.asked.clear()
        await anyio.sleep(102)
        assert world.asked == [], "nobody waits"
        group.start_soon(world.wait, world.step(Verb.STOP, 2, minutes=1))
        await anyio.sleep(4.5)
        assert world.asked == [], "what was just begun has changed nothing yet"
        await anyio.sleep(55.4)
        assert "ps2" not in world.endings
        await anyio.sleep(0.2)
        assert "ps2" in world.endings
        group.cancel_scope.cancel()
    assert anyio.current_time() - began < 400


MINE, OTHER = token_name(1), token_name(2)
RISING = machine(1, "starting")


@pytest.mark.parametrize(
    ("found", "passes", "ends"),
    [
        P(machine(1), None, REACHED, id="it has the name of its create"),
        P(machine(1, name=OTHER), None, {}, id="another name: nobody knows"),
        P(machine(1, name=OTHER), [machine(1, name=OTHER), machine(2, name=MINE)], GONE, id="the name is elsewhere"),
        P(machine(1, name=OTHER), [machine(1, name=OTHER), machine(2)], {}, id="the name is nowhere"),
        P(machine(1, name=OTHER), [machine(1)], REACHED, id="a pass saw it under its name: it is ours"),
        P(machine(1, name=""), None, REACHED, id="without a name nothing is against it"),
    ],
)
@virtual
async def test_a_machine_that_nobody_has_seen_yet(found: Machine, passes: Any, ends: Any) -> None:
    world = World(found)
    one = world.step(Verb.CREATE, 1, accepted_at=world.clock.now() - timedelta(hours=1), name=MINE)
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: world.wait(one, unseen=True))
        await anyio.sleep(1)
        if passes is not None:
            world.poller.saw([replace(m, state="starting") for m in passes], anyio.current_time())
        await world.poller.tick()
        await anyio.wait_all_tasks_blocked()
        assert world.ends() == ends
        group.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("name", "unseen", "ending"),
    [
        P(OTHER, True, Ending(Outcome.GONE, "the machine of that id has another name"), id="another name"),
        P(
            MINE,
            True,
            Ending(Outcome.TIMED_OUT, "create not done by its deadline, last seen starting"),
            id="its name",
        ),
        P(OTHER, False, Ending(Outcome.TIMED_OUT, "create not done by its deadline, last seen starting"), id="known"),
    ],
)
@virtual
async def test_what_the_deadline_says_of_one_that_nobody_has_seen(name: str, unseen: bool, ending: Ending) -> None:
    world = World(machine(1, "starting", name=name))
    async with anyio.create_task_group() as group:
        group.start_soon(world.poller.run)
        await world.wait(world.step(Verb.CREATE, 1, minutes=1, name=MINE), unseen=unseen)
        group.cancel_scope.cancel()
    assert world.endings == {"ps1": ending}


@pytest.mark.parametrize(
    ("first", "then", "ending"),
    [
        pytest.param(OTHER, MINE, Outcome.TIMED_OUT, id="another name at first: it is known by its own"),
        pytest.param("", OTHER, Outcome.GONE, id="no name at first: that does not tell whose it is"),
    ],
)
@virtual
async def test_whose_a_machine_is_that_changes_its_name(first: str, then: str, ending: Outcome) -> None:
    world = World(machine(1, "starting", name=first))
    async with anyio.create_task_group() as group:
        group.start_soon(world.poller.run)
        group.start_soon(lambda: world.wait(world.step(Verb.CREATE, 1, minutes=1, name=MINE), unseen=True))
        await anyio.sleep(6)
        world.boxes["ps1"] = machine(1, "starting", name=then)
        await anyio.sleep(60)
        group.cancel_scope.cancel()
    assert world.ends() == {"ps1": ending}


@virtual
async def test_that_nobody_could_look_at_one_all_the_time_says_nothing_of_its_name() -> None:
    world = World()
    world.finds = Unavailable("503")
    async with anyio.create_task_group() as group:
        group.start_soon(world.poller.run)
        await world.wait(world.step(Verb.CREATE, 1, minutes=1, name=MINE), unseen=True)
        group.cancel_scope.cancel()
    assert world.ends() == {"ps1": Outcome.TIMED_OUT}


@virtual
async def test_one_that_nobody_has_seen_and_that_is_gone_is_gone() -> None:
    world = World()
    one = world.step(Verb.CREATE, 1, accepted_at=world.clock.now() - timedelta(hours=1), name=MINE)
    await world.ticks(one, unseen=True)
    assert (world.ends(), world.faults) == (GONE, [])


@virtual
async def test_that_others_are_known_says_nothing_of_one_that_nobody_has_seen() -> None:
    world = World(machine(1, name=OTHER), machine(3, "stopping"))
    long_ago = world.clock.now() - timedelta(hours=1)
    async with anyio.create_task_group() as group:
        one = world.step(Verb.CREATE, 1, accepted_at=long_ago, name=MINE)
        group.start_soon(lambda: world.wait(one, unseen=True))
        group.start_soon(world.wait, world.step(Verb.STOP, 3))
        await anyio.sleep(1)
        passes = [machine(1, "starting", name=OTHER), machine(2, "starting", name=MINE), machine(3, "stopping")]
        world.poller.saw(passes, anyio.current_time())
        await anyio.wait_all_tasks_blocked()
        assert world.ends() == GONE
        group.cancel_scope.cancel()


@virtual
async def test_one_that_was_seen_under_its_name_is_known_whatever_it_is_called_later() -> None:
    world = World(RISING)
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: world.wait(world.step(Verb.CREATE, 1, name=MINE), unseen=True))
        await anyio.wait_all_tasks_blocked()
        await world.poller.tick()
        world.boxes["ps1"] = machine(1, name="renamed")
        await world.poller.tick()
        await anyio.wait_all_tasks_blocked()
        assert world.ends() == REACHED
        group.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("passes", "asked_at", "ends", "ticks"),
    [
        P([machine(1, "stopping"), machine(2, "stopping")], 3, [], [8], id="all of it: no tick before long"),
        P([machine(1, "off"), machine(2, "off")], 3, ["ps1", "ps2"], [], id="all have ended"),
        P([machine(1, "off"), machine(2, "stopping")], 3, ["ps1"], [8], id="one has"),
        P([machine(1, "off")], 3, ["ps1"], [5], id="one it lacks"),
        P([machine(1, "off"), machine(2, "ready")], 3, ["ps1"], [5], id="one takes a closer look"),
        P([machine(1, "off"), machine(2, "off", unreadable="odd")], 3, ["ps1"], [5], id="one is odd"),
        P([machine(1, "off"), machine(2, "off")], 0, [], [5], id="asked for when the call was made"),
        P([machine(1, "off"), machine(2, "off")], -1, [], [5], id="or before"),
    ],
)
@virtual
async def test_what_a_pass_has_seen(passes: Any, asked_at: float, ends: list[str], ticks: list[float]) -> None:
    world, at = World(machine(1, "stopping"), machine(2, "stopping")), []
    find = world.find

    async def noted(ids: set[str]) -> Any:
        at.append(round(anyio.current_time() - began, 2))
        return await find(ids)

    world.find = noted  # type: ignore[method-assign]
    async with anyio.create_task_group() as group:
        group.start_soon(world.poller.run)
        await anyio.sleep(10)
        began = anyio.current_time()
        for n in (1, 2):
            group.start_soon(world.wait, world.step(Verb.STOP, n))
        await anyio.sleep(3)
        world.poller.saw(iter(passes), began + asked_at)
        await anyio.wait_all_tasks_blocked()
        assert sorted(world.endings) == ends
        await anyio.sleep(6)
        group.cancel_scope.cancel()
    assert at == ticks


@virtual
async def test_a_verdict_is_given_once() -> None:
    world = World(replace(UP, events=(event("stop", "error", error="no"),)))
    async with anyio.create_task_group() as group:
        group.start_soon(world.wait, world.step(Verb.STOP, 1))
        await anyio.wait_all_tasks_blocked()
        world.poller.saw([OFF], anyio.current_time() + 1)
        world.poller.saw([machine(1, "starting")], anyio.current_time() + 1)
        await anyio.wait_all_tasks_blocked()
        assert world.ends() == REACHED
        group.cancel_scope.cancel()
