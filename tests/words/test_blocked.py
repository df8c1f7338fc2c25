"""What is not being done, several machines in one sentence: what it says of them holds for each."""

from __future__ import annotations

from datetime import timedelta

import pytest

from fleetd.model.reasons import Reason, Verb
from fleetd.model.report import BlockedReport
from fleetd.words.blocked import blocked
from tests.support.build import NOW

FIRST = "For the first of them that ends at 2026-03-02 12:05:00 UTC, in 5 min."
ALL = FIRST.replace("For the first of them that", "That")


@pytest.mark.parametrize(
    ("minutes", "ending"),
    [
        pytest.param([5], ALL, id="one"),
        pytest.param([5, 5], ALL, id="all at once"),
        pytest.param([5, 5.001], ALL, id="within the second"),
        pytest.param([10, 5], FIRST, id="one after the other"),
        pytest.param([None, 5], FIRST, id="of one nobody knows"),
    ],
)
def test_an_end_is_said_of_all_only_where_it_is_that_of_all(minutes: list[float | None], ending: str) -> None:
    rows = [
        BlockedReport(
            fleet="training",
            verb=Verb.STOP,
            reason=Reason.BUSY,
            machine=f"ps{n}",
            name=f"training-{n}",
            until=None if m is None else NOW + timedelta(minutes=m),
            count=1,
        )
        for n, m in enumerate(minutes)
    ]
    (entry,) = blocked(rows, NOW)
    assert entry.words.endswith(ending)
