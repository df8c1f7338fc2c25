"""Machines of which nobody has been able to tell for long whether they are in use."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from fleetd.model.report import MachineReport, Report
from fleetd.planner.idle import SILENT_AFTER
from fleetd.words.names import called
from fleetd.words.quotes import clause
from fleetd.words.times import clock


@dataclass(frozen=True, slots=True)
class Unheard:
    """Such machines of one fleet."""

    fleet: str
    words: str
    """Without a time: it stays as it is from one look to the next."""
    since: datetime | None
    """Since when nobody could tell of the one that is unknown longest; it does not grow with what is shown late."""

    @property
    def sentence(self) -> str:
        """The words, with the time."""
        when = "" if self.since is None else f"Since {clock(self.since)}: "
        return f"{when}{self.words}"


def unheard(report: Report) -> Iterator[Unheard]:
    """Of each fleet that has such machines; they count as used, so none of them is stopped as idle."""
    found: dict[str, list[MachineReport]] = {}
    for machine in report.machines:
        if machine.owned and machine.fleet is not None and is_unheard(machine):
            found.setdefault(machine.fleet, []).append(machine)
    seen = report.sight.believed_at
    for fleet, machines in found.items():
        longest = max(machines, key=_seconds)
        who = f"{called(longest)} is" if len(machines) == 1 else f"{len(machines)} machines are"
        why = "" if longest.idle is None or not longest.idle.evidence else f": {clause(longest.idle.evidence)}"
        words = f"nobody has been able to tell whether {who} in use, which counts as used{why}."
        yield Unheard(fleet, words, None if seen is None else seen - timedelta(seconds=_seconds(longest)))


def is_unheard(machine: MachineReport) -> bool:
    """Whether its idle sources have known nothing of it for half an hour."""
    return _seconds(machine) >= SILENT_AFTER


def _seconds(machine: MachineReport) -> float:
    return 0.0 if machine.idle is None else machine.idle.unknown_s
