"""The observation that a plan rests on; its age is checked again before each call."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import anyio

from fleetd.model.plan import Observation
from fleetd.planner.guards import Doubt, doubt_of


@dataclass(frozen=True, slots=True)
class Basis:
    """An observation, and how long something may be built on it."""

    observation: Observation
    seen_at: float
    """The loop's clock when it was asked for."""
    stale_after: timedelta

    def doubt(self, now: datetime) -> Doubt | None:
        """Why nothing may be built on it any more, or None.

        ``now`` is wall time. Setting that back makes no observation younger: the loop's clock says how old it is at
        least.
        """
        at_least = self.observation.at + timedelta(seconds=anyio.current_time() - self.seen_at)
        return doubt_of(self.observation, max(now, at_least), self.stale_after, timedelta(0))
