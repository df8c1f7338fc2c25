"""A machine's month, worked out from its events, against the simulated vendor's own bill."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import anyio
import pytest

from fleetd.cloud.paperspace.cloud import PaperspaceCloud
from fleetd.cloud.paperspace.usage import seconds_up, tells_state
from fleetd.model.machine import MachineEvent, Phase
from fleetd.simulator import faults
from fleetd.simulator.clock import WorldClock
from fleetd.simulator.world import World
from tests.contract.account import KEY, LIMITS, PARAMETERS, account
from tests.support.clients import paperspace_client
from tests.support.virtual_time import run_virtual, virtual_clock, virtual_loop

MARCH = datetime(2026, 3, 1, tzinfo=UTC)
APRIL = datetime(2026, 4, 1, tzinfo=UTC)
HOUR = 3600.0


def event(name: str, day: float, *, hours: float | None = 0, state: str = "done") -> MachineEvent:
    at = MARCH + timedelta(days=day)
    return MachineEvent(
        name, state, created_at=at, finished_at=None if hours is None else at + timedelta(hours=hours)
    )


@pytest.mark.parametrize(
    ("oldest_first", "phase", "hours"),
    [
        pytest.param([event("create", 1)], Phase.UP, 30 * 24, id="made, and up since"),
        pytest.param([event("create", 1), event("start", 2)], Phase.UP, 29 * 24, id="it runs from its start on"),
        pytest.param([event("create", 1)], Phase.DOWN, 0, id="made and not started"),
        pytest.param([event("start", -9)], Phase.UP, 31 * 24, id="up for the whole month"),
        pytest.param([event("stop", -9)], Phase.DOWN, 0, id="off for the whole month"),
        pytest.param([event("start", -9), event("stop", 1, hours=1)], Phase.DOWN, 25, id="until it was off"),
        pytest.param(
            [event("start", -9), event("stop", 30, hours=None, state="in progress")],
            Phase.FALLING,
            31 * 24,
            id="going down",
        ),
        pytest.param([event("start", -9), event("vm-shutdown-force", 1)], Phase.DOWN, 24, id="by the timer"),
        pytest.param([event("stop", -9), event("start", 30), event("restart", 30.5)], Phase.UP, 24, id="a restart"),
        pytest.param([event("stop", -9), event("start", 1, state="error")], Phase.DOWN, 0, id="a failed start"),
        pytest.param([event("create", 1, state="error")], Phase.DOWN, 0, id="a failed create"),
        pytest.param([event("create", 1), event("start", 1, state="error")], Phase.DOWN, 0, id="no capacity"),
        pytest.param([event("start", -9), event("restart", 1, hours=2, state="error")], Phase.DOWN, 26, id="lost it"),
        pytest.param([event("start", -9), event("stop", 1, state="error")], Phase.UP, 31 * 24, id="a failed stop"),
        pytest.param([], Phase.UP, None, id="no events"),
        pytest.param([event("stop", 3)], Phase.DOWN, None, id="events that do not reach back"),
        pytest.param([event("start", -9)], Phase.DOWN, None, id="off without a stop"),
        pytest.param([event("stop", -9)], Phase.UP, None, id="up without a start"),
        pytest.param([event("start", -9), MachineEvent("stop", "done")], Phase.DOWN, None, id="an undated event"),
        pytest.param([event("start", -9), event("snapshot-create", 3)], Phase.UP, 31 * 24, id="a snapshot"),
        pytest.param([event("start", -9), event("deactivate", 1)], Phase.DOWN, 24, id="deactivated"),
        pytest.param([event("start", -9), event("stop", -5)], Phase.DOWN, 0, id="off before the month"),
        pytest.param([event("start", 0)], Phase.UP, None, id="what was before the begin is not known"),
        pytest.param([event("create", 0)], Phase.UP, 31 * 24, id="made at the begin"),
        pytest.param([event("create", 1), event("start", 3, state="error")], Phase.DOWN, 0, id="it never ran"),
        pytest.param([event("create", 1), event("stop", 3)], Phase.DOWN, 48, id="made, ran, and off"),
        pytest.param([event("create", 1), event("restart", 2), event("start", 3)], Phase.UP, 29 * 24, id="one more"),
        pytest.param([event("start", -9), event("stop", 2, hours=None)], Phase.DOWN, 48, id="an end without a date"),
        pytest.param([event("start", -9), event("stop", 2), event("stop", 9)], Phase.DOWN, 48, id="stopped twice"),
        pytest.param([event("start", -9), event("stop", 1, state="cancelled")], Phase.UP, 31 * 24, id="no stop"),
        pytest.param([event("start", -9), event("stop", 1, state="new")], Phase.UP, 31 * 24, id="not yet a stop"),
        pytest.param(
            [event("start", -9), event("stop", 1), event("start", 2), event("stop", 3), event("start", 4)],
            Phase.FALLING,
            24 + 24 + 27 * 24,
            id="several times",
        ),
        pytest.param([event("start", -9), event("stop", 40)], Phase.DOWN, 31 * 24, id="off after the month"),
        pytest.param([event("snapshot-create", -9)], Phase.UP, None, id="nothing that tells"),
    ],
)
def test_hours_up(oldest_first: list[MachineEvent], phase: Phase, hours: float | None) -> None:
    found = seconds_up(oldest_first[::-1], phase, MARCH, APRIL)
    assert found == (None if hours is None else hours * HOUR)


@pytest.mark.parametrize(
    ("sent", "tells"),
    [
        ({"name": "stop", "dtCreated": "2026-02-28T23:59:59.000Z"}, True),
        ({"name": "stop", "dtCreated": "2026-03-01T00:00:00.000Z"}, False),
        ({"name": "snapshot-create", "dtCreated": "2026-02-28T23:59:59.000Z"}, False),
        ({"name": "stop"}, False),
        ({"name": "start", "dtCreated": "2026-02-01T00:00:00Z"}, True),
        ({"name": "create", "dtCreated": "2026-02-01T00:00:00Z"}, True),
        ({"name": "vm-shutdown-force", "dtCreated": "2026-02-01T00:00:00Z"}, True),
        ({"name": "deactivate", "dtCreated": "2026-02-01T00:00:00Z"}, True),
        ({"dtCreated": "2026-02-01T00:00:00Z"}, False),
    ],
)
def test_what_tells_the_state_before_the_month(sent: dict[str, str], tells: bool) -> None:
    assert tells_state(sent, MARCH) is tells


@pytest.mark.parametrize("ahead", [0, 10, -10, 700, -700])
def test_the_simulated_vendors_bill_says_the_same(ahead: int) -> None:
    """Whatever our clock says, hours ahead of the vendor's or behind it."""
    start = MARCH - timedelta(days=3)

    async def story() -> None:
        world = World(seed=5, clock=WorldClock(epoch=start, now_seconds=virtual_loop().time))
        async with account("paperspace", world=world) as at:
            made = await at.cloud.create("training-abc126jt", PARAMETERS["paperspace"])
            at.server.set_faults([faults.Capacity(operation="start", after=4 * 86_400, until=5 * 86_400)])
            for hours in (20, 30, 5, 50, 7, 9, 100):
                await anyio.sleep(hours * HOUR)
                await at.cloud.stop(made.id)
                await anyio.sleep(3 * HOUR)
                await at.cloud.start(made.id)
            await anyio.sleep(HOUR)
            await at.cloud.restart(made.id)
            await anyio.sleep(8 * HOUR)
            machine_id = made.id
            url = f"{at.server.url}/v1"

            def ours() -> datetime:
                return virtual_clock().now() + timedelta(hours=ahead)

            client = paperspace_client(url, lambda: KEY, rng=random.Random(1), limits=LIMITS, now=ours)
            cloud = PaperspaceCloud(client)
            for month in ("2026-02", "2026-03"):
                told = await cloud.utilization(machine_id, month)
                truth = world.usage(machine_id, month)
                assert told.seconds_used == pytest.approx(truth.seconds, abs=1)
                assert told.storage_seconds_used == pytest.approx(truth.storage_seconds, abs=5)
                assert (told.hourly_rate, told.storage_monthly_rate) == (Decimal("0.51"), truth.storage_monthly)
            await cloud.aclose()
            assert truth.seconds > 0
            assert any(e.error for e in world.machines[machine_id].events), "a start failed on the way"

    run_virtual(story, start=start)
