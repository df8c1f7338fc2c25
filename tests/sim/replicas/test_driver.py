"""The driver's stand-in, where a connection ends at an awkward moment."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

import pytest

pytest.importorskip("psycopg")

import psycopg
from psycopg import errors

from tests.sim.replicas.driver import Connection, Way
from tests.sim.replicas.server import Server
from tests.support.virtual_time import run_virtual, virtual_loop

LOST = errors.AdminShutdown("server closed the connection unexpectedly")


class Awkward(Way):
    """Behind the first answer that it brings, before anybody has looked at that, the connection is lost."""

    connection: Connection
    lost_once = False

    def carry(self, lane: list[float], deliver: Callable[[], None]) -> None:
        def bring() -> None:
            deliver()
            if lane is self.connection._back and not self.lost_once:
                self.lost_once = True
                self.connection.fail(LOST)

        super().carry(lane, bring)


async def _told_something(connection: Connection) -> None:
    async for _ in connection.notifies(timeout=5.0, stop_after=1):
        pass


USES: dict[str, Callable[[Connection], Awaitable[object]]] = {
    "a statement": lambda connection: connection.execute("SELECT 1"),
    "waiting for word": _told_something,
}


@pytest.mark.parametrize("used", USES)
def test_a_connection_that_is_lost_right_behind_an_answer_says_so_at_its_next_use(used: str) -> None:
    async def story() -> None:
        way = Awkward("a", random.Random(1))
        way.connection = connection = Connection(way, Server(virtual_loop().time, random.Random(2)))
        await connection.execute("LISTEN fleetd")
        assert way.lost_once
        with pytest.raises(psycopg.OperationalError, match="unexpectedly"):
            await USES[used](connection)
        assert connection.closed

    run_virtual(story)
