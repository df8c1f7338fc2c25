"""Reading a listing that has more than one page, and knowing whether something is missing.

Pages are cut by position (``limit``, ``skip``), and between two requests the list may move. When a machine on the
first page is destroyed after that page was read, the first one of the second page slips onto the first page, and
nobody sees it; an id seen twice betrays a move the other way only. So where a listing must be known to be complete,
it is read a second time, cut one entry earlier: every border of the first reading lies inside a page of the second.
What slipped across a border needs an entry before it to be gone, and then the two readings differ.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import anyio

from fleetd.cloud.finding import each
from fleetd.cloud.listing import MOST_SECONDS, Reading, identity, joined, weighed
from fleetd.cloud.port import Json
from fleetd.model.errors import CloudError, MalformedAnswer, Refused

T = TypeVar("T")

FIRST_WAVE = 2
"""Pages fetched together once the first page is full, where nobody knows how many there are; each further wave has
twice as many."""

MOST_PAGES = 200
"""Twice an account of a hundred thousand machines; a listing that long has no end."""

READINGS = 2
"""How often a listing that moved while it was read is read."""


@dataclass(frozen=True, slots=True)
class Source:
    """A listing by position. An entry may have no ``id``; everything raises ``CloudError``."""

    page: Callable[[int], Awaitable[list[Json]]]
    """Page ``n``, from 0."""
    entries: Callable[[int], Awaitable[list[Json]]]
    """As many entries as a page has, from a position on, which need not be a page's first."""
    size: int
    """Entries of a full page."""
    width: int
    """Requests in flight at once, at most."""


async def read_all(
    source: Source, *, most: int = MOST_PAGES, prove: bool = False, expected: int | None = None
) -> Reading:
    """Every page of a listing, fetched concurrently once the first one shows that there are more.

    Args:
        source: the listing.
        most: pages to read, at most.
        prove: read a second time to know whether something slipped through, and start over once if so.
        expected: pages that there were the last time: so many are fetched first, then another, then waves as ever.

    Raises:
        CloudError: the first page could not be read.
    """
    for _ in range(READINGS):
        with weighed(source.size):
            reading = await _read_pages(source, most=most, prove=prove, expected=expected)
        if not (prove and reading.moved) or reading.failure is not None:
            break
    return reading


async def together(
    fetch: Callable[[int], Awaitable[T]], numbers: Iterable[int], *, width: int
) -> tuple[list[T], CloudError | None]:
    """What came, in order, and the error of the first that did not. ``width``: requests in flight at once."""
    slots = anyio.Semaphore(width)

    async def in_turn(number: int) -> T:
        async with slots:
            return await fetch(number)

    sights = (await each(numbers, in_turn)).values()
    came = [sight for sight in sights if not isinstance(sight, CloudError)]
    return came, next((sight for sight in sights if isinstance(sight, CloudError)), None)


async def _read_pages(source: Source, *, most: int, prove: bool, expected: int | None) -> Reading:
    ends = anyio.current_time() + MOST_SECONDS
    pages = [await source.page(0)]
    known = _ids(pages)
    failure: CloudError | None = None
    wave, nothing_new = FIRST_WAVE if expected is None else max(1, expected - 1), False
    while failure is None and len(pages) < most and len(pages[-1]) >= source.size:
        numbers = range(len(pages), min(len(pages) + wave, most))
        more, failure = await together(source.page, numbers, width=source.width)
        fresh = _ids(more)
        nothing_new = fresh <= known
        known |= fresh
        pages += more
        if nothing_new or anyio.current_time() >= ends:
            break
        wave = 2 * wave if expected is None else 1
        expected = None
    moved = _contradictory(pages, source.size)
    asked_for = not prove and len(pages) == most < MOST_PAGES
    if failure is None and len(pages[-1]) >= source.size and not asked_for:
        failure = _endless(len(pages), nothing_new=nothing_new)
    if prove and failure is None and not moved:
        moved, failure = await _slipped(source, pages)
    return Reading(joined(item for page in pages for item in page), moved, failure)


def _endless(pages: int, *, nothing_new: bool) -> MalformedAnswer:
    if nothing_new:
        problem = f"the listing has no end: the last of {pages} full pages have nothing new"
    elif pages >= MOST_PAGES:
        problem = f"the listing has no end: {pages} full pages"
    else:
        problem = f"the listing takes too long: {pages} full pages in {MOST_SECONDS:.0f} s"
    return MalformedAnswer(problem, operation="list")


async def _slipped(source: Source, pages: Sequence[list[Json]]) -> tuple[bool, CloudError | None]:
    """Whether a second reading, cut one entry earlier, tells another list; never asked for a single page."""
    first = [identity(item) for page in pages for item in page]
    full = len(first) // source.size
    if not full:
        return False, None
    starts = [0, *(number * source.size - 1 for number in range(1, full + 1))]
    second, failure = await together(source.entries, starts, width=source.width)
    if isinstance(failure, Refused):
        # The vendor's page speaks of multiples of a page only: then read at those. It proves as much, unless the
        # pages are cut wrongly to begin with.
        starts = [number * source.size for number in range(full)]
        second, failure = await together(source.entries, starts, width=source.width)
    if failure is not None:
        return False, failure
    for start, entries in zip(starts, second, strict=True):
        expected = first[start : start + source.size]
        # What is new at the very end was made since; nothing slipped because of it.
        if [identity(item) for item in entries[: len(expected)]] != expected:
            return True, None
    return False, None


def _contradictory(pages: Sequence[list[Json]], size: int) -> bool:
    """Whether the pages themselves show that the list moved."""
    seen: dict[str, tuple[int, Json]] = {}
    for number, page in enumerate(pages):
        for item in page:
            known = identity(item)
            if known is None:
                continue
            before, copy = seen.setdefault(known, (number, item))
            # Twice on one page is the vendor's slip and does no harm, unless the two disagree.
            if before != number or copy != item:
                return True
    short = next((n for n, page in enumerate(pages) if len(page) < size), len(pages))
    return any(pages[short + 1 :])


def _ids(pages: Sequence[list[Json]]) -> set[str]:
    return {known for page in pages for item in page if (known := identity(item)) is not None}
