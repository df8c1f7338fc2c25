"""``fleetd run``, killed sixty times at moments drawn from a seed, while targets, people and faults change."""

from __future__ import annotations

import random
import time
import urllib.error
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.chaos.living import SPEED, Daemon, converged, status, write
from tests.chaos.record import Demand, Record
from tests.support.processes import SimulatorProcess, simulator, until

SEED = 20261125
KILLS = 60
CALM_EVERY = 20
"""After so many kills the faults end, and the account must come to rest."""
FLEETS = {"training": "", "batch": 'scale_in = "destroy"\nallow_destroy = true\nstandby = 1'}
MOST = {"training": 6, "batch": 4}
PATIENCE = 100.0
"""Seconds awake: a stop whose answer was lost is looked at for 15, a create for the settle time of 3; one that never
left, for its process was killed, seems to have had no effect, and is backed off from for a minute. The rest is for a
busy computer."""

REST = 420.0
"""A start that a person interrupted looks as if there were no capacity, and is backed off from: 1, 2, 5 minutes."""

FAULTS = [
    {"kind": "timeout_after", "operation": "create", "probability": 0.1, "seconds": 5},
    {"kind": "reset_after", "operation": "write", "probability": 0.08},
    {"kind": "reset_before", "operation": "write", "probability": 0.08},
    {"kind": "truncated", "operation": "create", "probability": 0.08},
    {"kind": "error", "operation": "write", "probability": 0.05, "status": 500, "executed": True},
    {"kind": "rate_limit", "operation": "any", "probability": 0.03, "retry_after": 0.2},
    {"kind": "partial_list", "probability": 0.05, "sticky": False},
    {"kind": "invisible_after_create", "probability": 0.1, "seconds": 100},
]


class Story:
    """The account, the people in it, and one daemon after another."""

    def __init__(self, directory: Path, sim: SimulatorProcess, seed: int) -> None:
        self.directory, self.sim, self.rng = directory, sim, random.Random(seed)
        self.state = directory / "state"
        self.demand = Demand()
        self.targets = {"training": 3, "batch": 2}
        self.settled: list[str] = []
        """Machines of ours that fleetd knows for sure."""
        self.foreign = [sim.add(name=n, state=s)["id"] for n, s in STRANGERS]
        self.config = self._configure()
        self.killed = 0

    def live_and_die(self) -> None:
        """One life: start, let somebody do something, kill."""
        if self.rng.random() < 0.5:
            fleet = self.rng.choice(list(FLEETS))
            self.targets[fleet] = self.rng.randint(0, MOST[fleet])
            self._configure()
        begun = time.monotonic()
        daemon = self._start()
        try:
            self._moment(daemon)
        finally:
            daemon.kill()
        self.demand.lives.append([begun, time.monotonic()])
        self.killed += 1

    def calm(self) -> None:
        """No faults: it comes to rest, and stays at rest. The last process of the stretch is killed as well."""
        self.sim.ask("/_sim/faults", {"faults": []})
        begun = time.monotonic()
        daemon = self._start()
        try:
            until(
                lambda: converged(self.state) if self._at_target() else None,
                seconds=REST,
                saying=lambda: f"not at {self.targets}: {status(self.state)}\n{daemon.text()}",
            )
            before = len(self.sim.writes())
            time.sleep(2.5)
            assert self.sim.writes()[before:] == []
            owned = [m["id"] for m in status(self.state)["machines"] if m["owned"]]
            assert self.record().lost(owned) == []
            self.settled = owned
        finally:
            daemon.kill()
        self.demand.lives.append([begun, time.monotonic()])
        self.sim.ask("/_sim/faults", {"faults": FAULTS})

    def record(self) -> Record:
        return Record(self.sim, speed=SPEED, fleets=FLEETS)

    def told(self, *, since: float) -> str:
        """What fleetd said it did, from the life that ran at an instant on: for whoever reads a failure."""
        lives = [n for n, (_, ended) in enumerate(self.demand.lives) if ended >= since][:40]
        lines = [f"{n}: {line}" for n in lives for line in self._log(n).read_text().splitlines()]
        return "\n".join(line for line in lines if '"daemon.' not in line and '"level": "debug"' not in line)[:40_000]

    def _start(self) -> Daemon:
        return Daemon(self.config, self._log(len(self.demand.lives)))

    def _log(self, life: int) -> Path:
        return self.directory / f"daemon-{life}.log"

    def _configure(self) -> Path:
        path = write(self.directory, self.sim.url, {n: (self.targets[n], FLEETS[n]) for n in FLEETS})
        self.demand.wants(**self.targets)
        return path

    def _at_target(self) -> bool:
        record = self.record()
        return all(record.billed(fleet) == target for fleet, target in self.targets.items())

    def _moment(self, daemon: Daemon) -> None:
        """Wait for the moment to die: blindly, in the midst of a call, or some time into a life."""
        kind = self.rng.random()
        if kind < 0.25:
            time.sleep(self.rng.uniform(0.0, 0.7))
            return
        daemon.wait_for("daemon.started", every=0.005)
        if self.rng.random() < 0.6:
            self._meddle()
        if self.rng.random() < 0.2:
            fleet = self.rng.choice(list(FLEETS))
            self.targets[fleet] = self.rng.randint(0, MOST[fleet])
            self._configure()
            daemon.reload()
        if kind < 0.65:
            _soon(lambda: "_requested" in daemon.text(), limit=self.rng.uniform(0.2, 0.8))
            time.sleep(self.rng.uniform(0.0, 0.03))
        else:
            time.sleep(self.rng.uniform(0.0, 0.6))

    def _meddle(self) -> None:
        """A person does something in the vendor's console."""
        record = self.record()
        ours = [m for fleet in FLEETS for m in record.alive(fleet)]
        deed = self.rng.choice(["start", "stop", "restart", "destroy", "rename", "vanish", "copy", "stranger"])
        with suppress(urllib.error.HTTPError):  # the world says no to people, too
            if deed == "stranger":
                stranger = self.rng.choice(self.foreign)
                self.sim.ask(f"/_sim/machines/{stranger}", {"action": self.rng.choice(["start", "stop", "restart"])})
            elif deed == "copy" and self.settled:
                name = record.machines[self.rng.choice(self.settled)]["name"]
                self.foreign.append(self.sim.add(name=name, state=self.rng.choice(["ready", "off"]))["id"])
            elif deed == "rename" and self.settled:
                body = {"action": "rename", "name": self.rng.choice(["mine now", "training-backup", "batch-zzzzzz"])}
                self.sim.ask(f"/_sim/machines/{self.rng.choice(self.settled)}", body)
            elif deed in {"start", "stop", "restart", "destroy", "vanish"} and ours:
                self.sim.ask(f"/_sim/machines/{self.rng.choice(ours)}", {"action": deed})


STRANGERS = (
    ("training-backup", "off"),
    ("training-abcdef", "ready"),
    ("desk", "ready"),
    ("batch-", "ready"),
    ("Training-7k3mqggq", "off"),
)


def _soon(what: Callable[[], bool], *, limit: float) -> None:
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline and not what():
        time.sleep(0.003)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    directory = tmp_path_factory.mktemp("killed")
    with simulator(directory, speed=SPEED) as sim:
        told = Story(directory, sim, SEED)
        told.calm()
        while told.killed < KILLS:
            told.live_and_die()
            if told.killed % CALM_EVERY == 0:
                told.calm()
        yield told


@pytest.fixture(scope="module")
def record(story: Story) -> Record:
    return story.record()


pytestmark = pytest.mark.slow


def test_much_was_done_and_much_went_wrong(story: Story, record: Record) -> None:
    assert story.killed == KILLS
    done = {c["operation"] for c in record.writes if c["executed"]}
    assert done >= {"create", "start", "stop"}
    assert len({fault for c in record.writes for fault in c["faults"]}) >= 2
    assert len(record.writes) > KILLS / 2


def test_no_foreign_machine_was_written_to(record: Record) -> None:
    assert record.foreign_writes() == []


def test_nothing_was_destroyed_without_leave(record: Record) -> None:
    assert record.forbidden_destroys(["batch"]) == []


def test_no_machine_was_made_twice(story: Story, record: Record) -> None:
    assert record.duplicates(story.demand) == []


def test_no_machine_too_many_was_paid_for_long(story: Story, record: Record) -> None:
    found = record.too_many_for_long(story.demand, patience=PATIENCE)
    assert found == [], story.told(since=float(found[0].rpartition(" ")[2]))


def test_every_write_was_journaled_before_it_was_made(story: Story, record: Record) -> None:
    assert record.unjournaled(story.state / "journal.db") == []
