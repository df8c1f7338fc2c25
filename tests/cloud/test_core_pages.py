"""Listings of many pages: read whole, concurrently, and never called complete when something may be missing."""

from __future__ import annotations

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetd.cloud.core.pages import Source, read_all
from fleetd.model.errors import Refused, Unavailable
from tests.support.virtual_time import run_virtual, virtual

SIZE = 4


def machine(number, **fields):
    return {"id": f"ps{number}", "name": f"m{number}", "state": "ready", **fields}


class Listed:
    """A listing that changes between requests as it is told."""

    def __init__(self, count, *, before=None, cut=None, width=10):
        self.items = [machine(n) for n in range(count)]
        self.asked = []
        self.under_way = self.most_at_once = 0
        self.before = before or (lambda _number: None)
        """Called with the number of the request, from 1, before it is answered."""
        self.cut = cut or (lambda position, size: self.items[position : position + size])
        self.source = Source(self.page, self.entries, size=SIZE, width=width)

    async def page(self, number):
        return await self.entries(number * SIZE)

    async def entries(self, position):
        self.asked.append(position)
        self.under_way += 1
        self.most_at_once = max(self.most_at_once, self.under_way)
        number = len(self.asked)
        await anyio.sleep(0.01)
        self.under_way -= 1
        failed = self.before(number)
        if failed is not None:
            raise failed
        return list(self.cut(position, SIZE))


def ids(reading):
    return [item["id"] for item in reading.items]


@pytest.mark.parametrize("prove", [False, True], ids=["plain", "proven"])
@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 8, 9, 10, 11, 12, 13, 40, 41])
@virtual
async def test_every_entry_is_read_once(count, prove):
    listed = Listed(count)
    reading = await read_all(listed.source, prove=prove)
    assert ids(reading) == [f"ps{n}" for n in range(count)]
    assert reading.complete


@pytest.mark.parametrize(
    ("count", "plain", "proven"),
    [
        (0, [0], []),
        (3, [0], []),
        (4, [0, 4, 8], [0, 3]),
        (10, [0, 4, 8], [0, 3, 7]),
        (13, [0, 4, 8, 12, 16, 20, 24], [0, 3, 7, 11]),
    ],
)
@virtual
async def test_pages_come_in_growing_waves_and_the_proof_is_cut_one_entry_earlier(count, plain, proven):
    listed = Listed(count)
    await read_all(listed.source)
    assert sorted(listed.asked) == plain
    listed.asked.clear()
    await read_all(listed.source, prove=True)
    assert listed.asked[0] == 0
    assert sorted(listed.asked) == sorted(plain + proven)


@pytest.mark.parametrize(
    ("count", "expected", "asked"),
    [
        (13, 4, [0, 4, 8, 12]),
        (13, 3, [0, 4, 8, 12]),  # it has grown by a page
        (16, 4, [0, 4, 8, 12, 16]),  # and this one is full
        (13, 5, [0, 4, 8, 12, 16]),  # it has shrunk
        (3, 4, [0]),
        (25, 2, [0, 4, 8, 12, 16, 20, 24, 28, 32]),
    ],
)
@virtual
async def test_pages_that_there_were_are_asked_for_and_hardly_another(count, expected, asked):
    listed = Listed(count)
    reading = await read_all(listed.source, expected=expected)
    assert ids(reading) == [f"ps{n}" for n in range(count)]
    assert sorted(listed.asked) == asked


@virtual
async def test_pages_are_fetched_together_but_not_more_than_allowed():
    listed = Listed(200, width=3)
    began = anyio.current_time()
    await read_all(listed.source)
    assert listed.most_at_once == 3
    assert anyio.current_time() - began < 0.01 * len(listed.asked) / 2


def destroy(listed, number, position):
    def change(asked):
        if asked == number:
            del listed.items[position]

    return change


def insert(listed, number, position):
    def change(asked):
        if asked == number:
            listed.items.insert(position, machine("-new"))

    return change


MOVES = [
    pytest.param(destroy, 2, 0, id="destroyed on a page already read"),
    pytest.param(destroy, 3, 3, id="destroyed at the border"),
    pytest.param(destroy, 3, 5, id="destroyed on the second page"),
    pytest.param(insert, 2, 0, id="new one at the front"),
    pytest.param(insert, 3, 4, id="new one at the border"),
]


@pytest.mark.parametrize(("move", "number", "position"), MOVES)
@virtual
async def test_a_list_that_moves_once_is_read_again_and_whole(move, number, position):
    listed = Listed(10)
    listed.before = move(listed, number, position)
    reading = await read_all(listed.source, prove=True)
    assert reading.complete
    assert ids(reading) == [item["id"] for item in listed.items]


@virtual
async def test_a_list_that_keeps_moving_is_not_complete():
    listed = Listed(30)
    listed.before = lambda _number: listed.items.pop(0) and None
    reading = await read_all(listed.source, prove=True)
    assert reading.moved
    assert not reading.complete


@pytest.mark.parametrize("by", [1, -1, 2])
@virtual
async def test_pages_that_are_cut_wrongly_are_not_complete(by):
    listed = Listed(10)
    listed.cut = lambda position, size: listed.items[(start := position + by if position else 0) : start + size]
    reading = await read_all(listed.source, prove=True)
    assert not reading.complete


@pytest.mark.parametrize(("prove", "readings"), [(False, 1), (True, 2)])
@virtual
async def test_only_what_is_to_be_proven_is_read_anew(prove, readings):
    """A list whose pages show that it moved."""
    listed = Listed(10)
    listed.cut = lambda position, size: listed.items[max(0, position - 1) : max(0, position - 1) + size]
    reading = await read_all(listed.source, prove=prove)
    assert reading.moved
    assert listed.asked.count(0) == readings


@virtual
async def test_a_server_that_ignores_skip_comes_to_an_end_and_is_not_complete():
    listed = Listed(10)
    listed.cut = lambda _position, size: listed.items[:size]
    reading = await read_all(listed.source, prove=True)
    assert not reading.complete
    assert ids(reading) == ["ps0", "ps1", "ps2", "ps3"]
    assert len(listed.asked) < 10


@virtual
async def test_a_server_that_ignores_limit_and_skip_is_not_complete():
    listed = Listed(10)
    listed.cut = lambda _position, _size: listed.items
    reading = await read_all(listed.source, prove=True)
    assert not reading.complete
    assert len(ids(reading)) == 10


@virtual
async def test_a_list_without_end_comes_to_an_end_and_is_not_complete():
    listed = Listed(0)
    listed.cut = lambda position, size: [machine(position + n) for n in range(size)]
    reading = await read_all(listed.source, most=20, prove=True)
    assert not reading.complete
    assert len(listed.asked) == 20


@virtual
async def test_a_server_that_takes_multiples_of_a_page_only_is_proven_by_those():
    listed = Listed(10)

    async def entries(position):
        if position % SIZE:
            raise Refused("skip must be a multiple of the page", operation="list")
        return await listed.entries(position)

    source = Source(listed.page, entries, size=SIZE, width=10)
    assert (await read_all(source, prove=True)).complete
    assert sorted(listed.asked) == [0, 0, 0, 4, 4, 8]
    listed.items = [machine(n) for n in range(60)]
    listed.before = lambda _number: listed.items.pop(0) and None
    assert not (await read_all(source, prove=True)).complete


@pytest.mark.parametrize("number", [2, 3, 4, 5], ids=["second page", "third page", "proof", "last of the proof"])
@virtual
async def test_a_later_page_that_fails_leaves_what_was_read(number):
    failure = Unavailable("down", operation="list")
    listed = Listed(10)
    listed.before = lambda asked: failure if asked == number else None
    reading = await read_all(listed.source, prove=True)
    assert reading.failure is failure
    assert not reading.complete
    assert set(ids(reading)) >= {"ps0", "ps1", "ps2", "ps3"}


@virtual
async def test_a_first_page_that_fails_is_raised():
    listed = Listed(10)
    listed.before = lambda _number: Unavailable("down", operation="list")
    with pytest.raises(Unavailable):
        await read_all(listed.source)


@pytest.mark.parametrize(
    ("page", "complete"),
    [
        ([machine(1), machine(1)], True),
        ([machine(1), machine(1, state="off")], False),
    ],
    ids=["the same twice", "two that disagree"],
)
@virtual
async def test_an_id_twice_on_one_page(page, complete):
    listed = Listed(0)
    listed.items = page
    reading = await read_all(listed.source, prove=True)
    assert ids(reading) == ["ps1"]
    assert reading.complete is complete


CHANGES = st.lists(
    st.tuples(st.sampled_from(["destroy", "front", "end", "middle", "nothing"]), st.integers(0, 30)), max_size=40
)


@settings(max_examples=300, deadline=None)
@given(count=st.integers(0, 22), changes=CHANGES)
def test_a_listing_called_complete_holds_everything_that_was_there_throughout(count, changes):
    script = iter(changes)
    fresh = iter(range(1000, 2000))
    lasting = {f"ps{n}" for n in range(count)}

    async def read():
        listed = Listed(count)

        def change(_number):
            what, where = next(script, ("nothing", 0))
            place = where % (len(listed.items) + 1)
            match what:
                case "destroy" if place < len(listed.items):
                    lasting.discard(listed.items.pop(place)["id"])
                case "front":
                    listed.items.insert(0, machine(next(fresh)))
                case "middle":
                    listed.items.insert(place, machine(next(fresh)))
                case "end":
                    listed.items.append(machine(next(fresh)))

        listed.before = change
        return await read_all(listed.source, prove=True)

    reading = run_virtual(read)
    if reading.complete:
        assert lasting <= set(ids(reading))
