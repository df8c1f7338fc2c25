"""Replicas as real processes: each with a state directory of its own, all on one database and one account."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support.ports import free_port
from tests.support.processes import SimulatorProcess, environment, fleetd, write_config

TIMEOUT = 3
"""Seconds for a call; settle is this and a lease, and a little."""


class Replica:
    """One ``fleetd run``, which may be started again and again."""

    def __init__(
        self,
        directory: Path,
        name: str,
        sim: SimulatorProcess,
        database: str,
        *,
        within: Sequence[str] = (),
        **values: Any,
    ) -> None:
        """``within``: before its command, what puts it on another host; nobody reaches its listener there."""
        self.name = name
        self._within = within
        self.directory = directory / name
        self.directory.mkdir()
        self.log = self.directory / "log"
        self._sim, self._database = sim, database
        self.process: subprocess.Popen[bytes] | None = None
        self.listen = "" if within else f"127.0.0.1:{free_port()}"
        self.config = self.configure(**values)

    def configure(self, **values: Any) -> Path:
        given = {"settle": "19s", "rate": f'200\nrequest_timeout = "{TIMEOUT}s"', "state": self.directory / "state"}
        given["listen"] = self.listen
        path = write_config(self.directory, self._sim.url, **(given | values))
        path.write_text(path.read_text().replace("[guards]", f'state = "{self._database}"\n[guards]', 1))
        return path

    def start(self) -> None:
        with self.log.open("ab") as stream:
            self.process = subprocess.Popen(
                [*self._within, sys.executable, "-m", "fleetd", "run", "-c", str(self.config)],
                stdout=stream,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=environment(),
            )

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        os.kill(self.process.pid, number)

    def wait(self, seconds: float = 40) -> int:
        assert self.process is not None
        return self.process.wait(timeout=seconds)

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()

    def get(self, path: str) -> tuple[int, str]:
        """What its listener answers; 0 where nobody listens."""
        try:
            with urllib.request.urlopen(f"http://{self.listen}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def shown(self) -> dict[str, Any]:
        """``/status.json``; nothing while nobody listens. Of one that cannot be reached, what the command has."""
        status, text = self.get("/status.json") if self.listen else (200, self.run("status", "--json").stdout)
        found: dict[str, Any] = json.loads(text) if status == 200 else {}
        return found

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command, *rest = arguments
        return fleetd(command, *rest, "-c", str(self.config))

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        found = [json.loads(line) for line in lines if line.startswith("{")]
        return [event for event in found if event["event"] == name]

    @property
    def epoch(self) -> int:
        """Of the lease that it took last; 0 where it never had one."""
        return max((event["epoch"] for event in self.events("lease.taken")), default=0)

    def tail(self) -> str:
        return re.sub(r"\n+", "\n", self.log.read_text())[-3000:] if self.log.exists() else ""


def wait_until(what: Any, seconds: float, saying: Any) -> float:
    """Seconds until it is so."""
    began = time.monotonic()
    while not what():
        if time.monotonic() - began > seconds:
            raise AssertionError(saying())
        time.sleep(0.02)
    return time.monotonic() - began
