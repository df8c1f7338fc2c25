"""``fleetd status`` for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from msgspec.structs import replace
from rich.console import Console, Group, RenderableType
from rich.segment import SegmentLines
from rich.text import Text

from fleetd.cli.layout import GAP, Column, Hanging, Sheet
from fleetd.cli.output import shown
from fleetd.cli.render_money import money_lines
from fleetd.cli.report_filter import eventful_first
from fleetd.cli.words import STYLES, instant, money, since, state_text, until
from fleetd.model.lists import more
from fleetd.model.machine import Phase
from fleetd.model.reasons import VetoKind
from fleetd.model.report import (
    BlockedReport,
    DaemonReport,
    FleetReport,
    LeaseReport,
    MachineReport,
    Report,
    StepReport,
    VetoReport,
)
from fleetd.model.vetoes import held, only, veto_ending, veto_title
from fleetd.ops.escape import printable
from fleetd.planner.ownership import made_for
from fleetd.planner.standing import orphans
from fleetd.words.blocked import Blocked, blocked
from fleetd.words.fleets import unlike_sentence
from fleetd.words.leases import REJECTED, holder_words, standby_words
from fleetd.words.names import called
from fleetd.words.phases import PHASES
from fleetd.words.reasons import reason_words
from fleetd.words.times import clocks_sentence
from fleetd.words.use import unheard

NO_PROBLEM = "Every fleet is at its target, and nothing else was found that may need a person."
_ALWAYS = frozenset({"up", "down"})


def status_view(
    report: Report, now: datetime, *, most: int | None = None, only_problems: bool = False
) -> RenderableType:
    """The whole answer of ``fleetd status``: what may need a person comes before the machines.

    ``most``: machines that are shown at the most, the eventful ones first; by default all of them, by name.
    ``only_problems``: nothing else is in the report; that there is none is said as well.
    """
    parts: list[RenderableType] = [*daemon_lines(report.daemon, now), *belief_lines(report, now)]
    if report.clocks_apart:
        parts.append(Text(f"clock: {printable(clocks_sentence(report.clocks_apart), limit=1000)}", style="bold red"))
    above = len(parts)
    if report.fleets:
        parts += [Text(""), fleets_table(report, now)]
    parts += [Text(line, style="yellow") for line in unlike_lines(report)]
    parts += [Text(printable(f"{u.fleet}: {u.sentence}", limit=1000), style="yellow") for u in unheard(report)]
    parts += [Text(line, style="yellow") for line in money_lines(report)]
    rows = blocked((_printable(b) for b in report.blocked), now)
    parts += _section("May need a person", "red", _blocked_lines(b for b in rows if not b.ordinary))
    parts += _section("Not being done for now", "yellow", _blocked_lines(b for b in rows if b.ordinary))
    parts += _section("Holds and freezes", "yellow", [veto_words(v, now) for v in report.vetoes])
    left = orphans(report.machines)
    twins = [m for m in report.machines if m.look_alike]
    parts += _section("Not owned, though a fleetd made them: adopt them, or stop them by hand", "yellow", _left(left))
    parts += _section("Look-alikes of ours, never touched", "yellow", _left(twins))
    owned = [m for m in report.machines if m.owned]
    shown_ones = owned if most is None else sorted(owned, key=eventful_first)[:most]
    if shown_ones:
        parts += [Text(""), machines_table(shown_ones, now)]
    if rest := more(len(owned) - len(shown_ones)):
        parts.append(Text(rest, style="dim"))
    foreign = len(report.machines) - len(owned) - len(left) - len(twins)
    if foreign:
        parts.append(Text(f"{_count(foreign, 'machine')} of other people, never touched", style="dim"))
    seen = report.sight
    doubtful = report.daemon.provider_away or seen.doubted_since or seen.undecided or seen.believed_at is None
    if only_problems and len(parts) == above and not doubtful:
        parts += [Text(""), Text(NO_PROBLEM, style="green")]
    return Group(*parts)


def fitting(
    report: Report, now: datetime, console: Console, lines: int, *, only_problems: bool = False
) -> RenderableType:
    """As much of it as so many lines hold: all but the machines, and as many of those as there is room for.

    Where there is not even room for the rest, the last line says how much is missing.
    """
    most = min(sum(m.owned for m in report.machines), max(0, lines))  # each takes a line at least
    while True:
        view = status_view(report, now, most=most, only_problems=only_problems)
        drawn = console.render_lines(view, pad=False)
        beyond = len(drawn) - lines
        if beyond <= 0:
            return view
        if most == 0:
            missing = Text(f"+{beyond + 1} lines that this screen has no room for", style="bold red", no_wrap=True)
            return Group(SegmentLines(drawn[: max(0, lines - 1)], new_lines=True), missing)
        most = max(0, min(most - beyond, lines))


def unlike_lines(report: Report) -> Iterator[str]:
    """Fleets whose machines differ from the config."""
    for name, fleet in report.fleets.items():
        for one in fleet.unlike:
            yield printable(f"{name}: {unlike_sentence(one)}")


def daemon_lines(daemon: DaemonReport, now: datetime) -> Iterator[RenderableType]:
    """Whether it runs, on what, how its last pass went, and how the provider is."""
    config = shown(daemon.config)
    if daemon.answers is False:
        yield Text(silent_words(daemon.pid, daemon.why), style="bold red")
    elif daemon.running:
        what = "fleetd apply runs" if daemon.command == "apply" else "fleetd runs"
        yield Text.assemble(
            (what, "bold green"), f" (pid {shown(daemon.pid)}, for {since(daemon.since, now)}) on {config}"
        )
        if daemon.stopping_since is not None:
            left = f"stopping since {instant(daemon.stopping_since, now)}: nothing new is begun, calls are waited for"
            yield Text(left, style="bold yellow")
        if daemon.config_since is not None:
            yield Text(f"config: in force since {instant(daemon.config_since, now)}")
    else:
        yield Text.assemble(("No daemon runs", "bold yellow"), f" on {config}; this is from the journal and the API")
    yield from _lease_lines(daemon.lease, now)
    if (last := daemon.last_pass) is not None:
        yield Text(
            f"last pass: {since(last.at, now)} ago, took {last.duration_s} s, {_count(last.actions, 'action')}"
        )
    provider = shown(daemon.provider)
    yield Text.assemble("provider: ", (provider, "green" if provider == "ok" else "bold red"))
    if daemon.provider_until is not None:
        yield Text(f"  it asked to be left alone: no pass before {until(daemon.provider_until, now)}", style="yellow")
    yield from (Text(f"  {shown(remark)}", style="yellow") for remark in daemon.provider_remarks)
    if daemon.error:
        yield Text(f"last error: {shown(daemon.error)}", style="red")
    if (fault := daemon.last_fault) is not None:
        words = f"{shown(fault.where)}: {shown(fault.error)}"
        often = _count(daemon.faults or 1, "fault")
        yield Text(f"{often} in fleetd's own code, the last {instant(fault.at, now)}: {words}", style="red")
    if daemon.config_fault:
        first, *more = daemon.config_fault.splitlines()
        when = f" at {instant(daemon.config_fault_since, now)}" if daemon.config_fault_since is not None else ""
        yield Text(f"reload rejected{when}, the config from before is in force: {shown(first)}", style="red")
        yield from (Hanging(Text(shown(line).strip(), style="red"), first=GAP, then=2 * GAP) for line in more)


def _lease_lines(lease: LeaseReport | None, now: datetime) -> Iterator[RenderableType]:
    """Which of several replicas acts, and which stand by."""
    if lease is None:
        return
    yield Text.assemble("lease: ", (holder_words(lease, now, shown), "green" if lease.holder else "bold yellow"))
    for standby in lease.standbys:
        style = "yellow" if standby.config_differs else ""
        yield Hanging(Text(f"stands by: {standby_words(standby, shown)}", style=style), first=GAP, then=2 * GAP)
        if standby.config_fault:
            first, *more = standby.config_fault.splitlines()
            said = Text(f"{REJECTED}, and it would act on the config from before: {shown(first)}", style="red")
            yield Hanging(said, first=2 * GAP, then=3 * GAP)
            yield from (Hanging(Text(shown(line).strip(), style="red"), first=3 * GAP, then=4 * GAP) for line in more)


def belief_lines(report: Report, now: datetime) -> Iterator[Text]:
    """Since when the picture below is an old one, and why; nothing while the last look was believed."""
    seen = report.sight
    shown_as = "nothing was believed yet"
    if seen.believed_at is not None:
        shown_as = f"shown as of {since(seen.believed_at, now)} ago"
    if seen.doubted_since is None:
        if report.daemon.provider_away:
            yield Text(f"not seen at the moment; {shown_as}", style="bold red")
        return
    why = seen.doubt or "the last pass failed"
    yield Text(f"not believed for {since(seen.doubted_since, now)}: {shown(why)}; {shown_as}", style="bold red")


def silent_words(pid: int | None, why: str | None = None) -> str:
    """Of a daemon that hangs, or cannot be reached: that it is there, and where the rest is from."""
    if why:
        return f"No daemon answers: {shown(why)}; this is from the journal and the API"
    who = "A daemon" if pid is None else f"A daemon (pid {pid})"
    return f"{who} holds the state directory and does not answer; this is from the journal and the API"


def fleets_table(report: Report, now: datetime) -> Sheet:
    """One line a fleet; no column for what no fleet has, so that a small terminal has room for the rest."""
    fleets = report.fleets
    phases = [p for p in PHASES if p in _ALWAYS or any(getattr(fleet, p) for fleet in fleets.values())]
    changes = any(fleet.next for fleet in fleets.values())
    columns = [Column("fleet"), *(Column(title, number=True) for title in ("target", *phases, "$/h"))]
    columns += [Column("", note=""), *([Column("next target", note="next target ")] if changes else [])]
    rows = [
        [
            Text(printable(name), style="bold"),
            Text(str(fleet.target)),
            *(_number(phase, getattr(fleet, phase)) for phase in phases),
            Text(money(fleet.hourly).removesuffix("/h")),
            _standing(fleet, _freezes(report, name), now),
            *([Text(_next(fleet, now), style="dim")] if changes else []),
        ]
        for name, fleet in fleets.items()
    ]
    return Sheet(columns, rows)


def machines_table(machines: Sequence[MachineReport], now: datetime) -> Sheet:
    """One line a machine, and what is remarkable about it beside or below it."""
    columns = [Column("machine"), Column("id"), Column("fleet", spare=True), Column("state"), Column("for")]
    remarks = [_remarks(machine, now) for machine in machines]
    if any(machine.transition for machine in machines):
        columns.append(Column("under way", note=""))
    if any(remarks):
        columns.append(Column("remarks", note=""))
    titles = {column.title for column in columns}
    rows = [
        [
            Text(shown(called(machine))),
            Text(shown(machine.id), style="dim"),
            Text(shown(machine.fleet)),
            state_text(machine.state, machine.phase),
            Text(since(machine.state_since or machine.up_since, now)),
            *([Text(transition_words(machine.transition, now))] if "under way" in titles else []),
            *([Text(remark, style="yellow")] if "remarks" in titles else []),
        ]
        for machine, remark in zip(machines, remarks, strict=True)
    ]
    return Sheet(columns, rows)


def transition_words(step: StepReport | None, now: datetime) -> str:
    """``start for 12 s, until 12:30:00 UTC (in 9 min)``; nothing where nothing is under way."""
    if step is None:
        return ""
    doubt = " (answer lost)" if step.ambiguous else ""
    return f"{shown(step.verb)} for {since(step.since, now)}{doubt}, until {until(step.deadline, now)}"


def veto_words(veto: VetoReport, now: datetime) -> str:
    """One hold or freeze."""
    return f"{shown(veto_title(veto))} {_ending(veto, now)}"


def _ending(veto: VetoReport, now: datetime) -> str:
    fit = replace(veto, actor=shown(veto.actor), reason=shown(veto.reason))  # each by itself: the end is not cut off
    return veto_ending(fit, until(veto.expires_at, now))


def fleet_words(name: str, fleet: FleetReport) -> str:
    """``training 3/5 up, 2 rising``."""
    parts = [f"{printable(name)} {fleet.up}/{fleet.target} up"]
    parts += [f"{getattr(fleet, p)} {p}" for p in ("rising", "falling", "unknown") if getattr(fleet, p)]
    if fleet.intents:
        parts.append(f"{fleet.intents} being created")
    return ", ".join(parts)


def legend() -> Text:
    """What the signs mean."""
    text = Text()
    for phase, (sign, words) in PHASES.items():
        text.append(f"{sign} ", style=STYLES[phase]).append(f"{words}   ", style="dim")
    return text


def _left(machines: Sequence[MachineReport]) -> list[str]:
    return [
        f"{shown(m.name)} ({shown(m.id)}) is {shown(m.state)}"
        f"{'' if m.type is None else ', a ' + shown(m.type)}: made for fleet {shown(made_for(m.name))}"
        for m in machines
    ]


def _remarks(machine: MachineReport, now: datetime) -> str:
    parts = []
    if (hold := machine.hold) is not None:
        parts.append(f"{printable(held(machine))} {_ending(hold, now)}")
    if machine.unconfirmed:
        parts.append(shown(machine.unconfirmed).replace("_", " "))
    if machine.failure:
        parts.append(shown(machine.failure))
    if machine.transition is not None and not parts:
        parts.append(shown(reason_words(machine.transition.reason)))
    if machine.phase == Phase.DOWN and not parts and machine.standing:
        parts.append(shown(machine.standing).replace("_", " "))
    return "; ".join(parts)


def _freezes(report: Report, fleet: str) -> list[VetoReport]:
    """The freeze that lasts longest of those on a fleet, for each set of verbs; what forbids everything first."""
    found = [v for v in report.vetoes if v.kind == VetoKind.FREEZE and v.subject in {None, fleet}]
    longest = {only(v.verbs): v for v in sorted(found, key=lambda v: v.expires_at)}
    return [longest[only] for only in sorted(longest)]


def _standing(fleet: FleetReport, freezes: Sequence[VetoReport], now: datetime) -> Text:
    text = Text("at target", style="green") if fleet.converged else Text("not at target", style="yellow")
    if fleet.was_converged and not fleet.converged:
        text = Text("at target then", style="yellow")
    if fleet.window:
        text.append(f" (window {shown(fleet.window)}; else {fleet.configured_target})")
    for freeze in freezes:
        text.append(f"; frozen{printable(only(freeze.verbs))} until {until(freeze.expires_at, now)}", style="yellow")
    return text


def _next(fleet: FleetReport, now: datetime) -> str:
    change = fleet.next
    if change is None:
        return ""
    parks = ", parks" if change.parked else ""
    window = f" ({shown(change.window)}{parks})" if change.window else ""
    return f"{change.target}{window} at {until(change.at, now)}"


def _number(phase: str, count: int) -> Text:
    return Text(str(count), style=STYLES[phase] if count else "dim")


def _printable(skip: BlockedReport) -> BlockedReport:
    return replace(skip, name=printable(skip.name or ""), detail=printable(skip.detail or ""))


def _blocked_lines(rows: Iterable[Blocked]) -> list[str]:
    lines = []
    for row in rows:
        lines.append(printable(row.words, limit=1000))
        if row.names:
            lines.append(f"  {printable(row.names, limit=1000)}")
    return lines


def _section(title: str, style: str, lines: Sequence[str]) -> list[RenderableType]:
    if not lines:
        return []
    return [Text(""), Text(f"{title}:", style=f"bold {style}"), *(_indented(line) for line in lines)]


def _indented(line: str) -> RenderableType:
    """What does not fit goes on below the line's own beginning."""
    text = line.lstrip()
    blanks = GAP + len(line) - len(text)
    return Hanging(Text(text), first=blanks, then=blanks)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
