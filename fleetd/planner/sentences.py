"""Every reason code as a sentence with its numbers, and the time at which it will change by itself."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from fleetd.model.plan import FleetView, Skip
from fleetd.model.reasons import Reason, Verb

SENTENCES: Mapping[Reason, str] = MappingProxyType(
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
        Reason.TIMED_OUT: "it did not get there by its deadline; it keeps its place, and a person should look",
        Reason.RESPECT_MANUAL: "a person stopped it, and that is not fought for a while",
        Reason.MANUAL_START: "a person started it in the open window; it is left until that one opens anew",
        Reason.FRESH_LOOK_DIFFERS: "a last look before the call showed something else than the plan had seen",
        Reason.ALREADY_SO: "it is so already, or on its way there",
        Reason.WRONG_STATE: "that cannot be done to a machine in its state",
        Reason.SNAPSHOT_TOO_OLD: "its newest snapshot is older than destroy_requires_snapshot, or missing",
        Reason.FROZEN: "an operator froze it",
        Reason.CAPACITY_BACKOFF: "the provider had no capacity; it is tried again later",
        Reason.WINDOW_PARKED: "a window that parks is open: nothing is started or created",
        Reason.IDLE_SURGE: "more than half of the fleet turned idle within ten minutes, as if a source had broken",
        Reason.DESTROY_NOT_ALLOWED: "the fleet may not destroy (allow_destroy = false), so it is stopped instead",
        Reason.CREATE_UNSETTLED: "the answer to a create was lost; its machine is looked for before another is made",
        Reason.REFUSED_RECENTLY: "the provider refused it; it is tried again later",
        Reason.GUARD_CREATES: "the guard on creates in one pass is used up",
        Reason.GUARD_STOPS: "the guard on stops at one time is used up",
        Reason.GUARD_DESTROYS: "the guard on destroys at one time is used up",
        Reason.GUARD_SHRINK: "much of the fleet is gone at once; creates wait until a second look agrees",
        Reason.GUARD_COST: "it would cost more than max_hourly_cost allows",
        Reason.PRICE_UNKNOWN: "its price is not known, so it cannot be proven to fit max_hourly_cost",
        Reason.SLOW_START: "a create of the same batch failed, so the rest wait for the next pass",
        Reason.OBSERVATION_PARTIAL: "the listing is not whole, and nothing is decided on half of it",
        Reason.OBSERVATION_REJECTED: "the listing contradicts what show says, and nothing is decided on it",
        Reason.OBSERVATION_STALE: "what was seen is too old to decide on",
        Reason.PROVIDER_FAILING: "the provider has been failing; nothing destructive is done until it recovers",
        Reason.SHUTTING_DOWN: "the daemon is shutting down and begins nothing new",
    }
)
"""A sentence's second half: "not started: <sentence>". A test walks all reasons."""

CHANGES_BY_PERSON: frozenset[Reason] = frozenset(
    {Reason.UNKNOWN_STATE, Reason.TIMED_OUT, Reason.DESTROY_NOT_ALLOWED, Reason.GUARD_COST, Reason.PRICE_UNKNOWN}
)
"""Reasons that end only when a person, or the provider, does something."""

_PARTICIPLES = {
    "create": "created",
    "start": "started",
    "stop": "stopped",
    "restart": "restarted",
    "update": "updated",
    "destroy": "destroyed",
}


def sentence(skip: Skip, now: datetime) -> str:
    """Why one thing is not being done, and until when."""
    who = skip.name or (f"{skip.count} machine{'s' if skip.count != 1 else ''} of {skip.fleet}")
    verb = "acted on" if skip.verb is None else _PARTICIPLES[str(skip.verb)]
    text = f"{who} {'is' if skip.count == 1 or skip.name else 'are'} not {verb}: {SENTENCES[skip.reason]}"
    if skip.detail:
        text += f" ({skip.detail})"
    return f"{text}. {_when(skip, now)}"


def fleet_sentence(name: str, view: FleetView) -> str:
    """How a fleet stands, in one sentence."""
    parts = [f"{view.up} of {view.target} up"]
    for count, word in (
        (view.rising, "rising"),
        (view.falling, "falling"),
        (view.down, "down"),
        (view.unknown, "in an unknown state"),
        (view.intents, "being created"),
    ):
        if count:
            parts.append(f"{count} {word}")
    text = f"{name}: {', '.join(parts)}"
    if view.window is not None:
        text += f"; window {view.window} is open, the configured target is {view.configured_target}"
    return f"{text}. {'It is converged.' if view.converged else 'It is not converged.'}"


def span(delta: timedelta) -> str:
    """A length of time for people: ``45 s``, ``12 min``, ``3 h 20 min``, ``2 d 4 h``."""
    seconds = max(0, round(delta.total_seconds()))
    if seconds < 90:
        return f"{seconds} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def _when(skip: Skip, now: datetime) -> str:
    if skip.until is not None:
        return f"That ends at {skip.until:%Y-%m-%d %H:%M:%S} UTC, in {span(skip.until - now)}."
    if skip.reason in CHANGES_BY_PERSON:
        return "That changes only when a person changes it."
    return "That is looked at again in every pass."


def explain_fleet(status: Mapping[str, Any], name: str) -> list[str]:
    """A fleet of a status document, in sentences: how it stands, what is under way, what is not being done."""
    fleet = status["fleets"][name]
    view = FleetView(**{key: fleet[key] for key in _COUNTS})
    lines = [fleet_sentence(name, view)]
    if fleet.get("hourly") is not None:
        lines.append(f"It costs ${fleet['hourly']} an hour now.")
    moving = [m for m in status["machines"] if m["fleet"] == name and m["transition"] is not None]
    lines += [_transition_sentence(m) for m in moving]
    lines += [_blocked_sentence(b, status) for b in status["blocked"] if b["fleet"] == name]
    lines += _doubts(status)
    return lines


def explain_machine(status: Mapping[str, Any], machine: Mapping[str, Any]) -> list[str]:
    """A machine of a status document, in sentences."""
    name = f"{machine['name']} ({machine['id']})"
    if not machine["owned"]:
        return [
            f"{name} is {machine['state']}. It is not fleetd's: neither created nor adopted, so it is never touched."
        ]
    lines = [f"{name} is {machine['state']}, in fleet {machine['fleet']}."]
    if machine["up_since"] is not None:
        lines.append(f"It has been up since {machine['up_since']}.")
    if machine["failure"] is not None:
        lines.append(f"Its last start failed: {machine['failure']}.")
    if machine["transition"] is not None:
        lines.append(_transition_sentence(machine))
    if machine["hold"] is not None:
        held = machine["hold"]
        lines.append(f"{held['actor']} holds it until {held['expires_at']}: {held['reason']}.")
    about = [b for b in status["blocked"] if b["machine"] == machine["id"]]
    lines += [_blocked_sentence(b, status) for b in about]
    fleet = status["fleets"].get(machine["fleet"])
    if not about and machine["transition"] is None and fleet is not None:
        enough = fleet["up"] + fleet["rising"] + fleet["intents"] >= fleet["target"]
        if machine["phase"] == "down" and enough:
            lines.append(f"It is not needed: {machine['fleet']} has {fleet['up']} of {fleet['target']} up.")
        elif machine["phase"] == "up":
            lines.append(f"It counts toward the target of {fleet['target']}.")
    return [*lines, *_doubts(status)]


_COUNTS = ("target", "configured_target", "window", "up", "rising", "falling", "down", "unknown", "intents")


def _transition_sentence(machine: Mapping[str, Any]) -> str:
    step = machine["transition"]
    doubt = " Its answer was lost, so it is being looked for." if step["ambiguous"] else ""
    why = SENTENCES[Reason(step["reason"])]
    return (
        f"{machine['name']}: {step['verb']} since {step['since']}, due by {step['deadline']}, because {why}.{doubt}"
    )


def _blocked_sentence(blocked: Mapping[str, Any], status: Mapping[str, Any]) -> str:
    until = blocked["until"]
    skip = Skip(
        blocked["fleet"],
        None if blocked["verb"] is None else Verb(blocked["verb"]),
        Reason(blocked["reason"]),
        machine=blocked["machine"],
        name=blocked["name"] or "",
        until=None if until is None else datetime.fromisoformat(until),
        detail=blocked["detail"] or "",
        count=blocked["count"],
    )
    return sentence(skip, datetime.fromisoformat(status["observation"]["at"]))


def _doubts(status: Mapping[str, Any]) -> list[str]:
    """What makes the picture itself doubtful."""
    lines = []
    error = status["daemon"].get("error")
    if error is not None:
        lines.append(f"The last pass failed: {error}.")
    observation = status.get("observation", {})
    if observation.get("rejected") is not None:
        lines.append(f"Nothing is decided at the moment: {observation['rejected']}.")
    return lines
