"""Looking at the world, and deciding how far the look can be trusted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

import anyio

from fleetd.cloud.port import Cloud
from fleetd.engine.ports import Clock
from fleetd.model.errors import CloudError, NotFound, Unauthorized
from fleetd.model.machine import Machine
from fleetd.model.plan import Listing, Observation


class Observer:
    """Lists, and verifies with ``show`` whatever a listing should hold and does not.

    ``progress`` is called after every look at a machine: with a slow provider many of them take long.
    """

    def __init__(self, cloud: Cloud, clock: Clock, *, progress: Callable[[], None] = lambda: None) -> None:
        self._cloud = cloud
        self._clock = clock
        self._progress = progress

    async def observe(self, expected: Iterable[str]) -> Observation:
        """One look. ``expected``: ids that a complete listing must hold.

        A listing that lacks a machine which ``show`` still finds is rejected whole. One that ``show`` does not know
        either, while the listing itself proves that the key works, is gone.

        Raises:
            CloudError: nothing could be read at all.
        """
        at = self._clock.now()
        listing = await self._cloud.list_machines()
        listed = {m.id for m in listing.machines}
        missing = sorted(set(expected) - listed)
        if not listing.complete or not missing:
            return Observation(at, listing.machines, complete=listing.complete)
        # A bad listing lacks many machines; one that is found is enough to reject it.
        first = await self._verify(missing[:1])
        rest = await self._verify(missing[1:]) if first is None else None
        return self._verdict(at, listing, missing, first or rest)

    def _verdict(self, at: datetime, listing: Listing, missing: Sequence[str], fault: str | None) -> Observation:
        if fault is not None:
            return Observation(at, listing.machines, rejected=fault)
        return Observation(at, listing.machines, gone=frozenset(missing))

    async def _verify(self, missing: Sequence[str]) -> str | None:
        """Why the listing cannot be trusted, or None when every one of ``missing`` is really not there."""
        faults: list[str] = []

        async def verify(machine_id: str) -> None:
            fault = await self._look(machine_id)
            self._progress()
            if fault is not None:
                faults.append(fault)

        async with anyio.create_task_group() as group:
            for machine_id in missing:
                group.start_soon(verify, machine_id)
        return min(faults, default=None)

    async def _look(self, machine_id: str) -> str | None:
        try:
            machine: Machine = await self._cloud.show(machine_id)
        except NotFound:
            return None
        except Unauthorized:
            raise
        except CloudError as error:
            return f"the listing lacks {machine_id}, and it could not be verified: {error}"
        return f"the listing lacks {machine_id} ({machine.name}), which show finds in state {machine.state}"
