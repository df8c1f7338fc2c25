"""``fleetd machines``: the provider's machines API by hand, call for call."""

from __future__ import annotations

import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypeVar

import anyio
import typer
from rich.console import RenderableType
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from fleetd import wiring
from fleetd.cli.failures import UsageError
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
from fleetd.cli.output import err, say, show, show_json
from fleetd.cli.render_machines import machine_view, machines_view, object_view
from fleetd.cli.vetoes import usage
from fleetd.cloud.port import Json, MachinesApi
from fleetd.config.units import format_duration
from fleetd.model.errors import CloudError, NotFound, Unavailable
from fleetd.model.settings import Settings
from fleetd.ops.escape import printable

T = TypeVar("T")

machines = typer.Typer(
    rich_markup_mode="rich",
    no_args_is_help=True,
    help="The machines API by hand: every call of the provider, its parameters by their own names. "
    "Nothing here asks the fleets' guards.",
    epilog=examples(
        "fleetd machines list -c fleetd.toml --state off",
        "fleetd machines wait-for psabc123 --state ready",
    ),
)

LOOK, CHANGE = "Look", "Change"

MachineId = Annotated[
    str, typer.Argument(metavar="ID", help="The machine's id, such as psabc123, or its name where only one has it.")
]
LOOKS_LIKE_AN_ID = re.compile(r"ps[0-9a-z]+", re.ASCII)
"""What the vendor's ids look like: such a word is not looked up."""


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
def list_(config: ConfigOption = None, as_json: JsonOption = False, *, given: dict[str, Any]) -> None:
    """List the machines that the key can see, all pages of them."""
    found = _look(config, lambda api, settings: api.list(fitting(given, LIST, settings.provider.dialect)))
    _answer(found, machines_view(found), as_json=as_json)


@machines.command("show", rich_help_panel=LOOK, epilog=examples("fleetd machines show psabc123"))
def show_(machine_id: MachineId, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show one machine with its events; a failed start's reason is among them."""
    machine_id = _id_of(machine_id, config)
    found = _look(config, lambda api, _settings: api.show(machine_id))
    _answer(found, machine_view(found), as_json=as_json)


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
def create(config: ConfigOption = None, as_json: JsonOption = False, *, given: dict[str, Any]) -> None:
    """Create one machine. It costs money from now on.

    Never repeated by itself: where the answer is lost, look whether the machine exists before you try again.
    """
    if given.get("password") == "-":
        given["password"] = typer.prompt("Password of the new user", hide_input=True, err=True)
    if "password" in given:
        wiring.SECRETS.add(given["password"])

    dialect = wiring.load_settings(wiring.find_config(config)).provider.dialect
    wanted = fitting(given, CREATE, dialect, required=CREATE_REQUIRED[dialect])
    made = _ask(config, lambda api, _settings: api.create(wanted))
    _answer(made, machine_view(made), as_json=as_json)


@machines.command(rich_help_panel=CHANGE, epilog=examples("fleetd machines start psabc123"))
def start(machine_id: MachineId, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Start a machine; nothing happens where it is up."""
    machine_id = _id_of(machine_id, config)
    _confirm(
        _ask(config, lambda api, _settings: api.start(machine_id)), f"{machine_id}: start accepted", as_json=as_json
    )


@machines.command(rich_help_panel=CHANGE, epilog=examples("fleetd machines stop psabc123"))
def stop(machine_id: MachineId, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Stop a machine at once: users who are logged in are kicked out."""
    machine_id = _id_of(machine_id, config)
    _confirm(
        _ask(config, lambda api, _settings: api.stop(machine_id)), f"{machine_id}: stop accepted", as_json=as_json
    )


@machines.command(rich_help_panel=CHANGE, epilog=examples("fleetd machines restart psabc123"))
def restart(machine_id: MachineId, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Restart a machine at once: users who are logged in are kicked out."""
    machine_id = _id_of(machine_id, config)
    answer = _ask(config, lambda api, _settings: api.restart(machine_id))
    _confirm(answer, f"{machine_id}: restart accepted", as_json=as_json)


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
    given: dict[str, Any],
) -> None:
    """Destroy a machine, its disk and every snapshot made from it. There is no way back.

    Asks first, and refuses where there is no terminal to ask on.
    """
    machine_id = _id_of(machine_id, config, former=False)
    if not yes:
        _make_sure(machine_id, config)
    release = given.get("releasePublicIp")
    answer = _ask(config, lambda api, _settings: api.destroy(machine_id, release_public_ip=release))
    _confirm(answer, f"{machine_id} is being destroyed", as_json=as_json)


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
    machine_id: MachineId, config: ConfigOption = None, as_json: JsonOption = False, *, given: dict[str, Any]
) -> None:
    """Change attributes of a machine; what is not given stays as it is."""
    machine_id = _id_of(machine_id, config)
    if not given:
        raise UsageError("nothing to change: give at least one parameter of the API")

    def change(api: MachinesApi, settings: Settings) -> Awaitable[Json | None]:
        changes = changeable(fitting(given, UPDATE, settings.provider.dialect), settings.provider.dialect)
        if changes.get("autoSnapshotFrequency") in {"none", "null"}:
            if settings.provider.dialect != "paperspace-core":
                raise UsageError("this API knows no frequency none: --no-auto-snapshot-enabled turns snapshots off")
            changes["autoSnapshotFrequency"] = None
        doubtful.extend(may_be_ignored(changes, settings.provider.dialect))
        return api.update(machine_id, changes)

    doubtful: list[str] = []
    answer = _ask(config, change)
    _confirm(answer, f"{machine_id} is updated: {', '.join(given)}", as_json=as_json)
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
    found = _look(config, lambda api, _settings: api.availability(region, machine_type))
    words = "can be had" if found.get("available") is True else "cannot be had"
    _answer(found, Text(f"{machine_type} {words} in {region} now"), as_json=as_json)


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
    machine_id = _id_of(machine_id, config)
    month = billing_month or f"{datetime.now(UTC):%Y-%m}"
    if not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", month, re.ASCII):
        raise UsageError(f"--billing-month: expected a month such as 2026-03, got {month!r}")
    found = _look(config, lambda api, _settings: api.utilization(machine_id, month))
    _answer(found, object_view(found), as_json=as_json)


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
    machine_id = _id_of(machine_id, config)
    answer = _ask(config, lambda api, _settings: api.set_access(machine_id, user_id, enable_access=enable_access))
    done = f"{user_id} {'has' if enable_access else 'has no'} access to {machine_id}"
    _confirm(answer, done, as_json=as_json)


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
    machine_id = _id_of(machine_id, config)

    async def wait(api: MachinesApi, settings: Settings) -> Json:
        poll = settings.daemon.poll.total_seconds()
        await _say_if_unknown(api, machine_id)
        async with _waiting(machine_id, state, timeout):
            return await api.wait_for(machine_id, state, timeout=timeout.total_seconds(), poll=poll)

    found = _ask(config, wait)
    _answer(found, machine_view(found), as_json=as_json)


def _id_of(word: str, config: Path | None, *, former: bool = True) -> str:
    """The id of the machine that is meant, which is said where it was not given.

    ``former``: a name that it had before will do.
    """
    if LOOKS_LIKE_AN_ID.fullmatch(word):
        return word
    settings = wiring.load_settings(wiring.find_config(config))
    with usage():
        named = anyio.run(wiring.machine_meant, settings, word)
    if named.former == word and not former:
        raise UsageError(f"{word} is what {named.id} was called before; it is {named.name} now: give its id")
    if named.id != word:
        say(f"{printable(word)} is {named.id}" + (f", called {printable(named.name)} now" if named.former else ""))
    return named.id


def _look(config: Path | None, question: Callable[[MachinesApi, Settings], Awaitable[T]]) -> T:
    """Ask something that changes nothing, and give up while the person still waits."""

    async def ask(api: MachinesApi, settings: Settings) -> T:
        try:
            with anyio.fail_after(wiring.ONE_SHOT_LIMIT):
                return await question(api, settings)
        except TimeoutError as error:
            raise Unavailable(f"no answer from the provider within {wiring.ONE_SHOT_LIMIT:.0f} s") from error

    return _ask(config, ask)


def _ask(config: Path | None, question: Callable[[MachinesApi, Settings], Awaitable[T]]) -> T:
    settings = wiring.load_settings(wiring.find_config(config))

    async def ask() -> T:
        async with wiring.open_machines_api(settings) as api:
            return await question(api, settings)

    return anyio.run(ask)


def _answer(content: object, view: RenderableType, *, as_json: bool) -> None:
    if as_json:
        show_json(content)
    else:
        show(view)


def _confirm(answer: Json | None, done: str, *, as_json: bool) -> None:
    """The provider answers most writes with nothing at all: say that it took it."""
    if as_json:
        show_json(answer)
    else:
        show(Text(printable(done)))


def _make_sure(machine_id: str, config: Path | None) -> None:
    if not sys.stdin.isatty():
        raise UsageError("there is no terminal to ask on: --yes destroys without asking")
    found = _look(config, lambda api, _settings: api.show(machine_id))
    say(f"{printable(str(found.get('name')))} ({machine_id}) is {printable(str(found.get('state')))}.")
    typer.confirm("Destroy it, its disk and every snapshot made from it?", default=False, abort=True, err=True)


async def _say_if_unknown(api: MachinesApi, machine_id: str) -> None:
    """A machine that was only just made may not be shown yet, so it is waited for; a misspelt id would be, too."""
    try:
        await api.show(machine_id)
    except NotFound:
        say(f"{printable(machine_id)} is not found; waiting all the same, in case it was only just made")
    except CloudError:
        return  # the wait itself sees to that


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
    columns = SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        progress.add_task(text, total=None)
        yield
