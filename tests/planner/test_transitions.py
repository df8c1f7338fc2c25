from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from fleetd.model.machine import NO_REASON, Machine, Phase
from fleetd.model.reasons import Outcome, Verb
from fleetd.planner.transitions import (
    REPEATABLE_SETTLE,
    Course,
    Ending,
    Sight,
    at_deadline,
    came_to_nothing,
    goal_of,
    has_moved,
    judge,
    next_backoff,
    onward,
    wants_events,
)
from tests.support.build import NOW, ago, event, intent, later, machine

SETTLE = timedelta(seconds=90)
CREATE = intent(Verb.CREATE, 1, accepted_at=ago(seconds=30))
CREATE_OFF = intent(Verb.CREATE, 1, accepted_at=ago(seconds=30), parameters={"startOnCreate": False})
START = intent(Verb.START, 1, accepted_at=ago(seconds=30), expected_state="off", baseline_event="old")
START_BLIND = intent(Verb.START, 1, accepted_at=ago(seconds=30), expected_state="off")
START_LOST = intent(Verb.START, 1, ambiguous_since=ago(seconds=30), expected_state="off", baseline_event="old")
START_JUST_LOST = intent(Verb.START, 1, ambiguous_since=ago(seconds=5), expected_state="off", baseline_event="old")
STOP = intent(Verb.STOP, 1, accepted_at=ago(seconds=30), expected_state="ready", baseline_event="old")
STOP_LOST = intent(Verb.STOP, 1, ambiguous_since=ago(seconds=30), expected_state="ready", baseline_event="old")
RESTART = intent(Verb.RESTART, 1, accepted_at=ago(seconds=30), expected_state="ready", baseline_event="old")
DESTROY = intent(Verb.DESTROY, 1, accepted_at=ago(seconds=30), expected_state="off", baseline_event="old")
DESTROY_LOST = intent(Verb.DESTROY, 1, ambiguous_since=ago(seconds=30), expected_state="ready", baseline_event="old")
DESTROY_JUST_LOST = intent(
    Verb.DESTROY, 1, ambiguous_since=ago(seconds=5), expected_state="ready", baseline_event="old"
)
GOING = event("deactivate", "in progress", handle="new")
OLD_FAILURE = event("start", "error", handle="old", error="old trouble")
STOPPED = event("stop", handle="new")
RESTARTED = event("restart", handle="new")
STOPPING = event("stop", "in progress", handle="new")
NO_ROOM = event("start", "error", handle="new", error="insufficient capacity")
GONE = Sight(None, proven_gone=True)
HIDDEN = Sight(None)


STOP_WORDS = event("stop", "error", handle="new", error="host is gone")
STOP_WORDLESS = event("stop", "error", handle="new")
START_WORDLESS = event("start", "error", handle="new")
CREATE_WORDLESS = event("create", "error", handle="new")
RESTART_WORDS = event("restart", "error", handle="new", error="host is gone")
RESTART_WORDLESS = event("restart", "error", handle="new")
DESTROY_WORDS = event("destroy", "error", handle="new", error="it is locked")
LONG = Course(told_at=ago(seconds=60), rest_at=ago(seconds=90))
LONG_REST = Course(rest_at=ago(seconds=90))
BACK = Course(moved=True, left=True, rest_at=ago(seconds=90))
BLIND_READY = Sight(machine(1, "ready"), closer=True)
BLIND_SERVICE = Sight(machine(1, "serviceready"), closer=True)
BLIND_OFF = Sight(machine(1, "off"), closer=True)
UPDATE = intent(Verb.UPDATE, 1, accepted_at=ago(seconds=90), parameters={"shutdown_timeout_hours": 24})
OTHER_TIMEOUT = Sight(machine(1, "ready", shutdown_timeout_hours=168))
PENDING = Sight(machine(1, "ready", shutdown_timeout_hours=168, updates_pending=True))
CREATE_MADE = intent(Verb.CREATE, 1, created_at=ago(seconds=89))
CREATE_MADE_LONG_AGO = intent(Verb.CREATE, 1, created_at=ago(seconds=90))
CREATE_LOST = intent(Verb.CREATE, 1, ambiguous_since=ago(seconds=30), expected_state="off")
START_CALLED = intent(Verb.START, 1, expected_state="off", baseline_event="old")
START_RECALLED = intent(
    Verb.START, 1, accepted_at=ago(seconds=20), ambiguous_since=ago(seconds=30), expected_state="off"
)
STOP_RECALLED = intent(Verb.STOP, 1, accepted_at=ago(seconds=20), ambiguous_since=ago(seconds=30))
STOP_RISING = intent(Verb.STOP, 1, accepted_at=ago(seconds=90), expected_state="provisioning", baseline_event="old")
START_GOING = event("start", "in progress", handle="new")
SNAPSHOT_WORDS = event("snapshot-create", "error", handle="new", error="quota")
WARNED = event("start", "done", handle="new", error="the host is old")
JUST_UP = Course(moved=True, rest_at=ago(seconds=59))


UPDATE_LOOKED = replace(UPDATE, baseline_event="old")
UPDATE_FAILED = Sight(
    machine(1, shutdown_timeout_hours=168, events=(event("update", "error", handle="new", error="not now"),))
)
START_UNSEEN = intent(Verb.START, 1, accepted_at=ago(seconds=30), baseline_event="old")


def at(state: str, *events: object) -> Sight:
    return Sight(machine(1, state, events=tuple(events) if events else ()))


def listed(state: str) -> Sight:
    return Sight(machine(1, state))


@pytest.mark.parametrize(
    ("what", "sight", "moved", "outcome"),
    [
        pytest.param(CREATE, at("provisioning"), True, None, id="create goes on"),
        pytest.param(CREATE, at("ready"), True, Outcome.REACHED, id="create is ready"),
        pytest.param(CREATE, at("serviceready"), True, Outcome.REACHED, id="serviceready is up"),
        pytest.param(CREATE, at("off", event("create", "error")), True, Outcome.FAILED_TO_START, id="create failed"),
        pytest.param(CREATE, at("off", NO_ROOM, event("create")), True, Outcome.FAILED_TO_START, id="no capacity"),
        pytest.param(CREATE, at("off", event("create", "in progress")), True, None, id="create not begun"),
        pytest.param(CREATE, at("off", event("create")), True, Outcome.FAILED_TO_START, id="off without a reason"),
        pytest.param(CREATE, at("off", event("stop"), event("create")), True, Outcome.WRONG_STATE, id="human stop"),
        pytest.param(CREATE, listed("off"), True, None, id="a listing carries no reason"),
        pytest.param(CREATE, at("hibernating"), True, None, id="unknown state is waited out"),
        pytest.param(CREATE, HIDDEN, False, None, id="not shown, not proven"),
        pytest.param(CREATE, GONE, False, None, id="young and invisible"),
        pytest.param(
            intent(Verb.CREATE, 1, accepted_at=ago(seconds=120)), GONE, False, Outcome.GONE, id="old and gone"
        ),
        pytest.param(
            intent(Verb.CREATE, 1, accepted_at=ago(seconds=90)), GONE, False, Outcome.GONE, id="just old enough"
        ),
        pytest.param(intent(Verb.CREATE, 1, accepted_at=ago(seconds=89)), GONE, False, None, id="not quite"),
        pytest.param(CREATE_OFF, at("off", event("create")), True, Outcome.REACHED, id="created without a start"),
        pytest.param(CREATE_OFF, at("provisioning"), True, None, id="created without a start, going on"),
        pytest.param(START, at("off", OLD_FAILURE), False, None, id="old failure is not this start's"),
        pytest.param(START, at("off", NO_ROOM, OLD_FAILURE), False, Outcome.FAILED_TO_START, id="start failed"),
        pytest.param(START, at("off", event("start", "in progress", handle="n"), OLD_FAILURE), True, None, id="soon"),
        pytest.param(START, at("starting"), True, None, id="starting"),
        pytest.param(START, at("ready"), True, Outcome.REACHED, id="started"),
        pytest.param(START, at("stopping"), True, None, id="somebody stops it, not yet off"),
        pytest.param(START_BLIND, at("off", NO_ROOM), False, None, id="without a baseline no event is taken as ours"),
        pytest.param(START_LOST, at("off", OLD_FAILURE), False, Outcome.LOST, id="lost start had no effect"),
        pytest.param(START_JUST_LOST, at("off", OLD_FAILURE), False, None, id="lost start, too early to say"),
        pytest.param(START_LOST, at("ready"), False, Outcome.REACHED, id="lost start had its effect"),
        pytest.param(STOP, at("ready"), False, None, id="stop not begun"),
        pytest.param(STOP, at("stopping"), True, None, id="stopping"),
        pytest.param(STOP, at("off"), True, Outcome.REACHED, id="stopped"),
        pytest.param(STOP, at("starting"), True, Outcome.WRONG_STATE, id="started again by someone else"),
        pytest.param(
            STOP, at("ready", event("start"), STOPPED), False, Outcome.WRONG_STATE, id="started while nobody looked"
        ),
        pytest.param(STOP, at("ready", STOPPED), False, None, id="the state may lag the event"),
        pytest.param(STOP, at("ready", STOPPED), LONG, Outcome.NO_EFFECT, id="stop done, and nothing happened"),
        pytest.param(STOP, at("ready", STOP_WORDS), False, Outcome.NO_EFFECT, id="stop failed, with words"),
        pytest.param(STOP, at("ready", STOP_WORDLESS), False, None, id="an error without words is no verdict"),
        pytest.param(STOP, at("ready", STOP_WORDLESS), LONG, Outcome.NO_EFFECT, id="nor did anything happen since"),
        pytest.param(STOP, at("ready", STOP_WORDLESS), BACK, Outcome.NO_EFFECT, id="it moved and came back"),
        pytest.param(STOP, at("ready", STOPPING), LONG, None, id="stop told before, going on again"),
        pytest.param(STOP, BLIND_READY, BACK, Outcome.NO_EFFECT, id="no events, but it moved and came back"),
        pytest.param(STOP, BLIND_READY, LONG_REST, None, id="no events and no move is no verdict"),
        pytest.param(
            STOP, at("ready", event("start", handle="late")), LONG_REST, None, id="a late event of the start before"
        ),
        pytest.param(START, at("off", START_WORDLESS, OLD_FAILURE), False, None, id="wordless, not moved yet"),
        pytest.param(
            START, at("off", START_WORDLESS, OLD_FAILURE), LONG, Outcome.NO_EFFECT, id="wordless, never moved"
        ),
        pytest.param(START, at("starting", START_WORDLESS, OLD_FAILURE), BACK, None, id="wordless, and under way"),
        pytest.param(START, at("ready", START_WORDLESS, OLD_FAILURE), BACK, Outcome.REACHED, id="wordless, and up"),
        pytest.param(
            START, at("off", START_WORDLESS, OLD_FAILURE), BACK, Outcome.FAILED_TO_START, id="wordless, and back"
        ),
        pytest.param(START, at("off", event("start", handle="n"), OLD_FAILURE), False, None, id="done, state lags"),
        pytest.param(
            START, at("off", event("start", handle="n"), OLD_FAILURE), LONG, Outcome.NO_EFFECT, id="done, never moved"
        ),
        pytest.param(
            START,
            at("off", event("start", "in progress", handle="n"), event("stop", handle="late"), OLD_FAILURE),
            True,
            None,
            id="a late event of the stop before is nobody's deed",
        ),
        pytest.param(START, at("off", event("stop", handle="late"), OLD_FAILURE), False, None, id="nor is it alone"),
        pytest.param(START, BLIND_OFF, LONG_REST, None, id="no events and no move, a start"),
        pytest.param(START, BLIND_OFF, BACK, Outcome.FAILED_TO_START, id="no events, started and back"),
        pytest.param(CREATE_OFF, BLIND_OFF, LONG_REST, Outcome.REACHED, id="no events, made without a start"),
        pytest.param(CREATE, at("off", CREATE_WORDLESS), LONG, Outcome.FAILED_TO_START, id="create never moved"),
        pytest.param(RESTART, at("ready", RESTART_WORDS), False, Outcome.NO_EFFECT, id="restart failed, with words"),
        pytest.param(RESTART, at("ready", RESTART_WORDLESS), False, None, id="restart failed without words"),
        pytest.param(
            RESTART, at("ready", RESTART_WORDLESS), LONG, Outcome.NO_EFFECT, id="and was never seen to move"
        ),
        pytest.param(RESTART, at("ready", RESTART_WORDLESS), BACK, Outcome.REACHED, id="and was seen to restart"),
        pytest.param(DESTROY, at("off", DESTROY_WORDS), False, Outcome.NO_EFFECT, id="destroy failed, with words"),
        pytest.param(DESTROY, at("off", event("destroy", handle="n")), False, None, id="destroyed, still shown"),
        pytest.param(DESTROY, at("off", event("destroy", handle="n")), LONG, Outcome.NO_EFFECT, id="and still is"),
        pytest.param(DESTROY, at("destroying", event("destroy", handle="n")), LONG, None, id="destroying takes long"),
        pytest.param(UPDATE, at("ready"), LONG_REST, Outcome.REACHED, id="nothing told that contradicts"),
        pytest.param(UPDATE, OTHER_TIMEOUT, False, None, id="update not seen yet"),
        pytest.param(UPDATE, OTHER_TIMEOUT, LONG_REST, Outcome.NO_EFFECT, id="update had no effect"),
        pytest.param(STOP, at("ready", event("start"), STOPPED), True, Outcome.WRONG_STATE, id="started again"),
        pytest.param(STOP, at("ready", STOPPING), True, None, id="stop accepted, not begun"),
        pytest.param(STOP, at("ready", event("stop", handle="old")), False, None, id="an older stop is not this one"),
        pytest.param(STOP_LOST, at("ready", STOPPED), True, Outcome.NO_EFFECT, id="lost stop, up again by itself"),
        pytest.param(STOP, GONE, True, Outcome.GONE, id="destroyed by someone else"),
        pytest.param(STOP_LOST, at("ready"), False, Outcome.LOST, id="lost stop had no effect"),
        pytest.param(STOP_LOST, at("off"), False, Outcome.REACHED, id="lost stop had its effect"),
        pytest.param(RESTART, listed("ready"), False, None, id="restart not begun"),
        pytest.param(RESTART, listed("restarting"), True, None, id="restarting"),
        pytest.param(RESTART, listed("ready"), True, Outcome.REACHED, id="restarted"),
        pytest.param(DESTROY, at("off"), False, None, id="destroy goes on"),
        pytest.param(DESTROY_LOST, at("ready"), False, Outcome.LOST, id="lost destroy had no effect"),
        pytest.param(DESTROY_LOST, at("off", STOPPED), True, Outcome.LOST, id="lost destroy, somebody stopped it"),
        pytest.param(DESTROY_LOST, at("stopping", STOPPING), True, None, id="lost destroy, somebody is stopping it"),
        pytest.param(DESTROY_LOST, at("off", GOING), True, None, id="lost destroy has its effect"),
        pytest.param(DESTROY_LOST, listed("off"), True, None, id="lost destroy, a listing does not tell"),
        pytest.param(DESTROY_JUST_LOST, at("off", STOPPED), True, None, id="lost destroy, too early to say"),
        pytest.param(STOP_LOST, at("ready", RESTARTED), Course(True), Outcome.LOST, id="lost stop, restarted by one"),
        pytest.param(STOP_LOST, BLIND_READY, False, Outcome.LOST, id="lost stop, no events, as it was"),
        pytest.param(STOP_LOST, BLIND_READY, Course(moved=True), None, id="lost stop, no events, and it moved"),
        pytest.param(STOP_LOST, BLIND_SERVICE, False, None, id="lost stop, no events, in another state than before"),
        pytest.param(DESTROY, HIDDEN, False, None, id="not found alone proves nothing"),
        pytest.param(DESTROY, GONE, False, Outcome.REACHED, id="destroyed"),
        pytest.param(CREATE_MADE, GONE, False, None, id="young, counted from when it was written"),
        pytest.param(CREATE_MADE_LONG_AGO, GONE, False, Outcome.GONE, id="old, counted from when it was written"),
        pytest.param(CREATE, at("off", CREATE_WORDLESS), False, None, id="create ended, and it may come up yet"),
        pytest.param(
            CREATE, at("off", event("start", "in progress"), event("create")), LONG, None, id="made, and started now"
        ),
        pytest.param(CREATE, at("off", RESTART_WORDS), False, Outcome.FAILED_TO_START, id="made, its boot failed"),
        pytest.param(CREATE_LOST, at("off"), False, None, id="a create is never taken for lost by its machine"),
        pytest.param(START, listed("off"), BACK, None, id="started and back, in a listing: its events may tell why"),
        pytest.param(START, at("off", RESTART_WORDS, OLD_FAILURE), False, None, id="a failed restart is not a start"),
        pytest.param(START, at("off", SNAPSHOT_WORDS, OLD_FAILURE), False, None, id="nor is a failed snapshot"),
        pytest.param(START, at("off", WARNED, OLD_FAILURE), False, None, id="words of what did not fail"),
        pytest.param(START_CALLED, at("off"), False, None, id="not answered yet is not lost"),
        pytest.param(START_RECALLED, at("off"), False, None, id="lost, and accepted since, is not lost"),
        pytest.param(STOP, listed("ready"), BACK, None, id="back, in a listing: its events may tell why"),
        pytest.param(STOP, at("ready", RESTARTED, STOPPED), False, Outcome.WRONG_STATE, id="restarted by someone"),
        pytest.param(
            STOP, at("ready", event("start", handle="n")), BACK, Outcome.WRONG_STATE,
            id="seen to go, and started again, its own event is not told",
        ),
        pytest.param(STOP_RISING, at("starting"), Course(moved=True), None, id="it was rising when it was stopped"),
        pytest.param(STOP_RISING, at("ready"), LONG_REST, Outcome.NO_EFFECT, id="it was rising, and is up for good"),
        pytest.param(STOP_RISING, at("ready"), JUST_UP, None, id="it was rising, and has just come up"),
        pytest.param(RESTART, at("ready", START_GOING), LONG, None, id="a restart, while its start goes on"),
        pytest.param(RESTART, at("ready", STOPPING), LONG, None, id="and while its stop does"),
        pytest.param(RESTART, at("ready", RESTART_WORDS), BACK, Outcome.REACHED, id="it says it failed, and was"),
        pytest.param(DESTROY, at("off", event("destroy", "in progress")), LONG, None, id="a destroy goes on"),
        pytest.param(UPDATE, PENDING, LONG_REST, None, id="an update that the provider has yet to apply"),
    ],
)  # fmt: skip
def test_verdicts(what, sight, moved, outcome) -> None:
    course = moved if isinstance(moved, Course) else Course(moved=moved, left=moved)
    ending = judge(what, sight, course, now=NOW, settle=SETTLE)
    assert (None if ending is None else ending.outcome) == outcome


def test_a_failed_start_carries_the_providers_reason() -> None:
    ending = judge(START, at("off", NO_ROOM), Course(moved=True, left=True), now=NOW, settle=SETTLE)
    assert ending is not None
    assert ending.error == "insufficient capacity"


@pytest.mark.parametrize(
    ("what", "state", "events", "moved"),
    [
        pytest.param(START, "off", None, False, id="still off in a listing"),
        pytest.param(START, "starting", None, True, id="moving state"),
        pytest.param(START, "ready", None, True, id="other state than before"),
        pytest.param(START, "off", (OLD_FAILURE,), False, id="only old events"),
        pytest.param(START, "off", (NO_ROOM, OLD_FAILURE), True, id="young event"),
        pytest.param(START, "off", (event("snapshot-create"), OLD_FAILURE), False, id="a snapshot is no effect"),
        pytest.param(RESTART, "ready", None, False, id="restart looks as before"),
        pytest.param(RESTART, "ready", (event("restart", "in progress"),), False, id="restart accepted only"),
        pytest.param(RESTART, "ready", (event("restart"),), True, id="restart done"),
        pytest.param(RESTART, "restarting", None, True, id="restart under way"),
        pytest.param(RESTART, "ready", (event("start"), event("snapshot-create")), False, id="no event of a restart"),
        pytest.param(START_UNSEEN, "off", (), False, id="nobody knows what it was before"),
        pytest.param(UPDATE, "ready", (event("update"),), False, id="an update moves nothing"),
    ],
)
def test_has_moved(what, state, events, moved) -> None:
    assert has_moved(what, machine(1, state, events=events)) is moved


@pytest.mark.parametrize(
    ("what", "state", "moved", "wants"),
    [
        (CREATE, "off", True, True),
        (CREATE, "provisioning", True, False),
        (START, "off", False, True),
        (STOP, "off", True, False),
        (STOP, "stopping", True, False),
        (STOP, "ready", False, True),
        (STOP, "ready", True, True),
        (RESTART, "ready", False, True),
        (RESTART, "ready", True, False),
        (RESTART, "off", True, True),
        (DESTROY, "off", False, True),
        (DESTROY, "destroying", False, False),
        (DESTROY_LOST, "off", True, True),
        (DESTROY_LOST, "stopping", True, False),
        (STOP_LOST, "ready", True, True),
        (START_LOST, "ready", True, True),
        (START_LOST, "starting", True, False),
        (START_CALLED, "ready", True, False),
        (STOP_RECALLED, "off", True, False),
        (CREATE_LOST, "ready", True, False),
        (RESTART, "restarting", False, False),
    ],
)
def test_when_a_listing_is_not_enough(what, state, moved, wants) -> None:
    assert wants_events(what, machine(1, state), moved=moved) is wants
    assert wants_events(what, machine(1, state, events=()), moved=moved) is False


@pytest.mark.parametrize(
    ("hours", "wants"), [pytest.param(24, False, id="it shows"), pytest.param(168, True, id="it does not")]
)
def test_an_update_that_does_not_show_is_looked_at_closer(hours: int, wants: bool) -> None:
    assert wants_events(UPDATE, machine(1, shutdown_timeout_hours=hours), moved=False) is wants


def test_backoff_steps_and_never_gives_up() -> None:
    assert [next_backoff(n).total_seconds() / 60 for n in (1, 2, 3, 4, 5, 6, 99)] == [1, 2, 5, 10, 30, 30, 30]


@pytest.mark.parametrize(
    ("what", "goal"),
    [(CREATE, Phase.UP), (CREATE_OFF, Phase.DOWN), (START, Phase.UP), (STOP, Phase.DOWN), (DESTROY, None)],
)
def test_goals(what, goal) -> None:
    assert goal_of(what) == goal


def test_every_listed_state_has_a_phase_and_others_are_unknown() -> None:
    states = ["off", "starting", "stopping", "restarting", "serviceready", "ready", "upgrading", "provisioning"]
    assert Phase.UNKNOWN not in {Machine(id="x", name="x", state=s).phase for s in states}
    assert Machine(id="x", name="x", state="Ready").phase is Phase.UNKNOWN


@pytest.mark.parametrize("state", ["off", "ready", "provisioning", "stopping", "archiving", None])
@pytest.mark.parametrize("verb", [Verb.START, Verb.STOP, Verb.RESTART, Verb.UPDATE, Verb.DESTROY])
def test_what_is_not_done_by_its_deadline_is_late_or_has_come_to_nothing(verb: Verb, state: str | None) -> None:
    """Only a machine that still moves may be late; a destroy waits in any case before it is made again.

    One that was on its way already when it was called, and still is where it was, has come to nothing as well.
    """
    made = intent(verb, 1, accepted_at=ago(minutes=20), expected_state="provisioning")
    seen = None if state is None else machine(1, state)
    course = Course(moved=True, left=True, rest_at=ago(seconds=5) if state in {"off", "ready"} else None)
    ending = at_deadline(made, seen, course)
    assert ending.outcome is Outcome.TIMED_OUT
    assert came_to_nothing(made, ending) is (verb is Verb.DESTROY or state in {"off", "ready", "provisioning"})


@pytest.mark.parametrize(
    ("outcome", "nothing_came_of"),
    [
        (Outcome.REACHED, set()),
        (Outcome.NO_EFFECT, set(Verb)),
        (Outcome.FAILED_TO_START, {Verb.START}),  # a create has the backoff of its region and type
        (Outcome.LOST, set(Verb)),
        (Outcome.WRONG_STATE, set(Verb) - {Verb.CREATE}),
        (Outcome.GONE, {Verb.CREATE}),
        (Outcome.REFUSED, set()),
        (Outcome.TIMED_OUT, {Verb.DESTROY}),
    ],
)
@pytest.mark.parametrize("verb", Verb)
def test_which_calls_are_not_repeated_at_once(outcome: Outcome, nothing_came_of: set[Verb], verb: Verb) -> None:
    assert came_to_nothing(intent(verb, 1), Ending(outcome)) is (verb in nothing_came_of)


def test_a_create_may_be_repeated_at_once_if_nobody_ever_told_of_a_machine() -> None:
    assert not came_to_nothing(intent(Verb.CREATE), Ending(Outcome.LOST))


def test_a_create_that_is_late_is_counted_by_its_machine() -> None:
    ending = at_deadline(CREATE, machine(1, "off"), Course(rest_at=ago(seconds=5)))
    assert ending.stayed
    assert not came_to_nothing(CREATE, ending)


GRACE = [pytest.param(59, False, id="not yet"), pytest.param(60, True, id="from a minute on")]


@pytest.mark.parametrize(("seconds", "over"), GRACE)
@pytest.mark.parametrize(
    ("what", "sight"),
    [
        pytest.param(STOP, at("ready", STOPPED), id="a stop"),
        pytest.param(STOP_RISING, at("ready"), id="a stop of what was rising"),
        pytest.param(START, at("off", START_WORDLESS, OLD_FAILURE), id="a start"),
        pytest.param(CREATE, at("off", CREATE_WORDLESS), id="a create"),
        pytest.param(CREATE_OFF, BLIND_OFF, id="a create that starts nothing, its events unread"),
        pytest.param(DESTROY, at("off", event("destroy", handle="n")), id="a destroy"),
        pytest.param(UPDATE, OTHER_TIMEOUT, id="an update"),
    ],
)
def test_a_state_may_lag_behind_the_events_for_a_minute(what, sight, seconds, over) -> None:
    course = Course(told_at=ago(seconds=seconds), rest_at=ago(seconds=seconds))
    assert (judge(what, sight, course, now=NOW, settle=SETTLE) is not None) is over


def test_a_lost_answer_is_believed_lost_as_soon_as_it_has_settled() -> None:
    for after, outcome in ((REPEATABLE_SETTLE - timedelta(seconds=1), None), (REPEATABLE_SETTLE, Outcome.LOST)):
        lost = intent(Verb.STOP, 1, ambiguous_since=NOW - after, expected_state="ready", baseline_event="old")
        ending = judge(lost, at("ready"), Course(), now=NOW, settle=SETTLE)
        assert (None if ending is None else ending.outcome) is outcome


T = ago(minutes=5)
DONE, FAILED, RUNNING = (event("stop", state, handle="new") for state in ("done", "error", "in progress"))
OLD_STOP = event("stop", "done", handle="old")


@pytest.mark.parametrize(
    ("before", "state", "events", "after"),
    [
        pytest.param(Course(), "ready", None, Course(rest_at=NOW), id="as it was"),
        pytest.param(Course(), "archiving", (), Course(moved=True), id="another state than before"),
        pytest.param(Course(), "stopping", None, Course(moved=True, left=True), id="it goes"),
        pytest.param(Course(), "off", None, Course(moved=True, left=True, rest_at=NOW), id="it has gone"),
        pytest.param(Course(), "starting", None, Course(moved=True), id="it rises: a stop does not do that"),
        pytest.param(
            Course(moved=True, left=True), "ready", None, Course(moved=True, left=True, rest_at=NOW), id="it is back"
        ),
        pytest.param(Course(), "ready", (RUNNING,), Course(moved=True, rest_at=NOW), id="told to go on"),
        pytest.param(Course(), "ready", (DONE,), Course(moved=True, told_at=NOW, rest_at=NOW), id="told to be done"),
        pytest.param(Course(), "ready", (FAILED,), Course(moved=True, told_at=NOW, rest_at=NOW), id="or failed"),
        pytest.param(
            Course(), "ready", (RUNNING, DONE), Course(moved=True, told_at=NOW, rest_at=NOW), id="one of two is over"
        ),
        pytest.param(Course(), "ready", (OLD_STOP,), Course(rest_at=NOW), id="a stop before tells nothing"),
        pytest.param(
            Course(moved=True, told_at=T, rest_at=T), "ready", None, Course(moved=True, told_at=T, rest_at=T),
            id="told before, and still at rest: since the first sight of it",
        ),
        pytest.param(
            Course(moved=True, told_at=T, rest_at=T), "ready", (DONE,), Course(moved=True, told_at=T, rest_at=T),
            id="told again",
        ),
        pytest.param(
            Course(rest_at=T), "stopping", None, Course(moved=True, left=True), id="its rest ends when it moves"
        ),
        pytest.param(
            Course(moved=True, told_at=later(hours=1), rest_at=later(hours=1)), "ready", None,
            Course(moved=True, told_at=NOW, rest_at=NOW), id="the clock was set back: it counts anew",
        ),
    ],
)  # fmt: skip
def test_what_is_kept_of_one_sight_after_another(before: Course, state: str, events, after: Course) -> None:
    assert onward(before, STOP, machine(1, state, events=events), NOW) == after


@pytest.mark.parametrize(
    ("verb", "elsewhere"),
    [
        (Verb.CREATE, {"starting", "ready"}),
        (Verb.START, {"starting", "ready"}),
        (Verb.STOP, {"stopping", "off"}),
        (Verb.RESTART, {"starting", "stopping", "off"}),
        (Verb.UPDATE, set()),
        (Verb.DESTROY, set()),
    ],
)
def test_where_a_machine_is_seen_only_if_its_call_moved_it(verb: Verb, elsewhere: set[str]) -> None:
    call = intent(verb, 1, accepted_at=ago(seconds=30))
    states = ("off", "starting", "ready", "stopping", "archiving")
    assert {s for s in states if onward(Course(), call, machine(1, s), NOW).left} == elsewhere


@pytest.mark.parametrize(
    ("what", "sight", "course", "words"),
    [
        pytest.param(
            STOP, at("ready", STOPPED), LONG, "the provider's event says done, and the machine is ready", id="done"
        ),
        pytest.param(
            STOP,
            at("ready", STOP_WORDLESS),
            LONG,
            "the provider's event says error, without a reason, and the machine is ready",
            id="failed without words",
        ),
        pytest.param(
            STOP,
            at("ready", event("stop", handle="old")),
            LONG,
            "the provider's event says done, and the machine is ready",
            id="the event is not told any more",
        ),
        pytest.param(STOP, at("ready", STOP_WORDS), LONG, "host is gone", id="failed with words"),
        pytest.param(STOP, at("ready", STOPPED), BACK, f"it went back to ready, and {NO_REASON}", id="back"),
        pytest.param(STOP, at("starting"), BACK, "it is starting again", id="it rises"),
        pytest.param(
            STOP, at("ready", event("start"), STOPPED), LONG, "it was started again, and is ready", id="up again"
        ),
        pytest.param(DESTROY, at("off", DESTROY_WORDS), LONG, "it is locked", id="a destroy"),
        pytest.param(CREATE, at("off", RESTART_WORDS), False, "host is gone", id="a create whose boot failed"),
        pytest.param(STOP_RISING, at("ready"), LONG_REST, "it became ready all the same", id="one that rose"),
        pytest.param(
            UPDATE_LOOKED, UPDATE_FAILED, LONG_REST,
            "the provider accepted it, and has still shutdownTimeoutInHours 168 in place of 24: not now",
            id="an update that failed",
        ),
    ],
)  # fmt: skip
def test_what_is_said_of_a_call_that_came_to_nothing(what, sight, course, words) -> None:
    ending = judge(what, sight, course or Course(), now=NOW, settle=SETTLE)
    assert ending is not None
    assert (ending.error, ending.stayed) == (words, False)
