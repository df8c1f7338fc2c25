"""What a month cost: from the provider's own figures, and from what was written down of machines that went."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal

from fleetd.model.journal import BilledMonth, HistoryEntry, MachineFacts
from fleetd.model.machine import Machine, Phase, Utilization, month_of
from fleetd.model.reasons import Outcome, Verb

CENT = Decimal("0.01")
GONE = "gone"
"""The state of a machine that the provider does not list any more."""


@dataclass(frozen=True, slots=True)
class Bill:
    """One machine's month, or a sum of them. Dollars, to the cent; None where it is not known."""

    hours: Decimal | None
    """Hours up, to the tenth."""
    compute: Decimal | None
    storage: Decimal | None
    at_most: bool = False
    """The provider did not say all of it: the machine may have cost less."""


UNKNOWN = Bill(None, None, None)


@dataclass(frozen=True, slots=True)
class MonthBills:
    """A month of everything that a fleetd made or adopted."""

    month: str
    """``YYYY-MM``, UTC."""
    bills: Mapping[str, tuple[tuple[Machine, Bill], ...]]
    """By fleet, by the machines' names. Fleets that left the config are among them."""
    untold: Mapping[str, tuple[Machine, ...]] = field(default_factory=dict)
    """By fleet: machines of which neither the provider nor the journal tells what they cost."""
    left: frozenset[str] = frozenset()
    """Fleets that are not in the config."""


def gone_since(history: Iterable[HistoryEntry], here: Collection[str], month: str) -> dict[str, list[Machine]]:
    """By fleet: the machines that went in a month or later and were made before its end, as history has it.

    Args:
        history: every entry from the month's first instant on.
        here: ids of the machines that are still there.
        month: ``YYYY-MM``.
    """
    _, ends = month_of(month)
    entries = [e for e in history if e.machine is not None and e.machine not in here]
    later = {e.machine for e in entries if e.verb == Verb.CREATE and e.ts >= ends}
    gone = {e.machine: e for e in entries if _went(e) and e.machine not in later}
    found: dict[str, list[Machine]] = {}
    for machine, entry in gone.items():
        found.setdefault(entry.fleet, []).append(Machine(id=machine or "", name=entry.name, state=GONE))
    return found


def bill_of(use: Utilization) -> Bill:
    """Compute by the hour, storage by the share of the month in which the disk existed. A rate of 0 is no price."""
    hours = None if use.seconds_used is None else Decimal(str(use.seconds_used)) / 3600
    unpriced = use.hourly_rate is None or (hours and use.hourly_rate == 0)
    compute = None if hours is None or use.hourly_rate is None or unpriced else _cents(hours * use.hourly_rate)
    share = min(Decimal(1), Decimal(str(use.storage_seconds_used)) / month_seconds(use.month))
    storage = None if use.storage_monthly_rate is None else _cents(share * use.storage_monthly_rate)
    return Bill(None if hours is None else hours.quantize(Decimal("0.1"), ROUND_HALF_UP), compute, storage)


def told_bill(use: Utilization, written: BilledMonth | None) -> Bill:
    """The provider's word; what the journal has where the provider says less than it did before.

    A figure that went down, or that it does not give any more, is no refund.
    """
    told = bill_of(use)
    if written is None:
        return told
    kept = bill_of(use_of(written))
    return Bill(
        _most(told.hours, kept.hours),
        _most(told.compute, kept.compute),
        _most(told.storage, kept.storage),
    )


def written_bill(bill: BilledMonth) -> Bill:
    """The same, from what the journal kept."""
    return replace(bill_of(use_of(bill)), at_most=bill.at_most)


def use_of(bill: BilledMonth) -> Utilization:
    """What the provider had said."""
    return Utilization(
        bill.machine_id,
        bill.month,
        bill.seconds_used,
        bill.hourly_rate,
        bill.storage_seconds_used,
        bill.storage_monthly_rate,
    )


def bill_now(use: Utilization, fleet: str, name: str, as_of: datetime) -> BilledMonth:
    """What to keep of the provider's word."""
    return BilledMonth(
        month=use.month,
        machine_id=use.machine_id,
        fleet=fleet,
        name=name,
        as_of=as_of,
        seconds_used=use.seconds_used,
        hourly_rate=use.hourly_rate,
        storage_seconds_used=use.storage_seconds_used,
        storage_monthly_rate=use.storage_monthly_rate,
    )


def at_the_end(bill: BilledMonth, ran_until: datetime | None, gone_at: datetime) -> BilledMonth:
    """The last word on a machine that went, where the provider says no more: all that it may have used since counts.

    Args:
        bill: the newest word.
        ran_until: when it was last billed by the hour, as far as anybody saw; None when it was not since ``as_of``.
        gone_at: when it went.
    """
    _, ends = month_of(bill.month)
    ran = 0.0 if ran_until is None else max(0.0, (min(ran_until, ends) - bill.as_of).total_seconds())
    stored = max(0.0, (min(gone_at, ends) - bill.as_of).total_seconds())
    return replace(
        bill,
        as_of=max(bill.as_of, min(gone_at, ends)),
        seconds_used=None if bill.seconds_used is None else bill.seconds_used + ran,
        storage_seconds_used=bill.storage_seconds_used + stored,
        gone=True,
        at_most=bill.at_most or ran > 0 or stored > 0,
    )


def bill_until(bill: BilledMonth, machine: Machine | None, fact: MachineFacts | None, now: datetime) -> BilledMonth:
    """What a machine has cost at the most, where the provider tells nothing more of it.

    Args:
        bill: the newest word.
        machine: as it is listed; None where it is not.
        fact: what is remembered of it.
        now: wall time.
    """
    if bill.gone:
        return bill
    if machine is None and fact is not None and (fact.destroyed or fact.gone_at is not None):
        ran, there = fact.last_up_at, fact.gone_at or fact.last_seen
    elif machine is not None and fact is not None and _off(machine.state) and _off(fact.last_state):
        ran, there = fact.last_up_at, now
    else:
        ran, there = now, now
    so_far = at_the_end(bill, ran, there)
    return replace(so_far, gone=False)


def amount_of(bill: BilledMonth) -> Decimal | None:
    """Dollars, compute and storage together. None when a rate of what was used is not known."""
    told = written_bill(bill)
    if told.compute is None:
        return None
    # A dialect without storage rates says nothing of storage; the sum is of what is known, and ``cost`` says so.
    return told.compute + (told.storage or Decimal(0))


def sum_of(bills: Iterable[Bill]) -> Bill:
    """The sum; a part that is not known makes its sum unknown."""
    rows = list(bills)
    return Bill(
        _sum(b.hours for b in rows),
        _sum(b.compute for b in rows),
        _sum(b.storage for b in rows),
        any(b.at_most for b in rows),
    )


def known_sum(bills: Iterable[Bill]) -> Bill:
    """The sum of the parts that are known: what was spent at the least."""
    rows = list(bills)
    return Bill(
        _known(b.hours for b in rows),
        _known(b.compute for b in rows),
        _known(b.storage for b in rows),
        any(b.at_most for b in rows),
    )


def month_seconds(month: str) -> int:
    """Seconds in a calendar month (``YYYY-MM``)."""
    year, number = (int(part) for part in month.split("-"))
    return monthrange(year, number)[1] * 86_400


def _went(entry: HistoryEntry) -> bool:
    destroyed = entry.verb == Verb.DESTROY and entry.outcome == Outcome.REACHED
    missed = entry.verb == "outside" and (entry.error or "").endswith(f"-> {GONE}")
    return destroyed or missed or entry.outcome == Outcome.GONE


def _off(state: str) -> bool:
    return Machine("", "", state).phase is Phase.DOWN


def _most(told: Decimal | None, kept: Decimal | None) -> Decimal | None:
    return max((part for part in (told, kept) if part is not None), default=None)


def _sum(parts: Iterable[Decimal | None]) -> Decimal | None:
    total = Decimal(0)
    for part in parts:
        if part is None:
            return None
        total += part
    return total


def _known(parts: Iterable[Decimal | None]) -> Decimal:
    return sum((part for part in parts if part is not None), Decimal(0))


def _cents(amount: Decimal) -> Decimal:
    return amount.quantize(CENT, ROUND_HALF_UP)
