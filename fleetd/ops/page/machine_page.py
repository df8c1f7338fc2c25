"""``/machine/ID-or-NAME``: what it is, why it is in its state, and what has happened to it."""

from __future__ import annotations

from collections.abc import Iterator

from fleetd.model.reasons import VetoKind
from fleetd.model.report import MachineReport
from fleetd.ops.page.cells import remarks_of
from fleetd.ops.page.commands import commands
from fleetd.ops.page.events import events
from fleetd.ops.page.frame import document
from fleetd.ops.page.html import Child, Markup, join, tag
from fleetd.ops.page.links import says
from fleetd.ops.page.rows import section, step_rows, veto_row
from fleetd.ops.page.scene import Scene
from fleetd.ops.page.words import clock, money
from fleetd.words.explaining import explain_machine
from fleetd.words.names import called as name_of
from fleetd.words.names import holds_on
from fleetd.words.phases import PHASES
from fleetd.words.times import span

EVENTS = 60
"""Entries of its history that are shown."""


def called(scene: Scene, word: str) -> list[MachineReport]:
    """The machines that a part of an address means: an id means its machine, whatever else has it as its name.

    No word means none, not those without a name.
    """
    if not word:
        return []
    machines = scene.report.machines
    by_id = [m for m in machines if m.id is not None and says(word, m.id)]
    return by_id or [m for m in machines if says(word, m.name) or (m.former_name and says(word, m.former_name))]


def machine_page(scene: Scene, machine: MachineReport) -> str:
    """The whole document. The scene's history is this machine's."""
    now = scene.now
    freezes = [v for v in scene.report.vetoes if v.kind == VetoKind.FREEZE and v.subject in {None, machine.fleet}]
    vetoes = [*(freezes if machine.owned else ()), *holds_on(scene.report.vetoes, [machine])]
    word = machine.id or machine.name
    return document(
        scene,
        tag(
            "section",
            tag("div", tag("h2", name_of(machine)), _state(scene, machine), class_="subject"),
            tag("ul", (tag("li", line) for line in explain_machine(scene.report, machine, now)), class_="why"),
            class_="fleet",
            id="why",
        ),
        section("Under way", step_rows(scene, [machine]), "moving"),
        section("Holds and freezes", [veto_row(v, now) for v in vetoes], "vetoes"),
        tag("section", tag("h2", "What it is"), tag("dl", _facts(scene, machine), class_="facts"), id="facts"),
        tag(
            "section",
            tag("h2", "Time line"),
            events(scene, most=EVENTS),
            tag("p", tag("a", "All of its history", href=scene.history_link(machine=word)), class_="more"),
            id="changed",
        ),
        _commands(scene, machine),
        subject=name_of(machine),
    )


def _state(scene: Scene, machine: MachineReport) -> Markup:
    phase = machine.phase if machine.phase in PHASES else "unknown"
    tones = {"up": "ok", "rising": "move", "falling": "move", "down": "plain", "unknown": "bad"}
    tone = "bad" if machine.failure else tones[phase]
    since = "" if machine.since is None else f" for {span(scene.now - machine.since)}"
    sign = tag("span", PHASES[phase][0], aria_hidden="true")
    return tag("span", sign, f" {machine.state}{since}", class_=f"pill {tone}")


def _facts(scene: Scene, machine: MachineReport) -> Iterator[Markup]:
    now = scene.now
    price = scene.known.prices.get(machine.type or "")
    fleet = machine.fleet
    link: Child = fleet or "none of this config's"
    if fleet is not None and fleet in scene.report.fleets:
        link = tag("a", fleet, href=scene.fleet_link(fleet))
    rows: list[tuple[str, Child]] = [
        ("Id", tag("code", machine.id) if machine.id else "not known yet"),
        ("Name", tag("code", machine.name) if machine.name else "none that can be read"),
        ("First seen as", tag("code", machine.former_name) if machine.former_name else None),
        ("Fleet", link if machine.owned else join("not owned: never touched")),
        ("Address", tag("code", machine.public_ip) if machine.public_ip else None),
        ("Private address", tag("code", machine.private_ip) if machine.private_ip else None),
        ("Type", machine.type),
        ("Price", None if price is None else f"{money(price)} an hour while it is up, by the config"),
        ("State", machine.state),
        ("Up since", None if machine.up_since is None else f"{clock(machine.up_since, now)} UTC"),
        ("So since", None if machine.state_since is None else f"{clock(machine.state_since, now)} UTC"),
        ("Remarks", remarks_of(machine, scene) or None),
    ]
    for label, value in rows:
        if value is not None:
            yield tag("div", tag("dt", label), tag("dd", value))


def _commands(scene: Scene, machine: MachineReport) -> Markup | None:
    word = machine.id or machine.name
    lines = [["fleetd", "explain", word], ["fleetd", "history", "--machine", word]]
    if machine.id is not None:
        lines.append(["fleetd", "machines", "show", machine.id])
    if machine.owned:
        held = machine.hold is not None
        lines.append(["fleetd", "release" if held else "hold", word])
        if not held:
            lines[-1] += ["--for", "4h", "--reason", "why"]
    return commands(scene, word, lines)
