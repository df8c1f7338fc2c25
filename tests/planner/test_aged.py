"""When a picture is too old to be taken for now, and what is said of it then."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from msgspec.structs import replace

from fleetd.planner.aged import OVERDUE, aged, patience_of
from tests.support.fake_handle import AT, a_fleet, a_report

P = pytest.param
PATIENCE = timedelta(minutes=3)
FLEETS = {"training": a_fleet(converged=True), "batch": a_fleet(converged=False, was_converged=True)}


def look(believed_at: datetime | None, doubted_since: datetime | None = None, doubt: str = ""):
    parts = {"at": AT, "complete": True, "believed_at": believed_at, "doubted_since": doubted_since, "doubt": doubt}
    return a_report(observation=parts, fleets=FLEETS)


@pytest.mark.parametrize(
    ("report", "overdue"),
    [
        P(look(AT), False, id="a look of now"),
        P(look(AT - PATIENCE), False, id="just within the patience"),
        P(look(AT - PATIENCE - timedelta(seconds=1)), True, id="beyond it"),
        P(look(AT + timedelta(hours=9)), False, id="of the future: the clock was set back"),
        P(look(None), False, id="nothing was ever believed"),
        P(look(AT - 9 * PATIENCE, AT - PATIENCE, "it lacks ps-9"), False, id="it is doubted for a better reason"),
        P(a_report(observation=None, fleets=FLEETS), False, id="no look at all"),
    ],
)
def test_an_old_look_is_doubted_since_it_was_made_and_nothing_else_of_it_changes(report, overdue: bool) -> None:
    found = aged(report, AT, PATIENCE)
    if not overdue:
        assert found == report
        return
    assert {name: fleet.converged for name, fleet in found.fleets.items()} == {"training": False, "batch": False}
    assert {name: replace(fleet, converged=FLEETS[name].converged) for name, fleet in found.fleets.items()} == FLEETS
    assert (found.observation.doubted_since, found.observation.doubt) == (report.observation.believed_at, OVERDUE)
    assert replace(found, observation=report.observation, fleets=report.fleets) == report


@pytest.mark.parametrize(("interval_s", "patience_s"), [(30, 150), (1, 63), (600, 1860)])
def test_three_passes_and_a_minute_are_waited_for(interval_s: int, patience_s: int) -> None:
    assert patience_of(timedelta(seconds=interval_s)) == timedelta(seconds=patience_s)
