"""What is decided before the target is looked at: oddities, and the policy checks."""

from __future__ import annotations

from functools import partial

from fleetd.model.machine import Machine
from fleetd.model.plan import Action, Check, Due, Skip
from fleetd.model.reasons import Reason, Verb
from fleetd.planner.draft import Draft
from fleetd.planner.policies import Drift, is_settled, outlived, snapshot_drift, timeout_drift
from fleetd.planner.roster import is_late


def report_oddities(draft: Draft) -> None:
    """States that fleetd does not know, and transitions that ran late: said, never acted on."""
    for machine in draft.members.unknown:
        draft.puzzled(None, machine)
    for machine in draft.members.leaving:
        if machine.id not in draft.members.moving:
            draft.skip(None, Reason.LEAVING, machine, detail=machine.state)
    for machine in (*draft.members.rising, *draft.members.falling):
        if is_late(machine, draft.members, draft.memory):
            draft.skip(None, Reason.TIMED_OUT, machine, detail=machine.state)
    for intent in draft.members.creating:
        if intent.ambiguous_since is not None:
            until = intent.ambiguous_since + draft.fleet.guards.settle
            draft.skips.append(
                Skip(draft.fleet.name, Verb.CREATE, Reason.CREATE_UNSETTLED, name=intent.name, until=until)
            )


def police(draft: Draft, due: Due) -> None:
    """Put settings right that drifted, and stop what has outlived its shutdown timeout."""
    moving = draft.members.moving
    known = (*draft.members.up, *draft.members.rising, *draft.members.falling, *draft.members.down)
    for machine in known:
        checks = due.get(machine.id, frozenset())
        if checks and is_settled(machine, moving) and machine.id not in draft.members.updating:
            draft.alone(machine, partial(_put_right, draft, machine, checks))
    for machine in draft.members.up:
        if machine.id in draft.memory.unjudged:
            draft.skip(Verb.STOP, Reason.START_UNKNOWN, machine)
        if Check.SHUTDOWN_TIMEOUT in due.get(machine.id, frozenset()):
            draft.alone(machine, partial(_end_overdue, draft, machine))


def _put_right(draft: Draft, machine: Machine, checks: frozenset[Check]) -> None:
    fleet = draft.fleet
    if Check.SHUTDOWN_TIMEOUT in checks:
        _mend(draft, machine, timeout_drift(fleet, machine), Reason.TIMEOUT_DRIFT)
    if Check.SNAPSHOT in checks:
        _mend(draft, machine, snapshot_drift(fleet, machine), Reason.SNAPSHOT_DRIFT)


def _end_overdue(draft: Draft, machine: Machine) -> None:
    facts = draft.memory.facts.get(machine.id)
    shown = draft.memory.shown.get(machine.id, machine)
    evidence = outlived(draft.fleet, shown, draft.now, started_at=None if facts is None else facts.started_at)
    if evidence is None or draft.may_not_touch(Verb.STOP, machine):
        return
    draft.act(Verb.STOP, Reason.OUTLIVED_TIMEOUT, machine, evidence=evidence)


def _mend(draft: Draft, machine: Machine, drift: Drift, reason: Reason) -> None:
    if not drift.changes or draft.vetoed(Verb.UPDATE, machine):
        return
    if draft.refused(Verb.UPDATE, machine, reason):
        return
    draft.actions.append(
        Action(
            Verb.UPDATE,
            draft.fleet.name,
            reason,
            machine=machine.id,
            name=machine.name,
            changes=drift.changes,
            evidence=drift.words,
        )
    )
