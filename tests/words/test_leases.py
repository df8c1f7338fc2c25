"""Who of several replicas acts, as it is said."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from fleetd.model.report import LeaseReport, StandbyReport
from fleetd.words.leases import NOBODY, REJECTED, WHY, holder_words, shown_by_words, standby_words, why_words

NOW = datetime(2026, 11, 27, 3, 0, tzinfo=UTC)
AGO = NOW - timedelta(minutes=3)


@pytest.mark.parametrize(
    ("lease", "said"),
    [
        (LeaseReport(holder=None, epoch=3), NOBODY),
        (LeaseReport(holder=None, epoch=3, reason="expired", before="a"), NOBODY),
        (LeaseReport(epoch=1, holder="b"), "b"),
        (LeaseReport(epoch=1, holder="b", since=AGO), "b, for 3 min"),
        (LeaseReport(epoch=1, holder="b", reason="first"), "b; the first to have it"),
        (
            LeaseReport(epoch=2, holder="b", since=AGO, reason="expired", before="a"),
            "b, for 3 min; took over because a did not renew it in time",
        ),
        (
            LeaseReport(epoch=2, holder="b", reason="given_back", before="a"),
            "b; took over because a was stopped and gave it back",
        ),
        (LeaseReport(epoch=2, holder="b", reason="stepped_down"), "b; took over because the one before stepped down"),
        (LeaseReport(epoch=2, holder="b", reason="of a later version", before="a"), "b"),
    ],
)
def test_who_acts_and_why(lease: LeaseReport, said: str) -> None:
    assert holder_words(lease, NOW) == said


@pytest.mark.parametrize("reason", WHY)
def test_what_comes_from_another_host_is_shown_as_the_caller_shows_it(reason: str) -> None:
    lease = LeaseReport(epoch=2, holder="b\n", reason=reason, before="a\n")
    assert "\n" in holder_words(lease, NOW)
    assert "\n" not in holder_words(lease, NOW, str.strip)
    assert "\n" not in why_words(lease, str.strip)


@pytest.mark.parametrize(
    ("standby", "said"),
    [
        (StandbyReport(about="a", config="/a.toml"), "a"),
        (
            StandbyReport(about="a", config="/a.toml", config_differs=True),
            "a; its config (/a.toml) differs from the one in force",
        ),
        (StandbyReport(about="a", config_differs=True), "a; its config (-) differs from the one in force"),
    ],
)
def test_who_stands_by(standby: StandbyReport, said: str) -> None:
    assert standby_words(standby) == said


HEARD = "shown by a standby, as the one that acts said 3 min ago"
OTHER = StandbyReport(about="c", config_differs=True)
REFUSED = StandbyReport(about="c", config_differs=True, config_fault="/c.toml: 1 fault")


@pytest.mark.parametrize(
    ("lease", "said"),
    [
        (LeaseReport(epoch=1, holder="b"), ""),
        (LeaseReport(epoch=1, holder="b", word_at=AGO, standbys=(OTHER,)), ""),
        (
            LeaseReport(epoch=1, holder="b", shown_by="a"),
            "shown by a standby, which has heard nothing of the one that acts yet",
        ),
        (LeaseReport(epoch=1, holder="b", shown_by="a", word_at=AGO), HEARD),
        (LeaseReport(epoch=1, holder="b", shown_by="a", word_at=AGO, standbys=(OTHER,)), HEARD),
        (
            LeaseReport(epoch=1, holder="b", shown_by="c", word_at=AGO, standbys=(OTHER,)),
            f"{HEARD}; its config differs from the one in force",
        ),
        (
            LeaseReport(epoch=1, holder="b", shown_by="c", word_at=AGO, standbys=(REFUSED,)),
            f"{HEARD}; its config differs from the one in force; {REJECTED}",
        ),
    ],
)
def test_whose_word_it_is_that_is_shown(lease: LeaseReport, said: str) -> None:
    assert shown_by_words(lease, NOW) == said
