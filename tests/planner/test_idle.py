"""Idle clocks: tables for each rule, and a property over random histories against an oracle of its own."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetd.model.fleet import IdleRule
from fleetd.model.journal import IdleReport
from fleetd.model.reasons import Reason
from fleetd.planner.idle import Activity, IdleClock, Reading, advance, combine, idle_surge, may_lose, may_park
from tests.support.build import NOW, ago, facts, fleet, later, machine

RULE = IdleRule(("gpu",), after=timedelta(minutes=30), min_uptime=timedelta(minutes=10))
GAP = timedelta(seconds=90)
IDLE, ACTIVE, UNKNOWN = Activity.IDLE, Activity.ACTIVE, Activity.UNKNOWN


@pytest.mark.parametrize(
    ("verdicts", "together"),
    [
        ([], UNKNOWN),
        ([IDLE], IDLE),
        ([IDLE, IDLE], IDLE),
        ([IDLE, UNKNOWN], UNKNOWN),
        ([IDLE, ACTIVE], ACTIVE),
        ([UNKNOWN, ACTIVE], ACTIVE),
        ([UNKNOWN], UNKNOWN),
    ],
)
def test_sources_together(verdicts, together) -> None:
    assert combine(Reading(str(i), v, NOW) for i, v in enumerate(verdicts)) is together


RUNNING = IdleClock(ago(minutes=20), ago(seconds=30))


@pytest.mark.parametrize(
    ("clock", "verdict", "since"),
    [
        pytest.param(IdleClock(), IDLE, NOW, id="begins now, not before"),
        pytest.param(IdleClock(), UNKNOWN, None, id="unknown begins nothing"),
        pytest.param(RUNNING, IDLE, ago(minutes=20), id="runs on"),
        pytest.param(RUNNING, ACTIVE, None, id="use ends it"),
        pytest.param(RUNNING, UNKNOWN, ago(minutes=20), id="a short silence is within the tenth"),
        pytest.param(IdleClock(ago(minutes=20), ago(minutes=3)), UNKNOWN, None, id="a long one is not"),
        pytest.param(IdleClock(ago(minutes=20), ago(minutes=6)), IDLE, NOW, id="a gap of more than a tenth"),
        pytest.param(IdleClock(ago(minutes=20), later(seconds=1)), IDLE, NOW, id="the clock went back"),
        pytest.param(
            IdleClock(ago(minutes=20), ago(seconds=30), timedelta(minutes=2)), UNKNOWN, None, id="silences add up"
        ),
        pytest.param(
            IdleClock(ago(hours=8), ago(minutes=30)),
            IDLE,
            NOW,
            id="hours of idleness do not cover a half hour",
        ),
        pytest.param(IdleClock(ago(hours=8), ago(minutes=4)), IDLE, NOW, id="nor do they cover a few minutes"),
        pytest.param(IdleClock(ago(hours=8), ago(seconds=130)), IDLE, ago(hours=8), id="but one missed reading"),
        pytest.param(
            IdleClock(ago(hours=8), ago(seconds=30), timedelta(seconds=30), timedelta(seconds=30)),
            UNKNOWN,
            None,
            id="two missed readings in a row",
        ),
        pytest.param(
            IdleClock(ago(hours=8), ago(seconds=30), timedelta(seconds=30)), UNKNOWN, ago(hours=8), id="two apart"
        ),
    ],
)
def test_the_clock(clock, verdict, since) -> None:
    assert advance(clock, verdict, NOW, after=RULE.after, max_gap=GAP).idle_since == since


@pytest.mark.parametrize(
    ("clock", "verdict", "used", "since"),
    [
        pytest.param(RUNNING, IDLE, ago(minutes=25), ago(minutes=20), id="before the span"),
        pytest.param(RUNNING, IDLE, ago(minutes=5), ago(minutes=5), id="within the span"),
        pytest.param(RUNNING, IDLE, ago(seconds=10), ago(seconds=10), id="since the reading before"),
        pytest.param(RUNNING, ACTIVE, ago(minutes=5), None, id="and it is used again"),
        pytest.param(IdleClock(ago(minutes=20), ago(minutes=5)), IDLE, ago(minutes=4), NOW, id="and nobody looked"),
    ],
)
def test_use_that_no_reading_fell_into_begins_anew_at_its_end(clock, verdict, used, since) -> None:
    assert advance(clock, verdict, NOW, after=RULE.after, max_gap=GAP, used_until=used).idle_since == since


def report(verdict: Activity = IDLE, minutes: float = 60) -> IdleReport:
    return IdleReport(str(verdict), ago(minutes=minutes) if verdict is IDLE else None)


@pytest.mark.parametrize(
    ("rule", "known", "said", "reason"),
    [
        pytest.param(RULE, facts(1, up_since=ago(hours=2)), report(), None, id="idle for long enough"),
        pytest.param(RULE, facts(1, up_since=ago(hours=2)), report(minutes=29), Reason.NOT_IDLE_LONG_ENOUGH, id="no"),
        pytest.param(RULE, facts(1, up_since=ago(minutes=9)), report(), Reason.MIN_UPTIME, id="young"),
        pytest.param(RULE, None, report(), Reason.MIN_UPTIME, id="nobody knows since when it is up"),
        pytest.param(RULE, facts(1, up_since=ago(hours=2)), report(ACTIVE), Reason.BUSY, id="busy"),
        pytest.param(RULE, facts(1, up_since=ago(hours=2)), report(UNKNOWN), Reason.ACTIVITY_UNKNOWN, id="unknown"),
        pytest.param(RULE, facts(1, up_since=ago(hours=2)), None, Reason.ACTIVITY_UNKNOWN, id="no reading"),
        pytest.param(None, facts(1, up_since=ago(hours=2)), report(), Reason.ACTIVITY_UNKNOWN, id="no rule"),
    ],
)
def test_may_park(rule, known, said, reason) -> None:
    assert may_park(fleet(idle=rule), known, said, NOW) is reason


@pytest.mark.parametrize(
    ("word", "reason"), [("idle", None), ("active", Reason.BUSY), ("unknown", Reason.ACTIVITY_UNKNOWN)]
)
def test_the_words_of_a_verdict_stay_as_the_journal_has_them(word, reason) -> None:
    said = IdleReport(word, ago(minutes=60))
    assert Activity(word) == word
    assert may_lose(fleet(idle=RULE), said, NOW) is reason


@pytest.mark.parametrize(
    ("minutes", "held_until"),
    [
        pytest.param([31, 32, 33, 300], 29, id="three of four together"),
        pytest.param([31, 32, 200, 300], None, id="two of four"),
        pytest.param([61, 62, 63, 300], None, id="long enough ago"),
        pytest.param([31, 42, 53, 64], None, id="one after another"),
        pytest.param([31, 31], None, id="two are no crowd"),
    ],
)
def test_a_surge_holds_back_for_twice_the_time(minutes, held_until) -> None:
    boxes = [machine(n) for n in range(len(minutes))]
    reports = {m.id: report(minutes=minute) for m, minute in zip(boxes, minutes, strict=True)}
    until = idle_surge(RULE, boxes, reports, NOW)
    assert until == (None if held_until is None else later(minutes=held_until))


@dataclass(frozen=True)
class Moment:
    """One pass: how much real time went by, what the wall clock did beside, and what each source said."""

    passed: int
    step: int
    said: tuple[Activity, ...]


moments = st.lists(
    st.builds(
        Moment,
        passed=st.sampled_from([30, 30, 30, 30, 60, 120, 600, 3600]),
        step=st.sampled_from([0] * 6 + [-7200, -60, -1, 1, 30, 60, 60, 60, 7200]),
        said=st.tuples(*[st.sampled_from([IDLE] * 12 + [ACTIVE, UNKNOWN])] * 2),
    ),
    min_size=1,
    max_size=200,
)


@settings(max_examples=400, deadline=None)
@given(moments)
def test_no_machine_is_parked_unless_every_source_said_idle_for_the_whole_span(history: list[Moment]) -> None:
    """The oracle keeps real time, which the clock never sees, and counts for itself."""
    rule = IdleRule(("a", "b"), after=timedelta(minutes=20), min_uptime=timedelta(0))
    want = fleet(idle=rule)
    clock, wall, real = IdleClock(), NOW, 0
    spoken: list[tuple[int, int, bool]] = []  # (from, to, every source said idle), in real seconds
    used_at = [-1]
    for moment in history:
        before = real
        real += moment.passed
        wall += timedelta(seconds=moment.passed + moment.step)
        verdict = combine(Reading(str(i), said, wall) for i, said in enumerate(moment.said))
        clock = advance(clock, verdict, wall, after=rule.after, max_gap=GAP, elapsed=timedelta(seconds=moment.passed))
        covered_from = max(before, real - int(GAP.total_seconds()))
        spoken.append((covered_from, real, set(moment.said) == {IDLE}))
        if ACTIVE in moment.said:
            used_at.append(real)
        said = IdleReport(str(verdict), clock.idle_since if verdict is IDLE else None)
        if may_park(want, facts(1, up_since=ago(days=1)), said, wall) is None:
            assert_idle(spoken, real, used_at[-1], rule.after, wall, clock)


def assert_idle(
    spoken: list[tuple[int, int, bool]], real: int, used: int, after: timedelta, wall: datetime, clock: IdleClock
) -> None:
    assert clock.idle_since is not None
    claimed = int((wall - clock.idle_since).total_seconds())
    assert claimed >= after.total_seconds()
    # The last of it, put into real time: no use in it, and nine tenths of the time asked for are covered.
    begins = max(used, real - int(after.total_seconds()))
    covered = sum(to - max(since, begins) for since, to, idle in spoken if idle and to > begins)
    assert covered >= 0.9 * after.total_seconds()
    assert used <= real - 0.9 * after.total_seconds()
