"""A cloud in memory behind the ``Cloud`` port: fast, on the loop's time, with faults put in by hand."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import anyio

from fleetd.cloud.finding import each
from fleetd.cloud.port import Capabilities, Found, Leave, MachineChange, freely
from fleetd.cloud.rate import FIRST, Admission, Place
from fleetd.engine.ports import Clock
from fleetd.model.errors import NotFound
from fleetd.model.machine import Machine, MachineEvent, SnapshotSight, Utilization
from fleetd.model.plan import Listing
from fleetd.model.reasons import Verb

READS = frozenset({"list", "show", "availability", "utilization", "snapshots"})

_HELD: ContextVar[tuple[Place, Leave] | None] = ContextVar("held", default=None)


@dataclass(frozen=True)
class Call:
    operation: str
    machine: str | None
    at: datetime
    detail: object = None


@dataclass
class _Change:
    at: float
    state: str
    event: MachineEvent | None = None


@dataclass
class FakeCloud:
    """Transitions take ``takes`` seconds; ``before``/``after`` hooks raise what a call should raise."""

    clock: Clock
    takes: float = 60.0
    latency: float = 0.01
    page_size: int = 1000
    before: Callable[[str, str | None], Exception | None] = lambda _op, _id: None
    """Asked before a call has any effect."""
    after: Callable[[str, str | None], Exception | None] = lambda _op, _id: None
    """Asked when the call has had its effect: the answer is lost."""
    hangs: Callable[[str, object], float] = lambda _op, _detail: 0.0
    """Seconds between the call's arrival and its effect."""
    no_capacity: bool = False
    hourly_rate: float | None = None
    """What utilization says of every machine."""
    stuck: bool = False
    vain: dict[str, str] = field(default_factory=dict)
    """By operation, or by operation and machine (``"start ps1"``), how it comes to nothing although it is accepted:
    silent (no event), done, error, wordless (an error of null), endless (in progress for ever), late (done, five
    minutes later), bounce (the state moves and comes back), bounce_silent (without an event)."""
    listing: Callable[[Listing], Listing] = lambda listing: listing
    defaults: dict[str, Any] = field(default_factory=dict)
    """Fields of every machine that is created."""
    calls: list[Call] = field(default_factory=list)
    snapshot_sights: dict[str, SnapshotSight] = field(default_factory=dict)
    """By machine id; while there are any, snapshots can be seen."""
    admission: Admission | None = None
    """The rate limit; None lets everybody through at once."""

    def __post_init__(self) -> None:
        self._machines: dict[str, Machine] = {}
        self._events: dict[str, list[MachineEvent]] = {}
        self._due: dict[str, list[_Change]] = {}
        self._ids = itertools.count(1)
        self._handles = itertools.count(1)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(True, bool(self.snapshot_sights), self.page_size)

    def add(self, name: str, state: str = "ready", **fields: object) -> Machine:
        machine = Machine(id=f"ps{next(self._ids)}", name=name, state=state, created_at=self.clock.now(), **fields)
        self._machines[machine.id] = machine
        self._events[machine.id] = []
        return machine

    def put(self, machine: Machine) -> None:
        """A machine as some reader made it, events included."""
        self._machines[machine.id] = replace(machine, events=None)
        self._events[machine.id] = list(machine.events or ())
        self._due.pop(machine.id, None)

    def set(self, machine_id: str, **fields: object) -> None:
        """A human at the console."""
        self._machines[machine_id] = replace(self._machines[machine_id], **fields)
        self._due.pop(machine_id, None)

    def human(self, verb: str, machine_id: str, *, hours_ago: float = 0.0) -> None:
        """A person starts or stops it at the console; with ``hours_ago`` it happened then, and is over."""
        at = self.clock.now() - timedelta(hours=hours_ago)
        state = "off" if verb == "stop" else "ready"
        event = MachineEvent(verb, "done", handle=f"h{next(self._handles)}", created_at=at, finished_at=at)
        self._events[machine_id].insert(0, event)
        self.set(machine_id, state=state)

    def remove(self, machine_id: str) -> None:
        self._machines.pop(machine_id)

    def named(self, name: str) -> Machine:
        return next(m for m in self._machines.values() if m.name == name)

    def states(self) -> dict[str, str]:
        self._advance()
        return {m.name: m.state for m in self._machines.values()}

    def writes(self) -> list[str]:
        return [
            f"{c.operation} {c.machine}" if c.machine else c.operation for c in self.calls if c.operation not in READS
        ]

    @property
    def remarks(self) -> tuple[str, ...]:
        return ()

    async def list_machines(self, progress: Callable[[], None] = lambda: None) -> Listing:
        await self._begin("list", None)
        self._advance()
        listing = self.listing(Listing(tuple(self._machines.values())))
        self._end("list", None)
        return listing

    async def find(self, machine_ids: Collection[str]) -> Found:
        pages = max(1, -(-len(self._machines) // self.page_size))
        if len(machine_ids) <= pages:
            return Found(await each(machine_ids, self.show), len(machine_ids))
        listing = await self.list_machines()
        return Found({m.id: m for m in listing.machines if m.id in machine_ids}, pages)

    async def show(self, machine_id: str) -> Machine:
        await self._begin("show", machine_id)
        machine = self._find(machine_id, "show")
        self._end("show", machine_id)
        return replace(machine, events=tuple(self._events[machine_id]))

    async def create(self, name: str, parameters: Mapping[str, object]) -> Machine:
        await self._begin("create", None, detail=(name, dict(parameters)))
        machine = self.add(
            name,
            "provisioning",
            machine_type=str(parameters["machineType"]),
            **self.defaults,
        )
        ends = "off" if parameters.get("startOnCreate") is False else "ready"
        self._begin_transition(machine.id, "create", "provisioning", ends)
        self._end("create", machine.id)
        return self._machines[machine.id]

    async def start(self, machine_id: str) -> None:
        await self._begin("start", machine_id)
        if self._find(machine_id, "start").state == "off":
            self._begin_transition(machine_id, "start", "starting", "ready")
        self._end("start", machine_id)

    async def stop(self, machine_id: str) -> None:
        await self._begin("stop", machine_id)
        if self._find(machine_id, "stop").state != "off":
            self._begin_transition(machine_id, "stop", "stopping", "off")
        self._end("stop", machine_id)

    async def restart(self, machine_id: str) -> None:
        await self._begin("restart", machine_id)
        self._find(machine_id, "restart")
        self._begin_transition(machine_id, "restart", "restarting", "ready")
        self._end("restart", machine_id)

    async def destroy(self, machine_id: str, *, release_public_ip: bool = False) -> None:
        await self._begin("destroy", machine_id, detail={"release_public_ip": True} if release_public_ip else None)
        self._find(machine_id, "destroy")
        if not self._in_vain(machine_id, "destroy", "destroying"):
            self.remove(machine_id)
        self._end("destroy", machine_id)

    async def update(self, machine_id: str, change: MachineChange) -> None:
        await self._begin("update", machine_id, detail=change)
        machine = self._find(machine_id, "update")
        if self._in_vain(machine_id, "update", machine.state):
            return
        snapshots = machine.snapshots
        if change.snapshots_enabled is not None:
            snapshots = replace(snapshots, enabled=change.snapshots_enabled)
        if change.snapshot_frequency is not None:
            snapshots = replace(snapshots, frequency=change.snapshot_frequency)
        if change.snapshot_keep is not None:
            snapshots = replace(snapshots, keep=change.snapshot_keep)
        self._machines[machine_id] = replace(
            machine,
            snapshots=snapshots,
            shutdown_timeout_hours=change.shutdown_timeout_hours or machine.shutdown_timeout_hours,
        )
        self._end("update", machine_id)

    async def utilization(self, machine_id: str, month: str) -> Utilization:
        await self._begin("utilization", machine_id)
        rate = None if self.hourly_rate is None else Decimal(str(self.hourly_rate))
        return Utilization(machine_id, month, 0.0, rate, 0.0, None)

    async def snapshots(self, machine_id: str) -> SnapshotSight:
        await self._begin("snapshots", machine_id)
        self._find(machine_id, "snapshots")
        sight = self.snapshot_sights.get(machine_id, SnapshotSight(machine_id, None, "it has no snapshot"))
        self._end("snapshots", machine_id)
        return sight

    @asynccontextmanager
    async def place(self, verb: Verb, *, behind: int = 0, leave: Leave = freely) -> AsyncIterator[FakeCloud]:
        requests = 1 if verb is Verb.CREATE else 2
        admission = self.admission or Admission(1e6, 1_000_000)
        due = anyio.current_time() + behind * 0.25
        async with admission.place(requests, due=due, create=verb is Verb.CREATE) as place:
            token = _HELD.set((place, leave))
            try:
                yield self
            finally:
                _HELD.reset(token)

    async def aclose(self) -> None:
        pass

    async def _begin(self, operation: str, machine_id: str | None, detail: object = None) -> None:
        held = _HELD.get()
        if self.admission is not None and held is not None:
            await self.admission.pay(held[0])
        elif self.admission is not None:
            late = 3.0 if operation in READS else 0.0
            due = FIRST if operation == "list" else anyio.current_time() + late
            async with self.admission.place(due=due) as place:
                await self.admission.pay(place)
        if held is not None and operation not in READS:
            held[1]()
        await anyio.sleep(self.latency)
        self.calls.append(Call(operation, machine_id, self.clock.now(), detail))
        await anyio.sleep(self.hangs(operation, detail))
        fault = self.before(operation, machine_id)
        if fault is not None:
            raise fault

    def _end(self, operation: str, machine_id: str | None) -> None:
        fault = self.after(operation, machine_id)
        if fault is not None:
            raise fault

    def _find(self, machine_id: str, operation: str) -> Machine:
        self._advance()
        if machine_id not in self._machines:
            raise NotFound("Machine not found", operation=operation, status=404)
        return self._machines[machine_id]

    def _in_vain(self, machine_id: str, name: str, through: str) -> bool:
        """Let a call come to nothing in the way that ``vain`` says, if it says one."""
        way = self.vain.get(f"{name} {machine_id}", self.vain.get(name))
        if way is None:
            return False
        machine, now, handle = self._machines[machine_id], anyio.current_time(), f"h{next(self._handles)}"
        begun = MachineEvent(name, "in progress", handle=handle)
        bad = MachineEvent(name, "error", error="the host is gone" if way == "error" else "", handle=handle)
        ended = bad if way in {"error", "wordless"} else replace(begun, state="done")
        if way.startswith("bounce"):
            self._machines[machine_id] = replace(machine, state=through)
            self._due[machine_id] = [_Change(now + self.takes, machine.state, ended)]
        if way == "late":
            self._due[machine_id] = [_Change(now + 300, machine.state, ended)]
        if way in {"done", "error", "wordless"}:
            self._events[machine_id].insert(0, ended)
        if way in {"bounce", "late", "endless"}:
            self._events[machine_id].insert(0, begun)
        return True

    def _begin_transition(self, machine_id: str, name: str, through: str, to: str) -> None:
        if self._in_vain(machine_id, name, through):
            return
        self._machines[machine_id] = replace(self._machines[machine_id], state=through)
        fails = self.no_capacity and to == "ready"
        handle = f"h{next(self._handles)}"
        self._events[machine_id].insert(0, MachineEvent(name, "in progress", handle=handle))
        done = MachineEvent(
            name, "error" if fails else "done", error="insufficient capacity" if fails else "", handle=handle
        )
        if not self.stuck:
            at = anyio.current_time() + self.takes
            self._due[machine_id] = [_Change(at, "off" if fails else to, done)]

    def _advance(self) -> None:
        now = anyio.current_time()
        for machine_id, changes in self._due.items():
            while changes and changes[0].at <= now and machine_id in self._machines:
                change = changes.pop(0)
                self._machines[machine_id] = replace(self._machines[machine_id], state=change.state)
                if change.event is not None:
                    events = self._events[machine_id]
                    events[:] = [change.event if e.handle == change.event.handle else e for e in events]
