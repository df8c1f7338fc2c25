"""Every command explains itself, with an example; every parameter of the API is an option by its own name."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import typer

import fleetd
from fleetd.cli.app import app
from fleetd.cli.machine_options import CREATE, CREATE_HELP, LIST, LIST_HELP, UPDATE, UPDATE_HELP, kebab

LONGEST = "--mark-snapshot-as-restore-point"
"""One name of the API is too long for a help in 80 columns."""
BY_HAND = {
    "list", "show", "create", "start", "stop", "restart", "destroy", "update", "availability", "utilization",
    "set-access", "wait-for", "templates", "networks",
}  # fmt: skip


def commands(command=None, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    command = command or typer.main.get_command(app)
    yield path
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*path, name))


@pytest.mark.parametrize("path", list(commands()), ids=lambda p: " ".join(p) or "fleetd")
def test_help_works_and_has_an_example(cli, path: tuple[str, ...]) -> None:
    ended = cli(*path, "--help")
    assert ended.code == 0
    head, _, examples = ended.out.partition("Examples")
    assert f"Usage: {' '.join(('fleetd', *path))}" in head
    assert re.search(r"^ *(fleetd|PAPERSPACE_CONFIG_HOST)", examples, flags=re.MULTILINE)
    assert re.search(rf"fleetd {' '.join(path)}".strip(), examples)
    assert ended.err == ""


def test_the_commands_are_those_of_the_design() -> None:
    found = {path[0] for path in commands() if len(path) == 1}
    assert found >= {
        "run", "check", "plan", "apply", "status", "history", "machines", "simulator", "demo", "schema", "version",
        "reload",
    }  # fmt: skip
    assert {path[1] for path in commands() if len(path) == 2 and path[0] == "machines"} == BY_HAND


def names(tables) -> set[str]:
    return {name for table in tables.values() for name in table}


@pytest.mark.parametrize(("command", "tables"), [("create", CREATE), ("update", UPDATE), ("list", LIST)])
def test_every_parameter_of_either_api_is_an_option(cli, command: str, tables, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    shown = cli("machines", command, "--help").out
    for name in names(tables):
        assert re.search(rf"--{kebab(name)}\b(?!-)", shown), name


def test_help_texts_are_about_parameters_that_exist() -> None:
    assert set(CREATE_HELP) == names(CREATE)
    assert set(UPDATE_HELP) == names(UPDATE)
    assert set(LIST_HELP) <= names(LIST)


@pytest.mark.parametrize(
    ("name", "flag"),
    [
        ("machineType", "machine-type"),
        ("shutdownTimeoutInHours", "shutdown-timeout-in-hours"),
        ("size", "size"),
        ("assignPublicIp", "assign-public-ip"),
        ("dtLastRun", "dt-last-run"),
    ],
)
def test_kebab(name: str, flag: str) -> None:
    assert kebab(name) == flag


@pytest.mark.parametrize("arguments", [["version"], ["--version"]])
def test_version(cli, arguments: list[str]) -> None:
    ended = cli(*arguments)
    assert (ended.code, ended.out) == (0, f"fleetd {fleetd.__version__}\n")


def test_flags_are_not_cut_off_on_a_small_terminal(cli, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for path in commands():
        shown = cli(*path, "--help").out
        cut = {flag for flag in re.findall(r"(--[a-z-]+)…", shown) if not LONGEST.startswith(flag)}
        assert not cut, path
