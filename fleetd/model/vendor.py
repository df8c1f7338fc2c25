"""What the vendor's Core API page lists: regions, machine types, filters and parameters, by the API's own names.

Source: the machines page of the Core API command reference. The API may know more than its page does: whatever it
sends is accepted, and only what fleetd sends is held to these tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

ParameterType = type[str] | type[int] | type[bool]
"""A parameter's type on the page: str for "string", int for "number" (all are whole), bool for "boolean"."""

CORE_REGIONS = ("East Coast (NY2)", "West Coast (CA1)", "Europe (AMS1)")
"""create, ``region``."""

CORE_MACHINE_TYPES = (
    "Air",
    "Standard",
    "Pro",
    "Advanced",
    "GPU+",
    "P4000",
    "P5000",
    "P6000",
    "V100",
    *(f"C{n}" for n in range(1, 11)),
)
"""create, ``machineType``."""

CORE_AVAILABILITY_TYPES = ("GPU+", "P4000", "P5000", "P6000", "V100")
"""availability, ``machineType``: only dedicated GPU machines have one."""

CORE_BILLING_TYPES = ("hourly",)
"""create, ``billingType``."""

CORE_SNAPSHOT_FREQUENCIES = ("hour", "day", "week")
"""update, ``autoSnapshotFrequency``; null turns it off."""

CORE_RESTORE_POINT_FREQUENCIES = ("shutdown",)
"""create, ``restorePointFrequency``."""

CORE_CREATE_REQUIRED = ("region", "machineType", "size", "billingType", "machineName", "templateId")
"""The create parameters that the page does not call optional."""

CORE_CREATE_PARAMETERS: Mapping[str, ParameterType] = MappingProxyType(
    {
        "region": str,
        "machineType": str,
        "size": int,
        "billingType": str,
        "machineName": str,
        "templateId": str,
        "teamId": str,
        "assignPublicIp": bool,
        "dynamicPublicIp": bool,
        "startOnCreate": bool,
        "networkId": str,
        "scriptId": str,
        "userId": str,
        "email": str,
        "password": str,
        "firstName": str,
        "lastName": str,
        "notificationEmail": str,
        "takeInitialSnapshot": bool,
        "markSnapshotAsRestorePoint": bool,
        "restorePointFrequency": str,
        "enableNvlink": bool,
    }
)
"""create: every parameter; ``size`` in GB."""

CORE_UPDATE_PARAMETERS: Mapping[str, ParameterType] = MappingProxyType(
    {
        "machineName": str,
        "shutdownTimeoutInHours": int,
        "shutdownTimeoutForces": bool,
        "autoSnapshotFrequency": str,  # the page's type column says number, its text lists hour, day, week, null
        "autoSnapshotSaveCount": int,
        "performAutoSnapshot": bool,
        "dynamicPublicIp": bool,
        "assignPublicIp": bool,
    }
)
"""update: every attribute that can be changed, ``machineId`` aside."""

CORE_LIST_FILTERS: Mapping[str, ParameterType] = MappingProxyType(
    {
        "limit": int,
        "skip": int,
        "machineId": str,
        "name": str,
        "os": str,
        "ram": str,
        "cpus": int,
        "gpu": str,
        "storageTotal": str,
        "storageUsed": str,
        "usageRate": str,
        "shutdownTimeoutInHours": int,
        "performAutoSnapshot": bool,
        "autoSnapshotFrequency": str,
        "autoSnapshotSaveCount": int,
        "agentType": str,
        "dtCreated": str,
        "state": str,
        "updatesPending": bool,
        "networkId": str,
        "privateIpAddress": str,
        "publicIpAddress": str,
        "region": str,
        "userId": str,
        "teamId": str,
        "scriptId": str,
        "dtLastRun": str,
    }
)
"""list: paging (``limit``, ``skip``) and every filter of the page."""

CORE_LOCAL_FILTERS: Mapping[str, ParameterType] = MappingProxyType({"machineType": str})
"""list: filters that the page does not have and that the client therefore applies itself."""
