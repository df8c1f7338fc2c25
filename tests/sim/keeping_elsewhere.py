"""A site's journal on a real PostgreSQL server, which knows nothing of virtual time.

The store runs on a loop of its own, in real time; a life waits for each of its calls within one turn of its virtual
loop, as it waits for a file. So the order of events is the program's, and each call is a whole transaction.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import psycopg

from fleetd.store.postgres.address import Address
from fleetd.store.postgres.database import Database
from fleetd.store.postgres.journal import PostgresJournal
from fleetd.store.postgres.lease import Lease, fenced
from fleetd.store.postgres.opening import prepared
from fleetd.store.postgres.schema import Cursor
from fleetd.store.worker import carried_through
from tests.sim.keeping import MortalExecutor

if TYPE_CHECKING:
    from tests.sim.life import Life, Site

PATIENCE = 60.0
"""Real seconds for one call of the store, and of the lease of a life: virtual hours pass in one."""


class InDatabase:
    """Journals behind the lease's fence, in one database. To be closed."""

    def __init__(self, url: str, *, ttl: float = PATIENCE) -> None:
        self._ttl = ttl
        self._address = Address(url)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.leases: list[Lease] = []
        """Of its lives, the last one last."""
        self._reader = psycopg.connect(url, autocommit=True)
        self.wait(prepared(self._address))

    def close(self) -> None:
        self._reader.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @asynccontextmanager
    async def journal(self, life: Life, _guard: Callable[[], None]) -> AsyncIterator[Any]:
        lease = Lease(self._address, f"life {life.number}", ttl=self._ttl, fuse=lambda _seconds: None)
        self.leases.append(lease)
        assert self.wait(lease.take()) is not None, "the life before has it still"
        journal = PostgresJournal(fenced(lease))
        try:
            yield _Distant(journal, life, self.wait)
        finally:
            self.wait(journal.aclose())
            if life.dead:  # the server sees a connection end, and the lease goes on until it is over
                self.wait(lease._line.drop())
                self._reader.execute("UPDATE lease SET expires_at = clock_timestamp()")
            else:
                self.wait(lease.give_back())
                self.wait(lease.aclose())

    def free(self, name: str) -> Database:
        """A connection that asks for no lease."""

        async def enter(_cursor: Cursor) -> None:
            pass

        return Database(self._address, name, enter=enter, allowed=lambda: None)

    def rows(self, _site: Site, sql: str) -> list[tuple[Any, ...]]:
        return self._reader.execute(sql.encode()).fetchall()

    def empty(self) -> None:
        """Begin anew: nothing is in the journal, and nobody has had the lease."""
        tables = self._reader.execute(
            "SELECT string_agg(quote_ident(tablename), ', ') FROM pg_tables "
            "WHERE schemaname = current_schema() AND tablename NOT IN ('fleetd', 'lease')"
        ).fetchone()
        assert tables is not None
        self._reader.execute(f"TRUNCATE {tables[0]} RESTART IDENTITY".encode())
        self._reader.execute("UPDATE lease SET holder = NULL, epoch = 0, expires_at = '-infinity'")

    def wait(self, call: Coroutine[Any, Any, Any]) -> Any:
        """Its result; it has run on the store's loop."""
        return asyncio.run_coroutine_threadsafe(call, self._loop).result(PATIENCE)


class _Distant:
    """A journal whose calls run on the other loop, while this one stands still."""

    def __init__(self, journal: PostgresJournal, life: Life, wait: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
        self._journal = journal
        self._executor = MortalExecutor(life)
        self._wait = wait

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._journal, name)
        if not inspect.iscoroutinefunction(found):
            return found

        async def call(*arguments: Any, **named: Any) -> Any:
            def job() -> Any:
                return self._wait(found(*arguments, **named))

            return await carried_through(lambda: asyncio.get_running_loop().run_in_executor(self._executor, job))

        return call
