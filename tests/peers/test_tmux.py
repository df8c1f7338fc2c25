"""Commands in a real terminal, tmux: what a person sees on it at 80x24, 120x40 and 200x50."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fleetd.cli.layout import GAP

pytestmark = pytest.mark.peer("tmux")

ROOT = Path(__file__).parents[2]
SIZES = [(80, 24), (120, 40), (200, 50)]
NUMBERS = itertools.count()
PATIENCE = 30
"""Seconds for what takes three on a free machine."""
WHY = "a run that must not be lost"
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
    place = Terminal(f"fleetd-{os.getpid()}-{next(NUMBERS)}")  # a server that ends takes its socket along
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
        place.until(lambda text: "Every fleet is at its target. The first" in text)
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
        left = place.until(lambda text: "It is not at its target" in text and text.rstrip().endswith("\n$"))
        place.key("C-c")
        place.until(lambda text: "^C" in text)  # the terminal echoes keys again
    assert len([line for line in left if line.startswith("training ")]) == 1, left
    assert any("interrupted before every fleet was at its target" in line for line in left)


def test_an_apply_of_more_fleets_than_lines_draws_none_of_them_twice(tmp_path: Path) -> None:
    head, _, fleet = SLOW.partition("[fleets.training]")
    fleets = [f"[fleets.fleet-{n:02}]{fleet}".replace("fleets.training", f"fleets.fleet-{n:02}") for n in range(30)]
    (tmp_path / "fleetd.toml").write_text(head + "".join(fleets).replace("target = 4", "target = 1"))
    with terminal(tmp_path, 80, 24) as place:
        place.type("fleetd apply -c fleetd.toml")
        place.until(lambda text: "creating" in text)
        time.sleep(2)
        place.key("C-c")
        left = place.until(lambda text: "It is not at its target" in text and text.rstrip().endswith("\n$"))
    bars = [line.split()[0] for line in left if line.startswith("fleet-") and "━" in line]
    assert len(bars) == len(set(bars)) == 23, left


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


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[list[dict[str, object]]]:
    """A daemon at its target in the terminal's directory; its machines."""
    (tmp_path / "fleetd.toml").write_text(SLOW.replace("speed = 1\n", "speed = 500\n"))
    run = [sys.executable, "-m", "fleetd"]
    with subprocess.Popen([*run, "run", "-c", "fleetd.toml"], cwd=tmp_path, stderr=subprocess.DEVNULL) as process:
        end = time.monotonic() + PATIENCE
        machines: list[dict[str, object]] = []
        while len([m for m in machines if m["state"] == "ready"]) < 4 and time.monotonic() < end:
            time.sleep(0.5)
            asked = subprocess.run(
                [*run, "status", "--json", "-c", "fleetd.toml"], cwd=tmp_path, capture_output=True, check=False
            )
            machines = json.loads(asked.stdout)["machines"] if asked.returncode == 0 else []
        try:
            yield machines
        finally:
            process.terminate()


def asked(place: Terminal, command: str) -> str:
    """What is on the terminal when a command has ended well, from its beginning on."""
    mark = f"ended-{next(NUMBERS)}"
    place.type(f"clear; {command}; echo $?-{mark}")
    lines = place.until(lambda text: f"\n0-{mark}\n" in f"{text}\n")
    return "\n".join(lines).partition(f"echo $?-{mark}")[2] or "\n".join(lines)


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_what_is_asked_of_a_daemon_is_whole_on_the_screen(
    tmp_path: Path, daemon: list[dict[str, object]], width: int, height: int
) -> None:
    assert len(daemon) == 4
    with terminal(tmp_path, width, height) as place:
        place.type(
            "export FLEETD_CONFIG=fleetd.toml; fleetd hold " + f"{daemon[0]['name']} --for 4h --reason '{WHY}'"
        )
        held = asked(place, f"fleetd hold {daemon[0]['name']} --for 4h --reason '{WHY}'")
        assert "is held until" in held
        for command, end in (("status", "remarks|held by"), ("plan", "Nothing to do"), ("history", "hold")):
            shown = asked(place, f"fleetd {command}")
            assert re.search(end, shown), shown
            assert WHY in " ".join(shown.split()), shown
            if command == "status":
                for machine in daemon:
                    assert re.search(rf"^{machine['name']}  {machine['id']}  training ", shown, re.MULTILINE), shown
        shown = asked(place, f"fleetd explain {daemon[0]['id']}")
        assert f"{daemon[0]['name']} ({daemon[0]['id']}) is ready" in " ".join(shown.split())
        place.type("fleetd status --watch")
        place.until(lambda text: "again every 2 s; Ctrl-C ends" in text and str(daemon[3]["id"]) in text)
        assert len(place.screen()) <= height
        place.key("C-c")
        place.until(lambda text: "Ctrl-C ends" not in text and text.rstrip().endswith("$"))


def test_with_lang_c_the_screen_is_ascii(tmp_path: Path) -> None:
    (tmp_path / "fleetd.toml").write_text(SLOW)
    with terminal(tmp_path, 80, 24, lang="C") as place:
        place.type("fleetd --help; fleetd plan -c fleetd.toml")
        lines = "\n".join(place.until(lambda text: "Plan: 4 to create." in text))
        assert "+- Fleets ---" in lines
        assert lines.isascii()
        assert "\\u" not in lines
        place.type("clear; fleetd demo")
        place.until(lambda text: "Every fleet is at its target. The first" in text)
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
