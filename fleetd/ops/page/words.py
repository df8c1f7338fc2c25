"""Reports in words for the page: plain text, escaped where it becomes HTML."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from fleetd.model.machine import Phase
from fleetd.model.report import Report, VetoReport
from fleetd.planner.standing import orphans
from fleetd.words import times
from fleetd.words.blocked import blocked
from fleetd.words.times import clocks_sentence, span
from fleetd.words.vetoes import veto_title

NOTHING = "\N{EN DASH}"
NOTHING_SEEN = "Nothing seen yet. "
"""Where there is nothing to say."""


def age(at: datetime | None, now: datetime) -> str:
    """How long ago: ``3 h 20 min``; empty where it is not known."""
    return "" if at is None else span(now - at)


def short_age(at: datetime | None, now: datetime) -> str:
    """The same in its largest unit only, for a cell: ``3 h``."""
    return " ".join(age(at, now).split()[:2])


def clock(at: datetime, now: datetime) -> str:
    """``12:30:05``, with the day where it is another one."""
    at = at.astimezone(UTC)
    return f"{at:%H:%M:%S}" if at.date() == now.astimezone(UTC).date() else f"{at:%d %b %H:%M}"


def money(amount: Decimal | None) -> str:
    """``$2.04``; ``$?`` where a price is not known."""
    return "$?" if amount is None else f"${amount:,.2f}"


def took(seconds: float) -> str:
    """How long a pass took: ``16 ms``, ``2.4 s``, ``3 min``."""
    if seconds < 1:
        return f"{round(seconds * 1000)} ms"
    return f"{seconds:.1f} s" if seconds < 60 else span(timedelta(seconds=seconds))


def count(number: int, noun: str) -> str:
    """``1 machine``, ``2 machines``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def veto_words(veto: VetoReport, now: datetime) -> tuple[str, str]:
    """(what is forbidden, why, by whom and for how long) of a hold or freeze."""
    title = veto_title(veto)
    ends = f"until {clock(veto.expires_at, now)} UTC, {span(veto.expires_at - now)} left"
    return title if veto.keeps_off else title[:1].upper() + title[1:], f"{veto.reason} ({veto.actor}, {ends})"


def headline(report: Report, now: datetime) -> str:
    """How everything stands, in words that change only when something does: a screen reader says them each time."""
    fleets = report.fleets
    if report.daemon.last_pass is None:
        return "No pass has ended well yet."
    if not fleets and blind_words(report) == NOTHING_SEEN:
        return NOTHING_SEEN.strip()
    if not fleets:
        return "The config names no fleets."
    away = [f"{name} {f.up} of {f.target} up" for name, f in fleets.items() if not f.was_converged]
    if not away:
        whose = {1: "The fleet is", 2: "Both fleets are"}.get(len(fleets), f"All {len(fleets)} fleets are")
        words = f"{whose} at target."
    else:
        more = f" and {len(away) - 3} more" if len(away) > 3 else ""
        words = f"Not at target: {', '.join(away[:3])}{more}."
    doubts = len(troubles(report)) + sum(not b.ordinary for b in blocked(report.blocked, now))
    doubts += sum(m.phase != Phase.DOWN for m in orphans(report.machines))
    words = f"{blind_words(report)}{words}"
    return f"{words} {count(doubts, 'thing')} may need a person." if doubts else words


def blind_words(report: Report) -> str:
    """That the picture is an old one, and of when; "" while the last look was believed."""
    seen, daemon = report.sight, report.daemon
    if not (daemon.provider_away or daemon.error or seen.doubted_since):
        return ""
    return NOTHING_SEEN if seen.believed_at is None else f"Not seen since {seen.believed_at:%H:%M:%S} UTC. Then: "


def troubles(report: Report) -> list[tuple[str, str]]:
    """(what, the details) of everything that makes the whole picture doubtful, or keeps fleetd from acting."""
    daemon = report.daemon
    found: list[tuple[str, str]] = []
    if daemon.provider_away:
        words = {"key_refused": "The provider refuses the key", "unavailable": "The provider does not answer"}
        until = daemon.provider_until
        waits = "" if until is None else f" It asked to be left alone until {until:%H:%M:%S} UTC."
        what = words.get(daemon.provider or "", f"Provider: {daemon.provider}")
        found.append((what, f"Machines may have changed.{waits}"))
    found += [("The provider answers in part only", _line(r)) for r in daemon.provider_remarks]
    if report.clocks_apart:
        found.append(("A clock is wrong", clocks_sentence(_line(report.clocks_apart))))
    if daemon.error:
        found.append(("The last pass failed", _line(daemon.error)))
    fault = daemon.last_fault
    if fault is not None and not daemon.error:
        often = count(daemon.faults or 1, "fault")
        last = f"the last at {times.clock(fault.at)}, {fault.where}: {fault.error}"
        found.append((f"{often} in fleetd's own code", _line(last)))
    if report.sight.undecided is not None:
        found.append(("Nothing is decided at the moment", _line(report.sight.undecided)))
    if daemon.config_fault:
        found.append(("The new config was rejected, the old one is in force", _line(daemon.config_fault)))
    return found


def _line(words: str) -> str:
    """A message of several lines as one."""
    return " ".join(words.split())
