"""Whether events can be read: said once, with which machine's it was, and taken back once."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from fleetd.cloud.paperspace.events_sight import ENOUGH, MOST_REMEMBERED, EventsSight
from fleetd.model.errors import CloudError, Unavailable

WHY = Unavailable("no events", operation="events", status=500)


def told(sight: EventsSight, *asked: tuple[str, CloudError | None]) -> list[dict[str, Any]]:
    with capture_logs() as logs:
        for machine_id, problem in asked:
            sight.asked(machine_id, problem)
    return [dict(entry) for entry in logs]


SILENT = {
    "event": "events.went_silent",
    "log_level": "warning",
    "machine": "ps1",
    "error": "no events",
    "status": 500,
}
BACK = {"event": "events.came_back", "log_level": "info", "machine": "ps1"}


def test_it_is_said_once_and_taken_back_once() -> None:
    sight = EventsSight()
    assert not sight.silent, "nobody has asked"
    assert told(sight, *[("ps1", None)] * 2 * ENOUGH) == []
    assert (sight.silent, sight.remarks) == (False, ())
    assert told(sight, ("ps1", WHY), ("ps2", WHY), ("ps1", WHY)) == [SILENT]
    assert sight.silent
    assert told(sight, ("ps1", None), ("ps1", None)) == [BACK]
    assert (sight.silent, sight.remarks) == (False, ())
    assert told(sight, ("ps1", WHY)) == [SILENT]


def test_the_remark_names_the_last_that_failed_and_how_many_others() -> None:
    sight = EventsSight()
    sight.asked("ps1", WHY)
    assert sight.remarks[0].startswith("the events of ps1 cannot be read (no events): why a machine did not start")
    sight.asked("ps2", Unavailable("oops"))
    assert sight.remarks[0].startswith("the events of ps2 and 1 more cannot be read (oops): ")
    sight.asked("ps3", WHY)
    assert sight.remarks[0].startswith("the events of ps3 and 2 more cannot be read (no events): ")
    assert len(sight.remarks) == 1


def test_while_others_can_be_read_it_is_not_silent_and_remembers() -> None:
    sight = EventsSight()
    sight.asked("ps1", WHY)
    assert told(sight, ("ps2", None)) == []
    assert not sight.silent
    assert sight.remarks
    sight.asked("ps1", WHY)
    assert sight.silent


def test_so_many_successes_in_a_row_are_enough_though_nobody_asks_about_that_machine_again() -> None:
    sight = EventsSight()
    sight.asked("ps1", WHY)
    assert told(sight, *[("ps2", None)] * (ENOUGH - 1)) == []
    assert sight.remarks
    assert told(sight, ("ps1", WHY), *[("ps2", None)] * (ENOUGH - 1)) == [], "not in a row"
    assert told(sight, ("ps9", None)) == [BACK | {"machine": "ps9"}]
    assert sight.remarks == ()


@pytest.mark.parametrize(("more", "others"), [(0, MOST_REMEMBERED - 1), (1, MOST_REMEMBERED - 1)])
def test_no_more_machines_are_remembered_than_so_many_and_the_oldest_goes_first(more: int, others: int) -> None:
    sight = EventsSight()
    assert len(told(sight, *[(f"ps{n}", WHY) for n in range(MOST_REMEMBERED + more)])) == 1
    assert f"and {others} more cannot" in sight.remarks[0]
    assert (told(sight, ("ps0", None)) == []) is bool(more)
