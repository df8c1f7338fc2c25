"""Each fleet's card: target against what is up, the last hours, and every machine as a cell."""

from __future__ import annotations

from collections.abc import Sequence

from fleetd.model.report import FleetReport, MachineReport
from fleetd.ops.page.cells import cells, remarks_of
from fleetd.ops.page.chart import chart, reach
from fleetd.ops.page.html import Markup, tag
from fleetd.ops.page.scene import Scene
from fleetd.ops.page.tables import table
from fleetd.ops.page.words import (
    NOTHING,
    age,
    clock,
    count,
    money,
    veto_words,
)
from fleetd.words.blocked import blocked
from fleetd.words.phases import PHASES
from fleetd.words.times import span

NOTES = 3
"""What may need a person is said of a fleet in so many lines; all of it is in its own section."""


def fleets(scene: Scene) -> Markup:
    """The section of all fleets."""
    report = scene.report
    by_fleet: dict[str | None, list[MachineReport]] = {}
    for machine in report.machines:
        if machine.owned:
            by_fleet.setdefault(machine.fleet, []).append(machine)
    cards = [_card(scene, name, fleet, by_fleet.get(name, [])) for name, fleet in report.fleets.items()]
    if not cards:
        no_pass = report.daemon.last_pass is None
        cards = [tag("p", "Nothing is known yet." if no_pass else "The config names no fleets.", class_="none")]
    return tag("section", tag("h2", "Fleets"), cards, class_="fleets", id="fleets", tabindex=-1)


def machine_table(scene: Scene) -> Markup | None:
    """Every machine of ours with its id and all that is known, folded away."""
    owned = [m for m in scene.report.machines if m.owned]
    if not owned:
        return None
    rows = [
        (
            tag("strong", machine.name),
            tag("code", machine.id or "not known yet"),
            machine.fleet,
            machine.state,
            age(machine.since, scene.now) or NOTHING,
            machine.type or NOTHING,
            remarks_of(machine, scene) or NOTHING,
        )
        for machine in owned
    ]
    whole = table(
        "All machines of fleetd's",
        ("Machine", "Id", "Fleet", "State", "For", "Type", "Remarks"),
        rows,
        class_="machines",
    )
    summary = tag("summary", f"All {count(len(owned), 'machine')} as a table")
    return tag("section", tag("h2", "Machines"), tag("details", summary, whole, id="machine-table"), class_="wide")


def _card(scene: Scene, name: str, fleet: FleetReport, machines: Sequence[MachineReport]) -> Markup:
    spans = scene.record.spans(name)
    return tag(
        "article",
        tag("header", tag("h3", name), _pill(scene, name, fleet)),
        tag(
            "div",
            _numbers(fleet),
            chart(
                spans,
                scene.now,
                reach(scene.record.begins(), scene.now),
                label=f"{name}: machines up against target over time; the caption says it in words",
            ),
            class_="now",
        ),
        _notes(scene, name, fleet),
        cells(scene, machines),
        class_="fleet",
        data_key=f"fleet {name}",
    )


def _pill(scene: Scene, name: str, fleet: FleetReport) -> Markup:
    rows = [b for b in blocked(scene.report.blocked, scene.now) if b.fleet == name]
    if fleet.converged:
        return tag("span", "✓ at target", class_="pill ok")
    if fleet.was_converged:
        return tag("span", "? at target then", class_="pill warn")
    if any(not b.ordinary for b in rows):
        return tag("a", "! blocked", class_="pill bad", href="#blocked")
    if fleet.rising or fleet.falling or fleet.intents:
        return tag("span", "◐ converging", class_="pill move")
    return tag("span", "… not at target", class_="pill warn")


def _numbers(fleet: FleetReport) -> Markup:
    parts = [
        tag("li", tag("span", sign, class_=f"sign {phase}", aria_hidden="true"), f"{getattr(fleet, phase)} {words}")
        for phase, (sign, words) in PHASES.items()
        if phase != "up" and getattr(fleet, phase)
    ]
    if fleet.intents:
        parts.append(
            tag("li", tag("span", "+", class_="sign rising", aria_hidden="true"), f"{fleet.intents} asked for")
        )
    return tag(
        "div",
        tag("p", tag("b", fleet.up), tag("span", f" of {fleet.target} up"), class_="ratio"),
        tag("ul", parts, class_="phases") if parts else None,
        tag("p", f"{money(fleet.hourly)} an hour", class_="dim"),
        tag("p", f"Window {fleet.window} is open; without it the target is {fleet.configured_target}.", class_="dim")
        if fleet.window
        else None,
        class_="numbers",
    )


def _notes(scene: Scene, name: str, fleet: FleetReport) -> Markup | None:
    """What a glance at this fleet must not miss: freezes, what may need a person, and the next window."""
    notes: list[Markup] = []
    for veto in scene.report.vetoes:
        if veto.kind == "freeze" and veto.subject in {None, name}:
            what, why = veto_words(veto, scene.now)
            notes.append(_note("‖", f"{what}: {why}", "warn"))
    rows = [b for b in blocked(scene.report.blocked, scene.now) if b.fleet == name and not b.ordinary]
    notes += [_note("!", b.brief, "bad") for b in rows[:NOTES]]
    if len(rows) > NOTES:
        notes.append(_note("!", f"and {len(rows) - NOTES} more", "bad"))
    change = fleet.next
    if change is not None:
        window = f" (window {change.window})" if change.window else ""
        parks = "; idle machines are parked then" if change.parked else ""
        notes.append(
            _note(
                "→",
                f"Target {change.target}{window} at {clock(change.at, scene.now)} UTC, "
                f"in {span(change.at - scene.now)}{parks}",
            )
        )
    return tag("ul", notes, class_="notes", role="list") if notes else None


def _note(sign: str, words: str, tone: str = "dim") -> Markup:
    return tag("li", tag("span", sign, class_="sign", aria_hidden="true"), tag("span", words), class_=tone)
