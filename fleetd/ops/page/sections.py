"""Everything on the page beside the fleets themselves."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from fleetd.model.journal import OUTSIDE, HistoryEntry
from fleetd.model.reasons import Outcome, Reason
from fleetd.model.report import MachineReport, StepReport
from fleetd.ops.page.html import Child, Markup, join, tag
from fleetd.ops.page.scene import Scene
from fleetd.ops.page.words import (
    NOTHING,
    age,
    clock,
    count,
    money,
    took,
    troubles,
    veto_words,
)
from fleetd.planner.standing import orphans
from fleetd.words.blocked import Blocked, blocked
from fleetd.words.machines import standing_sentence
from fleetd.words.phases import PHASES
from fleetd.words.reasons import UNDER_WAY, reason_words
from fleetd.words.times import span

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
    found = troubles(scene.report)
    if not found:
        return None
    rows = [tag("li", tag("strong", what), ". " if details else None, details) for what, details in found]
    return tag("section", tag("h2", "Problems"), tag("ul", rows), class_="problems")


def figures(scene: Scene) -> Markup:
    """The numbers of the whole account."""
    report, now = scene.report, scene.now
    fleets = report.fleets.values()
    up, target = sum(f.up for f in fleets), sum(f.target for f in fleets)
    moving = sum(1 for m in report.machines if m.transition)
    stopped = blocked(report.blocked, now)
    cap = report.max_hourly_cost
    last = report.daemon.last_pass
    provider = report.daemon.provider or "not asked yet"
    return tag(
        "dl",
        _figure("Up", f"{up}", f"of {target}"),
        _figure("Cost an hour", money(report.hourly) if fleets else NOTHING, f"cap {money(cap)}" if cap else ""),
        _figure("Under way", f"{moving}", "", href="#under-way"),
        _figure("Not being done", f"{len(stopped)}", "", href="#blocked", tone="bad" if _serious(stopped) else ""),
        _figure(
            "Last pass",
            f"{age(last.at, now)} ago" if last else NOTHING,
            f"took {took(last.duration_s)}" if last else "",
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
        for b in blocked(scene.report.blocked, scene.now)
    ]
    inside = _folded("blocked-rest", rows) if rows else tag("p", "Nothing is blocked.", class_="none")
    return tag("section", tag("h2", "Not being done, and why"), inside, id="blocked", class_="blocked", tabindex=-1)


def under_way(scene: Scene) -> Markup:
    """Open transitions with their deadlines, the next deadline first."""
    moving = [(m, m.transition) for m in scene.report.machines if m.transition is not None]
    moving.sort(key=lambda pair: pair[1].deadline)
    rows = [_transition(m, step, scene.now) for m, step in moving]
    inside = _folded("under-way-rest", rows) if rows else tag("p", "Nothing is under way.", class_="none")
    return tag("section", tag("h2", "Under way"), inside, id="under-way", class_="moving", tabindex=-1)


def vetoes(scene: Scene) -> Markup | None:
    """Holds and freezes in force; nothing where there are none."""
    if not scene.report.vetoes:
        return None
    rows = []
    for veto in scene.report.vetoes:
        what, why = veto_words(veto, scene.now)
        rows.append(
            tag(
                "li",
                tag("span", "‖", class_="sign", aria_hidden="true"),
                tag("div", tag("p", tag("strong", what)), tag("p", why, class_="dim")),
                data_key=f"veto {veto.id}",
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
                tag("p", tag("strong", m.name), f" {m.state}"),
                tag("p", standing_sentence(m, None, scene.now), class_="dim"),
            ),
            class_="serious",
            data_key=f"orphan {m.id}",
        )
        for m in orphans(scene.report.machines)
    ]
    if not rows:
        return None
    return tag(
        "section", tag("h2", "Not owned, though a fleetd made them"), _folded("orphans-rest", rows), class_="orphans"
    )


def others(scene: Scene) -> Markup | None:
    """Machines of other people: there, and never touched."""
    left = {m.id for m in orphans(scene.report.machines)}
    foreign = [m for m in scene.report.machines if not m.owned and m.id not in left]
    if not foreign:
        return None
    rows = [
        tag(
            "li",
            m.name,
            tag("span", f" {m.state}{', a look-alike of ours' if m.look_alike else ''}", class_="dim"),
            data_key=f"other {m.id}",
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
    daemon = scene.report.daemon
    parts: list[Child] = [f"fleetd {scene.version}" if scene.version else "fleetd"]
    if daemon.since is not None:
        parts.append(f"pid {daemon.pid}, since {clock(daemon.since, scene.now)} UTC")
    if daemon.config:
        parts.append(daemon.config)
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


def _transition(machine: MachineReport, step: StepReport, now: datetime) -> Markup:
    doubt = " Its answer was lost, so it is being looked for." if step.ambiguous else ""
    why = reason_words(step.reason)
    told = step.reason not in _EXPECTED
    return tag(
        "li",
        tag("span", "◑" if step.verb in {"stop", "destroy"} else "◐", class_="sign", aria_hidden="true"),
        tag(
            "div",
            tag(
                "p", tag("strong", machine.name), f" {UNDER_WAY.get(step.verb, step.verb)} for {age(step.since, now)}"
            ),
            _bar(step.since, step.deadline, now),
            tag("p", _deadline(step.deadline, now), class_="dim"),
            tag("p", f"{_capital(why)}.{doubt}", class_="dim") if told or doubt else None,
        ),
        class_="late" if step.deadline <= now else step.verb,
        title=why,
        data_key=f"step {step.intent}",
    )


def _deadline(deadline: datetime, now: datetime) -> str:
    if deadline <= now:
        return f"Overdue: the deadline was {clock(deadline, now)} UTC, {span(now - deadline)} ago."
    return f"Deadline {clock(deadline, now)} UTC, in {span(deadline - now)}."


def _bar(began: datetime, deadline: datetime, now: datetime) -> Markup | None:
    """How much of the time until the deadline has passed. The words beside it say the same."""
    if deadline <= began:
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


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]
