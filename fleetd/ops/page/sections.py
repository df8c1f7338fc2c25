"""Everything on the page beside the fleets themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from fleetd.model.journal import OUTSIDE, HistoryEntry
from fleetd.model.reasons import Outcome, Reason
from fleetd.ops.page.html import Child, Markup, join, tag
from fleetd.ops.page.scene import Scene
from fleetd.ops.page.words import (
    NOTHING,
    PHASES,
    Blocked,
    age,
    blocked,
    clock,
    count,
    instant,
    money,
    reason_words,
    took,
    troubles,
    veto_words,
)
from fleetd.planner.sentences import UNDER_WAY, span
from fleetd.planner.standing import orphans, standing_sentence

SHOWN = 6
"""Rows of a list that are shown at once; the others are a tap away."""
OTHERS = 100
"""Machines of other people that are named."""

_EXPECTED = frozenset({Reason.SHORT_OF_TARGET, Reason.OVER_TARGET})
"""Reasons that a transition's own list does not repeat on every line."""
_GOOD = frozenset({Outcome.REACHED, Outcome.OBSERVED})
_BAD = frozenset({Outcome.FAILED_TO_START, Outcome.TIMED_OUT, Outcome.NO_EFFECT, Outcome.REFUSED, Outcome.LOST})


def problems(scene: Scene) -> Markup | None:
    """What makes the whole picture doubtful; nothing where nothing does."""
    found = troubles(scene.document)
    if not found:
        return None
    rows = [tag("li", tag("strong", what), ". " if details else None, details) for what, details in found]
    return tag("section", tag("h2", "Problems"), tag("ul", rows), class_="problems")


def figures(scene: Scene) -> Markup:
    """The numbers of the whole account."""
    document, now = scene.document, scene.now
    views = document["fleets"].values()
    up, target = sum(int(f["up"]) for f in views), sum(int(f["target"]) for f in views)
    moving = sum(1 for m in document["machines"] if m["transition"])
    stopped = blocked(document["blocked"], now)
    cap = document.get("max_hourly_cost")
    last = document["daemon"].get("last_pass")
    seconds = age(last["at"], now) if last else ""
    provider = str(document["daemon"].get("provider") or "not asked yet")
    return tag(
        "dl",
        _figure("Up", f"{up}", f"of {target}"),
        _figure(
            "Cost an hour", money(document.get("hourly")) if views else NOTHING, f"cap {money(cap)}" if cap else ""
        ),
        _figure("Under way", f"{moving}", "", href="#under-way"),
        _figure("Not being done", f"{len(stopped)}", "", href="#blocked", tone="bad" if _serious(stopped) else ""),
        _figure(
            "Last pass",
            f"{seconds} ago" if last else NOTHING,
            f"took {took(float(last['duration_s']))}" if last else "",
        ),
        _figure("Provider", provider.replace("_", " "), "", tone="" if provider == "ok" else "bad"),
        class_="figures",
    )


def blocked_section(scene: Scene) -> Markup:
    """What is not being done, why, and when that changes."""
    rows = [
        tag(
            "li",
            tag("span", "·" if b.ordinary else "!", class_="sign", aria_hidden="true"),
            tag(
                "div",
                tag("p", b.words),
                tag("p", b.names, class_="dim") if b.names else None,
                tag("p", tag("code", b.reason), class_="dim"),
            ),
            class_="ordinary" if b.ordinary else "serious",
            data_key=f"blocked {b.fleet} {b.reason} {b.words.partition(':')[0]}",
        )
        for b in blocked(scene.document["blocked"], scene.now)
    ]
    inside = _folded("blocked-rest", rows) if rows else tag("p", "Nothing is blocked.", class_="none")
    return tag("section", tag("h2", "Not being done, and why"), inside, id="blocked", class_="blocked", tabindex=-1)


def under_way(scene: Scene) -> Markup:
    """Open transitions with their deadlines, the next deadline first."""
    moving = sorted(
        (m for m in scene.document["machines"] if m["transition"]), key=lambda m: str(m["transition"]["deadline"])
    )
    rows = [_transition(m, scene.now) for m in moving]
    inside = _folded("under-way-rest", rows) if rows else tag("p", "Nothing is under way.", class_="none")
    return tag("section", tag("h2", "Under way"), inside, id="under-way", class_="moving", tabindex=-1)


def vetoes(scene: Scene) -> Markup | None:
    """Holds and freezes in force; nothing where there are none."""
    found = scene.document.get("vetoes") or ()
    if not found:
        return None
    rows = []
    for veto in found:
        what, why = veto_words(veto, scene.now)
        rows.append(
            tag(
                "li",
                tag("span", "‖", class_="sign", aria_hidden="true"),
                tag("div", tag("p", tag("strong", what)), tag("p", why, class_="dim")),
                data_key=f"veto {veto.get('id')}",
            )
        )
    return tag("section", tag("h2", "Holds and freezes"), _folded("vetoes-rest", rows), class_="vetoes")


def events(scene: Scene) -> Markup:
    """The last entries of history, newest first."""
    if scene.history is None:
        inside = tag("p", "The journal cannot be read at the moment.", class_="none")
    elif not scene.history:
        inside = tag("p", "Nothing has been done yet.", class_="none")
    else:
        inside = _folded("events-rest", [_event(entry, scene.now) for entry in reversed(scene.history)])
    return tag("section", tag("h2", "Last events"), inside, id="events", class_="events", tabindex=-1)


def left_behind(scene: Scene) -> Markup | None:
    """Machines that nobody looks after, although a fleetd made them: they cost money, and need a person."""
    rows = [
        tag(
            "li",
            tag("span", "!", class_="sign", aria_hidden="true"),
            tag(
                "div",
                tag("p", tag("strong", m["name"]), f" {m['state']}"),
                tag("p", standing_sentence(m, None, scene.now), class_="dim"),
            ),
            class_="serious",
            data_key=f"orphan {m['id']}",
        )
        for m in orphans(scene.document["machines"])
    ]
    if not rows:
        return None
    return tag(
        "section", tag("h2", "Not owned, though a fleetd made them"), _folded("orphans-rest", rows), class_="orphans"
    )


def others(scene: Scene) -> Markup | None:
    """Machines of other people: there, and never touched."""
    left = {m["id"] for m in orphans(scene.document["machines"])}
    foreign = [m for m in scene.document["machines"] if not m["owned"] and m["id"] not in left]
    if not foreign:
        return None
    rows = [
        tag(
            "li",
            m["name"],
            tag("span", f" {m['state']}{', a look-alike of ours' if m.get('look_alike') else ''}", class_="dim"),
            data_key=f"other {m['id']}",
        )
        for m in foreign[:OTHERS]
    ]
    if len(foreign) > OTHERS:
        rows.append(tag("li", f"and {len(foreign) - OTHERS} more", class_="dim"))
    summary = tag("summary", f"{count(len(foreign), 'machine')} of other people, never touched")
    return tag(
        "section",
        tag("h2", "Other machines"),
        tag("details", summary, tag("ul", rows, class_="names"), id="other-machines"),
        class_="wide",
    )


def footer(scene: Scene) -> Markup:
    """The daemon itself, what the signs mean, and the same for machines."""
    daemon = scene.document["daemon"]
    parts: list[Child] = [f"fleetd {scene.version}" if scene.version else "fleetd"]
    if daemon.get("since"):
        parts.append(f"pid {daemon['pid']}, since {_at(daemon['since'], scene.now)} UTC")
    if daemon.get("config"):
        parts.append(str(daemon["config"]))
    legend = [
        tag("li", tag("span", sign, class_=f"sign {phase}", aria_hidden="true"), words)
        for phase, (sign, words) in PHASES.items()
    ]
    links = join(tag("a", "status.json", href="status.json"), " ", tag("a", "metrics", href="metrics"))
    return tag(
        "footer",
        tag("ul", legend, class_="phases", aria_label="What the signs mean"),
        tag("p", join(*[join(" · " if n else None, part) for n, part in enumerate(parts)])),
        tag("p", "All times are UTC. ", links),
    )


def _serious(rows: Sequence[Blocked]) -> bool:
    return any(not b.ordinary for b in rows)


def _figure(label: str, value: str, more: str, *, href: str | None = None, tone: str = "") -> Markup:
    shown = tag("a", value, href=href) if href is not None and value != "0" else value
    return tag(
        "div",
        tag("dt", label),
        tag("dd", tag("b", shown), tag("span", f" {more}") if more else None),
        class_=tone or None,
    )


def _folded(key: str, rows: Sequence[Markup]) -> Markup:
    """A list; what is too long for a glance is folded away."""
    shown = rows if len(rows) <= SHOWN + 2 else rows[:SHOWN]
    rest = rows[len(shown) :]
    more = tag("details", tag("summary", f"{len(rest)} more"), tag("ul", rest, class_="list", role="list"), id=key)
    return join(tag("ul", shown, class_="list", role="list"), more if rest else None)


def _transition(machine: Mapping[str, Any], now: datetime) -> Markup:
    step = machine["transition"]
    began, deadline = instant(step["since"]), instant(step["deadline"])
    doubt = " Its answer was lost, so it is being looked for." if step.get("ambiguous") else ""
    verb = str(step["verb"])
    told = str(step["reason"]) not in _EXPECTED
    late = deadline is not None and deadline <= now
    return tag(
        "li",
        tag("span", "◑" if verb in {"stop", "destroy"} else "◐", class_="sign", aria_hidden="true"),
        tag(
            "div",
            tag("p", tag("strong", machine["name"]), f" {UNDER_WAY.get(verb, verb)} for {age(step['since'], now)}"),
            _bar(began, deadline, now),
            tag("p", _deadline(deadline, now), class_="dim"),
            tag("p", f"{_capital(reason_words(step['reason']))}.{doubt}", class_="dim") if told or doubt else None,
        ),
        class_="late" if late else verb,
        title=reason_words(step["reason"]),
        data_key=f"step {step.get('intent')}",
    )


def _deadline(deadline: datetime | None, now: datetime) -> str:
    if deadline is None:
        return "No deadline."
    if deadline <= now:
        return f"Overdue: the deadline was {clock(deadline, now)} UTC, {span(now - deadline)} ago."
    return f"Deadline {clock(deadline, now)} UTC, in {span(deadline - now)}."


def _bar(began: datetime | None, deadline: datetime | None, now: datetime) -> Markup | None:
    """How much of the time until the deadline has passed. The words beside it say the same."""
    if began is None or deadline is None or deadline <= began:
        return None
    share = min(1.0, max(0.0, (now - began) / (deadline - began)))
    return Markup(
        '<svg class="bar" viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true" focusable="false">'
        f'<rect class="all" width="100" height="4"/><rect class="gone" width="{100 * share:.1f}" height="4"/></svg>'
    )


def _event(entry: HistoryEntry, now: datetime) -> Markup:
    tone = "good" if entry.outcome in _GOOD else "bad" if entry.outcome in _BAD else "odd"
    sign = {"good": "✓", "bad": "✕", "odd": NOTHING}[tone]
    after = "" if entry.duration_s is None else f" after {span(timedelta(seconds=entry.duration_s))}"
    verb = "changed outside" if entry.verb == OUTSIDE else _plain(entry.verb)
    ended = "" if entry.outcome == Outcome.OBSERVED else f" {_plain(entry.outcome)}{after}"
    by = f"by {entry.actor}" if entry.actor not in {"fleetd", "outside"} else ""
    why = "; ".join(part for part in (_plain(entry.reason), entry.error, entry.evidence, by) if part)
    return tag(
        "li",
        tag("span", sign, class_=f"sign {tone}", aria_hidden="true"),
        tag(
            "div",
            tag(
                "p",
                tag("strong", entry.name or entry.machine or entry.fleet or "everything"),
                f" {verb}:{ended}" if ended else f" {verb}",
            ),
            tag("p", tag("time", clock(entry.ts, now), datetime=entry.ts.isoformat()), f" {why}", class_="dim"),
        ),
        data_key=f"event {entry.ts.isoformat()} {entry.machine} {entry.name} {entry.verb} {entry.intent}",
    )


def _plain(code: object) -> str:
    return str(code).replace("_", " ")


def _at(value: object, now: datetime) -> str:
    at = instant(value)
    return NOTHING if at is None else clock(at, now)


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]
