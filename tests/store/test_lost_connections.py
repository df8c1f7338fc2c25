"""What a call makes of a connection that fails: made anew and repeated, or said at once. On no server at all."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

pytest.importorskip("psycopg")

import psycopg
from psycopg import errors

from fleetd.model.errors import FleetdError, LockLost, StateAway, StateLocked, StateUnusable
from fleetd.store.postgres import database
from fleetd.store.postgres.address import Address
from fleetd.store.postgres.database import BETWEEN, LONGEST, PATIENCE, Database, failure, held_by, lost, one, only
from fleetd.store.postgres.lease import TTL
from tests.support.virtual_time import run_virtual

ADDRESS = Address("postgresql://db/fleetd", "hunter2")
SAID = "so the server says"


class Connection:
    """A connection of psycopg's that keeps what it is told, and may be lost."""

    def __init__(self) -> None:
        self.closed = False
        self.told: list[str] = []

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        self.told.append("BEGIN")
        try:
            yield
        except BaseException:
            self.told.append("ROLLBACK")
            raise
        self.told.append("COMMIT")

    @asynccontextmanager
    async def cursor(self) -> AsyncIterator[Connection]:
        yield self

    async def execute(self, sql: str | bytes, _cells: object = ()) -> None:
        self.told.append(sql.decode() if isinstance(sql, bytes) else sql)

    async def fetchone(self) -> tuple[str]:
        return (self.told[-1],)

    async def close(self) -> None:
        self.closed = True


class Tried:
    """A call whose job, or whose connection, fails so often, with this."""

    def __init__(
        self, fails: BaseException | None, times: float, *, breaks: bool = False, connecting: bool = False
    ) -> None:
        self.jobs, self.tries = 0, 0
        self.connections: list[Connection] = []
        self._fails, self._times, self._breaks, self._connecting = fails, times, breaks, connecting

    async def connect(self, _address: object, _name: str) -> Any:
        if self._connecting:
            await self._fail()
        self.connections.append(Connection())
        return self.connections[-1]

    async def job(self, _cursor: object) -> str:
        self.jobs += 1
        if not self._connecting:
            await self._fail()
        return "done"

    async def _fail(self) -> None:
        self.tries += 1
        if self.tries > self._times:
            return
        if self.connections:
            self.connections[-1].closed = self._breaks
        if self._fails is None:
            await asyncio.sleep(LONGEST + 1)
            raise AssertionError("it was waited for")
        raise self._fails

    def run(
        self, monkeypatch: pytest.MonkeyPatch, *, reading: bool = False, **options: bool
    ) -> tuple[str | FleetdError, float]:
        """What the call comes to, and after how many seconds."""

        async def live() -> tuple[str | FleetdError, float]:
            db = self.database(monkeypatch)
            began = asyncio.get_running_loop().time()
            try:
                result: str | FleetdError = await (db.read if reading else db.write)(self.job, **options)
            except FleetdError as error:
                result = error
            took = asyncio.get_running_loop().time() - began
            await db.aclose()
            assert all(one.closed for one in self.connections)
            return result, took

        return run_virtual(live)

    def database(self, monkeypatch: pytest.MonkeyPatch, allowed: Callable[[], None] = lambda: None) -> Database:
        async def enter(cursor: Any) -> None:
            await cursor.execute("the fence")

        monkeypatch.setattr(database, "connect", self.connect)
        return Database(ADDRESS, "test", enter=enter, allowed=allowed)


@pytest.mark.parametrize("repeatable", [True, False])
@pytest.mark.parametrize(
    ("fails", "breaks", "again"),
    [
        (errors.SerializationFailure(SAID), False, True),
        (errors.DeadlockDetected(SAID), False, True),
        (errors.ReadOnlySqlTransaction(SAID), False, True),
        (errors.OperationalError(SAID), True, True),
        (errors.AdminShutdown(SAID), True, True),
        (None, False, True),
        (errors.UniqueViolation(SAID), False, False),
        (errors.UndefinedTable(SAID), False, False),
        (errors.LockNotAvailable(SAID), False, False),
        (errors.DiskFull(SAID), False, False),
        (errors.InsufficientPrivilege(SAID), False, False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_what_another_try_may_mend_is_tried_again_on_another_connection(
    fails: Exception | None, breaks: bool, again: bool, repeatable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = Tried(fails, 1, breaks=breaks)
    result, took = tried.run(monkeypatch, repeatable=repeatable)
    # Waiting for one that does not answer takes longer than anybody has patience for.
    mended = again and repeatable and fails is not None
    assert (result == "done", tried.jobs, len(tried.connections)) == (mended, 1 + mended, 1 + mended)
    assert took == pytest.approx(LONGEST if fails is None else BETWEEN * mended)
    if not mended:
        assert isinstance(result, StateAway | StateUnusable)
        assert SAID in str(result) or "does not answer within 10 s" in str(result)
        assert isinstance(result.__cause__, TimeoutError) if fails is None else result.__cause__ is fails


@pytest.mark.parametrize("options", [{"reading": True}, {}], ids=["read", "write"])
def test_a_call_is_repeated_unless_it_is_said_that_it_must_not_be(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, bool]
) -> None:
    tried = Tried(errors.AdminShutdown(SAID), 2, breaks=True)
    result, took = tried.run(monkeypatch, **options)
    assert (result, tried.jobs, len(tried.connections)) == ("done", 3, 3)
    assert took == pytest.approx(2 * BETWEEN)


def test_where_no_connection_was_made_nothing_was_done_and_is_tried_again_whatever_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried = Tried(StateAway(SAID), 3, connecting=True)
    result, took = tried.run(monkeypatch, repeatable=False)
    assert (result, tried.tries, tried.jobs) == ("done", 4, 1)
    assert took == pytest.approx(3 * BETWEEN)


def test_what_keeps_it_from_connecting_is_said_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = StateAway(SAID)
    result, took = Tried(refused, float("inf"), connecting=True).run(monkeypatch, repeatable=False)
    assert result is refused
    assert PATIENCE < took <= PATIENCE + 2 * BETWEEN


def test_a_connection_that_was_lost_between_two_calls_is_made_anew_before_anything_is_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def live() -> None:
        tried = Tried(None, 0)
        db = tried.database(monkeypatch)
        assert await db.write(tried.job) == "done"
        assert await db.write(tried.job) == "done"
        assert len(tried.connections) == 1
        tried.connections[0].closed = True
        assert await db.write(tried.job, repeatable=False) == "done"
        assert (tried.jobs, len(tried.connections)) == (3, 2)
        await db.aclose()

    run_virtual(live)


async def _asked(cursor: Any) -> object:
    return await one(cursor, "SELECT 1")


def test_a_write_is_behind_the_fence_and_a_read_writes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def live() -> None:
        tried = Tried(None, 0)
        db = tried.database(monkeypatch)
        assert await db.write(_asked) == ("SELECT 1",)
        assert await db.read(_asked) == ("SELECT 1",)
        assert tried.connections[0].told == [
            *("BEGIN", "the fence", "SELECT 1", "COMMIT"),
            *("BEGIN", "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY", "SELECT 1", "COMMIT"),
        ]
        await db.aclose()

    run_virtual(live)


@pytest.mark.parametrize(("looks", "told"), [(1, []), (2, ["BEGIN", "the fence", "SELECT 1", "ROLLBACK"])])
def test_who_may_not_write_is_told_before_anything_and_at_the_last_moment(
    monkeypatch: pytest.MonkeyPatch, looks: int, told: list[str]
) -> None:
    """Its own clock may say so while the statements are under way: then they are not committed."""
    left = [looks]

    def allowed() -> None:
        left[0] -= 1
        if left[0] <= 0:
            raise LockLost("gone")

    async def live() -> None:
        tried = Tried(None, 0)
        db = tried.database(monkeypatch, allowed)
        with pytest.raises(LockLost):
            await db.write(_asked)
        assert [words for one in tried.connections for words in one.told] == told
        with pytest.raises(LockLost):
            db.check()
        await db.aclose()

    run_virtual(live)


def test_a_closed_one_says_so_and_connects_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    async def live() -> None:
        tried = Tried(None, 0)
        db = tried.database(monkeypatch)
        await db.aclose()
        await db.aclose()
        with pytest.raises(StateUnusable, match=r"the journal in .* is closed"):
            await db.write(tried.job)
        assert (tried.jobs, tried.connections) == (0, [])

    run_virtual(live)


class Connecting:
    """What ``AsyncConnection.connect`` is asked for, and what comes of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, comes: object = "a connection") -> None:
        self.url, self.asked = "", {}
        self._comes = comes
        monkeypatch.setattr(psycopg.AsyncConnection, "connect", self.connect)

    async def connect(self, url: str, **asked: Any) -> object:
        self.url, self.asked = url, asked
        if isinstance(self._comes, Exception):
            raise self._comes
        if self._comes is None:
            await asyncio.sleep(LONGEST + 1)
        return self._comes

    def run(self, address: Address = ADDRESS) -> tuple[object, float]:
        async def live() -> tuple[object, float]:
            began = asyncio.get_running_loop().time()
            try:
                result: object = await database.connect(address, "fleetd journal")
            except FleetdError as error:
                result = error
            return result, asyncio.get_running_loop().time() - began

        return run_virtual(live)


def settings_of(options: str) -> dict[str, str]:
    return dict(re.findall(r"-c (\w+)=((?:\\.|\S)+)", options))


def test_a_session_is_set_to_what_the_fence_is_thought_through_for(monkeypatch: pytest.MonkeyPatch) -> None:
    connecting = Connecting(monkeypatch)
    assert connecting.run() == ("a connection", 0)
    asked = connecting.asked
    assert connecting.url == ADDRESS.url
    assert (asked["autocommit"], asked["application_name"], asked["password"]) == (True, "fleetd journal", "hunter2")
    session = settings_of(asked["options"])
    wanted = {
        "synchronous_commit": "on",
        "client_encoding": "UTF8",
        "standard_conforming_strings": "on",
        "datestyle": "ISO",
        "default_transaction_isolation": r"read\ committed",
        "idle_in_transaction_session_timeout": "3s",
    }
    assert wanted.items() <= session.items()


def test_who_is_cut_off_is_noticed_on_both_ends_before_the_lease_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    connecting = Connecting(monkeypatch)
    connecting.run()
    asked, session = connecting.asked, settings_of(connecting.asked["options"])
    here = [float(asked[f"keepalives_{word}"]) for word in ("idle", "interval", "count")]
    there = [float(session[f"tcp_keepalives_{word}"]) for word in ("idle", "interval", "count")]
    for idle, interval, count in (here, there):
        assert 8 < idle + interval * count < 12 < TTL
    for milliseconds in (asked["tcp_user_timeout"], session["tcp_user_timeout"]):
        assert 5 < float(milliseconds) / 1000 < LONGEST
    lock, statement = (float(session[f"{word}_timeout"].rstrip("s")) for word in ("lock", "statement"))
    assert 3 < lock < statement < LONGEST
    assert 3 < asked["connect_timeout"] < LONGEST


def test_options_of_the_url_are_kept_beside_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    connecting = Connecting(monkeypatch)
    connecting.run()
    ours = connecting.asked["options"]
    connecting.run(Address("postgresql://db/fleetd?options=-csearch_path%3Dapp"))
    assert connecting.asked["options"] == f"{ours} -csearch_path=app"


@pytest.mark.parametrize(
    ("comes", "kind", "words", "seconds"),
    [
        (errors.OperationalError(f"authentication failed: {SAID}"), StateUnusable, "refuses this user", 0),
        (errors.OperationalError(SAID), StateAway, "does not answer", 0),
        (OSError("no route"), StateAway, "does not answer", 0),
        (None, StateAway, "does not answer", LONGEST),
    ],
)
def test_a_server_that_cannot_be_reached_is_away_and_one_that_refuses_is_not(
    monkeypatch: pytest.MonkeyPatch, comes: object, kind: type[FleetdError], words: str, seconds: float
) -> None:
    told, took = Connecting(monkeypatch, comes).run()
    assert type(told) is kind
    assert words in str(told)
    assert took == pytest.approx(seconds)


def test_it_is_tried_for_no_longer_than_there_is_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = Tried(errors.SerializationFailure(SAID), float("inf"))
    result, took = tried.run(monkeypatch, repeatable=True)
    assert type(result) is StateAway
    assert PATIENCE < took <= PATIENCE + 2 * BETWEEN


def test_who_may_not_write_any_more_does_not_try_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = Tried(LockLost("gone"), 1)
    result, _ = tried.run(monkeypatch, repeatable=True)
    assert (type(result), tried.jobs) == (LockLost, 1)


@pytest.mark.parametrize(
    ("error", "unreachable", "kind", "words"),
    [
        (errors.DiskFull(SAID), False, StateUnusable, "has no room left"),
        (errors.OutOfMemory(SAID), False, StateUnusable, "has no room left"),
        (errors.InvalidPassword(SAID), False, StateUnusable, "refuses this user"),
        (errors.InvalidAuthorizationSpecification(SAID), False, StateUnusable, "refuses this user"),
        (errors.InsufficientPrivilege(SAID), False, StateUnusable, "refuses this user"),
        (errors.InvalidCatalogName(SAID), False, StateUnusable, "createdb makes one"),
        (errors.ReadOnlySqlTransaction(SAID), False, StateAway, "takes no writes"),
        (errors.LockNotAvailable(SAID), False, StateAway, "did not come to it in time"),
        (errors.QueryCanceled(SAID), False, StateAway, "did not come to it in time"),
        (errors.OperationalError(f"authentication failed: {SAID}"), True, StateUnusable, "refuses this user"),
        (errors.OperationalError(f"authentication failed: {SAID}"), False, StateAway, "does not answer"),
        (errors.OperationalError(SAID), True, StateAway, "does not answer"),
        (
            errors.OperationalError(f"FATAL: unsupported startup parameter: options {SAID}"),
            True,
            StateUnusable,
            "name the server itself",
        ),
        (errors.OperationalError(f"unsupported startup parameter: {SAID}"), False, StateAway, "does not answer"),
        (errors.InterfaceError(SAID), False, StateAway, "does not answer"),
        (errors.IdleInTransactionSessionTimeout(SAID), False, StateAway, "does not answer"),
        (errors.UndefinedTable(SAID), False, StateUnusable, "refuses a statement"),
    ],
)
def test_what_the_server_reports_is_told_with_what_to_do(
    error: Any, unreachable: bool, kind: type[FleetdError], words: str
) -> None:
    told = failure(error, ADDRESS, unreachable=unreachable)
    assert type(told) is kind
    assert words in str(told)
    assert SAID in str(told)
    assert "hunter2" not in str(told)


@pytest.mark.parametrize("row", [None, (7,), (None, "a")])
async def test_from_a_row_that_is_not_there_nothing_follows(row: tuple[object, ...] | None) -> None:
    """As of a table with rules, or a server that is none."""

    class Cursor:
        async def execute(self, sql: bytes, cells: object) -> None:
            assert (sql, cells) == (b"SELECT  id\n FROM intent", (1,))

        async def fetchone(self) -> tuple[object, ...] | None:
            return row

    asked: Any = (Cursor(), "SELECT  id\n FROM intent", (1,))
    assert await one(*asked) == row
    if row is None:
        with pytest.raises(StateUnusable, match="a statement gave no row: SELECT id FROM intent"):
            await only(*asked)
    else:
        assert await only(*asked) == row


def test_words_of_a_refusal_count_where_the_server_was_being_reached() -> None:
    """Of a session that is there they may be anybody's: a function's, a trigger's."""
    assert type(failure(errors.OperationalError("authentication failed"), ADDRESS)) is StateAway


def test_who_has_the_lease_and_why_it_is_lost_is_told() -> None:
    assert "(pid 7 on a)" in str(held_by(ADDRESS, "pid 7 on a"))
    assert type(held_by(ADDRESS, "a")) is StateLocked
    assert "is lost: it was taken" in str(lost(ADDRESS, "it was taken"))
    assert type(lost(ADDRESS, "")) is LockLost
