"""Faults in fleetd's own code, raised at every place: each ends what it happened in, and the daemon goes on."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from unittest import mock

import anyio
import pytest
from structlog.testing import capture_logs

from fleetd.engine.faults import LONGEST_WAIT, Faults, Seen, wait_after
from fleetd.engine.handle import EngineHandle
from fleetd.engine.leases import Leases
from fleetd.model.errors import ConfigError, OrderDeclined, PassFailed
from fleetd.model.fleet import ShutdownTimeout
from fleetd.model.journal import MachineOrder
from fleetd.model.plan import Check
from fleetd.model.reasons import Reason, Verb
from tests.support.build import NOW, fleet, token_name
from tests.support.rig import rig
from tests.support.virtual_time import run_virtual

PLACES = {
    "fleetd.engine.look": ("owners", "believed", "turned", "expected_ids", "plan"),
    "fleetd.engine.settling": ("learn", "Settling.settle", "Settling.learn", "Settling.doubt_unanswered"),
    "fleetd.engine.observer": ("_Inquiry.observation", "Observer.observe"),
    "fleetd.engine.executor": (
        "Executor.carry_out", "Executor._existing", "Executor._create",
        "machine_name",
    ),
    "fleetd.engine.follower": ("Follower._close", "Follower._report"),
    "fleetd.engine.poller": ("Poller._see", "Poller._look_at", "Poller.tick", "judge", "onward"),
    "fleetd.engine.recall": ("Recall.ended", "Recall.memory", "Recall.learn", "Recall.created"),
    "fleetd.engine.checks": ("Checks.due", "Checks.look", "Checks.made", "Checks.report", "timeout_drift"),
    "fleetd.engine.snapshots": ("Snapshots.decide", "Snapshots.check"),
    "fleetd.engine.orders": ("Orders.before_calls", "Orders.decided"),
    "fleetd.engine.change_logging": ("ChangeLogger.passed", "ChangeLogger.observed", "ChangeLogger.owned"),
    "fleetd.engine.nightly": ("Nightly.passed",),
    "fleetd.engine.retention": ("Retention.keep",),
    "fleetd.engine.external_changes": ("classify", "remember"),
    "fleetd.engine.idleness": ("Idleness.use",),
    "fleetd.engine.vetoes": ("Vetoes.against", "Vetoes.read"),
    "fleetd.engine.daemon": ("next_edge", "_one_line", "Daemon._mind_steps"),
    "fleetd.planner.plan": ("decide", "roster", "effective", "cut_counts", "cut_costs"),
    "fleetd.planner.fleetplan": ("report_oddities", "police", "rise"),
    "fleetd.planner.policy_actions": ("outlived", "timeout_drift"),
}  # fmt: skip


class Fault(ArithmeticError):
    """What no code expects."""


def broken(target: str, error: Callable[[], BaseException] = lambda: Fault("here")) -> Any:
    """Everybody who calls it meets a fault."""
    module, _, name = target.rpartition(":")
    return mock.patch(f"{module}.{name}", side_effect=lambda *_a, **_k: (_ for _ in ()).throw(error()))


TARGETS = [f"{module}:{name}" for module, names in PLACES.items() for name in names]


@pytest.mark.long
@pytest.mark.parametrize("target", TARGETS)
def test_a_fault_anywhere_ends_no_daemon_and_nothing_is_lost_when_it_is_over(target: str) -> None:
    """Half an hour in which a place in the code fails each time; then everything is as it should be."""

    async def story() -> None:
        policed = fleet(target=3, shutdown_timeout=ShutdownTimeout(24, enforce=True), respect_manual=timedelta(0))
        async with rig(policed, faults_wanted=True) as world, world.daemon_running() as daemon:
            world.cloud.defaults = {"shutdown_timeout_hours": 24, "shutdown_timeout_forces": False}
            await anyio.sleep(20)
            handle = EngineHandle(daemon, Leases(world.journal), world.clock)
            with broken(target):
                daemon.reconciler.checks.rung(Check.SHUTDOWN_TIMEOUT)
                daemon.wake()
                await anyio.sleep(250)
                ready = [world.cloud.named(n).id for n, s in world.cloud.states().items() if s == "ready"]
                if ready:
                    world.cloud.human("stop", ready[0])
                    world.cloud.remove(ready[1])
                with_it = world.notifier.said.count("alive")
                await anyio.sleep(900)
                assert world.notifier.said.count("alive") > with_it + 60, "the watchdog is fed"
                assert handle.alive() is None
                about = handle.status().daemon
                assert about.last_fault is not None
                assert (about.faults, about.last_fault.error) == (world.faults.count, "Fault: here")
            await anyio.sleep(1200)
            assert sorted(world.cloud.states().values()) == ["ready"] * 3, world.cloud.states()
            assert not await world.journal.open_intents()
            assert daemon.last_error is None
            assert world.cloud.writes().count("create") == 3 + bool(ready)

    run_virtual(story)


def test_a_failed_pass_is_said_once_with_its_traceback_and_counted_each_time() -> None:
    results: list[object] = []

    async def story() -> None:
        with capture_logs() as logs:
            ready = rig(fleet(target=1), faults_wanted=True, on_pass=results.append)
            async with ready as world, world.daemon_running() as daemon:
                with broken("fleetd.engine.look:owners"):
                    await anyio.sleep(3600)
                assert daemon.last_error == "a fault in fleetd ended the pass: Fault: here"
                failed = world.meter.said.count(("fault", "pass"))
        said = [line for line in logs if line["event"] == "pass.failed"]
        assert len(said) == failed == world.faults.count
        assert [line["exc_info"] is not None for line in said] == [True] + [False] * (failed - 1)
        assert all(line["log_level"] == "error" and line["error"] == "Fault: here" for line in said)
        assert 10 <= failed <= 20, "30 s, a minute, two, four, and then five minutes apart"
        assert sum(isinstance(r, PassFailed) for r in results) == failed

    run_virtual(story)


def test_waits_between_failing_passes_grow_to_five_minutes_or_the_interval() -> None:
    assert [wait_after(n, 30) for n in (0, 1, 2, 3, 4, 5, 1000)] == [0, 30, 60, 120, 240, 300, 300]
    assert [wait_after(n, 900) for n in (0, 1, 2, 5000)] == [0, 900, 900, 900]
    assert LONGEST_WAIT == 300


def test_one_machines_fault_is_one_machines() -> None:
    """The policies of one machine meet a fault: it alone is left alone, and it is said."""

    def drift(_fleet: object, machine: Any) -> Any:
        if machine.id == "ps1":
            raise Fault("ps1")
        return mock.DEFAULT

    async def story() -> None:
        policed = fleet(target=3, shutdown_timeout=ShutdownTimeout(24))
        async with rig(policed, faults_wanted=True) as world, world.passes_by_hand():
            for n in (1, 2):
                world.cloud.add(token_name(n), shutdown_timeout_hours=168, shutdown_timeout_forces=False)
            from fleetd.planner import policy_actions

            with mock.patch.object(
                policy_actions, "timeout_drift", side_effect=drift, wraps=policy_actions.timeout_drift
            ):
                report = await world.reconciler.run_pass()
            assert sorted(world.cloud.writes()) == ["create", "update ps2"]
            skips = [(s.machine, s.reason, s.detail) for s in report.skips]
            assert skips == [("ps1", Reason.INTERNAL_FAULT, "Fault: ps1")]
            assert world.faults.last is not None
            assert world.faults.last.where == "machine"

    run_virtual(story)


def test_one_fleets_fault_is_one_fleets() -> None:
    from fleetd.planner import plan as planning

    def decide(draft: Any, *_rest: Any) -> Any:
        if draft.fleet.name == "a":
            raise Fault("a")
        return mock.DEFAULT

    async def story() -> None:
        async with (
            rig(fleet("a", target=1), fleet("b", target=1), faults_wanted=True) as world,
            world.passes_by_hand(),
        ):
            with mock.patch.object(planning, "decide", side_effect=decide, wraps=planning.decide):
                report = await world.reconciler.run_pass()
            assert [c.detail[0][:2] for c in world.cloud.calls if c.operation == "create"] == ["b-"]
            assert [(s.fleet, s.reason) for s in report.skips] == [("a", Reason.INTERNAL_FAULT)]
            assert not report.converged

    run_virtual(story)


@pytest.mark.parametrize("target", ["fleetd.engine.look:plan", "fleetd.engine.checks:Checks.made"])
def test_an_order_whose_pass_failed_is_told_what_became_of_it_and_leaves_no_hold_behind(target: str) -> None:
    """Before the calls nothing was done; after them it was, although the pass failed."""

    async def story() -> None:
        async with rig(fleet(target=1), faults_wanted=True) as world, world.daemon_running() as daemon:
            await anyio.sleep(300)
            handle = EngineHandle(daemon, Leases(world.journal), world.clock)
            order = MachineOrder(Verb.STOP, "ps1", "maintenance", keep_off=timedelta(hours=4))
            with broken(target):
                if target.endswith("made"):
                    assert (await handle.request(order, "ada")).result == "begun"
                else:
                    with pytest.raises(OrderDeclined, match="Fault: here"):
                        await handle.request(order, "ada")
            stopped = [w for w in world.cloud.writes() if w != "create"]
            holds = await world.journal.holds(now=world.clock.now())
            assert (len(stopped), len(holds)) == ((1, 1) if target.endswith("made") else (0, 0))

    run_virtual(story)


def test_a_ring_that_a_failed_pass_met_is_answered_by_the_next() -> None:
    async def story() -> None:
        policed = fleet(target=1, shutdown_timeout=ShutdownTimeout(24))
        async with rig(policed, faults_wanted=True) as world, world.daemon_running() as daemon:
            world.cloud.defaults = {"shutdown_timeout_hours": 24, "shutdown_timeout_forces": False}
            await anyio.sleep(300)
            world.cloud.set("ps1", shutdown_timeout_hours=168)
            with broken("fleetd.engine.change_logging:ChangeLogger.owned"):
                daemon.reconciler.checks.rung(Check.SHUTDOWN_TIMEOUT)
                daemon.wake()
                await anyio.sleep(100)
                assert "update ps1" not in world.cloud.writes()
            await anyio.sleep(200)
            assert world.cloud.writes().count("update ps1") == 1

    run_virtual(story)


def test_a_reload_that_meets_a_fault_keeps_the_old_config() -> None:
    def load() -> Any:
        raise RecursionError

    async def story() -> None:
        async with rig(fleet(target=1), load=load, faults_wanted=True) as world, world.daemon_running() as daemon:
            with pytest.raises(ConfigError, match="a fault in fleetd kept it from being read: RecursionError"):
                daemon.reload()
            assert daemon.reloading.rejection is not None
            await anyio.sleep(100)
            assert daemon.last_error is None

    run_virtual(story)


def test_what_is_told_after_a_pass_may_fail() -> None:
    def on_pass(_result: object) -> None:
        raise Fault("the page")

    async def story() -> None:
        async with rig(fleet(target=1), on_pass=on_pass, faults_wanted=True) as world, world.daemon_running():
            await anyio.sleep(600)
            assert list(world.cloud.states().values()) == ["ready"]
            assert set(world.meter.said) >= {("fault", "status")}

    run_virtual(story)


def test_a_fault_beside_an_error_of_the_provider_is_both() -> None:
    """Calls side by side fail together, one for the provider's reason and one for ours."""

    async def story() -> None:
        async with rig(fleet(target=1), faults_wanted=True) as world, world.daemon_running() as daemon:
            from fleetd.model.errors import Unavailable

            group = ExceptionGroup("two", [Unavailable("down", operation="list"), Fault("here")])
            with broken("fleetd.engine.observer:Observer.observe", lambda: group):
                await anyio.sleep(100)
            assert daemon.reconciler.health.word == "unavailable"
            assert world.faults.count

    run_virtual(story)


def test_what_is_no_exception_goes_through() -> None:
    """A cancellation, or the end of the interpreter, is nothing that a pass may keep to itself."""

    class End(BaseException):
        pass

    async def story() -> None:
        async with rig(fleet(target=1)) as world:
            group = BaseExceptionGroup("two", [End(), ValueError()])
            with broken("fleetd.engine.observer:Observer.observe", lambda: group), pytest.raises(BaseExceptionGroup):
                await world.daemon.run()
            world.faults.count = 0

    run_virtual(story)


class Counted:
    def __init__(self) -> None:
        self.where: list[str] = []

    def fault(self, *, where: str) -> None:
        self.where.append(where)


def raised(error: BaseException) -> BaseException:
    try:
        raise error  # noqa: TRY301 - it is to have a traceback
    except BaseException as caught:  # noqa: BLE001
        return caught


@pytest.mark.parametrize(("where", "event"), [("pass", "pass.failed"), ("poller", "fault.was_contained")])
def test_a_fault_is_told_with_its_place_and_its_traceback_once(where: str, event: str) -> None:
    clock: Any = SimpleNamespace(now=lambda: NOW)
    meter: Any = Counted()
    faults = Faults(clock, meter)
    fault, nameless = raised(Fault("here")), raised(Fault())
    with capture_logs() as logs:
        assert faults.saw(where, fault) == "Fault: here"
        assert faults.saw(where, ExceptionGroup("two", [fault, nameless])) == "Fault: here"
        assert faults.saw(where, nameless) == "Fault"
        assert faults.saw(where, ValueError("never raised")) == "ValueError: never raised"
        assert faults.saw("other", fault) == "Fault: here"
    line = inspect.getsourcelines(raised)[1] + 2
    places = [f"test_faults.py:{line} Fault"] * 3 + ["nowhere ValueError", f"test_faults.py:{line} Fault"]
    assert [entry["place"] for entry in logs] == places
    assert [entry["event"] for entry in logs] == [event] * 4 + ["fault.was_contained"]
    assert [entry["exc_info"] for entry in logs[:3]] == [fault, None, None], "once for each place"
    assert [entry["exc_info"] is None for entry in logs[3:]] == [False, False], "another place, and another end"
    assert [entry.get("where") for entry in logs] == [None if where == "pass" else where] * 4 + ["other"]
    said = ["Fault: here", "Fault: here", "Fault", "ValueError: never raised", "Fault: here"]
    assert [entry["error"] for entry in logs] == said
    assert (faults.count, meter.where) == (5, [where] * 4 + ["other"])
    assert faults.last == Seen(NOW, "other", "Fault: here")


def test_places_are_forgotten_when_there_are_very_many() -> None:
    clock: Any = SimpleNamespace(now=lambda: NOW)
    meter: Any = Counted()
    faults = Faults(clock, meter)
    fault = raised(Fault("here"))
    with capture_logs() as logs:
        for n in range(100):
            faults.saw(f"place {n}", fault)
        faults.saw("place 99", fault)
        faults.saw("place 99", fault)
        faults.saw("place 0", fault)
    assert [entry["exc_info"] is None for entry in logs[99:]] == [False, True, True, False]
