"""``fleetd check --online`` on either dialect: what the account has is proven, and what is wrong is named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fleetd.cloud.paperspace.inquiry import inquire
from fleetd.config import load
from fleetd.model.errors import Refused
from tests.support.config_text import config_text
from tests.support.processes import DIALECTS, KEY, SimulatorProcess, simulator
from tests.support.virtual_time import run_virtual

CORE, V1 = "paperspace-core", "paperspace"
BOTH = pytest.mark.parametrize("kind", [CORE, V1])


@pytest.fixture(scope="module")
def sim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatorProcess]:
    with simulator(tmp_path_factory.mktemp("sim"), speed=1000) as process:
        yield process


@pytest.fixture
def check(cli, sim: SimulatorProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("PAPERSPACE_API_KEY", KEY)
    sim.ask("/_sim/faults", {"faults": []})
    sim.reset_calls()

    def run(kind: str, **changes: Any) -> Any:
        spoken_at, parameters = DIALECTS[kind]
        provider = f'[provider]\nkind = "{kind}"\nbase_url = "{sim.url}{spoken_at}"\n'
        path = tmp_path / "fleetd.toml"
        path.write_text(
            config_text(
                provider=provider + 'api_key = { env = "PAPERSPACE_API_KEY" }',
                machine=table({**parameters, **changes}),
            )
        )
        return cli("check", "-c", str(path), "--online")

    return run


def table(parameters: dict[str, Any]) -> str:
    lines = [f"{name} = {value if isinstance(value, int) else repr(value)}" for name, value in parameters.items()]
    return "\n".join(["[fleets.training.machine]", *lines])


@BOTH
def test_a_sound_config_is_proven_and_nothing_is_written(check, sim: SimulatorProcess, kind: str) -> None:
    done = check(kind, networkId="nng82wb", **{"scriptId" if kind == CORE else "startupScriptId": "sc8k2m4xa"})
    assert (done.code, done.err) == (0, "")
    assert sim.writes() == []
    asked = {c["operation"] for c in sim.calls()}
    assert asked >= {"templates", "networks", "scripts"}


@BOTH
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"templateId": "tnone"}, "machine.templateId: the account has no tnone; it has t0nspur5 (Ubuntu 22.04)"),
        ({"networkId": "nnone"}, "machine.networkId: the account has no nnone; it has n4c1ca7 (Team Network West)"),
        (
            {"networkId": "n4c1ca7"},
            "machine.networkId: is in West Coast (CA1), and the fleet's region is East Coast (NY2)",
        ),
        ({"scriptId": "scnone"}, "the account has no scnone; it has sc8k2m4xa (node exporter)"),
        ({"region": "Mars (MA1)"}, "machine.region: "),
        ({"machineType": "P9999"}, "machine.machineType: "),
    ],
    ids=["template", "network", "network's region", "script", "region", "machine type"],
)
def test_what_the_account_lacks_is_named(check, kind: str, changes: dict[str, str], words: str) -> None:
    if kind == V1 and "scriptId" in changes:
        changes = {"startupScriptId": changes["scriptId"]}
    done = check(kind, **changes)
    assert done.code == 78, done.out
    assert words in done.err


@BOTH
def test_a_template_of_the_account_is_had_in_its_own_region_only(check, kind: str) -> None:
    assert check(kind, templateId="t4v9own7").code == 0
    done = check(kind, templateId="t4v9own7", region="Europe (AMS1)")
    assert done.code == 78
    assert "machine.templateId: is in East Coast (NY2), and the fleet's region is Europe (AMS1)" in done.err


def test_a_template_that_cannot_be_had_on_the_machine_type(check) -> None:
    done = check(V1, templateId="twi10srv", machineType="C5")
    assert done.code == 78
    assert "machine.machineType: template Windows 10 cannot be had on C5; it can on A100, " in done.err


def test_a_machine_type_that_is_sold_out_now_is_no_fault_of_the_config(check, sim: SimulatorProcess) -> None:
    sim.ask("/_sim/faults", {"faults": [{"kind": "capacity", "machine_type": "P4000"}]})
    assert check(V1).code == 0


@BOTH
def test_a_wrong_key_is_77_and_a_provider_that_is_down_69(check, sim: SimulatorProcess, kind: str) -> None:
    sim.ask("/_sim/faults", {"faults": [{"kind": "unauthorized"}]})
    refused = check(kind)
    assert refused.code == 77
    assert KEY not in refused.err
    sim.ask("/_sim/faults", {"faults": [{"kind": "error", "status": 400, "message": "nope"}]})
    assert check(kind).code == 1


def account(**told: Any) -> Any:
    """An account that has what the config names, and answers as told."""
    offer = [{"machineTypeLabel": "P4000", "isAvailable": True}]
    answers = {
        "templates": [{"id": "tbu200wi", "name": "Ubuntu", "availableMachineTypes": offer}],
        "custom_templates": [],
        "networks": [],
        "scripts": [{"id": "sc1", "name": "exporter", "isEnabled": True}],
        "session": {"user": {}, "team": {}},
        "account_standing": {"isInGoodStanding": True, "isAdminLocked": False, "messages": []},
    } | told

    def call(answer: Any) -> Any:
        async def answered() -> Any:
            if isinstance(answer, Exception):
                raise answer
            return answer

        return answered

    return SimpleNamespace(**{name: call(answer) for name, answer in answers.items()})


@pytest.mark.parametrize(
    ("told", "fault"),
    [
        ({}, None),
        (
            {"account_standing": {"isInGoodStanding": False, "messages": ["Your card has expired."]}},
            "provider: the vendor does not let the account make machines: Your card has expired.",
        ),
        (
            {"account_standing": {"isAdminLocked": True}},
            "provider: the vendor does not let the account make machines: it does not say why",
        ),
        ({"account_standing": Refused("not for this key")}, None),
        (
            {"scripts": [{"id": "sc1", "name": "exporter", "isEnabled": False}]},
            "fleets.training.machine.startupScriptId: exporter is disabled: it would not run",
        ),
        (
            {"templates": [{"id": "tbu200wi", "availableMachineTypes": "odd"}]},
            "fleets.training.machine.machineType: no template lists P4000; they list none",
        ),
    ],
    ids=["well", "bad standing", "locked", "standing is secret", "disabled script", "odd answer"],
)
def test_what_the_simulator_never_says(tmp_path: Path, told: dict[str, Any], fault: str | None) -> None:
    path = tmp_path / "fleetd.toml"
    provider = '[provider]\nkind = "paperspace"\napi_key = { env = "PAPERSPACE_API_KEY" }'
    path.write_text(config_text(provider=provider, machine=table({**DIALECTS[V1][1], "startupScriptId": "sc1"})))
    found = run_virtual(inquire, account(**told), load(path))
    assert [str(f) for f in found] == ([fault] if fault else [])
