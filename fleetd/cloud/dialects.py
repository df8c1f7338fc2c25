"""The dialects that are spoken, by the names that a config gives them. A further one is a module and a line here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from fleetd.cloud.core.cloud import CAPABILITIES as CORE
from fleetd.cloud.core.factory import open_core_api, open_core_cloud
from fleetd.cloud.core.inquiry import inquire as inquire_core
from fleetd.cloud.paperspace.cloud import CAPABILITIES as V1
from fleetd.cloud.paperspace.factory import open_paperspace_api, open_paperspace_cloud
from fleetd.cloud.paperspace.inquiry import inquire as inquire_paperspace
from fleetd.cloud.port import Capabilities, Cloud, MachinesApi
from fleetd.model.errors import Fault
from fleetd.model.settings import Settings


@dataclass(frozen=True, slots=True)
class Dialect:
    """One way to speak to a provider. Both openers take what ``open_core_cloud`` takes."""

    open_cloud: Callable[..., Cloud]
    """For the engine."""
    open_api: Callable[..., MachinesApi]
    """Call for call, by hand."""
    inquire: Callable[[Any, Settings], Awaitable[list[Fault]]]
    """What the account lacks of what a config names; asks by what ``open_api`` gave."""
    capabilities: Capabilities
    """What its ``Cloud`` can do, for those who have none open."""
    simulated_path: str = ""
    """Where below its URL the simulator speaks it."""


DIALECTS: Mapping[str, Dialect] = MappingProxyType(
    {
        "paperspace-core": Dialect(open_core_cloud, open_core_api, inquire_core, CORE),
        "paperspace": Dialect(open_paperspace_cloud, open_paperspace_api, inquire_paperspace, V1, "/v1"),
    }
)
"""By ``ProviderSettings.dialect``."""
