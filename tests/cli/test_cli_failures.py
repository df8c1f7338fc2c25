"""Every error ends as one exit code and as lines that say what to do."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from fleetd import wiring
from fleetd.cli import plan as plan_command
from fleetd.cli.failures import UsageError, exit_code, explanation
from fleetd.model.errors import (
    Ambiguous,
    ApplyBlocked,
    ApplyInterrupted,
    ApplyTimedOut,
    ConfigError,
    Fault,
    FleetdError,
    KeyUnusable,
    MalformedAnswer,
    NotFound,
    RateLimited,
    Refused,
    StateLocked,
    StateUnusable,
    Unauthorized,
    Unavailable,
    Unsupported,
    WaitEnded,
)
from fleetd.ops.control_errors import NoAnswer, NoDaemon, OrderRefused
from tests.support.config_text import config_text
from tests.support.processes import environment

KEY = "k3y-that-nobody-may-see"


def ended(verdict: str) -> WaitEnded:
    return WaitEnded("it ended", verdict=verdict, state="off")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Refused("templateId not found", operation="create"), 1),
        (NotFound("Machine not found"), 1),
        (Ambiguous("reset"), 1),
        (Unsupported("no such call"), 1),
        (StateUnusable("the disk is full"), 1),
        (NoDaemon("nobody listens"), 1),
        (OrderRefused("no"), 1),
        (OrderRefused("fleets.training.target", status=422), 78),
        (NoAnswer("it hangs"), 75),
        (ended("gone"), 1),
        (ended("failed_to_start"), 1),
        (typer.Abort(), 1),
        (ValueError("a bug"), 1),
        (UsageError("no such option"), 64),
        (typer.BadParameter("no"), 64),
        (Unavailable("no connection"), 69),
        (RateLimited("slow down", retry_after=3.0), 69),
        (MalformedAnswer("not JSON"), 69),
        (StateLocked("another fleetd"), 75),
        (ApplyTimedOut("not converged"), 75),
        (ApplyBlocked("frozen", temporary=True), 75),
        (ApplyBlocked("refused", temporary=False), 1),
        (ended("timed_out"), 75),
        (Unauthorized("Invalid API token"), 77),
        (KeyUnusable("f.toml", (Fault("provider.api_key", "is not set"),)), 77),
        (ConfigError("f.toml", (Fault("version", "is missing"),)), 78),
        (KeyboardInterrupt(), 130),
        (ApplyInterrupted("interrupted"), 130),
        (BrokenPipeError(), 141),
        (ExceptionGroup("two", [ValueError("x"), ExceptionGroup("one", [Unauthorized("no")])]), 77),
        (BaseExceptionGroup("ctrl-c", [Unavailable("no connection"), KeyboardInterrupt()]), 130),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_exit_codes(error: BaseException, code: int) -> None:
    assert exit_code(error) == code
    assert all(explanation(error))


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (Unauthorized("Invalid API token"), "provider.api_key"),
        (RateLimited("slow down", retry_after=3.0), "in 3 s"),
        (Unavailable("no connection"), "provider.base_url"),
        (Ambiguous("reset"), "before you repeat it"),
        (NotFound("Machine not found"), "fleetd machines list"),
        (ConfigError("/etc/f.toml", (Fault("/etc/f.toml", "cannot be read: No such file"),)), "-c"),
        (OSError(errno.EMFILE, "Too many open files"), "LimitNOFILE="),
        (OSError(errno.ENOSPC, "No space left on device"), "Make room"),
        (ValueError("a bug"), "FLEETD_DEBUG=1"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_errors_say_what_to_do(error: BaseException, advice: str) -> None:
    assert advice in explanation(error)[-1]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["machines"],
        ["no-such-command"],
        ["plan", "--no-such-option"],
        ["-c", "fleetd.toml", "plan"],
        ["plan", "too", "many"],
        ["plan", "--at", "teatime"],
        ["history", "--since", "teatime"],
        ["history", "--limit", "-1"],
        ["apply", "--timeout", "10"],
        ["simulator", "--port", "a"],
        ["simulator", "--speed", "0"],
        ["machines", "show"],
        ["machines", "create", "--region", "East Coast (NY2)"],
        ["machines", "update", "ps1"],
        ["machines", "update", "ps1", "--assign-public-ip", "--no-assign-public-ip"],
        ["machines", "list", "--limit", "-1"],
        ["machines", "wait-for", "ps1", "--state", "on"],
        ["machines", "utilization", "ps1", "--billing-month", "2026-13"],
        ["machines", "set-access", "ps1", "--user-id", "u1"],
        ["machines", "destroy", "ps1"],
        ["demo", "--exit-when-converged", "--keep-running"],
    ],
    ids=" ".join,
)
def test_a_command_line_that_cannot_be_read_is_64(
    cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: list[str]
) -> None:
    # A readable config, so that nothing but the command line is at fault. Nobody can be asked here.
    config = tmp_path / "fleetd.toml"
    config.write_text(config_text())
    monkeypatch.setenv("FLEETD_CONFIG", str(config))
    monkeypatch.setattr(wiring, "open_machines_api", lambda _settings: pytest.fail("it went on to the provider"))
    ended = cli(*arguments)
    assert ended.code == 64
    assert "Traceback" not in ended.err


def test_the_config_option_stands_after_the_command(cli) -> None:
    assert "after the command: fleetd plan -c FILE" in cli("-c", "fleetd.toml", "plan").err


def test_a_missing_config_says_how_to_name_one(cli, tmp_path: Path) -> None:
    ended = cli("check", "-c", str(tmp_path / "none.toml"))
    assert ended.code == 78
    assert "none.toml: cannot be read: No such file or directory" in ended.err
    assert "FLEETD_CONFIG" in ended.err


def test_a_key_that_is_not_there_is_77(cli, tmp_path: Path) -> None:
    config = tmp_path / "fleetd.toml"
    config.write_text(config_text())
    ended = cli("machines", "list", "-c", str(config))
    assert ended.code == 77
    assert "PAPERSPACE_API_KEY is not set" in ended.err


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A config with which ``plan`` fails in a way that nobody foresaw, with the key in its mouth."""

    async def fail(*_arguments: object, **_options: object) -> None:
        raise LookupError(f"\x1b[2J{KEY}")

    monkeypatch.setattr(plan_command.wiring, "plan_once", fail)
    monkeypatch.setattr(wiring, "SECRETS", type(wiring.SECRETS)())
    wiring.SECRETS.add(KEY)
    config = tmp_path / "fleetd.toml"
    config.write_text(config_text())
    return config


def test_an_unforeseen_error_is_one_line_without_the_key(cli, broken: Path) -> None:
    ended = cli("plan", "-c", str(broken))
    assert ended.code == 1
    assert ended.err.splitlines()[0] == "error: unexpected: LookupError: \\x1b[2J***"
    assert "Traceback" not in ended.err


def test_its_traceback_is_there_when_asked_for_without_the_key(
    cli, broken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLEETD_DEBUG", "1")
    ended = cli("plan", "-c", str(broken))
    assert "Traceback" in ended.err
    assert KEY not in ended.err
    assert "\x1b" not in ended.err


def test_text_of_the_provider_moves_no_cursor(cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def fail(*_arguments: object, **_options: object) -> None:
        raise Refused("\x1b]0;owned\x07 \u202egnp.exe", operation="create")

    monkeypatch.setattr(plan_command.wiring, "plan_once", fail)
    config = tmp_path / "fleetd.toml"
    config.write_text(config_text())
    ended = cli("plan", "-c", str(config))
    assert ended.err == "error: create: \\x1b]0;owned\\x07 \\u202egnp.exe\n"


def test_a_reader_that_leaves_is_no_scandal() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "fleetd", "schema"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(timeout=30) == 141


def test_output_that_finds_no_room_is_no_fault_of_fleetds() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "fleetd", "version"],
            stdout=full,
            stderr=subprocess.PIPE,
            env=environment(),
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.startswith("error: the output cannot be written: No space left on device\n")


CLOSED = (
    "error: the output cannot be written: it is closed\nWhat the command did is done; >/dev/null is for no output.\n"
)


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        pytest.param("version >&-", 1, CLOSED, id="output"),
        pytest.param("version >&- <&-", 1, CLOSED, id="output and input"),
        pytest.param("version >&- 2>&-", 1, "", id="both"),
        pytest.param("plan --help >&-", 1, CLOSED, id="help"),
        pytest.param("version 2>&-", 0, "", id="errors, where there are none"),
        pytest.param("version >/dev/null", 0, "", id="none, on purpose"),
        pytest.param("check -c {config} >&-", 1, CLOSED, id="a config that is good"),
        pytest.param("check -c /nowhere.toml >&-", 78, "error: /nowhere.toml: ", id="a failure keeps its own code"),
    ],
)
def test_what_nobody_can_be_told_is_no_success(command: str, code: int, said: str, tmp_path: Path) -> None:
    config = tmp_path / "fleetd.toml"
    config.write_text(config_text(provider='[provider]\nkind = "simulator"'))
    done = subprocess.run(
        ["/bin/sh", "-c", f"{sys.executable} -m fleetd {command.format(config=config)}"],
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr.startswith(said)) == (code, True), done.stderr
    assert said.startswith("error: /nowhere") or done.stderr == said


def test_every_error_of_the_tree_has_a_code() -> None:
    def tree(kind: type[FleetdError]) -> set[type[FleetdError]]:
        return {kind}.union(*(tree(child) for child in kind.__subclasses__()))

    assert tree(FleetdError) >= {Unavailable, KeyUnusable, ApplyInterrupted}
    for kind in tree(FleetdError):
        error = kind.__new__(kind)
        Exception.__init__(error, "said")
        assert exit_code(error) in {1, 69, 75, 77, 78, 130}


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_is_130(tmp_path: Path) -> None:
    config = tmp_path / "fleetd.toml"
    text = config_text(
        provider='[provider]\nkind = "simulator"', daemon=f'[daemon]\nstate_dir = "{tmp_path}/state"\nlisten = ""'
    )
    config.write_text(text)
    script = (
        "import os, signal, threading\n"
        "from fleetd.cli.app import run\n"
        "threading.Timer(1.5, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        f"raise SystemExit(run(['status', '--watch', '-c', {str(config)!r}]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, env=environment(), check=False
    )
    assert done.returncode == 130, done.stderr
    assert done.stderr == "interrupted\n"


def test_ctrl_c_before_everything_is_loaded_is_130_too() -> None:
    script = (
        "import sys\n"
        "class Impatient:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'fleetd.cli.app':\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Impatient())\n"
        "from fleetd.__main__ import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")
