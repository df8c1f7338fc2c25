"""The lease: which replica acts on an account. One row, told to be over by the database's clock and no other.

Its holder is named by an id of its own and by the epoch that it was given, and every write of the journal locks the
row and asks for both: a takeover waits for writes under way and sees them, and the holder before it writes nothing
any more. What the database cannot see is a process that was paused: it may wake with a call in its hand. So the
kernel ends it: a timer of what is left of the lease, set anew at each renewal.
"""

from __future__ import annotations

import math
import secrets
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import TypeVar

import anyio
import psycopg
import structlog

from fleetd.model.errors import LockLost, StateAway, StateUnusable, StoreError
from fleetd.store.postgres import schema
from fleetd.store.postgres.address import Address
from fleetd.store.postgres.database import Database, Job, Line, failure, held_by, lost, one
from fleetd.store.postgres.holder import Holder, holder_of
from fleetd.store.postgres.schema import Cursor

log = structlog.get_logger(__name__)

T = TypeVar("T")

TTL = 15.0
"""Seconds that the lease lasts from its last renewal."""
RENEWAL = 5.0
"""Seconds between renewals."""
SCAN = 0.5
"""Seconds between a standby's looks, and between tries of a renewal that failed."""
SOON = 0.01
"""Seconds between two of a standby's looks at the least."""
RESERVE = 1.5
"""Seconds before its end at which a holder that could not renew gives up: to end by itself, before the timer does."""
ENROLLED = 4
"""For so many times the lease's length a replica counts as running since it said so last."""
FRESH = 1.6
"""A replica that has said for so many times the lease's length nothing does not stand by any more."""
_NOT_OURS = "another replica has taken it, it has ended, or the database was restored from a backup"
BELL = "fleetd_lease"
"""The channel on which the lease's end is told."""


class Lease:
    """One process's hold on the account.

    Args:
        address: the database.
        about: this process in words, for others: host, pid.
        fuse: sets the kernel's timer to so many seconds, 0 is off.
        monotonic: seconds that run on while the process is paused, as the kernel's timer does.
    """

    def __init__(
        self,
        address: Address,
        about: str,
        *,
        ttl: float = TTL,
        fuse: Callable[[float], object],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.address = address
        self.about = about
        self.ttl = ttl
        self.epoch = 0
        self.reason = ""
        """How this process came by it, as ``Holder.reason``."""
        self.config = ("", "")
        """The config file that this process runs on, and a digest of it: for the other replicas."""
        self.fault = ""
        """Why the last reload was rejected, for them as well; printable."""
        self._id = secrets.token_hex(16)
        self.taken_at: datetime | None = None
        """When it was taken, by the database's clock; None before that."""
        self._table = 0
        """The number of the table that the lease was taken in: one of another number came out of a backup."""
        self._fuse = fuse
        self._monotonic = monotonic
        self._until: float | None = None
        """By this process's monotonic clock, counted from before the renewal was sent; None before it was taken."""
        self._why: str | None = None
        self._line = Line(address, "fleetd lease")

    @property
    def held(self) -> bool:
        """Whether this process may act, as far as it knows."""
        return self._left > 0

    @property
    def _left(self) -> float:
        """Seconds for which this process may act yet, unless it renews the lease."""
        if self._until is None or self._why is not None:
            return 0.0
        return self._until - min(RESERVE, self.ttl / 4) - self._monotonic()

    def check(self) -> None:
        """Make sure that the lease has not ended by this process's own clock.

        Raises:
            LockLost: it has, or somebody else has taken it.
        """
        if not self.held:
            raise self._lost("it could not be renewed in time")

    async def enter(self, cursor: Cursor) -> None:
        """Begin a writing transaction: the row is locked until it ends, so that nobody takes the lease meanwhile.

        Raises:
            LockLost: somebody has taken it, or it has ended.
        """
        row = await one(
            cursor,
            "SELECT 1 FROM lease WHERE holder = %s AND epoch = %s AND tableoid = %s "
            "AND expires_at > clock_timestamp() FOR SHARE",
            (self._id, self.epoch, self._table),
        )
        if row is None:
            raise self._lost(_NOT_OURS)

    async def look(self) -> Holder:
        """Who has it.

        Raises:
            StateAway, StateUnusable: the database cannot be asked.
        """
        return await self.ask(holder_of)

    async def take(self) -> Holder | None:
        """Take it where nobody has it: who had it before; None where somebody has it.

        Raises:
            StateMoved: the journal is somewhere else by now.
            StateAway, StateUnusable: the database cannot be asked.
        """
        began = self._monotonic()

        async def take(cursor: Cursor) -> Holder | None:
            # The lock first: who changes the tables has it, and what is asked afterwards is asked of the new ones.
            await cursor.execute("SELECT 1 FROM lease FOR UPDATE")
            await schema.check(cursor, str(self.address))
            before = await holder_of(cursor)
            # Whose lease has run out has ended with it, or stands still: nobody is to hand over to it. An upgrade of
            # the tables goes on counting it, for what stands still may wake.
            await cursor.execute(
                "UPDATE replica SET expires_at = clock_timestamp() + make_interval(secs => %s) "
                "WHERE id = (SELECT holder FROM lease WHERE expires_at <= clock_timestamp()) "
                "AND expires_at > clock_timestamp() + make_interval(secs => %s)",
                ((ENROLLED - FRESH) * TTL, (ENROLLED - FRESH) * TTL),
            )
            row = await one(
                cursor,
                "UPDATE lease SET holder = %(me)s, epoch = epoch + 1, about = %(about)s, since = clock_timestamp(), "
                "expires_at = clock_timestamp() + make_interval(secs => %(ttl)s), previous = about, ended = '', "
                "reason = CASE WHEN epoch = 0 THEN 'first' WHEN holder IS NOT NULL THEN 'expired' "
                "WHEN ended = '' THEN 'given_back' ELSE ended END "
                "WHERE holder IS NULL OR expires_at <= clock_timestamp() OR holder = %(me)s "
                "RETURNING epoch, reason, tableoid, since",
                {"me": self._id, "about": self.about, "ttl": self.ttl},
            )
            if row is None:
                return None
            await cursor.execute(
                "INSERT INTO takeover (reason, often) VALUES (%s, 1) "
                "ON CONFLICT (reason) DO UPDATE SET often = takeover.often + 1",
                (row[1],),
            )
            await self._enrol(cursor)
            self.epoch, self.reason, self._table, self.taken_at = int(row[0]), str(row[1]), int(row[2]), row[3]
            return before

        if not (await self.look()).over:
            return None
        taken = await self.ask(take)
        if taken is not None:
            self._why = None
            self._extend(began)
        return taken

    async def keep(self) -> None:
        """Renew it for as long as the process acts.

        Raises:
            LockLost: it is lost; the process ends.
        """
        wait = every = self.ttl * RENEWAL / TTL
        while True:
            await anyio.sleep(min(wait, self._left))
            self.check()
            try:
                # Whoever is cut off is answered by nobody: it is not to wait for that until its timer ends it.
                await self.renew(within=self._left)
                wait = every
            except (StateAway, StateUnusable) as error:
                log.warning("lease.renewal_failed", error=str(error))
                wait = min(SCAN, self.ttl / 10)

    async def renew(self, *, within: float = math.inf) -> None:
        """Renew it once, within so many seconds.

        Raises:
            LockLost: somebody else has it, or it has ended.
            StateAway, StateUnusable: the database cannot be asked.
        """
        began = self._monotonic()

        async def renew(cursor: Cursor) -> bool:
            row = await one(
                cursor,
                "UPDATE lease SET expires_at = clock_timestamp() + make_interval(secs => %s) "
                "WHERE holder = %s AND epoch = %s AND tableoid = %s AND expires_at > clock_timestamp() RETURNING 1",
                (self.ttl, self._id, self.epoch, self._table),
            )
            await self._enrol(cursor)
            return row is not None

        if not await self.ask(renew, within=within):
            raise self._lost(_NOT_OURS)
        self._extend(began)

    async def give_back(self, how: str = "given_back") -> None:
        """End it now, and tell those who wait for it. What cannot be told, the lease's own end tells.

        ``how``: the reason of the takeover that follows.
        """

        async def give(cursor: Cursor) -> None:
            await cursor.execute(
                "UPDATE lease SET holder = NULL, expires_at = clock_timestamp(), ended = %s "
                "WHERE holder = %s AND epoch = %s",
                (how, self._id, self.epoch),
            )
            await cursor.execute(f"NOTIFY {BELL}")

        if self._until is not None and self._why is None:
            with suppress(StoreError):
                await self.ask(give)
        self._lost("it was given back")
        self.disarm()

    def disarm(self) -> None:
        """Put the timer out: nothing of this process acts any more, so its end may take its time."""
        self._fuse(0)

    async def enrol(self) -> None:
        """Say that this process runs, and which tables it knows: they are not changed under it."""
        await self.ask(self._enrol)

    async def aclose(self) -> None:
        """Strike this process off, and close the connection."""

        async def leave(cursor: Cursor) -> None:
            await cursor.execute("DELETE FROM replica WHERE id = %s", (self._id,))

        with suppress(StoreError):
            if self._line.db is not None:
                await self.ask(leave)
        await self._line.drop()

    async def heard(self, seconds: float) -> None:
        """Wait until somebody gives the lease back, at most so long.

        Raises:
            StateAway, StateUnusable: the database cannot be asked.
        """
        try:
            db = await self._line.connected()
            await db.execute(f"LISTEN {BELL}")
            async for _ in db.notifies(timeout=seconds, stop_after=1):
                return
        except psycopg.Error as error:
            await self._line.drop()
            raise failure(error, self.address) from error

    async def _enrol(self, cursor: Cursor) -> None:
        await cursor.execute(
            "INSERT INTO replica (id, format, about, config, digest, fault, expires_at) VALUES "
            "(%(id)s, %(format)s, %(about)s, %(config)s, %(digest)s, %(fault)s, "
            "clock_timestamp() + make_interval(secs => %(ttl)s)) "
            "ON CONFLICT (id) DO UPDATE SET expires_at = excluded.expires_at, config = excluded.config, "
            "digest = excluded.digest, fault = excluded.fault",
            {
                "id": self._id,
                "format": schema.VERSION,
                "about": self.about,
                "config": self.config[0],
                "digest": self.config[1],
                "fault": self.fault,
                "ttl": ENROLLED * self.ttl,
            },
        )
        await cursor.execute("DELETE FROM replica WHERE expires_at < clock_timestamp() - interval '1 day'")

    def _lost(self, why: str) -> LockLost:
        """It is not this process's any more: for this reason, unless there was one before."""
        self._why = self._why or why
        return lost(self.address, self._why)

    def _extend(self, began: float) -> None:
        self._until = began + self.ttl
        self._fuse(max(self._until - self._monotonic(), 0.001))

    async def ask(self, job: Job[T], *, within: float = math.inf) -> T:
        """One transaction on this process's own connection, tried once: its caller asks again.

        ``within``: seconds after which it counts as not answered, where it would not before.

        Raises:
            StateAway, StateUnusable: the database cannot be asked.
        """
        try:
            with anyio.fail_after(min(max(self.ttl / 3, 1.0), within)):
                db = await self._line.connected()
                async with db.transaction(), db.cursor() as cursor:
                    return await job(cursor)
        except psycopg.Error as error:
            await self._line.drop()
            raise failure(error, self.address) from error
        except TimeoutError as error:
            await self._line.drop()
            raise StateAway(f"{self.address} does not answer in time") from error


def pause(left: float, age: float) -> float:
    """Seconds until a standby looks again: to be there when the lease ends, and to see soon what else becomes of it.

    Args:
        left: ``Holder.left``.
        age: seconds since that was answered.
    """
    return min(SCAN, max(left - age, SOON))


def fenced(lease: Lease) -> Database:
    """The journal's connection of the lease's holder."""
    return Database(lease.address, "fleetd journal", enter=lease.enter, allowed=lease.check)


def between_holders(address: Address) -> Database:
    """A connection for those who act on nothing: they write while nobody has the lease, and only then."""

    async def enter(cursor: Cursor) -> None:
        await cursor.execute("SELECT 1 FROM lease FOR UPDATE")
        await schema.check(cursor, str(address))
        holder = await holder_of(cursor)
        if not holder.over:
            raise held_by(address, holder.about)

    return Database(address, "fleetd command", enter=enter, allowed=lambda: None)


def kernel_fuse(seconds: float) -> None:
    """Arm a kernel timer that kills this process after so many seconds; 0 disarms it.

    The timer goes on while the process is stopped (SIGSTOP, a frozen group): it is dead before it runs on. It stands
    still with the whole machine (a suspended guest).
    """
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
    signal.setitimer(signal.ITIMER_REAL, seconds)
