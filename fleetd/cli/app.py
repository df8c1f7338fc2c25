"""The way in: every command, and the one place where an error becomes an exit code."""

from __future__ import annotations

import gc
import os
import re
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.text import Text

import fleetd
from fleetd import wiring
from fleetd.cli.catalogue import Catalogue
from fleetd.cli.failures import ExitCode, exit_code, explanation, leaf
from fleetd.cli.logs import debugging, log_to_stderr
from fleetd.cli.options import examples
from fleetd.cli.output import err, mind_the_closed, prepare_streams, say, show
from fleetd.model.errors import ConfigError
from fleetd.ops.escape import printable

COLLECT_AFTER = 50_000
"""Objects made and not freed before the garbage collector looks at the young ones. At its default of 700 it took
two fifths of a pass over a large account, in which every machine is a few objects and none is garbage."""

LONGEST_LINE = 1000
"""Characters of one line of an error."""

SILENT = frozenset({"version", "schema"})
"""Commands that log nothing; setting the log up takes longer than they do."""

app = typer.Typer(
    name="fleetd",
    cls=Catalogue,
    help="Keeps fleets of GPU machines at their target size, and says why.",
    rich_markup_mode="rich",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples(
        "fleetd demo  # needs nothing, costs nothing",
        "fleetd plan -c fleetd.toml",
        "fleetd COMMAND --help",
    ),
)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code. ``arguments`` are those of the process unless given."""
    prepare_streams()
    gc.set_threshold(COLLECT_AFTER, 10, 10)
    try:
        code = _invoke(sys.argv[1:] if arguments is None else list(arguments))
        sys.stdout.flush()
        if code in {ExitCode.OK, ExitCode.CHANGES_PENDING}:
            mind_the_closed()
    except BaseException as error:  # noqa: BLE001 - every error ends here, as a line and a number
        return _failed(error)
    return code


def _invoke(arguments: list[str]) -> int:
    if "_FLEETD_COMPLETE" in os.environ:  # a shell asks for completions
        app(arguments, prog_name="fleetd")
    command = typer.main.get_command(app)
    try:
        with command.make_context("fleetd", arguments) as context:
            command.invoke(context)
    except typer.Exit as done:
        return done.exit_code
    return ExitCode.OK


def _failed(error: BaseException) -> int:
    if isinstance(leaf(error), SystemExit | GeneratorExit):
        raise error
    code = exit_code(error)
    if code is ExitCode.BROKEN_PIPE:
        _abandon_stdout()
        return code
    try:
        _report(error, code)
    except BrokenPipeError:
        _abandon_stdout()
    return code


def _report(error: BaseException, code: ExitCode) -> None:
    console = err()
    if debugging():
        for line in "".join(traceback.format_exception(error)).splitlines():
            console.print(Text(_safe(line)), soft_wrap=True)
    if isinstance(leaf(error), typer.Abort):
        console.print()  # the question still stands on this line
    prefix = Text("" if code is ExitCode.INTERRUPTED else "error: ", style="bold red")
    for line in explanation(error):
        say(Text.assemble(prefix, _coloured(_safe(line), error)))
        prefix = Text("")


def _coloured(line: str, error: BaseException) -> Text:
    """A fault of a config with its place and its key set off; any other line as it is."""
    text, known = Text(line), leaf(error)
    source = known.source if isinstance(known, ConfigError) else None
    found = re.match(rf"  ({re.escape(_safe(source))}(?::\d+)*): (?:(\S+): )?", line) if source else None
    if found:
        text.stylize("cyan", *found.span(1))
        text.stylize("bold", *found.span(2))
    return text


def _safe(line: str) -> str:
    return printable(wiring.SECRETS.mask_text(line), limit=LONGEST_LINE)


def _abandon_stdout() -> None:
    """Nobody reads any more: keep the interpreter from complaining about it when it ends."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            os.dup2(devnull, stream.fileno())
        except (OSError, ValueError):
            continue
    os.close(devnull)


def _version(wanted: bool) -> None:
    if wanted:
        show(f"fleetd {fleetd.__version__}")
        raise typer.Exit


@app.callback()
def _top(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version.", show_default=False),
    ] = False,
) -> None:
    del version  # its callback has ended the command
    if context.invoked_subcommand not in SILENT:
        log_to_stderr()
