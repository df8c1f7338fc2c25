"""Wake-ups by APScheduler: when to look. What holds at that moment is never asked of it (design 12).

Crontab lines are read in UTC: APScheduler skips or doubles local-time jobs across clock changes, and a check that
runs an hour earlier in summer is no worse a check.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

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
            self._scheduler.add_job(self._call, DateTrigger(at), args=[EDGE], id=EDGE, replace_existing=True)
            return
        try:
            self._scheduler.remove_job(EDGE)
        except JobLookupError:
            return

    async def _call(self, name: str) -> None:
        # A coroutine runs on the loop; a plain function would be sent to a thread.
        self._ring(name)


def trigger_of(when: str, start: datetime) -> BaseTrigger:
    """The trigger of a schedule: ``every 15m``, counted from ``start``, or a crontab line in UTC."""
    if when.startswith("every "):
        span = parse_duration(when.removeprefix("every ").strip())
        return IntervalTrigger(seconds=round(span.total_seconds()), start_date=start + span, timezone=UTC)
    return CronTrigger.from_crontab(when, timezone=UTC)
