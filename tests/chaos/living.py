"""One ``fleetd run`` after another on the same state directory."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from tests.support.processes import environment, until

SPEED = 120.0
"""World seconds a second: a machine is up about a second after its create."""

CONFIG = """
version = 1
[provider]
kind = "paperspace-core"
base_url = "{url}"
api_key = {{ env = "PAPERSPACE_API_KEY" }}
max_requests_per_second = 200
request_timeout = "{timeout}"
[daemon]
interval = "1s"
poll = "100ms"
state_dir = "{state}"
listen = "{listen}"
[guards]
settle = "3s"
max_stops_per_pass = "100%"
max_destroys_per_pass = 10
max_shrink = "100%"
"""

FLEET = """
[fleets.{name}]
target = {target}
respect_manual = "0s"
{more}
[fleets.{name}.machine]
region = "East Coast (NY2)"
machineType = "P4000"
size = 50
billingType = "hourly"
templateId = "tbu200wi"
"""

Fleets = dict[str, tuple[int, str]]
"""(target, further keys) by name."""


def write(directory: Path, url: str, fleets: Fleets, *, state: Path | None = None, **values: Any) -> Path:
    """The config; replaced at one stroke, for a daemon may be reading it."""
    fields = {"timeout": "2s", "listen": ""} | values
    text = CONFIG.format(url=url, state=state or directory / "state", **fields)
    text += "".join(FLEET.format(name=n, target=t, more=more) for n, (t, more) in fleets.items())
    path = directory / "fleetd.toml"
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)
    return path


class Daemon:
    """A process that runs now. Its lines are in ``log``. ``prefix``: a program that becomes it, as prlimit(1)."""

    def __init__(self, config: Path, log: Path, *, prefix: Sequence[str] = ()) -> None:
        self.config = config
        self.log = log
        with log.open("w") as stream:
            self.process = subprocess.Popen(
                [*prefix, sys.executable, "-m", "fleetd", "run", "-c", str(config)],
                stdout=stream,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=environment(),
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def lines(self, event: str = "") -> list[dict[str, Any]]:
        """Finished log lines, those of one event."""
        whole = [line for line in self.text().split("\n")[:-1] if line.startswith("{")]
        parsed = [json.loads(line) for line in whole]
        return [line for line in parsed if not event or line["event"] == event]

    def wait_for(self, word: str, *, seconds: float = 30, every: float = 0.02) -> None:
        """Until a word stands in the log; what ends the process meanwhile fails."""
        until(
            lambda: word in self.text() or self.process.poll() is not None,
            seconds=seconds,
            every=every,
            saying=lambda: f"no {word}: {self.text()}",
        )
        assert word in self.text(), f"it ended ({self.process.poll()}) without {word}: {self.text()}"

    def reload(self) -> None:
        self.process.send_signal(signal.SIGHUP)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def end(self) -> int:
        """SIGTERM; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=40)

    def resident(self) -> int:
        """Bytes of memory."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))


@contextmanager
def living(config: Path, log: Path, **options: Any) -> Iterator[Daemon]:
    """One process; killed at the end where it has not ended before."""
    daemon = Daemon(config, log, **options)
    try:
        yield daemon
    finally:
        daemon.kill()


class _UnixConnection(HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("fleetd", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def ask(state: Path, path: str) -> bytes:
    """GET on the control socket of the daemon that has this state directory."""
    connection = _UnixConnection(state / "control.sock")
    try:
        connection.request("GET", path)
        return connection.getresponse().read()
    finally:
        connection.close()


def status(state: Path) -> dict[str, Any]:
    """The running daemon's status document."""
    return dict(json.loads(ask(state, "/status")))


def converged(state: Path) -> dict[str, Any] | None:
    """The status document once every fleet is at its target and nothing is under way; None before."""
    try:
        document = status(state)
    except (OSError, HTTPException):
        return None  # not listening yet
    quiet = not [m for m in document["machines"] if m["transition"]]
    there = all(f["converged"] for f in document["fleets"].values())
    return document if document["fleets"] and quiet and there else None
