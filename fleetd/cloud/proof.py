"""What a listing that was read once lacks, where an earlier one is known to have been whole.

What was there then and is not listed now has gone, or has slipped past: it is looked at, one by one. What was made
since stands on the newest page, which is one answer, in which nothing slips. So nothing is missing although no page
was read twice. Whether the provider keeps to an order is seen by the dates.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Container, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise, takewhile

from fleetd.cloud.finding import each
from fleetd.cloud.listing import Reading, identity, joined
from fleetd.cloud.port import Json
from fleetd.cloud.reading import moment
from fleetd.model.errors import CloudError

MOST_LOOKS = 20
"""Machines that are looked at because they are not listed any more; where more are missing, all is read anew."""
Look = Callable[[str], Awaitable[Json | None]]
"""A machine's entry by its id; None where it is gone. Raises ``CloudError`` where nobody tells."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What a listing had that lacked nothing."""

    known: frozenset[str]
    """The ids of all."""
    begun: frozenset[str]
    """Of those that were there when it was begun: whatever was made before one of these is in ``known``."""

    def reaches(self, newest_first: Sequence[Json]) -> bool:
        """Whether a page from the newest end has all that was made since: it goes back to two that were there.

        Two, and those that were there of more than one date: machines of one date may stand in any order, and where
        dates are days what was made since may stand further back than the page goes.
        """
        there = [item for item in newest_first if identity(item) in self.begun]
        back_to_them = newest_first[-2:] == there[-2:]
        return bool(there) and back_to_them and _made(there[0]) != _made(there[-1])


async def completed(
    reading: Reading, newest: Sequence[Json], proof: Proof, look: Look
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
    slipped = await _slipped(missing, look)
    if slipped is None or _lacks(newest, proof.known, reading.items, slipped):
        return None
    items = joined([*slipped, *reading.items])
    known = frozenset(ids_of(items))
    return Reading(items), Proof(known, (proof.known & known) | frozenset(ids_of(newest)))


async def _slipped(missing: Sequence[str], look: Look) -> list[Json] | None:
    """Those that are there. None where one cannot be told of: it may stay so, and all that are read twice tell."""
    sights = await each(missing, look)
    if any(isinstance(sight, CloudError) for sight in sights.values()):
        return None
    return [sight for m in missing if (sight := sights[m]) is not None and not isinstance(sight, CloudError)]


def _lacks(
    newest: Sequence[Json], known: Container[str | None], items: Sequence[Json], slipped: Sequence[Json]
) -> bool:
    """Whether the newest page is without one that belongs there: it may be without what was made since as well.

    ``items`` are in order: those that belong there stand at their newest end.
    """
    there = set(ids_of(newest))
    reaches_to = min(made for item in newest if (made := _made(item)) is not None)
    newest_first = items if identity(items[0]) in there else reversed(items)
    belonging = takewhile(lambda item: _is_later(item, reaches_to), newest_first)
    lacking = [*belonging, *(item for item in slipped if _is_later(item, reaches_to))]
    return any(identity(item) in known and identity(item) not in there for item in lacking)


def _is_later(item: Json, than: datetime) -> bool:
    made = _made(item)
    return made is None or made > than


def in_order(oldest_first: Sequence[Json], newest_first: Sequence[Json]) -> bool:
    """Whether the two are what was asked for: each in its order, and not the same order twice."""
    ends = [*oldest_first[:1], *newest_first[:1]]
    return dates_rise(oldest_first) and dates_rise(newest_first[::-1]) and not dates_rise(ends[::-1])


def dates_rise(items: Sequence[Json]) -> bool:
    """Whether each was made no sooner than the one before it; not where one tells no date."""
    dates = [date for item in items if (date := _made(item)) is not None]
    return len(dates) == len(items) and all(one <= other for one, other in pairwise(dates))


def ids_of(items: Iterable[Json]) -> list[str]:
    """The ids of a listing's entries, in their order; an entry without one is left out."""
    return [known for item in items if (known := identity(item)) is not None]


def _made(item: Json) -> datetime | None:
    return moment(item.get("dtCreated"))
