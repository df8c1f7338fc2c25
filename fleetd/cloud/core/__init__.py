"""The Core API dialect: ``CoreCloud`` for the engine, ``CoreApi`` for the commands that drive the API by hand."""

from __future__ import annotations

from fleetd.cloud.core.api import CoreApi
from fleetd.cloud.core.cloud import CoreCloud
from fleetd.cloud.core.factory import core_client, open_core_api, open_core_cloud

__all__ = ["CoreApi", "CoreCloud", "core_client", "open_core_api", "open_core_cloud"]
