"""The machine that fleetd runs on, and what befalls it there: kills, clocks, disks, locks, and other fleetds."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import suppress
from typing import Any

import anyio

from fleetd.simulator.world import World
from tests.sim.dialects import Dialect
from tests.sim.life import Life, Site
from tests.sim.record import Record
from tests.sim.spec import Beat, FleetSpec
from tests.sim.story import Story
from tests.support.virtual_time import virtual_loop

RESTART = 10.0
"""Seconds after which the supervisor starts again what ended by itself."""
GREEDY = FleetSpec(
    "nightly", 0, scale_in="destroy", allow_destroy=True, adopt=("train*", "infer*", "ci-*"), stops="100%"
)
"""What somebody else's fleetd is told: to take whatever is called like this, and to have none of it."""


class Host:
    """One host, with its supervisor's patience."""

    def __init__(self, story: Story, world: World, site: Site, record: Record, dialect: Dialect) -> None:
        self._story = story
        self._world = world
        self._site = site
        self._record = record
        self._dialect = dialect
        self.down = RESTART
        """Seconds until the supervisor starts it next time."""
        self.disk_trouble_until = 0.0
        self._points_left: int | None = None
        self.other: Site | None = None
        """Where somebody else's fleetd lives; it reaches the same account through a server of its own."""
        site.on_point = self._point

    async def happen(self, beat: Beat) -> bool:
        """Whether it was something that befalls the host."""
        match beat.what:
            case "kill":
                await self._kill(beat)
            case "clock":
                self.step(beat.more["by"])
            case "second":
                if self._site.alive is not None:
                    await asyncio.create_task(self._site.new_life().run())
            case "disk":
                await self._disk(beat)
            case "journal":
                await self._journal(beat)
            case "unlock":
                await self._unlock(beat)
            case "trouble":
                self._site.trouble = beat.more["times"]
            case "other":
                await self._other(beat)
            case _:
                return False
        return True

    def calm_down(self) -> None:
        """Nothing befalls it any more, and its clock is right."""
        self._points_left = None
        self._site.trouble = 0
        offset = sum(by for _, by in self._record.steps)
        if offset:
            self.step(-offset)

    async def _kill(self, beat: Beat) -> None:
        life = self._site.alive
        if life is None:
            return
        self.down = beat.more["down"]
        match beat.more["how"]:
            case "now":
                life.kill()
            case "turns":
                for _ in range(beat.more["count"] % 80):
                    await anyio.lowlevel.checkpoint()
                life.kill()
            case "stop":
                life.stop()
            case _:
                self._points_left = beat.more["count"]

    def _point(self, life: Life, _name: str) -> None:
        if self._points_left is None or self._now() >= self._story.calm_from:
            return
        self._points_left -= 1
        if self._points_left <= 0:
            self._points_left = None
            life.kill()

    def step(self, by: float) -> None:
        self._record.steps.append((self._now(), by))
        self._site.clock.step(by)

    async def _unlock(self, beat: Beat) -> None:
        """Somebody removes the lock's file, and a second daemon starts beside the first."""
        if self._site.alive is None:
            return
        state = self._site.state
        if beat.more["way"] == "lock":
            (state / "lock").unlink(missing_ok=True)
        else:  # somebody put a backup in its place
            backup = state.with_name(f"{state.name}-backup-{len(self._record.unlocked)}")
            shutil.copytree(state, backup)
            state.rename(state.with_name(f"{backup.name}-old"))
            backup.rename(state)
            (state / "lock").unlink(missing_ok=True)
        self._record.unlocked.append(self._now())
        second = self._site.new_life()
        async with anyio.create_task_group() as group:
            group.start_soon(self._run_side_calls, second)
            await anyio.sleep(min(beat.more["for"], max(1.0, self._story.calm_from - self._now() - 60)))
            second.stop()

    async def _run_side_calls(self, life: Life) -> None:
        await asyncio.create_task(life.run())

    async def _other(self, beat: Beat) -> None:
        """Somebody else's fleetd, with its own state directory and another config, is run for a while."""
        if self.other is None or self.other.alive is not None:
            return
        spec = FleetSpec(**{**_fields(GREEDY), "target": beat.more["target"]})
        self.other.write_config(self._story.toml([spec], self._dialect))
        self._record.others_began.append(self._now())
        life = self.other.new_life()
        async with anyio.create_task_group() as group:
            group.start_soon(self._run_side_calls, life)
            await anyio.sleep(min(beat.more["for"], max(1.0, self._story.calm_from - self._now() - 60)))
            life.stop()

    async def _disk(self, beat: Beat) -> None:
        self._site.disk = beat.more["way"]
        await anyio.sleep(min(beat.more["for"], max(0.0, self._story.calm_from - self._now() - 1)))
        self._site.disk = "ok"
        self.disk_trouble_until = self._now()

    async def _journal(self, beat: Beat) -> None:
        life, down = self._site.alive, min(beat.more["for"], max(1.0, self._story.calm_from - self._now() - 2))
        way = beat.more["way"]
        if way == "deleted_alive":
            self._lose_journal()
            await anyio.sleep(down)
            if life is not None:
                life.stop()
            return
        if life is not None:
            self.down = down + 1 if way == "deleted" else 1.0
            life.kill()
        if way == "deleted":
            self._lose_journal()
            return
        with suppress(FileNotFoundError), self._site.journal.open("r+b") as file:
            file.seek(0 if beat.more["place"] < 0.5 else 4096)
            file.write(b"\0" * 4096)
            for suffix in ("-wal", "-shm"):
                self._site.journal.with_name(self._site.journal.name + suffix).unlink(missing_ok=True)
        self._forget()  # what was in the log alone is lost, and leaves no trace
        await anyio.sleep(down)
        life = self._site.alive
        if life is not None:
            life.stop()
            await anyio.sleep(0.1)
            life.kill()
        self._lose_journal()

    def _lose_journal(self) -> None:
        for path in self._site.state.glob(f"{self._site.journal.name}*"):
            path.unlink()
        self._forget()

    def _forget(self) -> None:
        now = self._now()
        self._record.losses.append(now)
        for veto in self._record.vetoes:
            veto.until = min(veto.until, now)
        for lease in self._record.leases:
            lease.until = min(lease.until, now)

    def _now(self) -> float:
        return virtual_loop().time()


def _fields(spec: FleetSpec) -> dict[str, Any]:
    return {name: getattr(spec, name) for name in spec.__dataclass_fields__}
