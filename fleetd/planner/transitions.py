"""When a transition is over, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile
from types import MappingProxyType

from fleetd.model.journal import Intent
from fleetd.model.machine import NO_REASON, PHASES, WENT_BACK, Machine, MachineEvent, Phase
from fleetd.model.reasons import Outcome, Verb
from fleetd.planner.policies import unmet

BACKOFF_STEPS = (
    timedelta(minutes=1),
    timedelta(minutes=2),
    timedelta(minutes=5),
    timedelta(minutes=10),
    timedelta(minutes=30),
)
"""How long no start or create is tried after a capacity failure; the last step repeats."""

EFFECT_GRACE = timedelta(seconds=60)
"""How long a machine may stay as it was although the provider says that the call is done, or has failed without a
reason: its states lag its events, and v1 reports errors for what has succeeded."""

REPEATABLE_SETTLE = timedelta(seconds=15)
"""How long a start, stop or destroy whose answer was lost is looked at before it counts as not carried out.

Far below the settle time of creates, because repeating one of these is harmless.
"""


@dataclass(frozen=True, slots=True)
class Sight:
    """One look at the machine of a transition."""

    machine: Machine | None
    """None when the provider says that there is no such machine."""
    proven_gone: bool = False
    """``machine`` is None, and another call with the same key works."""
    closer: bool = False
    """It comes from ``show``. Where it carries no events even so, nobody can look at them."""


@dataclass(frozen=True, slots=True)
class Course:
    """What was seen of a transition so far."""

    moved: bool = False
    """Any sight showed an effect, be it an event alone (``has_moved``)."""
    left: bool = False
    """The machine itself was seen elsewhere than where the call found it."""
    told_at: datetime | None = None
    """When an event of this call was first seen that has ended, well or not."""
    rest_at: datetime | None = None
    """Since when it has been seen at rest, up or down, without a break; None while it is on its way."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a transition ended."""

    outcome: Outcome
    error: str | None = None
    """The provider's reason, or what was seen instead."""
    stayed: bool = False
    """It ran past its deadline, and its machine was last seen at rest: it is not late, nothing came of the call."""


_EFFECTS: Mapping[Verb, frozenset[str]] = MappingProxyType(
    {
        Verb.CREATE: frozenset({"create", "start"}),
        Verb.START: frozenset({"start"}),
        Verb.STOP: frozenset({"stop"}),
        Verb.RESTART: frozenset({"restart", "stop", "start"}),
        Verb.UPDATE: frozenset({"update"}),
        Verb.DESTROY: frozenset({"destroy", "deactivate"}),
    }
)
"""Names of the events that a call brings about (both dialects)."""


_ELSEWHERE: Mapping[Verb, frozenset[Phase]] = MappingProxyType(
    {
        Verb.CREATE: frozenset({Phase.RISING, Phase.UP}),
        Verb.START: frozenset({Phase.RISING, Phase.UP}),
        Verb.STOP: frozenset({Phase.FALLING, Phase.DOWN}),
        Verb.RESTART: frozenset({Phase.RISING, Phase.FALLING, Phase.DOWN}),
        Verb.UPDATE: frozenset(),
        Verb.DESTROY: frozenset(),
    }
)
"""Where a machine that the call moves is seen, and one that it does not move is not."""


def goal_of(intent: Intent) -> Phase | None:
    """The phase in which the machine should end; None for a destroy, which should end it."""
    match intent.verb:
        case Verb.DESTROY:
            return None
        case Verb.STOP:
            return Phase.DOWN
        case Verb.CREATE if not intent.ends_up:
            return Phase.DOWN
        case _:
            return Phase.UP


def wants_events(intent: Intent, machine: Machine, *, moved: bool) -> bool:
    """Whether a listing is not enough to judge by: only ``show`` carries the events."""
    if machine.events is not None:
        return False
    if _lost_since(intent) is not None:
        return machine.phase not in {Phase.RISING, Phase.FALLING}
    if intent.verb is Verb.RESTART:
        return machine.phase is Phase.DOWN or (machine.phase is Phase.UP and not moved)
    if intent.verb is Verb.STOP:
        return machine.phase is Phase.UP  # not stopped yet, or up again: only its events tell
    if intent.verb is Verb.DESTROY:
        return machine.phase in {Phase.UP, Phase.DOWN}
    if intent.verb is Verb.UPDATE:
        return bool(unmet(machine, intent.parameters))
    return machine.phase is Phase.DOWN


def has_moved(intent: Intent, machine: Machine) -> bool:
    """Whether this sight shows that the call had an effect."""
    if machine.phase in {Phase.RISING, Phase.FALLING}:
        return True
    if intent.verb is Verb.RESTART:  # up before and up after: only a finished event tells them apart
        return any(e.name == "restart" and e.state == "done" for e in _young(intent, machine.events))
    if intent.verb is Verb.UPDATE:
        return False
    if intent.expected_state is not None and machine.state != intent.expected_state:
        return True
    # A snapshot taken meanwhile, say, is an event too, and no effect of this call.
    return bool(_own(intent, machine))


def onward(course: Course, intent: Intent, machine: Machine, now: datetime) -> Course:
    """The course with one more sight."""
    rests = machine.phase in {Phase.UP, Phase.DOWN}
    told = any(e.failed or e.state == "done" for e in _own(intent, machine))
    return Course(
        moved=course.moved or has_moved(intent, machine),
        left=course.left or machine.phase in _ELSEWHERE[intent.verb],
        told_at=_first(course.told_at, now) if told or course.told_at is not None else None,
        rest_at=_first(course.rest_at, now) if rests else None,
    )


def judge(intent: Intent, sight: Sight, course: Course, *, now: datetime, settle: timedelta) -> Ending | None:
    """The transition's ending, or None while it goes on. Deadlines are the waiter's, not this function's.

    ``course``: what was seen since the call, this sight included (``onward``).
    """
    machine = sight.machine
    if machine is None:
        return _judge_absent(intent, sight, now=now, settle=settle)
    ending = _judge_present(intent, sight, machine, course, now)
    if ending is None and _came_to_nothing(intent, machine, moved=course.moved, now=now):
        return Ending(Outcome.LOST, "the answer was lost and nothing happened")
    return ending


def at_deadline(intent: Intent, machine: Machine | None, course: Course) -> Ending:
    """The ending of a transition that has none by its deadline; ``machine`` as it was seen last."""
    seen = f"last seen {machine.state}" if machine is not None else "never seen"
    stayed = machine is not None and (course.rest_at is not None or machine.state == intent.expected_state)
    return Ending(Outcome.TIMED_OUT, f"{intent.verb} not done by its deadline, {seen}", stayed=stayed)


def came_to_nothing(intent: Intent, ending: Ending) -> bool:
    """Whether the same call is not to be repeated at once: it was made, and nothing came of it.

    A lack of capacity has a backoff of its own, under the machine's region and type. That ends with any machine of
    the kind that comes up; a start that fails for this machine alone must not be repeated then.
    """
    match ending.outcome:
        case Outcome.FAILED_TO_START:
            return intent.verb is Verb.START
        case Outcome.NO_EFFECT:
            return True
        case Outcome.LOST:
            return intent.machine_id is not None  # nobody ever told of a machine: the create never arrived
        case Outcome.WRONG_STATE:
            return intent.verb is not Verb.CREATE
        case Outcome.TIMED_OUT:
            # A destroy may yet be late, and ends its machine then. Any other end of it is a machine to destroy again.
            return intent.verb is Verb.DESTROY or (ending.stayed and intent.verb is not Verb.CREATE)
        case Outcome.GONE:
            return intent.verb is Verb.CREATE
        case _:
            return False


def next_backoff(attempt: int) -> timedelta:
    """How long to wait after the ``attempt``-th capacity failure in a row (1 = the first)."""
    return BACKOFF_STEPS[min(max(attempt, 1), len(BACKOFF_STEPS)) - 1]


def _judge_absent(intent: Intent, sight: Sight, *, now: datetime, settle: timedelta) -> Ending | None:
    if not sight.proven_gone:
        return None
    if intent.verb is Verb.DESTROY:
        return Ending(Outcome.REACHED)
    young_until = (intent.accepted_at or intent.created_at) + settle
    if intent.verb is Verb.CREATE and now < young_until:
        return None  # a young machine can be invisible for a while
    return Ending(Outcome.GONE, "the provider does not know the machine any more")


def _judge_present(intent: Intent, sight: Sight, machine: Machine, course: Course, now: datetime) -> Ending | None:
    match intent.verb:
        case Verb.UPDATE:
            return _judge_update(intent, machine, course, now)
        case Verb.STOP:
            return _judge_stop(intent, sight, machine, course, now)
        case Verb.DESTROY:
            return _unmoved(intent, machine, course, now)
        case Verb.RESTART if machine.phase is Phase.UP:
            return _judge_restarted(intent, machine, course, now)
        case _:
            return _judge_rise(intent, sight, machine, course, now)


def _came_to_nothing(intent: Intent, machine: Machine, *, moved: bool, now: datetime) -> bool:
    """Whether a call whose answer was lost never arrived. What others do to the machine is no sign of it."""
    since = _lost_since(intent)
    settled = since is not None and now - since >= REPEATABLE_SETTLE
    if machine.events is None:
        as_it_was = not moved and machine.state == intent.expected_state
    else:
        as_it_was = not _own(intent, machine)
    return settled and as_it_was and machine.phase not in {Phase.RISING, Phase.FALLING}


def _lost_since(intent: Intent) -> datetime | None:
    """Since when nobody knows whether a call arrived that is harmless to repeat; None where that is known."""
    known = intent.accepted_at is not None or intent.verb is Verb.CREATE
    return None if known else intent.ambiguous_since


def _judge_update(intent: Intent, machine: Machine, course: Course, now: datetime) -> Ending | None:
    missing = unmet(machine, intent.parameters)
    if not missing:
        return Ending(Outcome.REACHED)
    if machine.updates_pending or not _for_long(course.rest_at, now):
        return None
    failed = _failure(intent, machine)
    words = f": {failed.error}" if failed is not None else ""
    return Ending(Outcome.NO_EFFECT, f"the provider accepted it, and has still {missing}{words}")


def _judge_restarted(intent: Intent, machine: Machine, course: Course, now: datetime) -> Ending | None:
    """It is up, as it was before: only what was seen in between, or its event, tells whether it was restarted."""
    failed = _failure(intent, machine)
    if failed is not None and not course.left:
        return Ending(Outcome.NO_EFFECT, failed.error)
    return Ending(Outcome.REACHED) if course.moved else _unmoved(intent, machine, course, now)


def _judge_rise(intent: Intent, sight: Sight, machine: Machine, course: Course, now: datetime) -> Ending | None:
    if machine.phase is Phase.UP:
        return Ending(Outcome.REACHED)
    if machine.phase is not Phase.DOWN:
        return None
    if machine.events is None:
        return _judge_down_blind(intent, course, now) if sight.closer else None
    failed = _failure(intent, machine)
    if failed is not None:
        return Ending(Outcome.FAILED_TO_START, failed.error)
    if goal_of(intent) is Phase.DOWN:
        return Ending(Outcome.REACHED)
    if _came_after(intent, machine, {"stop"}, without_ours=course.left):
        return Ending(Outcome.WRONG_STATE, "stopped by someone else")
    if _pending(intent, machine):
        return None
    if course.left or (intent.verb is Verb.CREATE and _for_long(course.told_at, now)):
        return Ending(Outcome.FAILED_TO_START, WENT_BACK)
    return _unmoved(intent, machine, course, now)


def _judge_down_blind(intent: Intent, course: Course, now: datetime) -> Ending | None:
    """Of a machine that is down, and whose events nobody can look at: what its state alone proves."""
    if not _for_long(course.rest_at, now):
        return None
    if goal_of(intent) is Phase.DOWN:
        return Ending(Outcome.REACHED)
    if course.left:
        return Ending(Outcome.FAILED_TO_START, "it went back to off; why is not known, its events cannot be read")
    return None


def _judge_stop(intent: Intent, sight: Sight, machine: Machine, course: Course, now: datetime) -> Ending | None:
    if machine.phase is Phase.DOWN:
        return Ending(Outcome.REACHED)
    if course.left and machine.phase is Phase.RISING:
        return Ending(Outcome.WRONG_STATE, f"it is {machine.state} again")
    if machine.phase is not Phase.UP or not (sight.closer or machine.events is not None):
        return None
    failed = _failure(intent, machine)
    if failed is not None:
        return Ending(Outcome.NO_EFFECT, failed.error)
    # Off and up again while nobody looked (fleetd was down, say): it looks as before, but its stop is over.
    if _came_after(intent, machine, {"start", "restart"}, without_ours=course.left):
        return Ending(Outcome.WRONG_STATE, f"it was started again, and is {machine.state}")
    if _pending(intent, machine):
        return None
    if course.left:
        return Ending(Outcome.NO_EFFECT, f"it went back to {machine.state}, and {NO_REASON}")
    came_up = PHASES.get(intent.expected_state or "") is Phase.RISING
    if came_up and _for_long(course.rest_at, now):
        return Ending(Outcome.NO_EFFECT, f"it became {machine.state} all the same")
    return _unmoved(intent, machine, course, now)


def _unmoved(intent: Intent, machine: Machine, course: Course, now: datetime) -> Ending | None:
    """Of a machine that is where the call found it: over when the call's event has ended, and nothing followed."""
    if machine.phase not in {Phase.UP, Phase.DOWN} or _pending(intent, machine):
        return None
    failed = _failure(intent, machine)
    if failed is not None:
        return Ending(Outcome.NO_EFFECT, failed.error)
    if not _for_long(course.told_at, now):
        return None
    last = next(iter(_own(intent, machine)), None)
    said = "done" if last is None or not last.failed else f"{last.state}, without a reason"
    return Ending(Outcome.NO_EFFECT, f"the provider's event says {said}, and the machine is {machine.state}")


def _failure(intent: Intent, machine: Machine) -> MachineEvent | None:
    """The event in which this call failed, with the provider's words. Without words it proves nothing (v1)."""
    names = _EFFECTS[intent.verb] | ({"restart"} if intent.verb is Verb.CREATE else frozenset())
    return next((e for e in _young(intent, machine.events) if e.failed and e.error and e.name in names), None)


def _pending(intent: Intent, machine: Machine) -> bool:
    return any(e.goes_on for e in _own(intent, machine))


def _came_after(intent: Intent, machine: Machine, names: AbstractSet[str], *, without_ours: bool) -> bool:
    """Whether somebody else's event is newer than this call's own.

    An event that is older may be told late; it belongs to what was done before. ``without_ours``: the answer where
    the call's own event is not among them.
    """
    ours = _EFFECTS[intent.verb]
    newest = next((e for e in _young(intent, machine.events) if e.name in names | ours), None)
    return newest is not None and newest.name not in ours and (without_ours or bool(_own(intent, machine)))


def _own(intent: Intent, machine: Machine) -> list[MachineEvent]:
    return [e for e in _young(intent, machine.events) if e.name in _EFFECTS[intent.verb]]


def _for_long(since: datetime | None, now: datetime) -> bool:
    return since is not None and now - since >= EFFECT_GRACE


def _first(since: datetime | None, now: datetime) -> datetime:
    """The earlier one; where the clock was set back, nobody knows how long it has been, and it counts anew."""
    return now if since is None else min(since, now)


def _young(intent: Intent, events: Sequence[MachineEvent] | None) -> list[MachineEvent]:
    """Events that belong to this transition: those newer than the newest one before the call.

    ``baseline_event`` is "" where a look before the call found no events, and None where nobody looked.
    """
    if intent.baseline_event is None and intent.verb is not Verb.CREATE:
        return []
    return list(takewhile(lambda event: event.handle != intent.baseline_event, events or ()))
