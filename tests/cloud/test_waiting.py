"""Waiting for a machine by hand: every way in which it ends."""

from __future__ import annotations

import anyio
import pytest

from fleetd.cloud.core.wire import read_machine
from fleetd.cloud.waiting import Eyes, wait_until
from fleetd.model.errors import MalformedAnswer, NotFound, RateLimited, Refused, Unauthorized, Unavailable, WaitEnded
from fleetd.model.machine import Machine
from tests.support.virtual_time import virtual

MISSING = NotFound("Machine not found", operation="show", status=404)
DOWN = Unavailable("no connection", operation="show")


def seen(state, *events):
    """What show says; events newest first as name/state/handle."""
    return {
        "id": "ps1",
        "name": "n",
        "state": state,
        "events": [
            {
                "name": name,
                "state": how,
                "handle": handle,
                "errorMsg": "no capacity" if how == "error" else "",
            }
            for name, how, handle in events
        ],
    }


class Scene:
    """What is seen, look by look; the last goes on for ever."""

    def __init__(self, *looks, listed=False):
        self.looks, self.listed, self.count = looks, listed, 0

    async def look(self):
        said = self.looks[min(self.count, len(self.looks) - 1)]
        self.count += 1
        if isinstance(said, Exception):
            raise said
        if said == "hang":
            await anyio.sleep_forever()
        return said

    async def list(self):
        if isinstance(self.listed, Exception):
            raise self.listed
        return self.listed

    async def wait(self, state="ready", timeout=600.0, poll=5.0):
        return await wait_until(Eyes(self.look, read_machine, self.list), state, timeout=timeout, poll=poll)


OLD_FAILURE = ("start", "error", "old")
NEW_FAILURE = ("start", "error", "new")


@pytest.mark.parametrize(
    ("state", "looks", "count"),
    [
        ("ready", [seen("ready")], 1),
        ("ready", [seen("off"), seen("starting"), seen("serviceready"), seen("ready")], 4),
        ("serviceready", [seen("starting"), seen("serviceready")], 2),
        ("serviceready", [seen("starting"), seen("ready")], 2),
        ("off", [seen("ready"), seen("stopping"), seen("off", OLD_FAILURE)], 3),
        ("ready", [DOWN, MalformedAnswer("garbage"), RateLimited("slow"), seen("ready")], 4),
        ("ready", [seen("quantum"), seen("ready")], 2),
    ],
    ids=["at once", "all the way", "serviceready", "ready is serviceready", "off", "outage", "unknown state"],
)
@virtual
async def test_it_gets_there(state, looks, count):
    scene = Scene(*looks)
    assert await scene.wait(state) is looks[-1]
    assert scene.count == count


@virtual
async def test_polls_are_as_far_apart_as_asked():
    scene = Scene(*[seen("starting")] * 4, seen("ready"))
    began = anyio.current_time()
    await scene.wait(poll=7.0)
    assert anyio.current_time() - began == pytest.approx(28.0)


@virtual
async def test_a_shorter_wait_than_the_poll_is_the_poll():
    for error in (RateLimited("slow", retry_after=1.0), RateLimited("slow"), MalformedAnswer("x"), MISSING):
        scene = Scene(error, seen("ready"))
        began = anyio.current_time()
        await scene.wait(poll=7.0)
        assert anyio.current_time() - began == pytest.approx(7.0)


@virtual
async def test_nobody_waits_beyond_the_time_given():
    scene = Scene(RateLimited("slow", retry_after=400.0), seen("starting"), seen("ready"))
    began = anyio.current_time()
    with pytest.raises(WaitEnded, match="not ready within 30 s") as caught:
        await scene.wait(timeout=30.0)
    assert anyio.current_time() - began == pytest.approx(30.0)
    assert caught.value.operation == "wait_for"


class Slow(Scene):
    """Each look takes as long as is said before it."""

    async def look(self):
        await anyio.sleep(self.looks[min(self.count, len(self.looks) - 1)][0])
        self.count += 1
        said = self.looks[min(self.count, len(self.looks)) - 1][1]
        if isinstance(said, Exception):
            raise said
        return said


@virtual
async def test_a_look_may_take_longer_than_a_poll_and_no_longer_than_the_time_given():
    await anyio.sleep(100)
    began = anyio.current_time()
    assert (await Slow((20.0, seen("ready"))).wait())["state"] == "ready"
    assert anyio.current_time() - began == pytest.approx(20.0)
    for scene in (Slow((9999.0, seen("ready"))), Slow((0.0, RateLimited("slow", retry_after=60.0)), (9999.0, DOWN))):
        began = anyio.current_time()
        with pytest.raises(WaitEnded):
            await scene.wait(timeout=30.0)
        assert anyio.current_time() - began == pytest.approx(30.0)


@virtual
async def test_it_waits_until_the_time_given_is_over():
    began = anyio.current_time()
    with pytest.raises(WaitEnded):
        await Scene(seen("starting")).wait(timeout=30.0, poll=29.5)
    assert anyio.current_time() - began == pytest.approx(30.0)


@virtual
async def test_a_short_poll_is_kept_to_after_trouble_too():
    scene = Scene(seen("starting"), MalformedAnswer("x"), DOWN, seen("ready"))
    began = anyio.current_time()
    await scene.wait(poll=0.5)
    assert anyio.current_time() - began == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("looks", "listed", "said"),
    [
        ([seen("starting")], False, "not ready within 12.5 s, last seen starting"),
        ([DOWN], False, "not ready within 12.5 s, never seen (no connection)"),
        ([seen("starting"), DOWN], False, "not ready within 12.5 s, last seen starting (no connection)"),
        ([DOWN, seen("starting")], False, "not ready within 12.5 s, last seen starting"),
        ([MISSING], True, "not ready within 12.5 s, never seen (Machine not found)"),
        ([seen("starting"), MISSING], DOWN, "not ready within 12.5 s, last seen starting (no connection)"),
        ([seen("starting"), MISSING], False, "the provider does not know the machine, by show and by list"),
        ([seen("starting"), seen("off", ("start", "error", "e"))], False, "it failed to start: no capacity"),
        (
            [seen("starting"), seen("off")],
            False,
            "it failed to start: it went back to off, and the provider gives no reason",
        ),
    ],
)
@virtual
async def test_what_is_said_in_the_end(looks, listed, said):
    with pytest.raises(WaitEnded) as caught:
        await Scene(*looks, listed=listed).wait(timeout=12.5)
    assert caught.value.message == said


@virtual
async def test_one_that_comes_back_into_view_is_not_gone():
    scene = Scene(seen("starting"), MISSING, seen("starting"), MISSING, seen("starting"), MISSING, seen("ready"))
    assert (await scene.wait())["state"] == "ready"
    listed = iter([False, True, False, True])
    scene = Scene(seen("starting"), *[MISSING] * 4, seen("ready"))

    async def sometimes():
        return next(listed)

    scene.list = sometimes
    assert (await scene.wait())["state"] == "ready"


@virtual
async def test_retry_after_is_waited_for():
    scene = Scene(RateLimited("slow", retry_after=40.0), seen("ready"))
    began = anyio.current_time()
    await scene.wait()
    assert anyio.current_time() - began == pytest.approx(40.0)


OFF, READY = "off", "ready"
FAILED, TIMED_OUT, GONE = "failed_to_start", "timed_out", "gone"
TOGETHER = "by show and by list"
IN_PROGRESS = ("start", "in progress", "new")
ENDS = {
    # name: state waited for, looks, listed, verdict, message, least and most seconds
    "stays starting": (READY, [seen("starting")], False, TIMED_OUT, "last seen starting", 600, 600),
    "never starts": (READY, [seen("off")], False, TIMED_OUT, "last seen off", 600, 600),
    "never stops": (OFF, [seen("ready", OLD_FAILURE)], False, TIMED_OUT, "last seen ready", 600, 600),
    "outage": (READY, [DOWN], False, TIMED_OUT, r"never seen \(no connection\)", 600, 600),
    "no answer": (READY, ["hang"], False, TIMED_OUT, "never seen", 600, 600),
    "a failure that may be old": (READY, [seen("off", NEW_FAILURE)], False, FAILED, "no capacity", 30, 30),
    "a new failure beside an old one": (
        READY,
        [seen("off", OLD_FAILURE), seen("off", NEW_FAILURE, OLD_FAILURE)],
        False,
        FAILED,
        "no capacity",
        5,
        5,
    ),
    "a failure after starting": (
        READY,
        [seen("starting", IN_PROGRESS), seen("off", NEW_FAILURE)],
        False,
        FAILED,
        "no capacity",
        5,
        5,
    ),
    "a failure of the start that was under way": (
        READY,
        [seen("off", IN_PROGRESS), seen("off", NEW_FAILURE)],
        False,
        FAILED,
        "no capacity",
        5,
        5,
    ),
    "a failure seen before, and under way since": (
        READY,
        [seen("off", OLD_FAILURE), seen("starting", OLD_FAILURE), seen("off", OLD_FAILURE)],
        False,
        FAILED,
        "no capacity",
        10,
        10,
    ),
    "a stop that failed": (
        READY,
        [seen("starting"), seen("off", ("stop", "error", "s"))],
        False,
        TIMED_OUT,
        "last seen off",
        600,
        600,
    ),
    "off, though a start is done": (
        READY,
        [seen("off", ("start", "done", "d"))],
        False,
        TIMED_OUT,
        "last seen off",
        600,
        600,
    ),
    "back to off, though the start is done": (
        READY,
        [seen("starting"), seen("off", ("start", "done", "d"))],
        False,
        FAILED,
        "gives no reason",
        5,
        5,
    ),
    "a failed create": (
        READY,
        [seen("provisioning"), seen("off", ("create", "error", "c"))],
        False,
        FAILED,
        "no capacity",
        5,
        5,
    ),
    "off without a reason": (READY, [seen("starting"), seen("off")], False, FAILED, "gives no reason", 5, 5),
    "off but still under way": (
        READY,
        [seen("starting"), seen("off", IN_PROGRESS)],
        False,
        TIMED_OUT,
        "last seen off",
        600,
        600,
    ),
    "stopped by somebody": (
        READY,
        [seen("starting"), seen("off", ("stop", "done", "s"))],
        False,
        TIMED_OUT,
        "last seen off",
        600,
        600,
    ),
    "gone": (OFF, [seen("ready"), MISSING], False, GONE, TOGETHER, 10, 10),
    "gone while starting": (READY, [seen("starting"), MISSING], False, GONE, TOGETHER, 10, 10),
    "never there": (READY, [MISSING], False, GONE, TOGETHER, 30, 30),
    "listed all the same": (OFF, [seen("ready"), MISSING], True, TIMED_OUT, "last seen ready", 600, 600),
    "no second look": (OFF, [seen("ready"), MISSING], DOWN, TIMED_OUT, "no connection", 600, 600),
}


@pytest.mark.parametrize(
    ("state", "looks", "listed", "verdict", "said", "least", "most"), list(ENDS.values()), ids=list(ENDS)
)
@virtual
async def test_it_does_not_get_there(state, looks, listed, verdict, said, least, most):
    await anyio.sleep(100)
    began = anyio.current_time()
    with pytest.raises(WaitEnded, match=said) as caught:
        await Scene(*looks, listed=listed).wait(state)
    assert caught.value.verdict == verdict
    assert caught.value.state == next((seen["state"] for seen in reversed(looks) if isinstance(seen, dict)), None)
    assert least - 0.01 <= anyio.current_time() - began <= most + 0.01


@virtual
async def test_an_old_failure_does_not_end_the_wait_for_a_start_just_accepted():
    scene = Scene(seen("off", OLD_FAILURE), seen("off", OLD_FAILURE), seen("starting", OLD_FAILURE), seen("ready"))
    assert (await scene.wait())["state"] == "ready"


@virtual
async def test_a_young_machine_may_be_invisible_for_a_while():
    scene = Scene(MISSING, MISSING, MISSING, seen("provisioning"), seen("ready"))
    assert (await scene.wait())["state"] == "ready"


@virtual
async def test_a_machine_without_a_word_of_events_is_waited_for():
    states = ["off", "starting", "ready"]

    async def look():
        return {"state": states.pop(0)}

    async def listed():
        return True

    eyes = Eyes(look, lambda content: Machine("ps1", "n", content["state"], events=None), listed)
    assert (await wait_until(eyes, "ready", timeout=600.0, poll=5.0))["state"] == "ready"


@pytest.mark.parametrize("error", [Unauthorized("no", operation="show"), Refused("no", operation="show")])
@virtual
async def test_what_a_human_must_mend_is_raised(error):
    with pytest.raises(type(error)):
        await Scene(seen("starting"), error).wait()
    with pytest.raises(type(error)):
        await Scene(MISSING, listed=error).wait()


@pytest.mark.parametrize("state", ["", "on", "Ready", "starting"])
@virtual
async def test_states_that_cannot_be_waited_for(state):
    with pytest.raises(ValueError, match="off, serviceready, ready"):
        await Scene(seen("ready")).wait(state)


@virtual
async def test_there_is_one_look_even_without_time():
    assert (await Scene(seen("ready")).wait(timeout=0.0))["state"] == "ready"
    scene = Scene(seen("starting"))
    with pytest.raises(WaitEnded):
        await scene.wait(timeout=0.0)
    assert scene.count == 1


@virtual
async def test_a_poll_of_nothing_is_no_busy_loop():
    scene = Scene(seen("starting"))
    with pytest.raises(WaitEnded):
        await scene.wait(timeout=10.0, poll=0.0)
    assert scene.count <= 201
