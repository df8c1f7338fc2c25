"""One daemon with one simulated account, as a real Prometheus sees it: what a story about an alert is played on."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from fleetd.simulator.world import World
from tests.support.ports import free_port
from tests.support.processes import SimulatorProcess, started, until, write_config

PATIENCE = 180.0
"""Seconds until an alert must have fired or cleared; nothing here depends on how long it takes."""


def shortened(rules: str) -> str:
    """The shipped rules with every minute as a second, for nobody waits half an hour in a test.

    Mechanical: durations in minutes (``for:`` and ranges), and the one threshold that counts seconds.
    """
    return re.sub(r"(?<=> )300\b", "5", re.sub(r"\b(\d+)m\b", r"\1s", rules))


def ask(url: str, expression: str) -> list[dict[str, Any]]:
    """What a Prometheus answers to an instant query."""
    query = urllib.parse.urlencode({"query": expression})
    with urllib.request.urlopen(f"{url}/api/v1/query?{query}", timeout=30) as answer:
        result: list[dict[str, Any]] = json.load(answer)["data"]["result"]
    return result


class Shift:
    """A fleetd on duty. ``config`` changes its file; values are those of ``write_config``."""

    def __init__(self, folder: Path, sim: SimulatorProcess, world: World, **values: Any) -> None:
        self.sim = sim
        self.world = world
        """What ``sim`` shows."""
        self.port = free_port()
        self.prometheus = ""
        """Its URL, once it runs."""
        self.log = folder / "log"
        self.state = folder / "state"
        self._folder = folder
        self._fault = str(folder / "fault")
        self._values = {"listen": f"127.0.0.1:{self.port}"} | values
        self._stack = ExitStack()
        self.path = self.config()
        self.start()

    @property
    def instance(self) -> str:
        """What Prometheus calls it."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the daemon."""
        command = started("run", "-c", str(self.path), log=self.log, module="tests.peers.faulty", FAULT=self._fault)
        self.process: subprocess.Popen[str] = self._stack.enter_context(command)

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End the daemon, and wait until it is gone."""
        self.process.send_signal(how)
        self.process.wait(timeout=PATIENCE)
        self._stack.close()

    @contextmanager
    def fault(self) -> Iterator[None]:
        """A fault in its own code, while this lasts."""
        Path(self._fault).touch()
        try:
            yield
        finally:
            Path(self._fault).unlink()

    def config(self, **changes: Any) -> Path:
        """Write the config anew."""
        self._values |= changes
        return write_config(self._folder, self.sim.url, **self._values)

    def reload(self, **changes: Any) -> None:
        """Write the config anew, and have it read."""
        self.config(**changes)
        self.process.send_signal(signal.SIGHUP)

    def faults(self, *rules: Mapping[str, Any]) -> None:
        """The provider's faults from now on; none ends them."""
        self.sim.ask("/_sim/faults", {"faults": rules})

    def metrics(self) -> str:
        """What it exposes."""
        with urllib.request.urlopen(f"http://{self.instance}/metrics", timeout=30) as answer:
            text: str = answer.read().decode()
        return text

    def status(self) -> dict[str, Any]:
        """Its status document."""
        with urllib.request.urlopen(f"http://{self.instance}/status.json", timeout=30) as answer:
            document: dict[str, Any] = json.load(answer)
        return document

    def converged(self, up: int) -> bool:
        """Whether its fleet is at its target, and that many machines are up."""
        assert self.process.poll() is None, self._story()
        try:
            fleet = self.status()["fleets"].get("training")
        except OSError:
            return False
        return bool(fleet and fleet["converged"] and fleet["up"] == up)

    def until_converged(self, up: int) -> None:
        """Wait for that."""
        until(lambda: self.converged(up), seconds=PATIENCE, every=0.5, saying=self._story)

    def value(self, metric: str) -> float | None:
        """What Prometheus has of a metric without labels."""
        found = ask(self.prometheus, f'{metric}{{instance="{self.instance}"}}')
        return float(found[0]["value"][1]) if found else None

    def firing(self, alert: str) -> bool:
        """Whether an alert fires for it."""
        ours = f'alertname="{alert}",alertstate="firing",instance="{self.instance}"'
        return bool(ask(self.prometheus, f"ALERTS{{{ours}}}"))

    def until_firing(self, alert: str) -> None:
        """Wait until an alert fires."""
        until(
            lambda: self.firing(alert),
            seconds=PATIENCE,
            every=0.5,
            saying=lambda: f"{alert} did not fire\n{self._story()}",
        )

    def until_clear(self, alert: str) -> None:
        """Wait until it does not fire any more."""
        until(
            lambda: not self.firing(alert),
            seconds=PATIENCE,
            every=0.5,
            saying=lambda: f"{alert} goes on firing\n{self._story()}",
        )

    def _story(self) -> str:
        return self.log.read_text()[-6000:]
