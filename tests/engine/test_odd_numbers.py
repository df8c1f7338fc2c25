"""Every field of both dialects' machines and events with odd numbers and dates: passes go on, and all is shown."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from rich.console import Console

from fleetd.cli.render_status import status_view
from fleetd.cloud.core import wire as core
from fleetd.cloud.paperspace import wire as v1
from fleetd.cloud.reading import Unreadable
from fleetd.engine.handle import EngineHandle
from fleetd.engine.leases import Leases
from fleetd.model.fleet import AutoSnapshot, Costs, Guards, IdleRule, Limit, ShutdownTimeout
from fleetd.model.machine import Machine
from fleetd.ops.metrics import Metrics
from fleetd.ops.page.scene import Scene
from fleetd.words.explaining import explain_machine
from tests.engine.test_passes import settle_down
from tests.page.everything import every_page
from tests.support.build import fleet, token_name
from tests.support.rig import Rig, rig
from tests.support.virtual_time import run_virtual

NUMBERS: tuple[Any, ...] = (
    87_600_000, "99999999", 10**29, -(10**29), "9" * 29, "-87600000", 1e308, -1e308, 1e-300, "1e999999", "1e-999999",
    "NaN", "Infinity", 0, -1, 0.1, 2**63, True, None, [], {}, "",
)  # fmt: skip
DATES: tuple[Any, ...] = (
    "0001-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59-14:00",
    "1969-12-31T23:59:59Z", "2999-12-31T23:59:59Z", "3000-01-01T00:00:00Z", "10000-01-01T00:00:00Z", "soon", 0,
    253402300799, None,
)  # fmt: skip
CORE = {
    "machineType": "P4000", "region": "East Coast (NY2)", "dtCreated": "2026-01-05T10:00:00Z", "usageRate": "P4000",
    "shutdownTimeoutInHours": 24, "shutdownTimeoutForces": False, "performAutoSnapshot": True,
    "autoSnapshotFrequency": "day", "autoSnapshotSaveCount": 7, "updatesPending": False,
}  # fmt: skip
V1 = {
    "machineType": "P4000", "region": "East Coast (NY2)", "dtCreated": "2026-01-05T10:00:00Z", "usageRate": 0.51,
    "autoShutdownEnabled": True, "autoShutdownTimeout": 24, "autoShutdownForce": False, "autoSnapshotEnabled": True,
    "autoSnapshotFrequency": "daily", "autoSnapshotSaveCount": 7, "dtDeleted": None, "updatesPending": False,
}  # fmt: skip
EVENT = {
    "name": "start", "state": "done", "handle": "h1", "id": "h1", "errorMsg": "", "error": None,
    "dtCreated": "2026-01-05T10:00:00Z", "dtFinished": "2026-01-05T10:01:00Z",
}  # fmt: skip


def machines(dialect: Any, fields: dict[str, Any]) -> list[Machine]:
    """One machine for each field and odd value; what the reader will not take at all is left out."""
    found: list[Machine] = []

    def read(changed: dict[str, Any], event: dict[str, Any], older: str) -> None:
        n = len(found) + 1
        base = {"id": f"ps{n}", "name": token_name(n), "state": "ready"}
        stop = EVENT | {"name": "stop", "handle": "h2", "id": "h2", "dtCreated": older, "dtFinished": older}
        try:
            machine = dialect.read_machine(base | fields | changed | {"events": [stop, event]})
        except Unreadable:
            return
        assert machine is not None
        found.append(machine)

    for value in (*NUMBERS, *DATES):
        for field in fields:
            read({field: value}, EVENT, "2026-01-05T11:00:00Z")
        for field in EVENT:
            read({}, EVENT | {field: value}, "2026-01-05T11:00:00Z")
            if value in DATES:
                read({"dtCreated": value}, EVENT | {field: value}, str(value))
    return found


POLICED = fleet(
    target=1,
    shutdown_timeout=ShutdownTimeout(24, enforce=True),
    auto_snapshot=AutoSnapshot("day", 7),
    idle=IdleRule(sources=("gpu",), after=timedelta(hours=1)),
    guards=Guards(max_stops_per_pass=Limit(percent=100)),
    adopt=("ps*",),
)


def show_everything(world: Rig) -> None:
    handle = EngineHandle(world.daemon, Leases(world.journal), world.clock)
    document, now = handle.status(), world.clock.now()
    console = Console(width=200, quiet=True)
    console.print(status_view(document, now))
    for machine in document.machines:
        explain_machine(document, machine, now)
    metrics = Metrics(version="test")
    metrics.pass_done(document)
    metrics.show(document, now)
    metrics.render()
    every_page(Scene(document, now))


@pytest.mark.long
@pytest.mark.parametrize(("dialect", "fields"), [(core, CORE), (v1, V1)], ids=["core", "v1"])
def test_no_number_and_no_date_of_a_machine_ends_a_pass(dialect: Any, fields: dict[str, Any]) -> None:
    odd = machines(dialect, fields)
    assert len(odd) > 400

    async def story() -> None:
        async with rig(POLICED, costs=Costs(max_hourly_cost=Decimal(10))) as world, world.passes_by_hand():
            for machine in odd:
                world.cloud.put(machine)
            await settle_down(world, 90)
            show_everything(world)
            for machine in odd:  # somebody stopped them all: who, is told from their events and timers
                world.cloud.put(replace(machine, state="off"))
            await settle_down(world, 600)  # a pass looks closer at so many only
            show_everything(world)
            outside = [entry for _, entry in await world.journal.history() if entry.verb == "outside"]
            assert len(outside) == len(odd)

    run_virtual(story)
