"""Crash points with the journal on a real PostgreSQL server: one of each kind, for the paths are the same ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from typing import Any
from unittest import mock

import pytest

from tests.sim.crashpoints import PATHS, die_at, trail

pytestmark = pytest.mark.peer("postgres")


@pytest.fixture(scope="module")
def database(postgres: Any) -> Iterator[Any]:
    from tests.sim.keeping_elsewhere import InDatabase

    database = InDatabase(postgres.create())
    yield database
    database.close()


@pytest.fixture(scope="module")
def places() -> dict[str, tuple[str, int]]:
    """By the name of a point: the first path that leads through it, and where on it."""
    found: dict[str, tuple[str, int]] = {}
    for path in PATHS:
        for number, point in enumerate(trail(PATHS[path]), 1):
            found.setdefault(point, (path, number))
    return found


@pytest.mark.parametrize("where", ["before call.", "executed ", "after call.", "before journal.", "after journal."])
def test_wherever_it_dies_the_database_brings_every_promise_through(
    database: Any, places: dict[str, tuple[str, int]], where: str
) -> None:
    broken = []
    points = [point for point in places if point.startswith(where)]
    assert len(points) >= 8
    for point in points:
        path, number = places[point]
        database.empty()
        after = die_at(PATHS[path], number, keeping=database)
        assert after.points == [point], "the points are those of a journal in a file"
        broken += [f"{path}, point {number}, {point}: {fault}" for fault in after.faults]
    assert broken == []


def test_an_intent_that_is_not_committed_is_caught(database: Any, places: dict[str, tuple[str, int]]) -> None:
    from fleetd.store.postgres.journal import PostgresJournal

    numbers = count(1)

    async def write(_self: Any, intent: Any) -> Any:
        return replace(intent, id=next(numbers))

    path, number = places["executed create"]
    database.empty()
    with mock.patch.object(PostgresJournal, "write_intent", write):
        assert die_at(PATHS[path], number, keeping=database).faults
