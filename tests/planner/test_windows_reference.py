"""Windows against an independent reference at every half hour of three years in eight zones.

The reference knows no edges. It walks through time and keeps the latest local reading there has been (a clock that
goes back does not take a reading back); a window of a day is open once that reading has reached its start and until
it has reached its end. Only zoneinfo is used.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from fleetd.model.fleet import Fleet, Window
from fleetd.planner.windows import effective, next_edge
from tests.support.build import fleet

ZONES = (
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
    "Antarctica/Troll",
    "Pacific/Chatham",
    "Asia/Kathmandu",
    "America/Santiago",
)
FIRST = datetime(2026, 1, 1, tzinfo=UTC)
LAST = datetime(2029, 1, 1, tzinfo=UTC)
HALF_HOUR = timedelta(minutes=30)
MINUTE = timedelta(minutes=1)


def windows(zone: str) -> tuple[Window, ...]:
    return (
        Window("night", 20 * 60, 7 * 60, zone, days=frozenset({0, 1, 2, 3, 4}), target=1),
        Window("weekend", 0, 1440, zone, days=frozenset({5, 6}), target=2),
        Window("small-hours", 135, 175, zone, target=3),
        Window("round", 150, 150, zone, days=frozenset({6}), target=4),
    )


def readings(zone: str) -> Iterator[tuple[datetime, datetime]]:
    """(instant, the latest local reading so far) at every half hour; minute by minute where the offset changes."""
    tz = ZoneInfo(zone)
    instant = FIRST - timedelta(days=3)
    latest = datetime.min  # noqa: DTZ901 - a local reading has no zone
    while instant < LAST:
        latest = max(latest, instant.astimezone(tz).replace(tzinfo=None))
        if instant >= FIRST:
            yield instant, latest
        after = instant + HALF_HOUR
        if instant.astimezone(tz).utcoffset() != after.astimezone(tz).utcoffset():
            step = instant
            while step < after:
                latest = max(latest, step.astimezone(tz).replace(tzinfo=None))
                step += MINUTE
        else:
            latest = max(latest, (after - MINUTE).astimezone(tz).replace(tzinfo=None))
        instant = after


def is_open(window: Window, latest: datetime) -> bool:
    for back in (0, 1, 2):
        day = latest.date() - timedelta(days=back)
        if day.weekday() not in window.days:
            continue
        start = datetime.combine(day, time()) + timedelta(minutes=window.start)
        length = window.end - window.start
        end = start + timedelta(minutes=length if length > 0 else length + 1440)
        if start <= latest < end:
            return True
    return False


def expected(want: Fleet, latest: datetime) -> tuple[int, str | None]:
    for window in reversed(want.windows):
        if is_open(window, latest):
            return window.target or 0, window.name
    return want.target, None


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("zone", ZONES)
def test_every_half_hour_of_three_years(zone: str) -> None:
    want = fleet(target=8, windows=windows(zone))
    mismatches = []
    looked = 0
    for instant, latest in readings(zone):
        looked += 1
        found = effective(want, instant)
        if (found.target, found.window) != expected(want, latest):
            mismatches.append((instant, found, expected(want, latest)))
    assert looked == 3 * 365 * 48 + 48  # 2028 is a leap year
    assert mismatches == []


@pytest.mark.parametrize("zone", ZONES)
def test_restarts_at_arbitrary_instants_lead_to_the_same_targets(zone: str) -> None:
    """Whoever follows the edges from any start sees what whoever asks at any instant sees."""
    want = fleet(target=8, windows=windows(zone))
    rng = random.Random(zone)
    for _ in range(40):
        instant = FIRST + timedelta(seconds=rng.randrange(int((LAST - FIRST).total_seconds())))
        edge = next_edge([want], instant)
        assert edge is not None
        span = edge - instant
        held = effective(want, instant)
        for share in (0.1, 0.5, 0.9):
            assert effective(want, instant + share * span) == held
        assert effective(want, edge - timedelta(microseconds=1)) == held
