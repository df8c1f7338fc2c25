"""When a window is open: spans of UTC, across every clock change.

A window opens on a local day at ``start`` and closes at ``end``, on the next day where ``end`` is not after
``start``. Both are turned into instants by one rule: the first instant at which the local clock reads that time, or,
where a clock change skips the time, the first instant after the gap. A time that is read twice counts the first time.
A window whose two instants a clock change has put in the wrong order, or together, is not open that day.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from fleetd.model.fleet import Window

_DAY = timedelta(days=1)


def spans(window: Window, first: date, last: date) -> Iterator[tuple[datetime, datetime]]:
    """(opens, closes) in UTC for every local day from ``first`` to ``last`` on which it opens."""
    for ordinal in range(first.toordinal(), last.toordinal() + 1):
        span = span_on(window, date.fromordinal(ordinal))
        if span is not None:
            yield span


def span_on(window: Window, day: date) -> tuple[datetime, datetime] | None:
    """(opens, closes) in UTC on that local day; None where it does not open."""
    if day in window.except_dates or not (day in window.dates or day.weekday() in window.days):
        return None
    return _span(window.timezone, window.start, window.end, day)


@lru_cache(maxsize=64)
def zone(name: str) -> ZoneInfo:
    """The zone of that name, read once."""
    return ZoneInfo(name)


@lru_cache(maxsize=4096)
def _span(name: str, start: int, end: int, day: date) -> tuple[datetime, datetime] | None:
    opens = _instant(name, day, start)
    closes = _instant(name, day if end > start else day + _DAY, end)
    return (opens, closes) if opens < closes else None


def _instant(name: str, day: date, minutes: int) -> datetime:
    """The first instant at which the zone's clock reads that time of that day, or has skipped it."""
    naive = datetime.combine(day, time()) + timedelta(minutes=minutes)
    local = naive.replace(tzinfo=zone(name))
    late = local.replace(fold=0).astimezone(UTC)
    early = local.replace(fold=1).astimezone(UTC)
    if early >= late:
        return late  # an ordinary time, or one that is read twice: fold=0 is the first
    # A gap: with fold=1 the offset after the change is used, which is too early; the change lies in between.
    low, high = int(early.timestamp()), int(late.timestamp())
    while high - low > 1:
        middle = (low + high) // 2
        reads = datetime.fromtimestamp(middle, UTC).astimezone(zone(name)).replace(tzinfo=None)
        low, high = (low, middle) if reads >= naive else (middle, high)
    return datetime.fromtimestamp(high, UTC)
