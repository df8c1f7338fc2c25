"""A state directory that fills up under a running daemon: nothing is called that cannot be written down."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.living import SPEED, Daemon, converged, living, write
from tests.chaos.record import Demand, Record
from tests.support.processes import SimulatorProcess, simulator, until

FLEET = {"training": (2, "")}
MORE = {"training": (4, "")}


@pytest.fixture
def sim(tmp_path: Path) -> Iterator[SimulatorProcess]:
    with simulator(tmp_path, speed=SPEED) as process:
        yield process


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MB."""
    state = tmp_path / "state"
    state.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(state)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False).returncode != 0:
        if os.environ.get("CI") == "true":
            pytest.fail("mounting a small tmpfs needs root, which CI has", pytrace=False)
        pytest.skip("mounting a small tmpfs needs root")
    try:
        yield state
    finally:
        subprocess.run(["umount", "--lazy", str(state)], check=True)


def fill(disk: Path) -> None:
    with (disk / "ballast").open("wb") as ballast:
        for size in (1 << 16, 1 << 12, 1):
            while True:
                try:
                    os.write(ballast.fileno(), bytes(size))
                except OSError:
                    break


def free(disk: Path) -> None:
    (disk / "ballast").unlink()


def judge(sim: SimulatorProcess, demand: Demand, journal: Path) -> None:
    record = Record(sim, speed=SPEED, fleets=FLEET)
    assert record.billed("training") == 4
    assert record.foreign_writes() == []
    assert record.duplicates(demand) == []
    assert record.unjournaled(journal) == []


def reload(daemon: Daemon) -> None:
    before = daemon.text().count("config.reloaded")
    daemon.reload()
    until(lambda: daemon.text().count("config.reloaded") > before)


def test_while_it_is_full_nothing_is_called_and_freeing_some_mends_it(
    sim: SimulatorProcess, disk: Path, tmp_path: Path
) -> None:
    demand = Demand()
    demand.wants(training=2)
    begun = time.monotonic()
    config = write(tmp_path, sim.url, FLEET)
    with living(config, tmp_path / "daemon.log") as daemon:
        until(lambda: converged(disk), seconds=60)
        fill(disk)
        writes, looks = len(sim.writes()), len(sim.calls())
        write(tmp_path, sim.url, MORE)
        demand.wants(training=4)
        reload(daemon)
        daemon.wait_for("journal.failed")
        until(lambda: len(sim.calls()) > looks + 5, seconds=60, saying="passes do not go on")
        assert "no space left" in daemon.lines("journal.failed")[0]["error"]
        assert len(sim.writes()) == writes
        assert daemon.process.poll() is None
        free(disk)
        until(lambda: len(sim.machines()) == 4 and converged(disk), seconds=90, saying=daemon.text)
        assert daemon.end() == 0
    demand.lives.append([begun, time.monotonic()])
    judge(sim, demand, disk / "journal.db")


def test_it_fills_up_between_a_create_and_its_answer(sim: SimulatorProcess, disk: Path, tmp_path: Path) -> None:
    """It is there, its id cannot be written down: no other is made in its place, not after a kill either."""
    demand = Demand()
    demand.wants(training=2)
    begun = time.monotonic()
    config = write(tmp_path, sim.url, FLEET, timeout="20s")
    with living(config, tmp_path / "daemon.log") as daemon:
        until(lambda: converged(disk), seconds=60)
        sim.ask("/_sim/faults", {"faults": [{"kind": "slow_drip", "operation": "create", "seconds": 3}]})
        write(tmp_path, sim.url, MORE, timeout="20s")
        demand.wants(training=4)
        daemon.reload()
        until(lambda: len(sim.machines()) == 3, seconds=60)
        fill(disk)
        until(lambda: len(daemon.lines("journal.failed")) >= 3, seconds=60, saying="passes do not go on")
        assert len(sim.machines()) == 3
        daemon.kill()
    demand.lives.append([begun, time.monotonic()])

    sim.ask("/_sim/faults", {"faults": []})
    begun = time.monotonic()
    with living(config, tmp_path / "again.log") as daemon:
        daemon.wait_for("journal.failed")
        assert len(sim.machines()) == 3
        free(disk)
        until(lambda: len(sim.machines()) == 4 and converged(disk), seconds=90, saying=daemon.text)
        assert daemon.end() == 0
    demand.lives.append([begun, time.monotonic()])
    judge(sim, demand, disk / "journal.db")
