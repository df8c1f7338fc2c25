"""Every machines command in the v1 dialect, against a simulator in a process of its own, judged by its call log."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fleetd.cloud import waiting
from tests.support.config_text import V1_MACHINE, config_text
from tests.support.processes import KEY, SimulatorProcess, simulator

CREATE = (
    "create", "--name", "by-hand", "--machine-type", "A4000", "--template-id", "tbu200wi", "--region",
    "East Coast (NY2)", "--disk-size", "50",
)  # fmt: skip


@pytest.fixture(scope="module")
def sim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatorProcess]:
    with simulator(tmp_path_factory.mktemp("sim"), speed=1000) as process:
        yield process


@pytest.fixture
def ask(cli, sim: SimulatorProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.setenv("PAPERSPACE_API_KEY", KEY)
    provider = f'[provider]\nkind = "paperspace"\nbase_url = "{sim.url}/v1"\n'
    provider += 'api_key = { env = "PAPERSPACE_API_KEY" }\nmax_requests_per_second = 500'
    text = config_text(provider=provider, machine=V1_MACHINE, daemon='[daemon]\npoll = "100ms"')
    (tmp_path / "fleetd.toml").write_text(text)
    sim.ask("/_sim/faults", {"faults": []})
    sim.reset_calls()
    return lambda *arguments: cli("machines", *arguments, "-c", str(tmp_path / "fleetd.toml"))


@pytest.fixture
def box(sim: SimulatorProcess) -> str:
    return str(sim.add(name="a-box", state="ready")["id"])


def requests(sim: SimulatorProcess) -> list[tuple[str, str, Any]]:
    return [(c["method"], c["path"], c["body"] if c["write"] else c["query"]) for c in sim.calls()]


def test_list(ask, sim: SimulatorProcess, box: str) -> None:
    done = ask("list", "--name", "a-box", "--state", "ready", "--json")
    assert done.code == 0, done.err
    assert box in [m["id"] for m in json.loads(done.out)]
    assert requests(sim) == [("GET", "/v1/machines", {"name": "a-box", "limit": "120"})]
    table = ask("list")
    assert "10.64." in table.out, "the private address, by this API's name for it"


def test_show_carries_events(ask, sim: SimulatorProcess, box: str) -> None:
    done = ask("show", box, "--json")
    assert [e["name"] for e in json.loads(done.out)["events"]] == ["start", "create"]
    assert "● ready" in ask("show", box).out


def test_create_sends_exactly_what_was_given(ask, sim: SimulatorProcess) -> None:
    done = ask(*CREATE, "--no-start-on-create", "--public-ip-type", "dynamic", "--json")
    assert done.code == 0, done.err
    ((method, path, body),) = requests(sim)
    assert (method, path) == ("POST", "/v1/machines")
    assert body == {
        "name": "by-hand", "machineType": "A4000", "templateId": "tbu200wi", "region": "East Coast (NY2)",
        "diskSize": 50, "startOnCreate": False, "publicIpType": "dynamic",
    }  # fmt: skip
    made = json.loads(done.out)
    assert (made["name"], made["events"][0]["name"]) == ("by-hand", "create")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            (*CREATE, "--size", "50"),
            '--size belongs to kind = "paperspace-core", and the config names paperspace; here',
        ),
        (
            (*CREATE, "--team-id", "t"),
            '--team-id belongs to kind = "paperspace-core", and the config names paperspace',
        ),
        (CREATE[:-2], 'kind = "paperspace" needs --disk-size as well'),
        (("update", "ps1", "--shutdown-timeout-in-hours", "4"), "here it is --auto-shutdown-timeout"),
        (("list", "--cpus", "8"), "--cpus belongs to"),
        (("update", "ps1", "--network-id", "n2"), "--network-id cannot be changed on an existing machine"),
        (("update", "ps1", "--public-ip-type", "dynamic"), "--public-ip-type dynamic cannot be changed"),
        (("update", "ps1", "--auto-snapshot-frequency", "none"), "--no-auto-snapshot-enabled"),
    ],
)
def test_what_belongs_to_the_other_dialect_is_usage(ask, sim, arguments: tuple[str, ...], words: str) -> None:
    done = ask(*arguments)
    assert done.code == 64
    assert words in " ".join(done.err.split())
    assert sim.calls() == []


@pytest.mark.parametrize("verb", ["stop", "restart"])
def test_stop_restart(ask, sim: SimulatorProcess, box: str, verb: str) -> None:
    done = ask(verb, box, "--json")
    assert done.code == 0, done.err
    assert requests(sim) == [("PATCH", f"/v1/machines/{box}/{verb}", {})]
    assert json.loads(done.out)["event"]["name"] == verb


def test_a_start_that_the_state_forbids_is_told_with_the_vendors_words(ask, box: str) -> None:
    done = ask("start", box)
    assert done.code == 1
    assert "This machine is currently ready." in done.err
    assert "Nothing was done" in done.err


def test_update(ask, sim: SimulatorProcess, box: str) -> None:
    done = ask("update", box, "--auto-shutdown-enabled", "--auto-shutdown-timeout", "24", "--name", "renamed")
    assert done.code == 0, done.err
    assert requests(sim) == [
        (
            "PUT",
            f"/v1/machines/{box}",
            {"autoShutdownEnabled": True, "autoShutdownTimeout": 24, "name": "renamed"},
        )
    ]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (("--auto-shutdown-enabled", "--auto-shutdown-timeout", "8"), "--auto-shutdown-enabled: "),
        (
            ("--auto-snapshot-enabled", "--auto-snapshot-frequency", "daily", "--auto-snapshot-save-count", "3"),
            "--auto-snapshot-enabled, --auto-snapshot-frequency, --auto-snapshot-save-count: ",
        ),
        (("--name", "renamed", "--public-ip-type", "static"), None),
    ],
)
def test_an_update_says_what_the_vendor_may_ignore(ask, box: str, changes: tuple[str, ...], said: str | None) -> None:
    done = ask("update", box, *changes)
    assert done.code == 0, done.err
    words = " ".join(done.err.split())
    assert words.startswith(f"{said}the vendor sets this up in the create alone") if said else words == ""


def test_set_access(ask, sim: SimulatorProcess, box: str) -> None:
    assert ask("set-access", box, "--user-id", "u789ghi2k", "--enable-access").code == 0
    assert ask("set-access", box, "--user-id", "u789ghi2k", "--no-enable-access").code == 0
    assert requests(sim) == [
        ("POST", f"/v1/machines/{box}/accessors", {"userId": "u789ghi2k"}),
        ("DELETE", f"/v1/machines/{box}/accessors/u789ghi2k", None),
    ]


def test_availability_has_a_call_of_its_own(ask, sim: SimulatorProcess) -> None:
    done = ask("availability", "--region", "East Coast (NY2)", "--machine-type", "A4000")
    assert done.out == "A4000 can be had in East Coast (NY2) now\n"
    unknown = ask("availability", "--region", "East Coast (NY2)", "--machine-type", "A1")
    assert unknown.code == 1
    assert "Invalid machine type" in unknown.err
    short = ask("availability", "--region", "ny2", "--machine-type", "A4000")
    assert short.out == "A4000 can be had in ny2 now\n"
    assert [c["operation"] for c in sim.calls()] == ["availability"] * 3


def test_templates_are_listed_with_what_a_config_needs(ask, sim: SimulatorProcess, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = [line.split("  ") for line in ask("templates").out.splitlines()]
    cells = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    assert cells[0] == ["id", "name", "os", "only in"]
    assert ["tbu200wi", "Ubuntu 20.04", "Ubuntu 20.04.6 LTS", "-"] in cells
    assert ["t4v9own7", "training image 7", "Ubuntu 22.04.4 LTS", "East Coast (NY2)"] in cells
    assert cells[-1] == ["10 templates"]
    assert [c["operation"] for c in sim.calls()] == ["templates", "custom_templates"]
    rows = json.loads(ask("templates", "--json").out)
    assert len(rows) == 10
    assert all(isinstance(row["id"], str) for row in rows)


def test_networks_are_listed_with_what_a_config_needs(ask, sim: SimulatorProcess) -> None:
    said = ask("networks").out
    assert "nng82wb  Team Network         East Coast (NY2)" in said
    assert said.splitlines()[-1] == "3 networks"
    assert {row["id"] for row in json.loads(ask("networks", "--json").out)} == {"nng82wb", "n4c1ca7", "nams1k2"}
    assert [c["operation"] for c in sim.calls()] == ["networks", "networks"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("utilization", "ps1"), "the v1 API tells no utilization"),
        (("destroy", "ps1", "--yes", "--release-public-ip"), "cannot release an address"),
    ],
)
def test_what_the_api_cannot_do_is_said_and_nothing_is_sent(ask, sim, arguments, words: str) -> None:
    done = ask(*arguments)
    assert (done.code, done.out) == (1, "")
    assert words in done.err
    assert sim.calls() == []


def test_destroy(ask, sim: SimulatorProcess, box: str) -> None:
    done = ask("destroy", box, "--yes")
    assert done.code == 0, done.err
    assert requests(sim) == [("DELETE", f"/v1/machines/{box}", None)]


def test_wait_for(ask, sim: SimulatorProcess, box: str) -> None:
    ask("stop", box)
    done = ask("wait-for", box, "--state", "off", "--timeout", "10s", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["state"] == "off"


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


def test_a_wrong_key_is_77(ask, sim: SimulatorProcess) -> None:
    sim.ask("/_sim/faults", {"faults": [{"kind": "unauthorized"}]})
    done = ask("list")
    assert done.code == 77
    assert KEY not in done.err
