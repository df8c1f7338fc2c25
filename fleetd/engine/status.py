"""The report: what the last pass saw and decided, as it is told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from msgspec import convert
from msgspec.structs import replace

from fleetd.model.journal import Hold, IdleReport, Intent, MachineFacts
from fleetd.model.machine import Machine, Phase
from fleetd.model.plan import Observation, Plan
from fleetd.model.reasons import PASSING, Reason, Verb
from fleetd.model.report import (
    FORMAT,
    DaemonReport,
    FleetNumbers,
    FleetReport,
    MachineReport,
    Report,
    SightReport,
    StepReport,
    UseReport,
    blocked_report,
    document,
    veto_report,
)
from fleetd.planner.ownership import lookalikes
from fleetd.planner.standing import standing

if TYPE_CHECKING:  # commands that only show a report need no engine
    from fleetd.engine.pass_report import PassReport

NOBODY: Mapping[str, int] = {}


def plan_document(plan: Plan, vetoes: Iterable[Hold] = ()) -> dict[str, object]:
    """``plan --json``; money as decimal strings, null where a price is not known."""
    whole: dict[str, object] = document(
        {
            "format": FORMAT,
            "at": plan.at,
            "complete": plan.complete,
            "fleets": {name: convert(view, FleetNumbers, from_attributes=True) for name, view in plan.fleets.items()},
            "next": {name: view.next_change for name, view in plan.fleets.items()},
            "vetoes": [veto_report(h) for h in vetoes],
            "actions": [
                {
                    "verb": action.verb,
                    "fleet": action.fleet,
                    "machine": action.machine,
                    "name": action.name or None,
                    "reason": action.reason,
                    "hourly_delta": action.hourly_delta,
                }
                for action in plan.actions
            ],
            "skips": [blocked_report(s) for s in plan.skips],
            "hourly_before": plan.hourly_before,
            "hourly_after": plan.hourly_after,
            "later": plan.later,
            "unconfirmed": plan.unconfirmed,
            "clocks_apart": plan.clocks_apart,
        }
    )
    return whole | money_document(plan)


def money_document(plan: Plan) -> dict[str, object]:
    """What is billed outside of every fleet, the caps that are passed, and how far the budgets are used."""
    whole: dict[str, object] = document(
        {"orphans": plan.orphans, "over_caps": plan.over_caps, "budgets": plan.budgets}
    )
    return whole


def status_report(
    report: PassReport | None,
    *,
    daemon: DaemonReport,
    vetoes: Sequence[Hold] | None = None,
    believed: PassReport | None = None,
    doubted_since: datetime | None = None,
    doubt: str | None = None,
    turned: Mapping[str, int] = NOBODY,
) -> Report:
    """``status``.

    Args:
        report: of the last pass; without one there is nothing to say of fleets.
        daemon: the daemon's part.
        vetoes: those in force now; by default those that the pass knew.
        believed: of the last pass whose look was believed: fleets and machines are shown as it saw them.
        doubted_since: since when no look was believed; by default the last pass says.
        doubt: why not, where it is not the last pass's listing.
        turned: by machine id, how often somebody else has turned it.
    """
    if report is None:
        sight = None if doubted_since is None else _sight(None, None, doubted_since, doubt)
        return Report(daemon=daemon, vetoes=tuple(veto_report(h) for h in vetoes or ()), observation=sight)
    last = report
    if believed is None and last.observation.sane:
        believed = last
    if doubted_since is None and not last.observation.sane:
        doubted_since = last.started_at
    holds = (believed or last).memory.holds if vetoes is None else vetoes
    whole = Report(
        daemon=daemon,
        blocked=tuple(blocked_report(s) for s in last.skips if s.reason not in PASSING),
        vetoes=tuple(veto_report(h) for h in holds),
        clocks_apart=last.plan.clocks_apart,
        observation=_sight(last.observation, believed, doubted_since, doubt),
    )
    if believed is None:  # what was not believed counts nowhere
        return whole
    plan = believed.plan
    fleets = {
        name: replace(
            convert(view, FleetReport, from_attributes=True),
            converged=view.converged and doubted_since is None,
            was_converged=view.converged,
            next=view.next_change,
        )
        for name, view in plan.fleets.items()
    }
    return replace(
        whole,
        fleets=fleets,
        machines=tuple(
            replace(
                m,
                standing=standing(m, fleets.get(m.fleet or "")),
                turned_outside=turned.get(m.id or "", 0) if m.owned else 0,
            )
            for m in _machines(believed, holds)
        ),
        hourly=plan.hourly_before,
        orphans=plan.orphans,
        over_caps=plan.over_caps,
        budgets=plan.budgets,
    )


def step_report(intent: Intent) -> StepReport:
    """One open transition."""
    return StepReport(
        verb=intent.verb,
        reason=intent.reason,
        intent=intent.id,
        since=intent.created_at,
        deadline=intent.deadline_at,
        ambiguous=intent.ambiguous_since is not None and intent.accepted_at is None,
    )


def _sight(
    seen: Observation | None, believed: PassReport | None, doubted_since: datetime | None, doubt: str | None
) -> SightReport:
    """How far what is shown of fleets and machines can be relied on."""
    if seen is not None:
        doubt = doubt or seen.undecided
    return SightReport(
        at=None if seen is None else seen.at,
        complete=seen is not None and seen.complete,
        rejected=None if seen is None else seen.rejected,
        believed_at=None if believed is None else believed.observation.at,
        doubted_since=doubted_since,
        doubt=None if doubted_since is None else doubt,
    )


def _machines(report: PassReport, holds: Sequence[Hold]) -> Iterable[MachineReport]:
    under_way = sorted(report.intents, key=lambda i: i.verb is not Verb.UPDATE)  # what moves it says more
    moving = {i.machine_id: i for i in under_way if i.machine_id is not None}
    leaving = {s.machine for s in report.plan.skips if s.reason is Reason.LEAVING}
    twins = {m.id for m in lookalikes(report.observation.machines, report.owned, report.plan.fleets)}
    for machine in sorted(report.observation.machines, key=lambda m: (m.name, m.id)):
        owner = report.owned.get(machine.id)
        intent = moving.get(machine.id)
        facts = report.memory.facts.get(machine.id)
        hold = next((h for h in holds if h.is_on(machine.id, machine.name)), None)
        idle = report.memory.idle.get(machine.id)
        yield MachineReport(
            id=machine.id,
            name=machine.name,
            former_name=None if facts is None or facts.name == machine.name else facts.name,
            fleet=owner.fleet if owner is not None else None,
            state=machine.state,
            phase=machine.phase,
            owned=owner is not None,
            leaving=machine.id in leaving,
            look_alike=machine.id in twins,
            unconfirmed=None if owner is None else owner.unconfirmed,
            transition=step_report(intent) if intent is not None else None,
            hold=veto_report(hold) if hold is not None else None,
            type=machine.machine_type,
            private_ip=machine.private_ip,
            public_ip=machine.public_ip,
            up_since=facts.up_since if facts is not None else None,
            state_since=_state_since(machine, facts, intent) if facts is not None else None,
            failure=facts.failure_reason if facts is not None else None,
            stopped_by=facts.stopped_by if facts is not None else None,
            stopped_at=facts.stopped_at if facts is not None else None,
            idle=_use(idle) if idle is not None else None,
        )
    listed = {m.id for m in report.observation.machines}
    for intent in report.intents:
        if intent.verb is Verb.CREATE and intent.machine_id not in listed:
            yield MachineReport(
                id=intent.machine_id,
                name=intent.name,
                fleet=intent.fleet,
                state="creating",
                phase=Phase.RISING,
                owned=True,
                transition=step_report(intent),
                state_since=intent.created_at,
            )


def _state_since(machine: Machine, facts: MachineFacts, intent: Intent | None) -> datetime:
    """Since when at the least it is as it is: in its transition, up, or not up."""
    if intent is not None:
        return intent.created_at
    if machine.phase is Phase.UP and facts.up_since is not None:
        return facts.up_since
    known = (facts.first_seen, facts.stopped_at, facts.last_up_at)
    return max(at for at in known if at is not None)


def _use(report: IdleReport) -> UseReport:
    return UseReport(
        verdict=report.verdict,
        since=report.idle_since,
        evidence=report.evidence,
        unknown_s=round(report.unknown_s),
    )
