"""``fleetd plan``: what the next pass would do, and why. Writes nothing."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from functools import partial
from typing import Annotated

import anyio
import typer

from fleetd import wiring
from fleetd.cli.failures import ExitCode
from fleetd.cli.options import ConfigOption, JsonOption, examples, moment
from fleetd.cli.output import say, show, show_json
from fleetd.cli.render_plan import plan_view
from fleetd.cli.render_status import silent_words
from fleetd.model.report import veto_report
from fleetd.ops.escape import printable


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

    warned = partial(
        wiring.plan_once, on_silence=_warn_of_silence, on_other=_warn_of_other, on_untold=_warn_of_untold
    )
    look = partial(warned, settings, at=instant)
    found = anyio.run(look)
    vetoes = found.memory.holds
    if as_json:
        from fleetd.engine.status import plan_document  # noqa: PLC0415 - who completes a command waits for no engine

        show_json(plan_document(found.plan, vetoes))
    else:
        names = Counter(m.name for m in found.observation.machines)
        alike = {name for name, machines in names.items() if machines > 1}
        held = [veto_report(h) for h in vetoes]
        show(plan_view(found.plan, held, then=instant, now=datetime.now(UTC), alike=alike))
    if detailed_exitcode and found.plan.actions:
        raise typer.Exit(ExitCode.CHANGES_PENDING)


PLAN_EXAMPLES = examples(
    "fleetd plan -c fleetd.toml",
    "fleetd plan --at 20:00  # what would be done tonight",
    "fleetd plan --detailed-exitcode --json  # for a pipeline: 0 nothing to do, 2 changes",
)


def _warn_of_silence(pid: int | None) -> None:
    say(f"warning: {silent_words(pid)}", style="yellow")


def _warn_of_other(who: str) -> None:
    say(f"warning: what is idle is not taken from a daemon: {printable(who)}", style="yellow")


def _warn_of_untold(pid: int | None) -> None:
    who = "the daemon" if pid is None else f"the daemon (pid {pid})"
    untold = f"{who} does not tell what it waits out, as one of another version"
    say(f"warning: {untold}; its next pass may do less than this", style="yellow")
