"""Rounds over the idle sources: what came counts, who was left out comes first, and no fault ends a pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
from structlog.testing import capture_logs

from fleetd.engine.rounds import shared_names
from fleetd.engine.silence import SILENT_AFTER
from fleetd.model.errors import Unavailable
from fleetd.model.fleet import Guards, IdleRule, Limit, Window
from fleetd.model.machine import Machine
from fleetd.model.reasons import Activity
from fleetd.model.settings import IdleSource
from fleetd.planner.idle import Reading
from tests.support.build import fleet, machine, token_name
from tests.support.rig import Rig, rig
from tests.support.scripted_source import ScriptedSource
from tests.support.virtual_time import run_virtual

START = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
ALL_DAY = Window("always", start=0, end=24 * 60, timezone="UTC", park_idle=True)
RULE = IdleRule(("gpu",), after=timedelta(minutes=5), min_uptime=timedelta(0))
LOOSE = Guards(max_stops_per_pass=Limit(percent=100))
PARKED = fleet(target=2, windows=(ALL_DAY,), idle=RULE, guards=LOOSE)
ASKS = {"gpu": IdleSource("gpu", "http", url="http://{private_ip}:9100/idle", at_once=4)}


def run(story: Callable[[], Any]) -> None:
    run_virtual(story, start=START)


def populate(world: Rig, count: int, **fields: Any) -> None:
    for n in range(1, count + 1):
        world.cloud.add(token_name(n), machine_type="P4000", **fields)


class Slow(ScriptedSource):
    """Takes half a second a machine; of some it never answers."""

    def __init__(self, seconds: float = 0.5, never: frozenset[str] = frozenset()) -> None:
        super().__init__()
        self.seconds = seconds
        self.never = never

    async def read(self, machines, *, window, now):
        for box in machines:
            await anyio.sleep(1e6 if box.id in self.never else self.seconds)
        return await super().read(machines, window=window, now=now)


def test_sixty_machines_and_a_round_that_comes_to_forty_of_them() -> None:
    async def story() -> None:
        source = Slow()
        want = replace(PARKED, target=60)
        async with rig(want, sources={"gpu": source}, interval=5, idle_sources=ASKS) as world:
            populate(world, 60)
            async with world.daemon_running():
                await anyio.sleep(18)
                asked = [machine_id for machine_id, _ in source.asked]
                assert len(set(asked)) == 60, "the second round begins with those whom the first did not come to"
                await anyio.sleep(4 * 60)
                assert world.cloud.writes() == [], "not idle for long enough"
                await anyio.sleep(15 * 60)  # all at once: a surge, which waits for twice idle.after
                assert set(world.cloud.states().values()) == {"off"}

    run(story)


def test_a_machine_of_which_nothing_is_heard_costs_the_others_nothing() -> None:
    async def story() -> None:
        source = Slow(0.1, never=frozenset({"ps1"}))
        async with rig(replace(PARKED, target=8), sources={"gpu": source}, interval=5, idle_sources=ASKS) as world:
            populate(world, 8)
            async with world.daemon_running():
                await anyio.sleep(20 * 60)
                states = world.cloud.states()
                assert states.pop(token_name(1)) == "ready"
                assert set(states.values()) == {"off"}

    run(story)


def test_use_is_not_missed_in_a_round_that_does_not_come_to_it() -> None:
    async def story() -> None:
        source = Slow(1.0)
        source.says = lambda m: Activity.ACTIVE if m.id == "ps9" else Activity.IDLE
        want = replace(PARKED, target=30)
        async with rig(want, sources={"gpu": source}, interval=5, idle_sources=ASKS) as world:
            populate(world, 30)
            async with world.daemon_running():
                await anyio.sleep(30 * 60)
                assert "stop ps9" not in world.cloud.writes()

    run(story)


@pytest.mark.parametrize(
    "fault", [RecursionError("deep"), ValueError("odd"), ExceptionGroup("all", [KeyError("x")]), MemoryError()]
)
def test_a_fault_in_a_source_ends_no_pass(fault: Exception) -> None:
    class Broken(ScriptedSource):
        async def read(self, machines, *, window, now):
            raise fault

    async def story() -> None:
        with capture_logs() as logs:
            async with rig(PARKED, sources={"gpu": Broken()}, idle_sources=ASKS) as world:
                populate(world, 2)
                async with world.daemon_running():
                    await anyio.sleep(3600)
                    assert world.cloud.writes() == []
                    report = world.reconciler.last
                    assert report is not None
                    assert "a fault in the source" in report.memory.idle["ps1"].evidence
        assert [line["event"] for line in logs].count("idle_source.crashed") == 1

    run(story)


def boxes(*addresses: str | None) -> list[Any]:
    return [machine(n, private_ip=address) for n, address in enumerate(addresses, start=1)]


@pytest.mark.parametrize(
    ("addresses", "text", "doubted"),
    [
        pytest.param(("10.0.0.1", "10.0.0.2"), "{private_ip}", set(), id="apart"),
        pytest.param(("10.0.0.1", "10.0.0.1"), "{private_ip}", {"ps1"}, id="shared"),
        pytest.param(("10.0.0.1", " 10.0.0.1 "), "{private_ip}", {"ps1"}, id="written otherwise"),
        pytest.param(("fd00::1", "fd00:0:0::1"), "{private_ip}", {"ps1"}, id="written otherwise, version 6"),
        pytest.param(("10.0.0.1", "::ffff:10.0.0.1"), "{private_ip}", {"ps1"}, id="written as version 6"),
        pytest.param(("0.0.0.0", "10.0.0.1"), "{private_ip}", {"ps1"}, id="that of any machine"),
        pytest.param(("127.0.0.1", None), "{private_ip}", {"ps1"}, id="that of whoever asks"),
        pytest.param(("10.0.0.1", "10.0.0.2/24"), "{private_ip}", set(), id="the other's is no address"),
        *(
            pytest.param((told, "10.0.0.1"), "{private_ip}", {"ps1"}, id=f"no address: {told}")
            for told in (
                "10.0.0.1/24",
                "10.0.0.01",
                "10.1",
                "10.0.0.1:22",
                "167772161",
                "gpu9",
                "gpu9.",
                "10.0.0.1\u200b",
            )
        ),
        pytest.param(("0.0.0.0", None), "{id}", set(), id="that of any machine, not asked by it"),
        pytest.param(("10.0.0.1", "10.0.0.1"), "{id}", set(), id="not asked by it"),
        pytest.param((None, None), "{private_ip}", set(), id="none at all"),
    ],
)
def test_an_address_that_two_machines_have_is_nobodys(addresses, text, doubted) -> None:
    ours, other = boxes(*addresses)
    source = IdleSource("gpu", "http", url=f"http://x/{text}")
    assert set(shared_names(source, [ours], [ours, other])) == doubted
    assert set(shared_names(source, [ours], [other])) == doubted, "right before a stop it is compared as well"


def test_so_is_a_name() -> None:
    source = IdleSource("gpu", "prometheus", query='up{host="{name}"}')
    ours, other = machine(1), machine(2, name=machine(1).name)
    assert set(shared_names(source, [ours], [ours, other])) == {"ps1"}
    shouting = machine(2, name=machine(1).name.upper())
    assert set(shared_names(source, [ours], [ours, shouting])) == {"ps1"}, "names of hosts have no case"


@pytest.mark.parametrize("owner", ["ours", "foreign"])
def test_the_busy_one_of_two_machines_with_one_address_is_not_parked(owner: str) -> None:
    async def story() -> None:
        async with rig(replace(PARKED, target=3), sources={"gpu": ScriptedSource()}, idle_sources=ASKS) as world:
            world.cloud.add(token_name(1), machine_type="P4000", private_ip="10.0.0.7")
            world.cloud.add(token_name(2), machine_type="P4000", private_ip="10.0.0.8")
            world.cloud.add(token_name(3) if owner == "ours" else "somebody", "off", private_ip="10.0.0.7")
            async with world.daemon_running():
                await anyio.sleep(3600)
                assert "stop ps2" in world.cloud.writes()
                assert "stop ps1" not in world.cloud.writes()
                report = world.reconciler.last
                assert report is not None
                assert "10.0.0.7 is also that of ps3: it is nobody's" in report.memory.idle["ps1"].evidence
                world.cloud.set("ps3", private_ip="10.0.0.9")
                await anyio.sleep(600)
                assert "stop ps1" in world.cloud.writes()

    run(story)


def test_a_machine_that_is_silent_for_half_an_hour_is_said_once() -> None:
    async def story() -> None:
        source = ScriptedSource(says=lambda _m: Activity.ACTIVE)
        with capture_logs() as logs:
            async with rig(PARKED, sources={"gpu": source}) as world:
                populate(world, 2)
                async with world.daemon_running():
                    await anyio.sleep(300)
                    source.says = lambda m: Activity.UNKNOWN if m.id == "ps1" else Activity.ACTIVE
                    await anyio.sleep(29 * 60)
                    assert not silent(world)
                    await anyio.sleep(2 * 60)
                    assert silent(world) == {"ps1"}
                    await anyio.sleep(3600)
                    source.says = lambda _m: Activity.ACTIVE
                    await anyio.sleep(60)
                    assert not silent(world)
        told = ("machine.went_silent", "machine.was_heard_again")
        said = [(line["event"], line["machine"]) for line in logs if line["event"] in told]
        assert said == [(event, "ps1") for event in told]

    run(story)


@pytest.mark.parametrize("of_ten", [1, 3, 5, 8])
def test_a_source_that_answers_too_seldom_to_have_anything_parked_is_said(of_ten: int) -> None:
    """Each answer may be idle, and still no span of ``after`` is ever covered."""

    async def story() -> None:
        asked = [0]

        def says(_machine: Machine) -> Activity:
            asked[0] += 1
            return Activity.IDLE if (asked[0] // 2) % 10 < of_ten else Activity.UNKNOWN  # it is read twice a question

        with capture_logs() as logs:
            async with rig(replace(PARKED, target=1), sources={"gpu": ScriptedSource(says=says)}) as world:
                populate(world, 1)
                async with world.daemon_running():
                    await anyio.sleep(40 * 60)
                    assert world.cloud.writes() == []
                    assert silent(world) == {"ps1"}
        assert [line["machine"] for line in logs if line["event"] == "machine.went_silent"] == ["ps1"]

    run(story)


class Learning(ScriptedSource):
    """Remembers whom it was asked about."""

    question = "who?"

    def __init__(self) -> None:
        super().__init__()
        self.known: dict[str, int] = {}
        self.reminded: dict[str, int] | None = None

    async def read(self, machines, *, window, now):
        self.known.update({box.id: 1 for box in machines})
        return await super().read(machines, window=window, now=now)

    def learnt(self):
        return dict(self.known)

    def remind(self, learnt) -> None:
        self.known = self.reminded = dict(learnt)

    def forget_others(self, machines) -> None:
        self.known = {box: n for box, n in self.known.items() if box in machines}


@pytest.mark.parametrize("way", ["a restart", "the provider is away", "it is off", "it is gone"])
def test_what_a_source_has_learnt_lasts_until_the_machine_has_been_off(way: str, tmp_path: Path) -> None:
    async def story() -> None:
        source = Learning()
        async with rig(fleet(target=1, idle=RULE), sources={"gpu": source}, state=tmp_path) as world:
            populate(world, 1)
            async with world.daemon_running():
                await anyio.sleep(120)
                if way == "the provider is away":
                    world.cloud.before = lambda _operation, _id: Unavailable("no", operation="list")
                    await anyio.sleep(3 * 3600)
                elif way == "it is off":
                    world.cloud.human("stop", "ps1")
                    await anyio.sleep(60)
                elif way == "it is gone":
                    world.cloud.remove("ps1")
                    await anyio.sleep(120)
        if way == "a restart":
            async with rig(fleet(target=1, idle=RULE), sources={"gpu": source}, state=tmp_path) as world:
                source.reminded = None
                async with world.passes_by_hand() as reconciler:
                    await reconciler.run_pass()
            assert source.reminded == {"ps1": 1}
            return
        assert ("ps1" in source.known) is (way == "the provider is away")

    run(story)


def silent(world: Rig) -> set[str]:
    report = world.reconciler.last
    assert report is not None
    return {machine_id for machine_id, idle in report.memory.idle.items() if idle.unknown_s >= SILENT_AFTER}


def test_what_is_unknown_of_a_new_machine_is_said_later() -> None:
    async def story() -> None:
        source = ScriptedSource(says=lambda _m: Activity.UNKNOWN)
        async with rig(PARKED, sources={"gpu": source}) as world:
            populate(world, 1)
            async with world.daemon_running():
                await anyio.sleep(34 * 60)
                assert not silent(world), "nobody can know enough before idle.after has gone by"
                await anyio.sleep(2 * 60)
                assert silent(world) == {"ps1"}

    run(story)


def test_a_verdict_of_another_source_stands_while_one_has_not_been_asked() -> None:
    class Told(ScriptedSource):
        async def read(self, machines, *, window, now):
            return {m.id: Reading("job", Activity.ACTIVE, now, "a job") for m in machines}

    async def story() -> None:
        want = replace(PARKED, target=9, idle=replace(RULE, sources=("gpu", "job")))
        sources = {"gpu": Slow(4.0), "job": Told("job")}
        async with rig(want, sources=sources, interval=5, idle_sources=ASKS) as world:
            populate(world, 9)
            async with world.daemon_running():
                await anyio.sleep(60)
                report = world.reconciler.last
                assert report is not None
                assert {idle.verdict for idle in report.memory.idle.values()} == {"active"}

    run(story)
