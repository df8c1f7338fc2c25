"""What is billed outside of every fleet, the caps that are passed, and the budgets, as lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal

from fleetd.cli.words import money
from fleetd.model.lists import some
from fleetd.model.plan import BudgetView, Plan
from fleetd.model.report import Report
from fleetd.ops.escape import printable
from fleetd.words.times import clock

SHOWN = 5
"""Machines that a line names."""


def money_lines(found: Plan | Report) -> Iterator[str]:
    """One line for each orphaned fleet, passed cap and budget."""
    for orphan in found.orphans:
        names = [printable(name) for name in orphan.machines]
        count = f"{len(names)} machine{'s' if len(names) != 1 else ''}"
        yield (
            f"{printable(orphan.fleet)} is not in the config: {count} left, {orphan.billed} running, "
            f"{money(orphan.hourly)} ({some(names, SHOWN)}). Adopt or stop them."
        )
    for over in found.over_caps:
        yield (
            f"{_whose(over.fleet)} cost {money(over.hourly)}, over max_hourly_cost {money(over.cap)}: "
            "nothing is started or created; what runs is left running."
        )
    for budget in found.budgets:
        yield _budget(budget)


def _budget(budget: BudgetView) -> str:
    at_most = budget.at_most and budget.spent is not None
    share = "" if budget.committed is None else f" ({budget.share:.0%})"
    parts = [
        f"spent {'<= ' if at_most else ''}{_dollars(budget.spent)}",
        f"with what runs {_dollars(budget.committed)}{share} by the end of the month",
    ]
    if budget.wanted is not None:
        parts.append(f"at the targets {_dollars(budget.wanted)}")
    if budget.used_up_at is not None:
        parts.append(f"which uses it up at {clock(budget.used_up_at)}")
    unbilled = [printable(name) for name in budget.unbilled]
    return f"Budget of {_whose(budget.fleet)} in {budget.month}: {_dollars(budget.budget)}; {', '.join(parts)}." + (
        f" {unbilled_words(unbilled)}" if unbilled else ""
    )


def unbilled_words(names: Sequence[str]) -> str:
    """Which machines' bills are not known, and what that does to the sum."""
    return f"No bill for {some(names, SHOWN)}: counted as if it had run since it was made."


def _whose(fleet: str | None) -> str:
    return "all fleets together" if fleet is None else f"fleet {printable(fleet)}"


def _dollars(amount: Decimal | None) -> str:
    return "?" if amount is None else f"${amount}"
