"""Entries of the history as rows, the newest first; alike ones that follow each other can be taken together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta

from fleetd.model.journal import CHRONICLED, OUTSIDE, HistoryEntry
from fleetd.model.reasons import Outcome
from fleetd.ops.page.html import Markup, join, tag
from fleetd.ops.page.links import fleet_path, machine_word_path
from fleetd.ops.page.scene import Scene
from fleetd.ops.page.words import NOTHING, clock
from fleetd.words.times import span

_GOOD = frozenset({Outcome.REACHED, Outcome.OBSERVED})
_BAD = frozenset({Outcome.FAILED_TO_START, Outcome.TIMED_OUT, Outcome.NO_EFFECT, Outcome.REFUSED, Outcome.LOST})
_BAD_NEWS = frozenset({"rejected", "not_believed", "unavailable", "key_refused"})
"""Of what happened to fleetd itself."""
_AT_ONCE = timedelta(minutes=5)
"""What is no further apart is told with one time."""


def events(scene: Scene, *, most: int, together: bool = False) -> Markup:
    """The scene's history as a list; where there is none, or it cannot be read, that is said.

    Args:
        scene: what is shown.
        most: rows.
        together: entries that are alike are one row, in the place of the newest: a start that fails anew every few
            minutes must not push everything else out.
    """
    if scene.history is None:
        return tag("p", "The journal cannot be read at the moment.", class_="none")
    newest = list(reversed(scene.history))
    groups: dict[object, list[HistoryEntry]] = {}
    for number, entry in enumerate(newest):
        groups.setdefault(_alike(entry) if together else number, []).append(entry)
    if not groups:
        return tag("p", "Nothing is in the history.", class_="none")
    return tag(
        "ul", (_row(group, scene) for group in list(groups.values())[:most]), class_="list events", role="list"
    )


def marks(entries: Iterable[HistoryEntry]) -> list[tuple[HistoryEntry, str]]:
    """What a chart marks, each with its class: a reload, a freeze, an outage (a listing not believed, too)."""
    kinds = {"config": "reload", "freeze": "freeze", "provider": "outage", "listing": "outage", "daemon": "reload"}
    return [(entry, kinds[entry.verb]) for entry in entries if entry.verb in kinds]


def _alike(entry: HistoryEntry) -> tuple[object, ...]:
    """What machines have in common that one row is about; anything else is like nothing but itself."""
    if entry.machine is None or entry.verb in CHRONICLED:
        return (entry.ts, entry.fleet, entry.name, entry.verb, entry.reason, entry.intent, entry.error)
    return (entry.fleet, entry.verb, entry.reason, entry.outcome, entry.error, entry.actor)


def _row(group: Sequence[HistoryEntry], scene: Scene) -> Markup:
    entry, now = group[0], scene.now
    bad = entry.outcome in _BAD or (entry.verb in CHRONICLED and entry.reason in _BAD_NEWS)
    tone = "bad" if bad else "good" if entry.outcome in _GOOD else "odd"
    sign = {"good": "✓", "bad": "✕", "odd": NOTHING}[tone]
    after = (
        "" if entry.duration_s is None or len(group) > 1 else f" after {span(timedelta(seconds=entry.duration_s))}"
    )
    ended = "" if entry.outcome == Outcome.OBSERVED else f" {_plain(entry.outcome)}{after}"
    if entry.verb in CHRONICLED:
        who, did, why = tag("strong", _plain(entry.verb)), f" {_plain(entry.reason)}", ""
    else:
        verb = "changed outside" if entry.verb == OUTSIDE else _plain(entry.verb)
        who, did, why = _who(group, scene), f" {verb}:{ended}" if ended else f" {verb}", _plain(entry.reason)
    by = f"by {entry.actor}" if entry.actor not in {"fleetd", "outside"} else ""
    evidence = entry.evidence if len({e.evidence for e in group}) == 1 else ""  # of one of them it says nothing
    said = "; ".join(part for part in (why, entry.error, evidence, by) if part)
    return tag(
        "li",
        tag("span", sign, class_=f"sign {tone}", aria_hidden="true"),
        tag(
            "div",
            tag("p", who, did, _often(group, scene)),
            tag("p", tag("time", clock(entry.ts, now), datetime=entry.ts.isoformat()), f" {said}", class_="dim"),
        ),
        data_key=f"event {entry.ts.isoformat()} {entry.machine} {entry.name} {entry.verb} {entry.intent}",
    )


def _who(group: Sequence[HistoryEntry], scene: Scene) -> Markup:
    entry = group[0]
    machines = len({e.machine for e in group})
    if machines > 1:
        return join(tag("a", entry.fleet, href=scene.root + fleet_path(entry.fleet)), f": {machines} machines")
    if entry.machine is not None:
        return tag("a", entry.name or entry.machine, href=scene.root + machine_word_path(entry.machine))
    return tag("strong", entry.name or entry.fleet or "everything")


def _often(group: Sequence[HistoryEntry], scene: Scene) -> str:
    """That it was more than once for a machine, and since when; or that it was not for all of them at one time."""
    first = min(e.ts for e in group)
    if len({e.machine for e in group}) == len(group):
        return f", since {clock(first, scene.now)}" if group[0].ts - first > _AT_ONCE else ""
    return f", {len(group)} times since {clock(first, scene.now)}"


def _plain(code: object) -> str:
    return str(code).replace("_", " ")
