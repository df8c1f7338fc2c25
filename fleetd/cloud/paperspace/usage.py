"""What a machine used in a month, worked out from its events: the v1 API has no call that tells.

The machine counts as up from the call that started it until it was off. What the vendor rounds, reserves or forgives
is not known here: the bill decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from fleetd.cloud.port import Json
from fleetd.cloud.reading import moment
from fleetd.model.machine import RISES, MachineEvent, Phase

_FALLS = frozenset({"stop", "vm-shutdown-force", "deactivate"})


def tells_state(event: Json, before: datetime) -> bool:
    """Whether an event as the API sends it tells what the machine was at that time."""
    at = moment(event.get("dtCreated"))
    return at is not None and at < before and event.get("name") in RISES | _FALLS


def seconds_up(events: Sequence[MachineEvent], phase: Phase, since: datetime, until: datetime) -> float | None:
    """Seconds up within a span.

    Args:
        events: newest first, back to the machine's creation or to a start or stop before ``since``.
        phase: what the machine is now.
        since: begin of the span.
        until: its end; not after the moment at which ``phase`` was seen.

    Returns:
        None where the events do not tell: they do not reach back, lack a date, or contradict what the machine is.
    """
    told = [e for e in reversed(events) if e.name in RISES | _FALLS]
    if not told or any(e.created_at is None for e in told):
        return None
    if told[0].name != "create" and (told[0].created_at or since) >= since:
        return None
    spans: list[tuple[datetime, datetime]] = []
    up: MachineEvent | None = None
    for event in told:
        up = _after(event, up, spans)
    if phase is Phase.DOWN:
        # One that was made and not started is off without a stop.
        return _within(spans, since, until) if up is None or up.name == "create" else None
    if up is None or up.created_at is None:
        return None
    return _within([*spans, (up.created_at, until)], since, until)


def _after(
    event: MachineEvent, up: MachineEvent | None, spans: list[tuple[datetime, datetime]]
) -> MachineEvent | None:
    """The event since which it is up once ``event`` is over, None when it is not; the span that ends is noted."""
    if event.rises and not event.failed:
        # What follows the creation is when it really began to run.
        return event if up is None or up.name == "create" else up
    if event.name in _FALLS and (event.failed or event.goes_on):
        return up
    never_ran = up is None or (event.rises and up.name == "create")
    began, ended = up.created_at if up is not None else None, event.finished_at or event.created_at
    if not never_ran and began is not None and ended is not None:
        spans.append((began, ended))
    return None


def _within(spans: Sequence[tuple[datetime, datetime]], since: datetime, until: datetime) -> float:
    return sum(max(0.0, (min(end, until) - max(begin, since)).total_seconds()) for begin, end in spans)
