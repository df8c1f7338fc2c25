"""What followers take from a pass's look: what it does not believe says nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from structlog.testing import capture_logs

from fleetd.engine.follower import Follower
from fleetd.model.errors import StoreError
from fleetd.model.fleet import Guards
from fleetd.model.journal import Intent
from fleetd.model.plan import Observation
from fleetd.model.reasons import Outcome, Verb
from fleetd.planner.ownership import UNSEEN
from fleetd.planner.transitions import Ending
from tests.support.build import NOW, ago, facts, fleet, intent, later, machine, token_name
from tests.support.virtual_time import virtual

P = pytest.param


@pytest.mark.parametrize(
    ("fields", "followed", "told"),
    [
        pytest.param({}, True, ["ps1", "ps2", "ps3"], id="all of it"),
        pytest.param(
            {"unverified": {"ps1": "show failed"}}, True, ["ps2", "ps3"], id="one that show does not confirm"
        ),
        pytest.param({"leaving": frozenset({"ps2"})}, True, ["ps1", "ps3"], id="one that somebody destroys"),
        pytest.param(
            {"unverified": {"ps1": "show failed"}, "leaving": frozenset({"ps2"})}, True, ["ps3"], id="one of each"
        ),
        pytest.param({"unverified": {"ps3": "x"}, "leaving": frozenset({"ps3"})}, True, ["ps1", "ps2"], id="both"),
        pytest.param({"rejected": "it shrank"}, True, None, id="a listing that is not believed"),
        pytest.param({}, False, None, id="nobody is followed"),
    ],
)
def test_what_a_pass_has_seen_is_taken_as_far_as_it_is_believed(
    fields: dict[str, Any], followed: bool, told: list[str] | None
) -> None:
    taken: list[tuple[list[str], float]] = []
    poller: Any = SimpleNamespace(saw=lambda machines, asked_at: taken.append(([m.id for m in machines], asked_at)))
    nothing: Any = SimpleNamespace()
    follower = Follower(poller, nothing, nothing, nothing, nothing)
    if followed:
        follower._followed[1] = "training"
    follower.saw(Observation(NOW, tuple(machine(n) for n in (1, 2, 3)), **fields), 7.0)
    assert taken == ([] if told is None else [(told, 7.0)])


@pytest.mark.parametrize(
    ("followed", "others"),
    [
        pytest.param({}, False, id="nobody"),
        pytest.param({1: "training"}, False, id="itself"),
        pytest.param({1: "training", 2: "training"}, True, id="another of its fleet"),
        pytest.param({1: "training", 2: "other"}, False, id="another fleet's"),
    ],
)
def test_whether_others_of_its_fleet_are_followed(followed: dict[int, str], others: bool) -> None:
    nothing: Any = SimpleNamespace()
    follower = Follower(nothing, nothing, nothing, nothing, nothing)
    follower._followed.update(followed)
    one: Any = SimpleNamespace(id=1, fleet="training")
    assert follower.with_others(one) is others
    assert len(follower._followed) == len(followed)


@pytest.mark.parametrize(
    ("fields", "attached", "followed", "given", "follows"),
    [
        pytest.param({}, True, [], False, True, id="one with a machine"),
        pytest.param({}, False, [], False, False, id="no daemon runs: the pass closes it"),
        pytest.param({"machine_id": None}, True, [], False, False, id="one without a machine"),
        pytest.param({}, True, [7], False, False, id="followed already"),
        pytest.param({}, True, [8], False, True, id="another is"),
        pytest.param({}, True, [], True, False, id="it has its verdict"),
        pytest.param({"verb": Verb("hibernate")}, True, [], False, False, id="another version's verb"),
    ],
)
def test_what_is_followed(
    fields: dict[str, Any], attached: bool, followed: list[int], given: bool, follows: bool
) -> None:
    begun: list[int] = []
    named: list[str] = []

    def start_soon(_run: Any, one: Any, *, name: str) -> None:
        begun.append(one.id)
        named.append(name)

    group: Any = SimpleNamespace(start_soon=start_soon)
    nothing: Any = SimpleNamespace()
    recall: Any = SimpleNamespace(verdicts=SimpleNamespace(given=lambda _id: given))
    follower = Follower(nothing, recall, nothing, nothing, nothing)
    if attached:
        follower.attach(group)
    follower._followed.update(dict.fromkeys(followed, "training"))
    one = replace(intent(Verb.STOP, 1, id=7), **fields)
    follower.follow(one)
    follower.follow(one)
    assert (begun, named) == ([7] * follows, ["follow-7"] * follows)
    assert len(follower._followed) == len({*followed, *begun})


class World:
    """What a follower tells of a verdict; notes what it is told."""

    def __init__(self, ending: Any, *, first: bool = True, unseen: bool = False, back: Any = None) -> None:
        self.ending, self.first, self.back = ending, first, back
        self.told: list[Any] = []
        self.ended_with: list[tuple[int, Ending]] = []
        self.faults_seen: list[tuple[str, str]] = []
        self.facts = {"ps1": facts(1, last_state=UNSEEN if unseen else "ready")}
        self.departures = SimpleNamespace(add=self._add_departure)
        self.setbacks = SimpleNamespace(add=self._add, worked=self._worked)
        self.verdicts = SimpleNamespace(give=self._give, given=lambda _id: False)

    async def wait_for(self, intent: Intent, *, settle: timedelta, unseen: bool) -> Ending:
        self.waited = (intent.id, settle, unseen)
        if isinstance(self.ending, Exception):
            raise self.ending
        return self.ending  # type: ignore[no-any-return]

    def now(self) -> datetime:
        return NOW

    def transition(self, *, verb: Verb, seconds: float) -> None:
        self.told.append(("meter", verb, seconds))

    def saw(self, where: str, error: Exception) -> None:
        self.faults_seen.append((where, str(error)))

    async def ended(self, intent: Intent, outcome: Outcome, error: str | None, at: datetime) -> None:
        self.told.append(("ended", intent.id, outcome, error, at))

    async def no_capacity(self, region: str, machine_type: str, words: str, at: datetime) -> Any:
        self.told.append(("no capacity", region, machine_type, words, at))
        return SimpleNamespace(region=region, machine_type=machine_type, until=later(minutes=2))

    async def has_capacity(self, region: str, machine_type: str) -> None:
        self.told.append(("capacity", region, machine_type))

    async def _add_departure(self, intent: Intent, at: datetime) -> None:
        self.told.append(("departure", intent.id, at))

    async def _add(self, intent: Intent, words: str, at: datetime, *, forgiven: bool) -> Any:
        self.told.append(("setback", intent.id, words, at, forgiven))
        return self.back

    async def _worked(self, intent: Intent, at: datetime) -> Any:
        self.told.append(("worked", intent.id, at))
        return self.back

    async def _give(self, intent: Intent, outcome: Outcome, error: str | None, at: datetime) -> bool:
        self.told.append(("verdict", intent.id, outcome, error, at))
        return self.first

    def follower(self, **fleets: Any) -> Follower:
        me: Any = self
        follower = Follower(me, me, me, me, me)
        follower.on_end = lambda intent, ending: self.ended_with.append((intent.id, ending))
        follower.fleets = fleets
        return follower


async def followed(world: World, one: Intent, **fleets: Any) -> tuple[Follower, list[Any]]:
    follower = world.follower(**fleets)
    with capture_logs() as logs:
        async with anyio.create_task_group() as group:
            follower.attach(group)
            follower.follow(one)
            assert len(follower._followed) == 1
    assert len(follower._followed) == 0
    return follower, [dict(line) for line in logs]


KIND = {"region": "R", "machineType": "V100"}
BACK: Any = SimpleNamespace(attempt=2, until=later(minutes=4), words="no answer")
BUSY, SHORT = "sold out", Outcome.FAILED_TO_START
GONE_WORDS = "ps1 was the answer, and no machine of that id and name has been seen"


def step(verb: Verb = Verb.START, n: int | None = 1, **fields: Any) -> Intent:
    return intent(verb, n, id=7, **fields)


def setback(words: str = "why", *, forgiven: bool = False) -> Any:
    return ("setback", 7, words, NOW, forgiven)


DEPARTED, WORKED = ("departure", 7, NOW), ("worked", 7, NOW)


@pytest.mark.parametrize(
    ("one", "ending", "told"),
    [
        P(step(), Ending(Outcome.REACHED), [WORKED], id="a start, written without its kind"),
        P(step(parameters=KIND), Ending(Outcome.REACHED), [("capacity", "R", "V100"), WORKED], id="a start"),
        P(
            step(Verb.CREATE, parameters=KIND | {"startOnCreate": False}),
            Ending(Outcome.REACHED),
            [WORKED],
            id="one that is made and left off says nothing of capacity",
        ),
        P(step(Verb.STOP, parameters=KIND), Ending(Outcome.REACHED), [WORKED], id="nor does a stop"),
        P(
            step(parameters=KIND),
            Ending(SHORT, BUSY),
            [("no capacity", "R", "V100", BUSY, NOW), DEPARTED, setback(BUSY)],
            id="a start without capacity",
        ),
        P(
            step(Verb.CREATE, parameters=KIND),
            Ending(SHORT),
            [("no capacity", "R", "V100", "", NOW)],
            id="nor for a create, and nobody says why",
        ),
        P(step(), Ending(SHORT, BUSY), [DEPARTED, setback(BUSY)], id="a kind that nobody knows"),
        P(step(Verb.RESTART, parameters=KIND), Ending(SHORT, BUSY), [], id="a restart"),
        P(step(parameters=KIND), Ending(Outcome.NO_EFFECT), [DEPARTED, setback("")], id="no effect"),
        P(step(), Ending(Outcome.LOST, "why"), [DEPARTED, setback(forgiven=True)], id="its answer was lost"),
        P(step(Verb.CREATE), Ending(Outcome.LOST, "why"), [DEPARTED, setback()], id="a lost create"),
        P(step(Verb.STOP), Ending(Outcome.WRONG_STATE, "why"), [setback()], id="it has had its effect"),
        P(step(), Ending(Outcome.TIMED_OUT, "why"), [], id="late"),
        P(step(Verb.CREATE), Ending(Outcome.GONE, "why"), [DEPARTED, setback()], id="gone"),
    ],
)
@pytest.mark.parametrize("first", [True, False])
@virtual
async def test_what_follows_from_a_verdict(one: Intent, ending: Ending, told: list[Any], first: bool) -> None:
    world = World(ending, first=first)
    follower, logs = await followed(world, one)
    first_of_all = ("ended", 7, ending.outcome, ending.error, NOW)
    verdict = ("verdict", 7, ending.outcome, ending.error, NOW)
    assert [row for row in world.told if row[0] != "meter"] == [first_of_all, *told, verdict]
    assert (follower.endings, world.ended_with) == (1, [(7, ending)])
    assert bool(logs) is first, "the first verdict alone is said"
    assert world.waited == (7, Guards().settle, False)


@virtual
async def test_a_fleets_own_numbers_serve_where_the_intent_has_none() -> None:
    settle = timedelta(seconds=77)
    mine = fleet(region="X", machine_type="Y", guards=Guards(settle=settle))
    world = World(Ending(SHORT, BUSY))
    await followed(world, step(Verb.CREATE), training=mine, other=fleet("other"))
    assert world.waited == (7, settle, False)
    assert ("no capacity", "X", "Y", BUSY, NOW) in world.told
    world = World(Ending(SHORT, BUSY))
    await followed(world, step(Verb.CREATE, parameters=KIND), training=mine)
    assert ("no capacity", "R", "V100", BUSY, NOW) in world.told, "its own come first"


@pytest.mark.parametrize(
    ("ending", "unseen", "becomes"),
    [
        P(Ending(Outcome.GONE, "why"), True, Ending(Outcome.LOST, GONE_WORDS), id="nobody has seen it"),
        P(Ending(Outcome.GONE, "why"), False, Ending(Outcome.GONE, "why"), id="somebody has"),
        P(Ending(Outcome.TIMED_OUT, "why"), True, Ending(Outcome.TIMED_OUT, "why"), id="it is not gone"),
    ],
)
@virtual
async def test_an_answer_that_no_machine_was_behind(ending: Ending, unseen: bool, becomes: Ending) -> None:
    world = World(ending, unseen=unseen)
    await followed(world, step(Verb.CREATE))
    assert world.waited == (7, Guards().settle, unseen)
    assert world.ended_with == [(7, becomes)]
    world.facts = {}
    await followed(world, step(Verb.CREATE))
    assert world.waited[2] is False, "nothing is remembered of it"
    assert world.ended_with[1:] == [(7, ending)]


@virtual
async def test_a_follower_that_fails_leaves_its_intent_to_the_next_pass() -> None:
    world = World(StoreError("disk full"))
    follower, logs = await followed(world, step())
    assert logs == [{"event": "journal.failed", "log_level": "error", "intent": 7, "error": "disk full"}]
    assert (follower.endings, world.ended_with, world.told, world.faults_seen) == (0, [], [], [])
    world = World(ValueError("odd"))
    follower, logs = await followed(world, step())
    assert world.faults_seen == [("follower", "odd")]
    assert (follower.endings, world.ended_with, world.told, logs) == (0, [], [], [])


ERROR: dict[str, Any] = {"error": "why"}


@pytest.mark.parametrize(
    ("one", "ending", "level", "event", "more", "measured"),
    [
        P(step(), Ending(Outcome.REACHED), "info", "machine.became_ready", {}, True, id="start"),
        P(step(Verb.RESTART), Ending(Outcome.REACHED), "info", "machine.became_ready", {}, True, id="restart"),
        P(step(Verb.STOP), Ending(Outcome.REACHED), "info", "machine.became_off", {}, True, id="stop"),
        P(step(Verb.DESTROY), Ending(Outcome.REACHED), "info", "machine.became_gone", {}, True, id="destroy"),
        P(step(Verb.UPDATE), Ending(Outcome.REACHED), "info", "machine.was_updated", {}, False, id="update"),
        P(step(), Ending(SHORT, "why"), "error", "machine.start_failed", ERROR, False, id="failed"),
        P(step(), Ending(Outcome.TIMED_OUT, "why"), "error", "machine.transition_timed_out", ERROR, False, id="late"),
        P(
            step(),
            Ending(Outcome.NO_EFFECT, "why"),
            "warning",
            "machine.transition_ended",
            ERROR | {"outcome": "no_effect"},
            False,
            id="any other",
        ),
    ],
)
@pytest.mark.parametrize(("began", "seconds"), [(ago(seconds=60.12345), 60.123), (later(seconds=5), 0.0)])
@virtual
async def test_the_line_of_a_verdict(
    one: Intent, ending: Ending, level: str, event: str, more: Any, measured: bool, began: datetime, seconds: float
) -> None:
    """The wall clock may have been set back since it began."""
    world = World(ending)
    _, logs = await followed(world, replace(one, created_at=began))
    keys = one.log_keys | {"reason": "short_of_target", "duration_s": seconds}
    assert logs == [{"event": event, "log_level": level} | keys | more]
    took = max((NOW - began).total_seconds(), 0.0)
    assert [row for row in world.told if row[0] == "meter"] == [("meter", one.verb, took)] * measured


@pytest.mark.parametrize(
    ("back", "waits"),
    [
        P(None, False, id="none"),
        P(BACK, True, id="a wait"),
        P(SimpleNamespace(attempt=0, until=NOW, words=""), False, id="forgiven"),
    ],
)
@pytest.mark.parametrize("ending", [Ending(Outcome.NO_EFFECT, "why"), Ending(Outcome.REACHED)])
@virtual
async def test_that_a_call_waits_is_said(back: Any, waits: bool, ending: Ending) -> None:
    _, logs = await followed(World(ending, back=back), step(Verb.UPDATE))
    line = {
        "event": "action.backed_off", "log_level": "warning", "fleet": "training", "machine": "ps1",
        "name": token_name(1), "action": "update", "attempt": 2, "until": later(minutes=4).isoformat(),
        "error": "no answer",
    }  # fmt: skip
    assert logs[1:] == [line] * waits


@virtual
async def test_that_a_kind_waits_is_said() -> None:
    _, logs = await followed(World(Ending(SHORT, BUSY)), step(Verb.CREATE, parameters=KIND))
    assert logs[1:] == [
        {
            "event": "capacity.backed_off", "log_level": "warning", "fleet": "training", "region": "R",
            "machine_type": "V100", "until": later(minutes=2).isoformat(), "error": BUSY,
        }
    ]  # fmt: skip
