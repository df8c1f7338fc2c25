"""Replicas and the database that they share, in virtual time: on the stand-in, as ``test_contract`` has it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio

from fleetd.store.postgres.address import Address
from fleetd.store.postgres.lease import Lease
from tests.sim.replicas.driver import WAY
from tests.sim.replicas.server import Server
from tests.store.stores import stand_in


class Stage:
    """A database, replicas that want its lease, and what becomes of their timers."""

    def __init__(self, url: str, server: Server) -> None:
        self.server = server
        self.address = Address(url)
        self.way = WAY.get()
        self.paused = 0.0
        """Seconds that the processes' own clock has run on while they did not."""
        self.fused: list[tuple[float, float]] = []
        """When a timer was set, and to how many seconds."""
        self.leases: list[Lease] = []

    def lease(self, about: str = "a", **ttl: float) -> Lease:
        made = Lease(self.address, about, **ttl, fuse=self._fuse, monotonic=self._monotonic)
        self.leases.append(made)
        return made

    async def taken(self, about: str = "a", **ttl: float) -> Lease:
        lease = self.lease(about, **ttl)
        assert await lease.take() is not None
        return lease

    @property
    def renewed(self) -> list[float]:
        """When the lease's row was changed."""
        return [tenure.at for tenure in self.server.tenures]

    @property
    def ends(self) -> float:
        """When the lease ends, by the database's clock."""
        return self.server.tenures[-1].expires_at

    def sql(self, text: str, *cells: object) -> list[tuple[Any, ...]]:
        return self.server.asked(text, *cells)

    def take_away(self) -> None:
        self.sql("UPDATE lease SET holder = 'another', epoch = epoch + 1")

    def _fuse(self, seconds: float) -> None:
        self.fused.append((self.server.now(), seconds))

    def _monotonic(self) -> float:
        return anyio.current_time() + self.paused


@asynccontextmanager
async def staged() -> AsyncIterator[Stage]:
    with stand_in(anyio.current_time) as (url, server):
        stage = Stage(url, server)
        yield stage
        assert server.misunderstood == []
        for lease in stage.leases:
            await lease.aclose()
