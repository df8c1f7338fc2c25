"""A wait goes on between its beginning and its end, and no clock that is set back prolongs it beyond twice."""

from __future__ import annotations

from datetime import timedelta

import pytest

from fleetd.planner.waits import is_waiting
from tests.support.build import NOW

HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("since", "goes_on"),
    [
        pytest.param(NOW - HOUR - SECOND, False, id="over"),
        pytest.param(NOW - HOUR, False, id="just over"),
        pytest.param(NOW - HOUR + SECOND, True, id="about to end"),
        pytest.param(NOW, True, id="begins now"),
        pytest.param(NOW + HOUR - SECOND, True, id="the clock was set back by less than it lasts"),
        pytest.param(NOW + HOUR, False, id="by as much as it lasts: nobody knows when it began"),
        pytest.param(NOW + HOUR + SECOND, False, id="by more"),
    ],
)
def test_a_wait_ends(since, goes_on) -> None:
    assert is_waiting(since, HOUR, NOW) is goes_on


def test_no_time_is_no_wait() -> None:
    assert not is_waiting(NOW, timedelta(0), NOW)
