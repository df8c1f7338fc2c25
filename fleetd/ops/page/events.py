"""Entries of the history as rows, the newest first; alike ones that follow each other can be taken together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from itertools import groupby

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
"""Of what befell fleetd itself."""


def events(scene: Scene, *, most: int, together: bool = False) -> Markup:
    """The scene's history as a list; where there is none, or it cannot be read, that is said.

    Args:
        scene: what is shown.
        most: rows.
        together: entries that are alike, of several machines, are one row.
    """
    if scene.history is None:
        return tag("p", "The journal cannot be read at the moment.", class_="none")
    newest = list(reversed(scene.history))
    groups = [list(group) for _, group in groupby(newest, _alike)] if together else [[entry] for entry in newest]
    if not groups:
        return tag("p", "Nothing is in the history.", class_="none")
    return tag("ul", (_row(group, scene) for group in groups[:most]), class_="list events", role="list")


def marks(entries: Iterable[HistoryEntry]) -> list[tuple[HistoryEntry, str]]:
    """What a chart marks, each with its class: a reload, a freeze, an outage (a listing not believed, too)."""
    kinds = {"config": "reload", "freeze": "freeze", "provider": "outage", "listing": "outage", "daemon": "reload"}
    return [(entry, kinds[entry.verb]) for entry in entries if entry.verb in kinds]


def _alike(entry: HistoryEntry) -> tuple[object, ...]:
    alone = entry.intent if entry.verb in CHRONICLED or entry.machine is None else None
    who = (entry.ts, entry.name) if entry.machine is None else ()
    return (entry.fleet, entry.verb, entry.reason, entry.outcome, entry.error, entry.actor, alone, who)


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
    said = "; ".join(part for part in (why, entry.error, entry.evidence, by) if part)
    return tag(
        "li",
        tag("span", sign, class_=f"sign {tone}", aria_hidden="true"),
        tag(
            "div",
            tag("p", who, did),
            tag("p", tag("time", clock(entry.ts, now), datetime=entry.ts.isoformat()), f" {said}", class_="dim"),
        ),
        data_key=f"event {entry.ts.isoformat()} {entry.machine} {entry.name} {entry.verb} {entry.intent}",
    )


def _who(group: Sequence[HistoryEntry], scene: Scene) -> Markup:
    entry = group[0]
    if len(group) > 1:
        return join(tag("a", entry.fleet, href=scene.root + fleet_path(entry.fleet)), f": {len(group)} machines")
    if entry.machine is not None:
        return tag("a", entry.name or entry.machine, href=scene.root + machine_word_path(entry.machine))
    return tag("strong", entry.name or entry.fleet or "everything")


def _plain(code: object) -> str:
    return str(code).replace("_", " ")
