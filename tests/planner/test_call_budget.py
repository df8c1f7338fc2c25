"""What a pass may call is shared out among the fleets in turn; nobody's first action and no order waits for it."""

from __future__ import annotations

import pytest

from fleetd.model.plan import Action, Skip
from fleetd.model.reasons import Reason, Verb
from fleetd.planner.call_budget import share_out

P = pytest.param


def actions(spec: str) -> list[Action]:
    """``a:stop``: the fleet and the verb; ``a:stop!`` is an operator's order. They are numbered in their fleet."""
    found: list[Action] = []
    for word in spec.split():
        fleet, verb = word.strip("!").split(":")
        number = sum(a.fleet == fleet for a in found) + 1
        reason = Reason.OPERATOR_REQUEST if word.endswith("!") else Reason.OVER_TARGET
        machine = None if verb == Verb.CREATE else f"ps-{fleet}{number}"
        found.append(Action(Verb(verb), fleet, reason, machine=machine, name=f"{fleet}{number}"))
    return found


@pytest.mark.parametrize(
    ("spec", "requests", "kept"),
    [
        P("", 9, "", id="nothing to do"),
        P("a:stop a:stop a:stop", 6, "a1 a2 a3", id="room for all"),
        P("a:stop a:stop a:stop", 5, "a1 a2", id="a write to a machine takes a look before it"),
        P("a:create a:create a:create", 2, "a1 a2", id="a create takes one request"),
        P("a:stop a:start a:create", 3, "a1 a3", id="what is cheaper fits still"),
        P("a:stop a:stop", 0, "a1", id="a fleet has one action at least"),
        P("a:stop b:stop c:create", 0, "a1 b1 c1", id="and so has each"),
        P("a:stop a:stop a:stop b:stop b:stop", 6, "a1 b1 a2", id="in turns, whatever stands first"),
        P("a:stop b:stop b:stop b:stop", 99, "a1 b1 b2 b3", id="one that has no more ends nobody's turn"),
        P("b:stop b:stop a:stop", 99, "b1 a1 b2", id="the fleets as they come"),
        P("a:stop a:stop! a:stop", 3, "a2", id="an order goes before what fleetd wants"),
        P("a:stop a:stop! a:stop", 4, "a2 a1", id="then the rest as it came"),
        P("a:stop! a:stop! a:create! b:stop b:stop", 0, "a1 b1 a2 a3", id="no order waits"),
        P("a:stop! a:stop! b:create b:create", 4, "a1 b1 a2", id="but what it takes is gone for the others"),
    ],
)
def test_what_is_called_in_a_pass_and_what_is_left_to_the_next(spec: str, requests: int, kept: str) -> None:
    wanted = actions(spec)
    chosen, left = share_out(wanted, requests)
    assert [a.name for a in chosen] == kept.split()
    assert left == [
        Skip(a.fleet, a.verb, Reason.CALLS_USED_UP, a.machine, a.name) for a in wanted if a.name not in kept.split()
    ]


def test_two_actions_that_are_alike_are_two() -> None:
    one, other = actions("a:create")[0], actions("a:create")[0]
    assert one == other
    chosen, left = share_out([one, other], 1)
    assert (len(chosen), len(left)) == (1, 1)


@pytest.mark.parametrize("requests", [0, 2, 7, 20, 1000])
def test_a_fleet_that_wants_much_keeps_none_of_the_others_from_its_turn(requests: int) -> None:
    wanted = actions("a:stop " * 50 + "b:create " * 4 + "c:stop a:restart!")
    kept, skips = share_out(wanted, requests)
    assert len(kept) + len(skips) == len(wanted)
    assert {a.fleet for a in kept} == {"a", "b", "c"}, "every fleet has its turn"
    assert any(a.reason is Reason.OPERATOR_REQUEST for a in kept)
    cost = sum(1 if a.verb is Verb.CREATE else 2 for a in kept)
    assert cost <= max(requests, 5) + 2
    if requests == 20:
        assert sum(a.fleet == "b" for a in kept) == 4
