"""``fleetd cost``: what a month's machines cost, by the provider's own figures as far as it tells them."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
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
from fleetd.engine.status import money_document
from fleetd.model.machine import Machine
from fleetd.model.plan import Plan
from fleetd.ops.escape import printable
from fleetd.planner.billing import GONE, UNKNOWN, Bill, MonthBills, known_sum, sum_of
from fleetd.planner.sentences import clock

COST_EXAMPLES = examples("fleetd cost", "fleetd cost --month 2026-02 --json", "fleetd cost --forecast")


def cost(
    month: Annotated[
        str | None, typer.Option("--month", metavar="YYYY-MM", help="The billing month. Default: this one.")
    ] = None,
    forecast: Annotated[
        bool, typer.Option("--forecast", help="What this month will cost: as it runs now, and at the targets.")
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """What each machine and fleet cost in a month, storage apart: as the provider bills it where its API tells.

    The v1 API does not: there it is worked out from rates and events, and the bill decides.
    """
    if forecast:
        if month is not None:
            raise typer.BadParameter("--forecast is about this month: leave --month out")
        settings = wiring.load_settings(wiring.find_config(config))
        plan = anyio.run(functools.partial(wiring.plan_once, settings, forecast=True)).plan
        if as_json:
            show_json({"format": 1, **money_document(plan)})
        else:
            show(forecast_view(plan))
        return
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
    """``cost --json``; hours and money as decimal strings, null where they are not known.

    ``known`` beside a sum is the sum of what is known: at least so much was billed.
    """
    return {
        "format": 1,
        "month": found.month,
        "computed": computed,
        "fleets": {
            name: _sums(found, [name])
            | {
                "in_config": name not in found.left,
                "machines": [
                    {"id": m.id, "name": m.name, "gone": m.state == GONE, "at_most": bill.at_most} | _row(bill)
                    for m, bill in rows
                ],
                "untold": [{"id": m.id, "name": m.name, "gone": m.state == GONE} for m in found.untold.get(name, ())],
            }
            for name, rows in found.bills.items()
        },
        "total": _sums(found, list(found.bills)),
    }


def cost_view(found: MonthBills, *, computed: bool = False) -> Table:
    """The same as a table."""
    table = Table(
        title=f"Cost of {found.month}",
        title_justify="left",
        caption="\n".join(_remarks(found, computed=computed)) or None,
        caption_justify="left",
    )
    table.add_column("fleet")
    table.add_column("machine")
    for heading in ("hours", "compute", "storage"):
        table.add_column(heading, justify="right")
    for name, rows in found.bills.items():
        label = f"{printable(name)} (not in the config)" if name in found.left else printable(name)
        for machine, bill in rows:
            table.add_row(label, _called(machine), *_cells(bill))
        for machine in found.untold.get(name, ()):
            table.add_row(label, _called(machine), *_cells(UNKNOWN), style="dim")
        count = len(rows) + len(found.untold.get(name, ()))
        table.add_row(label, _machines(count), *_sum_cells(found, [name]), style="bold")
    table.add_section()
    table.add_row("all", "", *_sum_cells(found, list(found.bills)), style="bold")
    return table


def forecast_view(plan: Plan) -> Table:
    """This month as it will be: spent, with what runs now, and at the targets; dollars, windows honoured."""
    month = plan.budgets[0].month
    table = Table(title=f"Forecast of {month}", title_justify="left", caption=_FORECAST, caption_justify="left")
    table.add_column("fleet")
    for heading in ("budget", "spent", "with what runs", "at the targets"):
        table.add_column(heading, justify="right")
    table.add_column("used up")
    for view in (*plan.budgets[1:], plan.budgets[0]):
        amounts = (view.spent, view.committed, view.wanted)
        table.add_row(
            "all" if view.fleet is None else printable(view.fleet),
            f"${view.budget}" if view.budget else "-",
            *("?" if amount is None else f"${amount}" for amount in amounts),
            "" if view.used_up_at is None else clock(view.used_up_at),
            style="bold" if view.fleet is None else None,
        )
    return table


_FORECAST = "Reckoned from bills and prices; storage to come and machines in use beyond a window are not in it."


def _remarks(found: MonthBills, *, computed: bool) -> list[str]:
    rows = [row for bills in found.bills.values() for row in bills]
    untold = [m for machines in found.untold.values() for m in machines]
    storage = sum(bill.storage is None for _, bill in rows)
    remarks = ["worked out from rates and events: the bill decides"] if computed else []
    if untold:
        remarks.append(f"not in the sums: {_machines(len(untold))} of which neither provider nor journal tells (?)")
    if any(bill.at_most for _, bill in rows):
        remarks.append("<= : the provider did not tell all; counted as if it had run until it went, or until now")
    if any(
        "~" in cell for name in (*found.bills, None) for cell in _sum_cells(found, [name] if name else [*found.bills])
    ):
        remarks.append("~ : some parts may be less, and others are not known")
    if storage:
        remarks.append(f"not in the sums: storage of {_machines(storage)}, whose rate is not known")
    return remarks


def _called(machine: Machine) -> str:
    return printable(machine.name) + (" (gone)" if machine.state == GONE else "")


def _all(found: MonthBills, names: Sequence[str]) -> list[Bill]:
    told = [bill for name in names for _, bill in found.bills[name]]
    return told + [UNKNOWN for name in names for _ in found.untold.get(name, ())]


def _sums(found: MonthBills, names: Sequence[str]) -> dict[str, Any]:
    bills = _all(found, names)
    return _row(sum_of(bills)) | {"known": _row(known_sum(bills))}


def _sum_cells(found: MonthBills, names: Sequence[str]) -> tuple[str, ...]:
    bills = _all(found, names)
    whole, known = sum_of(bills), known_sum(bills)
    cells = zip((whole.hours, whole.compute, whole.storage), _cells(known), strict=True)
    return tuple(cell if part is not None else f">= {cell}".replace(">= <= ", "~ ") for part, cell in cells)


def _machines(count: int) -> str:
    return f"{count} machine{'s' if count != 1 else ''}"


def _row(bill: Bill) -> dict[str, Any]:
    return {"hours": _text(bill.hours), "compute": _text(bill.compute), "storage": _text(bill.storage)}


def _cells(bill: Bill) -> tuple[str, ...]:
    most = "<= " if bill.at_most else ""
    return (
        "?" if bill.hours is None else f"{most}{bill.hours}",
        *("?" if part is None else f"{most}${part}" for part in (bill.compute, bill.storage)),
    )


def _text(amount: Decimal | None) -> str | None:
    return None if amount is None else str(amount)
