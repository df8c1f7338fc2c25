"""How a fleet stands, what of it differs from the config, and what its windows will make of it."""

from __future__ import annotations

from datetime import datetime

from fleetd.model.plan import FleetView, NextChange, Unlike
from fleetd.model.report import FleetReport
from fleetd.words.times import clock, span


def fleet_sentence(name: str, view: FleetView | FleetReport, *, doubted: bool = False) -> str:
    """How a fleet stands, in one sentence; ``doubted``: how it stood when it was believed last."""
    at_target = view.was_converged if isinstance(view, FleetReport) else view.converged
    parts = [f"{view.up} of {view.target} up"]
    for count, word in (
        (view.rising, "rising"),
        (view.falling, "falling"),
        (view.down, "down"),
        (view.unknown, "in an unknown state"),
        (view.leaving, "leaving"),
        (view.intents, "being created"),
    ):
        if count:
            parts.append(f"{count} {word}")
    text = f"{name}: {', '.join(parts)}"
    if view.window is not None:
        text += f"; window {view.window} is open, the configured target is {view.configured_target}"
    is_, then = ("was", " then") if doubted else ("is", "")
    return f"{text}. It {is_} {'' if at_target else 'not '}at its target{then}."


def unlike_sentence(found: Unlike) -> str:
    """What differs from the config, and that nothing is done about it."""
    are = "machine is" if found.count == 1 else "machines are"
    return f"{found.count} {are} {found.found}, the config says {found.wanted}: nothing is replaced."


def change_sentence(change: NextChange, now: datetime) -> str:
    """What a window will make of a fleet, and when."""
    what = f"window {change.window} is in force" if change.window is not None else "no window is in force any more"
    parks = "; idle machines are parked, and nothing is started" if change.parked else ""
    return f"At {clock(change.at)}, in {span(change.at - now)}, {what}: target {change.target}{parks}."
