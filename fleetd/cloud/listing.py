"""What came of reading a listing of more than one page, whatever the dialect's way of cutting it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from difflib import get_close_matches

from fleetd.cloud.decoding import values_in
from fleetd.cloud.port import Json
from fleetd.model.errors import CloudError, Refused
from fleetd.model.machine import Machine
from fleetd.model.plan import Listing

LONGEST_ID = 200
"""Characters. What is longer identifies nothing."""
MOST_ENTRIES = 10_000
"""In one page, whatever was asked for."""
MOST_SECONDS = 120.0
"""For all pages of a listing together; one that takes longer has no end, or is too old when it ends."""

MOST_WEIGHT = 256 * 1024 * 1024
"""Of all pages of a listing together, beyond what ordinary ones weigh: bytes of memory as they are estimated."""
OF_A_MACHINE = 8 * 1024
"""Bytes that an ordinary machine weighs at most; accounts of 100,000 are listed."""
AT_MOST = 2 * 1024 * 1024 * 1024
"""Bytes of any listing: that of 200,000 machines, read twice."""
OF_A_VALUE = 100
"""Bytes that a value takes once it is read."""


@dataclass(slots=True)
class _Scale:
    size: int
    """Machines in a full page."""
    weight: int = 0
    pages: int = 0


_SCALE: ContextVar[_Scale | None] = ContextVar("scale", default=None)


@contextmanager
def weighed(size: int) -> Iterator[None]:
    """Everything that is read in here, by this task and those it starts, is one listing, and has one bound.

    ``size``: machines in a full page.
    """
    if _SCALE.get() is not None:
        yield
        return
    token = _SCALE.set(_Scale(size))
    try:
        yield
    finally:
        _SCALE.reset(token)


def fits(body: bytes) -> bool:
    """Whether the listing that the body is a page of stays within its bound; so does what is no listing."""
    scale = _SCALE.get()
    if scale is None:
        return True
    scale.weight += len(body) + OF_A_VALUE * values_in(body)
    scale.pages += 1
    return scale.weight <= min(AT_MOST, MOST_WEIGHT + scale.pages * scale.size * OF_A_MACHINE)


@dataclass(frozen=True, slots=True)
class Reading:
    """A listing, with what is known of its completeness."""

    items: tuple[Json, ...]
    """Each id once, in the listing's order; and every entry that has no id."""
    moved: bool = False
    """Whether the list moved meanwhile, so that something may be missing."""
    failure: CloudError | None = None
    """Why a page behind the first, or the second reading, failed."""

    @property
    def complete(self) -> bool:
        """Whether nothing is missing; certain only where a proof was asked for."""
        return self.failure is None and not self.moved

    @property
    def problem(self) -> str:
        """Why it is not complete; "" when it is."""
        if self.failure is not None:
            return self.failure.message
        return "the list moved while its pages were read" if self.moved else ""

    def listing(self, read: Callable[[Iterable[Json]], tuple[Machine, ...]]) -> Listing:
        """What the engine is told of it; ``read``: makes the machines of its entries."""
        unidentified = sum(identity(item) is None for item in self.items)
        return Listing(read(self.items), complete=self.complete, problem=self.problem, unidentified=unidentified)


def identity(entry: object) -> str | None:
    """The id of a listing's entry, whether it came as text or as a number; None where it has none."""
    found = entry.get("id") if isinstance(entry, dict) else None
    if isinstance(found, str):  # as nearly all are; it is asked several times of each entry
        return found if 0 < len(found) <= LONGEST_ID else None
    if isinstance(found, int) and not isinstance(found, bool) and abs(found) < 10**30:
        return str(found)
    return None


def check_filters(filters: Iterable[str], known: Collection[str]) -> None:
    """Make sure that machines can be listed by each of these.

    Raises:
        Refused: there is no such filter; nothing was sent.
    """
    for name in filters:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise Refused(f"machines cannot be listed by {name}{hint}", operation="list")


def joined(entries: Iterable[Json]) -> tuple[Json, ...]:
    """Each id once, the last copy in the first one's place; entries without one as often as they come."""
    rows: dict[object, Json] = {}
    for number, entry in enumerate(entries):
        rows[identity(entry) or number] = entry
    return tuple(rows.values())
