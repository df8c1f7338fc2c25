"""``python -m tests.page [--out DIR]`` takes the screenshots in ``docs/screens`` with headless Chromium."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path

import anyio
from structlog.testing import capture_logs

from fleetd.model.journal import HistoryEntry
from fleetd.model.report import Report
from fleetd.ops.http import serve_http
from fleetd.ops.metrics import Metrics
from fleetd.ops.page.links import fleet_path, machine_path
from fleetd.ops.page.scene import Scene
from fleetd.ops.page.service import Page
from fleetd.ops.page.states import states
from tests.page.chrome import BrowserError, chromium
from tests.page.crowd import crowd
from tests.page.scenes import make_scenes
from tests.support.fake_handle import FakeHandle

WIDTHS = {"desktop": (1440, 1100), "tablet": (768, 1300), "phone": (390, 1500)}
"""Width, and the most height that is kept."""


class Still:
    """A journal in which time stands still."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    async def history(
        self,
        *,
        since: datetime | None = None,
        fleet: str | None = None,
        machine: str | None = None,
        limit: int | None = None,
    ) -> list[tuple[int, HistoryEntry]]:
        rows = [
            (n, e)
            for n, e in enumerate(self._scene.history or ())
            if (since is None or e.ts >= since)
            and (fleet in {None, e.fleet} or (not e.fleet and e.verb == "freeze"))
            and (machine is None or machine in {e.machine, e.name})
        ]
        return rows[-(limit or 0) :]

    async def get_note(self, key: str) -> str:
        return self._scene.record.dump()

    async def put_note(self, key: str, value: str) -> None:
        pass


@asynccontextmanager
async def shown(
    scene: Scene, passing: Callable[[], timedelta] = timedelta, report: Callable[[], Report] | None = None
) -> AsyncIterator[str]:
    """A scene as the real server shows it; ``passing``: the time since then, ``report``: in place of its own."""
    page = Page(
        report or (lambda: scene.report),
        Still(scene),
        lambda: scene.now + passing(),
        interval=lambda: timedelta(seconds=30),
        version=scene.version,
        known=lambda: scene.known,
    )
    async with (
        serve_http(
            FakeHandle(scene.report),
            Metrics(version="1"),
            "127.0.0.1:0",
            now=lambda: scene.now,
            pages=page.routes(),
        ) as url,
        page.open(),
    ):
        assert url is not None
        yield url


async def shoot(scenes: dict[str, Scene]) -> dict[str, bytes]:
    """Screenshots by file name. A browser that complains about a page ends it."""
    shots: dict[str, bytes] = {}
    async with chromium() as tab:
        for name, scene in scenes.items():
            async with shown(scene) as url:
                for page, path in paths(scene).items():
                    await tab.open(f"{url}/{path}")
                    await tab.until("document.getElementById('link').className === 'live'")
                    for device, (width, tallest) in WIDTHS.items():
                        for scheme in ("light", "dark"):
                            await tab.look(dark=scheme == "dark", width=width, phone=device == "phone")
                            shots[f"{name}-{page}-{device}-{scheme}.png"] = await tab.screenshot(tallest=tallest)
                await tab.open("about:blank")
        if tab.complaints:
            raise BrowserError(f"the browser complains: {tab.complaints}")
    return shots


def paths(scene: Scene) -> dict[str, str]:
    """The pages that are shown of a scene: of the fleet, and the machine, that there is most to say of."""
    fleet = next(iter(states(scene)))
    machine = min(
        (m for m in scene.report.machines if m.owned and m.fleet == fleet),
        key=lambda m: (not m.failure, m.hold is None, m.transition is None, m.name),
    )
    return {"home": "", "fleet": fleet_path(fleet), "machine": machine_path(machine), "history": "history"}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.page", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/screens"))
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    with capture_logs():
        shots = anyio.run(shoot, make_scenes() | {"crowd": crowd(2000)})
    for name, shot in shots.items():
        (out / name).write_bytes(shot)
        print(f"{out / name}: {len(shot) / 1000:.0f} kB")


if __name__ == "__main__":
    main()
