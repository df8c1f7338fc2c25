"""Where the journal is kept: moving it into a database, and back."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import anyio
import typer

from fleetd import wiring
from fleetd.cli.options import ConfigOption, examples
from fleetd.cli.output import say
from fleetd.config.units import Misspelt
from fleetd.config.values import parse_database
from fleetd.model.settings import KeySource
from fleetd.ops.escape import printable

MOVE_EXAMPLES = examples(
    "fleetd state move --to postgresql://fleetd@db.example/fleetd --password-file /etc/fleetd/db-password",
    "fleetd state move --to /var/lib/fleetd  # with daemon.state in the config: back into a file",
)
state = typer.Typer(
    no_args_is_help=True,
    epilog=MOVE_EXAMPLES,
    rich_markup_mode="rich",
    add_completion=False,
    pretty_exceptions_enable=False,
)


@state.callback()
def _group() -> None:
    """A group, though it has one command."""


@state.command("move", epilog=MOVE_EXAMPLES)
def move(
    to: Annotated[
        str, typer.Option("--to", metavar="URL|DIRECTORY", help="The database's address, or a state directory.")
    ],
    config: ConfigOption = None,
    password_file: Annotated[
        Path | None, typer.Option("--password-file", metavar="FILE", help="File that holds the database's password.")
    ] = None,
) -> None:
    """Move the journal from where the config has it. End the daemon, or every replica, first.

    Word is left in the old place: a daemon that is started on it refuses. What was cut short goes on when it is run
    again. The config is yours to change afterwards.
    """
    settings = wiring.load_settings(wiring.find_config(config))
    back = settings.daemon.state is not None
    if not back:
        try:
            parse_database(to)
        except Misspelt as error:
            raise typer.BadParameter(str(error), param_hint="--to") from error
    elif "://" in to:
        raise typer.BadParameter("the config names a database already: name a directory", param_hint="--to")
    password = None if password_file is None else KeySource(file=password_file.absolute())
    target = Path(to).expanduser().absolute() if back else to
    told = anyio.run(partial(wiring.move_state, settings, target, password))
    say(f"moved to {printable(to)}: {told}")
    then = "leave daemon.state out, and name the directory as daemon.state_dir" if back else f'daemon.state = "{to}"'
    say(f"Now say so in the config: {printable(then)}")
