"""Looking at machines that somebody waits for, with what is known of where a listing has them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import anyio

from fleetd.cloud.listing import identity
from fleetd.cloud.port import Json
from fleetd.model.errors import CloudError
from fleetd.model.machine import Machine

T = TypeVar("T")
K = TypeVar("K", str, int)
Sights = dict[str, Machine | CloudError]
"""By machine id; see ``port.Found``."""


class Places:
    """Where the last listing had each machine: from 0, the oldest first."""

    def __init__(self) -> None:
        self._at: dict[str, int] = {}
        self.total = 0
        """Entries of that listing."""

    def learn(self, items: Iterable[Json]) -> None:
        """Take a whole listing, in its order."""
        at: dict[str, int] = {}
        total = 0
        for total, item in enumerate(items, 1):
            known = identity(item)
            if known is not None:
                at[known] = total - 1
        self._at, self.total = at, total

    def note(self, items: Iterable[Json], first: int) -> None:
        """Take a page that begins at a place; what is on it is there now."""
        for place, item in enumerate(items, first):
            known = identity(item)
            if known is not None:
                self._at[known] = place
                self.total = max(self.total, place + 1)

    def of(self, machine_id: str) -> int:
        """Its place; the end for one that was not there yet."""
        return self._at.get(machine_id, self.total)


@dataclass(frozen=True, slots=True)
class Ways:
    """Which pages are read, and which machines are looked at one by one."""

    pages: Mapping[int, frozenset[str]]
    """By number, the machines that are looked for on it."""
    singly: frozenset[str]


def by_page(machine_ids: Collection[str], places: Places, size: int) -> Ways:
    """Where any page can be had at once: those with more than one of the machines are read."""
    on: dict[int, set[str]] = defaultdict(set)
    for machine_id in machine_ids:
        on[places.of(machine_id) // size].add(machine_id)
    several = {number: frozenset(ids) for number, ids in on.items() if len(ids) > 1}
    return Ways(several, frozenset(machine_ids) - frozenset[str]().union(*several.values()))


def from_an_end(machine_ids: Collection[str], places: Places, size: int) -> tuple[bool, Ways]:
    """Where page follows page: whether to begin at the newest, and how many from there; what lies deeper singly."""
    found: list[tuple[int, bool, Ways]] = []
    for newest in (True, False):
        depth = {m: max(0, places.total - 1 - places.of(m)) if newest else places.of(m) for m in machine_ids}
        ordered = sorted(machine_ids, key=lambda m: (depth[m], m))
        costs = [(len(ordered), 0)]
        costs += [(depth[m] // size + 1 + len(ordered) - n, n) for n, m in enumerate(ordered, 1)]
        cost, kept = min(costs)
        pages: dict[int, set[str]] = defaultdict(set)
        for machine_id in ordered[:kept]:
            pages[depth[machine_id] // size].add(machine_id)
        ways = Ways({n: frozenset(ids) for n, ids in pages.items()}, frozenset(ordered[kept:]))
        found.append((cost, not newest, ways))
    _, oldest, ways = min(found, key=lambda way: way[:2])
    return not oldest, ways


def told_once(items: Iterable[Json], machine_ids: Collection[str]) -> list[Json]:
    """The entries of these machines; none of one of which a page tells two things."""
    rows: dict[str, Json] = {}
    twice: set[str] = set()
    for item in items:
        known = identity(item)
        if known is not None and known in machine_ids and rows.setdefault(known, item) != item:
            twice.add(known)
    return [item for known, item in rows.items() if known not in twice]


async def each(these: Iterable[K], look: Callable[[K], Awaitable[T]]) -> dict[K, T | CloudError]:
    """Look at each, a machine by its id or a page by its number; an error is the answer about that one. In order."""
    sights: dict[K, T | CloudError] = {}

    async def one(this: K) -> None:
        try:
            sights[this] = await look(this)
        except CloudError as error:
            sights[this] = error

    async with anyio.create_task_group() as group:
        for this in sorted(these):
            group.start_soon(one, this)
    return {this: sights[this] for this in sorted(sights)}
