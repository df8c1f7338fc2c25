"""Words that ``fleetd check --online`` has in common on every dialect."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fleetd.model.errors import Fault
from fleetd.model.fleet import Fleet
from fleetd.model.lists import some
from fleetd.model.regions import normal_region

Rows = Mapping[str, Mapping[str, Any]]
"""What an account has of one kind, by id."""


def by_id(rows: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Rows of a listing by their ids."""
    return {str(row.get("id")): row for row in rows}


def unknown(fleet: Fleet, name: str, rows: Rows) -> list[Fault]:
    """Whether the account lacks what the fleet's parameter of that name names."""
    wanted = fleet.parameters.get(name)
    if wanted is None or str(wanted) in rows:
        return []
    return [Fault(place(fleet, name), f"the account has no {wanted}; it has {few(rows)}")]


def elsewhere(fleet: Fleet, name: str, rows: Rows) -> list[Fault]:
    """Whether what the parameter names is in another region than the fleet."""
    row = rows.get(str(fleet.parameters.get(name)))
    region = row.get("region") if row is not None else None
    if not isinstance(region, str) or normal_region(region) == fleet.region:
        return []
    return [Fault(place(fleet, name), f"is in {region}, and the fleet's region is {fleet.region}")]


def place(fleet: Fleet, name: str) -> str:
    """Where a parameter stands in the config."""
    return f"fleets.{fleet.name}.machine.{name}"


def few(rows: Rows) -> str:
    """The first of them by id, each with its name."""
    return some([f"{key} ({row.get('label') or row.get('name')})" for key, row in sorted(rows.items())], 5) or "none"
