"""A daemon that was away: the right state within one pass of its return, whatever it missed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import anyio
import pytest

from fleetd.model.errors import Unauthorized
from fleetd.model.fleet import Guards, IdleRule, Limit, ShutdownTimeout, Window
from fleetd.model.reasons import Reason, Verb
from tests.support.build import fleet, intent, token_name
from tests.support.fakecloud import FakeCloud
from tests.support.rig import rig
from tests.support.scripted_source import ScriptedSource
from tests.support.virtual_time import run_virtual, virtual_clock

BERLIN = ZoneInfo("Europe/Berlin")
LOOSE = Guards(max_stops_per_pass=Limit(percent=100))
NIGHT = Window("night", 20 * 60, 7 * 60, "Europe/Berlin", target=1)
SIZE = 4
HOUR = timedelta(hours=1)


def local(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN).astimezone(UTC)


async def until(instant: datetime) -> None:
    await anyio.sleep((instant - virtual_clock().now()).total_seconds())


@pytest.mark.parametrize(
    ("away_from", "back_at", "writes", "up"),
    [
        pytest.param("2026-03-02 19:00", "2026-03-02 22:00", {"stop"}, 1, id="over the window's opening"),
        pytest.param("2026-03-02 23:00", "2026-03-03 09:00", {"start"}, SIZE, id="over its closing"),
        pytest.param("2026-03-02 19:00", "2026-03-03 09:00", set(), SIZE, id="over a whole night"),
        pytest.param("2026-03-02 19:00", "2026-03-05 02:00", {"stop"}, 1, id="over days, into a night"),
        pytest.param("2026-03-28 23:00", "2026-03-29 06:30", set(), 1, id="clocks went forward, still night"),
        pytest.param("2026-03-28 23:00", "2026-03-29 07:10", {"start"}, SIZE, id="clocks went forward, morning"),
        pytest.param("2026-10-24 23:00", "2026-10-25 06:50", set(), 1, id="clocks went back, still night"),
        pytest.param("2026-10-24 23:00", "2026-10-25 07:10", {"start"}, SIZE, id="clocks went back, morning"),
    ],
)
def test_the_right_state_within_one_pass(tmp_path: Path, away_from, back_at, writes, up) -> None:
    want = fleet(target=SIZE, windows=(NIGHT,), guards=LOOSE, respect_manual=timedelta(0))

    async def story() -> None:
        cloud = FakeCloud(virtual_clock())
        for n in range(1, SIZE + 1):
            cloud.add(token_name(n), machine_type="P4000")
        async with rig(want, cloud=cloud, state=tmp_path) as world, world.daemon_running():
            await until(local(away_from))
        await until(local(back_at))
        cloud.calls.clear()
        async with rig(want, cloud=cloud, state=tmp_path) as world, world.daemon_running():
            await anyio.sleep(5)
            assert {w.split()[0] for w in cloud.writes()} == writes, "decided in the first pass"
            await anyio.sleep(300)
            assert sum(s == "ready" for s in cloud.states().values()) == up
            assert {w.split()[0] for w in cloud.writes()} == writes

    run_virtual(story, start=local(away_from) - timedelta(hours=2))


def test_a_night_of_parking_that_was_missed_parks_nothing_in_the_morning(tmp_path: Path) -> None:
    parks = Window("night", 20 * 60, 7 * 60, "Europe/Berlin", park_idle=True)
    rule = IdleRule(("gpu",), after=timedelta(minutes=30), min_uptime=timedelta(minutes=10))
    want = fleet(target=2, windows=(parks,), idle=rule, guards=LOOSE)

    async def story() -> None:
        cloud = FakeCloud(virtual_clock())
        for n in (1, 2):
            cloud.add(token_name(n), machine_type="P4000")
        sources = {"gpu": ScriptedSource()}
        async with rig(want, cloud=cloud, state=tmp_path, sources=sources) as world, world.daemon_running():
            await until(local("2026-03-02 19:55"))
        await until(local("2026-03-03 06:50"))
        async with rig(want, cloud=cloud, state=tmp_path, sources=sources) as world, world.daemon_running():
            await until(local("2026-03-03 12:00"))
            assert cloud.writes() == [], "ten minutes of the night are no idle half hour: the clock began anew"

    run_virtual(story, start=local("2026-03-02 18:00"))


@pytest.mark.parametrize("doubted", [False, True])
def test_an_update_that_was_cut_short_is_made_up_for_at_once(tmp_path: Path, doubted: bool) -> None:
    """Nobody knows whether it arrived. It is no transition that could be followed, and repeating it harms nothing."""
    want = fleet(target=1, shutdown_timeout=ShutdownTimeout(hours=24))

    async def story() -> None:
        cloud = FakeCloud(virtual_clock())
        machine = cloud.add(token_name(1), machine_type="P4000", shutdown_timeout_hours=168)
        now = virtual_clock().now()
        async with rig(want, cloud=cloud, state=tmp_path) as world:
            begun = intent(Verb.UPDATE, 1, name=machine.name, reason=Reason.TIMEOUT_DRIFT, created_at=now)
            written = await world.journal.write_intent(replace(begun, machine_id=machine.id, deadline_at=now + HOUR))
            if doubted:
                await world.journal.update_intent(written.id, ambiguous_since=now)
        async with rig(want, cloud=cloud, state=tmp_path) as world, world.daemon_running():
            await anyio.sleep(60)
            assert cloud.writes() == [f"update {machine.id}"]
            assert await world.history() == [f"update {machine.id} lost", f"update {machine.id} reached"]
            assert await world.journal.open_intents() == []

    run_virtual(story)


def test_what_an_earlier_process_began_has_its_verdict_although_the_provider_cannot_be_asked(tmp_path: Path) -> None:
    async def story() -> None:
        cloud = FakeCloud(virtual_clock(), stuck=True)
        async with rig(fleet(target=1), cloud=cloud, state=tmp_path) as world, world.daemon_running():
            await anyio.sleep(60)
            (begun,) = await world.journal.open_intents()
        cloud.before = lambda _op, _id: Unauthorized("Invalid API token")
        async with rig(fleet(target=1), cloud=cloud, state=tmp_path) as world, world.daemon_running():
            await until(begun.deadline_at + timedelta(minutes=1))
            assert await world.journal.open_intents() == []
            assert "create ps1 timed_out" in await world.history()

    run_virtual(story)


def test_a_start_that_was_late_while_nobody_could_look_is_not_taken_for_a_persons(tmp_path: Path) -> None:
    async def story() -> None:
        cloud = FakeCloud(virtual_clock())
        cloud.add(token_name(1), "off", machine_type="P4000")
        async with rig(fleet(target=1), cloud=cloud, state=tmp_path) as world, world.daemon_running():
            await anyio.sleep(1)
            (begun,) = await world.journal.open_intents()
            cloud.before = lambda _op, _id: Unauthorized("Invalid API token")
            await until(begun.deadline_at + timedelta(minutes=1))
            assert "start ps1 timed_out" in await world.history()
            cloud.before = lambda _op, _id: None
            await anyio.sleep(120)
            assert cloud.states()[token_name(1)] == "ready"
            assert not [line for line in await world.history() if line.startswith("outside")]

    run_virtual(story)
