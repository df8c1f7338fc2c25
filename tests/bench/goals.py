"""What fleetd is to cost: each row with its goal, what it was at 6701bee, and what this run has found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Goal:
    """One row. ``most``: the largest figure that meets it, where one number says that."""

    key: str
    what: str
    goal: str
    before: str
    most: float | None = None


@dataclass(frozen=True)
class Figure:
    """What one run has found of a row; several of one row are its cases."""

    key: str
    case: str
    value: float
    words: str
    """The figure with its unit, and its spread where it is a time."""
    met: bool | None = None
    """None: as the row's ``most`` has it."""


GOALS = (
    Goal(
        "rise", "0 -> 100 machines at 10 requests a second, against the least possible", "<= 1.15", "2.8 to 3.4", 1.15
    ),
    Goal("twenty", "20 machines of 20 s, all known ready", "<= 23 s", "42.7 s", 23),
    Goal(
        "calls",
        "calls a converged machine, 100 at once, beside one tick every 5 s",
        "<= 1.5",
        "Core 1.72 / 2.15 / 6.25 (500, 1 k, 10 k); v1 5.4 / 15 (1 k, 10 k)",
        1.5,
    ),
    Goal("one", "one machine beside 1 k others: calls", "< 20, a naive script's", "Core 44, v1 123", 19),
    Goal(
        "late", "from ready to known, the longest: 100 at once, 1,000 at once", "<= 5 s, a tick", "8.0 s, 19 s", 5.2
    ),
    Goal("pass", "a no-change pass at 100 k machines beyond listing", "< 1.5 s", "4.9 / 8.6 / 29 s", 1.5),
    Goal("foreign", "a pass, 10 k foreign machines and 1,000 fleets", "< 0.15 s", "10.7 s", 0.15),
    Goal("v1", "v1 account of 40,000 at default settings: creates in 250 s", "works", "0 in 600 s"),
    Goal("list", "list 100 k, engine, against its bytes and one decode", "<= 2.5", "Core 7.9, v1 23", 2.5),
    Goal("json", "machines list --json, 100 k, against the same", "<= 2.5", "11.7", 2.5),
    Goal("table", "machines list as a table, against the JSON", "<= 2", "2 at 1 k, 10.6 s at 10 k", 2),
    Goal("node", "machines list 1,000, against the official node client", "<= 1", "1.9", 1),
    Goal("start", "--help, version, against a python that imports aiohttp", "<= 1.4", "3.3, 3.1", 1.4),
    Goal("ask", "status, history, against the same", "<= 2.5", "5.3", 2.5),
    Goal("metrics", "/metrics at 1,000 fleets", "< 100 ms", "1.23 s", 0.1),
    Goal("page", "the page at 2,000 machines: CPU a rendering", "< 30 ms", "192 ms", 0.03),
    Goal("viewer", "the page at 2,000 machines: a viewer more", "< 5 ms", "gzip anew for each", 0.005),
    Goal("rss", "idle daemon, 100 machines: memory", "< 70 MiB", "68 MiB", 70),
    Goal("idle", "idle daemon, 100 machines: processor", "< 0.5 %", "0.05 %", 0.5),
)
"""The issue's table; a row with two goals is two here."""


def meets(goal: Goal, figure: Figure) -> bool:
    """Whether it is within the goal."""
    if figure.met is not None:
        return figure.met
    return goal.most is not None and figure.value <= goal.most


def rows(figures: Iterable[Figure]) -> list[dict[str, Any]]:
    """Each goal with what was found, as JSON has it; one that was not measured has no figures."""
    found = list(figures)
    return [
        {
            **asdict(goal),
            "figures": [
                {"case": f.case, "value": f.value, "words": f.words, "met": meets(goal, f)}
                for f in found
                if f.key == goal.key
            ],
        }
        for goal in GOALS
    ]


def markdown(measured: Sequence[dict[str, Any]]) -> list[str]:
    """The table for docs/benchmarks.md, and for people."""
    lines = ["| what | goal | at 6701bee | now |", "|---|---|---|---|"]
    for row in measured:
        told = [f"{f['case']}: {f['words']}" if f["case"] else f["words"] for f in row["figures"]]
        missed = [f["case"] or "it" for f in row["figures"] if not f["met"]]
        now = "; ".join(told) or "not measured"
        mark = f" **over: {', '.join(missed)}**" if missed else ""
        lines.append(f"| {row['what']} | {row['goal']} | {row['before']} | {now}{mark} |")
    return lines
