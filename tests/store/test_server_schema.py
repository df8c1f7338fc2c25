"""What the tables of a database say of themselves, and who makes or changes them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

pytest.importorskip("psycopg")

from fleetd.model.errors import FleetdError, StateLocked, StateMoved, StateUnusable
from fleetd.store.postgres import schema
from fleetd.store.postgres.schema import MIGRATIONS, OLDEST_READER, VERSION, Connection, check, prepare

WHERE = "postgresql://db/fleetd"
NEWEST = (VERSION, OLDEST_READER, None, None)


class Tables:
    """A database of which no more is known than what it answers; what it is told is kept."""

    def __init__(self, meta: tuple[Any, ...] | None = None, *, empty: bool = False) -> None:
        self.meta = meta
        """The one row of the table ``fleetd``."""
        self.is_there = empty or meta is not None
        """Whether there is that table."""
        self.told: list[str] = []
        self.meanwhile: Callable[[], None] = lambda: None
        """What others have done once they let go of the tables."""
        self.encoding, self.others = "UTF8", 0
        self.older: list[str] = []
        """Replicas of an older version that run on it."""
        self.locked = 0
        """How often whoever makes tables was waited for."""
        self._answer: list[tuple[Any, ...]] = []

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        yield

    @asynccontextmanager
    async def cursor(self) -> AsyncIterator[Tables]:
        yield self

    async def execute(self, sql: str, cells: tuple[Any, ...] = ()) -> None:
        words = " ".join(sql.split())
        self._answer = []
        match words:
            case _ if words.startswith("SELECT EXISTS"):
                self._answer = [(self.is_there,)]
            case _ if "FROM fleetd" in words:
                self._answer = [self.meta] if self.meta is not None else []
            case _ if "pg_advisory_xact_lock" in words:
                self.locked += 1
                self.meanwhile()
            case _ if words.startswith("SHOW"):
                self._answer = [(self.encoding,)]
            case _ if words.startswith("SELECT count"):
                self._answer = [(self.others,)]
            case _ if words.startswith("INSERT INTO fleetd"):
                self.is_there, self.meta = True, (0, 1, None, None)
            case _ if words.startswith("UPDATE fleetd"):
                self.meta = (*cells, None, None)
            case _ if "FROM replica" in words:
                self.told.append(words)
                self._answer = [(about,) for about in self.older]
            case _:
                self.told.append(words)

    async def fetchone(self) -> tuple[Any, ...] | None:
        return self._answer[0] if self._answer else None

    async def fetchall(self) -> list[tuple[Any, ...]]:
        return self._answer

    async def prepared(self, **moving: bool) -> None:
        await prepare(cast("Connection", self), WHERE, **moving)


MOVED, ARRIVING = "/var/lib/fleetd on a", "/var/lib/fleetd on b"


@pytest.mark.parametrize("moving", [False, True])
@pytest.mark.parametrize(
    ("tables", "format_", "kind", "words"),
    [
        pytest.param(Tables(), 0, None, "", id="none yet"),
        pytest.param(Tables(empty=True), 0, None, "", id="a table without its row"),
        pytest.param(Tables((2, 1, None, None)), 2, None, "", id="older"),
        pytest.param(Tables(NEWEST), VERSION, None, "", id="of this version"),
        pytest.param(Tables((VERSION + 4, VERSION, None, None)), VERSION + 4, None, "", id="newer, and fit for this"),
        pytest.param(
            Tables((VERSION + 4, VERSION + 1, None, None)),
            *(None, StateUnusable, f"its format is {VERSION + 4}, this one knows up to {VERSION}"),
            id="newer",
        ),
        pytest.param(
            Tables((VERSION + 4, VERSION + 1, MOVED, None)), None, StateUnusable, "newer fleetd", id="newer and moved"
        ),
    ],
)
async def test_which_format_the_tables_have(
    tables: Tables, format_: int | None, kind: type[FleetdError] | None, words: str, moving: bool
) -> None:
    if kind is None:
        assert await check(cast("Any", tables), WHERE, moving=moving) == format_
        return
    with pytest.raises(kind, match=words):
        await check(cast("Any", tables), WHERE, moving=moving)


@pytest.mark.parametrize("version", [1, 2, 3])
async def test_a_version_before_the_table_of_leases_refuses_a_database_with_one(
    version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would see none of them, and stop a machine that somebody uses."""
    monkeypatch.setattr(schema, "VERSION", version)
    with pytest.raises(StateUnusable, match="newer fleetd"):
        await Tables(NEWEST).prepared()


@pytest.mark.parametrize(
    ("meta", "words"),
    [
        (
            (VERSION, OLDEST_READER, MOVED, None),
            f"was moved from {WHERE} to {MOVED}: nothing runs on what is left here",
        ),
        (
            (VERSION, OLDEST_READER, None, ARRIVING),
            f"is being moved from {ARRIVING} to {WHERE}, and has not come whole",
        ),
        ((1, 1, MOVED, None), f"was moved from {WHERE} to {MOVED}"),
    ],
)
async def test_what_a_move_has_left_is_used_by_the_move_alone(meta: tuple[Any, ...], words: str) -> None:
    for ask in (lambda t: check(t, WHERE), lambda t: t.prepared()):
        tables = Tables(meta)
        with pytest.raises(StateMoved, match=words):
            await ask(tables)
        assert tables.told == []
    moving = Tables(meta)
    assert await check(cast("Any", moving), WHERE, moving=True) == meta[0]
    await moving.prepared(moving=True)
    assert cast("tuple[Any, ...]", moving.meta)[:2] == (VERSION, OLDEST_READER)


def statements(since: int = 0) -> list[str]:
    return [" ".join(statement.split()) for step in MIGRATIONS[since:] for statement in step]


async def test_a_blank_database_gets_the_tables_step_by_step() -> None:
    tables = Tables()
    await tables.prepared()
    made, *told = tables.told
    assert made.startswith("CREATE TABLE IF NOT EXISTS fleetd (")
    assert [sql for sql in told if "replica IN ACCESS" not in sql and "FROM replica" not in sql] == statements()
    assert tables.meta == NEWEST
    tables.told.clear()
    tables.locked = 0
    await tables.prepared()
    assert (tables.told, tables.locked) == ([], 0), "who starts on them waits for nobody"


async def test_tables_stay_as_they_are_while_older_replicas_run() -> None:
    tables = Tables((1, 1, None, None))
    tables.older = ["a, pid 1", "b, pid 2"]
    with pytest.raises(StateLocked, match=rf"run on {WHERE} \(a, pid 1, b, pid 2\): end them first"):
        await tables.prepared()
    assert not [sql for sql in tables.told if sql.startswith(("ALTER", "CREATE"))]
    assert tables.meta == (1, 1, None, None)


@pytest.mark.parametrize("cut", range(1, VERSION))
async def test_an_upgrade_that_is_cut_short_shuts_out_no_version_that_knows_what_was_made(
    cut: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = Tables((cut, 1, None, None))
    monkeypatch.setattr(schema, "MIGRATIONS", MIGRATIONS[: cut + 1])
    monkeypatch.setattr(schema, "VERSION", VERSION + 1)
    with pytest.raises(IndexError):
        await tables.prepared()
    assert tables.meta == (cut + 1, cut + 1, None, None)
    monkeypatch.setattr(schema, "VERSION", cut + 1)
    await tables.prepared()


@pytest.mark.parametrize("version", range(1, VERSION))
async def test_older_tables_are_brought_up_to_date_once_no_older_replica_runs(version: int) -> None:
    tables = Tables((version, 1, None, None))
    await tables.prepared()
    lock, older, *_ = tables.told
    assert lock == "LOCK TABLE lease, replica IN ACCESS EXCLUSIVE MODE"
    assert "FROM replica WHERE expires_at > clock_timestamp() AND format < %s" in older
    assert [sql for sql in tables.told if sql not in {lock, older}] == statements(version)
    assert tables.meta == NEWEST


@pytest.mark.parametrize("found", [None, (1, 1, None, None)])
async def test_tables_that_another_has_made_meanwhile_are_not_made_again(found: tuple[Any, ...] | None) -> None:
    tables = Tables(found)

    def made() -> None:
        tables.is_there, tables.meta = True, NEWEST

    tables.meanwhile = made
    await tables.prepared()
    assert tables.told == []


async def test_what_was_moved_away_meanwhile_is_left_as_it_is() -> None:
    tables = Tables((1, 1, None, None))
    tables.meanwhile = lambda: setattr(tables, "meta", (1, 1, MOVED, None))
    with pytest.raises(StateMoved):
        await tables.prepared()
    assert tables.told == []


@pytest.mark.parametrize(
    ("encoding", "others", "words"),
    [
        ("LATIN1", 0, f"the database in {WHERE} has the encoding LATIN1: make it with encoding UTF8"),
        ("SQL_ASCII", 0, "has the encoding SQL_ASCII"),
        ("UTF8", 1, f"{WHERE} has tables of somebody else: give fleetd a database, or a schema, of its own"),
        ("UTF8", 40, "has tables of somebody else"),
    ],
)
@pytest.mark.parametrize("empty", [False, True])
async def test_a_database_that_is_not_blank_is_left_as_it_is(
    encoding: str, others: int, words: str, empty: bool
) -> None:
    tables = Tables(empty=empty)
    tables.encoding, tables.others = encoding, others
    with pytest.raises(StateUnusable, match=words):
        await tables.prepared()
    assert (tables.told, tables.meta) == ([], None)


def test_who_makes_the_tables_keeps_out_every_other_version() -> None:
    """The lock's number is agreed on: two versions that begin at once must not make them side by side."""
    assert int.from_bytes(b"fltd") == schema._MAKING
