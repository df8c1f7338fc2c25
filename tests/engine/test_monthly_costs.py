"""A month's bills: of whom the provider is asked, what counts where it tells nothing, and for which fleet."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from fleetd.engine.billing_records import billed
from fleetd.engine.monthly_costs import month_bills
from fleetd.model.errors import FleetdError, NotFound, Unauthorized, Unavailable, Unsupported, Untrusted
from fleetd.model.journal import GONE, OUTSIDE, BilledMonth, HistoryEntry, MachineFacts
from fleetd.model.machine import Machine, Utilization, month_of
from fleetd.model.plan import Listing
from fleetd.model.reasons import Outcome, Verb
from fleetd.planner.amounts import PriceSpan
from fleetd.planner.billing import Bill, bill_at, following, told
from tests.support.build import facts, fleet, intent, machine, token_name
from tests.support.virtual_time import virtual

P = pytest.param
D = Decimal
MARCH, FEBRUARY = "2026-03", "2026-02"
NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
BEGINS, _ = month_of(MARCH)
HOUR = timedelta(hours=1)
DEARER = {"P4000": (PriceSpan(D("0.9"), NOW - 5 * HOUR, NOW - HOUR),)}


def row(n: int = 1, month: str = MARCH, **fields: Any) -> BilledMonth:
    fields.setdefault("as_of", NOW - 3 * HOUR if month == MARCH else month_of(month)[1])
    fields.setdefault("fleet", "training")
    return BilledMonth(
        **{
            "month": month,
            "machine_id": f"ps{n}",
            "name": token_name(n, fields["fleet"]),
            "seconds_used": 3600.0,
            "hourly_rate": D("0.51"),
            "storage_seconds_used": 3600.0,
            "storage_monthly_rate": D(5),
            "machine_type": "P4000",
        }
        | fields
    )


def use(n: int = 1, **fields: Any) -> Utilization:
    return Utilization(**{
        "machine_id": f"ps{n}", "month": MARCH, "seconds_used": 7200.0, "hourly_rate": D("0.6"),
        "storage_seconds_used": 7200.0, "storage_monthly_rate": D(6),
    } | fields)  # fmt: skip


class World:
    """A provider that answers by machine, and a journal."""

    def __init__(
        self,
        *here: Machine,
        rows: Iterable[BilledMonth] = (),
        facts: Iterable[MachineFacts] = (),
        went: Iterable[HistoryEntry] = (),
        intents: Iterable[Any] = (),
        answers: dict[str, Any] | None = None,
    ) -> None:
        self.here, self.rows, self.known, self.went, self.intents = here, rows, facts, went, intents
        self.answers = answers or {}
        self.asked: list[str] = []

    async def facts(self) -> list[MachineFacts]:
        return list(self.known)

    async def bills(self, *, month: str) -> list[BilledMonth]:
        return [r for r in self.rows if r.month == month]

    async def get_note(self, key: str) -> str | None:
        (span,) = DEARER["P4000"]
        cells = [str(span.price), span.first.isoformat(), span.last.isoformat()]
        return json.dumps({"P4000": [cells]}) if key == "tariffs" else None

    async def open_intents(self) -> list[Any]:
        return list(self.intents)

    async def history(self, *, since: datetime) -> list[tuple[int, HistoryEntry]]:
        assert since == BEGINS
        return list(enumerate(self.went))

    async def utilization(self, machine_id: str, month: str) -> Utilization:
        assert month == MARCH
        self.asked.append(machine_id)
        answer = self.answers.get(machine_id, NotFound("no bill"))
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]

    async def month(self, *names: str) -> Any:
        me: Any = self
        fleets = [fleet(name) for name in names or ("training",)]
        return await month_bills(me, me, fleets, Listing(self.here), MARCH, NOW)


ONE, OFF = machine(1), machine(1, "off")


def written(of: BilledMonth, until: datetime = NOW, still_off: datetime | None = None) -> Bill:
    return bill_at(of, until, still_off=still_off, history=DEARER)


def answered(before: BilledMonth | None, answer: Utilization, box: Machine = ONE) -> Bill:
    return bill_at(told(before, answer, billed(box, "training"), NOW, DEARER), NOW)


SAID = {"ps1": use()}
LAST = NOW - 2 * HOUR
DESTROYED = facts(1, last_seen=LAST, destroyed=True)
WENT_OFF = row(off=True)


@pytest.mark.parametrize(
    ("world", "bill"),
    [
        P(World(ONE, answers=SAID), answered(None, use()), id="the provider tells"),
        P(World(ONE, rows=[row()], answers=SAID), answered(row(), use()), id="on top of what it told before"),
        P(World(ONE, rows=[row()]), written(row()), id="it tells nothing: what is written"),
        P(World(ONE, rows=[row()], answers={"ps1": Unavailable("503")}), written(row()), id="no answer"),
        P(World(ONE, rows=[row()], answers={"ps1": use(seconds_used=None)}), written(row()), id="it tells no more"),
        P(World(ONE), None, id="nobody tells"),
        P(World(ONE, rows=[row(month=FEBRUARY)]), written(following(row(month=FEBRUARY))), id="the month before"),
        P(World(ONE, rows=[row(month=FEBRUARY, gone=True)]), None, id="of which it was gone"),
        P(World(ONE, rows=[row(), row(month=FEBRUARY)]), written(row()), id="this month goes before"),
        P(World(rows=[row()]), written(row()), id="gone since, nobody knows when"),
        P(World(rows=[row()], facts=[facts(1, last_seen=LAST)]), written(row()), id="gone, not by us"),
        P(World(rows=[row()], facts=[DESTROYED]), written(row(), LAST), id="destroyed: until then"),
        P(World(ONE, rows=[row()], facts=[DESTROYED]), written(row()), id="destroyed, and it is there"),
        P(
            World(OFF, rows=[WENT_OFF], facts=[facts(1, last_seen=LAST)]),
            written(WENT_OFF, NOW, LAST),
            id="off still",
        ),
        P(World(OFF, rows=[WENT_OFF]), written(WENT_OFF), id="off, and nothing is remembered"),
        P(World(ONE, rows=[WENT_OFF], facts=[facts(1, last_seen=LAST)]), written(WENT_OFF), id="on again"),
        P(World(rows=[WENT_OFF], facts=[facts(1, last_seen=LAST)]), written(WENT_OFF, NOW, LAST), id="gone when off"),
    ],
)
@virtual
async def test_what_a_machine_cost(world: World, bill: Bill | None) -> None:
    found = await world.month()
    assert world.asked == ["ps1"]
    cost = {m.id: b for m, b in found.bills["training"]}
    assert cost == ({} if bill is None else {"ps1": bill})
    assert [m.id for m in found.untold["training"]] == ["ps1"] * (bill is None)
    assert (found.month, found.left) == (MARCH, frozenset())


def test_the_rows_of_the_table_differ() -> None:
    """Else it would not matter which of them counts."""
    bills = [
        answered(None, use()), answered(row(), use()), written(row()), written(row(), LAST),
        written(WENT_OFF, NOW, LAST), written(following(row(month=FEBRUARY))),
    ]  # fmt: skip
    assert len({repr(bill) for bill in bills}) == len(bills)


def outside(n: int, became: str = GONE, **fields: Any) -> HistoryEntry:
    of = fields.setdefault("fleet", "training")
    return HistoryEntry(
        **{
            "ts": NOW - HOUR, "machine": f"ps{n}", "name": token_name(n, of), "verb": OUTSIDE, "reason": "unknown",
            "outcome": Outcome.OBSERVED, "error": f"ready -> {became}",
        } | fields
    )  # fmt: skip


@pytest.mark.parametrize(
    ("world", "names", "asked", "left"),
    [
        P(World(ONE, machine(2, name="a stranger's")), ["training"], {"training": ["ps1"]}, [], id="a stranger"),
        P(
            World(ONE, machine(3, fleet="old"), machine(2, fleet="aged")),
            ["training"],
            {"training": ["ps1"], "aged": ["ps2"], "old": ["ps3"]},
            ["aged", "old"],
            id="fleets that left",
        ),
        P(
            World(ONE, machine(2, fleet="other")),
            ["training", "other"],
            {"training": ["ps1"], "other": ["ps2"]},
            [],
            id="two fleets",
        ),
        P(World(), ["training", "other"], {"training": [], "other": []}, [], id="nothing"),
        P(
            World(machine(2, name="renamed"), facts=[facts(2)]),
            ["training"],
            {"training": ["ps2"]},
            [],
            id="one that was renamed",
        ),
        P(
            World(machine(2, name="x"), intents=[intent(Verb.CREATE, 2, name="x")]),
            ["training"],
            {"training": ["ps2"]},
            [],
            id="one that is being made",
        ),
        P(
            World(machine(2, name="renamed"), facts=[facts(2, fleet="old")]),
            ["training"],
            {"training": [], "old": ["ps2"]},
            ["old"],
            id="one that was renamed, of a fleet that left",
        ),
        P(
            World(rows=[row(2), row(3, fleet="old")]),
            ["training"],
            {"training": ["ps2"], "old": ["ps3"]},
            ["old"],
            id="gone, and written",
        ),
        P(
            World(rows=[row(2, month=FEBRUARY), row(3, month=FEBRUARY, gone=True)]),
            ["training"],
            {"training": ["ps2"]},
            [],
            id="there at the month's begin",
        ),
        P(
            World(machine(2, name="given away"), rows=[row(2)]),
            ["training"],
            {"training": ["ps2"]},
            [],
            id="not ours any more, and billed this month",
        ),
        P(
            World(machine(2, name="given away"), rows=[row(2, month=FEBRUARY)]),
            ["training"],
            {"training": []},
            [],
            id="not ours any more since the month before",
        ),
        P(
            World(machine(2, fleet="other"), rows=[row(2)]),
            ["training", "other"],
            {"training": [], "other": ["ps2"]},
            [],
            id="its owner goes before what is written",
        ),
        P(
            World(went=[outside(2), outside(3, fleet="old"), outside(4, "off")]),
            ["training"],
            {"training": ["ps2"], "old": ["ps3"]},
            ["old"],
            id="gone, as history has it",
        ),
        P(
            World(rows=[row(2)], went=[outside(2, fleet="old")]),
            ["training"],
            {"training": ["ps2"]},
            [],
            id="what is written goes before history",
        ),
        P(World(ONE, went=[outside(1)]), ["training"], {"training": ["ps1"]}, [], id="it is there after all"),
    ],
)
@virtual
async def test_of_which_machines_it_is_asked_and_for_which_fleet(
    world: World, names: list[str], asked: dict[str, list[str]], left: list[str]
) -> None:
    found = await world.month(*names)
    assert sorted(world.asked) == sorted(m for ids in asked.values() for m in ids)
    ids = {
        name: sorted([m.id for m, _ in rows] + [m.id for m in found.untold[name]])
        for name, rows in found.bills.items()
    }
    assert list(ids.items()) == list(asked.items())
    assert list(found.untold) == list(found.bills)
    assert found.left == set(left)


@virtual
async def test_of_a_machine_that_went_there_is_its_name() -> None:
    found = await World(
        rows=[row(2, name="b"), row(3, name="a")], went=[outside(4, name="d"), outside(5, name="c")]
    ).month()
    assert [m for m, _ in found.bills["training"]] == [Machine("ps3", "a", GONE), Machine("ps2", "b", GONE)]
    assert list(found.untold["training"]) == [Machine("ps5", "c", GONE), Machine("ps4", "d", GONE)]


@virtual
async def test_of_a_machine_that_was_given_away_there_is_all_that_is_listed() -> None:
    box = machine(2, name="given away")
    found = await World(box, rows=[row(2)]).month()
    assert [m for m, _ in found.bills["training"]] == [box]


@pytest.mark.parametrize("error", [Unauthorized("no such key"), Untrusted("a stranger"), Unsupported("no bills")])
@virtual
async def test_what_ends_the_question(error: FleetdError) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        await World(ONE, rows=[row()], answers={"ps1": error}).month()
    assert list(caught.value.exceptions) == [error]
