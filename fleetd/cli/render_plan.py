"""``fleetd plan`` for people: what the next pass would do, what not, and what it costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fleetd.cli.layout import GAP, Column, Hanging, Sheet
from fleetd.cli.render_money import money_lines
from fleetd.cli.words import SYMBOLS, money, money_change
from fleetd.model.lists import more
from fleetd.model.plan import Action, NextChange, Plan, Skip, Unconfirmed
from fleetd.model.reasons import Reason, Verb
from fleetd.model.report import VetoReport
from fleetd.ops.escape import printable, whole_ends
from fleetd.words.fleets import change_sentence, fleet_sentence, unlike_sentence
from fleetd.words.reasons import SENTENCES, sentence
from fleetd.words.times import clock, clocks_sentence, span
from fleetd.words.vetoes import veto_sentence

NAMELESS = "????????"
"""The token of a machine that has none yet."""
ALIKE = 5
"""Skips of one kind that are shown one by one; the rest of them are counted."""

_One = TypeVar("_One", Action, Skip)


def plan_view(
    plan: Plan,
    vetoes: Sequence[VetoReport] = (),
    *,
    then: datetime | None = None,
    now: datetime | None = None,
    alike: Container[str] = (),
) -> RenderableType:
    """The whole answer of ``fleetd plan``.

    Args:
        plan: what would be done.
        vetoes: holds and freezes in force now.
        then: the time that was asked for, where one was.
        now: the present.
        alike: names that several machines have; each of these is shown with its id.
    """
    now = now or plan.at
    parts: list[RenderableType] = []
    if then is not None:
        when = f"{f'in {span(then - now)}' if then >= now else f'{span(now - then)} ago'}"
        parts.append(Text(f"At {clock(then)}, {when}, with the machines as they are now:\n", style="bold cyan"))
    if not plan.complete:
        parts.append(Text("The machines could not be seen whole, so this is not the whole truth.\n", style="red"))
    if plan.clocks_apart is not None:
        parts.append(Text(f"{printable(clocks_sentence(plan.clocks_apart), limit=1000)}\n", style="red"))
    for name, view in plan.fleets.items():
        parts.append(Text(fleet_sentence(printable(name), view), style="bold"))
        if view.next_change is not None:
            parts.append(_indented(change_sentence(_printable(view.next_change), plan.at), "dim"))
        parts += [_indented(printable(unlike_sentence(one)), "yellow") for one in view.unlike]
        mine = [a for a in plan.actions if a.fleet == name]
        if mine:
            parts.append(_actions([_told_apart(a, alike) for a in mine]))
        parts.append(Text(""))
    parts += [Text(line, style="yellow") for line in money_lines(plan)]
    if plan.unconfirmed:
        lines = [_indented(_unconfirmed(u), "yellow") for u in plan.unconfirmed]
        parts += [Text("Never destroyed before fleetd adopt confirms them:", style="bold"), *lines, Text("")]
    if plan.skips:
        parts += [
            Text("Not done:", style="bold"),
            _skips([_told_apart(s, alike) for s in plan.skips], plan.at),
            Text(""),
        ]
    if vetoes:
        lines = [_indented(_veto(v, plan.at), "yellow") for v in vetoes]
        parts += [Text("Holds and freezes:", style="bold"), *lines, Text("")]
    parts.append(footer(plan))
    return Group(*parts)


def _told_apart(one: _One, alike: Container[str]) -> _One:
    known = one.machine is not None and one.name in alike
    return replace(one, name=f"{one.name} ({one.machine})") if known else one


def _indented(line: str, style: str) -> Hanging:
    return Hanging(Text(line, style=style), first=GAP, then=GAP)


def _unconfirmed(found: Unconfirmed) -> str:
    by = "its name alone" if found.reason is Reason.RECOVERED else "a pattern of adopt"
    return f"{printable(found.name)} ({printable(found.machine)}): of fleet {printable(found.fleet)} by {by}"


def footer(plan: Plan) -> Text:
    """Counts and sums, in one line."""
    counts = Counter(a.verb for a in plan.actions)
    cost = money(plan.hourly_before)
    if not counts:
        idle = "Nothing to do." if plan.later is None else "Nothing to do in the next pass."
        sure = plan.complete and plan.later is None
        return Text.assemble((idle, "bold green" if sure else "bold"), f"  {cost}", _later(plan))
    total = _counted(counts)
    text = Text.assemble(("Plan: ", "bold"), total, f".  {cost} -> {money(plan.hourly_after)}")
    if plan.hourly_before is not None and plan.hourly_after is not None:
        text.append(f" ({money_change(plan.hourly_after - plan.hourly_before)})")
    elif plan.hourly_after is None:
        text.append(" (a price is not known: see [prices] in the config)")
    return text.append(_later(plan))


def _later(plan: Plan) -> str:
    if plan.later is None:
        return ""
    return f", and {_counted(plan.later.counts)} in the passes after: {money(plan.later.hourly)}"


def _counted(counts: Mapping[Verb, int]) -> str:
    return ", ".join(f"{counts[verb]} to {verb}" for verb in Verb if counts.get(verb))


def _actions(actions: Sequence[Action]) -> Sheet:
    rows = []
    for action, count in _together(actions):
        sign, style = SYMBOLS[action.verb]
        cost = None if action.hourly_delta is None else action.hourly_delta * count
        rows.append(
            [
                Text(f"{sign} {action.verb}", style=style),
                Text(_machine(action, count)),
                Text(_why(action), style="dim"),
                Text("" if cost == 0 else money_change(cost)),
            ]
        )
    return Sheet([Column(""), Column(""), Column("", note=""), Column("", number=True)], rows, indent=GAP)


def _together(actions: Sequence[Action]) -> Iterator[tuple[Action, int]]:
    """Creates for one reason are alike: they are one line with a count. Everything else has a name."""
    alike = Counter(_kind(a) for a in actions if a.machine is None)
    told = set()
    for action in actions:
        if action.machine is not None:
            yield action, 1
        elif _kind(action) not in told:
            told.add(_kind(action))
            yield action, alike[_kind(action)]


def _kind(action: Action) -> tuple[object, ...]:
    return (action.verb, action.fleet, action.reason, action.hourly_delta, action.evidence)


def _machine(action: Action, count: int) -> str:
    if action.machine is not None:
        return printable(action.name or action.machine)
    name = f"{printable(action.fleet)}-{NAMELESS}"
    return name if count == 1 else f"{count} x {name}"


def _why(action: Action) -> str:
    text = SENTENCES[action.reason]
    if action.changes:
        wanted = ", ".join(f"{key} = {value}" for key, value in action.changes.items())
        text += f" ({printable(wanted)})"
    if action.evidence:
        text += f" ({printable(action.evidence)})"
    return text


def _skips(skips: Sequence[Skip], now: datetime) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for skip, left in _few(skips):
        table.add_row(Text(f"  ! {skip.reason}", style="yellow"), Text(whole_ends(sentence(skip, now), limit=1000)))
        if left:
            table.add_row("", Text(f"... {more(left)} like this", style="dim"))
    return table


def _veto(veto: VetoReport, at: datetime) -> str:
    words = printable(veto_sentence(veto, at), limit=1000)
    return words if veto.expires_at > at else f"(over by then) {words}"


def _printable(change: NextChange) -> NextChange:
    return replace(change, window=None if change.window is None else printable(change.window))


def _few(skips: Iterable[Skip]) -> Iterator[tuple[Skip, int]]:
    """At most ``ALIKE`` of a kind, the last of them with the number of those that are left out."""
    kinds: dict[tuple[object, ...], list[Skip]] = {}
    for skip in skips:
        kinds.setdefault((skip.fleet, skip.verb, skip.reason), []).append(skip)
    for group in kinds.values():
        for index, skip in enumerate(group[:ALIKE], start=1):
            yield skip, len(group) - ALIKE if index == ALIKE else 0
