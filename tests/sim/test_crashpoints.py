"""The crash points of every path, and proof that a build which does it wrong is caught.

Every write is died at, and of the reads, which come again and again, every third; on v1, whose engine is the same,
every second write. ``FLEETD_CRASH_POINTS=all`` dies at each of them.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from unittest import mock

import pytest

from fleetd.engine.settling import Settling
from fleetd.model.journal import Hold, Intent, KeptLease
from fleetd.model.reasons import Outcome, Verb
from fleetd.planner import scaling
from fleetd.store.sqlite import SqliteJournal
from tests.sim.crashpoints import PATHS, die_at, trail

PAIRS = 6
READS = ("list", "list_machines", "show")
EVERY = os.environ.get("FLEETD_CRASH_POINTS") == "all"
JOURNALED = (
    "write_intent",
    "update_intent",
    "close_intent",
    "append_history",
    "put_facts",
    "put_backoff",
    "add_hold",
    "put_leases",
)
"""Writes of the journal that the paths lead through."""


@pytest.mark.slow
@pytest.mark.parametrize("name", PATHS)
def test_wherever_it_dies_every_promise_is_kept(name: str) -> None:
    path = PATHS[name]
    points = trail(path)
    broken = []
    for number in _died_at(points, on_v1=name.endswith("on v1")):
        point = points[number - 1]
        after = die_at(path, number)
        assert after.points == [point], "the run up to its death is the run that was counted"
        broken += [f"point {number} of {len(points)}, {point}: {fault}" for fault in after.faults]
    assert broken == []


def _died_at(points: Sequence[str], *, on_v1: bool) -> list[int]:
    numbers = range(1, len(points) + 1)
    if EVERY:
        return list(numbers)
    reads = [n for n in numbers if points[n - 1].endswith(READS)]
    writes = [n for n in numbers if n not in set(reads)]
    return sorted(reads[::3] + writes[:: 2 if on_v1 else 1])


@pytest.mark.parametrize("name", PATHS)
def test_dying_again_on_the_way_back_changes_nothing(name: str) -> None:
    """Pairs of points, drawn from a seed: there are too many of them to try each."""
    path, rng = PATHS[name], random.Random(f"twice: {name}")
    points = trail(path)
    twice = 0
    for _ in range(PAIRS):
        first, second = rng.randint(1, len(points)), rng.randint(1, 25)
        after = die_at(path, first, second)
        assert after.faults == [], f"points {first} and {second}: {after.points}"
        twice += len(after.points) == 2
    assert twice >= PAIRS // 2


@pytest.mark.parametrize("name", PATHS)
def test_without_a_crash_it_comes_to_the_same(name: str) -> None:
    assert die_at(PATHS[name]).faults == []


def test_the_points_are_all_there() -> None:
    points = {point for path in PATHS.values() for point in trail(path)}
    for verb in ("create", "start", "stop", "destroy", "update", "restart"):
        assert {f"before call.{verb}", f"executed {verb}", f"after call.{verb}"} <= points
    for method in JOURNALED:
        assert {f"before journal.{method}", f"after journal.{method}"} <= points
    for read in ("list_machines", "show"):
        assert {f"before call.{read}", f"after call.{read}"} <= points
    assert {"executed list", "executed show"} <= points


Patch = Callable[[], Any]


def forgets_what_has_no_answer() -> Any:
    """A create whose answer never came is taken for one that never was."""

    async def doubt(self: Settling, now: datetime) -> Sequence[Intent]:
        for intent in await self._recall.journal.open_intents():
            if intent.accepted_at is None:
                await self._recall.journal.close_intent(intent.id, at=now, outcome=Outcome.LOST)
        return await self._recall.journal.open_intents()

    return mock.patch.object(Settling, "doubt_unanswered", doubt)


def remembers_in_memory_only() -> Any:
    """An intent reaches the disk too late for a crash."""
    numbers = iter(range(1, 1000))

    async def write(self: SqliteJournal, intent: Intent) -> Intent:
        return replace(intent, id=next(numbers))

    return mock.patch.object(SqliteJournal, "write_intent", write)


def counts_on_destroys_to_arrive() -> Any:
    """As it was until these tests: a destroy that may not have arrived frees its machine's place."""
    return mock.patch.object(scaling, "_may_stay", return_value=0)


def forgets_holds() -> Any:
    """What an operator was promised is not read back."""

    async def none(self: SqliteJournal, *, now: datetime) -> Sequence[Hold]:
        return ()

    return mock.patch.object(SqliteJournal, "holds", none)


def forgets_leases() -> Any:
    """What a job was promised is not read back."""

    async def none(self: SqliteJournal) -> Sequence[KeptLease]:
        return ()

    return mock.patch.object(SqliteJournal, "leases", none)


@pytest.mark.parametrize(
    ("broken", "path", "point"),
    [
        (forgets_what_has_no_answer, "create, in no listing at first", f"executed {Verb.CREATE}"),
        (remembers_in_memory_only, "create", f"executed {Verb.CREATE}"),
        (counts_on_destroys_to_arrive, "destroy, and wanted again after it", f"before call.{Verb.DESTROY}"),
        (forgets_holds, "stop, with one machine held", "after journal.add_hold"),
        (forgets_leases, "stop, with one machine leased", "after journal.append_history"),
    ],
)
def test_a_build_that_does_it_wrong_is_caught(broken: Patch, path: str, point: str) -> None:
    numbers = [n for n, passed in enumerate(trail(PATHS[path]), 1) if passed == point]
    assert not [fault for n in numbers for fault in die_at(PATHS[path], n).faults]
    with broken():
        assert [fault for n in numbers for fault in die_at(PATHS[path], n).faults]
