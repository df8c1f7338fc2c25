"""What the machines cost: the vendor's own invoice, to the last digit. World seconds since the epoch."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from fleetd.model.machine import month_of
from fleetd.simulator.clock import WorldClock
from fleetd.simulator.records import MachineRecord

_HOUR = Decimal(3600)


@dataclass(frozen=True, slots=True)
class Bill:
    """One machine's cost within a span, in dollars, not rounded."""

    running: Decimal
    """By the hour, from its boot until it is off."""
    storage: Decimal
    """For its disk, from its creation to its end: the month's rate by the share of the month."""

    @property
    def total(self) -> Decimal:
        """Both together."""
        return self.running + self.storage


def bill(record: MachineRecord, clock: WorldClock, since: float, until: float) -> Bill:
    """What a machine costs within a span of world time, at the prices that held then."""
    running = storage = Decimal(0)
    for begins, ends, hourly in _steps(record.tariff, since, until):
        running += hourly * _exact(record.billed_seconds(begins, ends)) / _HOUR
    first = max(since, record.created)
    last = until if record.gone is None else min(until, record.gone)
    for begins, ends in _months(clock, first, last):
        month_begins, month_ends = _month(clock, begins)
        month = _exact(month_ends - month_begins)
        for start, end, monthly in _steps(record.storage_tariff, begins, ends):
            storage += monthly * _exact(record.stored_seconds(start, end)) / month
    return Bill(running, storage)


def _steps(tariff: list[tuple[float, Decimal]], since: float, until: float) -> list[tuple[float, float, Decimal]]:
    ends = [start for start, _ in tariff[1:]] + [float("inf")]
    spans = [(max(since, start), min(until, end), rate) for (start, rate), end in zip(tariff, ends, strict=True)]
    return [span for span in spans if span[0] < span[1]]


def _months(clock: WorldClock, since: float, until: float) -> list[tuple[float, float]]:
    """The span, cut at the firsts of the months, UTC."""
    pieces = []
    while since < until:
        end = min(until, _month(clock, since)[1])
        pieces.append((since, end))
        since = end
    return pieces


def _month(clock: WorldClock, t: float) -> tuple[float, float]:
    """When the month of an instant begins and ends."""
    begins, ends = month_of(clock.date(t).isoformat()[:7])
    return clock.since_epoch(begins), clock.since_epoch(ends)


def _exact(seconds: float) -> Decimal:
    return Decimal(str(round(seconds, 6)))
