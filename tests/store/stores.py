"""The stores that keep the journal's contract, each opened as its daemon opens it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from fleetd.store.port import Journal
from fleetd.store.sqlite import SqliteJournal
from tests.support.inline_executor import InlineExecutor

if TYPE_CHECKING:
    from fleetd.store.postgres.lease import Lease
    from tests.sim.replicas.server import Server


class Store(Protocol):
    async def open(self, *, threaded: bool = False) -> Journal: ...

    async def aclose(self) -> None: ...


class FileStore:
    def __init__(self, path: Path) -> None:
        self._path = path

    async def open(self, *, threaded: bool = False) -> Journal:
        return await SqliteJournal.open(
            self._path, executor=None if threaded else InlineExecutor(), busy_timeout=0.05
        )

    async def aclose(self) -> None:
        """Nothing is left open."""


class ServerStore:
    def __init__(self, lease: Lease) -> None:
        self.lease = lease

    @classmethod
    async def make(cls, url: str, about: str = "test") -> ServerStore:
        from fleetd.store.postgres.address import Address
        from fleetd.store.postgres.lease import Lease
        from fleetd.store.postgres.opening import prepared

        address = Address(url)
        await prepared(address)
        lease = Lease(address, about, ttl=60, fuse=lambda _seconds: None)
        assert await lease.take() is not None
        return cls(lease)

    async def open(self, *, threaded: bool = False) -> Journal:
        from fleetd.store.postgres.journal import PostgresJournal
        from fleetd.store.postgres.lease import fenced

        return PostgresJournal(fenced(self.lease))

    async def aclose(self) -> None:
        await self.lease.give_back()
        await self.lease.aclose()


@contextmanager
def stand_in(monotonic: Callable[[], float] = time.monotonic) -> Iterator[tuple[str, Server]]:
    """The database's stand-in of the simulation, and its address; for tests that hold it to the real one.

    Args:
        monotonic: the server's clock.
    """
    from tests.sim.replicas.driver import WAY, Way, on_stand_in
    from tests.sim.replicas.server import Server

    server = Server(monotonic, random.Random(1))
    server.flush = (0.0, 0.0)
    with on_stand_in(lambda _url: server):
        WAY.set(Way("test", random.Random(2), latency=(0.0, 0.0)))
        yield "postgresql://stand-in/fleetd", server
