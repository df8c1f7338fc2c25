"""Wake-ups by APScheduler: when to look. What holds at that moment is never asked of it.

Crontab lines are read in UTC: APScheduler skips or doubles local-time jobs across clock changes, and a check that
runs an hour earlier in summer is no worse a check. Every trigger is given its zone: without one APScheduler looks up
the host's, and a TZ that is none raises there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.date import DateTrigger
from apscheduler.triggers.interval import IntervalTrigger

from fleetd.config.units import parse_duration

EDGE = "window_edge"
"""The job that rings when a window opens or closes."""


class Alarms:
    """Rings by name: a check that is due, or ``window_edge``. Implements ``engine.ports.Alarms``."""

    def __init__(self) -> None:
        # Late is better than never, late twice is the same as once, and never two at a time.
        defaults = {"misfire_grace_time": None, "coalesce": True, "max_instances": 1}
        self._scheduler = AsyncIOScheduler(timezone=UTC, job_defaults=defaults)
        self._ring: Callable[[str], None] = lambda _name: None

    def start(self, ring: Callable[[str], None]) -> None:
        """Begin to ring, on the running event loop."""
        self._ring = ring
        self._scheduler.start()

    def stop(self) -> None:
        """Ring no more."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)

    def schedule(self, checks: Mapping[str, str]) -> None:
        """Ring for each check when its crontab line, or ``every 15m``, says so. Replaces what was scheduled."""
        for name, when in checks.items():
            trigger = trigger_of(when, datetime.now(UTC))
            self._scheduler.add_job(self._call, trigger, args=[name], id=name, replace_existing=True)

    def edge(self, at: datetime | None) -> None:
        """Ring once at the next edge of a window; None for none."""
        if at is not None:
            self._scheduler.add_job(
                self._call, DateTrigger(at, timezone=UTC), args=[EDGE], id=EDGE, replace_existing=True
            )
            return
        try:
            self._scheduler.remove_job(EDGE)
        except JobLookupError:
            return

    async def _call(self, name: str) -> None:
        # A coroutine runs on the loop; a plain function would be sent to a thread.
        self._ring(name)


def trigger_of(when: str, start: datetime) -> BaseTrigger:
    """The trigger of a schedule: ``every 15m``, counted from ``start``, or a crontab line in UTC. Bounded work."""
    if when.startswith("every "):
        span = parse_duration(when.removeprefix("every ").strip())
        seconds = round(span.total_seconds())
        return _NextOnly(IntervalTrigger(seconds=seconds, start_date=start + span, timezone=UTC))
    return _NextOnly(CronTrigger.from_crontab(when, timezone=UTC))


class _NextOnly(BaseTrigger):  # type: ignore[misc]  # the library has no types
    """A trigger that skips what was missed.

    APScheduler walks from ring to ring until it is at the present, also where many rings count as one: with the clock
    56 years ahead and ``every 1m`` that is half a minute and more in which nothing else runs.
    """

    def __init__(self, inner: BaseTrigger) -> None:
        self._inner = inner

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        """The first ring after ``now``; the very first one may be at ``now``."""
        after = now if previous_fire_time is None else now + timedelta(microseconds=1)
        due: datetime | None = self._inner.get_next_fire_time(None, after)
        return due
