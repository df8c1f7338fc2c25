"""Some months of a simulated account with a fleetd on it, and what befalls both; bills are compared on the way."""

from __future__ import annotations

import logging
import random
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from unittest import mock

import anyio
import structlog

import fleetd.engine.daemon
from fleetd.cli.cost import cost_document
from fleetd.engine.monthly_costs import month_bills
from fleetd.model.errors import CloudError, MalformedAnswer, NotFound, Unavailable
from fleetd.model.fleet import Fleet, Guards, Limit, ScaleIn, Window
from fleetd.model.settings import Schedules
from fleetd.planner.billing import MonthBills
from fleetd.simulator.clock import WorldClock
from fleetd.simulator.lifecycle import Fate
from fleetd.simulator.records import MachineRecord
from fleetd.simulator.world import World
from fleetd.store.sqlite import SqliteJournal
from fleetd.wiring import Engine, assemble
from tests.books.audit import Audit, Told
from tests.books.cloud import WorldCloud
from tests.support.build import fleet
from tests.support.inline_executor import InlineExecutor
from tests.support.rig import IN_MEMORY, RecordingMeter, RecordingNotifier, settings
from tests.support.virtual_alarms import VirtualAlarms
from tests.support.virtual_time import run_virtual, virtual_clock, virtual_loop

START = datetime(2026, 1, 25, 9, tzinfo=UTC)
POLL = 60.0
PARAMETERS = {
    "region": "East Coast (NY2)",
    "size": 50,
    "billingType": "hourly",
    "templateId": "tbu200wi",
}
LIST = {"P4000": ("0.51", "0.40", "0.78", "0.62"), "V100": ("2.30", "2.10", "3.05")}
"""Prices that the vendor asks in turn."""
NIGHT = Window("night", start=20 * 60, end=6 * 60, timezone="Europe/Berlin", target=1)
DAY = 86_400.0
RATE = 4.0
"""Things that happen a day."""


@dataclass(frozen=True)
class Outcome:
    """What a seed showed."""

    seed: int
    days: float
    events: Counter[str]
    told: tuple[Told, ...]
    """Every machine's month, every time that it was asked for."""
    wrong: tuple[str, ...]
    sums: int
    """Whole months that were compared."""
    faults: int


def live(seed: int, *, days: float = 45, interval: float = 1800) -> Outcome:
    """Run one account's life. ``interval``: seconds between the daemon's passes."""
    with (
        mock.patch.object(fleetd.engine.daemon, "HEARTBEAT", 3600.0),
        tempfile.TemporaryDirectory(prefix="fleetd-books-", dir=IN_MEMORY) as root,
        _quiet(),
    ):
        return run_virtual(_live, seed, days, interval, Path(root), start=START)


@contextmanager
def _quiet() -> Iterator[None]:
    """Nothing is logged: rendering lines takes longer than what they tell of."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    try:
        yield
    finally:
        structlog.configure(**before)


async def _live(seed: int, days: float, interval: float, root: Path) -> Outcome:
    life = Life(seed, days, interval, root)
    await life.play()
    audit = life.audit
    return Outcome(seed, days, life.events, tuple(audit.told), tuple(audit.wrong), audit.sums, life.faults)


@dataclass
class Life:
    """One account."""

    seed: int
    days: float
    interval: float
    root: Path
    events: Counter[str] = field(default_factory=Counter)
    faults: int = 0

    def __post_init__(self) -> None:
        self.clock = virtual_clock()
        self.rng = random.Random(f"books:{self.seed}")
        self.world = World(
            seed=f"books:{self.seed}",
            clock=WorldClock(epoch=self.clock.now(), now_seconds=virtual_loop().time, origin=0.0),
            vendor_timer=False,
        )
        self.cloud = WorldCloud(self.world)
        self.cloud.silent = self._silence
        self._tariffs: dict[str, list[tuple[float, Decimal]]] = {}
        self.audit = Audit(self.world, self.cloud, self._tariffs)
        self._mute: dict[str, tuple[float, CloudError | str]] = {}
        self._fleets = [self._draw("training", "P4000"), self._draw("inference", "V100"), self._draw("ci", "P4000")]
        self._prices = {kind: list(prices) for kind, prices in LIST.items()}
        self._adopted = 0
        self._engine: Engine | None = None
        self._down_until = 0.0
        self._over = False

    async def play(self) -> None:
        """From the first start to the last comparison."""
        for kind, prices in self._prices.items():
            self._ask_for(kind, Decimal(prices[0]))
        async with anyio.create_task_group() as group:
            group.start_soon(self._supervise)
            end = self.days * DAY
            at, compared = 0.0, 0.0
            while at < end:
                at += min(self.rng.expovariate(RATE / DAY), DAY)
                await anyio.sleep(max(0.0, at - virtual_loop().time()))
                await self._happen()
                if at - compared >= 2.5 * DAY:
                    compared = at
                    await self._compare()
            self._mute.clear()
            await anyio.sleep(max(3 * self.interval, self._down_until - virtual_loop().time() + 3 * self.interval))
            await self._compare()
            self._over = True
            if self._engine is not None:
                self._engine.daemon.stop()
            await anyio.sleep(5)
            group.cancel_scope.cancel()

    DEEDS = (
        ("target", 6),
        ("window", 1),
        ("human_start", 2),
        ("human_stop", 3),
        ("human_destroy", 4),
        ("slow_destroy", 1),
        ("rename_machine", 1),
        ("adopt", 1),
        ("price", 1),
        ("restart", 2),
        ("long_restart", 0.4),
        ("rename_fleet", 0.5),
        ("remove_fleet", 0.3),
        ("bring_back", 0.5),
        ("mute", 2),
    )

    async def _happen(self) -> None:
        names, weights = zip(*self.DEEDS, strict=True)
        deed = self.rng.choices(names, weights)[0]
        if await getattr(self, f"_do_{deed}")() is not False:
            self.events[deed] += 1

    # What the config says

    def _draw(self, name: str, kind: str) -> Fleet:
        destroys = self.rng.random() < 0.6
        return fleet(
            name,
            target=self.rng.randrange(1, 3),
            machine_type=kind,
            parameters=PARAMETERS | {"machineType": kind},
            scale_in=ScaleIn.DESTROY if destroys else ScaleIn.STOP,
            allow_destroy=destroys,
            guards=Guards(max_stops_per_pass=Limit(percent=100), max_destroys_per_pass=3),
            windows=(NIGHT,) if self.rng.random() < 0.4 else (),
        )

    def _configure(self) -> None:
        if self._engine is not None:
            self._engine.reconciler.settings = self._settings()
            self._engine.daemon.wake()

    def _settings(self):
        return settings(
            *self._fleets, interval=self.interval, poll=POLL, schedules=Schedules("every 30m", "every 12h")
        )

    def _change(self, **fields: object) -> None:
        place = self.rng.randrange(len(self._fleets))
        self._fleets[place] = replace(self._fleets[place], **fields)
        self._configure()

    async def _do_target(self) -> None:
        self._change(target=self.rng.randrange(3))

    async def _do_window(self) -> None:
        self._change(windows=self.rng.choice(((), (NIGHT,))))

    async def _do_rename_fleet(self) -> bool | None:
        place = self.rng.randrange(len(self._fleets))
        old = self._fleets[place]
        self._fleets[place] = replace(old, name=f"{old.name.partition('-')[0]}-{self.events['rename_fleet'] + 2}")
        self._configure()
        return None

    async def _do_remove_fleet(self) -> bool | None:
        if len(self._fleets) < 2:
            return False
        left = self._fleets.pop(self.rng.randrange(len(self._fleets)))
        for machine_id in left.adopt:
            self.audit.released(machine_id)
        self._configure()
        return None

    async def _do_bring_back(self) -> bool | None:
        gone = {"training": "P4000", "inference": "V100", "ci": "P4000"}
        name = self.rng.choice(sorted(gone))
        if any(f.name == name for f in self._fleets):
            return False
        self._fleets.append(self._draw(name, gone[name]))
        self._configure()
        return None

    async def _do_adopt(self) -> bool | None:
        if self._engine is None:
            return False
        self._adopted += 1
        place = self.rng.randrange(len(self._fleets))
        state = self.rng.choice(("ready", "ready", "off"))
        record = self.world.add_machine(
            f"gpu-old-{self._adopted}",
            state,
            age_seconds=self.rng.uniform(0.1, 20) * DAY,
            machine_type=self._fleets[place].machine_type or "P4000",
        )
        record.tariff = list(self._tariffs[record.machine_type])
        if record.sessions:  # it has run for as long as it has been there
            record.sessions[-1] = (record.created, None)
        wanted = self._fleets[place]
        self._fleets[place] = replace(wanted, adopt=(*wanted.adopt, record.id), target=wanted.target + 1)
        self.audit.adopted(record)
        self._configure()
        return None

    # What people do at the console

    def _ours(self, *states: str) -> list[MachineRecord]:
        self.world.advance()
        there = [r for r in self.audit.ours() if r.gone is None and not r.deleting]
        return sorted((r for r in there if not states or r.state in states), key=lambda r: r.id)

    async def _do_human_start(self) -> bool | None:
        found = self._ours("off")
        if not found:
            return False
        self.world.human_start(self.rng.choice(found).id)
        return None

    async def _do_human_stop(self) -> bool | None:
        found = self._ours("ready", "serviceready")
        if not found:
            return False
        self.world.human_stop(self.rng.choice(found).id)
        return None

    async def _do_human_destroy(self) -> bool | None:
        found = self._ours()
        if not found:
            return False
        self.world.human_destroy(self.rng.choice(found).id)
        return None

    async def _do_slow_destroy(self) -> bool | None:
        found = self._ours()
        if not found:
            return False
        lasts = self.rng.uniform(60, 2 * DAY)
        self.world.human_destroy(self.rng.choice(found).id, Fate(lingers=True, lingers_seconds=lasts))
        return None

    async def _do_rename_machine(self) -> bool | None:
        found = self._ours()
        if not found:
            return False
        self.world.human_rename(self.rng.choice(found).id, f"mine-{self.rng.randrange(1000)}")
        return None

    # What the vendor does

    async def _do_price(self) -> None:
        kind = self.rng.choice(sorted(self._prices))
        prices = self._prices[kind]
        prices.append(prices.pop(0))
        self._ask_for(kind, Decimal(prices[0]))

    def _ask_for(self, kind: str, price: Decimal) -> None:
        self.world.set_price(kind, price)
        spans = self._tariffs.setdefault(kind, [])
        spans.append((self.world.state.t if spans else float("-inf"), price))

    async def _do_mute(self) -> bool | None:
        found = self._ours()
        if not found:
            return False
        why = self.rng.choice(
            (NotFound("no bill"), MalformedAnswer("a list"), Unavailable("500"), "secondsUsed", "hourlyRate")
        )
        until = virtual_loop().time() + self.rng.uniform(600, 2 * DAY)
        self._mute[self.rng.choice(found).id] = (until, why)
        return None

    def _silence(self, machine_id: str) -> CloudError | str | None:
        until, why = self._mute.get(machine_id, (0.0, ""))
        if virtual_loop().time() >= until:
            return None
        self.audit.was_mute(machine_id)
        return why

    # The daemon's own lives

    async def _do_restart(self) -> None:
        self._go_down(self.rng.uniform(5, 1800))

    async def _do_long_restart(self) -> None:
        self._go_down(self.rng.uniform(0.1, 3) * DAY)

    def _go_down(self, seconds: float) -> None:
        if self._engine is not None:
            now = virtual_loop().time()
            self._down_until = now + seconds
            self.audit.was_down(now, self._down_until)
            self._engine.daemon.stop()

    async def _supervise(self) -> None:
        while not self._over:
            journal = await SqliteJournal.open(self.root / "journal.db", executor=InlineExecutor())
            try:
                self._engine = assemble(
                    self._settings(),
                    self.cloud,  # type: ignore[arg-type]
                    journal,
                    clock=self.clock,
                    meter=RecordingMeter(),
                    notifier=RecordingNotifier(),
                    alarms=VirtualAlarms(self.clock),
                    rng=random.Random(f"{self.seed}:{self.events['restart']}"),
                    load=self._settings,
                    sources=lambda _tables: {},
                )
                await self._engine.daemon.run()
                self.faults += self._engine.daemon.faults.count
                self._engine = None
            finally:
                await journal.aclose()
            await anyio.sleep(max(1.0, self._down_until - virtual_loop().time()))

    # The comparison

    async def _compare(self) -> None:
        now, self.cloud.latency = self.clock.now(), 0.0
        months = {f"{now - timedelta(days=d):%Y-%m}" for d in (0, 20, 40)}
        for month in sorted(m for m in months if m >= f"{START:%Y-%m}"):
            self.audit.compare(month, await self._cost(month), now)
        self.cloud.latency = 0.2

    async def _cost(self, month: str) -> tuple[MonthBills, dict]:
        journal = await SqliteJournal.open_read_only(self.root / "journal.db")
        try:
            listing = await self.cloud.list_machines()
            found = await month_bills(self.cloud, journal, self._fleets, listing, month, self.clock.now())  # type: ignore[arg-type]
        finally:
            await journal.aclose()
        return found, cost_document(found)
