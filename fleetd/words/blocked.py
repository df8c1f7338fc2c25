"""What is not being done, machines with the same reason taken together; what may need a person comes first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from msgspec.structs import replace

from fleetd.model.lists import some
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
    """The same in a line: ``4 not started: the guard on stops at one time is used up``."""
    verb: str | None = None
    """What is not done; None where that is anything."""
    machine: str | None = None
    """Id of the one machine that it is about."""
    since: datetime | None = None
    """Since when, as far as anybody knows; of several the first."""
    until: datetime | None = None
    """When it ends at the earliest."""


Kind = tuple[str, str | None, str]
"""Fleet, verb and reason."""


def blocked(rows: Iterable[BlockedReport], now: datetime) -> list[Blocked]:
    """What is not being done, one entry for each fleet, verb and reason; what may need a person comes first."""
    entries = [_blocked(group, now) for group in together(rows).values()]
    return sorted(entries, key=lambda b: (b.ordinary, b.fleet, b.reason))


def together(rows: Iterable[BlockedReport]) -> dict[Kind, list[BlockedReport]]:
    """Those of one fleet, verb and reason, in their order."""
    groups: dict[Kind, list[BlockedReport]] = {}
    for row in rows:
        groups.setdefault((row.fleet, row.verb, row.reason), []).append(row)
    return groups


def as_one(group: Sequence[BlockedReport]) -> BlockedReport:
    """Several of one kind: all that they count, the earliest end, and of the rest what they have in common."""
    if len(group) == 1:
        return group[0]
    return replace(
        group[0],
        machine=None,
        name=None,
        until=min((row.until for row in group if row.until is not None), default=None),
        detail=group[0].detail if len({row.detail for row in group}) == 1 else None,
        count=sum(row.count for row in group),
    )


def _ends_differ(group: Sequence[BlockedReport]) -> bool:
    """Whether it does not end for all of them within the same second, which is as exactly as it is shown."""
    return len({row.until and row.until.replace(microsecond=0) for row in group}) > 1


def _blocked(group: Sequence[BlockedReport], now: datetime) -> Blocked:
    whole = as_one(group)
    names = [row.name or row.machine or "" for row in group if row.name or row.machine]
    done = "acted on" if whole.verb is None else PARTICIPLES.get(whole.verb, whole.verb)
    return Blocked(
        fleet=whole.fleet,
        reason=whole.reason,
        words=sentence(replace(whole, name=whole.name or whole.machine), now, first=_ends_differ(group)),
        names="" if len(group) == 1 else some(names, NAMES_SHOWN),
        ordinary=whole.reason in ORDINARY,
        brief=f"{whole.count} not {done}: {reason_words(whole.reason)}",
        verb=whole.verb,
        machine=whole.machine,
        since=min((row.since for row in group if row.since is not None), default=None),
        until=whole.until,
    )
