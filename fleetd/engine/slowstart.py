"""Creates of one fleet: 1, 2, 4, ... at once, so that a broken template costs one call and not ten."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import anyio

from fleetd.model.fleet import Fleet
from fleetd.model.plan import Action, Skip
from fleetd.model.reasons import Reason, Verb
from fleetd.planner.guards import merge

Create = Callable[[Action, int], Awaitable[Skip | None]]
"""Makes one; the number says how many of its fleet go before it. A skip means that none is made after it."""


class SlowStart:
    """One pass's creates of one fleet. A failure ends them, and so does the pass's end."""

    def __init__(self, fleet: Fleet, creates: Sequence[Action], create: Create) -> None:
        self.fleet = fleet
        self._creates = creates
        self._create = create
        self._begun = 0
        self._failed: list[Skip] = []
        self._ended = False

    async def run(self, progress: Callable[[], None]) -> list[Skip]:
        """Make them in batches, each when the one before it has succeeded; what is not made as skips."""
        size = 1
        while not self._ended and self._begun < len(self._creates):
            await self._batch(self._creates[self._begun : self._begun + size])
            progress()
            if self._failed:
                return self.over()
            size *= 2
        return []

    def over(self) -> list[Skip]:
        """The pass is over: no further batch begins. What was not made and not told yet."""
        ended, self._ended = self._ended, True
        if not ended and self._failed:
            return merge([*self._failed, *self._left_for_later(self._failed)])
        left = len(self._creates) - self._begun
        if ended or not left:
            return []
        return [Skip(self.fleet.name, Verb.CREATE, Reason.CREATE_UNANSWERED, count=left)]

    async def _batch(self, batch: Sequence[Action]) -> None:
        async def one(action: Action, behind: int) -> None:
            skip = await self._create(action, behind)
            if skip is not None:
                self._failed.append(skip)

        async with anyio.create_task_group() as group:
            for number, action in enumerate(batch):
                group.start_soon(one, action, self._begun + number)
            self._begun += len(batch)

    def _left_for_later(self, failed: Sequence[Skip]) -> list[Skip]:
        count = len(self._creates) - self._begun
        if not count:
            return []
        # What ends the whole pass, and not this batch alone, is said of the rest as well.
        same = [s for s in failed if s.reason in {Reason.OBSERVATION_STALE, Reason.CALLS_USED_UP}]
        return [replace(s, count=count) for s in same[:1]] or [
            Skip(self.fleet.name, Verb.CREATE, Reason.SLOW_START, count=count)
        ]
