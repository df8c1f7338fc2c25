"""One poller serves every waiter of an account.

Each tick looks at all of them in as few requests as the dialect can (``Cloud.find``), so that following 200
transitions costs one request a tick, and hands every waiter its machine. What only events tell is looked at closer.
A pass's listing serves as a tick, and while transitions end one after the other ticks follow each other faster.
"""

from __future__ import annotations

from collections.abc import Iterable
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
from fleetd.model.plan import Listing
from fleetd.model.reasons import Outcome, Verb
from fleetd.planner.ownership import is_mistaken
from fleetd.planner.transitions import Course, Ending, Sight, at_deadline, judge, onward, wants_events

log = structlog.get_logger(__name__)

MANY_LOOKS = 1000
"""For a provider without a rate."""

SOON = 1.0
"""Seconds from a tick that saw transitions end to the next, at least: those that began together end together."""


@dataclass(eq=False, slots=True)
class _Waiter:
    intent: Intent
    settle: timedelta
    unseen: bool
    """Nobody has seen the machine yet under the name that its create gave it."""
    mistaken: bool = False
    """As long as ``unseen``: the machine of its id has another name."""
    elsewhere: bool = False
    """As long as ``unseen``: another machine has the name."""
    course: Course = field(default_factory=Course)
    last: Machine | None = None
    ending: Ending | None = None
    looked: int = 0
    """The tick in which it was looked at closer last."""
    since: float = field(default_factory=anyio.current_time)
    """The loop's clock when the wait began: a listing that was asked for before tells what was before the call."""
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
        self._looks = looks
        self._ticks = 0
        self._next = float("-inf")
        """The loop's clock at the next tick."""
        self._not_before = float("-inf")
        """The loop's clock until which the provider asked to be left alone."""

    async def run(self) -> None:
        """Tick while anyone waits; sleep on an event while nobody does."""
        pause = self.poll.total_seconds()
        while True:
            if not self._waiters:
                self._arrived = anyio.Event()
                await self._arrived.wait()
                pause = self.poll.total_seconds()
            self._next = anyio.current_time() + pause
            while (left := max(self._next, self._not_before) - anyio.current_time()) > 0:  # noqa: ASYNC110 - put off meanwhile
                await anyio.sleep(left)
            try:
                pause = await self.tick()
            except Exception as error:  # noqa: BLE001 - the next tick looks again; the others wait by their deadlines
                self._faults.saw("poller", error)
                pause = self.poll.total_seconds()

    def saw(self, machines: Iterable[Machine], asked_at: float) -> None:
        """Take what a pass has seen, and believes; where that is all that a tick would see, none follows before long.

        ``asked_at``: the loop's clock when it was asked for.
        """
        waiters = [w for w in self._open() if w.since < asked_at]
        by_id = {m.id: m for m in machines} if waiters else {}
        if any(w.unseen for w in waiters):
            by_name = {m.name: m.id for m in by_id.values()}
            for waiter in waiters:
                mine = waiter.intent.machine_id
                waiter.elsewhere = by_name.get(waiter.intent.name, mine) != mine
        unserved = [w for w in waiters if not self._serve(w, by_id.get(w.intent.machine_id or ""))]
        if waiters and not unserved:
            self._next = max(self._next, asked_at + self.poll.total_seconds())

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
        if waiter.unseen and waiter.mistaken:
            return Ending(Outcome.GONE, "the machine of that id has another name")
        return at_deadline(intent, waiter.last, waiter.course)

    async def tick(self) -> float:
        """Look once at every machine that is waited for. Seconds until the next tick."""
        self._ticks += 1
        waiters = self._open()
        poll = self.poll.total_seconds()
        if not waiters:
            return poll
        try:
            cost = await self._look_at(waiters)
        except CloudError as error:
            # The next tick looks again; the pass is what reports a provider that is down.
            self._failed(error)
            return poll
        if all(w.ending is None for w in waiters):
            return poll
        return min(poll, max(SOON, cost * poll / self._looks))

    def _open(self) -> list[_Waiter]:
        return [w for w in self._waiters if w.ending is None and w.intent.machine_id is not None]

    async def _look_at(self, waiters: list[_Waiter]) -> int:
        """What it took, in requests."""
        found = await self._cloud.find({w.intent.machine_id or "" for w in waiters})
        proof = _Proof(self._cloud)
        closer: list[_Waiter] = []
        gone: list[_Waiter] = []
        for waiter in waiters:
            sight = found.machines.get(waiter.intent.machine_id or "")
            if isinstance(sight, NotFound):
                gone.append(waiter)
            elif isinstance(sight, CloudError):
                self._failed(sight, waiter.intent.machine_id)
            elif not self._serve(waiter, sight):
                closer.append(waiter)
        closer.sort(key=lambda w: w.looked)
        closer = closer[: self._looks]
        async with anyio.create_task_group() as group:
            for waiter in closer:
                group.start_soon(self._look, waiter, proof)
            for waiter in gone:
                group.start_soon(self._lacks, waiter, proof)
        return found.requests + len(closer)

    def _serve(self, waiter: _Waiter, machine: Machine | None) -> bool:
        """Hand a waiter what was seen of its machine, unless it takes a closer look."""
        if machine is None or machine.unreadable is not None:
            return False
        if wants_events(waiter.intent, machine, moved=waiter.course.moved):
            return False
        self._see(waiter, Sight(machine))
        return True

    async def _look(self, waiter: _Waiter, proof: _Proof) -> None:
        machine_id = waiter.intent.machine_id or ""
        waiter.looked = self._ticks
        try:
            self._see(waiter, Sight(await self._cloud.show(machine_id), closer=True))
        except NotFound:
            await self._lacks(waiter, proof)
        except CloudError as error:
            self._failed(error, machine_id)

    async def _lacks(self, waiter: _Waiter, proof: _Proof) -> None:
        """The provider says that there is no such machine: so it is if another call works, and lacks it as well."""
        machine_id = waiter.intent.machine_id or ""
        try:
            listing = await proof.listing()
        except CloudError as error:
            self._failed(error, machine_id)
            return
        if not listing.complete:
            return
        listed = any(m.id == machine_id for m in listing.machines)
        # It may be an entry without an id. One that we destroy ourselves needs no such doubt.
        hidden = listing.unidentified > 0 and waiter.intent.verb is not Verb.DESTROY
        if not listed and not hidden:
            self._see(waiter, Sight(None, proven_gone=True))

    def _failed(self, error: CloudError, machine_id: str | None = None) -> None:
        log.debug("transition.look_failed", machine=machine_id, error=str(error))
        if isinstance(error, RetryLater) and error.retry_after is not None:
            wait = min(error.retry_after, LONGEST_RETRY_AFTER)
            self._not_before = max(self._not_before, anyio.current_time() + wait)

    def _see(self, waiter: _Waiter, sight: Sight) -> None:
        machine = sight.machine
        if waiter.unseen and machine is not None and machine.name:
            if is_mistaken(machine, waiter.intent.name):
                # Somebody else's, or ours under a name that a person or the provider changed: that the name is
                # found elsewhere proves the former; the latter may be shown as it was made before the deadline.
                waiter.mistaken = True
                machine, sight = None, Sight(None, proven_gone=waiter.elsewhere)
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


class _Proof:
    """One whole listing for all that is missing in a tick."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._lock = anyio.Lock()
        self._listing: Listing | CloudError | None = None

    async def listing(self) -> Listing:
        """It, asked for once.

        Raises:
            CloudError: it could not be read.
        """
        async with self._lock:
            if self._listing is None:
                try:
                    self._listing = await self._cloud.list_machines()
                except CloudError as error:
                    self._listing = error
        if isinstance(self._listing, CloudError):
            raise self._listing
        return self._listing
