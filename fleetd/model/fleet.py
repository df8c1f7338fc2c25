"""What the operator wants: fleets and the rules that they live by, already parsed and validated."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType

Scalar = str | int | float | bool
"""What a parameter of a create call can be."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A count, or a percentage of something, e.g. ``25%`` of a fleet."""

    count: int | None = None
    percent: float | None = None

    def of(self, total: int, *, at_least: int = 0) -> int:
        """The limit for ``total`` things; a percentage is rounded down, then raised to ``at_least``."""
        if self.count is not None:
            return self.count
        return max(at_least, math.floor(total * (self.percent or 0.0) / 100))

    def __str__(self) -> str:
        return str(self.count) if self.count is not None else f"{self.percent:g}%"


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long each transition may take before its verdict is ``timed_out``."""

    create: timedelta = timedelta(minutes=20)
    start: timedelta = timedelta(minutes=10)
    stop: timedelta = timedelta(minutes=10)
    restart: timedelta = timedelta(minutes=10)
    destroy: timedelta = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Guards:
    """Limits that cut a plan. The defaults are the design's."""

    max_creates_per_pass: int = 10
    max_stops_per_pass: Limit = Limit(percent=25)
    max_destroys_per_pass: int = 1
    max_shrink: Limit = Limit(percent=30)
    max_hourly_cost: Decimal = Decimal(0)
    """Dollars an hour; 0 is no cap. On a fleet: that fleet's cap; at the top: the cap of all together."""
    max_monthly_cost: Decimal = Decimal(0)
    """Dollars a calendar month (UTC), storage included; 0 is no budget. On a fleet: that fleet's own."""
    max_surge: int = 0
    """How many machines beyond target may run in place of ones whose transition timed out."""
    settle: timedelta = timedelta(seconds=90)
    """How long a lost create's machine is looked for before it counts as never made."""
    deadlines: Deadlines = Deadlines()


class ScaleIn(StrEnum):
    """What happens to a surplus machine."""

    STOP = "stop"
    DESTROY = "destroy"


@dataclass(frozen=True, slots=True)
class Window:
    """A span of local time in which another rule applies."""

    name: str
    start: int
    """Minutes after local midnight, 0..1439, on the day it opens."""
    end: int
    """Minutes after local midnight, 1..1440; at or before ``start`` means the day after."""
    timezone: str
    """IANA name."""
    days: frozenset[int] = frozenset(range(7))
    """Weekdays on which it opens, Monday = 0."""
    dates: tuple[date, ...] = ()
    """One-off days on which it opens as well; with ``days`` left out in the file, only on these."""
    except_dates: tuple[date, ...] = ()
    """Days on which it does not open."""
    target: int | None = None
    park_idle: bool = False


@dataclass(frozen=True, slots=True)
class IdleRule:
    """When a machine of a fleet counts as idle."""

    sources: tuple[str, ...]
    after: timedelta = timedelta(minutes=60)
    min_uptime: timedelta = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class ShutdownTimeout:
    """The shutdown timeout that every machine of the fleet should have."""

    hours: int
    force: bool = False
    enforce: bool = False
    """fleetd stops a machine that outlived it although the vendor did not."""


@dataclass(frozen=True, slots=True)
class AutoSnapshot:
    """The automatic snapshots that every machine of the fleet should have."""

    frequency: str
    """hour, day, week or none."""
    keep: int | None = None


@dataclass(frozen=True, slots=True)
class Fleet:
    """A named group of identical machines with a target."""

    name: str
    target: int
    machine_type: str
    region: str
    """In its normal form; the parameters have it as it was typed."""
    parameters: Mapping[str, Scalar]
    """The create call's parameters, by the API's own names, without the machine's name."""
    scale_in: ScaleIn = ScaleIn.STOP
    allow_destroy: bool = False
    standby: int = 0
    adopt: tuple[str, ...] = ()
    """Ids or name globs of existing machines to take under management."""
    guards: Guards = Guards()
    windows: tuple[Window, ...] = ()
    idle: IdleRule | None = None
    shutdown_timeout: ShutdownTimeout | None = None
    auto_snapshot: AutoSnapshot | None = None
    respect_manual: timedelta = timedelta(minutes=30)
    """How long a human's stop is not fought; 0 = fight."""
    release_public_ip: bool = True
    """Whether a destroy releases the public address that this fleet's create assigned (Core only)."""
    destroy_requires_snapshot: timedelta | None = None
    """How fresh the newest snapshot must be before a destroy (v1 only)."""

    @property
    def capacity_key(self) -> tuple[str, str]:
        """What a capacity failure is remembered under: (region, machineType)."""
        return (self.region, self.machine_type)


@dataclass(frozen=True, slots=True)
class Costs:
    """Prices, dollars an hour by machine type, and the cap and the budget over all fleets."""

    prices: Mapping[str, Decimal] = field(default_factory=lambda: MappingProxyType({}))
    max_hourly_cost: Decimal = Decimal(0)
    max_monthly_cost: Decimal = Decimal(0)
    """The budget of everything together, orphans included; 0 is none."""
