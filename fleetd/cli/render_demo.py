"""The demo's screen: what a newcomer should understand at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.columns import Columns
from rich.console import Console, Group, JustifyMethod, RenderableType
from rich.panel import Panel
from rich.segment import SegmentLines
from rich.table import Table
from rich.text import Text

from fleetd.cli.output import shown
from fleetd.cli.render_status import fleet_words, legend
from fleetd.cli.words import money, sign_of
from fleetd.model.report import MachineReport, Report
from fleetd.ops.escape import printable

EVENTS_SHOWN = 8
"""Events in the list, where there is room."""
FEW = 3
"""Events below which the machines are counted instead, on a small terminal."""


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


def title_lines(speed: float) -> tuple[str, str]:
    """What this is, in two lines."""
    pace = f"{speed:g} times faster than life"
    return (
        "fleetd keeps fleets of GPU machines at their target size.",
        f"This one works on a simulated provider, {pace}: nothing costs anything, or leaves this machine.",
    )


def demo_view(scene: Scene, *, events: int = EVENTS_SHOWN, roomy: bool = True) -> RenderableType:
    """The whole screen.

    Args:
        scene: what it shows.
        events: lines for what happened, the newest; 0 leaves that list out.
        roomy: with a cell for each machine, and lines between the parts.
    """
    first, second = title_lines(scene.speed)
    gap = [Text("")] if roomy else []
    parts: list[RenderableType] = [Text(first, style="bold"), Text(second, style="dim"), *gap]
    if scene.report is None or not scene.report.fleets:
        parts.append(Text("The first look at the machines ...", style="dim"))
    else:
        parts += [_fleets(scene.report, roomy=roomy), *_foreign(scene.report), *([legend()] if roomy else [])]
    parts += [*gap, *_standing(scene), *gap]
    if events:
        parts.append(Text("What happened", style="bold"))
        recent = list(scene.events)[-events:]
        parts += [Text(f"  {line}", overflow="ellipsis", no_wrap=True) for line in recent]
        parts += [Text("") for _ in range(events - len(recent))]
    return Panel(Group(*parts), title="fleetd demo", box=box.ROUNDED, border_style="cyan", padding=(0, 2))


def fitting_demo(scene: Scene, console: Console) -> RenderableType:
    """As much of the screen as the terminal holds: how things stand and what to do next, before what happened."""
    choices = [(True, events) for events in range(EVENTS_SHOWN, FEW - 1, -1)]
    choices += [(False, events) for events in range(EVENTS_SHOWN, -1, -1)]
    for roomy, events in choices:
        view = demo_view(scene, events=events, roomy=roomy)
        if len(console.render_lines(view, pad=False)) < console.height:  # the cursor has a line as well
            return view
    return SegmentLines(console.render_lines(view, pad=False)[: max(1, console.height - 1)], new_lines=True)


def ending(report: Report, seconds: float) -> list[str]:
    """How the demo ends where there is no screen."""
    fleets = "; ".join(fleet_words(name, fleet) for name, fleet in report.fleets.items())
    lines = [f"At target after {seconds:.0f} s: {fleets}.  {money(report.hourly)}"]
    foreign = [printable(m.name) for m in report.machines if not m.owned]
    if foreign:
        lines.append(f"Machines of other people, never touched: {', '.join(foreign)}.")
    return lines


def _fleets(report: Report, *, roomy: bool) -> Table:
    table = Table(box=box.SIMPLE_HEAD if roomy else None, pad_edge=False, header_style="bold")
    for name in ("fleet", "target", "up", "machines", "cost", ""):
        justify: JustifyMethod = "right" if name in {"target", "up", "cost"} else "left"
        table.add_column(name, justify=justify, overflow="fold", no_wrap=name != "machines")
    for name, fleet in report.fleets.items():
        mine = [m for m in report.machines if m.fleet == name]
        table.add_row(
            Text(printable(name), style="bold"),
            str(fleet.target),
            str(fleet.up),
            _cells(name, mine) if roomy else _counts(mine),
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


def _counts(machines: Sequence[MachineReport]) -> Text:
    """How many there are in each state, in the colours of their phases."""
    if not machines:
        return Text("none yet", style="dim")
    counts = Counter((machine.phase, machine.state) for machine in machines)
    texts = []
    for (phase, state), count in counts.items():
        sign, style = sign_of(phase)
        texts.append(Text(f"{sign} {count} {printable(state)}", style=style))
    return Text("  ").join(texts)


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
        done = f"Every fleet is at its target. The first time took {scene.converged_after:.0f} s."
        standing = Text(done, style="bold green")
    else:
        standing = Text("Something has changed, and fleetd is putting it right.", style="bold yellow")
    return [standing, *(Text(step) for step in scene.next_steps)]
