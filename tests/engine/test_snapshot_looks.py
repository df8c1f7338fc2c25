"""Snapshots as the engine sees them: looked at before a destroy, again right before the call, and by the check."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import anyio
import pytest
import structlog.testing

from fleetd.model.errors import Busy, Unavailable
from fleetd.model.fleet import AutoSnapshot, Guards, Limit, ScaleIn
from fleetd.model.machine import MachineEvent, SnapshotPolicy, SnapshotSight
from fleetd.model.plan import Check
from fleetd.model.reasons import Reason, Verb
from tests.support.build import fleet, token_name
from tests.support.fakecloud import FakeCloud
from tests.support.rig import Rig, rig
from tests.support.virtual_time import run_virtual, virtual_clock

CAREFUL = fleet(
    target=1,
    scale_in=ScaleIn.DESTROY,
    allow_destroy=True,
    adopt=tuple(token_name(n) for n in range(1, 6)),  # else they are recovered, and none is destroyed
    destroy_requires_snapshot=timedelta(hours=24),
    guards=Guards(max_stops_per_pass=Limit(percent=100)),
)
DAILY = fleet(target=1, auto_snapshot=AutoSnapshot("day", 7))


def cloud_of(*hours: float | None) -> FakeCloud:
    """One machine for each newest snapshot's age, the youngest machine last."""
    cloud = FakeCloud(virtual_clock())
    for n, age in enumerate(hours, start=1):
        made = cloud.add(token_name(n), snapshots=SnapshotPolicy(True, "day", 7))
        cloud.set(made.id, created_at=cloud.clock.now() - timedelta(days=9) + timedelta(minutes=n))
        newest = None if age is None else cloud.clock.now() - timedelta(hours=age)
        cloud.snapshot_sights[made.id] = SnapshotSight(made.id, newest, "" if age else "it has no snapshot")
    return cloud


def reasons(world: Rig) -> list[tuple[Verb | None, str | None, str]]:
    assert world.reconciler.last is not None
    skips = world.reconciler.last.skips
    return [(s.verb, s.machine, s.detail) for s in skips if s.reason is Reason.SNAPSHOT_TOO_OLD]


def test_a_machine_with_a_fresh_snapshot_is_destroyed_in_one_pass() -> None:
    async def story() -> None:
        async with rig(CAREFUL, cloud=cloud_of(3, 3)) as world, world.passes_by_hand():
            await world.reconciler.run_pass()
            assert world.cloud.writes() == ["destroy ps2"]
            looks = [c.machine for c in world.cloud.calls if c.operation == "snapshots"]
            assert looks == ["ps2", "ps2"], "once to plan, once more right before the call"

    run_virtual(story)


def test_one_without_is_stopped_and_stays() -> None:
    async def story() -> None:
        async with rig(CAREFUL, cloud=cloud_of(3, None)) as world, world.passes_by_hand():
            for _ in range(20):
                await world.reconciler.run_pass()
                await anyio.sleep(30)
            assert world.cloud.writes() == ["stop ps2"]
            assert reasons(world) == [(Verb.DESTROY, "ps2", "it has no snapshot")]
            looks = sum(c.operation == "snapshots" for c in world.cloud.calls)
            assert looks <= 3, "a look is good for five minutes"

    run_virtual(story)


def test_what_was_fresh_for_the_plan_must_be_fresh_for_the_call() -> None:
    async def story() -> None:
        cloud = cloud_of(3, 3)
        looked: list[str] = []

        def deleted_meanwhile(operation: str, machine_id: str | None) -> None:
            if operation == "snapshots" and machine_id is not None:
                if looked:
                    doubt = "a snapshot was deleted since the newest was made"
                    cloud.snapshot_sights[machine_id] = SnapshotSight(machine_id, None, doubt)
                looked.append(machine_id)

        cloud.before = deleted_meanwhile  # type: ignore[assignment]
        async with rig(CAREFUL, cloud=cloud) as world, world.passes_by_hand():
            await world.reconciler.run_pass()
            assert world.cloud.writes() == []
            assert [(verb, m) for verb, m, _ in reasons(world)] == [(Verb.DESTROY, "ps2")]
            assert looked == ["ps2", "ps2"]

    run_virtual(story)


def test_snapshots_that_cannot_be_looked_at_are_none() -> None:
    async def story() -> None:
        cloud = cloud_of(3, 3)
        cloud.before = lambda operation, _id: Unavailable("down") if operation == "snapshots" else None
        async with rig(CAREFUL, cloud=cloud) as world, world.passes_by_hand():
            await world.reconciler.run_pass()
            assert [w for w in world.cloud.writes() if w.startswith("destroy")] == []
            assert reasons(world) == [(Verb.DESTROY, "ps2", "its snapshots could not be looked at: down")]

    run_virtual(story)


def test_the_check_says_what_was_missed_and_what_failed_once() -> None:
    async def story() -> None:
        cloud = cloud_of(72)
        failure = MachineEvent("snapshot-create", "error", error="disk is busy", handle="e1")
        cloud.snapshot_sights["ps1"] = replace(cloud.snapshot_sights["ps1"], failure=failure)
        async with rig(DAILY, cloud=cloud) as world, world.passes_by_hand():
            with structlog.testing.capture_logs() as logs:
                for _ in range(3):
                    world.reconciler.checks.rung(Check.SNAPSHOT)
                    await world.reconciler.run_pass()
            said = [entry for entry in logs if entry["event"].startswith("snapshot.")]
            common = {"log_level": "warning", "fleet": "training", "machine": "ps1", "name": token_name(1)}
            assert said == [
                {"event": "snapshot.failed", "error": "disk is busy", **common},
                {"event": "snapshot.was_missed", "detail": "its newest snapshot is 72.0 h old", **common},
            ]
            assert world.cloud.writes() == []

    run_virtual(story)


@pytest.mark.parametrize(
    ("ahead", "old", "missed"), [(72, 3, False), (-72, 3, False), (-72, 72, True), (0, 3, False)]
)
def test_a_snapshot_is_as_old_as_the_clock_says_that_dated_it(ahead: float, old: float, missed: bool) -> None:
    """With our clock three days ahead, every snapshot was missed."""

    async def story() -> None:
        cloud = cloud_of(old)
        async with rig(DAILY, cloud=cloud) as world, world.passes_by_hand():
            world.reconciler.agreement.told(world.clock.now())
            world.clock.step(ahead * 3600)
            with structlog.testing.capture_logs() as logs:
                world.reconciler.checks.rung(Check.SNAPSHOT)
                await world.reconciler.run_pass()
            assert any(line["event"] == "clock.disagreed" for line in logs) == (ahead != 0)
            assert any(line["event"] == "snapshot.was_missed" for line in logs) == missed

    run_virtual(story)


def test_the_check_looks_at_ten_machines_a_pass_and_leaves_none_out() -> None:
    async def story() -> None:
        daily = fleet(target=25, auto_snapshot=AutoSnapshot("day", 7))
        async with rig(daily, cloud=cloud_of(*[72] * 25)) as world, world.passes_by_hand():
            looks: list[int] = []
            with structlog.testing.capture_logs() as logs:
                for _ in range(5):
                    await world.reconciler.run_pass()
                    looks.append(sum(c.operation == "snapshots" for c in world.cloud.calls) - sum(looks))
                    await anyio.sleep(30)
            assert looks == [10, 10, 5, 0, 0]
            missed = [entry["machine"] for entry in logs if entry["event"] == "snapshot.was_missed"]
            assert sorted(missed) == sorted(f"ps{n}" for n in range(1, 26)), "each of them once"

    run_virtual(story)


def test_a_look_that_failed_is_made_again_and_tells_of_no_snapshot_missed() -> None:
    async def story() -> None:
        cloud = cloud_of(3)
        down = True

        def fail(operation: str, _machine_id: str | None) -> None:
            if operation == "snapshots" and down:
                raise Unavailable("down")

        cloud.before = fail
        async with rig(DAILY, cloud=cloud) as world, world.passes_by_hand():
            with structlog.testing.capture_logs() as logs:
                for _ in range(3):
                    await world.reconciler.run_pass()
                    await anyio.sleep(2 * 86400)
                down = False
                cloud.snapshot_sights["ps1"] = SnapshotSight("ps1", cloud.clock.now())
                await world.reconciler.run_pass()
                await world.reconciler.run_pass()
            looks = sum(c.operation == "snapshots" for c in cloud.calls)
            assert looks == 4, "in every pass until one went well"
            assert not [entry for entry in logs if entry["event"] == "snapshot.was_missed"]

    run_virtual(story)


def test_a_policy_that_is_younger_than_the_machine_gets_its_time() -> None:
    async def story() -> None:
        async with rig(DAILY, cloud=cloud_of(None), interval=3600) as world, world.passes_by_hand():
            with structlog.testing.capture_logs() as logs:
                for day in range(4):
                    world.reconciler.checks.rung(Check.SNAPSHOT)
                    await world.reconciler.run_pass()
                    missed = [entry for entry in logs if entry["event"] == "snapshot.was_missed"]
                    assert len(missed) == (1 if day >= 3 else 0), day
                    await anyio.sleep(23 * 3600)

    run_virtual(story)


def test_a_dialect_that_shows_no_snapshots_is_not_asked() -> None:
    async def story() -> None:
        cloud = FakeCloud(virtual_clock())
        cloud.add(token_name(1), snapshots=SnapshotPolicy(True, "day", 7))
        async with rig(DAILY, cloud=cloud) as world, world.passes_by_hand():
            world.reconciler.checks.rung(Check.SNAPSHOT)
            await world.reconciler.run_pass()
            assert "snapshots" not in {c.operation for c in cloud.calls}

    run_virtual(story)


def test_a_machine_that_is_busy_is_asked_again_at_growing_distances_and_never_counts_as_refused() -> None:
    async def story() -> None:
        cloud = FakeCloud(virtual_clock())
        cloud.add(token_name(1), "off")
        cloud.before = lambda operation, _id: (
            Busy("This machine is currently upgrading.", operation="start", status=409)
            if operation == "start"
            else None
        )
        async with rig(fleet(target=1), cloud=cloud) as world, world.passes_by_hand():
            with structlog.testing.capture_logs() as logs:
                for _ in range(40):
                    await world.reconciler.run_pass()
                    await anyio.sleep(30)
            events = [entry["event"] for entry in logs]
            assert events.count("machine.action_failed") == 5, "after 1, 2, 5 and 10 minutes"
            assert "machine.action_refused" not in events
            assert set(world.cloud.writes()) == {"start ps1"}, "and no second machine in its place"
            assert set(await world.history()) == {"start ps1 not_sent"}

    run_virtual(story)
