"""The queue in front of a provider: so many requests a second, so many at once, and who goes first."""

from __future__ import annotations

import itertools
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio

FIRST = float("-inf")
"""A ``due`` that goes before all others."""


@dataclass(eq=False, slots=True)
class Place:
    """A slot among the requests at once, and the requests that are paid for."""

    paid: int


@dataclass(eq=False, slots=True)
class _Waiter:
    due: float
    number: int
    requests: int
    slot: bool
    create: bool
    turn: anyio.Event = field(default_factory=anyio.Event)

    def __lt__(self, other: _Waiter) -> bool:
        return (self.due, self.number) < (other.due, other.number)


class Admission:
    """Hands out places. Whoever is due first goes first, and among those due at once whoever came first.

    The bucket holds the requests of one second, at least one. Who asks for more than it holds goes when it is full,
    and those behind wait the longer for it: what belongs together is not torn apart by a low rate.

    Args:
        per_second: requests that may begin in each second; fractions are fine.
        at_once: places that may be taken at one time.
    """

    def __init__(self, per_second: float, at_once: int) -> None:
        self._per_second = per_second
        self._size = max(1.0, float(math.floor(per_second)))
        self._level = self._size
        self._filled_at: float | None = None
        self._free = at_once
        self._create_limit = max(1, at_once - 2)
        self._creates = 0
        self._queue: list[_Waiter] = []
        self._numbers = itertools.count()

    @asynccontextmanager
    async def place(self, requests: int = 1, *, due: float, create: bool = False) -> AsyncIterator[Place]:
        """Wait for a slot and for so many requests, and hold them; what was not used goes back in the end.

        Args:
            requests: paid for beforehand.
            due: on the loop's clock; it orders the queue and is no deadline.
            create: creates may hang for long: some slots are never theirs, where there are more than two.
        """
        await self._wait(_Waiter(due, next(self._numbers), requests, slot=True, create=create))
        place = Place(requests)
        try:
            yield place
        finally:
            self._level = min(self._size, self._level + place.paid)
            self._free += 1
            self._creates -= create
            self._wake()

    async def pay(self, place: Place) -> None:
        """One request more within a place: one that is paid for, or else the next that comes in."""
        if place.paid:
            place.paid -= 1
            return
        await self._wait(_Waiter(FIRST, next(self._numbers), 1, slot=False, create=False))

    async def _wait(self, waiter: _Waiter) -> None:
        self._queue.append(waiter)
        try:
            while (seconds := self._seconds_for(waiter)) != 0.0:
                waiter.turn = anyio.Event()
                with anyio.move_on_after(seconds):
                    await waiter.turn.wait()
        except BaseException:
            self._queue.remove(waiter)
            self._wake()
            raise
        self._queue.remove(waiter)
        self._level -= waiter.requests
        self._free -= waiter.slot
        self._creates += waiter.create
        self._wake()

    def _wake(self) -> None:
        """Something has changed: whose turn it may be now looks again."""
        waiter = self._next()
        if waiter is not None:
            waiter.turn.set()

    def _seconds_for(self, waiter: _Waiter) -> float | None:
        """Seconds until it is this one's turn: 0 for now, None when that depends on others."""
        if waiter is not self._next():
            return None
        self._fill()
        lacking = min(float(waiter.requests), self._size) - self._level
        # A hair longer than it takes, so that rounding never leaves the bucket a hair short.
        return 0.0 if lacking <= 0 else lacking * (1.0 + 1e-6) / self._per_second + 1e-9

    def _next(self) -> _Waiter | None:
        able = (w for w in self._queue if self._has_slot(w))
        return min(able, default=None)

    def _has_slot(self, waiter: _Waiter) -> bool:
        if not waiter.slot:
            return True
        return self._free > 0 and not (waiter.create and self._creates >= self._create_limit)

    def _fill(self) -> None:
        now = anyio.current_time()
        if self._filled_at is not None:
            self._level = min(self._size, self._level + (now - self._filled_at) * self._per_second)
        self._filled_at = now
