"""What fleetd asks of a provider, and how long it leaves machines waiting: counted on virtual time, so to the call.

The daemon as it ships speaks HTTP to the simulator, whose call log is what counts.
"""

from __future__ import annotations

import logging
import random
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import anyio
import structlog

from fleetd.cloud.calls import HttpLimits
from fleetd.cloud.dialects import DIALECTS
from fleetd.cloud.port import Cloud
from fleetd.model.fleet import Fleet
from fleetd.model.journal import Intent
from fleetd.model.machine import PHASES, Phase
from fleetd.model.reasons import Outcome
from fleetd.planner.transitions import Ending
from fleetd.simulator.calls import Call
from fleetd.simulator.clock import WorldClock
from fleetd.simulator.server import SimServer, serve
from fleetd.simulator.state import Durations
from fleetd.simulator.world import World
from fleetd.store.sqlite import SqliteJournal
from fleetd.wiring.running import assemble
from tests.bench.goals import Figure
from tests.support.build import fleet as make_fleet
from tests.support.inline_executor import InlineExecutor
from tests.support.rig import IN_MEMORY, RecordingMeter, RecordingNotifier, SilentAlarms
from tests.support.rig import settings as make_settings
from tests.support.virtual_time import run_virtual, virtual_clock, virtual_loop

POLL = 5.0
"""Seconds of a tick: the config's default."""
KEY = "key-of-the-bench"
RATE = 10.0
"""Requests a second: the config's default."""
BURST = 10
"""Requests that the bucket holds at the beginning."""
LATENCY = 0.05
"""Seconds until the provider's answer."""


@dataclass
class Counted:
    """What came of one story. Seconds of virtual time, from the daemon's start."""

    calls: list[Call]
    """Until the last machine was known, those of the start included."""
    ready: dict[str, float]
    """By machine id, when it was ready at the provider."""
    known: dict[str, float]
    """By machine id, when fleetd knew."""

    @property
    def operations(self) -> Counter[str]:
        return Counter(c.operation for c in self.calls)

    @property
    def took(self) -> float:
        return max(self.known.values(), default=float("nan"))

    @property
    def delays(self) -> list[float]:
        """Seconds from a machine's end of the way to when fleetd knew, the longest last."""
        return sorted(at - self.ready[machine] for machine, at in self.known.items())


def rising(
    machines: int, *, beside: int = 0, dialect: str = "paperspace-core", takes: float = 60.0, limit: float = 900.0
) -> Counted:
    """So many machines from none, beside so many of somebody else's, each of which takes so long to come up."""
    return run_virtual(partial(_rising, machines, beside=beside, dialect=dialect, takes=takes, limit=limit))


async def _rising(machines: int, *, beside: int, dialect: str, takes: float, limit: float) -> Counted:
    durations = Durations(provisioning=(takes, takes), starting=(0, 0), serviceready=(0, 0))
    async with _account(durations) as (world, server), _cloud(server, dialect) as cloud:
        for n in range(beside):
            world.add_machine(f"other-{n}", age_seconds=86_400.0 + beside - n)
        wanted = make_fleet(target=machines, parameters=PARAMETERS[dialect])
        began = anyio.current_time()
        async with _daemon(cloud, wanted, dialect) as known:
            with anyio.move_on_after(limit):
                while len(known) < machines:  # noqa: ASYNC110 - the clock is virtual
                    await anyio.sleep(0.05)
            calls = list(server.calls)
        ready = {c.machine_id: c.at - began for c in world.timeline if PHASES.get(c.state) is Phase.UP}
        return Counted(calls, ready, {machine: at - began for machine, at in known.items()})


PARAMETERS: Mapping[str, Mapping[str, object]] = {
    "paperspace-core": {
        "region": "East Coast (NY2)",
        "machineType": "P4000",
        "size": 50,
        "billingType": "hourly",
        "templateId": "tbu200wi",
    },
    "paperspace": {"region": "ny2", "machineType": "P4000", "diskSize": 50, "templateId": "tbu200wi"},
}


@asynccontextmanager
async def _account(durations: Durations) -> AsyncIterator[tuple[World, SimServer]]:
    clock = WorldClock(epoch=virtual_clock().now(), now_seconds=virtual_loop().time, origin=0.0)
    world = World(seed=1, clock=clock, durations=durations)
    async with serve(world, key=KEY, latency=LATENCY, keep_reads=None) as server:
        yield world, server


@asynccontextmanager
async def _cloud(server: SimServer, dialect: str) -> AsyncIterator[Cloud]:
    chosen = DIALECTS[dialect]
    limits = HttpLimits(max_requests_per_second=RATE)
    cloud = chosen.open_cloud(server.url + chosen.simulated_path, lambda: KEY, rng=random.Random(1), limits=limits)
    try:
        yield cloud
    finally:
        await cloud.aclose()


@asynccontextmanager
async def _daemon(cloud: Cloud, fleet: Fleet, dialect: str) -> AsyncIterator[dict[str, float]]:
    """The daemon as it runs; yields when it knew of each machine that its way had ended, by id."""
    wanted = make_settings(fleet)
    wanted = replace(wanted, provider=replace(wanted.provider, kind=dialect, max_requests_per_second=RATE))
    with tempfile.TemporaryDirectory(prefix="fleetd-bench-", dir=IN_MEMORY) as scratch:
        journal = await SqliteJournal.open(Path(scratch) / "journal.db", executor=InlineExecutor())
        engine = assemble(
            wanted,
            cloud,
            journal,
            clock=virtual_clock(),
            meter=RecordingMeter(),
            notifier=RecordingNotifier(),
            alarms=SilentAlarms(),
            rng=random.Random(1),
            load=lambda: wanted,
        )
        known: dict[str, float] = {}
        ended = engine.follower.on_end

        def note(intent: Intent, ending: Ending) -> None:
            if ending.outcome is Outcome.REACHED and intent.machine_id is not None:
                known[intent.machine_id] = anyio.current_time()
            ended(intent, ending)

        engine.follower.on_end = note
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(engine.daemon.run)
                yield known
                engine.daemon.abandon()
        finally:
            await journal.aclose()


@dataclass(frozen=True)
class Story:
    """A fleet from none to its target, beside so many of somebody else's."""

    machines: int
    beside: int = 0
    dialect: str = "paperspace-core"
    takes: float = 60.0
    """Seconds that each machine takes."""
    keys: tuple[str, ...] = ()
    """Rows of ``goals`` that it tells of."""

    @property
    def case(self) -> str:
        name = "Core" if self.dialect == "paperspace-core" else "v1"
        return f"{name}, {self.machines:,} beside {self.beside:,}" if self.beside else f"{name}, {self.machines:,}"


STORIES = (
    Story(100, keys=("rise", "late")),
    Story(20, takes=20.0, keys=("twenty",)),
    Story(100, 500, keys=("calls",)),
    Story(100, 1000, keys=("calls",)),
    Story(100, 10_000, keys=("calls",)),
    Story(100, 1000, "paperspace", keys=("calls",)),
    Story(100, 10_000, "paperspace", keys=("calls",)),
    Story(1, 1000, keys=("one",)),
    Story(1, 1000, "paperspace", keys=("one",)),
    Story(1000, keys=("late",)),
)
HEAD = f"{'from none':<24} {'takes':>6} {'known':>8} {'late':>6} {'calls':>6} {'each':>6}"


def told(story: Story, counted: Counted) -> tuple[str, list[Figure]]:
    """A line for people, and what it says of the rows of ``goals``."""
    each = (len(counted.calls) - counted.took / POLL) / story.machines
    late = counted.delays[-1]
    line = f"{story.case:<24} {story.takes:>4.0f} s {counted.took:>6.1f} s {late:>4.1f} s"
    line += f" {len(counted.calls):>6} {each:>6.2f}"
    least = max(0, story.machines - BURST) / RATE + story.takes
    values = {
        "rise": (counted.took / least, f"{counted.took / least:.2f} ({counted.took:.1f} s, least {least:.0f})"),
        "twenty": (counted.took, f"{counted.took:.1f} s"),
        "calls": (each, f"{each:.2f}"),
        "one": (float(len(counted.calls)), str(len(counted.calls))),
        "late": (late, f"{late:.1f} s"),
    }
    return line, [Figure(key, story.case, *values[key]) for key in story.keys]


def figures(stories: Sequence[Story] = STORIES, say: Callable[[str], object] = print) -> list[Figure]:
    """A line for each story, as it ends, and what they say of the rows of ``goals``."""
    found: list[Figure] = []
    say(HEAD)
    for story in stories:
        counted = rising(story.machines, beside=story.beside, dialect=story.dialect, takes=story.takes)
        line, rows = told(story, counted)
        say(line)
        found += rows
    return found


def large(machines: int = 40_000, *, limit: float = 250.0, say: Callable[[str], object] = print) -> list[Figure]:
    """Whether anything is created beside so many machines on v1, whose listing takes a minute at the default rate."""
    counted = rising(4, beside=machines, dialect="paperspace", limit=limit)
    made = counted.operations["create"]
    say(f"v1, 4 beside {machines:,}: {made} creates, {len(counted.calls)} calls in {limit:.0f} s")
    return [Figure("v1", "", float(made), f"{made} of 4, {len(counted.known)} known", met=made == 4)]


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    figures()
