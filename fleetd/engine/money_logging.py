"""Log lines about money: caps and budgets, each said once until it changes."""

from __future__ import annotations

import structlog

from fleetd.model.plan import WARN_AT, Plan

log = structlog.get_logger(__name__)


_BUDGET = {"neared": "budget.was_neared", "reached": "budget.was_reached"}


class MoneyLogger:
    """Remembers which caps and budgets were reported."""

    def __init__(self) -> None:
        self._over: set[str | None] = set()
        self._budgets: dict[tuple[str | None, str], str] = {}

    def passed(self, plan: Plan) -> None:
        """Report a cap that what runs has passed, and a budget that is nearly or wholly committed."""
        if not plan.complete:
            return
        for one in plan.over_caps:
            if one.fleet not in self._over:
                log.warning("cost.exceeded_cap", fleet=one.fleet, hourly=str(one.hourly), cap=str(one.cap))
        self._over = {one.fleet for one in plan.over_caps}
        for budget in plan.budgets:
            share = budget.share
            level = "reached" if share >= 1 else "neared" if share >= WARN_AT else ""
            key = (budget.fleet, budget.month)
            if level and self._budgets.get(key) != level:
                log.warning(
                    _BUDGET[level],
                    fleet=budget.fleet,
                    month=budget.month,
                    budget=str(budget.budget),
                    spent=str(budget.spent),
                    committed=str(budget.committed),
                    wanted=None if budget.wanted is None else str(budget.wanted),
                    used_up_at=None if budget.used_up_at is None else budget.used_up_at.isoformat(),
                )
            self._budgets[key] = level
