"""What is an orphan: made by a fleetd, for a fleet that this config lacks, and owned by none."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from fleetd.model.plan import OrphanView
from fleetd.planner.orphans import orphan_views, orphans_of
from tests.support.build import facts, fleet, machine, token_name

HERE = (fleet(),)
PRICES = {"P4000": Decimal("0.51")}
OLD, RENAMED = machine(1, fleet="old"), machine(1, name="renamed")


@pytest.mark.parametrize(
    ("of", "owned", "known", "made_for"),
    [
        pytest.param(OLD, (), (), "old", id="by its name"),
        pytest.param(OLD, ("ps1",), (), None, id="adopted by a fleet of the config"),
        pytest.param(machine(1), (), (), None, id="a look-alike of a configured fleet's"),
        pytest.param(machine(1, name="desk"), (), (), None, id="nobody's"),
        pytest.param(RENAMED, (), (facts(1, fleet="old"),), "old", id="renamed: the journal knows"),
        pytest.param(OLD, (), (facts(1, fleet="older"),), "older", id="the journal goes before the name"),
        pytest.param(RENAMED, (), (facts(1, fleet="old", adopted=True),), None, id="it was adopted, not made"),
        pytest.param(RENAMED, (), (facts(1),), None, id="made for a configured fleet"),
        pytest.param(RENAMED, (), (facts(2, fleet="old"),), None, id="another's facts"),
    ],
)
def test_an_orphan_was_made_for_a_fleet_that_the_config_lacks(of, owned, known: tuple[Any, ...], made_for) -> None:
    found = orphans_of([of], owned, {f.machine_id: f for f in known}, HERE)
    assert found == ({} if made_for is None else {made_for: [of]})


@pytest.mark.parametrize(
    ("states", "billed", "hourly"),
    [
        pytest.param("ready off", 1, "0.51", id="a stopped one costs storage only"),
        pytest.param("off off", 0, "0", id="nothing by the hour"),
        pytest.param("ready starting stopping", 3, "1.53", id="whatever runs, or may"),
    ],
)
def test_what_orphans_cost(states: str, billed: int, hourly: str) -> None:
    left = [machine(n, state, fleet="old") for n, state in enumerate(states.split(), 1)]
    names = tuple(sorted(token_name(n, "old") for n in range(1, len(left) + 1)))
    strange = machine(9, "ready", fleet="dear", machine_type="V100")
    assert orphan_views({"old": left, "dear": [strange]}, PRICES) == (
        OrphanView("dear", (strange.name,), 1, None),
        OrphanView("old", names, billed, Decimal(hourly)),
    )
