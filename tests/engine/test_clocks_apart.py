"""Our clock and the provider's are apart: nothing is destroyed, stopped, dropped or made because of a clock alone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import anyio
import pytest
from structlog.testing import capture_logs

from fleetd.engine.clocks import APART
from fleetd.engine.handle import EngineHandle
from fleetd.engine.leases import Leases
from fleetd.model.errors import Ambiguous
from fleetd.model.fleet import Costs, Fleet, Guards, ScaleIn, ShutdownTimeout, Window
from fleetd.model.journal import KeptLease, MachineOrder, VetoOrder
from fleetd.model.machine import SnapshotSight
from fleetd.model.reasons import Reason, Verb
from tests.engine.test_nights import PARKED, START, populate
from tests.support.build import fleet, hold, token_name
from tests.support.rig import Rig, rig
from tests.support.scripted_source import ScriptedSource
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


@pytest.mark.parametrize("step", [0.0, HOUR + 100, -HOUR - 100, 25 * HOUR])
def test_a_restart_that_no_pass_has_seen_is_dated_by_the_clock_that_dated_it(step: float) -> None:
    """By ours, an hour ahead, a restart of minutes ago was one of long ago, and the machine was parked."""

    async def story() -> None:
        async with rig(PARKED, sources={"gpu": ScriptedSource()}) as world:
            Provider(world)
            populate(world)
            world.clock.step(step)
            async with world.daemon_running():
                await anyio.sleep(2 * HOUR - 60 + max(0.0, -step))
                world.cloud.human("restart", "ps1", hours_ago=step / HOUR)
                await anyio.sleep(29 * 60)
                assert world.cloud.writes() == ["stop ps2"]
                await anyio.sleep(5 * 60)
                assert world.cloud.writes() == ["stop ps2", "stop ps1"]

    run_virtual(story, start=START)


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


@pytest.mark.parametrize("step", STEPS)
def test_no_machine_has_been_up_for_longer_because_a_clock_was_wrong_for_a_while(step: float) -> None:
    """What came up before ours was set, what did meanwhile by fleetd's doing, and by somebody else's."""

    async def story() -> None:
        async with rig(fleet(target=3)) as world:
            provider = Provider(world)
            for n in (1, 2, 3):
                world.cloud.add(token_name(n), "ready")
            up = dict.fromkeys(("ps1", "ps2"), provider.now())
            async with world.daemon_running():
                await anyio.sleep(300)
                world.clock.step(step)
                world.cloud.remove("ps3")
                world.cloud.human("stop", "ps2")
                up["ps4"] = provider.now()
                await anyio.sleep(300)
                assert world.cloud.writes() == ["create"]
                world.cloud.human("start", "ps2")
                up["ps2"] = provider.now()
                await anyio.sleep(300)
                world.clock.step((provider.now() - world.clock.now()).total_seconds())
                await anyio.sleep(300)
                known = {m: f.up_since for m, f in world.reconciler.recall.facts.items() if m in up}
                late = {m: at for m, at in known.items() if at is None or at < up[m] - timedelta(seconds=1)}
                assert (late, set(known)) == ({}, set(up))

    run_virtual(story)


NIGHT = Window("night", 20 * 60, 7 * 60, "UTC", target=0)
"""The stories begin at noon: ten hours ahead or behind, it is night."""


async def _held(world: Rig) -> None:
    world.cloud.add(token_name(1), "ready")
    await _veto(world, "hold", token_name(1))


async def _frozen(world: Rig) -> None:
    world.cloud.add(token_name(1), "ready")
    await _veto(world, "freeze", "training")


async def _up(world: Rig) -> None:
    await anyio.sleep(120)
    assert world.cloud.writes() == ["create", "create"]


async def _stopped_by_hand(world: Rig) -> None:
    await _up(world)
    world.cloud.human("stop", "ps1")


async def _leased(world: Rig) -> None:
    """Taken by an earlier process: only the wall clock tells when it ends."""
    world.cloud.add(token_name(1), "ready")
    now = world.clock.now()
    await world.journal.put_leases([KeptLease("ps1", "job", now, now + timedelta(hours=4), "ada")])
    await world.reconciler._idleness.leases.load(now)


async def _veto(world: Rig, kind: str, subject: str) -> None:
    await world.reconciler.vetoes.add(
        hold(
            subject,
            kind,
            reason="work",
            actor="ada",
            expires_at=world.clock.now() + timedelta(hours=4),
            created_at=world.clock.now(),
        )
    )


LASTING: dict[str, tuple[Fleet, Callable[[Rig], Awaitable[None]]]] = {
    "a hold": (fleet(target=0), _held),
    "a freeze": (fleet(target=0), _frozen),
    "a lease": (fleet(target=0), _leased),
    "a day": (fleet(target=2, windows=(NIGHT,)), _up),
    "respect_manual": (fleet(target=2, respect_manual=timedelta(hours=2)), _stopped_by_hand),
}
"""What lasts until a time of the wall clock: a fleet, and what is done before our clock is set."""


@pytest.mark.parametrize("step", [10 * HOUR, *STEPS, -14 * HOUR])
@pytest.mark.parametrize("lasting", LASTING)
def test_what_lasts_until_a_time_does_not_end_because_of_a_clock(lasting: str, step: float) -> None:
    async def story() -> None:
        wanted, prepare = LASTING[lasting]
        async with rig(wanted) as world:
            provider = Provider(world)
            async with world.daemon_running():
                await prepare(world)
                await anyio.sleep(300)
                before = world.cloud.writes()
                world.clock.step(step)
                await anyio.sleep(1800)
                assert world.cloud.writes() == before
                world.clock.step((provider.now() - world.clock.now()).total_seconds())
                await anyio.sleep(300)
                assert world.cloud.writes() == before

    run_virtual(story)


@pytest.mark.parametrize("step", [10 * HOUR, *STEPS])
@pytest.mark.parametrize("lasting", ["a hold", "a freeze", "respect_manual"])
def test_what_lasts_is_shown_with_an_end_that_is_still_ahead(lasting: str, step: float) -> None:
    async def story() -> None:
        wanted, prepare = LASTING[lasting]
        async with rig(wanted) as world:
            Provider(world)
            async with world.daemon_running() as daemon:
                await prepare(world)
                await anyio.sleep(300)
                world.clock.step(step)
                await anyio.sleep(1800)
                assert daemon.reconciler.last is not None
                shown = [s.until for s in daemon.reconciler.last.skips if s.reason is not Reason.CLOCKS_APART]
                shown += [v.expires_at for v in _handle(world).status().vetoes]
                assert shown
                assert all(until is not None and until > world.clock.now() for until in shown)

    run_virtual(story)


ACTOR = "root (uid 0)"


def _handle(world: Rig) -> EngineHandle:
    return EngineHandle(world.daemon, world.reconciler._idleness.leases, world.clock)


async def _hold(world: Rig) -> None:
    order = VetoOrder("hold", "ps1", frozenset(Verb), "work", timedelta(hours=1))
    answer = await _handle(world).veto(order, ACTOR)
    [shown] = _handle(world).status().vetoes
    assert answer.expires_at == shown.expires_at


async def _freeze(world: Rig) -> None:
    await _handle(world).veto(VetoOrder("freeze", None, frozenset(Verb), "work", timedelta(hours=1)), ACTOR)


async def _stop(world: Rig) -> None:
    await _handle(world).request(MachineOrder(Verb.STOP, "ps1", "loud", keep_off=timedelta(hours=1)), ACTOR)


async def _lease(world: Rig) -> None:
    """The process that took it ends: only the wall clock tells when it is over."""
    await _handle(world).lease("ps1", "job", timedelta(hours=1), ACTOR)
    await world.reconciler._idleness.leases.load(world.clock.now())


async def _by_hand(world: Rig) -> None:
    world.cloud.human("stop", "ps1")


GIVEN: dict[str, tuple[int, Callable[[Rig], Awaitable[None]]]] = {
    "a hold": (0, _hold),
    "a freeze": (0, _freeze),
    "a lease": (0, _lease),
    "an ordered stop": (2, _stop),
    "respect_manual": (2, _by_hand),
}
"""What lasts for an hour from when it is given or seen: the target afterwards, and how it is given."""


@pytest.mark.parametrize("step", [10 * HOUR, *STEPS, -14 * HOUR])
@pytest.mark.parametrize("given", GIVEN)
def test_what_is_given_by_a_wrong_clock_outlives_its_correction(given: str, step: float) -> None:
    """Our clock is wrong when it is given, and is set right, as at a boot before the network is there."""

    async def story() -> None:
        target, give = GIVEN[given]
        wanted = fleet(target=2, respect_manual=timedelta(hours=1))
        async with rig(wanted) as world:
            provider = Provider(world)
            async with world.daemon_running():
                await anyio.sleep(300)
                world.clock.step(step)
                await anyio.sleep(60)
                await give(world)
                await anyio.sleep(120)
                before = world.cloud.writes()
                world.configure(replace(wanted, target=target))
                world.clock.step((provider.now() - world.clock.now()).total_seconds())
                await anyio.sleep(1800)
                assert not [w for w in world.cloud.writes()[len(before) :] if w.endswith("ps1")]

    run_virtual(story)


@pytest.mark.parametrize("step", [10 * HOUR, *STEPS, -14 * HOUR])
def test_before_the_provider_has_spoken_a_freeze_lasts_by_the_clock_of_the_database(step: float) -> None:
    """A replica has taken the lease by a wrong clock, and the provider does not answer yet."""

    async def story() -> None:
        async with rig(fleet(target=0)) as world:
            world.cloud.add(token_name(1), "ready")
            right = world.clock.now()
            world.clock.step(step)
            world.reconciler.agreement.told_meanwhile(right)
            await _freeze(world)
            world.clock.step(-step)
            async with world.daemon_running():
                await anyio.sleep(1800)
                assert not world.cloud.writes()
                await anyio.sleep(3600)
                assert step > 0 or world.cloud.writes() == ["stop ps1"]

    run_virtual(story)


@pytest.mark.parametrize("step", [0.0, 60.0, *STEPS, -14 * HOUR])
def test_no_clock_but_the_providers_is_compared_with_ours(step: float) -> None:
    """The database's was, until the provider had told its own: for good where that sends no Date."""

    async def story() -> None:
        async with rig(fleet(target=0)) as world:
            agreement, now = world.reconciler.agreement, world.clock.now()
            database = now + timedelta(seconds=step)
            agreement.told_meanwhile(database)
            assert agreement.doubt is None
            assert agreement.ahead is None
            assert agreement.earliest() == agreement.theirs(now) == now
            assert agreement.latest() == (database if step > APART else now)
            agreement.told(now + timedelta(hours=2))
            assert agreement.doubt == "ours is 7200 s behind the provider's"
            assert agreement.ahead == -7200
            assert agreement.latest() == now + timedelta(hours=2)
            agreement.told_meanwhile(database)  # too late to count
            assert agreement.latest() == now + timedelta(hours=2)

    run_virtual(story)


def test_with_a_provider_that_sends_no_date_a_database_hours_off_blocks_nothing() -> None:
    async def story() -> None:
        with capture_logs() as logs:
            async with rig(fleet(target=0)) as world:
                world.reconciler.agreement.told_meanwhile(world.clock.now() + timedelta(hours=30))
                world.cloud.add(token_name(1), "ready")
                async with world.daemon_running():
                    await anyio.sleep(600)
                    assert world.cloud.writes() == ["stop ps1"]
        assert not [line for line in logs if line["event"].startswith("clock.")]

    run_virtual(story)


@pytest.mark.parametrize("step", [0.0, -2 * HOUR, -14 * HOUR, -26 * HOUR])
def test_before_the_provider_has_spoken_a_lease_lasts_by_the_clock_of_the_database(step: float) -> None:
    async def story() -> None:
        async with rig(fleet(target=0)) as world:
            right = world.clock.now()
            world.clock.step(step)
            world.reconciler.agreement.told_meanwhile(right)
            leases, now = world.reconciler._idleness.leases, world.clock.now()
            await leases.put("ps1", "job", now + timedelta(hours=1), ACTOR, now=now)
            after = Leases(world.journal)  # the next process's, whose clock is right
            await after.load(right)
            assert after.in_force("ps1", right + timedelta(minutes=59)) is not None
            assert after.ends(right)["ps1"] >= right + timedelta(hours=1)

    run_virtual(story)


@pytest.mark.parametrize("step", [10 * HOUR, *STEPS, -14 * HOUR])
def test_a_lease_outlives_a_restart_by_a_wrong_clock(step: float) -> None:
    """It was taken by a clock that was right, and is read by one that is not. It ends all the same."""

    async def story() -> None:
        async with rig(fleet(target=0)) as world:
            provider = Provider(world)
            world.cloud.add(token_name(1), "ready")
            leases = world.reconciler._idleness.leases
            now = world.clock.now()
            await leases.put("ps1", "job", now + timedelta(hours=1), ACTOR, now=now)
            world.clock.step(step)
            async with world.daemon_running():
                await anyio.sleep(900)
                world.clock.step((provider.now() - world.clock.now()).total_seconds())
                await anyio.sleep(1800)
                assert not world.cloud.writes()
                await anyio.sleep(3600)
                assert world.cloud.writes() == ["stop ps1"]

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
                    hold("ps1", reason="x", actor="ada", created_at=now, expires_at=now + timedelta(days=2))
                )
                world.clock.step(100 * 24 * HOUR)
                await anyio.sleep(300)
                world.clock.step(-100 * 24 * HOUR)
                await anyio.sleep(300)
                assert (await world.history())[: len(before)] == before
                assert len(await world.journal.holds(now=world.clock.now())) == 1

    run_virtual(story)


@pytest.mark.parametrize("step", [-10, 40])
@pytest.mark.parametrize("own", [True, False])
def test_no_new_month_and_no_new_budget_begin_by_one_clock_alone(step: int, own: bool) -> None:
    """On the fifth of a month: ours is in another month than the provider's, and bills are another month's."""

    async def story() -> None:
        budget = Decimal(100_000)
        costs = Costs(prices={"P4000": Decimal("0.51")}, max_monthly_cost=Decimal(0) if own else budget)
        wanted = fleet(target=2, guards=Guards(max_monthly_cost=budget if own else Decimal(0)))
        async with rig(wanted, costs=costs) as world:
            provider = Provider(world)
            async with world.daemon_running() as daemon:
                await _up(world)
                world.clock.step(step * 24 * HOUR)
                world.reconciler.settings = replace(world.reconciler.settings, fleets=(replace(wanted, target=3),))
                await anyio.sleep(300)
                assert world.cloud.writes() == ["create", "create"]
                assert daemon.reconciler.last is not None
                assert [(s.verb, s.reason) for s in daemon.reconciler.last.skips] == [
                    (Verb.CREATE, Reason.CLOCKS_APART)
                ]
                world.clock.step((provider.now() - world.clock.now()).total_seconds())
                await anyio.sleep(120)
                assert world.cloud.writes() == ["create"] * 3

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
