"""Rows of the pages that are neither machines nor history: transitions, holds and freezes, what is not being done."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from fleetd.model.report import MachineReport, StepReport, VetoReport
from fleetd.model.vetoes import veto_ending, veto_title
from fleetd.ops.page.html import Markup, join, tag
from fleetd.ops.page.scene import Scene
from fleetd.ops.page.words import age, clock, count
from fleetd.words.blocked import Blocked
from fleetd.words.names import called
from fleetd.words.reasons import UNDER_WAY, reason_words
from fleetd.words.times import span

SHOWN = 6
"""Rows of a list that are shown at once; the others are a tap away."""
MOST = 100
"""Rows of a list at the most."""


def section(heading: str, rows: Sequence[Markup], key: str, *, none: str = "") -> Markup | None:
    """A list under a heading; what is too long for a glance is folded away, and what is too long for a page left out.

    ``none``: what is said where there is no row; without it there is no section then.
    """
    if not rows and not none:
        return None
    inside = _folded(f"{key}-rest", rows) if rows else tag("p", none, class_="none")
    return tag("section", tag("h2", heading), inside, id=key, class_=key)


def blocked_row(row: Blocked, now: datetime) -> Markup:
    """What is not being done, since when, why, and when that changes."""
    since = "" if row.since is None else f"Since {clock(row.since, now)} UTC, for {span(now - row.since)}. "
    return tag(
        "li",
        tag("span", "·" if row.ordinary else "!", class_="sign", aria_hidden="true"),
        tag(
            "div",
            tag("p", row.words),
            tag("p", row.names, class_="dim") if row.names else None,
            tag("p", since, tag("code", row.reason), class_="dim"),
        ),
        class_="ordinary" if row.ordinary else "serious",
        data_key=f"blocked {row.fleet} {row.reason} {row.words.partition(':')[0]}",
    )


def veto_row(veto: VetoReport, now: datetime) -> Markup:
    """A hold or freeze."""
    ends = f"{clock(veto.expires_at, now)} UTC, {span(veto.expires_at - now)} left"
    title = veto_title(veto)
    what = title if veto.keeps_off else title[:1].upper() + title[1:]  # a name is written as it is
    return tag(
        "li",
        tag("span", "‖", class_="sign", aria_hidden="true"),
        tag("div", tag("p", tag("strong", what)), tag("p", veto_ending(veto, ends), class_="dim")),
        data_key=f"veto {veto.id}",
    )


def step_rows(scene: Scene, machines: Iterable[MachineReport]) -> list[Markup]:
    """Open transitions with their deadlines, the next deadline first."""
    moving = [(m, m.transition) for m in machines if m.transition is not None]
    moving.sort(key=lambda pair: pair[1].deadline)
    return [_transition(scene, machine, step) for machine, step in moving[: MOST + 1]]


def _folded(key: str, rows: Sequence[Markup]) -> Markup:
    shown = rows if len(rows) <= SHOWN + 2 else rows[:SHOWN]
    rest = rows[len(shown) : MOST]
    left = len(rows) - len(shown) - len(rest)
    more = tag(
        "details",
        tag("summary", f"{len(rest) + left} more"),
        tag("ul", rest, class_="list", role="list"),
        tag("p", f"and {count(left, 'other')} that this page has no room for", class_="dim") if left else None,
        id=key,
    )
    return join(tag("ul", shown, class_="list", role="list"), more if rest else None)


def _transition(scene: Scene, machine: MachineReport, step: StepReport) -> Markup:
    now = scene.now
    doubt = " Its answer was lost, so it is being looked for." if step.ambiguous else ""
    why = reason_words(step.reason)
    return tag(
        "li",
        tag("span", "◑" if step.verb in {"stop", "destroy"} else "◐", class_="sign", aria_hidden="true"),
        tag(
            "div",
            tag(
                "p",
                tag("a", called(machine), href=scene.machine_link(machine)),
                f" {UNDER_WAY.get(step.verb, step.verb)} for {age(step.since, now)}",
            ),
            bar(step.since, step.deadline, now),
            tag("p", f"{_deadline(step.deadline, now)} {why[:1].upper()}{why[1:]}.{doubt}", class_="dim"),
        ),
        class_="late" if step.deadline <= now else step.verb,
        data_key=f"step {step.intent}",
    )


def _deadline(deadline: datetime, now: datetime) -> str:
    if deadline <= now:
        return f"Overdue: the deadline was {clock(deadline, now)} UTC, {span(now - deadline)} ago."
    return f"Deadline {clock(deadline, now)} UTC, in {span(deadline - now)}."


def bar(began: datetime, deadline: datetime, now: datetime) -> Markup | None:
    """How much of the time until a deadline has passed. The words beside it say the same."""
    if deadline <= began:
        return None
    share = min(1.0, max(0.0, (now - began) / (deadline - began)))
    return Markup(
        '<svg class="bar" viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true" focusable="false">'
        f'<rect class="all" width="100" height="4"/><rect class="gone" width="{100 * share:.1f}" height="4"/></svg>'
    )
