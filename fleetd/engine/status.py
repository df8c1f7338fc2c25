"""The ``status --json`` document, made from the last pass."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from fleetd.model.journal import Hold, IdleReport, Intent, MachineFacts
from fleetd.model.machine import Machine, Phase
from fleetd.model.plan import Action, FleetView, Observation, Plan, Skip
from fleetd.model.reasons import PASSING, Reason, Verb
from fleetd.planner.ownership import lookalikes
from fleetd.planner.standing import standing

if TYPE_CHECKING:  # commands that only show a document need no engine
    from fleetd.engine.reconciler import PassReport

FORMAT = 1
"""Version of the JSON documents; it grows when a field changes its meaning."""


def plan_document(plan: Plan, vetoes: Iterable[Hold] = ()) -> dict[str, Any]:
    """``plan --json``; money as decimal strings, null where a price is not known."""
    return {
        "format": FORMAT,
        "at": time_text(plan.at),
        "complete": plan.complete,
        "fleets": {name: _fleet(view) for name, view in plan.fleets.items()},
        "next": {name: _next(view) for name, view in plan.fleets.items()},
        "vetoes": [hold_document(h) for h in vetoes],
        "actions": [_action(a) for a in plan.actions],
        "skips": [skip_document(s) for s in plan.skips],
        "hourly_before": _money(plan.hourly_before),
        "hourly_after": _money(plan.hourly_after),
        "unconfirmed": [
            {"machine": u.machine, "name": u.name, "fleet": u.fleet, "reason": str(u.reason)}
            for u in plan.unconfirmed
        ],
        "clocks_apart": plan.clocks_apart,
        **money_document(plan),
    }


def status_document(
    report: PassReport | None,
    *,
    daemon: dict[str, Any],
    vetoes: Sequence[Hold] | None = None,
    believed: PassReport | None = None,
    doubted_since: datetime | None = None,
    doubt: str | None = None,
) -> dict[str, Any]:
    """``status --json``.

    Args:
        report: of the last pass; without one there is nothing to say of fleets.
        daemon: the document's ``daemon`` part.
        vetoes: those in force now; by default those that the pass knew.
        believed: of the last pass whose look was believed: fleets and machines are shown as it saw them.
        doubted_since: since when no look was believed; by default the last pass says.
        doubt: why not, where it is not the last pass's listing.
    """
    if report is None:
        shown = [hold_document(h) for h in vetoes or ()]
        nothing = _nothing(daemon, shown)
        return (
            nothing if doubted_since is None else nothing | {"observation": _sight(None, None, doubted_since, doubt)}
        )
    last = report
    if believed is None and last.observation.sane:
        believed = last
    if doubted_since is None and not last.observation.sane:
        doubted_since = last.started_at
    sight = {"observation": _sight(last.observation, believed, doubted_since, doubt)}
    if believed is None:  # what was not believed counts nowhere
        shown = [hold_document(h) for h in (last.memory.holds if vetoes is None else vetoes)]
        blocked = [skip_document(s) for s in last.skips if s.reason not in PASSING]
        return _nothing(daemon, shown) | {"blocked": blocked} | sight
    report = believed
    under_way = sorted(report.intents, key=lambda i: i.verb is not Verb.UPDATE)  # what moves it says more
    moving: dict[str | None, Intent] = {i.machine_id: i for i in under_way if i.machine_id is not None}
    holds = report.memory.holds if vetoes is None else vetoes
    fleets: dict[str | None, dict[str, Any]] = {
        name: _fleet(view)
        | {
            "converged": view.converged and doubted_since is None,
            "was_converged": view.converged,
            "hourly": _money(view.hourly),
            "parked": view.parked,
            "next": _next(view),
        }
        for name, view in report.plan.fleets.items()
    }
    rows = _machines(report, moving, holds)
    for row in rows:
        row["standing"] = str(standing(row, fleets.get(row["fleet"])))
    return {
        "format": FORMAT,
        "daemon": daemon,
        "fleets": fleets,
        "machines": rows,
        "blocked": [skip_document(s) for s in last.skips if s.reason not in PASSING],
        "vetoes": [hold_document(h) for h in holds],
        "hourly": _money(report.plan.hourly_before),
        **money_document(report.plan),
        "clocks_apart": last.plan.clocks_apart,
        **sight,
    }


def _nothing(daemon: dict[str, Any], vetoes: list[dict[str, Any]]) -> dict[str, Any]:
    """The document while there is nothing to say of fleets."""
    return {"format": FORMAT, "daemon": daemon, "fleets": {}, "machines": [], "blocked": [], "vetoes": vetoes}


def _sight(
    seen: Observation | None, believed: PassReport | None, doubted_since: datetime | None, doubt: str | None
) -> dict[str, Any]:
    """How far what is shown of fleets and machines can be relied on."""
    if seen is not None:
        doubt = doubt or seen.rejected or (None if seen.complete else "the listing is not whole")
    return {
        "at": None if seen is None else time_text(seen.at),
        "complete": seen is not None and seen.complete,
        "rejected": None if seen is None else seen.rejected,
        "believed_at": None if believed is None else time_text(believed.observation.at),
        "doubted_since": time_text(doubted_since),
        "doubt": None if doubted_since is None else doubt,
    }


def money_document(plan: Plan) -> dict[str, Any]:
    """What is billed outside of every fleet, the caps that are passed, and how far the budgets are used."""
    return {
        "orphans": [
            {"fleet": o.fleet, "machines": list(o.names), "billed": o.billed, "hourly": _money(o.hourly)}
            for o in plan.orphans
        ],
        "over_caps": [{"fleet": o.fleet, "hourly": _money(o.rate), "cap": _money(o.cap)} for o in plan.over_caps],
        "budgets": [
            {
                "fleet": b.fleet,
                "month": b.month,
                "budget": _money(b.budget),
                "spent": _money(b.spent),
                "committed": _money(b.committed),
                "wanted": _money(b.wanted),
                "used_up_at": time_text(b.used_up_at),
                "at_most": b.at_most,
                "unbilled": list(b.unbilled),
            }
            for b in plan.budgets
        ],
    }


def skip_document(skip: Skip) -> dict[str, Any]:
    """One thing that is not being done."""
    return {
        "fleet": skip.fleet,
        "machine": skip.machine,
        "name": skip.name or None,
        "verb": None if skip.verb is None else str(skip.verb),
        "reason": str(skip.reason),
        "until": time_text(skip.until),
        "detail": skip.detail or None,
        "count": skip.count,
        "since": time_text(skip.since),
    }


def hold_document(hold: Hold) -> dict[str, Any]:
    """One veto."""
    return {
        "id": hold.id,
        "kind": hold.kind,
        "subject": hold.subject,
        "machine": hold.machine,
        "verbs": sorted(str(v) for v in hold.verbs),
        "reason": hold.reason,
        "actor": hold.actor,
        "created_at": time_text(hold.created_at),
        "expires_at": time_text(hold.expires_at),
    }


def transition_document(intent: Intent) -> dict[str, Any]:
    """One open transition."""
    return {
        "verb": str(intent.verb),
        "reason": str(intent.reason),
        "intent": intent.id,
        "since": time_text(intent.created_at),
        "deadline": time_text(intent.deadline_at),
        "ambiguous": intent.ambiguous_since is not None and intent.accepted_at is None,
    }


def time_text(at: datetime | None) -> str | None:
    """ISO 8601 in UTC with a Z; None stays None."""
    return None if at is None else at.isoformat().replace("+00:00", "Z")


def _machines(report: PassReport, moving: dict[str | None, Intent], holds: Sequence[Hold]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    leaving = {s.machine for s in report.plan.skips if s.reason is Reason.LEAVING}
    twins = {m.id for m in lookalikes(report.observation.machines, report.owned, report.plan.fleets)}
    for machine in sorted(report.observation.machines, key=lambda m: (m.name, m.id)):
        owner = report.owned.get(machine.id)
        intent = moving.get(machine.id)
        facts = report.memory.facts.get(machine.id)
        hold = next((h for h in holds if h.is_on(machine.id, machine.name)), None)
        idle = report.memory.idle.get(machine.id)
        rows.append(
            {
                "id": machine.id,
                "name": machine.name,
                "former_name": None if facts is None or facts.name == machine.name else facts.name,
                "fleet": owner.fleet if owner is not None else None,
                "state": machine.state,
                "phase": str(machine.phase),
                "owned": owner is not None,
                "leaving": machine.id in leaving,
                "look_alike": machine.id in twins,
                "unconfirmed": None if owner is None or owner.unconfirmed is None else str(owner.unconfirmed),
                "transition": transition_document(intent) if intent is not None else None,
                "hold": hold_document(hold) if hold is not None else None,
                "type": machine.machine_type,
                "up_since": time_text(facts.up_since) if facts is not None else None,
                "state_since": time_text(_state_since(machine, facts, intent)) if facts is not None else None,
                "failure": facts.failure_reason if facts is not None else None,
                "stopped_by": facts.stopped_by if facts is not None else None,
                "stopped_at": time_text(facts.stopped_at) if facts is not None else None,
                "idle": _idle(idle) if idle is not None else None,
            }
        )
    listed = {m.id for m in report.observation.machines}
    rows.extend(
        {
            "id": intent.machine_id,
            "name": intent.name,
            "former_name": None,
            "fleet": intent.fleet,
            "state": "creating",
            "phase": "rising",
            "owned": True,
            "leaving": False,
            "look_alike": False,
            "unconfirmed": None,
            "transition": transition_document(intent),
            "hold": None,
            "type": None,
            "up_since": None,
            "state_since": time_text(intent.created_at),
            "failure": None,
            "stopped_by": None,
            "stopped_at": None,
            "idle": None,
        }
        for intent in report.intents
        if intent.verb == "create" and intent.machine_id not in listed
    )
    return rows


def _state_since(machine: Machine, facts: MachineFacts, intent: Intent | None) -> datetime:
    """Since when at the least it is as it is: in its transition, up, or not up."""
    if intent is not None:
        return intent.created_at
    if machine.phase is Phase.UP and facts.up_since is not None:
        return facts.up_since
    known = (facts.first_seen, facts.stopped_at, facts.last_up_at)
    return max(at for at in known if at is not None)


def _idle(report: IdleReport) -> dict[str, Any]:
    return {
        "verdict": str(report.verdict),
        "since": time_text(report.idle_since),
        "evidence": report.evidence,
        "unknown_s": round(report.unknown_s),
    }


def _fleet(view: FleetView) -> dict[str, Any]:
    return {
        "target": view.target,
        "configured_target": view.configured_target,
        "window": view.window,
        "up": view.up,
        "rising": view.rising,
        "falling": view.falling,
        "down": view.down,
        "unknown": view.unknown,
        "intents": view.intents,
        "leaving": view.leaving,
        "no_effect": dict(view.no_effect),
        "unlike": [asdict(one) for one in view.unlike],
    }


def _next(view: FleetView) -> dict[str, Any] | None:
    change = view.next_change
    if change is None:
        return None
    return {
        "at": time_text(change.at),
        "target": change.target,
        "window": change.window,
        "parked": change.parked,
    }


def _action(action: Action) -> dict[str, Any]:
    return {
        "verb": str(action.verb),
        "fleet": action.fleet,
        "machine": action.machine,
        "name": action.name or None,
        "reason": str(action.reason),
        "hourly_delta": _money(action.hourly_delta),
    }


def _money(amount: object) -> str | None:
    return None if amount is None else str(amount)
