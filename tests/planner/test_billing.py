from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from fleetd.model.journal import HistoryEntry
from fleetd.model.machine import Utilization
from fleetd.planner.billing import Bill, bill_of, gone_since, sum_of


@pytest.mark.parametrize(
    ("use", "bill"),
    [
        pytest.param(
            # The vendor page's example.
            Utilization("ps", "2022-03", 8728.27191281319, Decimal("0.51"), 8785.19808006287, Decimal("5.00")),
            Bill(Decimal("2.4"), Decimal("1.24"), Decimal("0.02")),
            id="the page's example",
        ),
        pytest.param(
            Utilization("ps", "2022-02", 0.0, Decimal("0.51"), 28 * 86_400.0, Decimal("5.00")),
            Bill(Decimal("0.0"), Decimal("0.00"), Decimal("5.00")),
            id="off for a whole February",
        ),
        pytest.param(
            Utilization("ps", "2022-03", 3600.0, Decimal(0), 0.0, None),
            Bill(Decimal("1.0"), None, None),
            id="0 is none",
        ),
        pytest.param(
            Utilization("ps", "2022-03", 0.0, Decimal(0), 0.0, None),
            Bill(Decimal("0.0"), Decimal("0.00"), None),
            id="off",
        ),
        pytest.param(
            Utilization("ps", "2022-03", 3600.0, None, 0.0, None), Bill(Decimal("1.0"), None, None), id="no rates"
        ),
    ],
)
def test_a_machines_month(use, bill) -> None:
    assert bill_of(use) == bill


def test_sums() -> None:
    one = Bill(Decimal("1.5"), Decimal("1.00"), Decimal("0.50"))
    assert sum_of([one, one]) == Bill(Decimal("3.0"), Decimal("2.00"), Decimal("1.00"))
    assert sum_of([one, Bill(Decimal(1), None, Decimal(0))]) == Bill(Decimal("2.5"), None, Decimal("0.50"))
    assert sum_of([]) == Bill(Decimal(0), Decimal(0), Decimal(0))


def line(verb: str, outcome: str = "reached", *, month: int = 3, fleet: str = "training", error: str | None = None):
    return HistoryEntry(
        datetime(2026, month, 9, tzinfo=UTC), fleet, "ps1", "training-a", verb, "", outcome, error=error
    )


@pytest.mark.parametrize(
    ("history", "here", "gone"),
    [
        pytest.param([line("destroy")], [], True, id="destroyed in the month"),
        pytest.param([line("destroy", month=4)], [], True, id="destroyed after it"),
        pytest.param([line("create", month=4), line("destroy", month=5)], [], False, id="made after it"),
        pytest.param([line("create"), line("destroy", month=4)], [], True, id="made in it, and destroyed after it"),
        pytest.param([line("destroy", "refused")], [], False, id="a destroy that was refused"),
        pytest.param([line("destroy")], ["ps1"], False, id="still there all the same"),
        pytest.param([line("destroy", fleet="other")], [], True, id="of a fleet that left the config"),
        pytest.param([line("outside", "observed", error="ready -> gone")], [], True, id="destroyed by a person"),
        pytest.param([line("outside", "observed", error="ready -> off")], [], False, id="stopped by a person"),
        pytest.param([line("start", "gone")], [], True, id="gone while it was started"),
    ],
)
def test_machines_that_went_belong_to_the_month_they_were_there_in(history, here, gone) -> None:
    found = gone_since(history, here, "2026-03")
    assert {f: [(m.id, m.name) for m in ms] for f, ms in found.items()} == (
        {history[-1].fleet: [("ps1", "training-a")]} if gone else {}
    )
