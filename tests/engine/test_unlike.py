"""Machines that differ from the config's ``machine`` table are kept, started last, and told of wherever one looks."""

from __future__ import annotations

from typing import Any

import pytest

from fleetd.cli.render_plan import plan_view
from fleetd.cli.render_status import status_view
from fleetd.engine.status import plan_document, status_report
from fleetd.model.journal import Memory
from fleetd.model.machine import Machine
from fleetd.model.plan import Observation, Unlike
from fleetd.model.report import DaemonReport, document
from fleetd.planner.plan import plan
from fleetd.planner.roster import roster, start_order, unlike
from fleetd.words.explaining import explain_fleet
from tests.cli.test_cli_render import drawn
from tests.support.build import NOW, facts, fleet, machine
from tests.support.rig import rig
from tests.support.virtual_time import run_virtual

WANTED = fleet(target=2, machine_type="V100", region="ny2")
ROWS: list[tuple[list[Machine], tuple[Unlike, ...]]] = [
    ([], ()),
    ([machine(1, machine_type="V100")], ()),
    ([machine(1, machine_type="V100", region="NY2")], ()),
    ([machine(1, "starting", machine_type=None, region=None)], ()),
    ([machine(1), machine(2, "off"), machine(3, machine_type="V100")], (Unlike("machineType", "P4000", "V100", 2),)),
    (
        [machine(1, machine_type="V100", region="Europe (AMS1)")],
        (Unlike("region", "Europe (AMS1)", "East Coast (NY2)", 1),),
    ),
    ([machine(1, "hibernating")], ()),
]


@pytest.mark.parametrize(("machines", "found"), ROWS)
def test_what_counts_as_different(machines: list[Machine], found: tuple[Unlike, ...]) -> None:
    assert unlike(roster(WANTED, machines, ())) == found


def test_stopped_machines_that_differ_start_last() -> None:
    down = [machine(1, "off"), machine(2, "off", machine_type="V100"), machine(3, "off", machine_type="V100")]
    known = Memory(facts={f.machine_id: f for f in (facts(1, last_up_at=NOW), facts(2), facts(3, last_up_at=NOW))})
    assert [m.id for m in start_order(roster(WANTED, down, ()), known)] == ["ps3", "ps2", "ps1"]
    decided = plan([WANTED], Observation(NOW, tuple(down)), known, NOW)
    assert [a.machine for a in decided.actions] == ["ps3", "ps2"]


def test_it_is_told_wherever_one_looks() -> None:
    async def story() -> None:
        async with rig(fleet(target=2)) as world, world.passes_by_hand() as reconciler:
            for n in (1, 2):
                world.cloud.add(machine(n).name, "ready", machine_type="P4000")
            world.configure(fleet(target=2, machine_type="V100"))
            report: Any = await reconciler.run_pass()
            words = "2 machines are P4000, the config says V100: nothing is replaced."
            shown = status_report(report, daemon=DaemonReport(running=True))
            one = {"what": "machineType", "found": "P4000", "wanted": "V100", "count": 2}
            assert document(shown.fleets["training"].unlike) == (one,)
            assert plan_document(report.plan)["fleets"]["training"]["unlike"] == (one,)
            assert words in explain_fleet(shown, "training", NOW)
            assert f"training: {words}" in drawn(status_view(shown, NOW), width=300)
            assert words in drawn(plan_view(report.plan), width=300)
            assert not world.cloud.writes()

    run_virtual(story)
