"""Every place at which a process can die, one after the other: each path is run whole once, and then once for each
of its points, dying there and going on on the same disk.

A point is a write of the journal (before it, and after its commit), a request (before it is sent; carried out by the
provider, with its answer still on its way) or a response (arrived, and nothing of it acted on yet). Reads count as
well as writes.

    trail(PATHS["create"])          # the names of the points of a run without a crash, in order
    die_at(PATHS["create"], 17)     # the run that dies at point 17: what was true of it, and what it broke
    die_at(PATHS["create"], 17, 4)  # ... and whose next life dies at its fourth point
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import anyio

from fleetd.config import parse
from fleetd.engine.handle import EngineHandle
from fleetd.model.journal import MachineOrder, VetoOrder
from fleetd.model.machine import Machine
from fleetd.model.reasons import Activity, Verb
from fleetd.simulator import faults as f
from fleetd.simulator.calls import Call
from fleetd.simulator.clock import WorldClock
from fleetd.simulator.server import SimServer, serve
from fleetd.simulator.wire import Answer
from fleetd.simulator.world import World
from tests.sim.checker import check
from tests.sim.dialects import CORE, V1, Dialect
from tests.sim.evidence import Witness
from tests.sim.keeping import Keeping, OnDisk
from tests.sim.life import Killed, Life, Site
from tests.sim.record import EPOCH, Act, Lease, Record, Veto
from tests.sim.settling import quiet_from
from tests.sim.spec import FleetSpec
from tests.sim.truth import Truth
from tests.support.virtual_time import run_virtual, virtual_clock, virtual_loop

KEY = "key-of-the-crash-points"
INTERVAL, POLL = 120, 30
DOWN = 10.0
"""Seconds until it is started again."""
LONGEST = 3 * 3600.0
QUIET = 300.0
"""Seconds at the end in which nothing may be written."""
HEAD = f"""version = 1
[provider]
kind = "KIND"
api_key = {{ env = "PAPERSPACE_API_KEY" }}
[daemon]
interval = "{INTERVAL}s"
poll = "{POLL}s"
listen = ""
[prices]
P4000 = 0.51
"""
SOURCES = """[idle_sources.gpu]
kind = "http"
url = "http://{private_ip}:9100/idle"
[idle_sources.job]
kind = "lease"
"""
OURS = ("ps00001", "ps00002")
"""Ids of machines that are there at the start, and that the config adopts."""


@dataclass(frozen=True)
class Journey:
    """What there is at the start, what is asked for, and what must have come of it in the end."""

    fleet: FleetSpec
    effects: Mapping[str, int]
    """How often each verb was carried out and changed something, in the end, however often it died."""
    states: tuple[str, ...]
    """Of the machines that are left, sorted."""
    there: str = ""
    """State of the machines that are there at the start; "" for none."""
    rules: tuple[f.Rule, ...] = ()
    deed: Callable[[Stage], None] | None = None
    """Something that happens once it is at rest."""
    then: FleetSpec | None = None
    """What the config says from the death on. As much as was done by then is undone: see ``UNDOES``."""
    order: Verb | None = None
    """What an operator asks of the first machine once it is at rest. Who dies before it is journaled forgets it."""
    under_hold: FleetSpec | None = None
    """Once it is at rest an operator holds the first machine, asking until that is acknowledged; then the config says
    this."""
    under_lease: FleetSpec | None = None
    """As ``under_hold``, of a job that leases it."""
    dialect: Dialect = CORE


UNDOES = (("create", "destroy"), ("start", "stop"))
"""Verbs that make up for each other."""


def _vanish(stage: Stage) -> None:
    stage.world.vanish(OURS[0])


def _stop_by_hand(stage: Stage) -> None:
    stage.world.human_stop(OURS[0])
    stage.record.acts.append(Act(virtual_loop().time(), "stop", OURS[0]))


def _fleet(target: int, **fields: object) -> FleetSpec:
    return FleetSpec("training", target, stops="100%", respect_manual=0, **fields)  # type: ignore[arg-type]


PATHS: dict[str, Journey] = {
    "create": Journey(_fleet(2), {"create": 2}, ("ready", "ready")),
    "create, its answer lost": Journey(
        _fleet(1), {"create": 1}, ("ready",), rules=(f.ResetAfter(operation="create", nth=1),)
    ),
    "create, lost on its way": Journey(
        _fleet(1), {"create": 1}, ("ready",), rules=(f.ResetBefore(operation="create", nth=1),)
    ),
    "create, in no listing at first": Journey(
        _fleet(1), {"create": 1}, ("ready",), rules=(f.Invisible(operation="create", seconds=60, show=True),)
    ),
    "create, without capacity": Journey(
        _fleet(1), {"create": 1, "start": 1}, ("ready",), rules=(f.Capacity(operation="create", nth=1),)
    ),
    "create in place of one that vanished": Journey(
        _fleet(2, adopt=OURS), {"create": 1}, ("ready", "ready"), there="ready", deed=_vanish
    ),
    "start": Journey(_fleet(2, adopt=OURS), {"start": 2}, ("ready", "ready"), there="off"),
    "start, its answer lost": Journey(
        _fleet(2, adopt=OURS),
        {"start": 2},
        ("ready", "ready"),
        there="off",
        rules=(f.ResetAfter(operation="start", nth=1),),
    ),
    "start after a person's stop": Journey(
        _fleet(2, adopt=OURS), {"start": 1}, ("ready", "ready"), there="ready", deed=_stop_by_hand
    ),
    "stop": Journey(_fleet(0, adopt=OURS), {"stop": 2}, ("off", "off"), there="ready"),
    "stop, lost on its way": Journey(
        _fleet(0, adopt=OURS),
        {"stop": 2},
        ("off", "off"),
        there="ready",
        rules=(f.ResetBefore(operation="stop", nth=1),),
    ),
    "destroy": Journey(
        _fleet(0, adopt=OURS, scale_in="destroy", allow_destroy=True), {"destroy": 2}, (), there="ready"
    ),
    "destroy, its answer lost": Journey(
        _fleet(0, adopt=OURS, scale_in="destroy", allow_destroy=True),
        {"destroy": 2},
        (),
        there="off",
        rules=(f.ResetAfter(operation="destroy", nth=1),),
    ),
    "stop, and wanted again after it": Journey(
        _fleet(0, adopt=OURS), {"stop": 2}, ("off", "off"), there="ready", then=_fleet(2, adopt=OURS)
    ),
    "destroy, and wanted again after it": Journey(
        _fleet(1, adopt=OURS, scale_in="destroy", allow_destroy=True),
        {"destroy": 1},
        ("ready",),
        there="ready",
        then=_fleet(2, adopt=OURS, scale_in="destroy", allow_destroy=True),
    ),
    "update": Journey(
        _fleet(2, adopt=OURS, timeout_hours=24, snapshots=True), {"update": 4}, ("ready", "ready"), there="ready"
    ),
    "restart by an order": Journey(
        _fleet(2, adopt=OURS), {"restart": 1}, ("ready", "ready"), there="ready", order=Verb.RESTART
    ),
    "stop, with one machine held": Journey(
        _fleet(2, adopt=OURS), {"stop": 1}, ("off", "ready"), there="ready", under_hold=_fleet(1, adopt=OURS)
    ),
    "stop, with one machine leased": Journey(
        _fleet(2, adopt=OURS, idle_after=5),
        {"stop": 1},
        ("off", "ready"),
        there="ready",
        under_lease=_fleet(1, adopt=OURS, idle_after=5),
    ),
}
PATHS |= {
    f"{name}, on v1": replace(PATHS[name], dialect=V1)
    for name in ("create", "create, its answer lost", "start", "stop", "destroy", "update")
}


@dataclass
class Aftermath:
    """A run, judged."""

    points: list[str]
    """Where it died, once or more often."""
    trail: list[str]
    faults: list[str] = field(default_factory=list)
    """What was broken, in words."""
    effects: Counter[str] = field(default_factory=Counter)
    log: str = ""


def trail(path: Journey) -> list[str]:
    """The points of a run without a crash, until it rests for good."""
    return die_at(path).trail


def die_at(path: Journey, *numbers: int, keeping: Keeping | None = None) -> Aftermath:
    """Run a path; the first life dies at its point ``numbers[0]``, counted from 1, the second at ``numbers[1]``.

    ``keeping``: where the journal is, else in a file.
    """
    shared = Path("/dev/shm")  # syncing costs nothing there
    with tempfile.TemporaryDirectory(prefix="fleetd-crash-", dir=shared if shared.is_dir() else None) as root:
        stage = run_virtual(_play, path, numbers, Path(root), keeping or OnDisk(), start=EPOCH)
    return stage.judge()


async def _play(path: Journey, numbers: Sequence[int], root: Path, keeping: Keeping) -> Stage:
    clock = virtual_clock()
    world = World(seed=1, clock=WorldClock(epoch=clock.now(), now_seconds=virtual_loop().time, origin=0.0))
    for place, id_ in enumerate(OURS if path.there else ()):
        world.add_machine(f"old-{place}", path.there, id=id_, age_seconds=3600 + place)
    world.add_machine("training-backup", "ready", age_seconds=3600)
    async with serve(world, key=KEY, faults=path.rules, keep_reads=None) as server:
        dialect = path.dialect
        site = Site(root, server.url + dialect.path, KEY, clock, open_cloud=dialect.open_cloud, keeping=keeping)
        site.capture_log()
        stage = Stage(path, numbers, world, server, site)
        await stage.play()
    return stage


class Stage:
    """One run of a path."""

    def __init__(self, path: Journey, numbers: Sequence[int], world: World, server: SimServer, site: Site) -> None:
        self.path, self.world, self.server, self.site = path, world, server, site
        self.record = Record("crash", site.clock.now(), rest=QUIET)
        self._numbers = numbers
        self._trails: list[list[str]] = [[] for _ in (*numbers, 0)]
        self._died_at: list[str] = []
        self._resting = self._over = False
        self._reached: Counter[tuple[str, str | None]] = Counter()
        self._witness = Witness(self.record)
        site.says = self._says
        site.on_point = lambda life, point: self._point(point, life)
        site.visible = lambda: frozenset(m.id for m in world.listed() if not m.deleting)
        server.on_call = self._arrived

    async def play(self) -> None:
        """Until it rests, or for ever if it never does."""
        self._configure(self.path.fleet)
        async with anyio.create_task_group() as group:
            group.start_soon(self._supervise)
            path = self.path
            if path.deed or path.order or path.under_hold or path.under_lease:
                await self._rest()
                if path.deed is not None:
                    path.deed(self)
                elif path.under_hold is not None:
                    await self._hold(path.under_hold)
                elif path.under_lease is not None:
                    await self._lease(path.under_lease)
                else:
                    group.start_soon(self._ask)
            await self._rest()
            self._resting = True
            self.record.calm_from = max((life.span.began for life in self.site.lives), default=0.0)
            end = max(virtual_loop().time(), quiet_from(self._truth())) + QUIET
            await anyio.sleep(end - virtual_loop().time())
            self._over = True
            for life in self.site.lives:
                life.stop()
            await anyio.sleep(30)
            group.cancel_scope.cancel()
        self._close()

    def judge(self) -> Aftermath:
        """What became of it."""
        effects = Counter(c.operation for c in self.record.calls if c.write and c.executed and _changed(c))
        faults = [str(breach) for breach in check(self.record)]
        wanted, wanted_states = Counter(self.path.effects), self.path.states
        if self.path.then is not None and self._died_at:
            wanted, wanted_states = effects, ("ready",) * self.path.then.target
            faults += [f"{one} and {other}: {effects}" for one, other in UNDOES if effects[one] != effects[other]]
        forgotten = self.path.order is not None and self._died_at and not effects[self.path.order]
        if effects != wanted and not (forgotten and wanted - effects == Counter({str(self.path.order): 1})):
            faults.append(f"carried out: {dict(effects)}, not {dict(wanted)}")
        made = Counter((c.operation, c.machine_id) for c in self.record.calls if c.write and c.executed)
        untrue = self._reached - made
        if untrue:
            faults.append(f"said to be done, and never carried out: {dict(untrue)}")
        left = [m for m in self.world.machines.values() if m.name != "training-backup"]
        states = tuple(sorted(m.state for m in left))
        if states != wanted_states:
            faults.append(f"left are {states}, not {wanted_states}")
        return Aftermath(self._died_at, self._trails[0], faults, effects, self.site.log.getvalue())

    def _configure(self, fleet: FleetSpec) -> None:
        dialect = self.path.dialect
        head = HEAD if fleet.idle_after is None else HEAD + SOURCES
        self.site.write_config(head.replace("KIND", dialect.kind) + fleet.toml(dialect.parameters))
        self.record.configs.append((virtual_loop().time(), parse(self.site.config.read_text(), "ROOT")))

    async def _supervise(self) -> None:
        while not self._over:
            await asyncio.create_task(self.site.new_life().run())
            await anyio.sleep(DOWN)
            if self.path.then is not None and self._died_at:
                self._configure(self.path.then)

    async def _rest(self) -> None:
        """Wait until nothing is under way, for two passes on end."""
        quiet = 0
        while quiet < 2:
            await anyio.sleep(INTERVAL)
            if virtual_loop().time() > LONGEST:
                return
            life = self.site.alive
            report = life.engine.reconciler.last if life is not None and life.engine is not None else None
            recent = [c for c in self.server.calls.writes if virtual_loop().time() - c.world_seconds < INTERVAL]
            quiet = quiet + 1 if report is not None and report.converged and not recent else 0

    async def _ask(self) -> None:
        life = self.site.alive
        if life is None or life.engine is None or self.path.order is None:
            return
        self.record.acts.append(Act(virtual_loop().time(), self.path.order, OURS[0], ordered=True))
        order = MachineOrder(self.path.order, OURS[0], "please")
        with suppress(Killed):  # whoever is asked may die over it
            await life.engine.handle.request(order, "an operator")

    async def _hold(self, then: FleetSpec) -> None:
        order = VetoOrder("hold", OURS[0], frozenset(Verb), "mine", timedelta(days=1))
        await self._acknowledged(lambda handle: handle.veto(order, "an operator"))
        now = virtual_loop().time()
        expires = self.site.clock.now() + order.lasts
        self.record.vetoes.append(Veto(order.kind, order.subject, order.verbs, now, expires))
        self._reload(then)

    async def _lease(self, then: FleetSpec) -> None:
        lasts = timedelta(days=1)
        await self._acknowledged(lambda handle: handle.lease(OURS[0], "job", lasts, "a job"))
        now = self.site.clock.now()
        began = virtual_loop().time()
        self.record.leases.append(Lease(OURS[0], began, now + lasts))
        self.record.uses[OURS[0]] = [(began, began + lasts.total_seconds())]
        self._reload(then)

    async def _acknowledged(self, ask: Callable[[EngineHandle], Awaitable[object]]) -> None:
        """Who is not answered asks again."""
        while True:
            life = self.site.alive
            if life is None or life.engine is None:
                await anyio.sleep(DOWN)
                continue
            with suppress(Killed):
                await ask(life.engine.handle)
                return

    def _reload(self, then: FleetSpec) -> None:
        self._configure(then)
        if self.site.alive is not None:
            self.site.alive.reload()

    def _says(self, _source: str, machine: Machine) -> Activity:
        """Only the lease tells that a machine is in use."""
        self._witness.heard[machine.id] = (virtual_loop().time(), str(Activity.IDLE))
        return Activity.IDLE

    def _arrived(self, call: Call, answer: Answer) -> None:
        self._witness.arrived(call, answer, self.site.rows)
        life = self.site.alive
        if answer.executed and life is not None:
            self._point(f"executed {call.operation}", life)

    def _point(self, point: str, life: Life) -> None:
        if self._resting or life.number > len(self._trails):
            return
        trail_ = self._trails[life.number - 1]
        trail_.append(point)
        if life.number <= len(self._numbers) and len(trail_) == self._numbers[life.number - 1]:
            self._died_at.append(point)
            life.kill()

    def _truth(self) -> Truth:
        self.world.advance()
        record = self.record
        record.calls, record.timeline = list(self.server.calls), self.world.timeline
        record.machines = self.world.state.machines | self.world.state.gone
        record.end = virtual_loop().time()
        record.lives = [life.span for life in self.site.lives]
        record.asked, record.looks = self.site.asked, self.site.looks
        return Truth(record)

    def _close(self) -> None:
        self._truth()
        self._reached.update(self.site.rows("SELECT verb, machine_id FROM intent WHERE outcome = 'reached'"))
        self._witness.verdicts(self.site.rows, self.site.clock.now(), INTERVAL)
        self._witness.secrecy(KEY, {"the log": self.site.log.getvalue()})


def _changed(call: Call) -> bool:
    """Whether a write that was carried out can have changed anything: stopping what is off has not."""
    before = call.state_before
    match call.operation:
        case "start":
            return before == "off"
        case "stop":
            return before not in {"off", "stopping"}
        case _:
            return True
