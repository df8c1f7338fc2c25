"""``fleetd cost``: what a month's machines cost, by the provider's own figures as far as it tells them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any

import anyio
import typer
from rich.table import Table

from fleetd import wiring
from fleetd.cli.options import ConfigOption, JsonOption, examples
from fleetd.cli.output import show, show_json
from fleetd.cloud.dialects import DIALECTS
from fleetd.model.machine import Machine
from fleetd.ops.escape import printable
from fleetd.planner.billing import Bill, sum_of

COST_EXAMPLES = examples("fleetd cost", "fleetd cost --month 2026-02 --json")

Bills = dict[str, list[tuple[Machine, Bill]]]


def cost(
    month: Annotated[
        str | None, typer.Option("--month", metavar="YYYY-MM", help="The billing month. Default: this one.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """What each machine and fleet cost in a month, storage apart: as the provider bills it where its API tells.

    The v1 API does not: there it is worked out from rates and events, and the bill decides.
    """
    asked = month or f"{datetime.now(UTC):%Y-%m}"
    if re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", asked) is None:
        raise typer.BadParameter(f"expected a month such as 2026-02, got {asked!r}")
    settings = wiring.load_settings(wiring.find_config(config))
    bills = anyio.run(wiring.month_bills, settings, asked)
    computed = DIALECTS[settings.provider.dialect].capabilities.utilization_computed
    if as_json:
        show_json(cost_document(asked, bills, computed=computed))
    else:
        show(cost_view(asked, bills, computed=computed))


def cost_document(month: str, bills: Bills, *, computed: bool = False) -> dict[str, Any]:
    """``cost --json``; hours and money as decimal strings, null where they are not known."""
    return {
        "format": 1,
        "month": month,
        "computed": computed,
        "fleets": {
            name: _row(sum_of(b for _, b in rows))
            | {"machines": [{"id": m.id, "name": m.name} | _row(bill) for m, bill in rows]}
            for name, rows in bills.items()
        },
        "total": _row(sum_of(b for rows in bills.values() for _, b in rows)),
    }


def cost_view(month: str, bills: Bills, *, computed: bool = False) -> Table:
    """The same as a table."""
    caption = "worked out from rates and events: the bill decides" if computed else None
    table = Table(title=f"Cost of {month}", title_justify="left", caption=caption, caption_justify="left")
    table.add_column("fleet")
    table.add_column("machine")
    for heading in ("hours", "compute", "storage"):
        table.add_column(heading, justify="right")
    for name, rows in bills.items():
        for machine, bill in rows:
            table.add_row(name, printable(machine.name), *_cells(bill))
        table.add_row(
            name,
            f"{len(rows)} machine{'s' if len(rows) != 1 else ''}",
            *_cells(sum_of(b for _, b in rows)),
            style="bold",
        )
    table.add_section()
    table.add_row("all", "", *_cells(sum_of(b for rows in bills.values() for _, b in rows)), style="bold")
    return table


def _row(bill: Bill) -> dict[str, Any]:
    return {"hours": _text(bill.hours), "compute": _text(bill.compute), "storage": _text(bill.storage)}


def _cells(bill: Bill) -> tuple[str, ...]:
    return (
        "?" if bill.hours is None else str(bill.hours),
        *("?" if part is None else f"${part}" for part in (bill.compute, bill.storage)),
    )


def _text(amount: Decimal | None) -> str | None:
    return None if amount is None else str(amount)
