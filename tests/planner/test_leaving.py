"""Machines that somebody else destroys: when their places are free."""

from __future__ import annotations

from datetime import timedelta

import pytest

from fleetd.planner.leaving import LEAVING, frees_its_place
from tests.support.build import NOW, ago, facts, later, machine

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
        ("ready", facts(1, last_state=LEAVING, last_seen=later(minutes=1)), False),
    ],
)
def test_when_the_place_of_one_that_leaves_is_free(state, fact, free) -> None:
    assert frees_its_place(machine(1, state), fact, PATIENCE, NOW) is free
