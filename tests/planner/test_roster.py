"""Where a machine counts while something is under way, and what orders may mean by a name."""

from __future__ import annotations

from typing import Any

import pytest

from fleetd.model.fleet import Guards
from fleetd.model.reasons import Verb
from fleetd.planner.lookup import Named, ours
from fleetd.planner.ownership import Owner
from fleetd.planner.plan import plan
from fleetd.planner.roster import drifted, roster
from tests.support.build import NOW, facts, fleet, intent, machine, machines, memory, seen, token_name

P = pytest.param
HIBERNATE: Any = Verb("hibernate")


@pytest.mark.parametrize(
    ("state", "under_way", "place", "creating"),
    [
        P("off", None, "down", 0, id="nothing"),
        P(
            "off",
            intent(Verb.CREATE, None, name=token_name(1)),
            "rising",
            0,
            id="its create, which has no answer yet",
        ),
        P("off", intent(Verb.CREATE, None, name=token_name(2)), "down", 1, id="another's create"),
        P("off", intent(Verb.CREATE, 1), "rising", 0, id="its create, answered"),
        P("off", intent(Verb.CREATE, 2), "down", 1, id="a create whose machine is not listed yet"),
        P("ready", intent(Verb.CREATE, 1), "up", 0, id="up already"),
        P("off", intent(Verb.START, 1), "rising", 0, id="a start"),
        P("off", intent(Verb.START, 2), "down", 0, id="a start of one that is not listed makes none"),
        P("ready", intent(Verb.RESTART, 1), "up", 0, id="a restart"),
        P("ready", intent(Verb.STOP, 1), "falling", 0, id="a stop"),
        P("off", intent(Verb.STOP, 1), "down", 0, id="stopped already"),
        P("ready", intent(Verb.DESTROY, 1), "leaving", 0, id="a destroy"),
        P("ready", intent(Verb.UPDATE, 1), "up", 0, id="an update moves nothing"),
        P("odd", intent(Verb.STOP, 1), "unknown", 0, id="a state that says nothing"),
        P("odd", intent(Verb.DESTROY, 1, accepted_at=NOW), "leaving", 0, id="but its destroy was accepted"),
        P("ready", intent(HIBERNATE, 1), "unknown", 0, id="another version's verb: it keeps its place"),
        P("off", intent(HIBERNATE, 2), "down", 0, id="of one that is not listed: it makes none"),
        P("off", intent(HIBERNATE, None), "down", 1, id="of none: it may make one, and be paid for"),
        P(
            "off",
            intent(Verb.CREATE, None, name=token_name(1), fleet="other"),
            "down",
            0,
            id="another fleet's create",
        ),
    ],
)
def test_where_a_machine_counts_while_something_is_under_way(
    state: str, under_way: Any, place: str, creating: int
) -> None:
    found = roster(fleet(), [machine(1, state)], [] if under_way is None else [under_way])
    places = ("up", "rising", "falling", "down", "unknown", "leaving")
    assert {name: [m.id for m in getattr(found, name)] for name in places if getattr(found, name)} == {place: ["ps1"]}
    assert len(found.creating) == creating
    assert roster(fleet(), [machine(1, state)], [], leaving={"ps1"}).leaving == (machine(1, state),)


@pytest.mark.parametrize(
    ("spec", "accepted", "said"),
    [
        P("ready stopping", None, ["still_falling ps2"], id="one that stops"),
        P("ready ready", None, ["in_transition ps2"], id="one whose stop was sent, and that is up"),
        P("ready ready", NOW, ["in_transition ps2"], id="also when it was accepted"),
        P("ready ready stopping", None, ["in_transition ps2", "still_falling ps3"], id="one of each"),
    ],
)
def test_one_that_keeps_its_place_is_not_waited_for_as_one_that_falls(
    spec: str, accepted: Any, said: list[str]
) -> None:
    listed = machines(spec)
    moving = (intent(Verb.STOP, 2, accepted_at=accepted),)
    want = fleet(target=len(listed), guards=Guards())
    known = memory(intents=moving, facts=tuple(facts(n) for n in range(1, len(listed) + 1)))
    decided = plan([want], seen(*listed), known, NOW)
    assert sorted(f"{s.reason} {s.machine}" for s in decided.skips if s.verb is Verb.START) == said


@pytest.mark.parametrize(
    ("listed", "known", "under_way", "found"),
    [
        P([machine(1)], [], [], [("ps1", token_name(1), "", "ready")], id="listed"),
        P([machine(1)], [facts(1)], [], [("ps1", token_name(1), "", "ready")], id="remembered by the same name"),
        P([machine(1, name="new")], [facts(1)], [], [("ps1", "new", token_name(1), "ready")], id="renamed"),
        P([], [facts(1, last_state="off")], [], [("ps1", token_name(1), "", "off")], id="remembered"),
        P([], [facts(1, gone_at=NOW)], [], [], id="gone"),
        P([], [facts(1, destroyed=True)], [], [], id="destroyed"),
        P([machine(2, name="x")], [], [], [], id="nobody's"),
        P([], [], [intent(Verb.CREATE, None, name="a")], [("", "a", "", "creating")], id="being made"),
        P([], [], [intent(Verb.CREATE, 1)], [("ps1", token_name(1), "", "creating")], id="being made, answered"),
        P([machine(1)], [], [intent(Verb.CREATE, 1)], [("ps1", token_name(1), "", "ready")], id="and listed"),
        P(
            [machine(1)],
            [],
            [intent(Verb.CREATE, None, name=token_name(1))],
            [("ps1", token_name(1), "", "ready")],
            id="listed before its answer",
        ),
        P([], [], [intent(Verb.START, 1)], [], id="a start makes none"),
    ],
)
def test_what_orders_may_mean(listed: list[Any], known: list[Any], under_way: list[Any], found: list[Any]) -> None:
    owned = {"ps1": Owner("training", adopted=False)}
    named = ours(listed, owned, {f.machine_id: f for f in known}, under_way)
    assert named == [Named(who, name, "training", former, state) for who, name, former, state in found]


@pytest.mark.parametrize(
    ("of", "is_so"),
    [
        ({}, False),
        ({"machine_type": "V100"}, True),
        ({"region": "Amsterdam (AMS1)"}, True),
        ({"machine_type": "V100", "region": "Amsterdam (AMS1)"}, True),
        ({"machine_type": None, "region": None}, False),
        ({"machine_type": None}, False),
        ({"region": None}, False),
        ({"machine_type": "V100", "region": None}, True),
    ],
)
def test_what_is_not_what_the_fleet_would_create(of: dict[str, Any], is_so: bool) -> None:
    assert drifted(fleet(), machine(1, **of)) is is_so
