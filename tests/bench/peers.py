"""Whole processes beside others that do the same, in turns: processor time, medians, and their ratio.

A python that has aiohttp imported is the measure of a start; the vendor's own client for node and a plain script on
aiohttp are that of a listing. The simulator runs in this process, whose time is not counted.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio

from fleetd.simulator.server import serve
from fleetd.simulator.world import World

KEY = "key-of-the-bench"
MANY = 10_000
NODE = "const p = require('paperspace-node')({apiKey: process.env.KEY}); p.machines.list({}, (e, r) => "
NODE += "{ if (e) throw e; process.stdout.write(JSON.stringify(r)); });"
SCRIPT = """
import asyncio, os, sys
import aiohttp, msgspec

async def main():
    headers, rows = {"x-api-key": os.environ["KEY"]}, []
    async with aiohttp.ClientSession(os.environ["URL"], headers=headers) as session:
        while True:
            async with session.get("/machines/getMachines", params={"limit": 1000, "skip": len(rows)}) as answer:
                page = msgspec.json.decode(await answer.read())
            rows += page
            if len(page) < 1000:
                break
    if len(sys.argv) > 1:
        sys.stdout.buffer.write(msgspec.json.encode(rows))

asyncio.run(main())
"""


@dataclass(frozen=True)
class Pair:
    """Seconds of processor time, medians, of ours and of theirs."""

    what: str
    beside: str
    ours: float
    theirs: float
    spread: float
    """Between the largest and the smallest ratio of the rounds."""
    goal: float

    @property
    def ratio(self) -> float:
        return self.ours / self.theirs


def compared(rounds: int, *, node_modules: str | None) -> list[Pair]:
    """All of them; those that need node only where it has paperspace-node."""
    with tempfile.TemporaryDirectory(prefix="fleetd-bench-") as scratch:
        return _compared(Path(scratch), rounds, node_modules)


def _compared(scratch: Path, rounds: int, node_modules: str | None) -> list[Pair]:
    python = [sys.executable, "-c", "import aiohttp"]
    fleetd = [sys.executable, "-m", "fleetd"]
    env = {**os.environ, "RUNTIME_DIRECTORY": str(scratch), "KEY": KEY, "PAPERSPACE_API_KEY": KEY}
    pairs = [
        _pair(f"fleetd {command}", [*fleetd, command], "import aiohttp", python, rounds, env, 1.4)
        for command in ("--help", "version")
    ]
    simulated = _config(scratch / "simulated.toml", 'kind = "simulator"', scratch / "state")
    with _daemon([*fleetd, "run", "-c", simulated], [*fleetd, "status", "-c", simulated], env):
        for command in ("status", "history"):
            ours = [*fleetd, command, "-c", simulated]
            pairs.append(_pair(f"fleetd {command}", ours, "import aiohttp", python, rounds, env, 2.5))
    for machines in (1000, MANY):
        with _account(machines) as url:
            config = _config(scratch / f"{machines}.toml", f'kind = "paperspace-core"\nbase_url = "{url}"', scratch)
            here = {**env, "URL": url, "PAPERSPACE_CONFIG_HOST": url, "NODE_PATH": node_modules or ""}
            ours = [*fleetd, "machines", "list", "--json", "-c", config]
            script = [sys.executable, "-c", SCRIPT]
            what = f"fleetd machines list --json, {machines:,}"
            pairs.append(_pair(what, ours, "aiohttp, one decode", script, rounds, here, 2.5))
            if machines == 1000 and node_modules:
                pairs.append(_pair(what, ours, "paperspace-node", ["node", "-e", NODE], rounds, here, 1.0))
    return pairs


def _pair(
    what: str,
    ours: Sequence[str],
    beside: str,
    theirs: Sequence[str],
    rounds: int,
    env: Mapping[str, str],
    goal: float,
) -> Pair:
    took = [(_seconds(ours, env), _seconds(theirs, env)) for _ in range(rounds)]
    ratios = [one / other for one, other in took]
    return Pair(
        what,
        beside,
        statistics.median(one for one, _ in took),
        statistics.median(other for _, other in took),
        max(ratios) - min(ratios),
        goal,
    )


def _seconds(command: Sequence[str], env: Mapping[str, str]) -> float:
    process = subprocess.Popen(command, env=dict(env), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)[:200]} ended with {process.returncode}: {said.decode()[-500:]}")
    return usage.ru_utime + usage.ru_stime


def _config(path: Path, provider: str, state: Path) -> str:
    path.write_text(
        f'version = 1\n[provider]\n{provider}\napi_key = {{ env = "PAPERSPACE_API_KEY" }}\n'
        f'max_requests_per_second = 1000\n[daemon]\nstate_dir = "{state}"\nlisten = ""\n'
        '[fleets.training]\ntarget = 1\n[fleets.training.machine]\nregion = "East Coast (NY2)"\n'
        'machineType = "P4000"\nsize = 50\n'
        'billingType = "hourly"\ntemplateId = "tbu200wi"\n'
    )
    return str(path)


@contextmanager
def _daemon(run: Sequence[str], ask: Sequence[str], env: Mapping[str, str]) -> Iterator[None]:
    with subprocess.Popen(run, env=dict(env), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as daemon:
        try:
            ends = time.monotonic() + 120
            while not _answers(ask, env):
                if time.monotonic() > ends or daemon.poll() is not None:
                    raise RuntimeError("the daemon does not answer")
            yield
        finally:
            daemon.terminate()


def _answers(ask: Sequence[str], env: Mapping[str, str]) -> bool:
    done = subprocess.run([*ask, "--json"], env=dict(env), capture_output=True, text=True, check=False)
    return done.returncode == 0 and '"running": true' in done.stdout


@contextmanager
def _account(machines: int) -> Iterator[str]:
    """So many machines of somebody's, served from a thread."""
    url: list[str] = []
    ready, over = threading.Event(), threading.Event()

    async def run() -> None:
        world = World(seed=1)
        for n in range(machines):
            world.add_machine(f"machine-{n}")
        async with serve(world, key=KEY, latency=None) as server:
            url.append(server.url)
            ready.set()
            await anyio.to_thread.run_sync(over.wait)

    thread = threading.Thread(target=anyio.run, args=[run])
    thread.start()
    ready.wait()
    try:
        yield url[0]
    finally:
        over.set()
        thread.join()


def table(pairs: Sequence[Pair]) -> list[str]:
    """The rows for people."""
    lines = [f"{'processor time':<42} {'beside':<20} {'ours':>7} {'theirs':>7} {'ratio':>6} {'+-':>5} {'goal':>5}"]
    lines += [
        f"{p.what:<42} {p.beside:<20} {p.ours:>5.2f} s {p.theirs:>5.2f} s {p.ratio:>6.2f} {p.spread / 2:>5.2f}"
        f" {p.goal:>5.1f}"
        for p in pairs
    ]
    return lines
