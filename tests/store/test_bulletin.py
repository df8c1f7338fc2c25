"""What replicas learn of each other: the holder's word and its age, who stands by, how takeovers came about."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import pytest

pytest.importorskip("psycopg")

from fleetd.model.errors import LockLost
from fleetd.store.postgres.bulletin import Running, for_bulletins, hear, leave, packed, roll
from fleetd.store.postgres.lease import TTL
from tests.store.stage import staged
from tests.support.virtual_time import virtual

LONG = b'{"fleets": {}}' * 100_000


@virtual
async def test_the_holders_last_word_is_heard_with_its_age_and_read_once() -> None:
    async with staged() as stage:
        holder, other = await stage.taken(), stage.lease("b")
        assert (await other.ask(hear)).bulletin is None
        database = for_bulletins(holder)
        await leave(database, 1, packed(b"one"))
        await anyio.sleep(3)
        await leave(database, 1, packed(LONG))
        await anyio.sleep(7)
        heard = (await other.ask(hear)).bulletin
        assert heard is not None
        assert (heard.epoch, heard.report, heard.age) == (1, LONG, pytest.approx(7, abs=0.01))
        known = heard.said_at
        again = (await other.ask(lambda cursor: hear(cursor, known))).bulletin
        assert again is not None
        assert (again.report, again.said_at, again.epoch) == (None, known, 1)
        await leave(database, 2, packed(b"three"))
        newer = (await other.ask(lambda cursor: hear(cursor, known))).bulletin
        assert newer is not None
        assert (newer.report, newer.epoch, newer.age) == (b"three", 2, pytest.approx(0, abs=0.01))
        called = (await other.ask(roll)).bulletin
        assert called is not None
        assert (called.report, called.said_at) == (None, newer.said_at)
        await database.aclose()


def test_a_word_is_left_in_a_fraction_of_its_length() -> None:
    assert len(packed(LONG)) < len(LONG) / 50


@virtual
async def test_a_word_that_the_databases_clock_has_yet_to_come_to_is_not_older_than_new() -> None:
    """The clock was set back."""
    async with staged() as stage:
        database = for_bulletins(lease := await stage.taken())
        await leave(database, 1, packed(b"one"))
        stage.sql("UPDATE bulletin SET said_at = clock_timestamp() + interval '1 hour'")
        heard = (await lease.ask(hear)).bulletin
        assert heard is not None
        assert heard.age == 0
        await database.aclose()


@virtual
async def test_who_has_lost_the_lease_leaves_no_word() -> None:
    async with staged() as stage:
        database = for_bulletins(lease := await stage.taken())
        await leave(database, 1, packed(b"I act"))
        stage.take_away()
        with pytest.raises(LockLost):
            await leave(database, 1, packed(b"I act yet"))
        kept = (await lease.ask(hear)).bulletin
        assert kept is not None
        assert kept.report == b"I act"
        await database.aclose()


@pytest.mark.parametrize("hears", [hear, roll])
@virtual
async def test_the_roll_is_called_by_name_with_what_each_runs_on_and_which_holds(
    hears: Callable[..., object],
) -> None:
    async with staged() as stage:
        last, holder, first = stage.lease("c"), await stage.taken("b"), stage.lease("a")
        last.config, last.fault = ("/etc/c.toml", "dc"), "line 3"
        for lease in (last, first):
            await lease.enrol()
        heard = await first.ask(hears)
        assert heard.replicas == [
            Running("a", "", "", "", holds=False),
            Running("b", "", "", "", holds=True),
            Running("c", "/etc/c.toml", "dc", "line 3", holds=False),
        ]
        assert (heard.holder.about, heard.holder.epoch) == ("b", 1)
        await holder.give_back()
        heard = await first.ask(hears)
        assert [replica.holds for replica in heard.replicas] == [False] * 3


@pytest.mark.parametrize(
    ("seconds", "stands_by"),
    [
        pytest.param(0, True, id="it has just said so"),
        pytest.param(15, True, id="it is to say so now"),
        pytest.param(23.9, True, id="late"),
        pytest.param(24.1, False, id="too late"),
        pytest.param(3600, False, id="an hour ago"),
    ],
)
@virtual
async def test_who_has_said_nothing_for_more_than_a_length_and_a_half_stands_by_no_more(
    seconds: float, stands_by: bool
) -> None:
    async with staged() as stage:
        await stage.lease("a").enrol()
        await anyio.sleep(seconds)
        assert bool((await stage.lease("b").ask(roll)).replicas) == stands_by


@pytest.mark.parametrize("hears", [hear, roll])
@virtual
async def test_whose_lease_was_taken_for_it_had_ended_stands_by_no_more(
    hears: Callable[..., object],
) -> None:
    """It has ended with its lease, or stands still: nobody can hand over to it. An upgrade counts it all the same."""
    async with staged() as stage:
        await stage.taken("dead")
        other = stage.lease("b")
        await anyio.sleep(TTL)
        assert await other.take() is not None
        assert [replica.about for replica in (await other.ask(hears)).replicas] == ["b"]
        assert stage.sql("SELECT count(*) FROM replica WHERE expires_at > clock_timestamp()") == [(2,)]
        await stage.leases[0].enrol()
        assert [replica.about for replica in (await other.ask(hears)).replicas] == ["b", "dead"]


@virtual
async def test_takeovers_are_heard_of_by_their_reasons() -> None:
    async with staged() as stage:
        lease = stage.lease()
        assert (await lease.ask(roll)).takeovers == {}
        for how in ("given_back", "stepped_down", "given_back"):
            assert await lease.take() is not None
            await lease.give_back(how)
        assert await lease.take() is not None
        assert (await lease.ask(roll)).takeovers == {"first": 1, "given_back": 2, "stepped_down": 1}
