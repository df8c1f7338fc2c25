"""Who did it? A change that fleetd did not ask for, classified from events, timers and what was remembered."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from enum import StrEnum

from fleetd.model.bounds import hours
from fleetd.model.journal import MachineFacts
from fleetd.model.machine import Machine, MachineEvent, Phase
from fleetd.planner.leaving import LEAVING

TIMER_SLACK = timedelta(minutes=20)
"""How far from the shutdown timeout a stop may lie and still be taken for the vendor's timer, which is not exact."""


_ABOUT_DISKS = ("snapshot-", "template-")
"""Events that move no machine."""


class Culprit(StrEnum):
    """Who changed a machine."""

    OPERATOR = "operator"
    """A person at the provider's console, or another program with the key."""
    VENDOR_TIMEOUT = "vendor_timeout"
    """The vendor's own shutdown timer."""
    FAILED_START = "failed_start"
    """A start that somebody asked for and that failed."""
    FLEETD = "fleetd"
    """A call of fleetd's had its effect after it had been given up."""
    UNKNOWN = "unknown"


def classify(machine: Machine | None, before: MachineFacts) -> Culprit:
    """Who changed it, from its events (``show``) and what it was before. None is a machine that is gone.

    On doubt between the timer and a person it is a person: whose stop is respected for a while costs little. So it is
    where its events cannot be read.
    """
    if machine is not None and machine.not_looked is not None and machine.phase in {Phase.DOWN, Phase.FALLING}:
        return Culprit.OPERATOR
    if machine is None or not machine.events:
        return Culprit.UNKNOWN
    newest = next((e for e in machine.events if not e.name.startswith(_ABOUT_DISKS)), None)
    if newest is None:
        return Culprit.UNKNOWN
    if newest.ends:
        return Culprit.OPERATOR
    if machine.phase in {Phase.DOWN, Phase.FALLING}:
        return _who_stopped(machine, newest, before)
    if machine.phase in {Phase.UP, Phase.RISING} and newest.name in {"start", "restart"}:
        return Culprit.OPERATOR
    return Culprit.UNKNOWN


def remember(
    facts: MachineFacts, machine: Machine | None, culprit: Culprit, now: datetime, latest: datetime
) -> MachineFacts:
    """The facts with who stopped or started it. A stop is respected from ``latest`` on, the later of both clocks."""
    if machine is None or facts.last_state == LEAVING:
        return facts
    if machine.phase in {Phase.DOWN, Phase.FALLING}:
        return replace(facts, stopped_by=str(culprit), stopped_at=latest)
    if machine.phase in {Phase.UP, Phase.RISING}:
        return replace(facts, started_by=str(culprit), started_at=now)
    return facts


def _who_stopped(machine: Machine, newest: MachineEvent, before: MachineFacts) -> Culprit:
    if newest.failed and newest.rises:
        return Culprit.FAILED_START
    if newest.name == "vm-shutdown-force":  # v1 names its timer
        return Culprit.VENDOR_TIMEOUT
    if newest.name != "stop":
        return Culprit.UNKNOWN
    if machine.shutdown_timeout_hours and newest.created_at is not None:
        started = next(
            (e.finished_at or e.created_at for e in machine.events or () if e.rises),
            before.up_since,
        )
        if started is not None:
            due = started + hours(machine.shutdown_timeout_hours)
            if abs(newest.created_at - due) <= TIMER_SLACK:
                return Culprit.VENDOR_TIMEOUT
    return Culprit.OPERATOR
