"""``fleetd check --online``: whether the account has what a config's fleets name."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping
from typing import Any

from fleetd.cloud.http import FORBIDDEN
from fleetd.cloud.inquiry import Rows, by_id, elsewhere, place, unknown
from fleetd.cloud.paperspace import wire
from fleetd.cloud.paperspace.api import PaperspaceApi
from fleetd.cloud.port import Json
from fleetd.cloud.reading import whole
from fleetd.model.errors import Fault, Refused, Unavailable
from fleetd.model.fleet import Fleet
from fleetd.model.regions import normal_region
from fleetd.model.settings import Settings
from fleetd.model.vendor import CORE_REGIONS


async def inquire(api: PaperspaceApi, settings: Settings) -> list[Fault]:
    """What is wrong, with what would be right. An empty list proves key, templates, networks, scripts and types.

    No call lists the regions: one is taken for real where the account has something in it, or the vendor's Core page
    names it.

    Raises:
        CloudError: the account could not be asked; ``Unauthorized`` when it is the key.
    """
    templates = by_id([*await api.templates(), *await api.custom_templates()])
    networks, scripts = by_id(await api.networks()), by_id(await api.scripts())
    placed = (*templates.values(), *networks.values())
    seen = {normal_region(str(row["region"])) for row in placed if row.get("region")}
    regions = sorted(seen | set(CORE_REGIONS))
    faults = [*await _standing(api), *await _room(api, settings)]
    for fleet in settings.fleets:
        for name, rows in (("templateId", templates), ("networkId", networks), ("startupScriptId", scripts)):
            faults += unknown(fleet, name, rows)
            faults += elsewhere(fleet, name, rows)
        faults += _disabled(fleet, scripts)
        faults += _machine_type(fleet, templates)
        if fleet.region not in regions:
            problem = f"nothing of the account is in {fleet.region}; regions that are known: {', '.join(regions)}"
            faults.append(Fault(place(fleet, "region"), problem))
    return faults


async def _standing(api: PaperspaceApi) -> list[Fault]:
    standing = await _if_seen(api.account_standing())
    if standing.get("isInGoodStanding") is not False and standing.get("isAdminLocked") is not True:
        return []
    messages = standing.get("messages")
    said = "; ".join(str(m) for m in messages) if isinstance(messages, list) and messages else "it does not say why"
    return [Fault("provider", f"the vendor does not let the account make machines: {said}")]


async def _room(api: PaperspaceApi, settings: Settings) -> list[Fault]:
    """Whether the account may have as many machines as the fleets want at the most."""
    team = (await _if_seen(api.session())).get("team")
    most = whole(team.get("maxMachines")) if isinstance(team, dict) else None
    wanted = sum(max([f.target, *(w.target or 0 for w in f.windows)]) for f in settings.fleets)
    if most is None or most < 0 or wanted <= most:
        return []
    return [Fault("fleets", f"the targets come to {wanted} machines, and the account may have {most}")]


async def _if_seen(asked: Awaitable[Json]) -> Json:
    """The answer; empty where the key may manage machines and not see the account."""
    try:
        return await asked
    except Refused:
        return {}
    except Unavailable as error:
        if error.status != FORBIDDEN:
            raise
        return {}


def _disabled(fleet: Fleet, scripts: Rows) -> list[Fault]:
    script = scripts.get(str(fleet.parameters.get("startupScriptId")))
    if script is None or script.get("isEnabled") is not False:
        return []
    return [Fault(place(fleet, "startupScriptId"), f"{script.get('name')} is disabled: it would not run")]


def _machine_type(fleet: Fleet, templates: Rows) -> list[Fault]:
    """A type that no template has now is sold out, which no config can help; one that this template has not is."""
    kind, path = fleet.machine_type, place(fleet, "machineType")
    template = templates.get(str(fleet.parameters.get("templateId")))
    anywhere = wire.available(templates.values(), kind)
    if anywhere is None:
        return [Fault(path, f"no template lists {kind}; they list {', '.join(_types(templates.values())) or 'none'}")]
    if template is None or not anywhere or wire.available([template], kind):
        return []
    right = ", ".join(_types([template], available=True)) or "none now"
    return [Fault(path, f"template {template.get('name')} cannot be had on {kind}; it can on {right}")]


def _types(templates: Iterable[Mapping[str, Any]], *, available: bool = False) -> list[str]:
    return sorted({kind for kind, now in wire.offers(templates) if now or not available})
