"""``python -m tests.week [FILE]`` runs the week and draws it: machines up against target, and cost an hour."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from pathlib import Path

from fleetd.model.journal import HistoryEntry
from fleetd.model.spans import spans
from tests.week.run import BERLIN, NIGHT, SIZE, Week, run_week, target_at

WIDTH, HEIGHT, LEFT, TOP, GAP = 960, 150, 52, 40, 44
PRICE = 0.51
_CHANGE = {"create": 1, "start": 1, "stop": -1}


def draw(week: Week) -> str:
    """The SVG of a week, made from its history."""
    seconds = (week.end - week.start).total_seconds()

    def x(at: datetime) -> float:
        return LEFT + WIDTH * (at - week.start).total_seconds() / seconds

    ups = up_over_time(week.history)
    targets = [(at, target_at(at)) for at in (week.start, week.end)]
    second = TOP + HEIGHT + GAP
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 20} {second + HEIGHT + 40}" '
            'font-family="system-ui, sans-serif" font-size="12" role="img">'
        ),
        "<title>A simulated week of a fleet of 50: machines up against target, and cost an hour</title>",
        (
            "<style>text{fill:#57606a}.night{fill:#8c959f;opacity:.18}.up{fill:none;stroke:#1a7f37;stroke-width:1.6}"
            ".target{fill:none;stroke:#0969da;stroke-width:1.2;stroke-dasharray:4 3}.cost{fill:none;stroke:#bc4c00;"
            "stroke-width:1.6}.axis{stroke:#8c959f;stroke-width:.6}"
            "@media(prefers-color-scheme:dark){text{fill:#9198a1}.up{stroke:#3fb950}.target{stroke:#4493f8}"
            ".cost{stroke:#f0883e}}</style>"
        ),
    ]
    first, last = week.start.astimezone(BERLIN).date(), week.end.astimezone(BERLIN).date()
    for opens, closes in spans(NIGHT, first - timedelta(days=1), last):
        left, right = x(max(opens, week.start)), x(min(closes, week.end))
        if right > left:
            parts += [
                f'<rect class="night" x="{left:.1f}" y="{top}" width="{right - left:.1f}" height="{HEIGHT}"/>'
                for top in (TOP, second)
            ]
    parts += [
        f'<text x="{LEFT}" y="{TOP - 14}">machines up (green), target (dashed); grey: the window that parks</text>',
        f'<text x="{LEFT}" y="{second - 14}">cost, $ an hour</text>',
        f'<path class="up" d="{steps(ups, x, TOP, SIZE)}"/>',
        f'<path class="target" d="{steps(targets, x, TOP, SIZE)}"/>',
        f'<path class="cost" d="{steps([(at, n * PRICE) for at, n in ups], x, second, SIZE * PRICE)}"/>',
    ]
    for top, most in ((TOP, f"{SIZE}"), (second, f"{SIZE * PRICE:.2f}")):
        parts += [
            f'<line class="axis" x1="{LEFT}" x2="{LEFT + WIDTH}" y1="{top + HEIGHT}" y2="{top + HEIGHT}"/>',
            f'<text x="{LEFT - 6}" y="{top + 4}" text-anchor="end">{most}</text>',
            f'<text x="{LEFT - 6}" y="{top + HEIGHT + 4}" text-anchor="end">0</text>',
        ]
    for day in range((last - first).days + 1):
        noon = datetime.combine(first + timedelta(days=day), datetime.min.time(), BERLIN) + timedelta(hours=13)
        if week.start < noon < week.end:
            label = f'x="{x(noon):.1f}" y="{second + HEIGHT + 20}" text-anchor="middle"'
            parts.append(f"<text {label}>{noon:%a %d %b}</text>")
    return "\n".join([*parts, "</svg>", ""])


def up_over_time(history: list[HistoryEntry]) -> list[tuple[datetime, int]]:
    """(instant, machines up) at every change that the history records."""
    points, up = [], 0
    for entry in sorted(history, key=lambda e: e.ts):
        if entry.outcome == "reached" and entry.verb in _CHANGE:
            up += _CHANGE[entry.verb]
            points.append((entry.ts, up))
    return points


def steps(points, x, top: float, most: float) -> str:
    """A step line."""
    path, level = [], None
    for at, value in points:
        y = top + HEIGHT * (1 - value / most)
        path.append(f"M{x(at):.1f} {y:.1f}" if level is None else f"H{x(at):.1f}V{y:.1f}")
        level = y
    return "".join(path)


if __name__ == "__main__":
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/week.svg")
    target.write_text(draw(run_week()))
    print(f"drawn: {target}")
