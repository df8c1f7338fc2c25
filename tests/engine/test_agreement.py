"""What is taken of two clocks that are apart: who is ahead, what both have reached, and what is said of it."""

from __future__ import annotations

from datetime import timedelta

import anyio
import pytest
from structlog.testing import capture_logs

from fleetd.engine.clocks import APART, Agreement
from tests.support.virtual_time import VirtualClock, run_virtual, virtual_clock

P = pytest.param


@pytest.mark.parametrize(
    ("ahead", "apart", "doubt"),
    [
        P(None, 0, None, id="it has told no time"),
        P(0, 0, None, id="they agree"),
        P(APART, 0, None, id="as far apart as may be"),
        P(-APART, 0, None, id="behind by as much"),
        P(APART + 1, APART + 1, f"ours is {APART + 1:.0f} s ahead of the provider's", id="ahead"),
        P(-APART - 1, -APART - 1, f"ours is {APART + 1:.0f} s behind the provider's", id="behind"),
    ],
)
def test_how_far_two_clocks_are_apart(ahead: float | None, apart: float, doubt: str | None) -> None:
    async def story() -> None:
        clock: VirtualClock = virtual_clock()
        await anyio.sleep(64)
        agreement = Agreement(clock)
        if ahead is not None:
            agreement.told(clock.now() - timedelta(seconds=ahead))
        for waited in (0, 1000):  # what the provider said is carried on
            await anyio.sleep(waited)
            now, by = clock.now(), timedelta(seconds=apart)
            assert agreement.ahead == (None if ahead is None else pytest.approx(ahead, abs=1e-3))
            assert abs(agreement.apart_by - by) < timedelta(milliseconds=1)
            assert abs(agreement.theirs(now) - (now - by)) < timedelta(milliseconds=1)
            assert abs(agreement.earliest() - min(now, now - by)) < timedelta(milliseconds=1)
            assert abs(agreement.latest() - max(now, now - by)) < timedelta(milliseconds=1)
            assert agreement.doubt == doubt

    run_virtual(story)


@pytest.mark.parametrize(("provider", "later"), [(None, 7200), (0, 0), (-3600, 3600), (3600, 0)])
def test_the_databases_clock_counts_until_the_provider_has_told_its_own(provider: float | None, later: float) -> None:
    """It is two hours ahead of ours. What is given then lasts by the later one, and nothing else follows from it."""

    async def story() -> None:
        clock: VirtualClock = virtual_clock()
        await anyio.sleep(64)
        agreement = Agreement(clock)
        agreement.told_meanwhile(clock.now() + timedelta(hours=2))
        if provider is not None:
            agreement.told(clock.now() - timedelta(seconds=provider))
        for waited in (0, 500):
            await anyio.sleep(waited)
            then = clock.now() + timedelta(seconds=later)
            assert abs(agreement.latest() - then) < timedelta(milliseconds=1)
            assert abs(agreement.latest_at(clock.now()) - then) < timedelta(milliseconds=1)
        assert (agreement.doubt is None) is (provider in {None, 0})
        assert (agreement.ahead is None) is (provider is None)

    run_virtual(story)


def test_that_they_are_apart_is_said_when_it_begins_and_when_it_ends() -> None:
    async def story() -> None:
        clock: VirtualClock = virtual_clock()
        await anyio.sleep(64)
        agreement = Agreement(clock)
        agreement.told(clock.now())
        with capture_logs() as logs:
            for step in (0, 7200, 60, -7260, 0, -3600):
                clock.step(step)
                assert agreement.told_doubt() == agreement.doubt
        told = [(line["event"], line["log_level"], line["by_s"]) for line in logs]
        assert told == [
            ("clock.disagreed", "error", 7200),
            ("clock.agreed", "info", 0),
            ("clock.disagreed", "error", -3600),
        ]

    run_virtual(story)
