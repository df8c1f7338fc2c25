"""A lock taken away ends its daemon; ``apply`` is told what a daemon is; a closed terminal ends what it ran."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fleetd.store.lock import read_holder
from tests.support.processes import SimulatorProcess, environment, fleetd, simulator, started, until, write_config

pytestmark = pytest.mark.slow
WHY = ("--for", "1h", "--reason", "incident 42")


@pytest.fixture
def sim(tmp_path: Path) -> Iterator[SimulatorProcess]:
    with simulator(tmp_path, speed=5) as process:
        yield process


def document(config: Path) -> dict[str, object]:
    answer: dict[str, object] = json.loads(fleetd("status", "-c", str(config), "--json").stdout)
    return answer


def test_removing_the_lock_lets_no_second_daemon_in(sim: SimulatorProcess, tmp_path: Path) -> None:
    config, log = write_config(tmp_path, sim.url, target=4), tmp_path / "log"
    state = tmp_path / "state"
    with started("run", "-c", str(config), log=log) as first:
        until((state / "control.sock").exists, saying=log.read_text)
        (state / "lock").unlink()
        second = fleetd("run", "-c", str(config))
        assert second.returncode == 75, second.stderr
        assert "another fleetd" in second.stderr
        # The first makes the file anew at its next write, which the second may have come before.
        until(lambda: (holder := read_holder(state)) is not None and holder.pid == first.pid, saying=log.read_text)
        third = fleetd("run", "-c", str(config))
        assert third.returncode == 75, third.stderr
        assert f"(pid {first.pid}, " in third.stderr
        until(lambda: len([m for m in sim.machines() if m["state"] == "ready"]) == 4, saying=log.read_text)
        assert len(sim.machines()) == 4
        assert document(config)["daemon"]["pid"] == first.pid, "its control socket is still its own"  # type: ignore[index]
        assert first.poll() is None


def _replace_lock(state: Path) -> None:
    (state / "new").touch()
    (state / "new").rename(state / "lock")


def _replace_journal(state: Path) -> None:
    shutil.copy(state / "journal.db", state / "copy")
    (state / "copy").rename(state / "journal.db")


def _move(state: Path) -> None:
    state.rename(state.with_name("moved"))


def _replace_directory(state: Path) -> None:
    shutil.copytree(state, state.with_name("copy"), ignore=shutil.ignore_patterns("*.sock"))
    _move(state)
    state.with_name("copy").rename(state)


@pytest.mark.parametrize("meddle", [_replace_lock, _replace_journal, _move, shutil.rmtree, _replace_directory])
@pytest.mark.parametrize("command", ["run", "apply"])
def test_a_daemon_whose_seat_is_taken_ends_at_once(
    sim: SimulatorProcess, tmp_path: Path, meddle: Callable[[Path], None], command: str
) -> None:
    """``apply`` waits for a machine that never comes up, so that it is still there."""
    config, log = write_config(tmp_path, sim.url, target=4), tmp_path / "log"
    state = tmp_path / "state"
    with started(command, "-c", str(config), log=log) as process:
        until((state / "control.sock").exists, saying=log.read_text)
        until(sim.writes, saying=log.read_text)
        meddle(state)
        assert process.wait(timeout=10) == 75
    said = log.read_text()
    # A write of a pass under way may meet it before the watch does: apply ends with that.
    assert "daemon.lock_lost" in said or "had it open" in said
    assert "Traceback" not in said


def test_an_end_leaves_anothers_control_socket_alone(sim: SimulatorProcess, tmp_path: Path) -> None:
    config, log = write_config(tmp_path, sim.url, target=1), tmp_path / "log"
    control = tmp_path / "state" / "control.sock"
    with started("run", "-c", str(config), log=log):
        until(control.exists, saying=log.read_text)
        control.unlink()
        control.write_text("somebody else's")
    assert control.read_text() == "somebody else's"


def test_two_daemons_do_not_share_a_control_socket(sim: SimulatorProcess, tmp_path: Path) -> None:
    runtime = tmp_path / "runtime"
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    one = write_config(here, sim.url, target=1, state=here / "state")
    two = write_config(there, sim.url, target=1, state=there / "state")
    with started("run", "-c", str(one), log=tmp_path / "log", RUNTIME_DIRECTORY=str(runtime)):
        until((runtime / "control.sock").exists)
        second = fleetd("run", "-c", str(two), RUNTIME_DIRECTORY=str(runtime))
        assert second.returncode == 75
        assert "another fleetd listens there" in second.stderr
        assert fleetd("status", "-c", str(one), RUNTIME_DIRECTORY=str(runtime)).returncode == 0


def test_an_apply_can_be_asked_held_and_frozen(tmp_path: Path) -> None:
    with simulator(tmp_path, speed=0.01) as sim:  # its machines take hours
        config, log = write_config(tmp_path, sim.url, target=2), tmp_path / "log"
        file = ("-c", str(config))
        with started("apply", *file, log=log) as process:
            until((tmp_path / "state" / "control.sock").exists, saying=log.read_text)
            until(lambda: len(sim.machines()) == 2, saying=log.read_text)
            name = sim.machines()[0]["name"]
            status = document(config)
            assert status["daemon"]["running"] is True  # type: ignore[index]
            assert status["daemon"]["command"] == "apply"  # type: ignore[index]
            assert f"fleetd apply runs (pid {process.pid}" in fleetd("status", *file).stdout
            for command in (
                ("explain", "training"),
                ("history",),
                ("plan",),
                ("hold", name, *WHY),
                ("release", name),
            ):
                ended = fleetd(*command, *file)
                assert ended.returncode == 0, (command, ended.stderr)
            refused = fleetd("reload", *file)
            assert refused.returncode == 75
            assert "keeps to the config that it began with" in refused.stderr
            assert fleetd("freeze", *file, *WHY).returncode == 0
            assert [v["kind"] for v in document(config)["vetoes"]] == ["freeze"]  # type: ignore[attr-defined]
            assert fleetd("unfreeze", *file).returncode == 0
            assert process.poll() is None
            process.send_signal(signal.SIGHUP)
            assert process.wait(timeout=30) == 130


def _on_a_terminal(*arguments: str, directory: Path) -> tuple[int, Callable[[], str], int]:
    """A session of its own on a terminal; (pid, what it has said, the terminal's other end)."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(directory)
        os.execve(sys.executable, [sys.executable, "-m", "fleetd", *arguments], environment(TERM="xterm"))
    said = bytearray()

    def read() -> str:
        os.set_blocking(terminal, False)
        try:
            while chunk := os.read(terminal, 65536):
                said.extend(chunk)
        except OSError:
            pass
        return said.decode(errors="replace")

    return pid, read, terminal


@pytest.mark.parametrize("command", ["apply", "demo", "simulator", "status --watch"])
def test_a_closed_terminal_ends_what_was_started_on_it(tmp_path: Path, command: str) -> None:
    with simulator(tmp_path, speed=0.01) as sim:
        config = write_config(tmp_path, sim.url, target=2)
        arguments = [*command.split(), *([] if command in {"demo", "simulator"} else ["-c", str(config)])]
        if command == "simulator":
            arguments += ["--port", "0"]
        pid, said, terminal = _on_a_terminal(*arguments, directory=tmp_path)
        ready = {"apply": lambda: len(sim.machines()) == 2, "demo": lambda: "FLEETD_CONFIG" in said()}
        until(ready.get(command, said), saying=said)
        os.close(terminal)
        try:
            until(lambda: os.waitpid(pid, os.WNOHANG)[0], seconds=20, saying="it lives on")
        except AssertionError:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise
        if command == "apply":
            rows = fleetd("history", "-c", str(config), "--json").stdout.splitlines()
            assert not rows or all(json.loads(row) for row in rows)
            assert not (tmp_path / "state" / "control.sock").exists(), "it ended in order"


def test_what_was_started_with_nohup_goes_on(tmp_path: Path) -> None:
    with simulator(tmp_path, speed=0.01) as sim:
        config = write_config(tmp_path, sim.url, target=1)
        log = (tmp_path / "log").open("w")
        process = subprocess.Popen(
            ["nohup", sys.executable, "-m", "fleetd", "apply", "-c", str(config)],
            stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment(),
        )  # fmt: skip
        until(sim.machines)
        process.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=2)
        process.terminate()
        assert process.wait(timeout=30) == 130
        log.close()


def test_a_hangup_at_any_time_of_a_start_ends_no_run_and_is_obeyed(tmp_path: Path) -> None:
    """The imports alone take most of a second; a reload may come before they are over."""
    with simulator(tmp_path) as sim:
        config = write_config(tmp_path, sim.url, target=1)
        log = (tmp_path / "log").open("w+")
        process = subprocess.Popen(
            [sys.executable, "-m", "fleetd", "run", "-c", str(config)],
            stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment(),
        )  # fmt: skip

        def keeps() -> bool:
            """Whether SIGHUP is caught (proc(5), SigCgt): the first thing that the program does."""
            caught = next(
                line for line in Path(f"/proc/{process.pid}/status").read_text().splitlines() if "SigCgt" in line
            )
            return bool(int(caught.split()[1], 16) & 1)

        until(keeps, every=0.002)
        process.send_signal(signal.SIGHUP)
        until(lambda: "config.reloaded" in (tmp_path / "log").read_text())
        process.terminate()
        assert process.wait(timeout=30) == 0, (tmp_path / "log").read_text()
        log.close()
