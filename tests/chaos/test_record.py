"""The judge itself: each promise broken once, in a record made by hand."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.record import Demand, Record
from tests.support.build import token_name

NOW = time.monotonic()
MINE, OTHER = token_name(1), token_name(2)


class Account:
    """What a simulator would say. World seconds are real ones here, counted from ``NOW``."""

    def __init__(self) -> None:
        self.log: list[dict[str, Any]] = []
        self.people: list[dict[str, Any]] = []
        self.steps: list[dict[str, Any]] = []

    def call(self, at: float, operation: str, machine: str | None = None, *, name: str = "") -> None:
        self.log.append(
            {
                "seq": len(self.log) + 1, "operation": operation, "write": operation != "list", "executed": True,
                "machine_id": machine, "body": {"machineName": name} if name else None,
                "loop_seconds": NOW + at, "world_seconds": at,
            }
        )  # fmt: skip

    def create(self, at: float, machine: str, name: str) -> None:
        self.call(at, "create", machine, name=name)
        self.people.append({"id": machine, "name": name, "state": "ready", "billed_now": True})
        self.change(at, machine, "ready")

    def change(self, at: float, machine: str, state: str, cause: str = "vendor", *, billed: bool = True) -> None:
        self.steps.append({"at": at, "machine_id": machine, "state": state, "cause": cause, "billed": billed})

    def calls(self) -> list[dict[str, Any]]:
        return self.log

    def machines(self) -> list[dict[str, Any]]:
        return self.people

    def ask(self, _path: str) -> list[dict[str, Any]]:
        return self.steps

    def record(self) -> Record:
        return Record(self, speed=1, fleets=["training"])  # type: ignore[arg-type]


@pytest.fixture
def account() -> Account:
    account = Account()
    account.call(-100, "list")
    account.create(-99, "ps1", MINE)
    return account


def demand(target: int = 1) -> Demand:
    return Demand(targets=[(NOW - 200, {"training": target})], lives=[[NOW - 150, NOW]])


def journal(path: Path, *rows: tuple[str, str, str | None, float]) -> Path:
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE intent (id INTEGER PRIMARY KEY, verb, name, machine_id, created_at)")
        offset = time.time() - time.monotonic()
        db.executemany(
            "INSERT INTO intent (verb, name, machine_id, created_at) VALUES (?, ?, ?, ?)",
            [(verb, name, machine, int((NOW + at + offset) * 1e6)) for verb, name, machine, at in rows],
        )
    db.close()
    return path


def test_a_good_record_breaks_nothing(account: Account, tmp_path: Path) -> None:
    account.call(-50, "stop", "ps1")
    record = account.record()
    path = journal(tmp_path / "j", ("create", MINE, None, -99.5), ("stop", MINE, "ps1", -50.5))
    assert record.foreign_writes() == []
    assert record.forbidden_destroys([]) == []
    assert record.duplicates(demand()) == []
    assert record.too_many_for_long(demand(), patience=10) == []
    assert record.unjournaled(path) == []
    assert record.lost(["ps1"]) == []


@pytest.mark.parametrize(("operation", "machine"), [("stop", "psX"), ("destroy", "psX"), ("update", "psX")])
def test_a_foreign_write_is_seen(account: Account, operation: str, machine: str) -> None:
    account.call(-50, operation, machine)
    assert account.record().foreign_writes() == [f"{operation} of foreign psX"]


def test_a_machine_without_a_name_of_ours_is_seen(account: Account) -> None:
    account.create(-50, "ps2", "training-backup")
    assert account.record().foreign_writes() == ["create of foreign ps2"]


def test_a_forbidden_destroy_is_seen(account: Account) -> None:
    account.call(-50, "destroy", "ps1")
    assert account.record().forbidden_destroys([])
    assert not account.record().forbidden_destroys(["training"])


def test_a_duplicate_is_seen_even_when_the_first_one_is_off(account: Account) -> None:
    account.change(-60, "ps1", "off", billed=False)
    account.create(-50, "ps2", OTHER)
    assert len(account.record().duplicates(demand())) == 1
    assert account.record().duplicates(demand(2)) == []


def test_a_name_given_twice_is_seen(account: Account) -> None:
    account.create(-50, "ps2", MINE)
    assert f"2 machines named {MINE}" in account.record().duplicates(demand(2))


def test_one_in_place_of_a_destroyed_one_is_no_duplicate(account: Account) -> None:
    account.change(-60, "ps1", "stopping", "human destroy")
    account.create(-50, "ps2", OTHER)
    assert account.record().duplicates(demand()) == []


def test_one_too_many_for_long_is_seen_but_only_while_a_daemon_was_awake(account: Account) -> None:
    account.create(-50, "ps2", OTHER)
    assert account.record().too_many_for_long(demand(), patience=60) == []
    assert len(account.record().too_many_for_long(demand(), patience=20)) == 1
    asleep = Demand(targets=demand().targets, lives=[[NOW - 150, NOW - 40]])
    assert account.record().too_many_for_long(asleep, patience=20) == []


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [("create", OTHER, None, -99.5), ("stop", MINE, "ps1", -50.5)],
        [("create", MINE, None, -90), ("stop", MINE, "ps1", -50.5)],
        [("create", MINE, None, -99.5)],
        [("create", MINE, None, -99.5), ("start", MINE, "ps1", -50.5)],
        [("create", MINE, None, -99.5), ("stop", MINE, "ps1", -40)],
    ],
)
def test_a_write_without_an_older_intent_is_seen(account: Account, tmp_path: Path, rows: list[Any]) -> None:
    account.call(-50, "stop", "ps1")
    assert account.record().unjournaled(journal(tmp_path / "j", *rows))


def test_a_second_write_needs_a_second_intent(account: Account, tmp_path: Path) -> None:
    account.call(-50, "stop", "ps1")
    account.call(-40, "stop", "ps1")
    path = journal(tmp_path / "j", ("create", MINE, None, -99.5), ("stop", MINE, "ps1", -50.5))
    assert account.record().unjournaled(path) == ["stop number 2 of ps1 without an intent"]


def test_a_lost_machine_is_seen(account: Account) -> None:
    assert account.record().lost([]) == ["ps1 of training is not known"]
