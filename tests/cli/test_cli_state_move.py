"""``fleetd state move`` by real processes, and what a database's absence does to a command."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import KEY, fleetd, write_config

NOWHERE = "http://127.0.0.1:9"


def config_on(tmp_path: Path, database: str) -> Path:
    path = write_config(tmp_path, NOWHERE, settle="60s")
    path.write_text(path.read_text().replace("[guards]", f'state = "{database}"\n[guards]', 1))
    return path


def freeze(config: Path) -> subprocess.CompletedProcess[str]:
    return fleetd("freeze", "--for", "1h", "--reason", "looking", "-c", str(config))


@pytest.mark.long
@pytest.mark.peer("postgres")
def test_a_journal_moves_there_and_back(tmp_path, postgres):
    url = postgres.create()
    plain = write_config(tmp_path, NOWHERE)
    assert freeze(plain).returncode == 0
    moved = fleetd("state", "move", "--to", url, "-c", str(plain))
    assert (moved.returncode, "1 hold" in moved.stdout + moved.stderr) == (0, True), moved.stderr
    for command in (("run",), ("apply",), ("history",)):
        refused = fleetd(*command, "-c", str(plain))
        assert refused.returncode == 78, refused.stderr
        assert "moved from" in refused.stderr
    assert freeze(plain).returncode == 78
    other = tmp_path / "other"
    other.mkdir()
    replicated = config_on(other, url)
    history = fleetd("history", "-c", str(replicated))
    assert (history.returncode, "looking" in history.stdout) == (0, True), history.stderr
    lifted = fleetd("unfreeze", "-c", str(replicated))
    assert (lifted.returncode, "1 freeze ended" in lifted.stdout + lifted.stderr) == (0, True), lifted.stderr
    back = fleetd("state", "move", "--to", str(tmp_path / "state"), "-c", str(replicated))
    assert back.returncode == 0, back.stderr
    history = fleetd("history", "-c", str(plain))
    assert "unfreeze" in history.stdout
    assert fleetd("history", "-c", str(replicated)).returncode == 78
    again = fleetd("state", "move", "--to", str(tmp_path / "state"), "-c", str(replicated))
    assert again.returncode == 78


@pytest.mark.peer("postgres")
def test_a_journal_that_was_not_moved_is_not_passed_over(tmp_path, postgres):
    assert freeze(write_config(tmp_path, NOWHERE)).returncode == 0
    refused = fleetd("run", "-c", str(config_on(tmp_path, postgres.create())))
    assert refused.returncode == 78
    assert "fleetd state move" in refused.stderr


@pytest.mark.parametrize(
    ("to", "says"),
    [
        ("postgresql://a:s3cret@db/x", "must not hold the password"),
        ("/var/lib/x", "expected the address of a database"),
    ],
)
def test_a_place_that_is_none_is_a_usage_error(tmp_path, to, says):
    refused = fleetd("state", "move", "--to", to, "-c", str(write_config(tmp_path, NOWHERE)))
    assert refused.returncode == 64
    assert says in " ".join(refused.stderr.replace("│", " ").split())
    assert "s3cret" not in refused.stderr


@pytest.mark.peer("postgres")
@pytest.mark.parametrize("command", [("history",), ("apply",), ("freeze", "--for", "1h", "--reason", "x")])
def test_a_database_that_is_away_is_75(tmp_path, command):
    refused = fleetd(*command, "-c", str(config_on(tmp_path, "postgresql://fleetd@127.0.0.1:9/fleetd")))
    assert refused.returncode == 75, refused.stderr
    assert "does not answer" in " ".join(refused.stderr.split())
    assert KEY not in refused.stderr


CODE = """
import sys
{before}
from fleetd.__main__ import main
sys.argv = ["fleetd", *{arguments!r}]
try:
    main()
finally:
    sys.stdout.flush()
    print("LOADED", sorted(m for m in sys.modules if "psycopg" in m or "store.postgres" in m), file=sys.stderr)
"""


def command_with(before: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", CODE.format(before=before, arguments=list(arguments))]


def run_with(before: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = command_with(before, *arguments)
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


WITHOUT = "sys.modules['psycopg'] = None"
"""As where the package was installed without its extra."""


def simulated(tmp_path: Path) -> Path:
    config = tmp_path / "fleetd.toml"
    config.write_text(
        'version = 1\n[provider]\nkind = "simulator"\n[provider.simulator]\nspeed = 600\n'
        f'[daemon]\nstate_dir = "{tmp_path / "state"}"\nlisten = ""\ninterval = "1s"\npoll = "100ms"\n'
        '[fleets.training]\ntarget = 1\n[fleets.training.machine]\nregion = "East Coast (NY2)"\n'
        'machineType = "P4000"\nsize = 50\nbillingType = "hourly"\ntemplateId = "tbu200wi"\n'
    )
    return config


def test_without_a_database_nothing_of_it_is_loaded(tmp_path):
    config = simulated(tmp_path)
    for command in ("apply", "plan", "status"):
        done = run_with("", command, "-c", str(config))
        assert "LOADED []" in done.stderr, done.stderr


@pytest.mark.parametrize("command", ["apply", "run"])
def test_without_psycopg_a_fleet_comes_up_as_with_it(tmp_path, command):
    config = str(simulated(tmp_path))
    begun = command_with(WITHOUT, command, "-c", config)
    with subprocess.Popen(begun, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "fleet.converged" in line and command == "run":
                process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    history = run_with(WITHOUT, "history", "--json", "-c", config).stdout.splitlines()
    outcomes = [entry["outcome"] for entry in map(json.loads, history) if entry["verb"] == "create"]
    assert outcomes == ["reached"]


@pytest.mark.long
def test_without_psycopg_demo_comes_to_its_targets():
    done = run_with(WITHOUT, "demo", "--exit-when-converged")
    assert done.returncode == 0, done.stderr


COMMANDS = {
    "apply": (),
    "run": (),
    "freeze": ("--for", "1h", "--reason", "x"),
    "state": ("move", "--to", "/nonexistent/fleetd"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_database_without_psycopg_says_what_to_install(tmp_path, command):
    config = config_on(tmp_path, "postgresql://fleetd@127.0.0.1:9/fleetd")
    done = run_with(WITHOUT, command, *COMMANDS[command], "-c", str(config))
    assert done.returncode == 78, done.stderr
    words = "daemon.state: a journal in a database needs psycopg: pip install 'fleetd[postgres]'"
    assert done.stderr.count(words) == 1
    assert "Traceback" not in done.stderr
