"""The dialects that a run can speak, by the name that ``--dialect`` takes."""

from __future__ import annotations

from dataclasses import dataclass

from fleetd.cloud import dialects
from tests.sim.life import OpenCloud


@dataclass(frozen=True, slots=True)
class Dialect:
    """How the daemon reaches the simulated account, and how its config says so."""

    name: str
    kind: str
    """``provider.kind``."""
    parameters: str
    """The create call's parameters beside region and machine type."""

    @property
    def open_cloud(self) -> OpenCloud:
        """Opens the port on it."""
        return dialects.DIALECTS[self.kind].open_cloud

    @property
    def path(self) -> str:
        """What follows the simulator's address."""
        return dialects.DIALECTS[self.kind].simulated_path


CORE = Dialect("core", "paperspace-core", 'size = 50\nbillingType = "hourly"\ntemplateId = "tbu200wi"')
V1 = Dialect("v1", "paperspace", 'diskSize = 50\ntemplateId = "tbu200wi"')
DIALECTS = {dialect.name: dialect for dialect in (CORE, V1)}
