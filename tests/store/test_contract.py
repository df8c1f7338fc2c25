"""What the lease and the fence rest on, on a real server and on the stand-in that the simulation has in its place.

One table of rows for both: what the stand-in does otherwise than PostgreSQL fails here. ``test_journal`` holds both
to the journal's contract as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
import pytest

from fleetd.model.errors import LockLost, StateAway, StateLocked, VetoStands
from fleetd.model.journal import Hold
from fleetd.model.reasons import Verb
from tests.store.stores import stand_in
from tests.store.test_journal import INTENT
from tests.store.test_postgres import Middleman, journal_of, lease, old_is_over, prepare
from tests.support.build import NOW, later
from tests.support.virtual_time import virtual

pytest.importorskip("psycopg")


class Bench:
    """A database, real or not, and somebody else's hand on it."""

    def __init__(self, url: str, sql, end_sessions, losing) -> None:
        self.url = url
        self.sql = sql
        self.end_sessions = end_sessions
        self.losing = losing
        """A context: an address at which the next commit loses its answer, before or after it was made."""

    @asynccontextmanager
    async def leases(self, number: int = 2, ttl: float = 60.0) -> AsyncIterator[list]:
        await prepare(self.url)
        held = [lease(self.url, f"replica {n}", ttl, anyio.current_time) for n in range(number)]
        try:
            yield held
        finally:
            for one in held:
                await one.aclose()

    @asynccontextmanager
    async def session(self) -> AsyncIterator:
        from fleetd.store.postgres.address import Address
        from fleetd.store.postgres.database import connect

        db = await connect(Address(self.url), "raw")
        try:
            yield db
        finally:
            await db.close()

    def expire(self) -> None:
        self.sql("UPDATE lease SET expires_at = clock_timestamp() - make_interval(secs => %s)", 1)

    def count(self, table: str) -> int:
        return self.sql(f"SELECT count(*) FROM {table}")[0][0]


def _standing_in(url: str, server) -> Bench:
    from tests.sim.replicas.driver import WAY

    def end_sessions() -> None:
        server.crash()
        server.start()

    @asynccontextmanager
    async def losing(when: str):
        async def arm() -> None:
            WAY.get().losing_next = when

        yield url, arm

    return Bench(url, server.asked, end_sessions, losing)


def _real(url: str) -> Bench:
    from tests.support.postgres import execute

    @asynccontextmanager
    async def losing(when: str):
        middleman = Middleman(url, when)

        async def arm() -> None:
            middleman.armed = True

        async with middleman.listening() as between:
            yield between, arm

    def end_sessions() -> None:
        execute(
            url,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid != pg_backend_pid()",
        )

    return Bench(url, lambda text, *cells: execute(url, text, *cells), end_sessions, losing)


async def first_take(bench: Bench) -> None:
    async with bench.leases() as (one, two):
        before = await one.take()
        assert before is not None
        assert (one.epoch, one.reason, before.epoch, before.given_back) == (1, "first", 0, True)
        assert await two.take() is None
        assert await one.take() is None
        holder = await two.look()
        assert (holder.about, holder.epoch, holder.over, holder.given_back) == ("replica 0", 1, False, False)
        assert one.taken_at == holder.since


async def one_of_many_wins(bench: Bench) -> None:
    async with bench.leases(5) as all_:
        taken = await asyncio.gather(*(one.take() for one in all_))
        assert sum(one is not None for one in taken) == 1
        assert bench.sql("SELECT epoch FROM lease") == [(1,)]


async def renewed_it_lasts(bench: Bench) -> None:
    async with bench.leases(ttl=1.0) as (one, two):
        await one.take()
        for _ in range(4):
            await anyio.sleep(0.5)
            await one.renew()
            assert await two.take() is None
        await anyio.sleep(1.1)
        assert (await two.look()).over
        with pytest.raises(LockLost):
            await one.renew()
        before = await two.take()
        assert before is not None
        assert (two.epoch, two.reason, before.about, before.given_back) == (2, "expired", "replica 0", False)


async def given_back_it_is_free(bench: Bench) -> None:
    async with bench.leases() as (one, two):
        for how in ("given_back", "stepped_down"):
            await one.take()
            await one.give_back(how)
            assert (await two.look()).given_back
            await two.take()
            assert two.reason == how
            await two.give_back()


async def given_back_it_is_heard_of(bench: Bench) -> None:
    async with bench.leases() as (one, two):
        await one.take()
        await two.heard(0.01)
        waiting = asyncio.ensure_future(two.heard(20))
        await anyio.sleep(0.1)
        began = anyio.current_time()
        await one.give_back()
        await waiting
        assert anyio.current_time() - began < 5


async def what_is_lost_is_not_given_back(bench: Bench) -> None:
    async with bench.leases() as (one, two):
        await one.take()
        bench.expire()
        await two.take()
        await one.give_back()
        assert not (await two.look()).over


def _lost(by: str) -> Callable[[Bench], Awaitable[None]]:
    async def lost_by(bench: Bench) -> None:
        async with bench.leases() as (one, two):
            await one.take()
            async with journal_of(one, lambda: None) as journal:
                await journal.write_intent(INTENT)
                match by:
                    case "takeover":
                        bench.expire()
                        assert await two.take() is not None
                    case "end":
                        bench.expire()
                    case "hand":
                        bench.sql("UPDATE lease SET holder = NULL")
                    case _:
                        bench.sql("UPDATE lease SET holder = 'another'")
                for write in (lambda: journal.write_intent(INTENT), lambda: journal.put_note("a", "b")):
                    with pytest.raises(LockLost):
                        await write()
            assert (bench.count("intent"), bench.count("note")) == (1, 0)

    return lost_by


async def a_takeover_waits_for_a_write(bench: Bench) -> None:
    async with bench.leases() as (one, two), bench.session() as old:
        await one.take()
        await old.execute("BEGIN")
        await old.execute("SELECT 1 FROM lease FOR SHARE")
        await old.execute("INSERT INTO note (key, value) VALUES ('a', 'b')")
        assert bench.count("note") == 0  # seen by itself alone
        two.look = old_is_over
        taking = asyncio.ensure_future(two.take())
        await asyncio.sleep(0.4)
        assert not taking.done()
        await old.execute("COMMIT")
        assert await taking is None  # it was not over, when it came to it
        assert bench.count("note") == 1


async def without_the_lock_it_does_not(bench: Bench) -> None:
    """The leak that ``FOR SHARE`` is there for."""
    async with bench.leases() as (one, two), bench.session() as old:
        await one.take()
        await old.execute("BEGIN")
        await old.execute("INSERT INTO note (key, value) VALUES ('a', 'b')")
        bench.expire()
        with anyio.fail_after(2):
            assert await two.take() is not None
        assert bench.count("note") == 0
        await old.execute("COMMIT")
        assert bench.count("note") == 1


async def writes_share_the_row(bench: Bench) -> None:
    async with bench.leases() as (one, _), bench.session() as other:
        await one.take()
        await other.execute("BEGIN")
        await other.execute("SELECT 1 FROM lease FOR SHARE")
        async with journal_of(one) as journal:
            with anyio.fail_after(2):
                await journal.put_note("a", "b")


async def a_write_that_came_before_the_end_stands(bench: Bench) -> None:
    async with bench.leases(ttl=0.6) as (one, two), bench.session() as old:
        await one.take()
        await old.execute("BEGIN")
        await old.execute("SELECT 1 FROM lease WHERE expires_at > clock_timestamp() FOR SHARE")
        await anyio.sleep(0.8)
        taking = asyncio.ensure_future(two.take())
        await asyncio.sleep(0.2)
        assert not taking.done()
        await old.execute("INSERT INTO note (key, value) VALUES ('a', 'b')")
        await old.execute("COMMIT")
        assert await taking is not None
        assert bench.count("note") == 1


async def a_renewal_that_waited_past_the_end_stands(bench: Bench) -> None:
    """Nobody can have taken it meanwhile: the row is what it was."""
    async with bench.leases(ttl=0.8) as (one, two), bench.session() as old:
        await one.take()
        await old.execute("BEGIN")
        await old.execute("SELECT 1 FROM lease FOR SHARE")
        await anyio.sleep(0.3)
        renewing = asyncio.ensure_future(one.renew())
        await anyio.sleep(0.7)
        assert not renewing.done()
        await old.execute("COMMIT")
        await renewing
        # Counted from when it was asked, not from when it could be.
        assert (await two.look()).over is False
        await anyio.sleep(0.45)
        assert (await two.look()).over is True


async def a_renewal_that_waited_for_a_takeover_is_refused(bench: Bench) -> None:
    async with bench.leases() as (one, _), bench.session() as other:
        await one.take()
        await other.execute("BEGIN")
        await other.execute("UPDATE lease SET holder = 'another', epoch = epoch + 1")
        renewing = asyncio.ensure_future(one.renew())
        writing = asyncio.ensure_future(_note(one))
        await asyncio.sleep(0.3)
        assert not renewing.done()
        assert not writing.done()
        await other.execute("COMMIT")
        for refused in (renewing, writing):
            with pytest.raises(LockLost):
                await refused


async def what_is_rolled_back_was_never_there(bench: Bench) -> None:
    async with bench.leases() as (one, _), bench.session() as other:
        await one.take()
        await other.execute("BEGIN")
        await other.execute("UPDATE lease SET holder = 'another'")
        renewing = asyncio.ensure_future(one.renew())
        await asyncio.sleep(0.2)
        await other.execute("ROLLBACK")
        await renewing


async def a_session_that_is_idle_in_a_transaction_is_ended(bench: Bench) -> None:
    async with bench.leases() as (one, two), bench.session() as old:
        await one.take()
        bench.expire()
        await old.execute("BEGIN")
        await old.execute("SELECT 1 FROM lease FOR SHARE")
        await old.execute("INSERT INTO note (key, value) VALUES ('a', 'b')")
        began = anyio.current_time()
        with anyio.fail_after(20):
            while await _taken(two) is None:
                pass
        assert 2 < anyio.current_time() - began < 8
        import psycopg

        with pytest.raises(psycopg.Error):
            await old.execute("COMMIT")
        assert bench.count("note") == 0


async def who_hangs_up_lets_go(bench: Bench) -> None:
    async with bench.leases() as (one, two):
        await one.take()
        bench.expire()
        async with bench.session() as old:
            await old.execute("BEGIN")
            await old.execute("SELECT 1 FROM lease FOR SHARE")
        with anyio.fail_after(2):
            assert await two.take() is not None


async def a_session_that_the_server_ends_is_made_anew(bench: Bench) -> None:
    async with bench.leases() as (one, _), bench.session() as old:
        await one.take()
        async with journal_of(one) as journal:
            await journal.put_note("a", "b")
            await old.execute("BEGIN")
            await old.execute("INSERT INTO note (key, value) VALUES ('c', 'd')")
            bench.end_sessions()
            await journal.put_note("a", "c")
        assert bench.sql("SELECT key, value FROM note") == [("a", "c")]
        with pytest.raises(StateAway):
            await one.renew()
        await one.renew()


async def what_was_asked_before_the_server_ended_the_session_may_be_done(bench: Bench) -> None:
    from fleetd.store.postgres.address import Address
    from fleetd.store.postgres.requests import Requester

    async with bench.leases() as (one, _):
        await one.take()
        for method, said in (("PUT", True), ("GET", False)):
            before = bench.count("request")

            async def ask(method: str = method, said: bool = said) -> None:
                with pytest.raises(StateAway) as caught:
                    await Requester(Address(bench.url)).ask(method, "/vetoes", "", "ada", seconds=30)
                assert ("may have been done, or be done yet" in str(caught.value)) == said

            async with anyio.create_task_group() as group:
                group.start_soon(ask)
                with anyio.fail_after(10):
                    while bench.count("request") == before:  # noqa: ASYNC110 - a server in another process
                        await anyio.sleep(0.05)
                bench.end_sessions()


def _without_answer(when: str) -> Callable[[Bench], Awaitable[None]]:
    async def a_commit_without_answer(bench: Bench) -> None:
        async with bench.losing(when) as (url, arm):
            await prepare(url)
            held = lease(url)
            await held.take()
            async with journal_of(held) as journal:
                await journal.put_note("a", "b")
                await arm()
                intent = await journal.write_intent(INTENT)
                assert [i.id for i in await journal.open_intents()] == [intent.id]
            await held.aclose()
        assert bench.count("intent") == 1

    return a_commit_without_answer


async def who_acts_on_nothing_writes_while_nobody_acts(bench: Bench) -> None:
    from fleetd.store.postgres.address import Address
    from fleetd.store.postgres.journal import PostgresJournal
    from fleetd.store.postgres.lease import between_holders

    async with bench.leases() as (one, two):
        command = PostgresJournal(between_holders(Address(bench.url)))
        veto = {"kind": "freeze", "subject": None, "verbs": frozenset(Verb), "reason": "", "actor": ""}
        await command.add_hold(Hold(id=0, **veto, created_at=NOW, expires_at=later(hours=1)))
        await one.take()
        with pytest.raises(StateLocked):
            await command.add_hold(Hold(id=0, **veto, created_at=NOW, expires_at=later(hours=1)))
        async with journal_of(one) as journal:
            with pytest.raises(VetoStands):
                await journal.write_intent(INTENT)
        bench.expire()
        await command.remove_holds(kind="freeze", subject=None)
        await two.take()
        async with journal_of(two) as journal:
            await journal.write_intent(INTENT)
        await command.aclose()


ROWS = {
    row.__name__ if name is None else name: row
    for name, row in (
        (None, first_take),
        (None, one_of_many_wins),
        (None, renewed_it_lasts),
        (None, given_back_it_is_free),
        (None, given_back_it_is_heard_of),
        (None, what_is_lost_is_not_given_back),
        *((f"lost by {by}: nothing is written", _lost(by)) for by in ("takeover", "end", "hand", "another's name")),
        (None, a_takeover_waits_for_a_write),
        (None, without_the_lock_it_does_not),
        (None, writes_share_the_row),
        (None, a_write_that_came_before_the_end_stands),
        (None, a_renewal_that_waited_past_the_end_stands),
        (None, a_renewal_that_waited_for_a_takeover_is_refused),
        (None, what_is_rolled_back_was_never_there),
        (None, a_session_that_is_idle_in_a_transaction_is_ended),
        (None, who_hangs_up_lets_go),
        (None, a_session_that_the_server_ends_is_made_anew),
        (None, what_was_asked_before_the_server_ended_the_session_may_be_done),
        *((f"a commit lost {when} it is made", _without_answer(when)) for when in ("before", "after")),
        (None, who_acts_on_nothing_writes_while_nobody_acts),
    )
}


@pytest.mark.parametrize("row", ROWS)
@virtual
async def test_the_stand_in_does_what_the_lease_and_the_fence_rest_on(row: str) -> None:
    with stand_in(anyio.current_time) as (url, server):
        await ROWS[row](_standing_in(url, server))


@pytest.mark.peer("postgres")
@pytest.mark.parametrize("row", ROWS)
async def test_a_real_server_does_the_same(postgres, row: str) -> None:
    await ROWS[row](_real(postgres.create()))


async def _note(held) -> None:
    async with journal_of(held, lambda: None) as journal:
        await journal.put_note("a", "b")


async def _taken(held):
    try:
        return await held.take()
    except StateAway:
        return None
