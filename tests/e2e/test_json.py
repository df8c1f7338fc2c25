"""The JSON that others read: fields may be added to it, none may be renamed or taken away."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import fleetd, simulator, started, until, write_config

PLAN = {"format", "at", "complete", "fleets", "actions", "skips", "hourly_before", "hourly_after"}
PLAN_FLEET = {
    "target", "configured_target", "window", "up", "rising", "falling", "down", "unknown", "intents",
}  # fmt: skip
ACTION = {"verb", "fleet", "machine", "name", "reason", "hourly_delta"}
SKIP = {"fleet", "machine", "name", "verb", "reason", "until"}
STATUS = {"format", "daemon", "fleets", "machines", "blocked"}
DAEMON = {"running", "pid", "since", "config", "last_pass", "provider"}
STATUS_FLEET = {"target", "up", "rising", "falling", "down", "unknown", "intents", "converged"}
MACHINE = {"id", "name", "fleet", "state", "owned", "transition", "hold"}
HISTORY = {"ts", "fleet", "machine", "name", "verb", "reason", "outcome", "intent", "duration_s", "error"}
COST = {"format", "month", "fleets", "total"}
BILL = {"hours", "compute", "storage"}
MONEY = re.compile(r"-?\d+(\.\d+)?")
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def answer(*arguments: str) -> Any:
    done = fleetd(*arguments, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


@pytest.mark.usefixtures("lose")
def test_every_document_has_its_fields(tmp_path: Path) -> None:
    with simulator(tmp_path) as sim:
        sim.add(name="training-backup", state="off")
        config = write_config(tmp_path, sim.url, target=2)
        where = ("-c", str(config))
        assert fleetd("apply", *where).returncode == 0
        mine = [m for m in sim.machines() if m["name"] != "training-backup"]
        hold = ("--for", "1h", "--reason", "look at it")
        assert fleetd("hold", mine[0]["name"], *where, *hold).returncode == 0
        write_config(tmp_path, sim.url, target=4)
        pending = answer("plan", *where)
        assert fleetd("freeze", "training", *where, *hold).returncode == 0
        frozen = answer("plan", *where)
        without = answer("status", *where)
        log = tmp_path / "daemon.log"
        with started("run", *where, log=log):
            until(lambda: "pass.finished" in log.read_text() or "fleet.was_blocked" in log.read_text())
            within = until(lambda: (found := answer("status", *where))["daemon"]["last_pass"] and found)
        history = [json.loads(line) for line in fleetd("history", *where, "--json").stdout.splitlines()]
        cost = answer("cost", *where)

    for plan in (pending, frozen):
        assert set(plan) >= PLAN
        assert plan["format"] == 1
        assert INSTANT.fullmatch(plan["at"])
        assert set(plan["fleets"]["training"]) >= PLAN_FLEET
    assert [(a["verb"], a["hourly_delta"]) for a in pending["actions"]] == [("create", "0.51")] * 2
    assert all(set(a) >= ACTION for a in pending["actions"])
    assert (pending["hourly_before"], pending["hourly_after"]) == ("1.02", "2.04")
    assert frozen["actions"] == []
    (skip,) = frozen["skips"]
    assert set(skip) >= SKIP
    assert (skip["fleet"], skip["verb"], skip["reason"]) == ("training", "create", "frozen")
    assert INSTANT.fullmatch(skip["until"])

    for status, running in ((without, False), (within, True)):
        assert set(status) >= STATUS
        assert status["format"] == 1
        assert set(status["daemon"]) >= DAEMON
        assert status["daemon"]["running"] is running
        assert (status["daemon"]["pid"] is not None) is running
        assert set(status["fleets"]["training"]) >= STATUS_FLEET
        assert (status["fleets"]["training"]["up"], status["fleets"]["training"]["converged"]) == (2, False)
        ours = [m for m in status["machines"] if m["owned"]]
        assert {m["id"] for m in ours} == {m["id"] for m in mine}
        assert all(set(m) >= MACHINE for m in status["machines"])
        assert [m["hold"] is not None for m in sorted(ours, key=lambda m: m["id"] != mine[0]["id"])] == [True, False]
        assert [b["reason"] for b in status["blocked"]] == ["frozen"]

    assert [h["outcome"] for h in history if h["verb"] == "create"] == ["reached"] * 2
    assert all(set(h) >= HISTORY and INSTANT.fullmatch(h["ts"]) for h in history)

    assert set(cost) >= COST
    (rows,) = cost["fleets"].values()
    assert set(rows) >= BILL | {"machines"}
    assert {m["id"] for m in rows["machines"]} == {m["id"] for m in mine}, "a foreign machine is nobody's cost"
    assert all(set(m) >= BILL | {"id", "name"} for m in rows["machines"])
    assert all(MONEY.fullmatch(cost["total"][part]) for part in BILL)
    assert {part: cost["total"][part] for part in BILL} == cost["total"]["known"]


def test_a_month_without_machines_costs_nothing_and_a_month_that_is_none_is_refused(tmp_path: Path) -> None:
    with simulator(tmp_path) as sim:
        config = write_config(tmp_path, sim.url, target=0)
        cost = answer("cost", "-c", str(config), "--month", "2026-02")
        nothing = {"hours": "0", "compute": "0", "storage": "0"}
        assert (cost["month"], cost["total"]) == ("2026-02", nothing | {"known": nothing})
        assert fleetd("cost", "-c", str(config), "--month", "2026-13").returncode == 64
