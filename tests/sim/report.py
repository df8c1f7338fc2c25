"""Many seeds: run on several processes, with progress, summed up in one table."""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from tests.sim.checker import Breach
from tests.sim.dialects import DIALECTS
from tests.sim.run import Outcome, run_seed


@dataclass(frozen=True, slots=True)
class Job:
    """One seed to run."""

    seed: str
    days: float
    machines: int
    dialect: str
    replicas: int = 1
    """1, or 2: then days, machines and dialect are the story's own."""

    @property
    def command(self) -> str:
        """What repeats it."""
        if self.replicas > 1:
            return f"python -m tests.sim --replicas {self.replicas} --seed {self.seed}"
        more = "" if self.dialect == "core" else f" --dialect {self.dialect}"
        return f"python -m tests.sim --seed {self.seed} --days {self.days:g} --machines {self.machines}{more}"


@dataclass
class Totals:
    """The sum of many runs."""

    seeds: int = 0
    days: float = 0.0
    calls: int = 0
    seconds: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    broken: list[tuple[str, str]] = field(default_factory=list)
    """(command that repeats it, what was broken)."""

    def add(self, job: Job, outcome: Outcome) -> None:
        """Count one run."""
        self.seeds += 1
        self.days += outcome.days
        self.calls += outcome.calls
        self.faults.update(outcome.faults)
        self.broken += [(job.command, str(breach)) for breach in outcome.breaches]

    def table(self) -> str:
        """The closing table."""
        rows = [
            ("seeds", f"{self.seeds:,}"),
            ("simulated days", f"{self.days:,.0f}" if self.days >= 10 else f"{self.days:,.1f}"),
            ("calls to the provider", f"{self.calls:,}"),
            ("faults and events", f"{self.faults.total():,}"),
            *((f"  {kind}", f"{count:,}") for kind, count in self.faults.most_common()),
            ("broken promises", f"{len(self.broken):,}"),
            ("real minutes", f"{self.seconds / 60:.1f}"),
        ]
        wide = max(len(name) for name, _ in rows)
        return "\n".join(f"{name:<{wide}}  {value:>12}" for name, value in rows)


def run_all(jobs: Iterable[Job], *, processes: int, say: Callable[[str], None] = lambda _line: None) -> Totals:
    """Run every job; ``say`` is told of progress and of every broken promise."""
    queue, totals, began = list(jobs), Totals(), time.monotonic()
    last = began
    for job, outcome in _results(queue, processes):
        totals.add(job, outcome)
        for breach in outcome.breaches:
            say(f"BROKEN {breach}\n    {job.command}")
        now = time.monotonic()
        if now - last > 15 or totals.seeds == len(queue):
            last = now
            say(
                f"{totals.seeds}/{len(queue)} seeds, {totals.days:.0f} days, {totals.calls} calls, "
                f"{len(totals.broken)} broken, {now - began:.0f} s"
            )
    totals.seconds = time.monotonic() - began
    return totals


def run(job: Job) -> Outcome:
    """One seed."""
    if job.replicas > 1:
        from tests.sim.replicas.stage import run_replicas  # psycopg is optional

        return run_replicas(job.seed)
    return run_seed(job.seed, days=job.days, machines=job.machines, dialect=DIALECTS[job.dialect])


def run_job(job: Job) -> Outcome:
    """One seed, without its log, which is long. A run that breaks down counts as a broken promise."""
    try:
        outcome = run(job)
    except Exception as error:  # noqa: BLE001 - the seed must be told, and the other seeds go on
        return Outcome(job.seed, job.days, (Breach(0, 0.0, f"the run broke down: {error!r}"),), Counter(), 0, "")
    return Outcome(outcome.seed, outcome.days, outcome.breaches, outcome.faults, outcome.calls, "")


def _results(queue: list[Job], processes: int) -> Iterator[tuple[Job, Outcome]]:
    if processes <= 1:
        for job in queue:
            yield job, run_job(job)
        return
    # Fresh interpreters: a run must not depend on what ran before it, nor on the caller's threads.
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes, maxtasksperchild=50) as pool:
        yield from pool.imap_unordered(_numbered, queue)


def _numbered(job: Job) -> tuple[Job, Outcome]:
    return job, run_job(job)


def progress(line: str) -> None:
    """Progress for people, on stderr."""
    print(line, file=sys.stderr, flush=True)
