"""The machines of a fleet: the eventful ones as cells with their states, the others as squares; each is a link."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from fleetd.model.machine import Phase
from fleetd.model.reasons import Activity, Standing
from fleetd.model.report import MachineReport
from fleetd.model.vetoes import held, veto_ending
from fleetd.ops.page.html import Markup, join, left_out, tag
from fleetd.ops.page.scene import Scene
from fleetd.ops.page.words import NOTHING, age, clock, count, short_age
from fleetd.words.machines import standing_sentence
from fleetd.words.names import called
from fleetd.words.phases import PHASES, eventful_first

CELLS = 60
"""Machines that are shown as cells, the eventful ones first."""
SQUARES = 3000
"""Machines that are shown as squares after them; the others are found by name."""

_WHY_OFF: Mapping[Standing | None, str] = MappingProxyType(
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


def cells(scene: Scene, machines: Sequence[MachineReport]) -> Markup:
    """The machines of one fleet: as cells what needs a look, and all of them where they are few; else as squares."""
    if not machines:
        return tag("p", "No machines.", class_="none")
    ordered = sorted(machines, key=_eventful_first)
    few = len(ordered) <= CELLS
    odd = ordered if few else [m for m in ordered if _is_eventful(m)][:CELLS]
    rest = ordered[len(odd) :]
    squares = sorted(rest[:SQUARES], key=lambda m: m.name)
    return join(
        tag("ul", (_cell(scene, m) for m in odd), class_="cells", role="list") if odd else None,
        tag("h3", f"{len(rest)} more, without anything to tell" if odd else count(len(rest), "machine"))
        if rest
        else None,
        tag("ul", (_square(scene, m) for m in squares), class_="squares", role="list") if squares else None,
        left_out(len(rest) - SQUARES),
    )


def remarks_of(machine: MachineReport, scene: Scene) -> str:
    """What else there is to say: a hold, a failure, why it is off, whether it is in use."""
    parts: list[str] = []
    hold, idle = machine.hold, machine.idle
    if hold is not None:
        parts.append(f"{held(machine)} {veto_ending(hold, f'{clock(hold.expires_at, scene.now)} UTC')}")
    if machine.unconfirmed:
        parts.append(f"{machine.unconfirmed.replace('_', ' ')}: not destroyed before fleetd adopt")
    if machine.failure:
        parts.append(machine.failure)
    elif machine.phase == Phase.DOWN and machine.standing in _WHY_OFF:
        parts.append(standing_sentence(machine, None, scene.now).removesuffix("."))
    if idle is not None and idle.verdict == Activity.IDLE:
        parts.append(f"idle for {age(idle.since, scene.now) or 'a while'}")
    elif idle is not None:
        parts.append("in use" if idle.verdict == Activity.ACTIVE else "use unknown")
    return "; ".join(parts)


def _cell(scene: Scene, machine: MachineReport) -> Markup:
    phase = machine.phase if machine.phase in PHASES else "unknown"
    name, fleet = called(machine), machine.fleet
    short = name.removeprefix(f"{fleet}-") or name
    mark = _mark(machine)
    full = age(machine.since, scene.now)
    told = f"{name} ({machine.id or 'no id yet'}): {machine.state}{f' for {full}' if full else ''}"
    remarks = remarks_of(machine, scene)
    return tag(
        "li",
        tag("span", PHASES[phase][0], class_="sign", aria_hidden="true"),
        tag(
            "a",
            tag("span", f"{fleet}-", class_="unseen") if short != name else None,
            short,
            class_="name",
            href=scene.machine_link(machine),
        ),
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


def _square(scene: Scene, machine: MachineReport) -> Markup:
    phase = machine.phase if machine.phase in PHASES else "unknown"
    name = called(machine)
    short = name.removeprefix(f"{machine.fleet}-") or name
    told = f"{short}: {machine.state}"
    link = tag("a", class_=f"square {phase}", href=scene.machine_link(machine), title=told)
    return tag("li", link, data_key=f"machine {machine.id or machine.name}")


def _is_eventful(machine: MachineReport) -> bool:
    """Whether there is anything to tell besides that it is up, or off."""
    moves = machine.transition is not None or machine.phase not in {Phase.UP, Phase.DOWN}
    return bool(moves or machine.failure or machine.hold or machine.unconfirmed or machine.turned_outside)


def _eventful_first(machine: MachineReport) -> tuple[bool, int, bool, str]:
    return (not machine.failure, eventful_first(machine.phase), machine.hold is None, machine.name)


def _mark(machine: MachineReport) -> str:
    if machine.hold is not None:
        return "kept off" if machine.kept_off else "held"
    if machine.transition is not None and machine.transition.ambiguous:
        return "answer lost"
    if machine.failure:
        return "failed"
    return _WHY_OFF.get(machine.standing, "") if machine.phase == Phase.DOWN else ""
