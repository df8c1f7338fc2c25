"""When a transition is over, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType

from fleetd.model.journal import Intent
from fleetd.model.machine import Machine, MachineEvent, Phase
from fleetd.model.reasons import Outcome, Verb

BACKOFF_STEPS = (
    timedelta(minutes=1),
    timedelta(minutes=2),
    timedelta(minutes=5),
    timedelta(minutes=10),
    timedelta(minutes=30),
)
"""How long no start or create is tried after a capacity failure (design 7); the last step repeats."""

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


@dataclass(frozen=True, slots=True)
class Ending:
    """How a transition ended."""

    outcome: Outcome
    error: str | None = None
    """The provider's reason, or what was seen instead."""


_EFFECTS: Mapping[Verb, frozenset[str]] = MappingProxyType(
    {
        Verb.CREATE: frozenset({"create", "start"}),
        Verb.START: frozenset({"start"}),
        Verb.STOP: frozenset({"stop"}),
        Verb.RESTART: frozenset({"restart", "stop", "start"}),
        Verb.UPDATE: frozenset(),
        Verb.DESTROY: frozenset({"destroy", "deactivate"}),
    }
)
"""Names of the events that a call brings about (both dialects)."""


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
    if intent.ambiguous_since is not None and intent.accepted_at is None and intent.verb is not Verb.CREATE:
        return machine.phase not in {Phase.RISING, Phase.FALLING}
    if intent.verb is Verb.RESTART:
        return machine.phase is Phase.DOWN or (machine.phase is Phase.UP and not moved)
    if intent.verb is Verb.STOP:
        return machine.phase is Phase.UP  # not stopped yet, or up again: only its events tell
    return machine.phase is Phase.DOWN and intent.verb in {Verb.CREATE, Verb.START}


def has_moved(intent: Intent, machine: Machine) -> bool:
    """Whether this sight shows that the call had an effect."""
    if machine.phase in {Phase.RISING, Phase.FALLING}:
        return True
    if intent.verb is Verb.RESTART:  # up before and up after: only a finished event tells them apart
        return any(e.name == "restart" and (e.failed or e.state == "done") for e in _young(intent, machine.events))
    if intent.expected_state is not None and machine.state != intent.expected_state:
        return True
    # A snapshot taken meanwhile, say, is an event too, and no effect of this call.
    return any(e.name in _EFFECTS[intent.verb] for e in _young(intent, machine.events))


def judge(intent: Intent, sight: Sight, *, moved: bool, now: datetime, settle: timedelta) -> Ending | None:
    """The transition's ending, or None while it goes on. Deadlines are the waiter's, not this function's.

    ``moved``: whether any sight since the call showed an effect (``has_moved``).
    """
    machine = sight.machine
    if machine is None:
        return _judge_absent(intent, sight, now=now, settle=settle)
    ending = _judge_present(intent, machine, moved=moved)
    if ending is None and _came_to_nothing(intent, machine, moved=moved, now=now):
        return Ending(Outcome.LOST, "the answer was lost and nothing happened")
    return ending


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


def _judge_present(intent: Intent, machine: Machine, *, moved: bool) -> Ending | None:
    match intent.verb:
        case Verb.STOP:
            return _judge_stop(intent, machine, moved=moved)
        case Verb.DESTROY:
            return None
        case Verb.RESTART if machine.phase is Phase.UP and not moved:
            return None
        case _:
            return _judge_rise(intent, machine, moved=moved)


def _came_to_nothing(intent: Intent, machine: Machine, *, moved: bool, now: datetime) -> bool:
    """Whether a call whose answer was lost never arrived. What others do to the machine is no sign of it."""
    if intent.ambiguous_since is None or intent.accepted_at is not None or intent.verb is Verb.CREATE:
        return False
    if now - intent.ambiguous_since < REPEATABLE_SETTLE or machine.phase in {Phase.RISING, Phase.FALLING}:
        return False
    if machine.events is None:
        return not moved and machine.state == intent.expected_state
    return not any(e.name in _EFFECTS[intent.verb] for e in _young(intent, machine.events))


def _judge_rise(intent: Intent, machine: Machine, *, moved: bool) -> Ending | None:
    goal = goal_of(intent)
    if machine.phase is Phase.UP:
        return Ending(Outcome.REACHED)
    if machine.phase is not Phase.DOWN or machine.events is None:
        return None
    young = _young(intent, machine.events)
    failed = next((e for e in young if e.failed and e.name in {"create", "start", "restart"}), None)
    if failed is not None:
        return Ending(Outcome.FAILED_TO_START, failed.error or "the provider gives no reason")
    if goal is Phase.DOWN:
        return Ending(Outcome.REACHED)
    if any(e.name == "stop" for e in young):
        return Ending(Outcome.WRONG_STATE, "stopped by someone else")
    if moved and not any(e.state in {"in progress", "new"} for e in young if e.name in _EFFECTS[intent.verb]):
        return Ending(Outcome.FAILED_TO_START, "it went back to off, and the provider gives no reason")
    return None


def _judge_stop(intent: Intent, machine: Machine, *, moved: bool) -> Ending | None:
    if machine.phase is Phase.DOWN:
        return Ending(Outcome.REACHED)
    came_back = machine.phase in {Phase.UP, Phase.RISING} and machine.state != intent.expected_state
    # Off and up again while nobody looked (fleetd was down, say): it looks as before, but its stop is over.
    was_stopped = machine.phase is Phase.UP and any(
        e.name == "stop" and (e.failed or e.state == "done") for e in _young(intent, machine.events)
    )
    if (moved and came_back) or was_stopped:
        return Ending(Outcome.WRONG_STATE, f"it is {machine.state} again")
    return None


def _young(intent: Intent, events: Sequence[MachineEvent] | None) -> list[MachineEvent]:
    """Events that belong to this transition: those newer than the newest one before the call.

    ``baseline_event`` is "" where a look before the call found no events, and None where nobody looked.
    """
    young: list[MachineEvent] = []
    for event in events or ():
        if intent.baseline_event is not None and event.handle == intent.baseline_event:
            break
        if intent.baseline_event is None and intent.verb is not Verb.CREATE:
            break
        young.append(event)
    return young
