"""The database made ready for this version."""

from __future__ import annotations

from fleetd.store.postgres import schema
from fleetd.store.postgres.address import Address
from fleetd.store.postgres.database import session


async def prepared(address: Address, *, moving: bool = False) -> None:
    """Make the tables, or bring them up to date; ``moving`` as in ``schema.prepare``.

    Raises:
        StateLocked: replicas of an older version run.
        StateMoved: the journal is somewhere else by now.
        StateAway, StateUnusable: the database cannot be used.
    """
    async with session(address, "fleetd tables") as db:
        await schema.prepare(db, str(address), moving=moving)
