"""``fleetd check --online``: whether the account has what a config's fleets name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fleetd.cloud.core.api import CoreApi
from fleetd.model.errors import Fault, Refused
from fleetd.model.fleet import Fleet
from fleetd.model.settings import Settings
from fleetd.model.vendor import CORE_AVAILABILITY_TYPES, CORE_MACHINE_TYPES, CORE_REGIONS


async def inquire(api: CoreApi, settings: Settings) -> list[Fault]:
    """What is wrong, with what would be right. An empty list proves key, templates, networks, scripts and types.

    Raises:
        CloudError: the account could not be asked; ``Unauthorized`` when it is the key.
    """
    found = {
        "templateId": {str(row.get("id")): row for row in await api.templates()},
        "networkId": {str(row.get("id")): row for row in await api.networks()},
        "scriptId": {str(row.get("id")): row for row in await api.scripts()},
        "userId": {str(row.get("id")): row for row in await api.users()},
    }
    faults: list[Fault] = []
    for fleet in settings.fleets:
        path = f"fleets.{fleet.name}.machine"
        for name, rows in found.items():
            wanted = fleet.parameters.get(name)
            if wanted is not None and str(wanted) not in rows:
                faults.append(Fault(f"{path}.{name}", f"the account has no {wanted}; it has {_some(rows)}"))
        faults += _region_of_network(fleet, found["networkId"], path)
        faults += await _type_and_region(api, fleet, path)
    return faults


def _region_of_network(fleet: Fleet, networks: Mapping[str, Mapping[str, Any]], path: str) -> list[Fault]:
    network = networks.get(str(fleet.parameters.get("networkId")))
    region = network.get("region") if network is not None else None
    if region in {None, fleet.region}:
        return []
    return [Fault(f"{path}.networkId", f"is in {region}, and the fleet's region is {fleet.region}")]


async def _type_and_region(api: CoreApi, fleet: Fleet, path: str) -> list[Fault]:
    """Types and regions that the vendor's page does not list may exist all the same: the API decides if it can."""
    if fleet.machine_type not in CORE_AVAILABILITY_TYPES:
        known = fleet.machine_type in CORE_MACHINE_TYPES
        return [] if known else [Fault(f"{path}.machineType", f"the vendor lists no {fleet.machine_type}")]
    try:
        await api.availability(fleet.region, fleet.machine_type)
    except Refused as error:
        key = "region" if fleet.region not in CORE_REGIONS else "machineType"
        return [Fault(f"{path}.{key}", f"the provider refuses it: {error.message}")]
    return []


def _some(rows: Mapping[str, Mapping[str, Any]], limit: int = 5) -> str:
    shown = [f"{key} ({row.get('label') or row.get('name')})" for key, row in sorted(rows.items())[:limit]]
    more = len(rows) - len(shown)
    return (", ".join(shown) or "none") + (f" and {more} more" if more else "")
