"""A long listing that is read once, where an earlier one is known to have been whole.

What was there then and is not listed now has gone, or has slipped past: it is looked at, one by one. What was made
since stands on the newest page, which is one answer, in which nothing slips. So nothing is missing although no page
was read twice: half of them from either end, until the two readings meet. Whether the provider keeps to the order
that was asked for is seen by the dates.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import pairwise

import anyio

from fleetd.cloud.listing import MOST_SECONDS, Reading, identity, joined, weighed
from fleetd.cloud.paperspace.pages import PAGE_SIZE, Fetch, Page, endless, ids_of
from fleetd.cloud.port import Json
from fleetd.cloud.reading import moment
from fleetd.model.errors import CloudError, MalformedAnswer

MOST_LOOKS = 20
"""Machines that are looked at because they are not listed any more; where more are missing, all is read anew."""
Look = Callable[[str], Awaitable[Json | None]]
"""A machine's entry by its id; None where it is gone. Raises ``CloudError``."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What a listing had that lacked nothing."""

    known: frozenset[str]
    """The ids of all."""
    begun: frozenset[str]
    """Of those that were there when it was begun: whatever was made before one of these is in ``known``."""


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
        latest = [identity(item) for item in newest.items]
        # Two, for machines of one date may stand in any order.
        if newest.after is None or len(latest) < 2 or not proof.begun.issuperset(latest[-2:]):
            return None
        if not _dates_rise(newest.items[::-1]):
            return None
        ahead, back = _Half(forward), _Half(backward)
        await _read_halves(ahead, back, newest)
    reading = Reading(joined([*ahead.items, *reversed(back.items)]), failure=ahead.failure or back.failure)
    listed = {identity(item) for item in reading.items}
    missing = sorted(proof.known - listed)
    if reading.failure is not None:
        return reading, proof
    if None in listed or len(missing) > MOST_LOOKS or not _in_order(ahead.items, back.items):
        return None
    slipped: list[Json] = []
    for machine_id in missing:
        try:
            found = await look(machine_id)
        except CloudError as error:
            return Reading(reading.items, failure=error), proof
        slipped += [] if found is None else [found]
    items = joined([*slipped, *reading.items])
    known = frozenset(ids_of(items))
    return Reading(items), Proof(known, (proof.known & known) | frozenset(ids_of(newest.items)))


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


def _in_order(oldest_first: list[Json], newest_first: list[Json]) -> bool:
    """Whether the two are what was asked for: each in its order, and not the same order twice."""
    ends = [*oldest_first[:1], *newest_first[:1]]
    return _dates_rise(oldest_first) and _dates_rise(newest_first[::-1]) and not _dates_rise(ends[::-1])


def _dates_rise(items: list[Json]) -> bool:
    """Whether each was made no sooner than the one before it; not where one tells no date."""
    dates = [date for item in items if (date := moment(item.get("dtCreated"))) is not None]
    return len(dates) == len(items) and all(one <= other for one, other in pairwise(dates))
