"""One tick of the poller: who is looked at closer, what proves that a machine is gone, when the next is due."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from structlog.testing import capture_logs

from fleetd.engine.poller import SOON, Poller, _Waiter
from fleetd.model.errors import NotFound, RateLimited, Unavailable
from fleetd.model.machine import Machine
from fleetd.model.plan import Listing
from fleetd.model.reasons import Outcome, Verb
from fleetd.planner.transitions import Course, Ending
from tests.support.build import NOW, ago, event, intent, machine
from tests.support.virtual_time import run_virtual

P = pytest.param
POLL = timedelta(seconds=5)
SETTLE = timedelta(seconds=90)
DOWN = Unavailable("no route")
SLOW = RateLimited("slow down", retry_after=60)
ALL_SLOW = RateLimited("slow down, all of you", retry_after=60)
NONE = NotFound("unknown id")


class World:
    """A provider that says what it is told to say, and waiters for machines that are to stop."""

    def __init__(self, found: list[Any], *, requests: int = 1, looks: int = 10, verb: Verb = Verb.STOP) -> None:
        self.found = {f"ps{n}": sight for n, sight in enumerate(found, start=1)}
        self.requests = requests
        self.shown: list[str] = []
        self.shows: Any = None
        self.listing: Any = Listing(())
        self.lists = 0
        cloud: Any = SimpleNamespace(find=self._find, show=self._show, list_machines=self._list)
        nothing: Any = SimpleNamespace()
        clock: Any = SimpleNamespace(now=lambda: NOW)
        self.poller = Poller(cloud, clock, nothing, poll=POLL, looks=looks)
        self.waiters = [
            _Waiter(
                intent(verb, n, accepted_at=ago(minutes=5), expected_state="ready", baseline_event="old"),
                SETTLE,
                unseen=False,
            )
            for n in range(1, len(found) + 1)
        ]
        self.poller._waiters.extend(self.waiters)

    async def _find(self, ids: Any) -> Any:
        assert ids == set(self.found)
        for sight in self.found.values():
            if sight in (DOWN, ALL_SLOW):
                raise sight
        return SimpleNamespace(machines=self.found, requests=self.requests)

    async def _show(self, machine_id: str) -> Machine:
        self.shown.append(machine_id)
        if isinstance(self.shows, Exception):
            raise self.shows
        return self.shows or machine(int(machine_id[2:]), events=(event("stop", handle="old"),))

    async def _list(self) -> Listing:
        self.lists += 1
        if isinstance(self.listing, Exception):
            raise self.listing
        return self.listing  # type: ignore[no-any-return]

    @property
    def outcomes(self) -> list[Outcome | None]:
        return [None if w.ending is None else w.ending.outcome for w in self.waiters]


def on(story: Callable[[], Awaitable[None]]) -> None:
    run_virtual(story)


UP1, UP2, OFF1, OFF2 = machine(1), machine(2), machine(1, "off"), machine(2, "off")
BLIND = machine(1, "off", unreadable="state is 7")


@pytest.mark.parametrize(
    ("found", "requests", "looks", "pause", "shown", "ended"),
    [
        P([], 1, 10, 5, 0, 0, id="nobody waits"),
        P([DOWN], 1, 10, 5, 0, 0, id="nothing could be read"),
        P([ALL_SLOW], 1, 10, 5, 0, 0, id="nothing, for a minute"),
        P([UP1], 1, 10, 5, 1, 0, id="it may have failed: a closer look, and nothing has ended"),
        P([machine(1, "stopping")], 1, 10, 5, 0, 0, id="it is on its way"),
        P([OFF1], 1, 10, SOON, 0, 1, id="it has ended: others may soon"),
        P([OFF1], 4, 10, 2, 0, 1, id="so soon as the looks last"),
        P([OFF1, UP2], 3, 10, 2, 1, 1, id="a closer look is one of them"),
        P([OFF1], 20, 10, 5, 0, 1, id="never later than else"),
        P([OFF1, OFF2], 2, 10, SOON, 0, 2, id="two at once"),
        P([BLIND], 1, 10, 5, 1, 0, id="its entry cannot be read: a closer look"),
        P([None], 1, 10, 5, 1, 0, id="it is not among those that were found"),
        P([SLOW, OFF2], 2, 10, SOON, 0, 1, id="one that cannot be read, beside one that has ended"),
    ],
)
def test_when_the_next_tick_is_due_and_who_is_looked_at_closer(
    found: list[Any], requests: int, looks: int, pause: float, shown: int, ended: int
) -> None:
    async def story() -> None:
        world = World(found, requests=requests, looks=looks)
        assert await world.poller.tick() == pause
        assert len(world.shown) == shown
        assert world.outcomes.count(Outcome.REACHED) == ended
        assert [w.done.is_set() for w in world.waiters] == [o is not None for o in world.outcomes]
        waits = world.poller._not_before - anyio.current_time()
        assert waits == (60 if SLOW in found or ALL_SLOW in found else float("-inf")), (
            "as long as the provider asked for"
        )

    on(story)


def test_those_that_have_waited_longest_are_looked_at_first() -> None:
    async def story() -> None:
        world = World([machine(n) for n in (1, 2, 3)], looks=2)
        for expected in (["ps1", "ps2"], ["ps3", "ps1"], ["ps2", "ps1"], ["ps3", "ps1"]):
            world.shown.clear()
            await world.poller.tick()
            assert sorted(world.shown) == sorted(expected)

    on(story)


@pytest.mark.parametrize("sight", ["the tick's", "the closer look's"])
@pytest.mark.parametrize(
    ("verb", "listing", "outcome"),
    [
        P(Verb.STOP, Listing((machine(9),)), Outcome.GONE, id="no listing has it"),
        P(Verb.DESTROY, Listing((machine(9),)), Outcome.REACHED, id="as it should be"),
        P(Verb.STOP, Listing((UP1,)), None, id="a listing has it"),
        P(Verb.STOP, Listing((), complete=False), None, id="the listing is not whole"),
        P(Verb.STOP, Listing((), unidentified=1), None, id="it may be an entry without an id"),
        P(Verb.DESTROY, Listing((), unidentified=1), Outcome.REACHED, id="one that we destroy needs no such doubt"),
        P(Verb.STOP, SLOW, None, id="nobody can list"),
    ],
)
def test_what_proves_that_a_machine_is_gone(sight: str, verb: Verb, listing: Any, outcome: Outcome | None) -> None:
    async def story() -> None:
        world = World([NONE if sight == "the tick's" else None, NONE], verb=verb)
        world.shows, world.listing = NONE, listing
        await world.poller.tick()
        assert world.outcomes[0] == outcome
        assert world.lists == 1, "one listing for all that is missing"
        waits = world.poller._not_before - anyio.current_time()
        assert waits == (60 if listing is SLOW else float("-inf"))

    on(story)


@pytest.mark.parametrize(("error", "waits"), [(SLOW, 60.0), (DOWN, float("-inf"))])
def test_a_closer_look_that_fails_is_no_verdict(error: Exception, waits: float) -> None:
    async def story() -> None:
        world = World([UP1])
        world.shows = error
        with capture_logs() as logs:
            assert await world.poller.tick() == POLL.total_seconds()
        told = {"event": "transition.look_failed", "log_level": "debug", "machine": "ps1", "error": str(error)}
        assert logs == [told]
        assert (world.outcomes, world.lists) == ([None], 0)
        assert world.poller._not_before - anyio.current_time() == waits

    on(story)


@pytest.mark.parametrize(("moved", "outcome"), [(True, Outcome.NO_EFFECT), (False, None)])
def test_a_closer_look_without_events_is_all_that_anybody_can_see(moved: bool, outcome: Outcome | None) -> None:
    async def story() -> None:
        world = World([UP1])
        world.shows = UP1
        world.waiters[0].course = Course(moved=moved, left=moved)
        await world.poller.tick()
        assert world.outcomes == [outcome]

    on(story)


def test_nobody_is_asked_about_what_has_ended_or_has_no_machine_yet() -> None:
    async def story() -> None:
        world = World([OFF1])
        over = _Waiter(intent(Verb.STOP, 8), SETTLE, unseen=False, ending=Ending(Outcome.REACHED))
        world.poller._waiters = [over, _Waiter(intent(Verb.CREATE), SETTLE, unseen=False), *world.waiters]
        await world.poller.tick()
        assert world.outcomes == [Outcome.REACHED]

    on(story)
