"""What is not being done, machines with the same reason taken together; what may need a person comes first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from msgspec.structs import replace

from fleetd.model.reasons import ORDINARY
from fleetd.model.report import BlockedReport
from fleetd.words.reasons import PARTICIPLES, reason_words, sentence

NAMES_SHOWN = 8


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


def blocked(rows: Iterable[BlockedReport], now: datetime) -> list[Blocked]:
    """What is not being done, one entry for each fleet, verb and reason; what may need a person comes first."""
    together: dict[tuple[str | None, ...], list[BlockedReport]] = {}
    for row in rows:
        together.setdefault((row.fleet, row.verb, row.reason), []).append(row)
    entries = [_blocked(group, now) for group in together.values()]
    return sorted(entries, key=lambda b: (b.ordinary, b.fleet, b.reason))


def _blocked(group: Sequence[BlockedReport], now: datetime) -> Blocked:
    first = group[0]
    number = sum(row.count for row in group)
    names = [row.name or row.machine or "" for row in group if row.name or row.machine]
    alone = len(group) == 1
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    all_of_them = replace(
        first,
        name=names[0] if alone and names else None,
        until=min((row.until for row in group if row.until is not None), default=None),
        detail=first.detail if len({row.detail for row in group}) == 1 else None,
        count=number,
    )
    listed = "" if alone else ", ".join(names[:NAMES_SHOWN]) + more
    done = "acted on" if first.verb is None else PARTICIPLES.get(first.verb, first.verb)
    brief = f"{number} not {done}: {reason_words(first.reason)}"
    return Blocked(first.fleet, first.reason, sentence(all_of_them, now), listed, first.reason in ORDINARY, brief)
