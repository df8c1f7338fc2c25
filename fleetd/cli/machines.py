"""``fleetd machines``: the provider's machines API by hand, call for call."""

from __future__ import annotations

import re
import sys
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import anyio
import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from fleetd import wiring
from fleetd.cli.by_hand import about, ask, look, looks_like_an_id, tell, tell_done
from fleetd.cli.failures import UsageError, leaf
from fleetd.cli.machine_options import (
    CREATE,
    CREATE_HELP,
    CREATE_REQUIRED,
    DESTROY,
    DESTROY_HELP,
    LIST,
    LIST_HELP,
    SWITCHES,
    UPDATE,
    UPDATE_HELP,
    changeable,
    fitting,
    may_be_ignored,
    takes,
)
from fleetd.cli.options import ConfigOption, JsonOption, duration, examples
from fleetd.cli.output import err, say
from fleetd.cli.render_machines import (
    machine_view,
    machines_view,
    networks_view,
    object_view,
    templates_view,
)
from fleetd.cloud.port import Json, MachinesApi
from fleetd.config.units import format_duration
from fleetd.model.errors import CloudError, NotFound
from fleetd.model.settings import Settings
from fleetd.ops.escape import printable

machines = typer.Typer(
    rich_markup_mode="rich",
    no_args_is_help=True,
    add_completion=False,
    epilog=examples(
        "fleetd machines list -c fleetd.toml --state off",
        "fleetd machines wait-for psabc123 --state ready",
    ),
)

LOOK, CHANGE = "Look", "Change"

MachineId = Annotated[
    str, typer.Argument(metavar="ID", help="The machine's id, such as psabc123, or its name where only one has it.")
]


class WaitState(StrEnum):
    """What can be waited for."""

    OFF = "off"
    SERVICEREADY = "serviceready"
    READY = "ready"


@machines.command(
    "list",
    rich_help_panel=LOOK,
    epilog=examples(
        "fleetd machines list",
        "fleetd machines list --machine-type P4000 --state ready",
        "fleetd machines list --json | jq -r '.[].id'",
    ),
)
@takes(LIST, LIST_HELP, panel=f"Filters ({SWITCHES})")
def list_(config: ConfigOption = None, as_json: JsonOption = False, *, given: dict[str, object]) -> None:
    """List the machines that the key can see, all pages of them."""
    found = look(config, lambda api, settings: api.list(fitting(given, LIST, settings.provider.dialect)))
    tell(found, machines_view(found), as_json=as_json)


@machines.command("show", rich_help_panel=LOOK, epilog=examples("fleetd machines show psabc123"))
def show_(machine_id: MachineId, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show one machine with its events; a failed start's reason is among them."""
    _, found = about(machine_id, config, lambda api, _settings, id_: api.show(id_), soon=True)
    tell(found, machine_view(found), as_json=as_json)


@machines.command(
    rich_help_panel=CHANGE,
    epilog=examples(
        "fleetd machines create --machine-name build-1 --region 'East Coast (NY2)' --machine-type P4000 "
        "--size 50 --billing-type hourly --template-id tbu200wi",
        "fleetd machines create --name build-1 --region 'East Coast (NY2)' --machine-type A4000 --disk-size 50 "
        "--template-id tbu200wi  # the v1 API",
    ),
)
@takes(CREATE, CREATE_HELP, required=CREATE_REQUIRED)
def create(config: ConfigOption = None, as_json: JsonOption = False, *, given: dict[str, object]) -> None:
    """Create one machine. It costs money from now on.

    Never repeated by itself: where the answer is lost, look whether the machine exists before you try again.
    """
    if given.get("password") == "-":
        given["password"] = typer.prompt("Password of the new user", hide_input=True, err=True)
    if "password" in given:
        wiring.SECRETS.add(str(given["password"]))

    dialect = wiring.load_settings(wiring.find_config(config)).provider.dialect
    wanted = fitting(given, CREATE, dialect, required=CREATE_REQUIRED[dialect])
    made = ask(config, lambda api, _settings: api.create(wanted))
    tell(made, machine_view(made), as_json=as_json)


@machines.command(rich_help_panel=CHANGE, epilog=examples("fleetd machines start psabc123"))
def start(machine_id: MachineId, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Start a machine; nothing happens where it is up."""
    machine_id, answer = about(machine_id, config, lambda api, _settings, id_: api.start(id_))
    tell_done(answer, f"{machine_id}: start accepted", as_json=as_json)


@machines.command(rich_help_panel=CHANGE, epilog=examples("fleetd machines stop psabc123"))
def stop(machine_id: MachineId, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Stop a machine at once: users who are logged in are kicked out."""
    machine_id, answer = about(machine_id, config, lambda api, _settings, id_: api.stop(id_))
    tell_done(answer, f"{machine_id}: stop accepted", as_json=as_json)


@machines.command(rich_help_panel=CHANGE, epilog=examples("fleetd machines restart psabc123"))
def restart(machine_id: MachineId, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Restart a machine at once: users who are logged in are kicked out."""
    machine_id, answer = about(machine_id, config, lambda api, _settings, id_: api.restart(id_))
    tell_done(answer, f"{machine_id}: restart accepted", as_json=as_json)


@machines.command(
    rich_help_panel=CHANGE,
    epilog=examples("fleetd machines destroy psabc123", "fleetd machines destroy psabc123 --yes  # asks nobody"),
)
@takes(DESTROY, DESTROY_HELP)
def destroy(
    machine_id: MachineId,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", metavar="", help="Do not ask.", show_default=False)] = False,
    *,
    given: dict[str, object],
) -> None:
    """Destroy a machine, its disk and every snapshot made from it. There is no way back.

    Asks first, and refuses where there is no terminal to ask on.
    """
    if not yes:
        machine_id = _make_sure(machine_id, config)
    release = bool(given["releasePublicIp"]) if "releasePublicIp" in given else None
    machine_id, answer = about(
        machine_id, config, lambda api, _settings, id_: api.destroy(id_, release_public_ip=release), former=False
    )
    tell_done(answer, f"{machine_id} is being destroyed", as_json=as_json)


@machines.command(
    rich_help_panel=CHANGE,
    epilog=examples(
        "fleetd machines update psabc123 --shutdown-timeout-in-hours 24",
        "fleetd machines update psabc123 --auto-snapshot-frequency day --auto-snapshot-save-count 7",
        "fleetd machines update psabc123 --no-perform-auto-snapshot --auto-snapshot-frequency none",
    ),
)
@takes(UPDATE, UPDATE_HELP)
def update(
    machine_id: MachineId, config: ConfigOption = None, as_json: JsonOption = False, *, given: dict[str, object]
) -> None:
    """Change attributes of a machine; what is not given stays as it is."""
    if not given:
        raise UsageError("nothing to change: give at least one parameter of the API")

    def change(api: MachinesApi, settings: Settings, id_: str) -> Awaitable[Json | None]:
        changes = changeable(fitting(given, UPDATE, settings.provider.dialect), settings.provider.dialect)
        if changes.get("autoSnapshotFrequency") in {"none", "null"}:
            if settings.provider.dialect != "paperspace-core":
                raise UsageError("this API knows no frequency none: --no-auto-snapshot-enabled turns snapshots off")
            changes["autoSnapshotFrequency"] = None
        doubtful[:] = may_be_ignored(changes, settings.provider.dialect)
        return api.update(id_, changes)

    doubtful: list[str] = []
    machine_id, answer = about(machine_id, config, change)
    tell_done(answer, f"{machine_id} is updated: {', '.join(given)}", as_json=as_json)
    if doubtful:
        say(
            f"{', '.join(doubtful)}: the vendor sets this up in the create alone, and may ignore it here; "
            f"fleetd machines show {printable(machine_id)} tells what it is now"
        )


@machines.command(
    rich_help_panel=LOOK,
    epilog=examples("fleetd machines availability --region 'East Coast (NY2)' --machine-type P4000"),
)
def availability(
    region: Annotated[str, typer.Option("--region", metavar="TEXT", help="Such as 'East Coast (NY2)'.")],
    machine_type: Annotated[str, typer.Option("--machine-type", metavar="TEXT", help="Such as P4000.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask whether such a machine can be had now."""
    found = look(config, lambda api, _settings: api.availability(region, machine_type))
    words = "can be had" if found.get("available") is True else "cannot be had"
    tell(found, Text(f"{machine_type} {words} in {region} now"), as_json=as_json)


@machines.command(
    rich_help_panel=LOOK,
    epilog=examples(
        "fleetd machines templates", "fleetd machines templates --json | jq -r '.[] | [.id, .os, .label] | @tsv'"
    ),
)
def templates(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List what a machine can be made from: a config's templateId. The account's own are among them."""
    found = look(config, lambda api, _settings: api.all_templates())
    tell(found, templates_view(found), as_json=as_json)


@machines.command(rich_help_panel=LOOK, epilog=examples("fleetd machines networks"))
def networks(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List the account's private networks: a config's networkId."""
    found = look(config, lambda api, _settings: api.networks())
    tell(found, networks_view(found), as_json=as_json)


@machines.command(
    rich_help_panel=LOOK, epilog=examples("fleetd machines utilization psabc123 --billing-month 2026-03")
)
def utilization(
    machine_id: MachineId,
    billing_month: Annotated[
        str, typer.Option("--billing-month", metavar="YYYY-MM", help="Default: this month.", show_default=False)
    ] = "",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show how long a machine ran in a month, and its rates."""
    month = billing_month or f"{datetime.now(UTC):%Y-%m}"
    if not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", month, re.ASCII):
        raise UsageError(f"--billing-month: expected a month such as 2026-03, got {month!r}")
    _, found = about(machine_id, config, lambda api, _settings, id_: api.utilization(id_, month), soon=True)
    tell(found, object_view(found), as_json=as_json)


@machines.command(
    "set-access",
    rich_help_panel=CHANGE,
    epilog=examples(
        "fleetd machines set-access psabc123 --user-id ubx9ce8k --enable-access",
        "fleetd machines set-access psabc123 --user-id ubx9ce8k --no-enable-access",
    ),
)
def set_access(
    machine_id: MachineId,
    user_id: Annotated[str, typer.Option("--user-id", metavar="TEXT", help="Whose access.")],
    enable_access: Annotated[
        bool, typer.Option("--enable-access/--no-enable-access", metavar="", help="Give or take it.")
    ],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give a user access to a machine, or take it away."""
    machine_id, answer = about(
        machine_id,
        config,
        lambda api, _settings, id_: api.set_access(id_, user_id, enable_access=enable_access),
    )
    done = f"{user_id} {'has' if enable_access else 'has no'} access to {machine_id}"
    tell_done(answer, done, as_json=as_json)


@machines.command(
    "wait-for",
    rich_help_panel=LOOK,
    epilog=examples(
        "fleetd machines wait-for psabc123 --state off --timeout 10m",
        "fleetd machines start psabc123 && fleetd machines wait-for psabc123 --state ready",
    ),
)
def wait_for(
    machine_id: MachineId,
    state: Annotated[WaitState, typer.Option("--state", help="serviceready is satisfied by ready, too.")],
    timeout: Annotated[
        timedelta,
        typer.Option("--timeout", parser=duration, metavar="DURATION", help="Default: 10m.", show_default=False),
    ] = timedelta(minutes=10),
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Wait until a machine is in a state.

    Ends with 75 when it is not in time, and with 1 when the machine is gone or failed to start.
    """
    known_id = _known_id(machine_id, config)

    async def wait(api: MachinesApi, settings: Settings) -> Json:
        poll = settings.daemon.poll.total_seconds()
        async with _waiting(known_id, state, timeout):
            return await api.wait_for(known_id, state, timeout=timeout.total_seconds(), poll=poll)

    found = ask(config, wait)
    tell(found, machine_view(found), as_json=as_json)


def _make_sure(machine_id: str, config: Path | None) -> str:
    if not sys.stdin.isatty():
        raise UsageError("there is no terminal to ask on: --yes destroys without asking")
    machine_id, found = about(machine_id, config, lambda api, _settings, id_: api.show(id_), former=False, soon=True)
    say(f"{printable(str(found.get('name')))} ({machine_id}) is {printable(str(found.get('state')))}.")
    typer.confirm("Destroy it, its disk and every snapshot made from it?", default=False, abort=True, err=True)
    return machine_id


def _known_id(word: str, config: Path | None) -> str:
    """What to wait for. One that was only just made may not be shown yet; a misspelt id is waited for as well."""
    try:
        return about(word, config, lambda api, _settings, id_: api.show(id_), soon=True)[0]
    except BaseException as error:
        if isinstance(leaf(error), NotFound):
            say(f"{printable(word)} is not found; waiting all the same, in case it was only just made")
        elif not (isinstance(leaf(error), CloudError) and looks_like_an_id(word)):
            raise
    return word  # of an id, the wait itself sees to what is wrong


@asynccontextmanager
async def _waiting(machine_id: str, state: WaitState, timeout: timedelta) -> AsyncIterator[None]:
    """A spinner with the time on a terminal; elsewhere a line before, and one after."""
    console = err()
    name = printable(machine_id)
    text = f"waiting for {name} to be {state} (at most {format_duration(timeout)})"
    if not console.is_terminal:
        began = anyio.current_time()
        say(text)
        yield
        say(f"{name} is {state} after {anyio.current_time() - began:.0f} s")
        return
    spinner = "dots" if console.encoding.startswith("utf") else "line"
    columns = SpinnerColumn(spinner), TextColumn("{task.description}", markup=False), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        progress.add_task(text, total=None)
        yield
