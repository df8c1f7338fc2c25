"""The dialects that a run can speak, by the name that ``--dialect`` takes."""

from __future__ import annotations

from dataclasses import dataclass

from fleetd.cloud.core.factory import open_core_cloud
from tests.sim.life import OpenCloud


@dataclass(frozen=True, slots=True)
class Dialect:
    """How the daemon reaches the simulated account, and how its config says so."""

    name: str
    kind: str
    """``provider.kind``."""
    open_cloud: OpenCloud
    base: str = ""
    """What follows the simulator's address."""
    parameters: str = 'size = 50\nbillingType = "hourly"\ntemplateId = "tbu200wi"'
    """The create call's parameters beside region and machine type."""


CORE = Dialect("core", "paperspace-core", open_core_cloud)
DIALECTS = {CORE.name: CORE}
