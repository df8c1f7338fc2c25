"""What a look has come to, and what is told of the pass that it was made for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import anyio

from fleetd.engine.basis import Basis
from fleetd.model.journal import Intent, Memory
from fleetd.model.plan import Due, Observation, Plan, Skip
from fleetd.model.reasons import Reason, Verb
from fleetd.planner.ownership import Owner


@dataclass(frozen=True, slots=True)
class Looked:
    """What was seen, what is known, and what is to be done."""

    started_at: datetime
    began: float
    """The loop's clock at the start."""
    basis: Basis
    observation: Observation
    """As it is believed."""
    owned: Mapping[str, Owner]
    due: Due
    memory: Memory
    plan: Plan


@dataclass(frozen=True, slots=True)
class PassReport:
    """What a pass saw and did."""

    pass_id: int
    started_at: datetime
    duration_s: float
    observation: Observation
    owned: Mapping[str, Owner]
    plan: Plan
    skips: tuple[Skip, ...]
    """The plan's own, and those of the calls that were dropped."""
    intents: tuple[Intent, ...]
    """Open after the pass."""
    memory: Memory

    @classmethod
    def of(
        cls,
        seen: Looked,
        *,
        pass_id: int = 0,
        dropped: Sequence[Skip] = (),
        intents: tuple[Intent, ...] | None = None,
    ) -> PassReport:
        """Of a look. ``dropped``: calls that were not made; ``intents``: open after it, where it made any."""
        return cls(
            pass_id=pass_id,
            started_at=seen.started_at,
            duration_s=anyio.current_time() - seen.began,
            observation=seen.observation,
            owned=seen.owned,
            plan=seen.plan,
            skips=(*seen.plan.skips, *dropped),
            intents=seen.memory.intents if intents is None else intents,
            memory=seen.memory,
        )

    @property
    def converged(self) -> bool:
        """Every fleet at its target with nothing under way."""
        return self.plan.complete and not self.intents and all(v.converged for v in self.plan.fleets.values())

    @property
    def goes_on(self) -> bool:
        """Whether the next pass follows at once: this one was cut by a limit of its own, and nothing of it failed.

        A guard on creates is a slow start and not a speed limit; the other guards keep the interval's pace.
        """
        dropped = {s.reason for s in self.skips[len(self.plan.skips) :]}
        if dropped:
            return Reason.CALLS_USED_UP in dropped <= {Reason.CALLS_USED_UP, Reason.CREATE_UNANSWERED}
        creates = [s for s in self.skips if s.verb is Verb.CREATE]
        cut = {s.fleet for s in creates if s.reason is Reason.GUARD_CREATES}
        otherwise = {s.fleet for s in creates if s.reason is not Reason.GUARD_CREATES}
        return bool((cut & {a.fleet for a in self.plan.actions if a.verb is Verb.CREATE}) - otherwise)
