"""Why a machine is in its state, as a sentence with the numbers and the times."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType

from fleetd.model.machine import NO_REASON
from fleetd.model.reasons import Standing
from fleetd.model.report import FleetReport, MachineReport
from fleetd.planner.ownership import made_for
from fleetd.planner.standing import standing
from fleetd.words.quotes import clause
from fleetd.words.reasons import UNDER_WAY, reason_words
from fleetd.words.times import clock, span

STANDINGS: Mapping[Standing, str] = MappingProxyType(
    {
        Standing.FOREIGN: "It is not fleetd's: neither created nor adopted, so it is never touched.",
        Standing.ORPHAN: "By its name a fleetd made it, for fleet {made_for}, and no fleet of this config owns it. "
        "It costs money while it is up, and fleetd does not touch it: adopt it, or stop it by hand.",
        Standing.LOOK_ALIKE: "It is a look-alike: its name is one that fleetd drew for fleet {made_for}, and another "
        "machine has it. It is never touched; give it another name, or its id to adopt.",
        Standing.ANSWER_LOST: "The answer to its {verb} was lost, so it is being looked for, until {deadline}.",
        Standing.UNDER_WAY: "{doing} since {since} ({ago}), due by {deadline}: {why}.",
        Standing.UNKNOWN_STATE: "fleetd does not know the state {state}: it keeps its place, and is left alone.",
        Standing.UNVERIFIED: "The listing has it otherwise than it was left, or not so that it can be read, and "
        "show, which could tell, fails: it keeps its place, and is left alone.",
        Standing.UNREADABLE: "Its entry in the listing cannot be read: it keeps its place, and is left alone.",
        Standing.LEAVING: "Somebody else destroys it, a person or another program with the key, and the provider "
        "still shows it as {state}. Its place is free; should it come back, it counts again.",
        Standing.WANTED: "It counts toward the target of {target}; {up} {are} up.",
        Standing.SURPLUS: "It is one of {up} that are up, and the target is {target}.",
        Standing.OVERDUE: "It ran past its deadline ({failure}): it keeps its place, and a person should look.",
        Standing.MOVES_BY_ITSELF: "It is {state}, and fleetd did not ask for it: it is left alone meanwhile.",
        Standing.START_FAILED: "Its last start failed: {failure}.",
        Standing.PARKED: "fleetd parked it at {stopped} ({gone}): it was idle, and a window that parks was open.",
        Standing.SCALED_IN: "fleetd stopped it at {stopped} ({gone}): more machines were up than the target.",
        Standing.OUTLIVED_TIMEOUT: "fleetd stopped it at {stopped} ({gone}): it had outlived its shutdown timeout.",
        Standing.STOPPED_BY_ORDER: "An operator had fleetd stop it at {stopped} ({gone}).",
        Standing.STOPPED_BY_FLEETD: "fleetd stopped it at {stopped} ({gone}).",
        Standing.STOPPED_OUTSIDE: "Somebody stopped it, seen at {stopped} ({gone}), and it was not fleetd: a person "
        "at the provider's console, or another program with the key.",
        Standing.STOPPED_BY_VENDOR: "The provider's own shutdown timer stopped it, seen at {stopped} ({gone}).",
        Standing.STOPPED_SOMEHOW: "It went down, seen at {stopped} ({gone}), and its events do not say who did it.",
        Standing.OFF_ALL_ALONG: "It has been off ever since fleetd first saw it.",
    }
)
"""Each code's sentence. A test walks all of them."""


def standing_sentence(machine: MachineReport, fleet: FleetReport | None, now: datetime) -> str:
    """Why a machine is in its state, with the numbers and the times."""
    step = machine.transition
    began = None if step is None else step.since
    fields = {
        "made_for": made_for(machine.name),
        "verb": None if step is None else step.verb,
        "doing": None if step is None else UNDER_WAY.get(step.verb, step.verb),
        "since": _clock(began),
        "ago": _ago(began, now),
        "deadline": _clock(None if step is None else step.deadline),
        "why": None if step is None else reason_words(step.reason),
        "state": machine.state,
        "up": "?" if fleet is None else fleet.up,
        "are": "is" if fleet is not None and fleet.up == 1 else "are",
        "target": "?" if fleet is None else fleet.target,
        "failure": clause(machine.failure or NO_REASON),
        "stopped": _clock(machine.stopped_at),
        "gone": _ago(machine.stopped_at, now),
    }
    text = STANDINGS[standing(machine, fleet)].format_map(fields)
    return text[:1].upper() + text[1:] if not text.startswith("fleetd") else text


def _clock(at: datetime | None) -> str:
    return "an unknown time" if at is None else clock(at)


def _ago(at: datetime | None, now: datetime) -> str:
    return "nobody knows when" if at is None else f"{span(now - at)} ago"
