"""Many nights: played on several processes, with progress, summed up in one table."""

from __future__ import annotations

import multiprocessing
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from tests.nights.play import Outcome, run_night


@dataclass
class Totals:
    """The sum of many nights."""

    nights: int = 0
    stops: int = 0
    surprised: int = 0
    uses: int = 0
    tricked: int = 0
    leases: int = 0
    refused: int = 0
    holds: int = 0
    nearest: float = float("inf")
    told: Counter[str] = field(default_factory=Counter)
    happened: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    """The command that repeats it, and what was found."""
    seconds: float = 0.0

    def add(self, outcome: Outcome) -> None:
        """Count one night."""
        self.nights += 1
        self.stops += outcome.judged.stops
        self.surprised += outcome.judged.surprised
        self.uses += outcome.uses
        self.tricked += outcome.tricked
        self.leases += outcome.leases
        self.refused += outcome.refused
        self.holds += outcome.holds
        self.nearest = min(self.nearest, outcome.judged.nearest)
        self.told.update(outcome.told)
        self.happened.update(outcome.happened)
        found = [*map(str, outcome.judged.findings), *outcome.ended]
        self.broken += [f"python -m tests.nights --night {outcome.seed}    {what}" for what in found]

    def table(self) -> str:
        """The closing table."""
        honest = self.told["honest"]
        rows = [
            ("nights", f"{self.nights:,}"),
            ("jobs", f"{self.uses:,}"),
            ("  with a hostile source or exporter", f"{self.tricked:,}"),
            ("leases acknowledged", f"{self.leases:,}"),
            ("leases refused", f"{self.refused:,}"),
            ("holds acknowledged", f"{self.holds:,}"),
            ("answers of sources", f"{self.told.total():,}"),
            ("  hostile", f"{self.told.total() - honest:,}"),
            *((f"    {kind}", f"{count:,}") for kind, count in sorted(self.told.items()) if kind != "honest"),
            *((f"{kind}", f"{count:,}") for kind, count in sorted(self.happened.items())),
            ("stops", f"{self.stops:,}"),
            ("  work began less than 90 s before", f"{self.surprised:,}"),
            ("  the nearest to a use, in `after`", f"{self.nearest:.3f}"),
            ("stops that should not have been", f"{len(self.broken):,}"),
            ("real minutes", f"{self.seconds / 60:.1f}"),
        ]
        wide = max(len(name) for name, _ in rows)
        return "\n".join(f"{name:<{wide}}  {value:>10}" for name, value in rows)


def run_all(seeds: Sequence[str], *, processes: int, say: Callable[[str], None] = lambda _line: None) -> Totals:
    """Play every night; ``say`` is told of progress and of everything that was found."""
    totals, began = Totals(), time.monotonic()
    last = began
    for outcome in _outcomes(seeds, processes):
        known = len(totals.broken)
        totals.add(outcome)
        for what in totals.broken[known:]:
            say(f"WRONG {what}")
        if time.monotonic() - last > 20 or totals.nights == len(seeds):
            last = time.monotonic()
            say(f"{totals.nights}/{len(seeds)} nights, {totals.stops} stops, {len(totals.broken)} wrong")
    totals.seconds = time.monotonic() - began
    return totals


def _outcomes(seeds: Sequence[str], processes: int) -> Iterator[Outcome]:
    if processes <= 1:
        yield from map(_quiet, seeds)
        return
    with multiprocessing.get_context("spawn").Pool(processes, maxtasksperchild=40) as pool:
        yield from pool.imap_unordered(_quiet, seeds)


def _quiet(seed: str) -> Outcome:
    """One night, without its log, which is long."""
    return replace(run_night(seed), log="")
