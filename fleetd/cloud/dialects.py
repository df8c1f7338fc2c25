"""The dialects that are spoken, by the names that a config gives them. A further one is a folder and a row here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from fleetd.cloud.calls import Classify, KeyHeader
from fleetd.cloud.core import errors as core_errors
from fleetd.cloud.core.api import CoreApi
from fleetd.cloud.core.cloud import CAPABILITIES as CORE
from fleetd.cloud.core.cloud import CoreCloud
from fleetd.cloud.core.inquiry import inquire as inquire_core
from fleetd.cloud.http import HttpClient
from fleetd.cloud.paperspace import errors as v1_errors
from fleetd.cloud.paperspace.api import PaperspaceApi
from fleetd.cloud.paperspace.cloud import CAPABILITIES as V1
from fleetd.cloud.paperspace.cloud import PaperspaceCloud
from fleetd.cloud.paperspace.inquiry import inquire as inquire_paperspace
from fleetd.cloud.port import Capabilities, Cloud, MachinesApi
from fleetd.model.errors import Fault
from fleetd.model.settings import Settings


@dataclass(frozen=True, slots=True)
class Dialect:
    """One way to speak to a provider."""

    cloud: Callable[[HttpClient], Cloud]
    """For the engine."""
    api: Callable[[HttpClient], MachinesApi]
    """Call for call, by hand."""
    classify: Classify
    key_header: str
    inquire: Callable[[Any, Settings], Awaitable[list[Fault]]]
    """What the account lacks of what a config names; asks by what ``open_api`` gave."""
    capabilities: Capabilities
    """What its ``Cloud`` can do, for those who have none open."""
    key_prefix: str = ""
    simulated_path: str = ""
    """Where below its URL the simulator speaks it."""

    def client(self, base_url: str, key: Callable[[], str], **settings: Any) -> HttpClient:
        """An HTTP client; ``cloud`` and ``api`` may share one.

        ``base_url`` ends in the version where the API has one, as in ``https://api.paperspace.com/v1``. ``key`` is
        asked at every request. The other arguments are those of ``HttpClient``.
        """
        return HttpClient(base_url, KeyHeader(self.key_header, key, self.key_prefix), self.classify, **settings)

    def open_cloud(self, base_url: str, key: Callable[[], str], **settings: Any) -> Cloud:
        """What the engine drives, on a client of its own. Takes what ``client`` takes; close it with ``aclose``."""
        return self.cloud(self.client(base_url, key, **settings))

    def open_api(self, base_url: str, key: Callable[[], str], **settings: Any) -> MachinesApi:
        """The API call for call, likewise."""
        return self.api(self.client(base_url, key, **settings))


DIALECTS: Mapping[str, Dialect] = MappingProxyType(
    {
        "paperspace-core": Dialect(CoreCloud, CoreApi, core_errors.classify, "x-api-key", inquire_core, CORE),
        "paperspace": Dialect(
            PaperspaceCloud,
            PaperspaceApi,
            v1_errors.classify,
            "Authorization",
            inquire_paperspace,
            V1,
            key_prefix="Bearer ",
            simulated_path="/v1",
        ),
    }
)
"""By ``ProviderSettings.dialect``."""
