"""Reading a listing by cursor, and knowing whether something is missing.

``{"hasMore", "items", "nextPage"}``; the next page is asked for with ``after=<nextPage>``. Whether a cursor names an
item or only a place is not documented. Where it is a place, a machine that goes while the list is read makes the
first one of the next page slip to the page before, where nobody sees it. So where a listing of more than one page
must be known to be complete it is read from both ends at once: whatever slips past one reading lies inside a page of
the other, and the two are taken together. Where they differ in more than what was made meanwhile, the list moved.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

import anyio

from fleetd.cloud.listing import MOST_SECONDS, Reading, identity, joined, weighed
from fleetd.cloud.port import Json
from fleetd.cloud.proof import ids_of
from fleetd.model.errors import CloudError, MalformedAnswer

PAGE_SIZE = 120
"""Items asked for at once: the most that the vendor's reference allows. Where it is refused, none is given."""

MOST_PAGES = 1000
"""An account of 120,000 machines; a longer listing has no end."""

READINGS = 2
"""How often a listing that moved while it was read is read."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page. An item may have no ``id``."""

    items: list[Json]
    after: str | None
    """Where the next page begins; None on the last one."""


Fetch = Callable[[str | None], Awaitable[Page]]
"""The page after a cursor; the first one for None. Raises ``CloudError``."""


async def read_on(fetch: Fetch, *, enough: Callable[[list[Json]], bool] | None = None) -> Reading:
    """Every page, one after the other; ``enough`` is asked after each whether that will do.

    Raises:
        CloudError: the first page could not be read.
    """
    with weighed(PAGE_SIZE):
        return await _go_on(fetch, await fetch(None), enough)


async def read_proven(forward: Fetch, backward: Fetch) -> Reading:
    """A whole listing that is known to be complete, or known not to be.

    Args:
        forward: the oldest first.
        backward: the same list, the newest first.

    Raises:
        CloudError: the first page could not be read.
    """
    for _ in range(READINGS):
        with weighed(PAGE_SIZE):
            reading = await _read_both(forward, backward)
        if not reading.moved or reading.failure is not None:
            break
    return reading


def endless(page: Page, fresh: set[str], cursors: set[str], pages: int, ends: float) -> str | None:
    """Why it is no use to read on, or None.

    Args:
        page: the one read last.
        fresh: its ids that no page before it had.
        cursors: those that were followed.
        pages: how many were read.
        ends: the loop's time after which it takes too long.
    """
    if page.after in cursors:
        return f"the listing has no end: page {pages} leads back to an earlier one"
    if not fresh:
        return f"the listing has no end: page {pages} has nothing new and promises more"
    if pages >= MOST_PAGES:
        return f"the listing has no end: {pages} pages"
    if anyio.current_time() >= ends:
        return f"the listing takes too long: {pages} pages in {MOST_SECONDS:.0f} s"
    return None


async def _read_both(forward: Fetch, backward: Fetch) -> Reading:
    first = await forward(None)
    if first.after is None:  # one answer holds it all: nothing can slip
        return await _go_on(forward, first, None)
    one, other = Reading(()), Reading(())

    async def ahead() -> None:
        nonlocal one
        one = await _go_on(forward, first, None)

    async def back() -> None:
        nonlocal other
        try:
            other = await read_on(backward)
        except CloudError as e:
            other = Reading((), failure=e)

    async with anyio.create_task_group() as group:
        group.start_soon(ahead)
        group.start_soon(back)
    newest_last = tuple(reversed(other.items))
    failure = one.failure or other.failure
    moved = failure is None and not _agree(ids_of(one.items), ids_of(newest_last))
    # Of two entries without an id nobody can tell whether they are one.
    identified = tuple(item for item in newest_last if identity(item) is not None)
    return Reading(joined([*one.items, *identified]), moved, failure)


async def _go_on(fetch: Fetch, page: Page, enough: Callable[[list[Json]], bool] | None) -> Reading:
    items: list[Json] = []
    known: set[str] = set()
    cursors: set[str] = set()
    pages, ends = 1, anyio.current_time() + MOST_SECONDS
    while True:
        fresh = set(ids_of(page.items)) - known
        items += page.items
        known |= fresh
        if page.after is None or (enough is not None and enough(list(joined(items)))):
            return Reading(joined(items))
        problem = endless(page, fresh, cursors, pages, ends)
        if problem is not None:
            return Reading(joined(items), failure=MalformedAnswer(problem, operation="list"))
        cursors.add(page.after)
        try:
            page = await fetch(page.after)
        except CloudError as e:
            return Reading(joined(items), failure=e)
        pages += 1


def _agree(one: list[str], other: list[str]) -> bool:
    """Whether two readings, both the oldest first, differ at most in what was made meanwhile: their newest end."""
    return _end_of(one, without=other) and _end_of(other, without=one)


def _end_of(ids: list[str], *, without: Iterable[str]) -> bool:
    known = set(without)
    extra = [n for n, machine_id in enumerate(ids) if machine_id not in known]
    return extra == list(range(len(ids) - len(extra), len(ids)))
