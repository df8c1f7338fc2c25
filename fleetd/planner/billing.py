"""What a month cost: from the provider's own figures, and from what was written down of machines that went."""

from __future__ import annotations

import functools
from calendar import monthrange
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal

from fleetd.model.journal import GONE, BilledMonth, HistoryEntry
from fleetd.model.machine import Machine, Utilization, month_of
from fleetd.model.reasons import Outcome, Verb
from fleetd.planner.amounts import (
    NOTHING,
    Amount,
    PriceHistory,
    hourly,
    known_total,
    monthly,
    prices_during,
    total,
)

TENTH = Decimal("0.1")


@dataclass(frozen=True, slots=True)
class Bill:
    """One machine's month, or a sum of them. Hours up and dollars, not rounded; None where nothing is known."""

    hours: Amount | None
    compute: Amount | None
    storage: Amount | None

    @property
    def at_most(self) -> bool:
        """Whether it may have cost less than its upper bounds: the provider did not tell all of it."""
        hours = self.hours is None or self.hours.is_exact(TENTH)
        return not (hours and all(part is None or part.is_exact() for part in (self.compute, self.storage)))


UNKNOWN = Bill(None, None, None)


@dataclass(frozen=True, slots=True)
class Billed:
    """A machine that is billed to this account because a fleetd made or adopted it."""

    machine_id: str
    fleet: str
    name: str
    created_at: datetime | None = None
    machine_type: str | None = None
    off: bool = False
    """It was off when it was last looked at."""


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


def tells_more(row: BilledMonth | None, use: Utilization) -> bool:
    """Whether an answer can be added to what is written: it names the hours, and a price for those that are new."""
    if row is None or row.seconds_used is None:
        return True
    return use.seconds_used is not None and (use.seconds_used <= row.seconds_used or bool(_prices(use.hourly_rate)))


def told(
    row: BilledMonth | None, use: Utilization, machine: Billed, at: datetime, history: PriceHistory
) -> BilledMonth:
    """A machine's month after an answer of the provider's that ``tells_more``.

    What was used since the last answer is added at the prices that held before and after it: the provider names one
    price for the whole month, which is the present one. A figure that went down, or that it does not give any more,
    is no refund.

    Args:
        row: what was written last; None before the first answer.
        use: the answer.
        machine: which one; what is remembered of it.
        at: when the provider was asked.
        history: prices seen, for the time before the first answer.
    """
    begins, ends = month_of(use.month)
    first = row is None or row.seconds_used is None or row.hourly_rate is None
    row = _without_end(row) if row is not None else replace(new_month(use.month, machine, begins), seconds_used=None)
    as_of = max(row.as_of, min(at, ends))
    prices = _prices(row.hourly_rate, use.hourly_rate)
    if first:
        born = max(begins, machine.created_at or begins)
        prices |= prices_during(history, machine.machine_type, min(born, as_of), as_of)
    seconds = _most(row.seconds_used, use.seconds_used)
    spent = NOTHING if row.seconds_used is None else _spent(row, prices)
    spent = None if seconds is None else total([spent, hourly(_more(row.seconds_used, seconds), prices)])
    stored_s = max(row.storage_seconds_used, use.storage_seconds_used)
    rates = {r for r in (row.storage_monthly_rate, use.storage_monthly_rate) if r is not None}
    step = monthly(stored_s - row.storage_seconds_used, month_seconds(use.month), rates)
    stored = total([_stored(row, rates), step]) if rates else None
    return replace(
        row,
        fleet=machine.fleet,
        name=machine.name,
        machine_type=machine.machine_type or row.machine_type,
        as_of=as_of,
        seconds_used=seconds,
        hourly_rate=use.hourly_rate if _prices(use.hourly_rate) else row.hourly_rate,
        storage_seconds_used=stored_s,
        storage_monthly_rate=_newest(use.storage_monthly_rate, row.storage_monthly_rate),
        spent_least=None if spent is None else spent.least,
        spent_most=None if spent is None else spent.most,
        stored_least=None if stored is None else stored.least,
        stored_most=None if stored is None else stored.most,
        off=machine.off,
        more_seconds=0.0,
    )


def new_month(month: str, machine: Billed, as_of: datetime) -> BilledMonth:
    """A machine's month of which the provider has told nothing yet."""
    return BilledMonth(
        month=month,
        machine_id=machine.machine_id,
        fleet=machine.fleet,
        name=machine.name,
        as_of=as_of,
        seconds_used=0.0,
        hourly_rate=None,
        storage_seconds_used=0.0,
        storage_monthly_rate=None,
        machine_type=machine.machine_type,
    )


def following(row: BilledMonth) -> BilledMonth:
    """The month after, of a machine that has not gone: nothing used yet, at the price that held last."""
    _, begins = month_of(row.month)
    return replace(
        new_month(f"{begins:%Y-%m}", Billed(row.machine_id, row.fleet, row.name), begins),
        machine_type=row.machine_type,
        hourly_rate=row.hourly_rate,
        storage_monthly_rate=row.storage_monthly_rate,
        off=row.off,
    )


def unseen_seconds(row: BilledMonth, until: datetime, still_off: datetime | None) -> float:
    """For how long it may have run since the provider's last word.

    Args:
        row: the last word.
        until: when it was known to be no more, or now.
        still_off: when it was last seen to be off still, if it was off at the last word.
    """
    until = _within(row, until)
    whole = max(0.0, (until - row.as_of).total_seconds())
    if not row.off or still_off is None:
        return whole
    return min(whole, row.more_seconds + max(0.0, (until - max(still_off, row.as_of)).total_seconds()))


def seen_off(row: BilledMonth, at: datetime) -> BilledMonth:
    """It is off, and the provider does not tell what it has used until then."""
    return replace(row, off=True, more_seconds=unseen_seconds(row, at, None))


def not_off(row: BilledMonth) -> BilledMonth:
    """It may have run ever since the last word."""
    return replace(row, off=False, more_seconds=0.0)


def ended(row: BilledMonth, gone_at: datetime, still_off: datetime | None = None) -> BilledMonth:
    """The last word on a machine that went. ``gone_at``: when it was known to be no more; else as above."""
    more, until = unseen_seconds(row, gone_at, still_off), max(row.as_of, _within(row, gone_at))
    return replace(row, gone=True, gone_at=until, more_seconds=more, at_most=row.at_most or until > row.as_of)


def bill_at(
    row: BilledMonth,
    until: datetime,
    *,
    still_off: datetime | None = None,
    history: PriceHistory | None = None,
    price: Decimal | None = None,
) -> Bill:
    """What a month has cost until then, where the provider tells no more than is written.

    Args:
        row: the last word.
        until: wall time, for one that has not gone.
        still_off: see ``unseen_seconds``.
        history: prices seen.
        price: another price, in dollars an hour, that it may have.
    """
    more = row.more_seconds if row.gone else unseen_seconds(row, until, still_off)
    until = (row.gone_at or row.as_of) if row.gone else max(row.as_of, _within(row, until))
    prices = _prices(row.hourly_rate, price) | prices_during(history or {}, row.machine_type, row.as_of, until)
    stored_s = (until - row.as_of).total_seconds()
    rates = [] if row.storage_monthly_rate is None else [row.storage_monthly_rate]
    hours = None
    if row.seconds_used is not None:
        most = Decimal(str(row.seconds_used + more)) / 3600
        hours = Amount(Decimal(0) if _is_rough(row) else Decimal(str(row.seconds_used)) / 3600, most)
    return Bill(
        hours,
        _and_perhaps(_spent(row, prices), hourly(more, prices)),
        _and_perhaps(_stored(row, rates), monthly(stored_s, month_seconds(row.month), rates)) if rates else None,
    )


def dollars_of(bill: Bill) -> Amount | None:
    """Compute and storage together; None when a rate of the hours used is not known.

    A dialect without storage rates says nothing of storage; the sum is of what is known, and ``cost`` says so.
    """
    return None if bill.compute is None else bill.compute + (bill.storage or NOTHING)


def sum_of(bills: Iterable[Bill]) -> Bill:
    """The sum; a part that is not known makes its sum unknown."""
    rows = list(bills)
    return Bill(total(b.hours for b in rows), total(b.compute for b in rows), total(b.storage for b in rows))


def known_sum(bills: Iterable[Bill]) -> Bill:
    """The sum of the parts that are known."""
    rows = list(bills)
    return Bill(
        known_total(b.hours for b in rows),
        known_total(b.compute for b in rows),
        known_total(b.storage for b in rows),
    )


def month_seconds(month: str) -> int:
    """Seconds in a calendar month (``YYYY-MM``)."""
    year, number = (int(part) for part in month.split("-"))
    return monthrange(year, number)[1] * 86_400


def month_name(now: datetime) -> str:
    """The billing month of an instant."""
    return f"{now.year:04}-{now.month:02}"


@functools.lru_cache(maxsize=128)
def month_before(month: str) -> str:
    """The one before it."""
    begins, _ = month_of(month)
    return f"{begins - timedelta(days=1):%Y-%m}"


def _without_end(row: BilledMonth) -> BilledMonth:
    """The provider tells of it after all: what was assumed of its end does not count."""
    if not row.gone:
        return row
    return replace(row, gone=False, gone_at=None, at_most=_is_rough(row))


def _is_rough(row: BilledMonth) -> bool:
    """Whether its seconds have in them what it may have used at the end: so earlier versions wrote it."""
    return row.at_most and row.gone and row.gone_at is None


def _spent(row: BilledMonth, prices: Collection[Decimal]) -> Amount | None:
    if row.spent_least is not None and row.spent_most is not None:
        return Amount(row.spent_least, row.spent_most)
    if row.seconds_used is None:
        return None
    known = hourly(row.seconds_used, _prices(row.hourly_rate) or prices)
    return Amount(Decimal(0), known.most) if known is not None and _is_rough(row) else known


def _stored(row: BilledMonth, rates: Collection[Decimal]) -> Amount | None:
    if row.stored_least is not None and row.stored_most is not None:
        return Amount(row.stored_least, row.stored_most)
    known = monthly(row.storage_seconds_used, month_seconds(row.month), rates)
    return Amount(Decimal(0), known.most) if known is not None and _is_rough(row) else known


def _and_perhaps(known: Amount | None, more: Amount | None) -> Amount | None:
    return None if known is None or more is None else Amount(known.least, known.most + more.most)


def _within(row: BilledMonth, at: datetime) -> datetime:
    return min(at, month_of(row.month)[1])


def _prices(*prices: Decimal | None) -> frozenset[Decimal]:
    return frozenset(p for p in prices if p is not None and p.is_finite() and p > 0)


def _more(before: float | None, after: float) -> Decimal:
    # As text: the difference of two floats has digits that neither has.
    return max(Decimal(0), Decimal(str(after)) - Decimal(str(before or 0.0)))


def _most(told: float | None, kept: float | None) -> float | None:
    return max((part for part in (told, kept) if part is not None), default=None)


def _newest(told: Decimal | None, kept: Decimal | None) -> Decimal | None:
    return kept if told is None else told


def _went(entry: HistoryEntry) -> bool:
    destroyed = entry.verb == Verb.DESTROY and entry.outcome == Outcome.REACHED
    return destroyed or entry.tells_gone or entry.outcome == Outcome.GONE
