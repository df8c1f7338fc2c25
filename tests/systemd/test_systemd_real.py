"""A real systemd runs fleetd: installed, started, reloaded, killed, frozen, stopped, moved and removed.

One story on one machine, in the order of the file: each test leaves the service as the next one wants it. The
machine is a Debian of its own (see boot.sh); nothing of the one that tests is touched. Every command that
docs/operations.md gives is run here, as it stands there.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.test_container import copied
from tests.support.processes import until
from tests.systemd.account import PORT
from tests.systemd.handbook import Handbook
from tests.systemd.machine import PATIENCE, Machine, booted, den, make_root, make_wheelhouse, obstacle

pytestmark = [pytest.mark.peer("systemd"), pytest.mark.slow]

PROJECT = Path(__file__).parents[2]
TREE, WHEELHOUSE = "/srv/fleetd", "/srv/wheelhouse"
KEY, NEW_KEY = "the-first-key-0123456789", "the-second-key-9876543210"
KEY_FILE, CONFIG_FILE = "/etc/fleetd/paperspace-api-key", "/etc/fleetd/fleetd.toml"
CONFIG = f"""
version = 1
[provider]
kind = "paperspace-core"
base_url = "http://127.0.0.1:{PORT}"
api_key = {{ credential = "paperspace-api-key" }}
max_requests_per_second = 100
request_timeout = "5s"
[daemon]
interval = "1s"
poll = "200ms"
[guards]
settle = "3s"
[prices]
P4000 = 0.51
[fleets.training]
target = TARGET
[fleets.training.machine]
region = "East Coast (NY2)"
machineType = "P4000"
size = 50
billingType = "hourly"
templateId = "tbu200wi"
"""


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    problem = obstacle()
    if problem is not None:
        message = f"no systemd can be booted here: {problem}"
        if os.environ.get("CI") == "true":
            pytest.fail(message, pytrace=False)
        pytest.skip(message)
    folder = tmp_path_factory.mktemp("machine")
    wheelhouse = folder / "wheelhouse"
    with den(folder / "root") as place:
        with ThreadPoolExecutor() as pool:
            tasks = [pool.submit(make_root, place), pool.submit(make_wheelhouse, PROJECT, wheelhouse)]
            for task in tasks:
                task.result()
        shutil.copytree(wheelhouse, f"{place.seen}{WHEELHOUSE}")
        put_project(Path(f"{place.seen}{TREE}"))
        with booted(place) as machine:
            yield machine


@pytest.fixture(scope="module")
def handbook(machine: Machine) -> Handbook:
    return Handbook(machine, TREE, PIP_NO_INDEX="1", PIP_FIND_LINKS=WHEELHOUSE)


@pytest.fixture(scope="module")
def account(machine: Machine) -> Account:
    return Account(machine)


class Account:
    """The provider's account in there; what it says is the truth."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        # A copy of the installed environment, for that one comes and goes.
        machine.sh("cp -a $(readlink -f /opt/fleetd) /opt/account && mkdir -p /etc/account")
        self.accept(KEY)
        machine.sh(
            f"systemd-run --quiet --unit=account --setenv=PYTHONPATH={TREE} "
            "/opt/account/bin/python -m tests.systemd.account /etc/account/key"
        )
        until(lambda: self._ask("machines") is not None, saying="the account does not answer")

    def accept(self, key: str) -> None:
        """Accept this key from now on, and no other; "" accepts any."""
        self._machine.sh(f"printf %s '{key}' >/etc/account/key")
        if self._machine.run("systemctl is-active account").returncode == 0:
            self._machine.sh("systemctl kill --signal=HUP account")

    def machines(self) -> dict[str, str]:
        """State by id."""
        return {m["id"]: m["state"] for m in self._ask("machines")}

    def writes(self) -> list[str]:
        """The operations that changed something, in order."""
        return [c["operation"] for c in self._ask("calls") if c["write"]]

    def _ask(self, path: str) -> Any:
        return self._machine.get(f"http://127.0.0.1:{PORT}/_sim/{path}")


def put_project(tree: Path) -> None:
    """What the container is built from, no more, and this test's own: so that is enough to install from."""
    for name in (*copied(), "deploy", "tests"):
        if (PROJECT / name).is_dir():
            shutil.copytree(PROJECT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            tree.mkdir(parents=True, exist_ok=True)
            shutil.copy(PROJECT / name, tree / name)


def config(target: int) -> str:
    return CONFIG.replace("TARGET", str(target))


def status(machine: Machine) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(machine.sh("fleetd status --json"))
    return document


def until_converged(machine: Machine, target: int) -> None:
    def converged() -> bool:
        document = machine.get("http://127.0.0.1:8750/status.json")
        fleet = (document or {}).get("fleets", {}).get("training")
        return bool(fleet and fleet["converged"] and fleet["up"] == fleet["target"] == target)

    until(converged, seconds=90, every=0.5, saying=lambda: machine.sh("journalctl -u fleetd -o cat --no-pager -n 60"))


def entries(machine: Machine, event: str) -> list[dict[str, Any]]:
    """Journal entries of the service that are fleetd's lines of this name."""
    lines = machine.sh("journalctl -u fleetd -o json --no-pager").splitlines()
    return [e for e in map(json.loads, lines) if f'"event": "{event}"' in str(e["MESSAGE"])]


def test_install_leaves_a_service_that_waits_for_key_and_fleets(machine: Machine, handbook: Handbook) -> None:
    said = handbook.run("sudo deploy/install.sh")
    assert "is installed in /opt/fleetd" in said
    assert machine.run("systemctl is-enabled fleetd").stdout == "enabled\n"
    assert machine.run("systemctl is-active fleetd").stdout == "inactive\n"
    assert machine.sh(f"stat -c '%a %U' {KEY_FILE}") == "600 root\n"


def test_it_starts_and_converges(machine: Machine, handbook: Handbook, account: Account) -> None:
    handbook.run("sudoedit /etc/fleetd/paperspace-api-key", stdin=KEY)
    handbook.run("sudoedit /etc/fleetd/fleetd.toml", stdin=config(target=2))
    assert "create" in handbook.run("sudo fleetd check --online && sudo fleetd plan")
    assert account.writes() == []
    machine.sh("mkdir -p /etc/bash_completion.d")
    handbook.run("_FLEETD_COMPLETE=source_bash fleetd | sudo tee /etc/bash_completion.d/fleetd")
    assert "complete " in machine.sh("bash -c '. /etc/bash_completion.d/fleetd; complete -p fleetd'")
    machine.sh("rm /etc/bash_completion.d/fleetd")  # which nothing but the administrator removes
    assert "Active: active (running)" in handbook.run("sudo systemctl start fleetd && systemctl status fleetd")
    until_converged(machine, 2)
    assert account.writes() == ["create", "create"]
    assert "training 2/2" in machine.show("fleetd", "StatusText")


def test_it_runs_as_nobody_in_particular_and_the_key_is_where_only_it_looks(machine: Machine) -> None:
    pid = machine.show("fleetd", "MainPID")
    assert machine.sh(f"stat -c %u /proc/{pid}").strip() != "0"
    assert machine.sh(f"grep -E 'Cap(Prm|Eff|Bnd)' /proc/{pid}/status | cut -f2 | sort -u").strip() == "0" * 16
    for place in ("environ", "cmdline"):
        assert KEY not in machine.sh(f"tr '\\0' ' ' </proc/{pid}/{place}")
    assert KEY not in machine.sh("journalctl --no-pager; systemctl show fleetd")
    assert machine.run(f"grep -rlF {KEY} /var/lib/private/fleetd").stdout == ""
    assert machine.run("test -r /run/fleetd/control.sock").returncode == 0
    stranger = machine.run(
        "cd / && HOME=/nowhere setpriv --reuid=nobody --regid=nogroup --clear-groups fleetd status"
    )
    assert stranger.returncode != 0
    assert "unexpected" not in stranger.stderr
    assert "Traceback" not in stranger.stderr


def test_the_running_unit_is_hardened(machine: Machine) -> None:
    said = machine.sh("systemd-analyze security --no-pager --threshold=15 fleetd")
    assert "Overall exposure level for fleetd.service" in said


def test_the_journal_holds_json_with_priorities(machine: Machine) -> None:
    (started,) = entries(machine, "daemon.started")
    line = json.loads(started["MESSAGE"])
    assert line["level"] == "info"
    assert started["PRIORITY"] == "6"
    assert line["provider"] == "paperspace-core"
    assert machine.sh("journalctl -u fleetd -o cat -p err --no-pager") == ""


def test_a_reload_is_obeyed_and_a_faulty_one_is_not(machine: Machine, handbook: Handbook, account: Account) -> None:
    pid = machine.show("fleetd", "MainPID")
    handbook.run("sudoedit /etc/fleetd/fleetd.toml", stdin=config(target=3))
    handbook.run("sudo fleetd check && sudo systemctl reload fleetd")
    until_converged(machine, 3)

    machine.sh(f"cp {CONFIG_FILE} /tmp/good && sed -i 's/target = 3/target = -3/' {CONFIG_FILE}")
    assert machine.run("fleetd check").returncode == 78
    assert machine.run("systemctl reload fleetd").returncode != 0
    assert machine.show("fleetd", "ActiveState") == "active"
    (rejected,) = until(lambda: entries(machine, "config.reload_rejected"), every=0.5)
    assert rejected["PRIORITY"] == "3"
    assert "fleets.training.target" in rejected["MESSAGE"]
    assert "fleets.training.target" in status(machine)["daemon"]["config_fault"]
    assert status(machine)["fleets"]["training"]["target"] == 3

    machine.sh(f"cp /tmp/good {CONFIG_FILE} && systemctl reload fleetd")
    until(lambda: status(machine)["daemon"]["config_fault"] is None, every=0.5)
    assert machine.show("fleetd", "MainPID") == pid
    assert account.writes() == ["create"] * 3


def test_killed_it_comes_back_and_no_machine_is_lost_or_made_twice(machine: Machine, account: Account) -> None:
    machine.sh("mkdir -p /etc/systemd/system/fleetd.service.d")
    machine.sh("printf '[Service]\\nRestartSec=1s\\n' >/etc/systemd/system/fleetd.service.d/override.conf")
    machine.sh("systemctl daemon-reload")
    before, restarts = account.machines(), int(machine.show("fleetd", "NRestarts"))
    machine.sh("systemctl kill --signal=KILL fleetd")
    machine.until_shown("fleetd", ActiveState="active", NRestarts=str(restarts + 1))
    until_converged(machine, 3)
    assert account.machines() == before
    assert account.writes() == ["create"] * 3


def test_frozen_it_is_restarted_by_the_watchdog(machine: Machine, account: Account) -> None:
    # As shipped the watchdog waits five minutes.
    machine.sh("printf 'WatchdogSec=8s\\n' >>/etc/systemd/system/fleetd.service.d/override.conf")
    machine.sh("systemctl daemon-reload && systemctl restart fleetd")
    until_converged(machine, 3)
    assert machine.show("fleetd", "WatchdogUSec") == "8s"
    before, pid = account.machines(), machine.show("fleetd", "MainPID")
    machine.sh("systemctl kill --signal=STOP fleetd")
    until(lambda: int(machine.show("fleetd", "NRestarts")) > 0, seconds=PATIENCE, every=0.5)
    machine.until_shown("fleetd", ActiveState="active")
    assert machine.show("fleetd", "MainPID") != pid
    assert "Watchdog timeout" in machine.sh("journalctl -u fleetd -o cat --no-pager")
    until_converged(machine, 3)
    assert account.machines() == before
    assert account.writes() == ["create"] * 3
    machine.sh("rm -r /etc/systemd/system/fleetd.service.d && systemctl daemon-reload && systemctl restart fleetd")


def test_it_stops_cleanly(machine: Machine, account: Account) -> None:
    until_converged(machine, 3)
    machine.sh("systemctl stop fleetd")
    assert machine.show("fleetd", "Result") == "success"
    assert machine.show("fleetd", "ExecMainStatus") == "0"
    assert entries(machine, "daemon.stopped")
    assert not entries(machine, "daemon.grace_expired"), "the pass under way ended by itself, within 25 s"
    assert set(account.machines().values()) == {"ready"}
    machine.sh("systemctl start fleetd")
    until_converged(machine, 3)


@pytest.mark.parametrize(
    ("fault", "mend", "code", "state"),
    [
        pytest.param(
            f"sed -i 's/target = 3/target = -3/' {CONFIG_FILE}", "", "78", "failed", id="config with faults"
        ),
        pytest.param(f": >{KEY_FILE}", "", "77", "failed", id="no key in the file"),
        pytest.param(f"mv {KEY_FILE} {KEY_FILE}.away", f"rm {KEY_FILE}.away", "243", "activating", id="no file"),
    ],
)
def test_what_only_a_person_can_mend_ends_as_the_runbook_says(
    machine: Machine, fault: str, mend: str, code: str, state: str
) -> None:
    machine.sh(f"systemctl stop fleetd && cp -p {CONFIG_FILE} {KEY_FILE} /tmp && {fault}")
    assert machine.run("systemctl start fleetd").returncode != 0
    machine.until_shown("fleetd", ActiveState=state, ExecMainStatus=code)
    assert f"\n- {code}: " in (PROJECT / "docs" / "runbook.md").read_text()
    machine.sh(f"cp -p /tmp/fleetd.toml {CONFIG_FILE} && cp -p /tmp/paperspace-api-key {KEY_FILE}; {mend}")
    machine.sh("systemctl restart fleetd")
    until_converged(machine, 3)


def test_upgrade_and_back(machine: Machine, handbook: Handbook, account: Account) -> None:
    first = machine.sh("readlink /opt/fleetd").strip()
    call_it(machine, "99.0")
    said = handbook.run("sudo deploy/install.sh")
    assert "99.0 is installed" in said
    assert "The service has been restarted." in said
    until_converged(machine, 3)
    second = machine.sh("readlink /opt/fleetd").strip()
    assert second != first
    assert "99.0" in machine.sh("fleetd version")
    assert machine.sh(f"cat {KEY_FILE}").strip() == KEY
    assert machine.sh(f"cat {CONFIG_FILE}").strip() == config(3).strip()

    call_it(machine, "99.1")
    notify = f"{TREE}/fleetd/ops/systemd.py"
    machine.sh(f"cp {notify} /tmp && printf 'def from_environment():\\n    raise SystemExit(1)\\n' >>{notify}")
    with pytest.raises(AssertionError, match="does not start") as failed:
        handbook.run("sudo deploy/install.sh")
    assert f"sudo ln -s {second} /opt/fleetd.new" in str(failed.value), "the way back is said"
    assert len(handbook.run("ls /opt/fleetd-releases && readlink /opt/fleetd").split()) == 3
    handbook.run(
        "sudo ln -s /opt/fleetd-releases/THE-OTHER /opt/fleetd.new && sudo mv -T /opt/fleetd.new /opt/fleetd",
        **{"THE-OTHER": Path(second).name},
    )
    assert "99.0" in handbook.run("sudo systemctl restart fleetd && fleetd version")
    machine.sh(f"cp /tmp/systemd.py {notify}")
    until_converged(machine, 3)
    assert account.writes() == ["create"] * 3


def call_it(machine: Machine, version: str) -> None:
    """Make the project in there another version."""
    machine.sh(f"sed -i 's/^__version__ = .*/__version__ = \"{version}\"/' {TREE}/fleetd/__init__.py")


def test_back_up_and_restore(machine: Machine, handbook: Handbook, account: Account) -> None:
    handbook.run("sudo install -m 0600 /dev/null /var/backups/fleetd.db")
    handbook.run("sudo sqlite3 /var/lib/fleetd/journal.db \".backup '/var/backups/fleetd.db'\"")
    assert machine.sh("stat -c %a /var/backups/fleetd.db") == "600\n"
    before = machine.sh("fleetd history --json")
    assert before.count('"create"') == 3
    handbook.run(
        "sudo systemctl stop fleetd && sudo rm -f /var/lib/fleetd/journal.db-wal /var/lib/fleetd/journal.db-shm"
    )
    machine.sh("printf garbage >/var/lib/fleetd/journal.db")
    handbook.run("sudo cp /var/backups/fleetd.db /var/lib/fleetd/journal.db && sudo systemctl start fleetd")
    until_converged(machine, 3)
    assert machine.sh("fleetd history --json").startswith(before)
    assert account.writes() == ["create"] * 3


def test_a_lost_state_directory_loses_no_machine(machine: Machine, handbook: Handbook, account: Account) -> None:
    handbook.run("sudo systemctl stop fleetd && sudo rm -rf /var/lib/fleetd /var/lib/private/fleetd")
    machine.sh(f"sed -i 's/target = 3/target = 4/' {CONFIG_FILE}")
    handbook.run('sudo fleetd freeze --for 30m --reason "state lost, looking first"')
    handbook.run("sudo systemctl start fleetd && sudo fleetd status && sudo fleetd plan")
    until(lambda: status(machine)["fleets"]["training"]["up"] == 3, every=0.5)
    assert [veto["kind"] for veto in status(machine)["vetoes"]] == ["freeze"]
    passes = status(machine)["daemon"]["last_pass"]["id"]
    until(lambda: status(machine)["daemon"]["last_pass"]["id"] > passes + 1, every=0.5)
    assert account.writes() == ["create"] * 3, "frozen from the first pass on"
    handbook.run("sudo fleetd unfreeze")
    until_converged(machine, 4)
    assert account.writes() == ["create"] * 4


def test_the_key_is_rotated(machine: Machine, handbook: Handbook, account: Account) -> None:
    account.accept("")  # the provider takes both until the old one is revoked
    handbook.run("sudoedit /etc/fleetd/paperspace-api-key", stdin=NEW_KEY)
    assert "training" in handbook.run(
        "sudo fleetd check --online && sudo systemctl restart fleetd && sudo fleetd status"
    )
    account.accept(NEW_KEY)
    until_converged(machine, 4)
    account.accept(KEY)
    until(lambda: status(machine)["daemon"]["provider"] == "key_refused", every=0.5)
    account.accept(NEW_KEY)
    until_converged(machine, 4)


def test_it_moves_to_another_machine(machine: Machine, handbook: Handbook, account: Account) -> None:
    before, history = account.machines(), machine.sh("fleetd history --json")
    handbook.run("sudo systemctl disable --now fleetd")
    handbook.run("sudo tar -C / -cf fleetd.tar etc/fleetd var/lib/private/fleetd && sudo chmod 0600 fleetd.tar")
    # The other machine is this one, made as if fleetd had never been on it.
    assert "are gone" in handbook.run("sudo deploy/uninstall.sh --purge")
    machine.sh("rm -rf /var/lib/private && systemctl daemon-reload")
    assert (
        machine.sh(
            "find /etc /opt /usr /var /run -name '*fleetd*' -not -path '*/fleetd.db' -not -path '/opt/account/*'"
        )
        == ""
    )
    handbook.run("sudo install -d -m 0700 /var/lib/private && sudo tar -C / -xf fleetd.tar && sudo rm fleetd.tar")
    handbook.run("sudo deploy/install.sh")
    handbook.run("sudo systemctl start fleetd")
    until_converged(machine, 4)
    assert account.machines() == before
    assert machine.sh("fleetd history --json").startswith(history)
    assert machine.sh("stat -Lc %a /var/lib/private /var/lib/fleetd") == "700\n700\n"


def test_it_is_removed_and_its_machines_stay(machine: Machine, handbook: Handbook, account: Account) -> None:
    handbook.run("sudo deploy/uninstall.sh")
    assert machine.run("systemctl cat fleetd").returncode != 0
    assert machine.run("command -v fleetd").returncode != 0
    assert machine.sh("ls /etc/fleetd").split() == ["fleetd.toml", "paperspace-api-key"]
    assert machine.run("test -e /var/lib/fleetd/journal.db").returncode == 0
    assert set(account.machines().values()) == {"ready"}
    assert account.writes() == ["create"] * 4


def test_every_command_in_the_handbook_has_been_run(handbook: Handbook) -> None:
    assert handbook.left == set()
