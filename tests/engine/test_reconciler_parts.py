"""What the reconciler does with its parts in a pass, and what it tells of itself, each without a provider."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from structlog.testing import capture_logs

from fleetd.engine.basis import Basis
from fleetd.engine.pace import Pace
from fleetd.engine.pass_report import Looked, PassReport
from fleetd.engine.recall import Recall
from fleetd.engine.reconciler import Reconciler
from fleetd.engine.setbacks import NOTE
from fleetd.model.errors import StoreError, Unavailable
from fleetd.model.fleet import Costs, Guards, Window
from fleetd.model.journal import Intent, Memory
from fleetd.model.plan import Action, Observation, Plan, Skip
from fleetd.model.reasons import Reason, Verb
from fleetd.planner.ownership import Owner
from fleetd.store.sqlite import SqliteJournal
from tests.support.build import NOW, ago, fleet, intent, later, machine, machines, seen
from tests.support.inline_executor import InlineExecutor
from tests.support.rig import RecordingMeter, settings
from tests.support.virtual_time import virtual

P = pytest.param
DUE: Any = {"ps1": frozenset({"snapshot"})}
OWNED = {"ps1": Owner("training", adopted=False)}
GOOD = seen(machine(1), machine(9, name="x"))
MEMORY = Memory(intents=(intent(Verb.CREATE, 3, id=7), intent(Verb.STOP, 2, id=8)))
ASKED = SimpleNamespace(order="pending")


def create(of: str = "training") -> Action:
    return Action(Verb.CREATE, of, Reason.SHORT_OF_TARGET)


def stop(of: str = "training", reason: Reason = Reason.OVER_TARGET, verb: Verb = Verb.STOP) -> Action:
    return Action(verb, of, reason, machine="ps1", name="box")


def skip(reason: Reason, verb: Verb = Verb.CREATE, of: str = "training") -> Skip:
    return Skip(of, verb, reason)


def planned(*actions: Action, skips: tuple[Skip, ...] = (), complete: bool = True, **views: bool) -> Plan:
    fleets: Any = {name: SimpleNamespace(converged=converged) for name, converged in views.items()}
    return Plan(NOW, complete, fleets, actions, skips, None, None)


class World:
    """A reconciler whose parts note what they are told; ``plan``: what its looks come to."""

    def __init__(self, plan: Plan | None = None, **fields: Any) -> None:
        self.told: list[Any] = []
        self.settings = fields.get("settings") or settings(fleet())
        self.plan = plan or planned()
        self.observation: Observation = fields.get("observation", GOOD)
        self.dropped: list[Skip] = fields.get("dropped", [])
        self.left: tuple[Intent, ...] = fields.get("left", ())
        """Open when the calls are made."""
        self.fails: dict[str, Exception] = {}
        self.looks: list[Any] = []
        """On what each rested that was handed on; None for a look anew."""
        self.undecided: dict[str, bool] = {}
        """By part: whether the pass might have been given up then."""
        orders = SimpleNamespace(
            pending=(), before_calls=self._later("before calls"), decided=self._later("decided"),
            failed=self._later("orders failed"), abandon=self._notes("abandon"),
        )  # fmt: skip
        journal: Any = SimpleNamespace(open_intents=self._open_intents)
        self.recall: Any = SimpleNamespace(journal=journal, orders=orders, facts={"ps1": "facts"})
        self.follower: Any = SimpleNamespace(
            fleets=None, endings=0, saw=self._notes("saw"), follow=lambda one: self.told.append(("follow", one.id))
        )
        self.lease: str | None = None
        idleness: Any = SimpleNamespace(
            save=self._later("save idle"), aclose=self._later("idle aclose"),
            leases=SimpleNamespace(holder=lambda m, at: (m, at, self.lease)), last_word=self._objects("idle"),
        )  # fmt: skip
        self.clock: Any = SimpleNamespace(now=lambda: NOW)
        self.cloud: Any = SimpleNamespace(remarks=("odd",), capabilities=SimpleNamespace(page_size=3))
        self.progressed = 0
        self.faults: Any = SimpleNamespace(saw=self._notes("fault"))
        self.reconciler = Reconciler(
            self.settings, self.cloud, journal, self.clock, random.Random(1), self.follower, self.recall, idleness,
            self.faults, progress=self._progress,
        )  # fmt: skip

    def with_parts(self) -> World:
        """The parts that the reconciler made itself note as well."""
        parts: Any = self.reconciler
        self.agreement = SimpleNamespace(doubt=None, theirs=lambda at: at, earliest=lambda: ago(hours=3))
        parts._look = SimpleNamespace(
            load=self._later("look load"), look=self._look, agreement=self.agreement,
            outside=SimpleNamespace(fought_over=lambda at: {"ps1": at}),
            snapshots=SimpleNamespace(check=self._later("snapshots"), last_word=self._objects("snapshots")),
            ledger=SimpleNamespace(keep=self._later("ledger"), before_destroy=self._later("bill")),
        )  # fmt: skip
        parts.executor = SimpleNamespace(
            carry_out=self._carry_out, unanswered=set(), gate=SimpleNamespace(closing=False)
        )
        parts.checks = SimpleNamespace(made=self._notes("checks made"), report=self._notes("checks report"))
        parts.vetoes = SimpleNamespace(read=self._later("vetoes"))
        parts._news = SimpleNamespace(
            observed=self._notes("news observed"), owned=self._notes("news owned"), passed=self._notes("news passed")
        )
        parts._nightly = SimpleNamespace(passed=self._later("nightly"))
        parts._retention = SimpleNamespace(load=self._later("retention load"), keep=self._later("retention"))
        self.objections: dict[str, Reason] = {}
        return self

    def _progress(self) -> None:
        self.progressed += 1

    def _note(self, word: str, args: Any) -> None:
        self.undecided[word] = self.reconciler.undecided
        self.told.append((word, *args))
        if word in self.fails:
            raise self.fails[word]

    def _notes(self, word: str) -> Callable[..., None]:
        return lambda *args: self._note(word, args)

    def _later(self, word: str) -> Callable[..., Awaitable[None]]:
        async def note(*args: Any, **fields: Any) -> None:
            await anyio.lowlevel.checkpoint()
            self._note(word, (*args, *([fields] if fields else [])))

        return note

    def _objects(self, word: str) -> Callable[..., Awaitable[Reason | None]]:
        async def last_word(*args: Any) -> Reason | None:
            await anyio.lowlevel.checkpoint()
            self.told.append((word, *args))
            return self.objections.get(word)

        return last_word

    async def _open_intents(self) -> tuple[Intent, ...]:
        await anyio.lowlevel.checkpoint()
        return self.left

    async def _look(self, wanted: Any, *, failing: timedelta, again: Basis | None) -> Looked:
        assert wanted is self.reconciler.settings
        self.looks.append(again)
        began = anyio.current_time()
        await anyio.sleep(2)
        self._note("look", (failing,))
        basis = again or Basis(self.observation, began, stale_after=timedelta(seconds=60))
        return Looked(NOW, began, basis, self.observation, OWNED, DUE, MEMORY, self.plan)

    async def _carry_out(self, *args: Any) -> list[Skip]:
        await anyio.lowlevel.checkpoint()
        self._note("calls", args)
        return self.dropped

    def words(self) -> list[str]:
        return [row[0] for row in self.told]

    def said(self, word: str) -> tuple[Any, ...]:
        (row,) = [row[1:] for row in self.told if row[0] == word]
        return tuple(row)


BEFORE = ["news observed", "checks report"]
CALLS = ["follow", "follow", "before calls", "calls", "checks made", "decided", "vetoes", "news passed", "nightly"]


@pytest.mark.parametrize(
    ("observation", "closing", "doubt", "told"),
    [
        P(
            GOOD, False, None,
            ["look", "saw", *BEFORE, "news owned", *CALLS, "snapshots", "ledger", "retention", "abandon"], id="good",
        ),
        P(
            replace(GOOD, rejected="it shrank"), False, None,
            ["look", "saw", *BEFORE, *CALLS, "retention", "abandon"], id="a listing that is not believed",
        ),
        P(
            GOOD, True, None,
            ["look", "saw", *BEFORE, "news owned", *CALLS, "retention", "abandon"], id="told to stop meanwhile",
        ),
        P(
            GOOD, False, "ours is 1 h ahead",
            ["look", "saw", *BEFORE, "news owned", *CALLS, "snapshots", "ledger", "abandon"], id="a clock is wrong",
        ),
    ],
)  # fmt: skip
@virtual
async def test_what_a_pass_does_in_which_order(
    observation: Observation, closing: bool, doubt: str | None, told: list[str]
) -> None:
    world = World(observation=observation).with_parts()
    there: Any = world.reconciler
    there.executor.gate.closing, world.agreement.doubt = closing, doubt
    await there.run_pass()
    assert world.words() == told


@virtual
async def test_what_the_parts_of_a_pass_are_told() -> None:
    actions, own = (stop(),), (skip(Reason.FROZEN, Verb.START),)
    dropped, left = [skip(Reason.BUSY, Verb.STOP)], (intent(Verb.STOP, 1, fleet="training"),)
    world = World(planned(*actions, skips=own, training=True), dropped=dropped, left=left).with_parts()
    await anyio.sleep(5)
    began = anyio.current_time()
    report = await world.reconciler.run_pass()
    skips, listed = (*own, *dropped), GOOD.machines
    fleets = {"training": world.settings.fleets[0]}
    assert world.follower.fleets == fleets
    assert world.said("saw") == (GOOD, began)
    assert world.said("news observed") == (GOOD,)
    assert world.said("news owned") == (listed, OWNED, fleets)
    assert world.said("checks report") == (DUE, world.settings.fleets, listed, OWNED, MEMORY, NOW)
    assert world.said("before calls") == ((), actions, NOW, world.agreement)
    carried = world.said("calls")
    assert (carried[:2], carried[2].seen_at, carried[3]) == ((actions, fleets), began, 1)
    assert world.said("checks made") == (DUE, listed, MEMORY.intents, actions, skips)
    assert world.said("decided") == ((), actions, skips, left)
    assert world.said("news passed") == (1, 2.0, report.plan, skips, {"training"})
    assert world.said("nightly") == (report.plan, skips)
    assert world.said("snapshots") == (DUE, world.settings.fleets, listed, OWNED)
    _ours, known, at, looked = world.said("ledger")
    assert (known, at) == (world.recall.facts, NOW)
    assert looked == {"listed": {"ps1", "ps9"}, "looks": timedelta(seconds=90)}
    assert world.said("retention") == (NOW,)
    assert world.said("abandon") == ((),)
    assert (report.pass_id, report.started_at, report.duration_s) == (1, NOW, 2.0)
    assert (report.observation, report.owned, report.plan) == (GOOD, OWNED, world.plan)
    assert (report.skips, report.intents, report.memory) == (skips, left, MEMORY)
    assert world.reconciler.last is world.reconciler.believed is report
    assert (await world.reconciler.run_pass()).pass_id == 2


@virtual
async def test_a_call_that_has_not_been_answered_is_not_followed() -> None:
    world = World().with_parts()
    world.reconciler.executor.unanswered.add(7)
    await world.reconciler.run_pass()
    assert [row for row in world.told if row[0] == "follow"] == [("follow", 8)]


@virtual
async def test_a_pass_may_be_given_up_until_its_calls_begin_and_once_they_are_made() -> None:
    world = World().with_parts()
    assert world.reconciler.undecided is False
    await world.reconciler.run_pass()
    afterwards = ["snapshots", "ledger", "retention"]
    assert [word for word, may in world.undecided.items() if may] == [
        "look",
        "saw",
        *BEFORE,
        "news owned",
        *afterwards,
    ]
    assert world.reconciler.undecided is False


@pytest.mark.parametrize("at", ["look", "calls", "decided"])
@virtual
async def test_whatever_ends_a_pass_those_who_gave_orders_hear_of_it(at: str) -> None:
    world = World().with_parts()
    world.recall.orders.pending = (ASKED,)
    world.fails[at] = ValueError("odd")
    with pytest.raises(ValueError, match="odd"):
        await world.reconciler.run_pass()
    assert world.told[-2:] == [("orders failed",), ("abandon", (ASKED,))]
    assert world.reconciler.undecided is False


@virtual
async def test_an_order_that_comes_in_the_middle_of_a_pass_is_not_abandoned_by_it() -> None:
    world = World().with_parts()
    async with anyio.create_task_group() as group:
        group.start_soon(world.reconciler.run_pass)
        await anyio.sleep(1)
        world.recall.orders.pending = (ASKED,)
    assert world.said("abandon") == ((),)


@virtual
async def test_transitions_go_on_while_the_provider_cannot_be_looked_at() -> None:
    world = World(left=(intent(Verb.STOP, 1, id=4),)).with_parts()
    world.fails["look"] = Unavailable("no route")
    world.reconciler.health.failing_since = ago(minutes=7)
    with pytest.raises(Unavailable):
        await world.reconciler.run_pass()
    assert world.words() == ["look", "follow", "orders failed", "abandon"]
    assert world.said("look") == (timedelta(minutes=7),)
    assert world.said("follow") == (4,)
    assert world.reconciler.last is None


BAD = replace(GOOD, rejected="it shrank", at=later(minutes=1))


@virtual
async def test_since_when_no_look_has_been_believed() -> None:
    world = World().with_parts()
    there = world.reconciler
    assert (there.last, there.believed, there.doubted_since) == (None, None, None)
    good = await there.run_pass()
    world.observation = BAD
    bad = await there.run_pass()
    assert (there.last, there.believed, there.doubted_since) == (bad, good, NOW)
    there.doubt(later(minutes=2))
    assert there.doubted_since == NOW, "since the first"
    world.observation = GOOD
    last = await there.run_pass()
    assert (there.believed, there.doubted_since) == (last, None)
    there.doubt(later(minutes=3))
    assert there.doubted_since == later(minutes=3)


CUT = planned(create(), skips=(skip(Reason.GUARD_CREATES),))
MIXED = planned(create(), stop(), skips=(skip(Reason.GUARD_CREATES),))


def ends(world: World) -> None:
    world.follower.endings += 1


def orders(world: World) -> None:
    world.recall.orders.pending = (ASKED,)


def reloads(world: World) -> None:
    world.reconciler.settings = replace(world.settings)


def hangs(world: World) -> None:
    world.reconciler.executor.unanswered.add(9)


def nothing(_world: World) -> None:
    pass


@pytest.mark.parametrize(
    ("plan", "within", "between", "passes", "again"),
    [
        P(CUT, nothing, nothing, 0.0, True, id="its creates alone were cut"),
        P(planned(create()), nothing, nothing, 0.0, False, id="nothing was"),
        P(MIXED, nothing, nothing, 0.0, False, id="it stopped one as well"),
        P(CUT, hangs, nothing, 0.0, False, id="a call hangs"),
        P(CUT, nothing, ends, 0.0, False, id="a transition has ended"),
        P(CUT, ends, nothing, 0.0, False, id="one has ended while it went on"),
        P(CUT, nothing, orders, 0.0, False, id="somebody gave an order"),
        P(CUT, nothing, reloads, 0.0, False, id="another config is in force"),
        P(CUT, nothing, nothing, 13.0, True, id="half an interval"),
        P(CUT, nothing, nothing, 13.1, False, id="more than that"),
    ],
)
@virtual
async def test_a_pass_that_only_goes_on_with_creates_rests_on_the_look_before(
    plan: Plan, within: Callable[[World], None], between: Callable[[World], None], passes: float, again: bool
) -> None:
    world = World(plan).with_parts()
    world.follower.endings = 5  # of long ago
    await anyio.sleep(1000)
    async with anyio.create_task_group() as group:
        group.start_soon(world.reconciler.run_pass)
        await anyio.sleep(1)
        within(world)
    basis = world.said("calls")[2]
    between(world)
    await anyio.sleep(passes)
    await world.reconciler.run_pass()
    assert world.looks == [None, basis if again else None]
    assert world.words().count("saw") == (1 if again else 2), "a look that was not made tells nobody anything"


@virtual
async def test_after_a_look_that_failed_the_next_is_made_anew() -> None:
    world = World(CUT).with_parts()
    await world.reconciler.run_pass()
    world.fails["look"] = Unavailable("no route")
    with pytest.raises(Unavailable):
        await world.reconciler.run_pass()
    del world.fails["look"]
    await world.reconciler.run_pass()
    assert [again is None for again in world.looks] == [True, False, True]


def reported(plan: Plan, *dropped: Skip, intents: int = 0) -> PassReport:
    skips = (*plan.skips, *dropped)
    return PassReport(1, NOW, 0.1, GOOD, OWNED, plan, skips, (intent(Verb.STOP, 1),) * intents, MEMORY)


USED, UNANSWERED, BUSY = skip(Reason.CALLS_USED_UP), skip(Reason.CREATE_UNANSWERED), skip(Reason.BUSY, Verb.STOP)
GUARDED = skip(Reason.GUARD_CREATES)


@pytest.mark.parametrize(
    ("plan", "dropped", "goes_on"),
    [
        P(planned(create()), (), False, id="all is done"),
        P(planned(create()), (USED,), True, id="its calls were used up"),
        P(planned(create()), (USED, UNANSWERED), True, id="and creates hang"),
        P(planned(create()), (UNANSWERED,), False, id="creates hang"),
        P(planned(create()), (USED, BUSY), False, id="a call was dropped for another reason too"),
        P(planned(create()), (BUSY,), False, id="a call was dropped for another reason"),
        P(planned(create(), skips=(USED,)), (), False, id="what the plan itself says"),
        P(planned(create(), skips=(GUARDED,)), (), True, id="the guard on creates cut it"),
        P(planned(create(), skips=(GUARDED,)), (BUSY,), False, id="and a call was dropped"),
        P(planned(skips=(GUARDED,)), (), False, id="nothing was made: it would not end"),
        P(planned(stop(), skips=(GUARDED,)), (), False, id="only a stop was"),
        P(planned(create("b"), skips=(GUARDED,)), (), False, id="creates of another fleet"),
        P(planned(create(), skips=(GUARDED, skip(Reason.FROZEN))), (), False, id="its creates fail as well"),
        P(planned(create(), skips=(skip(Reason.FROZEN),)), (), False, id="or only fail"),
        P(
            planned(create(), skips=(GUARDED, skip(Reason.FROZEN, of="b"))),
            (),
            True,
            id="those of another fleet fail",
        ),
        P(
            planned(create(), skips=(GUARDED, skip(Reason.GUARD_STOPS, Verb.STOP))),
            (),
            True,
            id="stops keep their pace",
        ),
        P(planned(stop(), skips=(skip(Reason.GUARD_STOPS, Verb.STOP),)), (), False, id="and wait for the interval"),
    ],
)
def test_when_the_next_pass_follows_at_once(plan: Plan, dropped: tuple[Skip, ...], goes_on: bool) -> None:
    assert reported(plan, *dropped).goes_on is goes_on


@pytest.mark.parametrize(
    ("plan", "intents", "converged"),
    [
        P(planned(a=True, b=True), 0, True, id="every fleet is"),
        P(planned(a=True, b=False), 0, False, id="one is not"),
        P(planned(a=True, b=True), 1, False, id="something is under way"),
        P(planned(a=True, b=True, complete=False), 0, False, id="not all was seen"),
    ],
)
def test_when_a_pass_has_found_everything_at_its_target(plan: Plan, intents: int, converged: bool) -> None:
    assert reported(plan, intents=intents).converged is converged


NIGHT = Window("night", 18 * 60, 7 * 60, "UTC", target=0)
"""Closed at noon, and open by a clock that is seven hours ahead of that."""
PARKS, STAYS = fleet(windows=(NIGHT,)), fleet()
DEAR = Costs(max_monthly_cost=1)  # type: ignore[arg-type]
START = stop(verb=Verb.START)
APART, ORDERED = Reason.CLOCKS_APART, Reason.OPERATOR_REQUEST
DESTROY = stop(verb=Verb.DESTROY)
ALL_ASKED = ["idle", "snapshots"]


@pytest.mark.parametrize(
    ("action", "mine", "apart", "objections", "says", "told"),
    [
        P(stop(), STAYS, 0, {}, None, ALL_ASKED, id="nobody objects"),
        P(stop(of="gone"), STAYS, 9, {}, None, [], id="of a fleet that the config does not have any more"),
        P(stop(), STAYS, 0, {"idle": Reason.BUSY}, Reason.BUSY, ["idle"], id="somebody uses it"),
        P(
            stop(), STAYS, 0, {"snapshots": Reason.SNAPSHOT_TOO_OLD}, Reason.SNAPSHOT_TOO_OLD, ALL_ASKED,
            id="it has no snapshot",
        ),
        P(DESTROY, STAYS, 0, {}, None, [*ALL_ASKED, "bill"], id="what it has cost is written before a destroy"),
        P(
            DESTROY, STAYS, 0, {"snapshots": Reason.SNAPSHOT_TOO_OLD}, Reason.SNAPSHOT_TOO_OLD, ALL_ASKED,
            id="and not where none is made",
        ),
        P(stop(), STAYS, 7, {}, None, ALL_ASKED, id="by both clocks it is wanted"),
        P(stop(), PARKS, 7, {}, APART, [], id="by one clock it is not"),
        P(stop(), PARKS, 0, {}, None, ALL_ASKED, id="the clocks agree"),
        P(stop(reason=ORDERED), PARKS, 7, {}, None, ALL_ASKED, id="an order hangs on no window"),
        P(DESTROY, STAYS, 7, {}, APART, [], id="nothing is destroyed by a clock that may be wrong"),
        P(stop(reason=Reason.OUTLIVED_TIMEOUT), STAYS, 7, {}, APART, [], id="nor anything done by an age"),
        P(START, STAYS, 30 * 24, {}, None, ALL_ASKED, id="another month"),
        P(START, fleet(guards=Guards(max_monthly_cost=1)), 30 * 24, {}, APART, [], id="another month's budget"),  # type: ignore[arg-type]
        P(START, (DEAR, STAYS), 30 * 24, {}, APART, [], id="another month's budget of all fleets"),
    ],
)  # fmt: skip
@virtual
async def test_the_last_word_before_a_call(
    action: Action, mine: Any, apart: int, objections: Mapping[str, Reason], says: Reason | None, told: list[str]
) -> None:
    costs, wanted = mine if isinstance(mine, tuple) else (Costs(), mine)
    world = World(settings=settings(wanted, costs=costs)).with_parts()
    world.objections = dict(objections)
    if apart:
        world.agreement.doubt, world.agreement.theirs = "apart", lambda at: at + timedelta(hours=apart)
    cloud: Any = object()
    assert await world.reconciler._last_word(action, machine(1), cloud) == says
    assert world.words() == told
    rows = {
        "idle": (wanted, action, machine(1)), "snapshots": (wanted, action, cloud),
    }  # fmt: skip
    assert all(world.said(word) == rows[word] for word in told if word in rows)
    if "bill" in told:
        (billed,) = world.said("bill")
        assert (billed.machine_id, billed.fleet) == ("ps1", "training")


@virtual
async def test_what_its_parts_are_wired_to_is_the_config_in_force_and_the_clocks_of_now() -> None:
    world = World()
    there: Any = world.reconciler
    new = replace(settings(fleet(target=9), interval=600), source="new.toml")
    there.settings = new
    gate, executor = there.executor.gate, there.executor
    assert gate._in_force("training") is new.fleets[0]
    assert gate._in_force("other") is None
    world.lease = "ada"
    assert gate._leased("ps1") == ("ps1", NOW, "ada")
    assert executor._pace() == Pace.of(new)
    assert there._look._observer._looks() == Pace.of(new).looks
    assert executor._preflight._last_word == there._last_word
    executor.unanswered.add(3)
    assert there._look._settling._unanswered() == {3}
    there.agreement.told(ago(hours=2))
    assert there.vetoes._reached() == ago(hours=2)
    assert there.checks is there._look.checks
    for part in (executor, there._look._observer, there.checks, there._look.snapshots, there._look.ledger):
        part._progress()
    assert world.progressed == 5
    assert there.remarks == ("odd",)
    assert executor.beside._on_fault is world.faults.saw
    assert there._nightly._journal is there._retention._journal is world.recall.journal
    with capture_logs() as logs:
        there._news.observed(BAD)
    assert [line["event"] for line in logs] == ["observation.rejected"]


@virtual
async def test_what_an_earlier_process_left_is_read_before_the_first_pass() -> None:
    world = World().with_parts()
    await world.reconciler.load()
    assert world.words() == ["look load", "retention load", "vetoes"]
    assert world.reconciler.fought_over == {"ps1": NOW}
    assert world.reconciler.agreement is world.agreement


@pytest.mark.parametrize("ran", [True, False])
@pytest.mark.parametrize("full", [True, False])
@virtual
async def test_the_idle_clocks_are_kept_at_the_end_and_the_sources_closed(ran: bool, full: bool) -> None:
    world = World().with_parts()
    if ran:
        await world.reconciler.run_pass()
        world.told.clear()
    if full:
        world.fails["save idle"] = StoreError("disk full")
    with capture_logs() as logs:
        await world.reconciler.aclose()
    assert world.told == [("save idle", {"at_once": True})] * ran + [("idle aclose",)]
    said = [{"event": "journal.failed", "error": "disk full", "log_level": "error"}]
    assert logs == said * (ran and full)


@pytest.mark.parametrize(("count", "cheap"), [(None, True), (0, True), (2, True), (3, False), (4, False)])
def test_a_look_is_cheap_while_one_page_holds_all(count: int | None, cheap: bool) -> None:
    seen = None if count is None else SimpleNamespace(machines=machines("ready " * count))
    last = None if seen is None else SimpleNamespace(observation=seen)
    there: Any = SimpleNamespace(last=last, _cloud=SimpleNamespace(capabilities=SimpleNamespace(page_size=3)))
    assert Reconciler.looks_cheaply.fget(there) is cheap  # type: ignore[attr-defined]


@virtual
async def test_what_an_earlier_process_knew_is_known_from_the_start(tmp_path: Path) -> None:
    """Of calls that came to nothing, of machines that may go late, and of the address that a create assigned."""
    journal = await SqliteJournal.open(tmp_path / "journal.db", executor=InlineExecutor())
    before = Recall(journal, RecordingMeter())
    stop = intent(Verb.STOP, 1, reason=Reason.OVER_TARGET)
    await before.setbacks.add(stop, "it went on", NOW)
    await before.departures.add(stop, NOW, declined=False)
    after = Recall(journal, RecordingMeter())
    await after.load()
    assert after.setbacks.known(NOW) == before.setbacks.known(NOW) != {}
    assert after.departures.known(NOW) == before.departures.known(NOW) != {}
    assert await journal.get_note(NOTE) is not None
    await journal.aclose()
