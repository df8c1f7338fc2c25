"""Documents in words for the page: plain text, escaped where it becomes HTML."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from types import MappingProxyType
from typing import Any

from fleetd.model.machine import Phase
from fleetd.model.plan import Skip
from fleetd.model.reasons import Reason, Verb
from fleetd.planner.sentences import PARTICIPLES, SENTENCES, clocks_sentence, sentence, span
from fleetd.planner.standing import orphans

Document = Mapping[str, Any]

PHASES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        Phase.UP: ("●", "up"),
        Phase.RISING: ("◐", "on its way up"),
        Phase.FALLING: ("◑", "on its way down"),
        Phase.DOWN: ("○", "off"),
        Phase.UNKNOWN: ("?", "unknown"),
    }
)
"""A sign and words for each phase; the signs are those of ``fleetd status``."""

ORDINARY = frozenset(
    {
        Reason.BUSY,
        Reason.NOT_IDLE_LONG_ENOUGH,
        Reason.MIN_UPTIME,
        Reason.WINDOW_PARKED,
        Reason.MANUAL_START,
        Reason.RESPECT_MANUAL,
        Reason.HELD,
        Reason.FROZEN,
        Reason.CREATE_UNSETTLED,
        Reason.CALL_UNSETTLED,
        Reason.GUARD_CREATES,
        Reason.GUARD_STOPS,
        Reason.GUARD_DESTROYS,
        Reason.SHUTTING_DOWN,
        Reason.CONFIG_CHANGED,
    }
)
"""Reasons that are the config, a person or a wait at work; the others may need somebody."""

NAMES_SHOWN = 8
NOTHING = "\N{EN DASH}"
NOTHING_SEEN = "Nothing seen yet. "
"""Where there is nothing to say."""


@dataclass(frozen=True, slots=True)
class Blocked:
    """What is not being done for one reason, machines with the same one taken together."""

    fleet: str
    reason: str
    words: str
    names: str
    """Which machines, where there are more than one."""
    ordinary: bool
    brief: str
    """The same in a line: ``4 not started: the provider had no capacity; it is tried again later``."""


def instant(value: object) -> datetime | None:
    """An instant of a JSON document; None for anything else."""
    if not isinstance(value, str):
        return None
    with suppress(ValueError):
        at = datetime.fromisoformat(value)
        return at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return None


def age(value: object, now: datetime) -> str:
    """How long ago: ``3 h 20 min``; empty where it is not known."""
    at = instant(value)
    return "" if at is None else span(now - at)


def short_age(value: object, now: datetime) -> str:
    """The same in its largest unit only, for a cell: ``3 h``."""
    return " ".join(age(value, now).split()[:2])


def clock(at: datetime, now: datetime) -> str:
    """``12:30:05``, with the day where it is another one."""
    at = at.astimezone(UTC)
    return f"{at:%H:%M:%S}" if at.date() == now.astimezone(UTC).date() else f"{at:%d %b %H:%M}"


def money(amount: object) -> str:
    """``$2.04``; ``$?`` where a price is not known."""
    try:
        return f"${Decimal(str(amount)):,.2f}" if amount is not None else "$?"
    except InvalidOperation:
        return "$?"


def took(seconds: float) -> str:
    """How long a pass took: ``16 ms``, ``2.4 s``, ``3 min``."""
    if seconds < 1:
        return f"{round(seconds * 1000)} ms"
    return f"{seconds:.1f} s" if seconds < 60 else span(timedelta(seconds=seconds))


def count(number: int, noun: str) -> str:
    """``1 machine``, ``2 machines``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def reason_words(code: object) -> str:
    """A reason code's sentence; the code itself where it is not known here."""
    with suppress(ValueError):
        return SENTENCES[Reason(str(code))]
    return str(code)


def veto_words(veto: Document, now: datetime) -> tuple[str, str]:
    """(what is forbidden, why, by whom and for how long) of a hold or freeze."""
    subject = veto["subject"] or "everything"
    verbs = veto.get("verbs") or ()
    only = f", only {' and '.join(str(v) for v in verbs)}" if 0 < len(verbs) < len(Verb) else ""
    left = instant(veto.get("expires_at"))
    ends = "" if left is None else f", until {clock(left, now)} UTC, {span(left - now)} left"
    if keeps_off(veto):
        return f"{subject} is kept off", f"{veto['reason']} ({veto['actor']}{ends})"
    word = "Hold" if veto["kind"] == "hold" else "Freeze"
    return f"{word} on {subject}{only}", f"{veto['reason']} ({veto['actor']}{ends})"


def keeps_off(veto: Document) -> bool:
    """Whether it is what an operator's stop leaves behind: the machine is not to be started for a while."""
    return veto["kind"] == "hold" and list(veto.get("verbs") or ()) == [Verb.START]


def blocked(rows: Iterable[Document], now: datetime) -> list[Blocked]:
    """What is not being done, one entry for each fleet, verb and reason; what may need a person comes first."""
    together: dict[tuple[Any, ...], list[Document]] = {}
    for row in rows:
        together.setdefault((row.get("fleet"), row.get("verb"), row.get("reason")), []).append(row)
    entries = [_blocked(group, now) for group in together.values()]
    return sorted(entries, key=lambda b: (b.ordinary, b.fleet, b.reason))


def headline(document: Document, now: datetime) -> str:
    """How everything stands, in words that change only when something does: a screen reader says them each time."""
    fleets = document["fleets"]
    if document["daemon"].get("last_pass") is None:
        return "No pass has ended well yet."
    if not fleets and blind_words(document) == NOTHING_SEEN:
        return NOTHING_SEEN.strip()
    if not fleets:
        return "The config names no fleets."
    away = [f"{name} {f['up']} of {f['target']} up" for name, f in fleets.items() if not stood(f)]
    if not away:
        whose = {1: "The fleet is", 2: "Both fleets are"}.get(len(fleets), f"All {len(fleets)} fleets are")
        words = f"{whose} at target."
    else:
        more = f" and {len(away) - 3} more" if len(away) > 3 else ""
        words = f"Not at target: {', '.join(away[:3])}{more}."
    doubts = len(troubles(document)) + sum(not b.ordinary for b in blocked(document["blocked"], now))
    doubts += sum(m["phase"] != Phase.DOWN for m in orphans(document["machines"]))
    words = f"{blind_words(document)}{words}"
    return f"{words} {count(doubts, 'thing')} may need a person." if doubts else words


def stood(fleet: Document) -> bool:
    """Whether a fleet was at its target when it was believed last: the headline says when that was."""
    return bool(fleet.get("was_converged", fleet["converged"]))


def blind_words(document: Document) -> str:
    """That the picture is an old one, and of when; "" while the last look was believed."""
    seen = document.get("observation") or {}
    away = document["daemon"].get("provider") not in {None, "ok"} or document["daemon"].get("error")
    believed = instant(seen.get("believed_at"))
    if not (away or seen.get("doubted_since")):
        return ""
    return NOTHING_SEEN if believed is None else f"Not seen since {believed:%H:%M:%S} UTC. Then: "


def troubles(document: Document) -> list[tuple[str, str]]:
    """(what, the details) of everything that makes the whole picture doubtful, or keeps fleetd from acting."""
    daemon, seen = document["daemon"], document.get("observation") or {}
    found: list[tuple[str, str]] = []
    if daemon.get("provider") not in {None, "ok"}:
        words = {"key_refused": "The provider refuses the key", "unavailable": "The provider does not answer"}
        until = instant(daemon.get("provider_until"))
        waits = "" if until is None else f" It asked to be left alone until {until:%H:%M:%S} UTC."
        what = words.get(str(daemon["provider"]), f"Provider: {daemon['provider']}")
        found.append((what, f"Machines may have changed.{waits}"))
    found += [("The provider answers in part only", _line(r)) for r in daemon.get("provider_remarks") or ()]
    if document.get("clocks_apart"):
        found.append(("A clock is wrong", clocks_sentence(_line(document["clocks_apart"]))))
    if daemon.get("error"):
        found.append(("The last pass failed", _line(daemon["error"])))
    fault = daemon.get("last_fault")
    if fault and not daemon.get("error"):
        often = count(int(daemon.get("faults") or 1), "fault")
        found.append(
            (f"{often} in fleetd's own code", _line(f"the last {fault['at']}, {fault['where']}: {fault['error']}"))
        )
    if seen.get("rejected"):
        found.append(("Nothing is decided at the moment", _line(seen["rejected"])))
    elif seen and not seen.get("complete"):
        found.append(("Nothing is decided at the moment", "the listing is not whole"))
    if daemon.get("config_fault"):
        found.append(("The new config was rejected, the old one is in force", _line(daemon["config_fault"])))
    return found


def _line(words: object) -> str:
    """A message of several lines as one."""
    return " ".join(str(words).split())


def _blocked(group: Sequence[Document], now: datetime) -> Blocked:
    first = group[0]
    number = sum(int(row.get("count") or 1) for row in group)
    names = [str(row["name"] or row["machine"]) for row in group if row.get("name") or row.get("machine")]
    alone = len(group) == 1
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    untils = [at for row in group if (at := instant(row.get("until"))) is not None]
    try:
        reason: Reason | None = Reason(str(first.get("reason")))
        verb = None if first.get("verb") is None else Verb(str(first["verb"]))
    except ValueError:  # a code of another version
        reason, verb = None, None
    if reason is None:
        words = f"{first.get('fleet')}: {first.get('reason')}"
    else:
        words = sentence(
            Skip(
                str(first.get("fleet") or ""),
                verb,
                reason,
                name=names[0] if alone and names else "",
                until=min(untils, default=None),
                detail=str(first.get("detail") or "") if len({row.get("detail") for row in group}) == 1 else "",
                count=number,
            ),
            now,
        )
    listed = "" if alone else ", ".join(names[:NAMES_SHOWN]) + more
    done = "acted on" if verb is None else PARTICIPLES[verb]
    brief = words if reason is None else f"{number} not {done}: {SENTENCES[reason]}"
    return Blocked(str(first.get("fleet") or ""), str(first.get("reason")), words, listed, reason in ORDINARY, brief)
