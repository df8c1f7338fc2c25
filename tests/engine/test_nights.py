"""Windows, parking, checks and people, through the whole daemon on virtual time."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest
from structlog.testing import capture_logs

from fleetd.model.errors import Unavailable
from fleetd.model.fleet import AutoSnapshot, Guards, IdleRule, Limit, ShutdownTimeout, Window
from fleetd.model.machine import SnapshotPolicy
from fleetd.model.reasons import Activity
from fleetd.planner.idle import Reading
from tests.support.build import fleet, hold, token_name
from tests.support.rig import Rig, rig
from tests.support.scripted_source import ScriptedSource
from tests.support.virtual_time import run_virtual

# The virtual clock starts at noon; the window opens at two in the afternoon and closes at six, UTC.
NIGHT = Window("night", start=14 * 60, end=18 * 60, timezone="UTC", park_idle=True)
RULE = IdleRule(("gpu",), after=timedelta(minutes=30), min_uptime=timedelta(minutes=10))
LOOSE = Guards(max_stops_per_pass=Limit(percent=100))
PARKED = fleet(target=2, windows=(NIGHT,), idle=RULE, guards=LOOSE, respect_manual=timedelta(0))
START = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def populate(world: Rig, count: int = 2) -> None:
    for n in range(1, count + 1):
        world.cloud.add(token_name(n), machine_type="P4000")


def up(world: Rig) -> int:
    return sum(state == "ready" for state in world.cloud.states().values())


def run(story) -> None:
    run_virtual(story, start=START)


def test_idle_machines_are_parked_and_come_back_in_the_morning() -> None:
    async def story() -> None:
        async with rig(PARKED, sources={"gpu": ScriptedSource()}) as world:
            populate(world)
            async with world.daemon_running():
                await anyio.sleep(1.9 * 3600)
                assert world.cloud.writes() == []
                await anyio.sleep(0.2 * 3600)
                assert world.cloud.writes() == ["stop ps1", "stop ps2"] or world.cloud.writes() == [
                    "stop ps2",
                    "stop ps1",
                ]
                await anyio.sleep(3.8 * 3600)
                assert up(world) == 0
                await anyio.sleep(0.3 * 3600)
                assert up(world) == 2
                assert len(world.cloud.writes()) == 4
            evidence = [e.evidence for _, e in await world.journal.history() if e.verb == "stop"]
            assert evidence == ["gpu: idle, scripted idle"] * 2

    run(story)


@pytest.mark.parametrize("verdict", [Activity.ACTIVE, Activity.UNKNOWN])
def test_what_is_used_or_unknown_is_never_parked(verdict: Activity) -> None:
    async def story() -> None:
        source = ScriptedSource(says=lambda m: verdict if m.id == "ps1" else Activity.IDLE)
        async with rig(PARKED, sources={"gpu": source}) as world:
            populate(world)
            async with world.daemon_running():
                await anyio.sleep(5 * 3600)
                assert world.cloud.writes() == ["stop ps2"]

    run(story)


class LastLook(ScriptedSource):
    """Idle, until it is asked about one machine alone, as it is right before a stop."""

    def __init__(self, last_word: Activity) -> None:
        super().__init__()
        self.last_word = last_word
        self.last_looks: list[str] = []

    async def read(self, machines, *, window, now):
        if len(machines) > 1:
            return await super().read(machines, window=window, now=now)
        (machine,) = machines
        self.last_looks.append(machine.id)
        return {machine.id: Reading(self.name, self.last_word, now, "asked again")}


@pytest.mark.parametrize("verdict", [Activity.ACTIVE, Activity.UNKNOWN])
def test_a_machine_that_is_not_idle_at_the_last_moment_is_left_alone(verdict: Activity) -> None:
    async def story() -> None:
        source = LastLook(verdict)
        with capture_logs() as logs:
            async with rig(PARKED, sources={"gpu": source}) as world:
                populate(world)
                async with world.daemon_running():
                    await anyio.sleep(3 * 3600)
                    assert world.cloud.writes() == []
        assert set(source.last_looks) == {"ps1", "ps2"}
        assert "idle_source.went_silent" not in {line["event"] for line in logs}, "one machine is not the fleet"

    run(story)


def test_a_source_that_hangs_keeps_no_fleet_from_its_target() -> None:
    class Hangs(ScriptedSource):
        async def read(self, machines, *, window, now):
            await anyio.sleep(3600)
            return await super().read(machines, window=window, now=now)

    async def story() -> None:
        with capture_logs() as logs:
            async with rig(replace(PARKED, target=3), sources={"gpu": Hangs()}) as world:
                populate(world, 1)
                async with world.daemon_running():
                    await anyio.sleep(600)
                    assert world.cloud.writes() == ["create", "create"]
                    assert up(world) == 3
                    await anyio.sleep(3 * 3600)
                    assert len(world.cloud.writes()) == 2, "parks nothing"
        silences = [line for line in logs if line["event"] == "idle_source.went_silent"]
        assert [(line["source"], line["error"]) for line in silences] == [("gpu", "no answer within 30 s")]

    run(story)


def test_a_source_that_falls_silent_stops_the_parking_and_is_said_once() -> None:
    async def story() -> None:
        source = ScriptedSource()
        with capture_logs() as logs:
            async with rig(PARKED, sources={"gpu": source}) as world:
                populate(world)
                async with world.daemon_running():
                    await anyio.sleep(3600)
                    source.says = lambda _m: Activity.UNKNOWN
                    await anyio.sleep(2 * 3600)
                    assert world.cloud.writes() == []
                    source.says = lambda _m: Activity.IDLE
                    await anyio.sleep(0.6 * 3600)
                    assert len(world.cloud.writes()) == 2
        said = [line["event"] for line in logs if str(line["event"]).startswith("idle_source.")]
        assert said == ["idle_source.went_silent", "idle_source.recovered"]

    run(story)


def test_an_idle_clock_survives_a_restart_but_not_a_long_absence(tmp_path: Path) -> None:
    async def story() -> None:
        sources = {"gpu": ScriptedSource()}
        async with rig(PARKED, sources=sources, state=tmp_path) as world:
            populate(world)
            cloud = world.cloud
            async with world.daemon_running():
                await anyio.sleep(2.2 * 3600 - 600)
        await anyio.sleep(30)
        async with rig(PARKED, sources=sources, state=tmp_path, cloud=cloud) as world, world.daemon_running():
            await anyio.sleep(60)
            assert len(cloud.writes()) == 2, "two hours idle before, a minute uncovered"

    run(story)


def test_a_hold_restarts_the_idle_clock() -> None:
    async def story() -> None:
        async with rig(PARKED, sources={"gpu": ScriptedSource()}) as world:
            populate(world)
            async with world.daemon_running() as daemon:
                await anyio.sleep(1.5 * 3600)
                now = world.clock.now()
                await daemon.reconciler.vetoes.add(
                    hold(
                        "ps1",
                        verbs=frozenset({"restart"}),
                        reason="debugging",
                        actor="ada",
                        expires_at=now + timedelta(minutes=40),
                        created_at=world.clock.now(),
                    )
                )
                await anyio.sleep(0.7 * 3600)
                assert world.cloud.writes() == ["stop ps2"], "ps1 has been idle since the hold ended only"
                await anyio.sleep(0.5 * 3600)
                assert sorted(world.cloud.writes()) == ["stop ps1", "stop ps2"]

    run(story)


def test_a_fleet_that_turns_idle_all_at_once_is_held_back() -> None:
    want = replace(PARKED, target=4)

    async def story() -> None:
        source = ScriptedSource(says=lambda _m: Activity.ACTIVE)
        with capture_logs() as logs:
            async with rig(want, sources={"gpu": source}) as world:
                populate(world, 4)
                async with world.daemon_running():
                    await anyio.sleep(2.1 * 3600)
                    source.says = lambda _m: Activity.IDLE
                    await anyio.sleep(0.7 * 3600)
                    assert world.cloud.writes() == [], "idle for half an hour, but all four at once"
                    await anyio.sleep(0.5 * 3600)
                    assert len(world.cloud.writes()) == 4
        held_back = [line for line in logs if line["event"] == "fleet.was_blocked" and line["reason"] == "idle_surge"]
        assert [(line["count"], len(line["names"].split(", "))) for line in held_back] == [(4, 4)]

    run(story)


@pytest.mark.long
def test_a_human_who_starts_a_machine_in_a_parked_window_keeps_it_until_the_next_one() -> None:
    async def story() -> None:
        async with rig(PARKED, sources={"gpu": ScriptedSource()}) as world:
            populate(world)
            async with world.daemon_running():
                await anyio.sleep(2.5 * 3600)
                assert up(world) == 0
                before = len(world.cloud.writes())
                world.cloud.human("start", "ps1")
                await anyio.sleep(1.4 * 3600)
                assert len(world.cloud.writes()) == before
                await anyio.sleep(23 * 3600)
                assert up(world) == 0, "the next night it is parked like all others"

    run(story)


def test_a_humans_stop_is_not_fought_for_a_while() -> None:
    async def story() -> None:
        async with rig(fleet(target=1)) as world:
            populate(world, 1)
            async with world.daemon_running():
                await anyio.sleep(300)
                world.cloud.human("stop", "ps1")
                await anyio.sleep(25 * 60)
                assert world.cloud.writes() == []
                await anyio.sleep(10 * 60)
                assert world.cloud.writes() == ["start ps1"]
            outside = [(e.reason, e.error) for _, e in await world.journal.history() if e.verb == "outside"]
            assert outside[0][0] == "operator"

    run(story)


def test_drift_is_put_right_once_and_what_outlived_its_timeout_is_stopped() -> None:
    want = fleet(
        target=1,
        shutdown_timeout=ShutdownTimeout(hours=24, enforce=True),
        auto_snapshot=AutoSnapshot("day", 7),
    )

    async def story() -> None:
        with capture_logs() as logs:
            async with rig(want) as world:
                world.cloud.add(
                    token_name(1),
                    machine_type="P4000",
                    shutdown_timeout_hours=168,
                    shutdown_timeout_forces=False,
                    snapshots=SnapshotPolicy(False, None, None),
                )
                async with world.daemon_running() as daemon:
                    await anyio.sleep(120)
                    assert world.cloud.writes() == ["update ps1", "update ps1"]
                    for _ in range(5):
                        daemon._rung("shutdown_timeout_check")
                        daemon._rung("snapshot_check")
                        await anyio.sleep(900)
                    assert world.cloud.writes() == ["update ps1", "update ps1"]
                    world.cloud.human("start", "ps1", hours_ago=25)
                    daemon._rung("shutdown_timeout_check")
                    await anyio.sleep(90)
                    assert world.cloud.writes()[2:3] == ["stop ps1"]
        changes = [line["evidence"] for line in logs if line["event"] == "machine.update_requested"]
        assert changes == [
            "shutdownTimeoutInHours 168 -> 24",
            "performAutoSnapshot false -> true, autoSnapshotFrequency none -> day, autoSnapshotSaveCount none -> 7",
        ]

    run(story)


POLICED = fleet(target=2, shutdown_timeout=ShutdownTimeout(hours=24), auto_snapshot=AutoSnapshot("day", 7))
VENDORS_OWN = {
    "shutdown_timeout_hours": 168,
    "shutdown_timeout_forces": False,
    "snapshots": SnapshotPolicy(False, None, None),
}


def test_a_new_machine_gets_its_policies_when_it_is_up_not_when_the_checks_ring_next() -> None:
    async def story() -> None:
        async with rig(POLICED) as world:
            world.cloud.defaults.update(VENDORS_OWN)
            async with world.daemon_running():
                await anyio.sleep(300)
                made = ["create", "create", "update ps1", "update ps1", "update ps2", "update ps2"]
                assert sorted(world.cloud.writes()) == made
                await anyio.sleep(3600)
                assert len(world.cloud.writes()) == len(made)

    run(story)


def test_a_check_that_rings_during_a_transition_is_made_when_that_is_over() -> None:
    async def story() -> None:
        async with rig(replace(POLICED, target=1)) as world:
            world.cloud.add(token_name(1), "off", machine_type="P4000", **VENDORS_OWN)
            async with world.daemon_running() as daemon:
                await anyio.sleep(300)
                assert sorted(world.cloud.writes()) == ["start ps1", "update ps1", "update ps1"]
                world.cloud.set("ps1", state="starting", snapshots=SnapshotPolicy(False, None, None))
                daemon._rung("snapshot_check")
                await anyio.sleep(120)
                assert len(world.cloud.writes()) == 3
                world.cloud.set("ps1", state="ready")
                await anyio.sleep(120)
                assert world.cloud.writes()[3:] == ["update ps1"]

    run(story)


def test_a_drift_that_could_not_be_mended_is_tried_again_before_the_next_ring() -> None:
    async def story() -> None:
        async with rig(replace(POLICED, target=1, shutdown_timeout=None)) as world:
            world.cloud.add(token_name(1), machine_type="P4000", **VENDORS_OWN)
            failing = [Unavailable("down", operation="update", status=503)] * 2
            world.cloud.before = lambda operation, _id: failing.pop() if operation == "update" and failing else None
            async with world.daemon_running():
                await anyio.sleep(600)
            assert world.cloud.writes() == ["update ps1"] * 3

    run(story)


def test_the_morning_finds_in_history_what_was_not_parked_and_why() -> None:
    async def story() -> None:
        source = ScriptedSource(says=lambda m: Activity.ACTIVE if m.id == "ps1" else Activity.IDLE)
        with capture_logs() as logs:
            async with rig(PARKED, sources={"gpu": source}) as world:
                populate(world)
                async with world.daemon_running():
                    await anyio.sleep(6.2 * 3600)
                entries = [e for _, e in await world.journal.history() if e.verb == "window"]
                (entry,) = entries
                assert (entry.fleet, entry.name, entry.reason) == ("training", "night", "window_parked")
                assert entry.evidence == (
                    f"closed with 1 off and 1 up; not parked: {token_name(1)}: it is being used "
                    "(gpu: active, scripted active)"
                )
        closed = [line for line in logs if line["event"] == "window.was_closed"]
        assert [(c["fleet"], c["window"], c["up"], c["down"]) for c in closed] == [("training", "night", 1, 1)]

    run(story)


def test_a_machine_that_a_person_restarted_between_two_passes_is_not_parked_for_its_idleness_before() -> None:
    async def story() -> None:
        async with rig(PARKED, sources={"gpu": ScriptedSource()}) as world:
            populate(world)
            async with world.daemon_running():
                await anyio.sleep(2 * 3600 - 60)
                world.cloud.human("restart", "ps1")  # ready before and after: no listing shows it
                await anyio.sleep(29 * 60)
                assert world.cloud.writes() == ["stop ps2"]
                await anyio.sleep(5 * 60)
                assert world.cloud.writes() == ["stop ps2", "stop ps1"]

    run(story)


def test_a_provider_whose_clock_is_hours_ahead_does_not_keep_idle_machines_up() -> None:
    async def story() -> None:
        async with rig(PARKED, sources={"gpu": ScriptedSource()}) as world:
            populate(world)
            world.cloud.human("restart", "ps1", hours_ago=-12)  # dated far in the future
            async with world.daemon_running():
                await anyio.sleep(2 * 3600 + 29 * 60)
                assert world.cloud.writes() == ["stop ps2"], "its idle clock begins anew, once"
                await anyio.sleep(5 * 60)
                assert world.cloud.writes() == ["stop ps2", "stop ps1"]

    run(story)


def test_what_is_not_known_of_the_last_half_hour_is_not_made_up_for_by_the_hours_before() -> None:
    async def story() -> None:
        source = ScriptedSource()
        async with rig(PARKED, sources={"gpu": source}) as world:
            populate(world)
            async with world.daemon_running():
                await anyio.sleep(2 * 3600 - 5 * 60)
                source.says = lambda _m: Activity.UNKNOWN
                await anyio.sleep(12 * 60)  # less than a tenth of two hours; somebody may have begun to work
                source.says = lambda _m: Activity.IDLE
                await anyio.sleep(29 * 60)
                assert world.cloud.writes() == []
                await anyio.sleep(5 * 60)
                assert len(world.cloud.writes()) == 2

    run(story)
