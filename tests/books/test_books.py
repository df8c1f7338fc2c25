"""Books that balance: what ``fleetd cost`` claims, against the simulator's own bills, over some months.

More of them: ``python -m tests.books --seeds 50``.
"""

from __future__ import annotations

import pytest

from tests.books.audit import BY_FLEETD, BY_PERSON, HIDDEN, PRICE, TOLD
from tests.books.life import live
from tests.books.report import table

SEEDS = (1, 2)
DAYS = 36


@pytest.fixture(scope="module")
def outcomes():
    return [live(seed, days=DAYS) for seed in SEEDS]


def test_cost_is_the_bill_to_the_cent_where_all_is_told_and_never_less(outcomes) -> None:
    print(table(outcomes))
    assert [line for one in outcomes for line in one.wrong] == []
    assert sum(one.faults for one in outcomes) == 0


def test_there_was_something_to_compare(outcomes) -> None:
    """A test that cannot fail is none: every kind of a month occurs, and the months turn."""
    told = [t for one in outcomes for t in one.told]
    assert {t.kind for t in told} == {TOLD, PRICE, BY_FLEETD, BY_PERSON, HIDDEN}
    assert len({t.month for t in told}) >= 3
    assert sum(t.truth for t in told if t.kind == TOLD) > 1000
    done = {name for one in outcomes for name in one.events}
    assert {"adopt", "price", "restart", "rename_fleet", "remove_fleet", "human_destroy", "mute"} <= done
