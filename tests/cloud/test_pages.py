"""Both ways of reading a listing page by page: how many pages, in which order, and why it ended."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from fleetd.cloud.core import pages as core
from fleetd.cloud.listing import MOST_SECONDS
from fleetd.cloud.paperspace import pages as v1
from fleetd.model.errors import MalformedAnswer, Refused, Unavailable
from tests.support.virtual_time import virtual

SIZE = 3
DOWN, LATER = Unavailable("no connection"), Unavailable("later on")


def rows(*numbers: Any) -> list[dict[str, Any]]:
    return [{"id": f"m{n}"} if n is not None else {} for n in numbers]


class Book:
    """Pages by number, each said once it is asked for; an error is raised. Entries are what the proof reads."""

    def __init__(self, said: list[Any], entries: Any = None, *, width: int = 10, seconds: float = 0.0) -> None:
        self.said, self.asked, self.positions = said, [], []
        self.proof, self.seconds = entries, seconds
        self.source = core.Source(self.page, self.entries, size=SIZE, width=width)

    async def page(self, number: int) -> list[Any]:
        self.asked.append(number)
        await anyio.sleep(self.seconds)
        return self.tell(self.said[number] if number < len(self.said) else [])

    async def entries(self, position: int) -> list[Any]:
        self.positions.append(position)
        if callable(self.proof):
            return self.tell(self.proof(position))
        everything = [row for page in self.said for row in page]
        return everything[position : position + SIZE]

    def tell(self, said: Any) -> list[Any]:
        if isinstance(said, BaseException):
            raise said
        return said


def full(first: int) -> list[dict[str, Any]]:
    return rows(*range(first, first + SIZE))


@pytest.mark.parametrize(
    ("said", "most", "expected", "asked"),
    [
        ([rows(1)], 100, None, [0]),
        ([full(0), rows(3)], 100, None, [0, 1, 2]),
        ([full(0), full(3), full(6), rows(9)], 100, None, [0, 1, 2, 3, 4, 5, 6]),
        ([full(0), full(3), full(6), rows(9)], 2, None, [0, 1]),
        ([full(0), full(3), full(6), rows(9)], 1, None, [0]),
        ([full(0), full(3), full(6), rows(9)], 100, 4, [0, 1, 2, 3]),
        ([full(0), full(3), full(6), rows(9)], 100, 3, [0, 1, 2, 3]),
        ([full(0), full(3), full(6), rows(9)], 100, 1, [0, 1, 2, 3, 4]),
        ([rows(0)], 100, 4, [0]),
    ],
)
async def test_core_asks_for_so_many_pages(
    said: list[Any], most: int, expected: int | None, asked: list[int]
) -> None:
    book = Book(said)
    reading = await core.read_all(book.source, most=most, expected=expected)
    assert (book.asked, book.positions) == (asked, [])
    wanted = [row for page in said[: len(asked)] for row in page]
    assert (list(reading.items), reading.complete) == (wanted, True)


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ([full(0), DOWN, LATER], "no connection"),
        ([full(0), rows(3), LATER], "later on"),
        ([full(0)] * 9, "the listing has no end: the last of 3 full pages have nothing new"),
        ([rows(None, None, None)] * 9, "the listing has no end: the last of 3 full pages have nothing new"),
    ],
)
async def test_core_says_why_it_read_no_further(said: list[Any], problem: str) -> None:
    reading = await core.read_all(Book(said).source)
    assert (reading.problem, reading.complete) == (problem, False)


async def test_a_listing_of_two_hundred_full_pages_has_no_end() -> None:
    book = Book([full(SIZE * n) for n in range(250)])
    reading = await core.read_all(book.source)
    assert (len(book.asked), reading.problem) == (200, "the listing has no end: 200 full pages")
    assert isinstance(reading.failure, MalformedAnswer)
    assert reading.failure.operation == "list"
    whole = await core.read_all(Book([*(full(SIZE * n) for n in range(199)), rows(0)]).source)
    assert whole.failure is None


@virtual
async def test_a_listing_that_takes_too_long_is_left() -> None:
    book = Book([full(SIZE * n) for n in range(150)], seconds=MOST_SECONDS / 2)
    reading = await core.read_all(book.source)
    assert reading.problem == "the listing takes too long: 3 full pages in 120 s"


@pytest.mark.parametrize(
    ("said", "moved"),
    [
        ([full(0), rows(3)], False),
        ([full(0), rows(2)], True),  # an id on two pages
        ([full(0), full(2), rows(5)], True),
        ([rows(0, 1, 1), rows(3)], False),  # twice on one page, and the same
        ([[{"id": "a"}, {"id": "a", "n": 1}, {"id": "b"}], []], True),  # twice on one page, and not the same
        ([rows(0, None, None), rows(None)], False),
    ],
)
async def test_core_sees_from_the_pages_that_the_list_moved(said: list[Any], moved: bool) -> None:
    assert (await core.read_all(Book(said).source)).moved is moved


async def test_a_page_behind_a_short_one_shows_that_the_list_moved() -> None:
    for first, moved in (([full(0), rows(3), [], rows(7)], True), ([full(0), rows(3), []], False)):
        assert (await core.read_all(Book(first).source, expected=4)).moved is moved


@pytest.mark.parametrize(
    ("count", "positions"),
    [(2, []), (3, [0, 2]), (5, [0, 2]), (6, [0, 2, 5]), (10, [0, 2, 5, 8])],
)
async def test_the_proof_is_cut_one_entry_earlier(count: int, positions: list[int]) -> None:
    everything = rows(*range(count))
    book = Book([everything[n : n + SIZE] for n in range(0, count, SIZE)])
    reading = await core.read_all(book.source, prove=True)
    assert (book.positions, reading.complete, len(reading.items)) == (positions, True, count)


@pytest.mark.parametrize(
    ("slipped", "complete"),
    [
        ({2: rows(2, 4, 5)}, False),  # what was fourth is gone from between
        ({2: rows(2, 3, 4)}, True),  # what is new stands behind the end
        ({2: rows(2)}, False),
        ({0: rows(9, 1, 2)}, False),
        ({0: DOWN}, False),
    ],
)
async def test_what_differs_from_the_proof_is_read_again_and_then_not_believed(
    slipped: dict[int, Any], complete: bool
) -> None:
    everything = rows(0, 1, 2, 3)
    book = Book([everything[:3], everything[3:]], lambda at: slipped.get(at, everything[at : at + SIZE]))
    reading = await core.read_all(book.source, prove=True)
    assert reading.complete is complete
    assert reading.moved is not (complete or (0 in slipped and slipped[0] is DOWN))
    assert book.asked.count(0) == (2 if reading.moved else 1)


async def test_a_list_that_moved_once_is_read_again_and_then_believed() -> None:
    everything, times = rows(0, 1, 2, 3), []

    def proof(at: int) -> list[dict[str, Any]]:
        times.append(at)
        return rows(7) if len(times) == 1 else everything[at : at + SIZE]

    book = Book([everything[:3], everything[3:]], proof)
    assert (await core.read_all(book.source, prove=True)).complete
    assert (book.asked.count(0), len(times)) == (2, 4)


async def test_where_only_multiples_of_a_page_are_taken_the_proof_reads_those() -> None:
    everything = rows(*range(7))
    refused = Refused("skip must be a multiple of limit")
    for wrong, complete in ((None, True), (3, False)):
        book = Book(
            [everything[:3], everything[3:6], everything[6:]],
            lambda at, wrong=wrong: refused if at % SIZE else rows(9) if at == wrong else everything[at : at + SIZE],
        )
        reading = await core.read_all(book.source, prove=True)
        assert (reading.complete, book.positions[:5]) == (complete, [0, 2, 5, 0, 3])


async def test_as_many_pages_as_were_asked_for_are_all_that_is_wanted_unless_it_is_to_be_proven() -> None:
    said = [full(SIZE * n) for n in range(9)]
    assert (await core.read_all(Book(said).source, most=2)).complete
    assert not (await core.read_all(Book(said).source, most=2, prove=True)).complete


Said = list[tuple[list[dict[str, Any]], str | None] | Exception]


def reader(said: Said, asked: list[str | None], *, seconds: float = 0.0) -> v1.Fetch:
    pages = iter(said)

    async def fetch(after: str | None) -> v1.Page:
        asked.append(after)
        await anyio.sleep(seconds)
        page = next(pages)
        if isinstance(page, Exception):
            raise page
        return v1.Page(*page)

    return fetch


@pytest.mark.parametrize(
    ("said", "asked", "count", "problem"),
    [
        ([(rows(1, 2), None)], [None], 2, ""),
        ([(rows(1), "a"), (rows(2), "b"), (rows(3), None)], [None, "a", "b"], 3, ""),
        ([(rows(1), "a"), DOWN], [None, "a"], 1, "no connection"),
        (
            [(rows(1), "a"), (rows(2), "a")],
            [None, "a"],
            2,
            "the listing has no end: page 2 leads back to an earlier one",
        ),
        (
            [(rows(1), "a"), (rows(2), "b"), (rows(3), "a")],
            [None, "a", "b"],
            3,
            "the listing has no end: page 3 leads back to an earlier one",
        ),
        (
            [(rows(1), "a"), (rows(1), "b")],
            [None, "a"],
            1,
            "the listing has no end: page 2 has nothing new and promises more",
        ),
        ([(rows(1), "a"), (rows(1), None)], [None, "a"], 1, ""),
        ([([], "a")], [None], 0, "the listing has no end: page 1 has nothing new and promises more"),
        ([(rows(1, None), "a"), (rows(2, None), None)], [None, "a"], 4, ""),
    ],
)
async def test_v1_follows_the_cursors(said: Said, asked: list[str | None], count: int, problem: str) -> None:
    told: list[str | None] = []
    reading = await v1.read_on(reader(said, told))
    assert (told, len(reading.items), reading.problem, reading.moved) == (asked, count, problem, False)
    if problem and problem != "no connection":
        assert reading.failure is not None
        assert reading.failure.operation == "list"


async def test_v1_raises_what_the_first_page_does() -> None:
    told: list[str | None] = []
    with pytest.raises(Unavailable):
        await v1.read_on(reader([DOWN], told))
    with pytest.raises(Unavailable):
        await v1.read_proven(reader([DOWN], told), reader([], told))


async def test_v1_leaves_a_list_of_a_thousand_pages() -> None:
    told: list[str | None] = []
    reading = await v1.read_on(reader([(rows(n), f"c{n}") for n in range(1200)], told))
    assert (len(told), reading.problem) == (1000, "the listing has no end: 1000 pages")
    whole = await v1.read_on(reader([*((rows(n), f"c{n}") for n in range(999)), (rows(9), None)], []))
    assert whole.complete


@virtual
async def test_v1_leaves_a_list_that_takes_too_long() -> None:
    told: list[str | None] = []
    reading = await v1.read_on(reader([(rows(n), f"c{n}") for n in range(9)], told, seconds=MOST_SECONDS / 2))
    assert reading.problem == "the listing takes too long: 3 pages in 120 s"


async def test_enough_is_asked_after_each_page_with_all_that_was_read() -> None:
    told, seen = [], []

    def enough(items: list[dict[str, Any]]) -> bool:
        seen.append([row["id"] for row in items])
        return len(items) >= 3

    said: Said = [(rows(1, 2), "a"), (rows(3, 2), "b"), (rows(4), None)]
    reading = await v1.read_on(reader(said, told), enough=enough)
    assert seen == [["m1", "m2"], ["m1", "m2", "m3"]]
    assert (len(reading.items), reading.complete, told) == (3, True, [None, "a"])


@pytest.mark.parametrize(
    ("forward", "backward", "ids", "moved", "problem"),
    [
        pytest.param([(rows(1, 2), None)], [], [1, 2], False, "", id="one page"),
        pytest.param([(rows(1, 2), "a"), (rows(3), None)], [(rows(3, 2, 1), None)], [1, 2, 3], False, "",
                     id="the same"),
        pytest.param([(rows(1, 2), "a"), (rows(3), None)], [(rows(4, 3, 2, 1), None)], [1, 2, 3, 4], False, "",
                     id="made meanwhile, seen from behind"),
        pytest.param([(rows(1, 2), "a"), (rows(3, 4), None)], [(rows(3, 2, 1), None)], [1, 2, 3, 4], False, "",
                     id="made meanwhile, seen from before"),
        pytest.param([(rows(1, 2), "a"), (rows(4), None)], [(rows(4, 3, 2, 1), None)], [1, 2, 4, 3], True,
                     "the list moved while its pages were read", id="slipped past the one"),
        pytest.param([(rows(1, 2), "a"), (rows(3, 4), None)], [(rows(4, 2, 1), None)], [1, 2, 3, 4], True,
                     "the list moved while its pages were read", id="slipped past the other"),
        pytest.param([(rows(1), "a"), DOWN], [(rows(2, 1), None)], [1, 2], False, "no connection", id="one failed"),
        pytest.param([(rows(1), "a"), (rows(2), None)], [LATER], [1, 2], False, "later on", id="the other failed"),
        pytest.param([(rows(1), "a"), DOWN], [LATER], [1], False, "no connection", id="both failed"),
        pytest.param([(rows(1, None), "a"), (rows(None), None)], [(rows(None, None, 1), None)],
                     [1, None, None], False, "", id="what has no id is taken from one side"),
    ],
)  # fmt: skip
async def test_v1_reads_a_listing_from_both_ends(
    forward: Said, backward: Said, ids: list[int | None], moved: bool, problem: str
) -> None:
    told: list[str | None] = []
    twice = 2 if moved else 1
    reading = await v1.read_proven(reader(forward * twice, told), reader(backward * twice, []))
    assert [row.get("id") for row in reading.items] == [None if n is None else f"m{n}" for n in ids]
    assert (reading.moved, reading.problem) == (moved, problem)
    assert told.count(None) == twice


async def test_v1_believes_a_list_that_moved_once() -> None:
    whole: Said = [(rows(1, 2), "a"), (rows(3), None)]
    backward: Said = [(rows(3, 1), None), (rows(3, 2, 1), None)]
    assert (await v1.read_proven(reader([*whole, *whole], []), reader(backward, []))).complete
