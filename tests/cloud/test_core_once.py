"""Long listings of Core that are read once: what is called complete lacks nothing that was there all the time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetd.cloud.core import api as core_api
from fleetd.cloud.core.api import CoreApi
from fleetd.cloud.listing import Reading
from fleetd.cloud.port import Json
from fleetd.cloud.proof import MOST_LOOKS
from fleetd.model.errors import CloudError, MalformedAnswer, NotFound, Refused, Unavailable
from tests.support.virtual_time import run_virtual

P = pytest.param
SIZE = 10


@pytest.fixture(autouse=True)
def pages_of_ten(monkeypatch):
    monkeypatch.setattr(core_api, "PAGE_SIZE", SIZE)


def entry(number: int) -> dict[str, str]:
    """A machine as it is listed: each is made a minute after the one before it."""
    made = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=number)
    return {"id": str(number), "name": "a", "state": "off", "dtCreated": made.isoformat()}


Arrange = Callable[[Sequence[int]], Sequence[int]]
"""How a provider orders its machines, which stand by age."""


def rising(ids: Sequence[int]) -> Sequence[int]:
    return ids


def falling(ids: Sequence[int]) -> Sequence[int]:
    return ids[::-1]


ODD: dict[str, Arrange] = {
    "the oldest first": rising,
    "the newest first": falling,
    "by something else": lambda ids: sorted(ids, key=lambda n: n * 7919 % 101),
    "the newest in the middle": lambda ids: [*ids[:5], *ids[-2:], *ids[5:-2]],
    "the newest first of all, the others by age": lambda ids: [*ids[-2:], *ids[:-2]],
    "those made later by something else": lambda ids: [*ids[:30], *sorted(ids[30:], key=lambda n: n * 7919 % 101)],
    "those made later the newest first": lambda ids: [*ids[:30], *ids[30:][::-1]],
}


class Api(CoreApi):
    """The real one, on an account in which something may happen before each request."""

    def __init__(self, count: int, arrange: Arrange = rising) -> None:
        http: Any = type("Http", (), {"limits": type("Limits", (), {"max_concurrency": 4})()})()
        super().__init__(http)
        self.ids = list(range(count))
        self.next = count
        self.arrange = arrange
        self.happens: list[int] = []
        self.throughout: set[int] = set()
        self.asked: list[int | str] = []
        self.alone: list[str] = []
        """Listings of one machine alone."""
        self.hidden: set[int] = set()
        """What the answer that is asked for next lacks, though it is there."""
        self.wrong: Callable[[int | str], Exception | None] = lambda _asked: None

    def happen(self, what: int) -> None:
        if what > 0 and self.ids:
            self.throughout.discard(self.ids.pop(what % len(self.ids)))
        elif what < 0:
            self.ids.append(self.next)
            self.next += 1

    async def _get_list(self, operation: str, path: str, query: Any) -> list[Json]:
        assert (operation, path) == ("list", "/machines/getMachines")
        if "machineId" in query:
            return await self._listed_alone(query["machineId"])
        skip = int(query.get("skip", 0))
        await self._asked(skip)
        hidden, self.hidden = self.hidden, set()
        return [dict(entry(n)) for n in self.arrange(self.ids)[skip : skip + SIZE] if n not in hidden]

    async def _listed_alone(self, machine_id: str) -> list[Json]:
        self.alone.append(machine_id)
        await anyio.sleep(0.1)
        error = self.wrong(f"list {machine_id}")
        if error is not None:
            raise error
        return [dict(entry(n)) for n in self.ids if str(n) == machine_id]

    async def show(self, machine_id: str) -> Json:
        await self._asked(machine_id)
        if int(machine_id) not in self.ids:
            raise NotFound("gone", operation="show")
        return dict(entry(int(machine_id)))

    async def _asked(self, what: int | str) -> None:
        self.asked.append(what)
        await anyio.sleep(0.1)
        error = self.wrong(what)
        if error is not None:
            raise error
        self.happen(self.happens.pop(0) if self.happens else 0)

    async def look(self, *happens: int) -> Reading:
        self.asked.clear()
        self.alone.clear()
        self.happens, self.throughout = list(happens), set(self.ids)
        reading = await self.read_listing({}, prove=True)
        seen = [int(str(item["id"])) for item in reading.items]
        assert len(seen) == len(set(seen))
        if reading.complete:
            assert self.throughout <= set(seen)
        return reading


MOVES = st.lists(st.integers(-1, 60), max_size=14)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 55), st.sampled_from(sorted(ODD)), st.lists(st.tuples(MOVES, MOVES), min_size=1, max_size=5))
def test_what_is_complete_lacks_nothing(count: int, way: str, looks: list[tuple[list[int], list[int]]]) -> None:
    api = Api(count, ODD[way])

    async def story() -> None:
        for between, during in looks:
            for what in between:
                api.happen(what)
            await api.look(*during)

    run_virtual(story)


@pytest.mark.parametrize("made", [0, 1, 4, 5, 9, 25])
@pytest.mark.parametrize("gone", [0, 1, 6])
@pytest.mark.parametrize("count", [12, 25, 30, 60])
@pytest.mark.parametrize("way", ODD)
def test_a_provider_that_orders_as_it_likes_hides_nothing(way: str, count: int, gone: int, made: int) -> None:
    api = Api(count, ODD[way])

    async def story() -> None:
        for _ in range(3):
            reading = await api.look()
            assert reading.complete
            assert {int(str(item["id"])) for item in reading.items} == set(api.ids)
            for _ in range(gone):
                api.happen(3)
            for _ in range(made):
                api.happen(-1)

    run_virtual(story)


@pytest.mark.parametrize("arrange", [rising, falling])
@pytest.mark.parametrize(
    ("between", "during", "pages", "looks"),
    [
        P([], [], 9, 0, id="nothing moves"),
        P([-1], [], 9, 0, id="one was made"),
        P([-1] * 4, [], 9, 0, id="some were made"),
        P([5], [], 9, 1, id="one has gone: it is looked at"),
        P([5] * 3, [], 9, 3, id="three have gone"),
        P([5] * 3 + [-1] * 6, [], 9, 3, id="some went and some were made"),
        P([], [0, 0, 0, 5], 9, 2, id="one goes, and another slips past"),
        P([-1] * 15, [], 20, 0, id="more were made than the newest page has: read twice"),
    ],
)
def test_what_the_next_look_costs(
    arrange: Arrange, between: list[int], during: list[int], pages: int, looks: int
) -> None:
    """Eighty-one machines in pages of ten: seventeen calls where they are read twice."""
    api = Api(81, arrange)

    async def story() -> None:
        await api.look()
        await api.look()
        for what in between:
            api.happen(what)
        reading = await api.look(*during)
        assert reading.complete
        assert sum(isinstance(what, int) for what in api.asked) <= pages + 1
        assert sum(isinstance(what, str) for what in api.asked) <= looks

    run_virtual(story)


def test_the_newest_end_is_asked_for_first() -> None:
    """And each page once: what was made since the last look is on one answer, in which nothing slips."""

    async def story() -> None:
        api = Api(81)
        await api.look()
        await api.look()
        assert api.asked[0] == 76
        assert sorted(map(int, api.asked[1:])) == [0, 10, 20, 30, 40, 50, 60, 70]
        api = Api(81, falling)
        await api.look()
        await api.look()
        assert api.asked[0] == 0
        assert sorted(map(int, api.asked[1:])) == [10, 20, 30, 40, 50, 60, 70, 80]

    run_virtual(story)


@pytest.mark.parametrize(("gone", "anew"), [(1, False), (4, False), (MOST_LOOKS, False), (MOST_LOOKS + 1, True)])
def test_where_many_have_gone_all_is_read_anew(gone: int, anew: bool) -> None:
    # The newest first: the newest page does not move by what goes elsewhere.
    api = Api(100, falling)

    async def story() -> None:
        await api.look()
        for _ in range(gone):
            api.happen(7)
        reading = await api.look()
        assert (reading.complete, len(reading.items)) == (True, 100 - gone)
        assert sum(isinstance(what, str) for what in api.asked) == (0 if anew else gone)
        await api.look()
        assert not [what for what in api.asked if isinstance(what, str)], "what is known to be gone is not looked at"

    run_virtual(story)


def test_a_list_that_is_short_by_half_a_page_is_read_twice_and_then_once_again() -> None:
    api = Api(81)

    async def story() -> None:
        await api.look()
        for _ in range(7):
            api.happen(3)
        assert (await api.look()).complete
        assert len(api.asked) > 9, "its newest end is not where it was"
        assert (await api.look()).complete
        assert len(api.asked) == 8

    run_virtual(story)


def nameless(which: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda row: row if row["id"] != which else {**row, "id": None}


def bare(**more: object) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda row: {**row, **more}


@pytest.mark.parametrize(
    "told",
    [
        P(bare(dtCreated=None), id="no date"),
        P(bare(dtCreated="soon"), id="what is no date"),
        P(bare(dtCreated="2026-01-01T00:00:00Z"), id="all of one date"),
        P(nameless("17"), id="one without an id"),
    ],
)
def test_what_shows_no_order_or_has_no_name_is_read_twice(told: Any) -> None:
    api = Api(40)
    listed = api._get_list

    async def get(operation: str, path: str, query: Any) -> list[Json]:
        return [told(row) for row in await listed(operation, path, query)]

    async def story() -> None:
        api._get_list = get  # type: ignore[method-assign]
        for calls in (12, 10, 10):  # five pages twice; at first nobody knows that it is five
            reading = await api.read_listing({}, prove=True)
            assert reading.complete
            assert len(reading.items) == 40
            assert len(api.asked) == calls
            api.asked.clear()

    run_virtual(story)


def test_an_entry_that_has_lost_its_id_may_be_any_machine() -> None:
    """Its own, and one that slipped past."""
    api = Api(40)
    listed = api._get_list

    async def get(operation: str, path: str, query: Any) -> list[Json]:
        return [nameless("17")(dict(row)) for row in await listed(operation, path, query)]

    async def story() -> None:
        await api.look()
        api._get_list = get  # type: ignore[method-assign]
        reading = await api.read_listing({}, prove=True)
        assert [item["id"] for item in reading.items].count(None) == 1
        assert "17" not in api.asked

    run_virtual(story)


@pytest.mark.parametrize(("count", "calls"), [(1, 1), (SIZE - 1, 1), (SIZE, 2), (SIZE + 1, 2), (2 * SIZE, 3)])
def test_a_page_that_holds_all_is_one_answer_as_it_is(count: int, calls: int) -> None:
    api = Api(count)

    async def story() -> None:
        for look in range(3):
            reading = await api.look()
            assert [item["id"] for item in reading.items] == [str(n) for n in range(count)]
            assert not look or len(api.asked) == calls

    run_virtual(story)


@pytest.mark.parametrize("gone", [False, True])
@pytest.mark.parametrize("arrange", [rising, falling])
def test_each_look_proves_for_the_next(arrange: Arrange, gone: bool) -> None:
    """Also where each finds machines that the one before it did not know, of which some have gone again."""
    api = Api(81, arrange)

    async def story() -> None:
        await api.look()
        for _ in range(12):
            reading = await api.look()
            assert [int(str(item["id"])) for item in reading.items] == [*arrange(api.ids)]
            assert len(api.asked) <= len(api.ids) // SIZE + 3, api.asked
            for _ in range(4):
                api.happen(-1)
            if gone:
                api.happen(len(api.ids) - 2)

    run_virtual(story)


@pytest.mark.parametrize(
    ("arrange", "gone", "made", "slips"),
    [
        P(
            rising,
            11,
            3,
            8,
            id="the oldest first: its end is further ahead than half a page",
        ),
        P(falling, 0, 15, 1, id="the newest first: more than a page was made"),
    ],
)
def test_what_was_made_does_not_slip_where_the_newest_answer_has_not_all_of_it(
    arrange: Arrange, gone: int, made: int, slips: int
) -> None:
    api = Api(81, arrange)

    async def story() -> None:
        await api.look()
        for _ in range(gone):
            api.happen(3)
        for _ in range(made):
            api.happen(-1)
        first = len(api.ids) - 1 if arrange is falling else 3
        reading = await api.look(*[0] * slips, first)
        assert reading.complete
        assert len(api.asked) > 9, "read twice"

    run_virtual(story)


@pytest.mark.parametrize(
    "way",
    ["the newest in the middle", "the newest first of all, the others by age", "those made later by something else"],
)
def test_an_order_that_is_seen_to_be_another_is_not_relied_on(way: str) -> None:
    api = Api(30)

    async def story() -> None:
        await api.look()
        for _ in range(30):
            api.happen(-1)
        await api.look()
        api.arrange = ODD[way]
        for _ in range(2):
            assert (await api.look()).complete
            assert len(api.asked) >= 14, "read twice"

    run_virtual(story)


@pytest.mark.parametrize(
    ("where", "raised"),
    [
        P("the newest end", True, id="the newest end"),
        P("a page", False, id="a page"),
    ],
)
def test_what_fails_is_said_and_the_proof_before_it_stays(where: str, raised: bool) -> None:
    api = Api(81)
    failed = Unavailable("503", operation="list")

    async def story() -> None:
        await api.look()
        api.happen(33)
        wrong = {"the newest end": 76, "a page": 30}[where]
        api.wrong = lambda what: failed if what == wrong else None
        if raised:
            with pytest.raises(Unavailable):
                await api.look()
        else:
            reading = await api.look()
            assert (reading.complete, reading.failure) == (False, failed)
            assert reading.items
        api.wrong = lambda _what: None
        assert (await api.look()).complete
        assert api.asked[0] == 76, "from the same proof"

    run_virtual(story)


NOT_FOUND = NotFound("no such machine", operation="show")
REFUSED = Refused("this machine was deleted", operation="show")
DOWN = Unavailable("500", operation="show")
ODD_ANSWER = MalformedAnswer("asked about 33, answered about 5", operation="show")


@pytest.mark.parametrize("said", [P(e, id=type(e).__name__) for e in (NOT_FOUND, REFUSED, DOWN, ODD_ANSWER)])
@pytest.mark.parametrize("arrange", [rising, falling])
def test_one_machine_that_show_does_not_tell_of_hinders_no_look(arrange: Arrange, said: CloudError) -> None:
    """Somebody's has gone, and ``show`` answers with an error for good: listed alone it is there no more."""
    api = Api(81, arrange)

    async def story() -> None:
        await api.look()
        api.happen(33)
        api.wrong = lambda what: said if what == "33" else None
        for looks in (1, 0):
            reading = await api.look()
            assert (reading.complete, len(reading.items)) == (True, 80)
            assert sum(isinstance(what, int) for what in api.asked) <= 9, "read once"
            assert api.asked.count("33") == looks
            assert api.alone == ["33"] * looks

    run_virtual(story)


@pytest.mark.parametrize("said", [P(e, id=type(e).__name__) for e in (NOT_FOUND, REFUSED, DOWN, ODD_ANSWER)])
def test_what_slipped_past_is_there_whatever_show_says(said: CloudError) -> None:
    """A "not found" may be wrong, and the one listing lacks it because the list moved: it is not gone."""
    api = Api(81)

    async def story() -> None:
        await api.look()
        await api.look()
        behind = api.asked.index(10)  # before it is asked for, one goes on the page that was read
        api.wrong = lambda what: said if what == "10" else None
        reading = await api.look(*[0] * behind, 5)
        assert (reading.complete, "10" in {item["id"] for item in reading.items}) == (True, True)
        assert api.asked.count("10") == 1, "it slipped past"
        assert "10" in api.alone

    run_virtual(story)


@pytest.mark.parametrize(
    "wrong",
    [
        P(lambda what: DOWN if what in {"33", "list 33"} else None, id="the listing of one fails as well"),
        P(lambda what: DOWN if what == "33" else None, id="and the listing of one has others"),
    ],
)
def test_where_nobody_tells_of_one_all_are_read_twice(wrong: Callable[[int | str], Exception | None]) -> None:
    api = Api(81)

    async def others(_machine_id: str) -> list[Json]:
        return [dict(entry(n)) for n in api.ids[:SIZE]]

    async def story() -> None:
        await api.look()
        api.happen(33)
        api.wrong = wrong
        if wrong("list 33") is None:
            api._listed_alone = others  # type: ignore[method-assign]
        for least, most in ((18, 32), (8, 9)):
            reading = await api.look()
            assert (reading.complete, len(reading.items)) == (True, 80)
            assert least <= sum(isinstance(what, int) for what in api.asked) <= most

    run_virtual(story)


@pytest.mark.parametrize("arrange", [rising, falling])
@pytest.mark.parametrize("short", [1, 2, 4])
def test_a_newest_page_that_lacks_what_is_there_is_no_proof(arrange: Arrange, short: int) -> None:
    """It lacks machines that were listed before; what was made since it may lack as well."""
    api = Api(80, arrange)

    async def story() -> None:
        await api.look()
        await api.look()
        api.happen(-1)
        api.hidden = {*range(80 - short, 80), 80}
        reading = await api.look()
        assert (reading.complete, len(reading.items)) == (True, 81)

    run_virtual(story)


@pytest.mark.parametrize("arrange", [rising, falling])
def test_a_newest_page_of_one_date_does_not_tell_where_the_newest_stand(arrange: Arrange) -> None:
    """As where dates are days: what was made since may stand anywhere among those of that day, and slip there."""
    api = Api(81)
    made = {n: n for n in range(81)}

    def by_day(ids: Sequence[int]) -> Sequence[int]:
        return arrange(sorted(ids, key=lambda n: (n >= 10, made.get(n, 49.5))))

    listed = api._get_list

    async def get(operation: str, path: str, query: Any) -> list[Json]:
        rows = await listed(operation, path, query)
        return [row | {"dtCreated": f"2026-01-{1 + (int(str(row['id'])) >= 10):02}T00:00:00Z"} for row in rows]

    async def story() -> None:
        api.arrange = by_day
        api._get_list = get  # type: ignore[method-assign]
        await api.look()
        await api.look()
        api.happen(-1)
        reading = await api.look()
        assert len(api.asked) >= 17, "read twice"
        assert (reading.complete, len(reading.items)) == (True, 82)

    run_virtual(story)


def test_machines_are_looked_at_side_by_side() -> None:
    """Twenty one after the other, at a provider that is slow, are a look that is too old to decide on."""
    api = Api(100, falling)

    async def story() -> None:
        await api.look()
        begun = anyio.current_time()
        await api.look()
        usual = anyio.current_time() - begun
        for _ in range(MOST_LOOKS):
            api.happen(7)
        begun = anyio.current_time()
        await api.look()
        assert anyio.current_time() - begun <= usual + 0.25

    run_virtual(story)


def test_who_may_not_skip_where_he_likes_reads_twice() -> None:
    api = Api(81)

    async def story() -> None:
        await api.look()
        api.wrong = lambda what: Refused("skip", operation="list") if int(what) % SIZE else None
        assert (await api.look()).complete
        assert len(api.asked) >= 17

    run_virtual(story)


@pytest.mark.parametrize(("filters", "prove"), [({}, False), ({"name": "a"}, True), ({"limit": 30}, True)])
def test_only_a_listing_of_everything_that_must_be_whole_proves_anything(
    filters: dict[str, object], prove: bool
) -> None:
    api = Api(40)

    async def story() -> None:
        await api.read_listing(filters, prove=prove)
        api.asked.clear()
        await api.read_listing({}, prove=True)
        assert len(api.asked) >= 9, "nothing was proved before"
        api.asked.clear()
        await api.read_listing(filters, prove=prove)
        assert api.asked[:3] == [0, 10, 20], "nor is such a one read with that proof"

    run_virtual(story)
