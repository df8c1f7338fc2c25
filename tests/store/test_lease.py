"""The lease in virtual time: renewed in time or ended in time, told as it is, given back once. On the stand-in."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import pytest
from structlog.testing import capture_logs

pytest.importorskip("psycopg")

from psycopg import errors

from fleetd.model.errors import LockLost, StateAway, StateLocked, StateMoved, StateUnusable
from fleetd.store.postgres import requests
from fleetd.store.postgres.bulletin import for_bulletins, hear
from fleetd.store.postgres.database import Database, connect
from fleetd.store.postgres.journal import PostgresJournal
from fleetd.store.postgres.lease import Lease, between_holders, fenced, kernel_fuse, pause
from fleetd.store.postgres.requests import for_requests
from fleetd.store.postgres.schema import VERSION
from tests.sim.replicas import driver
from tests.store.stage import Stage, staged
from tests.support.virtual_time import virtual

LENGTHS = pytest.mark.parametrize("ttl", [15.0, 60.0, 4.0])
NOT_OURS = "another replica has taken it, it has ended, or the database was restored from a backup"
NOT_IN_TIME = "it could not be renewed in time"


@asynccontextmanager
async def kept(lease: Lease) -> AsyncIterator[None]:
    async with anyio.create_task_group() as group:
        group.start_soon(lease.keep)
        yield
        group.cancel_scope.cancel()


@virtual
async def test_a_lease_lasts_fifteen_seconds_and_is_renewed_every_five() -> None:
    async with staged() as stage:
        began = anyio.current_time()
        lease = await stage.taken()
        async with kept(lease):
            await anyio.sleep(31)
        assert stage.renewed == pytest.approx([began + 5 * n for n in range(7)], abs=0.01)
        assert [t.expires_at - t.at for t in stage.server.tenures] == pytest.approx([15] * 7, abs=0.01)


@LENGTHS
@virtual
async def test_while_it_is_kept_nobody_else_gets_it_and_the_timer_is_set_anew(ttl: float) -> None:
    async with staged() as stage:
        lease, other = await stage.taken(ttl=ttl), stage.lease("b")
        async with kept(lease):
            for _ in range(40):
                await anyio.sleep(ttl / 10)
                lease.check()
                assert lease.held
                assert await other.take() is None
        assert [at for at, _ in stage.fused] == pytest.approx(stage.renewed, abs=0.01)
        assert [seconds for _, seconds in stage.fused] == pytest.approx([ttl] * len(stage.fused), abs=0.01)
        assert len(stage.fused) == 12


@pytest.mark.parametrize(("ttl", "again"), [(15.0, 0.5), (60.0, 0.5), (4.0, 0.4), (1.0, 0.1)])
@virtual
async def test_a_renewal_that_failed_is_told_and_tried_again_soon(ttl: float, again: float) -> None:
    async with staged() as stage:
        lease = await stage.taken(ttl=ttl)
        with capture_logs() as logs:
            async with kept(lease):
                await anyio.sleep(ttl / 3 - 0.01)
                stage.server.crash()
                await anyio.sleep(again * 2)
                stage.server.start()
                back = anyio.current_time()
                await anyio.sleep(ttl)
        assert [(log["log_level"], log["event"]) for log in logs] == [("warning", "lease.renewal_failed")] * 2
        assert all("does not answer" in log["error"] for log in logs)
        _, first, second, *_ = stage.renewed
        assert back < first <= back + again
        assert second - first == pytest.approx(ttl / 3, abs=0.01)


def refuses(stage: Stage) -> None:
    stage.server.crash()


def swallows(stage: Stage) -> None:
    stage.way.cut()


def hangs(stage: Stage) -> None:
    stage.server.flush = (1000.0, 1000.0)


@LENGTHS
@pytest.mark.parametrize("hinders", [refuses, swallows, hangs])
@pytest.mark.parametrize("after", [0.0, 0.3, 0.4, 0.6])
@virtual
async def test_who_cannot_renew_ends_by_itself_before_the_lease_and_its_timer_do(
    hinders: Callable[[Stage], None], after: float, ttl: float
) -> None:
    """``after``: in lengths of the lease."""
    async with staged() as stage:
        lease = await stage.taken(ttl=ttl)
        asyncio.get_running_loop().call_later(after * ttl, hinders, stage)
        with capture_logs(), anyio.fail_after(2 * ttl), pytest.raises(LockLost, match=NOT_IN_TIME):
            await lease.keep()
        set_at, seconds = stage.fused[-1]
        assert set_at + seconds <= stage.ends, "the timer does not outlast the lease"
        assert anyio.current_time() < set_at + seconds
        assert anyio.current_time() >= set_at + seconds - min(1.5, ttl / 4), "nor is it given up before it must be"


def by_a_takeover(stage: Stage) -> None:
    stage.take_away()


def by_its_end(stage: Stage) -> None:
    stage.sql("UPDATE lease SET expires_at = clock_timestamp() - make_interval(secs => %s)", 1)


def by_hand(stage: Stage) -> None:
    stage.sql("UPDATE lease SET holder = NULL")


def by_another_epoch(stage: Stage) -> None:
    stage.sql("UPDATE lease SET epoch = 7")


@LENGTHS
@pytest.mark.parametrize("taken", [by_a_takeover, by_its_end, by_hand, by_another_epoch])
@virtual
async def test_who_has_lost_it_ends_at_the_next_renewal_and_puts_out_no_timer(
    taken: Callable[[Stage], None], ttl: float
) -> None:
    async with staged() as stage:
        lease = await stage.taken(ttl=ttl)
        asyncio.get_running_loop().call_later(1.4 * ttl, taken, stage)
        with capture_logs() as logs, anyio.fail_after(2 * ttl), pytest.raises(LockLost, match=NOT_OURS):
            await lease.keep()
        assert anyio.current_time() == pytest.approx(stage.renewed[0] + 5 / 3 * ttl, abs=0.01)
        assert (lease.held, logs) == (False, [])
        with pytest.raises(LockLost, match=NOT_OURS):
            lease.check()
        assert all(seconds > 0 for _, seconds in stage.fused)
        changes = len(stage.renewed)
        await lease.give_back()
        assert len(stage.renewed) == changes, "what is another's is not given back"


@pytest.mark.parametrize(
    ("ttl", "seconds", "held"),
    [
        pytest.param(15.0, 0.0, True, id="taken just now"),
        pytest.param(15.0, 13.4, True, id="with a second and a half left to end in"),
        pytest.param(15.0, 13.5, False, id="too late to end in time"),
        pytest.param(15.0, 16.0, False, id="over"),
        pytest.param(60.0, 58.4, True, id="a long one"),
        pytest.param(60.0, 58.6, False, id="a long one, too late"),
        pytest.param(4.0, 2.9, True, id="a short one: a quarter of it to end in"),
        pytest.param(4.0, 3.1, False, id="a short one, too late"),
    ],
)
@virtual
async def test_by_its_own_clock_a_process_may_act_until_shortly_before_the_end(
    ttl: float, seconds: float, held: bool
) -> None:
    """The clock runs on while the process is paused, and the database may think otherwise."""
    async with staged() as stage:
        lease = await stage.taken(ttl=ttl)
        stage.paused = seconds
        assert lease.held is held
        if held:
            lease.check()
            return
        with pytest.raises(LockLost, match=NOT_IN_TIME):
            lease.check()
        stage.paused = 0.0  # what was lost does not come back
        with pytest.raises(LockLost, match=NOT_IN_TIME):
            lease.check()
        assert not lease.held


async def _never(_stage: Stage, _lease: Lease) -> None: ...


async def _paused(stage: Stage, lease: Lease) -> None:
    stage.paused = 20.0
    with suppress(LockLost):
        lease.check()


async def _refused_a_renewal(stage: Stage, lease: Lease) -> None:
    stage.take_away()
    with suppress(LockLost):
        await lease.renew()


async def _refused_a_write(stage: Stage, lease: Lease) -> None:
    stage.take_away()
    with suppress(LockLost):
        await lease.ask(lease.enter)


async def _gave_back(_stage: Stage, lease: Lease) -> None:
    await lease.give_back()


Deed = Callable[[Stage, Lease], Awaitable[None]]


@pytest.mark.parametrize(
    ("first", "words"),
    [
        (_paused, NOT_IN_TIME),
        (_refused_a_renewal, NOT_OURS),
        (_refused_a_write, NOT_OURS),
        (_gave_back, "it was given back"),
    ],
)
@pytest.mark.parametrize("then", [_never, _paused, _refused_a_renewal, _refused_a_write, _gave_back])
@virtual
async def test_the_first_reason_for_which_it_was_lost_stays(first: Deed, then: Deed, words: str) -> None:
    async with staged() as stage:
        lease = await stage.taken()
        await first(stage, lease)
        await then(stage, lease)
        assert not lease.held
        with pytest.raises(LockLost, match=f"is lost: {words}"):
            lease.check()


@virtual
async def test_who_never_took_it_holds_nothing_and_gives_nothing_back() -> None:
    async with staged() as stage:
        holder, lease = await stage.taken(), stage.lease("b")
        assert (lease.held, lease.epoch, lease.reason, lease.taken_at) == (False, 0, "", None)
        ringing = asyncio.ensure_future(stage.lease("c").heard(10))
        await anyio.sleep(1)
        await lease.give_back()
        await anyio.sleep(1)
        assert not ringing.done(), "nobody is told of what did not end"
        with pytest.raises(LockLost):
            await lease.ask(stage.lease("d").enter)
        with pytest.raises(LockLost):
            stage.lease("e").check()
        holder.check()
        ringing.cancel()


@pytest.mark.parametrize("lost", [_paused, _refused_a_renewal, _gave_back])
@virtual
async def test_what_was_lost_can_be_taken_once_more(lost: Deed) -> None:
    async with staged() as stage:
        lease = await stage.taken()
        await lost(stage, lease)
        by_hand(stage)
        stage.paused = 0.0
        assert await lease.take() is not None
        lease.check()
        await lease.renew()
        assert lease.held


@virtual
async def test_the_timer_counts_from_before_it_was_asked_for_and_a_clean_end_puts_it_out() -> None:
    async with staged() as stage:
        lease = await stage.taken()
        stage.way.latency = (0.4, 0.4)
        await lease.renew()
        at, seconds = stage.fused[-1]
        assert seconds == pytest.approx(15 - (at - stage.fused[0][0]), abs=0.01)
        assert 11 < seconds < 14
        assert at + seconds < stage.ends
        await lease.give_back()
        assert stage.fused[-1][1] == 0
        assert not lease.held


@virtual
async def test_the_timer_of_a_lease_that_was_over_when_its_answer_came_goes_off_at_once() -> None:
    """The process was paused with the answer on its way. No seconds at all would be no timer."""
    async with staged() as stage:
        lease = await stage.taken()
        stage.way.latency = (0.5, 0.5)
        asyncio.get_running_loop().call_later(0.1, setattr, stage, "paused", 100.0)
        await lease.renew()
        assert 0 < stage.fused[-1][1] < 0.1
        assert not lease.held


@pytest.mark.parametrize(
    ("how", "reason"), [(None, "expired"), ("given_back", "given_back"), ("stepped_down", "stepped_down")]
)
@virtual
async def test_how_it_came_to_its_next_holder_is_kept_and_counted(how: str | None, reason: str) -> None:
    async with staged() as stage:
        old, new = await stage.taken("old"), stage.lease("new")
        assert stage.sql("SELECT reason, often FROM takeover") == [("first", 1)]
        for epoch in (2, 3):
            if how is None:
                by_its_end(stage)
            else:
                await old.give_back(how)
            before = await new.take()
            assert before is not None
            assert (before.about, before.epoch, before.given_back) == (old.about, epoch - 1, how is not None)
            now = await old.look()
            assert (new.reason, now.reason, now.previous, now.epoch) == (reason, reason, old.about, epoch)
            assert (now.since, now.left) == (new.taken_at, pytest.approx(15, abs=0.01))
            assert stage.sql("SELECT often FROM takeover WHERE reason = %s", reason) == [(epoch - 1,)]
            old, new = new, old


@virtual
async def test_unless_it_is_said_how_it_was_given_back() -> None:
    async with staged() as stage:
        await (await stage.taken()).give_back()
        assert (await stage.taken("b")).reason == "given_back"


@LENGTHS
@virtual
async def test_each_that_runs_is_on_the_roll_for_four_lengths_with_what_it_runs_on(ttl: float) -> None:
    async with staged() as stage:
        lease = stage.lease("a, pid 1", ttl=ttl)

        def roll() -> list[tuple[Any, ...]]:
            return stage.sql("SELECT format, about, config, digest, fault FROM replica")

        def left() -> float:
            sql = "SELECT extract(epoch FROM expires_at - clock_timestamp()) FROM replica"
            return float(stage.sql(sql)[0][0])

        await lease.enrol()
        assert roll() == [(VERSION, "a, pid 1", "", "", "")]
        assert left() == pytest.approx(4 * ttl, abs=0.01)
        lease.config, lease.fault = ("/etc/f.toml", "d1"), "line 3"
        said: list[Callable[[], Awaitable[object]]] = [lease.enrol, lease.take, lease.renew]
        for say in said:
            stage.sql("UPDATE replica SET expires_at = clock_timestamp(), config = '', digest = '', fault = ''")
            await say()
            assert roll() == [(VERSION, "a, pid 1", "/etc/f.toml", "d1", "line 3")]
            assert left() == pytest.approx(4 * ttl, abs=0.01)
        await lease.aclose()
        await anyio.sleep(0.01)
        assert (roll(), stage.server.sessions) == ([], [])


@virtual
async def test_who_ended_without_a_word_is_struck_off_the_roll_after_a_day() -> None:
    async with staged() as stage:
        gone = "INSERT INTO replica (id, format, about, expires_at) VALUES (%s, 1, %s, clock_timestamp() - %s)"
        for name, seconds in (("an hour ago", 3600), ("a day ago", 86300), ("more than a day ago", 86500)):
            stage.sql(gone, name, name, seconds)
        await stage.lease("now").enrol()
        assert {about for (about,) in stage.sql("SELECT about FROM replica")} == {"an hour ago", "a day ago", "now"}


@virtual
async def test_who_never_asked_anything_connects_for_nothing_at_its_end() -> None:
    async with staged() as stage:
        refuses(stage)
        before = anyio.current_time()
        await stage.lease().aclose()
        stage.server.start()
        swallows(stage)
        await stage.lease().aclose()
        assert anyio.current_time() == before


@pytest.mark.parametrize(("ttl", "seconds"), [(15.0, 5.0), (60.0, 20.0), (3.0, 1.0), (1.0, 1.0)])
@virtual
async def test_a_database_that_does_not_answer_for_a_third_of_the_lease_is_away(ttl: float, seconds: float) -> None:
    async with staged() as stage:
        lease = stage.lease(ttl=ttl)

        async def never(_cursor: object) -> None:
            await anyio.sleep(1000)

        before = anyio.current_time()
        with pytest.raises(StateAway, match="stand-in/fleetd does not answer in time"):
            await lease.ask(never)
        assert anyio.current_time() - before == pytest.approx(seconds)
        await anyio.sleep(0.01)
        assert stage.server.sessions == [], "it is asked over another connection then"


async def _ended_by_the_server(stage: Stage) -> None:
    stage.server.crash()
    stage.server.start()


async def _closed_at_this_end(stage: Stage) -> None:
    stage.way.close()


@pytest.mark.parametrize(("how", "told"), [(_ended_by_the_server, True), (_closed_at_this_end, False)])
@pytest.mark.parametrize("listens", [True, False])
@virtual
async def test_a_connection_that_was_lost_is_told_of_and_made_anew(
    how: Callable[[Stage], Awaitable[None]], told: bool, listens: bool
) -> None:
    async with staged() as stage:
        lease = stage.lease()
        await lease.look()
        await how(stage)
        await anyio.sleep(0.1)

        async def use() -> None:
            await (lease.heard(1) if listens else lease.look())

        if told:
            with pytest.raises(StateAway, match="stand-in/fleetd does not answer"):
                await use()
        await use()
        assert len(stage.server.sessions) == 1


@pytest.mark.parametrize("listens", [True, False])
@virtual
async def test_what_a_server_refuses_is_asked_of_whichever_is_found_then(
    listens: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that only follows listens to nobody and writes nothing, and the name may lead to another by now."""
    async with staged() as stage:
        lease = stage.lease()
        await lease.look()
        with monkeypatch.context() as patch:
            patch.setattr(driver.Connection, "execute", _follows)
            with pytest.raises(StateAway if listens else StateUnusable):
                await (lease.heard(1) if listens else lease.look())
        await anyio.sleep(1)
        assert stage.server.sessions == []
        await (lease.heard(1) if listens else lease.look())


async def _follows(_self: object, text: str, _cells: object = ()) -> None:
    if text.startswith("LISTEN"):
        raise errors.OperationalError("cannot execute LISTEN during recovery")
    raise errors.ObjectNotInPrerequisiteState("recovery is in progress")


@virtual
async def test_who_waits_hears_of_a_lease_that_is_given_back_and_else_waits_its_time() -> None:
    async with staged() as stage:
        holder, other = await stage.taken(), stage.lease("b")
        before = anyio.current_time()
        await other.heard(7)
        assert anyio.current_time() - before == pytest.approx(7, abs=0.01)
        asyncio.get_running_loop().call_later(3, asyncio.ensure_future, holder.give_back())
        await other.heard(7)
        assert anyio.current_time() - before == pytest.approx(10, abs=0.01)


async def _asked(stage: Stage) -> None:
    assert await requests.Requester(stage.address).ask("GET", "/status", "", "ada", seconds=1) is True


async def _answered(stage: Stage) -> None:
    database = for_requests(stage.leases[0])
    await requests.answer(database, requests.Request(1, "GET", "/status", "", "ada"), 200, "{}")
    await database.aclose()


@pytest.mark.parametrize(
    ("channel", "rings"),
    [
        ("fleetd_lease", lambda stage: stage.leases[0].give_back()),
        ("fleetd_asked", _asked),
        ("fleetd_answered", _answered),
    ],
)
@virtual
async def test_replicas_and_commands_of_every_version_listen_for_the_same_words(
    channel: str, rings: Callable[[Stage], Awaitable[object]]
) -> None:
    """They run beside each other while a host after the other is brought up to date."""
    async with staged() as stage:
        await stage.taken()
        older = await connect(stage.address, "an older one")
        await older.execute(f"LISTEN {channel}")
        await rings(stage)
        assert [notice.channel async for notice in older.notifies(timeout=1, stop_after=1)] == [channel]
        await older.close()


FENCED = pytest.mark.parametrize("made", [fenced, for_bulletins, for_requests])


async def _write(cursor: Any) -> None:
    await cursor.execute("INSERT INTO note (key, value) VALUES ('a', 'b')")


@FENCED
@virtual
async def test_every_connection_of_the_holder_is_behind_the_fence(made: Callable[[Lease], Database]) -> None:
    async with staged() as stage:
        database = made(lease := await stage.taken())
        await database.write(_write)
        stage.take_away()
        lease.check()  # its own clock says nothing: only the database can know
        with pytest.raises(LockLost, match=NOT_OURS):
            await database.write(_write)
        await database.aclose()


@FENCED
@virtual
async def test_every_connection_of_the_holder_asks_its_own_clock_before_anything_is_sent(
    made: Callable[[Lease], Database],
) -> None:
    async with staged() as stage:
        database = made(await stage.taken())
        journal = PostgresJournal(database)
        journal.check()
        refuses(stage)
        stage.paused = 20.0
        for call in (database.write, database.read):
            with pytest.raises(LockLost, match=NOT_IN_TIME):
                await call(_write)
        with pytest.raises(LockLost, match=NOT_IN_TIME):
            journal.check()
        await journal.aclose()


@virtual
async def test_who_acts_on_nothing_keeps_a_takeover_waiting_while_it_writes() -> None:
    async with staged() as stage:
        command = between_holders(stage.address)

        async def slowly(cursor: Any) -> None:
            await _write(cursor)
            await anyio.sleep(2)

        writing = asyncio.ensure_future(command.write(slowly))
        await anyio.sleep(1)
        began = anyio.current_time()
        await stage.taken()
        assert anyio.current_time() - began == pytest.approx(1, abs=0.1)
        assert writing.done()
        assert stage.sql("SELECT count(*) FROM note") == [(1,)]
        with pytest.raises(StateLocked, match=r"another replica \(a\)"):
            await command.write(_write)
        await command.aclose()


@virtual
async def test_nobody_acts_on_what_was_moved_away_meanwhile() -> None:
    async with staged() as stage:
        lease, command = stage.lease(), between_holders(stage.address)
        await lease.look()
        stage.sql("UPDATE fleetd SET moved_to = %s", "/var/lib/fleetd")
        with pytest.raises(StateMoved, match="/var/lib/fleetd"):
            await lease.take()
        with pytest.raises(StateMoved, match="/var/lib/fleetd"):
            await command.write(_write)
        assert (lease.held, stage.renewed, stage.fused) == (False, [], [])
        await command.aclose()


@virtual
async def test_a_takeover_that_waited_for_a_move_asks_what_came_of_it() -> None:
    """Who moves the journal, or changes the tables, has the row meanwhile."""
    async with staged() as stage:
        lease = stage.lease()
        moving = await connect(stage.address, "a move")
        await moving.execute("BEGIN")
        await moving.execute("SELECT 1 FROM lease FOR UPDATE")
        await moving.execute("UPDATE fleetd SET moved_to = %s", ("/var/lib/fleetd",))
        asyncio.get_running_loop().call_later(1, asyncio.ensure_future, moving.execute("COMMIT"))
        with pytest.raises(StateMoved, match="/var/lib/fleetd"):
            await lease.take()
        assert stage.renewed == []
        await moving.close()


@virtual
async def test_without_its_row_nobody_acts_and_it_is_said() -> None:
    async with staged() as stage:
        holder, other, command = await stage.taken(), stage.lease("b"), between_holders(stage.address)
        stage.sql("DELETE FROM lease")
        with pytest.raises(LockLost):
            await holder.renew()
        for asked in (other.look, other.take, lambda: command.write(_write), lambda: other.ask(hear)):
            with pytest.raises(StateUnusable, match="the table lease has lost its row"):
                await asked()
        await command.aclose()


@pytest.mark.parametrize(
    ("left", "age", "seconds"),
    [
        pytest.param(15, 0, 0.5, id="just renewed"),
        pytest.param(0.6, 0, 0.5, id="not at the next look"),
        pytest.param(0.3, 0, 0.3, id="when it ends"),
        pytest.param(0.3, 0.1, 0.2, id="when it ends, after more has been asked"),
        pytest.param(0.3, 0.4, 0.01, id="it has ended meanwhile"),
        pytest.param(0, 0, 0.01, id="over, and another is taking it"),
        pytest.param(10_800, 0, 0.5, id="the database's clock was set"),
    ],
)
def test_a_standby_is_there_when_the_lease_ends(left: float, age: float, seconds: float) -> None:
    assert pause(left, age) == pytest.approx(seconds)


def _in_a_process(work: Callable[[], object], seconds: float) -> int | None:
    """How a process that does this, and then waits, has ended within so many seconds; None: it has not."""
    child = os.fork()
    if child == 0:
        try:
            work()
            time.sleep(60)
        finally:
            os._exit(1)
    ends = time.monotonic() + seconds
    ended, status = 0, 0
    while not ended and time.monotonic() < ends:
        ended, status = os.waitpid(child, os.WNOHANG)
        time.sleep(0.005)
    if not ended:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return None
    return os.waitstatus_to_exitcode(status)


def _as_it_is() -> None: ...


def _ignored() -> None:
    signal.signal(signal.SIGALRM, signal.SIG_IGN)


def _handled() -> None:
    signal.signal(signal.SIGALRM, lambda *_: None)


def _blocked() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})


@pytest.mark.parametrize("found", [_as_it_is, _ignored, _handled, _blocked])
def test_the_kernel_ends_a_process_whose_lease_is_over_whatever_became_of_the_signal(
    found: Callable[[], None],
) -> None:
    def lives() -> None:
        found()
        kernel_fuse(60)
        kernel_fuse(0.02)

    assert _in_a_process(lives, 10) == -signal.SIGALRM


def test_a_timer_that_was_put_out_ends_nothing() -> None:
    def lives() -> None:
        kernel_fuse(0.05)
        kernel_fuse(0)

    assert _in_a_process(lives, 0.15) is None
