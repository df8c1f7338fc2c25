"""How many machines a verb is wanted for, and has come to nothing; and which destroys may come yet."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from fleetd.model.journal import Departure, Setback
from fleetd.model.plan import Action, Skip
from fleetd.model.reasons import Reason, Verb
from fleetd.planner.plan import _late_destroys, _stuck
from fleetd.planner.roster import roster
from tests.support.build import NOW, fleet, intent, later, machine, memory

P = pytest.param
FUTILE = ("stop:ps1", "stop:ps2", "create:training", "update:ps1:timeout_drift")


def skip(verb: Verb | None, n: int | None, reason: Reason = Reason.NO_EFFECT) -> Skip:
    return Skip("training", verb, reason, None if n is None else f"ps{n}")


def action(verb: Verb, n: int | None) -> Action:
    return Action(verb, "training", Reason.OVER_TARGET, machine=None if n is None else f"ps{n}", name="a")


@pytest.mark.parametrize(
    ("drafted", "under_way", "found"),
    [
        P([], [], {}, id="nothing is wanted"),
        P([skip(Verb.STOP, 1)], [], {"stop": 1}, id="it waits"),
        P([skip(Verb.STOP, 1), skip(Verb.STOP, 2)], [], {"stop": 2}, id="two wait"),
        P([skip(Verb.STOP, 3)], [], {}, id="another's has not come to nothing"),
        P([skip(Verb.STOP, 1, Reason.HELD)], [], {}, id="it is held"),
        P([skip(None, 1)], [], {}, id="it is said of no verb"),
        P([skip(Verb.CREATE, None)], [], {"create": 1}, id="a create waits"),
        P([action(Verb.STOP, 1)], [], {"stop": 1}, id="it is tried again"),
        P([action(Verb.CREATE, None)], [], {"create": 1}, id="a create is"),
        P([action(Verb.STOP, 1), skip(Verb.STOP, 1)], [], {"stop": 1}, id="one machine is one"),
        P([], [intent(Verb.STOP, 1)], {"stop": 1}, id="it is under way again"),
        P([], [intent(Verb.CREATE)], {"create": 1}, id="a create is under way"),
        P([], [intent(Verb.UPDATE, 1)], {"update": 1}, id="an update, whatever it is to mend"),
        P([], [intent(Verb.UPDATE, 2)], {}, id="another's update"),
        P([skip(Verb.STOP, 1), action(Verb.CREATE, None)], [], {"stop": 1, "create": 1}, id="each verb by itself"),
    ],
)
def test_what_is_wanted_and_has_come_to_nothing(drafted: list[Any], under_way: list[Any], found: Any) -> None:
    draft: Any = SimpleNamespace(
        skips=[d for d in drafted if isinstance(d, Skip)], actions=[d for d in drafted if isinstance(d, Action)]
    )
    members = roster(fleet(), [machine(1), machine(2), machine(3)], under_way)
    back = Setback(later(minutes=1), "no", attempt=2)
    assert _stuck(memory(futile=dict.fromkeys(FUTILE, back)), members, draft) == found
    forgiven = Setback(NOW, "no", attempt=0)
    assert _stuck(memory(futile=dict.fromkeys(FUTILE, forgiven)), members, draft) == {}, "the first is forgiven"


@pytest.mark.parametrize(
    ("verb", "others", "late"),
    [
        P(Verb.DESTROY, (), 2, id="two destroys"),
        P(Verb.STOP, (), 0, id="stops are told by their machines"),
        P(Verb.DESTROY, ("ps1",), 1, id="one is made again"),
    ],
)
def test_which_destroys_may_have_their_effect_yet(verb: Verb, others: tuple[str, ...], late: int) -> None:
    one = Departure(NOW, timedelta(minutes=30), verb)
    known = memory(departing={"ps1": one, "ps2": one, "ps9": one})
    assert _late_destroys([machine(1), machine(2), machine(3)], known, others) == late
