"""``fleetd cost``: a month's bills, from the provider as far as it tells, else from the journal. Writes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import anyio

from fleetd.cloud.port import Cloud
from fleetd.engine.billing_records import billed
from fleetd.engine.observed_prices import read_observed_prices
from fleetd.model.errors import CloudError, Unauthorized, Unsupported, Untrusted
from fleetd.model.fleet import Fleet
from fleetd.model.journal import GONE, BilledMonth, MachineFacts
from fleetd.model.machine import Machine, Utilization, month_of
from fleetd.model.plan import Listing
from fleetd.planner.amounts import PriceHistory
from fleetd.planner.billing import (
    Bill,
    MonthBills,
    bill_at,
    following,
    gone_since,
    month_before,
    tells_more,
    told,
)
from fleetd.planner.orphans import orphans_of
from fleetd.planner.ownership import Owner, owners
from fleetd.store.port import Journal


async def month_bills(
    cloud: Cloud, journal: Journal, fleets: Sequence[Fleet], listing: Listing, month: str, now: datetime
) -> MonthBills:
    """By fleet, what a month (``YYYY-MM``) cost of everything that a fleetd made or adopted.

    The provider's word counts. Of a machine of which it tells nothing, or nothing that can be understood, the
    journal's: what it told last, and all that may have come since.

    Raises:
        CloudError: the provider could not be asked; ``Unsupported`` where the dialect has no billing data.
        StoreError: the journal cannot be read.
    """
    facts = {f.machine_id: f for f in await journal.facts()}
    here = {m.id: m for m in listing.machines}
    rows = {row.machine_id: row for row in await journal.bills(month=month)}
    began = frozenset(rows)
    for row in await journal.bills(month=month_before(month)):
        if not row.gone:
            rows.setdefault(row.machine_id, following(row))
    books = _MonthlyCosts(now, here, facts, rows, began, await read_observed_prices(journal))
    owned = owners(listing.machines, fleets, facts, await journal.open_intents())
    since, _ = month_of(month)
    went = gone_since([e for _, e in await journal.history(since=since)], here, month)
    asked = books.machines(owned, fleets, went)
    found: dict[str, Bill | None] = {}

    async def ask(machine_id: str) -> None:
        fleet, machine = asked[machine_id]
        try:
            use = await cloud.utilization(machine_id, month)
        except (Unauthorized, Untrusted, Unsupported):
            raise
        except CloudError:  # whatever is wrong with one machine's bill is no reason to keep the others' back
            found[machine_id] = books.written(machine_id)
        else:
            found[machine_id] = books.told(fleet, machine, use)

    async with anyio.create_task_group() as group:
        for machine_id in asked:
            group.start_soon(ask, machine_id)
    return _by_fleet(month, [f.name for f in fleets], asked, found)


@dataclass(frozen=True, slots=True)
class _MonthlyCosts:
    """What is written."""

    now: datetime
    here: Mapping[str, Machine]
    facts: Mapping[str, MachineFacts]
    rows: Mapping[str, BilledMonth]
    """By machine; of one that was there in the month before, the month's begin."""
    began: frozenset[str]
    """Machines of which something is written in this month."""
    tariffs: PriceHistory

    def machines(
        self, owned: Mapping[str, Owner], fleets: Sequence[Fleet], went: Mapping[str, Sequence[Machine]]
    ) -> dict[str, tuple[str, Machine]]:
        """By id: the machines that were billed to a fleet, and to which. ``went``: those that history says so of."""
        found = {m.id: (owned[m.id].fleet, m) for m in self.here.values() if m.id in owned}
        for fleet, machines in orphans_of(self.here.values(), owned, self.facts, fleets).items():
            found.update({m.id: (fleet, m) for m in machines})
        for row in self.rows.values():
            machine = self.here.get(row.machine_id)
            if machine is None or row.machine_id in self.began:
                found.setdefault(row.machine_id, (row.fleet, machine or Machine(row.machine_id, row.name, GONE)))
        for fleet, gone in went.items():
            for m in gone:
                found.setdefault(m.id, (fleet, m))
        return found

    def told(self, fleet: str, machine: Machine, use: Utilization) -> Bill | None:
        """An answer of the provider's, on top of what it said before."""
        row = self.rows.get(machine.id)
        if not tells_more(row, use):
            return self.written(machine.id)
        return bill_at(told(row, use, billed(machine, fleet), self.now, self.tariffs), self.now)

    def written(self, machine_id: str) -> Bill | None:
        """What was written, and all that may have come since; None where nothing was."""
        row, machine, fact = self.rows.get(machine_id), self.here.get(machine_id), self.facts.get(machine_id)
        if row is None:
            return None
        until = self.now
        if machine is None and fact is not None and fact.destroyed:
            until = fact.last_seen
        is_off = machine is None or billed(machine, row.fleet).off
        still_off = fact.last_seen if fact is not None and is_off else None
        return bill_at(row, until, still_off=still_off, history=self.tariffs)


def _by_fleet(
    month: str, names: Sequence[str], asked: Mapping[str, tuple[str, Machine]], found: Mapping[str, Bill | None]
) -> MonthBills:
    fleets = [*names, *sorted({fleet for fleet, _ in asked.values()} - set(names))]
    bills: dict[str, list[tuple[Machine, Bill]]] = {name: [] for name in fleets}
    untold: dict[str, list[Machine]] = {name: [] for name in fleets}
    for machine_id, (fleet, machine) in asked.items():
        bill = found[machine_id]
        if bill is None:
            untold[fleet].append(machine)
        else:
            bills[fleet].append((machine, bill))
    return MonthBills(
        month,
        {name: tuple(sorted(rows, key=lambda row: row[0].name)) for name, rows in bills.items()},
        {name: tuple(sorted(rows, key=lambda m: m.name)) for name, rows in untold.items()},
        frozenset(fleets) - set(names),
    )
