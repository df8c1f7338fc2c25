"""Which machine goes first, what a roster counts, and which are late."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from fleetd.model.plan import Unlike
from fleetd.model.reasons import Outcome, Verb
from fleetd.planner.roster import differing, is_late, roster, start_order, timed_out, unlike, victim_order
from tests.support.build import NOW, ago, facts, fleet, idle, intent, machine, memory, token_name

P = pytest.param
PRICES = {"P4000": Decimal("0.51")}
BORN = {"created_at": ago(days=3)}
HIBERNATE: Any = Verb("hibernate")


@pytest.mark.parametrize(
    ("first", "then", "recalled"),
    [
        P({}, {}, {"facts": (facts(1, failure=Outcome.FAILED_TO_START), facts(2))}, id="one that failed"),
        P({}, {}, {"facts": (facts(1, failure=Outcome.FAILED_TO_START),)}, id="before one that nobody remembers"),
        P({"state": "starting"}, {}, {}, id="one that is not up yet"),
        P({}, {}, {"idle": {"ps1": idle(minutes=90), "ps2": idle(minutes=30)}}, id="the one idle longest"),
        P({}, {}, {"idle": {"ps1": idle(minutes=1)}}, id="one that is idle before one of which nobody knows"),
        P({}, {}, {"idle": {"ps1": idle(minutes=1), "ps2": idle("active")}}, id="one that is idle before one in use"),
        P({"region": "Europe (AMS1)"}, {}, {}, id="one that is not as configured"),
        P({"hourly_rate": Decimal(2)}, {}, {}, id="the costlier"),
        P({"name": token_name(1)}, {"name": token_name(2), "machine_type": None}, {}, id="no type told"),
        P({"created_at": ago(days=1)}, {}, {}, id="the younger"),
        P(
            {"created_at": None}, {}, {"facts": (facts(1, first_seen=ago(days=1)),)},
            id="the younger, by when it was first seen",
        ),
        P({"created_at": None}, {}, {}, id="one of which nobody knows when it was made counts as the youngest"),
        P({}, {}, {}, id="the first by name, of two alike"),
    ],
)  # fmt: skip
def test_which_of_two_is_given_up_first(first: dict[str, Any], then: dict[str, Any], recalled) -> None:
    """The two are named so that the other one would go first in the name's order, but in the last row."""
    alike = not (first or then or recalled)
    names = (token_name(1), token_name(2)) if alike else (token_name(2), token_name(1))
    one = machine(1, **{**BORN, "name": names[0], **first})
    two = machine(2, **{**BORN, "name": names[1], **then})
    members = roster(fleet(), [one, two], ())
    assert [m.id for m in victim_order(members, memory(**recalled), PRICES)] == ["ps1", "ps2"]


def test_one_whose_price_nobody_knows_counts_as_the_cheapest() -> None:
    priced = machine(1, **BORN, name=token_name(2), hourly_rate=Decimal("0.01"))
    unpriced = machine(2, **BORN, name=token_name(1))
    members = roster(fleet(), [priced, unpriced], ())
    assert [m.id for m in victim_order(members, memory(), {})] == ["ps1", "ps2"]


@pytest.mark.parametrize(
    ("first", "then", "known"),
    [
        P({}, {}, (facts(1, last_up_at=ago(days=1)), facts(2, last_up_at=ago(days=2))), id="up most recently"),
        P({}, {}, (facts(1, last_up_at=ago(days=9)), facts(2)), id="ever up"),
        P({}, {}, (facts(1, last_up_at=ago(days=9)),), id="ever up, and of the other nobody knows"),
        P(
            {}, {"machine_type": "V100"}, (facts(2, last_up_at=NOW),),
            id="as the config would make it, before one that was up lately",
        ),
    ],
)  # fmt: skip
def test_which_of_two_is_started_first(first: dict[str, Any], then: dict[str, Any], known) -> None:
    one = machine(1, "off", name=token_name(2), **first)
    two = machine(2, "off", name=token_name(1), **then)
    order = start_order(roster(fleet(), [one, two], ()), memory(facts=known))
    assert [m.id for m in order] == ["ps1", "ps2"]


@pytest.mark.parametrize(
    ("state", "step", "found"),
    [
        P("off", {"ambiguous_since": NOW}, ["ps1"], id="its start's answer was lost"),
        P("off", {"accepted_at": NOW}, [], id="its start was accepted"),
        P("off", {}, [], id="its start is being called"),
        P("starting", {"ambiguous_since": NOW}, [], id="it is seen to start"),
        P("ready", {"ambiguous_since": NOW}, [], id="it is up"),
        P("starting", None, [], id="it starts by itself"),
    ],
)
def test_of_which_no_more_is_known_than_that_an_answer_was_lost(state: str, step: Any, found: list[str]) -> None:
    moving = [] if step is None else [intent(Verb.START, 1, **step)]
    assert [m.id for m in roster(fleet(), [machine(1, state)], moving).uncertain] == found


def test_a_fleets_size_counts_every_machine_that_has_a_place_or_could_be_started() -> None:
    states = ("ready", "starting", "stopping", "stopping", "off", "off", "off", "hibernating")
    listed = [machine(n, state) for n, state in enumerate(states, 1)]
    members = roster(fleet(), listed, [intent(Verb.CREATE)], ())
    assert (members.have, members.size) == (4, 9)


def test_an_update_moves_nothing_and_is_known_to_be_under_way() -> None:
    members = roster(fleet(), [machine(1), machine(2)], [intent(Verb.UPDATE, 1), intent(Verb.STOP, 2)])
    assert members.updating == {"ps1"}
    assert set(members.moving) == {"ps2"}


@pytest.mark.parametrize(
    ("state", "step", "place", "creating"),
    [
        P("off", intent(Verb.CREATE, 2, name=token_name(1)), "down", 1, id="a create answered with another id"),
        P("off", intent(HIBERNATE, None, name=token_name(1)), "down", 1, id="another version's, of this name"),
        P("odd", intent(Verb.DESTROY, 1), "unknown", 0, id="a destroy that was not accepted, of no known state"),
    ],
)
def test_what_is_under_way_counts_for_its_own_machine_only(state: str, step: Any, place: str, creating: int) -> None:
    members = roster(fleet(), [machine(1, state)], [step])
    assert [m.id for m in getattr(members, place)] == ["ps1"]
    assert len(members.creating) == creating


@pytest.mark.parametrize(
    ("state", "failure", "step", "late"),
    [
        P("starting", Outcome.TIMED_OUT, None, True, id="it does not come up"),
        P("stopping", Outcome.TIMED_OUT, None, True, id="it does not stop"),
        P("ready", Outcome.TIMED_OUT, None, False, id="it is up"),
        P("off", Outcome.TIMED_OUT, None, False, id="it is off"),
        P("starting", Outcome.FAILED_TO_START, None, False, id="it failed otherwise"),
        P("starting", None, None, False, id="it has not failed"),
        P("starting", Outcome.TIMED_OUT, intent(Verb.STOP, 1), False, id="something else is tried with it"),
    ],
)
def test_which_are_late(state: str, failure: Outcome | None, step: Any, late: bool) -> None:
    members = roster(fleet(), [machine(1, state)], [] if step is None else [step])
    assert is_late(machine(1, state), members, memory(facts=(facts(1, failure=failure),))) is late


def test_one_that_nobody_remembers_has_not_run_late() -> None:
    assert not timed_out(machine(1, "starting"), memory())


@pytest.mark.parametrize(
    ("of", "found"),
    [
        P({}, [], id="as configured"),
        P({"machine_type": "V100"}, [("machineType", "V100", "P4000")], id="another type"),
        P({"region": "ams1"}, [("region", "Europe (AMS1)", "East Coast (NY2)")], id="another region, by its code"),
        P({"region": "NY2"}, [], id="the same by its code"),
        P({"machine_type": None, "region": None}, [], id="not told"),
        P({"machine_type": "", "region": ""}, [], id="told as nothing"),
    ],
)
def test_how_a_machine_differs_from_the_config(of: dict[str, Any], found: list[tuple[str, str, str]]) -> None:
    assert differing(fleet(), machine(1, **of)) == found
    assert unlike(roster(fleet(), [machine(1, **of)], ())) == tuple(Unlike(*one, 1) for one in found)


def test_a_fleet_without_a_region_differs_from_none() -> None:
    assert differing(fleet(region=""), machine(1)) == []
