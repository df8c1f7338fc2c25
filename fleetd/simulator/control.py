"""Test aids under ``/_sim``: what truly happened, and the hand of a person in the vendor's console.

Not part of the vendor's API, not counted in the call log, answered to loopback only. docs/simulator.md lists them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from decimal import Decimal
from ipaddress import ip_address
from typing import Any, Protocol

import msgspec

from fleetd.model.errors import ConfigError
from fleetd.simulator.bill import bill
from fleetd.simulator.calls import CallLog
from fleetd.simulator.catalogue import MACHINE_TYPES
from fleetd.simulator.fault_file import parse_faults
from fleetd.simulator.faultplan import FaultPlan
from fleetd.simulator.faults import Rule
from fleetd.simulator.lifecycle import Fate
from fleetd.simulator.records import MachineRecord, Refusal
from fleetd.simulator.wire import Answer, Request, json_answer
from fleetd.simulator.world import World


class Controlled(Protocol):
    """The server, as seen from here."""

    world: World
    calls: CallLog
    plan: FaultPlan

    def set_faults(self, rules: Iterable[Rule]) -> None:
        """Replace the fault plan."""
        ...


class _NewMachine(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    state: str = "ready"
    id: str | None = None
    age_seconds: float = 86_400.0
    machine_type: str = "P4000"
    region: str = "East Coast (NY2)"
    template_id: str = "tbu200wi"
    size_gb: int = 50
    shutdown_hours: float | None = 168
    shutdown_forces: bool = False
    auto_snapshots: bool = False
    snapshot_frequency: str | None = None
    snapshot_keep: int | None = None
    public_ip_type: str = "none"


class _Deed(msgspec.Struct, forbid_unknown_fields=True):
    action: str
    name: str | None = None
    address: str | None = None
    seconds: float | None = None


class _Price(msgspec.Struct, forbid_unknown_fields=True):
    machine_type: str
    hourly: Decimal


class ControlApi:
    """The control paths of one server."""

    def __init__(self, server: Controlled) -> None:
        self._server = server
        self._paths: Mapping[tuple[str, str, int], Callable[[Request], Answer]] = {
            ("GET", "calls", 2): self._calls,
            ("POST", "reset_calls", 2): self._reset,
            ("GET", "machines", 2): self._machines,
            ("POST", "machines", 2): self._add,
            ("POST", "machines", 3): self._deed,
            ("GET", "timeline", 2): self._timeline,
            ("POST", "prices", 2): self._price,
            ("GET", "faults", 2): self._faults,
            ("POST", "faults", 2): self._set_faults,
        }

    def answer(self, request: Request, remote: str | None) -> Answer:
        """Answer a request to a control path."""
        if remote is None or not ip_address(remote).is_loopback:
            return json_answer(403, {"message": "control paths are for this machine only"})
        name = request.segments[1] if len(request.segments) > 1 else ""
        handler = self._paths.get((request.method, name, len(request.segments)))
        if handler is None:
            return json_answer(404, {"message": f"no control path {request.method} {request.path}"})
        try:
            return handler(request)
        except (msgspec.DecodeError, ConfigError, ValueError, TypeError) as e:
            return json_answer(400, {"message": str(e)})
        except Refusal as e:
            return json_answer(404 if e.missing else 409, {"message": e.message})

    def _calls(self, request: Request) -> Answer:
        since = int(dict(request.query).get("since", "0"))
        return json_answer(200, [asdict(call) for call in self._server.calls if call.seq > since], executed=True)

    def _reset(self, _: Request) -> Answer:
        self._server.calls.reset()
        return Answer(204, executed=True)

    def _machines(self, _: Request) -> Answer:
        world = self._server.world
        t = world.advance()
        everyone = [*world.state.machines.values(), *world.state.gone.values()]
        return json_answer(200, [truth(record, world, t) for record in everyone], executed=True)

    def _add(self, request: Request) -> Answer:
        new = msgspec.json.decode(request.raw, type=_NewMachine)
        record = self._server.world.add_machine(**msgspec.structs.asdict(new))
        return json_answer(201, truth(record, self._server.world, self._server.world.advance()), executed=True)

    def _deed(self, request: Request) -> Answer:
        world, machine_id = self._server.world, request.segments[2]
        deed = msgspec.json.decode(request.raw, type=_Deed)
        if deed.action == "rename":
            if not deed.name:
                return json_answer(400, {"message": "rename needs a name"})
            world.human_rename(machine_id, deed.name)
            return Answer(204, executed=True)
        if deed.action == "readdress":
            world.readdress(machine_id, deed.address)
            return Answer(204, executed=True)
        deeds: Mapping[str, Callable[[str], None]] = {
            "start": world.human_start,
            "stop": world.human_stop,
            "restart": world.human_restart,
            "destroy": world.human_destroy,
            "destroy_slowly": lambda id_: world.human_destroy(id_, Fate(lingers=True, lingers_seconds=deed.seconds)),
            "connect": world.human_connect,
            "disconnect": world.human_disconnect,
            "vanish": world.vanish,
        }
        if deed.action not in deeds:
            return json_answer(400, {"message": f"action must be rename, readdress or one of {', '.join(deeds)}"})
        deeds[deed.action](machine_id)
        return Answer(204, executed=True)

    def _price(self, request: Request) -> Answer:
        new = msgspec.json.decode(request.raw, type=_Price)
        if new.machine_type not in MACHINE_TYPES:
            return json_answer(400, {"message": f"no machine type {new.machine_type}"})
        self._server.world.set_price(new.machine_type, new.hourly)
        return Answer(204, executed=True)

    def _timeline(self, _: Request) -> Answer:
        world = self._server.world
        world.advance()
        changes = [asdict(c) | {"at_date": world.clock.text(c.at)} for c in world.timeline]
        return json_answer(200, changes, executed=True)

    def _set_faults(self, request: Request) -> Answer:
        self._server.set_faults(parse_faults(msgspec.json.decode(request.raw), "request"))
        return self._faults(request)

    def _faults(self, _: Request) -> Answer:
        plan = self._server.plan
        rows = zip(plan.rules, plan.matched, plan.struck, strict=True)
        return json_answer(
            200,
            [{"rule": rule, "matched": matched, "struck": struck} for rule, matched, struck in rows],
            executed=True,
        )


def truth(record: MachineRecord, world: World, t: float) -> dict[str, Any]:
    """What a machine really is, whatever the API shows: state, visibility, seconds billed and their cost so far."""
    seconds = record.billed_seconds(float("-inf"), t)
    return {
        "id": record.id,
        "name": record.name,
        "state": "gone" if record.gone is not None else record.state,
        "deleting": record.deleting,
        "machine_type": record.machine_type,
        "region": record.region,
        "created": world.clock.text(record.created),
        "gone": world.clock.text(record.gone),
        "listed": record.gone is None and record.listed_from <= t,
        "billed_now": record.billed,
        "billed_seconds": round(seconds, 6),
        "cost": str(round(bill(record, world.clock, float("-inf"), t).running, 6)),
        "stored_seconds": round(record.stored_seconds(float("-inf"), t), 6),
        "accessors": record.accessors,
        "shutdown_hours": record.shutdown_hours,
        "snapshots": [snapshot.id for snapshot in record.snapshots],
    }
