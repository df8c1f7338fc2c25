"""What a call makes of a connection that fails: made anew and repeated, or said at once. On no server at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

pytest.importorskip("psycopg")

from psycopg import errors

from fleetd.model.errors import FleetdError, LockLost, StateAway, StateUnusable
from fleetd.store.postgres import database
from fleetd.store.postgres.address import Address
from fleetd.store.postgres.database import BETWEEN, LONGEST, PATIENCE, Database, failure
from tests.support.virtual_time import run_virtual

ADDRESS = Address("postgresql://db/fleetd", "hunter2")
SAID = "so the server says"


class Connection:
    """A connection of psycopg's that does nothing, and may break."""

    def __init__(self) -> None:
        self.closed = self.broken = False

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        yield

    @asynccontextmanager
    async def cursor(self) -> AsyncIterator[None]:
        yield None

    async def close(self) -> None:
        self.closed = True


class Tried:
    """A call whose job fails so often, with this."""

    def __init__(self, fails: BaseException | None, times: float, *, breaks: bool = False) -> None:
        self.jobs, self.connections = 0, []
        self._fails, self._times, self._breaks = fails, times, breaks

    async def connect(self, _address: object, _name: str) -> Any:
        self.connections.append(Connection())
        return self.connections[-1]

    async def job(self, _cursor: object) -> str:
        self.jobs += 1
        if self.jobs > self._times:
            return "done"
        self.connections[-1].broken = self._breaks
        if self._fails is None:
            await asyncio.sleep(LONGEST + 1)
            raise AssertionError("it was waited for")
        raise self._fails

    def run(self, monkeypatch: pytest.MonkeyPatch, *, repeatable: bool) -> tuple[str | FleetdError, float]:
        """What the call comes to, and after how many seconds."""
        monkeypatch.setattr(database, "connect", self.connect)

        async def enter(_cursor: object) -> None:
            pass

        async def live() -> tuple[str | FleetdError, float]:
            db = Database(ADDRESS, "test", enter=enter, allowed=lambda: None)
            began = asyncio.get_running_loop().time()
            try:
                result: str | FleetdError = await db.write(self.job, repeatable=repeatable)
            except FleetdError as error:
                result = error
            took = asyncio.get_running_loop().time() - began
            await db.aclose()
            assert all(one.closed for one in self.connections)
            return result, took

        return run_virtual(live)


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
