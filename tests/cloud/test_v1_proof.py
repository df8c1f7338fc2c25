"""Long listings that are read once: what is called complete lacks nothing that was there all the time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetd.cloud.paperspace.api import PaperspaceApi
from fleetd.cloud.paperspace.pages import Page
from fleetd.cloud.paperspace.proof import read_once
from fleetd.cloud.proof import MOST_LOOKS, Proof, in_order
from fleetd.model.errors import MalformedAnswer, NotFound, Unavailable
from tests.support.virtual_time import run_virtual, virtual

P = pytest.param


def entry(number: int) -> dict[str, str]:
    """A machine as it is listed: each is made a minute after the one before it."""
    made = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=number)
    return {"id": str(number), "name": "a", "state": "off", "dtCreated": made.isoformat()}


Arrange = Callable[[list[int], bool], list[int]]
"""How a provider orders a listing: of its machines by age, and whether the newest was asked for first."""


def as_asked(ids: list[int], newest_first: bool) -> list[int]:
    return ids[::-1] if newest_first else ids


class Account:
    """Its cursor is a mere place, the worst that it can be; before each request something may happen."""

    def __init__(self, count: int, happens: list[int], size: int = 3, arrange: Arrange = as_asked) -> None:
        self.arrange = arrange
        self.ids = list(range(count))
        self.next = count
        self.happens = list(happens)
        self.size = size
        self.calls: list[str] = []
        self.throughout: set[int] = set()

    def happen(self) -> None:
        what = self.happens.pop(0) if self.happens else 0
        if what > 0 and self.ids:
            self.throughout.discard(self.ids.pop(what % len(self.ids)))
        elif what < 0:
            self.make()

    def make(self) -> None:
        self.ids.append(self.next)
        self.next += 1

    async def fetch(self, after: str | None, *, newest_first: bool) -> Page:
        self.calls.append("back" if newest_first else "ahead")
        await anyio.sleep(0.1)
        self.happen()
        start = int(after or 0)
        ids = self.arrange(self.ids, newest_first)
        rows = [entry(n) for n in ids[start : start + self.size]]
        return Page(rows, str(start + self.size) if start + self.size < len(ids) else None)

    async def look(self, machine_id: str) -> dict[str, str] | None:
        self.calls.append("look")
        await anyio.sleep(0.1)
        self.happen()
        return entry(int(machine_id)) if int(machine_id) in self.ids else None


class Api(PaperspaceApi):
    """The real one's listing, on such an account."""

    def __init__(self, account: Account) -> None:
        nothing: Any = None
        super().__init__(nothing)
        self.account = account

    def _fetch(self, operation: str, path: str, query: Any, **_more: Any) -> Any:
        assert (operation, path) == ("list", "/machines")

        async def fetch(after: str | None) -> Page:
            return await self.account.fetch(after, newest_first=query["order"] == "desc")

        return fetch

    async def machine(self, machine_id: str) -> Any:
        found = await self.account.look(machine_id)
        if found is None:
            raise NotFound("gone", operation="show")
        return found


MOVES = st.lists(st.integers(-1, 30), max_size=14)


@settings(max_examples=400, deadline=None)
@given(st.integers(0, 24), st.lists(MOVES, min_size=1, max_size=5), st.integers(2, 5))
def test_what_is_complete_lacks_nothing(count: int, looks: list[list[int]], size: int) -> None:
    account = Account(count, [], size)
    api = Api(account)

    async def story() -> None:
        for happens in looks:
            for what in happens[::2]:  # between two looks
                account.happens = [what]
                account.happen()
            account.happens, account.throughout = happens, set(account.ids)
            reading = await api.read_listing()
            seen = [int(str(item["id"])) for item in reading.items]
            assert len(seen) == len(set(seen))
            if reading.complete:
                assert account.throughout <= set(seen)

    run_virtual(story)


ODD: dict[str, Arrange] = {
    "always the oldest first": lambda ids, _newest_first: ids,
    "always the newest first": lambda ids, _newest_first: ids[::-1],
    "the other way round": lambda ids, newest_first: ids if newest_first else ids[::-1],
    "by something else": lambda ids, newest_first: sorted(ids, key=lambda n: n * 7919 % 101, reverse=newest_first),
    "the newest in the middle": lambda ids, newest_first: as_asked(ids[:5] + ids[-2:] + ids[5:-2], newest_first),
    "the newest of each page last": lambda ids, newest_first: (
        as_asked(ids, newest_first) if not newest_first else ids[-10:] + ids[:-10][::-1]
    ),
}


@pytest.mark.parametrize("made", [1, 5, 9, 15])
@pytest.mark.parametrize("gone", [0, 1])
@pytest.mark.parametrize("count", [12, 25, 60])
@pytest.mark.parametrize("way", ODD)
def test_a_provider_that_orders_as_it_likes_hides_nothing_that_was_made(
    way: str, count: int, gone: int, made: int
) -> None:
    account = Account(count, [], 10, ODD[way])
    api = Api(account)

    async def story() -> None:
        for _ in range(3):
            reading = await api.read_listing()
            assert reading.complete
            assert {int(str(item["id"])) for item in reading.items} == set(account.ids)
            for _ in range(gone):
                account.ids.pop(3)
            for _ in range(made):
                account.make()

    run_virtual(story)


def test_without_dates_nobody_can_tell_the_order() -> None:
    account = Account(60, [], 10)
    api = Api(account)

    async def story() -> None:
        await api.read_listing()
        first = len(account.calls)
        await api.read_listing()
        assert len(account.calls) - first < first, "read once"
        for undated in ({}, {"dtCreated": None}, {"dtCreated": "soon"}):
            bare = [{"id": str(n)} | undated for n in account.ids]
            account.fetch = pages_of(bare, account.calls)  # type: ignore[method-assign]
            account.calls.clear()
            assert (await api.read_listing()).complete
            assert len(account.calls) >= 12, "read from both ends"

    run_virtual(story)


def pages_of(rows: list[dict[str, Any]], calls: list[str]) -> Any:
    async def fetch(after: str | None, *, newest_first: bool) -> Page:
        calls.append("page")
        start, listed = int(after or 0), rows[::-1] if newest_first else rows
        return Page(listed[start : start + 10], str(start + 10) if start + 10 < len(listed) else None)

    return fetch


@pytest.mark.parametrize(
    ("between", "during", "calls"),
    [
        P([], [], 9, id="nothing moves"),
        P([-1], [], 9, id="one was made"),
        P([-1] * 8, [], 9, id="some were made, fewer than a page"),
        P([-1] * 9, [], 19, id="all of the newest page but one: one end does not do"),
        P([5], [], 10, id="one has gone: it is looked at"),
        P([], [0, 0, 5], 10, id="one slips past, or goes"),
        P([5] * 3, [], 12, id="three have gone"),
    ],
)
def test_what_the_next_look_costs(between: list[int], during: list[int], calls: int) -> None:
    """Eighty machines in pages of ten; the first look is read from both ends: sixteen calls."""
    account = Account(80, [], 10)
    api = Api(account)

    async def story() -> None:
        assert (await api.read_listing()).complete
        assert len(account.calls) == 16
        for what in between:
            account.happens = [what]
            account.happen()
        account.calls.clear()
        account.happens, account.throughout = list(during), set(account.ids)
        reading = await api.read_listing()
        assert reading.complete
        assert account.throughout <= {int(str(item["id"])) for item in reading.items}
        assert len(account.calls) <= calls + 1, account.calls

    run_virtual(story)


@pytest.mark.parametrize(("gone", "anew"), [(1, False), (MOST_LOOKS, False), (MOST_LOOKS + 1, True), (40, True)])
def test_where_many_have_gone_all_is_read_anew(gone: int, anew: bool) -> None:
    account = Account(100, [], 10)
    api = Api(account)

    async def story() -> None:
        await api.read_listing()
        for _ in range(gone):
            account.ids.pop(7)
        account.calls.clear()
        reading = await api.read_listing()
        assert reading.complete
        assert len(reading.items) == 100 - gone
        assert account.calls.count("look") == (0 if anew else gone)
        account.calls.clear()
        await api.read_listing()
        assert account.calls.count("look") == 0, "what is known to be gone is not looked at again"

    run_virtual(story)


async def nothing(_machine_id: str) -> None:
    return None


def pages(*ids: str | None, more: bool = True, date: str | None = None) -> Any:
    async def fetch(_after: str | None) -> Page:
        rows = [entry(ord(date or one)) | {"id": one} if one is not None else {} for one in ids]
        return Page(rows, "1" if more else None)

    return fetch


PROOF = Proof(frozenset("abcdef"), frozenset("abcdef"))


@pytest.mark.parametrize(
    ("newest", "proof"),
    [
        P(pages("f", "e", more=False), PROOF, id="one page holds it all"),
        P(pages("f"), PROOF, id="a page of one"),
        P(pages("h", "g", "f"), PROOF, id="only the last is known: machines of one date may stand in any order"),
        P(pages("i", "h", "g"), PROOF, id="none is known"),
        P(pages("f", "e"), Proof(PROOF.known, frozenset("ab")), id="known, but made while it was read"),
        P(pages("f", None), PROOF, id="without an id"),
        P(pages("f", "e", date="f"), PROOF, id="of one date: what was made since may stand behind them"),
    ],
)
@virtual
async def test_what_is_no_proof(newest: Any, proof: Proof) -> None:
    assert await read_once(pages("a", "b", more=False), newest, proof, nothing) is None


@pytest.mark.parametrize(
    ("oldest", "proves"),
    [
        P(pages("a", "b", "e", more=False), True, id="in order"),
        P(pages("a", None, "e", more=False), False, id="an entry without an id may hide anything"),
        P(pages("a", "e", "b", more=False), False, id="out of order"),
        P(pages("e", "b", "a", more=False), False, id="the newest first"),
        P(pages("e", more=False), True, id="one, older than the newest"),
    ],
)
@virtual
async def test_what_the_other_reading_must_be(oldest: Any, proves: bool) -> None:
    assert (await read_once(oldest, pages("f", "e"), PROOF, nothing) is not None) is proves


@pytest.mark.parametrize(
    ("oldest", "newest", "ordered"),
    [
        ([1, 2], [3, 2], True),
        ([1], [2], True),
        ([1, 1, 2], [2, 2, 1], True),
        ([1, 1], [2, 1, 1], True),
        ([1, 2], [1, 2], False),
        ([2, 1], [2, 1], False),
        ([1, 1], [1, 1], False),
        ([1], [1], False),
        ([2], [1], False),
        ([1, 3, 2], [4, 3], False),
        ([1, 2], [4, 2, 3], False),
        ([1, None, 2], [3, 2], False),
        ([1, 2], [3, None, 2], False),
        ([None], [2], False),
        ([], [2, 1], False),
    ],
)
def test_what_is_in_the_order_that_was_asked_for(
    oldest: list[int | None], newest: list[int | None], ordered: bool
) -> None:
    rows = [[{} if n is None else entry(n) for n in made] for made in (oldest, newest)]
    assert in_order(*rows) is ordered


@virtual
async def test_an_empty_first_page_proves_nothing() -> None:
    async def newest(after: str | None) -> Page:
        return await (pages("f", "e") if after is None else pages("d", "c", more=False))(after)

    assert await read_once(pages(more=False), newest, PROOF, nothing) is None


FAILED = Unavailable("503", operation="list")


@pytest.mark.parametrize("where", ["ahead", "back"])
@virtual
async def test_what_fails_is_said_and_the_proof_before_it_stays(where: str) -> None:
    account = Account(30, [], 5)

    async def ahead(after: str | None) -> Page:
        if where == "ahead" and after is not None:
            raise FAILED
        return await account.fetch(after, newest_first=False)

    async def back(after: str | None) -> Page:
        if where == "back" and after is not None:
            raise FAILED
        return await account.fetch(after, newest_first=True)

    known = frozenset(str(n) for n in range(31))
    found = await read_once(ahead, back, Proof(known, known), nothing)
    assert found is not None
    reading, proof = found
    assert (reading.complete, reading.failure, proof) == (False, FAILED, Proof(known, known))
    assert reading.items


def test_one_machine_that_nobody_tells_of_hinders_no_look() -> None:
    """Somebody's has gone, and looking at it fails for good: all is read twice, and then once again."""
    account = Account(40, [], 10)
    api = Api(account)

    async def fails(machine_id: str) -> dict[str, str]:
        account.calls.append("look")
        raise FAILED

    async def story() -> None:
        await api.read_listing()
        account.ids.pop(7)
        api.machine = fails  # type: ignore[assignment]
        for looks in (1, 0):
            account.calls.clear()
            reading = await api.read_listing()
            assert (reading.complete, len(reading.items)) == (True, 39)
            assert account.calls.count("look") == looks

    run_virtual(story)


@pytest.mark.parametrize("short", [1, 2])
def test_a_newest_page_that_lacks_what_is_there_is_no_proof(short: int) -> None:
    """It lacks machines that were listed before; what was made since it may lack as well."""
    account = Account(40, [], 10)
    api = Api(account)
    fetch = account.fetch
    hidden: set[str] = set()

    async def lacking(after: str | None, *, newest_first: bool) -> Page:
        page = await fetch(after, newest_first=newest_first)
        rows = [row for row in page.items if row["id"] not in hidden]
        hidden.clear()
        return Page(rows, page.after)

    async def story() -> None:
        await api.read_listing()
        account.fetch = lacking  # type: ignore[method-assign]
        account.make()
        hidden.update(map(str, range(40 - short, 41)))
        reading = await api.read_listing()
        assert (reading.complete, len(reading.items)) == (True, 41)

    run_virtual(story)


@virtual
async def test_a_first_page_that_fails_is_raised() -> None:
    async def fails(_after: str | None) -> Page:
        raise FAILED

    with pytest.raises(Unavailable):
        await read_once(fails, fails, PROOF, nothing)


@virtual
async def test_a_half_without_end_is_ended() -> None:
    found = await read_once(pages("a", "b"), pages("f", "e"), PROOF, nothing)
    assert found is not None
    assert isinstance(found[0].failure, MalformedAnswer)
    assert found[0].failure.operation == "list"


def test_calls_are_what_they_were() -> None:
    """The newest page first, and each page once."""
    account = Account(40, [], 10)
    api = Api(account)

    async def story() -> None:
        await api.read_listing()
        account.calls.clear()
        await api.read_listing()
        assert account.calls[0] == "back"
        assert sorted(account.calls) == ["ahead"] * 3 + ["back"] * 3, "from either end, until they meet"

    run_virtual(story)
