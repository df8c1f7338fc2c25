"""The Core API's objects, field for field as in the examples of the vendor's page."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec

from fleetd.simulator.catalogue import GIB, Template
from fleetd.simulator.clock import WorldClock
from fleetd.simulator.records import EventRecord, MachineRecord, NetworkRecord, ScriptRecord, Usage, UserRecord

_STORAGE_USED = "110080"


def machine(record: MachineRecord, clock: WorldClock) -> dict[str, Any]:
    """The machine as create answers with it: the fields that every answer has."""
    kind, young = record.kind, record.young
    return {
        "id": record.id,
        "name": record.name,
        "os": None if young else record.template.os,
        "ram": None if young else str(kind.ram_bytes),
        "cpus": 1 if young else kind.cpus,
        "gpu": None if young else kind.gpu,
        "storageTotal": None if young else str(record.size_gb * GIB),
        "storageUsed": None if young else _STORAGE_USED,
        "machineType": record.machine_type,
        "usageRate": f"{record.machine_type} hourly",
        "shutdownTimeoutInHours": _whole(record.shutdown_hours),
        "shutdownTimeoutForces": record.shutdown_forces,
        "performAutoSnapshot": record.auto_snapshots,
        "autoSnapshotFrequency": record.snapshot_frequency,
        "autoSnapshotSaveCount": record.snapshot_keep,
        "dynamicPublicIp": record.public_ip_type == "dynamic",
        "agentType": record.template.agent_type,
        "dtCreated": clock.text(record.created),
        "state": record.state,
        "updatesPending": record.updates_pending,
        "networkId": None if young else record.network_id,
        "privateIpAddress": record.private_ip,
        "publicIpAddress": record.public_ip,
        "region": None if young else record.region,
        "scriptId": record.script_id,
        "dtLastRun": clock.text(record.last_run),
        "restorePointSnapshotId": record.restore_point_snapshot_id,
        "restorePointFrequency": record.restore_point_frequency,
    }


def listed(record: MachineRecord, clock: WorldClock) -> dict[str, Any]:
    """The machine in a listing: with internalId, without events."""
    form: dict[str, Any] | None = record.cache.get("core.listed")
    if form is None:
        form = record.cache["core.listed"] = machine(record, clock) | {"internalId": record.internal_id}
    return form


def listed_bytes(record: MachineRecord, clock: WorldClock) -> bytes:
    """``listed``, encoded; kept until the record changes, so that a page costs next to nothing."""
    encoded: bytes | None = record.cache.get("core.listed_bytes")
    if encoded is None:
        encoded = record.cache["core.listed_bytes"] = msgspec.json.encode(listed(record, clock))
    return encoded


def shown(record: MachineRecord, clock: WorldClock) -> bytes:
    """The machine as show answers with it, encoded: with events, newest first."""
    encoded: bytes | None = record.cache.get("core.shown")
    if encoded is None:
        events = [event(e, clock) for e in reversed(record.events)]
        encoded = record.cache["core.shown"] = msgspec.json.encode(machine(record, clock) | {"events": events})
    return encoded


def event(record: EventRecord, clock: WorldClock) -> dict[str, Any]:
    """One entry of show's events."""
    return {
        "name": record.name,
        "state": record.state,
        "errorMsg": record.error,
        "handle": record.handle,
        "dtModified": clock.text(record.modified),
        "dtFinished": clock.text(record.finished),
        "dtCreated": clock.text(record.created),
    }


def utilization(machine_id: str, month: str, usage: Usage) -> dict[str, Any]:
    """What utilization answers with; rates are text."""
    return {
        "machineId": machine_id,
        "utilization": {
            "machineId": machine_id,
            "secondsUsed": round(usage.seconds, 6),
            "hourlyRate": _money(usage.hourly),
            "billingMonth": month,
        },
        "storageUtilization": {
            "machineId": machine_id,
            "secondsUsed": round(usage.storage_seconds, 6),
            "monthlyRate": _money(usage.storage_monthly),
            "billingMonth": month,
        },
    }


def network(record: NetworkRecord) -> dict[str, Any]:
    """One entry of networks list (paperspace-node, networks)."""
    return {
        "id": record.id,
        "name": record.name,
        "region": record.region,
        "dtCreated": record.created,
        "network": record.network,
        "netmask": record.netmask,
        "teamId": record.team_id,
    }


def template(record: Template) -> dict[str, Any]:
    """One entry of templates list: a public one, or one of the team's own (paperspace-node, templates)."""
    form: dict[str, Any] = {"id": record.id, "label": record.label, "os": record.os}
    if record.team_id is None:
        return form | {"name": f"paperspace/{record.id}", "dtCreated": record.created}
    own = {"name": record.id, "teamId": record.team_id, "userId": record.user_id, "region": record.region}
    return form | own | {"dtCreated": record.created}


def user(record: UserRecord) -> dict[str, Any]:
    """One entry of users list (paperspace-node, users)."""
    return {
        "id": record.id,
        "email": record.email,
        "firstname": record.first_name,
        "lastname": record.last_name,
        "dtCreated": record.created,
        "teamId": record.team_id,
    }


def script(record: ScriptRecord) -> dict[str, Any]:
    """One entry of scripts list (paperspace-node, scripts)."""
    return {
        "id": record.id,
        "ownerType": "user",
        "ownerId": record.owner_id,
        "name": record.name,
        "description": record.description,
        "dtCreated": record.created,
        "isEnabled": record.enabled,
        "runOnce": record.run_once,
    }


def _money(rate: Decimal) -> str:
    """Two digits, as in the page's example; all of them where there are more."""
    return f"{rate:.2f}" if rate == round(rate, 2) else str(rate)


def _whole(hours: float | None) -> float | None:
    return int(hours) if hours is not None and hours == int(hours) else hours
