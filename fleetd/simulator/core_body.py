"""What the Core API's create and update take, and what goes together (the vendor's page, create and update)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fleetd.simulator.admission import Changes, NewMachine
from fleetd.simulator.catalogue import MACHINE_TYPES
from fleetd.simulator.core_params import CoreError, Param, boolean, number, text
from fleetd.simulator.records import MachineRecord

CREATE: Mapping[str, Param] = {
    "region": text(required=True),
    "machineType": text(required=True),
    "size": number(required=True),
    "billingType": text(required=True),
    "machineName": text(required=True),
    "templateId": text(required=True),
    "teamId": text(),
    "assignPublicIp": boolean(),
    "dynamicPublicIp": boolean(),
    "startOnCreate": boolean(),
    "networkId": text(),
    "scriptId": text(),
    "userId": text(),
    "email": text(),
    "password": text(),
    "firstName": text(),
    "lastName": text(),
    "notificationEmail": text(),
    "takeInitialSnapshot": boolean(),
    "markSnapshotAsRestorePoint": boolean(),
    "restorePointFrequency": text(),
    "enableNvlink": boolean(),
}
UPDATE: Mapping[str, Param] = {
    "machineName": text(),
    "shutdownTimeoutInHours": number(),
    "shutdownTimeoutForces": boolean(),
    "autoSnapshotFrequency": text(nullable=True),
    "autoSnapshotSaveCount": number(),
    "performAutoSnapshot": boolean(),
    "dynamicPublicIp": boolean(),
    "assignPublicIp": boolean(),
}
_FREQUENCIES = {None, "hour", "day", "week", "month"}  # month: not on the page, seen in other clients
_NEW_USER = ("email", "password", "firstName", "lastName")


def check_create(params: Mapping[str, Any]) -> None:
    """Refuse parameters that do not go together.

    Raises:
        CoreError: naming the parameter.
    """
    kind = MACHINE_TYPES.get(params["machineType"])
    _require(kind is not None and kind.legacy, "machineType not found")
    _require(params["billingType"] == "hourly", "billingType must be hourly")
    _require(bool(params["machineName"].strip()), "machineName is a required parameter")
    _require(params["size"] == int(params["size"]), "size must be a whole number of GB")
    _check_addresses(params)
    _check_restore_point(params)
    _check_new_user(params)


def new_machine(params: Mapping[str, Any], user_id: str | None) -> NewMachine:
    """What the parameters ask for; ``user_id`` is whom it is assigned to."""
    restore = params.get("restorePointFrequency") if params.get("markSnapshotAsRestorePoint") else None
    return NewMachine(
        name=params["machineName"],
        machine_type=params["machineType"],
        region=params["region"],
        template_id=params["templateId"],
        size_gb=int(params["size"]),
        user_id=user_id,
        team_id=params.get("teamId"),
        network_id=params.get("networkId"),
        script_id=params.get("scriptId"),
        public_ip_type=(
            "dynamic" if params.get("dynamicPublicIp") else "static" if params.get("assignPublicIp") else "none"
        ),
        start_on_create=params.get("startOnCreate", True),
        initial_snapshot=params.get("takeInitialSnapshot", False),
        restore_point_frequency=restore,
    )


def changes_of(record: MachineRecord, params: Mapping[str, Any]) -> Changes:
    """What an update's parameters change on this machine.

    Raises:
        CoreError: a value that is not allowed.
    """
    _check_addresses(params)
    changes: Changes = {}
    if "machineName" in params:
        changes["name"] = params["machineName"]
        _require(bool(changes["name"].strip()), "machineName must not be empty")
    if "shutdownTimeoutInHours" in params:
        _require(params["shutdownTimeoutInHours"] >= 0, "shutdownTimeoutInHours must not be negative")
        changes["shutdown_hours"] = params["shutdownTimeoutInHours"] or None
    if "shutdownTimeoutForces" in params:
        changes["shutdown_forces"] = params["shutdownTimeoutForces"]
    if "autoSnapshotFrequency" in params:
        frequency = None if params["autoSnapshotFrequency"] == "null" else params["autoSnapshotFrequency"]
        _require(frequency in _FREQUENCIES, "autoSnapshotFrequency must be hour, day, week or null")
        changes["snapshot_frequency"] = frequency
    if "autoSnapshotSaveCount" in params:
        _require(params["autoSnapshotSaveCount"] >= 1, "autoSnapshotSaveCount must be at least 1")
        changes["snapshot_keep"] = int(params["autoSnapshotSaveCount"])
    if "performAutoSnapshot" in params:
        changes["auto_snapshots"] = params["performAutoSnapshot"]
    kind = _address(record.public_ip_type, params)
    if kind != record.public_ip_type:
        changes["public_ip_type"] = kind
    return changes


def _address(now: str, params: Mapping[str, Any]) -> str:
    for name, kind in (("dynamicPublicIp", "dynamic"), ("assignPublicIp", "static")):
        if params.get(name):
            return kind
        if name in params and now == kind:
            return "none"
    return now


def _check_addresses(params: Mapping[str, Any]) -> None:
    together = params.get("assignPublicIp") and params.get("dynamicPublicIp")
    _require(not together, "assignPublicIp cannot be used with dynamicPublicIp")


def _check_restore_point(params: Mapping[str, Any]) -> None:
    if params.get("markSnapshotAsRestorePoint"):
        initial = params.get("takeInitialSnapshot", False)
        _require(initial, "markSnapshotAsRestorePoint needs takeInitialSnapshot to be true")
        _require("restorePointFrequency" in params, "markSnapshotAsRestorePoint needs restorePointFrequency")
    _require(params.get("restorePointFrequency", "shutdown") == "shutdown", "restorePointFrequency must be shutdown")


def _check_new_user(params: Mapping[str, Any]) -> None:
    given = [name for name in _NEW_USER if name in params]
    if not given:
        return
    _require("userId" not in params, f"userId cannot be used with {given[0]}")
    for name in _NEW_USER:
        _require(name in params, f"{name} is a required parameter when a user is created")


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise CoreError(400, message)
