"""What the page shows of time: how much of a transition's has passed, and that a clock is wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from fleetd.model.report import DaemonReport, LastFault, Report
from fleetd.ops.page.needs import troubles
from fleetd.ops.page.rows import bar

BEGAN = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
END = BEGAN + timedelta(minutes=10)


@pytest.mark.parametrize(
    ("minutes", "width"), [(0, "0.0"), (2.5, "25.0"), (5, "50.0"), (10, "100.0"), (11, "100.0"), (-1, "0.0")]
)
def test_the_bar_is_as_long_as_time_has_passed(minutes: float, width: str) -> None:
    assert f'class="gone" width="{width}"' in str(bar(BEGAN, END, BEGAN + timedelta(minutes=minutes)))


@pytest.mark.parametrize(("began", "deadline"), [(END, BEGAN), (BEGAN, BEGAN)])
def test_there_is_no_bar_without_a_span(began: datetime, deadline: datetime) -> None:
    assert bar(began, deadline, BEGAN) is None


def test_a_fault_has_its_day() -> None:
    fault = LastFault(at=BEGAN, where="pass", error="KeyError: here")
    (need,) = troubles(Report(daemon=DaemonReport(running=True, faults=3, last_fault=fault)))
    assert need.subject == "fleetd"
    assert need.words == ("met 3 faults in its own code, the last at 2026-03-02 12:00:00 UTC, pass: KeyError: here")
    assert need.since == BEGAN


def test_clocks_that_are_apart_may_need_a_person() -> None:
    daemon = DaemonReport(running=True, provider="ok")
    (need,) = troubles(Report(daemon=daemon, clocks_apart="ours is 90000 s ahead of the provider's"))
    assert f"{need.subject} {need.words}".startswith("A clock is wrong. ")
    assert "(ours is 90000 s ahead of the provider's)" in need.words
    assert troubles(Report(daemon=daemon)) == []
