"""The key, searched for in everything that a run leaves or shows: it is nowhere."""

from __future__ import annotations

import os
import signal
import subprocess
import urllib.request
from pathlib import Path

import pytest

from tests.support.ports import free_port
from tests.support.processes import KEY, fleetd, popen, simulator, started, until, write_config

COMMANDS = (
    ("check",),
    ("check", "--online"),
    ("plan",),
    ("plan", "--json"),
    ("status",),
    ("status", "--json"),
    ("history", "--json"),
    ("explain", "training"),
    ("cost",),
    ("hold", "training-00000dny", "--for", "1m", "--reason", "grep"),
    ("freeze", "--for", "1m", "--reason", "grep"),
    ("unfreeze",),
    ("machines", "list", "--json"),
    ("machines", "show", "no-such-machine"),
    ("machines", "update", "no-such-machine", "--shutdown-timeout-in-hours", "24"),
    ("run",),
    ("apply",),
    ("schema",),
)
"""Everything that looks, what fails, and what is turned away because a daemon runs."""


def command_line(pid: int) -> bytes:
    """Empty for a moment, while the new program takes the old one's place."""
    line: bytes = until(Path(f"/proc/{pid}/cmdline").read_bytes, every=0.01)
    return line


@pytest.mark.parametrize(
    ("place", "commands"), [("environment", COMMANDS), ("file", COMMANDS[:4])], ids=["environment", "file"]
)
def test_the_key_is_nowhere(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, place: str, commands: tuple[tuple[str, ...], ...]
) -> None:
    """Every output, page, log and state file of a run, and every command line of its processes."""
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "key"
    elsewhere.write_text(KEY + "\n")
    elsewhere.chmod(0o600)
    ours = {} if place == "environment" else {"PAPERSPACE_API_KEY": "not-this-one"}
    port = free_port()
    with simulator(tmp_path) as sim:
        config = write_config(tmp_path, sim.url, target=2)
        text = config.read_text().replace('listen = ""', f'listen = "127.0.0.1:{port}"')
        if place == "file":
            text = text.replace('{ env = "PAPERSPACE_API_KEY" }', f'{{ file = "{elsewhere}" }}')
        config.write_text(text)
        log = tmp_path / "daemon.log"
        said: dict[str, str] = {}
        lines: list[bytes] = []
        with started("run", "-c", str(config), log=log, FLEETD_DEBUG="1", **ours) as daemon:
            until(lambda: "fleet.converged" in log.read_text(), seconds=60, saying=log.read_text)
            lines.append(command_line(daemon.pid))
            environ = Path(f"/proc/{daemon.pid}/environ").read_bytes()
            assert (KEY.encode() in environ) == (place == "environment")
            for command in commands:
                where = () if command == ("schema",) else ("-c", str(config))
                process = popen(*command, *where, FLEETD_DEBUG="1", **ours)
                lines.append(command_line(process.pid))
                out, err = process.communicate(timeout=60)
                said[" ".join(command)] = out + err
            for path in ("/", "/metrics", "/status.json", "/livez", "/readyz"):
                with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
                    said[path] = answer.read().decode()
            sim.ask("/_sim/faults", {"faults": [{"kind": "unauthorized"}]})
            until(lambda: "provider.key_refused" in log.read_text(), saying=log.read_text)
            said["refused"] = "".join(fleetd("plan", "-c", str(config), FLEETD_DEBUG="1", **ours).stderr)
            daemon.send_signal(signal.SIGTERM)
            assert daemon.wait(timeout=60) == 0
        said["calls"] = str(sim.calls())
        assert [name for name, text in said.items() if KEY in text] == []
        assert [line for line in lines if KEY.encode() in line] == []
        assert all(b"fleetd" in line for line in lines), "the command lines were read while they ran"
        searched = [p for p in tmp_path.rglob("*") if p.is_file()]
        assert {"daemon.log", "simulator.log", "journal.db"} <= {p.name for p in searched}
        grep = ["grep", "-rlaF", KEY, str(tmp_path)]
        clean = {k: v for k, v in os.environ.items() if k != "PAPERSPACE_API_KEY"}
        found = subprocess.run(grep, capture_output=True, text=True, check=False, env=clean)
        assert (found.returncode, found.stdout, found.stderr) == (1, "", "")
        elsewhere.rename(tmp_path / "key")
        found = subprocess.run(grep, capture_output=True, text=True, check=False, env=clean)
        assert found.stdout == f"{tmp_path}/key\n", "the search itself works"
