"""A report with less in it: of one fleet, or of what may need a person."""

from __future__ import annotations

from msgspec.structs import replace

from fleetd.model.machine import Phase
from fleetd.model.reasons import ORDINARY, Standing
from fleetd.model.report import MachineReport, Report

_PUZZLING = frozenset(
    {Standing.OVERDUE, Standing.ORPHAN, Standing.LOOK_ALIKE, Standing.ANSWER_LOST, Standing.UNVERIFIED}
)
_ORDER = (Phase.UNKNOWN, Phase.RISING, Phase.FALLING, Phase.UP, Phase.DOWN)


def of_fleet(report: Report, name: str) -> Report:
    """Everything that is about one fleet."""
    machines = tuple(m for m in report.machines if m.owned and m.fleet == name)
    called = {m.id for m in machines} | {m.name for m in machines}
    return replace(
        report,
        fleets={name: report.fleets[name]},
        machines=machines,
        blocked=tuple(b for b in report.blocked if b.fleet == name),
        vetoes=tuple(v for v in report.vetoes if (v.on in called if v.kind == "hold" else v.subject in {None, name})),
        hourly=report.fleets[name].hourly,
        orphans=(),
        over_caps=tuple(c for c in report.over_caps if c.fleet in {None, name}),
        budgets=tuple(b for b in report.budgets if b.fleet in {None, name}),
        checks_made={m: made for m, made in report.checks_made.items() if m in called},
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
    )


def eventful_first(machine: MachineReport) -> tuple[bool, int, bool, str]:
    """Sort key: what is odd, what moves, what is held, then by name."""
    phase = next((p for p in _ORDER if p == machine.phase), Phase.UNKNOWN)
    return (not is_odd(machine), _ORDER.index(phase), machine.hold is None, machine.name)
