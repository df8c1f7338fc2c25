"""The main job from outside: real commands against a simulator in a process of its own, judged by its call log."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.processes import DIALECTS, KEY, SimulatorProcess, fleetd, simulator, write_config

BOTH = pytest.mark.parametrize("kind", list(DIALECTS))
NAMES = {"paperspace-core": "machineName", "paperspace": "name"}


@pytest.fixture
def sim(tmp_path: Path):
    with simulator(tmp_path) as process:
        yield process


def apply(config: Path) -> None:
    done = fleetd("apply", "-c", str(config), "--timeout", "2m", timeout=150)
    assert done.returncode == 0, done.stdout + done.stderr


def writes(sim: SimulatorProcess) -> list[str]:
    return [c["operation"] for c in sim.writes()]


@pytest.mark.usefixtures("lose")
@BOTH
def test_up_down_and_up_again_with_no_write_too_many(sim: SimulatorProcess, tmp_path: Path, kind: str) -> None:
    foreign = {
        sim.add(name=name, state=state)["id"] for name, state in (("training-backup", "off"), ("desk", "ready"))
    }
    sim.reset_calls()

    config = write_config(tmp_path, sim.url, kind=kind, target=5)
    apply(config)
    creates = sim.writes()
    assert [c["operation"] for c in creates] == ["create"] * 5
    for call in creates:
        name = call["body"].pop(NAMES[kind])
        assert name.startswith("training-")
        assert call["body"] == DIALECTS[kind][1]
    mine = {c["machine_id"] for c in creates}

    sim.reset_calls()
    apply(config)
    assert writes(sim) == [], "a second apply writes nothing"

    write_config(tmp_path, sim.url, kind=kind, target=3)
    apply(config)
    assert writes(sim) == ["stop", "stop"]
    stopped = {c["machine_id"] for c in sim.writes()}

    sim.reset_calls()
    write_config(tmp_path, sim.url, kind=kind, target=5)
    apply(config)
    assert writes(sim) == ["start", "start"]
    assert {c["machine_id"] for c in sim.writes()} == stopped <= mine
    assert not foreign & {c["machine_id"] for c in sim.calls() if c["write"]}
    states = {m["name"]: m["state"] for m in sim.machines()}
    assert states.pop("training-backup") == "off"
    assert set(states.values()) == {"ready"}


POLICIES = """
[fleets.training.shutdown_timeout]
hours = 24
force = false
[fleets.training.auto_snapshot]
frequency = "day"
keep = 7
"""


def test_an_apply_leaves_no_policy_to_the_second_one(sim: SimulatorProcess, tmp_path: Path) -> None:
    config = write_config(tmp_path, sim.url, target=2)
    config.write_text(config.read_text() + POLICIES)
    apply(config)
    assert sorted(set(writes(sim))) == ["create", "update"]
    for machine in sim.machines():
        shown = json.loads(fleetd("machines", "show", machine["id"], "-c", str(config), "--json").stdout)
        assert (shown["shutdownTimeoutInHours"], shown["shutdownTimeoutForces"]) == (24, False)
        assert (shown["performAutoSnapshot"], shown["autoSnapshotFrequency"]) == (True, "day")
    sim.reset_calls()
    apply(config)
    assert writes(sim) == []


@BOTH
def test_two_hundred_machines_cost_few_reads(sim: SimulatorProcess, tmp_path: Path, kind: str) -> None:
    config = write_config(tmp_path, sim.url, kind=kind, target=200, creates=200, poll="1s", interval="5s")
    apply(config)
    counts = sim.counts()
    assert counts["create"] == 200
    reads = sum(n for operation, n in counts.items() if operation != "create")
    assert reads < 3 * 200
    assert len({m["name"] for m in sim.machines()}) == 200


@BOTH
def test_2500_machines_are_listed_whole(sim: SimulatorProcess, tmp_path: Path, kind: str) -> None:
    ids = {sim.add(name=f"box-{n}", state="off")["id"] for n in range(2500)}
    config = write_config(tmp_path, sim.url, kind=kind, target=0)
    done = fleetd("machines", "list", "-c", str(config), "--json")
    assert done.returncode == 0, done.stderr
    listed = [m["id"] for m in json.loads(done.stdout)]
    assert len(listed) == 2500
    assert set(listed) == ids


@BOTH
@pytest.mark.parametrize("lost", ["timeout_after", "reset_after", "truncated"])
def test_an_answer_lost_after_the_create_was_executed_makes_no_second_machine(
    sim: SimulatorProcess, tmp_path: Path, kind: str, lost: str
) -> None:
    rule = {"kind": lost, "operation": "create", "nth": 1}
    if lost == "timeout_after":
        rule["seconds"] = 300
    sim.ask("/_sim/faults", {"faults": [rule]})
    config = write_config(tmp_path, sim.url, kind=kind, target=2)
    config.write_text(config.read_text().replace("max_requests", 'request_timeout = "3s"\nmax_requests'))
    apply(config)
    assert writes(sim) == ["create", "create"]
    assert [m["state"] for m in sim.machines()] == ["ready", "ready"]


@BOTH
def test_an_answer_lost_before_the_create_was_executed_is_made_up_for(
    sim: SimulatorProcess, tmp_path: Path, kind: str
) -> None:
    sim.ask("/_sim/faults", {"faults": [{"kind": "reset_before", "operation": "create", "nth": 1}]})
    config = write_config(tmp_path, sim.url, kind=kind, target=2)
    apply(config)
    assert [m["state"] for m in sim.machines()] == ["ready", "ready"]


@BOTH
def test_plan_writes_nothing_and_says_whether_there_is_something_to_do(
    sim: SimulatorProcess, tmp_path: Path, kind: str
) -> None:
    config = write_config(tmp_path, sim.url, kind=kind, target=3)
    state = tmp_path / "state"
    pending = fleetd("plan", "-c", str(config), "--detailed-exitcode", "--json")
    assert pending.returncode == 2, pending.stderr
    document = json.loads(pending.stdout)
    assert document["format"] == 1
    assert document["complete"] is True
    assert document["fleets"]["training"] == {
        "target": 3, "configured_target": 3, "window": None,
        "up": 0, "rising": 0, "falling": 0, "down": 0, "unknown": 0, "intents": 0, "leaving": 0, "no_effect": {},
        "unlike": [],
    }  # fmt: skip
    create = {
        "verb": "create", "fleet": "training", "machine": None, "name": None,
        "reason": "short_of_target", "hourly_delta": "0.51",
    }  # fmt: skip
    assert document["actions"] == [create] * 3
    assert (document["hourly_before"], document["hourly_after"]) == ("0", "1.53")
    assert writes(sim) == []
    assert not state.exists()
    apply(config)
    done = fleetd("plan", "-c", str(config), "--detailed-exitcode")
    assert done.returncode == 0, done.stdout + done.stderr


@BOTH
def test_status_and_history_tell_what_was_done(sim: SimulatorProcess, tmp_path: Path, kind: str) -> None:
    config = write_config(tmp_path, sim.url, kind=kind, target=2)
    apply(config)
    status = json.loads(fleetd("status", "-c", str(config), "--json").stdout)
    assert status["daemon"]["running"] is False
    assert status["fleets"]["training"]["up"] == 2
    assert status["fleets"]["training"]["converged"] is True
    assert [m["owned"] for m in status["machines"]] == [True, True]
    lines = [json.loads(line) for line in fleetd("history", "-c", str(config), "--json").stdout.splitlines()]
    assert [(line["verb"], line["outcome"], line["reason"]) for line in lines] == [
        ("daemon", "observed", "started"),
        *[("create", "reached", "short_of_target")] * 2,
        ("daemon", "observed", "stopped"),
    ]
    assert set(lines[0]) == {
        "ts", "fleet", "machine", "name", "verb", "reason", "outcome", "intent", "duration_s", "error", "actor",
        "evidence",
    }  # fmt: skip
    assert KEY not in json.dumps(status)


@BOTH
def test_an_apply_that_gives_up_says_which_fleet_is_not_there_and_why(
    sim: SimulatorProcess, tmp_path: Path, kind: str
) -> None:
    sim.ask("/_sim/faults", {"faults": [{"kind": "capacity"}]})
    config = write_config(tmp_path, sim.url, kind=kind, target=2)
    done = fleetd("apply", "-c", str(config), "--timeout", "8s")
    assert done.returncode == 75, done.stderr
    told = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert told[0].startswith("error: not every fleet is at its target yet; run it again to go on")
    assert told[1].startswith("training: 0 of 2 up")
    assert "the last of its type did not come up, mostly for want of capacity" in told[2]


@BOTH
def test_what_it_costs_is_told_or_worked_out(sim: SimulatorProcess, tmp_path: Path, kind: str) -> None:
    config = write_config(tmp_path, sim.url, kind=kind, target=2)
    apply(config)
    done = fleetd("cost", "-c", str(config), "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["computed"] is (kind == "paperspace")
    machines = document["fleets"]["training"]["machines"]
    assert len(machines) == 2
    for row in machines:
        assert None not in (row["hours"], row["compute"], row["storage"])
    table = fleetd("cost", "-c", str(config)).stdout
    assert ("the bill decides" in table) is (kind == "paperspace")
