"""Every machine of a fleet as a coloured cell: what it is called, its state, why, and since when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from fleetd.model.machine import Phase
from fleetd.model.reasons import Standing
from fleetd.model.report import MachineReport
from fleetd.ops.page.html import Markup, join, tag
from fleetd.ops.page.scene import Scene
from fleetd.ops.page.words import NOTHING, age, clock, short_age
from fleetd.words.machines import standing_sentence
from fleetd.words.phases import PHASES, eventful_first

CELLS = 60
"""Cells of a fleet that are shown at once; the others, the uneventful ones, are a tap away."""

_WHY_OFF: Mapping[str, str] = MappingProxyType(
    {
        Standing.PARKED: "parked",
        Standing.SCALED_IN: "surplus",
        Standing.OUTLIVED_TIMEOUT: "timed out",
        Standing.STOPPED_BY_ORDER: "by order",
        Standing.STOPPED_OUTSIDE: "by hand",
        Standing.STOPPED_BY_VENDOR: "by its timer",
    }
)
"""Beside ``off`` in a cell; what nobody knows, or goes without saying, is left out."""


def cells(scene: Scene, machines: Sequence[MachineReport]) -> Markup | None:
    """The cells of one fleet, what needs a look first; what is too many for a glance is folded away."""
    if not machines:
        return tag("p", "No machines.", class_="none")
    every = [_cell(scene, m) for m in sorted(machines, key=_eventful_first)]
    # A short rest is not worth a tap.
    shown = every if len(every) <= CELLS * 4 // 3 else every[:CELLS]
    rest = every[len(shown) :]
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


def remarks_of(machine: MachineReport, scene: Scene) -> str:
    """What else there is to say: a hold, a failure, why it is off, whether it is in use."""
    parts: list[str] = []
    hold, idle = machine.hold, machine.idle
    if hold is not None:
        done = "kept off" if hold.keeps_off else "held"
        parts.append(f"{done} by {hold.actor} until {clock(hold.expires_at, scene.now)} UTC: {hold.reason}")
    if machine.unconfirmed:
        parts.append(f"{machine.unconfirmed.replace('_', ' ')}: not destroyed before fleetd adopt")
    if machine.failure:
        parts.append(machine.failure)
    elif machine.phase == Phase.DOWN and machine.standing in _WHY_OFF:
        parts.append(standing_sentence(machine, None, scene.now).removesuffix("."))
    if idle is not None and idle.verdict == "idle":
        parts.append(f"idle for {age(idle.since, scene.now) or 'a while'}")
    elif idle is not None:
        parts.append("in use" if idle.verdict == "active" else "use unknown")
    return "; ".join(parts)


def _cell(scene: Scene, machine: MachineReport) -> Markup:
    phase = machine.phase if machine.phase in PHASES else "unknown"
    name, fleet = machine.name, machine.fleet
    short = name.removeprefix(f"{fleet}-") or name
    mark = _mark(machine)
    full = age(machine.since, scene.now)
    told = f"{name} ({machine.id or 'no id yet'}): {machine.state}{f' for {full}' if full else ''}"
    remarks = remarks_of(machine, scene)
    return tag(
        "li",
        tag("span", PHASES[phase][0], class_="sign", aria_hidden="true"),
        tag("span", tag("span", f"{fleet}-", class_="unseen") if short != name else None, short, class_="name"),
        tag(
            "span",
            tag("span", machine.state, class_="state"),
            tag("span", f" {mark}", class_="mark plain" if mark in _WHY_OFF.values() else "mark") if mark else None,
            class_="what",
        ),
        tag("span", short_age(machine.since, scene.now) or NOTHING, class_="age"),
        class_=f"cell {phase}{' attention' if machine.failure or phase == 'unknown' else ''}",
        title=f"{told}. {remarks}" if remarks else told,
        data_key=f"machine {machine.id or name}",
    )


def _eventful_first(machine: MachineReport) -> tuple[bool, int, bool, str]:
    return (not machine.failure, eventful_first(machine.phase), machine.hold is None, machine.name)


def _mark(machine: MachineReport) -> str:
    if machine.hold is not None:
        return "kept off" if machine.hold.keeps_off else "held"
    if machine.transition is not None and machine.transition.ambiguous:
        return "answer lost"
    if machine.failure:
        return "failed"
    return _WHY_OFF.get(machine.standing, "") if machine.phase == Phase.DOWN else ""
