"""What machines cost an hour, and what a plan would make of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal

from fleetd.model.fleet import Fleet
from fleetd.model.machine import Machine, Phase

BILLED = frozenset({Phase.UP, Phase.RISING, Phase.FALLING, Phase.UNKNOWN})
"""Phases that are billed by the hour; a stopped machine pays for storage only. Unknown counts: better too much."""


def hourly_rate(machine: Machine, prices: Mapping[str, Decimal]) -> Decimal | None:
    """Dollars an hour while it runs; the provider's own figure where it gives one. None when not known."""
    if machine.hourly_rate is not None:
        return machine.hourly_rate
    return prices.get(machine.machine_type) if machine.machine_type is not None else None


def fleet_rate(fleet: Fleet, prices: Mapping[str, Decimal]) -> Decimal | None:
    """Dollars an hour of one machine as the fleet would create it."""
    return prices.get(fleet.machine_type)


def total(rates: Iterable[Decimal | None]) -> Decimal | None:
    """The sum, or None when any part is not known."""
    result = Decimal(0)
    for rate in rates:
        if rate is None:
            return None
        result += rate
    return result
