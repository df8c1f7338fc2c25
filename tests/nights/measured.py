"""What is there to be measured: a Prometheus with its scrapes, and agents that remember. All of it true."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import anyio

from tests.nights.draw import EVENING, SCRAPE
from tests.nights.record import Use


@dataclass(slots=True)
class Machine:
    """A machine as its exporter and its agents know it."""

    id: str
    gpus: int
    up: list[tuple[float, float]] = field(default_factory=list)
    """Spans in which it was up; the last one may have no end."""
    uses: list[Use] = field(default_factory=list)
    outages: list[tuple[float, float, str, int]] = field(default_factory=list)
    """(from, until, what, gpu) befell its exporter; gpu -1 for all."""
    down: anyio.Event = field(default_factory=anyio.Event)
    """Set when it goes down."""

    def used(self, source: str, since: float, until: float, gpu: int | None = None) -> bool:
        """Whether what ``source`` can see was used at any instant of a span."""
        return any(
            use.begins <= until and since < use.ends
            for use in self.uses
            if source in use.job.seen_by and (gpu is None or use.job.gpu == gpu)
        )

    def is_up(self, at: float) -> bool:
        """Whether it was up at an instant."""
        return any(since <= at < until for since, until in self.up)


@dataclass
class Prometheus:
    """Scrapes every machine every 15 s, and keeps samples by the wall clock of its host.

    One whose host's clock is set back refuses what is older than its newest sample, and goes on answering.
    """

    now: Callable[[], float]
    wall: Callable[[], datetime]
    """Of its host."""
    _stamps: list[float] = field(default_factory=list)
    _taken: list[float] = field(default_factory=list)
    """The scrapes that were kept: their timestamps, and when they were really taken."""

    def scrape(self) -> None:
        """Take one now; called every ``SCRAPE`` seconds."""
        stamp = self.wall().timestamp()
        if not self._stamps or stamp > self._stamps[-1]:
            self._stamps.append(stamp)
            self._taken.append(self.now())

    def series(self, machine: Machine, start: float, end: float, step: float) -> list[dict[float, float | str]]:
        """The samples of each GPU, by their times: the highest load of the step that ends with each."""
        times = [start + n * step for n in range(int((end - start) / step + 1e-6) + 1)]
        return [self._one(machine, gpu, times, step) for gpu in range(machine.gpus)]

    def _one(self, machine: Machine, gpu: int, times: Iterable[float], step: float) -> dict[float, float | str]:
        found: dict[float, float | str] = {}
        for at in times:
            first, last = bisect_right(self._stamps, at - step), bisect_right(self._stamps, at)
            values = [v for taken in self._taken[first:last] if (v := self._value(machine, gpu, taken)) is not None]
            if values:
                odd = [v for v in values if isinstance(v, str)]
                found[at] = odd[0] if odd else max(v for v in values if isinstance(v, float))
        return found

    def _value(self, machine: Machine, gpu: int, taken: float) -> float | str | None:
        if not machine.is_up(taken):
            return None
        value: float | str | None = 0.97 if machine.used("gpu", taken - SCRAPE, taken, gpu) else 0.0
        for since, until, what, which in machine.outages:
            if since <= taken < until and which in {-1, gpu}:
                value = {"nan": "NaN", "negative": "-1"}.get(what)
        return value


def right_clock(now: Callable[[], float]) -> Callable[[], datetime]:
    """The wall clock of a host on which nobody sets it."""
    return lambda: EVENING + timedelta(seconds=now())


def bearer(machines: Mapping[str, Machine], ids: Iterable[str], rng: random.Random) -> Machine | None:
    """Whose answer it is under an address that these machines have: of several, one that has been idle longest."""
    there = [machines[id_] for id_ in ids if id_ in machines]
    rng.shuffle(there)
    return min(there, key=lambda m: max((u.ends for u in m.uses), default=0.0), default=None)
