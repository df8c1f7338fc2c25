"""``plan`` and ``status`` without a daemon: what the next pass would do, decided on what the next pass would know."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import anyio
import pytest

from fleetd.engine.clocks import Agreement
from fleetd.engine.idleness import Idleness
from fleetd.engine.leases import Leases
from fleetd.engine.pass_report import PassReport
from fleetd.engine.status import status_report
from fleetd.engine.survey import survey
from fleetd.model.fleet import Fleet, Guards, IdleRule, Limit, ScaleIn, ShutdownTimeout, Window
from fleetd.model.plan import Plan
from fleetd.model.reasons import Activity, Reason, Verb
from fleetd.model.report import DaemonReport
from fleetd.store.sqlite import SqliteJournal
from tests.support.build import facts, fleet, hold, token_name
from tests.support.inline_executor import InlineExecutor
from tests.support.rig import Rig, rig, settings
from tests.support.scripted_source import ScriptedSource
from tests.support.virtual_time import run_virtual

START = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
AT_NIGHT = START.replace(hour=15)
NIGHT = Window("night", start=14 * 60, end=18 * 60, timezone="UTC", park_idle=True)
PARKED = fleet(
    target=2,
    windows=(NIGHT,),
    idle=IdleRule(("gpu",), after=timedelta(minutes=30), min_uptime=timedelta(minutes=10)),
    guards=Guards(max_stops_per_pass=Limit(percent=100)),
)


async def look(world: Rig, want: Fleet, source: ScriptedSource, at: datetime | None = None) -> Plan:
    before = await everything(world.journal)
    report = await surveyed(world, want, source, at)
    assert await everything(world.journal) == before, "it only looks"
    return report.plan


@pytest.mark.parametrize(
    ("ahead", "words"), [(90000, "ours is 90000 s ahead of"), (-3600, "ours is 3600 s behind"), (120, None)]
)
def test_a_look_without_a_daemon_compares_the_clocks(ahead: int, words: str | None) -> None:
    async def story() -> None:
        async with rig(fleet(target=0)) as world:
            journal = await SqliteJournal.open_scratch(world.journal._database.path, executor=InlineExecutor())
            agreement = Agreement(world.clock)
            agreement.told(world.clock.now() - timedelta(seconds=ahead))
            idleness = Idleness(lambda _tables: {}, Leases(journal), journal, world.clock)
            want = fleet(target=0, scale_in=ScaleIn.DESTROY, allow_destroy=True)
            world.cloud.add(token_name(1), "off", machine_type="P4000")
            await journal.put_facts([facts(1, last_state="off")])
            try:
                report = await survey(
                    settings(want), world.cloud, journal, world.clock, idleness, agreement=agreement
                )
            finally:
                await journal.aclose()
            shown = report.plan.clocks_apart
            assert shown == status_report(report, daemon=DaemonReport(running=False)).clocks_apart
            assert (shown or "").startswith(words or "")
            assert (shown is None) == (words is None)
            held = [s.reason for s in report.plan.skips if s.verb is Verb.DESTROY]
            assert held == ([Reason.CLOCKS_APART] if words else [])

    run_virtual(story)


async def surveyed(world: Rig, want: Fleet, source: ScriptedSource, at: datetime | None = None) -> PassReport:
    journal = await SqliteJournal.open_scratch(world.journal._database.path, executor=InlineExecutor())
    idleness = Idleness(lambda _tables: {"gpu": source}, Leases(journal), journal, world.clock)
    try:
        return await survey(settings(want), world.cloud, journal, world.clock, idleness, at=at)
    finally:
        await journal.aclose()


async def everything(journal: SqliteJournal) -> list[str]:
    return await journal._database.read(lambda db: list(db.iterdump()))


def does(plan: Plan) -> list[tuple[str, str, str | None]]:
    return [(a.verb, a.reason, a.machine) for a in plan.actions]


@pytest.mark.parametrize(
    ("want", "at", "busy", "expected"),
    [
        pytest.param(
            PARKED, AT_NIGHT, None, [("stop", "parked_idle", "ps1"), ("stop", "parked_idle", "ps2")], id="night"
        ),
        pytest.param(PARKED, AT_NIGHT, "ps1", [("stop", "parked_idle", "ps2")], id="night, one in use"),
        pytest.param(PARKED, None, None, [], id="day"),
        pytest.param(
            replace(PARKED, target=1), None, "ps1", [("stop", "over_target", "ps2")], id="surplus that is not in use"
        ),
    ],
)
def test_a_plan_asks_the_idle_sources_as_a_pass_does(want, at, busy, expected) -> None:
    async def story() -> None:
        source = ScriptedSource(says=lambda m: Activity.ACTIVE if m.id == busy else Activity.IDLE)
        async with rig(PARKED, sources={"gpu": source}) as world:
            for n in (1, 2):
                world.cloud.add(token_name(n), machine_type="P4000")
            async with world.daemon_running():
                await anyio.sleep(3600)
            assert does(await look(world, want, source, at)) == expected
            assert world.cloud.writes() == []

    run_virtual(story, start=START)


def test_a_plan_looks_for_what_has_outlived_its_timeout() -> None:
    want = fleet(target=1, shutdown_timeout=ShutdownTimeout(hours=24, enforce=True))

    async def story() -> None:
        async with rig(want) as world:
            world.cloud.add(token_name(1), machine_type="P4000")
            async with world.daemon_running():
                await anyio.sleep(60)
            world.cloud.human("start", "ps1", hours_ago=25)
            assert ("stop", "outlived_timeout", "ps1") in does(await look(world, want, ScriptedSource()))

    run_virtual(story, start=START)


def test_a_held_machine_is_in_use_because_it_is_held_and_says_so() -> None:
    async def story() -> None:
        source = ScriptedSource(says=lambda _m: Activity.IDLE)
        async with rig(PARKED, sources={"gpu": source}) as world:
            for n in (1, 2):
                world.cloud.add(token_name(n), machine_type="P4000")
            await world.journal.add_hold(
                hold(
                    "ps1",
                    reason="a run",
                    actor="ada",
                    created_at=world.clock.now(),
                    expires_at=world.clock.now() + timedelta(hours=1),
                )
            )
            report = await surveyed(world, PARKED, source)
            held, free = report.memory.idle["ps1"], report.memory.idle["ps2"]
            assert (held.verdict, free.verdict) == ("active", "idle")
            assert held.evidence == f"held, which counts as in use; {free.evidence}"

    run_virtual(story, start=START)


def test_a_plan_knows_what_the_next_pass_learns_of_a_persons_stop() -> None:
    """Three up, no daemon; a person stops one: the next pass respects that, and so the plan starts nothing."""
    want = fleet(target=3)

    async def story() -> None:
        async with rig(want) as world:
            for n in (1, 2, 3):
                world.cloud.add(token_name(n), machine_type="P4000")
            async with world.daemon_running():
                await anyio.sleep(300)
            world.cloud.human("stop", "ps2")
            plan = await look(world, want, ScriptedSource())
            assert does(plan) == []
            assert [(s.reason, s.machine) for s in plan.skips] == [("respect_manual", "ps2")]
            async with world.passes_by_hand() as reconciler:
                report = await reconciler.run_pass()
            assert does(report.plan) == does(plan)
            assert world.cloud.writes() == []

    run_virtual(story, start=START)
