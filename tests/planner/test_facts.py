from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from fleetd.model.reasons import Outcome, Reason, Verb
from fleetd.planner.facts import believed, expected_ids, learn, turned
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
    (young,) = learnt(seen(machine(1, "provisioning"))).new
    assert young.first_ready_at is None


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
        ("ready", "off", (intent(Verb.STOP, 1),), False),
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
        pytest.param(facts(1), (intent(Verb.CREATE),), {"ps1"}, id="a create without a machine says nothing"),
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
        pytest.param({"up_since": None}, "ready", OURS, {"up_since": NOW}, id="it came up"),
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
