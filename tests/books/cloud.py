"""The Cloud port right on the simulated world: the Core API's objects and their reader, without HTTP between them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
import msgspec

from fleetd.cloud.core import wire
from fleetd.cloud.core.cloud import CAPABILITIES
from fleetd.cloud.port import Capabilities, Found, Leave, MachineChange, freely
from fleetd.model.errors import CloudError, NotFound, Refused
from fleetd.model.machine import Machine, SnapshotSight, Utilization
from fleetd.model.plan import Listing
from fleetd.model.reasons import Verb
from fleetd.simulator import core_json
from fleetd.simulator.admission import NewMachine
from fleetd.simulator.records import MachineRecord, Refusal
from fleetd.simulator.world import World
from tests.support.virtual_time import virtual_clock


class WorldCloud:
    """One account. ``silent`` says why a machine's bill is not told, or None."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.clock = virtual_clock()
        self.silent: Callable[[str], CloudError | str | None] = lambda _machine: None
        self.latency = 0.2
        """Seconds that a call takes."""
        self.asked = 0
        """Questions about bills."""
        self.made: list[MachineRecord] = []

    @property
    def capabilities(self) -> Capabilities:
        return CAPABILITIES

    @property
    def remarks(self) -> tuple[str, ...]:
        return ()

    async def list_machines(self, progress: Callable[[], None] = freely) -> Listing:
        del progress
        await anyio.sleep(self.latency)
        rows = [core_json.listed(r, self.world.clock) for r in self.world.listed()]
        return Listing(wire.read_machines(msgspec.json.decode(msgspec.json.encode(rows))))

    async def find(self, machine_ids: Collection[str]) -> Found:
        listing = await self.list_machines()
        return Found({m.id: m for m in listing.machines if m.id in machine_ids}, 1)

    async def show(self, machine_id: str) -> Machine:
        await anyio.sleep(self.latency)
        with _refusals("show"):
            record = self.world.shown(machine_id)
        return wire.read_machine(json.loads(core_json.shown(record, self.world.clock)))

    async def create(self, name: str, parameters: Mapping[str, object]) -> Machine:
        await anyio.sleep(self.latency)
        given: dict[str, Any] = dict(parameters)
        record = self.world.create(
            NewMachine(name, given["machineType"], given["region"], given["templateId"], given["size"])
        )
        self.made.append(record)
        return wire.read_created(core_json.machine(record, self.world.clock))

    async def start(self, machine_id: str) -> None:
        await self._write("start", lambda: self.world.start(machine_id))

    async def stop(self, machine_id: str) -> None:
        await self._write("stop", lambda: self.world.stop(machine_id))

    async def restart(self, machine_id: str) -> None:
        await self._write("restart", lambda: self.world.restart(machine_id))

    async def destroy(self, machine_id: str, *, release_public_ip: bool = False) -> None:
        await self._write("destroy", lambda: self.world.destroy(machine_id, release_ip=release_public_ip))

    async def update(self, machine_id: str, change: MachineChange) -> None:
        del change
        await self._write("update", lambda: self.world.update(machine_id, {}))

    async def snapshots(self, machine_id: str) -> SnapshotSight:
        raise NotImplementedError(machine_id)

    async def utilization(self, machine_id: str, month: str) -> Utilization:
        await anyio.sleep(self.latency)
        self.asked += 1
        why = self.silent(machine_id)
        if isinstance(why, CloudError):
            raise why
        with _refusals("utilization"):
            answer = core_json.utilization(machine_id, month, self.world.usage(machine_id, month))
        if why is not None:  # the half that tells of hours says nothing of them
            answer["utilization"][why] = None
        return wire.read_utilization(answer, machine_id, month)

    @asynccontextmanager
    async def place(self, verb: Verb, *, behind: int = 0, leave: Leave = freely) -> AsyncIterator[WorldCloud]:
        del verb, behind, leave
        yield self

    async def aclose(self) -> None: ...

    async def _write(self, operation: str, do: Callable[[], object]) -> None:
        await anyio.sleep(self.latency)
        with _refusals(operation):
            do()


class _refusals:  # noqa: N801 - reads as a function
    """The world's refusals as the port's errors."""

    def __init__(self, operation: str) -> None:
        self._operation = operation

    def __enter__(self) -> None: ...

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, Refusal):
            kind = NotFound if error.missing else Refused
            raise kind(error.message, operation=self._operation, status=404 if error.missing else 400) from None
