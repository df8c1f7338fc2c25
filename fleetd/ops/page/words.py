"""Reports in words for the page: plain text, escaped where it becomes HTML."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from fleetd.words.times import A_YEAR, span

NOTHING = "\N{EN DASH}"
"""Where there is nothing to say."""


def age(at: datetime | None, now: datetime) -> str:
    """How long ago: ``3 h 20 min``; empty where it is not known."""
    return "" if at is None else span(now - at)


def short_age(at: datetime | None, now: datetime) -> str:
    """The same in its largest unit only, for a cell: ``3 h``."""
    return " ".join(age(at, now).split()[:2])


def clock(at: datetime, now: datetime) -> str:
    """``12:30:05``, with the day where it is another one, and the year where that day was another year's too."""
    at = at.astimezone(UTC)
    if at.date() == now.astimezone(UTC).date():
        return f"{at:%H:%M:%S}"
    return f"{at:%d %b %H:%M}" if abs(at - now) < A_YEAR else f"{at:%d %b %Y %H:%M}"


def money(amount: Decimal | None) -> str:
    """``$2.04``; ``$?`` where a price is not known."""
    return "$?" if amount is None else f"${amount:,.2f}"


def took(seconds: float) -> str:
    """How long a pass took: ``16 ms``, ``2.4 s``, ``3 min``."""
    if seconds < 1:
        return f"{round(seconds * 1000)} ms"
    return f"{seconds:.1f} s" if seconds < 60 else span(timedelta(seconds=seconds))


def count(number: int, noun: str) -> str:
    """``1 machine``, ``2,000 machines``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
