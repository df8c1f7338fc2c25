"""``fleetd status`` for people, from the status document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fleetd.cli.output import shown
from fleetd.cli.render_money import money_lines
from fleetd.cli.words import CELLS, PHASE_WORDS, instant, money, reason_words, since, skip_words, until
from fleetd.model.plan import Unlike
from fleetd.ops.escape import printable
from fleetd.planner.draft import only_words
from fleetd.planner.ownership import made_for
from fleetd.planner.sentences import clocks_sentence, unlike_sentence
from fleetd.planner.standing import orphans

Document = Mapping[str, Any]

PHASES = ("up", "rising", "falling", "down", "unknown")
_ALWAYS = frozenset({"up", "down"})


def status_view(document: Document, now: datetime) -> RenderableType:
    """The whole answer of ``fleetd status``."""
    parts: list[RenderableType] = [*daemon_lines(document["daemon"], now), *belief_lines(document, now)]
    if document.get("clocks_apart"):
        parts.append(
            Text(f"clock: {printable(clocks_sentence(document['clocks_apart']), limit=1000)}", style="bold red")
        )
    if document["fleets"]:
        parts += [Text(""), fleets_table(document, now)]
    parts += [Text(line, style="yellow") for line in unlike_lines(document)]
    parts += [Text(line, style="yellow") for line in money_lines(document)]
    owned = [m for m in document["machines"] if m["owned"]]
    if owned:
        parts += [Text(""), machines_table(owned, now)]
    left = orphans(document["machines"])
    twins = [m for m in document["machines"] if m.get("look_alike")]
    foreign = len(document["machines"]) - len(owned) - len(left) - len(twins)
    if foreign:
        parts.append(Text(f"{_count(foreign, 'machine')} of other people, never touched", style="dim"))
    parts += _section("Not owned, though a fleetd made them: adopt them, or stop them by hand", "yellow", _left(left))
    parts += _section("Look-alikes of ours, never touched", "yellow", _left(twins))
    parts += _section("Blocked", "red", [skip_words(s, now) for s in document["blocked"]])
    parts += _section("Holds and freezes", "yellow", [veto_words(v, now) for v in document.get("vetoes", ())])
    return Group(*parts)


def unlike_lines(document: Document) -> Iterator[str]:
    """Fleets whose machines differ from the config."""
    for name, fleet in document["fleets"].items():
        for one in fleet.get("unlike") or ():
            yield printable(f"{name}: {unlike_sentence(Unlike(**one))}")


def daemon_lines(daemon: Document, now: datetime) -> Iterator[Text]:
    """Whether it runs, on what, how its last pass went, and how the provider is."""
    config = shown(daemon.get("config"))
    if daemon.get("answers") is False:
        yield Text(silent_words(daemon), style="bold red")
    elif daemon["running"]:
        ago = since(daemon.get("since"), now)
        what = "fleetd apply runs" if daemon.get("command") == "apply" else "fleetd runs"
        yield Text.assemble((what, "bold green"), f" (pid {shown(daemon.get('pid'))}, for {ago}) on {config}")
        if daemon.get("config_since"):
            yield Text(f"config: in force since {instant(daemon['config_since'], now)}")
    else:
        yield Text.assemble(("No daemon runs", "bold yellow"), f" on {config}; this is from the journal and the API")
    last = daemon.get("last_pass")
    if isinstance(last, Mapping):
        began, took = since(last.get("at"), now), shown(last.get("duration_s"))
        yield Text(f"last pass: {began} ago, took {took} s, {_count(int(last.get('actions') or 0), 'action')}")
    provider = shown(daemon.get("provider"))
    yield Text.assemble("provider: ", (provider, "green" if provider == "ok" else "bold red"))
    if daemon.get("provider_until"):
        yield Text(f"  it asked to be left alone: no pass before {shown(daemon['provider_until'])}", style="yellow")
    yield from (Text(f"  {shown(remark)}", style="yellow") for remark in daemon.get("provider_remarks") or ())
    if daemon.get("error"):
        yield Text(f"last error: {shown(daemon['error'])}", style="red")
    if isinstance(last_fault := daemon.get("last_fault"), Mapping):
        words = f"{shown(last_fault.get('where'))}: {shown(last_fault.get('error'))}"
        often = _count(int(daemon.get("faults") or 1), "fault")
        yield Text(
            f"{often} in fleetd's own code, the last {instant(last_fault.get('at'), now)}: {words}", style="red"
        )
    if daemon.get("config_fault"):
        first, *more = str(daemon["config_fault"]).splitlines()
        yield Text(f"reload rejected, the config from before is in force: {shown(first)}", style="red")
        yield from (Text(shown(line), style="red") for line in more)


def belief_lines(document: Document, now: datetime) -> Iterator[Text]:
    """Since when the picture below is an old one, and why; nothing while the last look was believed."""
    seen = document.get("observation") or {}
    doubted, believed = seen.get("doubted_since"), seen.get("believed_at")
    shown_as = "nothing was believed yet" if believed is None else f"shown as of {since(believed, now)} ago"
    if doubted is None:
        if document["daemon"].get("provider") not in {None, "ok"}:
            yield Text(f"not seen at the moment; {shown_as}", style="bold red")
        return
    why = seen.get("doubt") or "the last pass failed"
    yield Text(f"not believed for {since(doubted, now)}: {shown(why)}; {shown_as}", style="bold red")


def silent_words(daemon: Document) -> str:
    """Of a daemon that hangs: that it is there, and where the rest is from."""
    if daemon.get("why"):
        return f"No daemon answers: {shown(daemon['why'])}; this is from the journal and the API"
    who = "A daemon" if daemon.get("pid") is None else f"A daemon (pid {shown(daemon['pid'])})"
    return f"{who} holds the state directory and does not answer; this is from the journal and the API"


def fleets_table(document: Document, now: datetime) -> Table:
    """One line a fleet; no column for what no fleet has, so that a small terminal has room for the rest."""
    fleets = document["fleets"]
    phases = [p for p in PHASES if p in _ALWAYS or any(fleet.get(p, 0) for fleet in fleets.values())]
    changes = any(_next(fleet, now) for fleet in fleets.values())
    table = _table("fleet", "target", *phases, "$/h", "", *(["next target"] if changes else []))
    for name, fleet in fleets.items():
        table.add_row(
            Text(printable(name), style="bold"),
            str(fleet["target"]),
            *(_number(phase, fleet.get(phase, 0)) for phase in phases),
            Text(money(fleet.get("hourly")).removesuffix("/h")),
            _standing(fleet, _freezes(document, name), now),
            *([Text(_next(fleet, now), style="dim")] if changes else []),
        )
    return table


def machines_table(machines: Sequence[Document], now: datetime) -> Table:
    """One line a machine."""
    moving = any(machine.get("transition") for machine in machines)
    remarks = {machine["id"]: _remarks(machine, now) for machine in machines}
    more = [*(["under way"] if moving else []), *(["remarks"] if any(remarks.values()) else [])]
    table = _table("machine", "id", "fleet", "state", "for", *more)
    for machine in machines:
        cells = {
            "under way": Text(transition_words(machine.get("transition"), now)),
            "remarks": Text(remarks[machine["id"]], style="yellow"),
        }
        table.add_row(
            Text(shown(machine["name"])),
            Text(shown(machine["id"]), style="dim"),
            Text(shown(machine["fleet"])),
            state_text(machine["state"], machine.get("phase", "unknown")),
            Text(since(machine.get("state_since") or machine.get("up_since"), now)),
            *(cells[name] for name in more),
        )
    return table


def state_text(state: str, phase: str) -> Text:
    """A state with the sign and the colour of what it means."""
    sign, style = CELLS.get(phase, CELLS["unknown"])
    return Text(f"{sign} {printable(state)}", style=style)


def transition_words(transition: object, now: datetime) -> str:
    """``start for 12 s, until 12:30:00 UTC (in 9 min)``; nothing where nothing is under way."""
    if not isinstance(transition, Mapping):
        return ""
    doubt = " (answer lost)" if transition.get("ambiguous") else ""
    verb = shown(transition.get("verb"))
    return f"{verb} for {since(transition.get('since'), now)}{doubt}, until {until(transition.get('deadline'), now)}"


def veto_words(veto: Document, now: datetime) -> str:
    """One hold or freeze."""
    subject = "everything" if veto["subject"] is None else shown(veto["subject"])
    verbs = veto.get("verbs") or ()
    only = _only(veto)
    reason, actor = shown(veto["reason"]), shown(veto["actor"])
    if veto["kind"] == "hold" and list(verbs) == ["start"]:
        return f"{subject} is kept off: {reason}, by {actor}, until {until(veto['expires_at'], now)}"
    return f"{shown(veto['kind'])} on {subject}{only}: {reason}, by {actor}, until {until(veto['expires_at'], now)}"


def fleet_words(name: str, fleet: Document) -> str:
    """``training 3/5 up, 2 rising``."""
    parts = [f"{printable(name)} {fleet['up']}/{fleet['target']} up"]
    parts += [f"{fleet[p]} {p}" for p in ("rising", "falling", "unknown") if fleet.get(p)]
    if fleet.get("intents"):
        parts.append(f"{fleet['intents']} being created")
    return ", ".join(parts)


def legend() -> Text:
    """What the signs mean."""
    text = Text()
    for phase, (sign, style) in CELLS.items():
        text.append(f"{sign} ", style=style).append(f"{PHASE_WORDS[phase]}   ", style="dim")
    return text


def _left(machines: Sequence[Document]) -> list[str]:
    return [
        f"{shown(m['name'])} ({shown(m['id'])}) is {shown(m['state'])}"
        f"{'' if m.get('type') is None else ', a ' + shown(m['type'])}: made for fleet {shown(made_for(m['name']))}"
        for m in machines
    ]


def _remarks(machine: Document, now: datetime) -> str:
    parts = []
    hold = machine.get("hold")
    if isinstance(hold, Mapping):
        done = "kept off" if list(hold.get("verbs") or ()) == ["start"] else f"held{_only(hold)}"
        parts.append(
            f"{done} by {shown(hold['actor'])}: {shown(hold['reason'])}, until {until(hold['expires_at'], now)}"
        )
    if machine.get("unconfirmed"):
        parts.append(shown(machine["unconfirmed"]).replace("_", " "))
    if machine.get("failure"):
        parts.append(shown(machine["failure"]))
    transition = machine.get("transition")
    if isinstance(transition, Mapping) and not parts:
        parts.append(reason_words(str(transition.get("reason"))))
    if machine.get("phase") == "down" and not parts and machine.get("standing"):
        parts.append(shown(machine["standing"]).replace("_", " "))
    return "; ".join(parts)


def _only(veto: Document) -> str:
    only = only_words(veto.get("verbs") or ())
    return f" ({shown(only)})" if only else ""


def _freezes(document: Document, fleet: str) -> list[Document]:
    """The freeze that lasts longest of those on a fleet, for each set of verbs; what forbids everything first."""
    found = [v for v in document.get("vetoes", ()) if v["kind"] == "freeze" and v["subject"] in {None, fleet}]
    longest = {_only(v): v for v in sorted(found, key=lambda v: str(v["expires_at"]))}
    return [longest[only] for only in sorted(longest)]


def _standing(fleet: Document, freezes: Sequence[Document], now: datetime) -> Text:
    doubted = fleet["converged"] != fleet.get("was_converged", fleet["converged"])
    text = Text("converged", style="green") if fleet["converged"] else Text("not converged", style="yellow")
    if doubted:
        text = Text("converged then", style="yellow")
    if fleet.get("window"):
        text.append(f" (window {shown(fleet['window'])}; else {fleet['configured_target']})")
    for freeze in freezes:
        text.append(f"; frozen{_only(freeze)} until {until(freeze['expires_at'], now)}", style="yellow")
    return text


def _next(fleet: Document, now: datetime) -> str:
    change = fleet.get("next")
    if not isinstance(change, Mapping):
        return ""
    parks = ", parks" if change.get("parked") else ""
    window = f" ({shown(change['window'])}{parks})" if change.get("window") else ""
    return f"{change['target']}{window} at {until(change['at'], now)}"


def _number(phase: str, count: int) -> Text:
    return Text(str(count), style=CELLS[phase][1] if count else "dim")


def _section(title: str, style: str, lines: Sequence[str]) -> list[RenderableType]:
    if not lines:
        return []
    return [Text(""), Text(f"{title}:", style=f"bold {style}"), *(Text(f"  {line}") for line in lines)]


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    numbers = {"target", *PHASES, "$/h"}
    for name in columns:
        table.add_column(name, justify="right" if name in numbers else "left", overflow="fold")
    return table


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
