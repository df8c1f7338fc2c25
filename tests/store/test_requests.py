"""What a command asks of the replica that acts: written down, claimed once, answered or withdrawn."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

pytest.importorskip("psycopg")

from psycopg import errors

from fleetd.model.errors import LockLost, StateAway
from fleetd.store.postgres.database import connect
from fleetd.store.postgres.lease import Lease
from fleetd.store.postgres.requests import (
    ANSWERED,
    ASKED,
    Bell,
    Request,
    Requester,
    answer,
    claimed,
    for_requests,
)
from tests.sim.replicas import driver
from tests.store.stage import Stage, staged
from tests.support.virtual_time import virtual


class Asking:
    """A command on its way: what it came to, and when."""

    def __init__(self, stage: Stage, method: str = "PUT", seconds: float = 10.0) -> None:
        self.began = anyio.current_time()
        self.took = -1.0
        self._task = asyncio.ensure_future(self._ask(stage, method, seconds))

    async def _ask(self, stage: Stage, method: str, seconds: float) -> tuple[int, bytes] | bool:
        try:
            return await Requester(stage.address).ask(method, "/vetoes", '{"a": 1}', "ada", seconds=seconds)
        finally:
            self.took = anyio.current_time() - self.began

    async def came_to(self) -> tuple[int, bytes] | bool:
        return await self._task


def soon(seconds: float) -> Any:
    return pytest.approx(seconds, abs=0.05)


def rows(stage: Stage) -> list[tuple[Any, ...]]:
    return stage.sql("SELECT method, path, body, actor, taken, status, answer FROM request")


@virtual
async def test_a_request_is_claimed_once_as_it_was_asked_and_its_answer_comes_at_once() -> None:
    async with staged() as stage:
        database = for_requests(await stage.taken())
        assert await claimed(database) == []
        asking = Asking(stage)
        await anyio.sleep(0.3)
        assert rows(stage) == [("PUT", "/vetoes", '{"a": 1}', "ada", 0, None, None)]
        assert await claimed(database) == [Request(1, "PUT", "/vetoes", '{"a": 1}', "ada")]
        assert await claimed(database) == []
        await anyio.sleep(1.3)
        await answer(database, Request(1, "PUT", "/vetoes", '{"a": 1}', "ada"), 409, '{"no": "ü"}')
        assert await asking.came_to() == (409, '{"no": "ü"}'.encode())
        assert asking.took == soon(1.6)
        await database.aclose()
        await anyio.sleep(1)
        assert rows(stage) == []
        assert len(stage.server.sessions) == 1, "of the replica itself"


@virtual
async def test_an_answer_is_the_one_to_what_was_asked() -> None:
    async with staged() as stage:
        database = for_requests(await stage.taken())
        several = [Asking(stage, method) for method in ("PUT", "GET", "DELETE")]
        await anyio.sleep(0.3)
        for request in reversed(await claimed(database)):
            await answer(database, request, 200, request.method)
        assert [await one.came_to() for one in several] == [(200, b"PUT"), (200, b"GET"), (200, b"DELETE")]
        await database.aclose()


@pytest.mark.parametrize("seconds", [0.4, 2.5, 10.0])
@pytest.mark.parametrize(("taken", "withdrawn"), [(False, True), (True, False)])
@virtual
async def test_what_nobody_took_is_withdrawn_when_the_time_is_over_and_what_one_took_is_not(
    taken: bool, withdrawn: bool, seconds: float
) -> None:
    async with staged() as stage:
        asking = Asking(stage, seconds=seconds)
        await anyio.sleep(0.2)
        database = for_requests(await stage.taken())
        if taken:
            assert len(await claimed(database)) == 1
        assert await asking.came_to() is withdrawn
        assert asking.took == soon(seconds)
        assert len(rows(stage)) == (not withdrawn)
        assert await claimed(database) == []
        await database.aclose()


@pytest.mark.parametrize(
    ("ago", "is_claimed", "is_kept"),
    [
        pytest.param(-5, True, True, id="asked just now"),
        pytest.param(1, False, True, id="its command has given up"),
        pytest.param(3599, False, True, id="for an hour"),
        pytest.param(3601, False, False, id="for longer"),
    ],
)
@virtual
async def test_a_request_is_claimed_within_its_time_and_kept_for_an_hour_after_it(
    ago: float, is_claimed: bool, is_kept: bool
) -> None:
    async with staged() as stage:
        database = for_requests(await stage.taken())
        stage.sql(
            "INSERT INTO request (method, path, body, actor, expires_at, taken) "
            "VALUES ('GET', '/a', '', 'ada', clock_timestamp() - make_interval(secs => %s), FALSE)",
            ago,
        )
        assert len(await claimed(database)) == is_claimed
        assert len(rows(stage)) == is_kept
        await database.aclose()


@virtual
async def test_a_request_is_valid_for_as_long_as_its_command_waits() -> None:
    async with staged() as stage:
        asking = Asking(stage, seconds=7)
        await anyio.sleep(0.01)
        left = stage.sql("SELECT extract(epoch FROM expires_at - clock_timestamp()) FROM request")
        assert left == [(soon(7),)]
        assert await asking.came_to() is True


@virtual
async def test_where_nothing_waits_nothing_is_written_and_no_lock_is_waited_for() -> None:
    async with staged() as stage:
        database = for_requests(await stage.taken())
        taking_over = await connect(stage.address, "a takeover")
        await taking_over.execute("BEGIN")
        await taking_over.execute("SELECT 1 FROM lease FOR UPDATE")
        before = anyio.current_time()
        assert await claimed(database) == []
        assert anyio.current_time() == before
        await taking_over.close()
        await database.aclose()


@virtual
async def test_who_has_lost_the_lease_claims_nothing_and_answers_nothing() -> None:
    async with staged() as stage:
        database = for_requests(await stage.taken())
        asking = Asking(stage, seconds=2)
        await anyio.sleep(0.3)
        (request,) = await claimed(database)
        stage.sql("UPDATE request SET taken = FALSE")
        stage.take_away()
        with pytest.raises(LockLost):
            await claimed(database)
        with pytest.raises(LockLost):
            await answer(database, request, 200, "done")
        assert await asking.came_to() is True
        await database.aclose()


@pytest.mark.parametrize("when", ["before", "after"])
@virtual
async def test_what_may_have_been_claimed_is_not_claimed_anew_unseen(when: str) -> None:
    """Whether the claim was made is not known: what it took would be nobody's. It is said, and its command waits."""
    async with staged() as stage:
        database = for_requests(await stage.taken())
        asking = Asking(stage, seconds=3)
        await anyio.sleep(0.3)
        stage.way.losing_next = when
        with pytest.raises(StateAway):
            await claimed(database)
        assert await asking.came_to() is (when == "before")
        await database.aclose()


@virtual
async def test_an_answer_whose_commit_was_lost_is_left_all_the_same() -> None:
    async with staged() as stage:
        database = for_requests(await stage.taken())
        asking = Asking(stage)
        await anyio.sleep(0.3)
        (request,) = await claimed(database)
        stage.way.losing_next = "before"
        await answer(database, request, 200, "done")
        assert await asking.came_to() == (200, b"done")
        await database.aclose()


@virtual
async def test_a_command_whose_bell_is_lost_looks_every_second() -> None:
    async with staged() as stage:
        await stage.taken()
        asking = Asking(stage)
        await anyio.sleep(0.5)
        next(session for session in stage.server.sessions if ANSWERED in session.channels).channels.clear()
        stage.sql("UPDATE request SET status = 200, answer = %s", "done")
        assert await asking.came_to() == (200, b"done")
        assert asking.took == soon(1)


def goes_down(stage: Stage) -> None:
    stage.server.crash()


@pytest.mark.parametrize(("method", "said"), [("PUT", True), ("DELETE", True), ("GET", False)])
@virtual
async def test_what_was_asked_of_a_database_that_fails_then_may_be_done(method: str, said: bool) -> None:
    async with staged() as stage:
        asking = Asking(stage, method)
        asyncio.get_running_loop().call_later(0.5, goes_down, stage)
        with pytest.raises(StateAway, match="stand-in/fleetd does not answer") as told:
            await asking.came_to()
        assert ("may have been done, or be done yet: fleetd status says" in str(told.value)) == said
        assert asking.took < 2


@virtual
async def test_what_was_never_asked_is_not_done() -> None:
    async with staged() as stage:
        goes_down(stage)
        with pytest.raises(StateAway) as told:
            await Asking(stage).came_to()
        assert "may have been done" not in str(told.value)


async def _nobody(_lease: Lease) -> None: ...


async def _rings(lease: Lease) -> None:
    async def notify(cursor: Any) -> None:
        await cursor.execute(f"NOTIFY {ASKED}")

    await lease.ask(notify)


@virtual
async def test_a_bell_that_could_not_be_hung_is_not_waited_for_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a server that only follows: it would never ring."""
    async with staged() as stage:
        bell = Bell(stage.address, ASKED)
        with monkeypatch.context() as patch:
            patch.setattr(driver.Connection, "execute", _refuses)
            await bell.heard(1)
        await bell.heard(1)
        await anyio.sleep(1)
        assert [session.channels for session in stage.server.sessions] == [{ASKED}]
        await bell.aclose()


async def _refuses(_self: object, _text: str) -> None:
    raise errors.ReadOnlySqlTransaction("cannot execute LISTEN during recovery")


@pytest.mark.parametrize(("does", "seconds"), [(_nobody, 7.0), (_rings, 3.0)])
@virtual
async def test_a_bell_is_waited_for_and_no_longer_than_its_time(
    does: Callable[[Lease], Awaitable[None]], seconds: float
) -> None:
    async with staged() as stage:
        bell, before = Bell(stage.address, ASKED), anyio.current_time()
        await bell.heard(7)
        assert anyio.current_time() == before, "what rang before it listened is found by a look"
        asyncio.get_running_loop().call_later(3, asyncio.ensure_future, does(stage.lease()))
        await bell.heard(7)
        assert anyio.current_time() - before == soon(seconds)
        await bell.aclose()
        await bell.aclose()


@virtual
async def test_a_bell_that_cannot_listen_is_waited_for_as_long_and_listens_when_it_can() -> None:
    async with staged() as stage:
        bell, before = Bell(stage.address, ASKED), anyio.current_time()
        goes_down(stage)
        for _ in range(2):
            await bell.heard(5)
        assert anyio.current_time() - before == soon(10)
        stage.server.start()
        await bell.heard(5)
        assert [session.channels for session in stage.server.sessions] == [{ASKED}]
        asyncio.get_running_loop().call_later(2, stage.server.crash)
        await bell.heard(5)
        assert anyio.current_time() - before == soon(17), "lost while it waited: as if it had not rung"
        stage.server.start()
        await bell.heard(5)
        stage.way.close()
        await bell.heard(5)
        assert anyio.current_time() - before == soon(17)
        assert [session.channels for session in stage.server.sessions] == [{ASKED}]
        await bell.aclose()
