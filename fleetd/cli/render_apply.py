"""``fleetd apply`` for people: how far each fleet is, and how it ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.text import Text

from fleetd.cli.render_status import fleet_words
from fleetd.cli.words import money, reason_words
from fleetd.ops.escape import printable
from fleetd.planner.sentences import UNDER_WAY

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Bar:
    """One fleet's progress."""

    fleet: str
    done: int
    total: int
    text: str
    """How many are up, what is under way, and what stands in the way."""


def bars(document: Document) -> list[Bar]:
    """One bar a fleet, in the config's order."""
    return [_bar(name, fleet, document) for name, fleet in document["fleets"].items()]


def summary(document: Document, seconds: float) -> Text:
    """The line that ``apply`` ends with."""
    fleets = "; ".join(fleet_words(name, fleet) for name, fleet in document["fleets"].items())
    return Text.assemble(
        ("Converged", "bold green"), f" in {seconds:.0f} s: {fleets}.  {money(document.get('hourly'))}"
    )


def _bar(name: str, fleet: Document, document: Document) -> Bar:
    up, target = int(fleet["up"]), int(fleet["target"])
    moving = Counter(
        str(m["transition"]["verb"]) for m in document["machines"] if m["fleet"] == name and m["transition"]
    )
    parts = [f"{up}/{target}"]
    parts += [f"{count} {UNDER_WAY.get(verb, printable(verb))}" for verb, count in sorted(moving.items())]
    blocked = [s for s in document["blocked"] if s["fleet"] == name]
    if blocked and not fleet["converged"]:
        parts.append(f"waits: {reason_words(str(blocked[0]['reason']))}")
    # Too many up is as far from the target as too few.
    off = abs(up - target)
    total = max(up, target, 1)
    return Bar(printable(name), total - off, total, ", ".join(parts))
