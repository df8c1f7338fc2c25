"""What is cut from a plan, and what is said of it: doubts, clocks, counts, caps, and machines that vanish at once."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from fleetd.model.fleet import Costs, Guards, Limit, Window
from fleetd.model.machine import UNVERIFIED
from fleetd.model.plan import NOT_WHOLE, Action, OverCap, Skip
from fleetd.model.reasons import Reason, Verb
from fleetd.planner.guards import (
    PROVIDER_DOUBT,
    Doubt,
    agree_on,
    cut_apart,
    cut_costs,
    cut_counts,
    cut_doubtful,
    doubt_of,
    goes_by_age,
    merge,
    over_caps,
    shrink_wait,
)
from fleetd.planner.leaving import LEAVING
from fleetd.planner.roster import roster
from tests.support.build import NOW, ago, facts, fleet, intent, later, machine, memory, seen

P = pytest.param
LATE = NOW.replace(month=3, day=31, hour=23)
OVER = timedelta(hours=2)
"""Two hours after ``LATE`` it is April; two hours after noon the window is open."""
EVENING = Window("evening", 13 * 60, 20 * 60, "UTC", target=1)
PARKED = Window("evening", 13 * 60, 20 * 60, "UTC", park_idle=True)
PARKED_BUT_THREE = Window("evening", 13 * 60, 20 * 60, "UTC", park_idle=True, target=3)
NO_BUDGET, BUDGET = Costs({}, Decimal(0), Decimal(0)), Costs({}, Decimal(0), Decimal("0.5"))
OWN = {"guards": Guards(max_monthly_cost=Decimal("0.5"))}


def action(verb: Verb, reason: Reason = Reason.SHORT_OF_TARGET) -> Action:
    return Action(verb, "training", reason, machine="ps1", name="a")


@pytest.mark.parametrize(
    ("fields", "what", "agree"),
    [
        P({}, action(Verb.CREATE), True, id="no windows"),
        P({"windows": (EVENING,)}, action(Verb.CREATE), False, id="another target"),
        P({"windows": (EVENING,)}, action(Verb.STOP), False, id="whatever is done"),
        P({"windows": (PARKED,)}, action(Verb.STOP), False, id="parked by one of them"),
        P({"windows": (PARKED_BUT_THREE,)}, action(Verb.STOP), False, id="the target is the same"),
        P({"windows": (replace(EVENING, target=None),)}, action(Verb.STOP), True, id="the window changes nothing"),
        P({"windows": (EVENING,)}, action(Verb.UPDATE), True, id="an update does not hang on windows"),
        P({"windows": (EVENING,)}, action(Verb.STOP, Reason.OPERATOR_REQUEST), True, id="nor does an order"),
    ],
)
def test_whether_windows_ask_for_the_same_by_both_clocks(fields: dict[str, Any], what: Action, agree: bool) -> None:
    want = fleet(**{"target": 3, **fields})
    assert agree_on(want, what, NOW, NOW + OVER, NO_BUDGET) is agree
    assert agree_on(want, what, NOW + OVER, NOW, NO_BUDGET) is agree
    assert agree_on(want, what, NOW, NOW, NO_BUDGET) is True


@pytest.mark.parametrize(
    ("fields", "costs", "what", "agree"),
    [
        P({}, NO_BUDGET, action(Verb.CREATE), True, id="no budget"),
        P({}, BUDGET, action(Verb.CREATE), False, id="one of all"),
        P(OWN, NO_BUDGET, action(Verb.CREATE), False, id="one of the fleet"),
        P(OWN, BUDGET, action(Verb.START), False, id="a start"),
        P(OWN, BUDGET, action(Verb.START, Reason.OPERATOR_REQUEST), False, id="an order for a start too"),
        P(OWN, BUDGET, action(Verb.STOP), True, id="a stop costs nothing"),
        P(OWN, BUDGET, action(Verb.UPDATE), True, id="nor does an update"),
    ],
)
def test_whether_both_clocks_are_in_one_month_of_a_budget(
    fields: dict[str, Any], costs: Costs, what: Action, agree: bool
) -> None:
    want = fleet(**fields)
    assert agree_on(want, what, LATE, LATE + OVER, costs) is agree
    assert agree_on(want, what, LATE + OVER, LATE, costs) is agree
    assert agree_on(want, what, LATE - OVER, LATE, costs) is True


@pytest.mark.parametrize(
    ("what", "by_age"),
    [
        P(action(Verb.DESTROY), True, id="a destroy cannot be undone"),
        P(action(Verb.STOP, Reason.OUTLIVED_TIMEOUT), True, id="an age is its reason"),
        P(action(Verb.STOP), False, id="any other stop"),
        P(action(Verb.CREATE), False, id="a create"),
    ],
)
def test_what_rests_on_an_age(what: Action, by_age: bool) -> None:
    assert goes_by_age(what) is by_age


SECOND, STALE = timedelta(seconds=1), timedelta(seconds=60)
EVERYTHING, DESTRUCTIVE = frozenset(Verb), frozenset({Verb.STOP, Verb.DESTROY, Verb.RESTART})
ROTTEN = {"complete": False, "rejected": "it lacks ps-9"}


@pytest.mark.parametrize(
    ("fields", "failing", "doubt"),
    [
        P({}, timedelta(0), None, id="none"),
        P({"at": NOW - STALE}, timedelta(0), None, id="just not too old"),
        P({"at": NOW - STALE - SECOND}, timedelta(0), (Reason.OBSERVATION_STALE, "seen 61 s ago"), id="too old"),
        P({"at": NOW + STALE}, timedelta(0), None, id="just not too far ahead"),
        P(
            {"at": NOW + STALE + SECOND},
            timedelta(0),
            (Reason.OBSERVATION_STALE, "seen -61 s ago"),
            id="too far ahead",
        ),
        P({"complete": False}, timedelta(0), (Reason.OBSERVATION_PARTIAL, NOT_WHOLE), id="a page is missing"),
        P(ROTTEN, timedelta(0), (Reason.OBSERVATION_REJECTED, "it lacks ps-9"), id="rejected goes first"),
        P({}, PROVIDER_DOUBT, None, id="errors for a while"),
        P({}, PROVIDER_DOUBT + SECOND, (Reason.PROVIDER_FAILING, "errors for 61 s"), id="errors for too long"),
        P({"complete": False}, STALE * 9, (Reason.OBSERVATION_PARTIAL, NOT_WHOLE), id="the graver doubt"),
    ],
)
def test_what_an_observation_allows(fields: dict[str, Any], failing: timedelta, doubt: Any) -> None:
    found = doubt_of(seen(**fields), NOW, STALE, failing)
    forbids = DESTRUCTIVE if doubt is not None and doubt[0] is Reason.PROVIDER_FAILING else EVERYTHING
    assert found == (None if doubt is None else Doubt(*doubt, forbids))


def test_a_doubt_cuts_what_it_forbids_and_names_it() -> None:
    actions = [action(Verb.STOP), action(Verb.START)]
    assert cut_doubtful(actions, None) == (actions, [])
    doubt = Doubt(Reason.PROVIDER_FAILING, "errors for 61 s", DESTRUCTIVE)
    cut = Skip("training", Verb.STOP, Reason.PROVIDER_FAILING, "ps1", "a", detail="errors for 61 s")
    assert cut_doubtful(actions, doubt) == (actions[1:], [cut])


APART = "ours is 2 h ahead"


@pytest.mark.parametrize(
    ("apart", "fields", "what", "kept"),
    [
        P(None, {"windows": (EVENING,)}, action(Verb.DESTROY), True, id="they agree"),
        P(APART, {}, action(Verb.STOP), True, id="it rests on neither"),
        P(APART, {}, action(Verb.DESTROY), False, id="it goes by age"),
        P(APART, {"windows": (EVENING,)}, action(Verb.STOP), False, id="the window is open by one of them"),
        P(APART, {"windows": (EVENING,)}, action(Verb.UPDATE), True, id="whatever windows say"),
    ],
)
def test_what_is_done_while_clocks_are_apart(apart: str | None, fields: Any, what: Action, kept: bool) -> None:
    known = memory(clocks_apart=apart, clock_ahead=-OVER if apart else timedelta(0))
    cut = [] if kept else [Skip("training", what.verb, Reason.CLOCKS_APART, "ps1", "a", detail=APART)]
    found = cut_apart(fleet(**fields), [what, action(Verb.CREATE, Reason.OPERATOR_REQUEST)], known, NOW, NO_BUDGET)
    assert found == ([what, action(Verb.CREATE, Reason.OPERATOR_REQUEST)][0 if kept else 1 :], cut)


STOP, ORDER = action(Verb.STOP), action(Verb.STOP, Reason.OPERATOR_REQUEST)
CREATE, DESTROY, START = action(Verb.CREATE), action(Verb.DESTROY), action(Verb.START)
TWO = {"max_creates_per_pass": 2, "max_stops_per_pass": Limit(count=2), "max_destroys_per_pass": 2}
STOPPING = (intent(Verb.STOP, 8),)


@pytest.mark.parametrize(
    ("limits", "actions", "moving", "late", "kept", "cut"),
    [
        P(TWO, [STOP] * 2, (), 0, [STOP] * 2, [], id="just as many"),
        P(TWO, [STOP] * 3, (), 0, [STOP] * 2, [(STOP, Reason.GUARD_STOPS, 1, "limit 2")], id="one too many"),
        P(
            TWO, [STOP] * 3, STOPPING, 0, [STOP], [(STOP, Reason.GUARD_STOPS, 2, "limit 2, 1 of them under way")],
            id="those under way count",
        ),
        P(TWO, [STOP] * 2, (intent(Verb.START, 8),), 0, [STOP] * 2, [], id="other transitions do not"),
        P(
            TWO, [STOP, STOP, ORDER, STOP], (), 0, [STOP, STOP, ORDER], [(STOP, Reason.GUARD_STOPS, 1, "limit 2")],
            id="an order is never cut",
        ),
        P(TWO, [ORDER, ORDER, STOP], (), 0, [ORDER] * 2, [(STOP, Reason.GUARD_STOPS, 1, "limit 2")], id="but counts"),
        P(
            TWO, [DESTROY] * 2, (), 1, [DESTROY],
            [(DESTROY, Reason.GUARD_DESTROYS, 1, "limit 2, 1 of them under way")],
            id="a destroy that is late may come yet",
        ),
        P(
            TWO, [DESTROY] * 2, (intent(Verb.DESTROY, 8),), 1, [],
            [(DESTROY, Reason.GUARD_DESTROYS, 2, "limit 2, 2 of them under way")], id="and so may one under way",
        ),
        P(
            TWO, [CREATE] * 3, (intent(Verb.CREATE),), 0, [CREATE] * 2,
            [(CREATE, Reason.GUARD_CREATES, 1, "limit 2")], id="creates under way are no part of it",
        ),
        P(
            TWO, [STOP] * 3 + [START] * 9, (), 0, [STOP] * 2 + [START] * 9,
            [(STOP, Reason.GUARD_STOPS, 1, "limit 2")], id="starts have no limit, and what is cut ends nothing",
        ),
        P({}, [STOP] * 2, (), 0, [STOP], [(STOP, Reason.GUARD_STOPS, 1, "limit 1")], id="one of a small fleet"),
    ],
)  # fmt: skip
def test_a_pass_does_no_more_than_its_limits(
    limits: Any, actions: list[Action], moving: Any, late: int, kept: list[Action], cut: Any
) -> None:
    found = cut_counts(fleet(guards=Guards(**limits)), 3, actions, moving, late=late)
    skips = [Skip("training", a.verb, why, "ps1", "a", detail=detail, count=count) for a, why, count, detail in cut]
    assert found == (kept, skips)


def dear(delta: str | None = "1", of: str = "training") -> Action:
    cost = None if delta is None else Decimal(delta)
    return Action(Verb.START, of, Reason.SHORT_OF_TARGET, "ps1", "a", hourly_delta=cost)


def money(rates: dict[str, str | None]) -> dict[str, Decimal | None]:
    return {name: None if rate is None else Decimal(rate) for name, rate in rates.items()}


@pytest.mark.parametrize(
    ("caps", "current", "overall", "orphans", "actions", "kept", "said"),
    [
        P({"training": "2"}, {"training": "1"}, "0", {}, [dear()], [0], None, id="just enough"),
        P({"training": "0.5"}, {}, "0", {}, [dear("0.5")], [0], None, id="nothing runs"),
        P(
            {"training": "2"}, {"training": "1"}, "0", {}, [dear(), dear()], [0],
            (Reason.GUARD_COST, "$2/h of $2/h for fleet training"), id="what is started counts for the next",
        ),
        P(
            {"training": "0.5"}, {"training": "0"}, "0", {}, [dear()], [],
            (Reason.GUARD_COST, "$0/h of $0.5/h for fleet training"), id="a small cap",
        ),
        P({}, {"training": "9"}, "0", {}, [dear(None)], [0], None, id="no cap: no price is needed"),
        P({"other": "1"}, {"training": "9", "other": "1"}, "0", {}, [dear()], [0], None, id="another fleet's cap"),
        P(
            {"training": "9"}, {"training": "1"}, "0", {}, [dear(None)], [],
            (Reason.PRICE_UNKNOWN, "cap $9/h of fleet training; no price for a machine of training"),
            id="what has no price does not fit",
        ),
        P(
            {"training": "9"}, {"training": None}, "0", {}, [dear()], [],
            (Reason.PRICE_UNKNOWN, "cap $9/h of fleet training; no price for a machine of training"),
            id="nor beside what has none",
        ),
        P({}, {"training": "1", "other": "1"}, "4", {"old": "1"}, [dear()], [0], None, id="all together: enough"),
        P(
            {}, {"training": "1", "other": "1"}, "4", {"old": "1.5"}, [dear()], [],
            (Reason.GUARD_COST, "$3.5/h of $4/h for all fleets"), id="what left the config counts",
        ),
        P(
            {}, {"training": "1"}, "4", {"old": None}, [dear()], [],
            (Reason.PRICE_UNKNOWN, "cap $4/h of all fleets; no price for a machine of old (not in the config)"),
            id="without a price",
        ),
        P(
            {"training": "1"}, {"training": "1", "other": "0"}, "9", {}, [dear(), dear(of="other")], [1],
            (Reason.GUARD_COST, "$1/h of $1/h for fleet training"), id="what is refused ends nothing",
        ),
        P(
            {}, {}, "0.5", {}, [STOP, dear()], [0], (Reason.GUARD_COST, "$0/h of $0.5/h for all fleets"),
            id="a small cap of all together, beside a stop",
        ),
        P({"training": "1"}, {"training": "1"}, "1", {}, [STOP], [0], None, id="a stop costs nothing"),
        P({"training": "1"}, {"training": "1"}, "1", {}, [dear("0")], [0], None, id="nor does a start for nothing"),
    ],
)  # fmt: skip
def test_what_would_pass_a_cap_is_refused(
    caps: Any, current: Any, overall: str, orphans: Any, actions: list[Action], kept: list[int], said: Any
) -> None:
    found, skips = cut_costs(actions, money(caps), money(current), Decimal(overall), money(orphans))
    assert found == [actions[place] for place in kept]
    assert skips == ([] if said is None else [Skip("training", Verb.START, said[0], "ps1", "a", detail=said[1])]), (
        "it names the machine"
    )


@pytest.mark.parametrize(
    ("caps", "current", "overall", "orphans", "over"),
    [
        P({"a": 1}, {"a": 2}, 0, {}, [("a", 2, 1)], id="one fleet"),
        P({"a": 2}, {"a": 2}, 2, {}, [], id="just at it"),
        P({"a": 0}, {"a": 2}, 0, {}, [], id="no cap"),
        P({"a": 1}, {"a": None}, 0, {}, [], id="what has no price counts as nothing"),
        P({"a": 1}, {}, 0, {}, [], id="nothing runs"),
        P(
            {"a": 1},
            {"a": 2, "b": None},
            2,
            {"old": 1, "older": None},
            [(None, 3, 2), ("a", 2, 1)],
            id="all together",
        ),
    ],
)
def test_the_caps_that_are_passed(
    caps: dict[str, int], current: dict[str, Any], overall: int, orphans: dict[str, Any], over: list[Any]
) -> None:
    found = over_caps(money(caps), money(current), Decimal(overall), money(orphans))
    assert found == tuple(OverCap(name, Decimal(had), Decimal(cap)) for name, had, cap in over)


def test_what_has_no_price_counts_as_nothing_toward_a_cap_that_is_passed_already() -> None:
    half, none = Decimal("0.5"), Decimal(0)
    assert over_caps({"a": half, "b": half}, {"a": None}, none, {}) == ()
    assert over_caps({}, {"a": None}, half, {"old": Decimal(1)}) == (OverCap(None, Decimal(1), half),)


def vanished(n: int, **fields: Any) -> Any:
    return facts(n, **{"gone_at": ago(seconds=30), **fields})


THREE = [vanished(n) for n in (1, 2, 3)]


@pytest.mark.parametrize(
    ("went", "there", "gone"),
    [
        P([], 4, None, id="none is gone"),
        P(THREE[:2], 0, None, id="two are no crowd"),
        P(THREE, 0, 3, id="all three"),
        P(THREE, 7, None, id="three of ten: as many as may be"),
        P(THREE, 6, 3, id="three of nine"),
        P([*THREE[:2], vanished(3, destroyed=True)], 0, None, id="one was destroyed by fleetd"),
        P([*THREE[:2], vanished(3, fleet="other")], 0, None, id="one is another fleet's"),
        P([*THREE[:2], vanished(3, gone_at=ago(seconds=90))], 0, None, id="one has been gone for long"),
        P([*THREE[:2], facts(3)], 0, None, id="one is there"),
        P([*THREE[:2], facts(3, last_state=LEAVING, last_seen=ago(seconds=30))], 0, 3, id="one leaves since then"),
        P([*THREE[:2], facts(3, last_state=LEAVING, last_seen=ago(hours=1))], 0, None, id="one leaves since long"),
        P(
            [*THREE[:2], vanished(3, last_state=LEAVING, last_seen=ago(hours=1))], 0, 3,
            id="one that left went for good",
        ),
    ],
)  # fmt: skip
def test_creates_wait_where_too_much_vanished_at_once(went: list[Any], there: int, gone: int | None) -> None:
    members = roster(fleet(), [machine(20 + n) for n in range(there)], ())
    found = shrink_wait(fleet(), members, memory(facts=went), NOW)
    assert found == (None if gone is None else (later(seconds=60), gone))


@pytest.mark.parametrize(
    ("went", "unsure", "puzzling", "gone"),
    [
        P(THREE[:2], 1, 0, 3, id="nobody can tell of a third"),
        P(THREE[:2], 0, 1, None, id="a third is in a state that says nothing"),
        P(THREE[:1], 3, 0, 4, id="nobody can tell of most"),
        P([], 5, 0, None, id="nobody can tell, and none is gone"),
    ],
)
def test_one_of_which_nobody_can_tell_may_be_gone_with_them(
    went: list[Any], unsure: int, puzzling: int, gone: int | None
) -> None:
    listed = [machine(20 + n, UNVERIFIED) for n in range(unsure)] + [machine(30 + n, "odd") for n in range(puzzling)]
    found = shrink_wait(fleet(), roster(fleet(), listed, ()), memory(facts=went), NOW)
    assert found == (None if gone is None else (later(seconds=60), gone))


def test_the_wait_ends_settle_after_the_last_of_them_went() -> None:
    went = [vanished(n, gone_at=ago(seconds=10 * n)) for n in (2, 1, 3)]
    assert shrink_wait(fleet(), roster(fleet(), [], ()), memory(facts=went), NOW) == (later(seconds=80), 3)


def test_what_has_no_name_and_is_not_done_for_one_reason_is_said_once() -> None:
    one = Skip("training", Verb.CREATE, Reason.GUARD_CREATES, detail="limit 2")
    named, other = replace(one, machine="ps1"), replace(one, detail="limit 3")
    assert merge([one, named, replace(one, count=3), other, one]) == [replace(one, count=5), named, other]
