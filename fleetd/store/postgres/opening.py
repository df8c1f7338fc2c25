"""The database made ready for this version."""

from __future__ import annotations

import psycopg

from fleetd.store.postgres import schema
from fleetd.store.postgres.address import Address
from fleetd.store.postgres.database import connect, failure


async def prepared(address: Address, *, moving: bool = False) -> None:
    """Make the tables, or bring them up to date; ``moving`` as in ``schema.prepare``.

    Raises:
        StateLocked: replicas of an older version run.
        StateMoved: the journal is somewhere else by now.
        StateAway, StateUnusable: the database cannot be used.
    """
    db = await connect(address, "fleetd tables")
    try:
        await schema.prepare(db, str(address), moving=moving)
    except psycopg.Error as error:
        raise failure(error, address) from error
    finally:
        await db.close()
