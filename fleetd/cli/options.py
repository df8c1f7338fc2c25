"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from fleetd.config.units import Misspelt, parse_duration
from fleetd.model.bounds import plausible

_CLOCK = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)", re.ASCII)


def duration(text: str | timedelta) -> timedelta:
    """A duration on the command line, spelt as in the config."""
    if isinstance(text, timedelta):  # a default
        return text
    try:
        return parse_duration(text)
    except Misspelt as error:
        raise typer.BadParameter(str(error)) from None


def moment(text: str, now: datetime, zone: tzinfo | None = None) -> datetime:
    """A time to come: ``20:00`` (the next one), ``+2h``, or ISO 8601; in UTC.

    Args:
        text: what was given.
        now: the present, timezone-aware.
        zone: what a time without a zone means; None is this machine's local time.
    """
    if text.startswith("+"):
        return now + duration(text[1:])
    clock = _CLOCK.fullmatch(text)
    if clock is None:
        return _iso(text, zone, 'a time such as "20:00", "+2h" or "2026-03-02T20:00"')
    local = now.astimezone(zone).replace(tzinfo=None)
    then = local.replace(hour=int(clock[1]), minute=int(clock[2]), second=0, microsecond=0)
    return _in_utc(then if then > local else then + timedelta(days=1), zone)


def moment_ago(text: str, now: datetime, zone: tzinfo | None = None) -> datetime:
    """A time gone by: ``24h`` (that long ago), or ISO 8601; in UTC."""
    try:
        return now - parse_duration(text)
    except Misspelt:
        return _iso(text, zone, 'how long ago, such as "24h" or "7d", or a time such as "2026-03-02T20:00"')


def examples(*lines: str) -> str:
    """The help's last section: one command a line, with a remark after ``#``."""
    shown = []
    for line in lines:
        command, _, remark = line.partition("  # ")
        note = f"  [dim]# {escape(remark)}[/dim]" if remark else ""
        shown.append(f"[cyan]{escape(command)}[/cyan]{note}")
    return "\n".join(["[bold]Examples[/bold]", *shown])


ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="The config. Default: $FLEETD_CONFIG, then /etc/fleetd/fleetd.toml.",
        show_default=False,
    ),
]
StateDirOption = Annotated[
    Path | None,
    typer.Option(
        "--state-dir",
        metavar="DIR",
        help="The daemon that acts on this state directory, whatever config it runs on; -c does not count then.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", metavar="", help="Print JSON.", show_default=False)]


def _iso(text: str, zone: tzinfo | None, right: str) -> datetime:
    try:
        at = plausible(_in_utc(datetime.fromisoformat(text), zone))
    except (ValueError, OverflowError):
        at = None
    if at is None:
        raise typer.BadParameter(f"expected {right}, got {text!r}")
    return at


def _in_utc(at: datetime, zone: tzinfo | None) -> datetime:
    if at.tzinfo is None and zone is not None:
        at = at.replace(tzinfo=zone)
    return at.astimezone(UTC)
