"""What may need a person, one entry each: the headline counts them, and the page lists them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from fleetd.model.machine import Phase
from fleetd.model.reasons import Reason, Verb
from fleetd.model.report import MachineReport, Report
from fleetd.ops.page import links
from fleetd.ops.page.words import clock, count, money
from fleetd.planner.aged import OVERDUE
from fleetd.planner.ownership import made_for
from fleetd.planner.standing import orphans
from fleetd.words import times
from fleetd.words.blocked import blocked
from fleetd.words.fleets import unlike_sentence
from fleetd.words.quotes import clause, faults, line
from fleetd.words.times import clocks_sentence
from fleetd.words.use import unheard

MISSING = "missing"
"""Of machines that are not created or started."""
LEFT = "left"
"""Of machines that run without a fleet: not before their fleet left the config."""
_CONSEQUENCES = frozenset(
    {
        Reason.OBSERVATION_PARTIAL,
        Reason.OBSERVATION_REJECTED,
        Reason.OBSERVATION_STALE,
        Reason.PROVIDER_FAILING,
        Reason.PROVIDER_SAID_WAIT,
    }
)
"""Reasons that every fleet has while nothing is seen: that is one thing, whatever the number of fleets."""
_WAYS_UP = frozenset({Verb.CREATE, Verb.START})
_PROVIDER = {"key_refused": "refuses the key", "unavailable": "does not answer"}


@dataclass(frozen=True, slots=True)
class Need:
    """One thing that may need a person."""

    subject: str
    """A fleet, or what else it is about."""
    words: str
    since: datetime | None = None
    """None where nobody knows."""
    path: str = "history"
    """Where there is more about it, from the page at ``/``."""
    kind: str = ""
    """``MISSING`` or ``LEFT`` where the record tells better since when."""


def needs(report: Report, now: datetime) -> list[Need]:
    """Everything that may need a person: first what makes the whole picture doubtful, then fleet by fleet."""
    return [
        *troubles(report),
        *_money(report),
        *_blocked(report, now),
        *_orphans(report),
        *(
            Need(name, line(unlike_sentence(one)), path=links.fleet_path(name))
            for name, fleet in report.fleets.items()
            for one in fleet.unlike
        ),
        *(Need(u.fleet, line(u.words), u.since, links.fleet_path(u.fleet)) for u in unheard(report)),
    ]


def blind(report: Report) -> bool:
    """Whether the picture is an old one: the last look failed, or was not believed."""
    seen, daemon = report.sight, report.daemon
    return bool(daemon.provider_away or daemon.error or seen.doubted_since or seen.undecided)


def why_blind(report: Report) -> str:
    """Why it is, in a few words."""
    daemon, seen = report.daemon, report.sight
    if daemon.provider_away:
        return f"the provider {_provider_words(report)}"
    return line(seen.doubt or seen.undecided or "the last pass failed")


def troubles(report: Report) -> list[Need]:
    """Everything that makes the whole picture doubtful, or keeps fleetd from acting."""
    daemon, seen = report.daemon, report.sight
    found: list[Need] = []
    since = seen.doubted_since or (seen.at if seen.undecided else None)
    lately = links.history_path(since="24h")
    why = "" if daemon.error is None else f" ({clause(daemon.error)})"
    if daemon.provider_away:
        until = daemon.provider_until
        waits = "" if until is None else f" It asked to be left alone until {until:%H:%M:%S} UTC."
        words = f"{_provider_words(report)}{why}. Machines may have changed.{waits}"
        found.append(Need("The provider", words, since, lately))
    elif daemon.error:
        found.append(Need("The last pass", f"failed: {line(daemon.error)}", since, lately))
    found += [Need("The provider", f"answers in part only: {line(r)}", path=lately) for r in daemon.provider_remarks]
    if report.clocks_apart:
        found.append(Need("A clock", f"is wrong. {clocks_sentence(line(report.clocks_apart))}", path=lately))
    fault = daemon.last_fault
    if fault is not None and not daemon.error:
        last = f"the last at {times.clock(fault.at)}, {fault.where}: {fault.error}"
        often = count(daemon.faults or 1, "fault")
        found.append(Need("fleetd", f"met {often} in its own code, {line(last)}", fault.at, lately))
    doubt = seen.undecided or (seen.doubt or "nobody knows why" if seen.doubted_since and not daemon.error else None)
    if doubt == OVERDUE and not daemon.provider_away:
        found.append(Need("The pass", "that is under way takes long. Machines may have changed.", since, lately))
    elif doubt is not None and not daemon.provider_away:
        words = f"is not believed, nothing is decided: {line(doubt)}"
        found.append(Need("The listing", words, since, lately))
    if daemon.config_fault:
        words = f"was rejected, the old one is in force: {faults(daemon.config_fault)}"
        found.append(Need("The new config", words, daemon.config_fault_since, lately))
    return found


def _provider_words(report: Report) -> str:
    word = report.daemon.provider or ""
    return _PROVIDER.get(word, f"says {word}")


def _money(report: Report) -> Iterator[Need]:
    for over in report.over_caps:
        words = (
            f"{money(over.hourly)} an hour is over max_hourly_cost, {money(over.cap)}: nothing is started or created"
        )
        yield Need(*_whose(over.fleet, words))
    for budget in report.budgets:
        if budget.is_short:
            share = "is not known to last" if budget.committed is None else f"is taken by {budget.share:.0%}"
            ends = "" if budget.used_up_at is None else f", used up at {times.clock(budget.used_up_at)}"
            yield Need(*_whose(budget.fleet, f"the budget of {budget.month}, {money(budget.budget)}, {share}{ends}"))


def _whose(fleet: str | None, words: str) -> tuple[str, str, None, str]:
    path = "history" if fleet is None else links.fleet_path(fleet)
    return ("All fleets" if fleet is None else fleet, words, None, path)


def _blocked(report: Report, now: datetime) -> Iterator[Need]:
    ids = {m.id: m for m in report.machines if m.id is not None}
    told = _CONSEQUENCES if blind(report) else frozenset()
    for row in blocked(report.blocked, now):
        if not (row.ordinary or row.reason in told or (report.clocks_apart and row.reason == Reason.CLOCKS_APART)):
            alone = None if row.machine is None else ids.get(row.machine)
            tried = f", next at {clock(row.until, now)} UTC" if row.until is not None and row.until > now else ""
            since = row.since or (None if alone is None else alone.since)
            path = links.fleet_path(row.fleet) if alone is None else links.machine_path(alone)
            yield Need(row.fleet, f"{row.brief}{tried}", since, path, MISSING if row.verb in _WAYS_UP else "")


def left_of(report: Report, fleet: str) -> list[MachineReport]:
    """The machines that a fleetd made for a fleet which the config does not name."""
    return [m for m in orphans(report.machines) if made_for(m.name) == fleet]


def _orphans(report: Report) -> Iterator[Need]:
    groups: dict[str, list[MachineReport]] = {}
    for machine in orphans(report.machines):
        if machine.phase != Phase.DOWN:
            groups.setdefault(made_for(machine.name) or "", []).append(machine)
    costs = {orphan.fleet: orphan.hourly for orphan in report.orphans}
    for fleet, left in groups.items():
        hourly = f", {money(costs[fleet])} an hour" if fleet in costs else ""
        since = max((m.state_since for m in left if m.state_since is not None), default=None)
        runs = "machine runs" if len(left) == 1 else "machines run"
        path = links.machine_path(left[0]) if len(left) == 1 else links.fleet_path(fleet)
        yield Need(fleet, f"{len(left)} {runs} without a fleet{hourly}: adopt, or stop by hand", since, path, LEFT)
