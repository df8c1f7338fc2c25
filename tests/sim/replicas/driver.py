"""The driver's stand-in: what fleetd uses of psycopg's connections, on a network that is late, swallows and cuts.

    with on_stand_in(server):                    # fleetd's connections lead there now
        way = Way("a", random.Random(7))         # one process's way to the server
        WAY.set(way)                             # in the process's own context
        ...
        way.cut(); way.mend()                    # what is sent meanwhile arrives later, if its session is still there
        way.close()                              # the process is no more: the kernel closes its connections

What has been sent goes its way whatever becomes of the process: the server's side runs in a context of its own.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol
from unittest import mock

import psycopg
from psycopg import errors

from fleetd.store.postgres import database
from tests.sim.replicas.server import Result, Row, Server, Session
from tests.sim.replicas.sql import Cells

CONNECT = 5.0
"""Seconds after which a connection that does not come about is given up: fleetd's ``connect_timeout``."""
UNACKNOWLEDGED = 8.0
"""Seconds after which the kernel gives up what nobody acknowledges: fleetd's ``tcp_user_timeout``."""


class Way:
    """One process's way to the server.

    Args:
        who: whose it is.
        rng: draws how late everything is, and what becomes of commits whose answer is lost.
    """

    def __init__(self, who: str, rng: random.Random, *, latency: tuple[float, float] = (0.0002, 0.002)) -> None:
        self.who = who
        self.latency = latency
        self.check: Callable[[], None] = lambda: None
        """Raises where the process is no more."""
        self.wall: Callable[[], float] = lambda: 0.0
        """The process's own wall clock, which must not count: a broken build asks it."""
        self.losing = 0
        """How many of the next commits lose their answer, or never arrive."""
        self.losing_next: str | None = None
        """Where the very next one does: ``before`` or ``after``."""
        self.lost = 0
        """How many did."""
        self._rng = rng
        self._cut: float | None = None
        self._held: list[Callable[[], None]] = []
        self._connections: list[Connection] = []
        self._context = contextvars.Context()

    @property
    def is_cut(self) -> bool:
        return self._cut is not None

    def cut(self) -> None:
        """From now on nothing gets through, and nobody says so."""
        if self._cut is None:
            self._cut = _now()
            self._later(UNACKNOWLEDGED, self._give_up)

    def mend(self) -> None:
        """What was sent meanwhile, and has not been given up, arrives."""
        self._cut = None
        held, self._held = self._held, []
        for deliver in held:
            deliver()

    def close(self) -> None:
        """The process has ended: its kernel closes what it had open, after what it had sent."""
        for connection in list(self._connections):
            connection.hang_up()

    def carry(self, lane: list[float], deliver: Callable[[], None]) -> None:
        """Bring something over, in order within its lane."""
        at = max(_now() + self._rng.uniform(*self.latency), lane[0])
        lane[0] = at

        def arrive() -> None:
            if self._cut is None:
                deliver()
            else:
                self._held.append(deliver)

        self._later(at - _now(), arrive)

    def opened(self, connection: Connection) -> None:
        self._connections.append(connection)

    def closed(self, connection: Connection) -> None:
        self._connections.remove(connection)

    def loses_commit(self) -> str | None:
        """Whether a commit that arrives now loses its answer: ``before`` it was made, or ``after``; or not."""
        when, self.losing_next = self.losing_next, None
        if when is None and self.losing > 0:
            self.losing -= 1
            when = self._rng.choice(("before", "after"))
        self.lost += when is not None
        return when

    def serve(self, call: Any) -> None:
        """Run something of the server's."""
        task = asyncio.get_running_loop().create_task(call, context=self._context)
        _SERVING.add(task)
        task.add_done_callback(_SERVING.discard)

    def _give_up(self) -> None:
        if self._cut is None:
            return
        for connection in list(self._connections):
            if (
                connection.waits_since is not None
                and max(connection.waits_since, self._cut) + UNACKNOWLEDGED <= _now()
            ):
                connection.fail(errors.OperationalError("could not receive data from server: Connection timed out"))
        self._later(0.5, self._give_up)

    def _later(self, seconds: float, call: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_later(max(0.0, seconds), call, context=self._context)


WAY: contextvars.ContextVar[Way] = contextvars.ContextVar("way")
_SERVING: set[asyncio.Task[None]] = set()


@dataclass(frozen=True, slots=True)
class Notice:
    """What a ``NOTIFY`` of somebody's brings."""

    channel: str


class Connection:
    """As fleetd has it of ``psycopg.AsyncConnection``: one message under way at a time."""

    def __init__(self, way: Way, server: Server) -> None:
        self.closed = False
        self.broken = False
        self.waits_since: float | None = None
        self._way = way
        self._session = Session(server, way.who, self._noticed, way.wall)
        self._session.on_end = self._session_ended
        self._there, self._back = [0.0], [0.0]
        self._waiter: asyncio.Future[Result] | None = None
        self._bell: asyncio.Event = asyncio.Event()
        self._notices: list[Notice] = []
        self._why: psycopg.Error | None = None
        self._begins = False
        way.opened(self)

    async def execute(self, text: str, cells: Cells = ()) -> Result:
        """One statement, its answer awaited."""
        self._way.check()
        if self.closed:
            raise errors.OperationalError("the connection is closed")
        if self._why is not None:
            self._close(self._why)
            raise self._why
        waiter: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiter, self.waits_since = waiter, _now()
        begins, self._begins = self._begins, False
        self._way.carry(self._there, lambda: self._arrive(text, cells, waiter, begins=begins))
        try:
            return await waiter
        except asyncio.CancelledError:
            # psycopg would ask the server to cancel, and wait: anyio cancels that as well, and it closes.
            self.fail(None)
            raise
        finally:
            self._waiter = self.waits_since = None

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        self._begins = True  # sent with the first statement: until then the server has nothing to do
        try:
            yield
        except BaseException:
            if not self.closed and not self._begins:
                await self._rolled_back()
            self._begins = False
            raise
        if self._begins:
            self._begins = False
            return
        await self.execute("COMMIT")

    @asynccontextmanager
    async def cursor(self) -> AsyncIterator[Cursor]:
        yield Cursor(self)

    async def notifies(self, *, timeout: float, stop_after: int) -> AsyncIterator[Notice]:
        """What it is told within so many seconds; ends after the first."""
        assert stop_after == 1
        self._way.check()
        if not self._notices and self._why is None:
            self._bell.clear()
            self.waits_since = _now()
            try:
                await asyncio.wait_for(self._bell.wait(), timeout)
            except TimeoutError:
                return
            finally:
                self.waits_since = None
        if self._why is not None:
            self._close(self._why)
            raise self._why
        heard, self._notices = self._notices, []
        for notice in heard[:stop_after]:
            yield notice

    async def close(self) -> None:
        """Say goodbye, without waiting for anything."""
        self._way.check()
        self.fail(None)

    def hang_up(self) -> None:
        """The process at this end is gone."""
        self.fail(None)

    def fail(self, why: psycopg.Error | None) -> None:
        """It is of no use any more: who waits learns of it now, else whoever uses it next; the server when it can."""
        if self.closed:
            return
        waiter = self._waiter if self._waiter is not None and not self._waiter.done() else None
        if why is not None and waiter is None:  # or who waits has its answer, and has not looked yet
            self._why = why
            self._bell.set()
            return
        if waiter is not None and why is not None:
            waiter.set_exception(why)
        self._close(why)

    def _close(self, why: psycopg.Error | None) -> None:
        self.closed, self.broken, self._why = True, why is not None, why
        self._way.closed(self)
        self._bell.set()
        self._way.carry(self._there, self._session.hang_up)

    async def _rolled_back(self) -> None:
        try:
            await self.execute("ROLLBACK")
        except psycopg.Error:
            self.fail(None)  # psycopg warns and leaves it at that: the connection says of itself what it is

    def _arrive(self, text: str, cells: Cells, waiter: asyncio.Future[Result], *, begins: bool) -> None:
        """A message has come to the server: what waits for nobody is answered at once."""
        if begins:
            self._session.begin()
        if not self._session.answers_at_once(text):
            self._way.serve(self._served(text, cells, waiter))
            return
        try:
            result = self._session.do_now(text, cells)
        except psycopg.Error as error:
            self._answer(waiter, None, error)
        else:
            self._answer(waiter, result, None)

    async def _served(self, text: str, cells: Cells, waiter: asyncio.Future[Result]) -> None:
        lost = self._way.loses_commit() if text == "COMMIT" and self._session.wrote else None
        if lost == "before":
            self._session.end(errors.AdminShutdown("server closed the connection unexpectedly"))
            return
        try:
            result = await self._session.do(text, cells)
        except psycopg.Error as error:
            self._answer(waiter, None, error)
            return
        if lost == "after":
            self._session.end(errors.AdminShutdown("server closed the connection unexpectedly"))
            return
        self._answer(waiter, result, None)

    def _answer(self, waiter: asyncio.Future[Result], result: Result | None, error: psycopg.Error | None) -> None:
        def bring() -> None:
            if waiter.done():
                return
            if error is not None:
                waiter.set_exception(error)
            else:
                waiter.set_result(result or Result())

        self._way.carry(self._back, bring)

    def _session_ended(self, why: psycopg.Error) -> None:
        self._way.carry(self._back, lambda: self.fail(why))

    def _noticed(self, channel: str) -> None:
        def bring() -> None:
            self._notices.append(Notice(channel))
            self._bell.set()

        self._way.carry(self._back, bring)


class Cursor:
    """As fleetd has it of ``psycopg.AsyncCursor``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._result = Result()
        self._read = 0

    @property
    def rowcount(self) -> int:
        return self._result.count

    async def execute(self, sql: str | bytes, cells: Cells = ()) -> None:
        text = sql.decode() if isinstance(sql, bytes) else sql
        self._result, self._read = await self._connection.execute(text, cells), 0

    async def fetchone(self) -> Row | None:
        rows = self._result.rows[self._read : self._read + 1]
        self._read += len(rows)
        return rows[0] if rows else None

    async def fetchall(self) -> list[Row]:
        rows, self._read = self._result.rows[self._read :], len(self._result.rows)
        return rows


class _Connect(Protocol):
    async def connect(self, url: str, **options: Any) -> Connection: ...


class Driver:
    """In place of ``psycopg.AsyncConnection``: leads to the server of an address."""

    def __init__(self, servers: Callable[[str], Server], real: _Connect | None = None) -> None:
        self._servers = servers
        self._real = real

    async def connect(self, url: str, **options: Any) -> Connection:
        """As psycopg's: within ``connect_timeout``, or not at all."""
        if not url.startswith("postgresql://stand-in/"):
            assert self._real is not None
            return await self._real.connect(url, **options)
        way, server = WAY.get(), self._servers(url)
        way.check()
        loop = asyncio.get_running_loop()
        done: asyncio.Future[bool] = loop.create_future()
        lane = [0.0]

        def answer(up: bool) -> None:
            way.carry(lane, lambda: None if done.done() else done.set_result(up))

        way.carry(lane, lambda: answer(server.up))
        try:
            up = await asyncio.wait_for(done, CONNECT)
        except TimeoutError:
            raise errors.ConnectionTimeout("connection timeout expired") from None
        way.check()
        if not up or not server.up:
            raise errors.OperationalError("connection refused")
        return Connection(way, server)


@contextmanager
def on_stand_in(servers: Callable[[str], Server], *, besides: _Connect | None = None) -> Iterator[None]:
    """fleetd's connections to ``postgresql://stand-in/...`` lead there; ``besides``: to where all others do."""
    with mock.patch.object(database, "AsyncConnection", Driver(servers, besides)):
        yield


def _now() -> float:
    return asyncio.get_running_loop().time()
