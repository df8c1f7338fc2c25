"""A listing's entries told apart, joined, and weighed together."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from fleetd.cloud import listing
from fleetd.cloud.listing import LONGEST_ID, Reading, fits, identity, joined, weighed
from fleetd.model.errors import Unavailable


@pytest.mark.parametrize(
    ("entry", "known"),
    [
        ({"id": "ps1"}, "ps1"),
        ({"id": 17}, "17"),
        ({"id": -17}, "-17"),
        ({"id": 0}, "0"),
        ({"id": 10**30 - 1}, "9" * 30),
        ({"id": 10**30}, None),
        ({"id": -(10**30)}, None),
        ({"id": True}, None),
        ({"id": 1.0}, None),
        ({"id": ""}, None),
        ({"id": "x" * LONGEST_ID}, "x" * LONGEST_ID),
        ({"id": "x" * (LONGEST_ID + 1)}, None),
        ({"id": None}, None),
        ({}, None),
        ("ps1", None),
        (None, None),
    ],
)
def test_what_identifies_an_entry(entry: Any, known: str | None) -> None:
    assert identity(entry) == known


def test_each_id_once_the_last_copy_in_the_first_ones_place_and_what_has_none_as_often_as_it_comes() -> None:
    entries = [{"id": "a", "n": 1}, {}, {"id": "b"}, {"id": "a", "n": 2}, {}, {"id": 7}, {"id": "7", "n": 3}]
    assert joined(entries) == ({"id": "a", "n": 2}, {}, {"id": "b"}, {}, {"id": "7", "n": 3})


@pytest.mark.parametrize(
    ("reading", "complete", "problem"),
    [
        (Reading(()), True, ""),
        (Reading((), moved=True), False, "the list moved while its pages were read"),
        (Reading((), failure=Unavailable("no connection")), False, "no connection"),
        (Reading((), moved=True, failure=Unavailable("no connection")), False, "no connection"),
    ],
)
def test_what_is_known_of_a_reading(reading: Reading, complete: bool, problem: str) -> None:
    assert (reading.complete, reading.problem) == (complete, problem)


def test_what_has_no_id_is_counted() -> None:
    assert Reading(({"id": "a"}, {}, {"id": ""}, {"id": 3}, {"id": "b"})).listing(lambda _rows: ()).unidentified == 2


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred bytes, ten for each machine of a page; a value is five, and no listing more than 300."""
    for name, value in (("MOST_WEIGHT", 100), ("OF_A_MACHINE", 10), ("OF_A_VALUE", 5), ("AT_MOST", 300)):
        monkeypatch.setattr(listing, name, value)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("bodies", "size", "answers"),
    [
        ([b"x" * 120], 2, [True]),
        ([b"x" * 121], 2, [False]),
        ([b"x" * 115 + b","], 2, [False]),
        ([b"x" * 114 + b","], 2, [True]),
        ([b"x" * 114 + b"["], 2, [True]),
        ([b"x" * 115 + b"["], 2, [False]),
        ([b"x" * 115 + b"{"], 2, [False]),
        ([b"x" * 115 + b"]"], 2, [True]),
        ([b"x" * 120, b"x" * 20, b"x" * 21], 2, [True, True, False]),
        ([b"x" * 300], 50, [True]),
        ([b"x" * 301], 50, [False]),
    ],
)
def test_the_pages_of_a_listing_weigh_together(bodies: list[bytes], size: int, answers: list[bool]) -> None:
    with weighed(size):
        assert [fits(body) for body in bodies] == answers
    with weighed(size):
        assert fits(b"x" * 120), "the next has a bound of its own"


@pytest.mark.usefixtures("small")
def test_what_is_no_listing_has_no_bound() -> None:
    assert fits(b"x" * 10_000)
    with pytest.raises(RuntimeError), weighed(1):
        raise RuntimeError
    assert fits(b"x" * 10_000), "a listing that failed is over, too"


@pytest.mark.usefixtures("small")
def test_a_listing_within_a_listing_is_the_same() -> None:
    with weighed(2):
        with weighed(50):
            assert fits(b"x" * 120)
            assert not fits(b"x" * 21)
        assert not fits(b"x" * 20), "and it is not over when the inner one is"


@pytest.mark.usefixtures("small")
async def test_what_its_tasks_read_belongs_to_it() -> None:
    told: list[bool] = []

    async def read() -> None:
        told.append(fits(b"x" * 100))

    with weighed(2):
        async with anyio.create_task_group() as group:
            group.start_soon(read)
            group.start_soon(read)
    assert told == [True, False]
