"""What the daemon saw of each fleet in the last 24 hours: target, machines up and cost, as spans of equal values.

Nothing else keeps it: the journal has what was done, not what was there. A span is what passes saw without a change;
between spans with a gap nobody looked, and nothing is claimed.
"""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from fleetd.model.report import FleetReport, Report

KEPT = timedelta(hours=24)
MOST_SPANS = 1500
"""For one fleet; beyond it the oldest are dropped, and the record begins later."""
MOST_FLEETS = 200
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Span:
    """One fleet, unchanged from its first look to its last."""

    since: datetime
    until: datetime
    target: int
    up: int
    hourly: str | None = None
    """Dollars an hour; None where a price is not known."""
    parked: bool = False
    """A window was open that parks: whatever was down was missed by nobody."""

    @property
    def short(self) -> bool:
        """Whether machines were missing."""
        return self.up < self.target and not self.parked


class Record:
    """Spans by fleet, oldest first; bounded in time and in number."""

    def __init__(self) -> None:
        self._spans: dict[str, deque[Span]] = {}
        self._short: dict[str, datetime] = {}
        """Since when fleets have been short that have been so for longer than spans are kept."""

    def spans(self, fleet: str) -> tuple[Span, ...]:
        """A fleet's record, oldest first."""
        return tuple(self._spans.get(fleet, ()))

    def begins(self) -> datetime | None:
        """The oldest look of any fleet."""
        return min((spans[0].since for spans in self._spans.values() if spans), default=None)

    def short_since(self, fleet: str) -> datetime | None:
        """Since when machines of a fleet are missing without a break; None where none is, or nobody knows."""
        since: datetime | None = None
        for span in reversed(self._spans.get(fleet, ())):
            if not span.short or (since is not None and span.until < since):
                return since
            since = span.since
        return since if since is None else self._short.get(fleet, since)

    def seen_last(self, fleet: str) -> datetime | None:
        """When a fleet was there last, one that the config has lost as well; None where nobody knows."""
        spans = self._spans.get(fleet)
        return spans[-1].until if spans else None

    def saw(self, report: Report, *, patience: timedelta) -> bool:
        """Take in how everything stands after a pass; whether something else was seen than before.

        A look that failed, or that cannot be trusted, adds nothing.

        Args:
            report: as ``DaemonHandle.status`` gives it.
            patience: two looks further apart than this leave a gap between them.
        """
        seen, at = report.observation, report.sight.at
        if seen is None or at is None or seen.undecided is not None or report.daemon.error:
            return False
        changed = False
        for name, fleet in list(report.fleets.items())[:MOST_FLEETS]:
            look = Span(at, at, fleet.target, fleet.up, _money(fleet), fleet.parked)
            changed |= _extend(self._spans.setdefault(name, deque(maxlen=MOST_SPANS)), look, patience)
        self._forget(at - KEPT)
        return changed

    def dump(self) -> str:
        """The record as JSON, for the journal."""
        return json.dumps(
            {
                "format": _FORMAT,
                "fleets": {name: [_row(s) for s in spans] for name, spans in self._spans.items()},
                "short": {name: _seconds(since) for name, since in self._short.items()},
            },
            separators=(",", ":"),
        )

    @classmethod
    def load(cls, text: str | None, now: datetime) -> Record:
        """What ``dump`` wrote; what is older than ``KEPT``, or cannot be read, is left out."""
        record = cls()
        try:
            document = json.loads(text or "{}")
            if document.get("format") == _FORMAT:
                for name, rows in document["fleets"].items():
                    spans = [_span(*row) for row in rows]
                    record._spans[str(name)] = deque((s for s in spans if s.until <= now), maxlen=MOST_SPANS)
                for name, since in document.get("short", {}).items():
                    record._short[str(name)] = datetime.fromtimestamp(since, UTC)
        except (ValueError, TypeError, AttributeError, LookupError, OverflowError):
            return cls()
        record._forget(now - KEPT)
        return record

    def _forget(self, before: datetime) -> None:
        for name, spans in list(self._spans.items()):
            self._note_short(name, spans, before)
            while spans and spans[0].until < before:
                spans.popleft()
            if not spans:
                del self._spans[name]
                self._short.pop(name, None)
            elif spans[0].since < before:
                spans[0] = replace(spans[0], since=before)

    def _note_short(self, name: str, spans: deque[Span], before: datetime) -> None:
        """What is forgotten still tells since when; a gap in it, or that nothing was missing, ends that."""
        known = self._short.pop(name, None)
        since = known if spans and spans[0].since <= before else None
        for number, span in enumerate(spans):
            if number and span.since > spans[number - 1].until:
                since = None
            if span.since >= before:
                break
            since = (since or span.since) if span.short else None
        if since is not None:
            self._short[name] = since


def _extend(spans: deque[Span], look: Span, patience: timedelta) -> bool:
    """Add a look: to the last span where nothing changed; else as a span of its own that begins there."""
    while spans and spans[-1].since > look.since:  # the clock was set back: what it showed before was wrong
        spans.pop()
    if not spans:
        spans.append(look)
        return True
    last = replace(spans[-1], until=min(spans[-1].until, look.since))
    close = look.since - last.until <= patience
    if close:
        spans[-1] = replace(last, until=look.since)
    same = replace(last, since=look.since, until=look.until) == look
    if close and same:
        return False
    spans.append(look)
    return True


def _money(fleet: FleetReport) -> str | None:
    return None if fleet.hourly is None else str(fleet.hourly)


def _row(span: Span) -> list[object]:
    row: list[object] = [_seconds(span.since), _seconds(span.until), span.target, span.up, span.hourly]
    return [*row, 1] if span.parked else row


def _seconds(at: datetime) -> int:
    return int(at.timestamp())


def _span(since: float, until: float, target: int, up: int, hourly: object, parked: object = 0) -> Span:
    if not isinstance(hourly, str | None) or until < since:
        raise ValueError(hourly)
    begin, end = datetime.fromtimestamp(since, UTC), datetime.fromtimestamp(until, UTC)
    return Span(begin, end, int(target), int(up), hourly, bool(parked))
