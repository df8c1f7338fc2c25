"""``fleetd apply`` for people: how far each fleet is, and how it ended."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from rich.text import Text

from fleetd.cli.render_status import fleet_words
from fleetd.cli.words import money
from fleetd.model.report import FleetReport, Report
from fleetd.ops.escape import printable
from fleetd.words.reasons import UNDER_WAY, reason_words


@dataclass(frozen=True, slots=True)
class Bar:
    """One fleet's progress."""

    fleet: str
    done: int
    total: int
    text: str
    """How many are up, what is under way, and what stands in the way."""


def bars(report: Report) -> list[Bar]:
    """One bar a fleet, in the config's order."""
    return [_bar(name, fleet, report) for name, fleet in report.fleets.items()]


def summary(report: Report, seconds: float) -> Text:
    """The line that ``apply`` ends with."""
    fleets = "; ".join(fleet_words(name, fleet) for name, fleet in report.fleets.items())
    return Text.assemble(("At target", "bold green"), f" after {seconds:.0f} s: {fleets}.  {money(report.hourly)}")


def _bar(name: str, fleet: FleetReport, report: Report) -> Bar:
    up, target = fleet.up, fleet.target
    moving = Counter(m.transition.verb for m in report.machines if m.fleet == name and m.transition)
    parts = [f"{up}/{target}"]
    parts += [f"{count} {UNDER_WAY.get(verb, printable(verb))}" for verb, count in sorted(moving.items())]
    blocked = [b for b in report.blocked if b.fleet == name]
    if blocked and not fleet.converged:
        parts.append(f"waits: {printable(reason_words(blocked[0].reason))}")
    # Too many up is as far from the target as too few.
    off = abs(up - target)
    total = max(up, target, 1)
    return Bar(printable(name), total - off, total, ", ".join(parts))
