"""Machines whose names are a megabyte long, or meant for a terminal, a page or a shell: shown, and nothing else."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
import unicodedata
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.chaos.living import SPEED, Daemon, living, status, write
from tests.support.processes import SimulatorProcess, environment, fleetd, simulator, until

HOSTILE = (
    "evil\x1b]0;pwned\x07",
    "evil\x1b[2J\x1b[H",
    "evil\x1b[8mhidden",
    "evil\x9b2J\x9dpwned\x9c",
    "evil\rerror: overwritten",
    'evil\nerror: a line of its own\r\n{"event": "fleet.converged"}',
    "evil\x08\x08\x08\x08good",
    "evil\0after",
    "evil\u202egnp.exe\u2066\u200b\u200d\u2028next",
    "evil" + "a\u0301\u0302\u0303\u0304\u0305" * 40,
    "evil<script>alert(1)</script>'\"><img src=x onerror=alert(1)>&lt;",
    "../../../../tmp/evil",
    "evil%s%n{0}{name}${PATH}`id`$(id); rm -rf /",
    "evil[bold red]markup[/bold red][link=http://x.example]y[/link]",
    'evil"} 1\nfleetd_fleet_target{fleet="evil',
)  # fmt: skip
"""One in a config's glob is a machine of ours, with all that is said of those."""
ENDLESS = ("evil" + "A" * 990_000, "evil" + "\u00e9\x1b[31m" * 50_000)
"""Longer than any name that is read: such an entry is nobody's that we know, and is told of."""

FLEET = {"training": (len(HOSTILE), 'adopt = ["*evil*"]')}
BOUND = 200_000
"""Characters that anything meant for people may have."""
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
HIDING = frozenset({"Cc", "Cf", "Zl", "Zp", "Cs", "Co"})


@dataclass
class Stage:
    sim: SimulatorProcess
    daemon: Daemon
    config: Path
    ids: list[str]
    url: str


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    directory = tmp_path_factory.mktemp("hostile")
    with simulator(directory, speed=SPEED) as sim:
        ids = [sim.add(name=name, state="ready")["id"] for name in HOSTILE]
        endless = [sim.add(name=name, state="ready")["id"] for name in ENDLESS]
        config = write(directory, sim.url, FLEET, listen="127.0.0.1:0")
        with living(config, directory / "daemon.log") as daemon:
            daemon.wait_for("fleet.converged", seconds=60)
            sim.ask(f"/_sim/machines/{ids[0]}", {"action": "rename", "name": "evil\x1b[5mrenamed"})
            for machine in ids:
                sim.ask(f"/_sim/machines/{machine}", {"action": "stop"})
            until(lambda: len([c for c in sim.writes() if c["operation"] == "start"]) >= len(ids), seconds=60)
            until(lambda: daemon.text().count("machine.became_ready") >= len(ids), seconds=60)
            assert {line["machine"] for line in daemon.lines("machine.was_unreadable")} == set(endless)
            assert not {c["machine_id"] for c in sim.writes()} & set(endless)
            yield Stage(sim, daemon, config, ids + endless, daemon.lines("endpoint.opened")[0]["url"])
            assert daemon.process.poll() is None
            assert not daemon.lines("request.crashed")
            assert daemon.end() == 0


COMMANDS = (
    ("status",),
    ("plan",),
    ("history",),
    ("cost",),
    ("machines", "list"),
    ("explain", "training"),
    ("explain", "ID"),
    ("machines", "show", "ID"),
    ("machines", "show", "evil\x1b[2J"),
    ("hold", "evil\x1b[2J", "--for", "1m", "--reason", "why\x1b]0;pwned\x07"),
    ("release", "evil\x1b[2J"),
    ("machines", "destroy", "evil\x1b[2J", "--yes"),
)


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: " ".join(c)[:16].encode("unicode_escape").decode())
def test_nothing_raw_reaches_a_terminal(stage: Stage, command: tuple[str, ...]) -> None:
    for machine in stage.ids[:: 6 if "ID" in command else 100]:
        words = [machine if word == "ID" else word for word in command]
        sane(on_a_terminal(*words, "-c", str(stage.config)))


@pytest.mark.slow
@pytest.mark.parametrize("command", [("status",), ("history",), ("machines", "list"), ("plan",)], ids=" ".join)
def test_json_is_json_on_a_terminal_too_and_holds_the_true_names(stage: Stage, command: tuple[str, ...]) -> None:
    shown = on_a_terminal(*command, "--json", "-c", str(stage.config))
    assert "\x1b" not in shown
    assert not hiding(shown)
    done = fleetd(*command, "--json", "-c", str(stage.config))
    assert done.returncode == 0, done.stderr[:1000]
    if command != ("plan",):
        assert all(
            json.dumps(name)[1:20] in json.dumps(done.stdout) or name in names(done.stdout) for name in HOSTILE[1:]
        )


@pytest.mark.slow
def test_the_log_is_one_line_an_event_and_bounded(stage: Stage) -> None:
    lines = stage.daemon.text().splitlines()
    events = [json.loads(line)["event"] for line in lines]
    assert events.count("machine.became_ready") >= len(HOSTILE)
    assert max(map(len, lines)) < 48 * 1024, "journald splits longer ones"
    assert all(character.isascii() and character.isprintable() for line in lines for character in line)


@pytest.mark.slow
def test_the_log_on_a_terminal_is_sane(stage: Stage, tmp_path: Path) -> None:
    config = write(tmp_path, stage.sim.url, FLEET, listen="")
    shown = on_a_terminal("run", "-c", str(config), until_seen="fleet.converged")
    assert "machine.adopted" in shown
    sane(shown)


@pytest.mark.slow
def test_the_page_shows_names_as_text(stage: Stage) -> None:
    scripted = HOSTILE.index(next(name for name in HOSTILE if "<script>" in name))
    bodies = {}
    for path in ("/", "/fleet/training", "/history", "/?q=evil", *(f"/machine/{machine}" for machine in stage.ids)):
        bodies[path] = body = get(stage.url + path).decode()
        assert len(body) < BOUND
        assert not hiding(body)
        found = Tags()
        found.feed(body)
        assert "img" not in found.names
        assert "alert(1)" not in found.scripts
    for path in ("/fleet/training", f"/machine/{stage.ids[scripted]}"):
        assert "&lt;script&gt;alert(1)" in bodies[path]


@pytest.mark.slow
def test_the_metrics_can_be_read(stage: Stage) -> None:
    text = get(stage.url + "/metrics").decode()
    assert len(text) < BOUND
    families = {family.name: family for family in text_string_to_metric_families(text)}
    (target,) = families["fleetd_fleet_target"].samples
    assert (target.labels, target.value) == ({"fleet": "training"}, len(HOSTILE))


@pytest.mark.slow
def test_nothing_was_written_anywhere_but_in_the_state_directory(stage: Stage) -> None:
    directory = stage.config.parent
    assert {p.name for p in directory.iterdir()} == {"state", "fleetd.toml", "daemon.log", "simulator.log"}
    assert not Path("/tmp/evil").exists()
    assert {m["id"] for m in status(directory / "state")["machines"] if m["owned"]} >= set(stage.ids[: len(HOSTILE)])


def sane(shown: str) -> None:
    """Text for people: colours, and nothing else that a terminal obeys; no line that a name began; an end."""
    plain = COLOURS.sub("", shown)
    assert "\x1b[8m" not in shown
    assert "\x1b[5m" not in shown
    assert not hiding(plain), sorted(hiding(plain))
    assert len(plain) < BOUND
    assert not [line for line in plain.splitlines() if line.startswith(("error: a line", "error: overwritten"))]
    assert "Traceback" not in plain
    assert "unexpected:" not in plain


def hiding(text: str) -> set[str]:
    return {repr(c) for c in set(text) - set("\r\n\t") if unicodedata.category(c) in HIDING}


def names(text: str) -> set[str]:
    """Every ``name`` in a JSON document or in lines of them."""
    try:
        documents = [json.loads(text)]
    except ValueError:
        documents = [json.loads(line) for line in text.splitlines()]
    found: set[str] = set()
    while documents:
        one = documents.pop()
        if isinstance(one, dict):
            found |= {one["name"]} if isinstance(one.get("name"), str) else set()
            documents += one.values()
        elif isinstance(one, list):
            documents += one
    return found


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return bytes(answer.read())


def on_a_terminal(*arguments: str, until_seen: str = "", seconds: float = 60) -> str:
    """What a command shows on a terminal; ended with SIGTERM once ``until_seen`` is there."""
    ours, its = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "fleetd", *arguments],
        stdin=its, stdout=its, stderr=its, env=environment(TERM="xterm-256color"), start_new_session=True,
    )  # fmt: skip
    os.close(its)
    shown, deadline = b"", time.monotonic() + seconds
    try:
        while time.monotonic() < deadline:
            if select.select([ours], [], [], 0.2)[0]:
                try:
                    shown += os.read(ours, 1 << 16)
                except OSError:  # EIO: the other end is closed
                    break
            if until_seen and until_seen.encode() in shown and process.poll() is None:
                process.send_signal(signal.SIGTERM)
                until_seen = ""
        else:
            raise AssertionError(f"{arguments} did not end: {shown[-2000:]!r}")
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    return shown.decode()


class Tags(HTMLParser):
    """The tags of a page, and the text within its scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.scripts = ""
        self._within = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self._within = tag == "script"
        assert not [name for name, _ in attrs if name.startswith("on")]

    def handle_endtag(self, tag: str) -> None:
        self._within = self._within and tag != "script"

    def handle_data(self, data: str) -> None:
        self.scripts += data if self._within else ""
