"""Reading fields of a provider's JSON that may be missing, null or of another shape than its documents say.

Each gives None for what says nothing, so that one odd field spoils no listing.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated, TypeVar

import msgspec

from fleetd.model.bounds import MOST_MONEY, plausible
from fleetd.model.errors import CloudError, MalformedAnswer

T = TypeVar("T")

Word = Annotated[str, msgspec.Meta(min_length=1)]
"""Text that cannot be done without."""


class Unreadable(ValueError):
    """JSON that does not say what it must; the message says where."""


def convert(content: object, kind: type[T]) -> T:
    """Content as a struct.

    Raises:
        Unreadable: it is none.
    """
    try:
        return msgspec.convert(content, kind)
    except (msgspec.ValidationError, RecursionError) as e:
        raise Unreadable(str(e)) from e


def understood(
    operation: str, read: Callable[[object], T], content: object, *, error: type[CloudError] = MalformedAnswer
) -> T:
    """What ``read`` makes of an answer.

    Raises:
        MalformedAnswer: it is unreadable; another ``error`` where that is said.
    """
    try:
        return read(content)
    except Unreadable as e:
        raise error(f"the answer cannot be understood: {e}", operation=operation) from e


def text(value: object) -> str | None:
    """Text that is not empty."""
    return value if isinstance(value, str) and value else None


def flag(value: object) -> bool | None:
    """True or false."""
    return value if isinstance(value, bool) else None


def whole(value: object) -> int | None:
    """A whole number, whether it came as a number or as text."""
    number = decimal(value)
    return int(number) if number is not None and number == number.to_integral_value() else None


def money(value: object) -> Decimal | None:
    """An amount that is not negative, and that somebody could be billed."""
    rate = decimal(value)
    return rate if rate is not None and 0 <= rate <= MOST_MONEY else None


def decimal(value: object) -> Decimal | None:
    """A finite number, whether it came as a number or as text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = Decimal(str(value))
    except (InvalidOperation, ValueError):
        return None
    # No rate, count or time has more digits; what has would take for ever to turn into an int.
    return number if number.is_finite() and abs(number.adjusted()) < 30 else None


def moment(value: object) -> datetime | None:
    """An ISO 8601 instant, in UTC; one without an offset is UTC. None beyond the years that are ``plausible``."""
    if not isinstance(value, str):
        return None
    try:
        at = datetime.fromisoformat(value)
        return plausible(at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC))
    except (ValueError, OverflowError):
        return None
