"""The Containerfile without an engine: what it copies is there, and its commands do what they are for."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.config_text import SIMULATOR_PROVIDER, config_text
from tests.support.ports import free_port
from tests.support.processes import started, until

ROOT = Path(__file__).parents[2]
STEPS = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", (ROOT / "deploy/Containerfile").read_text(), flags=re.MULTILINE))


def steps(word: str) -> list[str]:
    """The arguments of every instruction of this name."""
    return re.findall(rf"^{word} (.*)$", STEPS, re.MULTILINE)


def copied() -> list[str]:
    """What the build takes from the project."""
    return [name for step in steps("COPY") if not step.startswith("--from") for name in step.split()[:-1]]


def test_it_is_built_from_what_there_is_and_from_nothing_private() -> None:
    assert copied()
    assert all((ROOT / name).exists() for name in copied())
    assert "." not in copied(), "a key that lies about, or .git, must not end in a layer"
    assert "/opt/fleetd/bin/pip install --no-cache-dir /src" in steps("RUN")[0]


def test_both_stages_have_the_same_python_for_the_environment_links_to_it() -> None:
    images = [step.removesuffix(" AS build") for step in steps("FROM")]
    assert len(images) == 2
    assert len(set(images)) == 1


def test_it_runs_as_a_user_of_its_own_who_owns_nothing_but_the_state() -> None:
    (user,) = steps("USER")
    assert f"useradd --system --uid 10001 --no-create-home {user}" in steps("RUN")[-1]
    assert f"install -d -o {user} -g {user} -m 0700 /var/lib/fleetd" in steps("RUN")[-1]
    assert steps("VOLUME") == ["/var/lib/fleetd"]
    assert "STATE_DIRECTORY=/var/lib/fleetd" in steps("ENV")[0].split()


@pytest.mark.long
def test_its_command_runs_its_health_check_tells_and_sigterm_ends_it(tmp_path: Path) -> None:
    (entry,), (command,), (health,) = map(steps, ("ENTRYPOINT", "CMD", "HEALTHCHECK"))
    assert json.loads(entry) == ["fleetd"]
    port, path, log = free_port(), tmp_path / "fleetd.toml", tmp_path / "log"
    path.write_text(config_text(provider=SIMULATOR_PROVIDER, daemon=f'[daemon]\nlisten = "0.0.0.0:{port}"'))
    arguments = [str(path) if word == "/etc/fleetd/fleetd.toml" else word for word in json.loads(command)]
    assert str(path) in arguments
    program, *words = json.loads(health.partition(" CMD ")[2])
    assert program == "python"
    check = [sys.executable, *(word.replace(":8750/", f":{port}/") for word in words)]

    def healthy() -> bool:
        return subprocess.run(check, capture_output=True, check=False, timeout=60).returncode == 0

    assert steps("EXPOSE") == ["8750"]
    assert not healthy()
    with started(*arguments, log=log, STATE_DIRECTORY=str(tmp_path / "state")) as daemon:
        until(healthy, saying=log.read_text)
        daemon.terminate()
        assert daemon.wait(timeout=60) == 0
    assert not healthy()
    assert (tmp_path / "state" / "journal.db").exists()
