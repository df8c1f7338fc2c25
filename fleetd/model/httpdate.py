"""Dates as HTTP has them."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from fleetd.model.bounds import plausible


def http_date(text: str) -> datetime | None:
    """The instant that a header such as ``Date`` tells (RFC 9110, 5.6.7), in UTC; None for anything else."""
    try:
        moment = parsedate_to_datetime(text)
        return plausible(moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC))
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
