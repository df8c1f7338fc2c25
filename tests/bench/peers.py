"""Whole processes beside others that do the same, in turns: processor time, medians, and their ratio.

A python that has aiohttp imported is the measure of a start; the vendor's own client for node and a plain script on
aiohttp are that of a listing. The simulator runs in this process, whose time is not counted.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import anyio

from fleetd.simulator.server import serve
from fleetd.simulator.world import World
from tests.bench.goals import Figure
from tests.bench.replay import served
from tests.bench.turns import Times, Turns

KEY = "key-of-the-bench"
MANY = 99_900
"""Machines: a hundred pages, the last of which is not full."""
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


def figures(turns: int, *, node_modules: str | None) -> list[Figure]:
    """All of them; what needs node only where it has paperspace-node."""
    with tempfile.TemporaryDirectory(prefix="fleetd-bench-") as scratch:
        return _compared(Path(scratch), turns, node_modules)


def _compared(scratch: Path, turns: int, node_modules: str | None) -> list[Figure]:
    python = [sys.executable, "-c", "import aiohttp"]
    fleetd = [sys.executable, "-m", "fleetd"]
    env = {**os.environ, "RUNTIME_DIRECTORY": str(scratch), "KEY": KEY, "PAPERSPACE_API_KEY": KEY}
    pairs = [_pair("start", command, [*fleetd, command], python, turns, env) for command in ("--help", "version")]
    simulated = config(scratch / "simulated.toml", 'kind = "simulator"', scratch / "state")
    with daemon([*fleetd, "run", "-c", simulated], [*fleetd, "status", "-c", simulated], env):
        for command in ("status", "history"):
            ours = [*fleetd, command, "-c", simulated]
            pairs.append(_pair("ask", command, ours, python, turns, env))
    for machines in (1000, 10_000, MANY):
        with served("paperspace-core", machines) as url:
            file = config(scratch / f"{machines}.toml", f'kind = "paperspace-core"\nbase_url = "{url}"', scratch)
            here = {**env, "URL": url, "PAPERSPACE_CONFIG_HOST": url, "NODE_PATH": node_modules or ""}
            table = [*fleetd, "machines", "list", "-c", file]
            ours, number = [*table, "--json"], f"{machines:,}"
            if machines == MANY:
                pairs.append(_pair("json", number, ours, [sys.executable, "-c", SCRIPT], turns, here))
                continue
            pairs.append(_pair("table", number, table, ours, turns, here))
            if machines == 1000 and node_modules:
                pairs.append(_pair("node", "", ours, ["node", "-e", NODE], turns, here))
    return pairs


def _pair(
    key: str, case: str, ours: Sequence[str], theirs: Sequence[str], turns: int, env: Mapping[str, str]
) -> Figure:
    took = [(_seconds(ours, env), _seconds(theirs, env)) for _ in range(turns)]
    one, other = (Times(times) for times in zip(*took, strict=True))
    against = Turns(one, other)
    return Figure(key, case, against.ratio, f"{against.words}; {one.median:.2f} s against {other.median:.2f} s")


def _seconds(command: Sequence[str], env: Mapping[str, str]) -> float:
    process = subprocess.Popen(command, env=dict(env), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)[:200]} ended with {process.returncode}: {said.decode()[-500:]}")
    return usage.ru_utime + usage.ru_stime


def config(path: Path, provider: str, state: Path, *, target: int = 1, adopt: Sequence[str] = ()) -> str:
    """Write a config of one fleet; its path."""
    path.write_text(
        f'version = 1\n[provider]\n{provider}\napi_key = {{ env = "PAPERSPACE_API_KEY" }}\n'
        f'max_requests_per_second = 1000\n[daemon]\nstate_dir = "{state}"\nlisten = ""\n'
        f"[fleets.training]\ntarget = {target}\nadopt = {json.dumps(adopt)}\n"
        '[fleets.training.machine]\nregion = "East Coast (NY2)"\nmachineType = "P4000"\nsize = 50\n'
        'billingType = "hourly"\ntemplateId = "tbu200wi"\n'
    )
    return str(path)


@contextmanager
def daemon(run: Sequence[str], ask: Sequence[str], env: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A daemon that answers."""
    with subprocess.Popen(run, env=dict(env), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        try:
            ends = time.monotonic() + 120
            while not _answers(ask, env):
                if time.monotonic() > ends or running.poll() is not None:
                    raise RuntimeError("the daemon does not answer")
            yield running
        finally:
            running.terminate()


def _answers(ask: Sequence[str], env: Mapping[str, str]) -> bool:
    done = subprocess.run([*ask, "--json"], env=dict(env), capture_output=True, text=True, check=False)
    return done.returncode == 0 and '"running": true' in done.stdout


@contextmanager
def account(machines: int) -> Iterator[str]:
    """So many machines of somebody's, served from a thread."""
    url: list[str] = []
    ready, over = threading.Event(), threading.Event()

    async def run() -> None:
        world = World(seed=1)
        for n in range(machines):
            world.add_machine(f"machine-{n}", age_seconds=86_400.0 - n)
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
