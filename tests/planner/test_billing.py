from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from fleetd.model.journal import HistoryEntry
from fleetd.model.machine import Utilization, month_of
from fleetd.planner.amounts import CENT, Amount, PriceHistory, PriceSpan
from fleetd.planner.billing import (
    TENTH,
    Bill,
    Billed,
    bill_at,
    ended,
    following,
    gone_since,
    known_sum,
    sum_of,
    tells_more,
    told,
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


def known(hours: str, compute: str | None, storage: str | None) -> Bill:
    return Bill(*(None if part is None else Amount.of(Decimal(part)) for part in (hours, compute, storage)))


def test_sums() -> None:
    one = known("1.5", "1.00", "0.50")
    assert sum_of([one, one]) == known("3.0", "2.00", "1.00")
    assert sum_of([one, known("1", None, "0")]) == known("2.5", None, "0.50")
    assert sum_of([]) == known("0", "0", "0")
    wide = Bill(Amount(Decimal(1), Decimal(3)), Amount(Decimal("0.50"), Decimal("1.50")), None)
    assert sum_of([one, wide]).compute == Amount(Decimal("1.50"), Decimal("2.50"))
    assert known_sum([one, wide]).storage == Amount.of(Decimal("0.50"))


def test_cents_are_rounded_once_and_bounds_away_from_each_other() -> None:
    third = Amount.of(Decimal(1) / 3)
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
    assert bill_at(back, later(20)).compute == Amount.of(Decimal("1.50"))


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
    ],
)
def test_machines_that_went_belong_to_the_month_they_were_there_in(history, here, gone) -> None:
    found = gone_since(history, here, "2026-03")
    assert {f: [(m.id, m.name) for m in ms] for f, ms in found.items()} == (
        {history[-1].fleet: [("ps1", "training-a")]} if gone else {}
    )
