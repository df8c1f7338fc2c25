"""Every reason code as a sentence with its numbers, and the time at which it will change by itself."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from types import MappingProxyType

from fleetd.model.plan import Skip
from fleetd.model.reasons import Reason, Verb
from fleetd.model.report import BlockedReport
from fleetd.words.names import typed
from fleetd.words.quotes import clause
from fleetd.words.times import clock, span

FOR_GOOD = timedelta(hours=1)
"""After so long, what comes to nothing again and again is more than the weather: a person is told what to do."""

SENTENCES: Mapping[str, str] = MappingProxyType(
    {
        Reason.SHORT_OF_TARGET: "the fleet has fewer machines up than its target",
        Reason.REPLACES_TIMED_OUT: "it stands in for one whose transition ran past its deadline (guards.max_surge)",
        Reason.OVER_TARGET: "the fleet has more machines up than its target",
        Reason.BEYOND_STANDBY: "the fleet keeps fewer stopped machines than this (standby)",
        Reason.PARKED_IDLE: "it is idle, and a window that parks idle machines is open",
        Reason.OUTLIVED_TIMEOUT: "it has been up longer than the fleet's shutdown timeout",
        Reason.TIMEOUT_DRIFT: "its shutdown timeout is not what the config says",
        Reason.SNAPSHOT_DRIFT: "its automatic snapshots are not what the config says",
        Reason.OPERATOR_REQUEST: "an operator asked for it",
        Reason.IN_TRANSITION: "it is on its way somewhere, and is left alone until that has ended",
        Reason.STILL_FALLING: "it is stopping; once off it can be started again, so nothing is created in its place",
        Reason.HELD: "an operator holds it",
        Reason.BUSY: "it is being used",
        Reason.ACTIVITY_UNKNOWN: "nobody can tell whether it is being used, which counts as used",
        Reason.NOT_IDLE_LONG_ENOUGH: "it is idle, but not for long enough yet",
        Reason.MIN_UPTIME: "it has not been up for the minimum time yet",
        Reason.UNKNOWN_STATE: "the provider reports a state that fleetd does not know; it keeps its place",
        Reason.LEAVING: "somebody else destroys it, and the provider still shows it; its place is free",
        Reason.TIMED_OUT: "it did not get there by its deadline; it keeps its place, and a person should look",
        Reason.RESPECT_MANUAL: "a person stopped it, or keeps it off: fleetd does not start it for a while",
        Reason.MANUAL_START: "a person started it in the open window; it is left alone until that one opens again",
        Reason.FRESH_LOOK_DIFFERS: "a last look before the call showed something else than the plan had seen",
        Reason.START_UNKNOWN: "its timeout is not enforced: its events do not tell when it was started",
        Reason.ALREADY_SO: "it is so already, or on its way there",
        Reason.WRONG_STATE: "that cannot be done to a machine in its state",
        Reason.RECOVERED: "it is ours by its name alone, and the journal has not made it: a person has to confirm it",
        Reason.ADOPTED_BY_GLOB: "it is ours by a pattern of adopt alone: a person has to confirm it",
        Reason.SNAPSHOT_TOO_OLD: "its newest snapshot is older than destroy_requires_snapshot, or missing",
        Reason.FROZEN: "an operator froze it",
        Reason.CAPACITY_BACKOFF: "the last of its type did not come up, mostly for want of capacity; "
        "it is tried again later",
        Reason.WINDOW_PARKED: "a window that parks is open: nothing is started or created",
        Reason.IDLE_SURGE: "more than half of the fleet turned idle within ten minutes, as if a source had broken",
        Reason.DESTROY_NOT_ALLOWED: "the fleet may not destroy (allow_destroy = false), so it is stopped instead",
        Reason.CREATE_UNSETTLED: "the answer to a create was lost; its machine is looked for before another is made",
        Reason.CALL_UNSETTLED: "its answer does not tell whether it was done; a look tells before it is done again",
        Reason.REFUSED_RECENTLY: "the provider refused it; it is tried again later",
        Reason.RATE_LIMITED: "the provider asked to be left alone for a while; it is tried again later",
        Reason.NO_EFFECT: "the call was made, and nothing came of it; it is made again later",
        Reason.GUARD_CREATES: "the guard on creates in one pass is used up",
        Reason.GUARD_STOPS: "the guard on stops at one time is used up",
        Reason.GUARD_DESTROYS: "the guard on destroys at one time is used up",
        Reason.GUARD_SHRINK: "much of the fleet is gone at once; creates wait until a second look agrees",
        Reason.GUARD_COST: "it would cost more than max_hourly_cost allows",
        Reason.GUARD_BUDGET: "by the end of the month it would cost more than max_monthly_cost allows",
        Reason.PRICE_UNKNOWN: "a price is not known, so it cannot be proven to fit the cap on costs",
        Reason.SLOW_START: "a create of the same batch failed, so the rest wait for the next pass",
        Reason.OBSERVATION_PARTIAL: "the listing is not whole, and nothing is decided on half of it",
        Reason.OBSERVATION_REJECTED: "what the listing says is not borne out by show, and nothing is decided on it",
        Reason.OBSERVATION_STALE: "what was seen is too old to decide on",
        Reason.PROVIDER_SAID_WAIT: "the provider answered a create with too many requests, and when to come again",
        Reason.PROVIDER_FAILING: "the provider has been failing; nothing destructive is done until it recovers",
        Reason.CALLS_USED_UP: "the pass has made as many calls as one may (max_requests_per_second)",
        Reason.CREATE_UNANSWERED: "a create before it has not been answered yet",
        Reason.SHUTTING_DOWN: "the daemon is shutting down and begins nothing new",
        Reason.CONFIG_CHANGED: "a reload changed the fleet after the plan was made",
        Reason.CLOCKS_APART: "our clock and the provider's are more than five minutes apart: neither is relied on",
        Reason.INTERNAL_FAULT: "fleetd met a fault of its own over it, which is in the log, and leaves it alone",
    }
)
"""A sentence's second half: "not started: <sentence>". A test walks all reasons."""

_ANEW = "That is looked at again in every pass."
_GOES_ON = "The next pass goes on, as far as those under way have ended."
_BY_ADOPTION = "That ends with fleetd adopt, or with its whole name or id in adopt."
_BY_PERSON = "That changes only when a person changes it."

ENDS: Mapping[str, str] = MappingProxyType(
    {
        Reason.OVER_TARGET: "That ends when the target is raised, or another machine goes down.",
        Reason.IN_TRANSITION: "That ends with its transition, at its deadline at the latest.",
        Reason.STILL_FALLING: "That ends as soon as it is off.",
        Reason.HELD: "That ends with the hold: fleetd release.",
        Reason.BUSY: "That ends when every idle source says that it is idle.",
        Reason.ACTIVITY_UNKNOWN: "That ends when every idle source can tell; mend the one that cannot.",
        Reason.NOT_IDLE_LONG_ENOUGH: "That ends when it has been idle for long enough.",
        Reason.MIN_UPTIME: "That ends when it has been up for long enough.",
        Reason.UNKNOWN_STATE: _BY_PERSON,
        Reason.LEAVING: "That ends when the provider shows it no more; should it come back, it counts again.",
        Reason.TIMED_OUT: _BY_PERSON,
        Reason.RESPECT_MANUAL: "That ends after respect_manual or with its hold, or when somebody starts it.",
        Reason.MANUAL_START: "That ends with the window.",
        Reason.FRESH_LOOK_DIFFERS: "The next pass decides anew.",
        Reason.RECOVERED: _BY_ADOPTION,
        Reason.ADOPTED_BY_GLOB: _BY_ADOPTION,
        Reason.SNAPSHOT_TOO_OLD: "That ends with its next snapshot.",
        Reason.START_UNKNOWN: "That ends when its events can be read again, or with its next start.",
        Reason.ALREADY_SO: "There is nothing to wait for.",
        Reason.WRONG_STATE: "That changes with its state.",
        Reason.FROZEN: "That ends with the freeze: fleetd unfreeze.",
        Reason.CAPACITY_BACKOFF: _ANEW,
        Reason.WINDOW_PARKED: "That ends with the window.",
        Reason.IDLE_SURGE: _ANEW,
        Reason.DESTROY_NOT_ALLOWED: _BY_PERSON,
        Reason.CREATE_UNSETTLED: "That ends when it is found, or has not appeared within the settle time.",
        Reason.CALL_UNSETTLED: "That ends when a look at the machine shows what became of it.",
        Reason.REFUSED_RECENTLY: _ANEW,
        Reason.RATE_LIMITED: _ANEW,
        Reason.NO_EFFECT: _ANEW,
        Reason.GUARD_CREATES: "The next pass goes on.",
        Reason.GUARD_STOPS: _GOES_ON,
        Reason.GUARD_DESTROYS: _GOES_ON,
        Reason.GUARD_SHRINK: _ANEW,
        Reason.GUARD_COST: _BY_PERSON,
        Reason.GUARD_BUDGET: "That ends with the month, or when a person raises the budget.",
        Reason.PRICE_UNKNOWN: "That ends when [prices] in the config names it, or the provider has billed for one.",
        Reason.SLOW_START: "The next pass goes on.",
        Reason.OBSERVATION_PARTIAL: "That ends with the first listing that is whole.",
        Reason.OBSERVATION_REJECTED: "That ends with the first listing that show agrees with.",
        Reason.OBSERVATION_STALE: "That ends with the next good look.",
        Reason.PROVIDER_SAID_WAIT: _ANEW,
        Reason.PROVIDER_FAILING: "That ends when the provider answers again.",
        Reason.CALLS_USED_UP: "The next pass goes on.",
        Reason.CREATE_UNANSWERED: "That ends with its answer, after request_timeout at the latest.",
        Reason.SHUTTING_DOWN: "The daemon goes on when it is started again.",
        Reason.CONFIG_CHANGED: "The next pass decides by the new config.",
        Reason.CLOCKS_APART: "That ends when the two agree: look at the clock of this host (timedatectl).",
        Reason.INTERNAL_FAULT: "The next pass tries again; a fault that stays needs another version of fleetd.",
    }
)
"""How what is not being done ends, where no instant is known. A test walks all reasons."""

_NOT_BELIEVED = frozenset({Reason.OBSERVATION_PARTIAL, Reason.OBSERVATION_REJECTED})
"""Reasons for which the number of machines that are missing is not known: it is by a listing that is not believed."""

_PROVISO: Mapping[str, str] = MappingProxyType(
    {
        Reason.IN_TRANSITION: ", at the latest",
        Reason.STILL_FALLING: ", at the latest",
        Reason.CREATE_UNSETTLED: ", at the latest",
        Reason.NOT_IDLE_LONG_ENOUGH: ", if it stays idle",
        Reason.MIN_UPTIME: ", if it is idle then",
        Reason.HELD: ", or by fleetd release",
        Reason.FROZEN: ", or by fleetd unfreeze",
    }
)
"""What else there is to an instant at which it ends."""

PARTICIPLES = {
    "create": "created",
    "start": "started",
    "stop": "stopped",
    "restart": "restarted",
    "update": "updated",
    "destroy": "destroyed",
}
"""``not started``, and so on."""

UNDER_WAY: Mapping[str, str] = MappingProxyType(
    {
        "create": "creating",
        "start": "starting",
        "stop": "stopping",
        "restart": "restarting",
        "update": "updating",
        "destroy": "destroying",
    }
)
"""What a transition is called while it goes on."""


def reason_words(code: str) -> str:
    """What a reason code stands for; the code itself where another version of fleetd has said it."""
    return SENTENCES.get(code, code)


def sentence(skip: Skip | BlockedReport, now: datetime, *, first: bool = False) -> str:
    """Why one thing is not being done, and until when; ``first``: of several, whose ends differ, the first."""
    who = skip.name or (f"{skip.count} machine{'s' if skip.count != 1 else ''} of {skip.fleet}")
    verb = "acted on" if skip.verb is None else PARTICIPLES.get(skip.verb, skip.verb)
    text = f"{who} {'is' if skip.count == 1 or skip.name else 'are'} not {verb}: {reason_words(skip.reason)}"
    if skip.verb == Verb.CREATE and skip.reason in _NOT_BELIEVED:
        text = f"No machine of {skip.fleet} is {verb}: {reason_words(skip.reason)}"
    if skip.detail:
        text += f" ({clause(skip.detail)})"
    return f"{text}. {_when(skip, now, first)}{_instead(skip, now)}"


def _instead(skip: Skip | BlockedReport, now: datetime) -> str:
    """What a person can do where trying again has not helped for long."""
    if skip.since is None or now - skip.since < FOR_GOOD:
        return ""
    lasts = f" This has lasted {span(now - skip.since)}"
    if skip.verb is not Verb.START or not skip.name:
        return f"{lasts}: a person should look."
    return (
        f"{lasts}, and its place stays reserved; to let another machine take it: "
        f"`fleetd hold {typed(skip.name, skip.machine)} --for 24h --reason ...`."
    )


def _when(skip: Skip | BlockedReport, now: datetime, first: bool) -> str:
    if skip.until is None:
        return ENDS.get(skip.reason, _ANEW)
    that = "For the first of them that" if first else "That"
    if skip.until <= now:
        return f"{that} ended at {clock(skip.until)}; the next pass decides anew."
    return f"{that} ends at {clock(skip.until)}, in {span(skip.until - now)}{_PROVISO.get(skip.reason, '')}."
