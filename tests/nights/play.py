"""Plays a night: the world and its server, the daemon's lives, people and their jobs, and hostile sources."""

from __future__ import annotations

import asyncio
import contextvars
import random
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import anyio
import anyio.lowlevel

import fleetd.engine.daemon
from fleetd.activity.opening import open_sources
from fleetd.cloud.calls import HttpLimits
from fleetd.model.errors import FleetdError
from fleetd.model.journal import VetoOrder
from fleetd.model.reasons import Verb
from fleetd.simulator.clock import WorldClock
from fleetd.simulator.records import MachineRecord, Refusal
from fleetd.simulator.server import SimServer, serve
from fleetd.simulator.world import World
from tests.nights import hostile, wire
from tests.nights.draw import EVENING, OUTAGES, SCRAPE, Event, FleetOf, Job, Night, draw_night
from tests.nights.evidence import Judged, judge
from tests.nights.measured import Machine, Prometheus, bearer, right_clock
from tests.nights.record import FOREVER, Hold, Lease, Record, Use
from tests.sim.life import Killed, Life, Site
from tests.support.virtual_time import run_virtual, virtual_clock, virtual_loop

KEY = "sk-nights-simulated-key"
UP = frozenset({"ready", "serviceready"})
REFUSED = (LookupError, FleetdError, Killed)


@dataclass(frozen=True)
class Outcome:
    """A night, judged."""

    seed: str
    judged: Judged
    uses: int
    tricked: int
    """Uses during which a source that sees them was hostile."""
    leases: int
    refused: int
    holds: int
    told: Counter[str]
    happened: Counter[str]
    ended: tuple[str, ...]
    """How lives ended that should not have."""
    log: str


def run_night(seed: str, *, level: str = "info") -> Outcome:
    """Draw a night, play it, judge it."""
    return play(draw_night(seed), level=level)


def play(night: Night, *, level: str = "info") -> Outcome:
    """Play a night, judge it."""
    shared = Path("/dev/shm")
    with (
        tempfile.TemporaryDirectory(prefix="fleetd-night-", dir=shared if shared.is_dir() else None) as root,
        mock.patch.object(fleetd.engine.daemon, "HEARTBEAT", 3600.0),
    ):
        return run_virtual(_play, night, Path(root), level, start=EVENING)


async def _play(night: Night, root: Path, level: str) -> Outcome:
    clock = virtual_clock()
    world = World(
        seed=f"world:{night.seed}", clock=WorldClock(epoch=clock.now(), now_seconds=virtual_loop().time, origin=0.0)
    )
    limits = HttpLimits(max_requests_per_second=night.rate, request_timeout=20.0)
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(serve(world, key=KEY, faults=night.rules, keep_reads=0))
        site = Site(root, server.url, KEY, clock, seed=night.seed, limits=limits)
        site.source = lambda table: open_sources({table.name: table}, lambda _machine, _at: None)[table.name]
        site.capture_log(level)
        stage = Stage(night, world, server, site)
        if night.wire:
            port = await stack.enter_async_context(wire.over_sockets(stage))
        else:
            port = 1
            stack.enter_context(wire.in_place(stage))
        site.write_config(night.toml(port))
        await stage.play()
    return stage.outcome()


class Stage:
    """One night under way. It is what is behind the sources' wire, too."""

    def __init__(self, night: Night, world: World, server: SimServer, site: Site) -> None:
        self.night, self.world, self.server, self.site = night, world, server, site
        self.record = Record()
        self.happened: Counter[str] = Counter()
        self._rng = random.Random(f"stage:{night.seed}")
        self.machines: dict[str, Machine] = {}
        self.after: dict[str, float] = {}
        self._order: list[tuple[MachineRecord, FleetOf]] = []
        for fleet in night.fleets:
            for number in range(fleet.size):
                record = world.add_machine(f"{fleet.name}-{number}", "ready", age_seconds=30 * 86_400)
                self.machines[record.id] = Machine(record.id, night.gpus[len(self._order)])
                self.after[record.id] = fleet.after * 60.0
                self._order.append((record, fleet))
        self._moods = {
            (m.source, self._order[m.machine][0].id): [
                one for one in night.moods if (one.source, one.machine) == (m.source, m.machine)
            ]
            for m in night.moods
        }
        self._earlier: dict[str, list[tuple[float, bytes]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._looked_at: dict[str, float] = {}
        """When each machine was looked at last, as before a call."""
        self._down = 10.0
        self._over = False
        now = virtual_loop().time
        host = right_clock(now) if night.own_clock else site.clock.now
        self._prometheus = Prometheus(now, host)
        site.on_call = self._called
        site.on_point = self._reached

    async def play(self) -> None:
        """From the evening on."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._scrapes)
            await anyio.sleep(max(f.after for f in self.night.fleets) * 60.0)  # history from before the daemon
            group.start_soon(self._supervise)
            for number, (record, fleet) in enumerate(self._order):
                group.start_soon(self._works, record, fleet, self.night.jobs[number])
            for event in self.night.events:
                group.start_soon(self._happen, event)
            await anyio.sleep(self.night.length)
            self._over = True
            for life in self.site.lives:
                life.stop()
            await anyio.sleep(60)
            group.cancel_scope.cancel()

    def outcome(self) -> Outcome:
        """What the evidence says."""
        self.world.advance()
        bad = tuple(life.span.how for life in self.site.lives if life.span.how.startswith(("crashed", "refused")))
        for use in self.record.uses:
            use.ends = min(use.ends, virtual_loop().time())
        return Outcome(
            self.night.seed,
            judge(self.server.calls.writes, self.record, self.after),
            uses=len(self.record.uses),
            tricked=sum(use.job.trick is not None for use in self.record.uses),
            leases=len(self.record.leases),
            refused=self.record.refused,
            holds=len(self.record.holds),
            told=self.record.told,
            happened=self.happened,
            ended=bad,
            log=self.site.log.getvalue(),
        )

    # What the sources are answered.

    def measured(self, form: Any) -> hostile.Told:
        """See ``wire.Answers``."""
        ip = str(form["query"]).partition('instance="')[2].partition(":")[0]
        machine = self._under(ip)
        wall = self._prometheus.wall()
        start, end, step = (float(form[name]) for name in ("start", "end", "step"))
        if machine is None:
            return hostile.Told(hostile.matrix([])).at(wall)
        series = self._prometheus.series(machine, start, end, step)

        def others() -> tuple[str, list[hostile.Samples]]:
            other = self._other(machine)
            found = self._prometheus.series(other, start, end, step)
            return self._address(other.id), [dict.fromkeys(samples, 0.0) for samples in found]

        earlier = self._earlier.setdefault(machine.id, [])
        old = next((one for one in reversed(earlier) if end - one[0] > 2.6 * step), None)
        asked = hostile.Asked(ip, start, end, step, series, self._rng, others, old)
        if not any(hostile.busy(samples) for samples in series):
            earlier.append((end, hostile.honest(asked)))
            del earlier[:-40]
        trick = self._trick("gpu", machine)
        told = hostile.prometheus(trick, asked, wall)
        self.record.told[trick] += told is not None
        return told or hostile.prometheus("honest", asked, wall) or hostile.Told(status=500)

    def agreed(self, ip: str) -> hostile.Told:
        """See ``wire.Answers``."""
        machine = self._under(ip)
        if machine is None or not machine.is_up(self._now()):
            return hostile.Told(delay=hostile.HANG)
        trick = self._trick("agent", machine)
        self.record.told[trick] += 1
        idle = not machine.used("agent", self._now() - self.night.memory, self._now())
        other = self._other(machine).id
        return hostile.agent(trick, idle=idle, machine=machine.id, other=other, wall=right_clock(self._now)())

    def printed(self, ip: str) -> tuple[bytes, int, float]:
        """See ``wire.Answers``."""
        machine = self._under(ip)
        if machine is None or not machine.is_up(self._now()):
            return b"", 255, 3.0
        trick = self._trick("login", machine)
        self.record.told[trick] += 1
        idle = not machine.used("login", self._now() - self.night.memory, self._now())
        return hostile.script(trick, idle=idle, machine=machine.id, other=self._other(machine).id)

    def _trick(self, source: str, machine: Machine) -> str:
        now = self._now()
        if now - self._looked_at.get(machine.id, -1.0) < 1.0:  # it is asked for the last time before a stop
            self._race(machine.id)
        for use in machine.uses:
            job = use.job
            playing = use.begins - job.early <= now < use.ends + job.late
            if playing and source in job.seen_by and job.trick is not None and job.trick not in OUTAGES:
                return job.trick
        for mood in self._moods.get((source, machine.id), ()):
            if mood.since <= now < mood.until and self._rng.random() < mood.share:
                return mood.trick
        return "honest"

    def _under(self, ip: str) -> Machine | None:
        ids = [m.id for m in self.world.listed() if m.private_ip == ip]
        return bearer(self.machines, ids, self._rng)

    def _other(self, machine: Machine) -> Machine:
        return next((m for m in self.machines.values() if m.id != machine.id), Machine("psother", 1))

    def _address(self, machine_id: str) -> str:
        record = self.world.machines.get(machine_id)
        return "10.0.0.250" if record is None else str(record.private_ip)

    # What people do.

    async def _works(self, record: MachineRecord, _fleet: FleetOf, jobs: Sequence[Job]) -> None:
        machine = self.machines[record.id]
        for job in jobs:
            await anyio.sleep(job.gap)
            while not machine.is_up(self._now()):
                await anyio.sleep(11.0)
                if record.id not in self.world.machines:
                    return
            await self._work(machine, job)

    async def _work(self, machine: Machine, job: Job) -> None:
        if job.leases and not await self._lease(machine.id, "job", job.lease_for):
            return  # it was told that it cannot have the machine
        use = Use(machine.id, job, self._now(), FOREVER)
        self.record.uses.append(use)
        machine.uses.append(use)
        self._befall(machine, job, use.begins)
        ends = use.begins + job.lasts
        try:
            while job.leases and self._now() < ends and machine.is_up(self._now()):
                left = min(job.lease_for, ends - self._now())
                await anyio.sleep(max(0.5, left - 0.3))
                if self._now() >= ends:
                    break
                if not await self._lease(machine.id, "job", job.lease_for) and not job.seen_by:
                    return  # nobody can see it any more
            await self._goes_on(machine, ends)
        finally:
            use.ends = self._now()

    async def _goes_on(self, machine: Machine, until: float) -> None:
        """A job works until then, or until its machine is taken from it: the vendor has a timer of its own."""
        with anyio.move_on_after(until - self._now()):
            await machine.down.wait()

    def _befall(self, machine: Machine, job: Job, begins: float) -> None:
        since, until = begins - job.early, begins + job.lasts + job.late
        match job.trick:
            case "gap":
                machine.outages.append((since, until, "gap", -1))
            case "busy_gpu":
                machine.outages.append((since, until, "gap", job.gpu))
            case "busy_gpu_for_good":
                machine.outages.append((since, FOREVER, "gap", job.gpu))
            case "nan" | "negative":
                machine.outages.append((since, until, job.trick, job.gpu))
        if job.trick in OUTAGES:
            self.record.told[str(job.trick)] += 1

    async def _lease(self, machine_id: str, source: str, lasts: float) -> bool:
        """Whether it was acknowledged."""
        life = self.site.alive
        if life is None or life.engine is None:
            return False
        began_wall = self.site.clock.now()
        try:
            await life.engine.handle.lease(machine_id, source, timedelta(seconds=lasts), "ada")
        except REFUSED:
            self.record.refused += 1
            return False
        now = self._now()
        for lease in self.record.leases:
            if (lease.machine, lease.source) == (machine_id, source):
                lease.until = min(lease.until, now)
        self.record.leases.append(Lease(machine_id, source, now, lasts, began_wall, life.number))
        return True

    def _called(self, _life: Life, name: str, arguments: Sequence[Any]) -> None:
        if name in {"show", "stop", "destroy"} and arguments:
            self._looked_at[str(arguments[0])] = self._now()
            self._race(str(arguments[0]))

    def _reached(self, _life: Life, point: str) -> None:
        """The daemon writes that it is about to stop something, or has done so."""
        if point.endswith("journal.write_intent"):
            for machine_id in self.machines:
                self._race(machine_id)

    def _race(self, machine_id: str) -> None:
        """Somebody takes a lease or a hold just now, a few turns of the loop from here."""
        if self._rng.random() >= self.night.races:
            return
        turns, lasts = self._rng.randrange(0, 24), self._rng.choice((1.0, 20.0, 120.0))
        holds, waits = self._rng.random() < 0.25, self._rng.choice((0.0, wire.TAKES, wire.TAKES))

        async def race() -> None:
            await anyio.sleep(waits)  # until the answer to the question that is being asked
            for _ in range(turns):
                await anyio.lowlevel.checkpoint()
            if holds:
                self.happened["hold in a race"] += await self._impose(machine_id, lasts) is not None
            else:
                self.happened["lease in a race"] += await self._lease(machine_id, f"racer-{turns}", lasts)

        # Not fleetd's own task: it must not end with the process.
        task = asyncio.get_running_loop().create_task(race(), context=contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # What happens.

    async def _happen(self, event: Event) -> None:
        await anyio.sleep(event.at)
        self.happened[event.what] += 1
        match event.what:
            case "restart":
                await self._restart(event)
            case "clock":
                self.record.steps.append((self._now(), event.more["by"]))
                self.site.clock.step(event.more["by"])
            case "hold":
                await self._hold(event)
            case "lease":
                await self._borrow(event)
            case "address":
                await self._share_address(event)

    async def _restart(self, event: Event) -> None:
        life = self.site.alive
        if life is None:
            return
        self._down = event.more["down"]
        if event.more["how"] == "kill":
            for _ in range(self._rng.randrange(0, 40)):
                await anyio.lowlevel.checkpoint()
            life.kill()
        else:
            life.stop()

    async def _hold(self, event: Event) -> None:
        machine = self._order[event.more["machine"]][0].id
        hold = await self._impose(machine, event.more["for"])
        if hold is not None and event.more["lift"]:
            await anyio.sleep(event.more["for"] / 3)
            life = self.site.alive
            if life is not None and life.engine is not None:
                with suppress(*REFUSED):
                    hold.until = min(hold.until, self._now())  # from when it is asked for it may be over
                    await life.engine.handle.lift("hold", machine, "ada")

    async def _impose(self, machine: str, seconds: float) -> Hold | None:
        """A hold on a machine; None where it was not acknowledged."""
        life = self.site.alive
        if life is None or life.engine is None:
            return None
        lasts = timedelta(seconds=seconds)
        order = VetoOrder("hold", machine, frozenset(Verb), "a look", lasts)
        before = self.site.clock.now()
        try:
            await life.engine.handle.veto(order, "ada")
        except REFUSED:
            return None
        hold = Hold(machine, self._now(), before + lasts)
        self.record.holds.append(hold)
        return hold

    async def _borrow(self, event: Event) -> None:
        machine = self._order[event.more["machine"]][0].id
        source = f"borrower-{event.at:.0f}"
        if await self._lease(machine, source, event.more["for"]) and event.more["early"]:
            await anyio.sleep(event.more["for"] / 2)
            mine = [one for one in self.record.leases if one.source == source]
            lease = mine[-1]
            lease.until = min(lease.until, self._now())
            await self._lease(machine, source, 0.0)

    async def _share_address(self, event: Event) -> None:
        one, other = (self._order[event.more[name]][0] for name in ("one", "other"))
        mine = other.private_ip
        with suppress(Refusal):
            self.world.readdress(other.id, one.private_ip)
            await anyio.sleep(event.more["for"])
            self.world.readdress(other.id, mine)

    async def _supervise(self) -> None:
        while not self._over:
            life = self.site.new_life()
            began = self._now()
            self.record.lives.append((began, FOREVER))
            await asyncio.create_task(life.run())
            self.record.lives[-1] = (began, self._now())
            down, self._down = self._down, 10.0
            await anyio.sleep(down)

    async def _scrapes(self) -> None:
        while True:
            self.world.advance()
            now = self._now()
            for id_, machine in self.machines.items():
                record = self.world.machines.get(id_)
                is_up = record is not None and record.state in UP
                if is_up and not machine.is_up(now):
                    machine.up.append((now, FOREVER))
                    machine.down = anyio.Event()
                elif not is_up and machine.is_up(now):
                    machine.up[-1] = (machine.up[-1][0], now)
                    machine.down.set()
                    # Whoever starts it begins with what is there then: fleetd counts the series anew as well.
                    machine.outages = [(a, min(b, now), what, gpu) for a, b, what, gpu in machine.outages]
            self._prometheus.scrape()
            await anyio.sleep(SCRAPE)

    def _now(self) -> float:
        return virtual_loop().time()


def wall_of(at: float) -> datetime:
    """What the right clock says."""
    return EVENING + timedelta(seconds=at)
