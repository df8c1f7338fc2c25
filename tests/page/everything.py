"""Every page of a scene, for tests that nothing in a report keeps one of them from being shown."""

from __future__ import annotations

from dataclasses import replace

from fleetd.ops.page.fleet_page import fleet_page
from fleetd.ops.page.found import find, hits_page, missing_page, several_page
from fleetd.ops.page.headline import summary
from fleetd.ops.page.history_page import Filters, history_page
from fleetd.ops.page.home import home
from fleetd.ops.page.machine_page import machine_page
from fleetd.ops.page.scene import Scene


def every_page(scene: Scene) -> dict[str, str]:
    """By a name of its own; of machines the first few hundred."""
    below = replace(scene, root="../")
    pages = {"/": home(scene), "/summary": summary(scene), "/history": history_page(scene, Filters())}
    pages |= {f"fleet {name}": fleet_page(below, name) for name in scene.report.fleets}
    pages |= {f"machine {m.id or m.name}": machine_page(below, m) for m in scene.report.machines[:500]}
    for word in ("", "training", "nothing at all"):
        pages[f"find {word}"] = hits_page(scene, word, find(scene.report, word))
    pages["several"] = several_page(below, "x", scene.report.machines)
    pages["missing"] = missing_page(below, "machine", "x")
    return pages
