"""What is shown is what was believed last, with its time (promise 16)."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest
from rich.console import Console

from fleetd.cli.render_status import status_view
from fleetd.engine.leases import Leases
from fleetd.engine.seat import EngineSeat
from fleetd.model.errors import Unavailable
from fleetd.model.plan import Listing
from fleetd.ops.metrics import Metrics
from fleetd.ops.page.words import headline
from tests.support.build import fleet, token_name
from tests.support.rig import Rig, rig
from tests.support.virtual_time import run_virtual

START = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def partial(listing: Listing) -> Listing:
    return Listing(listing.machines[:1], complete=False)


def lacking(listing: Listing) -> Listing:
    return Listing(listing.machines[:1])


def stopped(listing: Listing) -> Listing:
    """As it never was: show contradicts it."""
    return Listing(tuple(replace(m, state="off") for m in listing.machines))


def gone(_listing: Listing) -> Listing:
    raise Unavailable("no answer", operation="list")


def text(document: dict[str, Any], now: datetime) -> str:
    screen = Console(width=200, file=io.StringIO())
    screen.print(status_view(document, now))
    return screen.file.getvalue()


@pytest.mark.parametrize(
    ("turn", "why"),
    [
        pytest.param(partial, "the listing is not whole", id="partial"),
        pytest.param(lacking, "the listing lacks", id="lacks machines"),
        pytest.param(stopped, "the listing has", id="contradicted"),
        pytest.param(gone, "", id="provider gone"),
    ],
)
def test_the_last_believed_picture_stays_with_its_time(turn: Any, why: str) -> None:
    async def story() -> None:
        async with rig(fleet(target=3)) as world:
            for n in (1, 2, 3):
                world.cloud.add(token_name(n), machine_type="P4000")
            seat = EngineSeat(world.daemon, Leases(world.journal), world.clock)
            async with world.daemon_running():
                await anyio.sleep(100)
                good = seat.status()
                assert (good["observation"]["believed_at"], good["observation"]["doubted_since"]) == (
                    good["observation"]["at"],
                    None,
                )
                world.cloud.listing = turn
                await anyio.sleep(600)
                doubted = seat.status()
                check(world, good, doubted, why)
                world.cloud.listing = lambda listing: listing
                await anyio.sleep(100)
                back = seat.status()
            assert back["observation"]["doubted_since"] is None
            assert back["observation"]["believed_at"] > doubted["observation"]["believed_at"]
            assert back["fleets"]["training"]["converged"]
            assert world.cloud.writes() == []

    run_virtual(story, start=START)


def check(world: Rig, good: dict[str, Any], doubted: dict[str, Any], why: str) -> None:
    numbers = {k: v for k, v in doubted["fleets"]["training"].items() if k != "converged"}
    assert numbers == {k: v for k, v in good["fleets"]["training"].items() if k != "converged"}
    assert numbers["up"] == 3
    assert [m["state"] for m in doubted["machines"]] == ["ready"] * 3
    believed = datetime.fromisoformat(doubted["observation"]["believed_at"])
    age = (world.clock.now() - believed).total_seconds()
    assert 550 < age < 650
    shown = text(doubted, world.clock.now())
    assert "10 min" in shown
    assert headline(doubted, world.clock.now()).startswith(f"Not seen since {believed:%H:%M:%S} UTC. Then: ")
    metrics = Metrics(version="1")
    metrics.show(doubted, world.clock.now())
    assert metrics.registry.get_sample_value("fleetd_observation_age_seconds") == pytest.approx(age, abs=1)
    assert metrics.registry.get_sample_value("fleetd_fleet_machines", {"fleet": "training", "state": "up"}) == 3
    if why:
        assert why in shown
        assert not doubted["fleets"]["training"]["converged"]
        assert doubted["blocked"] == [] or doubted["observation"]["doubted_since"] is not None
