"""When ``apply`` is over, and what it says of fleets that have not converged."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from fleetd.engine.convergence import MOST_SKIPS, ConvergenceWatch, hopeless, unfinished
from fleetd.model.errors import (
    FleetdError,
    NotFound,
    StateUnusable,
    StoreError,
    Unauthorized,
    Unavailable,
    Untrusted,
)
from fleetd.model.plan import FleetView, Skip
from fleetd.model.reasons import Reason, Verb
from fleetd.words.fleets import fleet_sentence
from fleetd.words.reasons import sentence
from tests.support.build import NOW
from tests.support.virtual_time import virtual

P = pytest.param
AT = FleetView(2, 2, None, 2, 0, 0, 0, 0, 0)
SHORT = replace(AT, up=1)
FROZEN = Skip("training", Verb.CREATE, Reason.FROZEN)


def report(*skips: Skip, done: bool = False, complete: bool = True, **fields: Any) -> Any:
    fleets = fields.pop("fleets", {"training": SHORT})
    plan = SimpleNamespace(actions=(), skips=skips, at=NOW, fleets=fleets, complete=complete)
    return SimpleNamespace(**{"plan": plan, "skips": skips, "intents": (), "converged": done} | fields)


class Ending:
    """A daemon, and what it is told; and what is shown."""

    def __init__(self, limit: float = 25) -> None:
        self.told: list[str] = []
        self.watch = ConvergenceWatch(limit=limit)

    def attach(self) -> ConvergenceWatch:
        me: Any = self
        self.watch.attach(me, lambda: self.told.append("show"))
        return self.watch

    def stop(self) -> None:
        self.told.append("stop")

    def abandon(self) -> None:
        self.told.append("abandon")


GONE, KEY = Unavailable("no route"), Unauthorized("no such key")


@pytest.mark.parametrize(
    ("passes", "told", "failure"),
    [
        P([report()], ["show"], None, id="it goes on"),
        P([report(), report(done=True)], ["show", "show", "stop"], None, id="converged"),
        P([report(FROZEN, done=True)], ["show", "stop"], None, id="converged, and frozen: no failure"),
        P([report(FROZEN)], ["show", "stop"], "an operator froze it", id="hopeless"),
        P([GONE], ["stop"], "no route", id="no first answer"),
        P([report(), GONE, NotFound("x")], ["show"], None, id="an outage"),
        P([report(), KEY], ["show", "stop"], "no such key", id="another key"),
        P([report(), Untrusted("a stranger")], ["show", "stop"], "a stranger", id="somebody else answers"),
        P([report(), StoreError("disk full")], ["show", "stop"], "disk full", id="no journal"),
        P([report(), StateUnusable("damaged")], ["show", "stop"], "damaged", id="a damaged one"),
    ],
)
def test_what_ends_it(passes: list[Any], told: list[str], failure: str | None) -> None:
    ending = Ending()
    watch = ending.attach()
    for one in passes:
        watch.saw(one)
    assert ending.told == told
    assert watch.converged is getattr(passes[-1], "converged", False)
    assert (watch.failure is None) is (failure is None)
    assert failure is None or failure in str(watch.failure)


def test_nothing_ends_before_there_is_a_daemon() -> None:
    ending = Ending()
    ending.watch.saw(KEY)
    ending.watch.saw(report(done=True))
    assert (ending.watch.failure, ending.watch.converged, ending.told) == (None, False, [])
    assert ending.watch.unfinished() == []


def test_what_is_unfinished_is_told_of_the_last_pass() -> None:
    watch = Ending().attach()
    assert watch.unfinished() == []
    watch.saw(report())
    assert watch.unfinished() == [fleet_sentence("training", SHORT)]
    watch.saw(report(done=True, fleets={"training": AT}))
    assert watch.unfinished() == []
    watch.saw(GONE)
    assert watch.unfinished() == []


@pytest.mark.parametrize(
    ("attached", "passes", "told", "failure"),
    [
        P(True, [], ["abandon"], "no answer from the provider within 25 s", id="no answer"),
        P(True, [report()], ["show"], None, id="an answer"),
        P(True, [KEY], ["stop"], "no such key", id="it was refused: that is said"),
        P(False, [], [], None, id="there is no daemon yet"),
    ],
)
@virtual
async def test_a_provider_that_never_answers(
    attached: bool, passes: list[Any], told: list[str], failure: str | None
) -> None:
    ending = Ending()
    if attached:
        ending.attach()
    began = anyio.current_time()
    async with anyio.create_task_group() as group:
        group.start_soon(ending.watch.first_answer)
        await anyio.sleep(24)
        assert ending.told == []
        for one in passes:
            ending.watch.saw(one)
    answered = bool(passes) and not isinstance(passes[0], FleetdError)
    assert anyio.current_time() - began == pytest.approx(24 if answered else 25)
    assert ending.told == told
    assert (None if ending.watch.failure is None else str(ending.watch.failure)) == failure


def skips(count: int, fleet: str = "training", reason: Reason = Reason.FROZEN) -> list[Skip]:
    return [Skip(fleet, Verb.STOP, reason, f"ps{n}", f"box{n}") for n in range(count)]


def told_of(*rows: Skip) -> list[str]:
    return [sentence(row, NOW) for row in rows]


@pytest.mark.parametrize(
    ("seen", "lines"),
    [
        P(report(fleets={"training": AT}), [], id="nothing"),
        P(report(fleets={}), [], id="no fleets"),
        P(report(), [fleet_sentence("training", SHORT)], id="a fleet"),
        P(
            report(fleets={"training": AT}, complete=False),
            [fleet_sentence("training", AT)],
            id="nobody knows",
        ),
        P(
            report(*skips(1), *skips(1, "other"), *skips(1, reason=Reason.IN_TRANSITION)),
            [fleet_sentence("training", SHORT), *told_of(*skips(1))],
            id="its reasons, but for those that pass",
        ),
        P(
            report(*skips(MOST_SKIPS)),
            [fleet_sentence("training", SHORT), *told_of(*skips(MOST_SKIPS))],
            id="as many as are told",
        ),
        P(
            report(*skips(MOST_SKIPS + 2)),
            [
                fleet_sentence("training", SHORT),
                *told_of(*skips(MOST_SKIPS)),
                "2 more of training are in fleetd status.",
            ],
            id="more",
        ),
        P(
            report(*skips(1, "other"), fleets={"done": AT, "training": SHORT, "other": SHORT}),
            [fleet_sentence("training", SHORT), fleet_sentence("other", SHORT), *told_of(*skips(1, "other"))],
            id="each that has not converged",
        ),
    ],
)
def test_what_is_unfinished(seen: Any, lines: list[str]) -> None:
    assert unfinished(seen) == lines


def of(*reasons: Reason, verb: Verb | None = Verb.CREATE) -> list[Skip]:
    return [Skip("training", verb, reason) for reason in reasons]


OF_A_PERSON = (Reason.FROZEN, Reason.HELD)
FOR_GOOD = (Reason.REFUSED_RECENTLY, Reason.GUARD_COST, Reason.PRICE_UNKNOWN, Reason.UNKNOWN_STATE)


@pytest.mark.parametrize("reason", list(Reason))
def test_which_reasons_only_a_person_can_end(reason: Reason) -> None:
    found = hopeless(report(*of(reason)))
    assert (found is not None) is (reason in OF_A_PERSON + FOR_GOOD)
    if found is not None:
        assert (str(found), found.temporary) == (told_of(*of(reason))[0], reason in OF_A_PERSON)


@pytest.mark.parametrize(
    ("reasons", "temporary"),
    [(OF_A_PERSON, True), (FOR_GOOD, False), (OF_A_PERSON + FOR_GOOD, False)],
)
def test_it_is_temporary_where_all_of_it_is(reasons: tuple[Reason, ...], temporary: bool) -> None:
    found = hopeless(report(*of(*reasons)))
    assert found is not None
    assert found.temporary is temporary


STOP: Any = SimpleNamespace(verb=Verb.STOP)


def acted(*rows: Skip, dropped: tuple[Skip, ...] = ()) -> Any:
    seen = report(*rows, *dropped)
    seen.plan.actions, seen.plan.skips = (STOP,), rows
    return seen


@pytest.mark.parametrize(
    ("seen", "sentences"),
    [
        P(report(*of(*OF_A_PERSON)), told_of(*of(*OF_A_PERSON)), id="all of them are told"),
        P(report(*of(Reason.FROZEN, Reason.CAPACITY_BACKOFF)), None, id="something else may pass"),
        P(
            report(*of(Reason.FROZEN), *of(Reason.CAPACITY_BACKOFF, verb=None)),
            told_of(*of(Reason.FROZEN)),
            id="what is said beside it does not count",
        ),
        P(report(*of(Reason.CAPACITY_BACKOFF, verb=None)), None, id="nor is it hopeless by itself"),
        P(report(*of(Reason.FROZEN), intents=(1,)), None, id="something is under way"),
        P(acted(*of(Reason.FROZEN)), None, id="something was done"),
        P(
            acted(dropped=tuple(of(Reason.REFUSED_RECENTLY))),
            told_of(*of(Reason.REFUSED_RECENTLY)),
            id="it was refused",
        ),
        P(report(), None, id="nothing stands in the way"),
    ],
)
def test_when_it_is_hopeless(seen: Any, sentences: list[str] | None) -> None:
    found = hopeless(seen)
    assert (None if found is None else str(found).split("\n")) == sentences
