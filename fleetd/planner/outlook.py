"""Where a plan ends: what the guards put off to the passes after, and what runs by the hour then."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal

from fleetd.model.plan import Action, Later
from fleetd.planner.rates import total

Cut = Callable[[Sequence[Action]], Sequence[Action]]
"""Drops what caps and budgets refuse."""


def put_off(wanted: Iterable[Action], kept: Iterable[Action]) -> list[Action]:
    """What the limits of one pass have cut, in order. Creates for one reason are one object, many times over."""
    left = Counter(id(action) for action in kept)
    rest: list[Action] = []
    for action in wanted:
        if left[id(action)]:
            left[id(action)] -= 1
        else:
            rest.append(action)
    return rest


def outlook(now: Sequence[Action], rest: Sequence[Action], settled: Decimal | None, allowed: Cut) -> Later | None:
    """What follows in the passes after; None where nothing does.

    Args:
        now: what this pass does.
        rest: what it leaves to those after it.
        settled: dollars an hour of what runs on without another call; None when a price is not known.
        allowed: what caps and budgets leave of all of it; ``now`` is within them already.
    """
    more = allowed([*now, *rest])[len(now) :]
    if not more:
        return None
    counts = Counter(action.verb for action in more)
    return Later(dict(counts), total([settled, *(a.hourly_delta for a in (*now, *more))]))
