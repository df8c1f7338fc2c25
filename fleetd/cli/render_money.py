"""What is billed outside of every fleet, the caps that are passed, and the budgets, as lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from fleetd.cli.words import money
from fleetd.ops.escape import printable
from fleetd.planner.sentences import clock

SHOWN = 5
"""Machines that a line names."""


def money_lines(document: Mapping[str, Any]) -> Iterator[str]:
    """One line for each orphaned fleet, passed cap and budget of a plan's or the status document."""
    for orphan in document.get("orphans", ()):
        names = [printable(name) for name in orphan["machines"]]
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        count = f"{len(names)} machine{'s' if len(names) != 1 else ''}"
        yield (
            f"{printable(orphan['fleet'])} is not in the config: {count} left, {orphan['billed']} running, "
            f"{money(orphan['hourly'])} ({', '.join(names[:SHOWN])}{more}). Adopt or stop them."
        )
    for over in document.get("over_caps", ()):
        yield (
            f"{_whose(over['fleet'])} cost {money(over['hourly'])}, over max_hourly_cost {money(over['cap'])}: "
            "nothing is started or created; what runs is left running."
        )
    for budget in document.get("budgets", ()):
        yield _budget(budget)


def _budget(budget: Mapping[str, Any]) -> str:
    known = budget["committed"] is not None
    at_most = bool(budget.get("at_most")) and budget["spent"] is not None
    share = f" ({Decimal(budget['committed']) / Decimal(budget['budget']):.0%})" if known else ""
    parts = [
        f"spent {'<= ' if at_most else ''}{_dollars(budget['spent'])}",
        f"with what runs {_dollars(budget['committed'])}{share} by the end of the month",
    ]
    if budget["wanted"] is not None:
        parts.append(f"at the targets {_dollars(budget['wanted'])}")
    if budget["used_up_at"] is not None:
        parts.append(f"which uses it up at {clock(datetime.fromisoformat(budget['used_up_at']))}")
    unbilled = [printable(name) for name in budget.get("unbilled", ())]
    return (
        f"Budget of {_whose(budget['fleet'])} in {budget['month']}: {_dollars(budget['budget'])}; {', '.join(parts)}."
        + (f" {unbilled_words(unbilled)}" if unbilled else "")
    )


def unbilled_words(names: Sequence[str]) -> str:
    """Which machines' bills are not known, and what that does to the sum."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"No bill for {', '.join(names[:SHOWN])}{more}: counted as if it had run since it was made."


def _whose(fleet: str | None) -> str:
    return "all fleets together" if fleet is None else f"fleet {printable(fleet)}"


def _dollars(amount: str | None) -> str:
    return "?" if amount is None else f"${amount}"
