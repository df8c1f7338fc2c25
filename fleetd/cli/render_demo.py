"""The demo's screen: what a newcomer should understand at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from fleetd.cli.output import shown
from fleetd.cli.render_status import fleet_words, legend
from fleetd.cli.words import money, sign_of
from fleetd.model.report import MachineReport, Report
from fleetd.ops.escape import printable

EVENTS_SHOWN = 8
"""Events in the list, where there is room."""
OTHER_LINES = 25
"""Lines of the screen beside that list, about."""


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything that the screen shows at one moment."""

    speed: float
    """How much faster than life the simulator is."""
    report: Report | None = None
    """How everything stood after the last pass."""
    events: Sequence[str] = ()
    """What happened, in words, oldest first."""
    converged_after: float | None = None
    """Seconds until every fleet was at its target for the first time; None before that."""
    next_steps: Sequence[str] = ()
    height: int = 50
    """Lines of the terminal."""


def title_lines(speed: float) -> tuple[str, str]:
    """What this is, in two lines."""
    pace = f"{speed:g} times faster than life"
    return (
        "fleetd keeps fleets of GPU machines at their target size.",
        f"This one works on a simulated provider, {pace}: nothing costs anything, or leaves this machine.",
    )


def demo_view(scene: Scene) -> RenderableType:
    """The whole screen."""
    first, second = title_lines(scene.speed)
    parts: list[RenderableType] = [Text(first, style="bold"), Text(second, style="dim"), Text("")]
    if scene.report is None or not scene.report.fleets:
        parts.append(Text("The first look at the machines ...", style="dim"))
    else:
        parts += [_fleets(scene.report), *_foreign(scene.report), legend()]
    # What happened stands last: a small terminal cuts it off, not how things stand.
    parts += [Text(""), *_standing(scene), Text(""), Text("What happened", style="bold")]
    room = max(3, min(EVENTS_SHOWN, scene.height - OTHER_LINES))
    recent = list(scene.events)[-room:]
    parts += [Text(f"  {line}", overflow="ellipsis", no_wrap=True) for line in recent]
    parts += [Text("") for _ in range(room - len(recent))]
    return Panel(Group(*parts), title="fleetd demo", box=box.ROUNDED, border_style="cyan", padding=(0, 2))


def ending(report: Report, seconds: float) -> list[str]:
    """How the demo ends where there is no screen."""
    fleets = "; ".join(fleet_words(name, fleet) for name, fleet in report.fleets.items())
    lines = [f"Converged in {seconds:.0f} s: {fleets}.  {money(report.hourly)}"]
    foreign = [printable(m.name) for m in report.machines if not m.owned]
    if foreign:
        lines.append(f"Machines of other people, never touched: {', '.join(foreign)}.")
    return lines


def _fleets(report: Report) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for name in ("fleet", "target", "up", "machines", "cost", ""):
        table.add_column(name, justify="right" if name in {"target", "up", "cost"} else "left")
    for name, fleet in report.fleets.items():
        mine = [m for m in report.machines if m.fleet == name]
        table.add_row(
            Text(printable(name), style="bold"),
            str(fleet.target),
            str(fleet.up),
            _cells(name, mine),
            money(fleet.hourly),
            Text("at its target", style="green") if fleet.converged else Text("getting there", style="yellow"),
        )
    total = "all together" if len(report.fleets) > 1 else ""
    table.add_row("", "", "", "", Text(money(report.hourly), style="bold"), Text(total, style="dim"))
    return table


def _cells(fleet: str, machines: Sequence[MachineReport]) -> RenderableType:
    """One cell a machine: sign, token, state, all in the colour of its phase."""
    if not machines:
        return Text("none yet", style="dim")
    cells = []
    for machine in machines:
        sign, style = sign_of(machine.phase)
        token = machine.name.removeprefix(f"{fleet}-")
        cells.append(Text(f"{sign} {printable(token)} {printable(machine.state)}", style=style))
    return Columns(cells, padding=(0, 2))


def _foreign(report: Report) -> list[RenderableType]:
    foreign = [m for m in report.machines if not m.owned]
    if not foreign:
        return []
    names = ", ".join(f"{shown(m.name)} ({shown(m.state)})" for m in foreign)
    return [Text.assemble(("Machines of other people, never touched: ", "dim"), names)]


def _standing(scene: Scene) -> list[RenderableType]:
    if scene.converged_after is None or scene.report is None:
        return [Text("Every machine is followed until it is up. Ctrl-C ends the demo.", style="yellow")]
    if all(fleet.converged for fleet in scene.report.fleets.values()):
        done = f"Converged: every fleet is at its target. The first time took {scene.converged_after:.0f} s."
        standing = Text(done, style="bold green")
    else:
        standing = Text("Something has changed, and fleetd is putting it right.", style="bold yellow")
    return [standing, *(Text(step) for step in scene.next_steps)]
