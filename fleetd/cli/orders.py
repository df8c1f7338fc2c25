"""One machine's start, stop or restart, through the running daemon: decided by its next pass, and journaled by it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import anyio
import typer

from fleetd import wiring
from fleetd.cli.failures import ExitCode
from fleetd.cli.options import ConfigOption, JsonOption, StateDirOption, examples
from fleetd.cli.output import say, show_json
from fleetd.cli.vetoes import MachineName, ReasonOption, span_of_veto
from fleetd.cli.words import until
from fleetd.model.answers import OrderTaken
from fleetd.model.journal import MachineOrder
from fleetd.model.reasons import Verb
from fleetd.model.report import document
from fleetd.ops.escape import printable
from fleetd.words.names import typed
from fleetd.words.quotes import clause
from fleetd.words.reasons import UNDER_WAY

KEEP_OFF = timedelta(hours=4)
"""How long a stopped machine stays off unless told otherwise."""

START_EXAMPLES = examples('fleetd start training-7k3mqggq --reason "the lab is back early"')
STOP_EXAMPLES = examples(
    'fleetd stop training-7k3mqggq --reason "its fan is loud"  # off for 4 hours, then the fleet may start it again',
    'fleetd stop training-7k3mqggq --for 24h --reason "until the ticket is solved"',
    "fleetd release training-7k3mqggq  # lets it start again before that",
)
RESTART_EXAMPLES = examples('fleetd restart training-7k3mqggq --reason "the driver hangs" --even-if-busy')

EvenIfBusy = Annotated[
    bool,
    typer.Option("--even-if-busy", metavar="", help="Do it although somebody uses the machine, or nobody can tell."),
]


def start(
    machine: MachineName,
    reason: ReasonOption,
    config: ConfigOption = None,
    state_dir: StateDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Have the daemon start one stopped machine, within the target and the cost caps.

    Ends what fleetd stop left to keep it off, and says so; any other veto stands. Ends with 75 when it is declined:
    held, frozen, or beyond the target.
    """
    _order(MachineOrder(Verb.START, machine, reason), config, state_dir, as_json=as_json)


def stop(
    machine: MachineName,
    reason: ReasonOption,
    lasts: Annotated[
        timedelta,
        typer.Option(
            "--for",
            metavar="SPAN",
            parser=span_of_veto,
            help="How long it stays off, 31d at most. Default: 4h.",
            show_default=False,
        ),
    ] = KEEP_OFF,
    even_if_busy: EvenIfBusy = False,
    config: ConfigOption = None,
    state_dir: StateDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Have the daemon stop one machine, and keep it off for a while; nothing takes its place meanwhile.

    Ends with 75 when it is declined: held, frozen, in use, or on its way somewhere. fleetd release lets it start
    again before its time.
    """
    _order(MachineOrder(Verb.STOP, machine, reason, even_if_busy, lasts), config, state_dir, as_json=as_json)


def restart(
    machine: MachineName,
    reason: ReasonOption,
    even_if_busy: EvenIfBusy = False,
    config: ConfigOption = None,
    state_dir: StateDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Have the daemon restart one machine that is up.

    Ends with 75 when it is declined: held, frozen, in use, or on its way somewhere.
    """
    _order(MachineOrder(Verb.RESTART, machine, reason, even_if_busy), config, state_dir, as_json=as_json)


def _order(order: MachineOrder, config: Path | None, state_dir: Path | None, *, as_json: bool) -> None:
    settings = wiring.load_for_daemon(wiring.find_config(config), state_dir)
    taken = anyio.run(wiring.order_machine, settings, order)
    if as_json:
        show_json(document(taken))
    else:
        for line in _words(order, taken):
            say(line)
    if taken.result == "undecided":
        raise typer.Exit(ExitCode.TEMPORARY)


def _words(order: MachineOrder, taken: OrderTaken) -> list[str]:
    name, now = printable(taken.name), datetime.now(UTC)
    word = typed(taken.name, taken.machine)
    match taken.result:
        case "begun":
            due = f", due by {until(taken.transition.deadline, now)}" if taken.transition else ""
            lines = [f"{name}: {UNDER_WAY[order.verb]}{due}"]
            for hold in taken.lifted:
                why = f"{printable(hold.actor)}: {clause(printable(hold.reason))}"
                lines.append(f"It was to stay off until {until(hold.expires_at, now)} ({why}); that is over.")
            if taken.kept_off_until is not None:
                end = until(taken.kept_off_until, now)
                lines.append(f"It stays off until {end}; fleetd release {word} ends that.")
            return lines
        case "already_so":
            return [f"{name} is {printable(taken.state or '')} already; nothing was done"]
        case _:
            return [f"no pass has decided on {name} yet: fleetd history --machine {word} will say what became of it"]
