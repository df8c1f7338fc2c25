"""Which pages are read for which machines, and which are looked at one by one."""

from __future__ import annotations

import pytest

from fleetd.cloud.finding import Places, by_page, each, from_an_end, told_once
from fleetd.model.errors import Refused
from fleetd.model.machine import Machine

SIZE = 10


def places(count: int) -> Places:
    known = Places()
    known.learn({"id": f"ps{n}"} for n in range(count))
    return known


@pytest.mark.parametrize(
    ("looked_for", "pages", "singly"),
    [
        ([3], [], [3]),
        ([3, 4], [0], []),
        ([3, 4, 25], [0], [25]),
        ([3, 14, 25], [], [3, 14, 25]),
        ([11, 12, 31, 32], [1, 3], []),
        ([100, 101], [3], []),  # not there yet: where the listing ends
    ],
)
def test_any_page_can_be_had(looked_for: list[int], pages: list[int], singly: list[int]) -> None:
    ways = by_page([f"ps{n}" for n in looked_for], places(35), SIZE)
    assert sorted(ways.pages) == pages
    assert ways.singly == {f"ps{n}" for n in singly}


@pytest.mark.parametrize(
    ("looked_for", "newest", "pages", "singly"),
    [
        ([97, 98, 99], True, [0], []),
        ([0, 1, 2], False, [0], []),
        ([500, 501], True, [0], []),  # not there yet: the newest
        ([99, 98, 45], True, [0], [45]),
        ([50], True, [], [50]),
        ([45, 46], True, [], [45, 46]),
        (list(range(40, 60)), True, [4, 5], []),
    ],
)
def test_pages_follow_each_other_from_either_end(
    looked_for: list[int], newest: bool, pages: list[int], singly: list[int]
) -> None:
    end, ways = from_an_end([f"ps{n}" for n in looked_for], places(100), SIZE)
    assert sorted(ways.pages) == pages
    assert ways.singly == {f"ps{n}" for n in singly}
    assert end == newest or not pages


def test_a_page_that_was_read_tells_where_its_machines_are_now() -> None:
    known = places(35)
    known.note([{"id": "ps34"}, {"id": "new"}, {"name": "no id"}], 40)
    assert (known.of("ps34"), known.of("new"), known.of("ps0"), known.total) == (40, 41, 0, 42)


def test_of_two_copies_that_disagree_none_is_taken() -> None:
    rows = [{"id": "a", "state": "off"}, {"id": "b"}, {"id": "a", "state": "ready"}, {"id": "b"}, {"id": "c"}, {}]
    assert told_once(rows, {"a", "b"}) == [{"id": "b"}]


def test_a_listing_is_learnt_in_its_order_and_takes_the_place_of_the_one_before() -> None:
    assert (Places().of("ps0"), Places().total) == (0, 0)
    known = places(3)
    assert [known.of(f"ps{n}") for n in range(4)] == [0, 1, 2, 3]
    known.learn([{"name": "no id"}, {"id": "ps2"}, {"id": 7}])
    assert (known.of("ps2"), known.of("7"), known.of("ps0"), known.total) == (1, 2, 3, 3)
    known.learn([])
    assert (known.of("ps2"), known.total) == (0, 0)


def test_a_page_in_the_midst_makes_the_listing_no_longer() -> None:
    known = places(35)
    known.note([{"id": "ps9"}, {"id": "ps8"}], 3)
    assert (known.of("ps9"), known.of("ps8"), known.total) == (3, 4, 35)


def test_which_machine_is_looked_for_on_which_page() -> None:
    ways = by_page({"ps3", "ps4", "ps25", "ps31", "ps30"}, places(35), SIZE)
    assert ways.pages == {0: {"ps3", "ps4"}, 3: {"ps30", "ps31"}}
    newest, ways = from_an_end({"ps0", "ps1", "ps11", "ps12"}, places(100), SIZE)
    assert (newest, ways.pages, ways.singly) == (False, {0: {"ps0", "ps1"}, 1: {"ps11", "ps12"}}, set())
    newest, ways = from_an_end({"ps99", "ps89", "ps88", "ps90"}, places(100), SIZE)
    assert (newest, ways.pages) == (True, {0: {"ps99", "ps90"}, 1: {"ps89", "ps88"}})


@pytest.mark.parametrize("looked_for", [["ps0", "ps99"], ["ps49", "ps50"]])
def test_what_costs_the_same_from_either_end_is_looked_at_one_by_one(looked_for: list[str]) -> None:
    assert from_an_end(looked_for, places(100), SIZE)[1].pages == {}


def test_nobody_is_looked_for_nowhere() -> None:
    assert by_page((), places(35), SIZE) == from_an_end((), places(35), SIZE)[1]
    assert (by_page((), places(35), SIZE).pages, by_page((), places(35), SIZE).singly) == ({}, frozenset())


async def test_an_error_is_the_answer_about_that_one() -> None:
    asked, refused = [], Refused("no")

    async def look(machine_id: str) -> Machine:
        asked.append(machine_id)
        if machine_id == "b":
            raise refused
        return Machine(machine_id, "n", "off")

    sights = await each({"c", "b", "a"}, look)
    assert sights == {"a": Machine("a", "n", "off"), "b": refused, "c": Machine("c", "n", "off")}
    assert asked == ["a", "b", "c"]
