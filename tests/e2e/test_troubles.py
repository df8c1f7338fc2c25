"""What goes wrong outside fleetd comes out as one clear error and the right exit code."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.ports import nobody_listens
from tests.support.processes import KEY, fleetd, popen, simulator, started, until, write_config

TEN_FAULTS = Path(__file__).parent.parent / "config" / "ten-faults.toml"


def test_ten_faults_are_all_reported_at_once() -> None:
    done = fleetd("check", "-c", str(TEN_FAULTS))
    assert done.returncode == 78
    assert "10 fault" in done.stderr
    paths = [line.split()[0].rstrip(":") for line in done.stderr.splitlines() if line.startswith("  ")]
    assert len(set(paths)) == 10, done.stderr
    for command in ("plan", "apply", "run", "status"):
        assert fleetd(command, "-c", str(TEN_FAULTS)).returncode == 78


@pytest.mark.usefixtures("lose")
def test_a_wrong_key_is_77(tmp_path: Path) -> None:
    with simulator(tmp_path, PAPERSPACE_API_KEY="the-right-one") as sim:
        config = write_config(tmp_path, sim.url)
        for command in (("plan",), ("apply",), ("machines", "list")):
            done = fleetd(*command, "-c", str(config))
            assert done.returncode == 77, done.stderr
            assert KEY not in done.stdout + done.stderr


def test_a_provider_that_is_down_is_69_soon(tmp_path: Path) -> None:
    with nobody_listens() as port:
        config = write_config(tmp_path, f"http://127.0.0.1:{port}")
        for command in (("plan",), ("apply",), ("machines", "list"), ("machines", "stop", "ps1"), ("status",)):
            begun = time.monotonic()
            done = fleetd(*command, "-c", str(config))
            assert done.returncode == 69, done.stderr
            assert time.monotonic() - begun < 30
            assert "Traceback" not in done.stderr


def test_a_provider_that_hangs_is_69_soon(tmp_path: Path) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        config, another = write_config(tmp_path, url), tmp_path / "another"
        another.mkdir()
        configs = {("apply",): write_config(another, url)}  # it answers those who ask about its own
        commands = [
            ("plan",), ("apply",), ("status",), ("cost",), ("check", "--online"),
            ("machines", "list"), ("machines", "show", "ps1"),
        ]  # fmt: skip
        begun = time.monotonic()
        waiting = [popen(*command, "-c", str(configs.get(command, config))) for command in commands]
        for command, process in zip(commands, waiting, strict=True):
            _, said = process.communicate(timeout=120)
            assert process.returncode == 69, (command, said)
            assert "Traceback" not in said
        # All of them together, on a machine that has other things to do: each one's own limit is 25 s.
        assert time.monotonic() - begun < 60


def test_run_keeps_going_while_the_provider_is_down_and_says_so_once(tmp_path: Path) -> None:
    log = tmp_path / "daemon.log"
    with nobody_listens() as port:
        config = write_config(tmp_path, f"http://127.0.0.1:{port}")
        with started("run", "-c", str(config), log=log) as daemon:
            until(lambda: "provider.unavailable" in log.read_text())
            time.sleep(4)
            assert daemon.poll() is None
            assert log.read_text().count("provider.unavailable") == 1
            daemon.send_signal(signal.SIGTERM)
            assert daemon.wait(timeout=30) == 0


@pytest.mark.parametrize("command", ["apply", "run"])
def test_a_second_daemon_on_a_state_directory_is_75(tmp_path: Path, command: str) -> None:
    with simulator(tmp_path) as sim:
        config = write_config(tmp_path, sim.url, target=1)
        log = tmp_path / "daemon.log"
        with started("run", "-c", str(config), log=log) as first:
            until(lambda: "daemon.started" in log.read_text())
            second = fleetd(command, "-c", str(config))
            assert second.returncode == 75
            assert str(first.pid) in second.stderr
            assert first.poll() is None


def test_a_state_directory_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    config = write_config(tmp_path, "http://127.0.0.1:1", state=tmp_path / "file" / "state")
    done = fleetd("apply", "-c", str(config))
    assert done.returncode == 1
    assert str(tmp_path / "file") in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small tmpfs needs root")
def test_a_full_disk_stops_the_writes_and_is_said(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(state)], check=False)
    if mounted.returncode != 0:
        pytest.skip("mounting is not permitted here")
    try:
        (state / "ballast").write_bytes(b"\0" * 60_000)
        with simulator(tmp_path) as sim:
            config = write_config(tmp_path, sim.url, target=1)
            done = fleetd("apply", "-c", str(config), "--timeout", "10s")
            assert done.returncode == 1, done.stdout + done.stderr
            assert "full" in done.stderr
            assert sim.writes() == []
    finally:
        subprocess.run(["umount", str(state)], check=True)
