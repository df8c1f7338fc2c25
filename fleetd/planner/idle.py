"""Idleness: when a machine has been idle for long enough to be stopped. Unknown is never idle.

The idle clock of a machine runs only over time that readings cover. Every reading stands for the time since the one
before it, up to ``max_gap``; what lies beyond is uncovered, and so is time in which a source did not know. A single
missed reading may be forgiven; uncovered time of several readings in a row begins anew, for somebody may have worked
just then, and so does a span with more uncovered time than a tenth of itself, or of ``after``: no machine is stopped
unless every source said idle for the last ``after`` at 90 % coverage, however long it was idle before that. Use that
nobody read while it went on, but that is known since (a lease that ended), begins anew at its end. Steps of the wall
clock can only delay: backwards begins anew, forwards counts as uncovered.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from fleetd.model.fleet import Fleet, IdleRule
from fleetd.model.journal import IdleReport, MachineFacts
from fleetd.model.machine import Machine
from fleetd.model.reasons import Activity, Reason
from fleetd.planner.waits import is_waiting

COVERAGE = 0.9
"""Share of a span that must be covered by readings."""
GAPS = 3
"""A reading stands for the time since the one before it, up to so many intervals between passes."""
FORGIVEN = 1.5
"""Intervals in a row that may be uncovered: one missed reading, with the jitter of passes."""
SILENT_AFTER = 1800.0
"""Seconds of unknown after which a machine is said to be silent. They begin ``idle.after`` later for a new one, of
which nobody can know enough before."""
SURGE_SPAN = timedelta(minutes=10)
"""More than half of a fleet turning idle within this time looks like a broken source, not like a free evening."""


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
    """Time within the span for which nobody vouches ..."""
    gap: timedelta = timedelta(0)
    """... and how much of it has been so in a row, until now."""


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
    used_until: datetime | None = None,
) -> IdleClock:
    """The clock after one more combined reading at ``now``.

    Args:
        clock: as the reading before left it.
        verdict: all sources together.
        now: wall time.
        after: how long a machine must be idle to be parked.
        max_gap: how much time before it a reading stands for: ``GAPS`` intervals between passes.
        elapsed: how much time really went by since the reading before, by a monotonic clock; None where nobody knows,
            as after a restart. Wall time that went by without it is uncovered.
        used_until: the end of the newest use that is known of, whether or not a reading fell into it.
    """
    stopped = IdleClock(None, now)
    if verdict is Activity.ACTIVE:
        return stopped
    anew = IdleClock(now, now) if verdict is Activity.IDLE else stopped
    since, last_at = clock.idle_since, clock.last_at
    if since is None or last_at is None or now < last_at:
        return anew
    passed = now - last_at
    vouched = (
        timedelta(0) if verdict is Activity.UNKNOWN else min(passed, max_gap, passed if elapsed is None else elapsed)
    )
    if used_until is not None:
        since = max(since, used_until)
    unvouched = passed - vouched
    uncovered = clock.uncovered + unvouched
    gap = clock.gap + unvouched
    if gap > max_gap * (FORGIVEN / GAPS) or uncovered > min(now - since, after) * (1 - COVERAGE):
        return anew
    return IdleClock(since, now, uncovered, gap if verdict is Activity.UNKNOWN else timedelta(0))


def may_park(fleet: Fleet, facts: MachineFacts | None, report: IdleReport | None, now: datetime) -> Reason | None:
    """Why an up machine may not be stopped as idle, or None when it may."""
    rule, used = fleet.idle, in_use(fleet, report)
    if rule is None or used is not None:
        return used
    up_since = facts.up_since if facts is not None else None
    if up_since is None or now - up_since < rule.min_uptime:
        return Reason.MIN_UPTIME
    return may_lose(fleet, report, now)


def may_lose(fleet: Fleet, report: IdleReport | None, now: datetime) -> Reason | None:
    """Why an up machine may not be stopped or destroyed for any reason of fleetd's own, or None when it may.

    One answer that says idle proves as little here as it does for parking: a source that flickers gives one, too.
    """
    rule, used = fleet.idle, in_use(fleet, report)
    if rule is None or report is None or report.idle_since is None or used is not None:
        return used
    return Reason.NOT_IDLE_LONG_ENOUGH if now - report.idle_since < rule.after else None


_PROVEN_IDLE = frozenset({Reason.PARKED_IDLE, Reason.OVER_TARGET, Reason.OUTLIVED_TIMEOUT})
"""Stops that fleetd made when a machine had been idle for ``after``."""


def lost_until(
    fleet: Fleet, facts: MachineFacts | None, leased: datetime | None, *moments: datetime
) -> datetime | None:
    """Until when a machine that is not up counts as used, because it was up or leased within ``after``; or None.

    Nobody can be asked about it any more, and whoever turned it off or restarts it may be at work with it: the
    vendor's timer, too, ends what runs. One that fleetd stopped was idle for long enough.

    Args:
        fleet: whose rule it is.
        facts: what is remembered of the machine.
        leased: when its newest lease ended.
        moments: the instant by each clock that there is.
    """
    if fleet.idle is None:
        return None
    uses = [] if leased is None else [leased]
    if facts is not None and facts.last_up_at is not None:
        stopped = facts.stopped_at if facts.stopped_by in _PROVEN_IDLE else None
        if stopped is None or stopped < facts.last_up_at:
            uses.append(facts.last_up_at)
    after = fleet.idle.after
    return max((use + after for use in uses if any(is_waiting(use, after, now) for now in moments)), default=None)


def in_use(fleet: Fleet, report: IdleReport | None) -> Reason | None:
    """Why an up machine counts as in use at this moment, or None when it does not."""
    if fleet.idle is None or report is None or report.verdict == Activity.UNKNOWN:
        return Reason.ACTIVITY_UNKNOWN
    return Reason.BUSY if report.verdict != Activity.IDLE or report.idle_since is None else None


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
