"""The create call's parameters, dialect by dialect: what a ``[fleets.NAME.machine]`` table may hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from fleetd.model.vendor import CORE_CREATE_PARAMETERS, CORE_CREATE_REQUIRED, ParameterType
from fleetd.model.vendor_v1 import V1_CREATE_PARAMETERS, V1_CREATE_REQUIRED

CREATE_PARAMETERS: Mapping[str, Mapping[str, ParameterType]] = MappingProxyType(
    {"paperspace-core": CORE_CREATE_PARAMETERS, "paperspace": V1_CREATE_PARAMETERS}
)
CREATE_REQUIRED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"paperspace-core": CORE_CREATE_REQUIRED, "paperspace": V1_CREATE_REQUIRED}
)

OWN_NAMES = frozenset({"machineName", "name"})
"""What fleetd fills in itself."""

SECRETS = frozenset({"password"})
"""What must not stand in a file."""


def settable() -> Iterator[tuple[str, ParameterType, tuple[str, ...]]]:
    """Every parameter that a config may give: its name, its type, and the dialects that have it."""
    types = {name: kind for table in CREATE_PARAMETERS.values() for name, kind in table.items()}
    for name in sorted(types.keys() - OWN_NAMES - SECRETS):
        yield name, types[name], tuple(d for d, table in CREATE_PARAMETERS.items() if name in table)
