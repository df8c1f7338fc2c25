"""A fleet's record as paths of an SVG, coloured by the page's style; for the chart and the sparkline."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise

from fleetd.ops.page.html import Markup
from fleetd.ops.page.record import Span

PATIENCE = timedelta(minutes=2)
"""A look this young holds until now, in a drawing that is not told how far apart looks are."""


@dataclass(frozen=True, slots=True)
class Frame:
    """Where instants and numbers of machines are in a drawing."""

    begin: datetime
    reach: timedelta
    top: float
    width: int
    height: int

    def x(self, at: datetime) -> str:
        """Of an instant."""
        return _short(self.width * max(0.0, min(1.0, (at - self.begin) / self.reach)))

    def y(self, value: int) -> str:
        """Of so many machines."""
        return _short(self.height * (1 - value / self.top))

    def column(self, at: datetime) -> int:
        """The column that an instant is in."""
        return int(self.width * ((at - self.begin) / self.reach))


def within(spans: Iterable[Span], begin: datetime, now: datetime, patience: timedelta) -> list[Span]:
    """The part of a record from ``begin`` on; its last look holds until now, unless it is old."""
    shown = [replace(s, since=max(s.since, begin)) for s in spans if s.until >= begin]
    if shown and now - shown[-1].until <= patience:
        shown[-1] = replace(shown[-1], until=max(now, shown[-1].until))
    return shown


def thinned(spans: Iterable[Span], frame: Frame) -> Iterator[Span]:
    """At most a few spans for each column: of those that begin and end in one, the worst."""
    last: Span | None = None
    for span in spans:
        if last is None:
            last = span
        elif _same(last, span) and last.until == span.since:
            last = replace(last, until=span.until)
        elif frame.column(last.since) == frame.column(span.until):
            parked = last.parked and span.parked
            up, target = min(last.up, span.up), max(last.target, span.target)
            last = replace(last, until=span.until, up=up, target=target, parked=parked)
        else:
            yield last
            last = span
    if last is not None:
        yield last


def unseen(spans: Sequence[Span], now: datetime) -> list[tuple[datetime, datetime]]:
    """When nobody looked: between two spans, and since the last one. Before the first nothing is claimed."""
    ends = [(before.until, after.since) for before, after in pairwise(spans)]
    if spans:
        ends.append((spans[-1].until, now))
    return [(since, until) for since, until in ends if until > since]


def parked(spans: Iterable[Span]) -> list[tuple[datetime, datetime]]:
    """When the fleet was parked, spans that touch taken together."""
    found: list[tuple[datetime, datetime]] = []
    for span in spans:
        if span.parked and found and found[-1][1] == span.since:
            found[-1] = (found[-1][0], span.until)
        elif span.parked:
            found.append((span.since, span.until))
    return found


def path(name: str, steps: Iterable[str]) -> Markup | None:
    """A path of that class; none where there is nothing to draw."""
    drawn = "".join(steps)
    return Markup(f'<path class="{name}" d="{drawn}"/>') if drawn else None


def bands(times: Iterable[tuple[datetime, datetime]], frame: Frame) -> Iterator[str]:
    """The whole height, for each of these times."""
    for since, until in times:
        yield f"M{frame.x(since)} 0H{frame.x(until)}V{frame.height}H{frame.x(since)}Z"


def steps(values: Iterable[tuple[Span, int]], frame: Frame) -> Iterator[str]:
    """A line of steps, broken where nobody looked."""
    last: datetime | None = None
    for span, value in values:
        height = frame.y(value)
        yield f"V{height}" if last == span.since else f"M{frame.x(span.since)} {height}"
        yield f"H{frame.x(span.until)}"
        last = span.until


def area(spans: Iterable[Span], frame: Frame) -> Iterator[str]:
    """What was up, filled to the ground."""
    for span in spans:
        yield f"M{frame.x(span.since)} {frame.height}V{frame.y(span.up)}H{frame.x(span.until)}V{frame.height}Z"


def shortfall(spans: Iterable[Span], frame: Frame) -> Iterator[str]:
    """What was missing, up to the target; of a parked fleet nothing was."""
    for span in spans:
        if span.short:
            up, target = frame.y(span.up), frame.y(span.target)
            yield f"M{frame.x(span.since)} {up}V{target}H{frame.x(span.until)}V{up}Z"


def hatching() -> Markup:
    """The pattern that bands of class ``blank`` are filled with: once on a page."""
    return Markup(
        '<svg class="unseen" aria-hidden="true" focusable="false" width="0" height="0"><defs>'
        '<pattern id="hatch" patternUnits="userSpaceOnUse" width="6" height="6">'
        '<path class="hatch" d="M-1 1L1 -1M0 6L6 0M5 7L7 5"/></pattern></defs></svg>'
    )


def _same(one: Span, other: Span) -> bool:
    return (one.up, one.target, one.parked) == (other.up, other.target, other.parked)


def _short(number: float) -> str:
    return f"{number:.1f}"
