"""Real processes for end-to-end tests: the simulator, and ``fleetd`` itself, over loopback."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.ports import free_port

KEY = "k3y-for-tests-0123456789abcdef"
URL = re.compile(r"http://127\.0\.0\.1:\d+")


def environment(**extra: str) -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("FLEETD_", "PAPERSPACE_"))}
    return clean | {"PAPERSPACE_API_KEY": KEY, "PYTHONUNBUFFERED": "1", "COLUMNS": "120"} | extra


def fleetd(*arguments: str, timeout: float = 60, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "fleetd", *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        env=environment(**extra),
        stdin=subprocess.DEVNULL,
        check=False,
    )


def popen(*arguments: str, **extra: str) -> subprocess.Popen[str]:
    """Begin one command and let it run; its two streams are pipes."""
    return subprocess.Popen(
        [sys.executable, "-m", "fleetd", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        env=environment(**extra),
    )


@contextmanager
def started(*arguments: str, log: Path, module: str = "fleetd", **extra: str) -> Iterator[subprocess.Popen[str]]:
    """A command that goes on; its output, both streams, is appended to ``log``. Ends with SIGTERM."""
    with log.open("a") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdout=stream,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            env=environment(**extra),
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(timeout=35)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def until(what: Any, *, seconds: float = 60, every: float = 0.1, saying: Any = "it never came") -> Any:
    """Ask until the answer is truthy. Real processes have no virtual time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer = what()
        if answer:
            return answer
        time.sleep(every)
    raise AssertionError(saying() if callable(saying) else saying)


class SimulatorProcess:
    """A ``fleetd simulator`` and its control paths."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.url + path, data=data, headers={"Content-Type": "application/json"}, method="POST" if data else "GET"
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def calls(self) -> list[dict[str, Any]]:
        answer = self.ask("/_sim/calls")
        calls = answer["calls"] if isinstance(answer, Mapping) else answer
        return list(calls)

    def writes(self) -> list[dict[str, Any]]:
        return [c for c in self.calls() if c["write"]]

    def counts(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for call in self.calls():
            found[call["operation"]] = found.get(call["operation"], 0) + 1
        return found

    def machines(self) -> list[dict[str, Any]]:
        answer = self.ask("/_sim/machines")
        machines = answer["machines"] if isinstance(answer, Mapping) else answer
        return list(machines)

    def add(self, **machine: Any) -> Any:
        return self.ask("/_sim/machines", machine)

    def reset_calls(self) -> None:
        self.ask("/_sim/reset_calls", {})


@contextmanager
def simulator(tmp_path: Path, *arguments: str, speed: float = 120, **extra: str) -> Iterator[SimulatorProcess]:
    log = tmp_path / "simulator.log"
    port = str(free_port())  # of its own: once it has ended, no other test's simulator answers there
    with started("simulator", "--port", port, "--speed", str(speed), "--seed", "1", *arguments, log=log, **extra):
        found = until(lambda: URL.search(log.read_text()), saying=f"no URL in {log}: {log.read_text()}")
        yield SimulatorProcess(found.group())


CONFIG = """
version = 1
[provider]
kind = "{kind}"
base_url = "{url}{path}"
api_key = {{ env = "PAPERSPACE_API_KEY" }}
max_requests_per_second = {rate}
[daemon]
interval = "{interval}"
poll = "{poll}"
state_dir = "{state}"
listen = "{listen}"
[guards]
max_creates_per_pass = {creates}
settle = "{settle}"
{guards}
[prices]
P4000 = 0.51
[fleets.training]
target = {target}
{fleet}
[fleets.training.machine]
{machine}
"""

PARAMETERS = {
    "region": "East Coast (NY2)",
    "machineType": "P4000",
    "size": 50,
    "billingType": "hourly",
    "templateId": "tbu200wi",
}
V1_PARAMETERS = {
    "region": "East Coast (NY2)",
    "machineType": "P4000",
    "diskSize": 50,
    "templateId": "tbu200wi",
}
DIALECTS = {"paperspace-core": ("", PARAMETERS), "paperspace": ("/v1", V1_PARAMETERS)}
"""By provider.kind: where the simulator speaks it, and the same machine in its words."""


DATABASE: str | None = None
"""The journal's, in place of a file in the state directory; the calls are as short then as the lease wants it."""
ON_DATABASE = {"settle": "19s", "rate": '200\nrequest_timeout = "3s"'}


def write_config(tmp_path: Path, url: str, *, kind: str = "paperspace-core", **values: Any) -> Path:
    """A config for the training fleet; call again to change it."""
    spoken_at, parameters = DIALECTS[kind]
    defaults: dict[str, Any] = {
        "target": 5,
        "interval": "1s",
        "poll": "200ms",
        "state": tmp_path / "state",
        "settle": "3s",
        "creates": 10,
        "rate": 200,
        "fleet": "",
        "kind": kind,
        "path": spoken_at,
        "machine": "\n".join(f"{name} = {json.dumps(value)}" for name, value in parameters.items()),
        "guards": "",
        "listen": "",
    }
    if DATABASE is not None:
        defaults |= ON_DATABASE | {"state": f'{tmp_path / "state"}"\nstate = "{DATABASE}'}
    path = tmp_path / "fleetd.toml"
    path.write_text(CONFIG.format(url=url, **(defaults | values)))
    return path
