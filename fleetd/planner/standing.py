"""Why a machine is in its state, as a code, from its report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from fleetd.model.machine import UNREADABLE, UNVERIFIED, Phase
from fleetd.model.reasons import Reason, Standing
from fleetd.model.report import FleetReport, MachineReport
from fleetd.planner.attribution import Culprit
from fleetd.planner.ownership import made_for

_STOPS: Mapping[str, Standing] = MappingProxyType(
    {
        Reason.PARKED_IDLE: Standing.PARKED,
        Reason.OVER_TARGET: Standing.SCALED_IN,
        Reason.OUTLIVED_TIMEOUT: Standing.OUTLIVED_TIMEOUT,
        Reason.OPERATOR_REQUEST: Standing.STOPPED_BY_ORDER,
        Culprit.OPERATOR: Standing.STOPPED_OUTSIDE,
        Culprit.VENDOR_TIMEOUT: Standing.STOPPED_BY_VENDOR,
        Culprit.FAILED_START: Standing.START_FAILED,
        Culprit.FLEETD: Standing.STOPPED_BY_FLEETD,
        Culprit.UNKNOWN: Standing.STOPPED_SOMEHOW,
    }
)


_PUZZLES = {UNVERIFIED: Standing.UNVERIFIED, UNREADABLE: Standing.UNREADABLE}


def standing(machine: MachineReport, fleet: FleetReport | None) -> Standing:
    """The code for one machine; ``fleet``: its own, None where it has none."""
    step = machine.transition
    if not machine.owned:
        if machine.look_alike:
            return Standing.LOOK_ALIKE
        return Standing.FOREIGN if made_for(machine.name) is None else Standing.ORPHAN
    if step is not None:
        return Standing.ANSWER_LOST if step.ambiguous else Standing.UNDER_WAY
    if machine.leaving:
        return Standing.LEAVING
    match machine.phase:
        case Phase.UP:
            surplus = fleet is not None and fleet.up > fleet.target
            return Standing.SURPLUS if surplus else Standing.WANTED
        case Phase.RISING | Phase.FALLING:
            return Standing.OVERDUE if machine.failure else Standing.MOVES_BY_ITSELF
        case Phase.DOWN:
            return _why_down(machine)
        case _:
            return _PUZZLES.get(machine.state, Standing.UNKNOWN_STATE)


def orphans(machines: Iterable[MachineReport]) -> list[MachineReport]:
    """The machines that nobody looks after, although by their names a fleetd made them."""
    return [m for m in machines if not m.owned and not m.look_alike and made_for(m.name) is not None]


def _why_down(machine: MachineReport) -> Standing:
    if machine.failure:
        return Standing.START_FAILED
    if machine.stopped_by is None:
        return Standing.OFF_ALL_ALONG
    return _STOPS.get(machine.stopped_by, Standing.STOPPED_BY_FLEETD)
