"""What a month cost, from the provider's own figures."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

from fleetd.model.machine import Utilization

CENT = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class Bill:
    """One machine's month, or a sum of them. Dollars, to the cent; None where a rate is not known."""

    hours: Decimal | None
    """Hours up, to the tenth; None where nobody can say."""
    compute: Decimal | None
    storage: Decimal | None


UNKNOWN_BILL = Bill(None, None, None)
"""Of a machine that the provider tells nothing of."""


def bill_of(use: Utilization) -> Bill:
    """Compute by the hour, storage by the share of the month in which the disk existed."""
    hours = None if use.seconds_used is None else Decimal(str(use.seconds_used)) / 3600
    compute = None if hours is None or use.hourly_rate is None else _cents(hours * use.hourly_rate)
    year, month = (int(part) for part in use.month.split("-"))
    whole = monthrange(year, month)[1] * 86_400
    share = min(Decimal(1), Decimal(str(use.storage_seconds_used)) / whole)
    storage = None if use.storage_monthly_rate is None else _cents(share * use.storage_monthly_rate)
    return Bill(None if hours is None else hours.quantize(Decimal("0.1"), ROUND_HALF_UP), compute, storage)


def sum_of(bills: Iterable[Bill]) -> Bill:
    """The sum; a part that is not known makes its sum unknown."""
    rows = list(bills)
    return Bill(
        _sum(b.hours for b in rows),
        _sum(b.compute for b in rows),
        _sum(b.storage for b in rows),
    )


def _sum(parts: Iterable[Decimal | None]) -> Decimal | None:
    total = Decimal(0)
    for part in parts:
        if part is None:
            return None
        total += part
    return total


def _cents(amount: Decimal) -> Decimal:
    return amount.quantize(CENT, ROUND_HALF_UP)
