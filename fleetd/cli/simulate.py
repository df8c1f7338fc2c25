"""``fleetd simulator``: the provider's API on its own, for trying things out and for tests."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import anyio
import typer
from rich.console import Group
from rich.text import Text

from fleetd import wiring
from fleetd.cli.logs import log_to_stderr
from fleetd.cli.options import examples
from fleetd.cli.output import say, show
from fleetd.config.units import is_loopback
from fleetd.ops.escape import printable

KEY_VARIABLE = "PAPERSPACE_API_KEY"
PORT = 8900


def simulator(
    host: Annotated[str, typer.Option("--host", metavar="ADDRESS", help="Listen on this address.")] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option("--port", "-p", metavar="N", min=0, max=65535, help="Listen on this port; 0 takes any."),
    ] = PORT,
    speed: Annotated[
        float, typer.Option("--speed", metavar="N", help="So many times faster than life do machines boot and stop.")
    ] = 1.0,
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", help="Of everything random: the same seed gives the same run.")
    ] = 0,
    faults: Annotated[
        Path | None,
        typer.Option("--faults", metavar="FILE", help="A TOML file of faults to inject.", show_default=False),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(
            "--key",
            metavar="TEXT",
            help=f"The API key to accept. Others on this machine can read it in ps: ${KEY_VARIABLE} keeps it out of "
            "there. Without either, any key that is not empty will do.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Serve the machines API with machines that exist only here, until Ctrl-C.

    It is strict where the provider is, forgets everything when it ends, and keeps a log of all calls.
    """
    if speed <= 0:
        raise typer.BadParameter(f"expected more than 0, got {speed:g}", param_hint="--speed")
    if key is not None:
        say("note: --key can be read by everyone on this machine (ps)", style="yellow")
    accepted = key or os.environ.get(KEY_VARIABLE) or None
    if accepted is None and not is_loopback(host):
        say("note: others can reach this address, and any key will do", style="yellow")
    log_to_stderr("info")

    async def serve() -> None:
        await wiring.serve_simulator(
            host=host,
            port=port,
            speed=speed,
            seed=seed,
            faults=faults,
            key=accepted,
            on_ready=lambda url: show(_how_to_use(url, by_option=key is not None, any_key=accepted is None)),
        )

    anyio.run(serve)


SIMULATOR_EXAMPLES = examples(
    "fleetd simulator --speed 60",
    "fleetd simulator --port 0 --seed 7 --faults faults.toml",
    "PAPERSPACE_CONFIG_HOST=http://127.0.0.1:8900 npx paperspace-node machines list  # the vendor's own client",
)


def _how_to_use(url: str, *, by_option: bool, any_key: bool) -> Group:
    """Where it is, and what to write into a config and a shell."""
    if any_key:
        key = f"export {KEY_VARIABLE}=anything   # any key that is not empty will do"
    elif by_option:
        key = f"export {KEY_VARIABLE}=...        # the key of --key"
    else:
        key = f"# it takes the key that {KEY_VARIABLE} holds here"
    return Group(
        Text.assemble(("The simulator listens on ", "bold"), (printable(url), "bold cyan")),
        Text(f'\n  [provider]\n  kind = "paperspace-core"\n  base_url = "{printable(url)}"'),
        Text(f'  api_key = {{ env = "{KEY_VARIABLE}" }}\n\n  {key}'),
        Text("\nCtrl-C ends it, and its machines with it.", style="dim"),
    )
