"""Wall-clock waits that survive the clock being set back."""

from __future__ import annotations

from datetime import datetime, timedelta


def is_waiting(since: datetime, lasts: timedelta, now: datetime) -> bool:
    """Whether a wait of ``lasts`` that began at ``since`` still goes on.

    A beginning that lies further ahead than the wait is long was read off a clock that has been set back since.
    Nobody knows when it was, and the wait counts as over; so no step of the clock more than doubles it.
    """
    return since - lasts < now < since + lasts
