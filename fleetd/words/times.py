"""Instants and lengths of time for people."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_TODAY = timedelta(hours=20)
"""An instant that is no further off needs no day."""
A_YEAR = timedelta(days=300)
"""What is further off is told with its year."""
_THIS_WEEK = timedelta(days=6)
"""Nor one that is no further off a date: its weekday comes but once until then."""


def clock(at: datetime) -> str:
    """An instant for people: ``2026-03-02 20:00:00 UTC``."""
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def local_clock(at: datetime, zone: str | None, now: datetime) -> str:
    """An instant in the zone that a window is written in: ``07:00 Berlin``, on another day ``Mon 07:00 Berlin``.

    With its date where it is days away, and with the name of its offset, ``02:30 CEST Berlin``, in an hour that comes
    twice. In UTC where the zone is not given, or not known here.
    """
    try:
        place, called = ZoneInfo(zone or "UTC"), (zone or "UTC").rpartition("/")[2].replace("_", " ")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        place, called = ZoneInfo("UTC"), "UTC"
    try:
        there = at.astimezone(place)
    except OverflowError:  # beyond the calendar
        there, called = at, "UTC"
    away = at - now
    day = "" if away < _TODAY else f"{there:%a} " if away < _THIS_WEEK else f"{there:%d %b} "
    if away >= A_YEAR:
        day = f"{there:%d %b %Y} "
    twice = there.replace(fold=1 - there.fold).utcoffset() != there.utcoffset()
    return f"{day}{there:%H:%M}{f' {there:%Z}' if twice else ''} {called}"


def span(delta: timedelta) -> str:
    """A length of time for people: ``45 s``, ``12 min``, ``3 h 20 min``, ``2 d 4 h``."""
    seconds = max(0, round(delta.total_seconds()))
    if seconds < 90:
        return f"{seconds} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def clocks_sentence(apart: str) -> str:
    """What it means that our clock and the provider's are apart, which ``apart`` says by how much."""
    return (
        f"This host's clock and the provider's do not agree ({apart}): nothing is destroyed or stopped for its age, "
        "and no window that only one of them sees changes anything, until they do. See timedatectl."
    )
