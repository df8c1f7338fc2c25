"""Who is asked about which month and when again, what is noted of those that are off, and when a month is over."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from fleetd.engine.billing_records import ASKED_AT_ONCE, BACK, EVERY, BillingRecords, billed, billed_machines
from fleetd.engine.observed_prices import ObservedPrices
from fleetd.model.errors import NotFound, Unavailable
from fleetd.model.journal import BilledMonth, Memory
from fleetd.model.machine import Utilization, month_of
from fleetd.model.plan import Observation
from fleetd.planner.billing import Billed, bill_at
from fleetd.planner.ownership import Owner
from tests.support.build import facts, fleet, machine, token_name

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
MARCH, FEBRUARY, JANUARY = "2026-03", "2026-02", "2026-01"
BEGAN = datetime(2026, 3, 1, tzinfo=UTC)
SAYS_NOTHING = Utilization("", "", None, None, 0.0, None)


def at(**ago: float) -> datetime:
    return NOW - timedelta(**ago)


def one(n: int = 1, **fields: Any) -> Billed:
    fields.setdefault("created_at", at(days=2))
    return Billed(f"ps{n}", "training", token_name(n), machine_type="P4000", **fields)


def row(n: int = 1, month: str = MARCH, **fields: Any) -> BilledMonth:
    fields.setdefault("as_of", at(hours=1) if month == MARCH else month_of(month)[1])
    return BilledMonth(
        **{
            "month": month,
            "machine_id": f"ps{n}",
            "fleet": "training",
            "name": token_name(n),
            "seconds_used": 3600.0,
            "hourly_rate": Decimal("0.51"),
            "storage_seconds_used": 3600.0,
            "storage_monthly_rate": None,
            "machine_type": "P4000",
            **fields,
        }
    )


@dataclass
class World:
    """The records, and what they speak to: a provider, a journal and a clock."""

    kept: Iterable[BilledMonth] = ()
    now: datetime = NOW
    tells: bool = True
    answers: dict[str, Any] = field(default_factory=dict)
    """By machine, or by machine and month: what the provider answers, instead of a bill."""

    def __post_init__(self) -> None:
        self.rows = {(b.month, b.machine_id): b for b in self.kept}
        self.puts: list[list[BilledMonth]] = []
        self.notes: dict[str, str] = {}
        self.asked: list[tuple[str, str]] = []
        self.months_read: list[str] = []
        self.steps = 0
        clock: Any = SimpleNamespace(now=lambda: self.now)
        cloud: Any = SimpleNamespace(
            capabilities=SimpleNamespace(utilization=self.tells), utilization=self.utilization
        )
        journal: Any = SimpleNamespace(bills=self.bills, put_bills=self.put, put_note=self.put_note)
        self.prices = ObservedPrices(journal)
        self.records = BillingRecords(cloud, journal, clock, self.prices, progress=self.step)

    def step(self) -> None:
        self.steps += 1

    async def utilization(self, machine_id: str, month: str) -> Utilization:
        self.asked.append((machine_id, month))
        said = self.answers.get(f"{machine_id} {month}", self.answers.get(machine_id))
        if isinstance(said, Exception):
            raise said
        used = 7200.0 + len(self.asked)
        bill = said or Utilization(machine_id, month, used, Decimal("0.60"), used, Decimal("5.00"))
        return replace(bill, machine_id=machine_id, month=month)

    async def bills(self, *, month: str) -> list[BilledMonth]:
        self.months_read.append(month)
        return [b for (of, _), b in self.rows.items() if of == month]

    async def put(self, bills: Iterable[BilledMonth]) -> None:
        self.puts.append(list(bills))
        self.rows.update({(b.month, b.machine_id): b for b in self.puts[-1]})

    async def put_note(self, key: str, value: str) -> None:
        self.notes[key] = value

    async def keep(self, *machines: Billed, listed: Iterable[str] = (), **fields: Any) -> list[str]:
        """One pass at ``now``: which machines and months were asked about."""
        self.asked = []
        ids = {*listed, *(m.machine_id for m in machines)}
        await self.records.keep(list(machines), fields.pop("facts", {}), self.now, listed=ids, **fields)
        return [f"{m} {month}" for m, month in self.asked]


async def world(*kept: BilledMonth, **fields: Any) -> World:
    made = World(kept, **fields)
    await made.records.load()
    return made


P = pytest.param
ENDS = month_of(MARCH)[1]
"""Both are asked about in turn: the present month first."""
TWO, THREE = [f"ps1 {MARCH}", f"ps1 {FEBRUARY}"], [f"ps1 {MARCH}", f"ps1 {JANUARY}", f"ps1 {FEBRUARY}"]


@pytest.mark.parametrize(
    ("kept", "machine", "asked"),
    [
        P([], one(), TWO[:1], id="made this month: no bill yet"),
        P([], one(created_at=BEGAN), TWO[:1], id="made with the month"),
        P([], one(created_at=BEGAN - SECOND), TWO, id="made right before the month"),
        P([], one(created_at=None), TWO, id="nobody knows when it was made"),
        P([row()], one(), [], id="told of an hour ago"),
        P([row(as_of=at(hours=6) + SECOND)], one(), [], id="told of a moment less than six hours ago"),
        P([row(as_of=at(hours=6))], one(), TWO[:1], id="told of six hours ago"),
        P([row()], one(off=True), TWO[:1], id="it went off since: its price now may not be the one it ends with"),
        P([row(off=True)], one(off=True), TWO[:1], id="off then, and nobody knows of the time since"),
        P([row(off=True)], one(), [], id="started since: it has cost nothing before"),
        P([row(), row(month=FEBRUARY)], one(created_at=None), [], id="the month before has its end"),
        P([row(), row(month=FEBRUARY, as_of=BEGAN - SECOND)], one(), TWO, id="the month before lacks a second"),
        P([row(), row(month=FEBRUARY, as_of=BEGAN - HOUR, gone=True)], one(), [], id="it ended with its machine"),
        P(
            [row(), row(month=JANUARY, as_of=at(days=50))],
            one(),
            [TWO[0], THREE[1]],
            id="an older month lacks its end",
        ),
        P([row(), row(month=JANUARY, as_of=at(days=50))], one(created_at=None), THREE, id="two of them do"),
        P([row(), row(month=JANUARY, as_of=at(days=50), gone=True)], one(), [], id="an older one that has ended"),
        P([row(), row(month="2026-04")], one(), [], id="a month to come: the clock was set back"),
    ],
)
async def test_who_is_asked_about_which_months(kept: list[BilledMonth], machine: Billed, asked: list[str]) -> None:
    there = await world(*kept)
    assert await there.keep(machine) == asked
    assert there.steps == len(asked), "each is a sign of life"
    assert await there.keep(machine) == [], "and not again in the next pass"


async def test_an_older_month_of_another_machine_is_nothing_to_this_one() -> None:
    there = await world(row(), row(month=FEBRUARY), row(2, month=JANUARY, as_of=at(days=50)))
    assert not [a for a in await there.keep(one(created_at=None), one(2)) if a.startswith("ps1")]


async def test_one_that_is_new_is_asked_about_at_once_also_in_the_first_hours_of_a_month() -> None:
    there = await world(now=BEGAN + HOUR)
    assert await there.keep(one(created_at=BEGAN)) == TWO[:1]


async def test_one_that_is_new_and_not_told_of_is_not_asked_about_in_every_pass() -> None:
    there = await world(answers={"ps1": Unavailable("no route")})
    assert await there.keep(one()) == TWO[:1]
    assert await there.keep(one()) == []


async def test_a_question_in_vain_is_over_with_the_next_answer() -> None:
    there = await world(answers={"ps1": Unavailable("no route")})
    await there.keep(one())
    there.answers.clear()
    there.now += EVERY
    assert await there.keep(one()) == TWO[:1]
    there.now += SECOND
    assert await there.keep(one(off=True)) == TWO[:1], "it went off: asked at once"


@pytest.mark.parametrize("kept", [P([row()], id="it was there before"), P([], id="it is new")])
async def test_a_month_that_began_in_this_process_is_asked_for_until_it_has_its_end(kept: list[BilledMonth]) -> None:
    there = await world(*kept)
    await there.keep(one())
    there.now = month_of("2026-05")[1] - HOUR
    assert f"ps1 {MARCH}" in await there.keep(one())
    there.now += EVERY
    assert f"ps1 {MARCH}" not in await there.keep(one())


async def test_a_question_in_vain_is_told_in_the_log() -> None:
    there = await world(answers={"ps1": Unavailable("no route")})
    with capture_logs() as logs:
        await there.keep(one())
    said = {"event": "bill.ask_failed", "log_level": "debug", "machine": "ps1", "month": MARCH, "error": "no route"}
    assert logs == [said]


async def test_where_the_provider_does_not_bill_nobody_is_asked_and_nothing_written() -> None:
    there = await world(row(month=FEBRUARY), tells=False)
    assert await there.keep(one(), listed=[]) == []
    await there.records.before_destroy(one())
    await there.records.ask_all([one()], ["ps1"])
    assert (there.asked, there.puts, there.notes) == ([], [], {})


@pytest.mark.parametrize("said", [Unavailable("no route"), NotFound("no bill"), SAYS_NOTHING])
@pytest.mark.parametrize("month", [MARCH, FEBRUARY])
async def test_one_that_was_asked_about_in_vain_is_asked_about_again_after_six_hours(said: Any, month: str) -> None:
    there = await world(row(as_of=at(hours=6)), row(month=FEBRUARY, as_of=BEGAN - HOUR if month != MARCH else BEGAN))
    there.answers[f"ps1 {month}"] = said
    assert f"ps1 {month}" in await there.keep(one())
    for later, again in [(0 * SECOND, False), (EVERY - SECOND, False), (EVERY, True), (EVERY + HOUR, False)]:
        there.now = NOW + later
        assert (f"ps1 {month}" in await there.keep(one())) is again, later
    there.answers.clear()
    there.now += EVERY
    assert f"ps1 {month}" in await there.keep(one())
    there.now += HOUR
    assert f"ps1 {month}" not in await there.keep(one())


@pytest.mark.parametrize("month", [MARCH, FEBRUARY])
async def test_a_question_in_vain_that_lies_ahead_was_read_off_a_clock_that_has_been_set_back(month: str) -> None:
    there = await world(row(as_of=at(hours=6)), row(month=FEBRUARY, as_of=BEGAN - HOUR))
    there.answers["ps1"] = Unavailable("no route")
    assert await there.keep(one()) == TWO
    there.now -= SECOND
    assert f"ps1 {month}" in await there.keep(one())


async def test_a_bill_of_the_future_is_asked_for_once_and_then_every_six_hours() -> None:
    """The clock was set back: the row does not tell when it was asked."""
    there = await world(row(as_of=NOW + 24 * HOUR))
    assert await there.keep(one()) == TWO[:1]
    there.now += EVERY - SECOND
    assert await there.keep(one()) == []
    there.now += SECOND
    assert await there.keep(one()) == TWO[:1]
    there.now = NOW + 24 * HOUR  # from here on its own time tells
    assert await there.keep(one()) == []
    there.now += EVERY
    assert await there.keep(one()) == TWO[:1]


async def test_those_that_have_waited_longest_go_first_and_a_few_in_a_pass() -> None:
    count = ASKED_AT_ONCE + 2
    there = await world(*(row(n, as_of=at(hours=10 + n % 3)) for n in range(1, count + 1)))
    everyone = [one(n) for n in range(count, 0, -1)]
    order = sorted(range(1, count + 1), key=lambda n: (-(n % 3), n))
    assert await there.keep(*everyone) == [f"ps{n} {MARCH}" for n in order[:ASKED_AT_ONCE]]
    assert await there.keep(*everyone) == [f"ps{n} {MARCH}" for n in order[ASKED_AT_ONCE:]]
    assert await there.keep(*everyone) == []


async def test_a_price_that_a_bill_names_is_kept() -> None:
    there = await world(row(as_of=at(hours=6)))
    await there.keep(one())
    assert [s.price for s in there.prices.history["P4000"]] == [Decimal("0.60")]
    assert "0.60" in there.notes["tariffs"]
    there = await world(row())
    await there.records.before_destroy(one())
    assert "0.60" in there.notes["tariffs"]
    assert there.rows[(MARCH, "ps1")].as_of == NOW, "asked at once, however lately it was told of"


# Machines that are off.


@pytest.mark.parametrize("said", [Unavailable("no route"), NotFound("no bill"), SAYS_NOTHING])
async def test_one_that_went_off_and_is_not_told_of_cost_nothing_from_then_on(said: Any) -> None:
    there = await world(row(), answers={"ps1": said})
    await there.keep(one(off=True))
    told = there.rows[(MARCH, "ps1")]
    assert (told.off, told.more_seconds, told.as_of) == (True, 3600.0, at(hours=1))
    for _ in range(3):
        there.now += 5 * 60 * SECOND
        await there.keep(one(off=True))
    there.now += SECOND
    await there.keep(facts={"ps1": facts(1, destroyed=True, last_seen=there.now)})
    assert there.rows[(MARCH, "ps1")].more_seconds == 3601.0, "seen off until a second before it went"


@pytest.mark.parametrize(
    ("kept", "machine"),
    [
        P(None, one(off=True), id="nothing is written of it"),
        P(row(as_of=at(hours=6)), one(), id="it is not off"),
        P(row(off=True, as_of=at(hours=6), more_seconds=60.0), one(off=True), id="it was off then"),
        P(row(gone=True, as_of=at(hours=6), gone_at=at(hours=5)), one(off=True), id="it has its last word"),
    ],
)
async def test_others_that_are_not_told_of_keep_what_is_written(kept: BilledMonth | None, machine: Billed) -> None:
    there = await world(*([] if kept is None else [kept]), answers={"ps1": Unavailable("no route")})
    await there.records.ask(machine)
    assert there.rows.get((MARCH, "ps1")) == kept
    assert there.puts == []


@pytest.mark.parametrize(
    ("looks", "most"),
    [
        P([(300, True), (300, True)], 1, id="off in every look"),
        P([(300, True), (301, True)], 602, id="nobody looked for longer than two looks are apart"),
        P([(300, True), (300, False)], 601, id="it came up"),
        P([(300, False), (300, True)], 601, id="it was up meanwhile"),
        P([(300, True), (-1, True)], 300, id="the clock was set back: nobody knows"),
        P([(300, True), (0, True)], 1, id="twice in the same second"),
        P([], 1, id="no look at all"),
    ],
)
async def test_what_was_off_in_every_look_cost_nothing_until_the_last(
    looks: list[tuple[int, bool]], most: int
) -> None:
    """Seconds from the last word, after which the provider tells no more, to a second after the last look."""
    there = await world(row(as_of=at(hours=7)))
    await there.keep(one(off=True))
    told = there.rows[(MARCH, "ps1")]
    assert (told.as_of, told.off) == (NOW, True)
    there.answers["ps1"] = Unavailable("no route")
    for seconds, off in looks:
        there.now += seconds * SECOND
        await there.keep(one(off=off))
    there.now += SECOND
    await there.keep(facts={"ps1": facts(1, destroyed=True, last_seen=there.now)})
    assert there.rows[(MARCH, "ps1")].more_seconds == pytest.approx(most)


async def test_each_of_several_is_noted_by_itself() -> None:
    there = await world(*(row(n, as_of=at(hours=7)) for n in (1, 2, 3)))
    await there.keep(one(1, off=True), one(2, off=True), one(3, off=True))
    for off in (True, False):
        there.now += 300 * SECOND
        await there.keep(one(1, off=True), one(2, off=off), one(3, off=True))
    assert [there.rows[(MARCH, f"ps{n}")].off for n in (1, 2, 3)] == [True, False, True]
    there.now += SECOND
    await there.keep(facts={f"ps{n}": facts(n, destroyed=True, last_seen=there.now) for n in (1, 2, 3)})
    assert [there.rows[(MARCH, f"ps{n}")].more_seconds for n in (1, 2, 3)] == [1.0, 601.0, 1.0]


@pytest.mark.parametrize(("apart", "known"), [(600, True), (601, False)])
async def test_looks_may_be_as_far_apart_as_the_pass_says(apart: int, known: bool) -> None:
    there = await world(row(as_of=at(hours=7)))
    await there.keep(one(off=True))
    there.now += apart * SECOND
    assert await there.keep(one(off=True), looks=600 * SECOND) == ([] if known else TWO[:1])


# Machines that went, or are ours no more.


@pytest.mark.parametrize(
    ("fact", "gone_at"),
    [
        P({"destroyed": True, "last_seen": at(minutes=30)}, at(minutes=30), id="our destroy: when it was seen last"),
        P({"destroyed": True, "last_seen": at(hours=1)}, at(hours=1), id="right when it was told of"),
        P({"destroyed": True, "last_seen": at(hours=2)}, NOW, id="told of after it was seen last"),
        P({"gone_at": at(minutes=1), "last_seen": at(minutes=30)}, NOW, id="gone, and nobody knows when"),
        P({}, None, id="nobody knows that it went"),
        P(None, None, id="nothing is remembered of it"),
    ],
)
async def test_a_machine_that_is_known_to_have_gone_has_its_last_word(
    fact: dict[str, Any] | None, gone_at: datetime | None
) -> None:
    there = await world(row())
    known = {} if fact is None else {"ps1": facts(1, **fact)}
    asked = await there.keep(one(2), facts=known)
    ended = there.rows[(MARCH, "ps1")]
    assert (ended.gone, ended.gone_at) == (gone_at is not None, gone_at)
    assert asked == [f"ps2 {MARCH}", *(TWO if gone_at is None else [])]
    written = len(there.puts)
    await there.keep(one(2), facts=known)
    assert len(there.puts) == written, "once"


async def test_a_machine_that_is_there_is_not_ended_whatever_is_remembered_of_it() -> None:
    there = await world(row())
    await there.keep(one(), facts={"ps1": facts(1, destroyed=True)})
    assert not there.rows[(MARCH, "ps1")].gone


@pytest.mark.parametrize(
    ("as_of", "asked"),
    [(at(minutes=5), True), (at(minutes=5) + SECOND, False), (at(hours=1), True)],
)
@pytest.mark.parametrize(
    ("fields", "listed", "ours", "looked_for"),
    [
        P({}, [], False, True, id="not listed, and nobody looks for it"),
        P({}, ["ps1"], False, False, id="listed: released"),
        P({"gone": True}, [], False, False, id="it has its last word"),
        P({}, [], True, False, id="there"),
    ],
)
async def test_one_that_is_missing_is_asked_about_every_five_minutes(
    as_of: datetime, asked: bool, fields: dict[str, Any], listed: list[str], ours: bool, looked_for: bool
) -> None:
    there = await world(row(as_of=as_of, **fields))
    machines = [one()] if ours else []
    assert await there.keep(*machines, listed=listed) == (TWO if asked and looked_for else [])


@pytest.mark.parametrize(
    ("said", "listed", "ended"),
    [
        P(NotFound("no such machine"), False, True, id="the provider knows none"),
        P(NotFound("no such machine"), True, False, id="the listing has it all the same"),
        P(Unavailable("no route"), False, False, id="nobody can tell"),
        P(None, False, False, id="it is billed still"),
        P(SAYS_NOTHING, False, False, id="it is known, and nothing told"),
    ],
)
async def test_one_that_is_missing_has_gone_when_the_provider_knows_none(
    said: Any, listed: bool, ended: bool
) -> None:
    old = row(month=JANUARY, as_of=at(days=50), gone=True, gone_at=at(days=49))
    kept = [row(as_of=at(hours=6)), row(month=FEBRUARY, as_of=BEGAN - HOUR), row(2, gone=True), row(3), old]
    there = await world(*kept, answers={"ps1": said})
    await there.keep(one(3), listed=["ps1"] if listed else [])
    assert there.rows[(MARCH, "ps1")].gone is ended
    assert there.rows[(FEBRUARY, "ps1")].gone is ended
    assert there.rows[(MARCH, "ps2")] == kept[2]
    assert there.rows[(MARCH, "ps3")] == kept[3]
    assert there.rows[(JANUARY, "ps1")] == old
    if ended:
        assert there.rows[(MARCH, "ps1")].gone_at == NOW
        assert there.rows[(FEBRUARY, "ps1")].gone_at == BEGAN


async def test_a_month_that_has_its_last_word_is_given_no_other() -> None:
    """It had gone, was back, and has gone again."""
    before = row(month=FEBRUARY, as_of=BEGAN - 2 * HOUR, gone=True, gone_at=BEGAN - HOUR)
    there = await world(row(as_of=at(hours=6)), before, answers={"ps1": NotFound("no such machine")})
    await there.keep()
    assert there.rows[(MARCH, "ps1")].gone
    assert there.rows[(FEBRUARY, "ps1")] == before


@pytest.mark.parametrize(
    ("answers", "unknown"),
    [
        P({MARCH: NotFound("no such machine"), FEBRUARY: NotFound("no such machine")}, True, id="no month of it"),
        P({MARCH: NotFound("no such machine")}, True, id="not the present one: it has gone since"),
        P({FEBRUARY: NotFound("no bill")}, False, id="not the one before, when it may not have been there"),
        P({MARCH: Unavailable("no route"), FEBRUARY: NotFound("no bill")}, False, id="nobody can tell of this one"),
        P({}, False, id="both"),
    ],
)
async def test_the_present_month_tells_whether_there_is_such_a_machine(
    answers: dict[str, Exception], unknown: bool
) -> None:
    there = await world(row(as_of=at(hours=6)), answers={f"ps1 {month}": said for month, said in answers.items()})
    assert await there.records.ask(one(created_at=None)) is unknown
    assert len(there.asked) == 2


@pytest.mark.parametrize(
    ("kept", "asked", "ends"),
    [
        P([row()], [], False, id="told of an hour ago"),
        P([row(as_of=at(hours=6) + SECOND)], [], False, id="a moment less than six hours ago"),
        P([row(as_of=at(hours=6))], TWO, False, id="six hours ago: it is asked about as long as its month lasts"),
        P([row(month=FEBRUARY)], [], True, id="its month is over, and told of to its end"),
        P([row(month=FEBRUARY, as_of=BEGAN - HOUR)], TWO, False, id="over, and its end is not told yet"),
        P([row(month=FEBRUARY, gone=True)], [], False, id="it has its last word"),
        P([row(gone=True, as_of=at(hours=7))], [], False, id="so it has in this month"),
    ],
)
async def test_one_that_is_listed_and_ours_no_more_is_asked_about_until_its_month_is_over(
    kept: list[BilledMonth], asked: list[str], ends: bool
) -> None:
    there = await world(*kept)
    before = dict(there.rows)
    assert await there.keep(listed=["ps1"]) == asked
    if not asked:
        now = {key: b for key, b in there.rows.items() if b != before[key]}
        assert [b.gone for b in now.values()] == [True] * ends
    assert await there.keep(one(2), listed=["ps1"]) == [f"ps2 {MARCH}"]


@pytest.mark.parametrize(("as_of", "asked"), [(BEGAN, []), (BEGAN - HOUR, TWO)])
async def test_one_that_was_ours_in_this_month_and_the_last_is_asked_about_both(
    as_of: datetime, asked: list[str]
) -> None:
    there = await world(row(2, gone=True), row(), row(month=FEBRUARY, as_of=as_of))
    assert await there.keep(listed=["ps1", "ps2"]) == asked
    assert there.rows[(MARCH, "ps1")].gone is False
    await there.keep(listed=["ps1", "ps2"])
    assert (there.rows[(MARCH, "ps1")].gone, there.rows[(FEBRUARY, "ps1")].gone) == (False, True)


async def test_what_is_released_and_off_has_not_run_since_it_was_last_seen_off() -> None:
    there = await world(row(month=FEBRUARY, as_of=BEGAN - HOUR, off=True, more_seconds=7.0), now=BEGAN - HOUR)
    there.answers["ps1"] = Unavailable("no route")
    await there.keep(one(off=True))
    for _ in range(12):
        there.now += 5 * 60 * SECOND
        await there.keep(one(off=True))
    there.now = BEGAN + SECOND
    await there.keep(listed=["ps1"])
    there.answers.clear()
    there.now += EVERY
    await there.keep(listed=["ps1"])
    await there.keep(listed=["ps1"])
    assert there.rows[(FEBRUARY, "ps1")].gone


# Months.


@pytest.mark.parametrize(
    ("kept", "ours", "listed", "begun"),
    [
        P(row(month=FEBRUARY), True, True, [MARCH], id="there"),
        P(row(month=JANUARY), True, True, [FEBRUARY, MARCH], id="every month in between"),
        P(row(month=FEBRUARY), False, False, [MARCH], id="not listed, and not known to have gone"),
        P(row(month=FEBRUARY), False, True, [], id="listed, and ours no more"),
        P(row(month=FEBRUARY, gone=True), True, True, [], id="it has its last word"),
        P(row(), True, True, [], id="begun already"),
    ],
)
@pytest.mark.parametrize("way", ["keep", "ask_all"])
async def test_a_month_begins_for_what_may_go_on(
    kept: BilledMonth, ours: bool, listed: bool, begun: list[str], way: str
) -> None:
    unfinished = replace(kept, as_of=month_of(kept.month)[0] + SECOND) if kept.month == JANUARY else kept
    there = await world(unfinished, answers={"ps1": Unavailable("no route")})
    ids, machines = ["ps1"] if listed else [], [one()] if ours else []
    if way == "keep":
        await there.keep(*machines, listed=ids)
    else:
        await there.records.ask_all(machines, ids)
        assert there.asked[:1] == ([("ps1", MARCH)] if ours else [])
    assert sorted(month for month, _ in there.rows) == sorted([kept.month, *begun])
    if begun:
        new = there.rows[(MARCH, "ps1")]
        assert (new.as_of, new.seconds_used, new.hourly_rate) == (BEGAN, 0.0, kept.hourly_rate)
    assert [b.month for b in there.records.month(NOW)] == ([MARCH] if MARCH in {kept.month, *begun} else [])


async def test_a_daemon_that_was_down_for_a_year_finishes_what_lacks_its_end() -> None:
    months = [f"{2025 + (n + 1) // 12}-{(n + 1) % 12 + 1:02}" for n in range(14)]  # 2025-02 .. 2026-03
    kept = [row(n, month, as_of=month_of(month)[0] + HOUR) for n, month in enumerate(months, start=1)]
    whole = [row(n + 50, month, as_of=month_of(month)[1]) for n, month in enumerate(months, start=1)]
    there = await world(*kept, *whole)
    assert there.months_read == months[::-1][: BACK + 1]
    assert {b.machine_id for b in there.records.month(NOW)} == {"ps14", "ps64"}
    known = there.records._bills
    assert {m for _, m in known} == {f"ps{n}" for n in range(2, 15)} | {"ps63", "ps64"}, (
        "what may change, and the month before for the beginning of this one"
    )


async def test_rows_that_cannot_change_any_more_are_dropped_from_mind_when_there_are_many() -> None:
    for count, dropped in [(3000, False), (3001, True)]:
        there = await world(*(row(n, gone=True) for n in range(1, count + 1)))
        there.now = month_of("2026-04")[1] + HOUR
        await there.keep()
        assert (there.records.month(NOW) == ()) is dropped


@pytest.mark.parametrize(
    ("fields", "rate"),
    [
        P({"as_of": at(hours=9)}, "0.51", id="nine hours old"),
        P({"as_of": at(hours=9) - SECOND}, None, id="older than it should grow"),
        P({"gone": True}, None, id="gone"),
        P({"hourly_rate": None}, None, id="without a rate"),
        P({"month": FEBRUARY}, None, id="another month's"),
    ],
)
async def test_the_rates_that_are_known_of_machines(fields: dict[str, Any], rate: str | None) -> None:
    there = await world(row(**fields))
    assert there.records.rates(NOW) == ({} if rate is None else {"ps1": Decimal(rate)})


async def test_the_bills_of_a_month_go_by_machine() -> None:
    there = await world(row(2), row(1), row(3, FEBRUARY))
    assert [b.machine_id for b in there.records.month(NOW)] == ["ps1", "ps2"]
    assert [b.machine_id for b in there.records.month(BEGAN - SECOND)] == ["ps3"]


async def test_all_are_asked_about_at_once_when_somebody_wants_to_know() -> None:
    there = await world(*(row(n) for n in range(1, 9)))
    await there.records.ask_all([one(n) for n in range(1, 9)], [])
    assert sorted(m for m, _ in there.asked) == sorted(f"ps{n}" for n in range(1, 9))


async def test_what_is_told_is_added_to_what_is_written() -> None:
    there = await world(row(as_of=at(hours=6)))
    await there.keep(one())
    told = there.rows[(MARCH, "ps1")]
    assert (told.seconds_used, told.as_of, told.hourly_rate, told.off) == (7201.0, NOW, Decimal("0.60"), False)
    bill = bill_at(told, NOW).compute
    assert bill is not None
    assert (bill.low(), bill.high()) == (Decimal("1.02"), Decimal("1.12")), "an hour at 0.51, then one at either"


# Which machines.


@pytest.mark.parametrize(
    ("state", "off"), [("ready", False), ("off", True), ("starting", False), ("stopping", False)]
)
def test_machines_of_ours_and_of_fleets_that_left_the_config_are_billed(state: str, off: bool) -> None:
    ours, orphan, other = machine(1, state), machine(2, state, fleet="gone"), machine(3, name="somebody-elses")
    seen = Observation(NOW, (ours, orphan, other))
    remembered: Mapping[str, Any] = {"ps2": facts(2, fleet="gone")}
    found = billed_machines(seen, {"ps1": Owner("training", adopted=False)}, Memory(facts=remembered), [fleet()])
    assert found == [billed(ours, "training"), billed(orphan, "gone")]
    assert found[0] == Billed("ps1", "training", ours.name, ours.created_at, "P4000", off)
