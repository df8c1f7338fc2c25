"""What a command imports: its start takes as long as that does. No time is measured here."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import typer

from fleetd.cli import catalogue
from fleetd.cli.catalogue import COMMANDS

LIBRARIES = {"aiohttp", "anyio", "apscheduler", "msgspec", "prometheus_client", "structlog", "tenacity"}
OF_THE_DAEMON = {
    "aiohttp",
    "fleetd.cloud.http",
    "fleetd.engine.daemon",
    "fleetd.engine.reconciler",
    "fleetd.simulator",
    "prometheus_client",
    "tenacity",
}
PROGRAM = """
import json, sys
from fleetd.cli.app import run
run(sys.argv[1:])
print()
print(json.dumps(sorted(sys.modules)))
"""


def imported(*arguments: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("arguments", [["--help"], ["version"], ["--version"], ["nonsense"]], ids=" ".join)
def test_what_tells_of_fleetd_itself_needs_no_library_but_the_command_line(arguments: list[str]) -> None:
    assert imported(*arguments) & (LIBRARIES | OF_THE_DAEMON) == set()


@pytest.mark.parametrize("command", ["status", "history", "check", "freeze", "hold", "start"])
def test_what_asks_a_daemon_or_reads_a_file_needs_nothing_of_the_daemon(command: str, tmp_path: Path) -> None:
    config = tmp_path / "fleetd.toml"
    config.write_text(f'version = 1\n[daemon]\nstate_dir = "{tmp_path}"\n', "utf-8")  # no provider: a fault
    more = {"freeze": ["--for", "1h", "--reason", "test"], "hold": ["x", "--for", "1h", "--reason", "test"]}
    more["start"] = ["x", "--reason", "test"]
    assert imported(command, "-c", str(config), *more.get(command, [])) & OF_THE_DAEMON == set()


@pytest.mark.parametrize("command", [["list"], ["show", "ps1"], ["stop", "ps1"], ["templates"]], ids=" ".join)
def test_what_asks_the_provider_needs_its_client_and_no_more_of_the_daemon(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "fleetd.toml"
    monkeypatch.setenv("PAPERSPACE_API_KEY", "a key")
    config.write_text(
        'version = 1\n[provider]\nkind = "paperspace-core"\nbase_url = "http://127.0.0.1:9"\n'
        f'api_key = {{ env = "PAPERSPACE_API_KEY" }}\n[daemon]\nstate_dir = "{tmp_path}"\n'
        '[fleets.training]\ntarget = 0\n[fleets.training.machine]\nregion = "East Coast (NY2)"\n'
        'machineType = "P4000"\nsize = 50\nbillingType = "hourly"\ntemplateId = "tbu200wi"\n'
    )
    found = imported("machines", *command, "-c", str(config))  # nobody listens there
    assert "fleetd.cloud.http" in found
    assert found & (OF_THE_DAEMON - {"aiohttp", "fleetd.cloud.http"}) == set()
    assert "fleetd.cli.render_status" not in found


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_what_each_says_of_itself(name: str) -> None:
    found = getattr(import_module(f"fleetd.cli.{COMMANDS[name].module}"), name.replace("-", "_"))
    said = catalogue._Imported()[name].help if isinstance(found, typer.Typer) else inspect.getdoc(found)
    assert COMMANDS[name].says == " ".join(said.split("\n\n")[0].split())
