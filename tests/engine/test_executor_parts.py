"""Parts of carrying out a plan: what is said of a call that is not made, names that are new, and whose turn it is."""

from __future__ import annotations

import itertools
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from structlog.testing import capture_logs

from fleetd.engine.basis import Basis
from fleetd.engine.executor import LOOKS, Executor, _create_skip
from fleetd.engine.gate import FRESH, Gate, Objection
from fleetd.engine.pace import Pace
from fleetd.model.errors import Ambiguous, Refused
from fleetd.model.fleet import Fleet
from fleetd.model.journal import Hold, Intent
from fleetd.model.machine import Machine
from fleetd.model.naming import ALPHABET, DRAWN, machine_name, make_token
from fleetd.model.plan import Action, Skip
from fleetd.model.reasons import Outcome, Reason, Verb
from tests.support.build import NOW, PARAMETERS, event, facts, fleet, hold, intent, later, machine, seen, token_name
from tests.support.virtual_time import virtual

P = pytest.param

HELD = Objection(Reason.HELD, "ada: a run", later(hours=1))
FREEZE = hold(None, "freeze")
ENDS = Objection(Reason.SHUTTING_DOWN, "no new actions")


@pytest.mark.parametrize("objection", [HELD, Objection(Reason.BUSY), None])
def test_a_call_that_is_not_made_is_said_and_told(objection: Objection | None) -> None:
    """One without an objection was cancelled from outside: the whole daemon ends."""
    action = Action(Verb.STOP, "training", Reason.OVER_TARGET, "ps1", token_name(1))
    why, nobody = objection or ENDS, SimpleNamespace()
    with capture_logs() as logs:
        skip = Executor._drop(nobody, action, objection)  # type: ignore[arg-type]
    assert skip == Skip("training", Verb.STOP, why.reason, "ps1", token_name(1), until=why.until, detail=why.detail)
    assert logs == [
        {
            "event": "machine.action_dropped", "log_level": "info", "fleet": "training", "machine": "ps1",
            "name": token_name(1), "action": "stop", "reason": str(why.reason), "detail": why.detail,
        }
    ]  # fmt: skip
    assert _create_skip(objection, fleet()) == Skip(
        "training", Verb.CREATE, why.reason, until=why.until, detail=why.detail
    )


class Drawn(random.Random):
    """Draws what it is given, letter by letter."""

    def __init__(self, *draws: list[int]) -> None:
        super().__init__(1)
        self._left = [n for draw in draws for n in draw]

    def randrange(self, start: int, *_more: Any) -> int:
        assert start == len(ALPHABET)
        return self._left.pop(0)


@pytest.mark.parametrize("where", ["listed", "remembered", "nowhere"])
def test_a_name_is_one_that_nobody_has_or_had(where: str) -> None:
    first, second = [1] * DRAWN, [2] * DRAWN
    names = [machine_name("training", make_token("training", draw)) for draw in (first, second)]
    known = {"ps1": facts(1, name=names[0])} if where == "remembered" else {}
    me: Any = SimpleNamespace(_recall=SimpleNamespace(facts=known), _rng=Drawn(first, second))
    listed = frozenset({names[0]} if where == "listed" else set())
    assert Executor._new_name(me, fleet(), listed) == names[where != "nowhere"]


def test_fleets_whose_last_create_got_no_answer_come_last_the_longest_wait_first() -> None:
    me: Any = SimpleNamespace(_hung={"b": 7, "a": 1})
    order = Executor._doubted_last(me, [fleet(name) for name in "abcd"])
    assert [one.name for one in order] == ["c", "d", "a", "b"]


NAME = token_name(1)


@pytest.mark.parametrize(
    ("answer", "intents", "remembered", "listed", "made", "problem"),
    [
        ({}, [], {}, [], set(), None),
        ({"name": "alice"}, [], {}, [], set(), f"asked for {NAME}, answered with alice"),
        ({}, [], {}, [machine(1)], set(), "answered with ps1, which was there"),
        ({}, [], {}, [], {"ps1"}, "answered with ps1, which was there"),
        ({}, [intent(Verb.STOP, 1, name="other")], {}, [], set(), "answered with ps1, which was there"),
        ({}, [intent(Verb.CREATE, 1, name=NAME)], {}, [], set(), None),
        ({}, [intent(Verb.CREATE, name="other")], {}, [], set(), None),
        ({}, [], {"ps1": facts(1, name="other")}, [], set(), "answered with ps1, which was there"),
        ({}, [], {"ps1": facts(1, name=NAME)}, [], set(), None),
    ],
)
@virtual
async def test_an_answer_that_names_what_is_known_is_none(
    answer: dict[str, str], intents: Any, remembered: Any, listed: Any, made: set[str], problem: str | None
) -> None:
    async def open_intents() -> Any:
        return intents

    recall = SimpleNamespace(journal=SimpleNamespace(open_intents=open_intents), facts=remembered)
    me: Any = SimpleNamespace(_recall=recall, _made=set(made))
    basis: Any = SimpleNamespace(observation=SimpleNamespace(machines=listed))
    seen = machine(1, name=answer.get("name", NAME))
    if problem is None:
        await Executor._must_be_new(me, seen, NAME, basis)
        assert me._made == {*made, "ps1"}
        return
    with pytest.raises(Ambiguous, match=problem) as caught:
        await Executor._must_be_new(me, seen, NAME, basis)
    assert caught.value.operation == "create"
    assert me._made == made


class World:
    """An executor with parts that note what they are told; ``fails``: what a call ends with, by verb."""

    def __init__(self, *fleets: Fleet, requests: int = 100, lasts: float = 0.0, acting: float = 15.0) -> None:
        self.fleets = {f.name: f for f in fleets}
        self.told: list[Any] = []
        self.placed: list[Any] = []
        self.intents: list[Intent] = []
        self.updated: list[Any] = []
        self.given: list[Any] = []
        self.failed: list[Any] = []
        self.followed: list[Intent] = []
        self.fails: dict[str, Any] = {}
        self.listed = [machine(n) for n in range(1, 9)]
        self.shown: list[str] = []
        self.doubtful = 2
        self.slow: dict[str, float] = {}
        """By fleet: seconds more that its creates take."""
        self.queues = 0.0
        """Seconds in the queue before a call's place comes."""
        self.progressed, self.lasts, self.ids = 0, lasts, itertools.count(101)
        self.hold: Hold | None = None
        self.open: tuple[Intent, ...] = ()
        self.answers: Callable[[str], Machine] = self._new
        self.last_word: Callable[[], Reason | None] = lambda: None
        me: Any = self
        verdicts = SimpleNamespace(give=self._give)
        self.recall: Any = SimpleNamespace(
            journal=me, verdicts=verdicts, creates_wait=lambda _now: None, created=self._created,
            accepted=lambda one: self.told.append(("worked", one.verb)),
            facts={m.id: facts(n, name=m.name) for n, m in enumerate(self.listed, start=1)},
        )  # fmt: skip
        self.lease: str | None = None
        self.meanwhile: Callable[[], Any] = lambda: None
        """Happens while what forbids a call is read."""
        gate = Gate(me, me, in_force=self.fleets.get, leased=lambda _machine: self.lease)
        self.executor = Executor(
            me, self.recall, me, me, me, random.Random(1), gate=gate, last_word=self._last_word,
            pace=lambda: Pace(acting, requests, 10, doubtful=self.doubtful, quiet=2), progress=self._progress,
        )  # fmt: skip
        parts: Any = self.executor
        parts._failures = SimpleNamespace(sort_out=self._sort_out)

    async def carries_out(self, *actions: Action, pass_id: int = 1) -> list[Skip]:
        basis = Basis(seen(*self.listed), anyio.current_time(), stale_after=timedelta(seconds=60))
        return await self.executor.carry_out(actions, self.fleets, basis, pass_id)

    def _progress(self) -> None:
        self.progressed += 1

    async def _last_word(self, _action: Action, _machine: Machine, _cloud: Any) -> Reason | None:
        return self.last_word()

    async def _sort_out(self, one: Intent, error: Exception, of: Fleet) -> Skip:
        assert one.id in self.executor.unanswered
        self.failed.append((one, error, of))
        return Skip(of.name, one.verb, Reason.REFUSED_RECENTLY, one.machine_id, detail=str(error))

    # Clock, vetoes and follower
    def now(self) -> Any:
        return NOW

    async def read(self) -> None:
        await anyio.lowlevel.checkpoint()
        self.meanwhile()

    def against(self, _verb: Verb, **_of: Any) -> Any:
        return self.hold

    def follow(self, one: Intent) -> None:
        self.followed.append(one)

    # The journal
    async def write_intent(self, one: Intent) -> Intent:
        await anyio.lowlevel.checkpoint()
        written = replace(one, id=len(self.intents) + 1)
        self.intents.append(written)
        return written

    async def update_intent(self, intent_id: int, **fields: Any) -> None:
        await anyio.lowlevel.checkpoint()
        assert intent_id in self.executor.unanswered
        self.updated.append((intent_id, fields))

    async def open_intents(self) -> tuple[Intent, ...]:
        await anyio.lowlevel.checkpoint()
        return self.open

    async def _give(self, one: Intent, outcome: Outcome, error: str, at: Any) -> None:
        await anyio.lowlevel.checkpoint()
        assert (one, at) == (self.intents[one.id - 1], NOW)
        self.given.append((one.verb, outcome, error))

    async def _created(self, one: Intent, machine_id: str, at: Any) -> None:
        await anyio.lowlevel.checkpoint()
        assert at == NOW
        self.told.append(("created", one.name, machine_id))

    # The cloud
    @asynccontextmanager
    async def place(self, verb: Verb, *, behind: int, leave: Any) -> AsyncIterator[World]:
        self.placed.append((verb, behind))
        self.leave = leave
        await anyio.sleep(self.queues)
        yield self

    async def show(self, machine_id: str) -> Machine:
        await anyio.lowlevel.checkpoint()
        self.shown.append(machine_id)
        return next(m for m in self.listed if m.id == machine_id)

    def _new(self, name: str) -> Machine:
        return machine(next(self.ids), "provisioning", name=name)

    async def _call(self, verb: str, subject: str) -> None:
        assert [i.verb for i in self.intents if i.id in self.executor.unanswered].count(Verb(verb)), (
            "it is written first"
        )
        self.leave()
        self.told.append((verb, subject))
        await anyio.sleep(self.lasts + self.slow.get(subject.rpartition("-")[0], 0))
        if verb in self.fails:
            raise self.fails[verb]

    async def create(self, name: str, parameters: Mapping[str, object]) -> Machine:
        assert parameters is self.fleets[name.rpartition("-")[0]].parameters
        await self._call("create", name)
        return self.answers(name)

    async def stop(self, machine_id: str) -> None:
        await self._call("stop", machine_id)

    async def start(self, machine_id: str) -> None:
        await self._call("start", machine_id)

    async def update(self, machine_id: str, change: Any) -> None:
        await self._call("update", machine_id)


def create(of: str = "training") -> Action:
    return Action(Verb.CREATE, of, Reason.SHORT_OF_TARGET, expected_state=None, evidence="one is short")


def ordered(verb: Verb, n: int, of: str = "training", **fields: Any) -> Action:
    fields.setdefault("reason", Reason.OVER_TARGET)
    return Action(verb, of, fields.pop("reason"), f"ps{n}", token_name(n), **fields)


@virtual
async def test_each_fleet_s_own_calls_are_made_and_no_other_s() -> None:
    world = World(fleet("other"), fleet(), fleet("quiet"))
    world.listed[0] = machine(1, fleet="other")
    skips = await world.carries_out(
        ordered(Verb.STOP, 2), ordered(Verb.STOP, 1, "other"), create(), ordered(Verb.UPDATE, 3), create("other")
    )
    assert skips == []
    assert sorted((i.fleet, i.verb, i.machine_id) for i in world.intents if i.machine_id) == [
        ("other", "stop", "ps1"), ("training", "stop", "ps2"), ("training", "update", "ps3"),
    ]  # fmt: skip
    assert sorted(i.name.rpartition("-")[0] for i in world.intents if i.verb is Verb.CREATE) == ["other", "training"]
    assert sorted(world.placed) == sorted(
        [(Verb.STOP, 0), (Verb.STOP, 0), (Verb.UPDATE, 1), (Verb.CREATE, 0), (Verb.CREATE, 0)]
    ), "each behind those of its own fleet"
    assert len(world.executor._creating) == len(world.executor.unanswered) == 0
    assert world.executor.gate.tickets == []


@virtual
async def test_creates_of_a_pass_are_numbered_one_behind_the_other() -> None:
    world = World(fleet())
    assert await world.carries_out(*[create()] * 3) == []
    assert world.placed == [(Verb.CREATE, n) for n in range(3)]


@virtual
async def test_what_is_written_of_a_call_before_it_and_after_its_answer() -> None:
    world = World(fleet())
    world.listed[1] = machine(2, events=(event("start", handle="e7"),), machine_type="A100", region="AMS1")
    with capture_logs() as logs:
        await world.carries_out(
            ordered(Verb.START, 2, evidence="short", actor="ada", expected_state="ready"), create(), pass_id=4
        )
    start, made = sorted(world.intents, key=lambda i: i.verb, reverse=True)
    deadlines = fleet().guards.deadlines
    assert start == Intent(
        start.id, "training", Verb.START, Reason.OVER_TARGET, token_name(2), NOW, NOW + deadlines.start,
        machine_id="ps2", parameters={"region": "AMS1", "machineType": "A100"}, expected_state="ready",
        baseline_event="e7", evidence="short", actor="ada",
    )  # fmt: skip
    assert made == Intent(
        made.id, "training", Verb.CREATE, Reason.SHORT_OF_TARGET, made.name, NOW, NOW + deadlines.create,
        parameters=PARAMETERS, evidence="one is short",
    )  # fmt: skip
    new = next(fields["machine_id"] for one, fields in world.updated if one == made.id)
    assert sorted(world.updated, key=lambda u: u[0] == made.id) == [
        (start.id, {"machine_id": "ps2", "accepted_at": NOW}), (made.id, {"machine_id": new, "accepted_at": NOW}),
    ]  # fmt: skip
    assert {i.id: i for i in world.followed} == {
        start.id: replace(start, accepted_at=NOW), made.id: replace(made, accepted_at=NOW, machine_id=new),
    }  # fmt: skip
    assert [row for row in world.told if row[0] == "created"] == [("created", made.name, new)]
    assert {row[1] for row in world.told if row[0] == "worked"} == {Verb.START, Verb.CREATE}
    assert sorted((line["event"], line["pass_id"]) for line in logs) == [
        ("machine.create_requested", 4), ("machine.start_requested", 4),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("events", "baseline"),
    [
        P(None, None, id="events cannot be seen"),
        P((), "", id="there are none yet"),
        P((event("stop", handle="e9"), event("start", handle="e8")), "e9", id="the newest"),
    ],
)
@virtual
async def test_what_a_machine_s_newest_event_was_before_the_call(events: Any, baseline: str | None) -> None:
    world = World(fleet())
    world.listed[0] = machine(1, events=events)
    changes = {"snapshot_keep": 3}
    await world.carries_out(ordered(Verb.UPDATE, 1, changes=changes))
    (written,) = world.intents
    assert (written.baseline_event, written.parameters) == (baseline, changes)


@virtual
async def test_every_call_is_a_sign_of_life_whatever_comes_of_it() -> None:
    world = World(fleet())
    await world.carries_out(ordered(Verb.STOP, 1), ordered(Verb.STOP, 2))
    assert world.progressed == 2
    world.last_word = lambda: Reason.BUSY
    skips = await world.carries_out(ordered(Verb.STOP, 1))
    assert [(s.reason, s.machine, s.detail) for s in skips] == [
        (Reason.BUSY, "ps1", "asked again right before the call")
    ]
    assert world.progressed == 3
    await world.carries_out(create())
    assert world.progressed == 4, "each batch of creates"


@virtual
async def test_what_the_rate_leaves_no_room_for_is_told() -> None:
    world = World(fleet(), requests=2)
    skips = await world.carries_out(ordered(Verb.STOP, 1), ordered(Verb.STOP, 2), ordered(Verb.STOP, 3))
    assert [(s.reason, s.verb) for s in skips] == [(Reason.CALLS_USED_UP, Verb.STOP)] * 2
    assert [i.machine_id for i in world.intents] == ["ps1"]


@virtual
async def test_creates_that_a_pass_did_not_come_to_are_told_at_its_end() -> None:
    """The first hangs: none of the others begins, and none begins once the answer has come after all."""
    world = World(fleet(), lasts=100, acting=5)
    async with anyio.create_task_group() as group:
        world.executor.beside.attach(group)
        skips = await world.carries_out(*[create()] * 4)
        assert skips == [Skip("training", Verb.CREATE, Reason.CREATE_UNANSWERED, count=3)]
        assert world.executor._creating == {"training"}
        (name,) = [i.name for i in world.intents]
        again = await world.carries_out(create())
        assert again == [Skip("training", Verb.CREATE, Reason.CREATE_UNANSWERED, count=1)]
    assert [i.name for i in world.intents] == [name]
    assert (world.executor._creating, world.executor.unanswered) == (set(), set())


@pytest.mark.parametrize(
    ("error", "hung"),
    [
        P(Ambiguous("no answer", operation="create"), {"training": 1}, id="no answer"),
        P(Refused("quota"), {}, id="a no"),
    ],
)
@virtual
async def test_a_create_that_fails_ends_its_batch_and_no_other_fleet_s(error: Exception, hung: Any) -> None:
    world = World(fleet(), fleet("other"))
    world.answers = lambda name: (_ for _ in ()).throw(error) if name.startswith("training") else world._new(name)
    skips = await world.carries_out(create(), create(), create("other"))
    assert {(s.fleet, s.reason, s.count) for s in skips} == {
        ("training", Reason.REFUSED_RECENTLY, 1), ("training", Reason.SLOW_START, 1),
    }  # fmt: skip
    ((failed, seen_error, of),) = world.failed
    assert (failed.fleet, seen_error, of) == ("training", error, world.fleets["training"])
    assert world.executor._hung == hung
    assert [i.fleet for i in world.followed] == ["other"]
    assert world.executor.unanswered == set()
    world.answers = world._new
    await world.carries_out(create())
    assert world.executor._hung == {}, "one that works is heard again"


@virtual
async def test_two_creates_of_a_pass_are_not_answered_with_one_machine() -> None:
    world = World(fleet())
    world.answers = lambda name: machine(77, name=name)
    for _ in range(2):
        world.failed.clear()
        await world.carries_out(create(), create())
        ((_, error, _),) = world.failed
        assert str(error).endswith("answered with ps77, which was there"), (
            "in a pass: the journal knows those of before"
        )
        assert len(world.followed) == 1
        world.followed.clear()


@virtual
async def test_a_create_waits_for_a_veto_s_end_before_it_waits_as_the_provider_asked() -> None:
    world = World(fleet())
    world.recall.creates_wait = lambda _now: (later(minutes=5), "too many")
    (skip,) = await world.carries_out(create())
    assert (skip.reason, skip.detail, skip.until) == (Reason.PROVIDER_SAID_WAIT, "too many", later(minutes=5))
    world.hold = FREEZE
    (skip,) = await world.carries_out(create())
    assert (skip.reason, skip.until) == (Reason.FROZEN, later(hours=1))
    assert world.intents == []


def freezes(world: World) -> None:
    world.hold = FREEZE


def closes(world: World) -> None:
    world.executor.gate.close()


def ends_pass(world: World) -> None:
    for ticket in world.executor.gate.tickets:
        ticket.end(OVER)


CALLS = [P(create(), id="a create"), P(ordered(Verb.STOP, 1), id="a stop")]
OVER = Objection(Reason.CALLS_USED_UP, "the pass is over")
SHUT = (Reason.SHUTTING_DOWN, "no new actions")


@pytest.mark.parametrize("action", CALLS)
@virtual
async def test_a_call_that_waits_in_the_queue_at_the_end_is_dropped_with_its_reason(action: Action) -> None:
    world = World(fleet())
    world.queues = 5.0
    skips: list[Skip] = []

    async def carries_out() -> None:
        skips.extend(await world.carries_out(action))

    async with anyio.create_task_group() as group:
        group.start_soon(carries_out)
        await anyio.sleep(1)
        world.executor.gate.close()
    assert [(s.verb, s.machine, s.reason, s.detail) for s in skips] == [(action.verb, action.machine, *SHUT)]
    assert world.intents == []


@pytest.mark.parametrize("action", CALLS)
@virtual
async def test_a_call_that_is_given_up_right_before_its_intent_says_why(action: Action) -> None:
    world = World(fleet())
    world.meanwhile = lambda: [ticket.end(OVER) for ticket in world.executor.gate.tickets]
    (skip,) = await world.carries_out(action)
    assert (skip.verb, skip.reason, skip.detail) == (action.verb, OVER.reason, OVER.detail)
    assert (world.intents, world.told) == ([], [])


@pytest.mark.parametrize(
    ("anyhow", "reason"), [P(False, Reason.BUSY, id="as any other"), P(True, None, id="and nevertheless")]
)  # fmt: skip
@virtual
async def test_a_machine_that_is_leased_is_stopped_only_where_that_was_ordered(anyhow: bool, reason: Any) -> None:
    world = World(fleet())
    world.lease = "ada"
    skips = await world.carries_out(ordered(Verb.STOP, 1, reason=Reason.OPERATOR_REQUEST, even_if_busy=anyhow))
    assert [s.reason for s in skips] == ([reason] if reason else [])
    assert [row[:2] for row in world.told if row[0] == "stop"] == ([] if reason else [("stop", "ps1")])


@virtual
async def test_what_a_call_that_failed_comes_to_is_told() -> None:
    world = World(fleet())
    world.fails["stop"] = error = Refused("locked", operation="stop")
    (skip,) = await world.carries_out(ordered(Verb.STOP, 1))
    ((failed, said, of),) = world.failed
    assert (failed, said, of) == (world.intents[0], error, world.fleets["training"])
    assert (skip.reason, skip.machine, skip.detail) == (Reason.REFUSED_RECENTLY, "ps1", str(error))
    assert (world.followed, world.given, world.executor.unanswered) == ([], [], set())


@pytest.mark.parametrize("action", CALLS)
@pytest.mark.parametrize(
    ("what", "reason", "until"),
    [
        P(freezes, Reason.FROZEN, later(hours=1), id="a freeze"),
        P(closes, Reason.SHUTTING_DOWN, None, id="the daemon stops"),
        P(ends_pass, None, None, id="the pass is over: what has its intent goes on"),
    ],
)
@virtual
async def test_what_comes_while_the_intent_is_written(action: Action, what: Any, reason: Any, until: Any) -> None:
    world = World(fleet())
    write = world.write_intent

    async def meanwhile(one: Intent) -> Intent:
        what(world)
        return await write(one)

    world.write_intent = meanwhile  # type: ignore[method-assign]
    skips = await world.carries_out(action)
    assert [(s.verb, s.machine, s.reason, s.until) for s in skips] == (
        [(action.verb, action.machine, reason, until)] if reason else []
    )
    words = [(action.verb, Outcome.NOT_SENT, f"{s.reason}: {s.detail}") for s in skips]
    assert world.given == words, "an intent whose call was not made is written off"
    assert (world.failed, world.executor.unanswered) == ([], set())
    assert len(world.followed) == (0 if reason else 1)


@virtual
async def test_a_look_that_has_grown_old_is_made_anew_and_the_sources_are_asked_once() -> None:
    """The first call leaves only after its look is two seconds old; an intent is written once all the same."""
    world = World(fleet())
    write, words = world.write_intent, []
    world.last_word = lambda: words.append("asked")  # type: ignore[assignment,func-returns-value]

    async def slowly(one: Intent) -> Intent:
        await anyio.sleep(FRESH)
        return await write(one)

    world.write_intent = slowly  # type: ignore[method-assign]
    assert await world.carries_out(ordered(Verb.STOP, 1)) == []
    assert (len(world.intents), words, world.shown) == (1, ["asked"], ["ps1", "ps1"])
    assert [row for row in world.told if row[0] == "stop"] == [("stop", "ps1")]


@pytest.mark.parametrize("written", [False, True])
@virtual
async def test_one_that_can_never_leave_in_time_is_looked_at_three_times(written: bool) -> None:
    world = World(fleet())
    write = world.write_intent

    async def slow_read() -> None:
        await anyio.sleep(FRESH if not written or world.intents else 0)

    async def slowly(one: Intent) -> Intent:
        await anyio.sleep(FRESH)
        return await write(one)

    world.read, world.write_intent = slow_read, slowly  # type: ignore[method-assign]
    (skip,) = await world.carries_out(ordered(Verb.STOP, 1))
    words = f"no call could leave within {FRESH:g} s of a look, {LOOKS} times"
    assert (skip.reason, skip.detail) == (Reason.FRESH_LOOK_DIFFERS, words)
    assert world.shown == ["ps1"] * LOOKS
    assert world.given == [(Verb.STOP, Outcome.NOT_SENT, f"{skip.reason}: {skip.detail}")] * written
    assert [row for row in world.told if row[0] == "stop"] == []


@virtual
async def test_a_machine_that_was_turned_between_two_looks_is_left_alone() -> None:
    world = World(fleet())
    world.listed[0] = machine(1, events=(event("start", handle="e1"),))
    write = world.write_intent

    async def slowly(one: Intent) -> Intent:
        written = await write(one)
        await anyio.sleep(FRESH)
        world.listed[0] = machine(1, events=(event("start", handle="e2"), event("start", handle="e1")))
        return written

    world.write_intent = slowly  # type: ignore[method-assign]
    (skip,) = await world.carries_out(ordered(Verb.STOP, 1))
    assert (skip.reason, skip.detail) == (Reason.FRESH_LOOK_DIFFERS, "something was done to it meanwhile")
    assert [outcome for _, outcome, _ in world.given] == [Outcome.NOT_SENT]


@virtual
async def test_of_fleets_whose_creates_hang_the_one_that_was_tried_longest_ago_is_next() -> None:
    world = World(fleet("a"), fleet("b"), fleet("c"))
    world.doubtful = 1
    world.fails["create"] = Ambiguous("no answer", operation="create")
    wanted = [create(of) for of in world.fleets]
    world.lasts = 1.0
    turns = []
    for _ in range(5):
        world.intents.clear()
        await world.carries_out(*wanted)
        turns.append([i.fleet for i in world.intents])
    assert turns == [["a", "b", "c"], ["a"], ["b"], ["c"], ["a"]]


@virtual
async def test_a_fleet_whose_create_hangs_for_the_first_time_is_not_next_before_those_that_wait() -> None:
    world = World(fleet("a"), fleet("b"))
    world.doubtful = 1
    world.fails["create"] = Ambiguous("no answer", operation="create")
    await world.carries_out(create("b"))
    await world.carries_out(create("b"))
    await world.carries_out(create("a"))
    world.intents.clear()
    await world.carries_out(create("a"), create("b"))
    assert [i.fleet for i in world.intents] == ["b"]


@virtual
async def test_when_a_create_was_tried_counts_and_not_when_its_answer_was_lost() -> None:
    world = World(fleet("a"), fleet("b"))
    world.fails["create"] = Ambiguous("no answer", operation="create")
    wanted = [create(of) for of in world.fleets]
    await world.carries_out(*wanted)
    world.slow = {"a": 1.0}
    await world.carries_out(*wanted)
    world.doubtful = 1
    world.intents.clear()
    await world.carries_out(*wanted)
    assert [i.fleet for i in world.intents] == ["a"]
