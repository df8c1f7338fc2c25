"""``fleetd check``: every fault of the config at once."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Annotated

import anyio
import typer
from rich.text import Text

from fleetd import config as config_file
from fleetd import wiring
from fleetd.cli.options import ConfigOption, examples
from fleetd.cli.output import say, show
from fleetd.model.errors import ConfigError, Fault
from fleetd.ops.escape import printable


def check(
    config: ConfigOption = None,
    online: Annotated[
        bool,
        typer.Option(
            "--online", metavar="", help="Ask the provider as well: key, templates, networks, machine types, adopt."
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
    _warn(settings.source, config_file.placed(unwise, path))
    if online:
        faults = anyio.run(wiring.check_online, settings)
        _warn(settings.source, config_file.placed(anyio.run(wiring.adoption_advice, settings), path))
        if faults:
            raise ConfigError(settings.source, config_file.placed(faults, path))
    fleets = ", ".join(f"{fleet.name} (target {fleet.target})" for fleet in settings.fleets) or "no fleet"
    show(Text.assemble((f"{printable(settings.source)} is valid", "green"), f": {fleets}"))


def _warn(source: str, found: Iterable[Fault]) -> None:
    for warning in found:
        say(f"warning: {printable(warning.within(source), limit=1000)}", style="yellow")


CHECK_EXAMPLES = examples(
    "fleetd check -c fleetd.toml", "fleetd check -c fleetd.toml --online  # asks the provider, too"
)
