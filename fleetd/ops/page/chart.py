"""The last hours of one fleet as an inline SVG: machines up against target, and what happened to it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import pairwise

from fleetd.ops.page.drawing import (
    PATIENCE,
    Frame,
    area,
    bands,
    parked,
    path,
    shortfall,
    steps,
    thinned,
    unseen,
    within,
)
from fleetd.ops.page.html import Markup, tag
from fleetd.ops.page.record import Span
from fleetd.ops.page.words import clock, count
from fleetd.words.times import span as length

WIDTH, HEIGHT = 1000, 100
"""Of the SVG's own units; it is stretched to its place, with lines that keep their width."""
RANGES = ((timedelta(hours=1), 4), (timedelta(hours=6), 3), (timedelta(hours=24), 4))
"""(how far back, how many parts the axis has); a young record is drawn on a shorter axis."""
MOST_MARKS = 60
"""Marks on one chart; the newest."""
_SPARK = (120, 20)
_HEADROOM = 1.12
_MINUS = "\N{MINUS SIGN}"


def reach(begins: datetime | None, now: datetime) -> tuple[timedelta, int]:
    """The shortest range that holds the whole record."""
    return next((r for r in RANGES if begins is not None and now - begins <= r[0]), RANGES[-1])


def chart(
    spans: Sequence[Span],
    now: datetime,
    back: tuple[timedelta, int],
    *,
    label: str,
    marks: Sequence[tuple[datetime, str]] = (),
    patience: timedelta = PATIENCE,
) -> Markup:
    """The drawing with its axes, and a caption that says the same in words.

    Args:
        spans: of one fleet, oldest first.
        now: the right edge.
        back: one of ``RANGES``.
        label: what a screen reader calls the drawing.
        marks: what happened to it, and when: a class of the page's style each (reload, freeze or outage).
        patience: a look this young holds until now.
    """
    whole, parts = back
    begin = now - whole
    shown = within(spans, begin, now, patience)
    most = max((max(s.up, s.target) for s in shown), default=0)
    frame = Frame(begin, whole, max(most, 1) * _HEADROOM, WIDTH, HEIGHT)
    drawn = list(thinned(shown, frame))
    drawing = tag(
        "svg",
        path("parked", bands(parked(shown), frame)),
        path("blank", bands(unseen(shown, now), frame)),
        path("grid", (f"M{WIDTH * part / parts:.0f} 0V{HEIGHT}" for part in range(1, parts))),
        path("short", shortfall(drawn, frame)),
        path("area", area(drawn, frame)),
        path("line", steps([(s, s.up) for s in drawn], frame)),
        path("goal", steps([(s, s.target) for s in drawn], frame)),
        (
            path(f"mark-{kind}", [f"M{frame.x(at)} 0V{HEIGHT}"])
            for at, kind in [m for m in marks if begin <= m[0] <= now][-MOST_MARKS:]
        ),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        preserveAspectRatio="none",
        role="img",
        aria_label=label,
        focusable="false",
    )
    most_at = tag("span", most, class_="most", aria_hidden="true")
    return tag(
        "figure",
        tag("div", most_at, drawing, class_="plot"),
        tag("div", (tag("span", word) for word in _axis(whole, parts)), class_="hours", aria_hidden="true"),
        tag("figcaption", _caption(shown, now, whole, patience)),
        class_="chart",
    )


def spark(
    spans: Sequence[Span], now: datetime, back: timedelta, *, label: str, patience: timedelta = PATIENCE
) -> Markup:
    """The same in a line of text, without axes: grey where it was parked, hatched where nobody looked."""
    width, height = _SPARK
    shown = within(spans, now - back, now, patience)
    most = max((max(s.up, s.target) for s in shown), default=0)
    frame = Frame(now - back, back, max(most, 1) * _HEADROOM, width, height)
    drawn = list(thinned(shown, frame))
    return tag(
        "svg",
        path("parked", bands(parked(drawn), frame)),
        path("blank", bands(unseen(drawn, now), frame)),
        path("short", shortfall(drawn, frame)),
        path("area", area(drawn, frame)),
        class_="spark",
        viewBox=f"0 0 {width} {height}",
        preserveAspectRatio="none",
        role="img",
        aria_label=f"{label}: {_caption(shown, now, back, patience)}",
        focusable="false",
    )


def _axis(whole: timedelta, parts: int) -> Iterator[str]:
    for part in range(parts):
        minutes = round(whole.total_seconds() / 60 * (1 - part / parts))
        yield f"{_MINUS}{minutes} min" if minutes % 60 else f"{_MINUS}{minutes // 60} h"
    yield "now"


def _caption(spans: Sequence[Span], now: datetime, whole: timedelta, patience: timedelta) -> str:
    if not spans:
        return "No record yet: it begins with the next pass."
    low, high = min(s.up for s in spans), max(s.up for s in spans)
    short = sum((s.until - s.since for s in spans if s.short), timedelta())
    slept = sum((s.until - s.since for s in spans if s.parked), timedelta())
    words = f"{low} up throughout" if low == high else f"{low} to {high} up"
    words += f", below target for {length(short)}" if short else ", never below target"
    if slept:
        words += f", parked for {length(slept)}"
    gaps = sum(after.since > before.until for before, after in pairwise(spans))
    if gaps:
        words += f", {count(gaps, 'gap')} in which nobody looked"
    if now - spans[-1].until > patience:
        words += f", not seen for the last {length(now - spans[-1].until)}"
    began = spans[0].since
    where = "" if now - began >= whole - PATIENCE else f" The record begins at {clock(began, now)} UTC."
    return f"Last {length(whole)}: {words}.{where}"
