"""Each figure as a share of its goal, from the bench's JSON, which is its first argument; the picture is the second.

A bar that ends before the line is within its goal. The scale is by powers of ten; the same rows give the same bytes.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

LEFT, WIDTH, LINE, TOP = 400, 1000, 20, 40
LEAST, MOST = 0.01, 10.0
"""Shares of a goal at the two ends of the scale."""
STYLE = (
    "text{fill:#57606a}.within{fill:#1a7f37}.over{fill:#bc4c00}.goal{stroke:#57606a;stroke-dasharray:4 3}"
    "@media(prefers-color-scheme:dark){text{fill:#9198a1}.within{fill:#3fb950}.over{fill:#f0883e}}"
)


def bars(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, float, bool]]:
    """What, its share of the goal, and whether it is within it; of rows whose goal is a number."""
    found = []
    for row in rows:
        for figure in row["figures"]:
            if row["most"]:
                case = f": {figure['case']}" if figure["case"] else ""
                found.append(
                    (f"{SHORT.get(row['key'], row['key'])}{case}", figure["value"] / row["most"], figure["met"])
                )
    return found


SHORT = {
    "rise": "0 to 100 machines, against the least",
    "twenty": "20 machines of 20 s",
    "calls": "calls a machine",
    "one": "calls for one machine",
    "late": "ready to known",
    "pass": "no-change pass, 100 k",
    "foreign": "pass, 10 k foreign, 1,000 fleets",
    "list": "list 100 k, engine",
    "json": "machines list --json",
    "table": "machines list, table against JSON",
    "node": "machines list, against node's client",
    "start": "fleetd",
    "ask": "fleetd",
    "metrics": "/metrics, 1,000 fleets",
    "page": "the page, 2,000 machines",
    "viewer": "a viewer more",
    "rss": "idle daemon, memory",
    "idle": "idle daemon, processor",
}


def place(share: float) -> float:
    """Where on the scale."""
    return LEFT + (WIDTH - LEFT - 60) * math.log(min(MOST, max(LEAST, share)) / LEAST) / math.log(MOST / LEAST)


def drawn(rows: Sequence[Mapping[str, Any]]) -> str:
    """The whole picture."""
    found = bars(rows)
    height = TOP + LINE * len(found) + 10
    font = 'font-family="system-ui, sans-serif" font-size="12" role="img"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" {font}>',
        "<title>What fleetd costs, each figure as a share of its goal</title>",
        f"<style>{STYLE}</style>",
    ]
    for share, words in ((0.01, "1 %"), (0.1, "10 %"), (1.0, "goal"), (10.0, "x 10")):
        lines.append(f'<text x="{place(share):.0f}" y="20" text-anchor="middle">{words}</text>')
    for n, (what, share, met) in enumerate(found):
        y = TOP + LINE * n
        lines.append(f'<text x="{LEFT - 8}" y="{y + 12}" text-anchor="end">{escape(what)}</text>')
        length = max(2.0, place(share) - LEFT)
        kind = "within" if met else "over"
        lines.append(f'<rect class="{kind}" x="{LEFT}" y="{y + 2}" width="{length:.0f}" height="12"/>')
        lines.append(f'<text x="{LEFT + length + 6:.0f}" y="{y + 12}">{share:.2g}</text>')
    goal = place(1.0)
    lines.append(f'<line class="goal" x1="{goal:.0f}" x2="{goal:.0f}" y1="26" y2="{height - 6}"/>')
    return "\n".join([*lines, "</svg>", ""])


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(drawn(json.loads(Path(sys.argv[1]).read_text())["rows"]))
