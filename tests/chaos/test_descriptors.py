"""Too few descriptors, from the start or all of a sudden: fleetd goes on, or says why it does not."""

from __future__ import annotations

import resource
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.chaos.living import SPEED, Daemon, converged, living, write
from tests.chaos.record import Demand, Record
from tests.support.processes import SimulatorProcess, simulator, until

FLEET = {"training": (3, "")}
LIMITS = (5, 7, 9, 10, 11, 12, 13, 14, 16)
"""Python alone needs seven before fleetd opens anything; a dozen or so are enough for a small fleet."""


@pytest.fixture
def sim(tmp_path: Path) -> Iterator[SimulatorProcess]:
    with simulator(tmp_path, speed=SPEED) as process:
        yield process


@contextmanager
def limited(daemon: Daemon, most: int) -> Iterator[None]:
    """A limit on a process that runs, as an administrator's prlimit(1)."""
    soft, hard = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (most, hard))
    try:
        yield
    finally:
        resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (soft, hard))


def billed(sim: SimulatorProcess) -> int:
    return Record(sim, speed=SPEED, fleets=FLEET).billed("training")


def judge(sim: SimulatorProcess, demand: Demand, state: Path) -> None:
    record = Record(sim, speed=SPEED, fleets=FLEET)
    assert record.foreign_writes() == []
    assert record.duplicates(demand) == []
    assert record.unjournaled(state / "journal.db") == []


@pytest.mark.slow
def test_from_too_few_to_start_to_just_enough(sim: SimulatorProcess, tmp_path: Path) -> None:
    """Whatever the limit: it works, or it ends with 1 and says that descriptors have run out."""
    config = write(tmp_path, sim.url, FLEET, listen="127.0.0.1:0")
    demand = Demand()
    demand.wants(training=3)
    worked = []
    for most in LIMITS:
        begun = time.monotonic()
        with living(config, tmp_path / f"{most}.log", prefix=["prlimit", f"--nofile={most}"]) as daemon:
            until(lambda d=daemon: d.process.poll() is not None or "fleet.converged" in d.text(), seconds=60)
            if daemon.process.poll() is None:
                worked.append(most)
                assert daemon.end() == 0
            else:
                assert daemon.process.returncode == 1
                said = daemon.text().partition("Exception ignored in: <function BaseEventLoop.__del__")[0]
                said = said.rpartition("error: ")[2]
                assert "Too many open files" in said, daemon.text()
                assert "Traceback" not in said
                assert "fault in fleetd" not in said
        demand.lives.append([begun, time.monotonic()])
    assert worked
    assert worked == [n for n in LIMITS if n >= worked[0]]
    judge(sim, demand, tmp_path / "state")


@pytest.mark.slow
def test_all_of_a_sudden_none_is_left(sim: SimulatorProcess, tmp_path: Path) -> None:
    """It acts on what it can still see, or not at all; it neither ends nor fills the disk, and recovers by itself."""
    state = tmp_path / "state"
    config = write(tmp_path, sim.url, FLEET, listen="127.0.0.1:0")
    demand = Demand()
    demand.wants(training=3)
    begun = time.monotonic()
    with living(config, tmp_path / "daemon.log") as daemon:
        until(lambda: converged(state), seconds=60)
        with limited(daemon, daemon.descriptors() - 4):
            for machine in sim.machines():
                sim.ask(f"/_sim/machines/{machine['id']}", {"action": "stop"})
            write(tmp_path, sim.url, {"training": (5, "")}, listen="127.0.0.1:0")
            daemon.process.send_signal(signal.SIGHUP)
            daemon.wait_for("config.reload_rejected")
            time.sleep(20)  # past the 15 s for which an idle connection is kept
            assert daemon.process.poll() is None
            assert len(daemon.text()) < 50_000
        demand.wants(training=5)
        daemon.process.send_signal(signal.SIGHUP)
        until(lambda: billed(sim) == 5 and converged(state), seconds=90, saying=daemon.text)
        assert daemon.end() == 0
    demand.lives.append([begun, time.monotonic()])
    judge(sim, demand, state)
