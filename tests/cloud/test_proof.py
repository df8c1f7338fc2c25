"""What a listing that was read once must have, rule by rule; machines are named with the minute they were made in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fleetd.cloud.core.once import Once
from fleetd.cloud.core.pages import Source
from fleetd.cloud.listing import Reading, identity
from fleetd.cloud.proof import Proof, completed, in_order
from fleetd.model.errors import Unavailable
from tests.support.virtual_time import virtual

P = pytest.param


def entry(known: str, minute: int | None) -> dict[str, Any]:
    """One that was made in a minute of the day; None: it tells no date."""
    date = None if minute is None else (datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minute)).isoformat()
    return {"id": known, "dtCreated": date}


def entries(told: str) -> list[dict[str, Any]]:
    """``a1 b2``: machine a of minute 1 and machine b of minute 2; ``c?`` tells no date."""
    return [entry(one[0], None if one[1:] == "?" else int(one[1:])) for one in told.split()]


@pytest.mark.parametrize(
    ("newest", "begun", "reaches"),
    [
        P("d4 c3 b2", "abc", True, id="new ones before two that were there"),
        P("c3 b2", "abc", True, id="nothing new"),
        P("d4 c3", "abc", False, id="back to one only"),
        P("c3 d4 b2", "abc", False, id="a new one between the two"),
        P("c3 b2 d4", "abc", False, id="a new one behind them"),
        P("d4 c3 b3", "abc", False, id="two of one date"),
        P("d4 c3 b3 a1", "abc", True, id="three of two dates"),
        P("d4 e5", "abc", False, id="none that was there"),
        P("", "abc", False, id="no entry"),
    ],
)
def test_how_far_a_newest_page_must_go_back(newest: str, begun: str, reaches: bool) -> None:
    assert Proof(frozenset("abc"), frozenset(begun)).reaches(entries(newest)) is reaches


async def _gone(machine: str) -> None:
    del machine


@pytest.mark.parametrize(
    ("items", "newest", "known", "whole"),
    [
        P("a1 b2 c3 d4", "d4 c3 b2", "abcd", True, id="the newest page has its newest"),
        P("d4 c3 b2 a1", "d4 c3 b2", "abcd", True, id="the other way round as well"),
        P("a1 b2 c3 d4", "d4 b2", "abcd", False, id="it lacks one in its middle"),
        P("d4 c3 b2 a1", "d4 b2", "abcd", False, id="and so the other way round"),
        P("a1 b2 c3 d4", "c3 b2", "abcd", False, id="it lacks the very newest"),
        P("a1 b2 c3 d4", "c3 b2", "abc", True, id="one made since belongs nowhere yet"),
        P("a1 b3 c3 d4", "d4 c3", "abcd", True, id="of the oldest date it has, more may stand behind it"),
        P("a1 b2 c? d4", "d4 b2", "abcd", False, id="one without a date may belong there"),
        P("a1 b2 d4", "d4 b2", "abcd", True, id="one that is not listed and has gone"),
    ],
)
@virtual
async def test_what_a_newest_page_must_have(items: str, newest: str, known: str, whole: bool) -> None:
    proof = Proof(frozenset(known), frozenset("a"))
    found = await completed(Reading(tuple(entries(items))), entries(newest), proof, _gone)
    assert (found is not None) is whole


@pytest.mark.parametrize(
    ("slips", "whole"),
    [
        P("b2", True, id="behind the newest page"),
        P("d4", False, id="within the newest page, which is one answer and lacks it"),
    ],
)
@virtual
async def test_what_slipped_past_is_listed_again_unless_the_newest_page_lacks_it(slips: str, whole: bool) -> None:
    there = {identity(item): item for item in entries(slips)}

    async def look(machine: str) -> Any:
        return there.get(machine)

    items = [item for item in entries("a1 b2 c3 d4 e5") if identity(item) not in there]
    proof = Proof(frozenset("abcde"), frozenset("abcde"))
    newest = [item for item in entries("e5 d4 c3") if item in items]
    found = await completed(Reading(tuple(items)), newest, proof, look)
    assert (found is not None) is whole
    if found is not None:
        assert {identity(item) for item in found[0].items} == set("abcde")
        assert found[1].known == set("abcde")


@virtual
async def test_what_is_there_from_the_beginning_of_the_next_listing() -> None:
    """What was made while the pages were read may be younger than one that no page has: it bounds nothing yet."""
    items = entries("a1 b2 c3 d4 e5")
    proof = Proof(frozenset("abcx"), frozenset("ax"))
    found = await completed(Reading(tuple(items)), entries("d4 c3 b2"), proof, _gone)
    assert found is not None
    assert found[1] == Proof(frozenset("abcde"), frozenset("abcd"))


@pytest.mark.parametrize(
    "problem",
    [P(None, id="nobody tells whether it is gone"), P({"id": None}, id="an entry has lost its id")],
)
@virtual
async def test_where_something_may_be_anything_all_is_read_anew(problem: Any) -> None:
    async def look(machine: str) -> Any:
        raise Unavailable(machine)

    items = entries("a1 b2 c3")
    proof = Proof(frozenset("abcx" if problem is None else "abc"), frozenset("abc"))
    reading = Reading((*items, problem) if problem else tuple(items))
    assert await completed(reading, entries("c3 b2"), proof, look) is None


@pytest.mark.parametrize(
    ("oldest", "newest", "ordered"),
    [
        P("a1 b2", "d4 c3", True, id="both ways"),
        P("a1 b2", "a1 b1", False, id="one order twice, and its newest of one date"),
        P("a1 b1", "a1 b1", False, id="all of one date"),
        P("a1 b2", "a1 b2", False, id="one order twice"),
        P("b2 a1", "d4 c3", False, id="the oldest are not in order"),
    ],
)
def test_which_two_pages_show_an_order(oldest: str, newest: str, ordered: bool) -> None:
    assert in_order(entries(oldest), entries(newest)) is ordered


@pytest.mark.parametrize(
    ("behind", "relied_on"),
    [
        P("h8 g7 f6 e5 d4 c3 b2 a1", True, id="in order"),
        P("h8 g7 d4 e5 f6 c3 b2 a1", False, id="two have changed places"),
        P("g7 h8 f6 e5 d4 c3 b2 a1", False, id="the first two have"),
        P("h8 g7 f6 e5 d4 c3 a1 b2", False, id="the last two have"),
    ],
)
@virtual
async def test_the_whole_of_what_stands_behind_the_newest_page_must_be_in_order(behind: str, relied_on: bool) -> None:
    rows = entries("l12 k11 j10 i9") + entries("h8 g7 f6 e5 d4 c3 b2 a1")
    once = Once()
    once.learn(Reading(tuple(rows)))
    now = rows[:4] + entries(behind)

    async def listed(position: int) -> list[dict[str, Any]]:
        return now[position : position + 4]

    source = Source(lambda number: listed(number * 4), listed, size=4, width=2)
    assert (await once.read(source, _gone) is not None) is relied_on
