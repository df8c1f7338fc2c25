"""Two daemons: on one state directory the second gives way; on two, with the same fleet, they share it safely."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.living import SPEED, converged, living, status, write
from tests.chaos.record import Demand, Record
from tests.support.processes import SimulatorProcess, simulator, until

FLEET = {"training": (3, "")}


@pytest.fixture
def sim(tmp_path: Path) -> Iterator[SimulatorProcess]:
    with simulator(tmp_path, speed=SPEED) as process:
        yield process


@pytest.mark.slow
def test_the_second_on_a_state_directory_ends_with_75_and_calls_nobody(sim: SimulatorProcess, tmp_path: Path) -> None:
    state = tmp_path / "state"
    demand = Demand()
    demand.wants(training=3)
    config = write(tmp_path, sim.url, FLEET)
    begun = time.monotonic()
    with living(config, tmp_path / "first.log") as first:
        until(lambda: converged(state), seconds=60)
        for number in range(3):
            write(tmp_path, sim.url, {"training": (6, "")})  # which only the second has read
            with living(config, tmp_path / f"second-{number}.log") as second:
                assert second.process.wait(timeout=60) == 75
                assert str(first.pid) in second.text()
                assert "Traceback" not in second.text()
        assert len(sim.machines()) == 3
        assert converged(state), "its control socket is still the first one's"
        assert status(state)["daemon"]["pid"] == first.pid
        first.kill()
    demand.lives.append([begun, time.monotonic()])
    demand.wants(training=6)
    begun = time.monotonic()
    with living(config, tmp_path / "heir.log") as heir:  # the lock died with its holder
        until(lambda: len(sim.machines()) == 6 and converged(state), seconds=60)
        assert heir.end() == 0
    demand.lives.append([begun, time.monotonic()])
    record = Record(sim, speed=SPEED, fleets=FLEET)
    assert record.duplicates(demand) == []
    assert record.unjournaled(state / "journal.db") == []


@pytest.mark.slow
def test_two_with_the_same_fleet_on_two_state_directories(sim: SimulatorProcess, tmp_path: Path) -> None:
    """A mistake that nobody can keep anybody from making: each knows the other's machines for its own by their names.

    Both may create at first, so that for a moment there are twice as many as wanted. Each then sees the surplus and
    gives it up by the scale-in rule. It ends at the target, nothing is destroyed, nothing foreign is written to.
    """
    foreign = {sim.add(name=name, state="ready")["id"] for name in ("training-backup", "desk")}
    places = [tmp_path / name for name in ("one", "two")]
    for place in places:
        place.mkdir()
    configs = [write(place, sim.url, FLEET) for place in places]
    with living(configs[0], tmp_path / "one.log") as one, living(configs[1], tmp_path / "two.log") as two:
        until(
            lambda: all(converged(place / "state") for place in places) and billed(sim) == 3,
            seconds=120,
            saying=lambda: one.text() + two.text(),
        )
        writes = len(sim.writes())
        time.sleep(5)
        assert len(sim.writes()) == writes, "they do not fight"
        until(lambda: all(converged(place / "state") for place in places), seconds=60)
        machine = next(m["id"] for m in sim.machines() if m["state"] == "ready" and m["id"] not in foreign)
        sim.ask(f"/_sim/machines/{machine}", {"action": "vanish"})
        until(
            lambda: all(converged(place / "state") for place in places) and billed(sim) == 3,
            seconds=120,
            saying=lambda: one.text() + two.text(),
        )
        assert one.end() == 0
        assert two.end() == 0
    record = Record(sim, speed=SPEED, fleets=FLEET)
    assert record.foreign_writes() == []
    assert record.forbidden_destroys([]) == []
    assert len(record.alive("training")) <= 8  # twice the target, and one in place of the lost one from each
    names = Counter(c["body"]["machineName"] for c in record.creates)
    assert max(names.values()) == 1


def billed(sim: SimulatorProcess) -> int:
    return Record(sim, speed=SPEED, fleets=FLEET).billed("training")
