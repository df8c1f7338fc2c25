"""Numbers and dates from outside, kept where arithmetic works.

Whatever a provider, a file or a person names is one of these before anything is added to it: an instant of the years
1970 to 2999, a span of at most a hundred years, an amount of at most a billion dollars. Sums of these are dates and
numbers again; so no number from outside can end a pass.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

FIRST = datetime(1970, 1, 1, tzinfo=UTC)
LAST = datetime(2999, 12, 31, 23, 59, 59, tzinfo=UTC)
LONGEST = timedelta(days=36_525)
MOST_MONEY = Decimal(1_000_000_000)
"""Dollars."""
LONGEST_VETO = timedelta(days=31)
"""A veto always ends: one that is forgotten must not pay for machines for ever."""
LONGEST_WORDS = 500
"""Characters of a reason or a name that a person gives."""


def plausible(at: datetime | None) -> datetime | None:
    """An instant that somebody named; None for one that no clock of ours can come near."""
    return at if at is not None and FIRST <= at <= LAST else None


def hours(number: float) -> timedelta:
    """So many hours, either way, and never more than ``LONGEST``; not a number is none."""
    return _times(number, 3600)


def seconds(number: float) -> timedelta:
    """So many seconds, as ``hours``."""
    return _times(number, 1)


def _times(number: float, each: int) -> timedelta:
    most = LONGEST.total_seconds() / each
    bounded = max(-most, min(most, number)) if number == number else 0  # noqa: PLR0124 - NaN alone differs from itself
    return timedelta(seconds=float(bounded) * each)
