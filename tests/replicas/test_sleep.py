"""A host that sleeps wakes with a lease that has ended, and knows it."""

from __future__ import annotations

import subprocess
import sys

import pytest

SLEPT = 86_400
LOOK = "import time; from fleetd.wiring.process import Process; print(Process().monotonic() - time.monotonic())"


def test_the_lease_runs_on_while_the_machine_sleeps() -> None:
    """A time namespace whose boot is a day ago, of which the kernel was awake as long as this one."""
    slept = ["unshare", "--time", "--boottime", str(SLEPT), "--fork"]
    done = subprocess.run([*slept, sys.executable, "-c", LOOK], capture_output=True, text=True, check=False)
    if done.returncode != 0 and "unshare" in done.stderr:
        pytest.skip(f"time namespaces cannot be had here: {done.stderr}")
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) >= SLEPT - 1
