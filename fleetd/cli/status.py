"""``fleetd status``: how everything stands, once or again and again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated

import anyio
import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from fleetd import wiring
from fleetd.cli.failures import UsageError
from fleetd.cli.options import ConfigOption, JsonOption, StateDirOption, examples
from fleetd.cli.output import out, show, show_json
from fleetd.cli.render_status import fitting, status_view
from fleetd.cli.report_filter import of_fleet, problems
from fleetd.model.errors import FleetdError
from fleetd.model.report import Report, document
from fleetd.ops.escape import printable

REFRESH = 2.0
"""Seconds between two looks of ``status --watch``."""


def status(
    config: ConfigOption = None,
    state_dir: StateDirOption = None,
    as_json: JsonOption = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", metavar="", help="Look again every two seconds.")] = False,
    fleet: Annotated[str | None, typer.Option("--fleet", metavar="NAME", help="Of this fleet only.")] = None,
    only_problems: Annotated[
        bool, typer.Option("--problems", metavar="", help="Only what is not as it should be, or may need a person.")
    ] = False,
) -> None:
    """Show fleets, machines, what is under way, and what is blocked and why.

    From the running daemon; without one, from the journal and the API.
    """
    settings = wiring.load_for_daemon(wiring.find_config(config), state_dir)

    async def look() -> Report:
        report = await wiring.current_status(settings)
        if fleet is not None:
            if fleet not in report.fleets and report.sight.believed_at is not None:
                known = ", ".join(report.fleets) or "none"
                raise UsageError(f"no fleet is called {fleet}; there is {known}")
            report = of_fleet(report, fleet)
        return problems(report) if only_problems else report

    if watch:
        anyio.run(_watch, look, as_json, only_problems)
        return
    report = anyio.run(look)
    if as_json:
        show_json(document(report))
    else:
        show(status_view(report, datetime.now(UTC), only_problems=only_problems))


STATUS_EXAMPLES = examples(
    "fleetd status",
    "fleetd status --problems",
    "fleetd status --fleet training --watch",
    "fleetd status --json | jq '.fleets.training.up'",
)


async def _watch(look: Callable[[], Awaitable[Report]], as_json: bool, only_problems: bool) -> None:
    console = out()
    if as_json or not console.is_terminal:
        while True:
            report = await look()
            if as_json:
                show_json(document(report), indent=None)
            else:
                show(Group(status_view(report, datetime.now(UTC), only_problems=only_problems), Text("")))
            await anyio.sleep(REFRESH)
    last: Report | None = None
    seen = datetime.now(UTC)
    with Live(Text("looking ..."), console=console, screen=True, auto_refresh=False) as live:
        while True:
            fault = None
            try:
                last = await look()
                seen = datetime.now(UTC)
            except FleetdError as error:  # a screen that is watched stays: what it shows is old, and says so
                fault = str(error)
            now = datetime.now(UTC)
            live.update(screen(last, seen, now, console, fault=fault, only_problems=only_problems), refresh=True)
            await anyio.sleep(REFRESH)


def screen(
    last: Report | None,
    seen: datetime,
    now: datetime,
    console: Console,
    *,
    fault: str | None = None,
    only_problems: bool = False,
) -> RenderableType:
    """What ``status --watch`` draws: the report as of ``seen``, and below it, whatever the room, how old it is."""
    below: list[RenderableType] = [Text("")]
    if fault is not None:
        below.append(Text(f"this is old: {printable(fault)}", style="bold red"))
    below.append(Text(f"{now:%H:%M:%S} UTC, again every {REFRESH:g} s; Ctrl-C ends", style="dim"))
    room = console.height - sum(len(console.render_lines(part, pad=False)) for part in below)
    above: RenderableType = Text("looking ...")
    if last is not None:
        above = fitting(last, seen, console, room, only_problems=only_problems)
    return Group(*([above] if room > 0 else []), *below)
