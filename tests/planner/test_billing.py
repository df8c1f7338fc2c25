from __future__ import annotations

from decimal import Decimal

import pytest

from fleetd.model.machine import Utilization
from fleetd.planner.billing import Bill, bill_of, sum_of


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
