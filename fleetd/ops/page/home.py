"""``/``: trouble first, one line a fleet, what changed; as long for two thousand machines as for four."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import islice

from fleetd.model.lists import more
from fleetd.model.machine import Phase
from fleetd.model.reasons import VetoKind
from fleetd.model.report import FleetReport, VetoReport
from fleetd.model.vetoes import veto_ending, veto_title
from fleetd.ops.page.chart import reach, spark
from fleetd.ops.page.events import events
from fleetd.ops.page.frame import document
from fleetd.ops.page.html import Child, Markup, join, left_out, tag
from fleetd.ops.page.needs import LEFT, MISSING, Need, blind, needs
from fleetd.ops.page.scene import Scene
from fleetd.ops.page.states import Rank, State, parked_words, states, wanted
from fleetd.ops.page.tables import table
from fleetd.ops.page.words import NOTHING, age, clock, count, money, took
from fleetd.planner.standing import orphans
from fleetd.words.names import holds_on
from fleetd.words.times import local_clock, span

NEEDS = 12
"""Things that may need a person that are listed; how many there are is said in any case."""
OWN = 6
"""Holds, freezes and parked fleets that are named."""
FLEETS = 24
"""Fleets that have a line of their own, those with trouble first."""
QUIET = 6
"""So many that are at target have theirs too, while there is room; more are folded away."""
FOLDED = 60
"""Of those that are named."""
CHANGES = 8


def home(scene: Scene) -> str:
    """The whole document."""
    return document(
        scene,
        _needs(scene),
        _fleets(scene),
        tag(
            "section",
            tag("h2", "What changed"),
            events(scene, most=CHANGES, together=True),
            tag("p", tag("a", "All of the history", href=scene.history_link()), class_="more"),
            class_="changed",
            id="changed",
        ),
    )


def _needs(scene: Scene) -> Markup | None:
    found, own = needs(scene.report, scene.now), list(islice(_on_their_own(scene), OWN))
    if not found and not own:
        return None
    rows = [
        *(_need(scene, need) for need in found[:NEEDS]),
        left_out(len(found) - NEEDS, "of the fleets below", "li"),
    ]
    rest = more(len(scene.report.vetoes) + len(_asleep(scene)) - len(own))
    return tag(
        "section",
        tag("h2", f"Needs a person ({len(found)})") if found else tag("h2", "Nothing needs a person"),
        tag("ul", rows, class_="list needs", role="list") if found else None,
        tag(
            "p",
            "On their own: ",
            [join(" · " if n else None, one) for n, one in enumerate(own)],
            f" {rest}" if rest else None,
            class_="own",
        )
        if own
        else None,
        id="needs",
    )


def _need(scene: Scene, need: Need) -> Markup:
    began = _began(scene, need)
    since = "" if began is None else f"since {clock(began, scene.now)} UTC, {span(scene.now - began)}"
    return tag(
        "li",
        tag("span", "!", class_="sign", aria_hidden="true"),
        tag(
            "p",
            tag("a", need.subject, href=scene.root + need.path),
            tag("span", f" {need.words} "),
            tag("span", since, class_="dim") if since else None,
        ),
        data_key=f"need {need.subject} {need.words}",
    )


def _began(scene: Scene, need: Need) -> datetime | None:
    """Since when; where the report does not know, as far as the history and the record tell."""
    if need.kind == LEFT:
        return max((at for at in (need.since, scene.record.seen_last(need.subject)) if at is not None), default=None)
    return need.since or (scene.record.short_since(need.subject) if need.kind == MISSING else None)


def _on_their_own(scene: Scene) -> Iterator[Markup]:
    """What waits for nobody: it ends by itself."""
    report, now = scene.report, scene.now
    for veto in sorted(report.vetoes, key=lambda v: v.kind != VetoKind.FREEZE):
        yield join(_veto_link(scene, veto), " ", veto_ending(veto, f"{clock(veto.expires_at, now)} UTC"))
    for name, fleet in _asleep(scene).items():
        off = f" ({fleet.down})" if fleet.down else ""
        yield join(tag("a", name, href=scene.fleet_link(name)), f" {parked_words(scene, name, fleet)}{off}")


def _asleep(scene: Scene) -> dict[str, FleetReport]:
    """The fleets that are parked, as far as anybody can see."""
    if blind(scene.report):
        return {}
    return {name: f for name, f in scene.report.fleets.items() if f.parked and f.was_converged}


def _veto_link(scene: Scene, veto: VetoReport) -> Markup:
    words = veto_title(veto)
    if veto.kind == VetoKind.FREEZE and veto.subject in scene.report.fleets:
        return tag("a", words, href=scene.fleet_link(veto.subject or ""))
    held = next((m for m in scene.report.machines if holds_on([veto], [m])), None)
    return tag("span", words) if held is None else tag("a", words, href=scene.machine_link(held))


def _fleets(scene: Scene) -> Markup:
    found = states(scene)
    quiet = [name for name, state in found.items() if state.rank is Rank.QUIET]
    away = [name for name, state in found.items() if state.rank is not Rank.QUIET]
    shown = away[:FLEETS]
    room = min(FLEETS - len(shown), len(quiet) if len(quiet) <= QUIET + 2 else QUIET)
    shown += quiet[: max(0, room)]
    named = set(shown)
    left = [name for name in found if name not in named]
    inside: list[Child] = []
    if shown:
        rows = [_row(scene, name, found[name]) for name in shown]
        keys = [f"fleet {name}" for name in shown]
        columns = ("Fleet", "State", "Up", _range(scene), "$/h", "Next")
        inside.append(table("Fleets, those with trouble first", columns, rows, class_="fleets", keys=keys))
        inside.append(_folded(scene, left, all(found[name].rank is Rank.QUIET for name in left)))
    else:
        no_pass = scene.report.daemon.last_pass is None
        inside.append(tag("p", "Nothing is known yet." if no_pass else "The config names no fleets.", class_="none"))
    return tag("section", tag("h2", "Fleets"), inside, _numbers(scene), id="fleets")


def _range(scene: Scene) -> str:
    whole, _ = reach(scene.record.begins(), scene.now)
    return f"Last {span(whole)}"


def _row(scene: Scene, name: str, state: State) -> Sequence[Child]:
    fleet = scene.report.fleets[name]
    whole, _ = reach(scene.record.begins(), scene.now)
    return (
        tag("a", name, href=scene.fleet_link(name)),
        pill(state),
        join(tag("b", fleet.up), f" of {wanted(fleet)}"),
        spark(scene.record.spans(name), scene.now, whole, label=name, patience=scene.patience),
        money(fleet.hourly).removeprefix("$"),
        next_words(scene, name, fleet) or NOTHING,
    )


def pill(state: State) -> Markup:
    """How a fleet stands, in colour; its sign and its words say it as well."""
    sign = tag("span", state.sign, aria_hidden="true")
    return tag("span", sign, f" {state.words}", class_=f"pill {state.tone}")


def next_words(scene: Scene, name: str, fleet: FleetReport) -> str:
    """What a window will make of it, and when: ``6 at 07:00 Berlin``."""
    change = fleet.next
    if change is None:
        return ""
    when = local_clock(change.at, scene.zone(name, fleet), scene.now)
    return f"{'parks' if change.parked else change.target} at {when}"


def _folded(scene: Scene, left: Sequence[str], quiet: bool) -> Markup | None:
    if not left:
        return None
    names = [
        *(tag("li", tag("a", name, href=scene.fleet_link(name)), data_key=f"more {name}") for name in left[:FOLDED]),
        left_out(len(left) - FOLDED, kind="li"),
    ]
    words = f"{len(left)} more at target" if quiet else f"{len(left)} more"
    return tag("details", tag("summary", words), tag("ul", names, class_="names"), id="more-fleets")


def _numbers(scene: Scene) -> Markup:
    """The account in a line."""
    report, now = scene.report, scene.now
    last, cap = report.daemon.last_pass, report.max_hourly_cost
    parts = [count(sum(m.owned for m in report.machines), "machine")]
    if report.fleets:
        parts.append(f"{money(report.hourly)} an hour{f' (cap {money(cap)})' if cap else ''}")
    if moving := sum(m.transition is not None for m in report.machines):
        parts.append(f"{moving} under way")
    if last is not None:
        parts.append(f"last pass {age(last.at, now)} ago, took {took(last.duration_s)}")
    left = orphans(report.machines)
    asleep = sum(m.phase == Phase.DOWN for m in left)
    if awake := len(left) - asleep:
        parts[0] += f" and {awake} without a fleet"
    if asleep:
        parts.append(f"{count(asleep, 'machine')} off, made by a fleetd, of no fleet here")
    if twins := sum(m.look_alike for m in report.machines):
        parts.append(f"{count(twins, 'look-alike')} of ours, never touched")
    if others := sum(not m.owned for m in report.machines) - len(left) - twins:
        parts.append(f"{count(others, 'machine')} of other people, never touched")
    return tag("p", " · ".join(parts), class_="dim numbers")
