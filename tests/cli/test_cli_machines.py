"""Every machines command against a simulator in a process of its own, judged by its call log."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fleetd import wiring
from fleetd.cli import machines as commands
from fleetd.cloud import waiting
from tests.support.config_text import config_text
from tests.support.processes import KEY, PARAMETERS, SimulatorProcess, simulator


@pytest.fixture(scope="module")
def sim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatorProcess]:
    with simulator(tmp_path_factory.mktemp("sim"), speed=1000) as process:
        yield process


@pytest.fixture
def ask(cli, sim: SimulatorProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """``fleetd machines ...`` with a config that names the simulator; its calls are counted from here."""
    monkeypatch.setenv("PAPERSPACE_API_KEY", KEY)
    provider = f'[provider]\nkind = "paperspace-core"\nbase_url = "{sim.url}"\n'
    provider += 'api_key = { env = "PAPERSPACE_API_KEY" }\nmax_requests_per_second = 500'
    (tmp_path / "fleetd.toml").write_text(config_text(provider=provider, daemon='[daemon]\npoll = "100ms"'))
    sim.ask("/_sim/faults", {"faults": []})
    sim.reset_calls()
    return lambda *arguments: cli("machines", *arguments, "-c", str(tmp_path / "fleetd.toml"))


@pytest.fixture
def box(sim: SimulatorProcess) -> str:
    """A machine that is up."""
    return str(sim.add(name="a-box", state="ready")["id"])


def only_call(sim: SimulatorProcess) -> dict[str, Any]:
    (call,) = sim.calls()
    return call


def test_list_prints_the_vendors_json(ask, sim: SimulatorProcess, box: str) -> None:
    done = ask("list", "--machine-id", box, "--json")
    assert done.code == 0, done.err
    (machine,) = json.loads(done.out)
    assert (machine["id"], machine["name"], machine["state"]) == (box, "a-box", "ready")
    assert "usageRate" in machine
    assert only_call(sim)["query"]["machineId"] == box


def test_list_filters_by_what_was_given_and_by_nothing_else(ask, sim: SimulatorProcess, box: str) -> None:
    done = ask("list", "--state", "ready", "--no-updates-pending", "--cpus", "8", "--limit", "5", "--skip", "0")
    assert done.code == 0, done.err
    assert only_call(sim)["query"] == {
        "state": "ready", "updatesPending": "false", "cpus": "8", "limit": "5", "skip": "0",
    }  # fmt: skip


def test_list_by_machine_type_is_matched_here(ask, box: str) -> None:
    assert box in ask("list", "--machine-type", "P4000").out
    assert ask("list", "--machine-type", "V100").out == "no machines\n"


def test_list_as_a_table_escapes_names(ask, sim: SimulatorProcess) -> None:
    sim.add(name="\x1b]0;owned\x07", state="off")
    done = ask("list")
    assert "\\x1b]0;owned\\x07" in done.out
    assert "\x1b" not in done.out


def test_json_moves_no_cursor_either(ask, sim: SimulatorProcess) -> None:
    name = "c1 \x9b2J bidi \u202e tag \U000e0041 é"
    made = str(sim.add(name=name, state="off")["id"])
    done = ask("show", made, "--json")
    assert json.loads(done.out)["name"] == name
    assert not set(done.out) & set("\x9b\u202e\U000e0041")
    assert "é" in done.out


def test_show(ask, sim: SimulatorProcess, box: str) -> None:
    done = ask("show", box, "--json")
    assert json.loads(done.out)["events"] is not None
    assert only_call(sim)["query"] == {"machineId": box}
    table = ask("show", box)
    assert "● ready" in table.out


def test_show_of_a_machine_that_is_not_there(ask) -> None:
    done = ask("show", "psnone")
    assert (done.code, done.out) == (1, "")
    assert "Machine not found" in done.err


def test_create_sends_exactly_what_was_given(ask, sim: SimulatorProcess) -> None:
    arguments = [word for name, value in PARAMETERS.items() for word in (f"--{commands_flag(name)}", str(value))]
    done = ask("create", "--machine-name", "by-hand", *arguments, "--no-start-on-create", "--enable-nvlink", "--json")
    assert done.code == 0, done.err
    call = only_call(sim)
    assert call["operation"] == "create"
    assert call["body"] == {
        "machineName": "by-hand", **PARAMETERS, "startOnCreate": False, "enableNvlink": True,
    }  # fmt: skip
    assert json.loads(done.out)["name"] == "by-hand"


def commands_flag(name: str) -> str:
    return {"machineType": "machine-type", "billingType": "billing-type", "templateId": "template-id"}.get(name, name)


def test_create_asks_for_a_password_that_must_not_stand_in_ps(
    ask, sim: SimulatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands.typer, "prompt", lambda *_words, hide_input, err: "typed-in" if hide_input else "")
    arguments = [word for name, value in PARAMETERS.items() for word in (f"--{commands_flag(name)}", str(value))]
    user = ["--email", "a@example.com", "--first-name", "A", "--last-name", "B", "--password", "-"]
    done = ask("create", "--machine-name", "x", *arguments, *user)
    assert done.code == 0, done.err
    assert only_call(sim)["operation"] == "create"
    assert "typed-in" not in done.out + done.err
    assert wiring.SECRETS.mask_text("typed-in") == "***"


@pytest.mark.parametrize("verb", ["start", "stop", "restart"])
def test_start_stop_restart(ask, sim: SimulatorProcess, box: str, verb: str) -> None:
    done = ask(verb, box)
    assert done.code == 0, done.err
    assert box in done.out
    call = only_call(sim)
    assert (call["operation"], call["machine_id"]) == (verb, box)


def test_an_empty_answer_is_null_as_json(ask, box: str) -> None:
    assert ask("stop", box, "--json").out == "null\n"


def test_update_sends_names_and_types_of_the_api(ask, sim: SimulatorProcess, box: str) -> None:
    done = ask(
        "update", box, "--shutdown-timeout-in-hours", "24", "--perform-auto-snapshot", "--no-shutdown-timeout-forces",
        "--auto-snapshot-frequency", "none", "--machine-name", "renamed",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert only_call(sim)["body"] == {
        "machineId": box, "shutdownTimeoutInHours": 24, "performAutoSnapshot": True, "shutdownTimeoutForces": False,
        "autoSnapshotFrequency": None, "machineName": "renamed",
    }  # fmt: skip


def test_set_access(ask, sim: SimulatorProcess, box: str) -> None:
    ask("set-access", box, "--user-id", "ubx9ce8k", "--no-enable-access")
    assert only_call(sim)["body"] == {"machineId": box, "userId": "ubx9ce8k", "enableAccess": False}


def test_availability(ask, sim: SimulatorProcess) -> None:
    done = ask("availability", "--region", "East Coast (NY2)", "--machine-type", "P4000")
    assert done.out == "P4000 can be had in East Coast (NY2) now\n"
    assert only_call(sim)["query"] == {"region": "East Coast (NY2)", "machineType": "P4000"}
    answer = ask("availability", "--region", "East Coast (NY2)", "--machine-type", "P4000", "--json")
    assert json.loads(answer.out) == {"available": True}


def test_templates_are_listed_with_what_a_config_needs(ask, sim: SimulatorProcess, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = [line.split("  ") for line in ask("templates").out.splitlines()]
    cells = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    assert cells[0] == ["id", "name", "os", "only in"]
    assert ["tbu200wi", "Ubuntu 20.04", "Ubuntu 20.04.6 LTS", "-"] in cells
    assert ["t4v9own7", "training image 7", "Ubuntu 22.04.4 LTS", "East Coast (NY2)"] in cells
    assert cells[-1] == ["10 templates"]
    assert [c["operation"] for c in sim.calls()] == ["templates"]
    rows = json.loads(ask("templates", "--json").out)
    assert len(rows) == 10
    assert all(isinstance(row["id"], str) for row in rows)


def test_networks_are_listed_with_what_a_config_needs(ask, sim: SimulatorProcess) -> None:
    said = ask("networks").out
    assert "nng82wb  Team Network         East Coast (NY2)" in said
    assert said.splitlines()[-1] == "3 networks"
    assert {row["id"] for row in json.loads(ask("networks", "--json").out)} == {"nng82wb", "n4c1ca7", "nams1k2"}
    assert [c["operation"] for c in sim.calls()] == ["networks", "networks"]


def test_utilization(ask, sim: SimulatorProcess, box: str) -> None:
    done = ask("utilization", box, "--billing-month", "2026-03", "--json")
    assert json.loads(done.out)["utilization"]["machineId"] == box
    assert only_call(sim)["query"] == {"machineId": box, "billingMonth": "2026-03"}
    assert "utilization.hourlyRate" in ask("utilization", box).out


def test_wait_for_waits(ask, box: str) -> None:
    ask("stop", box)
    done = ask("wait-for", box, "--state", "off", "--timeout", "10s", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["state"] == "off"
    assert done.err.splitlines()[0] == f"waiting for {box} to be off (at most 10s)"
    assert f"{box} is off after" in done.err.splitlines()[1]


def test_wait_for_says_at_once_that_there_is_no_such_machine(ask) -> None:
    done = ask("wait-for", "psnobody", "--state", "off", "--timeout", "1s")
    assert done.code == 75
    assert done.err.startswith("psnobody is not found; waiting all the same")


def test_wait_for_gives_up_in_time_with_75(ask, box: str) -> None:
    done = ask("wait-for", box, "--state", "off", "--timeout", "200ms")
    assert done.code == 75
    assert "last seen ready" in done.err
    assert done.out == ""


def test_wait_for_a_start_without_capacity_is_1_with_the_vendors_reason(
    ask, sim: SimulatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "LAG", 2.0)  # how long it waits is held on virtual time, in tests/cloud
    off = str(sim.add(name="unlucky", state="off")["id"])
    sim.ask("/_sim/faults", {"faults": [{"kind": "capacity", "message": "no P4000 left"}]})
    assert ask("start", off).code == 0
    done = ask("wait-for", off, "--state", "ready", "--timeout", "60s")
    assert done.code == 1
    assert "no P4000 left" in done.err


class Terminal:
    def isatty(self) -> bool:
        return True


def test_destroy_refuses_without_a_terminal(ask, sim: SimulatorProcess, box: str) -> None:
    done = ask("destroy", box)
    assert done.code == 64
    assert "--yes" in done.err
    assert sim.calls() == []


@pytest.mark.parametrize(("answer", "code", "writes"), [(True, 0, ["destroy"]), (False, 1, [])])
def test_destroy_asks_and_names_the_machine(
    ask, sim: SimulatorProcess, box: str, monkeypatch: pytest.MonkeyPatch, answer: bool, code: int, writes: list[str]
) -> None:
    def confirm(_question: str, *, default: bool, abort: bool, err: bool) -> bool:
        assert not default
        assert err
        if abort and not answer:
            raise commands.typer.Abort
        return answer

    monkeypatch.setattr(commands.sys, "stdin", Terminal())
    monkeypatch.setattr(commands.typer, "confirm", confirm)
    done = ask("destroy", box)
    assert done.code == code
    assert f"a-box ({box}) is ready." in done.err
    assert [c["operation"] for c in sim.writes()] == writes


@pytest.mark.parametrize(
    ("flags", "body"),
    [
        ([], {}),
        (["--release-public-ip"], {"releasePublicIp": True}),
        (["--no-release-public-ip"], {"releasePublicIp": False}),
    ],
    ids=["as it is", "release", "keep"],
)
def test_destroy_with_yes(ask, sim: SimulatorProcess, box: str, flags: list[str], body: dict[str, bool]) -> None:
    done = ask("destroy", box, "--yes", *flags)
    assert done.code == 0, done.err
    assert only_call(sim)["body"] == {"machineId": box, **body}


def test_the_refusal_of_the_vendor_is_shown_with_code_1(ask, sim: SimulatorProcess) -> None:
    sim.ask("/_sim/faults", {"faults": [{"kind": "error", "status": 400, "message": "templateId not found"}]})
    done = ask("list")
    assert done.code == 1
    assert "templateId not found" in done.err
