"""Commands that look and change nothing: check, plan, status, history."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, Any, TypedDict

import anyio
import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from fleetd import config as config_file
from fleetd import wiring
from fleetd.cli.failures import ExitCode, UsageError
from fleetd.cli.narrow import of_fleet, problems
from fleetd.cli.options import ConfigOption, JsonOption, StateDirOption, examples, moment, moment_ago
from fleetd.cli.output import out, say, show, show_json, show_line
from fleetd.cli.render_history import history_document, history_line, history_view
from fleetd.cli.render_plan import plan_view
from fleetd.cli.render_status import fitting, silent_words, status_view
from fleetd.model.errors import ConfigError, FleetdError
from fleetd.model.journal import HistoryEntry
from fleetd.model.report import Report, document, veto_report
from fleetd.model.settings import Settings
from fleetd.ops.escape import printable

LATEST = 50
"""Entries of the history that a table shows unless told otherwise."""
TABLE_WIDTH = 100
"""Columns of a terminal from which on history is a table."""
REFRESH = 2.0
"""Seconds between two looks of ``status --watch``."""
FOLLOW = 1.0
"""Seconds between two looks of ``history --follow``."""


class _About(TypedDict):
    fleet: str | None
    machine: str | None


def check(
    config: ConfigOption = None,
    online: Annotated[
        bool,
        typer.Option(
            "--online", metavar="", help="Ask the provider as well: key, templates, networks, machine types."
        ),
    ] = False,
) -> None:
    """Validate the config: every fault at once, each with its line, its key and what would be right.

    Warnings do not make it fail.
    """
    path = wiring.find_config(config)
    settings = wiring.load_settings(path)
    unwise = [*config_file.file_warnings(path), *config_file.warnings(settings)]
    unwise += config_file.command_warnings(settings.idle_sources.values(), os.environ)
    if settings.provider.api_key is not None:
        unwise += config_file.key_warnings(settings.provider.api_key, os.environ)
    if online and settings.daemon.state is not None:
        unwise += anyio.run(wiring.database_advice, settings)
    for warning in config_file.placed(unwise, path):
        say(f"warning: {printable(warning.within(settings.source), limit=1000)}", style="yellow")
    if online:
        faults = anyio.run(wiring.check_online, settings)
        if faults:
            raise ConfigError(settings.source, config_file.placed(faults, path))
    fleets = ", ".join(f"{fleet.name} (target {fleet.target})" for fleet in settings.fleets) or "no fleet"
    show(Text.assemble((f"{printable(settings.source)} is valid", "green"), f": {fleets}"))


def plan(
    config: ConfigOption = None,
    as_json: JsonOption = False,
    detailed_exitcode: Annotated[
        bool, typer.Option("--detailed-exitcode", metavar="", help="End with 2 when there is something to do.")
    ] = False,
    at: Annotated[
        str,
        typer.Option(
            "--at",
            metavar="TIME",
            help="Plan as if it were then, with the machines as they are now: 20:00, +2h or 2026-03-02T20:00, in "
            "this shell's local time unless it ends with Z or +01:00.",
            show_default=False,
        ),
    ] = "",
) -> None:
    """Show what the next pass would do, and why. Writes nothing, ever.

    With --at, what a pass at that time would do if the machines stayed as they are: windows open and close, holds
    expire, idle machines stay idle. + create, > start, - stop, x destroy, ~ restart or update, ! not done and why.
    """
    instant = moment(at, datetime.now(UTC)) if at else None
    settings = wiring.load_settings(wiring.find_config(config))

    async def look() -> Any:
        return await wiring.plan_once(settings, at=instant, on_silence=_warn_of_silence, on_other=_warn_of_other)

    found = anyio.run(look)
    vetoes = found.memory.holds
    if as_json:
        from fleetd.engine.status import plan_document  # noqa: PLC0415 - who completes a command waits for no engine

        show_json(plan_document(found.plan, vetoes))
    else:
        show(plan_view(found.plan, [veto_report(h) for h in vetoes], then=instant, now=datetime.now(UTC)))
    if detailed_exitcode and found.plan.actions:
        raise typer.Exit(ExitCode.CHANGES_PENDING)


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


def history(
    config: ConfigOption = None,
    state_dir: StateDirOption = None,
    as_json: JsonOption = False,
    since: Annotated[
        str,
        typer.Option(
            "--since", metavar="WHEN", help="24h, 7d or 2026-03-02T20:00 (local time; Z: UTC).", show_default=False
        ),
    ] = "",
    fleet: Annotated[str | None, typer.Option("--fleet", metavar="NAME", help="Of this fleet only.")] = None,
    machine: Annotated[str | None, typer.Option("--machine", metavar="ID|NAME", help="Of this machine only.")] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            metavar="N",
            min=0,
            help=f"The newest so many; 0 is all. Default: {LATEST} in a table, all as JSON or with --since.",
            show_default=False,
        ),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", metavar="", help="Go on with what comes, until Ctrl-C.")
    ] = False,
) -> None:
    """Show every action, every change from outside, every veto and who ordered what, oldest first.

    And what happened to fleetd itself: starts and stops, reloads with their difference, a provider that was lost.

    As JSON, one object a line. 90 days and at most 100 000 entries are kept.
    """
    start = moment_ago(since, datetime.now(UTC)) if since else None
    settings = wiring.load_for_daemon(wiring.find_config(config), state_dir)
    most = limit if limit is not None else (None if as_json or since else LATEST)

    async def look() -> list[tuple[int, HistoryEntry]]:
        return await wiring.read_history(settings, since=start, fleet=fleet, machine=machine, limit=most or None)

    if follow:
        anyio.run(_follow, settings, _About(fleet=fleet, machine=machine), start, most, as_json)
        return
    entries = [entry for _, entry in anyio.run(look)]
    if as_json:
        for entry in entries:
            show_json(history_document(entry), indent=None)
        return
    if not entries:
        show(Text(_nothing(since=since, fleet=fleet, machine=machine)))
        return
    if out().width < TABLE_WIDTH:  # a table would break in every word
        for entry in entries:
            show_line(history_line(entry))
    else:
        show(history_view(entries))
    if limit is None and len(entries) == most:
        say(f"The newest {most}; --limit 0 shows all.", style="dim")


def _nothing(*, since: str, fleet: str | None, machine: str | None) -> str:
    """That there is no entry, and of what was asked for there is none: a name may be misspelt."""
    about = [f"of machine {printable(machine)}"] if machine else []
    about += [f"of fleet {printable(fleet)}"] if fleet else []
    about += [f"since {printable(since)}"] if since else []
    hint = "; fleetd status lists the names" if machine or fleet else ""
    return " ".join(["nothing yet", *about]) + hint


CHECK_EXAMPLES = examples(
    "fleetd check -c fleetd.toml", "fleetd check -c fleetd.toml --online  # asks the provider, too"
)
PLAN_EXAMPLES = examples(
    "fleetd plan -c fleetd.toml",
    "fleetd plan --at 20:00  # what would be done tonight",
    "fleetd plan --detailed-exitcode --json  # for a pipeline: 0 nothing to do, 2 changes",
)
STATUS_EXAMPLES = examples(
    "fleetd status",
    "fleetd status --problems",
    "fleetd status --fleet training --watch",
    "fleetd status --json | jq '.fleets.training.up'",
)
HISTORY_EXAMPLES = examples(
    "fleetd history --since 24h",
    "fleetd history --machine training-7k3mqggq",
    "fleetd history --fleet training --follow",
    "fleetd history --json | jq 'select(.outcome != \"reached\")'",
)


async def _follow(settings: Settings, about: _About, since: datetime | None, most: int | None, as_json: bool) -> None:
    last, mark = 0, wiring.journal_mark(settings)
    rows = await wiring.read_history(settings, since=since, limit=most or None, **about)
    while True:
        for number, entry in rows:
            last = number
            if as_json:
                show_json(history_document(entry), indent=None)
            else:
                show_line(history_line(entry))
        before = mark
        while mark == before:
            await anyio.sleep(FOLLOW)
            mark = wiring.journal_mark(settings)
        rows = await wiring.read_history(settings, after_id=last, **about)


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


def _warn_of_silence(pid: int | None) -> None:
    say(f"warning: {silent_words(pid)}", style="yellow")


def _warn_of_other(who: str) -> None:
    say(f"warning: what is idle is not taken from a daemon: {printable(who)}", style="yellow")
