"""``fleetd check --online``: whether the account has what a config's fleets name."""

from __future__ import annotations

from fleetd.cloud.core.api import CoreApi
from fleetd.cloud.inquiry import by_id, elsewhere, place, unknown
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
        "templateId": by_id(await api.templates()),
        "networkId": by_id(await api.networks()),
        "scriptId": by_id(await api.scripts()),
        "userId": by_id(await api.users()),
    }
    faults: list[Fault] = []
    for fleet in settings.fleets:
        for name, rows in found.items():
            faults += unknown(fleet, name, rows)
            faults += elsewhere(fleet, name, rows)
        faults += await _type_and_region(api, fleet)
    return faults


async def _type_and_region(api: CoreApi, fleet: Fleet) -> list[Fault]:
    """Types and regions that the vendor's page does not list may exist all the same: the API decides if it can."""
    if fleet.machine_type not in CORE_AVAILABILITY_TYPES:
        known = fleet.machine_type in CORE_MACHINE_TYPES
        return [] if known else [Fault(place(fleet, "machineType"), f"the vendor lists no {fleet.machine_type}")]
    try:
        await api.availability(fleet.region, fleet.machine_type)
    except Refused as error:
        key = "region" if fleet.region not in CORE_REGIONS else "machineType"
        return [Fault(place(fleet, key), f"the provider refuses it: {error.message}")]
    return []
