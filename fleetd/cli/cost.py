"""``fleetd cost``: what a month's machines cost, by the provider's own figures as far as it tells them."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated

import anyio
import typer
from rich.table import Table

from fleetd import wiring
from fleetd.cli.options import ConfigOption, JsonOption, examples
from fleetd.cli.output import show, show_json
from fleetd.cli.render_money import unbilled_words
from fleetd.model.journal import GONE
from fleetd.model.lists import some
from fleetd.model.machine import Machine
from fleetd.model.plan import Plan
from fleetd.model.report import FORMAT
from fleetd.ops.escape import printable
from fleetd.planner.amounts import CENT, Amount
from fleetd.planner.billing import TENTH, UNKNOWN, Bill, MonthBills, known_sum, sum_of
from fleetd.words.times import clock

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
            from fleetd.engine.status import money_document  # noqa: PLC0415 - completion waits for no engine

            show_json({"format": FORMAT, **money_document(plan)})
        else:
            show(forecast_view(plan))
        return
    asked = month or f"{datetime.now(UTC):%Y-%m}"
    if re.fullmatch(r"(20|21)\d\d-(0[1-9]|1[0-2])", asked) is None:
        raise typer.BadParameter(f"expected a month such as 2026-02, got {asked!r}")
    settings = wiring.load_settings(wiring.find_config(config))
    found = anyio.run(wiring.month_bills, settings, asked)
    from fleetd.cloud.dialects import DIALECTS  # noqa: PLC0415 - aiohttp comes along

    computed = DIALECTS[settings.provider.dialect].capabilities.utilization_computed
    if as_json:
        show_json(cost_document(found, computed=computed))
    else:
        show(cost_view(found, computed=computed))


def cost_document(found: MonthBills, *, computed: bool = False) -> dict[str, object]:
    """``cost --json``; hours and money as decimal strings, null where they are not known.

    Every number is an upper bound. ``known`` beside it is the lower one: at least so much was billed. The two differ
    where ``at_most`` is set, and the lower one is without the parts of which nothing is known.
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
                    {"id": m.id, "name": m.name, "gone": m.state == GONE, "at_most": bill.at_most} | _row(bill, bill)
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
    table.add_column("fleet", overflow="fold")
    table.add_column("machine", overflow="fold")
    for heading in ("hours", "compute", "storage"):
        table.add_column(heading, justify="right", overflow="fold")
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
    table = Table(title=f"Forecast of {month}", title_justify="left", caption_justify="left")
    table.add_column("fleet", overflow="fold")
    for heading in ("budget", "spent", "with what runs", "at the targets"):
        table.add_column(heading, justify="right", overflow="fold")
    table.add_column("used up", overflow="fold")
    for view in (*plan.budgets[1:], plan.budgets[0]):
        amounts = (view.spent, view.committed, view.wanted)
        most = "<= " if view.at_most else ""
        table.add_row(
            "all" if view.fleet is None else printable(view.fleet),
            f"${view.budget}" if view.budget else "-",
            *("?" if amount is None else f"{most}${amount}" for amount in amounts),
            "" if view.used_up_at is None else clock(view.used_up_at),
            style="bold" if view.fleet is None else None,
        )
    unbilled = [printable(name) for name in plan.budgets[0].unbilled]
    table.caption = "\n".join([_FORECAST, *([unbilled_words(unbilled)] if unbilled else ())])
    return table


NAMED = 5
"""Machines that a remark names."""
_FORECAST = "Estimated from bills and prices; without storage to come and machines kept up beyond a window."


def _remarks(found: MonthBills, *, computed: bool) -> list[str]:
    rows = [row for bills in found.bills.values() for row in bills]
    untold = [m for machines in found.untold.values() for m in machines]
    unstored = [m for m, bill in rows if bill.storage is None]
    unpriced = [m for m, bill in rows if bill.compute is None]
    remarks = ["worked out from rates and events: the bill decides"] if computed else []
    if untold:
        remarks.append(f"not in the sums: {_machines(len(untold))} of which neither provider nor journal tells (?)")
    if any(bill.at_most for _, bill in rows):
        remarks.append("<= : the provider did not tell all; the highest price, and all the time that it may have run")
    if any("-" in cell for name in (*found.bills, None) for cell in _sum_cells(found, _names(found, name))):
        remarks.append("- : between the two")
    if any("~" in cell for name in (*found.bills, None) for cell in _sum_cells(found, _names(found, name))):
        remarks.append("~ : some parts may be less, and others are not known")
    if unpriced:
        remarks.append(f"not in the sums: hours of {_named(unpriced)}, whose price is not known")
    if unstored:
        remarks.append(f"not in the sums: storage of {_named(unstored)}, whose rate is not known")
    return remarks


def _names(found: MonthBills, name: str | None) -> list[str]:
    return [*found.bills] if name is None else [name]


def _named(machines: Sequence[Machine]) -> str:
    return f"{_machines(len(machines))} ({some([printable(m.name) for m in machines], NAMED)})"


def _called(machine: Machine) -> str:
    return printable(machine.name) + (" (gone)" if machine.state == GONE else "")


def _all(found: MonthBills, names: Sequence[str]) -> list[Bill]:
    told = [bill for name in names for _, bill in found.bills[name]]
    return told + [UNKNOWN for name in names for _ in found.untold.get(name, ())]


def _sums(found: MonthBills, names: Sequence[str]) -> dict[str, object]:
    bills = _all(found, names)
    if not bills:
        nothing = dict.fromkeys(("hours", "compute", "storage"), "0")
        return {**nothing, "known": nothing}
    return _row(sum_of(bills), known_sum(bills))


def _sum_cells(found: MonthBills, names: Sequence[str]) -> tuple[str, ...]:
    bills = _all(found, names)
    whole, known = sum_of(bills), known_sum(bills)
    parts = zip(_parts(whole), _parts(known), strict=True)
    return tuple(_sum_cell(part, least, step, sign) for (part, step, sign), (least, _, _) in parts)


def _sum_cell(whole: Amount | None, known: Amount | None, step: Decimal, sign: str) -> str:
    """A sum that is known; between its bounds; at least so much; or neither."""
    if known is None:
        return "?"
    if whole is None:
        return f">= {sign}{known.low(step)}" if known.is_exact(step) else f"~ {sign}{known.high(step)}"
    exact = whole.is_exact(step)
    return f"{sign}{whole.high(step)}" if exact else f"{sign}{whole.low(step)} - {sign}{whole.high(step)}"


def _machines(count: int) -> str:
    return f"{count} machine{'s' if count != 1 else ''}"


def _row(bill: Bill, known: Bill) -> dict[str, object]:
    names = ("hours", "compute", "storage")
    high = {n: None if p is None else str(p.high(s)) for n, (p, s, _) in zip(names, _parts(bill), strict=True)}
    low = {n: None if p is None else str(p.low(s)) for n, (p, s, _) in zip(names, _parts(known), strict=True)}
    return {**high, "known": low}


def _cells(bill: Bill) -> tuple[str, ...]:
    return tuple(_cell(part, step, sign) for part, step, sign in _parts(bill))


def _cell(part: Amount | None, step: Decimal, sign: str) -> str:
    if part is None:
        return "?"
    return f"{'' if part.is_exact(step) else '<= '}{sign}{part.high(step)}"


def _parts(bill: Bill) -> tuple[tuple[Amount | None, Decimal, str], ...]:
    return ((bill.hours, TENTH, ""), (bill.compute, CENT, "$"), (bill.storage, CENT, "$"))
