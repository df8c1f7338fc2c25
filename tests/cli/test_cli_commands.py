"""The fleets' commands on the embedded simulator, the demo, the simulator's own command."""

from __future__ import annotations

import getpass
import io
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fleetd.cli import apply as apply_command
from fleetd.cli import check as check_command
from fleetd.cli import demo
from fleetd.cli import status as status_command
from fleetd.cli.app import run
from fleetd.cli.output import PlainConsole, json_text
from fleetd.config import parse
from fleetd.engine.status import status_report
from fleetd.model.errors import ApplyBlocked, ApplyTimedOut, Fault, Unavailable
from fleetd.model.report import DaemonReport, Report
from fleetd.ops import control_client
from fleetd.store.lock import StateLock
from tests.support.config_text import config_text
from tests.support.processes import KEY, environment, fleetd, started, until


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write(tmp_path)


def write(tmp_path: Path, **parts: str) -> Path:
    daemon = f'[daemon]\nstate_dir = "{tmp_path}/state"\ninterval = "1s"\npoll = "100ms"\nlisten = ""'
    parts = {
        "provider": '[provider]\nkind = "simulator"\n[provider.simulator]\nspeed = 500',
        "daemon": daemon,
    } | parts
    path = tmp_path / "fleetd.toml"
    path.write_text(config_text(**parts))
    return path


def test_check_says_what_was_read_and_warns(cli, tmp_path: Path) -> None:
    path = write(tmp_path, more_daemon="", rest="[idle_sources.gpu]\nkind = 'lease'")
    done = cli("check", "-c", str(path))
    assert done.code == 0
    assert done.out == f"{path} is valid: training (target 3)\n"
    line = path.read_text().splitlines().index("[idle_sources.gpu]") + 1
    assert f"warning: {path}:{line}: idle_sources.gpu: no fleet asks this source" in done.err


FAULTY = {
    "a key twice": ("[daemon]\n[daemon]\n", "[daemon]\n", "is not valid TOML: daemon stands there already"),
    "a word without quotes": ('[daemon]\nlisten = off"\n', "listen", "is not valid TOML: Invalid value"),
    "an unknown key": ("[daemon]\nlissten = ''\n", "lissten", "daemon.lissten: unknown key"),
    "a wrong type": ("[daemon]\ninterval = 30\n", "interval", "daemon.interval: expected a duration"),
    "a wrong value": ("[schedules]\nsnapshot_check = '15m'\n", "snapshot_check", 'write "every 15m"'),
}


@pytest.mark.parametrize(("more", "word", "problem"), FAULTY.values(), ids=FAULTY.keys())
@pytest.mark.parametrize("command", ["check", "run", "reload", "plan"])
def test_every_command_says_each_fault_once_and_on_which_line(
    cli, tmp_path: Path, command: str, more: str, word: str, problem: str
) -> None:
    path = write(tmp_path, daemon="", rest=more)
    lines = path.read_text().splitlines()
    line = max(n for n, text in enumerate(lines, 1) if text.startswith(word.strip()))
    done = cli(command, "-c", str(path))
    assert (done.code, done.out) == (78, "")
    head, fault = done.err.splitlines()
    assert head == f"error: {path}: 1 fault"
    assert re.match(rf"  {re.escape(str(path))}:{line}(:\d+)?: ", fault), fault
    assert problem in fault


def test_check_warns_of_a_key_that_everyone_can_read(cli, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("secret-key")
    key.chmod(0o644)
    path = write(tmp_path, provider=f'[provider]\nkind = "paperspace-core"\napi_key = {{ file = "{key}" }}')
    done = cli("check", "-c", str(path))
    assert done.code == 0
    assert "chmod 600" in done.err
    assert "secret-key" not in done.out + done.err


def test_check_online_lists_what_the_account_lacks(cli, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def lacking(_settings: object) -> list[Fault]:
        return [Fault("fleets.training.machine.templateId", "the account has no tbu200wi")]

    monkeypatch.setattr(check_command.wiring, "check_online", lacking, raising=False)
    done = cli("check", "-c", str(config), "--online")
    assert done.code == 78
    line = next(n for n, text in enumerate(config.read_text().splitlines(), 1) if text.startswith("templateId"))
    assert f"{config}:{line}: fleets.training.machine.templateId: the account has no tbu200wi" in done.err


def test_check_online_holds_adopt_against_the_account(cli, tmp_path: Path) -> None:
    world = '[provider]\nkind = "simulator"\n[provider.simulator]\nmachines = [{ name = "old-box", id = "psold1" }]'
    path = write(tmp_path, provider=world)
    path.write_text(
        path.read_text().replace("[fleets.training]", '[fleets.training]\nadopt = ["psold1", "psold2"]', 1)
    )
    done = cli("check", "-c", str(path), "--online")
    assert done.code == 0, done.err
    assert "adopt[1]: it takes no machine of the account" in done.err
    assert "adopt[0]" not in done.err


def test_the_config_of_the_environment_is_used(cli, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEETD_CONFIG", str(config))
    assert cli("check").code == 0


def test_plan_reads_like_a_plan_and_writes_nothing(cli, config: Path, tmp_path: Path) -> None:
    done = cli("plan", "-c", str(config))
    assert done.code == 0
    assert "+ create  3 x training-????????" in done.out
    assert done.out.splitlines()[-1].startswith("Plan: 3 to create.")
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(("target", "code"), [(3, 2), (0, 0)])
def test_plan_with_a_detailed_exit_code(cli, tmp_path: Path, target: int, code: int) -> None:
    path = write(tmp_path, fleet=f"[fleets.training]\ntarget = {target}")
    done = cli("plan", "-c", str(path), "--detailed-exitcode", "--json")
    assert done.code == code
    assert json.loads(done.out)["format"] == 1


def test_plan_at_another_time(cli, tmp_path: Path) -> None:
    window = (
        '[[fleets.training.windows]]\nname = "night"\nstart = "20:00"\nend = "07:00"\ntimezone = "UTC"\ntarget = 1'
    )
    path = write(tmp_path, more_fleet=window)
    night = json.loads(cli("plan", "-c", str(path), "--json", "--at", "2026-03-02T23:00Z").out)
    assert (night["at"], night["fleets"]["training"]["target"]) == ("2026-03-02T23:00:00Z", 1)
    day = json.loads(cli("plan", "-c", str(path), "--json", "--at", "2026-03-02T12:00Z").out)
    assert day["fleets"]["training"]["target"] == 3


def test_apply_converges_and_history_tells_it(cli, config: Path) -> None:
    done = cli("apply", "-c", str(config), "--timeout", "60s")
    assert done.code == 0, done.err
    assert re.fullmatch(r"At target after \d+ s: training 3/3 up\.  \$1\.53/h\n", done.out)
    events = [json.loads(line)["event"] for line in done.err.splitlines()]
    assert events.count("machine.became_ready") == 3

    lines = cli("history", "-c", str(config), "--json").out.splitlines()
    entries = [json.loads(line) for line in lines]
    assert [(e["verb"], e["outcome"]) for e in entries if e["verb"] != "daemon"] == [("create", "reached")] * 3
    assert [(e["name"], e["reason"]) for e in entries if e["verb"] == "daemon"] == [
        ("fleetd apply", "started"),
        ("fleetd apply", "stopped"),
    ]
    assert list(entries[0]) == [
        "ts", "fleet", "machine", "name", "verb", "reason", "outcome", "intent", "duration_s", "error", "actor",
        "evidence",
    ]  # fmt: skip
    one = cli("history", "-c", str(config), "--json", "--machine", entries[1]["name"]).out.splitlines()
    assert len(one) == 1
    assert len(cli("history", "-c", str(config), "--json", "--limit", "2").out.splitlines()) == 2
    assert cli("history", "-c", str(config), "--json", "--fleet", "other").out == ""
    assert cli("history", "-c", str(config), "--since", "1h").out.count("+ create") == 3
    assert cli("history", "-c", str(config), "--since", "2099-01-01").out == "nothing yet since 2099-01-01\n"
    typo = cli("history", "-c", str(config), "--machine", "training-typo").out
    assert typo == "nothing yet of machine training-typo; fleetd status lists the names\n"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ApplyTimedOut("not converged"), 75),
        (ApplyBlocked("training is frozen", temporary=True), 75),
        (ApplyBlocked("the provider refuses", temporary=False), 1),
    ],
)
def test_apply_that_does_not_get_there(
    cli, config: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int
) -> None:
    async def converge(_settings: object, *, timeout: float, on_status: Callable[..., None]) -> None:
        assert timeout == 90.0
        raise error

    monkeypatch.setattr(apply_command.wiring, "converge", converge)
    done = cli("apply", "-c", str(config), "--timeout", "1m30s")
    assert (done.code, done.out) == (code, "")
    assert str(error) in done.err


def test_status_without_a_daemon(cli, config: Path) -> None:
    document = json.loads(cli("status", "-c", str(config), "--json").out)
    assert document["format"] == 1
    assert document["daemon"]["running"] is False
    assert document["fleets"]["training"]["converged"] is False
    assert set(document) >= {"format", "daemon", "fleets", "machines", "blocked"}
    assert "No daemon runs" in cli("status", "-c", str(config)).out


def test_reload_without_a_daemon_says_so(cli, config: Path) -> None:
    done = cli("reload", "-c", str(config))
    assert done.code == 1
    assert "no daemon" in done.err


def test_a_running_daemon_answers_status_and_reload(cli, config: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with started("run", "-c", str(config), log=log) as daemon:
        until(lambda: "fleet.converged" in log.read_text(), saying="it never converged")
        document = json.loads(cli("status", "-c", str(config), "--json").out)
        assert (document["daemon"]["running"], document["daemon"]["pid"]) == (True, daemon.pid)
        assert document["fleets"]["training"]["up"] == 3
        config.write_text(config.read_text().replace("target = 3", "target = 4"))
        assert cli("reload", "-c", str(config)).code == 0
        until(lambda: '"up": 4' in log.read_text(), saying="it never took the new target")
        assert "4/4" not in cli("status", "-c", str(config)).err
    assert daemon.returncode == 0
    assert {json.loads(line)["level"] for line in log.read_text().splitlines()} <= {"info", "warning"}


@pytest.fixture
def hanging(cli, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[str]]:
    """A real daemon that is there and answers nobody."""
    log = tmp_path / "log"
    with started("run", "-c", str(config), log=log) as daemon:
        until(lambda: "fleet.converged" in log.read_text(), saying="it never converged")
        monkeypatch.setattr(control_client, "READ_TIMEOUT", 0.5)
        monkeypatch.setattr(control_client, "ORDER_TIMEOUT", 0.5)
        daemon.send_signal(signal.SIGSTOP)
        try:
            yield daemon
        finally:
            daemon.send_signal(signal.SIGCONT)


def test_a_daemon_that_hangs_is_not_reported_as_absent(cli, config: Path, hanging: subprocess.Popen[str]) -> None:
    words = f"A daemon (pid {hanging.pid}) holds the state directory and does not answer"
    status = cli("status", "-c", str(config))
    assert words in status.out
    assert "No daemon runs" not in status.out
    daemon = json.loads(cli("status", "-c", str(config), "--json").out)["daemon"]
    assert (daemon["running"], daemon["answers"], daemon["pid"]) == (True, False, hanging.pid)
    assert cli("explain", "training", "-c", str(config)).out.startswith(words)
    plan = cli("plan", "-c", str(config), "--json")
    assert words in plan.err
    assert "fleets" in json.loads(plan.out)


def test_an_order_to_a_daemon_that_hangs_may_still_be_carried_out(
    cli, config: Path, monkeypatch: pytest.MonkeyPatch, hanging: subprocess.Popen[str]
) -> None:
    why = ("--reason", "x", "-c", str(config))
    for order in (
        ("freeze", "training", "--for", "1h", *why),
        ("hold", "m", "--for", "1h", *why),
        ("unfreeze", "training", "-c", str(config)),
        ("release", "m", "-c", str(config)),
        ("start", "m", *why),
        ("stop", "m", *why),
        ("restart", "m", *why),
        ("reload", "-c", str(config)),
        ("step-down", "-c", str(config)),
    ):
        done = cli(*order)
        assert done.code == 75, order
        said = f"the daemon (pid {hanging.pid}) does not answer; it may still carry this out when it does"
        assert said in done.err, order
        assert "Start it" not in done.err
        assert "daemon.state_dir" not in done.err


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("", "must not be empty"),
        ("   ", "must not be empty"),
        ("\t", "must not be empty"),
        ("a" * 501, "must not be longer than 500 characters"),
    ],
    ids=["empty", "blanks", "tab", "too long"],
)
@pytest.mark.parametrize(
    "order",
    [
        ("freeze", "training", "--for", "1h"),
        ("hold", "m", "--for", "1h"),
        ("start", "m"),
        ("stop", "m"),
        ("restart", "m"),
    ],
    ids=lambda order: order[0],
)
def test_a_reason_says_something_and_has_an_end(
    cli, config: Path, order: tuple[str, ...], reason: str, said: str
) -> None:
    done = cli(*order, "-c", str(config), "--reason", reason)
    assert done.code == 64
    assert f"--reason {said}" in done.err


def test_a_typo_in_what_is_to_be_released_is_no_success(cli, config: Path) -> None:
    def ended(*arguments: str) -> tuple[int, str]:
        done = cli(*arguments, "-c", str(config))
        return done.code, done.err

    code, said = ended("unfreeze", "trianing", "--json")
    assert code == 64
    assert "no fleet 'trianing'; it has training" in said
    code, said = ended("release", "nosuch")
    assert code == 64
    assert "no machine and no hold is called 'nosuch'" in said
    assert ended("unfreeze")[0] == ended("unfreeze", "training")[0] == 0

    assert cli("apply", "-c", str(config)).code == 0
    name = json.loads(cli("history", "-c", str(config), "--json").out.splitlines()[1])["name"]
    assert ended("hold", name, "--for", "1h", "--reason", "x")[0] == 0
    code, said = ended("release", name)
    assert (code, "1 hold ended" in said) == (0, True)
    code, said = ended("release", name)
    assert (code, "has no hold of its own" in said) == (0, True), "known, with nothing to end"


def test_a_freeze_of_a_fleet_that_is_no_more_can_be_ended(cli, config: Path) -> None:
    assert cli("freeze", "training", "--for", "1h", "--reason", "x", "-c", str(config)).code == 0
    config.write_text(config.read_text().replace("fleets.training", "fleets.other"))
    done = cli("unfreeze", "training", "-c", str(config))
    assert (done.code, "1 freeze ended" in done.err) == (0, True)
    assert cli("unfreeze", "training", "-c", str(config)).code == 64


def test_schema_is_a_schema(cli) -> None:
    schema = json.loads(cli("schema").out)
    assert "fleets" in schema["properties"]


def test_the_demo_ends_with_converged_fleets_and_says_how_to_go_on() -> None:
    done = fleetd("demo", timeout=60)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "fleetd keeps fleets of GPU machines at their target size."
    assert any(line.startswith("At target after ") and "training 4/4 up" in line for line in lines)
    assert "Machines of other people, never touched: grace-desktop, old-build-server, training-backup." in lines
    assert any("fleetd check" in line for line in lines)
    assert done.stderr == ""


def test_the_demo_gives_up_in_time() -> None:
    done = fleetd("demo", "--timeout", "300ms", timeout=60)
    assert done.returncode == 75
    assert "not every fleet is at its target yet" in done.stderr


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A socket's path has room for 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="fleetd-") as place:
        yield Path(place)


@pytest.mark.long
def test_the_demo_stays_alive_on_a_terminal_until_ctrl_c_and_leaves_nothing_behind(short_path: Path) -> None:
    env = environment(TERM="xterm", TMPDIR=str(short_path), LINES="50")
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(sys.executable, [sys.executable, "-m", "fleetd", "demo"], env)
    shown, interrupted, deadline = b"", False, time.monotonic() + 120
    while time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                shown += os.read(terminal, 65536)
            except OSError:
                break
        if b"Every fleet is at its target" in shown and not interrupted:
            (config,) = short_path.glob("fleetd-demo-*/demo.toml")
            status = fleetd("status", "-c", str(config), "--json")
            assert json.loads(status.stdout)["daemon"]["pid"] == pid
            interrupted = True
            os.write(terminal, b"\x03")
    assert interrupted, shown.decode(errors="replace")[-2000:]
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert list(short_path.iterdir()) == []


def test_the_demos_config_gets_its_own_place() -> None:
    text = demo.staged(demo._packaged(), Path('/tmp/a "quoted" place'), "127.0.0.1:1234")
    settings = parse(text, "demo.toml")
    assert str(settings.daemon.state_dir) == '/tmp/a "quoted" place'
    assert settings.daemon.listen == "127.0.0.1:1234"


def test_a_busy_port_does_not_keep_the_demo_from_starting(tmp_path: Path) -> None:
    import socket

    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        assert not demo._free(f"127.0.0.1:{busy.getsockname()[1]}")


def test_a_port_that_another_demo_takes_meanwhile_does_not_end_this_one(tmp_path: Path) -> None:
    import socket
    import tempfile

    log = tmp_path / "log"
    # A socket's path is short: not below tmp_path, which is as deep as where the tests run.
    with socket.socket() as busy, log.open("w") as stream, tempfile.TemporaryDirectory(dir="/tmp") as short:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        script = (
            "from fleetd.cli import demo\n"
            "from fleetd.cli.app import run\n"
            f"demo.LISTEN = '127.0.0.1:{busy.getsockname()[1]}'\n"
            "demo._free = lambda address: True  # it was, a moment ago\n"
            "raise SystemExit(run(['demo', '--keep-running']))\n"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", script],
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=environment(TMPDIR=short),
        )
        try:
            until(lambda: "training 4/4 up" in log.read_text() or process.poll() is not None)
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0, log.read_text()
    said = log.read_text()
    assert "training 4/4 up" in said
    assert "error" not in said
    assert said.count("fleetd keeps fleets of GPU machines") == 1


@pytest.mark.parametrize(
    ("arguments", "key", "says"),
    [
        ((), None, "any key that is not empty"),
        ((), KEY, "the key that PAPERSPACE_API_KEY holds"),
        (("--key", "other"), None, "the key of --key"),
    ],
    ids=["any", "environment", "option"],
)
def test_the_simulator_says_how_to_use_it_and_hides_the_key(
    tmp_path: Path, arguments: tuple[str, ...], key: str | None, says: str
) -> None:
    log = tmp_path / "log"
    with started("simulator", "--port", "0", *arguments, log=log, PAPERSPACE_API_KEY=key or "") as process:
        text = until(lambda: says in log.read_text() and log.read_text(), saying="it never said so")
        assert re.search(r'base_url = "http://127\.0\.0\.1:\d+"', text)
        assert KEY not in text
        assert ("ps)" in text) == bool(arguments)
    assert process.returncode == 0


def test_the_simulators_faults_are_checked(cli, tmp_path: Path) -> None:
    (tmp_path / "faults.toml").write_text("[[faults]]\nkind = 'gremlins'\n")
    done = cli("simulator", "--port", "0", "--faults", str(tmp_path / "faults.toml"))
    assert done.code == 78
    assert "faults.toml" in done.err


def test_output_survives_a_stream_that_cannot_spell_it(config: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fleetd", "status", "-c", str(config)],
        capture_output=True,
        env=environment(PYTHONIOENCODING="ascii"),
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert json_text({"é": 1}, ascii_only=True).isascii()


def test_history_on_a_small_terminal_is_a_line_an_entry(cli, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli("apply", "-c", str(config)).code == 0
    monkeypatch.setenv("COLUMNS", "80")
    lines = cli("history", "-c", str(config)).out.splitlines()
    entry = r"[\d-]+ [\d:]+ \+ create training-\w{8}: reached after [\d.]+ s, short_of_target"
    assert len(lines) == 5
    assert all(re.fullmatch(entry, line) for line in lines[1:4]), lines
    assert re.fullmatch(r"[\d-]+ [\d:]+ \* daemon fleetd apply, started \([\d.]+\)", lines[0])


@pytest.mark.long
def test_history_follows_what_comes_and_stops_and_holds_are_in_it(cli, config: Path, tmp_path: Path) -> None:
    log, followed, lines = tmp_path / "log", tmp_path / "followed", tmp_path / "lines"
    with started("run", "-c", str(config), log=log):
        until(lambda: "fleet.converged" in log.read_text(), saying="it never converged")
        name = json.loads(cli("status", "-c", str(config), "--json").out)["machines"][0]["name"]
        follow = ("history", "-c", str(config), "--follow", "--machine", name)
        with started(*follow, log=followed), started(*follow, "--json", log=lines):
            until(lambda: "create" in followed.read_text() and lines.read_text(), saying=followed.read_text)
            assert cli("hold", name, "-c", str(config), "--for", "1h", "--reason", "mine").code == 0
            declined = cli("stop", name, "-c", str(config), "--reason", "loud")
            assert declined.code == 75
            assert "an operator holds it" in declined.err
            assert "fleetd release" in declined.err
            assert cli("release", name, "-c", str(config)).code == 0
            done = cli("stop", name, "-c", str(config), "--reason", "loud", "--for", "2h", "--json")
            assert (done.code, json.loads(done.out)["result"]) == (0, "begun")
            until(lambda: "stop" in followed.read_text() and " reached" in followed.read_text().splitlines()[-1])
            until(lambda: len(lines.read_text().splitlines()) == 5)
    told = [line.split(" ", 3)[3] for line in followed.read_text().splitlines()]
    assert [line.split(" ", 1)[0] for line in told] == ["create", "hold", "stop", "release", "stop"]
    assert "mine; until" in told[1]
    assert f"by {_me()}" in told[1]
    assert "not_sent" in told[2]
    rows = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [(r["verb"], r["outcome"]) for r in rows[2:]] == [
        ("stop", "not_sent"), ("release", "observed"), ("stop", "reached"),
    ]  # fmt: skip
    assert rows[4]["actor"].startswith(_me())
    assert rows[4]["evidence"] == "loud"


def test_an_order_needs_a_daemon_and_says_how_to_do_without(cli, config: Path) -> None:
    done = cli("restart", "training-7k3mqggq", "-c", str(config), "--reason", "hangs")
    assert done.code == 1
    assert "no daemon listens" in done.err
    assert "fleetd machines works by hand" in done.err


def test_a_veto_without_a_daemon_is_in_history_as_well(cli, config: Path) -> None:
    assert cli("apply", "-c", str(config)).code == 0
    name = json.loads(cli("history", "-c", str(config), "--json").out.splitlines()[1])["name"]
    assert cli("hold", name, "-c", str(config), "--for", "1h", "--reason", "mine").code == 0
    calm = ("--verb", "stop", "--for", "1h", "--reason", "calm")
    assert cli("freeze", "-c", str(config), *calm).code == 0
    none = cli("unfreeze", "training", "-c", str(config))
    first, rest = none.err.split("\n", 1)
    assert (none.code, first) == (0, "training has no freeze of its own; fleetd status lists what is in force")
    assert re.match(r"freeze on everything \(stop only\) by .*: calm, until ", rest)
    assert "fleetd unfreeze ends it" in rest
    assert cli("release", name, "-c", str(config)).code == 0
    rows = [json.loads(line) for line in cli("history", "-c", str(config), "--json").out.splitlines()]
    rows = [row for row in rows if row["verb"] not in {"create", "daemon"}]
    assert [(r["verb"], r["name"]) for r in rows] == [
        ("hold", name), ("freeze", "everything"), ("release", name),
    ]  # fmt: skip
    assert rows[0]["actor"].startswith(f"{_me()} (uid {os.getuid()})")
    assert rows[0]["evidence"].startswith("mine; until ")
    assert rows[1]["evidence"].startswith("calm; stop only; until ")


def _me() -> str:
    return getpass.getuser()


def test_a_watched_status_stays_when_the_provider_goes_and_says_that_it_is_old(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = status_report(None, daemon=DaemonReport(running=False, config="f.toml", provider="ok"))
    gone = Unavailable("connection refused", operation="list")
    looks: list[Report | BaseException] = [whole, gone, KeyboardInterrupt()]

    async def current(_settings: object) -> Report:
        look_ = looks.pop(0)
        if isinstance(look_, BaseException):
            raise look_
        return look_

    screen = io.StringIO()
    console = PlainConsole(file=screen, force_terminal=True, width=100, height=30)
    monkeypatch.setattr(status_command, "out", lambda: console)
    monkeypatch.setattr(status_command, "REFRESH", 0.01)
    monkeypatch.setattr(status_command.wiring, "current_status", current)
    assert run(["status", "--watch", "-c", str(config)]) == 130
    shown = screen.getvalue()
    assert shown.count("No daemon runs") == 2, "what was seen last stays on the screen"
    assert "this is old: list: connection refused" in shown


@pytest.mark.parametrize("subject", ["training", "training-*", "training-typo", "someone-elses"])
@pytest.mark.parametrize("daemon", [True, False], ids=["with a daemon", "without one"])
def test_a_hold_on_what_is_no_machine_is_a_usage_error(cli, config: Path, tmp_path: Path, subject, daemon) -> None:
    hold = ("hold", subject, "-c", str(config), "--for", "1h", "--reason", "mine")
    log = tmp_path / "log"
    if daemon:
        with started("run", "-c", str(config), log=log):
            until(lambda: "fleet.converged" in log.read_text(), saying="it never converged")
            done = cli(*hold)
            vetoes = json.loads(cli("status", "-c", str(config), "--json").out)["vetoes"]
    else:
        done = cli(*hold)
        vetoes = json.loads(cli("status", "-c", str(config), "--json").out)["vetoes"]
    assert (done.code, vetoes) == (64, [])
    said = {"training": "fleetd freeze training", "training-*": "fleetd freeze"}.get(subject, "no machine of ours")
    assert said in done.err


@pytest.mark.parametrize("socket", ["removed", "stale"])
def test_a_daemon_whose_socket_cannot_be_reached_is_not_reported_as_absent(
    cli, config: Path, tmp_path: Path, socket: str
) -> None:
    """The lock says that one runs, whoever listens."""
    state = tmp_path / "state"
    state.mkdir(mode=0o700, exist_ok=True)
    if socket == "stale":
        (state / "control.sock").touch()
    with StateLock(state, pid=os.getpid(), since=datetime.now(UTC)):
        status = cli("status", "-c", str(config))
        assert "No daemon runs" not in status.out
        assert f"a daemon (pid {os.getpid()}) holds {state} and cannot be reached" in " ".join(status.out.split())
        daemon = json.loads(cli("status", "-c", str(config), "--json").out)["daemon"]
        assert (daemon["running"], daemon["answers"], daemon["pid"]) == (True, False, os.getpid())
        said = cli("explain", "training", "-c", str(config)).out
        assert "cannot be reached" in said
        assert "No daemon runs" not in said
        for order in (("stop", "m", "--reason", "x"), ("hold", "m", "--for", "1h", "--reason", "x"), ("reload",)):
            done = cli(*order, "-c", str(config))
            assert done.code == 75, order
            assert "cannot be reached" in done.err, order
            assert "Start" not in done.err
    assert "No daemon runs" in cli("status", "-c", str(config)).out
