"""What the on-call person's handle answers, and what an order does to vetoes, leases, history and the next pass."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from fleetd.engine.handle import DECIDED_WITHIN, SLOW_CALLS, STALE_PASSES, EngineHandle
from fleetd.engine.status import step_report
from fleetd.model.answers import Adopted, LeaseTaken, OrderTaken, veto_taken
from fleetd.model.errors import NotYet, OrderDeclined
from fleetd.model.in_mind import InMind
from fleetd.model.journal import HistoryEntry, Hold, MachineOrder, Request, VetoOrder
from fleetd.model.plan import Skip
from fleetd.model.reasons import Outcome, Reason, Verb
from fleetd.model.report import LastFault, LastPass, veto_report
from fleetd.model.vetoes import veto_evidence
from fleetd.planner.ownership import Owner
from fleetd.words.reasons import sentence
from tests.support.build import NOW, ago, facts, fleet, hold, intent, later, machine, memory, seen, token_name
from tests.support.virtual_time import virtual

P = pytest.param
IN_MIND = InMind(checks={"ps1": {"snapshot_check": "day 7"}})
A, B, OLD = token_name(1), token_name(2), token_name(3, "old")
REACHED = timedelta(hours=1)
"""By so much the later of both clocks is ahead of ours."""


@dataclass
class World:
    """A daemon that has ended a pass; notes what it is told."""

    passed: bool = True
    facts: dict[str, Any] = field(default_factory=dict)
    removed: int = 1
    kept_off: tuple[Hold, ...] = ()
    decision: Any = None
    on_its_way: Any = None
    confirmed: bool = True

    def __post_init__(self) -> None:
        self.told: list[Any] = []
        self.entries: list[HistoryEntry] = []
        observation = seen(machine(1), machine(2, name="second"), machine(3, fleet="old"), machine(9, name="x"))
        owned = {m: Owner(f, adopted=False) for m, f in {"ps1": "training", "ps2": "training", "ps3": "old"}.items()}
        self.report: Any = SimpleNamespace(
            observation=observation, owned=owned, intents=(), pass_id=7, started_at=ago(seconds=9),
            duration_s=0.12345, plan=SimpleNamespace(actions=(1, 2)),
        ) if self.passed else None  # fmt: skip
        fleets = (fleet(), fleet("other"))
        self.settings: Any = SimpleNamespace(
            fleets=fleets, fleet=lambda name: next((f for f in fleets if f.name == name), None), source="/etc/f.toml",
            daemon=SimpleNamespace(interval=timedelta(seconds=30)), costs=SimpleNamespace(max_hourly_cost=0),
            provider=SimpleNamespace(request_timeout=timedelta(seconds=20)),
        )  # fmt: skip
        self.agreement = SimpleNamespace(latest=lambda: NOW + REACHED, ahead=None)
        self.recall = SimpleNamespace(
            facts=self.facts, journal=self, orders=SimpleNamespace(ask=self.ask), confirm=self.confirm
        )
        self.executor = SimpleNamespace(on_its_way=self.is_on_its_way)
        self.reconciler: Any = SimpleNamespace(
            last=self.report, believed=self.report, settings=self.settings, vetoes=self, agreement=self.agreement,
            recall=self.recall, executor=self.executor, in_mind=lambda: IN_MIND, doubted_since=None, fought_over={},
            health=SimpleNamespace(word="ok"), remarks=[],
        )  # fmt: skip
        self.in_force: tuple[Hold, ...] = ()
        self.daemon: Any = SimpleNamespace(
            reconciler=self.reconciler, wake=lambda: self.told.append("wake"), last_error=None, pause=0.0,
            reload=lambda: self.told.append("reload"), pass_began_at=NOW, started_at=ago(hours=2),
            config_since=ago(hours=1), stopping_since=None, faults=SimpleNamespace(last=None, count=0),
            left_alone_until=None,
            reloading=SimpleNamespace(rejection=None),
        )  # fmt: skip
        me: Any = self
        self.handle = EngineHandle(self.daemon, me, me, command="apply")

    def now(self) -> datetime:
        return NOW

    async def add(self, asked: Hold) -> Hold:
        self.told.append(("add", asked))
        return hold(asked.subject, asked.kind, verbs=asked.verbs, machine=asked.machine)

    async def lift(self, kind: str, subject: str | None, found: Any) -> int:
        self.told.append(("lift", kind, subject, [m.id for m, _ in found]))
        return self.removed

    async def lift_keep_off(self, machine: Any, fleet: str) -> Any:
        self.told.append(("lift keep off", machine.id, fleet))
        return self.kept_off

    def of_ours(self, of: Hold) -> Hold:
        return replace(of, expires_at=of.expires_at + REACHED)

    async def put(self, machine: str, source: str, until: datetime, actor: str, *, now: datetime) -> None:
        assert now == NOW
        self.told.append(("lease", machine, source, until, actor))

    async def ask(self, request: Request, *, patience: float) -> Any:
        assert patience == DECIDED_WITHIN
        self.told.append(request)
        return self.decision

    async def is_on_its_way(self, machine: str) -> Any:
        return self.on_its_way

    async def confirm(self, machine: str) -> bool:
        self.told.append(("confirm", machine))
        return self.confirmed

    async def append_history(self, entry: HistoryEntry) -> None:
        self.entries.append(entry)


def entry(verb: str, machine: str | None, name: str, fleet: str, words: str | None, **fields: Any) -> HistoryEntry:
    fields = {"reason": Reason.OPERATOR_REQUEST, "outcome": Outcome.OBSERVED, "evidence": words} | fields
    return HistoryEntry(ts=NOW, fleet=fleet, machine=machine, name=name, verb=verb, actor="ada", **fields)


STOPS = frozenset({Verb.STOP})


@pytest.mark.parametrize(
    ("kind", "subject", "machine", "told"),
    [
        P("hold", "ps1", "ps1", ("ps1", A, "training"), id="a machine by its id"),
        P("hold", "second", "ps2", ("ps2", "second", "training"), id="by its name"),
        P("freeze", "training", None, (None, "training", "training"), id="a fleet"),
        P("freeze", None, None, (None, "everything", ""), id="everything"),
    ],
)
@virtual
async def test_a_veto(kind: str, subject: str | None, machine: str | None, told: Any) -> None:
    world = World()
    order = VetoOrder(kind=kind, subject=subject, verbs=STOPS, reason="a run", lasts=timedelta(hours=3))
    taken = await world.handle.veto(order, "ada")
    made = hold(subject, kind, verbs=STOPS, machine=machine)
    assert taken == veto_taken(made, [machine] if machine else [])
    until = NOW + REACHED + timedelta(hours=3)
    asked = Hold(0, subject, kind, "a run", "ada", created_at=NOW, expires_at=until, verbs=STOPS, machine=machine)
    assert world.told == [("add", asked), "wake"]
    assert world.entries == [entry(kind, *told, veto_evidence(made))]


@pytest.mark.parametrize(
    ("world", "kind", "subject", "words"),
    [
        P(
            World(),
            "freeze",
            "old",
            "the daemon's config has no fleet old; it has training, other",
            id="no such fleet",
        ),
        P(World(), "hold", "nobody", "no machine of ours is called nobody; nothing is held", id="no such machine"),
        P(World(), "hold", "x", "no machine of ours is called x; nothing is held", id="a stranger's"),
        P(World(), "hold", None, "no machine of ours is called ; nothing is held", id="no machine at all"),
        P(World(passed=False), "hold", "training", "training is a fleet", id="a fleet"),
        P(World(passed=False), "hold", "a*", "takes no patterns", id="a pattern"),
        P(World(passed=False), "hold", "a?", "takes no patterns", id="another"),
        P(World(passed=False), "hold", "a[1]", "takes no patterns", id="a third"),
    ],
)
@virtual
async def test_what_cannot_be_vetoed(world: World, kind: str, subject: str | None, words: str) -> None:
    with pytest.raises(LookupError) as caught:
        await world.handle.veto(VetoOrder(kind=kind, subject=subject, verbs=STOPS, reason="", lasts=REACHED), "ada")
    assert words in str(caught.value)
    assert (world.told, world.entries) == ([], [])


@virtual
async def test_a_hold_before_the_first_pass_is_on_whatever_is_called_so() -> None:
    world = World(passed=False, facts={"ps4": facts(4)})
    for subject, found in (("nobody", None), ("ps4", "ps4")):
        await world.handle.veto(VetoOrder(kind="hold", subject=subject, verbs=STOPS, reason="", lasts=REACHED), "ada")
        assert world.told[-2][1].machine == found
    world = World()
    world.settings.fleets = ()
    with pytest.raises(LookupError, match="it has none"):
        await world.handle.veto(
            VetoOrder(kind="freeze", subject="nobody", verbs=STOPS, reason="", lasts=REACHED), "ada"
        )


@pytest.mark.parametrize(
    ("kind", "subject", "ids", "told"),
    [
        P("hold", "ps1", ["ps1"], ("release", "ps1", A, "training", None), id="a machine's"),
        P("hold", "nobody", [], ("release", None, "nobody", "", None), id="of one that is not there"),
        P("freeze", "training", [], ("unfreeze", None, "training", "training", None), id="a fleet's"),
        P("freeze", None, [], ("unfreeze", None, "everything", "", None), id="of everything"),
    ],
)
@pytest.mark.parametrize("removed", [0, 2])
@virtual
async def test_a_veto_that_is_lifted(kind: str, subject: str | None, ids: list[str], told: Any, removed: int) -> None:
    world = World(removed=removed)
    assert await world.handle.lift(kind, subject, "ada") == removed
    lifted, leases = ("lift", kind, subject, ids), [("lease", m, "hold", NOW, "ada") for m in ids]
    assert world.told == ([lifted, *leases, "wake"] if removed else [lifted])
    assert world.entries == ([entry(*told)] if removed else [])


@virtual
async def test_a_machine_without_an_id_gets_no_lease() -> None:
    world = World()
    world.report.intents = (intent(Verb.CREATE, None, name="new"),)
    assert await world.handle.lift("hold", "new", "ada") == 1
    assert world.told == [("lift", "hold", "new", [""]), "wake"]
    await world.handle.veto(VetoOrder(kind="hold", subject="new", verbs=STOPS, reason="", lasts=REACHED), "ada")
    assert world.told[-2][1].machine is None, "the hold is on its name"


def order(verb: Verb = Verb.STOP, subject: str = "ps1", **fields: Any) -> MachineOrder:
    return MachineOrder(verb=verb, subject=subject, reason="maintenance", **fields)


def decided(**fields: Any) -> Any:
    return SimpleNamespace(
        **{"begun": False, "kept_off": None, "intent": None, "skip": None, "withdrawn": False} | fields
    )


def taken(verb: Verb = Verb.STOP, **fields: Any) -> OrderTaken:
    return OrderTaken(**{"verb": verb, "machine": "ps1", "name": A, "fleet": "training"} | fields)


STEP, OFF_FOR = intent(Verb.STOP, 1), hold("ps1", verbs=frozenset({Verb.START}))
BUSY = Skip("training", Verb.STOP, Reason.BUSY, "ps1", A)


@pytest.mark.parametrize(
    ("decision", "answer"),
    [
        P(None, taken(result="undecided"), id="not decided yet"),
        P(decided(begun=True), taken(result="begun"), id="begun"),
        P(decided(begun=True, intent=STEP), taken(result="begun", transition=step_report(STEP)), id="with its call"),
        P(
            decided(begun=True, kept_off=OFF_FOR),
            taken(result="begun", kept_off_until=OFF_FOR.expires_at + REACHED),
            id="kept off, until when our clock says so",
        ),
        P(
            decided(skip=replace(BUSY, reason=Reason.ALREADY_SO, detail="off")),
            taken(result="already_so", state="off"),
            id="it is so already",
        ),
    ],
)
@virtual
async def test_an_order_that_is_taken(decision: Any, answer: OrderTaken) -> None:
    world = World(decision=decision)
    world.reconciler.vetoes = SimpleNamespace(lift_keep_off=world.lift_keep_off, told=world.of_ours)
    wish = order(even_if_busy=True, keep_off=timedelta(hours=8))
    assert await world.handle.request(wish, "ada") == answer
    asked = Request(Verb.STOP, "ps1", "ada", "maintenance", even_if_busy=True, keep_off=timedelta(hours=8))
    assert (world.told, world.entries) == (["wake", asked], [])


@virtual
async def test_a_start_ends_what_a_stop_left() -> None:
    held = hold("ps1", verbs=frozenset({Verb.START}), actor="bob", reason="repair")
    world = World(decision=decided(begun=True), kept_off=(held,))
    answer = await world.handle.request(order(Verb.START), "ada")
    assert answer == taken(Verb.START, result="begun", lifted=(veto_report(held),))
    assert world.told[0] == ("lift keep off", "ps1", "training")
    words = "maintenance; it was kept off by bob: repair"
    assert world.entries == [entry("release", "ps1", A, "training", words)]


SINCE = "; the hold that the last stop left on it is ended all the same"


@pytest.mark.parametrize(
    ("decision", "error", "words", "reason"),
    [
        P(decided(skip=BUSY), None, sentence(BUSY, NOW), "busy", id="a reason of the plan's"),
        P(decided(), None, f"{A}: the last listing has no such machine", "", id="it is gone"),
        P(decided(), "no route", f"{A}: the pass failed: no route", "", id="the pass failed"),
        P(decided(withdrawn=True), None, f"{A}: no pass has come to it within 30 s", "", id="no pass"),
        P(
            decided(withdrawn=True),
            "no route",
            f"{A}: no pass has come to it within 30 s: no route",
            "",
            id="nor will",
        ),
    ],
)
@pytest.mark.parametrize("lifted", [False, True])
@virtual
async def test_an_order_that_is_declined(
    decision: Any, error: str | None, words: str, reason: str, lifted: bool
) -> None:
    verb = Verb.START if lifted else Verb.STOP
    world = World(decision=decision, kept_off=(hold("ps1"),))
    world.daemon.last_error = error
    with pytest.raises(OrderDeclined) as caught:
        await world.handle.request(order(verb), "ada")
    words = f"{words.removesuffix('.')}{SINCE}" if lifted else words
    assert (str(caught.value), caught.value.reason) == (words, reason)
    said = {"outcome": Outcome.NOT_SENT, "error": words}
    assert world.entries[lifted:] == [entry(verb, "ps1", A, "training", "maintenance", **said)]


@pytest.mark.parametrize("before", [True, False])
@virtual
async def test_a_daemon_that_stops_takes_no_order(before: bool) -> None:
    """Whoever gives one then, or waits for a pass, is told at once; what a stop left on the machine stays on it."""
    world = World(kept_off=(hold("ps1"),))

    async def ask(request: Request, *, patience: float) -> Any:
        world.daemon.stopping_since = NOW
        return decided(withdrawn=True)

    world.recall.orders.ask = ask
    world.daemon.stopping_since = NOW if before else None
    verb = Verb.START if before else Verb.STOP
    words = sentence(Skip("training", verb, Reason.SHUTTING_DOWN, "ps1", A), NOW)
    with pytest.raises(OrderDeclined, match="shutting down") as caught:
        await world.handle.request(order(verb), "ada")
    assert (str(caught.value), caught.value.reason) == (words, "shutting_down")
    said = {"outcome": Outcome.NOT_SENT, "error": words}
    assert world.entries == [entry(verb, "ps1", A, "training", "maintenance", **said)]
    assert not any(told[0] == "lift keep off" for told in world.told)


@virtual
async def test_an_order_whose_call_is_on_its_way_when_the_daemon_stops_is_undecided() -> None:
    world = World(decision=decided())

    async def ask(request: Request, *, patience: float) -> Any:
        world.daemon.stopping_since = NOW
        return world.decision

    world.recall.orders.ask = ask
    assert (await world.handle.request(order(), "ada")).result == "undecided"


@pytest.mark.parametrize(
    ("passed", "subject", "error", "words"),
    [
        P(True, "nobody", LookupError, "nobody: no machine of ours has that id or name", id="nobody"),
        P(True, "ps3", LookupError, "ps3: no machine of ours has that id or name", id="of a fleet that left"),
        P(True, "x", LookupError, "x: no machine of ours has that id or name", id="a stranger"),
        P(False, "nobody", NotYet, "nobody: no pass has ended yet", id="nobody knows yet"),
    ],
)
@virtual
async def test_an_order_for_a_machine_that_is_not_ours(passed: bool, subject: str, error: Any, words: str) -> None:
    world = World(passed=passed)
    asks: Any
    for asks in (
        lambda: world.handle.request(order(subject=subject), "ada"),
        lambda: world.handle.adopt(subject, "why", "ada"),
        lambda: world.handle.lease(subject, "slurm", REACHED, "ada"),
    ):
        with pytest.raises(error) as caught:
            await asks()
        assert str(caught.value).startswith(words)
    assert (world.told, world.entries) == ([], [])


@virtual
async def test_a_machine_that_is_remembered_can_be_ordered_before_the_first_pass() -> None:
    world = World(passed=False, facts={"ps1": facts(1)})
    assert (await world.handle.request(order(), "ada")).result == "undecided"


HOURS = timedelta(hours=2)


@pytest.mark.parametrize(
    ("known", "subject", "leased"),
    [
        P({}, "ps1", ["ps1"], id="by its id"),
        P({}, "second", ["ps2"], id="by its name"),
        P({"ps2": facts(2, name=B)}, B, ["ps2"], id="by the name that it had"),
        P(
            {"ps3": facts(3, name="second", fleet="old")},
            "second",
            ["ps2", "ps3"],
            id="one that had it left the config",
        ),
        P({"ps1": facts(1, name="second")}, "second", ["ps2", "ps1"], id="one has the name, the other had it"),
    ],
)
@virtual
async def test_a_lease(known: dict[str, Any], subject: str, leased: list[str]) -> None:
    world = World(facts=known)
    answer = await world.handle.lease(subject, "slurm", HOURS, "ada")
    assert answer == LeaseTaken(machine=leased[0], source="slurm", until=NOW + HOURS)
    assert world.told == [("lease", m, "slurm", NOW + HOURS, "ada") for m in leased]


@virtual
async def test_a_lease_of_a_machine_that_is_on_its_way_is_declined_and_kept() -> None:
    world = World(on_its_way=Verb.STOP)
    with pytest.raises(OrderDeclined, match=r"^ps1: its stop is on the way$") as caught:
        await world.handle.lease("ps1", "slurm", HOURS, "ada")
    assert caught.value.reason == "in_transition"
    assert world.told == [("lease", "ps1", "slurm", NOW + HOURS, "ada")]
    ended = await world.handle.lease("ps1", "slurm", timedelta(0), "ada")
    assert ended.until == NOW, "one that ends is ended, whatever is on its way"


@virtual
async def test_a_name_that_two_machines_have_is_no_lease() -> None:
    world = World()
    world.report.observation = seen(machine(1, name="twin"), machine(2, name="twin"))
    with pytest.raises(LookupError, match="twin: more than one machine has that name; use its id: ps1"):
        await world.handle.lease("twin", "slurm", HOURS, "ada")
    with pytest.raises(LookupError, match="more than one"):
        await world.handle.request(order(subject="twin"), "ada")
    assert world.told == []


@virtual
async def test_names_that_two_machines_had_are_leased_both() -> None:
    world = World(facts={"ps1": facts(1, name="a"), "ps2": facts(2, name="a")})
    assert (await world.handle.lease("a", "slurm", HOURS, "ada")).machine == "ps1"
    assert [m for _, m, *_ in world.told] == ["ps1", "ps2"]


@pytest.mark.parametrize("confirmed", [True, False])
@virtual
async def test_a_machine_that_is_confirmed(confirmed: bool) -> None:
    world = World(facts={"ps1": facts(1)}, confirmed=confirmed)
    answer = await world.handle.adopt("ps1", "it is ours", "ada")
    assert answer == Adopted(machine="ps1", name=A, fleet="training", confirmed=confirmed)
    assert world.told == [("confirm", "ps1"), "wake"][: 1 + confirmed]
    assert world.entries == [entry("adopt", "ps1", A, "training", "it is ours")] * confirmed
    with pytest.raises(LookupError, match=r"^ps2: no pass has remembered it yet; try again after the next$"):
        await world.handle.adopt("ps2", "it is ours", "ada")


def test_a_reload_and_a_wake() -> None:
    world = World()
    world.handle.reload("ada")
    world.handle.wake()
    assert world.told == ["reload", "wake"]


PATIENCE = 30 * STALE_PASSES + 20 * SLOW_CALLS + 10


@pytest.mark.parametrize(
    ("began", "pause", "sick"),
    [
        P(None, 0, None, id="no pass yet"),
        P(0, 0, None, id="just now"),
        P(PATIENCE, 0, None, id="as long as may be"),
        P(PATIENCE + 1, 0, f"no pass has begun for {PATIENCE + 1} s", id="longer"),
        P(PATIENCE + 60, 60, None, id="the provider asked for it"),
        P(PATIENCE + 61, 60, f"no pass has begun for {PATIENCE + 61} s", id="and longer"),
    ],
)
def test_whether_passes_go_on(began: float | None, pause: float, sick: str | None) -> None:
    world = World()
    world.daemon.pass_began_at = None if began is None else ago(seconds=began)
    world.daemon.pause = pause
    assert world.handle.alive() == sick


def test_whether_it_is_ready() -> None:
    assert World(passed=False).handle.ready() == "no pass has ended well yet"
    world = World()
    assert world.handle.ready() is None
    world.report.observation = replace(world.report.observation, rejected="it shrank")
    assert world.handle.ready() == "it shrank"
    world.daemon.last_error = "no route"
    assert world.handle.ready() == "no route"


def unpassed() -> World:
    return World(passed=False)


def test_the_daemons_own_part_of_the_status() -> None:
    world = unpassed()
    told = world.handle.status()
    about = told.daemon
    assert (about.running, about.command, about.pid, about.since) == (True, "apply", os.getpid(), ago(hours=2))
    assert (about.config, about.config_since) == ("/etc/f.toml", ago(hours=1))
    assert (about.config_fault, about.config_fault_since, about.last_pass) == (None, None, None)
    assert (about.provider, about.provider_until, about.provider_remarks) == ("ok", None, ())
    assert (about.clock_ahead_s, about.error, about.faults, about.last_fault) == (None, None, 0, None)
    assert (told.max_hourly_cost, told.in_mind) == (None, IN_MIND)
    assert (told.observation, told.vetoes) == (None, ())
    me: Any = world
    assert EngineHandle(world.daemon, me, me).status().daemon.command == "run", "where nothing else is said"


def test_the_status_of_a_daemon_in_trouble() -> None:
    world = unpassed()
    daemon = world.daemon
    daemon.reloading.rejection = SimpleNamespace(why="line 3: odd", at=ago(minutes=3))
    daemon.left_alone_until, daemon.last_error = later(seconds=60), "no route"
    daemon.faults = SimpleNamespace(
        count=2, last=SimpleNamespace(at=ago(minutes=1), where="machine", words="ValueError: odd")
    )
    world.reconciler.health.word, world.reconciler.remarks = "unavailable", ["an unknown state"]
    world.reconciler.doubted_since, world.settings.costs.max_hourly_cost = ago(minutes=5), 12
    world.agreement.ahead, world.in_force = 12.345, (hold(),)
    told = world.handle.status()
    about = told.daemon
    assert (about.config_fault, about.config_fault_since) == ("line 3: odd", ago(minutes=3))
    assert (about.provider, about.provider_until) == ("unavailable", later(seconds=60))
    assert (about.provider_remarks, about.clock_ahead_s, about.error) == (("an unknown state",), 12.3, "no route")
    assert (about.faults, about.last_fault) == (
        2, LastFault(at=ago(minutes=1), where="machine", error="ValueError: odd"),
    )  # fmt: skip
    assert told.observation is not None
    assert (told.observation.doubted_since, told.observation.doubt) == (ago(minutes=5), "no route")
    assert (told.max_hourly_cost, told.vetoes) == (12, (veto_report(hold()),))


def test_the_last_pass_and_who_was_turned_are_in_the_status() -> None:
    world = World()
    world.report.plan = SimpleNamespace(
        actions=(1, 2), fleets={}, skips=(), hourly_before=None, orphans=(), over_caps=(), budgets=(),
        clocks_apart=None,
    )  # fmt: skip
    world.report.skips, world.report.memory = (), memory()
    world.reconciler.fought_over = {"ps1": 4}
    told = world.handle.status()
    assert told.daemon.last_pass == LastPass(id=7, at=ago(seconds=9), duration_s=0.123, actions=2)
    assert {m.id: m.turned_outside for m in told.machines} == {"ps1": 4, "ps2": 0, "ps3": 0, "ps9": 0}
    world.reconciler.last = replace_report(world.report, seen(rejected="it is empty"))
    told = world.handle.status()
    assert len(told.machines) == 4, "as they were believed last"
    assert told.observation is not None
    assert told.observation.rejected == "it is empty"


def replace_report(report: Any, observation: Any) -> Any:
    return SimpleNamespace(**{**vars(report), "observation": observation})
