"""What the log says of fleets: once for each thing that is so, however many machines it is about."""

from __future__ import annotations

from datetime import timedelta

import anyio
import pytest
from structlog.testing import capture_logs

from fleetd.engine.change_logging import NAMED, ChangeLogger
from fleetd.model.journal import Memory
from fleetd.model.machine import Machine
from fleetd.model.plan import Observation, Skip
from fleetd.model.reasons import ORDINARY, PASSING, Reason, Verb
from fleetd.planner.plan import plan
from tests.support.build import NOW, fleet, later, token_name
from tests.support.fakecloud import FakeCloud
from tests.support.rig import rig
from tests.support.virtual_time import run_virtual, virtual_clock


def skip(n: int | None, reason: Reason = Reason.CAPACITY_BACKOFF, verb: Verb = Verb.START, **fields: object) -> Skip:
    machine, name = (None, "") if n is None else (f"ps{n}", token_name(n))
    return Skip("training", verb, reason, machine, name, **fields)  # type: ignore[arg-type]


def said(*passes: list[Skip]) -> list[list[dict[str, object]]]:
    """The lines about what is blocked, of each pass."""
    news, nothing = ChangeLogger(), plan((), Observation(NOW, ()), Memory(), NOW)
    lines = []
    for skips in passes:
        with capture_logs() as logs:
            news.passed(1, 0.1, nothing, skips, ())
        lines.append([dict(line) for line in logs if line["event"] == "fleet.was_blocked"])
    return lines


def test_machines_with_one_reason_are_one_line_with_their_names() -> None:
    many = [skip(n, until=later(minutes=n), detail="sold out") for n in range(1, NAMED + 5)]
    ((line,),) = said(many)
    assert (line["count"], line["reason"], line["action"]) == (NAMED + 4, "capacity_backoff", "start")
    assert (line["machine"], line["name"]) == (None, None)
    assert str(line["names"]).split(", ") == sorted(s.name for s in many)[:NAMED]
    assert line["until"] == later(minutes=1).isoformat()
    assert line["detail"] == "sold out"


def test_one_machine_has_its_own_keys() -> None:
    ((line,),) = said([skip(7, detail="sold out")])
    assert (line["machine"], line["name"], line["names"], line["count"]) == ("ps7", token_name(7), None, 1)


def test_what_was_said_is_not_said_again_and_what_comes_to_it_is() -> None:
    first, again, more, fewer, back, gone, anew = said(
        [skip(1), skip(2)],
        [skip(1), skip(2)],
        [skip(1), skip(2), skip(3)],
        [skip(3)],
        [skip(1), skip(3)],
        [],
        [skip(1)],
    )
    assert [len(lines) for lines in (first, again, more, fewer, back, gone, anew)] == [1, 0, 1, 0, 0, 0, 1]
    assert (more[0]["machine"], more[0]["count"]) == ("ps3", 1)


def test_different_details_are_no_common_detail() -> None:
    ((line,),) = said([skip(1, detail="a"), skip(2, detail="b")])
    assert line["detail"] is None


def test_each_verb_and_reason_has_its_line() -> None:
    ((*lines,),) = said([skip(1), skip(1, verb=Verb.STOP), skip(1, Reason.HELD), skip(None, Reason.GUARD_COST)])
    assert len(lines) == 4


@pytest.mark.parametrize("reason", list(Reason))
def test_what_goes_without_saying_is_at_info(reason: Reason) -> None:
    (lines,) = said([skip(1, reason)])
    levels = [line["log_level"] for line in lines]
    assert levels == ([] if reason in PASSING else ["info" if reason in ORDINARY else "warning"])


def test_a_fleet_that_leaves_its_target_says_so_once() -> None:
    async def story() -> list[str]:
        cloud = FakeCloud(virtual_clock(), takes=20)
        with capture_logs() as logs:
            async with rig(fleet(target=1), cloud=cloud) as world, world.daemon_running():
                await anyio.sleep(120)
                world.configure(fleet(target=2))
                await anyio.sleep(300)
        return [str(line["event"]) for line in logs if str(line["event"]).startswith("fleet.")]

    assert run_virtual(story) == ["fleet.converged", "fleet.left_target", "fleet.converged"]


@pytest.mark.parametrize("up", [0, 1, 2, 3])
@pytest.mark.parametrize("busy", [(), ("training",)], ids=["quiet", "busy"])
def test_only_a_fleet_that_is_off_its_target_has_left_it(up: int, busy: tuple[str, ...]) -> None:
    """An update under way, say, is no transition that moves a machine."""
    news = ChangeLogger()

    def passes(up: int, busy: tuple[str, ...]) -> list[str]:
        machines = tuple(Machine(f"ps{n}", token_name(n), "ready") for n in range(1, up + 1))
        with capture_logs() as logs:
            news.passed(1, 0.1, plan((fleet(target=2),), Observation(NOW, machines), Memory(), NOW), (), busy)
        return [str(line["event"]) for line in logs if str(line["event"]).startswith("fleet.")]

    assert passes(2, ()) == ["fleet.converged"]
    left = passes(up, busy)
    assert left == ([] if up == 2 else ["fleet.left_target"])
    assert passes(up, busy) == [], "once"
    assert passes(1, ()) == (["fleet.left_target"] if up == 2 else [])


def test_one_shortage_is_backed_off_once() -> None:
    async def story() -> list[object]:
        cloud = FakeCloud(virtual_clock(), takes=20, no_capacity=True)
        with capture_logs() as logs:
            async with rig(fleet(target=5), cloud=cloud) as world, world.daemon_running():
                await anyio.sleep(timedelta(seconds=50).total_seconds())
        return [line["until"] for line in logs if line["event"] == "capacity.backed_off"]

    said_until = run_virtual(story)
    assert len(said_until) == len(set(said_until)) == 1
