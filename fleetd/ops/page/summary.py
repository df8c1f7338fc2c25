"""``/summary``: two hundred bytes for a tab that nobody sees."""

from __future__ import annotations

import json

from fleetd.ops.escape import printable
from fleetd.ops.page.headline import title
from fleetd.ops.page.scene import Scene


def summary(scene: Scene) -> str:
    """The tab's title, its mood (the name of its icon), and when the last look was that was believed, as JSON."""
    words, mood = title(scene)
    looked = scene.report.sight.believed_at
    told = {"title": printable(words), "mood": mood, "looked": None if looked is None else looked.isoformat()}
    return json.dumps(told, separators=(",", ":"))
