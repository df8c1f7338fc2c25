"""What a command on one host asks of the replica that acts, on another: written down, answered, or withdrawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import anyio
import psycopg

from fleetd.model.errors import StoreError
from fleetd.store.postgres.address import Address
from fleetd.store.postgres.database import Database, Line, failure, one, only
from fleetd.store.postgres.lease import Lease
from fleetd.store.postgres.schema import Cursor

ASKED, ANSWERED = "fleetd_asked", "fleetd_answered"
"""Channels on which a request, and an answer, is told."""
LOOK = 1.0
"""Seconds between looks where nothing was heard."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request to the control socket of whoever acts."""

    id: int
    method: str
    path: str
    body: str
    """JSON, or nothing."""
    actor: str


class Bell:
    """A connection that listens. It is made anew when it is lost: until then looks alone tell."""

    def __init__(self, address: Address, channel: str) -> None:
        self._channel = channel
        self._line = Line(address, "fleetd bell")

    async def heard(self, seconds: float) -> None:
        """Wait until it rings, at most so long. Where it cannot listen, wait so long."""
        try:
            before, db = self._line.db, await self._line.connected()
            if db is not before:
                await db.execute(f"LISTEN {self._channel}")
                return  # what rang before it listened is found by a look
            async for _ in db.notifies(timeout=seconds, stop_after=1):
                return
        except (psycopg.Error, StoreError):
            await self.aclose()
            await anyio.sleep(seconds)

    async def aclose(self) -> None:
        """Listen no more."""
        await self._line.drop()


async def claimed(database: Database) -> Sequence[Request]:
    """The requests that wait, which are this process's from now on; ``database`` is behind the lease's fence."""

    async def claim(cursor: Cursor) -> list[Request]:
        await cursor.execute("DELETE FROM request WHERE expires_at < clock_timestamp() - interval '1 hour'")
        await cursor.execute(
            "UPDATE request SET taken = TRUE WHERE NOT taken AND expires_at > clock_timestamp() "
            "RETURNING id, method, path, body, actor"
        )
        return [Request(int(n), *map(str, rest)) for n, *rest in await cursor.fetchall()]

    async def waiting(cursor: Cursor) -> bool:
        return await one(cursor, "SELECT 1 FROM request WHERE NOT taken LIMIT 1") is not None

    return await database.write(claim, repeatable=False) if await database.read(waiting) else []


async def answer(database: Database, request: Request, status: int, text: str) -> None:
    """Leave the answer to a request."""

    async def leave(cursor: Cursor) -> None:
        await cursor.execute("UPDATE request SET status = %s, answer = %s WHERE id = %s", (status, text, request.id))
        await cursor.execute(f"NOTIFY {ANSWERED}")

    await database.write(leave)


class Requester:
    """One command's connection to whoever acts."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._line = Line(address, "fleetd command")
        self._bell = Bell(address, ANSWERED)
        self._left = ""
        """What became of what was asked, where the database fails from now on."""

    async def ask(self, method: str, path: str, body: str, actor: str, *, seconds: float) -> tuple[int, bytes] | bool:
        """The status and text of the answer; else whether it was withdrawn, untouched, when the time was over.

        Raises:
            StateAway, StateUnusable: the database cannot be asked. What was asked may be carried out.
        """
        try:
            return await self._ask(method, path, body, actor, seconds)
        except psycopg.Error as error:
            failed = failure(error, self._address)
            raise type(failed)(f"{failed}{self._left}") from error
        finally:
            await self._bell.aclose()
            await self._line.drop()

    async def _ask(self, method: str, path: str, body: str, actor: str, seconds: float) -> tuple[int, bytes] | bool:
        async with (await self._line.connected()).cursor() as cursor:
            if method != "GET":
                self._left = "; what was asked may have been done, or be done yet: fleetd status says"
            (number,) = await only(
                cursor,
                "INSERT INTO request (method, path, body, actor, expires_at) "
                "VALUES (%s, %s, %s, %s, clock_timestamp() + make_interval(secs => %s)) RETURNING id",
                (method, path, body, actor, seconds),
            )
            await cursor.execute(f"NOTIFY {ASKED}")
            ends = anyio.current_time() + seconds
            while (left := ends - anyio.current_time()) > 0:
                row = await one(
                    cursor,
                    "DELETE FROM request WHERE id = %s AND status IS NOT NULL RETURNING status, answer",
                    (number,),
                )
                if row is not None:
                    return int(row[0]), str(row[1]).encode()
                await self._bell.heard(min(left, LOOK))
            row = await one(cursor, "DELETE FROM request WHERE id = %s AND NOT taken RETURNING 1", (number,))
            return row is not None


def for_requests(lease: Lease) -> Database:
    """The connection on which the lease's holder takes requests and leaves answers."""
    return Database(lease.address, "fleetd requests", enter=lease.enter, allowed=lease.check)
