"""What was compared, as a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from decimal import Decimal

from tests.books.audit import KINDS
from tests.books.life import Outcome


def table(outcomes: Sequence[Outcome]) -> str:
    """Accounts, months and events; then, by what could be known of a machine's month, how the claims compare."""
    events: Counter[str] = sum((o.events for o in outcomes), Counter())
    happened = ", ".join(f"{name} {count}" for name, count in events.most_common())
    lines = [
        f"{len(outcomes)} accounts, {sum(o.days for o in outcomes):g} days, {sum(o.sums for o in outcomes)} months",
        f"{sum(events.values())} events: {happened}",
        "",
        f"{'a machine and its month':<28}{'claims':>8}{'billed $':>14}{'exact':>8}{'most apart $':>14}{'below':>7}",
    ]
    told = [one for o in outcomes for one in o.told]
    for kind in KINDS:
        rows = [t for t in told if t.kind == kind]
        exact = sum(_cents(t.least) == _cents(t.most) == _cents(t.truth) for t in rows)
        apart = max((t.most - t.least for t in rows), default=Decimal(0))
        below = sum(t.most < t.truth - Decimal("0.000001") for t in rows)
        lines.append(
            f"{kind:<28}{len(rows):>8}{_sum(t.truth for t in rows):>14.2f}{exact:>8}{apart:>14.4f}{below:>7}"
        )
    lines.append(f"{sum(len(o.wrong) for o in outcomes)} claims are wrong, {sum(o.faults for o in outcomes)} faults")
    return "\n".join(lines)


def _cents(amount: Decimal) -> Decimal:
    return amount.quantize(Decimal("0.01"))


def _sum(amounts: Iterable[Decimal]) -> Decimal:
    return sum(amounts, Decimal(0))
