"""What the provider accepts and does not do is not repeated at once, is said, and ends when it works again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import anyio
import pytest
from structlog.testing import capture_logs

from fleetd.engine.external_changes import LATE_EFFECT
from fleetd.engine.handle import EngineHandle
from fleetd.model.errors import Ambiguous, NotFound, Refused
from fleetd.model.fleet import Fleet, Guards, IdleRule, Limit, ScaleIn, ShutdownTimeout, Window
from fleetd.model.journal import Hold, Request
from fleetd.model.machine import SnapshotPolicy
from fleetd.model.plan import Check
from fleetd.model.reasons import Reason, Verb
from fleetd.model.report import Report
from fleetd.words.explaining import explain_fleet
from tests.support.build import fleet, token_name
from tests.support.fakecloud import FakeCloud
from tests.support.rig import Rig, rig
from tests.support.scripted_source import ScriptedSource
from tests.support.virtual_time import run_virtual, virtual, virtual_clock

HOUR = 3600
MOST = 7
"""Calls in an hour: one, and one after each of 1, 2, 5, 10 and 30 minutes, and one to spare."""
WAYS = ("silent", "done", "error", "wordless", "endless", "late", "bounce", "bounce_silent")
LOOSE = Guards(max_stops_per_pass=Limit(percent=100), max_destroys_per_pass=5)

WANTS: dict[str, tuple[str, Fleet, dict[str, object]]] = {
    "start": ("off", fleet(target=1), {}),
    "stop": ("ready", fleet(target=0, guards=LOOSE), {}),
    "destroy": (
        "off",
        fleet(target=0, adopt=("ps1",), guards=LOOSE, scale_in=ScaleIn.DESTROY, allow_destroy=True),
        {},
    ),
    "update": (
        "ready",
        fleet(target=1, shutdown_timeout=ShutdownTimeout(24)),
        {"shutdown_timeout_hours": 168, "shutdown_timeout_forces": False, "snapshots": SnapshotPolicy()},
    ),
}
"""By verb: the machine's state and the fleet that make fleetd want it."""
REPEATED = [
    pytest.param(verb, way, id=f"{verb} {way}")
    for verb in WANTS
    for way in WAYS
    if not (verb == "update" and way not in {"silent", "done", "error", "wordless", "endless"})
]


def calls(world: Rig, verb: str) -> int:
    return sum(c.operation == verb for c in world.cloud.calls)


def report(world: Rig) -> Report:
    handle: EngineHandle = EngineHandle(world.daemon, None, world.clock)  # type: ignore[arg-type]
    return handle.status()


@asynccontextmanager
async def vain(verb: str, way: str, **options: object) -> AsyncIterator[Rig]:
    state, want, fields = WANTS[verb]
    cloud = FakeCloud(virtual_clock(), takes=20, vain={verb: way})
    cloud.add(token_name(1), state, machine_type="P4000", **fields)
    async with rig(want, cloud=cloud, **options) as world:  # type: ignore[arg-type]
        yield world


@pytest.mark.parametrize(("verb", "way"), REPEATED)
def test_it_is_not_repeated_at_once_and_is_told_and_ends_when_it_works(verb: str, way: str) -> None:
    async def story() -> None:
        async with vain(verb, way) as world, world.daemon_running():
            await anyio.sleep(HOUR)
            assert 2 <= calls(world, verb) <= MOST
            ends = [line.rpartition(" ")[2] for line in await world.history() if line.startswith(verb)]
            assert len(ends) >= calls(world, verb) - 1, "each call has its verdict"
            assert "reached" not in ends
            status = report(world)
            row = status.fleets["training"]
            short = verb == "start" and way in {"error", "bounce", "bounce_silent"}
            assert row.no_effect == {verb: 1} or (short and row.no_effect == {})
            assert row.converged is (verb == "update")
            said = [b for b in status.blocked if b.verb == verb]
            moving = [m for m in status.machines if m.transition]
            reason = "capacity_backoff" if short else "no_effect"  # back to off is how a lack of capacity looks
            assert [b.reason for b in said] == [reason] or (moving and not said)
            if way == "error":
                assert not said or "the host is gone" in (said[0].detail or "")
            world.cloud.vain.clear()
            await anyio.sleep(2400)
            status = report(world)
            row = status.fleets["training"]
            assert row.converged
            assert row.no_effect == {}
            after = calls(world, verb)
            await anyio.sleep(HOUR)
            assert calls(world, verb) == after, "it had its effect, and rests"

    run_virtual(story)


@virtual
async def test_a_restart_that_changes_nothing_has_a_verdict_with_the_vendors_words() -> None:
    """Nobody but a person asks for one: it is one attempt."""
    cloud = FakeCloud(virtual_clock(), vain={"restart": "error"})
    cloud.add(token_name(1), machine_type="P4000")
    async with rig(fleet(target=1), cloud=cloud) as world, world.daemon_running():
        request = Request(Verb.RESTART, "ps1", "ada", "hangs", even_if_busy=True)
        world.daemon.wake()
        await world.reconciler.recall.orders.ask(request, patience=30)
        await anyio.sleep(HOUR)
        assert calls(world, "restart") == 1
        assert await world.history() == ["restart ps1 no_effect"]
        rows = await world.journal.history()
        assert rows[-1][1].error == "the host is gone"


@virtual
async def test_a_fleet_whose_machine_cannot_be_parked_is_not_converged_at_any_moment() -> None:
    night = Window("night", 0, 1440, "UTC", park_idle=True)
    rule = IdleRule(("gpu",), after=timedelta(minutes=1), min_uptime=timedelta(0))
    cloud = FakeCloud(virtual_clock(), takes=20, vain={"stop": "done"})
    cloud.add(token_name(1), machine_type="P4000")
    source = ScriptedSource()
    want = fleet(target=1, windows=(night,), idle=rule, guards=LOOSE)
    async with rig(want, cloud=cloud, sources={"gpu": source}) as world, world.daemon_running():
        await anyio.sleep(5 * 60)
        assert calls(world, "stop")
        for _ in range(6 * 60):
            await anyio.sleep(10)
            assert not report(world).fleets["training"].converged
        assert calls(world, "stop") <= MOST


def test_a_restart_of_the_daemon_forgets_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        state, want, _ = WANTS["stop"]
        cloud = FakeCloud(virtual_clock(), vain={"stop": "error"})
        cloud.add(token_name(1), state, machine_type="P4000")
        for _ in range(30):
            async with rig(want, cloud=cloud, state=tmp_path) as world, world.daemon_running():
                await anyio.sleep(120)
        assert 2 <= calls(world, "stop") <= MOST

    run_virtual(story)


@pytest.mark.parametrize("verb", ["start", "stop", "update"])
def test_what_is_answered_with_not_found_waits_as_well(verb: str) -> None:
    async def story() -> None:
        async with vain(verb, "silent") as world, world.daemon_running():
            world.cloud.before = lambda op, _id: NotFound("not found", operation=op) if op == verb else None
            await anyio.sleep(HOUR)
            assert 2 <= calls(world, verb) <= MOST
            assert [b.reason for b in report(world).blocked] == ["refused_recently"]
            world.cloud.before = lambda _op, _id: None
            world.cloud.vain.clear()
            await anyio.sleep(2400)
            assert report(world).fleets["training"].converged

    run_virtual(story)


@virtual
async def test_a_destroy_that_is_answered_with_not_found_waits_as_well() -> None:
    async with vain("destroy", "silent") as world, world.daemon_running():
        world.cloud.before = lambda op, _id: NotFound("not found", operation=op) if op == "destroy" else None
        await anyio.sleep(HOUR)
        assert 2 <= calls(world, "destroy") <= MOST + 1, "the first is forgiven: its answer may have been lost"


@virtual
async def test_creates_that_vanish_before_they_were_up_wait_longer_each_time() -> None:
    cloud = FakeCloud(virtual_clock(), takes=HOUR)
    async with rig(fleet(target=4), cloud=cloud) as world, world.daemon_running():
        for _ in range(360):
            await anyio.sleep(10)
            for name in list(cloud.states()):
                cloud.remove(next(m for m, known in cloud._machines.items() if known.name == name))
        assert 4 <= calls(world, "create") <= 4 * MOST
        status = report(world)
        assert status.fleets["training"].no_effect == {"create": 1}
        cloud.takes = 60
        await anyio.sleep(2400)
        assert report(world).fleets["training"].converged


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("error", [None, Refused("not the owner", operation="start")], ids=["no effect", "refused"])
def test_a_start_that_never_works_keeps_its_place_until_it_is_held(error: Refused | None, held: bool) -> None:
    """What explain and the runbook say after an hour is so."""

    async def story() -> None:
        async with vain("start", "done") as world, world.daemon_running():
            world.cloud.before = lambda op, _id: error if op == "start" else None
            await anyio.sleep(300)
            assert "fleetd hold" not in " ".join(explained(world))
            await anyio.sleep(2 * HOUR)
            hold = f"to let another machine take it: `fleetd hold {token_name(1)} --for 24h --reason ...`."
            assert hold in " ".join(explained(world))
            assert calls(world, "create") == 0, "its place is kept"
            if held:
                await world.reconciler.vetoes.add(
                    Hold(
                        id=0,
                        kind="hold",
                        subject="ps1",
                        verbs=frozenset(Verb),
                        reason="broken",
                        actor="ada",
                        expires_at=world.clock.now() + timedelta(hours=24),
                        created_at=world.clock.now(),
                    )
                )
            await anyio.sleep(HOUR)
            assert calls(world, "create") == (1 if held else 0)
            assert report(world).fleets["training"].converged is held

    run_virtual(story)


def explained(world: Rig) -> list[str]:
    return explain_fleet(report(world), "training", world.clock.now())


@virtual
async def test_a_start_that_fails_for_one_machine_alone_is_not_repeated_whenever_another_comes_up() -> None:
    cloud = FakeCloud(virtual_clock(), takes=20)
    for n in (1, 2):
        cloud.add(token_name(n), "off", machine_type="P4000")
    cloud.vain = {"start ps1": "error"}
    async with rig(fleet(target=2, respect_manual=timedelta(0)), cloud=cloud) as world, world.daemon_running():
        for _ in range(30):
            await anyio.sleep(120)
            if cloud.states()[token_name(2)] == "ready":
                cloud.human("stop", "ps2")
        assert sum(c.operation == "start" and c.machine == "ps2" for c in cloud.calls) >= MOST
        assert 2 <= sum(c.operation == "start" and c.machine == "ps1" for c in cloud.calls) <= MOST


@virtual
async def test_a_setting_that_is_undone_again_and_again_is_told_and_waits() -> None:
    async with vain("update", "silent") as world, world.daemon_running():
        world.cloud.vain.clear()
        for _ in range(60):
            await anyio.sleep(60)
            world.cloud.set("ps1", shutdown_timeout_hours=168)
            world.reconciler.checks.rung(Check.SHUTDOWN_TIMEOUT)
        assert 2 <= calls(world, "update") <= MOST + 1, "the first time is nothing to wonder at"
        assert report(world).fleets["training"].no_effect == {"update": 1}


@virtual
async def test_an_update_whose_answer_is_always_lost_waits_as_well() -> None:
    async with vain("update", "silent") as world, world.daemon_running():
        world.cloud.after = lambda op, _id: Ambiguous("reset", operation=op) if op == "update" else None
        await anyio.sleep(HOUR)
        assert 2 <= calls(world, "update") <= MOST + 1


@virtual
async def test_a_stop_that_is_undone_at_once_by_nobody_waits_longer_each_time() -> None:
    """Off for a moment, and up again without an event: the stop had its effect, and was in vain all the same."""
    async with vain("stop", "silent") as world, world.daemon_running():
        world.cloud.vain.clear()
        with capture_logs() as logs:
            for _ in range(360):
                await anyio.sleep(10)
                if set(world.cloud.states().values()) == {"off"}:
                    world.cloud.set("ps1", state="ready")
        assert 2 <= calls(world, "stop") <= MOST
        waits = [(line["action"], line["attempt"]) for line in logs if line["event"] == "action.backed_off"]
        assert waits == [("stop", n) for n in range(1, calls(world, "stop") + 1)]


@virtual
async def test_the_late_effect_of_our_own_start_is_not_a_persons_deed() -> None:
    async with vain("start", "done") as world, world.daemon_running():
        await anyio.sleep(90)
        assert await world.history() == ["start ps1 no_effect"]
        world.cloud.set("ps1", state="ready")
        await anyio.sleep(60)
        rows = [e for _, e in await world.journal.history() if e.reason == LATE_EFFECT]
        assert [(e.verb, e.outcome, e.actor) for e in rows] == [("start", "reached", "fleetd")]
        assert report(world).fleets["training"].no_effect == {}


@pytest.mark.parametrize("seen", [True, False], ids=["events", "events cannot be read"])
@pytest.mark.parametrize("verb", ["start", "stop"])
def test_starts_and_stops_go_on_without_events(verb: str, seen: bool) -> None:
    async def story() -> None:
        async with vain(verb, "silent") as world:
            world.cloud.vain.clear()
            show = world.cloud.show
            if not seen:

                async def blind(machine_id: str) -> object:
                    return replace(await show(machine_id), events=None)

                world.cloud.show = blind  # type: ignore[method-assign, assignment]
            async with world.daemon_running():
                await anyio.sleep(180)
                assert calls(world, verb) == 1
                assert await world.history() == [f"{verb} ps1 reached"]

    run_virtual(story)


@virtual
async def test_a_wordless_error_of_a_start_that_succeeds_is_no_shortage() -> None:
    """v1: the event says ``error`` with ``error: null``, and the machine comes up all the same."""
    async with vain("start", "wordless") as world, world.daemon_running():
        await anyio.sleep(20)
        world.cloud.set("ps1", state="starting")
        await anyio.sleep(60)
        world.cloud.set("ps1", state="ready")
        await anyio.sleep(60)
        assert await world.history() == ["start ps1 reached"]
        assert await world.journal.backoffs() == []
        assert Reason.NO_EFFECT not in {s.reason for s in world.reconciler.last.skips}  # type: ignore[union-attr]
