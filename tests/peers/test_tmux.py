"""Commands in a real terminal, tmux: what a person sees on it at 80x24, 120x40 and 200x50."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fleetd.cli.sheet import GAP

pytestmark = pytest.mark.peer("tmux")

ROOT = Path(__file__).parents[2]
SIZES = [(80, 24), (120, 40), (200, 50)]
PATIENCE = 30
"""Seconds for what takes three on a free machine."""
SLOW = """version = 1
[provider]
kind = "simulator"
[provider.simulator]
speed = 1
[daemon]
interval = "1s"
listen = ""
state_dir = "state"
[fleets.training]
target = 4
[fleets.training.machine]
region = "East Coast (NY2)"
machineType = "P4000"
size = 50
billingType = "hourly"
templateId = "tbu200wi"
"""


class Terminal:
    """A shell in a terminal of some size."""

    def __init__(self, name: str) -> None:
        self._name = name

    def ask(self, *arguments: str) -> str:
        command = ["tmux", "-f", "/dev/null", "-L", self._name, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def type(self, text: str) -> None:
        self.ask("send-keys", "-l", text)
        self.ask("send-keys", "Enter")

    def key(self, name: str) -> None:
        self.ask("send-keys", name)

    def screen(self, *, before: int = 0) -> list[str]:
        """Its lines, and so many that have left it."""
        return self.ask("capture-pane", "-p", "-S", str(-before)).rstrip("\n").split("\n")

    def until(self, seen: Callable[[str], object]) -> list[str]:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if seen("\n".join(self.screen())):
                return self.screen(before=200)
            time.sleep(0.2)
        raise AssertionError("\n".join(self.screen(before=200)))


@contextmanager
def terminal(tmp_path: Path, width: int, height: int, *, lang: str = "C.UTF-8") -> Iterator[Terminal]:
    place = Terminal(f"fleetd-{os.getpid()}-{width}")
    (tmp_path / ".bashrc").write_text("PS1='$ '\n")
    environ = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(tmp_path), "LANG": lang}
    given = [f"{name}={value}" for name, value in environ.items()]
    shell = ["env", "-i", *given, "TERM=screen-256color", "bash", "--noprofile", "--rcfile", ".bashrc"]
    size = ["-x", str(width), "-y", str(height)]
    subprocess.run(
        ["tmux", "-f", "/dev/null", "-L", place._name, "new-session", "-d", *size, *shell],
        cwd=tmp_path, env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "HOME": str(tmp_path)}, check=True,
    )  # fmt: skip
    try:
        place.until(lambda text: text.startswith("$"))
        yield place
    finally:
        subprocess.run(["tmux", "-L", place._name, "kill-server"], capture_output=True, check=False)


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_the_demo_shows_what_to_do_next_and_leaves_one_picture(tmp_path: Path, width: int, height: int) -> None:
    with terminal(tmp_path, width, height) as place:
        place.type("fleetd demo")
        place.until(lambda text: "Converged: every fleet" in text)
        shown = "\n".join(place.screen())
        for part in (
            "fleetd status     how things stand",
            "fleetd reload",
            "Ctrl-C here ends the demo",
            "fleetd demo",
        ):
            assert part in shown
        place.key("C-c")
        left = place.until(lambda text: text.rstrip().endswith("\n$"))
    tops = [line for line in left if "─ fleetd demo ─" in line]
    assert len(tops) == 1, left
    assert sum(line.startswith("╰") for line in left) == 1, left
    assert "^C" not in "\n".join(left)


def test_an_apply_that_is_interrupted_leaves_each_bar_once(tmp_path: Path) -> None:
    (tmp_path / "fleetd.toml").write_text(SLOW)
    with terminal(tmp_path, 80, 24) as place:
        place.type("fleetd apply -c fleetd.toml")
        place.until(lambda text: "4 creating" in text)
        place.key("C-c")
        left = place.until(lambda text: "It is not converged" in text and text.rstrip().endswith("\n$"))
        place.key("C-c")
        place.until(lambda text: "^C" in text)  # the terminal echoes keys again
    assert len([line for line in left if line.startswith("training ")]) == 1, left
    assert any("interrupted before it had converged" in line for line in left)


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_ten_faults_are_ten_lines_that_break_between_words(tmp_path: Path, width: int, height: int) -> None:
    (tmp_path / "f.toml").write_text((ROOT / "tests" / "config" / "ten-faults.toml").read_text())
    piped = subprocess.run(
        [sys.executable, "-m", "fleetd", "check", "-c", "f.toml"], cwd=tmp_path, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    with terminal(tmp_path, width, height) as place:
        place.type("fleetd check -c f.toml; echo it was $?")
        lines = place.until(lambda text: "it was 78" in text.replace("echo it was $?", ""))
    shown = [line for line in lines if line.startswith((" ", "error"))]
    assert len([line for line in shown if re.match(rf" {{{GAP}}}f\.toml:\d+: ", line)]) == 10
    assert " ".join(" ".join(shown).split()) == " ".join(piped.stderr.split())


def test_with_lang_c_the_screen_is_ascii(tmp_path: Path) -> None:
    (tmp_path / "fleetd.toml").write_text(SLOW)
    with terminal(tmp_path, 80, 24, lang="C") as place:
        place.type("fleetd --help; fleetd plan -c fleetd.toml")
        lines = "\n".join(place.until(lambda text: "Plan: 4 to create." in text))
        assert "+- Fleets ---" in lines
        assert lines.isascii()
        assert "\\u" not in lines
        place.type("clear; fleetd demo")
        place.until(lambda text: "Converged: every fleet" in text)
        assert "\n".join(place.screen()).isascii()
        place.key("C-c")


def test_tab_completes_as_the_readme_says(tmp_path: Path) -> None:
    with terminal(tmp_path, 80, 24) as place:
        place.type("fleetd --install-completion")
        place.until(lambda text: "completion installed" in text)
        place.type("exec bash --noprofile --rcfile .bashrc")
        time.sleep(1)
        place.type("clear")
        place.until(lambda text: text.strip() == "$")
        place.ask("send-keys", "-l", "fleetd hist")
        place.key("Tab")
        place.until(lambda text: "fleetd history" in text)
        place.ask("send-keys", "-l", "--", "--foll")
        place.key("Tab")
        place.until(lambda text: "fleetd history --follow" in text)
