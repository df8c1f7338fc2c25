from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from fleetd.model.journal import HistoryEntry
from fleetd.model.machine import Utilization, month_of
from fleetd.planner.amounts import CENT, Amount, PriceHistory, PriceSpan
from fleetd.planner.billing import (
    TENTH,
    Bill,
    Billed,
    MonthBills,
    bill_at,
    dollars_of,
    ended,
    following,
    gone_since,
    known_sum,
    month_before,
    month_name,
    month_seconds,
    new_month,
    not_off,
    seen_off,
    sum_of,
    tells_more,
    told,
    unseen_seconds,
)


@pytest.mark.parametrize(
    ("use", "bill"),
    [
        pytest.param(
            # The vendor page's example.
            Utilization("ps", "2022-03", 8728.27191281319, Decimal("0.51"), 8785.19808006287, Decimal("5.00")),
            (Decimal("2.4"), Decimal("1.24"), Decimal("0.02")),
            id="the page's example",
        ),
        pytest.param(
            Utilization("ps", "2022-02", 0.0, Decimal("0.51"), 28 * 86_400.0, Decimal("5.00")),
            (Decimal("0.0"), Decimal("0.00"), Decimal("5.00")),
            id="off for a whole February",
        ),
        pytest.param(
            Utilization("ps", "2022-03", 3600.0, Decimal(0), 0.0, None),
            (Decimal("1.0"), None, None),
            id="0 is none",
        ),
        pytest.param(
            Utilization("ps", "2022-03", 0.0, Decimal(0), 0.0, None),
            (Decimal("0.0"), Decimal("0.00"), None),
            id="off",
        ),
        pytest.param(
            Utilization("ps", "2022-03", 3600.0, None, 0.0, None), (Decimal("1.0"), None, None), id="no rates"
        ),
    ],
)
def test_a_machines_month(use, bill) -> None:
    _, ends = month_of(use.month)
    found = bill_at(told(None, use, Billed(use.machine_id, "", ""), ends, {}), ends)
    assert (shown(found.hours, TENTH), shown(found.compute), shown(found.storage)) == bill
    assert not found.at_most


def shown(amount: Amount | None, step: Decimal = CENT) -> Decimal | None:
    assert amount is None or amount.low(step) == amount.high(step)
    return None if amount is None else amount.high(step)


def exactly(value: Decimal) -> Amount:
    return Amount(value, value)


def known(hours: str, compute: str | None, storage: str | None) -> Bill:
    return Bill(*(None if part is None else exactly(Decimal(part)) for part in (hours, compute, storage)))


def test_sums() -> None:
    one = known("1.5", "1.00", "0.50")
    assert sum_of([one, one]) == known("3.0", "2.00", "1.00")
    assert sum_of([one, known("1", None, "0")]) == known("2.5", None, "0.50")
    assert sum_of([]) == known("0", "0", "0")
    wide = Bill(Amount(Decimal(1), Decimal(3)), Amount(Decimal("0.50"), Decimal("1.50")), None)
    assert sum_of([one, wide]).compute == Amount(Decimal("1.50"), Decimal("2.50"))
    assert known_sum([one, wide]).storage == exactly(Decimal("0.50"))


def test_cents_are_rounded_once_and_bounds_away_from_each_other() -> None:
    third = exactly(Decimal(1) / 3)
    assert (third + third + third).high() == Decimal("1.00")
    wide = Amount(Decimal("1.009"), Decimal("1.021"))
    assert (wide.low(), wide.high(), wide.is_exact()) == (Decimal("1.00"), Decimal("1.03"), False)
    close = Amount(Decimal("1.001"), Decimal("1.004"))
    assert (close.low(), close.high(), close.is_exact()) == (Decimal("1.00"), Decimal("1.00"), True)


AT = datetime(2026, 3, 10, tzinfo=UTC)
ONE = Billed("ps1", "training", "training-a", created_at=AT - timedelta(days=9), machine_type="P4000")


def answer(hours: float | None, rate: str | None, month: str = "2026-03") -> Utilization:
    price = None if rate is None else Decimal(rate)
    used = None if hours is None else hours * 3600
    return Utilization("ps1", month, used, price, used or 0.0, Decimal("7.44"))


def later(hours: float) -> datetime:
    return AT + timedelta(hours=hours)


def seen(*prices: tuple[str, float, float]) -> PriceHistory:
    return {"P4000": tuple(PriceSpan(Decimal(p), later(first), later(last)) for p, first, last in prices)}


@pytest.mark.parametrize(
    ("answers", "least", "most"),
    [
        pytest.param([(0, 0, "0.50"), (6, 6, "0.50")], "3.00", "3.00", id="one price"),
        pytest.param([(0, 0, "0.50"), (6, 6, "0.80")], "3.00", "4.80", id="it went up at some time"),
        pytest.param([(0, 0, "0.80"), (6, 6, "0.50")], "3.00", "4.80", id="it went down at some time"),
        pytest.param([(0, 0, "0.80"), (6, 6, "0.50"), (12, 12, "0.50")], "6.00", "7.80", id="what is known stays"),
        pytest.param([(0, 4, "0.80"), (6, 4, "0.50")], "3.20", "3.20", id="nothing used while it changed"),
        pytest.param([(0, 4, "0.50"), (6, 3, "0.50")], "2.00", "2.00", id="less than before is no refund"),
        pytest.param([(0, 4, "0.50"), (6, 6, None)], "2.00", "5.00", id="no price for what is new: up to six hours"),
        pytest.param([(0, 4, "0.50"), (6, 6, "0")], "2.00", "5.00", id="0 is no price"),
        pytest.param([(0, 4, "0.50"), (6, 4, "0")], "2.00", "2.00", id="nothing is new"),
        pytest.param([(0, 4, "0.50"), (6, None, "0.50")], "2.00", "5.00", id="it does not say any more"),
        pytest.param([(0, 4, None), (6, 6, "0.50")], "3.00", "3.00", id="a price at last"),
        pytest.param([(0, 4, None)], None, None, id="no price ever"),
        pytest.param([(0, None, "0.50")], None, None, id="no hours ever"),
    ],
)
def test_a_month_is_added_up_from_answer_to_answer(answers, least, most) -> None:
    row = None
    for hours, used, rate in answers:
        use = answer(used, rate)
        row = told(row, use, ONE, later(hours), {}) if tells_more(row, use) else row
    assert row is not None
    compute = bill_at(row, later(answers[-1][0])).compute
    assert (compute and (compute.low(), compute.high())) == (most and (Decimal(least), Decimal(most)))


@pytest.mark.parametrize(
    ("history", "least", "most"),
    [
        pytest.param(seen(), "5.00", "5.00", id="nobody has seen another"),
        pytest.param(seen(("0.80", -300, -250)), "5.00", "8.00", id="it may have held when the machine was made"),
        pytest.param(seen(("0.80", -300, -250), ("0.50", -240, 0)), "5.00", "5.00", id="over before it was made"),
        pytest.param(seen(("0.80", -300, -100), ("0.50", -90, 0)), "5.00", "8.00", id="it went down since"),
        pytest.param(seen(("0.20", -300, -100)), "2.00", "5.00", id="it went up since"),
        pytest.param(seen(("0.80", 10, 20)), "5.00", "5.00", id="later ones do not matter: it has said its own"),
    ],
)
def test_hours_before_the_first_answer_cost_any_price_that_the_type_had(history, least, most) -> None:
    history = {kind: (*spans, PriceSpan(Decimal("0.50"), AT, AT)) for kind, spans in history.items()}
    row = told(None, answer(10, "0.50"), ONE, AT, history)
    compute = bill_at(row, AT).compute
    assert compute is not None
    assert (compute.low(), compute.high()) == (Decimal(least), Decimal(most))


@pytest.mark.parametrize(
    ("fields", "still_off", "history", "hours"),
    [
        pytest.param({}, None, seen(), "10.0", id="it may have run until then"),
        pytest.param({"off": True}, None, seen(), "10.0", id="off, but nobody has looked since"),
        pytest.param({"off": True}, later(4), seen(), "6.0", id="seen off for four hours"),
        pytest.param({"off": True}, later(10), seen(), "0.0", id="off all the time"),
        pytest.param({"off": True, "more_seconds": 3600.0}, later(10), seen(), "1.0", id="an hour at the most"),
        pytest.param({"off": False}, later(10), seen(), "10.0", id="it came up in between"),
    ],
)
def test_what_came_after_the_last_word_counts_as_far_as_it_can_have_come(fields, still_off, history, hours) -> None:
    row = replace(told(None, answer(0, "0.50"), ONE, AT, {}), **fields)
    for bill in (
        bill_at(row, later(10), still_off=still_off, history=history),
        bill_at(ended(row, later(10), still_off), later(99), history=history),
    ):
        assert bill.hours is not None
        assert (bill.hours.low(TENTH), bill.hours.high(TENTH)) == (Decimal(0), Decimal(hours))
        assert bill.compute == Amount(Decimal(0), Decimal(hours) / 2)


def test_the_dearest_price_around_it_counts_for_what_nobody_saw() -> None:
    row = ended(told(None, answer(0, "0.50"), ONE, AT, {}), later(10))
    for price, at in (("0.80", 2), ("0.90", 30)):  # seen meanwhile, and as the first one after
        compute = bill_at(row, later(99), history=seen(("0.50", 0, 0), (price, at, 40))).compute
        assert compute is not None
        assert compute.high() == 10 * Decimal(price)


def test_a_month_begins_at_the_price_that_the_last_one_ended_with() -> None:
    march = told(None, answer(10, "0.80"), ONE, later(500), {})
    april = told(following(march), answer(4, "0.50", "2026-04"), ONE, datetime(2026, 4, 1, 6, tzinfo=UTC), {})
    compute = bill_at(april, april.as_of).compute
    assert compute is not None
    assert (compute.low(), compute.high()) == (Decimal("2.00"), Decimal("3.20"))


def test_a_word_on_one_that_was_given_up_counts_instead_of_what_was_assumed() -> None:
    gone = ended(told(None, answer(0, "0.50"), ONE, AT, {}), later(10))
    back = told(gone, answer(3, "0.50"), ONE, later(20), {})
    assert bill_at(back, later(20)).compute == exactly(Decimal("1.50"))


def line(verb: str, outcome: str = "reached", *, month: int = 3, fleet: str = "training", error: str | None = None):
    return HistoryEntry(
        datetime(2026, month, 9, tzinfo=UTC), fleet, "ps1", "training-a", verb, "", outcome, error=error
    )


@pytest.mark.parametrize(
    ("history", "here", "gone"),
    [
        pytest.param([line("destroy")], [], True, id="destroyed in the month"),
        pytest.param([line("destroy", month=4)], [], True, id="destroyed after it"),
        pytest.param([line("create", month=4), line("destroy", month=5)], [], False, id="made after it"),
        pytest.param([line("create"), line("destroy", month=4)], [], True, id="made in it, and destroyed after it"),
        pytest.param([line("destroy", "refused")], [], False, id="a destroy that was refused"),
        pytest.param([line("destroy")], ["ps1"], False, id="still there all the same"),
        pytest.param([line("destroy", fleet="other")], [], True, id="of a fleet that left the config"),
        pytest.param([line("outside", "observed", error="ready -> gone")], [], True, id="destroyed by a person"),
        pytest.param([line("outside", "observed", error="ready -> off")], [], False, id="stopped by a person"),
        pytest.param([line("start", "gone")], [], True, id="gone while it was started"),
        pytest.param([line("start")], [], False, id="started"),
        pytest.param([line("stop")], [], False, id="stopped"),
    ],
)
def test_machines_that_went_belong_to_the_month_they_were_there_in(history, here, gone) -> None:
    found = gone_since(history, here, "2026-03")
    assert {f: [(m.id, m.name) for m in ms] for f, ms in found.items()} == (
        {history[-1].fleet: [("ps1", "training-a")]} if gone else {}
    )


EXACT, WIDE = exactly(Decimal(2)), Amount(Decimal(1), Decimal(2))


@pytest.mark.parametrize(
    ("bill", "at_most"),
    [
        pytest.param(Bill(None, None, None), False, id="nothing is known"),
        pytest.param(Bill(EXACT, EXACT, EXACT), False, id="all of it"),
        pytest.param(Bill(WIDE, EXACT, EXACT), True, id="its hours are not"),
        pytest.param(Bill(EXACT, WIDE, None), True, id="its compute is not"),
        pytest.param(Bill(EXACT, None, WIDE), True, id="its storage is not"),
        pytest.param(Bill(Amount(Decimal("2.01"), Decimal("2.04")), EXACT, None), False, id="the same tenth"),
        pytest.param(Bill(None, Amount(Decimal("2.01"), Decimal("2.04")), None), True, id="not the same cent"),
    ],
)
def test_a_bill_is_at_most_what_it_says_where_a_part_is_not_exact(bill: Bill, at_most: bool) -> None:
    assert bill.at_most is at_most


@pytest.mark.parametrize(
    ("had", "use", "more"),
    [
        pytest.param(None, answer(None, None), True, id="the first answer, whatever it says"),
        pytest.param({"seconds_used": None}, answer(None, None), True, id="no hours so far"),
        pytest.param({}, answer(None, "0.50"), False, id="it does not say the hours any more"),
        pytest.param({}, answer(11, "0.50"), True, id="more hours, and their price"),
        pytest.param({}, answer(11, None), False, id="more hours without a price"),
        pytest.param({}, answer(11, "0"), False, id="0 is no price"),
        pytest.param({}, answer(11, "NaN"), False, id="nor is what is no number"),
        pytest.param({}, answer(11, "Infinity"), False, id="nor is one without end"),
        pytest.param({}, answer(11, "-1"), False, id="nor is one below 0"),
        pytest.param({}, answer(10, None), True, id="nothing is new: no price is needed"),
        pytest.param({}, answer(9, None), True, id="less is not new either"),
    ],
)
def test_an_answer_that_can_be_added(had: dict[str, Any] | None, use: Utilization, more: bool) -> None:
    row = None if had is None else replace(told(None, answer(10, "0.50"), ONE, AT, {}), **had)
    assert tells_more(row, use) is more


BEGINS, ENDS = month_of("2026-03")


@pytest.mark.parametrize(
    ("had", "at", "as_of"),
    [
        pytest.param(None, AT, AT, id="the first"),
        pytest.param(None, ENDS + timedelta(hours=1), ENDS, id="not beyond its month"),
        pytest.param(None, BEGINS - timedelta(hours=1), BEGINS, id="not before it"),
        pytest.param(AT, later(1), later(1), id="the next"),
        pytest.param(later(5), later(1), later(5), id="the clock was set back"),
    ],
)
def test_when_a_month_was_told(had: datetime | None, at: datetime, as_of: datetime) -> None:
    row = None if had is None else replace(told(None, answer(1, "0.50"), ONE, AT, {}), as_of=had)
    assert told(row, answer(2, "0.50"), ONE, at, {}).as_of == as_of


def test_a_month_has_what_was_told_last() -> None:
    first = told(None, answer(1, "0.50"), ONE, AT, {})
    assert (first.month, first.machine_id, first.fleet, first.name, first.machine_type) == (
        "2026-03", "ps1", "training", "training-a", "P4000",
    )  # fmt: skip
    assert (first.gone, first.at_most, first.off, first.more_seconds) == (False, False, False, 0.0)
    assert (first.hourly_rate, first.storage_monthly_rate) == (Decimal("0.50"), Decimal("7.44"))
    assert (first.seconds_used, first.storage_seconds_used) == (3600.0, 3600.0)
    moved = replace(ONE, fleet="other", name="other-a", machine_type=None, off=True)
    silent = replace(answer(0.5, "0"), storage_monthly_rate=None)
    second = told(replace(first, more_seconds=60.0), silent, moved, later(1), {})
    assert (second.fleet, second.name, second.machine_type, second.off) == ("other", "other-a", "P4000", True)
    assert (second.hourly_rate, second.storage_monthly_rate) == (Decimal("0.50"), Decimal("7.44")), "the last known"
    assert (second.seconds_used, second.storage_seconds_used, second.more_seconds) == (3600.0, 3600.0, 0.0)
    third = told(second, answer(2, "0.70"), replace(moved, machine_type="A100"), later(2), {})
    assert (third.hourly_rate, third.machine_type, third.off) == (Decimal("0.70"), "A100", True)


@pytest.mark.parametrize(
    ("rates", "least", "most"),
    [
        pytest.param(["7.50", "7.50"], "0.20", "0.20", id="one rate"),
        pytest.param(["7.50", "15.00"], "0.20", "0.31", id="the second half at either"),
        pytest.param(["7.50", None], "0.20", "0.20", id="not told any more: the last one"),
        pytest.param([None, "7.50"], "0.20", "0.20", id="told at last: from the beginning"),
        pytest.param([None, None], None, None, id="never told"),
    ],
)
def test_storage_is_added_up_at_the_rates_before_and_after(
    rates: list[str | None], least: str | None, most: str | None
) -> None:
    row = None
    for at, rate in enumerate(rates, start=1):
        price = None if rate is None else Decimal(rate)
        use = Utilization("ps1", "2026-03", 0.0, Decimal("0.50"), at * 36_000.0, price)
        row = told(row, use, ONE, later(10 * at), {})
    assert row is not None
    storage = bill_at(row, row.as_of).storage
    assert (storage and (storage.low(), storage.high())) == (least and (Decimal(least), Decimal(most or "")))


def test_storage_goes_on_to_cost_until_the_machine_is_no_more_and_never_more_than_its_month() -> None:
    row = told(None, answer(0, "0.50"), ONE, BEGINS, {})
    for hours, high in [(0, "0.00"), (74.4, "0.75"), (372, "3.72"), (744, "7.44"), (9999, "7.44")]:
        storage = bill_at(row, BEGINS + timedelta(hours=hours)).storage
        assert storage is not None
        assert abs(storage.high() - Decimal(high)) <= Decimal("0.01")
        assert storage.low() == 0
    gone = ended(row, BEGINS + timedelta(hours=372))
    assert bill_at(gone, ENDS).storage == bill_at(row, BEGINS + timedelta(hours=372)).storage


@pytest.mark.parametrize(
    ("fields", "until", "still_off", "seconds"),
    [
        pytest.param({}, 2, None, 7200, id="it may have run"),
        pytest.param({}, -2, None, 0, id="the clock was set back"),
        pytest.param({}, 9999, None, (ENDS - AT).total_seconds(), id="until its month ends"),
        pytest.param({"off": True}, 2, 1, 3600, id="off for an hour"),
        pytest.param({"off": True}, 2, 2, 0, id="off until then"),
        pytest.param({"off": True}, 2, 3, 0, id="and longer"),
        pytest.param({"off": True}, 2, -1, 7200, id="seen off before the last word only"),
        pytest.param({"off": True}, 2, None, 7200, id="nobody has seen it since"),
        pytest.param({}, 2, 1, 7200, id="it was up at the last word"),
        pytest.param({"off": True, "more_seconds": 600.0}, 2, 2, 600, id="it ran on before it went off"),
        pytest.param({"off": True, "more_seconds": 600.0}, 2, 1, 4200, id="and may have since"),
        pytest.param({"off": True, "more_seconds": 9000.0}, 2, 2, 7200, id="never more than there were"),
    ],
)
def test_how_long_it_may_have_run_since_the_last_word(
    fields: dict[str, Any], until: float, still_off: float | None, seconds: float
) -> None:
    row = replace(told(None, answer(1, "0.50"), ONE, AT, {}), **fields)
    seen_last = None if still_off is None else later(still_off)
    assert unseen_seconds(row, later(until), seen_last) == seconds
    gone = ended(row, later(until), seen_last)
    assert (gone.gone, gone.more_seconds) == (True, seconds)
    assert gone.gone_at == min(max(AT, later(until)), ENDS)
    assert gone.at_most is (until > 0)


def test_one_that_is_off_and_not_told_of() -> None:
    row = told(None, answer(1, "0.50"), ONE, AT, {})
    off = seen_off(row, later(2))
    assert (off.off, off.more_seconds, off.as_of) == (True, 7200.0, AT)
    up = not_off(off)
    assert up == row


@pytest.mark.parametrize(
    ("before", "at_once", "at_most"), [(False, True, False), (True, True, True), (False, False, True)]
)
def test_a_last_word_is_exact_where_it_was_told_when_the_machine_went(
    before: bool, at_once: bool, at_most: bool
) -> None:
    row = replace(told(None, answer(1, "0.50"), ONE, AT, {}), at_most=before, off=True)
    gone_at = AT if at_once else later(1)
    assert ended(row, gone_at, gone_at).at_most is at_most, "its storage was billed until it went, off or not"


def test_the_month_after_begins_with_what_held_last() -> None:
    row = replace(told(None, answer(1, "0.50"), ONE, AT, {}), off=True, more_seconds=60.0, month="2026-12")
    new = following(row)
    assert (new.month, new.machine_id, new.fleet, new.name) == ("2027-01", "ps1", "training", "training-a")
    assert new.as_of == datetime(2027, 1, 1, tzinfo=UTC)
    assert (new.seconds_used, new.storage_seconds_used, new.more_seconds) == (0.0, 0.0, 0.0)
    assert (new.hourly_rate, new.storage_monthly_rate) == (Decimal("0.50"), Decimal("7.44"))
    assert (new.machine_type, new.off, new.gone) == ("P4000", True, False)


def test_a_last_word_of_an_earlier_version_has_what_may_have_been_used_in_it() -> None:
    """Its seconds are the most that it may have used."""
    rough = replace(
        told(None, answer(10, "0.50"), ONE, AT, {}), gone=True, at_most=True, gone_at=None,
        spent_least=None, spent_most=None, stored_least=None, stored_most=None,
    )  # fmt: skip
    bill = bill_at(rough, later(99))
    assert bill.hours == Amount(Decimal(0), Decimal(10))
    assert bill.compute == Amount(Decimal(0), Decimal(5))
    assert bill.storage is not None
    assert bill.storage.least == 0 < bill.storage.most
    for known in ({"at_most": False}, {"gone_at": AT}, {"gone": False}):
        exact = bill_at(replace(rough, **known), AT)  # type: ignore[arg-type]
        assert exact.hours == exactly(Decimal(10))
        assert exact.compute == exactly(Decimal(5))
        assert exact.storage is not None
        assert exact.storage.least == exact.storage.most > 0


def test_what_was_assumed_of_an_end_does_not_count_once_the_provider_tells_again() -> None:
    row = told(None, answer(1, "0.50"), replace(ONE, off=True), AT, {})
    back = told(ended(row, later(3), later(1)), answer(1, "0.50"), replace(ONE, off=False), later(4), {})
    assert (back.gone, back.gone_at, back.more_seconds, back.at_most, back.off) == (False, None, 0.0, False, False)
    rough = replace(row, gone=True, at_most=True, gone_at=None)
    assert told(rough, answer(1, "0.50"), ONE, later(4), {}).at_most, "what is in its seconds stays in doubt"


@pytest.mark.parametrize(
    ("bill", "dollars"),
    [
        (Bill(None, None, EXACT), None),
        (Bill(None, WIDE, None), WIDE),
        (Bill(None, WIDE, EXACT), Amount(Decimal(3), Decimal(4))),
    ],
)
def test_dollars_are_compute_and_storage(bill: Bill, dollars: Amount | None) -> None:
    assert dollars_of(bill) == dollars


def test_parts_that_are_not_known_make_no_sum_and_the_known_ones_a_known_sum() -> None:
    half, whole = Bill(EXACT, None, EXACT), Bill(EXACT, EXACT, None)
    assert sum_of([half, whole]) == Bill(EXACT + EXACT, None, None)
    assert known_sum([half, whole]) == Bill(EXACT + EXACT, EXACT, EXACT)


@pytest.mark.parametrize(
    ("month", "before", "days"),
    [("2026-03", "2026-02", 31), ("2026-01", "2025-12", 31), ("2026-02", "2026-01", 28), ("2028-02", "2028-01", 29)],
)
def test_months(month: str, before: str, days: int) -> None:
    begins, ends = month_of(month)
    assert month_name(begins) == month == month_name(ends - timedelta(seconds=1))
    assert month_before(month) == before
    assert month_seconds(month) == days * 86_400 == (ends - begins).total_seconds()


def test_another_price_that_it_may_have_counts_for_what_comes_after_the_last_word() -> None:
    row = told(None, answer(1, "0.50"), ONE, AT, {})
    for price, most in ((None, "1.50"), (Decimal("0.40"), "1.50"), (Decimal("0.80"), "2.10"), (Decimal(0), "1.50")):
        compute = bill_at(row, later(2), price=price).compute
        assert compute is not None
        assert (compute.low(), compute.high()) == (Decimal("0.50"), Decimal(most)), price


@pytest.mark.parametrize(
    ("entry", "gone"),
    [
        pytest.param(replace(line("create"), ts=ENDS), False, id="made with the month after"),
        pytest.param(replace(line("create"), ts=ENDS - timedelta(seconds=1)), True, id="made right before it"),
        pytest.param(replace(line("start"), ts=ENDS), True, id="started after it"),
    ],
)
def test_one_that_was_made_after_the_month_was_not_there_in_it(entry: HistoryEntry, gone: bool) -> None:
    found = gone_since([entry, line("destroy", month=5)], [], "2026-03")
    assert bool(found) is gone


def test_a_line_without_a_machine_tells_of_none_that_went() -> None:
    lost = replace(line("create", "gone"), machine=None)
    assert gone_since([lost], [], "2026-03") == {}
    two = [line("destroy"), replace(line("destroy"), machine="ps2", name="training-b")]
    assert [m.id for m in gone_since(two, [], "2026-03")["training"]] == ["ps1", "ps2"]
    assert [m.state for m in gone_since(two, [], "2026-03")["training"]] == ["gone", "gone"]


def dear(first: float, last: float) -> PriceHistory:
    """0.80 was seen in these hours; 0.50 from the end of the month before on, unless it came later."""
    cheap = PriceSpan(Decimal("0.50"), later(max(-216.0, last + 1)), AT)
    return {"P4000": (PriceSpan(Decimal("0.80"), later(first), later(last)), cheap)}


@pytest.mark.parametrize(
    ("had", "most"),
    [
        pytest.param(None, "8.00", id="the first answer"),
        pytest.param({"seconds_used": None}, "8.00", id="the first with hours"),
        pytest.param(
            {"hourly_rate": None, "spent_least": None, "spent_most": None}, "8.00", id="the first with a price"
        ),
        pytest.param({}, "5.00", id="a later one: those prices were there when it was told before"),
    ],
)
def test_prices_seen_earlier_count_with_the_first_full_answer_only(had: dict[str, Any] | None, most: str) -> None:
    row = None if had is None else replace(told(None, answer(5, "0.50"), ONE, later(-50), {}), **had)
    compute = bill_at(told(row, answer(10, "0.50"), ONE, AT, dear(-100, -60)), AT).compute
    assert compute is not None
    assert compute.high() == Decimal(most)


@pytest.mark.parametrize(
    ("created", "seen_first", "seen_last", "most"),
    [
        pytest.param(-24, -100, -90, "5.00", id="before it was made"),
        pytest.param(-95, -100, -90, "8.00", id="while it was there"),
        pytest.param(-500, -400, -300, "5.00", id="while it was there, in the month before"),
        pytest.param(None, -100, -90, "8.00", id="nobody knows when it was made"),
        pytest.param(24, -100, -90, "5.00", id="made after the answer: the clock was set back"),
    ],
)
def test_prices_from_when_it_was_made_and_in_its_month_count(
    created: float | None, seen_first: float, seen_last: float, most: str
) -> None:
    made = replace(ONE, created_at=None if created is None else later(created))
    compute = bill_at(told(None, answer(10, "0.50"), made, AT, dear(seen_first, seen_last)), AT).compute
    assert compute is not None
    assert compute.high() == Decimal(most)


def test_a_month_of_bills_has_nothing_untold_unless_it_says_so() -> None:
    month = MonthBills("2026-03", {})
    assert (month.untold, month.left) == ({}, frozenset())
    assert Billed("ps1", "training", "a").off is False


def test_a_new_month_has_nothing_in_it() -> None:
    new = new_month("2026-03", ONE, AT)
    assert (new.month, new.machine_id, new.fleet, new.name, new.machine_type, new.as_of) == (
        "2026-03", "ps1", "training", "training-a", "P4000", AT,
    )  # fmt: skip
    assert (new.seconds_used, new.storage_seconds_used, new.hourly_rate, new.storage_monthly_rate) == (
        0.0, 0.0, None, None,
    )  # fmt: skip


def test_what_an_earlier_version_wrote_without_bounds_cost_its_own_price_as_far_as_it_was_told() -> None:
    row = replace(told(None, answer(1, "0.50"), ONE, AT, {}), spent_least=None, spent_most=None)
    assert bill_at(row, AT, price=Decimal("0.80")).compute == exactly(Decimal("0.50"))
    unpriced = replace(row, hourly_rate=None)
    assert bill_at(unpriced, AT, price=Decimal("0.80")).compute == exactly(Decimal("0.80"))
    assert bill_at(unpriced, AT).compute is None
    assert bill_at(replace(unpriced, gone=True, at_most=True), AT).compute is None


@pytest.mark.parametrize("part", ["compute", "storage"])
@pytest.mark.parametrize("bound", ["least", "most"])
def test_one_bound_alone_is_none(part: str, bound: str) -> None:
    row = told(None, answer(10, "0.50"), ONE, AT, seen(("0.80", -300, -100)))
    row = replace(row, stored_most=Decimal(9))
    field = f"{'spent' if part == 'compute' else 'stored'}_{bound}"
    whole, half = (getattr(bill_at(one, AT), part) for one in (row, replace(row, **{field: None})))
    assert whole is not None
    assert whole.least < whole.most
    assert half == exactly(whole.least), "what its own rate makes of it"


@pytest.mark.parametrize("until", [0, 1])
def test_hours_without_a_price_cost_what_the_type_did_around_the_last_word(until: float) -> None:
    row = replace(told(None, answer(1, None), ONE, AT, {}), off=True)
    bill = bill_at(row, later(until), still_off=later(until), history=seen(("0.80", 1, 2)))
    assert bill.compute == exactly(Decimal("0.80"))


def test_what_may_have_been_used_since_without_any_price_is_not_known() -> None:
    row = told(None, answer(0, None), ONE, AT, {})
    assert bill_at(row, AT).compute == exactly(Decimal(0))
    assert bill_at(row, later(1)).compute is None
    assert bill_at(row, later(1), price=Decimal(1)).compute == Amount(Decimal(0), Decimal(1))
