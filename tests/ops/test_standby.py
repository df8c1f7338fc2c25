"""What a standby shows: the holder's word, and never for good where nobody stands behind it any more."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import anyio
import pytest

from fleetd.model.report import LeaseReport, Report, SightReport
from fleetd.ops.page.headline import headline, title
from fleetd.ops.page.home import home
from fleetd.ops.page.scene import Scene
from fleetd.ops.standby import StandbyHandle
from fleetd.words.times import span
from tests.support.fake_handle import AT, a_report
from tests.support.virtual_time import run_virtual

PATIENCE = timedelta(minutes=2)
A = LeaseReport(holder="a, pid 1", epoch=1)
B = LeaseReport(holder="b, pid 2", epoch=2)
NOBODY = LeaseReport(holder=None, epoch=1)

Story = Callable[[StandbyHandle], None]


def hears(lease: LeaseReport = A, age: float = 1.0, epoch: int = 1, word: Report | None = None) -> Story:
    return lambda handle: handle.heard(lease, epoch=epoch, age=age, word=word)


def loses(handle: StandbyHandle) -> None:
    handle.away("db does not answer")


def told(*story: tuple[float, Story]) -> tuple[Report, str | None]:
    """The report after each step's seconds and its deed, and whether the standby could take over."""

    async def live() -> tuple[Report, str | None]:
        began = anyio.current_time()
        handle = StandbyHandle(
            "c, pid 3", "/etc/f.toml", lambda: AT + timedelta(seconds=anyio.current_time() - began), PATIENCE
        )
        for seconds, deed in story:
            await anyio.sleep(seconds)
            deed(handle)
        assert handle.alive() is None
        return handle.status(), handle.ready()

    return run_virtual(live)


def test_a_fresh_word_is_shown_with_its_age_and_its_holder() -> None:
    report, unready = told((1, hears(word=a_report(), age=4.0)))
    assert unready is None
    assert report.fleets["training"].converged
    assert report.sight.doubted_since is None
    lease = report.daemon.lease
    assert lease is not None
    assert (lease.holder, lease.shown_by, lease.word_at) == ("a, pid 1", "c, pid 3", AT - timedelta(seconds=3))


@pytest.mark.parametrize(
    ("story", "since", "why"),
    [
        pytest.param(
            [(300, hears(age=301.0))], 0, "a, pid 1 has the lease, and has ended no pass for 5 min", id="silent"
        ),
        pytest.param([(60, hears(NOBODY, age=61.0))], 0, "no replica acts", id="nobody"),
        pytest.param([(60, hears(B, age=61.0))], 0, "b, pid 2 has the lease, and has not ended a pass yet", id="new"),
        pytest.param([(60, loses)], 1, "cannot ask who acts: db does not answer", id="cut off"),
    ],
)
def test_nothing_is_green_over_a_holder_that_nobody_hears(
    story: list[tuple[float, Story]], since: float, why: str
) -> None:
    report, _ = told((1, hears(word=a_report())), *story)
    assert not report.fleets["training"].converged
    assert report.fleets["training"].was_converged
    assert report.sight.doubted_since == AT + timedelta(seconds=since)
    assert why in (report.sight.doubt or "")
    scene = Scene(report, AT + timedelta(minutes=6))
    assert title(scene)[1] == "blind"
    assert headline(scene).startswith("Blind since")


@pytest.mark.parametrize("seconds", [0, 7, 15, 90])
def test_how_old_its_picture_is_stands_beside_what_is_green(seconds: int) -> None:
    """A holder that was killed has the lease for 15 s more, and one that hangs longer: green, and with its age."""
    report, _ = told((0, hears(word=a_report(), age=0.0)), (seconds, hears(age=float(seconds))))
    page = home(Scene(report, AT + timedelta(seconds=seconds)))
    assert title(Scene(report, AT + timedelta(seconds=seconds)))[1] != "blind"
    banner, footer = page[page.index('id="banner"') : page.index("<main")], page[page.index("<footer") :]
    assert f"UTC, {span(timedelta(seconds=seconds + 10))} ago" in banner  # the look lies 10 s before the word of it
    assert f"shown by a standby, as the one that acts said {span(timedelta(seconds=seconds))} ago" in footer


def test_a_provider_that_the_holder_doubts_stays_doubted() -> None:
    sight = SightReport(believed_at=AT - timedelta(hours=1), doubted_since=AT - timedelta(hours=1), doubt="gone")
    doubtful = a_report(observation=sight)
    report, _ = told((1, hears(word=doubtful)))
    assert report.sight.doubt == "gone"
    report, _ = told((1, hears(word=doubtful)), (60, loses))
    assert report.sight.doubted_since == sight.doubted_since
    assert "cannot ask" in (report.sight.doubt or "")


@pytest.mark.parametrize("story", [[(0.0, loses)], [(1.0, hears(NOBODY, epoch=0))], [(1.0, hears(epoch=0))]])
def test_without_a_word_nothing_is_shown_for_good(story: list[tuple[float, Story]]) -> None:
    report, _ = told(*story)
    assert report.fleets == {}
    assert report.sight.doubted_since is not None
    assert title(Scene(report, AT))[1] == "blind"


def test_a_standby_is_ready_while_it_reaches_the_database() -> None:
    assert told((1, hears()))[1] is None
    assert told((1, hears(NOBODY)))[1] is None
    assert told((1, hears()), (1, loses))[1] == "db does not answer"
    assert told((1, loses), (1, hears()))[1] is None
