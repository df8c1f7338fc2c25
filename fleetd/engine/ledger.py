"""Writes down what the provider bills for each machine, so that it is known after the machine went."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import anyio
import structlog

from fleetd.cloud.port import Cloud
from fleetd.engine.ports import Clock
from fleetd.model.errors import CloudError
from fleetd.model.fleet import Fleet
from fleetd.model.journal import BilledMonth, MachineFacts, Memory
from fleetd.model.machine import month_of
from fleetd.model.plan import Observation
from fleetd.planner.billing import at_the_end, bill_now
from fleetd.planner.orphans import orphans_of
from fleetd.planner.ownership import Owner
from fleetd.store.port import Journal

log = structlog.get_logger(__name__)

EVERY = timedelta(hours=6)
"""How old what is written of a machine may grow. What it used since is reckoned with its price."""
ASKED_AT_ONCE = 5
"""Machines that one pass asks about at the most: the rest have their turn in the next passes."""
YOUNG = timedelta(minutes=10)
"""A machine that is older when it is first seen has cost what nobody here saw: it is asked about at once."""


@dataclass(frozen=True, slots=True)
class Billed:
    """A machine that is billed to this account because a fleetd made or adopted it."""

    machine_id: str
    fleet: str
    name: str
    created_at: datetime | None = None


def billed_machines(
    observation: Observation, owned: Mapping[str, Owner], memory: Memory, fleets: Sequence[Fleet]
) -> list[Billed]:
    """Every machine that is ours, and every one whose fleet left the config."""
    found = [Billed(m.id, owned[m.id].fleet, m.name, m.created_at) for m in observation.machines if m.id in owned]
    orphans = orphans_of(observation.machines, owned, memory.facts, fleets)
    return found + [
        Billed(m.id, fleet, m.name, m.created_at) for fleet, machines in orphans.items() for m in machines
    ]


class Ledger:
    """The bills of this month and of the one before, by machine. ``progress`` is called after every question."""

    def __init__(
        self, cloud: Cloud, journal: Journal, clock: Clock, *, progress: Callable[[], None] = lambda: None
    ) -> None:
        self._cloud = cloud
        self._journal = journal
        self._clock = clock
        self._progress = progress
        self._bills: dict[tuple[str, str], BilledMonth] = {}
        self._tried: dict[tuple[str, str], datetime] = {}
        """When the provider was last asked in vain."""

    async def load(self) -> None:
        """Read what an earlier process wrote."""
        now = self._clock.now()
        for month in (_month(now), _month_before(now)):
            self._bills.update({(b.month, b.machine_id): b for b in await self._journal.bills(month=month)})

    def month(self, now: datetime) -> tuple[BilledMonth, ...]:
        """What was billed in the month of ``now``, as far as it is written."""
        this = _month(now)
        return tuple(b for (month, _), b in sorted(self._bills.items()) if month == this)

    async def keep(self, machines: Sequence[Billed], facts: Mapping[str, MachineFacts], now: datetime) -> None:
        """Write down what is due: machines not asked about for long, the month that ended, machines that went."""
        if not self._cloud.capabilities.utilization:
            return
        this, before = _month(now), _month_before(now)
        here = {m.machine_id for m in machines}
        for bill in self._left(here, facts):
            fact = facts[bill.machine_id]
            went = fact.gone_at or fact.last_seen
            ran = fact.last_up_at if fact.last_up_at is not None and fact.last_up_at > bill.as_of else None
            await self._put([at_the_end(bill, ran, went)])
        due = [(m, before) for m in machines if self._unfinished(before, m.machine_id, facts.get(m.machine_id), now)]
        due += [(m, this) for m in machines if self._old(this, m, facts.get(m.machine_id), now)]
        due.sort(key=lambda one: (one[1], self._asked(one[1], one[0].machine_id), one[0].machine_id))
        async with anyio.create_task_group() as group:
            for machine, month in due[:ASKED_AT_ONCE]:
                group.start_soon(self.ask, machine, month)
        if len(self._bills) > 2 * (len(machines) + 1000):
            self._bills = {key: b for key, b in self._bills.items() if key[0] in {this, before}}

    async def before_destroy(self, machine: Billed) -> None:
        """The last moment at which the provider is sure to tell."""
        if self._cloud.capabilities.utilization:
            await self.ask(machine, _month(self._clock.now()))

    async def ask(self, machine: Billed, month: str) -> None:
        """Ask the provider about one machine's month, and write its answer down."""
        now = self._clock.now()
        try:
            use = await self._cloud.utilization(machine.machine_id, month)
        except CloudError as error:
            self._tried[month, machine.machine_id] = now
            log.debug("bill.ask_failed", machine=machine.machine_id, month=month, error=str(error))
        else:
            _, ends = month_of(month)
            await self._put([bill_now(use, machine.fleet, machine.name, min(now, ends))])
        self._progress()

    async def _put(self, bills: Iterable[BilledMonth]) -> None:
        kept = list(bills)
        await self._journal.put_bills(kept)
        self._bills.update({(b.month, b.machine_id): b for b in kept})

    def _left(self, here: set[str], facts: Mapping[str, MachineFacts]) -> list[BilledMonth]:
        """Bills without a last word of machines that are proven gone."""
        return [
            bill
            for bill in self._bills.values()
            if not bill.gone
            and bill.machine_id not in here
            and bill.machine_id in facts
            and (facts[bill.machine_id].destroyed or facts[bill.machine_id].gone_at is not None)
        ]

    def _unfinished(self, month: str, machine_id: str, fact: MachineFacts | None, now: datetime) -> bool:
        """Whether a month that is over lacks its last word."""
        _, ends = month_of(month)
        bill = self._bills.get((month, machine_id))
        young = bill is None and fact is not None and fact.first_seen < ends
        lacking = young or (bill is not None and not bill.gone and bill.as_of < ends)
        return lacking and now - self._asked(month, machine_id) >= EVERY

    def _old(self, month: str, machine: Billed, fact: MachineFacts | None, now: datetime) -> bool:
        first = min(fact.first_seen, now) if fact is not None else now - EVERY
        key = (month, machine.machine_id)
        seen_late = machine.created_at is None or first - machine.created_at > YOUNG
        if seen_late and first >= month_of(month)[0] and key not in self._bills and key not in self._tried:
            return True
        return now - max(self._asked(*key), first) >= EVERY

    def _asked(self, month: str, machine_id: str) -> datetime:
        bill, tried = self._bills.get((month, machine_id)), self._tried.get((month, machine_id))
        known = [at for at in (bill.as_of if bill is not None else None, tried) if at is not None]
        return max(known, default=month_of(month)[0])


def _month(now: datetime) -> str:
    return f"{now:%Y-%m}"


def _month_before(now: datetime) -> str:
    return f"{now.replace(day=1) - timedelta(days=1):%Y-%m}"
