"""Operators' orders for single machines: carried out before what the target asks for, or declined with a reason.

An order is one attempt. It yields to vetoes, to doubt about what was seen and to cost caps, and to whoever uses the
machine unless the operator said otherwise; it does not yield to the guards that pace fleetd's own actions.
"""

from __future__ import annotations

from fleetd.model.journal import Request
from fleetd.model.machine import Machine, Phase
from fleetd.model.plan import Action
from fleetd.model.reasons import Reason, Verb
from fleetd.planner.draft import SOMEONE_IS_AT_IT, Draft
from fleetd.planner.idle import in_use

_AT_GOAL = {Verb.START: frozenset({Phase.UP, Phase.RISING}), Verb.STOP: frozenset({Phase.DOWN, Phase.FALLING})}
_FROM = {
    Verb.START: frozenset({Phase.DOWN}),
    Verb.STOP: frozenset({Phase.UP, Phase.RISING}),
    Verb.RESTART: frozenset({Phase.UP}),
}


def carry_orders(draft: Draft, target: int) -> None:
    """Decide every order for a machine of this fleet: each becomes one action, or one skip."""
    machines = {m.id: (m, phase) for phase, group in _groups(draft).items() for m in group}
    for request in draft.memory.requests:
        found = machines.get(request.machine_id)
        if found is None:
            continue  # of another fleet, or gone
        machine, phase = found
        if _repeats(draft, request, machine) or _declined(draft, request, machine, phase, target):
            continue
        draft.take(
            Action(
                request.verb,
                draft.fleet.name,
                Reason.OPERATOR_REQUEST,
                machine=machine.id,
                name=machine.name,
                expected_state=machine.state,
                hourly_delta=draft.delta(request.verb, machine),
                evidence=request.reason,
                actor=request.actor,
                even_if_busy=request.even_if_busy,
            )
        )


def _groups(draft: Draft) -> dict[Phase, tuple[Machine, ...]]:
    members = draft.members
    return {
        Phase.UP: members.up,
        Phase.RISING: members.rising,
        Phase.FALLING: (*members.falling, *members.leaving),
        Phase.DOWN: members.down,
        Phase.UNKNOWN: members.unknown,
    }


def _repeats(draft: Draft, request: Request, machine: Machine) -> bool:
    """Whether an order before it has decided the machine's next step; says so where that is another one."""
    before = next((a for a in draft.actions if a.machine == machine.id), None)
    if before is not None and before.verb is not request.verb:
        draft.skip(request.verb, Reason.IN_TRANSITION, machine, detail=str(before.verb))
    return before is not None


def _declined(draft: Draft, request: Request, machine: Machine, phase: Phase, target: int) -> bool:
    """Whether it is not carried out; says why."""
    verb = request.verb
    moving = draft.members.moving.get(machine.id)
    if moving is not None and moving.verb is not verb:
        draft.skip(verb, Reason.IN_TRANSITION, machine, until=moving.deadline_at, detail=str(moving.verb))
        return True
    if phase is Phase.UNKNOWN:
        draft.puzzled(verb, machine)
        return True
    if moving is not None or phase in _AT_GOAL.get(verb, frozenset()):
        draft.skip(verb, Reason.ALREADY_SO, machine, detail=machine.state)
        return True
    if phase not in _FROM[verb] or machine.state in SOMEONE_IS_AT_IT:
        draft.skip(verb, Reason.WRONG_STATE, machine, detail=machine.state)
        return True
    if draft.vetoed(verb, machine):
        return True
    if verb is Verb.START:
        return _start_is_too_many(draft, machine, target)
    if request.even_if_busy:
        return False
    return draft.leased(verb, machine) or (phase is Phase.UP and _in_use(draft, verb, machine))


def _start_is_too_many(draft: Draft, machine: Machine, target: int) -> bool:
    have = draft.members.have + sum(a.verb is Verb.START for a in draft.actions)
    if have < target:
        return False
    draft.skip(Verb.START, Reason.OVER_TARGET, machine, detail=f"{have} of {target}")
    return True


def _in_use(draft: Draft, verb: Verb, machine: Machine) -> bool:
    """Whether it is used, as far as the fleet has sources that can tell: unknown counts as used (promise 6)."""
    if draft.fleet.idle is None:
        return False
    report = draft.memory.idle.get(machine.id)
    reason = in_use(draft.fleet, report)
    if reason is None:
        return False  # that it has been idle for ``after`` is not asked for: a person decides, and knows of the use
    draft.skip(verb, reason, machine, detail=report.evidence if report is not None else "no reading yet")
    return True
