"""A report with less in it: of one fleet, or of what may need a person."""

from __future__ import annotations

from msgspec.structs import replace

from fleetd.model.in_mind import NOTHING
from fleetd.model.machine import Phase
from fleetd.model.reasons import ORDINARY, Standing
from fleetd.model.report import MachineReport, Report
from fleetd.words import phases
from fleetd.words.names import vetoes_on
from fleetd.words.use import is_unheard

_PUZZLING = frozenset(
    {Standing.OVERDUE, Standing.ORPHAN, Standing.LOOK_ALIKE, Standing.ANSWER_LOST, Standing.UNVERIFIED}
)


def of_fleet(report: Report, name: str) -> Report:
    """Everything that is about one fleet; one that nobody has seen yet is not among the fleets."""
    fleet = report.fleets.get(name)
    machines = tuple(m for m in report.machines if m.owned and m.fleet == name)
    return replace(
        report,
        fleets={} if fleet is None else {name: fleet},
        machines=machines,
        blocked=tuple(b for b in report.blocked if b.fleet == name),
        vetoes=tuple(vetoes_on(report.vetoes, name, machines)),
        hourly=None if fleet is None else fleet.hourly,
        orphans=(),
        over_caps=tuple(c for c in report.over_caps if c.fleet in {None, name}),
        budgets=tuple(b for b in report.budgets if b.fleet in {None, name}),
        in_mind=NOTHING,
    )


def problems(report: Report) -> Report:
    """Fleets and machines that are not as the config has them, budgets that run out, and what may need a person."""
    return replace(
        report,
        fleets={name: fleet for name, fleet in report.fleets.items() if fleet.unlike or not fleet.converged},
        machines=tuple(m for m in report.machines if is_odd(m)),
        blocked=tuple(b for b in report.blocked if b.reason not in ORDINARY),
        vetoes=(),
        budgets=tuple(b for b in report.budgets if b.is_short),
    )


def is_odd(machine: MachineReport) -> bool:
    """Whether somebody may want to look at it."""
    return bool(
        machine.failure
        or machine.phase == Phase.UNKNOWN
        or machine.turned_outside
        or machine.unconfirmed
        or machine.standing in _PUZZLING
        or is_unheard(machine)
    )


def eventful_first(machine: MachineReport) -> tuple[bool, int, bool, str]:
    """Sort key: what is odd, what moves, what is held, then by name."""
    return (not is_odd(machine), phases.eventful_first(machine.phase), machine.hold is None, machine.name)
