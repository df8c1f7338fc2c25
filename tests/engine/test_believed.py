"""What is shown is what was believed last, with its time (promise 16)."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest
from msgspec import structs
from rich.console import Console

from fleetd.cli.explain import sentences_about
from fleetd.cli.render_status import status_view
from fleetd.engine.handle import EngineHandle
from fleetd.engine.leases import Leases
from fleetd.model.errors import StateUnusable, Unauthorized, Unavailable
from fleetd.model.plan import Listing
from fleetd.model.report import Report
from fleetd.ops.metrics import Metrics
from fleetd.ops.page.headline import headline
from fleetd.ops.page.scene import Scene
from tests.page.everything import every_page
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


def refused(_listing: Listing) -> Listing:
    raise Unauthorized("no such key", operation="list")


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
        pytest.param(gone, "no answer", id="provider gone"),
        pytest.param(refused, "no such key", id="key refused"),
    ],
)
def test_the_last_believed_picture_stays_with_its_time(turn: Any, why: str) -> None:
    async def story() -> None:
        async with rig(fleet(target=3)) as world:
            for n in (1, 2, 3):
                world.cloud.add(token_name(n), machine_type="P4000", private_ip=f"10.0.0.{n}")
            handle = EngineHandle(world.daemon, Leases(world.journal), world.clock)
            async with world.daemon_running():
                await anyio.sleep(100)
                good = handle.status()
                assert {m.private_ip for m in good.machines} == {"10.0.0.1", "10.0.0.2", "10.0.0.3"}
                assert (good.sight.believed_at, good.sight.doubted_since) == (
                    good.sight.at,
                    None,
                )
                world.cloud.listing = turn
                await anyio.sleep(600)
                doubted = handle.status()
                check(world, good, doubted, why)
                world.cloud.listing = lambda listing: listing
                await anyio.sleep(100)
                back = handle.status()
            assert back.sight.doubted_since is None
            assert back.sight.believed_at > doubted.sight.believed_at
            assert back.fleets["training"].converged
            assert world.cloud.writes() == []

    run_virtual(story, start=START)


def test_a_picture_that_grows_old_during_one_long_pass_is_doubted_by_whatever_shows_it() -> None:
    async def story() -> None:
        async with rig(fleet(target=3)) as world:
            for n in (1, 2, 3):
                world.cloud.add(token_name(n), machine_type="P4000")
            handle = EngineHandle(world.daemon, Leases(world.journal), world.clock)
            async with world.daemon_running():
                await anyio.sleep(100)
                good = handle.status()
                world.cloud.latency = 1e6
                await anyio.sleep(600)
                check(world, good, handle.status(), "no pass has come to its end since then")

    run_virtual(story, start=START)


def check(world: Rig, good: Report, doubted: Report, why: str) -> None:
    numbers = structs.replace(doubted.fleets["training"], converged=True)
    assert numbers.was_converged
    assert numbers == good.fleets["training"]
    assert numbers.up == 3
    assert [m.state for m in doubted.machines] == ["ready"] * 3
    believed = doubted.sight.believed_at
    assert believed is not None
    age = (world.clock.now() - believed).total_seconds()
    assert 550 < age < 650
    shown = text(doubted, world.clock.now())
    assert "10 min" in shown
    scene = Scene(doubted, world.clock.now())
    assert re.match(r"Blind since \d\d:\d\d:\d\d UTC: .", headline(scene))
    assert f"Last seen {believed:%H:%M:%S} UTC: 3 of 3 up." in headline(scene)
    for name, page in every_page(scene).items():
        assert "at target" not in page, f"{name}: who looks now is not told that all is well"
    metrics = Metrics(version="1")
    metrics.show(doubted, world.clock.now())
    assert metrics.registry.get_sample_value("fleetd_observation_age_seconds") == pytest.approx(age, abs=1)
    assert metrics.registry.get_sample_value("fleetd_fleet_machines", {"fleet": "training", "state": "up"}) == 3
    assert why in shown
    assert "at target then" in shown
    assert not doubted.fleets["training"].converged
    assert metrics.registry.get_sample_value("fleetd_fleet_converged", {"fleet": "training"}) == 0
    told(doubted, world.clock.now(), why, believed)
    assert doubted.blocked == () or doubted.sight.doubted_since is not None


def told(doubted: Report, now: datetime, why: str, believed: datetime) -> None:
    """What explain says first: since when, why, and of when the rest is."""
    for subject in ("training", token_name(1)):
        first, then, *_ = sentences_about(doubted, subject, (), now)
        assert re.match(r"Not believed since .* for 9 min|Not believed since .* for 10 min", first), first
        assert why in first
        assert first.endswith(f"What follows is as of {believed:%H:%M} UTC.") or f"{believed:%H:%M}" in first
        assert "It is at its target" not in then
        assert " is ready" not in then


@pytest.mark.parametrize("turn", [partial, gone, refused])
def test_before_anything_was_believed_nothing_is_shown(turn: Any) -> None:
    async def story() -> None:
        async with rig(fleet(target=3)) as world:
            for n in (1, 2, 3):
                world.cloud.add(token_name(n), machine_type="P4000")
            world.cloud.listing = turn
            handle = EngineHandle(world.daemon, Leases(world.journal), world.clock)
            async with world.daemon_running():
                await anyio.sleep(100)
                document = handle.status()
        assert (document.fleets, document.machines) == ({}, ())
        assert document.sight.doubted_since is not None
        assert "nothing was believed yet" in text(document, world.clock.now())
        (said, *_) = sentences_about(document, "training", (), world.clock.now())
        assert said.endswith("Nothing has been believed yet.")
        metrics = Metrics(version="1")
        metrics.show(document, world.clock.now())
        assert metrics.registry.get_sample_value("fleetd_fleet_converged", {"fleet": "training"}) is None

    run_virtual(story, start=START)


def test_a_pass_that_fails_after_its_look_leaves_an_old_picture_too() -> None:
    async def story() -> None:
        async with rig(fleet(target=1)) as world:
            handle = EngineHandle(world.daemon, Leases(world.journal), world.clock)
            async with world.daemon_running():
                await anyio.sleep(200)

                async def full(*_args: object, **_more: object) -> None:
                    raise StateUnusable("the disk is full")

                world.reconciler.recall.memory = full  # type: ignore[assignment,method-assign]
                await anyio.sleep(300)
                document = handle.status()
        assert document.sight.doubt == "the disk is full"
        assert not document.fleets["training"].converged
        assert "the disk is full" in sentences_about(document, "training", (), world.clock.now())[0]

    run_virtual(story, start=START)
