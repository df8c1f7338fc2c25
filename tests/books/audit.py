"""Holds what ``fleetd cost`` claims to what the simulator bills, machine by machine and as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

from fleetd.model.machine import month_of
from fleetd.planner.amounts import CENT
from fleetd.planner.billing import Bill as Claim
from fleetd.planner.billing import MonthBills, dollars_of
from fleetd.simulator.bill import Bill as Truth
from fleetd.simulator.bill import bill
from fleetd.simulator.records import MachineRecord
from fleetd.simulator.world import World
from tests.books.cloud import WorldCloud

HOUR = 3600.0
FUZZ = Decimal("0.000001")
"""Dollars by which two sums of the same numbers may differ."""
EVERY = 8.0
"""Hours between two questions about a machine at the most, while the daemon runs and the provider tells."""
SHORT = 1800.0
"""Seconds for which the daemon may be down, and is as good as running."""
BEFORE = 4 * 86_400.0
"""Seconds before a month, or a machine's, begins in which a price that changes can make that begin uncertain: there
may have been no machine of its type to ask about."""

TOLD = "the provider tells"
PRICE = "its price changed"
BY_FLEETD = "destroyed by fleetd"
BY_PERSON = "destroyed by a person"
HIDDEN = "daemon down or no answer"
KINDS = (TOLD, PRICE, BY_FLEETD, BY_PERSON, HIDDEN)


@dataclass(frozen=True)
class Told:
    """One machine's month, as it was claimed at one time."""

    kind: str
    month: str
    machine: str
    truth: Decimal
    least: Decimal
    most: Decimal


@dataclass
class Audit:
    """Knows whose machines are, and when nobody could ask."""

    world: World
    cloud: WorldCloud
    prices: dict[str, list[tuple[float, Decimal]]]
    """By machine type, what the vendor asks, and from when on."""
    told: list[Told] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    sums: int = 0
    """Whole months that were compared."""
    _adopted: dict[str, tuple[MachineRecord, float, float]] = field(default_factory=dict)
    _down: list[tuple[float, float]] = field(default_factory=list)
    _mute: dict[str, list[float]] = field(default_factory=dict)

    def adopted(self, record: MachineRecord) -> None:
        self._adopted[record.id] = (record, self.world.advance(), float("inf"))

    def released(self, machine_id: str) -> None:
        record, since, until = self._adopted[machine_id]
        self._adopted[machine_id] = (record, since, min(until, self.world.advance()))

    def was_down(self, since: float, until: float) -> None:
        self._down.append((since, until))

    def was_mute(self, machine_id: str) -> None:
        self._mute.setdefault(machine_id, []).append(self.world.state.t)

    def ours(self) -> Iterator[MachineRecord]:
        yield from self.cloud.made
        yield from (record for record, _, until in self._adopted.values() if until == float("inf"))

    def compare(self, month: str, told: tuple[MonthBills, dict[str, Any]], at: datetime) -> None:
        """One answer of ``fleetd cost``."""
        found, document = told
        claims = {m.id: claim for rows in found.bills.values() for m, claim in rows}
        unknown = {m.id for machines in found.untold.values() for m in machines}
        begins, ends = (self.world.clock.since_epoch(t) for t in month_of(month))
        until = min(ends, self.world.clock.since_epoch(at))
        whole = Decimal(0)
        for record in [*self.cloud.made, *(r for r, _, _ in self._adopted.values())]:
            truth = bill(record, self.world.clock, begins, until)
            where = f"{at:%m-%d %H:%M} {month} {record.id} ({record.machine_type})"
            claim = claims.pop(record.id, None)
            if claim is None:
                if truth.total >= CENT and record.id not in unknown and self._is_due(record, begins, until):
                    self.wrong.append(f"{where}: is missing, was billed {truth.total:.4f}")
                continue
            whole += truth.total
            self._judge(where, record, truth, claim, month, begins, until)
        self.wrong += [f"{at:%m-%d %H:%M} {month} {machine}: is not ours" for machine in claims]
        self._judge_sum(f"{at:%m-%d %H:%M} {month}", document["total"], whole)

    def _judge(
        self,
        where: str,
        record: MachineRecord,
        truth: Truth,
        claim: Claim,
        month: str,
        begins: float,
        until: float,
    ) -> None:
        kind = self._kind(record, begins, until)
        seconds = Decimal(str(round(record.billed_seconds(begins, until), 6)))
        parts = (
            ("hours", claim.hours, seconds / 3600),
            ("compute", claim.compute, truth.running),
            ("storage", claim.storage, truth.storage),
        )
        for name, part, real in parts:
            if part is None:
                if kind == TOLD:
                    self.wrong.append(f"{where}: {name} is not told")
            elif real > part.most + FUZZ:
                self.wrong.append(f"{where}, {kind}: {name} claims at most {part.most:.4f} of {real:.4f}")
            elif real < part.least - FUZZ:
                self.wrong.append(f"{where}, {kind}: {name} claims at least {part.least:.4f} of {real:.4f}")
        amount = dollars_of(claim)
        if amount is None or claim.storage is None:
            return
        self.told.append(Told(kind, month, record.id, truth.total, amount.least, amount.most))
        room = self._room(kind, record, begins, until)
        if room is not None and amount.most - amount.least > room + FUZZ:
            width = amount.most - amount.least
            self.wrong.append(f"{where}, {kind}: between its bounds are {width:.4f}, more than {room:.4f}")

    def _judge_sum(self, where: str, total: dict[str, Any], whole: Decimal) -> None:
        self.sums += 1
        known = [Decimal(total["known"][name]) for name in ("compute", "storage")]
        if sum(known) > whole + CENT:
            self.wrong.append(f"{where}: claims {sum(known)} at the least, was billed {whole:.4f}")
        most = [total[name] for name in ("compute", "storage")]
        if None not in most and sum(map(Decimal, most)) < whole - CENT:
            self.wrong.append(f"{where}: claims {sum(map(Decimal, most))} at the most, was billed {whole:.4f}")

    def _is_due(self, record: MachineRecord, begins: float, until: float) -> bool:
        """Whether it must be there: made by fleetd, or adopted in that month for as long as it takes to be asked."""
        if record.id not in self._adopted:
            return True
        _, since, released = self._adopted[record.id]
        first, last = max(since, begins), min(released, until, record.gone or until)
        return last - first - sum(max(0.0, min(b, last) - max(a, first)) for a, b in self._down) > HOUR

    def _kind(self, record: MachineRecord, begins: float, until: float) -> str:
        now, mute = self.world.state.t, self._mute.get(record.id, ())
        first = max(begins, record.created) - BEFORE
        adopted = self._adopted.get(record.id, (record, record.created, 0.0))[1]
        last = max(until, adopted) + EVERY * HOUR  # a month that is over is told at the price of the next look
        changes = [at for at, _ in self.prices[record.machine_type] if first < at <= last]
        gone = record.gone is not None or record.deleting
        if not changes and not gone and not any(now - at < 1 for at in mute):
            return TOLD
        end = [record.gone or until] if gone else []
        # What happened before there was a machine shows in its first bill only.
        moments = (*(max(at, record.created) for at in changes), *end)
        watched = all(self._was_watched(record, at, since=adopted) for at in moments)
        if not watched or any(now - at < 1 for at in mute):
            return HIDDEN
        if not gone:
            return PRICE
        causes = (c.cause for c in reversed(self.world.timeline) if c.machine_id == record.id)
        return BY_PERSON if "human" in next(c for c in causes if c != "deleted") else BY_FLEETD

    def _was_watched(self, record: MachineRecord, at: float, *, since: float) -> bool:
        """Whether the daemon ran, and the provider told, around an instant for as long as a question may take."""
        first, last = at - EVERY * HOUR, at + EVERY * HOUR
        down = any(a < last and b > first and b - a > SHORT for a, b in self._down)
        return (
            since <= first + EVERY * HOUR
            and not down
            and not any(first < t < last for t in self._mute.get(record.id, ()))
        )

    def _room(self, kind: str, record: MachineRecord, begins: float, until: float) -> Decimal | None:
        """How far apart the bounds may be, in dollars."""
        tariff = self.prices[record.machine_type]
        prices = [price for _, price in tariff]
        changes = pairwise(tariff)
        steps = sum((abs(b - a) for (_, a), (at, b) in changes if at > begins - BEFORE), Decimal(0))
        by_price = steps * Decimal(EVERY)
        storage = Decimal("0.01") * Decimal(EVERY)
        match kind:
            case "the provider tells":
                return Decimal(0)
            case "its price changed":
                return by_price
            case "destroyed by fleetd":
                return by_price + Decimal("0.2") * (max(prices) + storage)
            case "destroyed by a person":
                return by_price + Decimal(EVERY) * max(prices) + storage
        return None
