"""How many calls a fleet costs, and how long its machines wait to be known: counted, so the same everywhere."""

from __future__ import annotations

import pytest

from tests.bench.counts import BURST, POLL, RATE, Counted, rising


def ticks(counted: Counted) -> float:
    return counted.took / POLL


@pytest.mark.parametrize("dialect", ["paperspace-core", "paperspace"])
def test_a_hundred_machines_come_up_in_little_more_than_the_rate_allows(dialect: str) -> None:
    counted = rising(100, dialect=dialect, takes=60)
    least = (100 - BURST) / RATE + 60
    assert len(counted.known) == 100
    assert counted.took <= 1.15 * least


def test_twenty_machines_of_twenty_seconds_are_known_ready_within_twenty_three() -> None:
    counted = rising(20, takes=20)
    assert len(counted.known) == 20
    assert counted.took <= 23


@pytest.mark.parametrize("takes", [20, 23.7, 41])
def test_a_machine_that_is_ready_is_known_to_be_within_a_tick(takes: float) -> None:
    counted = rising(60, takes=takes)
    assert len(counted.known) == 60
    assert counted.delays[-1] <= POLL + 0.2  # and the way there and back


@pytest.mark.parametrize(
    ("dialect", "beside"),
    [("paperspace-core", 0), ("paperspace-core", 500), ("paperspace-core", 1000), ("paperspace", 1000)],
)
def test_a_machine_costs_its_create_and_half_a_call_beside_the_shared_ticks(dialect: str, beside: int) -> None:
    counted = rising(100, beside=beside, dialect=dialect, takes=60)
    assert len(counted.known) == 100
    # What a machine costs is asked once of each, a few in a pass; on v1 that takes two calls.
    names = ("utilization",) if dialect == "paperspace-core" else ("events", "show")
    asked = sum(counted.operations[name] for name in names)
    assert asked <= 100 * len(names)
    assert len(counted.calls) - asked <= 1.5 * 100 + ticks(counted), counted.operations


@pytest.mark.long
def test_on_a_large_account_the_ticks_read_the_newest_pages_only() -> None:
    """A look at everything takes 11 pages, the first one twice; a tick between takes those with our machines."""
    counted = rising(100, beside=10_000, takes=40)
    looks = 2  # the first, and the one at the interval
    assert counted.operations["list"] <= 4 + 11 + 11 * looks + 2 * ticks(counted)
    assert len(counted.calls) <= 1.6 * 100 + ticks(counted), counted.operations


def test_one_machine_beside_a_thousand_costs_a_call_a_tick_and_the_looks() -> None:
    counted = rising(1, beside=1000, takes=60)
    looks = counted.took // 27  # intervals of 30 s, a tenth less at the least
    assert len(counted.calls) <= 2 + ticks(counted) + 5 + 2 * looks, counted.operations


@pytest.mark.long
def test_beside_forty_thousand_on_v1_machines_are_made_at_the_default_settings() -> None:
    """A look reads each page once, so it is not out of date when it ends; the first one reads them twice, and is."""
    counted = rising(2, beside=40_000, dialect="paperspace", limit=250)
    assert counted.operations["create"] == 2
    assert counted.operations["list"] <= 668 + 4 * 340
