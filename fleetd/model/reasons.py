"""Reason codes: why an action is taken, and why another is not. Codes are an interface (JSON, logs, metrics)."""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class Word(StrEnum):
    """Words that are written down, or sent: one that this version has not is kept, equal to none, and says the word.

    A newer fleetd may have written it: what it stands for is not known, and must not be lost or taken for something
    else.
    """

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, str):
            return None
        word = value.encode(errors="backslashreplace").decode()  # half a surrogate pair: it could not be sent
        stand_in = str.__new__(cls, word)
        stand_in._name_, stand_in._value_ = f"?{word}", word
        return stand_in


def known(member: StrEnum) -> bool:
    """Whether this version has it."""
    return member.name in type(member).__members__


class Verb(Word):
    """What can be done to a machine."""

    CREATE = "create"
    START = "start"
    STOP = "stop"
    RESTART = "restart"
    UPDATE = "update"
    DESTROY = "destroy"

    @property
    def destructive(self) -> bool:
        """Whether it can take a machine away from someone who uses it."""
        return self in {Verb.STOP, Verb.RESTART, Verb.DESTROY}

    @property
    def raises_cost(self) -> bool:
        """Whether machines are billed for by the hour because of it."""
        return self in {Verb.CREATE, Verb.START}


class Reason(Word):
    """Why an action is in the plan, or why it is not."""

    # why something is done
    SHORT_OF_TARGET = "short_of_target"
    REPLACES_TIMED_OUT = "replaces_timed_out"
    OVER_TARGET = "over_target"
    BEYOND_STANDBY = "beyond_standby"
    PARKED_IDLE = "parked_idle"
    OUTLIVED_TIMEOUT = "outlived_timeout"
    TIMEOUT_DRIFT = "timeout_drift"
    SNAPSHOT_DRIFT = "snapshot_drift"
    OPERATOR_REQUEST = "operator_request"

    # why something is not done: the machine
    IN_TRANSITION = "in_transition"
    STILL_FALLING = "still_falling"
    HELD = "held"
    BUSY = "busy"
    ACTIVITY_UNKNOWN = "activity_unknown"
    NOT_IDLE_LONG_ENOUGH = "not_idle_long_enough"
    MIN_UPTIME = "min_uptime"
    UNKNOWN_STATE = "unknown_state"
    LEAVING = "leaving"
    TIMED_OUT = "timed_out"
    RESPECT_MANUAL = "respect_manual"
    MANUAL_START = "manual_start"
    FRESH_LOOK_DIFFERS = "fresh_look_differs"
    RECOVERED = "recovered"
    ADOPTED_BY_GLOB = "adopted_by_glob"
    SNAPSHOT_TOO_OLD = "snapshot_too_old"
    START_UNKNOWN = "start_unknown"
    ALREADY_SO = "already_so"
    WRONG_STATE = "wrong_state"

    # why something is not done: the fleet
    FROZEN = "frozen"
    CAPACITY_BACKOFF = "capacity_backoff"
    WINDOW_PARKED = "window_parked"
    IDLE_SURGE = "idle_surge"
    DESTROY_NOT_ALLOWED = "destroy_not_allowed"
    CREATE_UNSETTLED = "create_unsettled"
    CALL_UNSETTLED = "call_unsettled"
    REFUSED_RECENTLY = "refused_recently"
    RATE_LIMITED = "rate_limited"
    NO_EFFECT = "no_effect"

    # why something is not done: guards and doubt
    GUARD_CREATES = "guard_creates"
    GUARD_STOPS = "guard_stops"
    GUARD_DESTROYS = "guard_destroys"
    GUARD_SHRINK = "guard_shrink"
    GUARD_COST = "guard_cost"
    GUARD_BUDGET = "guard_budget"
    PRICE_UNKNOWN = "price_unknown"
    SLOW_START = "slow_start"
    OBSERVATION_PARTIAL = "observation_partial"
    OBSERVATION_REJECTED = "observation_rejected"
    OBSERVATION_STALE = "observation_stale"
    PROVIDER_SAID_WAIT = "provider_said_wait"
    PROVIDER_FAILING = "provider_failing"
    CALLS_USED_UP = "calls_used_up"
    CREATE_UNANSWERED = "create_unanswered"
    SHUTTING_DOWN = "shutting_down"
    CONFIG_CHANGED = "config_changed"
    INTERNAL_FAULT = "internal_fault"
    CLOCKS_APART = "clocks_apart"


PASSING = frozenset(
    {
        Reason.IN_TRANSITION,
        Reason.STILL_FALLING,
        Reason.SLOW_START,
        Reason.CALLS_USED_UP,
        Reason.ALREADY_SO,
        Reason.WRONG_STATE,
    }
)
"""Reasons that end by themselves within a pass or two: not logged, and they do not make a fleet blocked."""


ORDINARY = frozenset(
    {
        Reason.BUSY,
        Reason.NOT_IDLE_LONG_ENOUGH,
        Reason.MIN_UPTIME,
        Reason.WINDOW_PARKED,
        Reason.MANUAL_START,
        Reason.RESPECT_MANUAL,
        Reason.HELD,
        Reason.FROZEN,
        Reason.CREATE_UNSETTLED,
        Reason.CALL_UNSETTLED,
        Reason.GUARD_CREATES,
        Reason.GUARD_STOPS,
        Reason.GUARD_DESTROYS,
        Reason.SHUTTING_DOWN,
        Reason.CONFIG_CHANGED,
    }
)
"""Reasons that are the config, a person or a wait at work; the others may need somebody."""


class Standing(Word):
    """Why a machine is in its state, as far as fleetd knows."""

    FOREIGN = "foreign"
    ORPHAN = "orphan"
    LOOK_ALIKE = "look_alike"
    ANSWER_LOST = "answer_lost"
    UNDER_WAY = "under_way"
    UNKNOWN_STATE = "unknown_state"
    UNVERIFIED = "unverified"
    LEAVING = "leaving"
    UNREADABLE = "unreadable"
    WANTED = "wanted"
    SURPLUS = "surplus"
    OVERDUE = "overdue"
    MOVES_BY_ITSELF = "moves_by_itself"
    START_FAILED = "start_failed"
    PARKED = "parked"
    SCALED_IN = "scaled_in"
    OUTLIVED_TIMEOUT = "outlived_timeout"
    STOPPED_BY_ORDER = "stopped_by_order"
    STOPPED_BY_FLEETD = "stopped_by_fleetd"
    STOPPED_OUTSIDE = "stopped_outside"
    STOPPED_BY_VENDOR = "stopped_by_vendor"
    STOPPED_SOMEHOW = "stopped_somehow"
    OFF_ALL_ALONG = "off_all_along"


class Outcome(Word):
    """How an intent was closed: a verdict, or an end before there was a transition to follow."""

    REACHED = "reached"
    FAILED_TO_START = "failed_to_start"
    GONE = "gone"
    WRONG_STATE = "wrong_state"
    NO_EFFECT = "no_effect"
    """The provider accepted it, and the machine is as it was before."""
    TIMED_OUT = "timed_out"
    REFUSED = "refused"
    """The provider declined the call."""
    NOT_SENT = "not_sent"
    """The call never reached the provider, or was dropped after a fresh look."""
    LOST = "lost"
    """A create whose answer was lost, and whose machine never appeared."""
    OBSERVED = "observed"
    """Not an action of ours: a change from outside, recorded."""


class VetoKind(Word):
    """What a human's veto is on."""

    HOLD = "hold"
    """One machine."""
    FREEZE = "freeze"
    """A fleet, or everything."""


class Activity(Word):
    """Whether a machine is in use."""

    IDLE = "idle"
    ACTIVE = "active"
    UNKNOWN = "unknown"
