"""A journal that moves into a database and back: whole, once, and never in two places, whatever cuts it short."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest

from fleetd.model.errors import StateLocked, StateMoved, StateUnusable
from fleetd.model.journal import Backoff
from fleetd.model.reasons import Outcome
from fleetd.store import schema as file_schema
from fleetd.store.moving import file_content, has_journal, open_again, word_left
from fleetd.store.sqlite import SqliteJournal
from tests.store.stores import ServerStore
from tests.store.test_journal import ENTRY, FACTS, INTENT, LEASE
from tests.support.build import NOW, hold, later

pytestmark = pytest.mark.peer("postgres")
HERE = "/state on a"


async def fill(journal) -> None:
    for name in ("a", "b", "c"):
        await journal.write_intent(replace(INTENT, name=name))
    await journal.close_intent(3, at=NOW, outcome=Outcome.REACHED)
    await journal.append_history(replace(ENTRY, name="half \ud800 a pair\0\x1a0000"))
    await journal.put_facts([FACTS])
    await journal.put_backoff(Backoff("NY2", "P4000", 1, later(minutes=1), "out"))
    await journal.put_note("prices", "\0")
    await journal.put_note("leases", "[]")  # as a version before their table has left them
    await journal.put_leases([LEASE, replace(LEASE, source="\0")])
    await journal.add_hold(hold("x", reason="", actor="", created_at=NOW, expires_at=later(hours=9)))
    await journal.write_intent(replace(INTENT, name="gone"))
    await journal.close_intent(4, at=later(days=-99), outcome=Outcome.REACHED)
    await journal.prune(before=later(days=-9), max_rows=100)


async def everything(journal) -> list[object]:
    return [
        await journal.open_intents(),
        await journal.history(),
        await journal.facts(),
        await journal.backoffs(),
        await journal.holds(now=NOW),
        await journal.get_note("prices"),
        await journal.get_note("leases"),
        await journal.leases(),
    ]


@pytest.fixture
async def filled(path):
    journal = await SqliteJournal.open(path)
    await fill(journal)
    found = await everything(journal)
    await journal.aclose()
    return found


@pytest.fixture
def address(postgres):
    from fleetd.store.postgres.address import Address

    return Address(postgres.create())


async def in_file(path):
    journal = await SqliteJournal.open(path)
    try:
        return await everything(journal)
    finally:
        await journal.aclose()


async def in_database(address):
    store = await ServerStore.make(address.url)
    journal = await store.open()
    try:
        return await everything(journal)
    finally:
        await journal.aclose()
        await store.aclose()


async def move_in(path, address):
    from fleetd.store.postgres.copying import move_in as move

    word = await word_left(path)
    content = None if word else await file_content(path)
    await move(content, path, address, HERE)


async def move_out(path, address):
    from fleetd.store.postgres.copying import move_out as move

    await move(path, address, HERE)


async def test_it_comes_whole_and_word_is_left(path, address, filled):
    await move_in(path, address)
    assert await in_database(address) == filled
    with pytest.raises(StateMoved, match=r"moved from .* to postgresql://127"):
        await SqliteJournal.open(path)
    with pytest.raises(StateMoved):
        await SqliteJournal.open_read_only(path)
    assert not await has_journal(path)

    await move_out(path, address)
    assert await in_file(path) == filled
    with pytest.raises(StateMoved, match=HERE):
        await in_database(address)

    await move_in(path, address)  # and there again: what an earlier move has left is no obstacle
    assert await in_database(address) == filled


async def test_numbers_are_not_given_twice_after_a_move(path, address, filled):
    del filled
    await move_in(path, address)
    store = await ServerStore.make(address.url)
    journal = await store.open()
    assert (await journal.write_intent(INTENT)).id == 5
    await journal.aclose()
    await store.aclose()
    await move_out(path, address)
    journal = await SqliteJournal.open(path)
    assert (await journal.write_intent(INTENT)).id == 6
    await journal.aclose()


async def test_it_comes_into_a_new_directory(path, address, filled, tmp_path):
    await move_in(path, address)
    other = tmp_path / "other" / "journal.db"
    other.parent.mkdir()
    await move_out(other, address)
    assert await in_file(other) == filled


async def test_a_version_that_knows_nothing_of_moves_refuses_the_file(path, address, filled, monkeypatch):
    del filled
    await move_in(path, address)
    monkeypatch.setattr(file_schema, "MOVED", -1)
    with pytest.raises(StateUnusable, match="newer fleetd"):
        await SqliteJournal.open(path)


class Cut(Exception):
    pass


CUTS = {
    "in": ("_write_content", "leave_word", "prepared", "_transaction"),
    "out": ("fill", "open_again", "_read_content", "_transaction"),
}


@pytest.mark.long
@pytest.mark.parametrize(("way", "where"), [(way, where) for way, names in CUTS.items() for where in names])
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("nth", [1, 2])
async def test_a_move_that_is_cut_short_leaves_one_journal_and_goes_on(
    path, address, filled, monkeypatch, way, where, late, nth
):
    from fleetd.store.postgres import copying

    if way == "out":
        await move_in(path, address)
    move = move_in if way == "in" else move_out
    original, calls = getattr(copying, where), [0]

    async def cut(*arguments, **more):
        calls[0] += 1
        if calls[0] != nth:
            return await original(*arguments, **more)
        if late:
            await original(*arguments, **more)
        raise Cut

    with monkeypatch.context() as patched:
        patched.setattr(copying, where, cut)
        with suppress(Cut):
            await move(path, address)

    usable = []
    for look in (lambda: in_file(path), lambda: in_database(address)):
        with suppress(StateMoved):
            usable.append(await look())
    assert len([found for found in usable if found == filled]) <= 1
    assert all(found in (filled, [[], [], [], [], [], None, None, []]) for found in usable)

    moved = await word_left(path) is None if way == "out" else await word_left(path) is not None
    if not moved or not await arrived(way, path, address):
        await move(path, address)
    assert await (in_database(address) if way == "in" else in_file(path)) == filled


async def arrived(way, path, address):
    try:
        await (in_database(address) if way == "in" else in_file(path))
    except StateMoved:
        return False
    return True


async def test_nothing_is_moved_over_a_journal(path, address, filled, tmp_path):
    del filled
    store = await ServerStore.make(address.url)
    journal = await store.open()
    await journal.put_note("mine", "here")
    await journal.aclose()
    await store.aclose()
    with pytest.raises(StateMoved, match="journal of its own"):
        await move_in(path, address)
    with pytest.raises(StateMoved, match="journal of its own"):
        await move_out(path, address)
    assert await has_journal(path)


@pytest.mark.parametrize("way", ["in", "out"])
async def test_nothing_is_moved_under_a_replica(path, address, filled, way):
    del filled
    if way == "out":
        await move_in(path, address)
    store = await ServerStore.make(address.url, "the other")
    with pytest.raises(StateLocked, match="the other"):
        await (move_in if way == "in" else move_out)(path, address)
    await store.aclose()


async def test_a_file_that_was_opened_again_by_hand_is_a_journal(path, address, filled):
    """The way back where the database is lost: docs/operations.md."""
    await move_in(path, address)
    await open_again(path)
    assert await in_file(path) == filled
