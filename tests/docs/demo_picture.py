"""``python -m tests.docs.demo_picture [FILE]`` runs the demo and draws its screen half-way, for the README."""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path
from typing import Any

import anyio
from rich.console import Console

from fleetd import wiring
from fleetd.cli.demo import staged
from fleetd.cli.logs import log_to
from fleetd.cli.render_demo import Scene, demo_view
from fleetd.cli.words import event_words
from fleetd.model.report import Report

ROOT = Path(__file__).parents[2]
COLUMNS = 122
# rich's own frame loads a font from elsewhere; a picture in a README should not.
FRAME = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg" role="img">
<title>fleetd demo: two fleets on their way to their targets</title>
<style>
.{unique_id}-matrix {{ font-family: "Fira Code", ui-monospace, Menlo, Consolas, monospace; \
font-size: {char_height}px; line-height: {line_height}px; font-variant-east-asian: full-width; }}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: system-ui, sans-serif; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g></g></svg>
"""


def half_way() -> Scene:
    """The demo's screen when as many of its machines are up as are still on their way."""
    events: list[str] = []
    scenes: list[tuple[int, Scene]] = []

    def heard(event: dict[str, Any]) -> None:
        words = event_words(event)
        if words is not None:
            events.append(words)

    def passed(report: Report) -> None:
        phases = [m.phase for m in report.machines if m.owned]
        scenes.append((min(phases.count("rising"), phases.count("up")), Scene(60, report, tuple(events))))

    async def play(config: Path) -> None:
        log_to(heard)
        await wiring.converge(wiring.load_settings(config), timeout=120, on_status=passed)

    with tempfile.TemporaryDirectory(prefix="fleetd-demo-") as name:
        config = Path(name) / "demo.toml"
        text = (ROOT / "config" / "demo.toml").read_text("utf-8")
        config.write_text(staged(text, Path(name) / "state", ""), encoding="utf-8")
        anyio.run(play, config)
    return max(scenes, key=lambda s: s[0])[1]


def draw(scene: Scene) -> str:
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(demo_view(scene))
    return console.export_svg(title="fleetd demo", code_format=FRAME, unique_id="demo")


if __name__ == "__main__":
    target = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "docs" / "demo.svg")
    target.write_text(draw(half_way()), encoding="utf-8")
    print(f"drawn: {target}")
