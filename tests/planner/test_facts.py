from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from fleetd.model.machine import UNREADABLE, Machine
from fleetd.model.reasons import Outcome, Reason, Verb
from fleetd.planner.facts import as_left, believed, expected_ids, learn, may_be_hidden, turned
from fleetd.planner.leaving import LEAVING
from fleetd.planner.ownership import Owner, owners
from tests.support.build import NOW, ago, facts, fleet, intent, later, machine, seen

FLEETS = (fleet(),)


def learnt(observation, known=(), intents=()):
    by_id = {f.machine_id: f for f in known}
    return learn(observation, owners(observation.machines, FLEETS, by_id, intents), by_id, intents)


def test_a_machine_seen_for_the_first_time_is_remembered() -> None:
    (fact,) = learnt(seen(machine(1), machine(2, name="foreign"))).changed
    assert (fact.machine_id, fact.fleet, fact.first_ready_at, fact.up_since) == ("ps1", "training", NOW, NOW)
    assert (fact.last_up_at, fact.adopted, fact.last_state) == (NOW, False, "ready")
    (young,) = learnt(seen(machine(1, "provisioning"))).new
    assert (young.first_ready_at, young.up_since, young.last_up_at) == (None, None, None)
    making = intent(Verb.CREATE, 1, name="drawn")
    (renamed,) = learn(seen(machine(1)), {"ps1": Owner("training", adopted=True)}, {}, [making]).new
    assert (renamed.name, renamed.adopted) == ("drawn", True), "whatever it is called by now"


def test_nothing_new_is_not_written_again() -> None:
    known = facts(1, up_since=ago(hours=2), first_ready_at=ago(days=1), last_up_at=ago(minutes=1))
    assert learnt(seen(machine(1)), [known]).changed == ()


def test_but_an_hour_later_it_is_refreshed() -> None:
    old = facts(1, up_since=ago(hours=2), first_ready_at=ago(days=1), last_up_at=ago(hours=2), last_seen=ago(hours=2))
    (fact,) = learnt(seen(machine(1)), [old]).changed
    assert fact.last_seen == fact.last_up_at == NOW


def test_going_down_keeps_when_it_was_up() -> None:
    known = facts(1, up_since=ago(hours=2), first_ready_at=ago(days=1))
    (fact,) = learnt(seen(machine(1, "off")), [known]).changed
    assert (fact.up_since, fact.last_up_at, fact.last_state) == (None, NOW, "off")


def test_an_uptime_that_begins_in_the_future_counts_from_now() -> None:
    """The wall clock was ahead when the machine came up, and has been set right."""
    known = facts(1, up_since=ago(days=-40), first_ready_at=ago(days=-40), last_seen=ago(days=-40))
    (fact,) = learnt(seen(machine(1)), [known]).changed
    assert fact.up_since == NOW


def test_coming_up_clears_a_failure() -> None:
    known = facts(1, last_state="off", failure=Outcome.TIMED_OUT, failure_reason="late")
    (fact,) = learnt(seen(machine(1)), [known]).changed
    assert (fact.failure, fact.failure_reason, fact.up_since) == (None, None, NOW)


@pytest.mark.parametrize(
    ("before", "after", "moving", "news"),
    [
        ("ready", "off", (), True),
        ("ready", "stopping", (), True),
        ("stopping", "off", (), False),
        ("off", "starting", (), True),
        ("starting", "ready", (), False),
        ("ready", "ready", (), False),
        ("ready", "serviceready", (), False),
        ("ready", "hibernating", (), False),
        ("hibernating", "ready", (), False),
        ("ready", "off", (intent(Verb.STOP, 1),), False),
        ("ready", "off", (intent(Verb.UPDATE, 1),), True),
    ],
)
def test_only_turns_without_an_intent_are_news(before, after, moving, news) -> None:
    known = facts(1, last_state=before)
    assert bool(learnt(seen(machine(1, after)), [known], moving).outside) is news


def test_a_machine_proven_gone_is_marked_and_said_once() -> None:
    first = learnt(seen(gone=frozenset({"ps1"})), [facts(1)])
    (fact,) = first.changed
    assert fact.gone_at == NOW
    assert [c.became for c in first.outside] == ["gone"]
    again = learnt(seen(gone=frozenset({"ps1"})), [fact])
    assert (again.changed, again.outside) == ((), ())


@pytest.mark.parametrize("how", [{"gone_at": ago(minutes=5)}, {"destroyed": True}])
def test_one_that_went_is_back_only_when_show_finds_it(how) -> None:
    went = facts(1, **how)
    assert learnt(seen(machine(1)), [went]).changed == ()
    assert believed(seen(machine(1), machine(2)), {"ps1": went}).machines == (machine(2),)
    again = seen(machine(1), shown={"ps1": machine(1)})
    (fact,) = learnt(again, [went]).changed
    assert (fact.gone_at, fact.destroyed) == (None, False)
    assert believed(again, {"ps1": went}) == again


@pytest.mark.parametrize("how", [{"gone_at": ago(minutes=5)}, {"destroyed": True}])
@pytest.mark.parametrize(("state", "back"), [("ready", True), ("serviceready", True), ("off", False)])
def test_one_that_went_and_is_back_is_said(how, state, back) -> None:
    """Whoever was told that it is gone is told that it is not, also where it is as it was before."""
    box = machine(1, state)
    (change,) = learnt(seen(box, shown={"ps1": box}), [facts(1, last_state="ready", **how)]).outside
    assert (change.was, change.became, change.machine, change.back) == ("gone", state, box, back)
    (fact,) = learnt(seen(box, shown={"ps1": box}), [facts(1, last_state="ready", **how)]).changed
    assert learnt(seen(box, shown={"ps1": box}), [fact]).outside == ()


def test_one_that_went_is_looked_at_when_it_is_listed() -> None:
    for how in ({"gone_at": ago(minutes=5)}, {"destroyed": True}):
        went = facts(1, **how)
        assert turned([machine(1)], {"ps1": went}, FLEETS, ()) == [went]


def test_what_cannot_be_verified_changes_nothing_that_is_remembered() -> None:
    known = facts(1, up_since=ago(hours=2), last_seen=ago(hours=2))
    unsure = learnt(seen(machine(1, "unverified"), unverified={"ps1": "show fails"}), [known])
    assert (unsure.changed, unsure.outside) == ((), ())


def test_what_is_long_gone_is_forgotten() -> None:
    known = [
        facts(1, gone_at=ago(days=8)),
        facts(2, gone_at=ago(days=6)),
        facts(3, destroyed=True, last_seen=ago(days=8)),
        facts(4, gone_at=ago(days=7)),
        facts(5, destroyed=True, last_seen=ago(days=7)),
    ]
    assert learnt(seen(), known).forget == ("ps1", "ps3")
    assert learnt(seen(machine(1)), known).forget == ("ps3",), "one that is listed still would count as new"


@pytest.mark.parametrize(
    ("known", "intents", "expected"),
    [
        pytest.param(facts(1), (), {"ps1"}, id="a known machine"),
        pytest.param(facts(1, gone_at=ago(hours=1)), (), set(), id="a gone one"),
        pytest.param(facts(1, destroyed=True), (), set(), id="one that we destroyed"),
        pytest.param(facts(1, fleet="other"), (), set(), id="one of a fleet that left the config"),
        pytest.param(facts(1), (intent(Verb.DESTROY, 1),), set(), id="one that is being destroyed"),
        pytest.param(facts(1), (intent(Verb.STOP, 1),), {"ps1"}, id="one that is being stopped"),
        pytest.param(
            facts(1), (intent(Verb.CREATE, 1, accepted_at=ago(seconds=30)),), set(), id="a young one may be invisible"
        ),
        pytest.param(
            facts(1), (intent(Verb.CREATE, 1, accepted_at=ago(seconds=91)),), {"ps1"}, id="but not for ever"
        ),
        pytest.param(
            facts(1), (intent(Verb.CREATE, 1, accepted_at=ago(seconds=90)),), {"ps1"}, id="settle ends sharp"
        ),
        pytest.param(facts(1), (intent(Verb.CREATE, 1),), set(), id="it counts from the call, until it is accepted"),
        pytest.param(facts(1), (intent(Verb.CREATE),), {"ps1"}, id="a create without a machine says nothing"),
        pytest.param(
            facts(1), (intent(Verb.CREATE), intent(Verb.DESTROY, 1)), set(), id="and hides none of those behind it"
        ),
        pytest.param(
            facts(1), (intent(Verb.CREATE, 1, fleet="old"),), {"ps1"}, id="a fleet that is no more has no settle"
        ),
    ],
)
def test_what_a_listing_must_hold(known, intents, expected) -> None:
    assert expected_ids({"ps1": known}, FLEETS, intents, NOW) == expected


@pytest.mark.parametrize(
    ("adopt", "watched"),
    [
        pytest.param(("old-*",), True, id="adopted by its name"),
        pytest.param(("ps1",), True, id="adopted by its id"),
        pytest.param((), False, id="released"),
    ],
)
def test_an_adopted_machine_is_watched_while_the_config_adopts_it(adopt, watched) -> None:
    fleets, known = (fleet(adopt=adopt),), {"ps1": facts(1, name="old-1", adopted=True)}
    assert bool(expected_ids(known, fleets, (), NOW)) is watched
    assert bool(turned([machine(1, "off", name="old-1")], known, fleets, ())) is watched


def test_a_machine_of_ours_is_watched_under_any_name() -> None:
    assert turned([machine(1, "off", name="renamed")], {"ps1": facts(1)}, FLEETS, ()) == [facts(1)]


def test_settle_is_the_fleets_own() -> None:
    from fleetd.model.fleet import Guards

    slow = (fleet(guards=Guards(settle=timedelta(minutes=10))),)
    young = (intent(Verb.CREATE, 1, accepted_at=ago(minutes=5)),)
    assert expected_ids({"ps1": facts(1)}, slow, young, NOW) == set()


def test_whatever_stands_before_it_in_a_listing_each_machine_is_learnt_about() -> None:
    listed = [
        machine(1, name="foreign"),
        machine(2, "unverified"),
        machine(3),
        machine(4),
        machine(5, "off"),
        machine(6, "off"),
    ]
    known = {"ps2": facts(2), "ps3": facts(3, gone_at=ago(hours=1)), "ps5": facts(5), "ps6": facts(6)}
    owned = {f"ps{n}": OURS for n in range(2, 7)}
    gone = frozenset({"ps7", "ps8"})
    unsure = {"ps2": "show fails"}
    found = learn(seen(*listed, unverified=unsure, gone=gone), owned, {**known, "ps8": facts(8)}, ())
    assert [f.machine_id for f in found.changed] == ["ps4", "ps5", "ps6", "ps8"], "nothing is known of the seventh"
    assert [f.machine_id for f in found.new] == ["ps4"]
    assert [c.facts.machine_id for c in found.outside] == ["ps5", "ps6", "ps8"]


def test_a_machine_whose_name_cannot_be_read_goes_by_the_one_that_is_remembered() -> None:
    nameless = seen(machine(1, name=""), machine(2, name=""), machine(3, name="new"))
    found = believed(nameless, {"ps1": facts(1), "ps3": facts(3)})
    assert [m.name for m in found.machines] == [facts(1).name, "", "new"]


UP = {"up_since": ago(hours=2), "first_ready_at": ago(days=1), "last_up_at": ago(minutes=1)}
OURS = Owner("training", adopted=False)


@pytest.mark.parametrize(
    ("old", "state", "owner", "news"),
    [
        pytest.param({}, "ready", OURS, None, id="as it was"),
        pytest.param({"fleet": "other"}, "ready", OURS, {"fleet": "training"}, id="another fleet's now"),
        pytest.param({"adopted": True}, "ready", OURS, {"adopted": False}, id="made, not adopted"),
        pytest.param({}, "ready", Owner("training", adopted=True), {"adopted": True}, id="adopted"),
        pytest.param({"unconfirmed": True}, "ready", OURS, {"unconfirmed": False}, id="confirmed"),
        pytest.param({"up_since": later(hours=1)}, "ready", OURS, {"up_since": NOW}, id="up since the future"),
        pytest.param({"up_since": NOW}, "ready", OURS, None, id="up since now"),
        pytest.param({"gone_at": ago(days=1)}, "ready", OURS, {"gone_at": None}, id="it had gone"),
        pytest.param({"destroyed": True}, "ready", OURS, {"destroyed": False}, id="it had been destroyed"),
        pytest.param({"failure": Outcome.TIMED_OUT}, "ready", OURS, {"failure": None}, id="it had failed"),
        pytest.param({"first_ready_at": None}, "ready", OURS, {"first_ready_at": NOW}, id="ready for the first time"),
        pytest.param({"last_seen": ago(hours=1)}, "ready", OURS, {"last_seen": NOW}, id="an hour ago"),
        pytest.param({"last_seen": ago(seconds=3599)}, "ready", OURS, None, id="less than an hour ago"),
        pytest.param(
            {"last_state": "serviceready"}, "ready", OURS, {"last_state": "ready"}, id="another word for up"
        ),
        pytest.param({"up_since": None}, "ready", OURS, {"up_since": NOW, "last_up_at": NOW}, id="it came up"),
        pytest.param({}, "off", OURS, {"up_since": None, "last_up_at": NOW, "last_state": "off"}, id="it went off"),
        pytest.param(
            {"last_state": "off", "up_since": None, "failure": Outcome.TIMED_OUT},
            "off",
            OURS,
            None,
            id="off and failed",
        ),
        pytest.param(
            {"last_state": "off", "up_since": None, "first_ready_at": None}, "off", OURS, None, id="off, never ready"
        ),
        pytest.param({}, "ready", Owner("training", False, Reason.RECOVERED), None, id="a person confirmed it once"),
    ],
)
def test_what_is_news_of_a_machine(old, state, owner, news) -> None:
    known = replace(facts(1, **UP), **old)
    box = machine(1, state)
    changed = learn(seen(box, shown={"ps1": box}), {"ps1": owner}, {"ps1": known}, ()).changed
    assert len(changed) == (news is not None)
    if news is not None:
        assert {key: getattr(changed[0], key) for key in news} == news
        assert changed[0].last_seen == NOW


@pytest.mark.parametrize(
    ("up_since", "latest", "then"),
    [
        pytest.param(
            later(hours=5), later(hours=5), later(hours=5), id="ours was set back: it has been up since then"
        ),
        pytest.param(later(hours=9), later(hours=5), later(hours=5), id="what is to come by both counts from now"),
        pytest.param(ago(hours=2), later(hours=5), ago(hours=2), id="long before"),
        pytest.param(None, later(hours=5), later(hours=5), id="it came up while ours was behind"),
        pytest.param(None, NOW, NOW, id="it came up while ours was ahead"),
    ],
)
def test_a_clock_that_is_set_back_makes_no_machine_older(up_since, latest, then) -> None:
    known = replace(facts(1, **UP), up_since=up_since)
    for old in ({"ps1": known}, {}) if up_since is None else ({"ps1": known},):
        changed = learn(seen(machine(1)), {"ps1": OURS}, old, (), latest=latest).changed
        assert [f.up_since for f in changed] == ([then] if then != up_since else [])


@pytest.mark.parametrize(
    ("why", "made", "unconfirmed"),
    [(None, False, False), (None, True, False), (Reason.RECOVERED, False, True), (Reason.RECOVERED, True, False)],
)
def test_one_that_the_journal_does_not_know_is_unconfirmed_unless_it_has_its_create(why, made, unconfirmed) -> None:
    owned = {"ps1": Owner("training", adopted=False, unconfirmed=why)}
    (fact,) = learn(seen(machine(1)), owned, {}, (), made={"ps1"} if made else set()).new
    assert fact.unconfirmed is unconfirmed


@pytest.mark.parametrize(
    ("fields", "listed", "looked_at"),
    [
        pytest.param({"last_state": LEAVING}, False, True, id="it was leaving, and is not listed"),
        pytest.param({"last_state": LEAVING}, True, True, id="it was leaving, and is listed"),
        pytest.param({"last_state": LEAVING, "fleet": "gone", "name": "x"}, False, False, id="nobody's now"),
        pytest.param({"last_state": LEAVING, "gone_at": NOW}, False, False, id="it has gone"),
        pytest.param({"last_state": LEAVING, "destroyed": True}, False, False, id="it was destroyed"),
        pytest.param({}, False, False, id="it was not leaving: the listing tells"),
        pytest.param({}, True, False, id="as it was"),
    ],
)
def test_one_that_was_leaving_is_looked_at_until_it_is_known_to_have_gone(fields, listed, looked_at) -> None:
    known = facts(1, **fields)
    found = turned([machine(1)] if listed else [], {"ps1": known}, FLEETS, ())
    assert found == ([known] if looked_at else [])


def blind(n: int, **fields: Any) -> Machine:
    return machine(n, UNREADABLE, unreadable="state is 7", **fields)


@pytest.mark.parametrize(
    ("before", "listed", "under_way", "looked_at"),
    [
        pytest.param("ready", machine(1, "off"), None, True, id="somebody stopped it"),
        pytest.param("ready", machine(1, "off"), intent(Verb.STOP, 1), False, id="fleetd did"),
        pytest.param("ready", machine(1, "off"), intent(Verb.STOP, 2), True, id="fleetd stops another"),
        pytest.param("ready", machine(1, "off"), intent(Verb.UPDATE, 1), True, id="an update stops nothing"),
        pytest.param("ready", machine(1, "stopping"), None, True, id="somebody stops it"),
        pytest.param("stopping", machine(1, "off"), None, False, id="that came to its end"),
        pytest.param("ready", machine(1, "odd"), None, True, id="a state that says nothing: it may be leaving"),
        pytest.param("ready", machine(1, "odd"), intent(Verb.STOP, 1), False, id="or it stops"),
        pytest.param("ready", machine(1, "odd"), intent(Verb.UPDATE, 1), True, id="an update explains none"),
        pytest.param("ready", blind(1), None, False, id="its entry cannot be read: show has no other"),
        pytest.param(None, machine(1, "off"), None, False, id="nothing is remembered of it"),
        pytest.param("ready", machine(2, "off"), None, False, id="another"),
        pytest.param("ready", machine(1), None, False, id="as it was"),
        pytest.param("odd", machine(1, "odd"), None, True, id="in a state that says nothing, as before"),
    ],
)
def test_who_is_looked_at_because_of_what_a_listing_says(before, listed, under_way, looked_at) -> None:
    known = {} if before is None else {"ps1": facts(1, last_state=before)}
    moving = () if under_way is None else (under_way,)
    sound, told = machine(3), {**known, "ps3": facts(3)}
    for others in ([], [sound], [machine(4)]):
        found = turned([*others, listed], told, FLEETS, moving)
        assert [f.machine_id for f in found] == (["ps1"] if looked_at else []), "whatever stands before it"


@pytest.mark.parametrize(
    ("deadline", "unidentified", "listed", "hidden"),
    [
        pytest.param(later(seconds=1), 0, (), False, id="nothing is hidden"),
        pytest.param(later(seconds=1), 1, (), True, id="an entry without an id"),
        pytest.param(NOW, 1, (), False, id="its time is over"),
        pytest.param(ago(seconds=1), 1, (), False, id="long over"),
        pytest.param(later(seconds=1), 0, (blind(2, name=""),), True, id="an entry without a name"),
        pytest.param(later(seconds=1), 0, (machine(3), blind(2, name="")), True, id="beside a sound one"),
        pytest.param(later(seconds=1), 0, (blind(1, name=""),), False, id="which is remembered"),
        pytest.param(later(seconds=1), 0, (blind(2),), False, id="only its name could be read"),
        pytest.param(later(seconds=1), 0, (machine(2, name=""),), False, id="a machine that has no name"),
    ],
)
def test_a_create_whose_answer_was_lost_may_be_an_entry_that_cannot_be_read(
    deadline, unidentified, listed, hidden
) -> None:
    making = intent(Verb.CREATE, None, deadline_at=deadline)
    found = may_be_hidden(making, seen(*listed, unidentified=unidentified), {"ps1": facts(1)})
    assert found is hidden


@pytest.mark.parametrize(
    ("before", "state", "same"),
    [
        ("ready", "ready", True),
        ("starting", "ready", True),
        ("off", "stopping", True),
        ("ready", "off", False),
        ("off", "ready", False),
        ("ready", "odd", False),
        ("odd", "ready", False),
        ("odd", "odd", False),
    ],
)
def test_whether_a_machine_is_as_it_was_left(before, state, same) -> None:
    assert as_left(facts(1, last_state=before), machine(1, state)) is same


SINCE = ago(minutes=40)


@pytest.mark.parametrize(
    ("old", "late", "news", "outside"),
    [
        pytest.param(
            UP,
            {},
            {"last_state": LEAVING, "last_seen": NOW, "up_since": None},
            [("ready", False)],
            id="it leaves now",
        ),
        pytest.param({"last_state": LEAVING, "last_seen": SINCE}, {}, None, [], id="it leaves still"),
        pytest.param(
            UP, {"ps1": True}, {"last_state": LEAVING, "last_seen": NOW}, [], id="by a destroy of fleetd's, late"
        ),
        pytest.param(UP, {"ps1": False}, {"last_state": LEAVING}, [], id="which was not accepted"),
        pytest.param(UP, None, {"last_state": LEAVING}, [], id="by one that is under way"),
        pytest.param(None, {}, {"last_state": LEAVING, "last_seen": NOW, "up_since": None}, [], id="at first sight"),
    ],
)
def test_what_is_remembered_of_one_that_leaves(old, late, news, outside) -> None:
    known = {} if old is None else {"ps1": facts(1, **{"last_seen": ago(minutes=50), **old})}
    moving = (intent(Verb.DESTROY, 1),) if late is None else ()
    found = learn(seen(machine(1), leaving={"ps1"}), {"ps1": OURS}, known, moving, late=late or {})
    assert [{key: getattr(fact, key) for key in news or ()} for fact in found.changed] == ([news] if news else [])
    assert [(change.became, change.ours) for change in found.outside] == outside


@pytest.mark.parametrize(
    ("old", "late", "news"),
    [
        pytest.param(UP, {}, {"gone_at": NOW, "destroyed": False, "up_since": None}, id="it went now"),
        pytest.param(
            {"last_state": LEAVING, "last_seen": SINCE}, {}, {"gone_at": SINCE}, id="its place was free before"
        ),
        pytest.param(UP, {"ps1": False}, {"gone_at": NOW, "destroyed": False}, id="a destroy was not accepted"),
        pytest.param(
            UP, {"ps1": True}, {"gone_at": None, "destroyed": True, "last_seen": NOW, "up_since": None}, id="fleetd's"
        ),
    ],
)
def test_what_is_remembered_of_one_that_went(old, late, news) -> None:
    known = facts(1, **{"last_seen": ago(minutes=50), **old})
    found = learn(seen(gone=frozenset({"ps1"})), {}, {"ps1": known}, (), late=late)
    (fact,), (change,) = found.changed, found.outside
    assert {key: getattr(fact, key) for key in news} == news
    assert (change.became, change.machine, change.ours) == ("gone", None, late.get("ps1", False))
