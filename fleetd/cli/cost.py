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
from fleetd.ops.escape import printable
from fleetd.planner.billing import GONE, Bill, MonthBills, sum_of

COST_EXAMPLES = examples("fleetd cost", "fleetd cost --month 2026-02 --json")


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
    if re.fullmatch(r"(20|21)\d\d-(0[1-9]|1[0-2])", asked) is None:
        raise typer.BadParameter(f"expected a month such as 2026-02, got {asked!r}")
    settings = wiring.load_settings(wiring.find_config(config))
    found = anyio.run(wiring.month_bills, settings, asked)
    computed = DIALECTS[settings.provider.dialect].capabilities.utilization_computed
    if as_json:
        show_json(cost_document(found, computed=computed))
    else:
        show(cost_view(found, computed=computed))


def cost_document(found: MonthBills, *, computed: bool = False) -> dict[str, Any]:
    """``cost --json``; hours and money as decimal strings, null where they are not known."""
    return {
        "format": 1,
        "month": found.month,
        "computed": computed,
        "fleets": {
            name: _row(sum_of(b for _, b in rows))
            | {
                "machines": [{"id": m.id, "name": m.name, "gone": m.state == GONE} | _row(bill) for m, bill in rows],
                "untold": [{"id": m.id, "name": m.name} for m in found.untold.get(name, ())],
            }
            for name, rows in found.bills.items()
        },
        "total": _row(sum_of(b for rows in found.bills.values() for _, b in rows)),
    }


def cost_view(found: MonthBills, *, computed: bool = False) -> Table:
    """The same as a table."""
    remarks = ["worked out from rates and events: the bill decides"] if computed else []
    untold = sum(len(machines) for machines in found.untold.values())
    if untold:
        remarks.append(f"not included: {_machines(untold)} that went, of which the provider tells nothing any more")
    caption = "\n".join(remarks) or None
    table = Table(title=f"Cost of {found.month}", title_justify="left", caption=caption, caption_justify="left")
    table.add_column("fleet")
    table.add_column("machine")
    for heading in ("hours", "compute", "storage"):
        table.add_column(heading, justify="right")
    for name, rows in found.bills.items():
        for machine, bill in rows:
            gone = " (gone)" if machine.state == GONE else ""
            table.add_row(name, printable(machine.name) + gone, *_cells(bill))
        for machine in found.untold.get(name, ()):
            table.add_row(name, f"{printable(machine.name)} (gone)", *["not told"] * 3, style="dim")
        table.add_row(name, _machines(len(rows)), *_cells(sum_of(b for _, b in rows)), style="bold")
    table.add_section()
    table.add_row("all", "", *_cells(sum_of(b for rows in found.bills.values() for _, b in rows)), style="bold")
    return table


def _machines(count: int) -> str:
    return f"{count} machine{'s' if count != 1 else ''}"


def _row(bill: Bill) -> dict[str, Any]:
    return {"hours": _text(bill.hours), "compute": _text(bill.compute), "storage": _text(bill.storage)}


def _cells(bill: Bill) -> tuple[str, ...]:
    return (
        "?" if bill.hours is None else str(bill.hours),
        *("?" if part is None else f"${part}" for part in (bill.compute, bill.storage)),
    )


def _text(amount: Decimal | None) -> str | None:
    return None if amount is None else str(amount)
