"""What a person looks for: fleets and machines by any part of a name, id or address; and that nothing is there."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from fleetd.model.report import MachineReport, Report
from fleetd.ops.escape import printable
from fleetd.ops.page.events import events
from fleetd.ops.page.frame import LONGEST_QUESTION, document
from fleetd.ops.page.home import pill
from fleetd.ops.page.html import Markup, left_out, tag
from fleetd.ops.page.links import fleet_path, machine_path
from fleetd.ops.page.needs import left_of
from fleetd.ops.page.scene import Scene
from fleetd.ops.page.states import state_of
from fleetd.ops.page.words import count
from fleetd.words.names import called
from fleetd.words.phases import PHASES

SHOWN = 60
"""Hits that are listed."""


@dataclass(frozen=True, slots=True)
class Found:
    """The hits; what is called exactly so comes first."""

    fleets: Sequence[str]
    machines: Sequence[MachineReport]

    @property
    def path(self) -> str | None:
        """Of the only hit, from the page at ``/``; None where there are more, or none."""
        if len(self.fleets) + len(self.machines) != 1:
            return None
        return fleet_path(self.fleets[0]) if self.fleets else machine_path(self.machines[0])


def find(report: Report, words: str) -> Found:
    """Everything that has the words in a name, an id or an address, in upper or lower case."""
    part = _folded(words.strip()[:LONGEST_QUESTION])
    fleets = [name for name in report.fleets if part in _folded(name)]
    named = [(m, [_folded(word) for word in _words(m)]) for m in report.machines]
    machines = [(m, folded) for m, folded in named if any(part in word for word in folded)]
    return Found(
        sorted(fleets, key=lambda name: _folded(name) != part),
        [m for m, _ in sorted(machines, key=lambda one: part not in one[1])],
    )


def _folded(word: str) -> str:
    """As it is compared: however its letters are put together, in upper or lower case."""
    return word.casefold() if word.isascii() else unicodedata.normalize("NFKC", word).casefold()


def hits_page(scene: Scene, words: str, found: Found) -> str:
    """The hits as a list, or that there are none."""
    total = len(found.fleets) + len(found.machines)
    return document(
        scene,
        tag(
            "section",
            tag("h2", f"{count(total, 'hit')} for {words}" if total else f"Nothing is called {words}"),
            tag("p", _nothing(scene), class_="none") if not total else None,
            _list(scene, found) if total else None,
            left_out(total - SHOWN, "say more of the name"),
            id="hits",
        ),
        subject=f"find {words[:40]}",
        asked=words,
    )


def several_page(scene: Scene, word: str, machines: Sequence[MachineReport]) -> str:
    """More than one machine has that name, and nobody guesses."""
    return document(
        scene,
        tag(
            "section",
            tag("h2", f"{count(len(machines), 'machine')} called {word}"),
            _list(scene, Found((), machines)),
            left_out(len(machines) - SHOWN, "an id tells them apart"),
            id="hits",
        ),
        subject=word,
    )


def missing_page(scene: Scene, kind: str, word: str) -> str:
    """No fleet, or no machine, has that name; what the history knows of it is shown all the same."""
    known = tag("section", tag("h2", "What the history knows of it"), events(scene, most=SHOWN), id="changed")
    left = left_of(scene.report, word) if kind == "fleet" else []
    return document(
        scene,
        tag(
            "section",
            tag("h2", f"There is no {kind} {word}"),
            tag("p", f"It may be gone, or was never there. {_nothing(scene)}", class_="none"),
            id="missing",
        ),
        _left(scene, left) if left else None,
        known if scene.history else None,
        subject=f"no {kind}",
    )


def _left(scene: Scene, machines: Sequence[MachineReport]) -> Markup:
    return tag(
        "section",
        tag("h2", "Made for it, and without a fleet now"),
        tag("p", "Nothing is done about them: adopt them, or stop them by hand.", class_="dim"),
        _list(scene, Found((), machines)),
        left_out(len(machines) - SHOWN, "find one by its name"),
        id="left",
    )


def _nothing(scene: Scene) -> str:
    seen = count(len(scene.report.machines), "machine")
    return (
        f"{seen} and {count(len(scene.report.fleets), 'fleet')} are known: look for any part of a name, an id or an "
        "address."
    )


def _list(scene: Scene, found: Found) -> Markup:
    rows = [
        tag(
            "li",
            tag("span", "▤", class_="sign", aria_hidden="true"),
            tag("p", tag("a", name, href=scene.fleet_link(name)), " fleet ", pill(state_of(scene, name))),
        )
        for name in found.fleets[:SHOWN]
    ]
    rows += [_machine(scene, m) for m in found.machines[: SHOWN - len(rows)]]
    return tag("ul", rows, class_="list", role="list")


def _machine(scene: Scene, machine: MachineReport) -> Markup:
    phase = machine.phase if machine.phase in PHASES else "unknown"
    told = f" {machine.state}, {machine.id or 'no id yet'}{'' if machine.owned else ', not owned'}"
    return tag(
        "li",
        tag("span", PHASES[phase][0], class_=f"sign {phase}", aria_hidden="true"),
        tag("p", tag("a", called(machine), href=scene.machine_link(machine)), tag("span", told, class_="dim")),
    )


def _words(machine: MachineReport) -> tuple[str, ...]:
    words = [machine.name, machine.id, machine.former_name, machine.private_ip, machine.public_ip]
    # And as they are shown: that is what is copied.
    words += [printable(name) for name in (machine.name, machine.former_name) if name and not name.isprintable()]
    return tuple(word for word in words if word)
