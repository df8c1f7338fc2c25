"""A long listing by cursor that is read once, where an earlier one is known to have been whole.

The newest page is asked for first; then the pages from either end, until the two readings meet.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import anyio

from fleetd.cloud.listing import MOST_SECONDS, Reading, joined, weighed
from fleetd.cloud.paperspace.pages import PAGE_SIZE, Fetch, Page, endless
from fleetd.cloud.port import Json
from fleetd.cloud.proof import Look, Proof, completed, ids_of, in_order
from fleetd.model.errors import CloudError, MalformedAnswer


async def read_once(forward: Fetch, backward: Fetch, proof: Proof, look: Look) -> tuple[Reading, Proof] | None:
    """A whole listing, and what it proves for the next; None where ``proof`` does not do.

    Args:
        forward: the oldest first.
        backward: the same list, the newest first.
        proof: of a listing before this one.
        look: asks about one machine.

    Raises:
        CloudError: the first page could not be read.
    """
    with weighed(PAGE_SIZE):
        newest = await backward(None)
        if newest.after is None or not proof.reaches(newest.items):
            return None
        ahead, back = _Half(forward), _Half(backward)
        await _read_halves(ahead, back, newest)
    reading = Reading(joined([*ahead.items, *reversed(back.items)]), failure=ahead.failure or back.failure)
    if reading.failure is None and not in_order(ahead.items, back.items):
        return None
    return await completed(reading, newest.items, proof, look)


@dataclass(slots=True)
class _Half:
    """One of the two readings."""

    fetch: Fetch
    items: list[Json] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    cursors: set[str] = field(default_factory=set)
    failure: CloudError | None = None
    pages: int = 0
    met: bool = False
    """The other."""

    def takes(self, page: Page, other: _Half, ends: float) -> bool:
        """Take a page; whether there is more to read."""
        ids = set(ids_of(page.items))
        fresh = ids - self.seen
        self.items += page.items
        self.seen |= ids
        self.pages += 1
        if not ids.isdisjoint(other.seen):
            self.met = other.met = True
        if page.after is None or self.met:
            return False
        problem = endless(page, fresh, self.cursors, self.pages, ends)
        if problem is not None:
            self.failure = MalformedAnswer(problem, operation="list")
            return False
        self.cursors.add(page.after)
        return True


async def _read_halves(ahead: _Half, back: _Half, newest: Page) -> None:
    ends = anyio.current_time() + MOST_SECONDS
    back.takes(newest, ahead, ends)

    async def read(half: _Half, other: _Half, after: str | None) -> None:
        more = True
        try:
            while more and not half.met and other.failure is None:
                page = await half.fetch(after)
                more, after = half.takes(page, other, ends), page.after
        except CloudError as error:
            half.failure = error

    async with anyio.create_task_group() as group:
        group.start_soon(read, ahead, back, None)
        group.start_soon(read, back, ahead, newest.after)
