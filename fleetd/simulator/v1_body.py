"""What the v1 API's requests carry: the types of the OpenAPI description that the vendor's CLI is generated from.

Types are exact: a number is not taken as text, and a field that is not known is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from fleetd.model.regions import normal_region
from fleetd.simulator.admission import Changes, NewMachine
from fleetd.simulator.catalogue import MACHINE_TYPES
from fleetd.simulator.records import MachineRecord, Refusal
from fleetd.simulator.state import WorldState
from fleetd.simulator.wire import BROKEN, Request

Text = Annotated[str, msgspec.Meta(min_length=1)]
Hours = Annotated[float, msgspec.Meta(ge=1, le=168)]
Kept = Annotated[int, msgspec.Meta(ge=0, le=10)]
DiskSize = Literal[50, 100, 250, 500, 1000, 2000]

FREQUENCIES: Mapping[str, str] = {"hourly": "hour", "daily": "day", "weekly": "week", "monthly": "month"}
"""Snapshot frequencies: v1's word, the world's word."""


class Parameters(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    """The parameters of a call; as it stands, of one that has none."""


class Policy(Parameters, kw_only=True):
    """What create and update have in common."""

    auto_shutdown_enabled: bool | UnsetType = UNSET
    auto_shutdown_force: bool | UnsetType = UNSET
    auto_shutdown_timeout: Hours | UnsetType = UNSET
    auto_snapshot_enabled: bool | UnsetType = UNSET
    auto_snapshot_frequency: Literal["hourly", "daily", "weekly", "monthly"] | UnsetType = UNSET
    auto_snapshot_save_count: Kept | UnsetType = UNSET
    public_ip_type: Literal["static", "dynamic", "none"] | UnsetType = UNSET
    network_id: Text | UnsetType = UNSET
    restore_point_enabled: bool | UnsetType = UNSET
    restore_point_frequency: Literal["shutdown"] | UnsetType = UNSET


class Create(Policy, kw_only=True):
    """POST /machines."""

    name: Text
    machine_type: Text
    template_id: Text
    region: Text
    disk_size: DiskSize
    start_on_create: bool = True
    startup_script_id: Text | UnsetType = UNSET
    accessor_ids: list[str] = []
    take_initial_snapshot: bool = False
    enable_nvlink: bool = False
    email_password: bool = True


class Update(Policy, kw_only=True):
    """PUT /machines/{id}."""

    name: Text | UnsetType = UNSET
    machine_type: Text | UnsetType = UNSET
    disk_size: DiskSize | UnsetType = UNSET
    restore_point_snapshot_id: Text | UnsetType = UNSET


class OfUser(Parameters, kw_only=True):
    """POST /machines/{id}/accessors."""

    user_id: Text


class OfMachine(Parameters, kw_only=True):
    """POST /startup-scripts/{id}/assign and /unassign."""

    machine_id: Text


class NewSnapshot(Parameters, kw_only=True):
    """POST /snapshots."""

    machine_id: Text
    name: Text


class Named(Parameters, kw_only=True):
    """PUT /snapshots/{id}."""

    name: Text | UnsetType = UNSET


class Restore(Parameters, kw_only=True):
    """POST /snapshots/{id}/restore."""

    create_snapshot_before_restore: bool = False


class NewNetwork(Parameters, kw_only=True):
    """POST /private-networks."""

    name: Text
    region: Text
    migrate_machines: bool = False


class NewScript(Parameters, kw_only=True):
    """POST /startup-scripts."""

    name: Text
    script: str
    is_run_once: bool = False


class ChangedScript(Parameters, kw_only=True):
    """PUT /startup-scripts/{id}."""

    name: Text | UnsetType = UNSET
    script: str | UnsetType = UNSET
    is_run_once: bool | UnsetType = UNSET
    is_enabled: bool | UnsetType = UNSET


P = TypeVar("P", bound=Parameters)


def read_body(kind: type[P], request: Request) -> P:
    """The parameters in a JSON body; none at all and ``{}`` are the same.

    Raises:
        Refusal: not JSON, or not of this type, or parameters in the query.
    """
    if request.query:
        raise Refusal(f"{request.query[0][0]}: the parameters of this call travel in the body", subject="body")
    if request.body is BROKEN:
        raise Refusal("The body is not JSON", subject="body")
    return _convert({} if request.body is None else request.body, kind, strict=True)


def read_query(kind: type[P], request: Request) -> P:
    """The parameters in the query; numbers are text there.

    Raises:
        Refusal: not of this type, repeated, or in a body.
    """
    if request.raw.strip():
        raise Refusal("The parameters of this call travel in the query", subject="query")
    given = dict(request.query)
    if len(given) != len(request.query):
        raise Refusal("A parameter is given more than once", subject="query")
    return _convert(given, kind, strict=False)


def new_machine(body: Create) -> NewMachine:
    """What a create asks for.

    Raises:
        Refusal: parameters that do not go together.
    """
    enabled = body.auto_shutdown_enabled is True
    if enabled and body.auto_shutdown_timeout is UNSET:
        raise Refusal("autoShutdownTimeout: Required when autoShutdownEnabled is true", subject="body")
    if body.auto_snapshot_enabled is True and body.auto_snapshot_frequency is UNSET:
        raise Refusal("autoSnapshotFrequency: Required when autoSnapshotEnabled is true", subject="body")
    if body.restore_point_enabled is True and not body.take_initial_snapshot:
        raise Refusal("restorePointEnabled needs takeInitialSnapshot to be true", subject="body")
    frequency = _or(body.auto_snapshot_frequency, None)
    return NewMachine(
        name=body.name,
        machine_type=body.machine_type,
        region=normal_region(body.region),
        template_id=body.template_id,
        size_gb=body.disk_size,
        network_id=_or(body.network_id, None),
        script_id=_or(body.startup_script_id, None),
        public_ip_type=_or(body.public_ip_type, "none"),
        start_on_create=body.start_on_create,
        initial_snapshot=body.take_initial_snapshot,
        restore_point_frequency="shutdown" if body.restore_point_enabled is True else None,
        shutdown_hours=_or(body.auto_shutdown_timeout, None) if enabled else None,
        shutdown_forces=_or(body.auto_shutdown_force, otherwise=False),
        auto_snapshots=_or(body.auto_snapshot_enabled, otherwise=False),
        snapshot_frequency=FREQUENCIES[frequency] if frequency is not None else None,
        snapshot_keep=_or(body.auto_snapshot_save_count, None),
        accessors=tuple(body.accessor_ids),
    )


def changes_of(s: WorldState, record: MachineRecord, body: Update) -> Changes:
    """What an update changes on this machine; its machine type is another matter.

    Raises:
        Refusal: a value that is not allowed on this machine.
    """
    changes: Changes = {}
    if body.name is not UNSET:
        changes["name"] = body.name
    if body.disk_size is not UNSET:
        changes["size_gb"] = body.disk_size
        if body.disk_size < record.size_gb:
            raise Refusal("diskSize: a disk cannot be made smaller", subject="body")
    if body.machine_type is not UNSET and body.machine_type not in MACHINE_TYPES:
        raise Refusal("machine type not found", subject="machine_type", missing=True)
    if body.network_id is not UNSET and body.network_id != record.network_id:
        network = s.networks.get(body.network_id)
        if network is None or network.region != record.region:
            raise Refusal("network not found", subject="network", missing=True)
        raise Refusal("networkId: cannot be changed on an existing machine", subject="body")
    if body.public_ip_type is not UNSET:
        changes["public_ip_type"] = body.public_ip_type
        if body.public_ip_type == "dynamic" != record.public_ip_type:
            raise Refusal("publicIpType: dynamic cannot be set on an existing machine", subject="body")
    return changes | _shutdown(record, body) | _snapshots(record, body) | _restore_point(record, body)


def _shutdown(record: MachineRecord, body: Update) -> Changes:
    changes: Changes = {}
    if body.auto_shutdown_force is not UNSET:
        changes["shutdown_forces"] = body.auto_shutdown_force
    if body.auto_shutdown_enabled is False:
        changes["shutdown_hours"] = None
    elif body.auto_shutdown_timeout is not UNSET:
        changes["shutdown_hours"] = body.auto_shutdown_timeout
    elif body.auto_shutdown_enabled is True and record.shutdown_hours is None:
        raise Refusal("autoShutdownTimeout: Required when autoShutdownEnabled is true", subject="body")
    return changes


def _snapshots(record: MachineRecord, body: Update) -> Changes:
    changes: Changes = {}
    if body.auto_snapshot_frequency is not UNSET:
        changes["snapshot_frequency"] = FREQUENCIES[body.auto_snapshot_frequency]
    if body.auto_snapshot_save_count is not UNSET:
        changes["snapshot_keep"] = body.auto_snapshot_save_count
    if body.auto_snapshot_enabled is not UNSET:
        changes["auto_snapshots"] = body.auto_snapshot_enabled
        frequency = changes.get("snapshot_frequency", record.snapshot_frequency)
        if body.auto_snapshot_enabled and frequency is None:
            raise Refusal("autoSnapshotFrequency: Required when autoSnapshotEnabled is true", subject="body")
    return changes


def _restore_point(record: MachineRecord, body: Update) -> Changes:
    changes: Changes = {}
    if body.restore_point_snapshot_id is not UNSET:
        if body.restore_point_snapshot_id not in {snapshot.id for snapshot in record.snapshots}:
            raise Refusal("Snapshot not found", subject="snapshot", missing=True)
        changes["restore_point_snapshot_id"] = body.restore_point_snapshot_id
    if body.restore_point_enabled is not UNSET:
        changes["restore_point_frequency"] = "shutdown" if body.restore_point_enabled else None
    return changes


def _convert(given: Any, kind: type[P], *, strict: bool) -> P:
    try:
        return msgspec.convert(given, kind, strict=strict)
    except msgspec.ValidationError as e:
        problem, _, place = str(e).partition(" - at `$.")
        raise Refusal(f"{place.rstrip('`')}: {problem}" if place else problem, subject="body") from e


T = TypeVar("T")


def _or(value: T | UnsetType, otherwise: T) -> T:
    return otherwise if isinstance(value, UnsetType) else value
