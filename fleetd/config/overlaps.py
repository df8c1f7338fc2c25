"""Windows of one fleet that can be open at the same time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from itertools import combinations, pairwise

from fleetd.model.fleet import Window
from fleetd.model.spans import span_on

_YEAR = tuple(date(2024, 1, 1) + timedelta(days=n) for n in range(371))
"""Any 53 weeks will do for windows that open by weekday: what differs between years is only on which Sunday the
clocks change."""


def overlaps(windows: Sequence[Window]) -> Iterator[tuple[int, int, date]]:
    """Pairs of places (earlier, later) of windows that overlap, with a day on which the later one then opens."""
    if len(windows) < 2:
        return
    openings = [_openings(window, windows) for window in windows]
    for earlier, later in combinations(range(len(windows)), 2):
        day = _first_overlap(openings[earlier], openings[later])
        if day is not None:
            yield earlier, later, day


def _openings(window: Window, windows: Sequence[Window]) -> list[tuple[datetime, datetime, date]]:
    """(start, end, day) in UTC of a sample year, and of the days around every date that any window names."""
    named = {d for w in windows for d in (*w.dates, *w.except_dates)}
    days = {*_YEAR, *(d + timedelta(days=n) for d in named for n in (-1, 0, 1))}
    found = ((span_on(window, day), day) for day in sorted(days))
    return [(*span, day) for span, day in found if span is not None]


def _first_overlap(
    one: Sequence[tuple[datetime, datetime, date]], other: Sequence[tuple[datetime, datetime, date]]
) -> date | None:
    spans = sorted([(*span, 0) for span in one] + [(*span, 1) for span in other])
    for before, after in pairwise(spans):
        if before[3] != after[3] and after[0] < before[1]:
            return next(day for _, _, day, which in (before, after) if which == 1)
    return None
