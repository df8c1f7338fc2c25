"""What may not be touched while a fleet's part of a plan is decided, and what is said of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from fleetd.model.fleet import IdleRule
from fleetd.model.journal import Departure, Hold, Intent, Setback
from fleetd.model.machine import UNREADABLE, Machine, SnapshotSight
from fleetd.model.plan import Action, Skip
from fleetd.model.reasons import Outcome, Reason, Verb
from fleetd.model.vetoes import only as only_of
from fleetd.model.vetoes import veto_detail
from fleetd.planner.draft import Draft, tried, veto, veto_reason
from fleetd.planner.roster import roster
from fleetd.planner.waits import is_waiting
from tests.support.build import NOW, ago, facts, fleet, hold, idle, intent, later, machine, memory, token_name

P = pytest.param
RULE = IdleRule(("gpu",), after=timedelta(minutes=60), min_uptime=timedelta(minutes=30))
WANT, BLIND = fleet(idle=RULE), fleet()
"""With a source that tells who uses a machine, and without."""
SECOND = timedelta(seconds=1)


def draft(*listed: Machine, want: Any = WANT, intents: tuple[Intent, ...] = (), **recalled: Any) -> Draft:
    return Draft(roster(want, listed, intents), memory(**recalled), NOW, NOW, {"P4000": Decimal(1)})


def skip(
    verb: Verb | None, reason: Reason, *, until: datetime | None = None, detail: str = "", **fields: Any
) -> Skip:
    return Skip("training", verb, reason, "ps1", token_name(1), until, detail, **fields)


def up(since: datetime, **fields: Any) -> dict[str, Any]:
    return {"facts": [facts(1, up_since=since, **fields)]}


BACK = Setback(later(minutes=5), "no such host")
USED = f"it was up or leased until {ago(minutes=20):%Y-%m-%d %H:%M:%S} UTC"
LEFT = {"facts": [facts(1, last_state="off", last_up_at=ago(minutes=20))]}


@pytest.mark.parametrize(
    ("state", "want", "recalled", "said"),
    [
        P("ready", BLIND, {}, None, id="nobody can tell who uses it: it is free"),
        P("ready", WANT, {"idle": {"ps1": idle(minutes=60)}}, None, id="idle for long enough"),
        P(
            "ready", WANT, {"idle": {"ps1": idle(minutes=45)}},
            skip(Verb.STOP, Reason.NOT_IDLE_LONG_ENOUGH, until=later(minutes=15), detail="gpu idle"),
            id="not idle for long enough",
        ),
        P(
            "ready", WANT, {"idle": {"ps1": idle("active")}},
            skip(Verb.STOP, Reason.BUSY, detail="gpu active"), id="busy",
        ),
        P(
            "ready", WANT, {}, skip(Verb.STOP, Reason.ACTIVITY_UNKNOWN, detail="no reading yet"),
            id="no reading",
        ),
        P(
            "ready", BLIND, {"intents": (intent(Verb.RESTART, 1),)},
            skip(Verb.STOP, Reason.IN_TRANSITION, until=later(minutes=10), detail="ready"), id="in transition",
        ),
        P("restarting", BLIND, {}, skip(Verb.STOP, Reason.IN_TRANSITION, detail="restarting"), id="restarted"),
        P("upgrading", BLIND, {}, skip(Verb.STOP, Reason.IN_TRANSITION, detail="upgrading"), id="upgraded"),
        P("starting", WANT, {}, None, id="it has not come up: nobody can use it"),
        P(
            "starting", WANT, LEFT,
            skip(Verb.STOP, Reason.NOT_IDLE_LONG_ENOUGH, until=later(minutes=40), detail=USED),
            id="somebody may be restarting it",
        ),
        P("starting", BLIND, LEFT, None, id="nobody could tell before either"),
        P(
            "ready", BLIND, {"holds": (hold(),)},
            skip(Verb.STOP, Reason.HELD, until=later(hours=1), detail="ada: in use"), id="held",
        ),
        P(
            "ready", BLIND, {"leased": {"ps1": later(minutes=5)}},
            skip(Verb.STOP, Reason.BUSY, until=later(minutes=5), detail="leased"), id="leased, where nobody is asked",
        ),
        P("ready", BLIND, {"leased": {"ps1": NOW}}, None, id="its lease has just ended"),
        P("ready", BLIND, {"leased": {"ps2": later(minutes=5)}}, None, id="another's lease"),
        P(
            "starting", BLIND, {"leased": {"ps1": later(minutes=5)}},
            skip(Verb.STOP, Reason.BUSY, until=later(minutes=5), detail="leased"), id="leased while it comes up",
        ),
        P(
            "ready", BLIND, {"futile": {"stop:ps1": BACK}},
            skip(Verb.STOP, Reason.NO_EFFECT, until=later(minutes=5), detail="once: no such host"),
            id="it came to nothing",
        ),
    ],
)  # fmt: skip
def test_which_surplus_machine_may_not_go(state: str, want: Any, recalled: Any, said: Skip | None) -> None:
    one = machine(1, state)
    found = draft(one, machine(2), want=want, **recalled)
    assert found.may_not_touch(Verb.STOP, one) is (said is not None)
    assert found.skips == ([] if said is None else [said])


@pytest.mark.parametrize(
    ("state", "want", "recalled", "said"),
    [
        P("ready", WANT, up(ago(hours=9)) | {"idle": {"ps1": idle(minutes=60)}}, None, id="idle for long enough"),
        P(
            "ready", WANT, up(ago(minutes=29)) | {"idle": {"ps1": idle(minutes=60)}},
            skip(Verb.STOP, Reason.MIN_UPTIME, until=later(minutes=1), detail="gpu idle"), id="it is young",
        ),
        P(
            "ready", BLIND, up(ago(hours=9)),
            skip(Verb.STOP, Reason.ACTIVITY_UNKNOWN, detail="no reading yet"), id="nobody can tell",
        ),
        P(
            "starting", WANT, {}, skip(Verb.STOP, Reason.ACTIVITY_UNKNOWN, detail="no reading yet"),
            id="nobody can tell of one that comes up",
        ),
    ],
)  # fmt: skip
def test_which_machine_may_not_be_parked(state: str, want: Any, recalled: Any, said: Skip | None) -> None:
    one = machine(1, state)
    found = draft(one, want=want, **recalled)
    assert found.may_not_touch(Verb.STOP, one, needs_idle=True) is (said is not None)
    assert found.skips == ([] if said is None else [said])


def test_a_machine_that_something_is_done_to_is_left_to_that_and_nothing_is_said() -> None:
    found = draft(machine(1), want=BLIND)
    found.act(Verb.STOP, Reason.OVER_TARGET, machine(1))
    assert found.may_not_touch(Verb.STOP, machine(1)) is True
    assert found.skips == []


FAILED = {"facts": [facts(1, last_state="off", last_up_at=ago(minutes=20), failure=Outcome.TIMED_OUT)]}
RECENT = skip(Verb.DESTROY, Reason.NOT_IDLE_LONG_ENOUGH, until=later(minutes=40), detail=USED)


@pytest.mark.parametrize(
    ("state", "want", "recalled", "said"),
    [
        P("off", WANT, {}, None, id="nobody knows when it was up"),
        P("off", WANT, LEFT, RECENT, id="it was up not long ago"),
        P("off", BLIND, LEFT, None, id="nobody could tell then"),
        P("off", WANT, FAILED, RECENT, id="a failure of one that is off tells nothing of who used it"),
        P("starting", WANT, FAILED, None, id="a start that came to nothing was fleetd's"),
        P("starting", WANT, LEFT, RECENT, id="a start that goes on may be a person's"),
        P(
            "off", WANT, {"leased": {"ps1": later(minutes=5)}},
            skip(Verb.DESTROY, Reason.BUSY, until=later(minutes=5), detail="leased"), id="leased",
        ),
        P(
            "off", BLIND, {"leased": {"ps1": later(minutes=5)}},
            skip(Verb.DESTROY, Reason.BUSY, until=later(minutes=5), detail="leased"), id="leased, whoever can tell",
        ),
        P(
            "off", WANT, {"leased": {"ps1": NOW}},
            skip(
                Verb.DESTROY, Reason.NOT_IDLE_LONG_ENOUGH, until=later(minutes=60),
                detail=f"it was up or leased until {NOW:%Y-%m-%d %H:%M:%S} UTC",
            ),
            id="its lease ends now",
        ),
        P("off", WANT, {"leased": {"ps1": ago(minutes=60)}}, None, id="its lease ended long ago"),
        P("off", WANT, {"leased": {"ps2": later(minutes=5)}}, None, id="another's lease"),
    ],
)  # fmt: skip
def test_one_that_is_not_up_counts_as_used_for_a_while(
    state: str, want: Any, recalled: Any, said: Skip | None
) -> None:
    one = machine(1, state)
    found = draft(one, want=want, **recalled)
    assert found.lately_used(Verb.DESTROY, one) is (said is not None)
    assert found.skips == ([] if said is None else [said])


@pytest.mark.parametrize("ahead", [timedelta(0), timedelta(minutes=50), -timedelta(minutes=50)])
def test_it_counts_as_used_by_whichever_clock_there_is(ahead: timedelta) -> None:
    one = machine(1, "off")
    seen_up = ago(minutes=70)
    found = draft(one, facts=[facts(1, last_state="off", last_up_at=seen_up)], clock_ahead=ahead)
    counts = any(is_waiting(seen_up, RULE.after, at) for at in (NOW, NOW - ahead))
    assert found.lately_used(Verb.DESTROY, one) is counts
    assert counts is (ahead > timedelta(0)), "by theirs it is 20 minutes"


@pytest.mark.parametrize(
    ("departed", "known", "taken", "counts"),
    [
        P(None, None, False, False, id="nothing was tried"),
        P(ago(minutes=5), None, False, True, id="nobody knows since when it is up"),
        P(ago(minutes=5), {"up_since": None}, False, True, id="it is not up"),
        P(ago(minutes=5), {"up_since": ago(hours=1)}, False, True, id="it has been up since before"),
        P(ago(minutes=5), {"up_since": ago(minutes=5)}, False, True, id="since that moment"),
        P(ago(minutes=5), {"up_since": ago(minutes=4)}, False, False, id="it came up since"),
        P(ago(minutes=5), {"up_since": ago(hours=1)}, True, False, id="something is done to it in this plan"),
    ],
)
def test_which_one_may_go_late(departed: datetime | None, known: Any, taken: bool, counts: bool) -> None:
    departing = {} if departed is None else {"ps1": Departure(departed, timedelta(hours=1))}
    remembered = [] if known is None else [facts(1, **known)]
    found = draft(machine(1), departing={**departing, "ps2": Departure(NOW, SECOND)}, facts=remembered)
    if taken:
        found.act(Verb.STOP, Reason.OVER_TARGET, machine(1))
    assert found.departing(machine(1)) is counts


HIBERNATE: Any = Verb("hibernate")


@pytest.mark.parametrize(
    ("one", "under_way", "unverified", "said"),
    [
        P(machine(1, "odd"), None, {}, skip(None, Reason.UNKNOWN_STATE, detail="odd"), id="it says nothing"),
        P(
            machine(1, UNREADABLE, unreadable="state is 7"), None, {},
            skip(None, Reason.UNKNOWN_STATE, detail="state is 7"), id="an entry that cannot be read",
        ),
        P(
            machine(1, UNREADABLE, unreadable="state is 7"), None, {"ps1": "show fails"},
            skip(None, Reason.OBSERVATION_REJECTED, detail="show fails"), id="nobody can tell its state",
        ),
        P(
            machine(1, "odd"), None, {"ps2": "show fails"}, skip(None, Reason.UNKNOWN_STATE, detail="odd"),
            id="another's state",
        ),
        P(
            machine(1, "odd"), Verb.STOP, {}, skip(None, Reason.UNKNOWN_STATE, detail="odd"),
            id="a transition does not say what became of it",
        ),
        P(
            machine(1, "odd"), HIBERNATE, {},
            skip(None, Reason.IN_TRANSITION, until=later(minutes=10), detail="hibernate"),
            id="a transition that this version does not know",
        ),
    ],
)  # fmt: skip
def test_what_is_said_of_one_in_no_known_phase(one: Machine, under_way: Any, unverified: Any, said: Skip) -> None:
    found = draft(one, intents=() if under_way is None else (intent(under_way, 1),))
    found.unverified = unverified
    found.puzzled(None, one)
    assert found.skips == [said]


STOP_ONLY, BOTH = frozenset({Verb.STOP}), frozenset({Verb.STOP, Verb.DESTROY})
FREEZE = hold("training", "freeze", reason="audit", expires_at=later(minutes=30))


@pytest.mark.parametrize(
    ("holds", "said"),
    [
        P((), None, id="nobody holds it"),
        P((hold("ps2"),), None, id="another is held"),
        P((hold(verbs=frozenset({Verb.DESTROY})),), None, id="it may be stopped"),
        P((hold(expires_at=NOW),), None, id="it has ended"),
        P((hold(),), (Reason.HELD, later(hours=1), "ada: in use"), id="it is held"),
        P((hold(verbs=BOTH),), (Reason.HELD, later(hours=1), "ada: in use (destroy and stop only)"), id="from both"),
        P((FREEZE,), (Reason.FROZEN, later(minutes=30), "ada: audit"), id="its fleet is frozen"),
        P((FREEZE, hold()), (Reason.HELD, later(hours=1), "ada: in use"), id="the one that lasts longest"),
        P((hold(), FREEZE), (Reason.HELD, later(hours=1), "ada: in use"), id="whichever was given first"),
        P(
            (replace(FREEZE, expires_at=later(hours=2)), hold()), (Reason.FROZEN, later(hours=2), "ada: audit"),
            id="be it the freeze",
        ),
    ],
)  # fmt: skip
def test_a_veto_says_whose_it_is_and_until_when(holds: tuple[Hold, ...], said: Any) -> None:
    found = draft(machine(1), holds=holds)
    assert found.vetoed(Verb.STOP, machine(1)) is (said is not None)
    assert found.skips == ([] if said is None else [skip(Verb.STOP, said[0], until=said[1], detail=said[2])])


def test_a_create_is_of_no_machine_and_a_freeze_forbids_it_all_the_same() -> None:
    recalled = memory(holds=(hold(), FREEZE))
    assert veto(recalled, Verb.CREATE, "training", None, NOW) == FREEZE
    assert veto(memory(holds=(hold(),)), Verb.CREATE, "training", None, NOW) is None
    assert veto_reason(FREEZE) is Reason.FROZEN


@pytest.mark.parametrize(
    ("verbs", "only", "words"),
    [
        (frozenset(Verb), "", "ada: in use"),
        (STOP_ONLY, "stop only", "ada: in use (stop only)"),
        (BOTH, "destroy and stop only", "ada: in use (destroy and stop only)"),
        (frozenset({Verb.START}), "start only", "ada: in use"),
        (frozenset(), "", "ada: in use"),
    ],
)
def test_what_a_veto_forbids_is_said_where_it_is_not_everything(verbs: Any, only: str, words: str) -> None:
    assert only_of(verbs) == (f" ({only})" if only else "")
    assert veto_detail(hold(verbs=verbs)) == words, "what an operator's stop leaves behind says so by itself"


@pytest.mark.parametrize(
    ("attempt", "since", "words"),
    [
        (0, None, "once: host is gone"),
        (1, ago(hours=1), "once: host is gone"),
        (2, ago(hours=1), "2 times since 2026-03-02 11:00 UTC: host is gone"),
        (3, None, "3 times: host is gone"),
    ],
)
def test_how_often_it_came_to_nothing(attempt: int, since: datetime | None, words: str) -> None:
    assert tried(Setback(NOW, "host is gone", since, attempt)) == words


TWICE = Setback(later(minutes=5), "no such host", since=ago(hours=1), attempt=2)
TOLD = "2 times since 2026-03-02 11:00 UTC: no such host"
DECLINED = Setback(later(minutes=3), "quota", since=ago(minutes=1))


@pytest.mark.parametrize(
    ("recalled", "said"),
    [
        P({}, None, id="nothing was tried"),
        P({"futile": {"stop:ps2": TWICE, "start:ps1": TWICE}}, None, id="another machine's, or another verb"),
        P({"futile": {"stop:ps1": TWICE}}, (Reason.NO_EFFECT, TWICE, TOLD), id="it came to nothing"),
        P({"futile": {"stop:ps1": replace(TWICE, until=NOW)}}, None, id="its time has come"),
        P({"refusals": {"stop:ps1": DECLINED}}, (Reason.REFUSED_RECENTLY, DECLINED, "quota"), id="declined"),
        P({"refusals": {"stop:ps1": replace(DECLINED, until=ago(seconds=1))}}, None, id="declined long ago"),
        P(
            {"refusals": {"stop:ps1": replace(DECLINED, why=Reason.CAPACITY_BACKOFF)}},
            (Reason.CAPACITY_BACKOFF, DECLINED, "quota"),
            id="declined for a reason of its own",
        ),
        P(
            {"refusals": {"stop:ps1": DECLINED}, "futile": {"stop:ps1": TWICE}}, (Reason.NO_EFFECT, TWICE, TOLD),
            id="what lasts longer is said",
        ),
        P(
            {"refusals": {"stop:ps1": replace(DECLINED, until=later(hours=1))}, "futile": {"stop:ps1": TWICE}},
            (Reason.REFUSED_RECENTLY, replace(DECLINED, until=later(hours=1)), "quota"),
            id="be it the refusal",
        ),
    ],
)  # fmt: skip
def test_what_came_to_nothing_is_not_tried_again_yet(recalled: Any, said: Any) -> None:
    found = draft(machine(1), **recalled)
    assert found.refused(Verb.STOP, machine(1)) is (said is not None)
    if said is None:
        assert found.skips == []
    else:
        why, back, detail = said
        assert found.skips == [skip(Verb.STOP, why, until=back.until, detail=detail, since=back.since)]


def test_a_create_goes_by_its_fleet_and_an_update_by_what_it_is_to_mend() -> None:
    found = draft(futile={"create:training": TWICE, "update:ps1:timeout_drift": TWICE})
    waits = found.set_back(Verb.CREATE, None, count=3)
    assert waits == Skip(
        "training", Verb.CREATE, Reason.NO_EFFECT, until=TWICE.until, detail=TOLD, count=3, since=TWICE.since
    )
    assert found.set_back(Verb.UPDATE, machine(1), Reason.TIMEOUT_DRIFT) is not None
    assert found.set_back(Verb.UPDATE, machine(1), Reason.SNAPSHOT_DRIFT) is None
    assert found.set_back(Verb.UPDATE, machine(1)) is None
    assert found.skips == [], "it is the caller's to say"


def test_a_strange_machine_is_destroyed_by_nobody_before_a_person_confirms_it() -> None:
    found = draft(machine(1), machine(2))
    found.unconfirmed = {"ps1": Reason.RECOVERED}
    assert found.strange(machine(2)) is False
    assert found.skips == []
    assert found.strange(machine(1)) is True
    assert found.skips == [skip(Verb.DESTROY, Reason.RECOVERED)]


def test_what_a_rule_on_snapshots_forbids_is_said() -> None:
    want = fleet(destroy_requires_snapshot=timedelta(hours=24))
    kept = {"ps1": SnapshotSight("ps1", None, "the list is cut"), "ps2": SnapshotSight("ps2", ago(hours=1))}
    found = draft(machine(1), machine(2), want=want, snapshots=kept)
    assert found.snapshot_veto(machine(2)) is None
    assert found.skips == []
    assert found.snapshot_veto(machine(1)) == "the list is cut"
    assert found.skips == [skip(Verb.DESTROY, Reason.SNAPSHOT_TOO_OLD, detail="the list is cut")]


@pytest.mark.parametrize("verb", [Verb.STOP, Verb.DESTROY])
def test_what_is_done_is_about_the_machine_as_it_was_seen(verb: Verb) -> None:
    found = draft(machine(1), want=fleet(parameters={"assignPublicIp": True}))
    found.act(verb, Reason.OVER_TARGET, machine(1), evidence="gpu idle")
    assert found.actions == [
        Action(
            verb, "training", Reason.OVER_TARGET, "ps1", token_name(1), "ready", Decimal(-1), evidence="gpu idle",
            changes={"release_public_ip": True} if verb is Verb.DESTROY else {},
        )
    ]  # fmt: skip
    assert found.taken == {"ps1"}


@pytest.mark.parametrize(
    ("verb", "state", "told", "delta"),
    [
        P(Verb.START, "off", {}, 1, id="a start"),
        P(Verb.STOP, "ready", {}, -1, id="a stop"),
        P(Verb.STOP, "provisioning", {}, -1, id="a stop of one on its way up"),
        P(Verb.DESTROY, "ready", {}, -1, id="a destroy"),
        P(Verb.DESTROY, "off", {}, 0, id="a destroy of one that is off already"),
        P(Verb.RESTART, "ready", {}, 0, id="a restart"),
        P(Verb.START, "off", {"hourly_rate": Decimal(3)}, 3, id="at a price of its own"),
        P(Verb.START, "off", {"machine_type": "V100"}, None, id="of a type without a price"),
        P(Verb.STOP, "ready", {"machine_type": "V100"}, None, id="a stop of such a one"),
        P(Verb.START, "off", {"machine_type": None}, 1, id="of a type not told: the fleet's own"),
        P(Verb.STOP, "ready", {"machine_type": None}, -1, id="a stop of such a one, too"),
        P(Verb.STOP, "ready", {"machine_type": None, "hourly_rate": Decimal(3)}, -3, id="its own price before that"),
    ],
)
def test_what_it_changes_an_hour(verb: Verb, state: str, told: dict[str, Any], delta: int | None) -> None:
    one = machine(1, state, **told)
    found = draft(one)
    found.act(verb, Reason.OVER_TARGET, one)
    assert [a.hourly_delta for a in found.actions] == [None if delta is None else Decimal(delta)]


def test_a_create_takes_no_machine() -> None:
    found = draft()
    found.take(Action(Verb.CREATE, "training", Reason.SHORT_OF_TARGET))
    assert (len(found.actions), found.taken) == (1, set())


@pytest.mark.parametrize(
    ("want", "known", "has", "released"),
    [
        P({}, {}, None, False, id="none was asked for"),
        P({"assignPublicIp": True}, {}, None, True, id="a create of this fleet's assigned it"),
        P({"assignPublicIp": "yes"}, {}, None, False, id="what the provider does not take for yes"),
        P({"assignPublicIp": True}, {"facts": [facts(1)]}, None, True, id="a machine that is remembered"),
        P({"assignPublicIp": True}, {"facts": [facts(1, adopted=True)]}, None, False, id="it was adopted"),
        P({}, {"addresses": {"ps1": "172.0.0.1"}}, "172.0.0.1", True, id="the address that is remembered"),
        P({}, {"addresses": {"ps1": None}}, "172.0.0.1", True, id="which nobody had seen yet"),
        P(
            {"assignPublicIp": True}, {"addresses": {"ps1": "172.0.0.1"}}, "172.7.7.7", False,
            id="a person has given it another",
        ),
    ],
)  # fmt: skip
def test_what_a_destroy_gives_back_besides(want: Any, known: Any, has: str | None, released: bool) -> None:
    one = machine(1, public_ip=has)
    for gives_back in (True, False):
        found = draft(one, want=fleet(parameters=want, release_public_ip=gives_back), **known)
        found.act(Verb.DESTROY, Reason.OVER_TARGET, one)
        (action,) = found.actions
        assert action.changes == ({"release_public_ip": True} if released and gives_back else {})


def test_a_fault_met_at_a_machine_leaves_it_alone_and_nobody_else() -> None:
    one, other = machine(1), machine(2)
    met: list[tuple[str, Exception]] = []

    def on_fault(where: str, error: Exception) -> str:
        met.append((where, error))
        return "a fault of ours"

    found = draft(one, other, machine(3))
    fault = KeyError("gpu")

    def fails(which: Machine) -> Callable[[], None]:
        def work() -> None:
            found.act(Verb.STOP, Reason.OVER_TARGET, which)
            if which is one:
                raise fault

        return work

    with pytest.raises(KeyError):
        found.alone(one, fails(one))
    assert met == []
    found.on_fault = on_fault
    found.alone(other, fails(other))
    found.alone(one, fails(one))
    assert [a.machine for a in found.actions] == ["ps2"]
    assert found.taken == {"ps1", "ps2"}, "nothing else is done to it either"
    assert met == [("machine", fault)]
    assert found.skips == [skip(None, Reason.INTERNAL_FAULT, detail="a fault of ours")]

    def fails_at_once() -> None:
        raise fault

    found.alone(machine(3), fails_at_once)
    assert "ps3" in found.taken
