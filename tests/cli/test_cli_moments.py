"""Times and months on a command line that no calendar, or no clock, can come near: a usage error, and no crash."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
import typer

from fleetd.cli.cost import cost
from fleetd.cli.options import moment, moment_ago

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
BEYOND = (
    "0001-01-01", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "9999-12-31", "1969-12-31T23:00:00Z",
    "3000-01-01T00:00:00Z",
)  # fmt: skip


@pytest.mark.parametrize("text", BEYOND)
@pytest.mark.parametrize("read", [moment, moment_ago])
@pytest.mark.parametrize("zone", [UTC, ZoneInfo("Pacific/Kiritimati"), None], ids=["utc", "ahead", "local"])
def test_a_time_that_nobody_can_mean_is_a_usage_error(read: Callable[..., datetime], text: str, zone: object) -> None:
    with pytest.raises(typer.BadParameter, match="expected"):
        read(text, NOW, zone)


def test_the_longest_duration_is_taken_both_ways() -> None:
    assert moment("+3650d", NOW) - NOW == NOW - moment_ago("3650d", NOW) == timedelta(days=3650)


@pytest.mark.parametrize("month", ["0000-01", "0001-01", "9999-12", "1970-01", "2200-01"])
def test_a_month_that_nobody_was_billed_for_is_a_usage_error(month: str) -> None:
    with pytest.raises(typer.BadParameter, match="expected a month"):
        cost(month)
