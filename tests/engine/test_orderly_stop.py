"""What an orderly stop keeps for the next process."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

import anyio

from fleetd.model.fleet import IdleRule
from tests.support.build import fleet
from tests.support.fakecloud import FakeCloud
from tests.support.rig import rig
from tests.support.scripted_source import ScriptedSource
from tests.support.virtual_time import run_virtual, virtual_clock

WANTED = fleet(target=1, idle=IdleRule(sources=("gpu",), after=timedelta(hours=1)))


def test_the_idle_clocks_of_the_last_pass_are_kept(tmp_path: Path) -> None:
    """They are written once a minute at most while it runs, so that the last minute would be uncovered."""

    async def story() -> None:
        cloud = FakeCloud(virtual_clock())
        for seconds in (400.0, 431.0, 462.0):
            async with rig(WANTED, state=tmp_path, cloud=cloud, sources={"gpu": ScriptedSource("gpu")}) as world:
                async with world.daemon_running():
                    await anyio.sleep(seconds)
                assert world.reconciler.last is not None
                began = world.reconciler.last.started_at
                kept = json.loads(await world.journal.get_note("idle_clocks") or "{}")
                assert began <= datetime.fromisoformat(kept["ps1"][1]) <= began + timedelta(seconds=1)

    run_virtual(story)
