"""Our clock and the provider's are apart: nothing is destroyed, stopped, dropped or made because of a clock alone."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import anyio
import pytest
from structlog.testing import capture_logs

from fleetd.engine.clocks import APART
from fleetd.model.errors import Ambiguous
from fleetd.model.fleet import ScaleIn, ShutdownTimeout
from fleetd.model.machine import SnapshotSight
from fleetd.model.reasons import Reason, Verb
from tests.support.build import fleet, token_name
from tests.support.rig import Rig, rig
from tests.support.virtual_time import run_virtual

HOUR = 3600.0


class Provider:
    """Its clock: true, whatever is done to ours."""

    def __init__(self, world: Rig) -> None:
        self.world, self.start, self.ticks = world, world.clock.now(), anyio.current_time()
        before = world.cloud.before

        def tell(operation: str, machine: str | None) -> Any:
            world.reconciler.agreement.told(self.now())
            return before(operation, machine)

        world.cloud.before = tell

    def now(self) -> datetime:
        return self.start + timedelta(seconds=anyio.current_time() - self.ticks)


STEPS = (25 * HOUR, 100 * 24 * HOUR, -10 * HOUR, -100 * 24 * HOUR, APART + 60, -APART - 60)


@pytest.mark.parametrize("step", STEPS)
def test_nothing_is_stopped_or_destroyed_because_of_a_clock(step: float) -> None:
    """Machines seconds old, a timeout to enforce, a surplus to destroy, and our clock is set."""

    async def story() -> None:
        kept = fleet(target=2, shutdown_timeout=ShutdownTimeout(24, enforce=True))
        gone = fleet("gone", target=0, scale_in=ScaleIn.DESTROY, allow_destroy=True)
        with capture_logs() as logs:
            async with rig(kept, gone) as world:
                provider = Provider(world)
                world.cloud.defaults = {"shutdown_timeout_hours": 24, "shutdown_timeout_forces": False}
                async with world.daemon_running() as daemon:
                    await anyio.sleep(300)
                    for n in (1, 2):
                        world.cloud.human("start", f"ps{n}")
                    world.clock.step(step)
                    world.cloud.add(token_name(9, "gone"), "off")
                    await anyio.sleep(1800)
                    assert not {w for w in world.cloud.writes() if w.startswith(("stop", "destroy"))}
                    assert daemon.reconciler.last is not None
                    apart = [s.verb for s in daemon.reconciler.last.skips if s.reason is Reason.CLOCKS_APART]
                    assert set(apart) <= {Verb.DESTROY, Verb.STOP}
                    world.clock.step((provider.now() - world.clock.now()).total_seconds())
                    await anyio.sleep(300)
                    assert not {w for w in world.cloud.writes() if w.startswith("stop")}
        said = [line["event"] for line in logs if line["event"].startswith(("clock.d", "clock.a"))]
        assert said == ["clock.disagreed", "clock.agreed"]

    run_virtual(story)


def test_a_step_ahead_during_a_lost_create_makes_no_second_machine() -> None:
    async def story() -> None:
        async with rig(fleet(target=1)) as world, world.passes_by_hand():
            Provider(world)
            lost = [Ambiguous("no answer", operation="create")]
            world.cloud.after = lambda op, _id: lost.pop() if op == "create" and lost else None
            hidden = world.cloud.listing
            world.cloud.listing = lambda listing: type(listing)(())
            await world.reconciler.run_pass()
            world.clock.step(300)
            await anyio.sleep(10)
            await world.reconciler.run_pass()
            await anyio.sleep(30)
            await world.reconciler.run_pass()
            assert world.cloud.writes() == ["create"]
            world.cloud.listing = hidden
            await anyio.sleep(60)
            await world.reconciler.run_pass()
            assert world.cloud.writes() == ["create"]

    run_virtual(story)


def test_a_lost_create_is_given_up_when_both_clocks_say_so() -> None:
    async def story() -> None:
        async with rig(fleet(target=1)) as world, world.passes_by_hand():
            lost = [Ambiguous("no answer", operation="create")]
            world.cloud.before = lambda op, _id: lost.pop() if op == "create" and lost else None
            for _ in range(3):
                await world.reconciler.run_pass()
                assert len(await world.journal.open_intents()) == 1
                await anyio.sleep(30)
            await anyio.sleep(10)
            await world.reconciler.run_pass()
            assert [line.split()[-1] for line in await world.history()] == ["lost"]

    run_virtual(story)


def test_a_step_of_a_hundred_days_and_back_prunes_nothing() -> None:
    async def story() -> None:
        async with rig(fleet(target=1)) as world:
            Provider(world)
            async with world.daemon_running():
                await anyio.sleep(300)
                before = await world.history()
                now = world.clock.now()
                await world.journal.add_hold(
                    kind="hold", subject="ps1", verbs=frozenset(Verb), reason="x", actor="ada", now=now,
                    expires_at=now + timedelta(days=2),
                )  # fmt: skip
                world.clock.step(100 * 24 * HOUR)
                await anyio.sleep(300)
                world.clock.step(-100 * 24 * HOUR)
                await anyio.sleep(300)
                assert (await world.history())[: len(before)] == before
                assert len(await world.journal.holds(now=world.clock.now())) == 1

    run_virtual(story)


def test_a_snapshot_of_thirty_hours_is_not_young_by_a_clock_that_is_behind() -> None:
    async def story() -> None:
        spare = fleet(
            target=0, scale_in=ScaleIn.DESTROY, allow_destroy=True, destroy_requires_snapshot=timedelta(hours=24)
        )
        async with rig(spare) as world:
            provider = Provider(world)
            machine = world.cloud.add(token_name(1), "off")
            world.cloud.snapshot_sights[machine.id] = SnapshotSight(machine.id, provider.now() - timedelta(hours=30))
            world.clock.step(-10 * HOUR)
            async with world.daemon_running():
                await anyio.sleep(900)
                assert not [w for w in world.cloud.writes() if w.startswith("destroy")]

    run_virtual(story)
