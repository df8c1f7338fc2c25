"""Policies travel in the create call where it can carry them."""

from __future__ import annotations

from typing import Any

import pytest

from fleetd.cloud.paperspace import wire
from fleetd.config import parse
from fleetd.model.errors import ConfigError
from fleetd.planner.policies import snapshot_drift, timeout_drift
from tests.support.build import machine
from tests.support.config_text import V1_MACHINE, V1_PROVIDER, config_text

TIMEOUT = "[fleets.training.shutdown_timeout]\nhours = 24\nforce = true"
V1_SIMULATOR = '[provider]\nkind = "simulator"\n[provider.simulator]\ndialect = "paperspace"'


def snapshot(frequency: str, keep: int | None = None) -> str:
    kept = "" if keep is None else f"\nkeep = {keep}"
    return f'[fleets.training.auto_snapshot]\nfrequency = "{frequency}"{kept}'


def added(**parts: str) -> dict[str, Any]:
    fleet = parse(config_text(**parts), "test.toml").fleets[0]
    return {k: v for k, v in fleet.parameters.items() if k.startswith(("auto", "shutdown", "perform"))}


@pytest.mark.parametrize("provider", [V1_PROVIDER, V1_SIMULATOR], ids=["v1", "v1 simulated"])
@pytest.mark.parametrize(
    ("policies", "parameters"),
    [
        ("", {}),
        (TIMEOUT, {"autoShutdownEnabled": True, "autoShutdownTimeout": 24, "autoShutdownForce": True}),
        (
            snapshot("day", 7),
            {"autoSnapshotEnabled": True, "autoSnapshotFrequency": "daily", "autoSnapshotSaveCount": 7},
        ),
        (snapshot("week"), {"autoSnapshotEnabled": True, "autoSnapshotFrequency": "weekly"}),
        (snapshot("hour"), {"autoSnapshotEnabled": True, "autoSnapshotFrequency": "hourly"}),
        (snapshot("none"), {"autoSnapshotEnabled": False}),
    ],
)
def test_v1_machines_are_made_with_their_policies(provider: str, policies: str, parameters: dict[str, Any]) -> None:
    assert added(provider=provider, machine=V1_MACHINE, rest=policies) == parameters


def test_the_core_call_has_no_such_parameters() -> None:
    assert added(rest=f"{TIMEOUT}\n{snapshot('day', 7)}") == {}


@pytest.mark.parametrize(
    ("line", "policy"),
    [("autoShutdownTimeout = 8", TIMEOUT), ("autoSnapshotSaveCount = 3", snapshot("day", 7))],
)
def test_what_the_machine_table_says_as_well_is_a_fault(line: str, policy: str) -> None:
    with pytest.raises(ConfigError, match="is said twice"):
        parse(config_text(provider=V1_PROVIDER, machine=f"{V1_MACHINE}\n{line}", rest=policy), "test.toml")


def test_what_is_asked_for_in_the_create_is_what_the_checks_want() -> None:
    """The spellings agree: a machine that is made so has no drift."""
    rest = f"{TIMEOUT}\n{snapshot('day', 7)}"
    fleet = parse(config_text(provider=V1_PROVIDER, machine=V1_MACHINE, rest=rest), "test.toml").fleets[0]
    json = {"id": "ps1", "name": machine(1).name, "state": "ready", **fleet.parameters}
    made = wire.read_machine(json)
    assert made is not None
    assert not timeout_drift(fleet, made).changes
    assert not snapshot_drift(fleet, made).changes
