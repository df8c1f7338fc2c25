"""Each fleet's card: target against what is up, the last hours, and every machine as a cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fleetd.ops.page.chart import chart, reach
from fleetd.ops.page.html import Markup, join, tag
from fleetd.ops.page.scene import Scene
from fleetd.ops.page.tables import table
from fleetd.ops.page.words import NOTHING, PHASES, age, blocked, clock, count, instant, money, short_age

CELLS = 60
"""Cells of a fleet that are shown at once; the others, the uneventful ones, are a tap away."""

_ORDER = ("unknown", "rising", "falling", "up", "down")


def fleets(scene: Scene) -> Markup:
    """The section of all fleets."""
    document = scene.document
    views = document["fleets"]
    by_fleet: dict[str, list[Mapping[str, Any]]] = {}
    for machine in document["machines"]:
        if machine["owned"]:
            by_fleet.setdefault(str(machine["fleet"]), []).append(machine)
    cards = [_card(scene, name, view, by_fleet.get(name, [])) for name, view in views.items()]
    if not cards:
        no_pass = document["daemon"].get("last_pass") is None
        cards = [tag("p", "Nothing is known yet." if no_pass else "The config names no fleets.", class_="none")]
    return tag("section", tag("h2", "Fleets"), cards, class_="fleets", id="fleets", tabindex=-1)


def machine_table(scene: Scene) -> Markup | None:
    """Every machine of ours with its id and all that is known, folded away."""
    owned = [m for m in scene.document["machines"] if m["owned"]]
    if not owned:
        return None
    rows = [
        (
            tag("strong", machine["name"]),
            tag("code", machine["id"] or "not known yet"),
            machine["fleet"],
            _state(machine),
            age(_since(machine), scene.now) or NOTHING,
            machine["type"] or NOTHING,
            _remarks(machine, scene) or NOTHING,
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


def _card(scene: Scene, name: str, view: Mapping[str, Any], machines: Sequence[Mapping[str, Any]]) -> Markup:
    spans = scene.record.spans(name)
    return tag(
        "article",
        tag("header", tag("h3", name), _pill(scene, name, view)),
        tag(
            "div",
            _numbers(view),
            chart(
                spans,
                scene.now,
                reach(scene.record.begins(), scene.now),
                label=f"{name}: machines up against target over time; the caption says it in words",
            ),
            class_="now",
        ),
        _cells(scene, machines),
        class_="fleet",
        data_key=f"fleet {name}",
    )


def _pill(scene: Scene, name: str, view: Mapping[str, Any]) -> Markup:
    rows = [b for b in blocked(scene.document["blocked"], scene.now) if b.fleet == name]
    if view["converged"]:
        return tag("span", "✓ at target", class_="pill ok")
    if any(not b.ordinary for b in rows):
        return tag("a", "! blocked", class_="pill bad", href="#blocked")
    if view["rising"] or view["falling"] or view["intents"]:
        return tag("span", "◐ converging", class_="pill move")
    return tag("span", "… not at target", class_="pill warn")


def _numbers(view: Mapping[str, Any]) -> Markup:
    parts = [
        tag("li", tag("span", sign, class_=f"sign {phase}", aria_hidden="true"), f"{view[phase]} {words}")
        for phase, (sign, words) in PHASES.items()
        if phase != "up" and view.get(phase)
    ]
    if view.get("intents"):
        parts.append(
            tag("li", tag("span", "+", class_="sign rising", aria_hidden="true"), f"{view['intents']} asked for")
        )
    window = view.get("window")
    return tag(
        "div",
        tag("p", tag("b", view["up"]), tag("span", f" of {view['target']} up"), class_="ratio"),
        tag("ul", parts, class_="phases") if parts else None,
        tag("p", f"{money(view.get('hourly'))} an hour", class_="dim"),
        tag("p", f"Window {window} is open; without it the target is {view['configured_target']}.", class_="dim")
        if window
        else None,
        class_="numbers",
    )


def _cells(scene: Scene, machines: Sequence[Mapping[str, Any]]) -> Markup | None:
    if not machines:
        return tag("p", "No machines.", class_="none")
    cells = [_cell(scene, m) for m in sorted(machines, key=_eventful_first)]
    # A short rest is not worth a tap.
    shown = cells if len(cells) <= CELLS * 4 // 3 else cells[:CELLS]
    rest = cells[len(shown) :]
    return join(
        tag("ul", shown, class_="cells", role="list"),
        tag(
            "details",
            tag("summary", f"{len(rest)} more"),
            tag("ul", rest, class_="cells", role="list"),
            data_key="rest",
        )
        if rest
        else None,
    )


def _cell(scene: Scene, machine: Mapping[str, Any]) -> Markup:
    phase = machine["phase"] if machine["phase"] in PHASES else "unknown"
    name, fleet = str(machine["name"]), str(machine["fleet"])
    short = name.removeprefix(f"{fleet}-") or name
    mark = _mark(machine)
    full = age(_since(machine), scene.now)
    told = f"{name} ({machine['id'] or 'no id yet'}): {_state(machine)}{f' for {full}' if full else ''}"
    remarks = _remarks(machine, scene)
    return tag(
        "li",
        tag("span", PHASES[phase][0], class_="sign", aria_hidden="true"),
        tag("span", tag("span", f"{fleet}-", class_="unseen") if short != name else None, short, class_="name"),
        tag(
            "span",
            tag("span", _state(machine), class_="state"),
            tag("span", f" {mark}", class_="mark") if mark else None,
            class_="what",
        ),
        tag("span", short_age(_since(machine), scene.now) or NOTHING, class_="age"),
        class_=f"cell {phase}{' attention' if machine.get('failure') or phase == 'unknown' else ''}",
        title=f"{told}. {remarks}" if remarks else told,
        data_key=f"machine {machine['id'] or name}",
    )


def _eventful_first(machine: Mapping[str, Any]) -> tuple[bool, int, bool, str]:
    phase = machine["phase"] if machine["phase"] in _ORDER else "unknown"
    return (not machine.get("failure"), _ORDER.index(phase), not machine.get("hold"), str(machine["name"]))


def _mark(machine: Mapping[str, Any]) -> str:
    step = machine.get("transition")
    if machine.get("hold"):
        return "held"
    if step is not None and step.get("ambiguous"):
        return "answer lost"
    return "failed" if machine.get("failure") else ""


def _state(machine: Mapping[str, Any]) -> str:
    return str(machine["state"])


def _since(machine: Mapping[str, Any]) -> object:
    """Since when it is as it is: in its transition, up, or in its state."""
    step = machine.get("transition")
    if step is not None:
        return step["since"]
    return machine.get("state_since") or machine.get("up_since")


def _remarks(machine: Mapping[str, Any], scene: Scene) -> str:
    parts: list[str] = []
    hold, idle = machine.get("hold"), machine.get("idle")
    if hold is not None:
        until = instant(hold["expires_at"])
        parts.append(
            f"held by {hold['actor']}{f' until {clock(until, scene.now)} UTC' if until else ''}: {hold['reason']}"
        )
    if machine.get("failure"):
        parts.append(str(machine["failure"]))
    if idle is not None and idle.get("verdict") == "idle":
        parts.append(f"idle for {age(idle.get('since'), scene.now) or 'a while'}")
    elif idle is not None:
        parts.append("in use" if idle.get("verdict") == "active" else "use unknown")
    return "; ".join(parts)
