"""Windows as a pure function of time: what holds *now*, after any downtime and across every clock change.

When a single window is open stands in ``model.spans``.

Where windows overlap, the later one in the file decides alone: what it leaves out falls back to the fleet's
configured target, not to the window below it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

from fleetd.model.fleet import Fleet, Window
from fleetd.model.spans import spans, zone

_DAY = timedelta(days=1)
_BACK = 2
"""Days to look back: a window lasts a day at most, and a zone can be a day ahead of UTC."""
_EDGES = 40
"""Edges to look at for one that changes something; windows hidden under others have edges as well."""
_AHEAD = 9
"""Days to look ahead for the next edge of a weekly window."""


@dataclass(frozen=True, slots=True)
class Effective:
    """What holds for a fleet at an instant."""

    target: int
    window: str | None = None
    """Name of the deciding window; None outside of all."""
    park_idle: bool = False
    floor: int = 0
    """While parking: how many stay up even when idle (the window's own target, else none)."""
    opened_at: datetime | None = None
    closes_at: datetime | None = None


def effective(fleet: Fleet, instant: datetime) -> Effective:
    """What holds for ``fleet`` at ``instant`` (timezone-aware)."""
    for window in reversed(fleet.windows):
        span = _span_at(window, instant)
        if span is not None:
            return Effective(
                target=fleet.target if window.target is None else window.target,
                window=window.name,
                park_idle=window.park_idle,
                floor=window.target or 0,
                opened_at=span[0],
                closes_at=span[1],
            )
    return Effective(fleet.target)


def next_edge(fleets: Iterable[Fleet], instant: datetime) -> datetime | None:
    """The next instant after ``instant`` at which any window opens or closes; None without windows."""
    edges = (
        edge
        for fleet in fleets
        for window in fleet.windows
        for span in _spans_ahead(window, instant)
        for edge in span
        if edge > instant
    )
    return min(edges, default=None)


def next_change(fleet: Fleet, instant: datetime) -> tuple[datetime, Effective] | None:
    """(when, what) holds next for ``fleet`` instead of what holds at ``instant``; None when nothing ever changes."""
    now, edge = effective(fleet, instant), next_edge([fleet], instant)
    for _ in range(_EDGES):
        if edge is None:
            return None
        then = effective(fleet, edge)
        if (then.target, then.window, then.park_idle) != (now.target, now.window, now.park_idle):
            return edge, then
        edge = next_edge([fleet], edge)
    return None


def _span_at(window: Window, instant: datetime) -> tuple[datetime, datetime] | None:
    today = instant.astimezone(zone(window.timezone)).date()
    found = [s for s in spans(window, today - _BACK * _DAY, today + _DAY) if s[0] <= instant < s[1]]
    return found[-1] if found else None


def _spans_ahead(window: Window, instant: datetime) -> Iterator[tuple[datetime, datetime]]:
    today = instant.astimezone(zone(window.timezone)).date()
    soon = list(spans(window, today - _BACK * _DAY, today + _AHEAD * _DAY))
    yield from soon
    for day in window.dates:  # near ones a second time, which changes nothing
        yield from spans(window, day, day)
    if not window.days or any(opens > instant for opens, _ in soon):
        return
    # A long run of exceptions pushes the next opening further out, and a clock change may skip one week's. One is
    # enough: nobody needs the edges behind it, and with a clock that is decades off there may be thousands of days
    # between here and the last exception.
    beyond = today + (_AHEAD + 1) * _DAY
    yield from islice(spans(window, beyond, max((*window.except_dates, beyond)) + 2 * _AHEAD * _DAY), 1)
