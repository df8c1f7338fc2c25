"""``fleetd explain``: why a machine or a fleet is as it is, and why something is not being done."""

from __future__ import annotations

from typing import Annotated, Any

import anyio
import typer

from fleetd import wiring
from fleetd.cli.options import ConfigOption, JsonOption, examples
from fleetd.cli.output import say, show_json
from fleetd.model.errors import FleetdError
from fleetd.ops.escape import printable
from fleetd.planner.sentences import explain_fleet, explain_machine

EXPLAIN_EXAMPLES = examples("fleetd explain training", "fleetd explain training-7k3mq9")


class UnknownSubject(FleetdError):
    """Neither a fleet nor a machine is called so."""


def explain(
    subject: Annotated[
        str, typer.Argument(metavar="MACHINE-or-FLEET", help="A fleet's name, or a machine's id or name.")
    ],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say in sentences why it is as it is, and why what is not being done is not."""
    settings = wiring.load_settings(wiring.find_config(config))
    status = anyio.run(wiring.current_status, settings)
    sentences = sentences_about(status, subject)
    if as_json:
        show_json({"format": 1, "subject": subject, "sentences": sentences})
        return
    for line in sentences:
        say(printable(line, limit=1000))


def sentences_about(status: dict[str, Any], subject: str) -> list[str]:
    """The sentences, from a status document.

    Raises:
        UnknownSubject: nothing is called so.
    """
    if subject in status["fleets"]:
        return explain_fleet(status, subject)
    found = [m for m in status["machines"] if subject in {m["id"], m["name"]}]
    if not found:
        fleets = ", ".join(status["fleets"]) or "none"
        raise UnknownSubject(f"no fleet and no machine is called {subject}; fleets: {fleets}")
    return [line for machine in found for line in explain_machine(status, machine)]
