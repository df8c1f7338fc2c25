"""The last hours of one fleet as an inline SVG: machines up against target. Pure; coloured by the page's style."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise

from fleetd.ops.page.html import Markup, tag
from fleetd.ops.page.record import Span
from fleetd.ops.page.words import clock, count
from fleetd.words.times import span as length

WIDTH, HEIGHT = 1000, 100
"""Of the SVG's own units; it is stretched to its place, with lines that keep their width."""
RANGES = ((timedelta(hours=1), 4), (timedelta(hours=6), 3), (timedelta(hours=24), 4))
"""(how far back, how many parts the axis has); a young record is drawn on a shorter axis."""
_HEADROOM = 1.12
_MINUS = "\N{MINUS SIGN}"
_FRESH = timedelta(minutes=2)
"""A look this young holds until now, in the drawing."""


def reach(begins: datetime | None, now: datetime) -> tuple[timedelta, int]:
    """The shortest range that holds the whole record."""
    return next((r for r in RANGES if begins is not None and now - begins <= r[0]), RANGES[-1])


def chart(spans: Sequence[Span], now: datetime, back: tuple[timedelta, int], *, label: str) -> Markup:
    """The drawing with its axes, and a caption that says the same in words.

    Args:
        spans: of one fleet, oldest first.
        now: the right edge.
        back: one of ``RANGES``.
        label: what a screen reader calls the drawing.
    """
    whole, parts = back
    begin = now - whole
    shown = [replace(s, since=max(s.since, begin)) for s in spans if s.until >= begin]
    if shown and now - shown[-1].until <= _FRESH:
        shown[-1] = replace(shown[-1], until=max(now, shown[-1].until))
    most = max((max(s.up, s.target) for s in shown), default=0)
    frame = _Frame(begin, whole, max(most, 1) * _HEADROOM)
    drawn = list(_thinned(shown, frame))
    drawing = tag(
        "svg",
        _path("grid", (f"M{WIDTH * part / parts:.0f} 0V{HEIGHT}" for part in range(1, parts))),
        _path("short", _shortfall(drawn, frame)),
        _path("area", _area(drawn, frame)),
        _path("line", _steps([(s, s.up) for s in drawn], frame)),
        _path("goal", _steps([(s, s.target) for s in drawn], frame)),
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
        tag("figcaption", _caption(shown, now, whole)),
        class_="chart",
    )


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where instants and numbers of machines are in the drawing."""

    begin: datetime
    reach: timedelta
    top: float

    def x(self, at: datetime) -> str:
        return f"{WIDTH * max(0.0, min(1.0, (at - self.begin) / self.reach)):.1f}"

    def y(self, value: int) -> str:
        return f"{HEIGHT * (1 - value / self.top):.1f}"

    def column(self, at: datetime) -> int:
        return int(WIDTH * ((at - self.begin) / self.reach))


def _thinned(spans: Sequence[Span], frame: _Frame) -> Iterator[Span]:
    """At most a few spans for each column: of those that begin and end in one, the worst."""
    last: Span | None = None
    for span in spans:
        if last is None:
            last = span
        elif (last.up, last.target, last.until) == (span.up, span.target, span.since):
            last = replace(last, until=span.until)
        elif frame.column(last.since) == frame.column(span.until):
            last = replace(last, until=span.until, up=min(last.up, span.up), target=max(last.target, span.target))
        else:
            yield last
            last = span
    if last is not None:
        yield last


def _path(name: str, steps: Iterator[str]) -> Markup:
    return Markup(f'<path class="{name}" d="{"".join(steps)}"/>')


def _steps(values: Sequence[tuple[Span, int]], frame: _Frame) -> Iterator[str]:
    last: datetime | None = None
    for span, value in values:
        height = frame.y(value)
        yield f"V{height}" if last == span.since else f"M{frame.x(span.since)} {height}"
        yield f"H{frame.x(span.until)}"
        last = span.until


def _area(spans: Sequence[Span], frame: _Frame) -> Iterator[str]:
    for span in spans:
        yield f"M{frame.x(span.since)} {HEIGHT}V{frame.y(span.up)}H{frame.x(span.until)}V{HEIGHT}Z"


def _shortfall(spans: Sequence[Span], frame: _Frame) -> Iterator[str]:
    for span in spans:
        if span.up < span.target:
            up, target = frame.y(span.up), frame.y(span.target)
            yield f"M{frame.x(span.since)} {up}V{target}H{frame.x(span.until)}V{up}Z"


def _axis(whole: timedelta, parts: int) -> Iterator[str]:
    for part in range(parts):
        minutes = round(whole.total_seconds() / 60 * (1 - part / parts))
        yield f"{_MINUS}{minutes} min" if minutes % 60 else f"{_MINUS}{minutes // 60} h"
    yield "now"


def _caption(spans: Sequence[Span], now: datetime, whole: timedelta) -> str:
    if not spans:
        return "No record yet: it begins with the next pass."
    low, high = min(s.up for s in spans), max(s.up for s in spans)
    short = sum((s.until - s.since for s in spans if s.up < s.target), timedelta())
    words = f"{low} up throughout" if low == high else f"{low} to {high} up"
    words += f", below target for {length(short)}" if short else ", never below target"
    gaps = sum(after.since > before.until for before, after in pairwise(spans))
    if gaps:
        words += f", {count(gaps, 'gap')} in which nobody looked"
    began = spans[0].since
    where = "" if now - began >= whole - _FRESH else f" The record begins at {clock(began, now)} UTC."
    return f"Last {length(whole)}: {words}.{where}"
