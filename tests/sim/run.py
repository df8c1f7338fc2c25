"""Runs a story: the world, its server, the daemon's lives and what befalls them. Returns what is true of it."""

from __future__ import annotations

import asyncio
import hashlib
import random
import tempfile
from collections import Counter
from contextlib import AsyncExitStack, ExitStack, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from unittest import mock

import anyio

import fleetd.cloud.core.api
import fleetd.cloud.paperspace.cloud
import fleetd.cloud.paperspace.requests
import fleetd.engine.daemon
import fleetd.simulator.core
from fleetd.cloud.calls import HttpLimits
from fleetd.model.errors import ConfigError
from fleetd.model.machine import Machine
from fleetd.model.reasons import Activity
from fleetd.model.report import encoded
from fleetd.simulator.clock import WorldClock
from fleetd.simulator.lifecycle import arm_timers
from fleetd.simulator.server import SimServer, serve
from fleetd.simulator.world import World
from tests.sim.checker import Breach, check
from tests.sim.dialects import CORE, Dialect
from tests.sim.evidence import Witness
from tests.sim.host import RESTART, Host
from tests.sim.life import Site, breakable
from tests.sim.people import People
from tests.sim.record import EPOCH, FOREVER, Record
from tests.sim.spec import Beat, FleetSpec
from tests.sim.story import Story, draw_story
from tests.support.virtual_time import run_virtual, virtual_clock, virtual_loop

KEY = "sk-9f1c-simulated-key-7d03"
SPOILS = (
    ("version = 1", "version = 1\n[provider"),  # no TOML
    ('listen = ""', 'listen = ""\nintervall = "3s"'),  # an unknown key
    ("target = 0", "target = -1"),
    ("target = 0", 'target = "none"'),
    ('listen = ""', 'listen = "127.0.0.1:1"'),  # sound, but not to be changed while it runs
    ("target = 0", 'target = 0\ndestroy_requires_snapshot = "24h"'),  # sound, but not with this dialect
)
"""What is wrong with the bad configs of ``bad_reload``, in which every fleet has no machine at all besides."""
CORE_ONLY = 5
"""The one that is sound on v1."""


@dataclass(frozen=True)
class Outcome:
    """A run, judged."""

    seed: str
    days: float
    breaches: tuple[Breach, ...]
    faults: Counter[str]
    calls: int
    log: str

    @property
    def digest(self) -> str:
        """Of the log: the same for the same seed."""
        return hashlib.sha256(self.log.encode()).hexdigest()


def run_seed(
    seed: str, *, days: float = 1, machines: int = 30, dialect: Dialect = CORE, level: str = "info"
) -> Outcome:
    """Draw a story, run it, judge it."""
    return run_story(draw_story(seed, days=days, machines=machines), dialect=dialect, level=level)


def run_story(story: Story, *, dialect: Dialect = CORE, level: str = "info") -> Outcome:
    """Run a story and judge it."""
    start = EPOCH + timedelta(seconds=story.epoch_offset)
    shared = Path("/dev/shm")  # syncing costs nothing there; what is proven does not depend on the disk
    with (
        tempfile.TemporaryDirectory(prefix="fleetd-sim-", dir=shared if shared.is_dir() else None) as root,
        ExitStack() as stack,
    ):
        if story.page_size is not None:
            # The vendors' pages hold 1,000 and 120 machines; here both sides agree on fewer, so there are several.
            stack.enter_context(mock.patch.object(fleetd.cloud.core.api, "PAGE_SIZE", story.page_size))
            stack.enter_context(mock.patch.object(fleetd.simulator.core, "PAGE", story.page_size))
            stack.enter_context(mock.patch.object(fleetd.cloud.paperspace.requests, "PAGE_SIZE", story.page_size))
            stack.enter_context(mock.patch.object(fleetd.cloud.paperspace.cloud, "PAGE_SIZE", story.page_size))
        # No supervisor listens, so nobody needs signs of life every ten seconds.
        stack.enter_context(mock.patch.object(fleetd.engine.daemon, "HEARTBEAT", 3600.0))
        stack.enter_context(breakable())
        stage = run_virtual(_play, story, Path(root), dialect, level, start=start)
    breaches = check(stage.record)
    faults = Counter(kind for call in stage.record.calls for kind in call.faults)
    faults.update(stage.happened)
    return Outcome(
        story.seed, story.days, tuple(breaches), faults, len(stage.record.calls), stage.site.log.getvalue()
    )


async def _play(story: Story, root: Path, dialect: Dialect, level: str) -> Stage:
    clock = virtual_clock()
    world = World(
        seed=f"world:{story.seed}",
        clock=WorldClock(epoch=clock.now(), now_seconds=virtual_loop().time, origin=0.0),
        vendor_timer=story.vendor_timer,
    )
    for place, (name, state) in enumerate(story.foreign):
        world.add_machine(name, state, age_seconds=86_400.0 - place)
    async with serve(world, key=KEY, faults=story.rules, keep_reads=None, latency=story.latency) as server:
        limits = HttpLimits(max_requests_per_second=story.rate)
        site = Site(
            root, server.url + dialect.path, KEY, clock, seed=story.seed, open_cloud=dialect.open_cloud, limits=limits
        )
        site.capture_log(level)
        stage = Stage(story, world, server, site, dialect)
        async with AsyncExitStack() as stack:
            if any(beat.what == "other" for beat in story.beats):
                elsewhere = await stack.enter_async_context(serve(world, key=KEY, keep_reads=0, latency=None))
                stage.host.other = Site(
                    root / "other", elsewhere.url + dialect.path, KEY, clock, "other", dialect.open_cloud
                )
                stage.host.other.root.mkdir()
                elsewhere.on_call = lambda call, _answer: stage.record.others.append(call)
            await stage.play()
    return stage


class Stage:
    """One story under way."""

    def __init__(self, story: Story, world: World, server: SimServer, site: Site, dialect: Dialect) -> None:
        self.story = story
        self._dialect = dialect
        self.world = world
        self.server = server
        self.site = site
        self.record = Record(story.seed, site.clock.now(), calm_from=story.calm_from, end=story.end)
        self.happened: Counter[str] = Counter()
        """What befell it beside the provider's faults, by kind."""
        self._witness = Witness(self.record)
        self._rng = random.Random(f"stage:{story.seed}")
        self._people = People(world, site, self.record, random.Random(f"people:{story.seed}"), story.end)
        self._silent_until = -1.0
        self.host = Host(story, world, site, self.record, dialect)
        self._over = False
        self._file_is_good = True
        site.says = self._says
        site.visible = self._visible
        site.late = self._late
        site.on_call = self._people.called
        server.on_call = lambda call, answer: self._witness.arrived(call, answer, site.rows)

    async def play(self) -> None:
        """From the first start to the last hour."""
        self._write(self.story.fleets)
        await anyio.sleep(1)
        async with anyio.create_task_group() as group:
            group.start_soon(self._supervise)
            group.start_soon(self._clerk)
            for beat in self.story.beats:
                await self._until(beat.at)
                self.happened[beat.what] += 1
                group.start_soon(self._happen, beat)
            await self._until(self.story.calm_from)
            await self._calm_down()
            await self._until(self.story.end)
            self._over = True
            for life in self.site.lives:
                life.stop()
            await anyio.sleep(60)
            group.cancel_scope.cancel()
        self._close()

    async def _supervise(self) -> None:
        """Start it whenever it is not running, as systemd would, or later where the story has it down for longer."""
        while not self._over:
            life = self.site.new_life()
            with suppress(ConfigError):
                self.record.configs.append((self._now(), self.site.load()))
            await asyncio.create_task(life.run())
            down, self.host.down = self.host.down, RESTART
            calm_in = max(RESTART, self.story.calm_from - self._now())
            await anyio.sleep(min(down, calm_in))

    async def _clerk(self) -> None:
        """Looks at the journal every half hour for transitions without a verdict."""
        while True:
            await anyio.sleep(1800)
            self._look_for_verdicts()

    async def _happen(self, beat: Beat) -> None:
        if await self.host.happen(beat):
            return
        match beat.what:
            case "reload":
                await self._reload(beat)
            case "bad_reload":
                await self._bad_reload(beat)
            case "hold" | "freeze" | "freeze_all":
                lasts = min(beat.more["for"], self.story.calm_from - self._now())
                await self._people.veto(beat.what, beat.more["verbs"], lasts)
            case "lift":
                await self._people.lift_all()
            case "silence":
                until = min(self._now() + beat.more["for"], self.story.calm_from)
                self.record.silences.append((self._now(), until))
            case "late":
                until = min(self._now() + beat.more["for"], self.story.calm_from)
                self.record.late.append((self._now(), until, beat.more["by"]))
            case _:
                await self._people.act(beat.what, beat.more)

    async def _reload(self, beat: Beat) -> None:
        if not self._file_is_good:
            return
        self._write(beat.more["fleets"])
        self._signal_reload()
        await anyio.sleep(min(beat.more["for"], max(0.0, self.story.calm_from - self._now() - 1)))
        if self._file_is_good and self._now() < self.story.calm_from:
            self._write(self.story.fleets)
            self._signal_reload()

    async def _bad_reload(self, beat: Beat) -> None:
        if not self._file_is_good:
            return
        good = self.site.config.read_text()
        text = self.story.toml([replace(spec, target=0, window=None) for spec in self.story.fleets], self._dialect)
        way = beat.more["way"]
        if way == CORE_ONLY and self._dialect is not CORE:
            way = 1
        self.site.write_config(text.replace(*SPOILS[way]))
        self._file_is_good = False
        before = self.site.alive
        if before is not None:
            before.reload()
        await anyio.sleep(min(beat.more["for"], max(0.0, self.story.calm_from - self._now() - 120)))
        self.site.write_config(good)
        self._file_is_good = True
        after = self.site.alive
        if after is not None and after is not before:
            after.stop()  # it may have started with what it would not have been reloaded with

    def _signal_reload(self) -> None:
        life = self.site.alive
        if life is not None:
            life.reload()
            self.record.configs.append((self._now(), self.site.load()))

    async def _calm_down(self) -> None:
        """From here on nothing goes wrong: the last config is the operator's, nobody holds anything, clocks agree."""
        self.host.calm_down()
        self.server.set_faults(())
        await self._people.lift_all()
        self._people.settle_in()
        self._people.give_back()
        longest = 1000 if self._dialect is CORE else None  # v1 takes no timeout of more than a week ...
        if self._dialect is not CORE:  # ... and keeps what a machine has: nor does the vendor turn one off any more
            state = self.world.state
            state.vendor_timer = False
            for machine in state.machines.values():
                arm_timers(state, machine)
        lasting = [
            replace(spec, timeout_hours=None if spec.timeout_hours is None else longest) for spec in self.story.fleets
        ]
        self._write(lasting)
        self._signal_reload()

    def _close(self) -> None:
        self.world.advance()
        self._look_for_verdicts()
        record, site = self.record, self.site
        record.calls = list(self.server.calls)
        record.timeline = self.world.timeline
        record.machines = self.world.state.machines | self.world.state.gone
        record.lives = [life.span for life in site.lives]
        record.asked, record.looks = site.asked, site.looks
        places: dict[str, str | bytes] = {"the log": site.log.getvalue()}
        last = next((life.engine for life in reversed(site.lives) if life.engine is not None), None)
        if last is not None:
            places["the status document"] = encoded(last.handle.status()).decode()
        for path in site.state.glob(f"{site.journal.name}*"):
            places[f"the journal ({path.name})"] = path.read_bytes()
        self._witness.secrecy(site.key, places)

    def _look_for_verdicts(self) -> None:
        if self.site.disk != "ok" or self._now() - self.host.disk_trouble_until < 2 * self.story.interval:
            return
        steps = sum(abs(by) for _, by in self.record.steps)
        down = [span for span in (life.span for life in self.site.lives) if span.ended < FOREVER]
        lately = [s for s in down if self._now() - s.ended < 1800]
        life = self.site.alive
        if life is None or lately or self._now() - life.span.began < 1800:
            return  # a process that was not there could give no verdict
        self._witness.verdicts(self.site.rows, self.site.clock.now(), steps + 2 * self.story.interval + 120)

    def _write(self, fleets: tuple[FleetSpec, ...] | list[FleetSpec]) -> None:
        self.site.write_config(self.story.toml(fleets, self._dialect))
        self._file_is_good = True

    def _says(self, _source: str, machine: Machine) -> Activity | None:
        """What the source has under the machine's address: whoever else has it may be meant."""
        now = self._now()
        said = self._answer(machine, now)
        self.record.readings.setdefault(machine.id, []).append((now, str(said)))
        self._witness.heard[machine.id] = (now, str(said))
        return said

    def _answer(self, machine: Machine, now: float) -> Activity | None:
        there = [m for m in self.world.listed() if m.private_ip is not None and m.private_ip == machine.private_ip]
        meant = there[0].id if there else machine.id
        if self.record.silent(now) or any(a <= now < b for a, b in self.record.gaps.get(meant, ())):
            return None if now % 2 < 1 else Activity.UNKNOWN
        return Activity.ACTIVE if self.record.in_use(meant, now) else Activity.IDLE

    def _late(self) -> float:
        now = self._now()
        return max((by for since, until, by in self.record.late if since <= now < until), default=0.0)

    def _visible(self) -> frozenset[str]:
        return frozenset(m.id for m in self.world.listed() if not m.deleting)

    def _now(self) -> float:
        return virtual_loop().time()

    async def _until(self, at: float) -> None:
        await anyio.sleep(max(0.0, at - self._now()))
