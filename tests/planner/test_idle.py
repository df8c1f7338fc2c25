"""Idle clocks: tables for each rule, and a property over random histories against an oracle of its own."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetd.model.fleet import IdleRule
from fleetd.model.journal import IdleReport
from fleetd.model.reasons import Activity, Reason
from fleetd.planner.idle import (
    IdleClock,
    Reading,
    advance,
    combine,
    idle_surge,
    lost_until,
    may_lose,
    may_park,
    parkable_at,
)
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
        pytest.param(IdleClock(None, ago(seconds=30)), IDLE, NOW, id="idle at last"),
        pytest.param(IdleClock(ago(minutes=20), NOW), IDLE, ago(minutes=20), id="two readings at one instant"),
        pytest.param(IdleClock(ago(hours=8), ago(seconds=45)), UNKNOWN, ago(hours=8), id="just what is forgiven"),
        pytest.param(
            IdleClock(ago(hours=8), ago(seconds=30), timedelta(seconds=150)), UNKNOWN, ago(hours=8), id="just a tenth"
        ),
    ],
)
def test_the_clock(clock, verdict, since) -> None:
    assert advance(clock, verdict, NOW, after=RULE.after, max_gap=GAP).idle_since == since


@pytest.mark.parametrize(("verdict", "in_a_row"), [(UNKNOWN, 40), (IDLE, 0)])
def test_a_reading_ends_what_was_uncovered_in_a_row_and_takes_none_of_it_back(verdict, in_a_row) -> None:
    before = IdleClock(ago(hours=8), ago(seconds=30), timedelta(seconds=20), timedelta(seconds=10))
    after = advance(before, verdict, NOW, after=RULE.after, max_gap=GAP)
    assert after.gap == timedelta(seconds=in_a_row)
    assert after.uncovered == timedelta(seconds=50 if verdict is UNKNOWN else 20)


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
        pytest.param(RULE, facts(1, up_since=ago(hours=2)), report(minutes=30), None, id="just long enough"),
        pytest.param(RULE, facts(1, up_since=ago(minutes=9)), report(), Reason.MIN_UPTIME, id="young"),
        pytest.param(RULE, facts(1, up_since=ago(minutes=10)), report(), None, id="just old enough"),
        pytest.param(
            RULE, facts(1, up_since=ago(minutes=9)), report(ACTIVE), Reason.BUSY, id="young and busy: the graver"
        ),
        pytest.param(
            RULE, facts(1, up_since=ago(hours=2)), IdleReport("idle", None), Reason.BUSY, id="nobody knows since when"
        ),
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
        pytest.param([31, 31, 31], 29, id="three are"),
        pytest.param([31, 41, 41, 300], 29, id="just within the span"),
        pytest.param([31, 41, 42, 300], None, id="beyond it"),
        pytest.param([60, 60, 60], None, id="it is over now"),
        pytest.param([31, 32, None, 300], None, id="one is in use"),
        pytest.param([31, 32, 33, None], 29, id="three of four, and one in use"),
    ],
)
def test_a_surge_holds_back_for_twice_the_time(minutes, held_until) -> None:
    boxes = [machine(n) for n in range(len(minutes))]
    said = zip(boxes, minutes, strict=True)
    reports = {m.id: report(ACTIVE) if minute is None else report(minutes=minute) for m, minute in said}
    until = idle_surge(RULE, boxes, reports, NOW)
    assert until == (None if held_until is None else later(minutes=held_until))
    assert idle_surge(None, boxes, reports, NOW) is None
    unread = {m: r for m, r in reports.items() if r.verdict == IDLE}
    assert idle_surge(RULE, boxes, unread, NOW) == until, "one without a reading is as one in use"


WAS_UP = {"last_state": "off", "last_up_at": ago(minutes=20)}


@pytest.mark.parametrize(
    ("rule", "known", "leased", "minutes"),
    [
        pytest.param(None, WAS_UP, ago(minutes=5), None, id="nobody could tell before either"),
        pytest.param(RULE, None, None, None, id="nothing is known of it"),
        pytest.param(RULE, {}, None, None, id="it was never up"),
        pytest.param(RULE, WAS_UP, None, 10, id="it was up"),
        pytest.param(RULE, {"last_up_at": ago(minutes=30)}, None, None, id="so long ago that it counts no more"),
        pytest.param(RULE, None, ago(minutes=5), 25, id="it was leased"),
        pytest.param(RULE, WAS_UP, ago(minutes=5), 25, id="up and leased: the later"),
        pytest.param(RULE, WAS_UP, ago(minutes=25), 10, id="whichever that is"),
        pytest.param(RULE, WAS_UP, ago(hours=5), 10, id="a lease of long ago takes nothing from it"),
        pytest.param(
            RULE, {**WAS_UP, "stopped_by": Reason.PARKED_IDLE, "stopped_at": ago(minutes=20)}, None, None,
            id="fleetd stopped it, and it was idle",
        ),
        pytest.param(
            RULE, {**WAS_UP, "stopped_by": Reason.OVER_TARGET, "stopped_at": ago(minutes=19)}, None, None,
            id="as surplus",
        ),
        pytest.param(
            RULE, {**WAS_UP, "stopped_by": Reason.OUTLIVED_TIMEOUT, "stopped_at": ago(minutes=19)}, None, None,
            id="as one that had outlived its timeout",
        ),
        pytest.param(
            RULE, {**WAS_UP, "stopped_by": Reason.PARKED_IDLE, "stopped_at": ago(minutes=21)}, None, 10,
            id="it came up again since",
        ),
        pytest.param(
            RULE, {**WAS_UP, "stopped_by": "operator", "stopped_at": ago(minutes=20)}, None, 10, id="a person did"
        ),
        pytest.param(
            RULE, {**WAS_UP, "stopped_by": Reason.PARKED_IDLE, "stopped_at": ago(minutes=20)}, ago(minutes=5), 25,
            id="fleetd stopped it, and it was leased",
        ),
    ],
)  # fmt: skip
def test_until_when_one_that_is_not_up_counts_as_used(rule, known, leased, minutes) -> None:
    fact = None if known is None else facts(1, **known)
    until = lost_until(fleet(idle=rule), fact, leased, NOW)
    assert until == (None if minutes is None else later(minutes=minutes))
    assert lost_until(fleet(idle=rule), fact, leased, NOW, later(hours=9)) == until, "by either clock"
    assert lost_until(fleet(idle=rule), fact, leased, later(hours=9)) is None


@pytest.mark.parametrize(
    ("reason", "up_since", "said", "ends"),
    [
        pytest.param(Reason.MIN_UPTIME, ago(minutes=4), report(), later(minutes=6), id="young"),
        pytest.param(Reason.MIN_UPTIME, None, report(), None, id="nobody knows since when it is up"),
        pytest.param(
            Reason.NOT_IDLE_LONG_ENOUGH, ago(hours=2), report(minutes=20), later(minutes=10), id="idle for a while"
        ),
        pytest.param(Reason.NOT_IDLE_LONG_ENOUGH, ago(hours=2), None, None, id="no reading"),
        pytest.param(Reason.NOT_IDLE_LONG_ENOUGH, ago(hours=2), IdleReport("idle", None), None, id="since when?"),
        pytest.param(
            Reason.BUSY, ago(minutes=4), report(minutes=20), None, id="nobody knows for how long it is used"
        ),
    ],
)
def test_when_a_machine_may_be_parked_if_it_stays_idle(reason, up_since, said, ends) -> None:
    known = facts(1, up_since=up_since)
    assert parkable_at(fleet(idle=RULE), known, said, reason) == ends
    assert parkable_at(fleet(), known, said, reason) is None
    assert parkable_at(fleet(idle=RULE), None, None, reason) is None


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
