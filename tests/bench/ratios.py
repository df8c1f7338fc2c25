"""What is measured: each thing for an account, and for one that is ten times as large, in turns."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path

import anyio

from fleetd.engine.status import status_report
from fleetd.model.fleet import Costs, Guards, IdleRule, Limit, Window
from fleetd.model.journal import HistoryEntry
from fleetd.model.plan import Check
from fleetd.model.report import DaemonReport, encoded
from fleetd.ops.metrics import Metrics
from fleetd.ops.page.home import home
from fleetd.ops.page.scene import Scene
from fleetd.planner.plan import plan
from fleetd.store.sqlite import SqliteJournal
from tests.bench.goals import Figure
from tests.bench.turns import Times
from tests.support.build import NOW, ago, facts, fleet, idle, machine, memory, seen, token_name
from tests.support.fake_handle import a_fleet, a_report
from tests.support.fakecloud import FakeCloud
from tests.support.rig import IN_MEMORY, rig
from tests.support.virtual_time import run_virtual, virtual_clock

TIMES = 10
"""How much larger the larger one is."""


@dataclass(frozen=True)
class Bench:
    """``prepare(machines)`` gives what is timed."""

    what: str
    prepare: Callable[[int], Callable[[], None]]
    linear: float = TIMES
    """The ratio where the work grows as the account does; 1 where it should not grow."""


@dataclass(frozen=True)
class Ratio:
    """Seconds of processor time, medians, and how they compare."""

    what: str
    smaller: float
    larger: float
    linear: float

    @property
    def ratio(self) -> float:
        return self.larger / self.smaller


def measured(bench: Bench, *, machines: int, rounds: int) -> Ratio:
    """The two in turns, so that what disturbs one disturbs the other."""
    smaller, larger = bench.prepare(machines), bench.prepare(machines * TIMES)
    took = [(_seconds(smaller), _seconds(larger)) for _ in range(rounds)]
    return Ratio(bench.what, *(statistics.median(column) for column in zip(*took, strict=True)), linear=bench.linear)


def _seconds(work: Callable[[], None]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


NIGHT = Window(name="night", start=600, end=1200, timezone="UTC", days=frozenset(range(7)), park_idle=True)
WANTED = {
    "windows": (NIGHT,),
    "idle": IdleRule(sources=("gpu",)),
    "guards": Guards(max_stops_per_pass=Limit(percent=100)),
}


def deciding(machines: int) -> Callable[[], None]:
    """Half of them idle and to be parked, every check due."""
    wanted = fleet(target=machines, **WANTED)
    listed = [machine(n) for n in range(1, machines + 1)]
    known = memory(
        facts=[facts(n, first_ready_at=ago(days=1), up_since=ago(days=1)) for n in range(1, machines + 1)],
        idle={f"ps{n}": idle("idle" if n % 2 else "active") for n in range(1, machines + 1)},
    )
    due = {m.id: frozenset(Check) for m in listed}
    costs = Costs({"P4000": Decimal("0.51")})

    def work() -> None:
        decided = plan([wanted], seen(*listed), known, NOW, costs=costs, due=due)
        assert len(decided.actions) == (machines + 1) // 2

    return work


def passing(machines: int, *, fresh: bool) -> Callable[[], None]:
    """A first pass, which has everything to learn; or ten that find nothing to do."""

    async def story() -> None:
        cloud = FakeCloud(virtual_clock())
        for n in range(1, machines + 1):
            cloud.add(token_name(n))
        async with rig(fleet(target=machines), cloud=cloud) as world, world.passes_by_hand():
            for _ in range(1 if fresh else 10):
                await world.reconciler.run_pass()
                await anyio.sleep(30)

    return partial(run_virtual, story)


def telling(machines: int, *, page: bool) -> Callable[[], None]:
    """The report of the last pass, as it is or as the page."""
    documents = []

    async def story() -> None:
        cloud = FakeCloud(virtual_clock())
        for n in range(1, machines + 1):
            cloud.add(token_name(n))
        async with rig(fleet(target=machines), cloud=cloud) as world, world.passes_by_hand():
            documents.append(await world.reconciler.run_pass())

    run_virtual(story)
    report, daemon = documents[0], DaemonReport(running=True, provider="ok")
    shown = status_report(report, daemon=daemon)

    def work() -> None:
        if page:
            home(Scene(shown, NOW))
        else:
            encoded(status_report(report, daemon=daemon))

    return work


def remembering(machines: int) -> Callable[[], None]:
    """The newest fifty entries of a history with five entries for each machine."""
    place = tempfile.TemporaryDirectory(prefix="fleetd-bench-", dir=IN_MEMORY)
    path = Path(place.name) / "journal.db"

    async def fill() -> None:
        journal = await SqliteJournal.open(path)
        for n in range(5 * machines):
            await journal.append_history(_entry(n))
        await journal.aclose()

    async def look() -> None:
        journal = await SqliteJournal.open_read_only(path)
        assert len(await journal.history(limit=50)) == 50
        await journal.aclose()

    anyio.run(fill)

    def work() -> None:
        assert place.name  # it is deleted with the last who knows of it
        anyio.run(look)

    return work


def _entry(n: int) -> HistoryEntry:
    return HistoryEntry(
        ts=NOW + timedelta(seconds=n),
        fleet="training",
        machine=f"ps{n}",
        name=token_name(n),
        verb="start",
        reason="short_of_target",
        outcome="reached",
    )


def scraping(fleets: int) -> Callable[[], None]:
    """``/metrics`` of so many fleets."""
    metrics = Metrics(version="bench")
    shown = a_report(fleets={f"fleet-{n}": a_fleet() for n in range(fleets)})

    def work() -> None:
        metrics.show(shown, NOW)
        metrics.render()

    return work


BENCHES = (
    Bench("plan, half of them to be parked, checks due", deciding),
    Bench("a first pass, everything to be learned", partial(passing, fresh=True)),
    Bench("ten passes", partial(passing, fresh=False)),
    Bench("the status document", partial(telling, page=False)),
    Bench("the page", partial(telling, page=True)),
    Bench("/metrics, of so many fleets", scraping),
    Bench("fifty entries of history, of so many", remembering, linear=1),
)


def figures(machines: int, turns: int, *, say: Callable[[str], object] = print) -> list[Figure]:
    """How the work grows with the account, line by line; of ``/metrics`` what a thousand fleets cost."""
    title = f"{machines} machines, and ten times as many"
    say(f"{title:<46} {'smaller':>10} {'larger':>10} {'ratio':>7} {'linear':>7}")
    for bench in BENCHES:
        row = measured(bench, machines=machines, rounds=turns)
        say(
            f"{row.what:<46} {row.smaller * 1e3:>7.1f} ms {row.larger * 1e3:>7.1f} ms"
            f" {row.ratio:>7.1f} {row.linear:>7g}"
        )
    scrape = scraping(1000)
    times = Times([_seconds(scrape) for _ in range(turns)])
    return [Figure("metrics", "", times.median, times.words)]
