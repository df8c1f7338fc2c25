"""What the provider recorded, and what of it breaks a promise. Nothing in here asks fleetd anything but its journal.

All instants are seconds of the machine's monotonic clock, which the simulator's process, the test's and fleetd's
share.
"""

from __future__ import annotations

import sqlite3
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from fleetd.model.naming import split_name
from tests.support.processes import SimulatorProcess


@dataclass(frozen=True)
class Change:
    """From ``at`` on a machine is in ``state``."""

    at: float
    machine: str
    state: str
    cause: str
    billed: bool


@dataclass
class Demand:
    """What the test asked for, and when: the truth that the calls are held against."""

    targets: list[tuple[float, dict[str, int]]] = field(default_factory=list)
    lives: list[list[float]] = field(default_factory=list)
    """[spawned, killed] of each process."""

    def wants(self, **targets: int) -> None:
        self.targets.append((time.monotonic(), targets))

    def most(self, fleet: str, since: float, until: float) -> int:
        """The largest target in force at any time of a span."""
        before = [t[fleet] for at, t in self.targets if at <= since][-1:]
        return max([*before, *(t[fleet] for at, t in self.targets if since < at <= until)], default=0)

    def since_life_before(self, at: float) -> float:
        """When the process before the one that ran at ``at`` was started: what was sent then may arrive now."""
        begun = [life[0] for life in self.lives if life[0] <= at]
        return begun[-2] if len(begun) > 1 else 0.0


class Record:
    """One look at the provider's own record."""

    def __init__(self, sim: SimulatorProcess, *, speed: float, fleets: Iterable[str]) -> None:
        self.fleets = tuple(fleets)
        self.calls: list[dict[str, Any]] = sim.calls()
        self.machines: dict[str, dict[str, Any]] = {m["id"]: m for m in sim.machines()}
        origin = next((c["loop_seconds"] - c["world_seconds"] / speed for c in self.calls), 0.0)
        self.changes = [
            Change(origin + c["at"] / speed, c["machine_id"], c["state"], c["cause"], c["billed"])
            for c in sim.ask("/_sim/timeline")
        ]
        self.creates = [c for c in self.calls if c["operation"] == "create" and c["executed"]]
        self.fleet_of: dict[str, str] = {}
        for call in self.creates:
            split = split_name(call["body"]["machineName"], self.fleets)
            if split is not None:
                self.fleet_of[call["machine_id"]] = split[0]

    @property
    def writes(self) -> list[dict[str, Any]]:
        return [c for c in self.calls if c["write"]]

    def alive(self, fleet: str) -> list[str]:
        return [m for m, f in self.fleet_of.items() if f == fleet and self.machines[m]["state"] != "gone"]

    def billed(self, fleet: str) -> int:
        return sum(self.machines[m]["billed_now"] for m in self.alive(fleet))

    # Promises

    def foreign_writes(self) -> list[str]:
        """Promise 1: a machine that fleetd did not create is never written to."""
        strange = [c for c in self.writes if c["operation"] != "create" and c["machine_id"] not in self.fleet_of]
        nameless = [c for c in self.creates if c["machine_id"] not in self.fleet_of]
        return [f"{c['operation']} of foreign {c['machine_id']}" for c in [*strange, *nameless]]

    def forbidden_destroys(self, allowed: Iterable[str]) -> list[str]:
        """Promise 3: nothing of a fleet without ``allow_destroy`` is destroyed."""
        return [
            f"destroyed {c['machine_id']} of {self.fleet_of.get(c['machine_id'])}"
            for c in self.writes
            if c["operation"] == "destroy" and self.fleet_of.get(c["machine_id"]) not in set(allowed)
        ]

    def duplicates(self, demand: Demand) -> list[str]:
        """Promise 5: no create while as many machines of the fleet exist as were asked for, whatever their state."""
        found = [f"{n} machines named {name}" for name, n in self._names().items() if n > 1]
        for call in self.creates:
            at, fleet = call["loop_seconds"], self.fleet_of.get(call["machine_id"], "")
            exist = self._existing(fleet, before=at) - {call["machine_id"]}
            most = demand.most(fleet, demand.since_life_before(at), at) if fleet else 0
            if len(exist) >= most:
                found.append(f"create {call['seq']} for {fleet}: {len(exist)} existed, {most} were wanted")
        return found

    def too_many_for_long(self, demand: Demand, *, patience: float) -> list[str]:
        """Promise 2: more than the target is billed for no longer than ``patience`` seconds of a living daemon."""
        found = []
        for fleet in self.fleets:
            over, since, worst = 0.0, None, 0
            for begin, end, count in self._billed_spans(fleet):
                for start, stop, target in _split(begin, end, [(at, t[fleet]) for at, t in demand.targets]):
                    if count <= target:
                        over, since, worst = 0.0, None, 0
                        continue
                    since = start if since is None else since
                    worst = max(worst, count - target)
                    over += _overlap(start, stop, self._awake(demand))
                    if over > patience:
                        found.append(f"{fleet}: {worst} too many for {over:.1f} s awake, since {since:.1f}")
                        over = float("-inf")
        return found

    def unjournaled(self, journal: Path) -> list[str]:
        """Promise 5: every write that arrived has an intent of its own that is older."""
        offset = time.time() - time.monotonic()
        created: dict[str, float] = {}
        others: dict[tuple[str, str], list[float]] = defaultdict(list)
        for verb, name, machine, at in read_intents(journal):
            seconds = at / 1e6 - offset
            if verb == "create":
                created[name] = seconds
            else:
                others[verb, machine].append(seconds)
        found = []
        arrived: Counter[tuple[str, str]] = Counter()
        for call in self.writes:
            at = call["loop_seconds"] + 0.05  # the clocks are read one after the other
            if call["operation"] == "create":
                name = (call["body"] or {}).get("machineName", "")
                if not created.get(name, float("inf")) <= at:
                    found.append(f"create of {name} without an intent")
                continue
            key = (call["operation"], call["machine_id"])
            arrived[key] += 1
            if sum(intent <= at for intent in others[key]) < arrived[key]:
                found.append(f"{key[0]} number {arrived[key]} of {key[1]} without an intent")
        return found

    def lost(self, owned: Iterable[str]) -> list[str]:
        """Promise 5: every machine that fleetd made, and that is still there, is known to be its own."""
        known = set(owned)
        return [f"{m} of {f} is not known" for f in self.fleets for m in self.alive(f) if m not in known]

    def _names(self) -> Counter[str]:
        return Counter(c["body"]["machineName"] for c in self.creates)

    def _existing(self, fleet: str, *, before: float) -> set[str]:
        """Machines of a fleet that were there, and not on their way out, just before an instant."""
        there: set[str] = set()
        for change in self.changes:
            if change.at >= before:
                break
            if self.fleet_of.get(change.machine) != fleet:
                continue
            if change.state == "gone" or "destroy" in change.cause:
                there.discard(change.machine)
            else:
                there.add(change.machine)
        return there

    def _billed_spans(self, fleet: str) -> Iterable[tuple[float, float, int]]:
        billed: set[str] = set()
        before = self.changes[0].at if self.changes else 0.0
        for change in [*self.changes, None]:
            at = time.monotonic() if change is None else change.at
            if at > before:
                yield before, at, len(billed)
            before = at
            if change is not None and self.fleet_of.get(change.machine) == fleet:
                (billed.add if change.billed else billed.discard)(change.machine)

    def _awake(self, demand: Demand) -> list[tuple[float, float]]:
        """Spans in which a process lived that had looked at the account at least once."""
        looks = [c["loop_seconds"] for c in self.calls if c["operation"] == "list"]
        spans = []
        for begun, ended in demand.lives:
            first = next((at for at in looks if begun <= at <= ended), None)
            if first is not None:
                spans.append((first, ended))
        return spans


def read_intents(journal: Path) -> list[tuple[str, str, str, int]]:
    """(verb, name, machine id, microseconds of creation) of every intent, oldest first."""
    with sqlite3.connect(journal) as db:
        rows = db.execute("SELECT verb, name, machine_id, created_at FROM intent ORDER BY id").fetchall()
    db.close()
    return [(str(v), str(n), str(m), int(at)) for v, n, m, at in rows]


def open_intents(journal: Path) -> int:
    with sqlite3.connect(journal) as db:
        (count,) = db.execute("SELECT count(*) FROM intent WHERE closed_at IS NULL").fetchone()
    db.close()
    return int(count)


def _split(begin: float, end: float, steps: Sequence[tuple[float, int]]) -> Iterable[tuple[float, float, int]]:
    """A span cut where the target changed, each part with the target in force; before the first, the first."""
    edges = [begin, *(at for at, _ in steps if begin < at < end), end]
    for start, stop in pairwise(edges):
        yield start, stop, next((t for at, t in reversed(steps) if at <= start), steps[0][1])


def _overlap(begin: float, end: float, spans: Iterable[tuple[float, float]]) -> float:
    return sum(max(0.0, min(end, stop) - max(begin, start)) for start, stop in spans)
