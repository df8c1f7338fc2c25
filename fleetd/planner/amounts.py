"""Amounts of which the lowest and the highest possible value are known, and the prices that make them differ."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Decimal

CENT = Decimal("0.01")
_HOUR = Decimal(3600)


@dataclass(frozen=True, slots=True)
class Amount:
    """A number that lies between two bounds; both are the same where it is known. Not rounded."""

    least: Decimal
    most: Decimal

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.least + other.least, self.most + other.most)

    def is_exact(self, step: Decimal = CENT) -> bool:
        """Whether both bounds are the same once they are rounded to ``step``."""
        return self.least.quantize(step, ROUND_HALF_UP) == self.most.quantize(step, ROUND_HALF_UP)

    def low(self, step: Decimal = CENT) -> Decimal:
        """The lower bound in steps: rounded where it is exact, else down."""
        return self.least.quantize(step, ROUND_HALF_UP if self.is_exact(step) else ROUND_FLOOR)

    def high(self, step: Decimal = CENT) -> Decimal:
        """The upper bound in steps: rounded where it is exact, else up."""
        return self.most.quantize(step, ROUND_HALF_UP if self.is_exact(step) else ROUND_CEILING)


NOTHING = Amount(Decimal(0), Decimal(0))


@dataclass(frozen=True, slots=True)
class PriceSpan:
    """A price of a machine type, in dollars an hour, and when the provider named it first and last."""

    price: Decimal
    first: datetime
    last: datetime


PriceHistory = Mapping[str, tuple[PriceSpan, ...]]
"""By machine type: the prices that the provider was seen to ask, in no order."""


def prices_during(
    history: PriceHistory, machine_type: str | None, since: datetime, until: datetime
) -> frozenset[Decimal]:
    """Every price that a machine of a type may have had at some instant of a span.

    A price may change at any instant between two looks, so the last one before the span and the first one after it
    count as well, unless a look at its very ends says otherwise.
    """
    spans = history.get(machine_type or "", ())
    found = {s.price for s in spans if s.first <= until and s.last >= since}
    earlier = [s for s in spans if s.last < since]
    later = [s for s in spans if s.first > until]
    if earlier and not any(s.first <= since <= s.last for s in spans):
        found.add(max(earlier, key=lambda s: s.last).price)
    if later and not any(s.first <= until <= s.last for s in spans):
        found.add(min(later, key=lambda s: s.first).price)
    return frozenset(found)


def hourly(seconds: float | Decimal, prices: Collection[Decimal]) -> Amount | None:
    """What seconds cost at a price an hour that is one of ``prices``; None where none is known."""
    return _at(Decimal(str(seconds)) / _HOUR, prices)


def monthly(seconds: float | Decimal, month_seconds: int, prices: Collection[Decimal]) -> Amount | None:
    """What seconds cost at a price a month that is one of ``prices``; never more than the month's."""
    return _at(min(Decimal(1), Decimal(str(seconds)) / month_seconds), prices)


def total(parts: Iterable[Amount | None]) -> Amount | None:
    """The sum; None when any part is not known."""
    result = NOTHING
    for part in parts:
        if part is None:
            return None
        result += part
    return result


def known_total(parts: Iterable[Amount | None]) -> Amount:
    """The sum of the parts that are known."""
    return sum((part for part in parts if part is not None), NOTHING)


def _at(share: Decimal, prices: Collection[Decimal]) -> Amount | None:
    if share <= 0:
        return NOTHING
    if not prices:
        return None
    return Amount(share * min(prices), share * max(prices))
