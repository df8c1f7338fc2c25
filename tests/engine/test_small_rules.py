"""Small rules of the engine, each by itself: what a restart keeps, loops that go on, orders that are over."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from structlog.testing import capture_logs

from fleetd.engine.calling import say_requested
from fleetd.engine.checks import Checks
from fleetd.engine.convergence import ConvergenceWatch, hopeless
from fleetd.engine.handle import EngineHandle
from fleetd.engine.observer import _first
from fleetd.engine.orders import Orders
from fleetd.engine.recall import Recall
from fleetd.engine.status import status_report, step_report
from fleetd.model.errors import Unauthorized, Unavailable
from fleetd.model.fleet import AutoSnapshot, IdleRule, Window
from fleetd.model.journal import Hold, Memory, Request
from fleetd.model.machine import SnapshotSight
from fleetd.model.plan import Action, Check, Observation, Skip
from fleetd.model.reasons import Activity, Reason, Verb
from fleetd.model.report import DaemonReport
from fleetd.planner.ownership import Owner
from tests.support.build import NOW, ago, facts, fleet, intent, later, machine, token_name
from tests.support.rig import Rig, SilentAlarms, rig
from tests.support.scripted_source import ScriptedSource
from tests.support.virtual_time import run_virtual

TYPE = ("East Coast (NY2)", "P4000")
HOUR = timedelta(hours=1)
IDLE = IdleRule(("gpu",), after=timedelta(minutes=30), min_uptime=timedelta(0))
SOURCES: dict[str, Any] = {"gpu": ScriptedSource(says=lambda _m: Activity.IDLE)}


def test_a_daemon_knows_from_its_start_what_the_one_before_it_knew(tmp_path: Path) -> None:
    """The provider cannot be asked, so nothing of it is learnt anew."""

    async def story() -> None:
        here: dict[str, Any] = {"sources": SOURCES, "state": tmp_path}
        async with rig(fleet(target=1, idle=IDLE), **here) as world:
            cloud = world.cloud
            cloud.add(token_name(1), machine_type="P4000")
            async with world.daemon_running():
                await anyio.sleep(100)
                now = world.clock.now()
                await world.reconciler._idleness.leases.put("ps1", "job", now + HOUR, "ada", now=now)
                await world.reconciler.recall.no_capacity(*TYPE, "no room", now)
                await world.journal.add_hold(
                    Hold(
                        id=0,
                        kind="hold",
                        subject="ps1",
                        verbs=frozenset(Verb),
                        reason="x",
                        actor="ada",
                        created_at=now,
                        expires_at=now + HOUR,
                    )
                )
        cloud.before = lambda _op, _id: Unauthorized("Invalid API token")
        async with rig(fleet(target=1, idle=IDLE), cloud=cloud, **here) as world, world.daemon_running() as daemon:
            known, now = daemon.reconciler, world.clock.now()
            assert set(known.recall.facts) == {"ps1"}
            assert known.recall.facts["ps1"].up_since is not None
            memory = await known.recall.memory(now, provider_failing=timedelta(0))
            assert set(memory.backoffs) == {TYPE}
            assert known._idleness.leases.in_force("ps1", now) is not None
            assert known._idleness._clocks["ps1"].idle_since is not None
            assert [hold.subject for hold in known.vetoes.in_force] == ["ps1"]

    run_virtual(story)


def test_a_shortage_that_is_over_does_not_come_back_with_a_restart() -> None:
    async def story() -> None:
        async with rig(fleet()) as world:
            recall = world.reconciler.recall
            first = await recall.no_capacity(*TYPE, "no room", NOW)
            assert first is not None
            assert await recall.no_capacity(*TYPE, "no room", NOW + timedelta(seconds=59)) is None, (
                "the same shortage"
            )
            second = await recall.no_capacity(*TYPE, "no room", first.until)
            assert second is not None
            assert (first.attempt, second.attempt) == (1, 2)
            assert (await recall.memory(second.until, provider_failing=timedelta(0))).backoffs == {}
            await recall.has_capacity(*TYPE)
            anew = Recall(world.journal, world.meter)
            await anew.load()
            assert (await anew.memory(second.until - HOUR, provider_failing=timedelta(0))).backoffs == {}
            again = await anew.no_capacity(*TYPE, "no room", NOW)
            assert again is not None
            assert again.attempt == 1

    run_virtual(story)


class Edges(SilentAlarms):
    def __init__(self) -> None:
        self.set: list[datetime | None] = []

    def edge(self, at: datetime | None) -> None:
        self.set.append(at)


@pytest.mark.parametrize("windows", [(), (Window("night", 20 * 60, 7 * 60, "UTC", target=0),)])
def test_the_daemon_is_woken_at_the_next_edge_of_a_window(windows: tuple[Window, ...]) -> None:
    async def story() -> None:
        edges = Edges()
        async with rig(fleet(target=0, windows=windows), alarms=edges) as world, world.daemon_running():
            await anyio.sleep(40)
            now = world.clock.now()
        expected = {t for t in (now.replace(hour=h, minute=0, second=0, microsecond=0) for h in (7, 20)) if t > now}
        assert edges.set
        assert all(at == (min(expected) if windows else None) for at in edges.set)

    run_virtual(story, start=NOW)


async def written(world: Rig, verb: Any, n: int | None, **fields: Any) -> Any:
    begun = replace(intent(verb, n, reason=Reason.OVER_TARGET, **fields), created_at=world.clock.now())
    return await world.journal.write_intent(replace(begun, deadline_at=world.clock.now() + HOUR))


@pytest.mark.parametrize("first", ["one of ours without an answer", "an update", "of another version"])
def test_every_open_intent_is_doubted_whatever_stands_before_it(first: str) -> None:
    async def story() -> None:
        async with rig(fleet()) as world:
            before = await written(
                world, {"an update": Verb.UPDATE, "of another version": "explode"}.get(first, Verb.STOP), 1
            )
            after = await written(world, Verb.STOP, 2)
            if first.startswith("one of ours"):
                world.reconciler.executor.unanswered.add(before.id)
            found = await world.reconciler._look._settling.doubt_unanswered(world.clock.now())
            doubted = {i.id: i.ambiguous_since for i in found}
            assert doubted[after.id] == world.clock.now()
            assert (before.id in doubted) == (first != "an update")

    run_virtual(story)


@pytest.mark.parametrize("first", ["a stop", "one that is found", "one that is given up"])
def test_every_lost_create_is_looked_for_whatever_stands_before_it(first: str) -> None:
    async def story() -> None:
        async with rig(fleet()) as world:
            long_ago = world.clock.now() - HOUR
            name = token_name(1 if first == "one that is found" else 9)
            await written(
                world, Verb.STOP if first == "a stop" else Verb.CREATE, 5 if first == "a stop" else None, name=name
            )
            after = await written(world, Verb.CREATE, None, name=token_name(2))
            for one in await world.journal.open_intents():
                await world.journal.update_intent(one.id, ambiguous_since=long_ago)
            settling = world.reconciler._look._settling
            await settling.load()
            for looked in (False, True):  # however long others have looked for it, this process looks as well
                seen = Observation(world.clock.now(), (machine(1), machine(2)))
                left = await settling.settle(await world.journal.open_intents(), seen, {"training": fleet()})
                assert {i.id: i.machine_id for i in left}[after.id] == "ps2"
                assert looked or len(left) == 2
                await anyio.sleep(fleet().guards.settle.total_seconds())
            assert len(left) == (1 if first == "one that is given up" else 2)

    run_virtual(story)


SAVED = fleet(auto_snapshot=AutoSnapshot("day", 7))
OWNED = {"ps1": Owner("training", adopted=False), "ps2": Owner("training", adopted=False)}


def test_a_check_is_made_of_each_machine_that_it_was_due_for() -> None:
    checks = Checks(SimpleNamespace())  # type: ignore[arg-type]
    checks.due(OWNED, [SAVED])
    listed = [machine(1), machine(2)]
    checks.made({"ps2": frozenset(Check)}, listed, (), (), ())
    assert set(checks.due(OWNED, [SAVED])) == {"ps1"}
    mends = Action(Verb.UPDATE, "training", Reason.SNAPSHOT_DRIFT, machine="ps1")
    checks.rung(Check.SNAPSHOT)
    due = checks.due(OWNED, [SAVED])
    checks.made(due, listed, (), [mends], ())
    assert set(checks.due(OWNED, [SAVED])) == {"ps1"}, "whether the update had its effect, the next look tells"


def test_what_cannot_be_verified_is_said_of_each_machine() -> None:
    with capture_logs() as logs:
        Checks(SimpleNamespace()).report(  # type: ignore[arg-type]
            {"ps2": frozenset({Check.SNAPSHOT})}, [SAVED], [machine(1), machine(2)], OWNED, Memory(), NOW
        )
    assert [line["machine"] for line in logs if line["event"] == "policy.was_unverified"] == ["ps2"]


ORDER = Request(Verb.STOP, "ps1", "ada", "kernel update", keep_off=HOUR)
STOPS = Action(Verb.STOP, "training", Reason.OPERATOR_REQUEST, machine="ps1", name="box")
DROPPED = Skip("training", Verb.STOP, Reason.BUSY, "ps1", "box")
OPEN = intent(Verb.STOP, 1, reason=Reason.OPERATOR_REQUEST)


@asynccontextmanager
async def waiting_for(orders: Orders, heard: list[Any]) -> AsyncIterator[Any]:
    """Somebody waits for what their order comes to, and is told within; what a pass has taken of it."""

    async def ask() -> None:
        heard.append(await orders.ask(ORDER, patience=60))

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        await anyio.sleep(1)
        yield orders.take()


@pytest.mark.parametrize(
    ("actions", "skips", "intents", "begun", "stays_off"),
    [
        pytest.param([STOPS], [], [OPEN], True, True, id="under way"),
        pytest.param([STOPS], [], [], True, True, id="over already"),
        pytest.param([STOPS], [DROPPED], [], False, False, id="dropped right before the call"),
        pytest.param([STOPS], [DROPPED], [OPEN], True, True, id="refused, and yet under way"),
        pytest.param([], [DROPPED], [], False, False, id="declined by the plan"),
        pytest.param([], [], [replace(OPEN, reason=Reason.OVER_TARGET)], False, False, id="fleetd's own stop"),
    ],
)
def test_what_an_order_came_to(actions, skips, intents, begun: bool, stays_off: bool) -> None:
    async def story() -> None:
        async with rig(fleet()) as world:
            orders, heard = Orders(world.journal), []
            async with waiting_for(orders, heard) as taken:
                await orders.before_calls(taken, actions, world.clock.now())
                await orders.decided(taken, actions, skips, intents)
            (decision,) = heard
            assert decision.begun == begun
            assert decision.skip == (None if begun else next(iter(skips), None))
            held = await world.journal.holds(now=world.clock.now())
            assert [(h.subject, h.verbs) for h in held] == ([("box", frozenset({Verb.START}))] if stays_off else [])
            assert (decision.kept_off is not None) == stays_off

    run_virtual(story)


@pytest.mark.parametrize("under_way", [True, False])
def test_what_an_order_came_to_in_a_pass_that_failed(under_way: bool) -> None:
    async def story() -> None:
        async with rig(fleet()) as world:
            orders, heard = Orders(world.journal), []
            async with waiting_for(orders, heard) as taken:
                await orders.before_calls(taken, [STOPS], world.clock.now())
                if under_way:
                    await world.journal.write_intent(replace(OPEN, id=0))
                await orders.failed()
                orders.abandon(taken)
            assert heard[0].begun == under_way
            assert len(await world.journal.holds(now=world.clock.now())) == under_way

    run_virtual(story)


def test_a_restart_ends_when_the_machine_has_gone_down_and_come_back() -> None:
    """Nothing tells of it but its states: no events, and two looks of which the first shows it on its way."""

    async def story() -> None:
        async with rig(fleet(target=1)) as world, world.passes_by_hand():
            world.cloud.add(token_name(1), "restarting", machine_type="P4000")
            world.cloud.set("ps1", events=None)
            call = await written(world, Verb.RESTART, 1, expected_state="ready", baseline_event="")
            call, ending = replace(call, accepted_at=world.clock.now()), []

            async def wait() -> None:
                ending.append(await world.poller.wait_for(call, settle=timedelta(seconds=90)))

            async with anyio.create_task_group() as group:
                group.start_soon(wait)
                await anyio.sleep(8)
                world.cloud.set("ps1", state="ready")
                await anyio.sleep(30)
                assert [str(e.outcome) for e in ending] == ["reached"]

    run_virtual(story)


def report(
    *skips: Skip, actions: int = 0, dropped: tuple[Skip, ...] = (), moving: int = 0, done: bool = False
) -> Any:
    plan = SimpleNamespace(actions=[STOPS] * actions, skips=skips, at=NOW, fleets={}, complete=True)
    return SimpleNamespace(plan=plan, skips=(*skips, *dropped), intents=(OPEN,) * moving, converged=done)


def skip(reason: Reason, verb: Verb | None = Verb.CREATE) -> Skip:
    return Skip("training", verb, reason)


@pytest.mark.parametrize(
    ("seen", "ends"),
    [
        pytest.param(report(skip(Reason.FROZEN)), "temporary", id="frozen"),
        pytest.param(report(skip(Reason.REFUSED_RECENTLY)), "for good", id="refused"),
        pytest.param(report(skip(Reason.FROZEN), skip(Reason.REFUSED_RECENTLY)), "for good", id="both"),
        pytest.param(report(skip(Reason.UNKNOWN_STATE, None)), "for good", id="an unknown state"),
        pytest.param(report(skip(Reason.FROZEN), skip(Reason.LEAVING, None)), "temporary", id="said beside it"),
        pytest.param(report(skip(Reason.FROZEN), skip(Reason.CAPACITY_BACKOFF)), None, id="something else will pass"),
        pytest.param(report(skip(Reason.FROZEN), moving=1), None, id="something is under way"),
        pytest.param(report(skip(Reason.FROZEN), actions=1), None, id="something was done"),
        pytest.param(report(actions=1, dropped=(skip(Reason.REFUSED_RECENTLY),)), "for good", id="refused just now"),
        pytest.param(report(), None, id="nothing stands in the way"),
    ],
)
def test_when_apply_gives_up(seen: Any, ends: str | None) -> None:
    blocked = hopeless(seen)
    assert (None if blocked is None else "temporary" if blocked.temporary else "for good") == ends
    watch, daemon = ConvergenceWatch(limit=25), SimpleNamespace(stops=0)
    daemon.stop = lambda: setattr(daemon, "stops", daemon.stops + 1)
    watch.attach(daemon, lambda: None)  # type: ignore[arg-type]
    watch.saw(seen)
    assert (watch.failure is not None, daemon.stops) == (ends is not None, int(ends is not None))


def test_apply_goes_on_over_an_outage_but_not_without_a_first_answer_or_a_key() -> None:
    first, daemon = ConvergenceWatch(limit=25), SimpleNamespace(stopped=[])
    daemon.stop = lambda: daemon.stopped.append(True)
    first.attach(daemon, lambda: None)  # type: ignore[arg-type]
    first.saw(Unavailable("no route"))
    assert (str(first.failure), len(daemon.stopped)) == ("no route", 1)
    later_on = ConvergenceWatch(limit=25)
    later_on.attach(daemon, lambda: None)  # type: ignore[arg-type]
    later_on.saw(report(moving=1))
    later_on.saw(Unavailable("no route"))
    assert (later_on.failure, later_on.converged, len(daemon.stopped)) == (None, False, 1)
    later_on.saw(Unauthorized("Invalid API token"))
    assert (str(later_on.failure), len(daemon.stopped)) == ("Invalid API token", 2)
    done = ConvergenceWatch(limit=25)
    done.attach(daemon, lambda: None)  # type: ignore[arg-type]
    done.saw(report(done=True))
    assert (done.converged, done.failure, len(daemon.stopped)) == (True, None, 3)


@pytest.mark.parametrize(
    ("lost", "answered", "ambiguous"),
    [(None, None, False), (ago(minutes=1), None, True), (ago(minutes=1), ago(seconds=5), False)],
)
def test_a_transition_is_ambiguous_from_the_loss_of_its_answer_until_it_is_known(lost, answered, ambiguous) -> None:
    shown = step_report(intent(Verb.STOP, 1, ambiguous_since=lost, accepted_at=answered))
    assert shown.ambiguous is ambiguous
    assert (shown.verb, shown.deadline) == (Verb.STOP, later(minutes=10))


@pytest.mark.parametrize("verb", list(Verb))
def test_the_line_of_a_call_says_which_and_for_whom(verb: Verb) -> None:
    with capture_logs() as logs:
        say_requested(intent(verb, 1, id=7, evidence="gpu idle", actor="ada"), 3)
    (line,) = logs
    assert line["event"] == f"machine.{verb}_requested"
    keys = {"action": str(verb), "machine": "ps1", "intent": 7, "pass_id": 3, "actor": "ada", "evidence": "gpu idle"}
    assert {key: line.get(key) for key in keys} == keys


def test_a_status_of_a_daemon_says_that_it_runs() -> None:
    async def story() -> None:
        async with rig(fleet(target=0)) as world, world.daemon_running():
            handle = EngineHandle(world.daemon, world.reconciler._idleness.leases, world.clock)
            assert handle.status().daemon.running is True

    run_virtual(story)


def test_a_stop_that_lies_ahead_of_both_clocks_is_respected_from_now_on() -> None:
    async def story() -> None:
        async with rig(fleet(target=0)) as world:
            recall = world.reconciler.recall
            kept = [
                facts(n, stopped_at=at) for n, at in enumerate((None, ago(hours=1), NOW, later(hours=1)), start=1)
            ]
            await recall.put(kept)
            await recall.respect_anew(NOW)
            expected = {"ps1": None, "ps2": ago(hours=1), "ps3": NOW, "ps4": NOW}
            assert {m: f.stopped_at for m, f in recall.facts.items()} == expected
            assert {f.machine_id: f.stopped_at for f in await world.journal.facts()} == expected

    run_virtual(story)


@pytest.mark.parametrize(("age", "planned_with"), [(0, True), (299, True), (300, False)])
def test_a_look_at_snapshots_is_planned_with_for_five_minutes(age: int, planned_with: bool) -> None:
    async def story() -> None:
        async with rig(fleet(target=0)) as world:
            snapshots = world.reconciler._look.snapshots
            sight = SnapshotSight("ps1", NOW)
            snapshots._kept = {"ps1": (world.clock.now() - timedelta(seconds=age), sight)}
            seen: list[Any] = []

            def planned(memory: Memory) -> Any:
                seen.append(dict(memory.snapshots))
                return SimpleNamespace(skips=(), complete=True)

            await snapshots.decide(Memory(), planned)
            assert seen == [{"ps1": sight} if planned_with else {}]

    run_virtual(story)


def test_a_machine_that_is_being_made_is_in_the_status_once() -> None:
    async def story() -> None:
        async with rig(fleet(target=1)) as world, world.passes_by_hand() as reconciler:
            for _ in range(3):
                await reconciler.run_pass()
                assert reconciler.last is not None
                rows = status_report(reconciler.last, daemon=DaemonReport(running=True)).machines
                assert [r.id for r in rows] in ([], ["ps1"])
                await anyio.sleep(30)
            seen = reconciler.last
            unlisted = replace(seen, observation=replace(seen.observation, machines=()))
            rows = status_report(unlisted, daemon=DaemonReport(running=True)).machines
            made = [(r.id, r.state, r.fleet, r.owned) for r in rows]
            assert made == [("ps1", "creating", "training", True)] * len(seen.intents)
            assert len(seen.intents) == 1

    run_virtual(story)


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
async def test_of_several_faults_the_same_one_is_told_whatever_order_they_come_in(order: tuple[str, ...]) -> None:
    async def verify(machine_id: str) -> str | None:
        return None if machine_id == "c" else f"{machine_id} differs"

    assert await _first([*order, "c"], verify) == "a differs"
    assert await _first(["c"], verify) is None
