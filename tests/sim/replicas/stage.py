"""Runs a story of two replicas: hosts, database, provider, and what befalls them. Returns what is true of it."""

from __future__ import annotations

import asyncio
import io
import os
import random
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

import anyio

import fleetd.engine.daemon
from fleetd.cloud.calls import HttpLimits
from fleetd.model.settings import Settings
from fleetd.ops import logs
from fleetd.simulator.calls import Call
from fleetd.simulator.clock import WorldClock
from fleetd.simulator.server import serve
from fleetd.simulator.wire import Answer
from fleetd.simulator.world import World
from tests.sim.dialects import CORE
from tests.sim.life import LIFE, Life
from tests.sim.record import EPOCH
from tests.sim.replicas.checks import check, under_way
from tests.sim.replicas.driver import on_stand_in
from tests.sim.replicas.life import ReplicaLife, ReplicaSite
from tests.sim.replicas.network import Wire, wired
from tests.sim.replicas.people import People
from tests.sim.replicas.record import ReplicaRecord
from tests.sim.replicas.rest import gather, wanted_end
from tests.sim.replicas.server import Server
from tests.sim.replicas.sql import ORIGIN
from tests.sim.replicas.story import CALM_LIMIT, HOSTS, ReplicaStory, draw
from tests.sim.run import KEY, Outcome
from tests.sim.spec import Beat, FleetSpec
from tests.support.virtual_time import VirtualClock, run_virtual, virtual_loop

AHEAD = (EPOCH - ORIGIN).total_seconds()
"""Seconds by which the database's clock is ahead of the loop's: it tells the provider's time."""
RESTART = 2.0
"""Seconds until a host's supervisor starts again what has ended."""
REST = 240.0
"""Seconds without a write that a run ends with."""
_ON_THE_DATABASE = frozenset({"restart_database", "slow_disk", "slow_way", "lose_commits", "by_hand"})
FOREIGN = (("someone-elses", "ready"), ("training-backup", "ready"))


def run_replicas(seed: str) -> Outcome:
    """Draw a story, run it, judge it."""
    return run_story(draw(seed))


def run_story(story: ReplicaStory) -> Outcome:
    """Run a story and judge it."""
    shared = Path("/dev/shm")
    with (
        tempfile.TemporaryDirectory(prefix="fleetd-sim-", dir=shared if shared.is_dir() else None) as root,
        ExitStack() as stack,
    ):
        stack.enter_context(mock.patch.object(fleetd.engine.daemon, "HEARTBEAT", 3600.0))
        # Where a daemon leaves word of its control socket: not where this machine's own would.
        stack.enter_context(mock.patch.dict(os.environ, {"XDG_RUNTIME_DIR": root}))
        stage = run_virtual(_play, story, Path(root), start=EPOCH)
    record = stage.record
    breaches = check(record)
    faults: Counter[str] = Counter(kind for call in record.calls for kind in call.faults)
    faults.update(stage.record.seen)
    faults["writes under way at a takeover"] += under_way(record)
    return Outcome(story.seed, record.end / 86400, tuple(breaches), faults, len(record.calls), stage.log.getvalue())


async def _play(story: ReplicaStory, root: Path) -> Stage:
    loop = virtual_loop()
    world = World(
        seed=f"world:{story.seed}",
        clock=WorldClock(epoch=EPOCH, now_seconds=loop.time, origin=0.0),
        vendor_timer=False,
    )
    for name, state in FOREIGN:
        world.add_machine(name, state)
    stage = Stage(story, world)
    wires: dict[Any, Wire] = {}
    loop.loopback.may_send = _may_send
    async with AsyncExitStack() as stack:
        stack.enter_context(wired(wires))
        stack.enter_context(on_stand_in(lambda _url: stage.database))
        for number, name in enumerate(HOSTS):
            server = await stack.enter_async_context(
                serve(world, key=KEY, faults=story.rules, keep_reads=None, latency=story.latency)
            )
            home = root / name
            (home / "state").mkdir(parents=True, mode=0o700)
            clock = VirtualClock(loop, EPOCH)
            site = ReplicaSite(
                home,
                server.url + CORE.path,
                KEY,
                clock,
                seed=story.seed,
                open_cloud=CORE.open_cloud,
                limits=HttpLimits(max_requests_per_second=1000),
                name=name,
            )
            stage.add(site, wires, server, story.clocks[number])
        stage.hear()
        await stage.play()
    return stage


def _may_send() -> bool:
    life = LIFE.get()
    return life is None or not life.dead


class _Heard(io.StringIO):
    """Where log lines go, unless their life is over."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self._stage = stage

    def write(self, text: str) -> int:
        life = LIFE.get()
        if life is None or life.dead:
            return 0
        masked = life.site.mask(text).replace(
            str(life.site.root.parent), "HOSTS"
        )  # it names the other's file as well
        return self._stage.log.write(f"{life.site.name}{life.number} {masked}")  # type: ignore[attr-defined]


class Stage:
    """One story under way."""

    def __init__(self, story: ReplicaStory, world: World) -> None:
        self.story = story
        self.world = world
        self.log = io.StringIO()
        self.record = ReplicaRecord(
            story.seed, EPOCH, calm_from=story.calm_from, end=story.end, rest=REST, database_ahead=AHEAD
        )
        self.sites: dict[str, ReplicaSite] = {}
        self.wires: dict[str, Wire] = {}
        self._rng = random.Random(f"stage:{story.seed}")
        loop = virtual_loop()
        self.database = Server(lambda: loop.time() + AHEAD, random.Random(f"database:{story.seed}"))
        self.people = People(self.record)
        self._fleets: tuple[FleetSpec, ...] = story.fleets
        self._armed: dict[str, tuple[str, str, float]] = {}
        """By host: at which point what is done to whoever comes to it (pause or kill), and for how long."""
        self._down: dict[str, float] = {}
        self._over = False
        self._calm = False

    def add(self, site: ReplicaSite, wires: dict[Any, Wire], server: Any, ahead: float) -> None:
        """A host, with its way to the provider."""
        site.number = lambda: 1 + sum(len(one.lives) for one in self.sites.values())
        site.on_take = self._taken
        site.on_point = self._point
        site.visible = lambda: frozenset(m.id for m in self.world.listed() if not m.deleting)
        site.looks = self.record.looks
        site.asked = self.record.asked
        site.clock.step(ahead)
        wire = Wire(site, server, random.Random(f"{self.story.seed}:{site.name}:wire"), self.story)
        wire.on_sent = lambda life, what: self._point(life, "arrival" if what.startswith("POST") else "asked")
        wire.on_arrival = self._arrived
        self.sites[site.name], self.wires[site.name], wires[server] = site, wire, wire

    def hear(self) -> None:
        """Have every life's log, each by its own clock."""

        def now() -> Any:
            life = LIFE.get()
            return (life.site.clock if life is not None else virtual_loop().clock).now()

        secrets = logs.Secrets()
        secrets.add(KEY)
        logs.configure(_Heard(self), now=now, secrets=secrets, level="info", fmt="json", environ={})

    async def play(self) -> None:
        """From the first start to the rest."""
        self._write(self.story.fleets, *self.sites.values())
        async with anyio.create_task_group() as group:
            for site in self.sites.values():
                group.start_soon(self._supervise, site)
                await anyio.sleep(0.4)
            for beat in self.story.beats:
                await self._until(beat.at)
                self.record.seen[beat.what] += 1
                group.start_soon(self._happen, beat)
            await self._until(self.story.calm_from)
            await self._calm_down()
            await self._until(self.story.end)
            self._gather()
            while (later := wanted_end(self.record, self.story)) is not None:
                self.record.end = later
                await self._until(later)
                self._gather()
            self._look_at_the_end()
            self._over = True
            for site in self.sites.values():
                for life in site.lives:
                    life.stop()
            await anyio.sleep(60)
            group.cancel_scope.cancel()
        self._close()

    async def _supervise(self, site: ReplicaSite) -> None:
        while not self._over:
            life = site.new_life()
            self.record.names[life.way.who] = life.number
            self._note_clock(life)
            await asyncio.create_task(life.run())
            life.way.close()
            if life.burnt:
                self.record.seen["ended by the kernel's timer"] += 1
            down = self._down.pop(site.name, RESTART)
            await anyio.sleep(down if self._calm else min(down, max(RESTART, self.story.calm_from - _now())))

    async def _happen(self, beat: Beat) -> None:
        more = beat.more
        if beat.what in _ON_THE_DATABASE:
            await self._befall_database(beat.what, more)
            return
        site = self._who(more) if "who" in more else self.sites[more.get("host", "a")]
        match beat.what:
            case "kill" | "pause":
                self._strike(beat.what, site, more)
            case "cut_database":
                began = _now()
                site.cut_off(cut=True)
                await self._for(more)
                site.cut_off(cut=False)
                self.record.cuts.append((site.name, began, _now()))
            case "cut_provider":
                wire = self.wires[site.name]
                wire.cut(more["way"], self.story.rules)
                await self._for(more)
                wire.server.set_faults(() if self._calm else self.story.rules)
            case "clock":
                site.clock.step(more["by"])
                if site.newest is not None:
                    self._note_clock(site.newest)
            case "stop":
                self._down[site.name] = more["down"]
                if site.newest is not None:
                    site.newest.stop()
            case "step_down":
                done = await self.people.step_down(site)
                self.record.seen[f"step_down: {'taken' if done else 'declined'}"] += 1
            case "target":
                await self._aim(more["fleets"], more["again"])
            case _:
                await self._command(beat.what, more)

    async def _befall_database(self, what: str, more: Any) -> None:
        site = self._who(more)
        life = site.newest
        match what:
            case "restart_database":
                self.database.crash()
                await self._for(more)
                self.database.start()
            case "slow_disk":
                self.database.flush = (0.001, more["by"])
                await self._for(more)
                self.database.flush = (0.0005, 0.003)
            case "by_hand":
                self.database.asked("UPDATE lease SET holder = NULL, expires_at = clock_timestamp()")
            case "lose_commits" if more.get("where", "now") != "now":
                self._armed[site.name] = (more["where"], what, more["count"])
            case "lose_commits" if life is not None:
                self._do(what, life, more["count"])
            case "slow_way" if life is not None:
                life.way.latency = (0.0, more["by"])
                await self._for(more)
                life.way.latency = (0.0002, 0.002)

    async def _command(self, what: str, more: Any) -> None:
        site = self.sites[more["host"]]
        if what == "lift":
            await self.people.lift_all(site)
            return
        machines = [m for m in self.world.listed() if not m.deleting and m.name not in dict(FOREIGN)]
        lasts = max(1.0, min(more["for"], self.story.calm_from - _now()))
        if what == "hold":
            if machines:
                await self.people.veto(site, "hold", self._rng.choice(machines), None, lasts)
            return
        fleet = None if more["all"] else self._rng.choice(self._fleets).name
        await self.people.veto(site, "freeze", None, fleet, lasts)

    def _strike(self, what: str, site: ReplicaSite, more: Any) -> None:
        lasts = more["for"] if what == "pause" else more["down"]
        if more["where"] != "now":
            self._armed[site.name] = (more["where"], what, lasts)
        elif site.newest is not None:
            self._do(what, site.newest, lasts)

    def _do(self, what: str, life: ReplicaLife, much: float) -> None:
        """``much``: how many seconds it takes, or how many commits lose their answer."""
        if what == "kill":
            self._down[life.site.name] = much
            life.kill()
        elif what == "lose_commits":
            life.way.losing += int(much)
        elif not life.paused:
            self.record.seen["paused beyond its lease" if much > 15 and life.acts else "paused"] += 1
            life.pause()
            virtual_loop().call_later(much, life.run_on)

    def _point(self, life: Life, name: str) -> None:
        assert isinstance(life, ReplicaLife)
        where, what, much = self._armed.get(life.site.name, ("", "", 0.0))
        if where == name and not self._calm:
            del self._armed[life.site.name]
            self.record.seen[f"{what} at {name}"] += 1
            self._do(what, life, much)

    def _arrived(self, _life: ReplicaLife | None, call: Call, _answer: Answer) -> None:
        if call.write and not self._is_journaled(call):
            self.record.unjournaled.append(f"{call.operation} {call.machine_id} at {call.world_seconds:.1f} s")

    def _is_journaled(self, call: Call) -> bool:
        """Whether the database has an intent for a call that has just arrived, or had one while it was on its way."""
        name = call.body.get("machineName") if isinstance(call.body, dict) else None
        rows = self.database.asked("SELECT verb, machine_id, name FROM intent")
        return any(
            verb == call.operation and (wanted == name if verb == "create" else machine == call.machine_id)
            for verb, machine, wanted in rows
        )

    def _taken(self, life: ReplicaLife, settings: Settings) -> None:
        assert life.lease is not None
        self.record.holders[life.number] = life.lease._id
        self.record.configs.append((_now(), settings))
        self.record.seen[f"taken: {life.lease.reason}"] += 1

    async def _aim(self, fleets: tuple[FleetSpec, ...], again: float) -> None:
        """Another config on both hosts: the holder reads it, the standby is started anew."""
        self._fleets = fleets
        self._write(fleets, *self.sites.values())
        acting = [site for site in self.sites.values() if site.newest is not None and site.newest.acts]
        for site in acting:
            life = site.newest
            if life is not None and not life.paused and life.reload():
                self.record.configs.append((_now(), site.load()))
        await anyio.sleep(again)
        for site in self.sites.values():
            if site not in acting and site.newest is not None and not site.newest.acts:
                site.newest.stop()

    def _write(self, fleets: Sequence[FleetSpec], *sites: ReplicaSite) -> None:
        for site in sites:
            site.write_config(self.story.toml(fleets, str(site.state)))

    async def _calm_down(self) -> None:
        """From here on nothing goes wrong; every replica runs on the last config, and nothing is forbidden."""
        self._calm = True
        self._armed.clear()
        self.database.start()
        self.database.flush = (0.0005, 0.003)
        for site, wire in zip(self.sites.values(), self.wires.values(), strict=True):
            wire.calm = True
            wire.server.set_faults(())
            site.cut_off(cut=False)
            # A clock that is hours off keeps destroys waiting for good, as it should.
            site.clock.step((self.record.true(_now()) - site.clock.now()).total_seconds())
            for way in site.ways:
                way.losing, way.latency = 0, (0.0002, 0.002)
            if site.newest is not None:
                site.newest.run_on()
        await self._aim(self._fleets, 20.0)
        for _ in range(20):
            if await self.people.lift_all(self.sites["a"]):
                break
            await anyio.sleep(5)
        for site in self.sites.values():  # nothing is to befall the holder any more, and standing by costs real time
            life = site.newest
            if life is not None and not life.acts and any(s.newest and s.newest.acts for s in self.sites.values()):
                self._down[site.name] = max(CALM_LIMIT, self.story.calm)
                life.stop()
        for site in self.sites.values():  # who had the lease with an old config, and could not read this one
            life = site.newest
            if life is not None and life.acts and life.reload():
                self.record.configs.append((_now(), site.load()))

    def _look_at_the_end(self) -> None:
        acting = next((s.newest for s in self.sites.values() if s.newest is not None and s.newest.acts), None)
        if acting is not None and acting.engine is not None:
            report = acting.engine.handle.status()
            self.record.known = frozenset(m.id for m in report.machines if m.owned)

    def _close(self) -> None:
        assert self.database.misunderstood == []
        self._gather()
        record = self.record
        record.seen["commits without an answer"] += sum(w.lost for s in self.sites.values() for w in s.ways)
        if KEY in self.log.getvalue():
            record.exposures.append("the log")

    def _gather(self) -> None:
        gather(self.record, self.world, self.database, self.sites.values(), self.wires.values())

    def _note_clock(self, life: ReplicaLife) -> None:
        ahead = (life.site.clock.now() - self.record.true(_now())).total_seconds()
        self.record.clocks.append((_now(), life.number, ahead))

    def _who(self, more: Any) -> ReplicaSite:
        acting = [s for s in self.sites.values() if s.newest is not None and s.newest.acts]
        others = [s for s in self.sites.values() if s not in acting]
        wanted, rest = (acting, others) if more["who"] == "holder" else (others, acting)
        return (wanted or rest)[0]

    async def _for(self, more: Any) -> None:
        await anyio.sleep(min(more["for"], max(0.0, self.story.calm_from - _now() - 0.01)))

    async def _until(self, at: float) -> None:
        await anyio.sleep(max(0.0, at - _now()))


def _now() -> float:
    return virtual_loop().time()
