"""How everything stands, in one sentence, and in the few words of a tab's title, also for one that nobody sees."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta

from fleetd.model.lists import some
from fleetd.ops.escape import printable
from fleetd.ops.page.needs import blind, needs, why_blind
from fleetd.ops.page.scene import Scene
from fleetd.ops.page.states import away_since, parked_words, wanted
from fleetd.ops.page.words import clock, count
from fleetd.words.times import span


def headline(scene: Scene) -> str:
    """In words that change only when something does: a screen reader says them each time."""
    report, now = scene.report, scene.now
    found = needs(report, now)
    if _nothing_yet(scene):
        words = "No pass has ended well yet."
    else:
        words = _blind(scene) if blind(report) else _fleets(scene)
    return f"{words} {count(len(found), 'thing')} may need a person." if found else words


def summary(scene: Scene) -> str:
    """The tab's title, its mood (the name of its icon), and when the last look was that was believed, as JSON."""
    words, mood = title(scene)
    looked = scene.report.sight.believed_at
    told = {"title": printable(words), "mood": mood, "looked": None if looked is None else looked.isoformat()}
    return json.dumps(told, separators=(",", ":"))


def lasts(scene: Scene) -> str:
    """For how long it has been so; "" where all is well."""
    since = _since(scene)
    return "" if since is None else f"for {span(max(scene.now - since, timedelta(0)))}"


def title(scene: Scene) -> tuple[str, str]:
    """The tab's title and its mood (ok, moving, trouble or blind): how the fleets stand, seen from another tab."""
    report = scene.report
    views = report.fleets.values()
    if _nothing_yet(scene):
        return "? no look yet · fleetd", "blind"
    words = f"{_up(scene)} up · fleetd"
    if blind(report):
        return f"? {words}", "blind"
    if needs(report, scene.now):
        return f"! {words}", "trouble"
    return words, "ok" if all(f.converged for f in views) else "moving"


def _nothing_yet(scene: Scene) -> bool:
    return scene.report.daemon.last_pass is None and scene.report.sight.believed_at is None


def _up(scene: Scene) -> str:
    up, of = _totals(scene)
    return f"{up}/{of}"


def _totals(scene: Scene) -> tuple[int, int]:
    """(up, wanted) of all fleets; while one is short, the surplus of another does not count, which would hide it."""
    views = [(f.up, wanted(f)) for f in scene.report.fleets.values()]
    short = any(up < of for up, of in views)
    return sum(min(up, of) if short else up for up, of in views), sum(of for _, of in views)


def _blind(scene: Scene) -> str:
    report, since = scene.report, _since(scene)
    began = "" if since is None else f" since {clock(since, scene.now)} UTC"
    seen = "Nothing seen yet."
    if report.sight.believed_at is not None and report.fleets:
        up, of = _totals(scene)
        looked = clock(report.sight.believed_at, scene.now)
        seen = f"Last seen {looked} UTC: {up} of {of} up."
    return f"Blind{began}: {why_blind(report).removesuffix('.')}. {seen}"


def _fleets(scene: Scene) -> str:
    fleets = scene.report.fleets
    if not fleets:
        return "The config names no fleets."
    away = [name for name, f in fleets.items() if not f.was_converged]
    parked = [name for name, f in fleets.items() if f.was_converged and f.parked]
    if away:
        return _away(scene, away)
    if not parked:
        whose = {1: "The fleet is", 2: "Both fleets are"}.get(len(fleets), f"All {len(fleets)} fleets are")
        return f"{whose} at target."
    if len(fleets) == 1:
        return f"The fleet is {parked_words(scene, parked[0], fleets[parked[0]])}."
    sleeps = f"{parked[0]} is parked" if len(parked) == 1 else f"{len(parked)} are parked"
    rest = len(fleets) - len(parked)
    if not rest:
        return f"All {len(fleets)} fleets are parked."
    return f"{count(rest, 'fleet')} {'is' if rest == 1 else 'are'} at target, {sleeps}."


def _away(scene: Scene, away: Sequence[str]) -> str:
    fleets, since = scene.report.fleets, _since(scene)
    began = "" if since is None else f" since {clock(since, scene.now)} UTC"
    said = [f"{name} {fleets[name].up} of {wanted(fleets[name])} up" for name in away]
    return f"Not at target{began}: {some(said, 3)}."


def _since(scene: Scene) -> datetime | None:
    report = scene.report
    if blind(report):
        return report.sight.doubted_since or report.sight.believed_at
    away = [away_since(scene, name) for name, f in report.fleets.items() if not f.was_converged]
    return min((since for since in away if since is not None), default=None)
