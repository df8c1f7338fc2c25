"""The simulator as a config's ``[provider.simulator]`` describes it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from fleetd.simulator.fault_file import load_faults
from fleetd.simulator.server import SimServer, serve
from fleetd.simulator.world import World


@dataclass(frozen=True, slots=True)
class Boot:
    """How to start: the keys of ``[provider.simulator]`` that are about the simulator."""

    speed: float = 1.0
    seed: int = 0
    faults: Path | None = None
    latency: timedelta = timedelta(0)
    machines: Sequence[Mapping[str, Any]] = field(default_factory=tuple)
    """Machines of other people, as ``World.add_machine`` takes them: name, state, id, machine_type, ..."""

    @classmethod
    def from_settings(cls, table: Mapping[str, Any]) -> Boot:
        """From ``ProviderSettings.simulator``; what is not about the simulator itself (``dialect``) is left out."""
        return cls(
            **{name: table[name] for name in ("speed", "seed", "faults", "latency", "machines") if name in table}
        )


@asynccontextmanager
async def boot(
    how: Boot,
    *,
    key: str | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
) -> AsyncIterator[SimServer]:
    """A world as described, served until the block is left.

    Args:
        how: what to start with.
        key: the key to accept; None accepts any that is not empty.
        host: address to listen on.
        port: 0 takes a free one.

    Raises:
        ConfigError: the file of faults cannot be used.
        FleetdError: the address cannot be listened on.
    """
    faults = load_faults(how.faults) if how.faults is not None else ()
    world = World(seed=how.seed, speed=how.speed)
    for machine in how.machines:
        world.add_machine(**machine)
    latency = how.latency.total_seconds()
    async with serve(world, key=key, host=host, port=port, latency=latency, faults=faults) as server:
        yield server
