"""The way in: every command, and the one place where an error becomes an exit code."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.text import Text

from fleetd import wiring
from fleetd.cli import about, keep, look, orders, simulate, vetoes
from fleetd.cli.cost import COST_EXAMPLES, cost
from fleetd.cli.demo import DEMO_EXAMPLES, demo
from fleetd.cli.explain import EXPLAIN_EXAMPLES, explain
from fleetd.cli.failures import ExitCode, exit_code, explanation, leaf
from fleetd.cli.logs import debugging, log_to_stderr
from fleetd.cli.machines import machines
from fleetd.cli.options import examples
from fleetd.cli.output import err, prepare_streams
from fleetd.ops.escape import printable

LONGEST_LINE = 1000
"""Characters of one line of an error."""

FLEETS, VETOES, ORDERS = "Fleets", "Vetoes", "Orders to the running daemon"
BY_HAND, TRY, ABOUT = "By hand", "Try it", "About fleetd"

app = typer.Typer(
    name="fleetd",
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
    try:
        log_to_stderr()
        code = _invoke(sys.argv[1:] if arguments is None else list(arguments))
        sys.stdout.flush()
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
        console.print(Text.assemble(prefix, _safe(line)), soft_wrap=True)
        prefix = Text("")


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
        about.version()
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version.", show_default=False),
    ] = False,
) -> None:
    del version  # its callback has ended the command


for command, panel, epilog in (
    (keep.run, FLEETS, keep.RUN_EXAMPLES),
    (look.check, FLEETS, look.CHECK_EXAMPLES),
    (look.plan, FLEETS, look.PLAN_EXAMPLES),
    (keep.apply, FLEETS, keep.APPLY_EXAMPLES),
    (look.status, FLEETS, look.STATUS_EXAMPLES),
    (look.history, FLEETS, look.HISTORY_EXAMPLES),
    (explain, FLEETS, EXPLAIN_EXAMPLES),
    (cost, FLEETS, COST_EXAMPLES),
    (vetoes.hold, VETOES, vetoes.HOLD_EXAMPLES),
    (vetoes.release, VETOES, vetoes.RELEASE_EXAMPLES),
    (vetoes.freeze, VETOES, vetoes.FREEZE_EXAMPLES),
    (vetoes.unfreeze, VETOES, vetoes.UNFREEZE_EXAMPLES),
    (vetoes.adopt, VETOES, vetoes.ADOPT_EXAMPLES),
    (orders.start, ORDERS, orders.START_EXAMPLES),
    (orders.stop, ORDERS, orders.STOP_EXAMPLES),
    (orders.restart, ORDERS, orders.RESTART_EXAMPLES),
    (keep.reload, ORDERS, keep.RELOAD_EXAMPLES),
    (demo, TRY, DEMO_EXAMPLES),
    (simulate.simulator, TRY, simulate.SIMULATOR_EXAMPLES),
    (about.schema, ABOUT, about.SCHEMA_EXAMPLES),
    (about.version, ABOUT, about.VERSION_EXAMPLES),
):
    app.command(rich_help_panel=panel, epilog=epilog)(command)
app.add_typer(machines, name="machines", rich_help_panel=BY_HAND)
