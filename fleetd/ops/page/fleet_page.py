"""``/fleet/NAME``: its last hours, why it stands as it does, and its machines, the eventful ones first."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from fleetd.model.report import FleetReport, MachineReport
from fleetd.ops.page.cells import cells
from fleetd.ops.page.chart import chart, reach
from fleetd.ops.page.commands import commands
from fleetd.ops.page.events import events, marks
from fleetd.ops.page.frame import document
from fleetd.ops.page.home import pill
from fleetd.ops.page.html import Markup, tag
from fleetd.ops.page.rows import blocked_row, section, step_rows, veto_row
from fleetd.ops.page.scene import Scene
from fleetd.ops.page.states import state_of, wanted
from fleetd.ops.page.words import clock, money
from fleetd.words.blocked import as_one, blocked, together
from fleetd.words.explaining import explain_fleet
from fleetd.words.machines import standing_sentence
from fleetd.words.names import vetoes_on
from fleetd.words.phases import PHASES
from fleetd.words.reasons import sentence
from fleetd.words.times import local_clock, span

EVENTS = 20
"""Rows of its history; what is alike is one."""
READ = 1000
"""Entries that are read: what the chart marks may stand behind many others."""
_MARKS = {"reload": "config reloaded, or fleetd started", "freeze": "freeze", "outage": "outage"}


def fleet_page(scene: Scene, name: str) -> str:
    """The whole document. The scene's history is this fleet's."""
    fleet = scene.report.fleets[name]
    mine = [m for m in scene.report.machines if m.owned and m.fleet == name]
    rows = blocked((b for b in scene.report.blocked if b.fleet == name), scene.now)
    vetoes = sorted(vetoes_on(scene.report.vetoes, name, mine), key=lambda v: v.kind)
    return document(
        scene,
        tag(
            "section",
            tag("div", tag("h2", name), pill(state_of(scene, name)), class_="subject"),
            tag("div", _numbers(scene, name, fleet), _chart(scene, name), class_="now"),
            class_="fleet",
        ),
        _why(scene, name, mine),
        section("Not being done, and why", [blocked_row(row, scene.now) for row in rows], "blocked"),
        section("Holds and freezes", [veto_row(v, scene.now) for v in vetoes], "vetoes"),
        section("Under way", step_rows(scene, mine), "moving"),
        tag("section", tag("h2", "Machines"), cells(scene, mine), id="machines"),
        commands(
            scene,
            name,
            [
                ["fleetd", "explain", name],
                ["fleetd", "status", "--fleet", name],
                ["fleetd", "history", "--fleet", name, "--since", "24h"],
                ["fleetd", "freeze", name, "--for", "2h", "--reason", "why"],
            ],
        ),
        tag(
            "section",
            tag("h2", "Its history"),
            events(scene, most=EVENTS, together=True),
            tag("p", tag("a", "All of its history", href=scene.history_link(fleet=name)), class_="more"),
            id="changed",
        ),
        subject=name,
    )


def _chart(scene: Scene, name: str) -> Markup:
    found = marks(scene.history or ())
    back = reach(scene.record.begins(), scene.now)
    kinds = [kind for kind in _MARKS if any(k == kind for e, k in found if e.ts >= scene.now - back[0])]
    legend = [tag("li", tag("span", class_=f"key {kind}", aria_hidden="true"), _MARKS[kind]) for kind in kinds]
    return tag(
        "div",
        chart(
            scene.record.spans(name),
            scene.now,
            back,
            label=f"{name}: machines up against target over time; the caption says it in words",
            marks=[(entry.ts, kind) for entry, kind in found],
            patience=scene.patience,
        ),
        tag("ul", legend, class_="marks", aria_label="Marks on the chart") if legend else None,
    )


def _numbers(scene: Scene, name: str, fleet: FleetReport) -> Markup:
    parts = [
        tag("li", tag("span", sign, class_=f"sign {phase}", aria_hidden="true"), f"{getattr(fleet, phase)} {words}")
        for phase, (sign, words) in PHASES.items()
        if phase != "up" and getattr(fleet, phase)
    ]
    if fleet.intents:
        asked = tag("span", "+", class_="sign rising", aria_hidden="true")
        parts.append(tag("li", asked, f"{fleet.intents} asked for"))
    return tag(
        "div",
        tag("p", tag("b", fleet.up), tag("span", f" of {wanted(fleet)} up"), class_="ratio"),
        tag("ul", parts, class_="phases") if parts else None,
        tag("p", f"{money(fleet.hourly)} an hour", class_="dim"),
        tag("p", f"Window {fleet.window} is open; without it the target is {fleet.configured_target}.", class_="dim")
        if fleet.window
        else None,
        _wakes(scene, name, fleet),
        class_="numbers",
    )


def _wakes(scene: Scene, name: str, fleet: FleetReport) -> Markup | None:
    """What its windows bring next, in their zone and in UTC."""
    change = fleet.next
    if change is None:
        return None
    here = local_clock(change.at, scene.zone(name, fleet), scene.now)
    there = f"{here} ({clock(change.at, scene.now)} UTC), in {span(change.at - scene.now)}"
    if fleet.parked and not change.parked:
        words = f"It wakes at {there}, to a target of {change.target}."
    else:
        window = f" (window {change.window})" if change.window else ""
        parks = "; idle machines are parked then" if change.parked else ""
        words = f"Target {change.target}{window} at {there}{parks}."
    return tag("p", words, class_="dim wakes")


def _why(scene: Scene, name: str, mine: Sequence[MachineReport]) -> Markup:
    """What explain says of the fleet; what is not being done, and what is under way, have sections of their own."""
    groups = [as_one(group) for group in together(b for b in scene.report.blocked if b.fleet == name).values()]
    moving = [m for m in mine if m.transition is not None][:1]
    brief = replace(scene.report, machines=tuple(moving), blocked=tuple(groups), vetoes=())
    elsewhere = {sentence(one, scene.now) for one in groups}
    elsewhere |= {f"{m.name}: {standing_sentence(m, scene.report.fleets[name], scene.now)}" for m in moving}
    lines = [line for line in explain_fleet(brief, name, scene.now) if line not in elsewhere]
    return tag("section", tag("h2", "Why"), tag("ul", (tag("li", line) for line in lines), class_="why"), id="why")
