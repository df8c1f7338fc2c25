"""A long listing by position that is read once, where an earlier one is known to have been whole.

The newest end is asked for first, in one answer that goes back to machines that were there before; then each page
once. Which end is the newest is seen by the dates: the vendor names no order, and none is asked for.
"""

from __future__ import annotations

from fleetd.cloud.core.pages import Source, together
from fleetd.cloud.listing import Reading, joined, weighed
from fleetd.cloud.proof import Look, Proof, completed, dates_rise, ids_of, in_order
from fleetd.model.errors import Refused


class Once:
    """What the last whole listing proves, and how the provider ordered it."""

    def __init__(self) -> None:
        self._proof: Proof | None = None
        self._newest_first = False

    def learn(self, reading: Reading) -> None:
        """Note a listing of everything that was read twice and is complete: what it lacks was made meanwhile."""
        known = frozenset(ids_of(reading.items))
        rising, falling = dates_rise(reading.items), dates_rise(reading.items[::-1])
        ordered = rising != falling and len(known) == len(reading.items)
        self._proof = Proof(known, known) if ordered else None
        self._newest_first = falling

    async def read(self, source: Source, look: Look) -> Reading | None:
        """A whole listing; None where it must be read twice.

        Raises:
            CloudError: the newest end could not be read.
        """
        if self._proof is None or len(self._proof.known) < source.size:
            return None  # a single page is one answer as it is
        with weighed(source.size):
            found = await self._read_once(source, self._proof, look)
        if found is None:
            return None
        reading, self._proof = found
        return reading

    async def _read_once(self, source: Source, proof: Proof, look: Look) -> tuple[Reading, Proof] | None:
        count = len(proof.known)
        # From the middle of the last page: it may go back or on by half a page until the next look.
        start = 0 if self._newest_first else count - source.size // 2
        try:
            newest = await source.entries(start)
        except Refused:  # as where only multiples of a page may be skipped
            return None
        newest_first = newest if self._newest_first else newest[::-1]
        if not proof.reaches(newest_first) or (not self._newest_first and len(newest) >= source.size):
            return None
        made = len(set(ids_of(newest)) - proof.known)
        ends = count + made if self._newest_first else start
        numbers = range(int(self._newest_first), -(-ends // source.size))
        pages, failure = await together(source.page, numbers, width=source.width)
        rest = joined(item for page in pages for item in page)
        if not in_order(rest[::-1] if self._newest_first else rest, newest_first):
            return None
        both = (newest, rest) if self._newest_first else (rest, newest)
        return await completed(Reading(joined([*both[0], *both[1]]), failure=failure), newest, proof, look)
