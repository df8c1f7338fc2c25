"""What the vendor's v1 API knows, by its own names: parameters, filters, states and words.

Source: the types that the vendor's CLI (Paperspace/cli, February 2026) generates from the OpenAPI description. The
API may know more: whatever it sends is accepted, and only what fleetd sends is held to these tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from fleetd.model.vendor import ParameterType

V1_CREATE_PARAMETERS: Mapping[str, ParameterType] = MappingProxyType(
    {
        "name": str,
        "machineType": str,
        "templateId": str,
        "region": str,
        "diskSize": int,
        "networkId": str,
        "publicIpType": str,
        "startOnCreate": bool,
        "startupScriptId": str,
        "autoShutdownEnabled": bool,
        "autoShutdownTimeout": int,
        "autoShutdownForce": bool,
        "autoSnapshotEnabled": bool,
        "autoSnapshotFrequency": str,
        "autoSnapshotSaveCount": int,
        "restorePointEnabled": bool,
        "restorePointFrequency": str,
        "takeInitialSnapshot": bool,
        "enableNvlink": bool,
        "emailPassword": bool,
    }
)
"""create: every parameter but ``accessorIds``, a list; access is given with ``set-access``. ``diskSize`` in GB."""

V1_CREATE_REQUIRED = ("name", "machineType", "templateId", "region", "diskSize")
"""The create parameters that the types do not call optional."""

V1_UPDATE_PARAMETERS: Mapping[str, ParameterType] = MappingProxyType(
    {
        "name": str,
        "machineType": str,
        "diskSize": int,
        "networkId": str,
        "publicIpType": str,
        "autoShutdownEnabled": bool,
        "autoShutdownTimeout": int,
        "autoShutdownForce": bool,
        "autoSnapshotEnabled": bool,
        "autoSnapshotFrequency": str,
        "autoSnapshotSaveCount": int,
        "restorePointEnabled": bool,
        "restorePointFrequency": str,
        "restorePointSnapshotId": str,
    }
)
"""update: every attribute that can be changed. None of them takes null."""

V1_LIST_FILTERS: Mapping[str, ParameterType] = MappingProxyType(
    {
        "after": str,
        "limit": int,
        "orderBy": str,
        "order": str,
        "name": str,
        "region": str,
        "agentType": str,
        "machineType": str,
    }
)
"""list: paging (``after``, ``limit``), order, and every filter."""

V1_LOCAL_FILTERS: Mapping[str, ParameterType] = MappingProxyType(
    {"machineId": str, "state": str, "networkId": str, "os": str, "updatesPending": bool}
)
"""list: filters that the API does not have and that the client therefore applies itself."""

V1_DISK_SIZES = (50, 100, 250, 500, 1000, 2000)
"""create and update, ``diskSize`` in GB: the closed list that the vendor's reference is sure of. It can only grow."""

V1_SHUTDOWN_HOURS = (1, 168)
"""create and update, ``autoShutdownTimeout`` in hours: the least and the most."""

V1_SNAPSHOTS_KEPT = (0, 10)
"""create and update, ``autoSnapshotSaveCount``: the least and the most."""

V1_FIXED: Mapping[str, tuple[str, ...]] = MappingProxyType({"networkId": (), "publicIpType": ("dynamic",)})
"""update: what the vendor's pages say cannot be changed on a machine that exists; none is any value."""

V1_SET_UP_ONCE = ("autoSnapshotEnabled", "autoSnapshotFrequency", "autoSnapshotSaveCount", "autoShutdownEnabled")
"""update: what its pages say is set up in the create alone. The call is taken, and may come to nothing."""

V1_ORDERS = ("dtCreated", "name", "state")
"""list, ``orderBy``."""

V1_PUBLIC_IP_TYPES = ("static", "dynamic", "none")
"""create and update, ``publicIpType``."""

V1_SNAPSHOT_FREQUENCIES: Mapping[str, str] = MappingProxyType(
    {"hourly": "hour", "daily": "day", "weekly": "week", "monthly": "month"}
)
"""create and update, ``autoSnapshotFrequency``: the API's word, and fleetd's."""

V1_RESTORE_POINT_FREQUENCIES = ("shutdown",)
"""create and update, ``restorePointFrequency``."""
