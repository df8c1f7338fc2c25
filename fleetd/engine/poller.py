"""One poller serves every waiter of an account (design 8).

Each tick takes the cheaper of one ``show`` for each waiter and one listing for all, so that following 200
transitions costs one request a tick, and hands every waiter its machine.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

import anyio
import structlog

from fleetd.cloud.port import Cloud
from fleetd.cloud.retry import LONGEST_RETRY_AFTER
from fleetd.engine.faults import Faults
from fleetd.engine.ports import Clock
from fleetd.model.errors import CloudError, NotFound, RetryLater
from fleetd.model.journal import Intent
from fleetd.model.machine import Machine
from fleetd.model.reasons import Verb
from fleetd.planner.ownership import is_mistaken
from fleetd.planner.transitions import Course, Ending, Sight, at_deadline, judge, onward, wants_events

log = structlog.get_logger(__name__)

MANY_LOOKS = 1000
"""For a provider without a rate."""


@dataclass(eq=False, slots=True)
class _Waiter:
    intent: Intent
    settle: timedelta
    unseen: bool = False
    """Nobody has seen the machine yet under the name that its create gave it."""
    course: Course = field(default_factory=Course)
    last: Machine | None = None
    ending: Ending | None = None
    looked: int = 0
    """The tick in which it was looked at closer last."""
    done: anyio.Event = field(default_factory=anyio.Event)


class Poller:
    """Follows transitions by polling. Run ``run`` in the daemon's task group; call ``wait_for`` from any task."""

    """``looks``: machines that one tick looks at closer, at most; those that have waited longest come first."""

    def __init__(
        self, cloud: Cloud, clock: Clock, faults: Faults, *, poll: timedelta, looks: int = MANY_LOOKS
    ) -> None:
        self._faults = faults
        self._cloud = cloud
        self._clock = clock
        self.poll = poll
        self._waiters: list[_Waiter] = []
        self._arrived = anyio.Event()
        self._known_machines = 1
        self._unidentified = 0
        self._looks = looks
        self._ticks = 0
        self._not_before = float("-inf")
        """The loop's clock until which the provider asked to be left alone."""

    async def run(self) -> None:
        """Tick while anyone waits; sleep on an event while nobody does."""
        while True:
            if not self._waiters:
                self._arrived = anyio.Event()
                await self._arrived.wait()
            await anyio.sleep(max(self.poll.total_seconds(), self._not_before - anyio.current_time()))
            try:
                await self.tick()
            except Exception as error:  # noqa: BLE001 - the next tick looks again; the others wait by their deadlines
                self._faults.saw("poller", error)

    async def wait_for(self, intent: Intent, *, settle: timedelta, unseen: bool = False) -> Ending:
        """Wait for the verdict on an intent's transition; by its deadline there is one.

        ``settle``: how long a young machine may be invisible. ``unseen``: its id is known from the create's answer
        alone, so a machine of that id and of another name is not the one that was made.
        """
        waiter = _Waiter(intent, settle, unseen)
        self._waiters.append(waiter)
        self._arrived.set()
        left = (intent.deadline_at - self._clock.now()).total_seconds()
        try:
            with anyio.move_on_after(max(left, 2 * self.poll.total_seconds())):  # one look at least
                await waiter.done.wait()
        finally:
            self._waiters.remove(waiter)
        if waiter.ending is not None:
            return waiter.ending
        return at_deadline(intent, waiter.last, waiter.course)

    async def tick(self) -> None:
        """Look once at every machine that is waited for."""
        self._ticks += 1
        waiters = [w for w in self._waiters if w.ending is None and w.intent.machine_id is not None]
        if not waiters:
            return
        pages = max(1, -(-self._known_machines // self._cloud.capabilities.page_size))
        try:
            if len(waiters) <= pages:
                await self._each(waiters, listed=None)
            else:
                await self._from_listing(waiters)
        except CloudError as error:
            # The next tick looks again; the pass is what reports a provider that is down.
            self._failed(error)

    async def _from_listing(self, waiters: list[_Waiter]) -> None:
        listing = await self._cloud.list_machines()
        self._known_machines, self._unidentified = len(listing.machines), listing.unidentified
        by_id = {m.id: m for m in listing.machines}
        closer: list[_Waiter] = []
        for waiter in waiters:
            machine = by_id.get(waiter.intent.machine_id or "")
            if machine is None:
                if listing.complete:  # what a partial one lacks proves nothing; the next tick looks again
                    closer.append(waiter)
            elif machine.unreadable is not None or wants_events(waiter.intent, machine, moved=waiter.course.moved):
                closer.append(waiter)
            else:
                self._see(waiter, Sight(machine))
        closer.sort(key=lambda w: w.looked)
        await self._each(closer[: self._looks], listed=set(by_id))

    async def _each(self, waiters: list[_Waiter], *, listed: set[str] | None) -> None:
        async with anyio.create_task_group() as group:
            for waiter in waiters:
                group.start_soon(self._look, waiter, listed)

    async def _look(self, waiter: _Waiter, listed: set[str] | None) -> None:
        machine_id = waiter.intent.machine_id or ""
        waiter.looked = self._ticks
        try:
            self._see(waiter, Sight(await self._cloud.show(machine_id), closer=True))
        except NotFound:
            if await self._works_without(machine_id, listed) and not self._may_be_hidden(waiter.intent):
                self._see(waiter, Sight(None, proven_gone=True))
        except CloudError as error:
            self._failed(error, machine_id)

    def _failed(self, error: CloudError, machine_id: str | None = None) -> None:
        log.debug("transition.look_failed", machine=machine_id, error=str(error))
        if isinstance(error, RetryLater) and error.retry_after is not None:
            wait = min(error.retry_after, LONGEST_RETRY_AFTER)
            self._not_before = max(self._not_before, anyio.current_time() + wait)

    async def _works_without(self, machine_id: str, listed: set[str] | None) -> bool:
        """Whether another call with the same key works, and lacks the machine as well."""
        if listed is None:
            try:
                listing = await self._cloud.list_machines()
            except CloudError as error:
                self._failed(error, machine_id)
                return False
            if not listing.complete:
                return False
            self._known_machines, self._unidentified = len(listing.machines), listing.unidentified
            listed = {m.id for m in listing.machines}
        return machine_id not in listed

    def _may_be_hidden(self, intent: Intent) -> bool:
        """Whether the machine may be an entry without an id. One that we destroy ourselves needs no such doubt."""
        return self._unidentified > 0 and intent.verb is not Verb.DESTROY

    def _see(self, waiter: _Waiter, sight: Sight) -> None:
        machine = sight.machine
        if waiter.unseen and machine is not None and machine.name:
            if is_mistaken(machine, waiter.intent.name):
                machine, sight = None, Sight(None, proven_gone=True)
            else:
                waiter.unseen = False
        try:
            now = self._clock.now()
            if machine is not None:
                waiter.last = machine
                waiter.course = onward(waiter.course, waiter.intent, machine, now)
            waiter.ending = judge(waiter.intent, sight, waiter.course, now=now, settle=waiter.settle)
        except Exception as error:  # noqa: BLE001 - one machine's; what is left of it is its deadline
            self._faults.saw("poller", error)
        if waiter.ending is not None:
            waiter.done.set()
