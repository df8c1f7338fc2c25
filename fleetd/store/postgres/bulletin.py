"""What the lease's holder leaves in the database for the others: how everything stands; and what they read there."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from fleetd.store.postgres.database import Database, one
from fleetd.store.postgres.holder import Holder, holder_of
from fleetd.store.postgres.lease import ENROLLED, FRESH, TTL, Lease
from fleetd.store.postgres.schema import Cursor

_LEVEL = 1
"""Of the compression: a report of ten thousand machines is to cost milliseconds."""


@dataclass(frozen=True, slots=True)
class Bulletin:
    """How everything stands, as a holder has said it last."""

    epoch: int
    """Of the holder that has said it."""
    said_at: datetime
    """By the database's clock: for comparing two, and for nothing else."""
    age: float
    """Seconds since then."""
    report: bytes | None
    """As it was left; None of one that the reader has."""


@dataclass(frozen=True, slots=True)
class Running:
    """One replica that runs now."""

    about: str
    config: str
    """The file that it runs on."""
    digest: str
    """Of what that file says; "" where it has not told."""
    fault: str
    """Why its last reload was rejected; "" where it was not."""
    holds: bool
    """Whether it has the lease."""


@dataclass(frozen=True, slots=True)
class Heard:
    """All that a replica learns of the others at one look."""

    holder: Holder
    bulletin: Bulletin | None
    takeovers: Mapping[str, int]
    """How often the lease was taken, by the reason."""
    replicas: Sequence[Running]


def for_bulletins(lease: Lease) -> Database:
    """The connection on which the lease's holder leaves them."""
    return Database(lease.address, "fleetd bulletin", enter=lease.enter, allowed=lease.check)


def packed(report: bytes) -> bytes:
    """As ``leave`` wants it. Takes milliseconds for a megabyte."""
    return zlib.compress(report, _LEVEL)


async def roll(cursor: Cursor) -> Heard:
    """Who has the lease and who stands by, without what the holder has said."""
    return await hear(cursor, whole=False)


async def leave(database: Database, epoch: int, report: bytes) -> None:
    """Say how everything stands, in place of what was said before.

    Args:
        database: behind the lease's fence.
        epoch: of the lease.
        report: ``packed``.

    Raises:
        LockLost: the lease is not this process's any more.
        StateAway, StateUnusable: the database cannot be asked.
    """

    async def say(cursor: Cursor) -> None:
        await cursor.execute(
            "INSERT INTO bulletin (epoch, said_at, report) VALUES (%s, clock_timestamp(), %s) "
            "ON CONFLICT (one) DO UPDATE "
            "SET epoch = excluded.epoch, said_at = excluded.said_at, report = excluded.report",
            (epoch, report),
        )

    await database.write(say)


async def hear(cursor: Cursor, known: datetime | None = None, *, whole: bool = True) -> Heard:
    """Everything that is there now.

    Args:
        cursor: in a transaction.
        known: when the bulletin was said that the reader has.
        whole: whether the bulletin's report is wanted at all: it may be megabytes.
    """
    holder = await holder_of(cursor)
    row = await one(
        cursor,
        "SELECT epoch, said_at, extract(epoch FROM clock_timestamp() - said_at), "
        "CASE WHEN %s AND said_at IS DISTINCT FROM %s THEN report END FROM bulletin",
        (whole, known),
    )
    bulletin = None
    if row is not None:
        epoch, said_at, age, report = row
        text = None if report is None else zlib.decompress(report)
        bulletin = Bulletin(int(epoch), said_at, max(float(age), 0.0), text)
    await cursor.execute("SELECT reason, often FROM takeover")
    takeovers = {str(reason): int(often) for reason, often in await cursor.fetchall()}
    await cursor.execute(
        "SELECT about, config, digest, fault, id IS NOT DISTINCT FROM (SELECT holder FROM lease) FROM replica "
        "WHERE expires_at > clock_timestamp() + make_interval(secs => %s) ORDER BY about",
        ((ENROLLED - FRESH) * TTL,),
    )
    replicas = [Running(str(a), str(c), str(d), str(f), bool(h)) for a, c, d, f, h in await cursor.fetchall()]
    return Heard(holder, bulletin, takeovers, replicas)
