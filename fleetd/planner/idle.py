"""Idleness: when a machine has been idle for long enough to be stopped. Unknown is never idle.

The idle clock of a machine runs only over time that readings cover. Every reading stands for the time since the one
before it, up to ``max_gap``; what lies beyond is uncovered, and so is time in which a source did not know. A span
with more uncovered time than a tenth of itself, or of ``after``, begins anew: no machine is stopped unless every
source said idle for the last ``after`` at 90 % coverage, however long it was idle before that. Steps of the wall
clock can only delay: backwards begins anew, forwards counts as uncovered.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from fleetd.model.fleet import Fleet, IdleRule
from fleetd.model.journal import IdleReport, MachineFacts
from fleetd.model.machine import Machine
from fleetd.model.reasons import Reason

COVERAGE = 0.9
"""Share of a span that must be covered by readings."""
SURGE_SPAN = timedelta(minutes=10)
"""More than half of a fleet turning idle within this time looks like a broken source, not like a free evening."""


class Activity(StrEnum):
    """What a source says of a machine."""

    IDLE = "idle"
    ACTIVE = "active"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Reading:
    """One source's answer about one machine."""

    source: str
    verdict: Activity
    at: datetime
    evidence: str = ""


@dataclass(frozen=True, slots=True)
class IdleClock:
    """How long a machine has been idle, as far as it is known."""

    idle_since: datetime | None = None
    """Start of the span; None while it is not idle."""
    last_at: datetime | None = None
    """The newest reading."""
    uncovered: timedelta = timedelta(0)
    """Time within the span for which nobody vouches."""


def combine(readings: Iterable[Reading]) -> Activity:
    """Active if any is active, unknown if any is unknown or there are none, else idle."""
    verdicts = {r.verdict for r in readings}
    if Activity.ACTIVE in verdicts:
        return Activity.ACTIVE
    if Activity.UNKNOWN in verdicts or not verdicts:
        return Activity.UNKNOWN
    return Activity.IDLE


def advance(
    clock: IdleClock,
    verdict: Activity,
    now: datetime,
    *,
    after: timedelta,
    max_gap: timedelta,
    elapsed: timedelta | None = None,
) -> IdleClock:
    """The clock after one more combined reading at ``now``.

    Args:
        clock: as the reading before left it.
        verdict: all sources together.
        now: wall time.
        after: how long a machine must be idle to be parked.
        max_gap: how much time before it a reading stands for; a few intervals between passes.
        elapsed: how much time really went by since the reading before, by a monotonic clock; None where nobody knows,
            as after a restart. Wall time that went by without it is uncovered.
    """
    stopped = IdleClock(None, now)
    if verdict is Activity.ACTIVE:
        return stopped
    if clock.idle_since is None or clock.last_at is None or now < clock.last_at:
        return IdleClock(now, now) if verdict is Activity.IDLE else stopped
    passed = now - clock.last_at
    vouched = (
        timedelta(0) if verdict is Activity.UNKNOWN else min(passed, max_gap, passed if elapsed is None else elapsed)
    )
    unvouched = passed - vouched
    uncovered = clock.uncovered + unvouched
    if uncovered > min(now - clock.idle_since, after) * (1 - COVERAGE):
        return IdleClock(now, now) if verdict is Activity.IDLE else stopped
    return IdleClock(clock.idle_since, now, uncovered)


def may_park(fleet: Fleet, facts: MachineFacts | None, report: IdleReport | None, now: datetime) -> Reason | None:
    """Why an up machine may not be stopped as idle, or None when it may."""
    rule = fleet.idle
    if rule is None or report is None or report.verdict == Activity.UNKNOWN:
        return Reason.ACTIVITY_UNKNOWN
    if report.verdict != Activity.IDLE or report.idle_since is None:
        return Reason.BUSY
    up_since = facts.up_since if facts is not None else None
    if up_since is None or now - up_since < rule.min_uptime:
        return Reason.MIN_UPTIME
    if now - report.idle_since < rule.after:
        return Reason.NOT_IDLE_LONG_ENOUGH
    return None


def parkable_at(
    fleet: Fleet, facts: MachineFacts | None, report: IdleReport | None, reason: Reason
) -> datetime | None:
    """When ``reason``, as ``may_park`` gave it, ends if the machine stays idle; None when that is not known."""
    rule = fleet.idle
    if rule is None:
        return None
    if reason is Reason.MIN_UPTIME and facts is not None and facts.up_since is not None:
        return facts.up_since + rule.min_uptime
    if reason is Reason.NOT_IDLE_LONG_ENOUGH and report is not None and report.idle_since is not None:
        return report.idle_since + rule.after
    return None


def idle_surge(
    rule: IdleRule | None, running: Iterable[Machine], reports: Mapping[str, IdleReport], now: datetime
) -> datetime | None:
    """Until when stops are held back because more than half of a fleet turned idle within ten minutes; or None.

    Those machines must have been idle for twice ``after``: a source that broke for all at once has that much longer
    to be noticed, and a fleet that really ended its work together is parked a little later. One or two machines are
    no crowd.
    """
    machines = list(running)
    began = sorted(
        r.idle_since for m in machines if (r := reports.get(m.id)) is not None and r.idle_since is not None
    )
    if rule is None or len(machines) <= 2:
        return None
    until: datetime | None = None
    for place, first in enumerate(began):
        end = bisect_right(began, first + SURGE_SPAN)
        if (end - place) * 2 > len(machines):
            until = began[end - 1] + 2 * rule.after
    return until if until is not None and now < until else None
