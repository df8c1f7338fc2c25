"""The v1 API as the engine sees it: the vendor's JSON becomes the model's values. No write is repeated here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime

from fleetd.cloud.calls import Sender
from fleetd.cloud.finding import Places, Sights, each, from_an_end
from fleetd.cloud.listing import Reading, identity
from fleetd.cloud.paperspace import snapshots, usage, wire
from fleetd.cloud.paperspace.api import PaperspaceApi
from fleetd.cloud.paperspace.errors import state_named
from fleetd.cloud.paperspace.events_sight import EventsSight
from fleetd.cloud.paperspace.pages import PAGE_SIZE
from fleetd.cloud.port import Capabilities, Found, Json, Leave, MachineChange, Progress, freely
from fleetd.cloud.reading import understood
from fleetd.model.errors import Ambiguous, Busy, CloudError, MalformedAnswer, NotFound
from fleetd.model.machine import PHASES, Machine, Phase, SnapshotSight, Utilization, month_of
from fleetd.model.plan import Listing
from fleetd.model.reasons import Verb

CAPABILITIES = Capabilities(
    utilization=True,
    utilization_computed=True,
    snapshots_visible=True,
    page_size=PAGE_SIZE,
)

MONTH_PAGES = 20
"""How many pages of events are read for one machine's month, at most."""


class PaperspaceCloud:
    """Implements ``port.Cloud``. ``aclose`` closes the client that it is given.

    ``now``: wall time, UTC, which a machine that runs is billed until. By default the provider's, by which the events
    are dated: by ours, hours ahead, it would have run for hours more, and no later answer takes a bill back.
    """

    def __init__(self, http: Sender, *, now: Callable[[], datetime] | None = None) -> None:
        self._http = http
        self._api = PaperspaceApi(http, repeat_writes=False)
        self._now = now or http.now
        self._events = EventsSight()
        self._places = Places()

    @property
    def remarks(self) -> tuple[str, ...]:
        """What cannot be read at the moment."""
        return self._events.remarks

    @property
    def capabilities(self) -> Capabilities:
        """What this dialect can do."""
        return CAPABILITIES

    async def list_machines(self, progress: Progress = freely) -> Listing:
        """Every machine that the key can see; not complete when a later page failed or the list moved meanwhile."""
        reading = await self._api.read_listing(progress)
        if reading.complete:
            self._places.learn(reading.items)
        return reading.listing(wire.read_machines)

    async def find(self, machine_ids: Collection[str]) -> Found:
        """Look at these machines without their events: from the nearer end of the listing, or one by one.

        One page more is read than they should be on, because others may have been made meanwhile.
        """
        newest, ways = from_an_end(machine_ids, self._places, PAGE_SIZE)
        sights: Sights = {}
        requests = 0
        if ways.pages:
            wanted = frozenset[str]().union(*ways.pages.values())
            reading, requests = await self._read_end(max(ways.pages) + 2, wanted, newest=newest)
            rows = [row for row in reading.items if identity(row) in machine_ids]
            sights |= {} if reading.failure is None else dict.fromkeys(wanted, reading.failure)
            sights |= {machine.id: machine for machine in wire.read_machines(rows)}
        sights |= await each(ways.singly - sights.keys(), self._state)
        return Found(sights, requests + len(ways.singly))

    async def _read_end(self, pages: int, wanted: AbstractSet[str], *, newest: bool) -> tuple[Reading, int]:
        def enough(rows: list[Json]) -> bool:
            return wanted <= {identity(row) for row in rows}

        try:
            return await self._api.read_end(pages, newest=newest, enough=enough)
        except CloudError as error:
            return Reading((), failure=error), 1

    async def _state(self, machine_id: str) -> Machine:
        machine = understood("show", wire.read_machine, await self._api.machine(machine_id))
        if machine is None:
            raise NotFound("the machine is deleted", operation="show", status=404)
        if machine.id != machine_id:
            raise MalformedAnswer(f"asked for {machine_id}, answered with {machine.id}", operation="show")
        return replace(machine, events=None)  # nobody has asked for them

    async def show(self, machine_id: str) -> Machine:
        """One machine, with its events, newest first; where they cannot be read, with ``not_looked``."""
        content, problem = await self._api.look(machine_id, patient=not self._events.silent)
        machine = understood("show", wire.read_machine, content)
        self._events.asked(machine_id, problem)
        if machine is None:
            raise NotFound("the machine is deleted", operation="show", status=404)
        if machine.id != machine_id:  # a stop may hang on what this says
            raise MalformedAnswer(f"asked for {machine_id}, answered with {machine.id}", operation="show")
        return machine if problem is None else replace(machine, events=None, not_looked=problem.message)

    async def create(self, name: str, parameters: Mapping[str, object]) -> Machine:
        """Create one machine."""
        content = await self._api.create({**parameters, "name": name})
        return understood("create", wire.read_created, content, error=Ambiguous)

    async def start(self, machine_id: str) -> None:
        """Start it. That the API refuses it on a machine which is coming up is no failure: it is on its way."""
        await _unless_there(self._api.start(machine_id), Phase.RISING, Phase.UP)

    async def stop(self, machine_id: str) -> None:
        """Stop it; likewise for one that is going down."""
        await _unless_there(self._api.stop(machine_id), Phase.FALLING, Phase.DOWN)

    async def restart(self, machine_id: str) -> None:
        """Restart it."""
        await self._api.restart(machine_id)

    async def destroy(self, machine_id: str, *, release_public_ip: bool = False) -> None:
        """Destroy it."""
        del release_public_ip  # the API has no such parameter
        await self._api.destroy(machine_id)

    async def update(self, machine_id: str, change: MachineChange) -> None:
        """Change attributes; no request where there is nothing to change."""
        changes = _changes(change)
        if changes:
            await self._api.update(machine_id, changes)

    async def snapshots(self, machine_id: str) -> SnapshotSight:
        """How old its newest snapshot is, from the events: snapshots themselves carry no date."""
        # The events come second: a snapshot that is deleted meanwhile shows there.
        rows = await self._api.snapshots(machine_id)
        events = await self._api.events(machine_id, back_to=snapshots.tells_date)
        return snapshots.sight(machine_id, rows, wire.read_events(events))

    async def utilization(self, machine_id: str, month: str) -> Utilization:
        """Use and rates in one month (``YYYY-MM``, UTC), worked out from the machine and its events."""
        since, ends = month_of(month)
        rows = await self._api.events(
            machine_id, back_to=lambda event: usage.tells_state(event, since), most=MONTH_PAGES
        )
        content = await self._api.machine(machine_id)
        machine = understood("utilization", wire.read_machine, content)
        if machine is None:
            raise NotFound("the machine is deleted", operation="utilization", status=404)
        events = wire.read_events(rows)
        dates = [event.created_at for event in events if event.created_at is not None]
        until = min(ends, max([self._now(), *dates]))  # should our clock be late, theirs counts
        born = machine.created_at
        return Utilization(
            machine_id=machine_id,
            month=month,
            seconds_used=usage.seconds_up(events, machine.phase, since, until),
            hourly_rate=machine.hourly_rate,
            storage_seconds_used=max(0.0, (until - max(since, born or since)).total_seconds()),
            storage_monthly_rate=wire.storage_rate(content) if born is not None else None,
        )

    @asynccontextmanager
    async def place(self, verb: Verb, *, behind: int = 0, leave: Leave = freely) -> AsyncIterator[PaperspaceCloud]:
        """A place for one write and the look before it, which takes two requests."""
        create = verb is Verb.CREATE
        requests = 1 if create else 3
        async with self._http.place(requests, behind=behind, create=create, leave=leave) as http:
            placed = PaperspaceCloud(http, now=self._now)
            placed._api, placed._events = self._api.through(http), self._events
            yield placed

    async def aclose(self) -> None:
        """Close connections. Idempotent."""
        await self._api.aclose()


async def _unless_there(call: Awaitable[Json | None], *phases: Phase) -> None:
    """Make the call; a refusal that names a state which the call would lead to counts as done."""
    try:
        await call
    except Busy as e:
        if PHASES.get(state_named(e.message) or "", Phase.UNKNOWN) not in phases:
            raise


def _changes(change: MachineChange) -> dict[str, object]:
    """The API's names and values. A timeout is nothing without its switch; no value takes null."""
    named: dict[str, object] = {
        "autoShutdownEnabled": True if change.shutdown_timeout_hours is not None else None,
        "autoShutdownTimeout": change.shutdown_timeout_hours,
        "autoShutdownForce": change.shutdown_timeout_forces,
        "autoSnapshotEnabled": change.snapshots_enabled,
        "autoSnapshotFrequency": wire.frequency_word(change.snapshot_frequency or ""),
        "autoSnapshotSaveCount": change.snapshot_keep,
    }
    if change.snapshot_frequency == "none":
        named |= {"autoSnapshotEnabled": False, "autoSnapshotFrequency": None}
    return {name: value for name, value in named.items() if value not in (None, "")}
