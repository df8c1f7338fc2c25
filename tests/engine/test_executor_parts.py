"""Parts of carrying out a plan: what is said of a call that is not made, names that are new, and whose turn it is."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from fleetd.engine.executor import Executor, _create_skip
from fleetd.engine.gate import Objection
from fleetd.model.errors import Ambiguous
from fleetd.model.naming import ALPHABET, DRAWN, machine_name, make_token
from fleetd.model.plan import Action, Skip
from fleetd.model.reasons import Reason, Verb
from tests.support.build import facts, fleet, intent, later, machine, token_name
from tests.support.virtual_time import virtual

HELD = Objection(Reason.HELD, "ada: a run", later(hours=1))
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
    me: Any = SimpleNamespace(_hung={"b": 7, "d": 3})
    order = Executor._doubted_last(me, [fleet(name) for name in "abcd"])
    assert [one.name for one in order] == ["a", "c", "d", "b"]


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
