"""A name server that does not answer holds up no exit."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.processes import popen

HANGS = """
import socket, time
real = socket.getaddrinfo
def getaddrinfo(host, *rest, **more):
    if host and "provider" in str(host):
        time.sleep(120)
    return real(host, *rest, **more)
socket.getaddrinfo = getaddrinfo
"""
CONFIG = """
version = 1
[provider]
kind = "{kind}"
base_url = "https://provider.example.test"
api_key = {{ env = "PAPERSPACE_API_KEY" }}
request_timeout = "5s"
[daemon]
state_dir = "{state}"
listen = ""
[fleets.training]
target = 1
[fleets.training.machine]
region = "East Coast (NY2)"
machineType = "P4000"
{size} = 50
templateId = "tbu200wi"
"""


def begun(tmp_path: Path, *command: str, kind: str = "paperspace-core") -> subprocess.Popen[str]:
    (tmp_path / "sitecustomize.py").write_text(HANGS)
    config = tmp_path / "fleetd.toml"
    size = "size" if kind == "paperspace-core" else "diskSize"
    text = CONFIG.format(kind=kind, state=tmp_path / "state", size=size)
    config.write_text(text.replace("templateId", 'billingType = "hourly"\ntemplateId') if size == "size" else text)
    return popen(*command, "-c", str(config), PYTHONPATH=str(tmp_path), RUNTIME_DIRECTORY=str(tmp_path))


@pytest.mark.parametrize("kind", ["paperspace-core", "paperspace"])
def test_sigterm_ends_a_daemon_whose_provider_cannot_be_looked_up(tmp_path: Path, kind: str) -> None:
    process = begun(tmp_path, "run", kind=kind)
    assert process.stderr is not None
    for line in process.stderr:
        if "daemon.started" in line:
            break
    time.sleep(1.5)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=40)  # the look-up takes two minutes
    assert process.returncode == 0, said
    assert "daemon.stopped" in said


def test_a_command_returns_with_its_answer(tmp_path: Path) -> None:
    process = begun(tmp_path, "machines", "list")
    said, errors = process.communicate(timeout=60)  # the request's time, and not the two minutes of a name server
    assert process.returncode == 69, said + errors
    assert "no connection" in errors
