"""What a machine costs by the hour, and sums of that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal

from fleetd.model.fleet import Fleet
from fleetd.model.machine import Machine, Phase

BILLED = frozenset({Phase.UP, Phase.RISING, Phase.FALLING, Phase.UNKNOWN})
"""Phases that are billed by the hour; a stopped machine pays for storage only. Unknown counts: better too much."""


APART = Decimal("0.1")
"""Two prices of one machine type that differ by a larger share than this are worth a warning."""


def hourly_rate(machine: Machine, prices: Mapping[str, Decimal]) -> Decimal | None:
    """Dollars an hour while it runs: the higher of the provider's figure and ``prices``. None when not known.

    A price of 0 is no price: nobody rents out machines for nothing, and a cap must not be lifted by it.
    """
    listed = prices.get(machine.machine_type) if machine.machine_type is not None else None
    return higher(machine.hourly_rate, listed)


def member_rate(fleet: Fleet, machine: Machine, prices: Mapping[str, Decimal]) -> Decimal | None:
    """The same of a fleet's machine: one whose type a listing leaves out costs what the fleet's own type does."""
    rate = hourly_rate(machine, prices)
    return fleet_rate(fleet, prices) if rate is None and machine.machine_type is None else rate


def fleet_rate(fleet: Fleet, prices: Mapping[str, Decimal]) -> Decimal | None:
    """Dollars an hour of one machine as the fleet would create it."""
    return higher(prices.get(fleet.machine_type))


def higher(*prices: Decimal | None) -> Decimal | None:
    """The highest of the prices that are known and above 0; None without any."""
    return max((p for p in prices if p is not None and p.is_finite() and p > 0), default=None)


def differ(configured: Decimal, learnt: Decimal) -> bool:
    """Whether a configured price and the provider's are more than a tenth apart."""
    return abs(configured - learnt) > APART * max(configured, learnt)


def total(rates: Iterable[Decimal | None]) -> Decimal | None:
    """The sum, or None when any part is not known."""
    result = Decimal(0)
    for rate in rates:
        if rate is None:
            return None
        result += rate
    return result
