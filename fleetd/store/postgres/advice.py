"""What of a server, or the way to it, makes promises weaker or keeps replicas away: for ``check --online``."""

from __future__ import annotations

from dataclasses import dataclass

import anyio

from fleetd.store.postgres.address import Address
from fleetd.store.postgres.database import IDLE_IN_TRANSACTION, only, session
from fleetd.store.postgres.schema import Connection, Cursor

PATIENCE = 5.0
"""Seconds for a statement beside an open transaction: a pool that has one connection only never answers it."""
INSTEAD = "name the server itself, or a pool that gives each client a session (pool_mode = session) with its settings"


async def advice(address: Address) -> list[str]:
    """One line each.

    Raises:
        StateAway, StateUnusable: the server cannot be asked.
    """
    async with session(address, "fleetd check") as db:
        async with db.cursor() as cursor:
            found = await _server(cursor, address)
            rights = await _rights(cursor, address)
        pooler = pooled(await _sessions(db, address), address)
        return [*found, *(words for words in (rights, pooler) if words is not None)]


async def _server(cursor: Cursor, address: Address) -> list[str]:
    fsync, pages, standbys, follows, encoding = await only(
        cursor,
        "SELECT current_setting('fsync'), current_setting('full_page_writes'), "
        "current_setting('synchronous_standby_names'), pg_is_in_recovery(), "
        "current_setting('server_encoding')",
    )
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


async def _rights(cursor: Cursor, address: Address) -> str | None:
    """What this role may not do with the tables, or with the schema that they are to be in; None: nothing of note."""
    who, role, schema, place, may_create, path = await only(
        cursor,
        "SELECT current_user, quote_ident(current_user), current_schema(), quote_ident(current_schema()), "
        "has_schema_privilege(current_schema(), 'CREATE'), current_setting('search_path')",
    )
    if schema is None:
        return (
            f"{who} finds no schema in {address} that is there and open to it (search_path is {path}), "
            f"and no replica starts: CREATE SCHEMA ..., GRANT USAGE, CREATE ON SCHEMA ... TO {role}"
        )
    await cursor.execute(
        b"SELECT relname, pg_has_role(relowner, 'USAGE'), "
        b"has_table_privilege(oid, 'SELECT') AND has_table_privilege(oid, 'INSERT') "
        b"AND has_table_privilege(oid, 'UPDATE') AND has_table_privilege(oid, 'DELETE') "
        b"FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' ORDER BY relname"
    )
    tables = await cursor.fetchall()
    if not any(name == "fleetd" for name, _, _ in tables):
        if may_create:
            return None
        return (
            f"{who} may make no tables in the schema {schema} of {address}, and no replica starts: "
            f"in that database, as its owner, GRANT CREATE ON SCHEMA {place} TO {role}"
        )
    closed = ", ".join(str(name) for name, _, may_use in tables if not may_use)
    if closed:
        return (
            f"{who} may not read and write {closed} in the schema {schema} of {address}, and no replica acts: "
            f"as their owner, ALTER TABLE ... OWNER TO {role}"
        )
    others = ", ".join(str(name) for name, is_own, _ in tables if not is_own)
    if others or not may_create:
        whose = f"{others} are another role's" if others else f"it may make none in the schema {schema}"
        return (
            f"{who} may use the tables of {address}, but not change them ({whose}), and a newer fleetd may have to: "
            f"ALTER TABLE ... OWNER TO {role}, GRANT CREATE ON SCHEMA {place} TO {role}"
        )
    return None


@dataclass(frozen=True, slots=True)
class Sessions:
    """What was seen of two connections, the second in a transaction meanwhile."""

    first: int
    """The process of the server that answers the first one ..."""
    second: int
    """... and the second one, in its transaction."""
    again: int | None
    """The first one's, asked once more; None where it was not answered."""
    timeout: str
    """What the server has of ``idle_in_transaction_session_timeout``, which each connection brings along."""


def pooled(seen: Sessions, address: Address) -> str | None:
    """What a pooler between fleetd and its database spoils; None where there is none, or it spoils nothing."""
    if seen.first == seen.second or seen.again != seen.first:
        return (
            f"{address} leads to a pooler that shares sessions between transactions: what a session is set to, and "
            "what it listens for, is lost. A paused replica keeps the lease's row locked, and word of anything is "
            f"late: {INSTEAD}"
        )
    if seen.timeout != IDLE_IN_TRANSACTION:
        return (
            f"what fleetd sets for its sessions does not reach the server of {address}, as behind a pooler "
            f"(idle_in_transaction_session_timeout is {seen.timeout}, not {IDLE_IN_TRANSACTION}): a paused replica "
            f"keeps the lease's row locked: {INSTEAD}"
        )
    return None


async def _sessions(first: Connection, address: Address) -> Sessions:
    before, timeout = await _process(first)
    again = None
    async with session(address, "fleetd check") as second, second.transaction():
        beside, _ = await _process(second)
        with anyio.move_on_after(PATIENCE):
            again, _ = await _process(first)
    return Sessions(before, beside, again, timeout)


async def _process(db: Connection) -> tuple[int, str]:
    async with db.cursor() as cursor:
        sql = "SELECT pg_backend_pid(), current_setting('idle_in_transaction_session_timeout')"
        process, timeout = await only(cursor, sql)
    return int(process), str(timeout)
