"""The vendor's parameters as options: one for each, by the API's own name in kebab-case."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Container, Mapping, Sequence
from types import MappingProxyType
from typing import Annotated

import typer

from fleetd.cli.failures import UsageError
from fleetd.model.vendor import (
    CORE_BILLING_TYPES,
    CORE_CREATE_PARAMETERS,
    CORE_CREATE_REQUIRED,
    CORE_LIST_FILTERS,
    CORE_LOCAL_FILTERS,
    CORE_MACHINE_TYPES,
    CORE_REGIONS,
    CORE_RESTORE_POINT_FREQUENCIES,
    CORE_SNAPSHOT_FREQUENCIES,
    CORE_UPDATE_PARAMETERS,
    ParameterType,
)
from fleetd.model.vendor_v1 import (
    V1_CREATE_PARAMETERS,
    V1_CREATE_REQUIRED,
    V1_FIXED,
    V1_LIST_FILTERS,
    V1_LOCAL_FILTERS,
    V1_ORDERS,
    V1_PUBLIC_IP_TYPES,
    V1_SET_UP_ONCE,
    V1_SNAPSHOT_FREQUENCIES,
    V1_UPDATE_PARAMETERS,
)

Tables = Mapping[str, Mapping[str, ParameterType]]
"""A command's parameters, dialect by dialect."""

CREATE: Tables = MappingProxyType({"paperspace-core": CORE_CREATE_PARAMETERS, "paperspace": V1_CREATE_PARAMETERS})
CREATE_REQUIRED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"paperspace-core": CORE_CREATE_REQUIRED, "paperspace": V1_CREATE_REQUIRED}
)
UPDATE: Tables = MappingProxyType({"paperspace-core": CORE_UPDATE_PARAMETERS, "paperspace": V1_UPDATE_PARAMETERS})
LIST: Tables = MappingProxyType(
    {
        "paperspace-core": {**CORE_LOCAL_FILTERS, **CORE_LIST_FILTERS},
        "paperspace": {**V1_LOCAL_FILTERS, **V1_LIST_FILTERS},
    }
)

_TWINS = (
    ("machineName", "name"),
    ("size", "diskSize"),
    ("scriptId", "startupScriptId"),
    ("assignPublicIp", "publicIpType"),
    ("dynamicPublicIp", "publicIpType"),
    ("markSnapshotAsRestorePoint", "restorePointEnabled"),
    ("shutdownTimeoutInHours", "autoShutdownTimeout"),
    ("shutdownTimeoutForces", "autoShutdownForce"),
    ("performAutoSnapshot", "autoSnapshotEnabled"),
    ("privateIpAddress", "privateIp"),
    ("publicIpAddress", "publicIp"),
)
"""What a parameter is called on Core, and on v1."""

_FREQUENCIES = f"{', '.join(CORE_SNAPSHOT_FREQUENCIES)}, none; v1: {', '.join(V1_SNAPSHOT_FREQUENCIES)}."

CREATE_HELP: Mapping[str, str] = MappingProxyType(
    {
        "region": f"{', '.join(CORE_REGIONS)}.",
        "machineType": f"{', '.join(CORE_MACHINE_TYPES)}.",
        "size": "Storage in GB.",
        "billingType": f"{', '.join(CORE_BILLING_TYPES)}.",
        "machineName": "Its name. One like training-7k3mqggq may be taken for a fleet's.",
        "templateId": "The template that it is made from.",
        "teamId": "Needed when it is made for a team.",
        "assignPublicIp": "A public address of its own. Not with --dynamic-public-ip.",
        "dynamicPublicIp": "A public address for as long as it runs. Not with --assign-public-ip.",
        "startOnCreate": "Boot it right away; the API's default.",
        "networkId": "A private network.",
        "scriptId": "A script to run on startup.",
        "userId": "An existing user to assign it to; instead of --email and the like.",
        "email": "Makes a new user.",
        "password": "The new user's password. Others on this machine can read it in ps: - asks for it.",
        "firstName": "The new user's name.",
        "lastName": "The new user's name.",
        "notificationEmail": "Is told when the machine is made.",
        "takeInitialSnapshot": "A snapshot at first boot.",
        "markSnapshotAsRestorePoint": "That snapshot is what the machine returns to.",
        "restorePointFrequency": f"When it returns to it: {', '.join(CORE_RESTORE_POINT_FREQUENCIES)}.",
        "enableNvlink": "On machine types that have it.",
        "name": "Its name. One like training-7k3mqggq may be taken for a fleet's.",
        "diskSize": "Storage in GB.",
        "publicIpType": f"{', '.join(V1_PUBLIC_IP_TYPES)}.",
        "startupScriptId": "A script to run on startup.",
        "autoShutdownEnabled": "Shut it down when its timeout is over.",
        "autoShutdownTimeout": "That timeout, in hours.",
        "autoShutdownForce": "Shut it down then although somebody is on it.",
        "autoSnapshotEnabled": "Take automatic snapshots.",
        "autoSnapshotFrequency": f"{', '.join(V1_SNAPSHOT_FREQUENCIES)}.",
        "autoSnapshotSaveCount": "How many automatic snapshots are kept.",
        "restorePointEnabled": "The initial snapshot is what the machine returns to.",
        "emailPassword": "Mail the machine's password; the API's default.",
    }
)
UPDATE_HELP: Mapping[str, str] = MappingProxyType(
    {
        "machineName": "A new name. A fleet's machine stays one by its id.",
        "shutdownTimeoutInHours": "Hours until it is shut down when nobody is logged in through the vendor's client.",
        "shutdownTimeoutForces": "Shut it down then although somebody is.",
        "autoSnapshotFrequency": _FREQUENCIES,
        "autoSnapshotSaveCount": "How many automatic snapshots are kept.",
        "performAutoSnapshot": "Take automatic snapshots.",
        "dynamicPublicIp": "A public address for as long as it runs.",
        "assignPublicIp": "A public address of its own.",
        "name": "A new name. A fleet's machine stays one by its id.",
        "machineType": "Another machine type: the machine restarts.",
        "diskSize": "Storage in GB; it can only grow.",
        "networkId": "Another private network. Cannot be changed on a v1 machine.",
        "publicIpType": f"{', '.join(V1_PUBLIC_IP_TYPES)}; dynamic by a create only.",
        "autoShutdownEnabled": "Shut it down when its timeout is over. May be ignored but in a create.",
        "autoShutdownTimeout": "That timeout, in hours.",
        "autoShutdownForce": "Shut it down then although somebody is on it.",
        "autoSnapshotEnabled": "Take automatic snapshots. May be ignored but in a create.",
        "restorePointEnabled": "Return to a snapshot.",
        "restorePointFrequency": f"When it returns to it: {', '.join(CORE_RESTORE_POINT_FREQUENCIES)}.",
        "restorePointSnapshotId": "The snapshot that it returns to.",
    }
)
DESTROY: Tables = MappingProxyType({"paperspace-core": {"releasePublicIp": bool}})
DESTROY_HELP: Mapping[str, str] = MappingProxyType(
    {"releasePublicIp": "Give its public address back, too; it is kept otherwise."}
)
LIST_HELP: Mapping[str, str] = MappingProxyType(
    {
        "limit": "At most so many machines; without it, all of them.",
        "skip": "Leave out so many at the beginning.",
        "machineId": "The machine with this id.",
        "machineType": "The Core API has no such filter: it is matched here.",
        "after": "The page after this cursor.",
        "orderBy": f"{', '.join(V1_ORDERS)}.",
        "order": "asc or desc.",
    }
)
"""The rest of the filters explain themselves."""

SWITCHES = "--no-... turns a switch off"
PARAMETERS = f"Parameters of the API ({SWITCHES})"


def takes(
    tables: Tables,
    help_texts: Mapping[str, str],
    *,
    required: Mapping[str, Container[str]] = MappingProxyType({}),
    panel: str = PARAMETERS,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command an option for each parameter; it is handed those that were given as ``given``, by their names.

    Whether they belong to the dialect that the config names is for ``fitting`` to say: the options stand before any
    config is read.

    Args:
        tables: dialect -> name in the API -> type.
        help_texts: name in the API -> what it means; "Match on <name>." where there is none.
        required: dialect -> the names that it cannot do without; only said here, and held to by ``fitting``.
        panel: heading of these options in the help.
    """
    parameters = {name: kind for table in tables.values() for name, kind in table.items()}
    panels = {name: _panel(panel, [d for d, table in tables.items() if name in table], tables) for name in parameters}
    texts = {
        name: help_texts.get(name, f"Match on {name}.")
        + (" Needed." if any(name in r for r in required.values()) else "")
        for name in parameters
    }
    switches = {api: _spelt(f"no-{kebab(api)}") for api, kind in parameters.items() if kind is bool}
    names = {_spelt(kebab(api)): api for api in parameters}

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        def call(**values: object) -> None:
            given = {api: values.pop(name) for name, api in names.items()}
            for api, no in switches.items():
                if values.pop(no):
                    if given[api]:
                        raise UsageError(f"--{kebab(api)} and --no-{kebab(api)} contradict each other")
                    given[api] = False
            for api, value in given.items():
                if isinstance(value, int) and value < 0:
                    raise UsageError(f"--{kebab(api)}: expected at least 0, got {value}")
            command(**values, given={api: value for api, value in given.items() if value is not None})

        own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != "given"]
        added = [_option(name, api, parameters[api], texts[api], panels[api]) for name, api in names.items()]
        signature = inspect.Signature([*own, *added, *(_negative(api, no) for api, no in switches.items())])
        # typer reads a command's options from exactly these.
        call.__signature__ = signature  # type: ignore[attr-defined]
        call.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
        call.__name__, call.__doc__ = command.__name__, command.__doc__
        return call

    return decorate


def fitting(
    given: Mapping[str, object], tables: Tables, dialect: str, *, required: Container[str] = ()
) -> dict[str, object]:
    """What was given, as the dialect takes it.

    Raises:
        UsageError: something belongs to another dialect, or is missing; the message says what is right.
    """
    table = tables[dialect]
    for name in given:
        if name not in table:
            home = next(d for d, other in tables.items() if name in other)
            twins = {twin for pair in _TWINS if name in pair for twin in pair} & table.keys()
            instead = f"; here it is --{kebab(min(twins))}" if twins else ""
            raise UsageError(f'--{kebab(name)} belongs to kind = "{home}", and the config names {dialect}{instead}')
    missing = [f"--{kebab(name)}" for name in table if name in required and name not in given]
    if missing:
        raise UsageError(f'kind = "{dialect}" needs {", ".join(missing)} as well')
    return dict(given)


def changeable(changes: dict[str, object], dialect: str) -> dict[str, object]:
    """An update's changes as they are.

    Raises:
        UsageError: one of them cannot be made to a machine that exists; nothing is sent.
    """
    if dialect == "paperspace":
        for name, values in V1_FIXED.items():
            if name in changes and (not values or changes[name] in values):
                given = f"--{kebab(name)}{f' {changes[name]}' if values else ''}"
                raise UsageError(
                    f"{given} cannot be changed on an existing machine of the v1 API: create one that has it"
                )
    return changes


def may_be_ignored(changes: Mapping[str, object], dialect: str) -> list[str]:
    """Those of an update's changes that the vendor takes, and need not carry out."""
    return [f"--{kebab(name)}" for name in V1_SET_UP_ONCE if dialect == "paperspace" and name in changes]


def kebab(name: str) -> str:
    """``shutdownTimeoutInHours`` as ``shutdown-timeout-in-hours``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()


def _panel(title: str, homes: Sequence[str], tables: Tables) -> str:
    return title if len(homes) == len(tables) else f'Only with kind = "{homes[0]}"'


def _option(name: str, api: str, kind: ParameterType, text: str, panel: str) -> inspect.Parameter:
    option = typer.Option(
        f"--{kebab(api)}",
        help=text,
        rich_help_panel=panel,
        metavar={str: "TEXT", int: "N"}.get(kind, ""),
        show_default=False,
    )
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[kind | None, option],
    )


def _negative(api: str, name: str) -> inspect.Parameter:
    """A switch's other half, an option of its own: beside the first it would push the help off a terminal."""
    option = typer.Option(f"--no-{kebab(api)}", hidden=True)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Annotated[bool, option])


def _spelt(flag: str) -> str:
    return flag.replace("-", "_")
