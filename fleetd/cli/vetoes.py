"""What the commands for vetoes share: how they are given and ended, and the options that they take."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import anyio
import typer

from fleetd import wiring
from fleetd.cli.failures import UsageError, usage
from fleetd.cli.options import duration
from fleetd.cli.output import say, show_json
from fleetd.cli.render_status import veto_words
from fleetd.cli.words import until
from fleetd.model.bounds import LONGEST_VETO, LONGEST_WORDS
from fleetd.model.journal import VetoOrder
from fleetd.model.reasons import Verb, VetoKind
from fleetd.model.report import VetoReport, document
from fleetd.model.settings import Settings
from fleetd.model.vetoes import only
from fleetd.ops.escape import printable


def span_of_veto(text: str | timedelta) -> timedelta:
    """How long a veto lasts: more than nothing, and not for good."""
    lasts = duration(text)
    if not timedelta(0) < lasts <= LONGEST_VETO:
        raise typer.BadParameter(
            f"a veto lasts {LONGEST_VETO.days} days at most (31d), got {text}: give it again later"
        )
    return lasts


ForOption = Annotated[
    timedelta,
    typer.Option(
        "--for", metavar="SPAN", parser=span_of_veto, help="How long, e.g. 4h, 31d at most; it always ends."
    ),
]


def _some_reason(text: str) -> str:
    """A reason that says something, and has an end: who is woken at night reads it."""
    if not text.strip():
        raise UsageError("--reason must not be empty")
    if len(text) > LONGEST_WORDS:
        raise UsageError(f"--reason must not be longer than {LONGEST_WORDS} characters")
    return text


ReasonOption = Annotated[
    str, typer.Option("--reason", metavar="TEXT", callback=_some_reason, help="Why; everybody sees it.")
]
VerbOption = Annotated[
    list[Verb] | None,
    typer.Option("--verb", help="Forbid only this; may be given several times. Default: everything."),
]
MachineName = Annotated[
    str,
    typer.Argument(metavar="MACHINE", help="A machine's id, its name, or its first one."),
]


def give(order: VetoOrder, config: Path | None, state_dir: Path | None, *, as_json: bool) -> None:
    """A hold or a freeze, in force when this returns."""
    settings = wiring.load_for_daemon(wiring.find_config(config), state_dir)
    with usage():
        taken = anyio.run(wiring.veto, settings, order)
    if as_json:
        show_json(document(taken))
        return
    subject = printable(order.subject or "everything")
    done = "held" if order.kind == VetoKind.HOLD else "frozen"
    end = until(taken.expires_at, datetime.now(UTC))
    say(f"{subject} is {done}{only(order.verbs)} until {end}: {printable(order.reason)}")
    if order.kind == VetoKind.HOLD and not taken.machines:
        unknown = "warning: nobody could be asked which machine that is; whatever is called"
        say(f"{unknown} {subject} is held", style="yellow")


def lift(kind: VetoKind, subject: str | None, config: Path | None, state_dir: Path | None, *, as_json: bool) -> None:
    """End a hold or a freeze, and say what goes on."""
    settings = wiring.load_for_daemon(wiring.find_config(config), state_dir)
    with usage():
        lifted = anyio.run(wiring.lift, settings, kind, subject)
    removed, left = lifted.removed, _left(lifted.left, kind, subject)
    # Looked at afterwards: a veto on a fleet or a machine that is no more can still be ended.
    if not removed and subject is not None:
        if kind == VetoKind.FREEZE:
            must_be_known(settings, subject)
        elif not anyio.run(wiring.knows_machine, settings, subject):
            raise typer.BadParameter(f"no machine and no hold is called {subject!r}; nothing was released")
    if as_json:
        show_json(document({"removed": removed, "left": left}))
        return
    what = "hold" if kind == VetoKind.HOLD else "freeze"
    on = printable(subject or "everything")
    if removed:
        say(f"{on}: {removed} {what}{'s' if removed != 1 else ''} ended")
    else:
        say(f"{on} has no {what} of its own; fleetd status lists what is in force")
    for freeze in left:
        end = "fleetd unfreeze" if freeze.subject is None else f"fleetd unfreeze {printable(freeze.subject)}"
        say(f"{veto_words(freeze, datetime.now(UTC))}: that goes on; {end} ends it", style="yellow")


def must_be_known(settings: Settings, fleet: str) -> None:
    """Raises BadParameter where the config has no such fleet."""
    # From a file with faults there is no list: then the daemon says which it has.
    known = [f.name for f in settings.fleets] or list(anyio.run(wiring.current_status, settings).fleets)
    if fleet not in known:
        listed = ", ".join(known) or "none"
        raise typer.BadParameter(f"the config has no fleet {fleet!r}; it has {listed}")


def _left(freezes: Sequence[VetoReport], kind: VetoKind, subject: str | None) -> list[VetoReport]:
    """Those that go on where something was ended: of what was named, and of everything."""
    if kind == VetoKind.FREEZE and subject is None:
        return list(freezes)
    return [v for v in freezes if v.subject is None or (kind == VetoKind.FREEZE and v.subject == subject)]
