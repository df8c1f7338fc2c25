"""What becomes of a write that something stands in the way of at the last moment, and who goes last after a hang."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from itertools import product
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from fleetd.engine.executor import LOOKS
from fleetd.engine.gate import FRESH
from fleetd.engine.pace import Pace
from fleetd.model.errors import Ambiguous, Refused
from fleetd.model.fleet import Guards, Limit
from fleetd.model.journal import Hold
from fleetd.model.plan import Skip
from fleetd.model.reasons import Outcome, Reason, Verb
from tests.engine.test_passes import settle_down
from tests.support.build import NOW, fleet, intent, token_name
from tests.support.rig import Rig, rig
from tests.support.virtual_time import run_virtual

LOOSE = Guards(max_stops_per_pass=Limit(percent=100))
HOUR = timedelta(hours=1)
P = pytest.param


async def freeze(world: Rig) -> Reason:
    now = world.clock.now()
    await world.reconciler.vetoes.add(
        Hold(
            id=0,
            kind="freeze",
            subject=None,
            verbs=frozenset(Verb),
            reason="incident",
            actor="ada",
            expires_at=now + HOUR,
            created_at=world.clock.now(),
        )
    )
    return Reason.FROZEN


async def hold(world: Rig) -> Reason:
    await world.reconciler.vetoes.add(
        Hold(
            id=0,
            kind="hold",
            subject="ps1",
            verbs=frozenset(Verb),
            reason="incident",
            actor="ada",
            expires_at=world.clock.now() + HOUR,
            created_at=world.clock.now(),
        )
    )
    return Reason.HELD


async def close(world: Rig) -> Reason:
    world.reconciler.executor.gate.close()
    return Reason.SHUTTING_DOWN


async def reload(world: Rig) -> Reason:
    world.configure(fleet(target=7, guards=LOOSE))
    return Reason.CONFIG_CHANGED


async def lease(world: Rig) -> Reason:
    now = world.clock.now()
    await world.reconciler._idleness.leases.put("ps1", "job", now + HOUR, "ada", now=now)
    return Reason.BUSY


async def grow_old(_world: Rig) -> Reason:
    await anyio.sleep(FRESH)
    return Reason.FRESH_LOOK_DIFFERS


WORDS: dict[Reason, Any] = {
    Reason.FROZEN: "ada: incident",
    Reason.HELD: "ada: incident",
    Reason.SHUTTING_DOWN: "no new actions",
    Reason.CONFIG_CHANGED: "the plan was made by the old config",
    Reason.BUSY: ("leased: job", "asked again right before the call"),
    Reason.FRESH_LOOK_DIFFERS: f"no call could leave within {FRESH:g} s of a look, {LOOKS} times",
}
UNTIL = {Reason.FROZEN, Reason.HELD}
Meanwhile = Callable[[Rig], Awaitable[Reason]]


def before(world: Rig, what: Any, name: str, meanwhile: Meanwhile, *, after: bool = False) -> None:
    """Something happens before (or after) a step of every write."""
    step = getattr(what, name)

    async def stepped(*args: Any, **kwargs: Any) -> Any:
        done = await step(*args, **kwargs) if after else None
        await meanwhile(world)
        return done if after else await step(*args, **kwargs)

    setattr(what, name, stepped)


async def one_pass(world: Rig, verb: Verb) -> tuple[list[Skip], list[str]]:
    report = await world.reconciler.run_pass()
    return [s for s in report.skips if s.verb is verb], world.cloud.writes()


@pytest.mark.parametrize("meanwhile", [freeze, close, reload])
@pytest.mark.parametrize("when", ["before its intent", "after its intent"])
def test_a_create_that_may_not_leave_is_not_sent(meanwhile: Meanwhile, when: str) -> None:
    async def story() -> None:
        async with rig(fleet(target=1, guards=LOOSE)) as world, world.passes_by_hand():
            recall, preflight = world.reconciler.recall, world.reconciler.executor._preflight
            if when == "after its intent":
                before(world, recall.journal, "write_intent", meanwhile, after=True)
            else:
                before(world, preflight, "forbidden", meanwhile)
            began = world.clock.now()
            (skip,), writes = await one_pass(world, Verb.CREATE)
            assert writes == []
            assert skip.detail.startswith(WORDS[skip.reason])
            assert (skip.until is not None and skip.until >= began + HOUR) is (skip.reason in UNTIL)
            assert world.reconciler.executor.unanswered == set()
            told = [(e.outcome, e.error) for _, e in await world.journal.history() if e.verb == "create"]
            sent_back = [(Outcome.NOT_SENT, f"{skip.reason}: {skip.detail}")]
            assert told == (sent_back if when == "after its intent" else [])
            assert await world.journal.open_intents() == []

    run_virtual(story)


STEPS = ["before its look", "after its look", "after its intent"]


@pytest.mark.parametrize(
    ("meanwhile", "when"),
    [*product([freeze, hold, close, lease], STEPS), *product([grow_old], STEPS[1:])],
)
def test_a_stop_that_may_not_leave_is_not_sent(meanwhile: Meanwhile, when: str) -> None:
    async def story() -> None:
        async with rig(fleet(target=1, guards=LOOSE)) as world, world.passes_by_hand():
            await settle_down(world, 150)
            world.configure(fleet(target=0, guards=LOOSE))
            executor = world.reconciler.executor
            if when == "before its look":
                before(world, executor._preflight, "_look", meanwhile)
            elif when == "after its look":
                before(world, executor._preflight, "_look", meanwhile, after=True)
            else:
                before(world, executor, "_begin", meanwhile, after=True)
                if meanwhile is grow_old:  # each look after the first has no intent to write
                    before(world, executor._preflight, "_look", meanwhile, after=True)
            world.cloud.calls.clear()
            began = world.clock.now()
            (skip,), writes = await one_pass(world, Verb.STOP)
            assert writes == []
            assert (skip.machine, skip.name) == ("ps1", next(iter(world.cloud.states())))
            assert skip.detail.startswith(WORDS[skip.reason])
            assert (skip.until is not None and skip.until >= began + HOUR) is (skip.reason in UNTIL)
            assert executor.unanswered == set()
            looks = [c for c in world.cloud.calls if c.operation == "show"]
            assert len(looks) == (LOOKS if meanwhile is grow_old else int(when != STEPS[0]))
            assert await world.journal.open_intents() == []
            told = [(e.outcome, e.error) for _, e in await world.journal.history() if e.verb == "stop"]
            if when == "after its intent" and meanwhile is not grow_old:
                assert told == [(Outcome.NOT_SENT, f"{skip.reason}: {skip.detail}")]

    run_virtual(story)


@pytest.mark.parametrize(
    ("fault", "hangs", "later"),
    [
        P(Ambiguous("no answer", operation="create"), True, True, id="no answer"),
        P(Refused("quota exceeded", operation="create"), False, False, id="a no is an answer"),
    ],
)
def test_a_fleet_whose_create_got_no_answer_goes_last_until_one_works(
    fault: Exception, hangs: bool, later: bool
) -> None:
    async def story() -> None:
        wanted, other = fleet(target=1), fleet("other", target=0)
        async with rig(wanted, other) as world, world.passes_by_hand():
            executor = world.reconciler.executor
            faults = [fault]
            world.cloud.before = lambda op, _id: faults.pop() if op == "create" and faults else None
            await world.reconciler.run_pass()
            assert (executor._hung.keys() == {"training"}) is hangs
            names = [f.name for f in executor._doubted_last([wanted, other])]
            assert names == (["other", "training"] if later else ["training", "other"])
            await settle_down(world, 900)
            assert list(world.cloud.states().values()) == ["ready"]
            assert executor._hung == {}
            assert [f.name for f in executor._doubted_last([wanted, other])] == ["training", "other"]

    run_virtual(story)


def test_names_that_are_taken_are_not_drawn() -> None:
    async def story() -> None:
        async with rig(fleet(target=0)) as world:
            executor = world.reconciler.executor
            drawn = iter([*(0,) * 5, *(1,) + (0,) * 4, *(2,) + (0,) * 4])
            executor._rng = type("Dice", (), {"randrange": lambda _self, _n: next(drawn)})()  # type: ignore[assignment]
            taken = frozenset({token_name(0)})
            found = executor._new_name(fleet(), taken)
            assert found == token_name(1)

    run_virtual(story)


@pytest.mark.parametrize(
    ("fields", "verb", "takes"),
    [
        P({"accepted_at": NOW}, Verb.STOP, True, id="a stop that was accepted"),
        P({"ambiguous_since": NOW}, Verb.DESTROY, True, id="a destroy whose answer was lost"),
        P({"accepted_at": NOW}, Verb.RESTART, True, id="a restart"),
        P({}, Verb.STOP, False, id="one that has not left"),
        P({"accepted_at": NOW}, Verb.START, False, id="a start takes it from nobody"),
        P({"accepted_at": NOW, "machine_id": "ps2"}, Verb.STOP, False, id="another machine's"),
    ],
)
def test_what_may_take_a_machine_from_who_leases_it_now(fields: dict[str, Any], verb: Verb, takes: bool) -> None:
    async def story() -> None:
        async with rig(fleet(target=0)) as world:
            executor, gate = world.reconciler.executor, world.reconciler.executor.gate
            assert await executor.on_its_way("ps1") is None
            written = await world.journal.write_intent(
                replace(intent(verb, 1), machine_id=fields.get("machine_id", "ps1"))
            )
            known = {key: value for key, value in fields.items() if key != "machine_id"}
            await world.journal.update_intent(written.id, **known)
            assert await executor.on_its_way("ps1") == (verb if takes else None)
            with gate.ticket(Verb.DESTROY, world.reconciler.settings.fleets[0], "ps1", "a") as ticket:
                gate.leave(ticket)
                assert await executor.on_its_way("ps1") is Verb.DESTROY, "what has left and has no answer yet"

    run_virtual(story)


@pytest.mark.parametrize(
    ("hung", "creating", "begins", "last"),
    [
        P({}, set(), True, False, id="nobody's create hangs"),
        P({}, {"training"}, False, False, id="its own are under way"),
        P({}, {"a", "b"}, True, False, id="others' are under way"),
        P({"a": 1, "b": 2}, {"a", "b"}, True, False, id="others' hang, and its own do not"),
        P({"training": 1}, {"a", "b"}, True, True, id="its own hung, and those under way are no such"),
        P({"training": 1, "a": 1, "b": 1}, {"a"}, True, True, id="one other such is under way"),
        P({"training": 1, "a": 1, "b": 1}, {"a", "b"}, False, False, id="as many such as there may be"),
        P({"training": 1, "a": 1, "b": 1}, {"a", "c", "d"}, True, True, id="one such, and two whose creates work"),
    ],
)
def test_a_few_fleets_whose_creates_hang_do_not_take_all_the_slots(
    hung: dict[str, int], creating: set[str], begins: bool, last: bool
) -> None:
    async def story() -> None:
        async with rig(fleet(target=0)) as world:
            executor = world.reconciler.executor
            executor._pace = lambda: Pace(15, 100, 10, doubtful=2, quiet=2)
            executor._hung, executor._creating = dict(hung), set(creating)
            executor._tries = 3
            skip = Skip("training", Verb.CREATE, Reason.SLOW_START)
            begun: list[set[str]] = []

            async def run(_progress: object) -> list[Skip]:
                begun.append(set(executor._creating))
                return [skip]

            start: Any = SimpleNamespace(fleet=fleet(), run=run)
            skips: list[Skip] = []
            await executor._creates(start, skips)
            assert begun == ([{*creating, "training"}] if begins else [])
            assert skips == ([skip] if begins else [])
            assert executor._creating == creating
            if last:
                order = [f.name for f in executor._doubted_last([fleet(n) for n in ("training", "a", "b")])]
                assert order[-1] == "training"
                await executor._creates(start, skips)
                assert executor._hung["training"] == 5, "each try sends it further back"

    run_virtual(story)


def test_a_create_waits_as_long_as_the_provider_asked_for() -> None:
    async def story() -> None:
        async with rig(fleet(target=1)) as world, world.passes_by_hand():
            until = world.clock.now() + HOUR
            world.reconciler.recall.creates_wait = lambda _now: (until, "too many")  # type: ignore[method-assign]
            (skip,), writes = await one_pass(world, Verb.CREATE)
            assert (skip.reason, skip.detail, skip.until, writes) == (
                Reason.PROVIDER_SAID_WAIT, "too many", until, [],
            )  # fmt: skip

    run_virtual(story)
