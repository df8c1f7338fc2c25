"""The prices seen of a machine type: which are kept, when they are written, and what is read of them."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from structlog.testing import capture_logs

from fleetd.engine.observed_prices import KEPT, REFRESHED, ObservedPrices
from fleetd.model.bounds import MOST_MONEY
from fleetd.planner.amounts import PriceSpan
from tests.support.build import NOW, later
from tests.support.virtual_time import virtual

P = pytest.param
D = Decimal
KIND = "P4000"


class Notes:
    """A journal of notes that counts what is written."""

    def __init__(self, **notes: str) -> None:
        self.notes = notes
        self.written: list[str] = []

    async def get_note(self, key: str) -> str | None:
        return self.notes.get(key)

    async def put_note(self, key: str, value: str) -> None:
        self.notes[key] = value
        self.written.append(key)


def observed(notes: Notes | None = None) -> ObservedPrices:
    journal: Any = notes or Notes()
    return ObservedPrices(journal)


def at(minutes: float) -> datetime:
    return later(minutes=minutes)


def span(price: str, first: float, last: float) -> PriceSpan:
    return PriceSpan(D(price), at(first), at(last))


@pytest.mark.parametrize(
    ("sights", "kept"),
    [
        P([(KIND, D(1), 0)], {KIND: (span("1", 0, 0),)}, id="one"),
        P([(KIND, D(1), 0), (KIND, D(1), 5), (KIND, D(1), 3)], {KIND: (span("1", 0, 5),)}, id="again and again"),
        P([(KIND, D(1), 5), (KIND, D(1), 0)], {KIND: (span("1", 0, 5),)}, id="an earlier sight"),
        P([(KIND, D(1), 0), (KIND, D(2), 5)], {KIND: (span("1", 0, 0), span("2", 5, 5))}, id="two prices"),
        P(
            [(KIND, D(1), 0), ("V100", D(2), 5)],
            {KIND: (span("1", 0, 0),), "V100": (span("2", 5, 5),)},
            id="two types",
        ),
        P([(None, D(1), 0), (KIND, None, 0), (KIND, D(0), 0), (KIND, D(-1), 0)], {}, id="no price"),
        P([(KIND, D(MOST_MONEY), 0)], {KIND: (span(str(MOST_MONEY), 0, 0),)}, id="the highest"),
        P([(KIND, D(MOST_MONEY) + 1, 0)], {}, id="none can be that high"),
    ],
)
@virtual
async def test_what_is_kept_and_read_again(sights: list[Any], kept: dict[str, Any]) -> None:
    notes = Notes()
    prices = observed(notes)
    for kind, price, minutes in sights:
        prices.saw(kind, price, at(minutes))
    assert prices.history == kept
    await prices.save()
    assert notes.written == ["tariffs"] * bool(kept)
    again = observed(notes)
    await again.load()
    assert again.history == kept


@virtual
async def test_the_note_has_the_types_in_order() -> None:
    notes = Notes()
    prices = observed(notes)
    prices.saw("V100", D("2.30"), at(0))
    prices.saw(KIND, D("0.51"), at(1))
    await prices.save()
    assert list(json.loads(notes.notes["tariffs"]).items()) == [
        (KIND, [["0.51", at(1).isoformat(), at(1).isoformat()]]),
        ("V100", [["2.30", at(0).isoformat(), at(0).isoformat()]]),
    ]


@pytest.mark.parametrize(
    ("sights", "news"),
    [
        P([], False, id="nothing"),
        P([(1, timedelta(seconds=1))], False, id="seen again a moment later"),
        P([(1, REFRESHED)], True, id="its last sight has grown old"),
        P([(1, REFRESHED - timedelta(seconds=1))], False, id="nearly"),
        P([(1, -timedelta(seconds=1))], True, id="it held earlier already"),
        P([(2, timedelta(seconds=1))], True, id="another price"),
        P([(2, timedelta(0)), (1, timedelta(seconds=1))], True, id="another price, then the same"),
        P([(1, timedelta(0))], False, id="in the same moment"),
    ],
)
@virtual
async def test_what_is_worth_writing(sights: list[Any], news: bool) -> None:
    notes = Notes()
    prices = observed(notes)
    prices.saw(KIND, D(1), NOW)
    await prices.save()
    await prices.save()
    assert len(notes.written) == 1, "once"
    for price, after in sights:
        prices.saw(KIND, D(price), NOW + after)
    await prices.save()
    await prices.save()
    assert len(notes.written) == 1 + news


def test_of_many_prices_those_seen_last_are_kept() -> None:
    prices = observed()
    for n in range(1, KEPT + 1):
        prices.saw(KIND, D(n), at(n))
    prices.saw(KIND, D(1), at(KEPT + 1))
    assert len(prices.history[KIND]) == KEPT
    prices.saw(KIND, D(KEPT + 1), at(KEPT + 2))
    assert sorted(s.price for s in prices.history[KIND]) == [1, *range(3, KEPT + 2)]


WHEN = NOW.isoformat()
NAIVE = NOW.replace(tzinfo=None).isoformat()


@pytest.mark.parametrize(
    ("cells", "good"),
    [
        P(["1", WHEN, WHEN], True, id="a price"),
        P([str(MOST_MONEY), WHEN, WHEN], True, id="the highest"),
        P([str(MOST_MONEY + 1), WHEN, WHEN], False, id="too high"),
        P(["0", WHEN, WHEN], False, id="none"),
        P(["-1", WHEN, WHEN], False, id="less than none"),
        P(["NaN", WHEN, WHEN], False, id="no number"),
        P(["1", NAIVE, WHEN], False, id="a first sight of no zone"),
        P(["1", WHEN, NAIVE], False, id="a last one"),
        P(["1", WHEN], False, id="too few cells"),
    ],
)
@virtual
async def test_a_note_that_is_odd_is_set_aside(cells: list[str], good: bool) -> None:
    text = json.dumps({KIND: [cells]})
    notes = Notes(tariffs=text)
    prices = observed(notes)
    with capture_logs() as logs:
        await prices.load()
    assert prices.history == ({KIND: (PriceSpan(D(cells[0]), NOW, NOW),)} if good else {})
    assert notes.notes == {"tariffs": text} | ({} if good else {"tariffs.unreadable": text})
    assert [line["event"] for line in logs] == ["journal.note_was_set_aside"] * (not good)
