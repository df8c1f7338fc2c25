"""How each fleet stands, in a sign and a few words, and which of them come first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

from fleetd.model.reasons import Verb, VetoKind
from fleetd.model.report import FleetReport, VetoReport
from fleetd.ops.page.needs import blind
from fleetd.ops.page.scene import Scene
from fleetd.words.blocked import blocked
from fleetd.words.times import local_clock, span


class Rank(IntEnum):
    """What comes first on the page."""

    TROUBLE = 0
    AWAY = 1
    MOVING = 2
    ODD = 3
    PARKED = 4
    QUIET = 5


@dataclass(frozen=True, slots=True)
class State:
    """How a fleet stands."""

    rank: Rank
    sign: str
    words: str
    tone: str
    """A class of the page's style: ok, bad, warn, move or plain."""


def states(scene: Scene) -> dict[str, State]:
    """Of every fleet, what needs a look first; of a kind in the config's order."""
    freezes = _freezes(scene)
    serious = {row.fleet for row in blocked(scene.report.blocked, scene.now) if not row.ordinary}
    found = {name: _state(scene, name, freezes, serious=name in serious) for name in scene.report.fleets}
    return dict(sorted(found.items(), key=lambda item: item[1].rank))


def state_of(scene: Scene, name: str) -> State:
    """Of one fleet."""
    rows = blocked((b for b in scene.report.blocked if b.fleet == name), scene.now)
    return _state(scene, name, _freezes(scene), serious=any(not row.ordinary for row in rows))


def wanted(fleet: FleetReport) -> int:
    """How many should be up: a parked machine is missed by nobody."""
    return min(fleet.up, fleet.target) if fleet.parked else fleet.target


def parked_words(scene: Scene, name: str, fleet: FleetReport) -> str:
    """``parked until 07:00 Berlin``."""
    if fleet.next is None or fleet.next.parked:
        return "parked"
    return f"parked until {local_clock(fleet.next.at, scene.zone(name, fleet), scene.now)}"


def away_since(scene: Scene, name: str) -> datetime | None:
    """Since when a fleet is not at its target, as far as the record tells."""
    return scene.record.short_since(name)


def _state(scene: Scene, name: str, freezes: Sequence[VetoReport], *, serious: bool) -> State:
    fleet = scene.report.fleets[name]
    if blind(scene.report):
        held = fleet.was_converged
        return State(Rank.ODD if held else Rank.AWAY, "?", "not seen now" if held else "short when last seen", "warn")
    frozen = _frozen(freezes, name)
    if serious:
        word = _lasts(scene, name, "blocked" if _enough(fleet) else "short")
        return State(Rank.TROUBLE, "!", f"{word}{frozen and f', {frozen}'}", "bad")
    if fleet.parked and fleet.was_converged:
        return State(Rank.PARKED, "z", parked_words(scene, name, fleet), "plain")
    if frozen and not fleet.converged:
        word = "not at target" if _enough(fleet) else _lasts(scene, name, "short")
        return State(Rank.AWAY, "‖", f"{frozen}, {word}", "warn")
    if frozen:
        return State(Rank.ODD, "‖", f"{frozen}, at target", "warn")
    if fleet.unlike:
        return State(Rank.ODD, "≠", "unlike the config", "warn")
    return _unhindered(scene, name, fleet)


def _unhindered(scene: Scene, name: str, fleet: FleetReport) -> State:
    if fleet.converged:
        return State(Rank.QUIET, "✓", "at target", "ok")
    if fleet.rising or fleet.falling or fleet.intents:
        return State(Rank.MOVING, "◐", "on its way", "move")
    if _enough(fleet):
        return State(Rank.AWAY, "…", "not at target", "warn")
    return State(Rank.AWAY, "…", _lasts(scene, name, "short"), "warn")


def _freezes(scene: Scene) -> list[VetoReport]:
    return [v for v in scene.report.vetoes if v.kind == VetoKind.FREEZE]


def _frozen(freezes: Sequence[VetoReport], name: str) -> str:
    """Whether an operator has frozen it, all of it or some verbs; "" where nobody has."""
    whole = [len(v.verbs) == len(Verb) for v in freezes if v.subject in {None, name}]
    if not whole:
        return ""
    return "frozen" if any(whole) else "partly frozen"


def _enough(fleet: FleetReport) -> bool:
    return fleet.up >= wanted(fleet)


def _lasts(scene: Scene, name: str, word: str) -> str:
    since = away_since(scene, name)
    return word if since is None else f"{word} {span(scene.now - since)}"
