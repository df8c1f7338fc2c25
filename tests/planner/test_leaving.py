"""Machines that somebody else destroys: when their places are free."""

from __future__ import annotations

from datetime import timedelta

import pytest

from fleetd.model.machine import MachineEvent
from fleetd.planner.leaving import LEAVING, frees_its_place, leaves, surely_leaves
from tests.support.build import NOW, ago, event, facts, later, machine

P = pytest.param

PATIENCE = timedelta(minutes=10)


@pytest.mark.parametrize(
    ("state", "fact", "free"),
    [
        (LEAVING, None, True),
        (LEAVING, facts(1, last_state="ready"), True),
        ("ready", None, False),
        ("unknown", None, False),
        ("ready", facts(1, last_state="ready", last_seen=ago(days=1)), False),
        ("ready", facts(1, last_state=LEAVING, last_seen=ago(minutes=9)), False),
        ("ready", facts(1, last_state=LEAVING, last_seen=ago(minutes=10)), True),
        ("ready", facts(1, last_state="leaving", last_seen=ago(minutes=10)), True),  # as it stands in the journal
        ("ready", facts(1, last_state=LEAVING, last_seen=later(minutes=1)), False),
    ],
)
def test_when_the_place_of_one_that_leaves_is_free(state, fact, free) -> None:
    assert frees_its_place(machine(1, state), fact, PATIENCE, NOW) is free


@pytest.mark.parametrize(
    ("events", "going"),
    [
        P(None, False, id="not looked at"),
        P((), False, id="nothing has happened"),
        P((event("destroy"), event("start")), True, id="it is destroyed"),
        P((event("destroy", "in progress"), event("start")), True, id="that has just begun"),
        P((event("destroy", "error"), event("start")), False, id="that has failed"),
        P((event("delete"),), True, id="by another word for it"),
        P((event("stop"), event("start")), False, id="it is stopped"),
        P((event("stop"), event("destroy"), event("start")), True, id="stopped on its way out"),
        P((event("snapshot-create"), event("destroy")), True, id="a snapshot tells of no return"),
        P((event("start"), event("destroy")), False, id="started since"),
        P((event("start", "in progress"), event("destroy")), False, id="being started"),
        P((event("start", "error"), event("destroy")), True, id="nobody could start it"),
        P((event("start", "error"), event("start"), event("destroy")), False, id="the second start failed only"),
        P((event("stop"), event("start"), event("destroy")), False, id="started since, and stopped"),
    ],
)
@pytest.mark.parametrize("state", ["ready", "off", "odd"])
@pytest.mark.parametrize("listed", [True, False])
def test_one_leaves_by_its_own_destroy_unless_it_was_started_since(
    events: tuple[MachineEvent, ...] | None, going: bool, state: str, listed: bool
) -> None:
    one = machine(1, state, events=events)
    assert surely_leaves(one) is going
    assert leaves(one, listed=listed) is (going or (state == "odd" and not listed))
    assert frees_its_place(one, None, PATIENCE, NOW) is going


@pytest.mark.parametrize(
    ("state", "surely"),
    [
        ("destroying", True),
        ("destroyed", True),
        ("deleting", True),
        ("Deleted", True),
        ("terminating", True),
        ("deactivated", True),
        ("decommissioning", True),
        ("REMOVED", True),
        ("undeleted", False),
        ("odd", False),
        ("ready", False),
        ("off", False),
        ("stopping", False),
    ],
)
def test_the_name_of_a_state_may_say_that_one_leaves(state: str, surely: bool) -> None:
    assert surely_leaves(machine(1, state)) is surely
    assert leaves(machine(1, state), listed=True) is surely


@pytest.mark.parametrize(
    ("state", "listed", "may"),
    [("odd", False, True), ("odd", True, False), ("ready", False, False), ("off", False, False)],
)
def test_one_that_is_not_listed_and_in_no_known_state_may_leave(state: str, listed: bool, may: bool) -> None:
    assert leaves(machine(1, state), listed=listed) is may
