"""``/history?fleet=&machine=&since=``: what was done and what happened, the newest first, with its filters."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import UTC, datetime

from fleetd.config.units import Misspelt, parse_duration
from fleetd.ops.page.events import events
from fleetd.ops.page.frame import LONGEST_QUESTION, document
from fleetd.ops.page.html import Markup, tag
from fleetd.ops.page.scene import Scene
from fleetd.ops.page.words import count

SHOWN = 200
"""Entries of one page, the newest."""
_FIRST = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Filters:
    """What the history is narrowed to; "" is not at all. As it was typed."""

    fleet: str = ""
    machine: str = ""
    since: str = ""


def history_page(scene: Scene, filters: Filters, *, fault: str = "") -> str:
    """The whole document.

    Args:
        scene: its history is what the filters have left.
        filters: what they were.
        fault: what is wrong with one of them; then there is no list.
    """
    return document(
        scene,
        tag(
            "section",
            tag("h2", "History"),
            _form(filters),
            tag("p", fault, class_="fault", role="alert") if fault else _list(scene),
            id="changed",
        ),
        subject="history",
    )


def asked_for(query: Iterable[tuple[str, str]]) -> tuple[Filters, str]:
    """The filters of an address, and what is wrong with them; "" where nothing is.

    A filter that is misspelt, given twice or cut short would show what was not asked for, and nobody could tell.
    """
    typed: dict[str, str] = {}
    known = [one.name for one in fields(Filters)]
    fault = ""
    for key, value in query:
        word = value.strip()
        if key not in known:
            fault = fault or f"{key[:40]}: there is no such filter; there are {', '.join(known)}"
        elif key in typed:
            fault = fault or f"{key}: given more than once"
        elif len(word) > LONGEST_QUESTION:
            fault = fault or f"{key}: longer than {LONGEST_QUESTION} characters"
        typed.setdefault(key, word[:LONGEST_QUESTION])
    return Filters(**{key: word for key, word in typed.items() if key in known}), fault


def moment_ago(text: str, now: datetime) -> datetime:
    """``24h`` (that long ago), or ISO 8601, in UTC where it has no zone.

    Raises:
        ValueError: it is neither, or beyond the calendar; the words say what would be right.
    """
    try:
        try:
            return now - parse_duration(text)
        except Misspelt:
            at = datetime.fromisoformat(text)
            return max(_FIRST, at if at.tzinfo is not None else at.replace(tzinfo=UTC))
    except (ValueError, OverflowError) as error:
        msg = 'since: expected how long ago, such as "24h" or "7d", or a time such as "2026-03-02T20:00"'
        raise ValueError(msg) from error


def _list(scene: Scene) -> Markup:
    shown = len(scene.history or ())
    words = f"The newest {SHOWN}: narrow them, or ask fleetd history." if shown >= SHOWN else count(shown, "line")
    return tag("div", tag("p", words, class_="dim"), events(scene, most=SHOWN))


def _form(filters: Filters) -> Markup:
    rows = (
        ("fleet", "Fleet", filters.fleet, "any"),
        ("machine", "Machine, by id or name", filters.machine, "any"),
        ("since", "Since", filters.since, "24h, 7d or 2026-03-02T20:00"),
    )
    inputs = [
        tag(
            "label",
            label,
            tag("input", type="text", name=name, value=value or None, placeholder=hint, maxlength=LONGEST_QUESTION),
        )
        for name, label, value, hint in rows
    ]
    return tag("form", inputs, tag("button", "Show"), method="get", action="history", class_="filters")
