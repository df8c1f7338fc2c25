"""Looking at the world, and deciding how far the look can be trusted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

import anyio

from fleetd.cloud.port import Cloud
from fleetd.engine.ports import Clock
from fleetd.model.errors import CloudError, NotFound, Unauthorized
from fleetd.model.journal import MachineFacts
from fleetd.model.machine import UNVERIFIED, Machine
from fleetd.model.plan import Listing, Observation
from fleetd.planner.facts import as_left, went

Turned = Callable[[Sequence[Machine]], Sequence[MachineFacts]]
"""What is remembered of those machines of a listing that are not as they were left; see ``planner.facts.turned``."""


class Observer:
    """Lists, and verifies with ``show`` whatever a listing should hold and does not, or holds otherwise than it was.

    ``progress`` is called after every look at a machine: with a slow provider many of them take long.
    """

    def __init__(self, cloud: Cloud, clock: Clock, *, progress: Callable[[], None] = lambda: None) -> None:
        self._cloud = cloud
        self._clock = clock
        self._progress = progress

    async def observe(self, expected: Iterable[str], turned: Turned = lambda _machines: ()) -> Observation:
        """One look. ``expected``: ids that a complete listing must hold.

        A listing that lacks a machine which ``show`` still finds is rejected whole. One that ``show`` does not know
        either, while the listing itself proves that the key works, is gone. A listing that has a machine up or down
        where ``show`` finds it as it was before is an old one, and is rejected too; where ``show`` fails, that
        machine alone is not believed, because one that fails for good must not stop every fleet. A machine that
        went, and is listed all the same, is among ``shown`` if it is back: see ``planner.facts.believed``.

        Raises:
            CloudError: nothing could be read at all.
        """
        at = self._clock.now()
        listing = await self._cloud.list_machines()
        if not listing.complete:
            return Observation(at, listing.machines, complete=False)
        states = {m.id: m.state for m in listing.machines}
        missing = frozenset(expected) - states.keys()
        left = {f.machine_id: f for f in turned(listing.machines)}
        doubtful = [*sorted(missing), *sorted(left)]
        shown: dict[str, Machine] = {}
        unverified: dict[str, str] = {}

        async def verify(machine_id: str) -> str | None:
            machine, error = await self._look(machine_id)
            if machine_id in left and went(left[machine_id]):
                shown.update({} if machine is None else {machine_id: machine})
                return None
            verb, where = ("lacks", "") if machine_id in missing else ("has", f" in state {states[machine_id]}")
            if error is not None:
                why = f"the listing {verb} {machine_id}{where}, and it could not be verified: {error}"
                if machine_id in missing:
                    return why
                unverified[machine_id] = why
                return None
            if machine is None:
                return None
            shown[machine_id] = machine
            if machine_id in missing or as_left(left[machine_id], machine):
                named = f"{machine_id} ({machine.name})"
                return f"the listing {verb} {named}{where}, which show finds in state {machine.state}"
            return None

        # A bad listing is wrong about many machines; one that is found is enough to reject it.
        fault = await _first(doubtful[:1], verify) or await _first(doubtful[1:], verify)
        return self._verdict(at, listing, missing, fault, shown, unverified)

    def _verdict(
        self,
        at: datetime,
        listing: Listing,
        missing: frozenset[str],
        fault: str | None,
        shown: Mapping[str, Machine],
        unverified: Mapping[str, str],
    ) -> Observation:
        if fault is not None:
            return Observation(at, listing.machines, rejected=fault)
        machines = tuple(replace(m, state=UNVERIFIED) if m.id in unverified else m for m in listing.machines)
        return Observation(at, machines, gone=missing, shown=shown, unverified=unverified)

    async def _look(self, machine_id: str) -> tuple[Machine | None, CloudError | None]:
        """The machine, None when there is none, or why nobody could tell."""
        try:
            return await self._cloud.show(machine_id), None
        except NotFound:
            return None, None
        except Unauthorized:
            raise
        except CloudError as error:
            return None, error
        finally:
            self._progress()


async def _first(machine_ids: Sequence[str], verify: Callable[[str], Awaitable[str | None]]) -> str | None:
    """One of the faults that looking closer finds, the same one whatever order the answers come in."""
    faults: list[str] = []

    async def one(machine_id: str) -> None:
        fault = await verify(machine_id)
        if fault is not None:
            faults.append(fault)

    async with anyio.create_task_group() as group:
        for machine_id in machine_ids:
            group.start_soon(one, machine_id)
    return min(faults, default=None)
