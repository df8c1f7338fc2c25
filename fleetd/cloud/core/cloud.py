"""The Core API as the engine sees it: the vendor's JSON becomes the model's values. No write is repeated here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager

import anyio

from fleetd.cloud.calls import Sender
from fleetd.cloud.core import api, wire
from fleetd.cloud.core.api import PAGE_SIZE, CoreApi
from fleetd.cloud.finding import Places, Sights, by_page, each, told_once
from fleetd.cloud.port import Capabilities, Found, Leave, MachineChange, Progress, freely
from fleetd.cloud.reading import understood
from fleetd.model.errors import Ambiguous, CloudError, MalformedAnswer, Unsupported
from fleetd.model.machine import Machine, SnapshotSight, Utilization
from fleetd.model.plan import Listing
from fleetd.model.reasons import Verb

CAPABILITIES = Capabilities(
    utilization=True,
    snapshots_visible=False,
    page_size=PAGE_SIZE,
)


class CoreCloud:
    """Implements ``port.Cloud``. ``aclose`` closes the client that it is given."""

    def __init__(self, http: Sender) -> None:
        self._http = http
        self._api = CoreApi(http, repeat_writes=False)
        self._places = Places()

    @property
    def remarks(self) -> tuple[str, ...]:
        """A machine and its events are one answer here: there is nothing that could be read in part."""
        return ()

    @property
    def capabilities(self) -> Capabilities:
        """What this dialect can do."""
        return CAPABILITIES

    async def list_machines(self, progress: Progress = freely) -> Listing:
        """Every machine that the key can see; not complete when a later page failed or the list moved meanwhile."""
        reading = await self._api.read_listing({}, prove=True, progress=progress)
        if reading.complete:
            self._places.learn(reading.items)
        return reading.listing(wire.read_machines)

    async def find(self, machine_ids: Collection[str]) -> Found:
        """Look at these machines: those that share a page by that page, the others one by one."""
        ways = by_page(machine_ids, self._places, api.PAGE_SIZE)
        sights: Sights = {}

        async def page(number: int, wanted: frozenset[str]) -> None:
            try:
                rows = await self._api.read_page(number)
            except CloudError as error:
                sights.update(dict.fromkeys(wanted, error))
                return
            self._places.note(rows, number * api.PAGE_SIZE)
            sights.update({machine.id: machine for machine in wire.read_machines(told_once(rows, machine_ids))})

        async with anyio.create_task_group() as group:
            for number, wanted in sorted(ways.pages.items()):
                group.start_soon(page, number, wanted)
        singly = await each(ways.singly, self.show)
        return Found({**singly, **sights}, len(ways.pages) + len(ways.singly))

    async def show(self, machine_id: str) -> Machine:
        """One machine, with its events, newest first."""
        machine = understood("show", wire.read_machine, await self._api.show(machine_id))
        if machine.id != machine_id:  # a stop may hang on what this says
            raise MalformedAnswer(f"asked for {machine_id}, answered with {machine.id}", operation="show")
        return machine

    async def create(self, name: str, parameters: Mapping[str, object]) -> Machine:
        """Create one machine."""
        content = await self._api.create({**parameters, "machineName": name})
        return understood("create", wire.read_created, content, error=Ambiguous)

    async def start(self, machine_id: str) -> None:
        """Start it."""
        await self._api.start(machine_id)

    async def stop(self, machine_id: str) -> None:
        """Stop it."""
        await self._api.stop(machine_id)

    async def restart(self, machine_id: str) -> None:
        """Restart it."""
        await self._api.restart(machine_id)

    async def destroy(self, machine_id: str, *, release_public_ip: bool = False) -> None:
        """Destroy it; a static public address stays with the account, and is billed, unless it is released."""
        await self._api.destroy(machine_id, release_public_ip=True if release_public_ip else None)

    async def update(self, machine_id: str, change: MachineChange) -> None:
        """Change attributes; no request where there is nothing to change."""
        changes = _changes(change)
        if changes:
            await self._api.update(machine_id, changes)

    async def snapshots(self, machine_id: str) -> SnapshotSight:
        """The API has no such call."""
        del machine_id
        raise Unsupported("the Core API cannot show snapshots", operation="snapshots")

    async def utilization(self, machine_id: str, month: str) -> Utilization:
        """Use and rates in one billing month (``YYYY-MM``)."""
        content = await self._api.utilization(machine_id, month)
        return understood("utilization", lambda c: wire.read_utilization(c, machine_id, month), content)

    @asynccontextmanager
    async def place(self, verb: Verb, *, behind: int = 0, leave: Leave = freely) -> AsyncIterator[CoreCloud]:
        """A place for one write and the look before it."""
        create = verb is Verb.CREATE
        requests = 1 if create else 2
        async with self._http.place(requests, behind=behind, create=create, leave=leave) as http:
            yield CoreCloud(http)

    async def aclose(self) -> None:
        """Close connections. Idempotent."""
        await self._api.aclose()


def _changes(change: MachineChange) -> dict[str, object]:
    """The API's names and values; ``None`` there turns automatic snapshots off."""
    named: dict[str, object] = {
        "shutdownTimeoutInHours": change.shutdown_timeout_hours,
        "shutdownTimeoutForces": change.shutdown_timeout_forces,
        "performAutoSnapshot": change.snapshots_enabled,
        "autoSnapshotFrequency": change.snapshot_frequency,
        "autoSnapshotSaveCount": change.snapshot_keep,
    }
    given = {name: value for name, value in named.items() if value is not None}
    if given.get("autoSnapshotFrequency") == "none":
        given["autoSnapshotFrequency"] = None
    return given
