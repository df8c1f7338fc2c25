"""SkyPilot's provisioner for Paperspace, as published, against the simulator's v1 API.

``FLEETD_SKYPILOT`` names a Python interpreter that can import SkyPilot: it has many dependencies, so it is installed
in an environment of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.support.processes import KEY, simulator

LIFE = Path(__file__).parent / "skypilot_life.py"


@pytest.fixture
def interpreter() -> str:
    found = os.environ.get("FLEETD_SKYPILOT")
    if found:
        return found
    message = "FLEETD_SKYPILOT names no interpreter with SkyPilot; .ci/run installs it"
    if os.environ.get("CI") == "true":
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


def test_a_cluster_lives_its_whole_life_on_the_simulator(interpreter: str, tmp_path: Path) -> None:
    with simulator(tmp_path, speed=200) as sim:
        told = subprocess.run(
            [interpreter, str(LIFE), sim.url, KEY], capture_output=True, text=True, timeout=180, check=False
        )
        left = sim.machines()
    assert told.returncode == 0, told.stderr[-4000:]
    lines = [json.loads(line) for line in told.stdout.splitlines() if line.startswith("{")]
    steps = {line["step"]: line for line in lines}
    assert steps["bootstrap"] == {"step": "bootstrap", "statuses": [], "disk": 100, "network": True}
    assert (steps["launch"]["created"], steps["launch"]["statuses"]) == (2, ["UP", "UP"])
    assert (steps["second launch"]["created"], steps["second launch"]["head"]) == (0, steps["launch"]["head"])
    assert steps["info"]["addresses"] == [True, True]
    assert steps["stop"]["statuses"] == ["STOPPED", "STOPPED"]
    assert (steps["start"]["resumed"], steps["start"]["created"]) == (2, 0)
    assert steps["start"]["statuses"] == ["UP", "UP"]
    assert "UP" in steps["down, workers only"]["statuses"]
    assert (steps["down"]["statuses"], steps["down"]["networks"]) == ([], 0)
    assert [m for m in left if m["state"] != "gone"] == []
