"""The v1 API dialect: ``PaperspaceCloud`` for the engine, ``PaperspaceApi`` for the commands that go by hand."""

from __future__ import annotations

from fleetd.cloud.paperspace.api import PaperspaceApi
from fleetd.cloud.paperspace.cloud import PaperspaceCloud
from fleetd.cloud.paperspace.factory import open_paperspace_api, open_paperspace_cloud, paperspace_client

__all__ = ["PaperspaceApi", "PaperspaceCloud", "open_paperspace_api", "open_paperspace_cloud", "paperspace_client"]
