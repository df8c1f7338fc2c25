"""What a listing that was read once lacks, where an earlier one is known to have been whole.

What was there then and is not listed now has gone, or has slipped past: it is looked at, one by one. What was made
since stands on the newest page, which is one answer, in which nothing slips. So nothing is missing although no page
was read twice. Whether the provider keeps to an order is seen by the dates.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from fleetd.cloud.listing import Reading, identity, joined
from fleetd.cloud.port import Json
from fleetd.cloud.reading import moment
from fleetd.model.errors import CloudError

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

    def reaches(self, newest_first: Sequence[Json]) -> bool:
        """Whether a page from the newest end has all that was made since: it goes back to two that were there.

        Two, for machines of one date may stand in any order.
        """
        oldest = [identity(item) for item in newest_first[-2:]]
        return len(oldest) == 2 and self.begun.issuperset(oldest)


async def completed(
    reading: Reading, newest: Iterable[Json], proof: Proof, look: Look
) -> tuple[Reading, Proof] | None:
    """A listing that was read once with what slipped past it, and what it proves; None: all must be read anew.

    Args:
        reading: each entry once.
        newest: of these, the page that was read first, and that ``proof`` reaches.
        proof: of a listing before this one.
        look: asks about one machine.
    """
    if reading.failure is not None:
        return reading, proof
    listed = {identity(item) for item in reading.items}
    missing = sorted(proof.known - listed)
    if None in listed or len(missing) > MOST_LOOKS:
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
    return Reading(items), Proof(known, (proof.known & known) | frozenset(ids_of(newest)))


def in_order(oldest_first: Sequence[Json], newest_first: Sequence[Json]) -> bool:
    """Whether the two are what was asked for: each in its order, and not the same order twice."""
    ends = [*oldest_first[:1], *newest_first[:1]]
    return dates_rise(oldest_first) and dates_rise(newest_first[::-1]) and not dates_rise(ends[::-1])


def dates_rise(items: Sequence[Json]) -> bool:
    """Whether each was made no sooner than the one before it; not where one tells no date."""
    dates = [date for item in items if (date := moment(item.get("dtCreated"))) is not None]
    return len(dates) == len(items) and all(one <= other for one, other in pairwise(dates))


def ids_of(items: Iterable[Json]) -> list[str]:
    """The ids of a listing's entries, in their order; an entry without one is left out."""
    return [known for item in items if (known := identity(item)) is not None]
