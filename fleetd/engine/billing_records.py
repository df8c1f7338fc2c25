"""Writes down what the provider bills for each machine, so that it is known after the machine went."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from heapq import nsmallest

import anyio
import structlog

from fleetd.cloud.port import Cloud
from fleetd.engine.observed_prices import ObservedPrices
from fleetd.engine.ports import Clock
from fleetd.model.errors import CloudError, NotFound
from fleetd.model.fleet import Fleet
from fleetd.model.journal import BilledMonth, MachineFacts, Memory
from fleetd.model.machine import Machine, Phase, month_of
from fleetd.model.plan import Observation
from fleetd.planner.billing import (
    Billed,
    ended,
    following,
    month_before,
    month_name,
    not_off,
    seen_off,
    tells_more,
    told,
)
from fleetd.planner.facts import went
from fleetd.planner.orphans import orphans_of
from fleetd.planner.ownership import Owner
from fleetd.store.port import Journal

log = structlog.get_logger(__name__)

EVERY = timedelta(hours=6)
"""How old what is written of a machine may grow. What it used since is computed with its price."""
ASKED_AT_ONCE = 5
"""Machines that one pass asks about at the most: the rest have their turn in the next passes."""
BACK = 12
"""Months before the present one whose rows may lack their end after a long downtime."""
_Key = tuple[str, str]
"""Month and machine id."""


def billed(machine: Machine, fleet: str) -> Billed:
    """A machine as the ledger knows it."""
    off = machine.phase is Phase.DOWN
    return Billed(machine.id, fleet, machine.name, machine.created_at, machine.machine_type, off)


def billed_machines(
    observation: Observation, owned: Mapping[str, Owner], memory: Memory, fleets: Sequence[Fleet]
) -> list[Billed]:
    """Every machine that is ours, and every one whose fleet left the config."""
    found = [billed(m, owned[m.id].fleet) for m in observation.machines if m.id in owned]
    orphans = orphans_of(observation.machines, owned, memory.facts, fleets)
    return found + [billed(m, fleet) for fleet, machines in orphans.items() for m in machines]


class BillingRecords:
    """The bills of this month and of those before, by machine. ``progress`` is called after every question."""

    def __init__(
        self,
        cloud: Cloud,
        journal: Journal,
        clock: Clock,
        tariffs: ObservedPrices,
        *,
        progress: Callable[[], None] = lambda: None,
    ) -> None:
        self._cloud = cloud
        self._journal = journal
        self._clock = clock
        self._tariffs = tariffs
        self._progress = progress
        self._bills: dict[_Key, BilledMonth] = {}
        self._months: set[str] = set()
        """That ``_bills`` has rows of."""
        self._tried: dict[_Key, datetime] = {}
        """When the provider was last asked in vain."""
        self._off: dict[str, datetime] = {}
        """When a machine was last seen to be off, of those that were off in every look since their last bill."""

    async def load(self) -> None:
        """Read what an earlier process wrote."""
        this = month = month_name(self._clock.now())
        for _ in range(BACK + 1):
            rows = await self._journal.bills(month=month)
            needed = [b for b in rows if _is_needed(b, this)]
            self._bills.update({(b.month, b.machine_id): b for b in needed})
            self._months |= {b.month for b in needed}
            month = month_before(month)

    def month(self, now: datetime) -> tuple[BilledMonth, ...]:
        """What was billed in the month of ``now``, as far as it is written."""
        this = month_name(now)
        return tuple(b for (month, _), b in sorted(self._bills.items()) if month == this)

    def rates(self, now: datetime) -> dict[str, Decimal]:
        """Dollars an hour by machine id, of the bills that are not older than they should grow."""
        fresh = [row for row in self._of(now) if not row.gone and now - row.as_of <= 1.5 * EVERY]
        return {row.machine_id: row.hourly_rate for row in fresh if row.hourly_rate is not None}

    async def keep(
        self,
        machines: Sequence[Billed],
        facts: Mapping[str, MachineFacts],
        now: datetime,
        *,
        listed: Collection[str],
        looks: timedelta = timedelta(minutes=5),
    ) -> None:
        """Write down what is due: machines not asked about for long, the month that ended, machines that went.

        Args:
            machines: those that are billed.
            facts: what is remembered of machines.
            now: when the look began.
            listed: ids of all machines that the provider lists.
            looks: a machine that was off in two looks which are not further apart was off between them.
        """
        if not self._cloud.capabilities.utilization:
            return
        here = {m.machine_id: m for m in machines}
        await self._roll(here, listed, now)
        await self._look_at(machines, now, looks)
        await self._end(self._left(here, facts), facts)
        due = [m for m in machines if self._is_due(m, now)]
        due += [_remembered(row) for row in self._missing(listed, now)]
        due += await self._released(here, listed, now)
        this = month_name(now)
        longest = nsmallest(ASKED_AT_ONCE, due, key=lambda m: (self._asked(this, m.machine_id, now), m.machine_id))
        async with anyio.create_task_group() as group:
            for machine in longest:
                group.start_soon(self._ask_for, machine, machine.machine_id not in listed)
        await self._tariffs.save()
        if len(self._bills) > 3 * (len(machines) + 1000):
            self._bills = {key: b for key, b in self._bills.items() if _is_needed(b, month_name(now))}

    async def before_destroy(self, machine: Billed) -> None:
        """The last moment at which the provider is sure to tell."""
        if self._cloud.capabilities.utilization:
            await self.ask(machine)
            await self._tariffs.save()

    async def ask_all(self, machines: Sequence[Billed], listed: Collection[str]) -> None:
        """Ask about all of them now."""
        if self._cloud.capabilities.utilization:
            now = self._clock.now()
            await self._roll({m.machine_id: m for m in machines}, listed, now)
            async with anyio.create_task_group() as group:
                for machine in machines:
                    group.start_soon(self.ask, machine)

    async def ask(self, machine: Billed) -> bool:
        """Ask the provider about a machine's month, and about those before that lack their end.

        The present month goes first: its beginning is computed with the price that the others were told with last.

        Returns:
            Whether the provider says that there is no such machine.
        """
        now = self._clock.now()
        unknown = await self._ask_month(machine, month_name(now), now)
        for month in self._without_end(machine, now):
            # Where the provider has no bill of that month, it may know the machine all the same.
            await self._ask_month(machine, month, now)
        return unknown

    async def _ask_for(self, machine: Billed, may_be_gone: bool) -> None:
        if await self.ask(machine) and may_be_gone:
            now = self._clock.now()
            rows = [b for b in self._bills.values() if b.machine_id == machine.machine_id and not b.gone]
            await self._put(ended(row, now, self._off.get(row.machine_id)) for row in rows)

    async def _ask_month(self, machine: Billed, month: str, now: datetime) -> bool:
        key, unknown = (month, machine.machine_id), False
        row = self._bills.get(key)
        try:
            use = await self._cloud.utilization(machine.machine_id, month)
        except CloudError as error:
            self._tried[key] = now
            unknown = isinstance(error, NotFound)
            log.debug("bill.ask_failed", machine=machine.machine_id, month=month, error=str(error))
            await self._note_off(row, machine, now)
        else:
            if not tells_more(row, use):
                self._tried[key] = now
                await self._note_off(row, machine, now)
            else:
                self._tariffs.saw(machine.machine_type, use.hourly_rate, now)
                await self._put([told(row, use, machine, now, self._tariffs.history)])
                self._tried.pop(key, None)
                if self._bills[key].as_of > now:  # the clock was set back: the row does not tell when this was
                    self._tried[key] = now
                if machine.off:
                    self._off.setdefault(machine.machine_id, now)
        self._progress()
        return unknown

    async def _note_off(self, row: BilledMonth | None, machine: Billed, now: datetime) -> None:
        """It went off, and nobody tells what it used until then: what comes after is known all the same."""
        if row is not None and machine.off and not row.off and not row.gone:
            await self._put([seen_off(row, now)])
            self._off.setdefault(machine.machine_id, now)

    async def _put(self, bills: Iterable[BilledMonth]) -> None:
        kept = list(bills)
        await self._journal.put_bills(kept)
        self._bills.update({(b.month, b.machine_id): b for b in kept})
        self._months |= {b.month for b in kept}

    async def _roll(self, here: Mapping[str, Billed], listed: Collection[str], now: datetime) -> None:
        """Begin the present month of every machine that was there in an earlier one and is not known to have gone."""
        this = month_name(now)
        latest = {row.machine_id: row for _, row in sorted(self._bills.items())}
        new: list[BilledMonth] = []
        for machine, last in latest.items():
            row = last
            while row.month < this and not row.gone and (machine in here or machine not in listed):
                row = following(row)
                new.append(row)
        if new:
            await self._put(new)

    async def _look_at(self, machines: Sequence[Billed], now: datetime, looks: timedelta) -> None:
        """Note which machines are off still, and forget it of those that may have run since."""
        turned: list[BilledMonth] = []
        this = month_name(now)
        for machine in machines:
            seen = self._off.get(machine.machine_id)
            row = self._bills.get((this, machine.machine_id))
            if machine.off and seen is not None and timedelta(0) <= now - seen <= looks:
                self._off[machine.machine_id] = now
                continue
            self._off.pop(machine.machine_id, None)
            if row is not None and row.off:
                turned.append(not_off(row))
        if turned:
            await self._put(turned)

    async def _end(self, rows: Sequence[BilledMonth], facts: Mapping[str, MachineFacts]) -> None:
        now = self._clock.now()
        gone: list[BilledMonth] = []
        for row in rows:
            fact = facts[row.machine_id]
            at = fact.last_seen if fact.destroyed and fact.last_seen >= row.as_of else now
            gone.append(ended(row, at, self._off.get(row.machine_id)))
        if gone:
            await self._put(gone)

    def _left(self, here: Mapping[str, Billed], facts: Mapping[str, MachineFacts]) -> list[BilledMonth]:
        """Bills without a last word of machines that are proven gone."""
        return [
            row
            for row in self._bills.values()
            if not row.gone and row.machine_id not in here and row.machine_id in facts and went(facts[row.machine_id])
        ]

    def _missing(self, listed: Collection[str], now: datetime) -> list[BilledMonth]:
        """Present bills of machines that are not listed and that nobody looks for: their fleet left the config."""
        return [
            row
            for row in self._of(now)
            if not row.gone
            and row.machine_id not in listed
            and now - self._asked(row.month, row.machine_id, now) >= timedelta(minutes=5)
        ]

    async def _released(self, here: Mapping[str, Billed], listed: Collection[str], now: datetime) -> list[Billed]:
        """Machines that were ours earlier in this month; with the month that ends what is written of them."""
        this, due, over = month_name(now), {}, []
        for row in self._bills.values():
            if row.machine_id in here or row.machine_id not in listed or row.gone:
                continue
            machine = _remembered(row)
            if row.month < this and not self._without_end(machine, now):
                over.append(ended(row, now, self._off.get(row.machine_id)))
            elif row.month < this or now - self._asked(this, row.machine_id, now) >= EVERY:
                due[row.machine_id] = machine
        if over:
            await self._put(over)
        return list(due.values())

    def _of(self, now: datetime) -> list[BilledMonth]:
        this = month_name(now)
        return [row for (month, _), row in self._bills.items() if month == this]

    def _is_due(self, machine: Billed, now: datetime) -> bool:
        key = (month_name(now), machine.machine_id)
        row = self._bills.get(key)
        # Its price now may not be the one it ends with; and what was off cost nothing until it is started again.
        turned = row is None or (machine.off and not row.off)
        if turned and key not in self._tried:
            return True
        return now - self._asked(*key, now) >= EVERY or bool(self._without_end(machine, now))

    def _without_end(self, machine: Billed, now: datetime) -> list[str]:
        """Months of a machine that are over and lack their last word, and were not asked about lately."""
        this = month_name(now)
        before = month_before(this)
        found: list[str] = []
        for month in sorted({before, *self._older(machine.machine_id, this)}):
            _, ends = month_of(month)
            row, tried = self._bills.get((month, machine.machine_id)), self._tried.get((month, machine.machine_id))
            lacking = _is_unfinished(row) if row is not None else _may_have_begun(machine, ends)
            if lacking and (tried is None or not timedelta(0) <= now - tried < EVERY):
                found.append(month)
        return found

    def _older(self, machine_id: str, this: str) -> list[str]:
        return [month for month in self._months if month < this and (month, machine_id) in self._bills]

    def _asked(self, month: str, machine_id: str, now: datetime) -> datetime:
        """When it was last asked about. An instant of the future was read off a clock that has been set back."""
        row, tried = self._bills.get((month, machine_id)), self._tried.get((month, machine_id))
        known = [row.as_of if row is not None else None, tried]
        return max((at for at in known if at is not None and at <= now), default=month_of(month)[0])


def _is_needed(row: BilledMonth, this: str) -> bool:
    """Whether it may still change."""
    return row.month >= month_before(this) or _is_unfinished(row)


def _is_unfinished(row: BilledMonth) -> bool:
    return not row.gone and row.as_of < month_of(row.month)[1]


def _may_have_begun(machine: Billed, before: datetime) -> bool:
    return machine.created_at is None or machine.created_at < before


def _remembered(row: BilledMonth) -> Billed:
    return Billed(row.machine_id, row.fleet, row.name, None, row.machine_type, row.off)
