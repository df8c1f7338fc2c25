"""TAB in a real bash: commands and options come, and nobody waits for the engine meanwhile."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from fleetd.cli.app import app
from fleetd.cli.catalogue import COMMANDS

BIN = Path(sys.executable).parent
SHELL = """
source ~/.bashrc
complete -p fleetd >&2 || exit 1
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_fleetd_completion fleetd
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of somebody who has done what the README says."""
    home = tmp_path_factory.mktemp("home")
    # A bash that stays: typer asks which shell it was started from.
    done = in_bash(home, "fleetd --install-completion; code=$?; exit $code")
    assert done.returncode == 0, done.stderr
    return home


def in_bash(home: Path, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {"HOME": str(home), "PATH": f"{BIN}:{os.environ['PATH']}", "LANG": "C.UTF-8"}
    command = ["bash", "--norc", "-c", script, "bash", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environ, timeout=60, check=False)


def completed(home: Path, *words: str) -> list[str]:
    done = in_bash(home, SHELL, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("fleetd", ""), {*COMMANDS}),
        (("fleetd", "st"), {"status", "start", "step-down", "stop", "state"}),
        (("fleetd", "status", "--pro"), {"--problems"}),
        (("fleetd", "plan", "--"), {"--config", "--json", "--detailed-exitcode", "--at", "--help"}),
        (("fleetd", "machines", "t"), {"templates"}),
        (("fleetd", "machines", "create", "--machine-"), {"--machine-name", "--machine-type"}),
        (("fleetd", "machines", "wait-for", "ps1", "--state", ""), {"off", "serviceready", "ready"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_bash_completes_commands_and_options(home: Path, words: tuple[str, ...], expected: set[str]) -> None:
    assert set(completed(home, *words)) == expected


PROGRAM = """
import contextlib, io, json, os, sys
from fleetd.cli.app import run
os.environ["_FLEETD_COMPLETE"] = "complete_bash"
answers = {}
for path in json.loads(sys.argv[1]):
    os.environ["COMP_WORDS"], os.environ["COMP_CWORD"] = " ".join(["fleetd", *path, "--"]), str(len(path) + 1)
    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.suppress(SystemExit):
        run([])
    answers[" ".join(path)] = said.getvalue().split()
print(json.dumps([answers, sorted(sys.modules)]))
"""


def paths(command=None, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    command = command or typer.main.get_command(app)
    yield path
    for name, inner in getattr(command, "commands", {}).items():
        yield from paths(inner, (*path, name))


def test_completing_any_command_imports_neither_engine_nor_simulator() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(list(paths()))],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    answers, modules = json.loads(done.stdout)
    assert len(answers) > 30
    assert all("--help" in options or not path for path, options in answers.items()), answers
    heavy = {"fleetd.engine", "fleetd.simulator", "fleetd.store.sqlite", "aiohttp", "structlog"}
    assert heavy.intersection(modules) == set()
