"""What ``check --online`` says of the database: of roles, and of what stands between fleetd and the server."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import anyio
import pytest

pytest.importorskip("psycopg")

from fleetd.model.errors import StateUnusable
from fleetd.store.postgres.address import Address
from fleetd.store.postgres.advice import Sessions, advice, pooled
from fleetd.store.postgres.advice import _server as server_advice
from fleetd.store.postgres.opening import prepared
from tests.store.stores import stand_in
from tests.support.ports import free_port
from tests.support.virtual_time import virtual

ADDRESS = Address("postgresql://db/fleetd")
ON_A_SERVER = pytest.mark.peer("postgres")


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (Sessions(7, 8, 7, "3s"), None),
        (Sessions(7, 7, 8, "3s"), "shares sessions between transactions"),
        (Sessions(7, 8, 9, "3s"), "shares sessions between transactions"),
        (Sessions(7, 8, None, "3s"), "shares sessions between transactions"),
        (Sessions(7, 7, 7, "3s"), "shares sessions between transactions"),
        (Sessions(7, 7, 8, "0"), "shares sessions between transactions"),
        (Sessions(7, 8, 7, "0"), "idle_in_transaction_session_timeout is 0, not 3s"),
        (Sessions(7, 8, 7, "1min"), "idle_in_transaction_session_timeout is 1min, not 3s"),
    ],
)
def test_a_pooler_is_known_by_what_becomes_of_sessions(seen: Sessions, words: str | None) -> None:
    said = pooled(seen, ADDRESS)
    if words is None:
        assert said is None
    else:
        assert said is not None
        assert words in said
        assert "name the server itself" in said


class Answers:
    """A server, by what it says of its settings."""

    def __init__(self, **settings: Any) -> None:
        said = {"fsync": "on", "pages": "on", "standbys": "b", "follows": False, "encoding": "UTF8", **settings}
        self._row = tuple(said.values())

    async def execute(self, _sql: bytes, _cells: object) -> None: ...

    async def fetchone(self) -> tuple[Any, ...]:
        return self._row


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        pytest.param({}, [], id="as it is to be"),
        pytest.param({"fsync": "off"}, ["does not sync"], id="fsync is off"),
        pytest.param({"pages": "off"}, ["does not sync"], id="full_page_writes is off"),
        pytest.param({"fsync": "off", "pages": "off"}, ["does not sync"], id="both"),
        pytest.param({"standbys": ""}, ["commits without waiting for a standby"], id="no standby is waited for"),
        pytest.param({"follows": True}, ["only follows another: name the one that leads"], id="it follows"),
        pytest.param({"encoding": "LATIN1"}, ["has the encoding LATIN1"], id="another encoding"),
        pytest.param(
            {"encoding": "SQL_ASCII", "standbys": "", "fsync": "off", "follows": True},
            ["only follows", "the encoding SQL_ASCII", "does not sync", "commits without"],
            id="all of it",
        ),
    ],
)
async def test_what_of_a_server_makes_promises_weaker_is_said(settings: dict[str, Any], words: list[str]) -> None:
    found = await server_advice(cast("Any", Answers(**settings)), ADDRESS)
    assert len(found) == len(words)
    for line, part in zip(found, words, strict=True):
        assert part in line
        assert "db/fleetd" in line


@virtual
async def test_what_a_server_refuses_to_tell_is_said_and_nothing_stays_open() -> None:
    with stand_in(anyio.current_time) as (url, server):
        with pytest.raises(StateUnusable, match="stand-in/fleetd refuses a statement"):
            await advice(Address(url))
        await anyio.sleep(1)
        assert (server.sessions, len(server.misunderstood)) == ([], 1)


OWN_SCHEMA = "CREATE SCHEMA app; GRANT USAGE ON SCHEMA app TO {role}; ALTER ROLE {role} SET search_path = app"
TO_ALL_TABLES = "GRANT {rights} ON ALL TABLES IN SCHEMA public TO {role}"


@ON_A_SERVER
@pytest.mark.parametrize(
    ("made", "sql", "words"),
    [
        pytest.param(False, "SELECT 1", "may make no tables in the schema public", id="as PostgreSQL 15 has it"),
        pytest.param(False, "GRANT CREATE ON SCHEMA public TO {role}", None, id="what is advised"),
        pytest.param(False, OWN_SCHEMA, "may make no tables in the schema app", id="a schema of its own, closed"),
        pytest.param(False, f"{OWN_SCHEMA}; GRANT CREATE ON SCHEMA app TO {{role}}", None, id="a schema of its own"),
        pytest.param(
            False, "ALTER ROLE {role} SET search_path = nowhere", "finds no schema", id="a schema that is not there"
        ),
        pytest.param(True, "SELECT 1", "may not read and write backoff, bill, ", id="the tables are another's"),
        pytest.param(
            True, TO_ALL_TABLES.format(rights="SELECT", role="{role}"), "may not read and write", id="to look at"
        ),
        pytest.param(
            True,
            f"{TO_ALL_TABLES.format(rights='ALL', role='{role}')}; GRANT CREATE ON SCHEMA public TO {{role}}",
            "but not change them (backoff, ",
            id="to use, and to make more",
        ),
        pytest.param(
            False, "CREATE TABLE theirs (a BIGINT)", "may make no tables in the schema public", id="another's alone"
        ),
        pytest.param(
            True, TO_ALL_TABLES.format(rights="ALL", role="{role}"), "but not change them (backoff, ", id="to use"
        ),
        pytest.param(
            True, "REASSIGN OWNED BY {owner} TO {role}", "but not change them (it may make none", id="its own tables"
        ),
        pytest.param(
            True, "GRANT {owner} TO {role}; GRANT CREATE ON SCHEMA public TO {role}", None, id="a member of the owner"
        ),
    ],
)
async def test_what_a_role_may_not_do_is_said_with_what_to_do(
    postgres: Any, made: bool, sql: str, words: str | None
) -> None:
    from tests.support.postgres import execute

    url = postgres.create()
    database = urlsplit(url).path[1:]
    owner, role = f"owner_{database}", f"role_{database}"
    execute(url, f"CREATE ROLE {owner} LOGIN; CREATE ROLE {role} LOGIN; GRANT CREATE ON SCHEMA public TO {owner}")
    if made:
        await prepared(Address(postgres.url(database, owner)))
    execute(url, sql.format(role=role, owner=owner))
    address = Address(postgres.url(database, role))
    said = [line for line in await advice(address) if line.startswith(role)]
    assert len(said) == (words is not None), said
    if words is not None:
        assert words in said[0]
        assert f" TO {role}" in said[0]
    if words is None:
        await prepared(address)
    elif not made:  # what is said is so
        with pytest.raises(StateUnusable):
            await prepared(address)


@contextmanager
def pooler(postgres: Any, url: str, **settings: str) -> Iterator[str]:
    """A real PgBouncer before the server; the URL of a database through it."""
    port, name = free_port(), urlsplit(url).path[1:]
    given = {"listen_addr": "127.0.0.1", "listen_port": port, "unix_socket_dir": "", "auth_type": "any", **settings}
    databases = f"[databases]\n{name} = host=127.0.0.1 port={postgres.port} user=fleetd\n"
    become: list[str] = []
    with tempfile.TemporaryDirectory(prefix="fleetd-pool-") as place:
        config = Path(place, "pgbouncer.ini")
        config.write_text(databases + "\n".join(["[pgbouncer]", *(f"{k} = {v}" for k, v in given.items())]) + "\n")
        if os.getuid() == 0:  # it refuses root
            become = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
            shutil.chown(place, "postgres")
        with subprocess.Popen([*become, "pgbouncer", "-q", str(config)], cwd="/") as process:
            try:
                _wait_for(port, process)
                yield f"postgresql://fleetd@127.0.0.1:{port}/{name}"
            finally:
                process.terminate()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(100):
        assert process.poll() is None, "pgbouncer ended"
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError("pgbouncer does not answer")


DROPS = {"ignore_startup_parameters": "options,extra_float_digits"}


@ON_A_SERVER
@pytest.mark.peer("pgbouncer")
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"pool_mode": "transaction", **DROPS}, "shares sessions between transactions"),
        ({"pool_mode": "transaction", "default_pool_size": "1", **DROPS}, "shares sessions between transactions"),
        ({"pool_mode": "session", **DROPS}, "idle_in_transaction_session_timeout is 0, not 3s"),
    ],
    ids=["transactions", "one connection", "sessions"],
)
async def test_a_real_pooler_is_known(postgres: Any, tmp_path: Path, settings: dict[str, str], words: str) -> None:
    url = postgres.create()
    with pooler(postgres, url, **settings) as through:
        said = [line for line in await advice(Address(through)) if "name the server itself" in line]
    assert len(said) == 1
    assert words in said[0]
    assert not [line for line in await advice(Address(url)) if "name the server itself" in line]


@ON_A_SERVER
@pytest.mark.peer("pgbouncer")
async def test_a_pooler_that_refuses_what_a_session_is_set_to_is_called_one(postgres: Any) -> None:
    """As PgBouncer does unless it is told to drop it. It was taken for a database that does not answer."""
    with (
        pooler(postgres, postgres.create(), pool_mode="session") as through,
        pytest.raises(StateUnusable, match="leads to a pooler that refuses"),
    ):
        await advice(Address(through))
