"""The idle clock against a model that keeps books by the second: of use as it was, of what was asked, of who knew.

The model knows all use, the clock only what readings and leases tell. Use is *reported* where a reading fell into it
or a lease stood for it, and *possibly hidden* in every stretch of several passes in a row of which nobody knew. The
clock may never say that a machine has been idle for ``after`` while either lies within it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from fleetd.model.fleet import IdleRule
from fleetd.model.journal import IdleReport
from fleetd.model.reasons import Activity
from fleetd.planner.idle import GAPS, IdleClock, advance, may_park
from tests.support.build import NOW, ago, facts, fleet

PASS = 30
"""Seconds between passes."""
AFTER = timedelta(minutes=12)
WANT = fleet(idle=IdleRule(("gpu",), after=AFTER, min_uptime=timedelta(0)))
LAST = 3 * 3600
"""Seconds that a history lasts."""
spans = st.tuples(st.integers(0, LAST), st.sampled_from([1, 2, 10, 29, 31, 45, 60, 90, 300, 1800]))


@dataclass(frozen=True)
class History:
    """Seconds since the beginning, each span as (from, length)."""

    used: list[tuple[int, int]]
    leased: list[tuple[int, int]]
    silent: list[tuple[int, int]]
    """The source does not answer."""
    away: list[tuple[int, int]]
    """No process runs, and so no pass."""


histories = st.builds(
    History,
    used=st.lists(spans, max_size=6),
    leased=st.lists(spans, max_size=6),
    silent=st.lists(spans, max_size=12),
    away=st.lists(spans, max_size=3),
)


def within(spans: list[tuple[int, int]], at: int) -> bool:
    return any(begin <= at < begin + length for begin, length in spans)


@settings(max_examples=300, deadline=None)
@given(histories)
def test_never_idle_within_after_of_use_that_was_reported_or_may_have_been_hidden(history: History) -> None:
    clock, before, known = IdleClock(), 0, 0
    newest_use = -1
    """The newest second of use that was reported, or may have been hidden."""
    for at in range(0, LAST + 1, PASS):
        if within(history.away, at):
            continue
        now = NOW + timedelta(seconds=at)
        leased, silent = within(history.leased, at), within(history.silent, at)
        used = within(history.used, at) and not silent
        verdict = Activity.ACTIVE if used or leased else Activity.UNKNOWN if silent else Activity.IDLE
        ends = [begin + length for begin, length in history.leased if begin + length <= at]
        ended = max(ends, default=None)
        same_process = at - before <= PASS
        clock = advance(
            clock,
            verdict,
            now,
            after=AFTER,
            max_gap=timedelta(seconds=GAPS * PASS),
            elapsed=timedelta(seconds=at - before) if same_process else None,
            used_until=None if ended is None else NOW + timedelta(seconds=ended),
        )
        # The books.
        if used or leased:
            newest_use = at
        if ended is not None:
            newest_use = max(newest_use, ended - 1)
        if verdict is Activity.UNKNOWN:
            if at - known > 1.5 * PASS:
                newest_use = max(newest_use, at)
        else:
            # A reading stands for a few passes before it; nobody knows what was before that.
            stood_for = at - GAPS * PASS
            if stood_for - before > 1.5 * PASS:
                newest_use = max(newest_use, stood_for)
            known = at
        before = at
        said = IdleReport(str(verdict), clock.idle_since if verdict is Activity.IDLE else None)
        if may_park(WANT, facts(1, up_since=ago(days=1)), said, now) is None:
            idle_for = at - newest_use
            assert idle_for >= AFTER.total_seconds(), f"at {at}: the newest use ended {idle_for} s ago"


def test_it_does_say_idle() -> None:
    """The property would hold for a clock that never does."""
    clock = IdleClock()
    for at in range(0, 15 * 60 + 1, PASS):
        now = NOW + timedelta(seconds=at)
        verdict = Activity.UNKNOWN if at == 300 else Activity.IDLE
        clock = advance(clock, verdict, now, after=AFTER, max_gap=timedelta(seconds=GAPS * PASS))
    assert clock.idle_since == NOW
