"""Who asks to be left alone is: a write turned away grows rarer, comes no sooner than was asked, and says why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import anyio
import pytest

from fleetd.model.errors import Ambiguous, CloudError, NotFound, RateLimited, RetryLater, Unavailable
from fleetd.model.fleet import Fleet, Guards, Limit, ScaleIn, ShutdownTimeout
from fleetd.model.journal import Request
from fleetd.model.machine import SnapshotPolicy
from fleetd.model.reasons import Reason, Verb
from fleetd.words.reasons import sentence
from tests.support.build import fleet, token_name
from tests.support.fakecloud import FakeCloud
from tests.support.rig import Rig, rig
from tests.support.virtual_time import run_virtual, virtual, virtual_clock

HOUR = 3600
MOST = 7
"""Calls in an hour: one, and one after each of 1, 2, 5, 10 and 30 minutes, and one to spare."""
LOOSE = Guards(max_stops_per_pass=Limit(percent=100), max_destroys_per_pass=5)

WANTS: dict[Verb, tuple[str | None, Fleet, dict[str, object]]] = {
    Verb.CREATE: (None, fleet(target=1), {}),
    Verb.START: ("off", fleet(target=1), {}),
    Verb.STOP: ("ready", fleet(target=0, guards=LOOSE), {}),
    Verb.DESTROY: (
        "off",
        fleet(target=0, guards=LOOSE, scale_in=ScaleIn.DESTROY, allow_destroy=True, adopt=("ps1",)),
        {},
    ),
    Verb.UPDATE: (
        "ready",
        fleet(target=1, shutdown_timeout=ShutdownTimeout(24)),
        {"shutdown_timeout_hours": 168, "shutdown_timeout_forces": False, "snapshots": SnapshotPolicy()},
    ),
}
"""By verb: the machine's state and the fleet that make fleetd want it."""


def asked(kind: type[CloudError], status: int, seconds: float | None) -> Callable[[str], CloudError]:
    def make(operation: str) -> CloudError:
        error = kind("come again later", operation=operation, status=status)
        error.retry_after = seconds  # type: ignore[attr-defined]
        return error

    return make


TURNED_AWAY: dict[str, tuple[Callable[[str], CloudError], float]] = {
    "429": (asked(RateLimited, 429, None), 60),
    "429, in 1 s": (asked(RateLimited, 429, 1), 60),
    "429, in 300 s": (asked(RateLimited, 429, 300), 300),
    "503, in 300 s": (asked(RateLimited, 503, 300), 300),
    "busy, in 300 s": (asked(RetryLater, 500, 300), 300),
}
"""By what a write is answered with: the error, and the least seconds to the next call."""


def calls(world: Rig, verb: Verb) -> list[float]:
    return [c.at.timestamp() for c in world.cloud.calls if c.operation == verb]


def wanting(verb: Verb) -> tuple[Fleet, FakeCloud]:
    state, want, fields = WANTS[verb]
    cloud = FakeCloud(virtual_clock(), takes=20)
    if state is not None:
        cloud.add(token_name(1), state, machine_type="P4000", **fields)
    return want, cloud


async def woken(world: Rig, seconds: float) -> None:
    """As long as that, with a pass every five seconds."""
    for _ in range(int(seconds // 5)):
        await world.reconciler.run_pass()
        await anyio.sleep(5)


@pytest.mark.long
@pytest.mark.parametrize("answer", TURNED_AWAY)
@pytest.mark.parametrize("verb", WANTS)
def test_a_write_that_is_turned_away_is_made_more_and_more_rarely_and_says_why(verb: Verb, answer: str) -> None:
    error, least = TURNED_AWAY[answer]

    async def story() -> None:
        want, cloud = wanting(verb)
        cloud.before = lambda op, _id: error(op) if op == verb else None
        async with rig(want, cloud=cloud) as world, world.passes_by_hand():
            await woken(world, HOUR)
            made = calls(world, verb)
            assert 2 <= len(made) <= MOST
            gaps = [after - before for before, after in pairwise(made)]
            assert min(gaps) >= least
            assert all(after > before - 15 for before, after in pairwise(gaps)), "never sooner again"
            assert world.reconciler.last is not None
            (skip,) = world.reconciler.last.skips
            assert (skip.verb, skip.reason) == (verb, Reason.RATE_LIMITED)
            assert skip.until is not None
            assert "come again later" in skip.detail
            said = sentence(skip, world.clock.now())
            assert "asked to be left alone" in said
            assert "failing" not in said
            world.configure(want)
            world.reconciler.recall.forget_refusals()
            await woken(world, 60)
            assert calls(world, verb) == made, "another config does not make the provider less busy"
            cloud.before = lambda _op, _id: None
            await woken(world, HOUR)
            assert world.reconciler.last.converged
            assert len(calls(world, verb)) == len(made) + 1

    run_virtual(story)


@pytest.mark.parametrize("verb", sorted(WANTS.keys() - {Verb.CREATE}))
def test_a_lost_answer_that_asks_to_wait_is_heard_as_well(verb: Verb) -> None:
    """A 502 with Retry-After: whether it was carried out is looked for, and it is not repeated before."""

    async def story() -> None:
        want, cloud = wanting(verb)
        cloud.before = lambda op, _id: asked(Ambiguous, 502, 300)(op) if op == verb else None
        async with rig(want, cloud=cloud) as world, world.passes_by_hand():
            await woken(world, HOUR)
            made = calls(world, verb)
            assert 2 <= len(made) <= MOST
            assert min(after - before for before, after in pairwise(made)) >= 300

    run_virtual(story)


@pytest.mark.parametrize("verb", WANTS)
def test_a_single_call_that_found_no_connection_is_made_again_by_the_next_pass(verb: Verb) -> None:
    async def story() -> None:
        want, cloud = wanting(verb)
        cloud.before = lambda op, _id: Unavailable("no route", operation=op) if op == verb else None
        async with rig(want, cloud=cloud) as world, world.passes_by_hand():
            report = await world.reconciler.run_pass()
            assert [s.reason for s in report.skips] == [Reason.PROVIDER_FAILING]
            await anyio.sleep(5)
            await world.reconciler.run_pass()
            assert len(calls(world, verb)) == 2

    run_virtual(story)


@virtual
async def test_a_persons_restart_that_is_turned_away_is_told_so() -> None:
    cloud = FakeCloud(virtual_clock(), takes=20)
    cloud.add(token_name(1), machine_type="P4000")
    cloud.before = lambda op, _id: asked(RateLimited, 429, 300)(op) if op == "restart" else None
    async with rig(fleet(target=1), cloud=cloud) as world, world.daemon_running():
        world.daemon.wake()
        await world.reconciler.recall.orders.ask(
            Request(Verb.RESTART, "ps1", "ada", "hangs", even_if_busy=True), patience=30
        )
        assert world.reconciler.last is not None
        assert Reason.RATE_LIMITED in {s.reason for s in world.reconciler.last.skips}
        await anyio.sleep(HOUR)
        assert len(calls(world, Verb.RESTART)) == 1


LOST: dict[str, Callable[[str], CloudError]] = {
    "lost": lambda op: Ambiguous("reset", operation=op),
    "not found": lambda op: NotFound("not found", operation=op),
}


@pytest.mark.parametrize(
    ("verb", "answer"), [*((verb, "lost") for verb in WANTS), (Verb.DESTROY, "not found")], ids=str
)
def test_what_an_answer_left_open_is_told_for_the_verb_that_it_is_about(verb: Verb, answer: str) -> None:
    async def story() -> None:
        want, cloud = wanting(verb)
        cloud.before = lambda op, _id: LOST[answer](op) if op == verb else None
        async with rig(want, cloud=cloud) as world, world.passes_by_hand():
            report = await world.reconciler.run_pass()
            (skip,) = report.skips
            expected = Reason.CREATE_UNSETTLED if verb is Verb.CREATE else Reason.CALL_UNSETTLED
            assert (skip.verb, skip.reason) == (verb, expected)
            assert ("create" in sentence(replace(skip, name="it"), world.clock.now())) is (verb is Verb.CREATE)

    run_virtual(story)


@pytest.mark.long
@pytest.mark.parametrize("away", [120, 900, 1500], ids=lambda s: f"at rest after {s} s")
@pytest.mark.parametrize("through", ["archiving", "stopping"])
def test_a_destroy_that_ends_in_a_machine_at_rest_waits_longer_each_time(through: str, away: int) -> None:
    """It moves, and is off again before or long after the deadline: whichever, it is not gone."""

    async def story() -> None:
        want, cloud = wanting(Verb.DESTROY)
        cloud.takes, cloud.vain = away, {"destroy": "bounce_silent"}
        began: list[float] = []

        async def destroy(machine_id: str, **_options: object) -> None:
            await cloud._begin("destroy", machine_id)
            began.append(anyio.current_time())
            cloud._in_vain(machine_id, "destroy", through)

        cloud.destroy = destroy  # type: ignore[method-assign]
        async with rig(want, cloud=cloud) as world, world.daemon_running():
            await anyio.sleep(8 * HOUR)
            rests = [after - before - away for before, after in pairwise(began)]
            assert len(rests) >= 3
            assert rests[-1] > 5 * 60, "it is destroyed again as soon as it comes to rest"
            assert all(rest >= 29 * 60 - max(0, away - 600) for rest in rests[5:])

    run_virtual(story)
