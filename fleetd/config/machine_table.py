"""The ``[fleets.NAME.machine]`` table against the create call of its dialect.

Sources: the vendor's machines page (create) for Core, the OpenAPI description's types for v1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from fleetd.config.faults import Finding, dotted, suggestion, unknown_key
from fleetd.config.parameters import CREATE_PARAMETERS, CREATE_REQUIRED, OWN_NAMES, SECRETS
from fleetd.config.units import shown
from fleetd.config.view import TableView
from fleetd.model.errors import Fault
from fleetd.model.fleet import Fleet
from fleetd.model.vendor import (
    CORE_BILLING_TYPES,
    CORE_MACHINE_TYPES,
    CORE_REGIONS,
    CORE_RESTORE_POINT_FREQUENCIES,
    ParameterType,
)
from fleetd.model.vendor_v1 import (
    V1_DISK_SIZES,
    V1_PUBLIC_IP_TYPES,
    V1_RESTORE_POINT_FREQUENCIES,
    V1_SHUTDOWN_HOURS,
    V1_SNAPSHOT_FREQUENCIES,
    V1_SNAPSHOTS_KEPT,
)

_TWINS: Mapping[str, str] = MappingProxyType(
    {
        "size": "diskSize",
        "scriptId": "startupScriptId",
        "assignPublicIp": 'publicIpType = "static"',
        "dynamicPublicIp": 'publicIpType = "dynamic"',
        "markSnapshotAsRestorePoint": "restorePointEnabled",
    }
)
"""What a Core parameter is called on v1."""

_TWINS_BACK: Mapping[str, str] = MappingProxyType(
    {
        "diskSize": "size",
        "startupScriptId": "scriptId",
        "publicIpType": "assignPublicIp or dynamicPublicIp",
        "restorePointEnabled": "markSnapshotAsRestorePoint",
        "autoShutdownEnabled": "[fleets.NAME.shutdown_timeout]",
        "autoShutdownTimeout": "[fleets.NAME.shutdown_timeout]",
        "autoShutdownForce": "[fleets.NAME.shutdown_timeout]",
        "autoSnapshotEnabled": "[fleets.NAME.auto_snapshot]",
        "autoSnapshotFrequency": "[fleets.NAME.auto_snapshot]",
        "autoSnapshotSaveCount": "[fleets.NAME.auto_snapshot]",
    }
)
"""Where a v1 parameter's meaning stands with Core."""

_LISTED: Mapping[str, Mapping[str, tuple[str | int, ...]]] = MappingProxyType(
    {
        "paperspace-core": {
            "region": CORE_REGIONS,
            "machineType": CORE_MACHINE_TYPES,
            "billingType": CORE_BILLING_TYPES,
            "restorePointFrequency": CORE_RESTORE_POINT_FREQUENCIES,
        },
        "paperspace": {
            "diskSize": V1_DISK_SIZES,
            "publicIpType": V1_PUBLIC_IP_TYPES,
            "autoSnapshotFrequency": tuple(V1_SNAPSHOT_FREQUENCIES),
            "restorePointFrequency": V1_RESTORE_POINT_FREQUENCIES,
        },
    }
)
"""Values that the vendor lists: on its page for Core, in its types for v1, which do not list regions and machine
types. The API may know others, so these only advise."""

_RANGES: Mapping[str, tuple[tuple[int, int], str]] = MappingProxyType(
    {
        "autoShutdownTimeout": (V1_SHUTDOWN_HOURS, "shutdown_timeout.hours"),
        "autoSnapshotSaveCount": (V1_SNAPSHOTS_KEPT, "auto_snapshot.keep"),
    }
)
"""On v1: the least and the most that the vendor's pages allow, and the key of the policy that says it as well."""

_ELSEWHERE: Mapping[str, str] = MappingProxyType(
    {"accessorIds": "not in a config; give access to a machine with: fleetd machines set-access"}
)
"""What the API knows and a fleet's machines cannot be created with."""

_POLICIES = (("autoShutdown", "shutdown_timeout"), ("autoSnapshot", "auto_snapshot"))
_NEW_USER = ("email", "firstName", "lastName")
_LARGEST = 10**9
_LEAST: Mapping[str, int] = MappingProxyType({"autoSnapshotSaveCount": 0})
"""The smallest number that a parameter takes, where it is not 1."""


def check_machine(machine: TableView, dialect: str | None, fleet: TableView) -> Iterator[Finding]:
    """Every fault of the table.

    Args:
        machine: the table.
        dialect: paperspace-core or paperspace; None when it is not known, and either's names pass.
        fleet: the fleet's table, for what must not be said twice.
    """
    for key in machine:
        yield from _check_key(machine, key, dialect)
    if dialect is not None:
        for key in CREATE_REQUIRED[dialect]:
            if not machine.has(key) and key not in OWN_NAMES:
                yield machine.fault(f"is missing: kind = {_kind(dialect)} cannot create a machine without it", key)
    yield from _check_together(machine)
    for prefix, table in _POLICIES:
        if fleet.has(table):
            for key in machine:
                if key.startswith(prefix):
                    yield machine.fault(f"is said twice: [{dotted((*fleet.loc, table))}] holds it already", key)


def advise_machine(fleet: Fleet, dialect: str) -> Iterator[Fault]:
    """What is legal in the table, and still probably not meant."""
    at = dotted(("fleets", fleet.name, "machine"))
    source = "page does" if dialect == "paperspace-core" else "types do"
    for key, known in _LISTED.get(dialect, {}).items():
        value = fleet.parameters.get(key)
        if value is not None and value not in known:
            words = [str(word) for word in known]
            meant = suggestion(str(value), words, closeness=0.8) if isinstance(value, str) else None
            hint = f"did you mean {meant}?" if meant else f"it lists {', '.join(words)}"
            yield Fault(f"{at}.{key}", f"the vendor's {source} not list {shown(value)}; {hint}")
    if dialect == "paperspace":
        yield from _out_of_range(fleet)
    if any(key in fleet.parameters for key in _NEW_USER):
        yield Fault(
            at,
            "email, firstName and lastName make a new user with every create, even with one that fails: "
            "make the user once and give userId",
        )


def _out_of_range(fleet: Fleet) -> Iterator[Fault]:
    policies = {"shutdown_timeout.hours": fleet.shutdown_timeout, "auto_snapshot.keep": fleet.auto_snapshot}
    for key, ((least, most), policy) in _RANGES.items():
        value = fleet.parameters.get(key)
        if isinstance(value, int) and not least <= value <= most:
            place = f"machine.{key}" if policies[policy] is None else policy
            yield Fault(
                dotted(("fleets", fleet.name)) + f".{place}",
                f"the vendor's pages allow {least} to {most}, and a create with {value} is likely to be refused",
            )


def _check_key(machine: TableView, key: str, dialect: str | None) -> Iterator[Finding]:
    if key in OWN_NAMES:
        yield machine.fault("leave it out: fleetd names the machines itself, <fleet>-<token>", key)
    elif key in SECRETS:
        yield machine.fault("a secret may not stand in the config: make the user first, then give userId", key)
    else:
        known = {d: names[key] for d, names in CREATE_PARAMETERS.items() if key in names}
        if dialect is not None and dialect not in known:
            yield machine.fault(_stranger(key, dialect, known), key)
        elif not known:
            yield machine.fault(unknown_key(key, _settable(None)), key)
        else:
            problem = _misfit(machine.get(key), next(iter(known.values())), least=_LEAST.get(key, 1))
            if problem is not None:
                yield machine.fault(problem, key)


def _stranger(key: str, dialect: str, known: Mapping[str, object]) -> str:
    if not known:
        return _ELSEWHERE.get(key) or unknown_key(key, _settable(dialect))
    home = next(iter(known))
    twin = (_TWINS_BACK if dialect == "paperspace-core" else _TWINS).get(key)
    instead = f"; on {dialect} it is {twin}" if twin else f"; {dialect} has nothing like it"
    return f"{key} belongs to kind = {_kind(home)}{instead}"


def _settable(dialect: str | None) -> list[str]:
    dialects = [dialect] if dialect is not None else list(CREATE_PARAMETERS)
    names = {name for d in dialects for name in CREATE_PARAMETERS[d]}
    return sorted(names - OWN_NAMES - SECRETS)


def _misfit(value: object, kind: ParameterType, *, least: int) -> str | None:
    if kind is bool:
        return None if isinstance(value, bool) else f"expected true or false, without quotes, got {shown(value)}"
    if kind is int:
        if isinstance(value, bool) or not isinstance(value, int):
            return f"expected a whole number, without quotes, got {shown(value)}"
        right = "above zero" if least else "of 0 or more"
        return None if least <= value <= _LARGEST else f"expected a number {right}, got {shown(value)}"
    if not isinstance(value, str):
        return f"expected text in quotes, got {shown(value)}"
    return None if value.strip() else "must not be empty"


def _check_together(machine: TableView) -> Iterator[Finding]:
    if machine.get("assignPublicIp") is True and machine.get("dynamicPublicIp") is True:
        yield machine.fault("cannot be used with assignPublicIp: choose one", "dynamicPublicIp")
    if machine.has("userId"):
        for key in _NEW_USER:
            if machine.has(key):
                yield machine.fault("makes a new user, userId names one that exists: choose one", key)
    if machine.get("markSnapshotAsRestorePoint") is True:
        if machine.get("takeInitialSnapshot") is not True:
            yield machine.fault("needs takeInitialSnapshot = true", "markSnapshotAsRestorePoint")
        if not machine.has("restorePointFrequency"):
            yield machine.fault('needs restorePointFrequency = "shutdown"', "markSnapshotAsRestorePoint")


def _kind(dialect: str) -> str:
    return f'"{dialect}"'
