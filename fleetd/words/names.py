"""What a machine is called: in a list, and in a command that a person copies into a shell."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence

from fleetd.model.reasons import VetoKind
from fleetd.model.report import MachineReport, VetoReport

_BLANK = (
    " \N{NO-BREAK SPACE}\N{IDEOGRAPHIC SPACE}\N{HANGUL FILLER}\N{HANGUL CHOSEONG FILLER}\N{HANGUL JUNGSEONG FILLER}"
)
_BLANK += "\N{HALFWIDTH HANGUL FILLER}\N{BRAILLE PATTERN BLANK}"
"""Characters that leave nothing on the screen."""


def called(machine: MachineReport) -> str:
    """Its name; its id where the name shows nothing that could be read, or tapped on."""
    return machine.name if machine.name.strip(_BLANK) else machine.id or "(no name)"


def typed(name: str | None, machine_id: str | None = None) -> str:
    """A machine's name as a shell takes it for one word; its id where the name cannot be typed, or would be quoted.

    A name comes from the provider, and may be anything: an option, a second command, or letters that nobody sees.
    """
    plain = name is not None and shlex.quote(name) == name and not name.startswith("-")
    word = name if plain else machine_id or name or ""
    return shlex.quote(word) if word and word.isprintable() and not word.startswith("-") else "ID"


def holds_on(vetoes: Iterable[VetoReport], machines: Iterable[MachineReport]) -> list[VetoReport]:
    """The holds on these machines: by the id where it is known, whatever else has that as its name."""
    whose = [(m.id, m.name) for m in machines]
    ids = {machine_id for machine_id, _ in whose if machine_id is not None}
    words = ids | {name for _, name in whose}
    holds = (v for v in vetoes if v.kind == VetoKind.HOLD)
    return [v for v in holds if (v.subject in words if v.machine is None else v.machine in ids)]


def vetoes_on(vetoes: Sequence[VetoReport], fleet: str | None, machines: Iterable[MachineReport]) -> list[VetoReport]:
    """The holds on these machines, and the freezes of their fleet and of everything."""
    holds = holds_on(vetoes, machines)
    return [v for v in vetoes if v in holds or (v.kind != VetoKind.HOLD and v.subject in {None, fleet})]
