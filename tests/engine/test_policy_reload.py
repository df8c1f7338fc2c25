"""A policy that a reload changes holds from the next pass on: its check waits for no ring."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import anyio
import pytest

from fleetd.engine.idleness import Idleness
from fleetd.engine.leases import Leases
from fleetd.engine.survey import survey
from fleetd.model.fleet import AutoSnapshot, Fleet, Guards, ShutdownTimeout
from fleetd.model.in_mind import NOTHING, InMind
from fleetd.model.machine import SnapshotPolicy
from fleetd.model.plan import Check
from fleetd.model.settings import Settings
from fleetd.store.sqlite import SqliteJournal
from tests.support.build import fleet, token_name
from tests.support.inline_executor import InlineExecutor
from tests.support.rig import Rig, rig, settings
from tests.support.virtual_time import run_virtual

START = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
WEEK = AutoSnapshot("day", 7)
TIMED = ShutdownTimeout(24)
TRAINING = fleet(target=1, shutdown_timeout=TIMED, auto_snapshot=WEEK)
OTHER = fleet("other", target=1, shutdown_timeout=TIMED, auto_snapshot=WEEK)


def populated(world: Rig, started_hours_ago: float = 1) -> None:
    for name in (token_name(1), token_name(1, "other")):
        box = world.cloud.add(
            name,
            machine_type="P4000",
            shutdown_timeout_hours=24,
            shutdown_timeout_forces=False,
            snapshots=SnapshotPolicy(True, "day", 7),
        )
        world.cloud.human("start", box.id, hours_ago=started_hours_ago)


@pytest.mark.parametrize(
    ("change", "calls"),
    [
        pytest.param({"auto_snapshot": AutoSnapshot("day", 9)}, ["update ps1"], id="keeps more"),
        pytest.param({"auto_snapshot": AutoSnapshot("none")}, ["update ps1"], id="takes none"),
        pytest.param({"shutdown_timeout": ShutdownTimeout(48)}, ["update ps1"], id="later"),
        pytest.param({"shutdown_timeout": ShutdownTimeout(24, force=True)}, ["update ps1"], id="by force"),
        pytest.param({"shutdown_timeout": ShutdownTimeout(24, enforce=True)}, ["stop ps1"], id="fleetd stops it"),
        pytest.param({"auto_snapshot": None}, [], id="no policy any more"),
        pytest.param({"guards": Guards(max_creates_per_pass=3)}, [], id="something else"),
    ],
)
def test_a_policy_that_a_reload_changes_holds_at_once(change, calls) -> None:
    async def story() -> None:
        wanted: list[tuple[Fleet, ...]] = [(TRAINING, OTHER)]
        async with rig(TRAINING, OTHER, load=lambda: settings(*wanted[-1])) as world:
            populated(world, started_hours_ago=30)
            async with world.daemon_running() as daemon:
                await anyio.sleep(300)
                assert world.cloud.writes() == []
                wanted.append((replace(TRAINING, **change), OTHER))
                daemon.reload()
                await anyio.sleep(60)
                assert world.cloud.writes()[: max(1, len(calls))] == calls
                assert not any("ps2" in call for call in world.cloud.writes()), (
                    "the other fleet's policy is as it was"
                )

    run_virtual(story, start=START)


def test_a_change_that_comes_while_a_pass_is_under_way_is_not_taken_for_checked() -> None:
    async def story() -> None:
        wanted = [settings(TRAINING, OTHER)]
        async with rig(TRAINING, OTHER, load=lambda: wanted[-1]) as world:
            populated(world)
            async with world.daemon_running() as daemon:
                await anyio.sleep(45)
                wanted.append(settings(replace(TRAINING, auto_snapshot=AutoSnapshot("day", 9)), OTHER))
                due = daemon.reconciler.checks.due

                def reloaded_meanwhile(*arguments):
                    found = due(*arguments)
                    if daemon.reconciler.settings is not wanted[-1]:
                        daemon.reload()
                    return found

                daemon.reconciler.checks.due = reloaded_meanwhile
                await anyio.sleep(90)
                assert world.cloud.writes() == ["update ps1"]

    run_virtual(story, start=START)


@pytest.mark.parametrize("keep", [pytest.param(7, id="as it was"), pytest.param(9, id="changed in the file")])
def test_plan_promises_now_what_is_due_now_and_nothing_that_waits_for_its_ring(keep: int) -> None:
    """A person turned snapshots off after the check: a daemon mends that at the next, or once the policy changes."""

    async def story() -> None:
        async with rig(TRAINING, OTHER) as world:
            populated(world)
            async with world.daemon_running() as daemon:
                await anyio.sleep(300)
                for machine in ("ps1", "ps2"):
                    world.cloud.set(machine, snapshots=SnapshotPolicy(False, None, None))
                want = settings(replace(TRAINING, auto_snapshot=AutoSnapshot("day", keep)), OTHER)
                shown = await surveyed(world, want, daemon.reconciler.in_mind())
                assert shown == (["update ps1"] if keep == 9 else [])
                assert await surveyed(world, want, NOTHING) == ["update ps1", "update ps2"], "a start checks all"
                await anyio.sleep(60)
                assert world.cloud.writes() == []
                daemon._rung(Check.SNAPSHOT)
                shown = await surveyed(world, settings(TRAINING, OTHER), daemon.reconciler.in_mind())
                await anyio.sleep(60)
                assert shown == world.cloud.writes() == ["update ps1", "update ps2"]

    run_virtual(story, start=START)


async def surveyed(world: Rig, want: Settings, mind: InMind) -> list[str]:
    journal = await SqliteJournal.open_scratch(world.journal._database.path, executor=InlineExecutor())
    idleness = Idleness(lambda _tables: {}, Leases(journal), journal, world.clock)
    try:
        report = await survey(want, world.cloud, journal, world.clock, idleness, mind=mind)
    finally:
        await journal.aclose()
    return [f"{a.verb} {a.machine}" for a in report.plan.actions]
