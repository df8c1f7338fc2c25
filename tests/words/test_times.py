"""Instants for people."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from fleetd.words.times import local_clock

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("at", "zone", "words"),
    [
        (NOON + timedelta(hours=18), "Europe/Berlin", "07:00 Berlin"),
        (NOON + timedelta(hours=21), "Europe/Berlin", "Tue 10:00 Berlin"),
        (NOON + timedelta(days=5, hours=23), "Europe/Berlin", "Sun 12:00 Berlin"),
        (NOON + timedelta(days=6), "Europe/Berlin", "08 Mar 13:00 Berlin"),
        (NOON + timedelta(days=120), "Europe/Berlin", "30 Jun 14:00 Berlin"),
        (NOON + timedelta(days=365), "Europe/Berlin", "02 Mar 2027 13:00 Berlin"),
        (datetime(2026, 10, 25, 0, 30, tzinfo=UTC), "Europe/Berlin", "25 Oct 02:30 CEST Berlin"),
        (datetime(2026, 10, 25, 1, 30, tzinfo=UTC), "Europe/Berlin", "25 Oct 02:30 CET Berlin"),
        (datetime(2026, 10, 25, 2, 30, tzinfo=UTC), "Europe/Berlin", "25 Oct 03:30 Berlin"),
        (NOON, "America/New_York", "07:00 New York"),
        (NOON, "America/Argentina/Buenos_Aires", "09:00 Buenos Aires"),
        (NOON, "UTC", "12:00 UTC"),
        (NOON, None, "12:00 UTC"),
        (NOON, "", "12:00 UTC"),
        (NOON, "Mars/Olympus", "12:00 UTC"),
        (NOON, "../../etc/passwd", "12:00 UTC"),
        (NOON, "\x00", "12:00 UTC"),
        (datetime.max.replace(tzinfo=UTC), "Asia/Tokyo", "31 Dec 9999 23:59 UTC"),
        (NOON - timedelta(hours=3), "Europe/Berlin", "10:00 Berlin"),
    ],
)
def test_an_instant_where_a_window_is(at: datetime, zone: str | None, words: str) -> None:
    assert local_clock(at, zone, NOON) == words
