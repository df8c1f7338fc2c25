"""The vendor's parameters as options: one for each, by the API's own name in kebab-case."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Container, Mapping
from types import MappingProxyType
from typing import Annotated, Any

import typer

from fleetd.cli.failures import UsageError
from fleetd.model.vendor import (
    CORE_BILLING_TYPES,
    CORE_MACHINE_TYPES,
    CORE_REGIONS,
    CORE_RESTORE_POINT_FREQUENCIES,
    CORE_SNAPSHOT_FREQUENCIES,
    ParameterType,
)

CREATE_HELP: Mapping[str, str] = MappingProxyType(
    {
        "region": f"{', '.join(CORE_REGIONS)}.",
        "machineType": f"{', '.join(CORE_MACHINE_TYPES)}.",
        "size": "Storage in GB.",
        "billingType": f"{', '.join(CORE_BILLING_TYPES)}.",
        "machineName": "Its name. One like training-7k3mq9 may be taken for a fleet's.",
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
    }
)
UPDATE_HELP: Mapping[str, str] = MappingProxyType(
    {
        "machineName": "A new name. A fleet's machine stays one by its id.",
        "shutdownTimeoutInHours": "Hours until it is shut down when nobody is logged in through the vendor's client.",
        "shutdownTimeoutForces": "Shut it down then although somebody is.",
        "autoSnapshotFrequency": f"{', '.join(CORE_SNAPSHOT_FREQUENCIES)}; none turns them off.",
        "autoSnapshotSaveCount": "How many automatic snapshots are kept.",
        "performAutoSnapshot": "Take automatic snapshots.",
        "dynamicPublicIp": "A public address for as long as it runs.",
        "assignPublicIp": "A public address of its own.",
    }
)
DESTROY_PARAMETERS: Mapping[str, ParameterType] = MappingProxyType({"releasePublicIp": bool})
DESTROY_HELP: Mapping[str, str] = MappingProxyType(
    {"releasePublicIp": "Give its public address back, too; it is kept otherwise."}
)
LIST_HELP: Mapping[str, str] = MappingProxyType(
    {
        "limit": "At most so many machines; without it, all of them.",
        "skip": "Leave out so many at the beginning.",
        "machineId": "The machine with this id.",
        "machineType": "Matched here: the API itself has no such filter.",
    }
)
"""The rest of the filters explain themselves."""

SWITCHES = "--no-... turns a switch off"
PARAMETERS = f"Parameters of the API ({SWITCHES})"


def takes(
    parameters: Mapping[str, ParameterType],
    help_texts: Mapping[str, str],
    *,
    required: Container[str] = (),
    panel: str = PARAMETERS,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command an option for each parameter; it is handed those that were given as ``given``, by their names.

    Args:
        parameters: name in the API -> type.
        help_texts: name in the API -> what it means; "Match on <name>." where there is none.
        required: names without which the command is refused.
        panel: heading of these options in the help.
    """
    switches = {api: _spelt(f"no-{kebab(api)}") for api, kind in parameters.items() if kind is bool}
    names = {_spelt(kebab(api)): api for api in parameters}

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        def call(**values: Any) -> None:
            given = {api: values.pop(name) for name, api in names.items()}
            for api, no in switches.items():
                if values.pop(no):
                    if given[api]:
                        raise UsageError(f"--{kebab(api)} and --no-{kebab(api)} contradict each other")
                    given[api] = False
            for api, value in given.items():
                if parameters[api] is int and value is not None and value < 0:
                    raise UsageError(f"--{kebab(api)}: expected at least 0, got {value}")
            command(**values, given={api: value for api, value in given.items() if value is not None})

        own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != "given"]
        added = [
            _option(name, api, parameters[api], help_texts.get(api, f"Match on {api}."), api in required, panel)
            for name, api in names.items()
        ]
        signature = inspect.Signature([*own, *added, *(_negative(api, no) for api, no in switches.items())])
        # typer reads a command's options from exactly these.
        call.__signature__ = signature  # type: ignore[attr-defined]
        call.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
        call.__name__, call.__doc__ = command.__name__, command.__doc__
        return call

    return decorate


def kebab(name: str) -> str:
    """``shutdownTimeoutInHours`` as ``shutdown-timeout-in-hours``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()


def _option(name: str, api: str, kind: ParameterType, text: str, required: bool, panel: str) -> inspect.Parameter:
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
        default=inspect.Parameter.empty if required else None,
        annotation=Annotated[kind if required else kind | None, option],
    )


def _negative(api: str, name: str) -> inspect.Parameter:
    """A switch's other half, an option of its own: beside the first it would push the help off a terminal."""
    option = typer.Option(f"--no-{kebab(api)}", hidden=True)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Annotated[bool, option])


def _spelt(flag: str) -> str:
    return flag.replace("-", "_")
