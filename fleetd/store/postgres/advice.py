"""What a server is set to that makes promises weaker: for ``check --online``."""

from __future__ import annotations

import psycopg

from fleetd.store.postgres.address import Address
from fleetd.store.postgres.database import connect, failure, one


async def advice(address: Address) -> list[str]:
    """One line each.

    Raises:
        StateAway, StateUnusable: the server cannot be asked.
    """
    db = await connect(address, "fleetd check")
    try:
        async with db.cursor() as cursor:
            row = await one(
                cursor,
                "SELECT current_setting('fsync'), current_setting('full_page_writes'), "
                "current_setting('synchronous_standby_names'), pg_is_in_recovery(), "
                "current_setting('server_encoding')",
            )
    except psycopg.Error as error:
        raise failure(error, address) from error
    finally:
        await db.close()
    if row is None:
        return []
    fsync, pages, standbys, follows, encoding = row
    found = []
    if follows:
        found.append(f"{address} is a server that only follows another: name the one that leads")
    if encoding != "UTF8":
        found.append(
            f"the database in {address} has the encoding {encoding}, and no replica starts on it: "
            "make it with encoding UTF8"
        )
    if fsync != "on" or pages != "on":
        found.append(f"the server of {address} does not sync (fsync, full_page_writes): a crash loses the journal")
    if not standbys:
        found.append(
            f"the server of {address} commits without waiting for a standby (synchronous_standby_names is empty): "
            "should it fail over to one, the last commits are lost, a hold among them perhaps"
        )
    return found
