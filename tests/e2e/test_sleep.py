"""A machine that slept: what was seen before is as old as it is, and a lease has ended."""

from __future__ import annotations

import subprocess
import sys

import pytest

SLEPT = 86_400
LOOKS = {
    "run": "app(['run', '-c', sys.argv[1]], standalone_mode=False)",
    "apply": "app(['apply', '-c', sys.argv[1]], standalone_mode=False)",
    "lease": "from fleetd.wiring.process import Process; print(Process().monotonic() - time.monotonic())",
}
SCRIPT = """
import asyncio, sys, time
import fleetd.wiring.running as running
from fleetd.cli.app import app

async def look(*_arguments, **_more):
    print(asyncio.get_running_loop().time() - time.monotonic(), flush=True)
    raise SystemExit

running.run_daemon = running.converge = look
"""


@pytest.mark.parametrize("who", LOOKS)
def test_time_goes_on_while_the_machine_sleeps(who: str, tmp_path) -> None:
    """A time namespace that was started a day ago, and whose kernel was awake for as long as this one's."""
    config = tmp_path / "fleetd.toml"
    config.write_text('version = 1\n[provider]\nkind = "simulator"\n')
    slept = ["unshare", "--time", "--boottime", str(SLEPT), "--fork"]
    command = [*slept, sys.executable, "-c", SCRIPT + LOOKS[who], str(config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if "unshare" in done.stderr:
        pytest.skip(f"time namespaces cannot be had here: {done.stderr}")
    assert done.stdout, done.stderr
    assert float(done.stdout) >= SLEPT - 1
