"""Every command with its place in the help, imported when it is called for: each needs other libraries."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

FLEETS, VETOES, ORDERS = "Fleets", "Vetoes", "Orders to the running daemon"
BY_HAND, TRY, ABOUT = "By hand", "Try it", "About fleetd"


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a command is, and what the list of commands says of it: its docstring's first paragraph."""

    module: str
    """Below ``fleetd.cli``."""
    panel: str
    says: str


COMMANDS = MappingProxyType(
    {
        "run": Entry("run", FLEETS, "Keep every fleet at its target, in the foreground, until SIGTERM or Ctrl-C."),
        "check": Entry(
            "check",
            FLEETS,
            "Validate the config: every fault at once, each with its line, its key and what would be right.",
        ),
        "plan": Entry("plan", FLEETS, "Show what the next pass would do, and why. Writes nothing, ever."),
        "apply": Entry("apply", FLEETS, "Bring every fleet to its target, wait until it is there, and exit."),
        "status": Entry("status", FLEETS, "Show fleets, machines, what is under way, and what is blocked and why."),
        "history": Entry(
            "history",
            FLEETS,
            "Show every action, every change from outside, every veto and who ordered what, oldest first.",
        ),
        "explain": Entry(
            "explain",
            FLEETS,
            "Say in sentences why it is as it is, why what is not being done is not, and when that changes.",
        ),
        "cost": Entry(
            "cost",
            FLEETS,
            "What each machine and fleet cost in a month, storage apart: as the provider bills it where its API "
            "tells.",
        ),
        "hold": Entry(
            "hold",
            VETOES,
            "Forbid everything, or some verbs, on one machine until the hold ends. In force when this returns.",
        ),
        "release": Entry("hold", VETOES, "End the hold on one machine."),
        "freeze": Entry(
            "freeze",
            VETOES,
            "Forbid everything, or some verbs, on a fleet or on all of them. In force when this returns.",
        ),
        "unfreeze": Entry("freeze", VETOES, "End the freeze of a fleet, or of everything."),
        "adopt": Entry(
            "adopt",
            VETOES,
            "Confirm that a recovered machine is fleetd's, or one that a pattern of adopt took.",
        ),
        "start": Entry(
            "orders", ORDERS, "Have the daemon start one stopped machine, within the target and the cost caps."
        ),
        "stop": Entry(
            "orders",
            ORDERS,
            "Have the daemon stop one machine, and keep it off for a while; nothing takes its place meanwhile.",
        ),
        "restart": Entry("orders", ORDERS, "Have the daemon restart one machine that is up."),
        "reload": Entry(
            "run",
            ORDERS,
            "Have the running daemon read its config again: swapped whole, or not at all when it has a fault.",
        ),
        "step-down": Entry(
            "run", ORDERS, "Have the replica that acts hand over to one that stands by; it stands by itself then."
        ),
        "state": Entry("state", ABOUT, "Where the journal is kept: move it into a database, or back into a file."),
        "demo": Entry("demo", TRY, "Watch fleetd bring two small fleets to their targets on a simulated provider."),
        "simulator": Entry(
            "simulate", TRY, "Serve the machines API with machines that exist only here, until Ctrl-C."
        ),
        "schema": Entry("about", ABOUT, "Print the config's JSON Schema, for editors."),
        "version": Entry("about", ABOUT, "Print the version."),
        "machines": Entry(
            "machines",
            BY_HAND,
            "The machines API by hand: every call of the provider, its parameters by their own names. Nothing here "
            "asks the fleets' guards.",
        ),
    }
)
"""By name, in the order in which the help has them."""


class Catalogue(TyperGroup):
    """The top of the command line."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = _Imported()
        self._listing = False

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """The help, which names every command and imports none."""
        self._listing = True
        try:
            super().format_help(ctx, formatter)
        finally:
            self._listing = False

    def list_commands(self, ctx: Any) -> list[str]:
        """Their names, in the help's order."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A command; while the help is written only what the list says of it."""
        entry = COMMANDS.get(cmd_name)
        if not self._listing or entry is None:
            return super().get_command(ctx, cmd_name)
        return TyperCommand(cmd_name, help=entry.says, rich_help_panel=entry.panel)


class _Imported(MutableMapping[str, Any]):
    """The commands by name, each imported at its first use."""

    def __init__(self) -> None:
        self._known: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._known:
            self._known[name] = _import(name, COMMANDS[name])
        return self._known[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._known[name] = command

    def __delitem__(self, name: str) -> None:
        raise TypeError(f"{name} is a command")

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


def _import(name: str, entry: Entry) -> Any:
    module = import_module(f"fleetd.cli.{entry.module}")
    spelt = name.replace("-", "_")
    found = getattr(module, spelt)
    if isinstance(found, typer.Typer):
        command = typer.main.get_command(found)
        command.name, command.help = name, entry.says
        command.rich_help_panel = entry.panel  # type: ignore[attr-defined]
        return command
    one = typer.Typer(rich_markup_mode="rich", pretty_exceptions_enable=False, add_completion=False)
    one.command(name, rich_help_panel=entry.panel, epilog=getattr(module, f"{spelt.upper()}_EXAMPLES"))(found)
    return typer.main.get_command(one)
