"""What holds on a database beside the journal's contract: fence, lease, lost answers, versions. On a real server."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from urllib.parse import urlsplit

import anyio
import pytest

from fleetd.model.errors import LockLost, StateAway, StateLocked, StateMoved, StateUnusable, VetoStands
from fleetd.model.journal import Hold
from fleetd.model.reasons import Outcome, Verb
from tests.store.stores import ServerStore
from tests.store.test_journal import ENTRY, INTENT
from tests.support.build import NOW, later
from tests.support.config_text import config_text

pytestmark = pytest.mark.peer("postgres")


@pytest.fixture
def url(postgres) -> str:
    return postgres.create()


def sql(url, text, *cells):
    from tests.support.postgres import execute

    return execute(url, text, *cells)


def lease(url, about="a", ttl=60.0, monotonic=time.monotonic):
    from fleetd.store.postgres.address import Address
    from fleetd.store.postgres.lease import Lease

    return Lease(Address(url), about, ttl=ttl, fuse=lambda _seconds: None, monotonic=monotonic)


async def prepare(url):
    from fleetd.store.postgres.address import Address
    from fleetd.store.postgres.opening import prepared

    await prepared(Address(url))


@asynccontextmanager
async def journal_of(holder, allowed=None):
    from fleetd.store.postgres.database import Database
    from fleetd.store.postgres.journal import PostgresJournal

    database = Database(holder.address, "test", enter=holder.enter, allowed=allowed or holder.check)
    journal = PostgresJournal(database)
    try:
        yield journal
    finally:
        await journal.aclose()


def expire(url) -> None:
    sql(url, "UPDATE lease SET expires_at = clock_timestamp() - interval '1 second'")


@asynccontextmanager
async def several(url, number):
    await prepare(url)
    held = [lease(url, f"replica {n}") for n in range(number)]
    try:
        yield held
    finally:
        for one in held:
            await one.aclose()


async def test_a_takeover_waits_for_a_write_under_way_and_sees_it(url, monkeypatch):
    from fleetd.store.postgres import journal as module

    insert = module._insert

    async def slow(cursor, table, value, key):
        number = await insert(cursor, table, value, key)
        sent.set()
        await anyio.sleep(1)
        return number

    monkeypatch.setattr(module, "_insert", slow)
    sent = anyio.Event()
    async with several(url, 2) as (old, new):
        assert await old.take() is not None
        async with journal_of(old, lambda: None) as journal, anyio.create_task_group() as group:
            group.start_soon(journal.write_intent, INTENT)
            await sent.wait()
            # As if its lease had ended in the middle: the row is locked, so it is a look past the lock that says so.
            monkeypatch.setattr(new, "look", old_is_over)
            began = time.monotonic()
            taking = asyncio.ensure_future(new.take())
            done, _ = await asyncio.wait({taking}, timeout=0.5)
            assert not done
            await asyncio.wait({taking})
            assert time.monotonic() - began > 0.5
        assert await taking is None  # it was not over, when it came to it
        expire(url)
        assert await new.take() is not None
        async with journal_of(new) as journal:
            assert [i.name for i in await journal.open_intents()] == [INTENT.name]


async def old_is_over():
    from fleetd.store.postgres.holder import Holder

    return Holder("", 0, None, over=True, given_back=True, reason="", previous="", left=0.0)


@pytest.mark.parametrize("meddle", ["taken over", "expired", "given back by hand", "the same epoch for another"])
async def test_who_has_lost_the_lease_writes_nothing(url, meddle):
    async with several(url, 2) as (old, new):
        assert await old.take() is not None
        # Its own clock says nothing: only the database can know.
        async with journal_of(old, lambda: None) as journal:
            await journal.write_intent(INTENT)
            match meddle:
                case "taken over":
                    expire(url)
                    assert await new.take() is not None
                case "expired":
                    expire(url)
                case "given back by hand":
                    sql(url, "UPDATE lease SET holder = NULL")
                case _:  # a standby of the server that lagged was promoted, and gave it once more
                    sql(url, "UPDATE lease SET holder = 'another'")
            for write in (
                lambda: journal.write_intent(INTENT),
                lambda: journal.put_note("a", "b"),
                lambda: journal.append_history(ENTRY),
                lambda: journal.close_intent(1, at=NOW, outcome=Outcome.REACHED),
            ):
                with pytest.raises(LockLost):
                    await write()
        assert sql(url, "SELECT count(*) FROM intent WHERE closed_at IS NULL") == [(1,)]
        assert sql(url, "SELECT count(*) FROM note") == sql(url, "SELECT count(*) FROM history") == [(0,)]
        with pytest.raises(LockLost):
            await old.renew()
        with pytest.raises(LockLost):
            old.check()


async def test_who_holds_a_lease_out_of_a_backup_writes_nothing(postgres, url):
    """Dumped and restored within one lease: the row still names the holder, and what was written since is gone."""
    async with several(url, 1) as (holder,):
        assert await holder.take() is not None
        async with journal_of(holder) as journal:
            dump = postgres.client("pg_dump", "--clean", url)
            await journal.write_intent(INTENT)
            postgres.client("psql", "--quiet", url, stdin=dump)
            assert sql(url, "SELECT count(*) FROM lease WHERE expires_at > clock_timestamp()") == [(1,)]
            with pytest.raises(LockLost, match="restored"):
                await journal.write_intent(INTENT)
            with pytest.raises(LockLost):
                await holder.renew()
        assert sql(url, "SELECT count(*) FROM intent") == [(0,)]


async def test_of_many_that_race_one_wins(url):
    async with several(url, 8) as held:
        won: list[int] = []

        async def race(number: int) -> None:
            if await held[number].take() is not None:
                won.append(number)

        async with anyio.create_task_group() as group:
            for number in range(8):
                group.start_soon(race, number)
        assert len(won) == 1
        assert [one.held for one in held].count(True) == 1


async def test_it_is_taken_once_it_is_over_and_not_before(url):
    await prepare(url)
    old, new = lease(url, "old", ttl=1.0), lease(url, "new")
    try:
        assert await old.take() is not None
        began = time.monotonic()
        while (before := await new.take()) is None:
            await new.heard(0.05)
        assert 0.9 < time.monotonic() - began < 3
        assert (before.about, before.epoch, before.given_back, new.epoch) == ("old", 1, False, 2)
        with pytest.raises(LockLost, match="renewed in time"):
            old.check()
        assert not old.held
    finally:
        await old.aclose()
        await new.aclose()


async def test_what_is_left_of_a_lease_is_told_by_the_databases_clock(url):
    await prepare(url)
    old, new = lease(url, "old", ttl=1.0), lease(url, "new")
    try:
        assert (await new.look()).left == 0
        assert await old.take() is not None
        assert 0.5 < (await new.look()).left <= 1
        sql(url, "UPDATE lease SET expires_at = clock_timestamp() + interval '3 hours'")
        assert (await new.look()).left == pytest.approx(3 * 3600, abs=5)
        sql(url, "UPDATE lease SET expires_at = clock_timestamp() - interval '3 hours'")
        over = await new.look()
        assert (over.left, over.over) == (0, True)
    finally:
        await old.aclose()
        await new.aclose()


async def test_a_standby_hears_of_a_lease_that_is_given_back(url):
    async with several(url, 2) as (old, new):
        assert await old.take() is not None
        assert await new.take() is None
        async with anyio.create_task_group() as group:
            group.start_soon(new.heard, 30.0)
            await anyio.sleep(0.3)
            began = time.monotonic()
            await old.give_back()
        assert time.monotonic() - began < 1
        before = await new.take()
        assert before is not None
        assert before.given_back


async def test_the_fuse_is_set_for_what_is_left_and_put_out(url):
    from fleetd.store.postgres.address import Address
    from fleetd.store.postgres.lease import Lease

    await prepare(url)
    set_to: list[float] = []
    held = Lease(Address(url), "a", ttl=10, fuse=set_to.append)
    try:
        assert await held.take() is not None
        await held.renew()
        await held.give_back()
    finally:
        await held.aclose()
    assert len(set_to) == 3
    assert all(9 < seconds <= 10 for seconds in set_to[:2])
    assert set_to[2] == 0


@pytest.mark.parametrize("ends", ["by itself", "lost"])
async def test_the_fuse_is_put_out_as_soon_as_nothing_acts_any_more(url, tmp_path, ends):
    """However it ends: a timer that is left would end a process that is on its way out, and without its exit code."""
    from fleetd.config import parse
    from fleetd.wiring.acting import holding_lease
    from fleetd.wiring.process import Process

    settings = parse(
        config_text(daemon=f'[daemon]\nstate = "{url}"\nstate_dir = "{tmp_path}"\nlisten = ""'), "f.toml"
    )
    set_to: list[float] = []
    with suppress(LockLost):
        async with holding_lease(settings, None, Process("a", set_to.append)) as held:
            assert [seconds > 0 for seconds in set_to] == [True]
            if ends == "lost":
                expire(url)
                await held.lease.renew()
    assert set_to[1:]
    assert set(set_to[1:]) == {0}


async def test_a_paused_transaction_does_not_keep_the_lease(url):
    """SIGSTOP in the middle of a write: the server ends its session, and whoever waits goes on."""
    async with several(url, 2) as (old, new):
        assert await old.take() is not None
        from fleetd.store.postgres.database import connect

        paused = await connect(old.address, "paused")
        await paused.execute("BEGIN")
        await paused.execute("SELECT 1 FROM lease FOR SHARE")
        began = time.monotonic()
        with suppress(StateAway):
            sql(url, "SET lock_timeout = '10s'; UPDATE lease SET expires_at = clock_timestamp()")
        assert 2 < time.monotonic() - began < 8
        assert await new.take() is not None
        await paused.close()


class Middleman:
    """Between fleetd and the server: cuts the connection around the first COMMIT that it is told to."""

    def __init__(self, url: str, when: str) -> None:
        self._to = urlsplit(url)
        self._when = when
        self.cuts = 0
        self.refusing = False

    @asynccontextmanager
    async def listening(self):
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        try:
            yield self._to._replace(netloc=f"fleetd@127.0.0.1:{port}").geturl()
        finally:
            server.close()
            await server.wait_closed()

    async def _serve(self, reader, writer):
        if self.refusing:
            writer.close()
            return
        there, back = await asyncio.open_connection(self._to.hostname, self._to.port)
        answers = asyncio.ensure_future(self._pass_on(there, writer))
        try:
            while chunk := await reader.read(65536):
                if b"COMMIT" in chunk and self._when and b"fleetd" not in chunk and self.armed:
                    self.armed = False
                    self.cuts += 1
                    if self._when == "after":
                        answers.cancel()
                        back.write(chunk)
                        await there.read(65536)
                    self.refusing = self._when == "for good"
                    break
                back.write(chunk)
                await back.drain()
        finally:
            answers.cancel()
            back.close()
            writer.close()

    armed = False

    async def _pass_on(self, reader, writer):
        with suppress(ConnectionError):
            while chunk := await reader.read(65536):
                writer.write(chunk)
                await writer.drain()


WRITES = {
    "intent": (lambda j: j.write_intent(INTENT), "SELECT count(*) FROM intent", 2),
    "history": (lambda j: j.append_history(ENTRY), "SELECT count(*) FROM history", 1),
    "close": (
        lambda j: j.close_intent(1, at=NOW, outcome=Outcome.REACHED),
        "SELECT count(*) FROM history WHERE outcome = 'reached'",
        1,
    ),
    "hold": (
        lambda j: j.add_hold(
            Hold(
                id=0,
                kind="freeze",
                subject=None,
                verbs=frozenset(Verb),
                reason="",
                actor="",
                created_at=NOW,
                expires_at=later(hours=1),
            )
        ),
        "SELECT count(*) FROM hold",
        1,
    ),
}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("write", WRITES)
async def test_a_commit_without_an_answer_is_looked_up_and_made_once(url, write, when):
    call, count, expected = WRITES[write]
    middleman = Middleman(url, when)
    async with middleman.listening() as between:
        store = await ServerStore.make(between)
        journal = await store.open()
        await journal.write_intent(INTENT)
        middleman.armed = True
        result = await call(journal)
        assert middleman.cuts == 1
        assert sql(url, count) == [(expected,)]
        if write == "intent":
            assert sql(url, "SELECT max(id) FROM intent") == [(result.id,)]
        if write == "close":
            assert result is True  # it did close it, whoever heard of that
        await journal.aclose()
        await store.aclose()


async def test_an_intent_whose_fate_stays_unknown_raises(url, monkeypatch):
    from fleetd.store.postgres import database

    monkeypatch.setattr(database, "PATIENCE", 0.5)
    middleman = Middleman(url, "for good")
    async with middleman.listening() as between:
        store = await ServerStore.make(between)
        journal = await store.open()
        await journal.get_note("a")
        middleman.armed = True
        with pytest.raises(StateAway):
            await journal.write_intent(INTENT)
        await journal.aclose()
        await store.lease._line.drop()


async def test_a_veto_that_the_holder_has_not_read_forbids_the_intent(url):
    store = await ServerStore.make(url)
    journal = await store.open()
    hold = {"reason": "", "actor": "ada", "created_at": NOW, "expires_at": later(hours=1)}
    await journal.add_hold(Hold(id=0, kind="freeze", subject=INTENT.fleet, verbs=frozenset({INTENT.verb}), **hold))
    with pytest.raises(VetoStands, match="freeze by ada"):
        await journal.write_intent(INTENT)
    assert await journal.open_intents() == []
    await journal.write_intent(replace(INTENT, fleet="other", name="other-1"))
    await journal.write_intent(replace(INTENT, created_at=later(hours=2)))
    await journal.aclose()
    await store.aclose()


async def test_commands_write_while_nobody_has_the_lease_and_only_then(url):
    from fleetd.store.postgres.journal import PostgresJournal
    from fleetd.store.postgres.lease import between_holders

    async with several(url, 1) as (held,):
        journal = PostgresJournal(between_holders(held.address))
        await journal.put_note("a", "b")
        assert await held.take() is not None
        with pytest.raises(StateLocked, match="replica 0"):
            await journal.put_note("a", "c")
        assert await journal.get_note("a") == "b"
        await held.give_back()
        await journal.put_note("a", "d")
        await journal.aclose()


@pytest.mark.parametrize("holds", [False, True])
async def test_tables_do_not_change_under_an_older_replica(url, monkeypatch, holds):
    from fleetd.store.postgres import schema

    await prepare(url)
    old, new = lease(url, "old"), lease(url, "new")
    if holds:
        assert await old.take() is not None
        sql(url, "UPDATE replica SET expires_at = clock_timestamp() - interval '1 second'")
        await old.renew()
    else:
        await old.enrol()
    now = schema.VERSION
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, ("CREATE TABLE more (a BIGINT)",)))
    monkeypatch.setattr(schema, "VERSION", now + 1)
    monkeypatch.setattr(schema, "OLDEST_READER", now + 1)
    with pytest.raises(StateLocked, match=r"older fleetd run on .*old"):
        await prepare(url)
    assert sql(url, "SELECT format FROM fleetd") == [(now,)]
    await old.give_back()
    await old.aclose()
    await prepare(url)
    assert sql(url, "SELECT format FROM fleetd") == [(now + 1,)]
    monkeypatch.undo()
    with pytest.raises(StateUnusable, match="newer fleetd"):
        await prepare(url)
    with pytest.raises(StateUnusable, match="newer fleetd"):  # a standby that was there before, and was not seen
        await new.take()
    await new.aclose()


async def test_many_that_make_the_tables_at_once_make_them_once(url):
    async with anyio.create_task_group() as group:
        for _ in range(6):
            group.start_soon(prepare, url)
    assert sql(url, "SELECT count(*) FROM lease") == [(1,)]


@pytest.mark.parametrize(
    "setting",
    [
        "datestyle = 'SQL, DMY'",
        "datestyle = 'German'",
        "intervalstyle = 'sql_standard'",
        "timezone = 'Asia/Kolkata'",
        "extra_float_digits = -15",
        "default_transaction_isolation = 'repeatable read'",
        "default_transaction_isolation = 'serializable'",
    ],
)
async def test_what_an_administrator_sets_for_every_client_changes_nothing(url, setting):
    sql(url, f"""ALTER DATABASE "{urlsplit(url).path[1:]}" SET {setting}""")
    async with several(url, 2) as (first, second):
        assert await first.take() is not None
        async with journal_of(first) as journal:
            intent = await journal.write_intent(INTENT)
            assert await journal.open_intents() == [intent]
            assert intent.created_at == INTENT.created_at
        await first.renew()
        await second.look()
        assert await second.take() is None
        database = first._line.db
        assert database is not None
        cursor = await database.execute("SHOW default_transaction_isolation")
        assert await cursor.fetchone() == ("read committed",)


async def test_somebody_elses_database_is_left_alone(url):
    sql(url, "CREATE TABLE theirs (a BIGINT)")
    with pytest.raises(StateUnusable, match="somebody else"):
        await prepare(url)


async def test_several_accounts_share_a_database_by_schemas(url):
    for name in ("one", "two"):
        sql(url, f"CREATE SCHEMA {name}")
    stores = [await ServerStore.make(f"{url}?options=-csearch_path%3D{name}") for name in ("one", "two")]
    for store in stores:
        journal = await store.open()
        assert (await journal.write_intent(INTENT)).id == 1
        await journal.aclose()
        await store.aclose()


@pytest.mark.parametrize("given", ["wr0ng-s3cret", None])
async def test_a_refused_password_is_told_and_not_shown(postgres, url, given, caplog):
    from fleetd.store.postgres.address import Address
    from fleetd.store.postgres.opening import prepared

    sql(url, "DROP ROLE IF EXISTS secretive")
    sql(url, "CREATE ROLE secretive LOGIN PASSWORD 'r1ght-s3cret'")
    address = Address(url.replace("fleetd@", "secretive@"), given)
    with pytest.raises(StateUnusable) as refused:
        await prepared(address)
    assert "s3cret" not in f"{refused.value} {address!r} {refused.value.__cause__}"


async def test_a_server_that_is_away_is_said_to_be(url):
    from fleetd.store.postgres.address import Address
    from fleetd.store.postgres.opening import prepared

    with pytest.raises(StateAway, match="does not answer"):
        await prepared(Address("postgresql://fleetd@127.0.0.1:9/fleetd"))


async def test_a_database_that_was_moved_away_is_no_ones(url):
    async with several(url, 1) as (held,):
        sql(url, "UPDATE fleetd SET moved_to = '/var/lib/fleetd on a'")
        with pytest.raises(StateMoved, match="/var/lib/fleetd on a"):
            await held.take()
        with pytest.raises(StateMoved):
            await prepare(url)


async def test_advice_names_a_commit_that_waits_for_no_standby(url):
    from fleetd.store.postgres.address import Address
    from fleetd.store.postgres.advice import advice

    assert any("synchronous_standby_names" in line for line in await advice(Address(url)))


async def test_advice_names_an_encoding_that_the_tables_are_not_made_in(url):
    from fleetd.store.postgres.address import Address
    from fleetd.store.postgres.advice import advice

    parts = urlsplit(url)
    name = f"{parts.path[1:]}_latin"
    sql(url, f"""CREATE DATABASE "{name}" ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0""")
    latin = parts._replace(path=f"/{name}").geturl()
    assert any("encoding LATIN1" in line for line in await advice(Address(latin)))
    assert not any("encoding" in line for line in await advice(Address(url)))


async def test_each_takeover_is_told_with_its_reason(url):
    from fleetd.store.postgres.bulletin import hear

    async def told(one):
        holder = (heard := await one.ask(hear)).holder
        return one.reason, holder.reason, holder.previous, dict(heard.takeovers)

    async with several(url, 3) as (first, second, third):
        assert await first.take() is not None
        assert await told(first) == ("first", "first", "", {"first": 1})
        await first.give_back()
        assert await second.take() is not None
        assert await told(second) == ("given_back", "given_back", "replica 0", {"first": 1, "given_back": 1})
        expire(url)
        assert await third.take() is not None
        counts = {"first": 1, "given_back": 1, "expired": 1}
        assert await told(third) == ("expired", "expired", "replica 1", counts)
        await third.give_back("stepped_down")
        assert await first.take() is not None
        assert await told(first) == ("stepped_down", "stepped_down", "replica 2", counts | {"stepped_down": 1})
        await first.give_back()
        assert await second.take() is not None  # how it ended before does not stay
        assert (await told(second))[:3] == ("given_back", "given_back", "replica 0")


async def test_what_the_holder_says_is_heard_once_and_only_the_holder_says_it(url):
    from fleetd.store.postgres.bulletin import for_bulletins, hear, leave, packed

    async with several(url, 2) as (holder, other):
        assert (await other.ask(hear)).bulletin is None
        assert await holder.take() is not None
        holder.config = ("/etc/a.toml", "digest a")
        await holder.renew()
        await other.enrol()
        database = for_bulletins(holder)
        await leave(database, holder.epoch, packed(b"all is well"))
        heard = await other.ask(hear)
        assert heard.bulletin is not None
        assert (heard.bulletin.epoch, heard.bulletin.report) == (1, b"all is well")
        assert 0 <= heard.bulletin.age < 5
        replicas = {r.about: (r.config, r.digest, r.holds) for r in heard.replicas}
        assert replicas == {"replica 0": ("/etc/a.toml", "digest a", True), "replica 1": ("", "", False)}
        said_at = heard.bulletin.said_at
        again = (await other.ask(lambda cursor: hear(cursor, said_at))).bulletin
        assert again is not None
        assert again.report is None
        expire(url)
        assert await other.take() is not None
        with pytest.raises(LockLost):
            await leave(database, holder.epoch, packed(b"I act"))
        kept = (await other.ask(hear)).bulletin
        assert kept is not None
        assert (kept.epoch, kept.report) == (1, b"all is well")
        await database.aclose()


async def test_tables_of_the_first_format_are_brought_up_to_date_with_what_they_hold(url, monkeypatch):
    from fleetd.store.postgres import schema
    from fleetd.store.postgres.bulletin import hear

    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:1])
        patch.setattr(schema, "VERSION", 1)
        await prepare(url)
    sql(url, "UPDATE lease SET epoch = 7, about = 'old', since = now()")
    async with several(url, 1) as (new,):
        assert await new.take() is not None
        heard = await new.ask(hear)
    assert (heard.holder.epoch, heard.holder.previous, heard.holder.reason) == (8, "old", "given_back")
