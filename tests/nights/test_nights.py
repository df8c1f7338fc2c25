"""The chain of evidence that nobody's work is stopped. All 200 nights: ``python -m tests.nights --nights 200``."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from datetime import timedelta
from functools import cache

import pytest

from fleetd.simulator.calls import Call
from tests.nights.draw import EVENING, LENGTH, OUTAGES, TRICKS, draw_night
from tests.nights.evidence import MOMENT, judge
from tests.nights.mutants import JOB, MUTANTS, Mutant
from tests.nights.play import play
from tests.nights.record import Hold, Lease, Record, Use
from tests.nights.report import Totals, run_all

NIGHTS = 16


# A process that is killed in a night closes nothing; what it leaves is collected here, not in another test.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    yield
    gc.collect()


@cache
def nights() -> Totals:
    return run_all([str(n) for n in range(1, NIGHTS + 1)], processes=1)


@pytest.mark.slow
def test_no_stop_comes_near_a_use_nor_under_a_lease_or_a_hold() -> None:
    assert nights().broken == []
    assert nights().nearest >= 0.99


@pytest.mark.slow
def test_the_nights_are_worth_something() -> None:
    totals = nights()
    assert totals.stops >= 2 * NIGHTS, "whoever stops nothing stops nobody's work"
    assert totals.tricked >= 4 * NIGHTS
    assert min(totals.leases, totals.holds) >= NIGHTS


@pytest.mark.parametrize("mutant", MUTANTS, ids=[m.name for m in MUTANTS])
def test_a_broken_build_is_found_and_a_sound_one_is_not(mutant: Mutant) -> None:
    assert play(mutant.night).judged.findings == ()
    with mutant.applied():
        assert play(mutant.night).judged.findings


def test_every_trick_is_drawn_in_two_hundred_nights() -> None:
    drawn = {
        trick
        for night in (draw_night(str(n)) for n in range(1, 201))
        for trick in (*(m.trick for m in night.moods), *(job.trick for jobs in night.jobs for job in jobs))
    }
    assert drawn - {None} == {trick for tricks in (*TRICKS.values(), OUTAGES) for trick in tricks}


AFTER = 600.0


def stop(at: float, state: str = "ready") -> Call:
    return Call(
        *(1, "", at, at, "core", "POST", "/machines/ps1/stop", {}, None, {}, "stop"),
        write=True,
        machine_id="ps1",
        state_before=state,
    )


def used(begins: float, ends: float) -> Record:
    return Record(uses=[Use("ps1", JOB, begins, ends)])


def leased(since: float, lasts: float, **fields: float) -> Record:
    lease = Lease("ps1", "job", since, lasts, EVENING + timedelta(seconds=since), 1, **fields)
    return Record(leases=[lease], lives=[(0.0, LENGTH)])


def held(since: float, lasts: float) -> Record:
    return Record(holds=[Hold("ps1", since, EVENING + timedelta(seconds=since + lasts))])


@pytest.mark.parametrize(
    ("record", "call", "wrong"),
    [
        pytest.param(used(100, 200), stop(200 + AFTER), False, id="after a use"),
        pytest.param(used(100, 200), stop(200 + AFTER - 2), True, id="too soon after a use"),
        pytest.param(used(100, 9000), stop(3000), True, id="in use"),
        pytest.param(used(3000 - MOMENT + 1, 9000), stop(3000), False, id="work began just now"),
        pytest.param(used(100, 9000), stop(3000, "off"), False, id="it was off"),
        pytest.param(leased(100, 50), stop(100.5), True, id="under a lease"),
        pytest.param(leased(100, 50), stop(100.0), False, id="before the lease was answered"),
        pytest.param(leased(100, 50), stop(150 + AFTER - 2), True, id="too soon after a lease"),
        pytest.param(leased(100, 50), stop(150 + AFTER), False, id="after a lease"),
        pytest.param(leased(100, 9000, until=120.0), stop(120 + AFTER), False, id="after a lease that was ended"),
        pytest.param(held(100, 50), stop(120), True, id="under a hold"),
        pytest.param(held(100, 50), stop(150 + AFTER), False, id="after a hold"),
    ],
)
def test_what_the_evidence_says(record: Record, call: Call, wrong: bool) -> None:
    assert bool(judge([call], record, {"ps1": AFTER}).findings) is wrong


def test_where_a_lease_ends_after_a_restart_the_wall_clock_says() -> None:
    record = leased(100, 1000)
    (lease,) = record.leases
    assert record.lease_end(lease) == 1100
    record.steps = [(300.0, 400.0)]
    assert record.lease_end(lease) == 1100, "the process that took it counts by the loop's clock"
    record.lives = [(0.0, 200.0), (210.0, LENGTH)]
    assert record.lease_end(lease) == pytest.approx(700)
