"""What the page shows of time: how much of a transition's has passed, and that a clock is wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from fleetd.model.report import DaemonReport, LastFault, Report
from fleetd.ops.page.sections import _bar
from fleetd.ops.page.words import troubles

BEGAN = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
END = BEGAN + timedelta(minutes=10)


@pytest.mark.parametrize(
    ("minutes", "width"), [(0, "0.0"), (2.5, "25.0"), (5, "50.0"), (10, "100.0"), (11, "100.0"), (-1, "0.0")]
)
def test_the_bar_is_as_long_as_time_has_passed(minutes: float, width: str) -> None:
    assert f'class="gone" width="{width}"' in str(_bar(BEGAN, END, BEGAN + timedelta(minutes=minutes)))


@pytest.mark.parametrize(("began", "deadline"), [(END, BEGAN), (BEGAN, BEGAN)])
def test_there_is_no_bar_without_a_span(began: datetime, deadline: datetime) -> None:
    assert _bar(began, deadline, BEGAN) is None


def test_a_fault_has_its_day() -> None:
    fault = LastFault(at=BEGAN, where="pass", error="KeyError: here")
    ((what, words),) = troubles(Report(daemon=DaemonReport(running=True, faults=3, last_fault=fault)))
    assert what == "3 faults in fleetd's own code"
    assert words == "the last at 2026-03-02 12:00:00 UTC, pass: KeyError: here"


def test_clocks_that_are_apart_may_need_a_person() -> None:
    daemon = DaemonReport(running=True, provider="ok")
    ((what, words),) = troubles(Report(daemon=daemon, clocks_apart="ours is 90000 s ahead of the provider's"))
    assert what == "A clock is wrong"
    assert "(ours is 90000 s ahead of the provider's)" in words
    assert troubles(Report(daemon=daemon)) == []
