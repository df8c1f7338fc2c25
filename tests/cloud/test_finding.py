"""Which pages are read for which machines, and which are looked at one by one."""

from __future__ import annotations

import pytest

from fleetd.cloud.finding import Places, by_page, from_an_end, told_once

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
