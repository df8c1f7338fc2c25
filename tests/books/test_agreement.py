"""One account, one moment: what ``cost``, ``plan``, ``status`` and ``/metrics`` say of money is the same."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import pytest

from fleetd.cli.cost import cost_document
from fleetd.engine.handle import EngineHandle
from fleetd.engine.idleness import Idleness
from fleetd.engine.leases import Leases
from fleetd.engine.monthly_costs import month_bills
from fleetd.engine.status import money_document, plan_document
from fleetd.engine.survey import survey
from fleetd.model.errors import NotFound
from fleetd.model.fleet import Costs, Guards
from fleetd.model.report import document
from fleetd.ops.metrics import Metrics
from fleetd.simulator.bill import bill
from fleetd.simulator.clock import WorldClock
from fleetd.simulator.world import World
from fleetd.store.sqlite import SqliteJournal
from tests.books.cloud import WorldCloud
from tests.books.life import PARAMETERS
from tests.support.build import fleet, token_name
from tests.support.inline_executor import InlineExecutor
from tests.support.rig import rig, settings
from tests.support.virtual_time import run_virtual, virtual_clock, virtual_loop

START = datetime(2026, 3, 30, 9, tzinfo=UTC)
OPTIONS = {
    "parameters": PARAMETERS | {"machineType": "P4000"},
    "guards": Guards(max_monthly_cost=Decimal(10_000)),
}
COSTS = Costs(max_hourly_cost=Decimal(50), max_monthly_cost=Decimal(20_000))


async def said(tmp_path: Path, *, mute: bool, months: int) -> dict[str, Any]:
    """Two machines of the fleet, one of them adopted, and one of a fleet that is no more; after a while."""
    clock = virtual_clock()
    world = World(
        clock=WorldClock(epoch=clock.now(), now_seconds=virtual_loop().time, origin=0.0), vendor_timer=False
    )
    cloud = WorldCloud(world)
    old = world.add_machine("gpu-old", age_seconds=6 * 3600)
    orphan = world.add_machine(token_name(1, "retired"), machine_type="V100", age_seconds=3600)
    want = fleet(target=2, adopt=(old.id,), **OPTIONS)
    pace = {"interval": 900, "poll": 60}
    async with rig(want, cloud=cloud, state=tmp_path, costs=COSTS, **pace) as r, r.daemon_running():  # type: ignore[arg-type]
        await anyio.sleep(7 * 3600 + 1234)
        world.human_stop(old.id)
        await anyio.sleep(3600 + months * 86_400 * 2)
        if mute:
            cloud.silent = lambda machine: NotFound("no bill") if machine == orphan.id else None
        cloud.latency = 0.0
        scratch = await SqliteJournal.open_scratch(r.journal._database.path, executor=InlineExecutor())
        leases = Leases(scratch)
        idleness = Idleness(lambda _tables: {}, leases, scratch, clock)
        config = settings(want, costs=COSTS, **pace)
        plan = (await survey(config, cloud, scratch, clock, idleness, forecast=True)).plan  # type: ignore[arg-type]
        now = clock.now()
        month = f"{now:%Y-%m}"
        listing = await cloud.list_machines()
        found = await month_bills(cloud, r.journal, config.fleets, listing, month, clock.now())  # type: ignore[arg-type]
        status = EngineHandle(r.daemon, leases, clock).status()
        metrics = Metrics(version="1")
        metrics.show(status, clock.now())
        begins = world.clock.since_epoch(clock.now().replace(day=1, hour=0, minute=0, second=0, microsecond=0))
        t = world.advance()
        truth = sum((bill(m, world.clock, begins, t).total for m in world.machines.values()), Decimal(0))
        await scratch.aclose()
    samples = {(s.name, *s.labels.values()): s.value for family in metrics.registry.collect() for s in family.samples}
    return {
        "plan": plan_document(plan),
        "forecast": money_document(plan),
        "cost": cost_document(found),
        "status": document(status),
        "metrics": samples,
        "truth": truth,
        "age": (now - r.reconciler.last.started_at).total_seconds(),  # type: ignore[union-attr]
    }


@pytest.mark.parametrize("months", [0, 1], ids=["within a month", "past the month's end"])
def test_all_say_the_same_of_the_same_moment(tmp_path: Path, months: int) -> None:
    found = run_virtual(lambda: said(tmp_path, mute=False, months=months), start=START)
    plan, status, metrics, cost = found["plan"], found["status"], found["metrics"], found["cost"]
    hourly = Decimal(status["hourly"])
    assert Decimal(plan["hourly_before"]) == hourly == Decimal("2.30") + 2 * Decimal("0.51")
    each = [v for (name, *_), v in metrics.items() if name == "fleetd_hourly_cost_dollars"]
    assert sum(each) + metrics["fleetd_orphans_hourly_cost_dollars",] == pytest.approx(float(hourly))
    assert metrics["fleetd_hourly_cost_limit_dollars",] == float(status["max_hourly_cost"]) == 50
    assert plan["orphans"] == status["orphans"]
    shown = {b["fleet"]: b for b in status["budgets"]}
    assert {b["fleet"] for b in plan["budgets"]} == set(shown) == {None, "training"}
    for whose, budget in shown.items():
        for part in ("budget", "spent", "committed", "wanted"):
            assert metrics["fleetd_monthly_budget_dollars", whose or "", part] == float(budget[part])
    forecast = {b["fleet"]: b for b in found["forecast"]["budgets"]}
    assert forecast[None]["at_most"] is False
    for whose, total in ((None, cost["total"]), ("training", cost["fleets"]["training"])):
        assert Decimal(forecast[whose]["spent"]) == pytest.approx(
            Decimal(total["compute"]) + Decimal(total["storage"]), abs=Decimal("0.011")
        )
        # The daemon's last answer is some hours old: what it reckons since was not less than the bill at its pass.
        since = hourly * Decimal(found["age"]) / 3600
        assert Decimal(shown[whose]["spent"]) >= Decimal(forecast[whose]["spent"]) - since - Decimal("0.01")
        assert Decimal(shown[whose]["spent"]) <= Decimal(forecast[whose]["spent"]) + 6 * hourly
    assert Decimal(forecast[None]["spent"]) == pytest.approx(found["truth"], abs=Decimal("0.011"))
    assert cost["total"]["known"] == {name: cost["total"][name] for name in ("hours", "compute", "storage")}


def test_a_bill_that_cannot_be_read_is_no_bill_of_nothing(tmp_path: Path) -> None:
    found = run_virtual(lambda: said(tmp_path, mute=True, months=0), start=START)
    forecast = {b["fleet"]: b for b in found["forecast"]["budgets"]}
    total = found["cost"]["total"]
    low, high = (Decimal(row["compute"]) + Decimal(row["storage"]) for row in (total["known"], total))
    assert forecast[None]["at_most"]
    assert Decimal(forecast[None]["spent"]) == pytest.approx(high, abs=Decimal("0.03"))
    assert low < found["truth"] <= high
    assert not forecast["training"]["at_most"], "the orphan's bill is not this fleet's matter"
