"""Leases and holds as use: none is forgotten because no pass fell into it, or because of a clock or a name."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from structlog.testing import capture_logs

from fleetd.engine import leases as leases_module
from fleetd.engine.handle import EngineHandle
from fleetd.engine.leases import LONGEST, Leases
from fleetd.model.errors import NotYet, OrderDeclined
from fleetd.model.fleet import Guards, IdleRule, Limit, ScaleIn, Window
from fleetd.model.journal import VetoOrder
from fleetd.model.plan import Action
from fleetd.model.reasons import Activity, Reason, Verb
from tests.support.build import fleet, machine, token_name
from tests.support.rig import Rig, rig
from tests.support.scripted_source import ScriptedSource
from tests.support.virtual_time import run_virtual

START = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
ALL_DAY = Window("always", start=0, end=24 * 60, timezone="UTC", park_idle=True)
HASTY = IdleRule(("gpu",), after=timedelta(seconds=20), min_uptime=timedelta(0))
PARKED = fleet(
    target=1,
    windows=(ALL_DAY,),
    idle=HASTY,
    guards=Guards(max_stops_per_pass=Limit(percent=100)),
)
ME = "slurm (uid 7)"
SECOND = timedelta(seconds=1)


def run(story: Callable[[], Any]) -> None:
    run_virtual(story, start=START)


def handle_of(world: Rig) -> EngineHandle:
    return EngineHandle(world.daemon, world.reconciler._idleness.leases, world.clock)


@pytest.mark.parametrize("source", ["gpu", "job"])
def test_a_job_that_leases_for_moments_is_never_parked(source: str) -> None:
    """No pass ever falls into a lease; and it counts whether or not the rule asks for leases."""

    async def story() -> None:
        rule = replace(HASTY, sources=(source,))
        sources = {source: ScriptedSource(source)}
        async with rig(replace(PARKED, idle=rule), sources=sources, interval=5) as world:
            world.cloud.add(token_name(1), machine_type="P4000")
            async with world.daemon_running():
                handle = handle_of(world)
                for _ in range(60):
                    await handle.lease("ps1", "job 7", timedelta(seconds=1.2), ME)
                    await anyio.sleep(3)
                assert world.cloud.writes() == []
                await anyio.sleep(18)
                assert world.cloud.writes() == [], "and until idle.after has gone by since the last one ended"
                await anyio.sleep(15)
                assert world.cloud.writes() == ["stop ps1"]

    run(story)


def test_a_lease_that_is_taken_and_ended_between_the_plan_and_the_call_ends_the_stop() -> None:
    async def story() -> None:
        class Slow(ScriptedSource):
            async def read(self, machines, *, window, now):
                found = await super().read(machines, window=window, now=now)
                if last_words:
                    await handle.lease("ps1", "job 7", timedelta(0), ME)
                    last_words.pop()
                return found

        last_words: list[int] = []
        async with rig(PARKED, sources={"gpu": Slow()}, interval=5) as world:
            world.cloud.add(token_name(1), machine_type="P4000")
            handle = handle_of(world)
            world.cloud.before = lambda operation, _id: last_words.append(1) if operation == "show" else None
            async with world.daemon_running():
                await anyio.sleep(24)
                last_words.clear()
                await anyio.sleep(15)
                assert world.cloud.writes() == []

    run(story)


@pytest.mark.parametrize("how", ["expired", "released"])
def test_a_hold_that_no_pass_has_seen_restarts_the_idle_clock(how: str) -> None:
    async def story() -> None:
        async with rig(PARKED, sources={"gpu": ScriptedSource()}, interval=10) as world:
            world.cloud.add(token_name(1), machine_type="P4000")
            async with world.daemon_running() as daemon:
                daemon.wake = lambda: None  # type: ignore[method-assign]
                handle = handle_of(world)
                for _ in range(8):
                    order = VetoOrder("hold", "ps1", frozenset({Verb.RESTART}), "a look", timedelta(seconds=2))
                    await handle.veto(order, ME)
                    await anyio.sleep(1)
                    if how == "released":
                        assert await handle.lift("hold", "ps1", ME) == 1
                    await anyio.sleep(10)
                assert world.cloud.writes() == []
                await anyio.sleep(40)
                assert world.cloud.writes() == ["stop ps1"]

    run(story)


@pytest.mark.parametrize("state", ["off", "starting"])
@pytest.mark.parametrize("how", ["leased", "leased for moments", "held", "held and released"])
def test_use_of_a_machine_that_is_not_up_is_use(state: str, how: str) -> None:
    """Whoever was told that it is kept works on it when it is up, whatever the listing says of it now."""
    kept = replace(fleet(target=1 if state == "off" else 2, adopt=("ps1", "ps2")), idle=HASTY)
    want = replace(kept, target=0, scale_in=ScaleIn.DESTROY, allow_destroy=True)

    async def story() -> None:
        async with rig(kept, sources={"gpu": ScriptedSource()}, interval=5) as world:
            world.cloud.add(token_name(1), state)
            world.cloud.add(token_name(2), "ready")
            async with world.daemon_running():
                handle = handle_of(world)
                if "held" in how:
                    await handle.veto(VetoOrder("hold", "ps1", frozenset(Verb), "a look", timedelta(seconds=3)), ME)
                else:
                    await handle.lease("ps1", "job 7", timedelta(seconds=3 if how == "leased" else 0.1), ME)
                world.reconciler.settings = replace(world.reconciler.settings, fleets=(want,))
                if "released" in how:
                    assert await handle.lift("hold", "ps1", ME) == 1
                for _ in range(18):
                    await anyio.sleep(1)
                    assert [c for c in world.cloud.writes() if c.endswith("ps1")] == []
                await anyio.sleep(60)
                assert [c for c in world.cloud.writes() if c.endswith("ps1")] == ["destroy ps1"]

    run(story)


@pytest.mark.parametrize("verb", [Verb.STOP, Verb.RESTART, Verb.DESTROY])
@pytest.mark.parametrize("reason", [Reason.OVER_TARGET, Reason.BEYOND_STANDBY, Reason.OPERATOR_REQUEST])
@pytest.mark.parametrize("state", ["ready", "starting", "stopping", "off", "hibernating"])
@pytest.mark.parametrize("ruled", [True, False])
def test_a_lease_that_comes_before_the_call_forbids_it(verb: Verb, reason: Reason, state: str, ruled: bool) -> None:
    async def story() -> None:
        kept = fleet(target=0, idle=HASTY if ruled else None)
        async with rig(kept, sources={"gpu": ScriptedSource()}) as world:
            idleness, now = world.reconciler._idleness, world.clock.now()
            await idleness.leases.put("ps1", "job", now + SECOND, ME, now=now)
            action = Action(verb, kept.name, reason, machine="ps1", name=token_name(1))
            assert await idleness.last_word(kept, action, machine(1, state)) is Reason.BUSY
            assert await idleness.last_word(kept, replace(action, even_if_busy=True), machine(1, state)) is None

    run(story)


@pytest.mark.parametrize("scale_in", ScaleIn)
def test_another_goes_where_nobody_is_asked_and_one_is_leased(scale_in: ScaleIn) -> None:
    kept = fleet(target=2, adopt=("ps1", "ps2"), scale_in=scale_in, allow_destroy=True)

    async def story(leased: str) -> None:
        async with rig(kept) as world:
            for n in (1, 2):
                world.cloud.add(token_name(n), "ready")
            async with world.daemon_running():
                await anyio.sleep(40)
                await handle_of(world).lease(leased, "job 7", timedelta(hours=1), ME)
                settings = world.reconciler.settings
                world.reconciler.settings = replace(settings, fleets=(replace(kept, target=1),))
                await anyio.sleep(90)
                other = {"ps1": "ps2", "ps2": "ps1"}[leased]
                assert world.cloud.writes() == [f"{scale_in} {other}"]

    for one in ("ps1", "ps2"):
        run(partial(story, one))


@pytest.mark.parametrize(
    ("state", "reason", "ended", "ruled", "word"),
    [
        ("off", Reason.BEYOND_STANDBY, 5, True, Reason.NOT_IDLE_LONG_ENOUGH),
        ("starting", Reason.OVER_TARGET, 5, True, Reason.NOT_IDLE_LONG_ENOUGH),
        ("off", Reason.BEYOND_STANDBY, 25, True, None),
        ("off", Reason.BEYOND_STANDBY, None, True, None),
        ("off", Reason.BEYOND_STANDBY, 5, False, None),
        ("off", Reason.OPERATOR_REQUEST, 5, True, None),
    ],
)
def test_the_last_word_on_a_machine_that_is_not_up_is_its_last_lease(
    state: str, reason: Reason, ended: int | None, ruled: bool, word: Reason | None
) -> None:
    """A lease may have come and gone between the plan and its call."""

    async def story() -> None:
        kept = fleet(target=0, idle=HASTY if ruled else None)
        async with rig(kept, sources={"gpu": ScriptedSource()}) as world:
            idleness, now = world.reconciler._idleness, world.clock.now()
            if ended is not None:
                await idleness.leases.put("ps1", "job", now + SECOND, ME, now=now)
                await anyio.sleep(1 + ended)
            action = Action(Verb.DESTROY, kept.name, reason, machine="ps1", name=token_name(1))
            assert await idleness.last_word(kept, action, machine(1, state)) == word

    run(story)


def test_a_lease_from_a_clock_that_was_ahead_does_not_swallow_those_after_it() -> None:
    async def story() -> None:
        async with rig() as world:
            held = Leases(world.journal)
            ahead = START + timedelta(days=40)
            await held.load(ahead)
            await held.put("ps1", "old", ahead + timedelta(hours=1), ME, now=ahead)
            for leases in (held, Leases(world.journal)):  # the same process, and the next one
                if leases is not held:
                    await leases.load(START)
                    assert leases.in_force("ps1", START) is None, "nobody knows when it was"
                await leases.put("ps2", "new", START + timedelta(hours=1), ME, now=START)
                assert leases.in_force("ps2", START) is not None
            assert held.in_force("ps1", START) is not None, "it was asked for an hour, and that is not over"
            again = Leases(world.journal)
            await again.load(START)
            assert again.in_force("ps2", START) is not None

    run(story)


def test_a_lease_lasts_as_long_as_was_asked_for_whatever_the_wall_clock_does() -> None:
    async def story() -> None:
        async with rig() as world:
            leases = Leases(world.journal)
            await leases.load(START)
            await leases.put("ps1", "job", START + timedelta(hours=1), ME, now=START)
            for step in (timedelta(0), timedelta(days=95), timedelta(days=-95)):
                assert leases.in_force("ps1", START + step) is not None, step
            await anyio.sleep(3601)
            assert leases.in_force("ps1", START + timedelta(hours=1) + SECOND) is None
            assert leases.last_use("ps1", START + timedelta(hours=2)) == START + timedelta(
                hours=1, minutes=59, seconds=59
            )

    run(story)


@pytest.mark.parametrize("process", ["the one that took it", "the next"])
def test_the_end_of_a_lease_lies_ever_further_back_also_where_the_clock_was_set_back(process: str) -> None:
    """Otherwise its machine is never idle for long enough, for as many days as the clock went back."""

    async def story() -> None:
        async with rig() as world:
            ahead = START + timedelta(days=3)
            leases = Leases(world.journal)
            await leases.load(ahead)
            await leases.put("ps1", "job", ahead + timedelta(hours=1), ME, now=ahead)
            await anyio.sleep(600)
            if process == "the next":
                leases = Leases(world.journal)
                await leases.load(ahead + timedelta(seconds=600))
            await anyio.sleep(6000)  # it ended 3000 s ago; then the clock goes back
            assert leases.last_use("ps1", START) == START - timedelta(seconds=3000)
            await anyio.sleep(1800)
            assert leases.last_use("ps1", START + timedelta(seconds=1800)) == START - timedelta(seconds=3000)

    run(story)


def test_a_start_with_a_clock_far_ahead_drops_no_lease() -> None:
    async def story() -> None:
        async with rig() as world:
            first, ahead, after = (Leases(world.journal) for _ in range(3))
            await first.load(START)
            await first.put("ps1", "job", START + timedelta(days=1), ME, now=START)
            far = START + timedelta(days=95)
            await ahead.load(far)
            await ahead.put("ps2", "job", far + timedelta(hours=1), ME, now=far)
            await after.load(START + timedelta(minutes=5))
            assert after.in_force("ps1", START + timedelta(minutes=5)) is not None

    run(story)


def test_leases_that_are_taken_in_one_moment_are_all_kept() -> None:
    """None is lost to another that was being written just then, and the file has all of them."""

    async def story() -> None:
        async with rig(fleet(target=0)) as world:
            leases = Leases(world.journal)
            now = world.clock.now()
            async with anyio.create_task_group() as group:
                for number in range(8):
                    put = partial(leases.put, f"ps{number}", "job", now + SECOND, ME, now=now)
                    group.start_soon(put)
            again = Leases(world.journal)
            await again.load(now)
            for kept in (leases, again):
                assert [kept.holder(f"ps{n}", now) is not None for n in range(8)] == [True] * 8

    run(story)


def test_what_cannot_be_kept_is_refused_and_what_has_ended_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases_module, "MOST", 3)

    async def story() -> None:
        async with rig() as world:
            leases = Leases(world.journal)
            await leases.load(START)
            for n, lasts in enumerate([10, 3600, 3600]):
                await leases.put(f"ps{n}", "job", START + lasts * SECOND, ME, now=START)
            with pytest.raises(OrderDeclined, match="3 leases are in force"):
                await leases.put("ps9", "job", START + 60 * SECOND, ME, now=START)
            assert leases.in_force("ps9", START) is None
            await leases.put("ps2", "job", START + 7200 * SECOND, ME, now=START)  # a renewal needs no room
            await anyio.sleep(11)
            later = START + 11 * SECOND
            await leases.put("ps9", "job", later + 60 * SECOND, ME, now=later)
            assert all(leases.in_force(m, later) for m in ("ps1", "ps2", "ps9"))

    run(story)


@pytest.mark.parametrize(
    ("note", "kept"),
    [
        pytest.param("[{", 0, id="cut off"),
        pytest.param('{"machine": 1}', 0, id="no list"),
        pytest.param("[1, null, {}]", 0, id="no leases"),
        pytest.param("[" * 5000, 0, id="nested"),
        pytest.param(
            json.dumps(
                [
                    {"machine": "ps1", "source": "s", "until": "soon", "actor": "a"},
                    {
                        "machine": "ps1",
                        "source": "t",
                        "until": (START + timedelta(hours=1)).isoformat(),
                        "actor": "a",
                    },
                ]
            ),
            1,
            id="one of two, as earlier versions wrote it",
        ),
        pytest.param(
            json.dumps(
                [{"machine": "ps1", "source": "t", "until": (START + LONGEST + SECOND).isoformat(), "actor": "a"}]
            ),
            0,
            id="longer than any lease",
        ),
    ],
)
def test_what_an_earlier_process_left_is_read_as_far_as_it_goes(note: str, kept: int) -> None:
    async def story() -> None:
        async with rig() as world:
            await world.journal.put_note("leases", note)
            leases = Leases(world.journal)
            with capture_logs():
                await leases.load(START)
            assert (leases.in_force("ps1", START) is not None) is bool(kept)
            await leases.put("ps2", "job", START + 60 * SECOND, ME, now=START)

    run(story)


def test_a_job_goes_on_under_the_name_that_its_machine_had() -> None:
    async def story() -> None:
        source = ScriptedSource(says=lambda _m: Activity.ACTIVE)
        async with rig(PARKED, sources={"gpu": source}) as world:
            world.cloud.add(token_name(1), machine_type="P4000")
            async with world.daemon_running():
                handle = handle_of(world)
                await anyio.sleep(40)
                world.cloud.set("ps1", name="somebody-renamed-me")
                await anyio.sleep(40)
                for name in (token_name(1), "somebody-renamed-me", "ps1"):
                    assert (await handle.lease(name, "job", timedelta(minutes=5), ME)).machine == "ps1"
                with pytest.raises(LookupError, match="no machine of ours"):
                    await handle.lease("training-nobody", "job", timedelta(minutes=5), ME)

    run(story)


def test_a_lease_before_the_first_pass_finds_what_is_remembered(tmp_path: Path) -> None:
    async def story() -> None:
        source = {"gpu": ScriptedSource(says=lambda _m: Activity.ACTIVE)}
        async with rig(PARKED, sources=source, state=tmp_path) as world:
            world.cloud.add(token_name(1), machine_type="P4000")
            cloud = world.cloud
            async with world.daemon_running():
                await anyio.sleep(60)
        async with rig(PARKED, sources=source, state=tmp_path, cloud=cloud) as world:
            await world.reconciler.load()
            handle = handle_of(world)
            assert (await handle.lease(token_name(1), "job", timedelta(minutes=5), ME)).machine == "ps1"
            with pytest.raises(NotYet, match="no pass has ended yet"):
                await handle.lease(token_name(2), "job", timedelta(minutes=5), ME)

    run(story)


def test_a_lease_finds_its_machine_while_the_listing_lacks_it(tmp_path: Path) -> None:
    async def story() -> None:
        source = {"gpu": ScriptedSource(says=lambda _m: Activity.ACTIVE)}
        async with rig(replace(PARKED, target=2), sources=source) as world:
            for n in (1, 2):
                world.cloud.add(token_name(n), machine_type="P4000")
            async with world.daemon_running():
                handle = handle_of(world)
                await anyio.sleep(60)
                report = world.reconciler.last
                assert report is not None
                lacking = replace(report.observation, machines=report.observation.machines[1:])
                world.reconciler.last = replace(report, observation=lacking)
                (lost,) = {m.id for m in report.observation.machines} - {m.id for m in lacking.machines}
                assert (await handle.lease(lost, "job", timedelta(minutes=5), ME)).machine == lost

    run(story)
