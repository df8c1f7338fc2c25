from __future__ import annotations

from collections import Counter
from datetime import date, timedelta

import pytest

from tests.week.run import BERLIN, DAYS, DRIFTS, MONDAY, SIZE, Week, run_week, works


@pytest.fixture(scope="module")
def week() -> Week:
    return run_week()


def at(call, week: Week):
    return (week.start + timedelta(seconds=call.world_seconds)).astimezone(BERLIN)


@pytest.mark.slow
def test_each_nights_stops_each_mornings_starts_each_drift_once_and_nothing_else(week: Week) -> None:
    calls = [(c.operation, c.machine_id, at(c, week)) for c in week.calls]
    assert Counter(op for op, _, _ in calls) == {
        "create": SIZE,
        "stop": 45 * DAYS,
        "start": 45 * DAYS,
        "update": 2 * SIZE + len(DRIFTS),
    }
    assert all(c.executed and c.status in {200, 204} for c in week.calls)

    stops = Counter(night_of(when) for op, _, when in calls if op == "stop")
    assert stops == {MONDAY.astimezone(BERLIN).date() + timedelta(days=n): 45 for n in range(DAYS)}
    for op, machine, when in calls:
        if op == "stop":
            number = week.workers[machine]
            assert not works(number, when), "never while it works"
            assert not works(number, when - timedelta(minutes=26)), "idle for half an hour, at nine tenths' coverage"
        if op == "start":
            assert (when.hour, when.minute) in {(7, 0), (7, 1), (7, 2)}, when


@pytest.mark.slow
def test_drifts_are_mended_within_a_quarter_of_an_hour(week: Week) -> None:
    first_day = MONDAY + timedelta(hours=2)
    later = [
        c
        for c in week.calls
        if c.operation == "update" and week.start + timedelta(seconds=c.world_seconds) > first_day
    ]
    mended = [(week.workers[c.machine_id], at(c, week)) for c in later]
    for (day, hour, number), (found, when) in zip(DRIFTS, mended, strict=True):
        begun = MONDAY.astimezone(BERLIN).replace(hour=hour) + timedelta(days=day)
        assert found == number
        assert timedelta(0) <= when - begun <= timedelta(minutes=17)


@pytest.mark.slow
def test_the_history_tells_the_same_story(week: Week) -> None:
    ended = Counter((e.verb, e.reason, e.outcome) for e in week.history)
    assert set(ended) == {
        ("create", "short_of_target", "reached"),
        ("start", "short_of_target", "reached"),
        ("stop", "parked_idle", "reached"),
        ("update", "timeout_drift", "reached"),
        ("update", "snapshot_drift", "reached"),
        ("window", "window_parked", "observed"),
        ("daemon", "started", "observed"),
        ("daemon", "stopped", "observed"),
    }
    assert ended["stop", "parked_idle", "reached"] == 45 * DAYS
    assert all(e.evidence for e in week.history if e.verb == "stop")


def night_of(when) -> date:
    return (when - timedelta(hours=12)).date()


@pytest.mark.slow
def test_either_dialect_lives_the_same_nights() -> None:
    def lived(kind: str) -> Counter[tuple[str, int, str]]:
        week = run_week(kind, days=1.05)
        assert {c.dialect for c in week.calls} == {"core" if kind == "paperspace-core" else "v1"}
        # Machines by their number; hours, for the two do not pass by the second alike.
        return Counter((c.operation, week.workers[c.machine_id], f"{at(c, week):%a %H}") for c in week.calls)

    core = lived("paperspace-core")
    assert core.total() > 4 * 45
    assert lived("paperspace") == core
