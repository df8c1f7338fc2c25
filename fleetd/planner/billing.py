"""What a month cost, from the provider's own figures."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal

from fleetd.model.journal import HistoryEntry
from fleetd.model.machine import Machine, Utilization, month_of
from fleetd.model.reasons import Outcome, Verb

CENT = Decimal("0.01")
GONE = "gone"
"""The state of a machine that the provider does not list any more."""


@dataclass(frozen=True, slots=True)
class Bill:
    """One machine's month, or a sum of them. Dollars, to the cent; None where a rate is not known."""

    hours: Decimal | None
    """Hours up, to the tenth; None where nobody can say."""
    compute: Decimal | None
    storage: Decimal | None


@dataclass(frozen=True, slots=True)
class MonthBills:
    """A month of all fleets."""

    month: str
    """``YYYY-MM``, UTC."""
    bills: Mapping[str, tuple[tuple[Machine, Bill], ...]]
    """By fleet, by the machines' names."""
    untold: Mapping[str, tuple[Machine, ...]] = field(default_factory=dict)
    """By fleet: machines that went in the month or since, and of which the provider tells nothing any more."""


def gone_since(
    history: Iterable[HistoryEntry], fleets: Collection[str], here: Collection[str], month: str
) -> dict[str, list[Machine]]:
    """By fleet: the machines that went in a month or later and were made before its end, as history has it.

    Args:
        history: every entry from the month's first instant on.
        fleets: names of the fleets that are asked about.
        here: ids of the machines that are still there.
        month: ``YYYY-MM``.
    """
    _, ends = month_of(month)
    entries = [e for e in history if e.machine is not None and e.machine not in here and e.fleet in fleets]
    later = {e.machine for e in entries if e.verb == Verb.CREATE and e.ts >= ends}
    gone = {e.machine: e for e in entries if _went(e) and e.machine not in later}
    found: dict[str, list[Machine]] = {}
    for machine, entry in gone.items():
        found.setdefault(entry.fleet, []).append(Machine(id=machine or "", name=entry.name, state=GONE))
    return found


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


def _went(entry: HistoryEntry) -> bool:
    destroyed = entry.verb == Verb.DESTROY and entry.outcome == Outcome.REACHED
    missed = entry.verb == "outside" and (entry.error or "").endswith(f"-> {GONE}")
    return destroyed or missed or entry.outcome == Outcome.GONE


def _sum(parts: Iterable[Decimal | None]) -> Decimal | None:
    total = Decimal(0)
    for part in parts:
        if part is None:
            return None
        total += part
    return total


def _cents(amount: Decimal) -> Decimal:
    return amount.quantize(CENT, ROUND_HALF_UP)
