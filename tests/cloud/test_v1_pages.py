"""A listing by cursor while machines come and go: what is called complete lacks nothing that was there throughout."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from fleetd.cloud.paperspace.pages import Page, read_on, read_proven
from tests.support.virtual_time import run_virtual

SIZE = 3


class Moving:
    """A list whose cursor is a mere place, the worst that it can be; before each page something may happen."""

    def __init__(self, count: int, happens: list[int]) -> None:
        self.ids = list(range(count))
        self.stays = set(self.ids)
        self.happens = list(happens)

    def happen(self) -> None:
        what = self.happens.pop(0) if self.happens else 0
        if what > 0 and self.ids:
            self.stays.discard(self.ids.pop(what % len(self.ids)))
        elif what < 0:
            self.ids.append(1000 + len(self.happens))

    def reader(self, *, newest_first: bool):
        async def fetch(after: str | None) -> Page:
            self.happen()
            start = int(after or 0)
            ids = self.ids[::-1] if newest_first else self.ids
            rows = [{"id": str(n)} for n in ids[start : start + SIZE]]
            return Page(rows, str(start + SIZE) if start + SIZE < len(ids) else None)

        return fetch


@settings(max_examples=400, deadline=None)
@given(st.integers(0, 14), st.lists(st.integers(-1, 14), max_size=16))
def test_what_is_complete_lacks_nothing(count: int, happens: list[int]) -> None:
    moving = Moving(count, happens)
    reading = run_virtual(read_proven, moving.reader(newest_first=False), moving.reader(newest_first=True))
    seen = {int(item["id"]) for item in reading.items}
    assert len(seen) == len(reading.items)
    if reading.complete:
        assert moving.stays <= seen


@settings(deadline=None)
@given(st.integers(0, 14))
def test_a_list_that_stands_still_is_complete(count: int) -> None:
    moving = Moving(count, [])
    reading = run_virtual(read_proven, moving.reader(newest_first=False), moving.reader(newest_first=True))
    assert reading.complete
    assert [int(item["id"]) for item in reading.items] == list(range(count))


def test_one_that_goes_between_two_pages_is_noticed_and_the_list_read_again() -> None:
    moving = Moving(8, [0, 1])
    reading = run_virtual(read_proven, moving.reader(newest_first=False), moving.reader(newest_first=True))
    assert reading.complete
    assert {int(item["id"]) for item in reading.items} >= moving.stays


def test_one_that_is_made_meanwhile_is_no_doubt() -> None:
    moving = Moving(8, [0, -1])
    asked = []
    forward = moving.reader(newest_first=False)

    async def counted(after: str | None) -> Page:
        asked.append(after)
        return await forward(after)

    reading = run_virtual(read_proven, counted, moving.reader(newest_first=True))
    assert reading.complete
    assert len(reading.items) == 9
    assert asked.count(None) == 1, "read once"


def test_reading_ends_when_enough_was_seen() -> None:
    moving = Moving(12, [])

    async def read():
        return await read_on(moving.reader(newest_first=False), enough=lambda items: len(items) >= 5)

    assert len(run_virtual(read).items) == 6
