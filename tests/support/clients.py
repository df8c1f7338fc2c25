"""The ways to a provider, by the names that tests call them."""

from __future__ import annotations

from fleetd.cloud.dialects import DIALECTS

CORE, V1 = DIALECTS["paperspace-core"], DIALECTS["paperspace"]

core_client, open_core_cloud, open_core_api = CORE.client, CORE.open_cloud, CORE.open_api
paperspace_client, open_paperspace_cloud, open_paperspace_api = V1.client, V1.open_cloud, V1.open_api
