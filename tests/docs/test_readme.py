"""The README's config and commands do what it says, on the simulator in place of the provider."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from fleetd.config import load
from tests.support.processes import fleetd

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
CONFIG = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)[0]
COMMANDS = [c for c in re.findall(r"`(fleetd [^`]*)`", README) if "-c fleetd.toml" in c and " run " not in c]
HELD = re.findall(r"`fleetd hold (\S+) ", README)[0]
SIMULATED = f"""[provider]
kind = "simulator"
[provider.simulator]
speed = 120
[[provider.simulator.machines]]
name = "{HELD}"
state = "off"
[daemon]
interval = "1s"
poll = "100ms"
listen = ""
state_dir = "state"
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("readme")
    (folder / "fleetd.toml").write_text(re.sub(r"\[provider\]\n(?:\w.*\n)+", SIMULATED, CONFIG))
    return folder


def test_the_config_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "fleetd.toml"
    path.write_text(CONFIG)
    assert [(f.name, f.target) for f in load(path).fleets] == [("training", 8)]


def test_there_are_commands() -> None:
    assert len(COMMANDS) >= 10


@pytest.mark.long
@pytest.mark.parametrize("command", COMMANDS)
def test_the_command_runs(place: Path, command: str) -> None:
    _, *arguments = shlex.split(command)
    done = fleetd(*(str(place / a) if a == "fleetd.toml" else a for a in arguments), timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout or done.stderr
