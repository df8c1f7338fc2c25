"""Who has the lease, or had it last, as its row says."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from fleetd.model.errors import StateUnusable
from fleetd.store.postgres.database import one
from fleetd.store.postgres.schema import Cursor


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has the lease, or had it last."""

    about: str
    epoch: int
    since: datetime | None
    over: bool
    """Whether it has ended, or was given back."""
    given_back: bool
    """Whether nobody holds it: it was given back, or never taken."""
    reason: str
    """How it came by it: ``first``, ``given_back``, ``stepped_down`` or ``expired``; "" where that is not known."""
    previous: str
    """Who had it before."""
    left: float
    """Seconds until it ends unless it is renewed, by the database's clock when it was asked; 0 where it is over."""


async def holder_of(cursor: Cursor) -> Holder:
    """Who has the lease, in a transaction that has begun.

    Raises:
        StateUnusable: the row is gone, in which whoever takes it would be written down.
    """
    row = await one(
        cursor,
        "SELECT about, epoch, since, holder IS NULL OR expires_at <= clock_timestamp(), holder IS NULL, reason, "
        "previous, CASE WHEN holder IS NULL THEN 0 "
        "ELSE greatest(extract(epoch FROM expires_at - clock_timestamp()), 0) END FROM lease",
    )
    if row is None:
        raise StateUnusable(
            "the table lease has lost its row, and without it nobody acts: "
            "as its owner, INSERT INTO lease (account) VALUES ('account')"
        )
    about, epoch, since, over, given_back, reason, previous, left = row
    return Holder(
        str(about), int(epoch), since, bool(over), bool(given_back), str(reason), str(previous), float(left)
    )
