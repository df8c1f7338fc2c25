"""A backup of the database and its restore, by docs/operations.md's commands, judged by the provider's call log."""

from __future__ import annotations

import json
import re
import shlex
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.replicas.living import Replica, wait_until
from tests.support.postgres import execute
from tests.support.processes import simulator

pytestmark = pytest.mark.peer("postgres")
OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"
OLD, NEW = "postgresql://fleetd@db.example/fleetd", "postgresql://fleetd@db.example/fleetd_restored"


def commands() -> list[str]:
    """What the handbook says from the backup to the end of its section."""
    block = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    section = OPERATIONS.read_text().partition("\nBack up the database as any other.")[2].partition("\n## ")[0]
    return [line for lines in block.findall(section) for line in lines.splitlines()]


def statuses(replica: Replica) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(replica.run("status", "--json").stdout)
    return found


def test_an_older_backup_is_restored_and_nothing_is_doubled_or_stopped(tmp_path: Path, postgres: Any) -> None:
    backup, leave_word, restore, freeze, start, unfreeze = commands()
    old, new, dump = postgres.create(), postgres.create(), str(tmp_path / "fleetd.dump")

    def client(line: str) -> None:
        places = {OLD: old, NEW: new, "fleetd.dump": dump}
        program, *arguments = (places.get(word, word) for word in shlex.split(line))
        postgres.client(program, *arguments)

    def by_hand(replica: Replica, line: str) -> None:
        for part in line.split(" && "):
            sudo, program, *arguments = shlex.split(part)
            if (sudo, program) == ("sudo", "systemctl"):
                replica.start()
                wait_until(lambda: replica.shown().get("daemon", {}).get("last_pass"), 60, replica.tail)
            else:
                assert (sudo, program) == ("sudo", "fleetd")
                done = replica.run(*arguments)
                assert done.returncode == 0, done.stderr

    with simulator(tmp_path, speed=120) as sim:
        one, two = Replica(tmp_path, "one", sim, old, target=2), Replica(tmp_path, "two", sim, new, target=4)
        try:
            one.start()
            wait_until(lambda: len(ready(sim)) == 2, 60, one.tail)
            # The third one's answer is lost: its intent is open, and has no machine, at the moment of the backup.
            sim.ask("/_sim/faults", {"faults": [{"kind": "timeout_after", "operation": "create", "seconds": 60}]})
            one.configure(target=3)
            one.signal(signal.SIGHUP)
            lost = "SELECT name FROM intent WHERE closed_at IS NULL AND machine_id IS NULL"
            wait_until(lambda: len(sim.machines()) == 3 and execute(old, lost), 60, one.tail)
            client(backup)
            sim.ask("/_sim/faults", {"faults": []})
            wait_until(lambda: len(ready(sim)) == 3, 90, one.tail)
            before = {m["name"] for m in sim.machines()}
            one.configure(target=4)
            one.signal(signal.SIGHUP)
            wait_until(lambda: len(ready(sim)) == 4, 90, one.tail)
            [since] = {m["name"] for m in sim.machines()} - before
            assert one.run("hold", since, "--for", "1h", "--reason", "mine").returncode == 0

            client(leave_word)  # one host was forgotten: what runs on the old database ends
            assert one.wait() == 75
            one.start()
            assert one.wait() == 78
            client(restore)
            calls = sim.writes()
            by_hand(two, freeze)
            by_hand(two, start)
            wait_until(lambda: not execute(new, lost), 60, two.tail)
            rows = {row["name"]: row for row in statuses(two)["machines"]}
            assert {name: row["unconfirmed"] for name, row in rows.items()} == {
                **dict.fromkeys(before), since: "recovered"
            }  # fmt: skip
            assert all(row["owned"] for row in rows.values())
            assert rows[since]["hold"] is None, "as the handbook says"
            by_hand(two, unfreeze)
            passes: set[str] = set()
            wait_until(lambda: passes.add(str(two.shown()["daemon"]["last_pass"])) or len(passes) > 4, 60, two.tail)
            assert sim.writes() == calls
            assert sorted(m["name"] for m in sim.machines()) == sorted(before | {since})
        finally:
            one.end()
            two.end()


def ready(sim: Any) -> list[Any]:
    return [m for m in sim.machines() if m["state"] == "ready"]
