"""What a daemon costs that has nothing to do: 100 machines at their target, a pass every 30 s, for two of them."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from tests.bench.goals import Figure
from tests.bench.peers import KEY, account, config, daemon

MACHINES = 100
LASTS = 62.0
"""Seconds of real time: two passes, whenever they come."""


def figures(*, lasts: float = LASTS) -> list[Figure]:
    """Memory and processor time of ``fleetd run``, once it has settled."""
    with tempfile.TemporaryDirectory(prefix="fleetd-bench-") as scratch, account(MACHINES) as url:
        place = Path(scratch)
        provider = f'kind = "paperspace-core"\nbase_url = "{url}"'
        file = config(place / "idle.toml", provider, place / "state", target=MACHINES, adopt=["machine-*"])
        env = {**os.environ, "RUNTIME_DIRECTORY": scratch, "PAPERSPACE_API_KEY": KEY}
        fleetd = [sys.executable, "-m", "fleetd"]
        with daemon([*fleetd, "run", "-c", file], [*fleetd, "status", "-c", file], env) as running:
            time.sleep(2)
            before, began = _spent(running.pid), time.monotonic()
            time.sleep(lasts)
            share = 100 * (_spent(running.pid) - before) / (time.monotonic() - began)
            memory = _resident(running.pid)
            _at_target(fleetd, file, env)
    return [Figure("rss", "", memory, f"{memory:.0f} MiB"), Figure("idle", "", share, f"{share:.2f} %")]


def _spent(pid: int) -> float:
    """Seconds of processor time so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _resident(pid: int) -> float:
    [line] = [one for one in Path(f"/proc/{pid}/status").read_text().splitlines() if one.startswith("VmRSS:")]
    return int(line.split()[1]) / 1024


def _at_target(fleetd: list[str], file: str, env: Mapping[str, str]) -> None:
    said = subprocess.run([*fleetd, "status", "-c", file, "--json"], env=dict(env), capture_output=True, check=True)
    if f'"up": {MACHINES}'.encode() not in said.stdout:
        raise RuntimeError("the daemon does not have all machines")
