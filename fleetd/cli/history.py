"""``fleetd history``: what was done and what happened, oldest first."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, TypedDict

import anyio
import typer
from rich.text import Text

from fleetd import wiring
from fleetd.cli.options import ConfigOption, JsonOption, StateDirOption, examples, moment_ago
from fleetd.cli.output import out, say, show, show_json, show_line
from fleetd.cli.render_history import history_document, history_line, history_view
from fleetd.model.journal import HistoryEntry
from fleetd.model.settings import Settings
from fleetd.ops.escape import printable

LATEST = 50
"""Entries of the history that a table shows unless told otherwise."""

TABLE_WIDTH = 100
"""Columns of a terminal from which on history is a table."""

FOLLOW = 1.0
"""Seconds between two looks of ``history --follow``."""


class _About(TypedDict):
    fleet: str | None
    machine: str | None


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


HISTORY_EXAMPLES = examples(
    "fleetd history --since 24h",
    "fleetd history --machine training-7k3mqggq",
    "fleetd history --fleet training --follow",
    "fleetd history --json | jq 'select(.outcome != \"reached\")'",
)


def _nothing(*, since: str, fleet: str | None, machine: str | None) -> str:
    """That there is no entry, and of what was asked for there is none: a name may be misspelt."""
    about = [f"of machine {printable(machine)}"] if machine else []
    about += [f"of fleet {printable(fleet)}"] if fleet else []
    about += [f"since {printable(since)}"] if since else []
    hint = "; fleetd status lists the names" if machine or fleet else ""
    return " ".join(["nothing yet", *about]) + hint


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
