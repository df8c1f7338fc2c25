"""A report in sentences: how a fleet or a machine stands, what is not being done, and what comes next."""

from __future__ import annotations

from datetime import datetime, timedelta

from fleetd.model.machine import Phase
from fleetd.model.reasons import Activity, Reason
from fleetd.model.report import FleetReport, MachineReport, Report
from fleetd.words.fleets import change_sentence, fleet_sentence, unlike_sentence
from fleetd.words.machines import standing_sentence
from fleetd.words.money import digits
from fleetd.words.names import called, vetoes_on
from fleetd.words.quotes import clause, faults
from fleetd.words.reasons import sentence
from fleetd.words.times import clock, span
from fleetd.words.use import unheard
from fleetd.words.vetoes import veto_sentence


def explain_fleet(report: Report, name: str, now: datetime) -> list[str]:
    """How a fleet stands, what is under way, what is not being done and why, and what its windows bring next."""
    fleet = report.fleets[name]
    lines = [*doubts(report, now), fleet_sentence(name, fleet, doubted=report.sight.doubted_since is not None)]
    if fleet.parked:
        lines.append("The open window parks: idle machines are stopped, and nothing is started or created.")
    lines += _missing(report, name, fleet)
    lines += [unlike_sentence(one) for one in fleet.unlike]
    lines += [one.sentence for one in unheard(report) if one.fleet == name]
    lines += _next(fleet, now)
    if fleet.hourly is not None:
        cap = f" The cap over all fleets is ${report.max_hourly_cost}." if report.max_hourly_cost else ""
        cost, when = ("costs", "now") if report.sight.doubted_since is None else ("cost", "then")
        lines.append(f"It {cost} ${digits(fleet.hourly)} an hour {when}.{cap}")
    mine = _owned(report, name)
    lines += [f"{m.name}: {standing_sentence(m, fleet, now)}" for m in mine if m.transition is not None]
    lines += [sentence(b, now) for b in report.blocked if b.fleet == name]
    return [*lines, *(veto_sentence(v, now) for v in vetoes_on(report.vetoes, name, mine))]


def explain_machine(report: Report, machine: MachineReport, now: datetime) -> list[str]:
    """Why a machine is in its state, what stands in its way, and what comes next."""
    fleet = report.fleets.get(machine.fleet or "")
    lasts = f" for {span(now - machine.state_since)}" if machine.state_since is not None else ""
    place = f", in fleet {machine.fleet}" if machine.owned else ""
    before = f", {machine.former_name} before" if machine.former_name else ""
    name = f"{called(machine)} ({machine.id or 'no id yet'}{before})"
    was = "is" if report.sight.doubted_since is None else "was"
    lines = [*doubts(report, now), f"{name} {was} {machine.state}{lasts}{place}."]
    lines.append(standing_sentence(machine, fleet, now))
    if not machine.owned or fleet is None:
        return lines
    if machine.unconfirmed:
        lines.append(confirmation_words(machine.unconfirmed))
    if machine.turned_outside:
        lines.append(
            f"Somebody else, a script or another daemon, has started or stopped it {machine.turned_outside} times "
            "within an hour: fleetd waits longer and longer between its own attempts."
        )
    lines += _activity(machine, now)
    about = [b for b in report.blocked if b.machine == machine.id]
    lines += [sentence(b, now) for b in about]
    lines += [veto_sentence(v, now) for v in vetoes_on(report.vetoes, machine.fleet, [machine])]
    if machine.phase == Phase.DOWN and not about and machine.transition is None:
        lines.append(_why_not_started(report, machine, fleet, now))
    return [*lines, *_next(fleet, now)]


def confirmation_words(code: str) -> str:
    """What it means for a machine that nobody has confirmed it."""
    if code == Reason.RECOVERED:
        return (
            "It is recovered: its name says that fleetd made it, and this journal does not know of that. It is "
            "counted, started and stopped, and never destroyed before `fleetd adopt` confirms it."
        )
    return (
        "A pattern of adopt has taken it: it is counted, started and stopped, and never destroyed before "
        "`fleetd adopt` confirms it, or adopt has its whole name or id."
    )


def doubts(report: Report, now: datetime) -> list[str]:
    """What makes the picture itself doubtful; it comes first."""
    lines = []
    daemon, sight = report.daemon, report.sight
    if sight.doubted_since is not None:
        why = f": {clause(sight.doubt)}" if sight.doubt else ""
        then = "Nothing has been believed yet"
        if sight.believed_at is not None:
            then = f"What follows is as of {clock(sight.believed_at)}"
        lasts = span(max(now - sight.doubted_since, timedelta(0)))
        lines.append(f"Not believed since {clock(sight.doubted_since)}, for {lasts}{why}. {then}.")
    elif daemon.error is not None:
        lines.append(f"The last pass failed, so this may be old: {clause(daemon.error)}.")
    if daemon.last_fault is not None and daemon.error is None:
        fault = daemon.last_fault
        lines.append(
            f"A fault in fleetd's own code was met at {clock(fault.at)} ({fault.where}): {clause(fault.error)}."
        )
    if sight.undecided is not None:
        lines.append(f"Nothing is decided at the moment: {clause(sight.undecided)}.")
    if daemon.config_fault:
        at = f" at {clock(daemon.config_fault_since)}" if daemon.config_fault_since is not None else ""
        lines.append(
            f"A reload was rejected{at}, and the old config is in force: {clause(faults(daemon.config_fault))}."
        )
    return lines


def _missing(report: Report, name: str, fleet: FleetReport) -> list[str]:
    """What becomes of a fleet that is not where it should be, as far as nothing else that is said tells it."""
    lines = []
    coming = fleet.rising + fleet.intents
    short = 0 if fleet.parked else fleet.target - fleet.up - coming - fleet.unknown
    moving = coming or fleet.falling or any(m.transition for m in _owned(report, name))
    doubtful = report.sight.doubted_since is not None or report.sight.undecided is not None
    if short > 0 and not (moving or doubtful or any(b.fleet == name for b in report.blocked)):
        are, them = ("machine is", "it") if short == 1 else ("machines are", "them")
        lines.append(f"{short} {are} missing: the next pass starts or creates {them}.")
    if not (fleet.was_converged or report.daemon.running):
        lines.append(
            "No daemon runs, so nothing is done about it: `fleetd run` starts one, `fleetd apply` does it once."
        )
    return lines


def _owned(report: Report, fleet: str) -> list[MachineReport]:
    return [m for m in report.machines if m.fleet == fleet and m.owned]


def _next(fleet: FleetReport, now: datetime) -> list[str]:
    return [] if fleet.next is None else [change_sentence(fleet.next, now)]


def _activity(machine: MachineReport, now: datetime) -> list[str]:
    idle = machine.idle
    if machine.phase != Phase.UP or idle is None:
        return []
    evidence = f" ({idle.evidence})" if idle.evidence else ""
    if idle.verdict == Activity.IDLE:
        since = f" for {span(now - idle.since)}" if idle.since is not None else ""
        return [f"It has been idle{since}{evidence}."]
    if idle.verdict == Activity.ACTIVE:
        return [f"It is in use{evidence}."]
    return [f"Nobody can tell whether it is in use, which counts as used{evidence}."]


def _why_not_started(report: Report, machine: MachineReport, fleet: FleetReport, now: datetime) -> str:
    up = f"{fleet.up} of {fleet.target} up"
    coming = fleet.rising + fleet.intents
    if fleet.up + coming >= fleet.target:
        more = f" and {coming} on the way" if coming else ""
        return f"It is not needed: {machine.fleet} has {up}{more}. It is started again when one is missing."
    general = next((b for b in report.blocked if b.fleet == machine.fleet and b.machine is None), None)
    if general is not None:
        return f"{machine.fleet} has {up}. {sentence(general, now)}"
    return f"{machine.fleet} has {up}; the next pass decides about it."
