"""The v1 API's objects, field for field as in the types that the vendor's CLI is generated from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from fleetd.simulator.catalogue import GIB, MACHINE_TYPES, Template, storage_monthly
from fleetd.simulator.clock import WorldClock
from fleetd.simulator.records import (
    EventRecord,
    MachineRecord,
    NetworkRecord,
    ScriptRecord,
    SnapshotRecord,
    UserRecord,
)
from fleetd.simulator.v1_body import FREQUENCIES

_STORAGE_USED = 110080
_NEW_SECONDS = 1.0
_SPELLING = {ours: theirs for theirs, ours in FREQUENCIES.items()}


def machine(record: MachineRecord, clock: WorldClock) -> dict[str, Any]:
    """A machine. ``usageRate`` is dollars an hour, ``storageRate`` dollars a month."""
    kind, young = record.kind, record.young
    accelerators = [{"name": kind.gpu, "count": kind.gpus, "memory": (kind.gpu_memory_gib or 0) * GIB}]
    return {
        "id": record.id,
        "name": record.name,
        "state": record.state,
        "machineType": record.machine_type,
        "region": record.region,
        "os": record.template.os,
        "cpus": kind.cpus,
        "ram": kind.ram_bytes,
        "accelerators": None if kind.cpu_only else accelerators,
        "agentType": record.template.agent_type,
        "storageTotal": record.size_gb * GIB,
        "storageUsed": _STORAGE_USED,
        "storageRate": float(storage_monthly(record.size_gb)),
        "usageRate": float(record.hourly),
        "publicIp": record.public_ip,
        "publicIpType": record.public_ip_type,
        "privateIp": record.private_ip,
        "networkId": None if young else record.network_id,
        "autoShutdownEnabled": record.shutdown_hours is not None,
        "autoShutdownTimeout": record.shutdown_hours,
        "autoShutdownForce": record.shutdown_forces,
        "autoSnapshotEnabled": record.auto_snapshots,
        "autoSnapshotFrequency": _SPELLING.get(record.snapshot_frequency or ""),
        "autoSnapshotSaveCount": record.snapshot_keep,
        "restorePointEnabled": record.restore_point_frequency is not None,
        "restorePointFrequency": record.restore_point_frequency,
        "restorePointSnapshotId": record.restore_point_snapshot_id,
        "reservation": None,
        "updatesPending": record.updates_pending,
        "dtCreated": clock.text(record.created),
        "dtModified": clock.text(record.modified),
        "dtDeleted": clock.text(record.gone),
    }


def machine_raw(record: MachineRecord, clock: WorldClock) -> msgspec.Raw:
    """``machine``, encoded; kept until the record changes."""
    encoded: msgspec.Raw | None = record.cache.get("v1.machine")
    if encoded is None:
        encoded = record.cache["v1.machine"] = msgspec.Raw(msgspec.json.encode(machine(record, clock)))
    return encoded


def event(record: EventRecord, clock: WorldClock, t: float) -> dict[str, Any]:
    """A machine event; for its first second it is new and not started."""
    fresh = record.state == "in progress" and t < record.created + _NEW_SECONDS
    return {
        "id": record.handle,
        "name": record.name,
        "machineId": record.machine_id,
        "state": "new" if fresh else record.state,
        "error": record.error or None,
        "dtCreated": clock.text(record.created),
        "dtStarted": None if fresh else clock.text(record.created),
        "dtFinished": clock.text(record.finished),
    }


def snapshot(record: SnapshotRecord) -> dict[str, Any]:
    """A snapshot. It has no date: its age is its ``snapshot-create`` event's."""
    return {
        "id": record.id,
        "name": record.name,
        "machineId": record.machine_id,
        "isAutoSnapshot": record.auto,
    }


def accessor(user: UserRecord, removed: str | None = None) -> dict[str, Any]:
    """A user who may use a machine."""
    person = {
        "id": user.id,
        "email": user.email,
        "firstName": user.first_name,
        "lastName": user.last_name,
        "publicProfileImageUrl": None,
    }
    return {"user": person, "dtDeleted": removed}


def template(record: Template, available: Callable[[str], bool]) -> dict[str, Any]:
    """A template; ``available`` says whether a machine type can be had at all now."""
    form: dict[str, Any] = {
        "id": record.id,
        "name": record.label,
        "agentType": record.agent_type,
        "defaultSizeGb": record.default_size_gb,
        "operatingSystemLabel": record.os,
        "dtCreated": record.created,
        "availableMachineTypes": [
            {
                "machineTypeLabel": kind.label,
                "isAvailable": not (record.windows and kind.cpu_only) and available(kind.label),
            }
            for kind in MACHINE_TYPES.values()
        ],
    }
    if record.team_id is None:
        return form
    return form | {"parentMachineId": record.parent_machine_id, "region": record.region, "dtDeleted": None}


def network(record: NetworkRecord) -> dict[str, Any]:
    """A private network."""
    return {
        "id": record.id,
        "name": record.name,
        "region": record.region,
        "network": record.network,
        "netmask": record.netmask,
        "dtCreated": record.created,
        "dtDeleted": None,
    }


def script(record: ScriptRecord, machine_ids: list[str]) -> dict[str, Any]:
    """A startup script with the machines that run it."""
    return {
        "id": record.id,
        "name": record.name,
        "description": record.description or None,
        "isEnabled": record.enabled,
        "isRunOnce": record.run_once,
        "assignedMachineIds": machine_ids,
        "dtCreated": record.created,
        "dtDeleted": None,
    }
