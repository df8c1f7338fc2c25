"""What may be moved into a database and out of it, by the words that moves have left on both sides; and its copy."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from fleetd.model.errors import StateAway, StateLocked, StateMoved, StateUnusable
from fleetd.store import moving
from fleetd.store.moving import COLUMNS, NUMBERED, Content, leave_word, word_left
from fleetd.store.rows import Cell
from fleetd.store.schema import ARRIVING, MOVED_TO
from tests.store.test_journal import INTENT
from tests.store.test_moving_files import EMPTY, GIVEN, SOME, hold

if TYPE_CHECKING:
    from fleetd.store.postgres.address import Address

pytestmark = pytest.mark.peer("postgres")
HERE = "/state on a"
"""The file that is moved, in words for others."""
ELSEWHERE = "/state on b"
_NUMBERS = count(1)


@pytest.fixture(scope="module")
def url(postgres: Any) -> str:
    return str(postgres.create())


@pytest.fixture
def address(url: str) -> Address:
    """A schema of its own, which is made in less time than a database."""
    from fleetd.store.postgres.address import Address

    name = f"of_test_{next(_NUMBERS)}"
    sql(Address(url), f"CREATE SCHEMA {name}")
    # Nothing here is to outlive the server: its commits need not wait for the disk.
    return Address(f"{url}?options=-csearch_path%3D{name}%20-csynchronous_commit%3Doff")


def sql(address: Address, text: str, *cells: object) -> list[tuple[object, ...]]:
    from tests.support.postgres import execute

    return execute(address.url, text, *cells)


async def move_in(path: Path, address: Address) -> None:
    from fleetd.store.postgres import copying

    content = moving.EMPTY if await word_left(path) else await moving.file_content(path)
    await copying.move_in(content, path, address, HERE)


async def move_out(path: Path, address: Address) -> None:
    from fleetd.store.postgres import copying

    await copying.move_out(path, address, HERE)


WAYS = {"in": move_in, "out": move_out}


async def prepare(address: Address) -> None:
    from fleetd.store.postgres.opening import prepared

    await prepared(address)


async def fill_database(address: Address, content: Content) -> None:
    from fleetd.store.postgres import copying

    await prepare(address)
    await copying._transaction(address, lambda cursor: copying._write_content(cursor, content))


async def fill_file(path: Path, content: Content) -> None:
    await moving.fill(path, content, ELSEWHERE)
    await moving.open_again(path)


def in_database(address: Address) -> tuple[Mapping[str, Any], list[object], object]:
    """Its rows, its numbers, and the words that moves have left."""
    rows = {table: sql(address, f"SELECT {', '.join(columns)} FROM {table}") for table, columns in COLUMNS.items()}
    numbers = [sql(address, f"SELECT last_value, is_called FROM {table}_id_seq")[0] for table in NUMBERED]
    return rows, numbers, sql(address, "SELECT moved_to, arriving FROM fleetd")[0]


def in_file(path: Path) -> list[object]:
    if not path.exists():
        return []
    with closing(sqlite3.connect(path)) as db:
        return [*db.iterdump(), db.execute("PRAGMA user_version").fetchone()]


@dataclass(frozen=True)
class Case:
    """What is there before a move, and which of its two refusals or ends it comes to."""

    file: str | tuple[str, str] | None
    """What it is, or the word that is left in it; "database" stands for how words call it. None: there is none."""
    rows: bool
    """Whether the database holds any."""
    moved: str | None
    arriving: str | None
    refused: str | None
    """What it says, or None: it is moved."""


IN = {
    "into a new database": Case("journal", False, None, None, None),
    "over a journal": Case("journal", True, None, None, "has a journal of its own"),
    "over what was moved away": Case("journal", True, ELSEWHERE, None, None),
    "once more, cut short before word was left": Case("journal", True, None, HERE, None),
    "while another is on its way": Case("journal", True, None, ELSEWHERE, "has a journal of its own"),
    "while another is on its way that had nothing": Case("journal", False, None, ELSEWHERE, "a journal of its own"),
    "once more, cut short after word was left": Case((MOVED_TO, "database"), True, None, HERE, None),
    "once more, come whole": Case((MOVED_TO, "database"), True, None, None, None),
    "once more, and another is on its way": Case(
        (MOVED_TO, "database"), True, None, ELSEWHERE, f"a journal from {ELSEWHERE} is on its way to"
    ),
    "once more, and it went on from there": Case(
        (MOVED_TO, "database"),
        True,
        ELSEWHERE,
        None,
        f"holds no journal: .*, and from there to {ELSEWHERE}",
    ),
    "once more, and nothing is there": Case((MOVED_TO, "database"), False, None, None, "and nothing is there"),
    "from a file whose journal went elsewhere": Case(
        (MOVED_TO, ELSEWHERE), True, None, None, f"holds no journal: it was moved to or from {ELSEWHERE}"
    ),
    "from a file to which it is on its way": Case(
        (ARRIVING, "database"), True, HERE, None, "holds no journal: it was moved to or from postgresql:"
    ),
}


@pytest.mark.parametrize("case", IN.values(), ids=IN)
async def test_a_file_is_moved_in_where_no_other_journal_is_passed_over(
    path: Path, address: Address, case: Case
) -> None:
    expected = await arranged(path, address, case)
    before = in_database(address), in_file(path)
    with pytest.raises(StateMoved, match=case.refused) if case.refused else nullcontext():
        await move_in(path, address)
    if case.refused:
        assert (in_database(address), in_file(path)) == before
        return
    rows, numbers, words = in_database(address)
    assert rows == expected.rows
    assert numbers == [(number, True) for number in GIVEN.values()]
    assert words == (None, None)
    assert await word_left(path) == (MOVED_TO, str(address))


OUT = {
    "into a new directory": Case(None, True, None, None, None),
    "into an empty journal": Case("empty", True, None, None, None),
    "over a journal": Case("journal", True, None, None, "has a journal of its own"),
    "over what was moved away": Case((MOVED_TO, ELSEWHERE), True, None, None, None),
    "back to where it came from": Case((MOVED_TO, "database"), True, None, None, None),
    "once more, cut short before the database said so": Case((ARRIVING, "database"), True, None, None, None),
    "once more, cut short before the file was a journal": Case((ARRIVING, "database"), True, HERE, None, None),
    "while another is on its way into the file": Case(
        (ARRIVING, ELSEWHERE), True, None, None, f"a journal from {ELSEWHERE} is on its way to"
    ),
    "once more, come whole": Case("journal", True, HERE, None, f"holds no journal: it was moved to or from {HERE}"),
    "once more, and it went on from there": Case((MOVED_TO, ELSEWHERE), True, HERE, None, "holds no journal"),
    "once more, and another is on its way": Case((ARRIVING, ELSEWHERE), True, HERE, None, "holds no journal"),
    "from a database whose journal went elsewhere": Case(
        None, True, ELSEWHERE, None, f"holds no journal: it was moved to or from {ELSEWHERE}"
    ),
    "it went elsewhere before it had come": Case((ARRIVING, "database"), True, ELSEWHERE, None, "holds no journal"),
    "from a database to which it is on its way": Case(
        (MOVED_TO, "database"), True, None, HERE, f"holds no journal: it was moved to or from {HERE}"
    ),
}


@pytest.mark.parametrize("case", OUT.values(), ids=OUT)
async def test_a_database_is_moved_out_where_no_other_journal_is_passed_over(
    path: Path, address: Address, case: Case
) -> None:
    expected = await arranged(path, address, case)
    before = in_database(address), in_file(path)
    with pytest.raises(StateMoved, match=case.refused) if case.refused else nullcontext():
        await move_out(path, address)
    if case.refused:
        assert (in_database(address), in_file(path)) == before
        return
    assert await word_left(path) is None
    found = await moving.file_content(path)
    assert (found.rows, found.last) == (expected.rows, GIVEN)
    rows, _, words = in_database(address)
    assert (rows, words) == (expected.rows, (HERE, None)), "what is left behind stays as it was, and is no journal"


async def arranged(path: Path, address: Address, case: Case) -> Content:
    """Bring both sides to where the case has them; what the journal holds wherever it is in the end."""
    content = SOME
    await (fill_database(address, content) if case.rows else prepare(address))
    sql(address, "UPDATE fleetd SET moved_to = %s, arriving = %s", case.moved, case.arriving)
    file = case.file
    if file == "empty":
        await fill_file(path, EMPTY)
    elif file == "journal":
        content = with_other_note(content)
        await fill_file(path, content)
    elif isinstance(file, tuple):
        note, words = file[0], file[1].replace("database", str(address))
        if note == MOVED_TO:
            await fill_file(path, with_other_note(content))
            await leave_word(path, words)
        else:
            await moving.fill(path, with_other_note(content), words)
    return content


def with_other_note(content: Content) -> Content:
    return Content({**content.rows, "note": [("prices", "2")]}, GIVEN)


async def test_an_empty_journal_whose_move_was_cut_short_goes_on_as_well(path: Path, address: Address) -> None:
    """That nothing is there is no sign of another database, where it says that this file's journal comes."""
    await prepare(address)
    await fill_file(path, EMPTY)
    await leave_word(path, str(address))
    sql(address, "UPDATE fleetd SET arriving = %s", HERE)
    await move_in(path, address)
    assert in_database(address)[2] == (None, None)


async def test_a_database_that_was_never_used_holds_an_empty_journal(path: Path, address: Address) -> None:
    await move_out(path, address)
    assert (await word_left(path), (await moving.file_content(path)).empty) == (None, True)
    assert in_database(address)[2] == (HERE, None)


UNWRITTEN: Mapping[str, tuple[Cell, str]] = {
    "no text": (b"\xff", "b'\\xff'"),
    "half a pair": (b"\xed\xa0\x80", "\x1ad800"),
}


@pytest.mark.parametrize(("cell", "there"), UNWRITTEN.values(), ids=UNWRITTEN)
async def test_a_text_that_is_none_is_moved_as_it_is_shown(
    path: Path, address: Address, cell: Cell, there: str
) -> None:
    await fill_file(path, Content({**SOME.rows, "note": [("prices", cell)]}, GIVEN))
    await move_in(path, address)
    assert sql(address, "SELECT value FROM note") == [(there,)]


async def test_a_number_that_is_none_is_refused_in_words(path: Path, address: Address) -> None:
    await fill_file(path, Content({**SOME.rows, "backoff": [("NY2", "P4000", "often", 0, "")]}, GIVEN))
    before = in_file(path)
    with pytest.raises(StateUnusable, match=r"refuses a statement .*often"):
        await move_in(path, address)
    assert in_file(path) == before


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def movable(path: Path, address: Address, way: str) -> Callable[[], Awaitable[None]]:
    """A move that nothing forbids, either way."""
    if way == "in":
        await prepare(address)
        await fill_file(path, SOME)
    else:
        await fill_database(address, SOME)
    return lambda: WAYS[way](path, address)


LEASES = {
    "held": ("UPDATE lease SET holder = 'me', expires_at = clock_timestamp() + interval '1 hour'", False),
    "over": ("UPDATE lease SET holder = 'me', expires_at = clock_timestamp() - interval '1 second'", True),
    "given back": ("UPDATE lease SET holder = NULL, expires_at = clock_timestamp() + interval '1 hour'", True),
    "gone": ("DELETE FROM lease", True),
}


@pytest.mark.parametrize(("lease", "moves"), LEASES.values(), ids=LEASES)
async def test_nothing_is_moved_under_whoever_has_the_lease(
    path: Path, address: Address, movable: Callable[[], Awaitable[None]], lease: str, moves: bool
) -> None:
    sql(address, "UPDATE lease SET about = 'the other'")
    sql(address, lease)
    before = in_database(address), in_file(path)
    with nullcontext() if moves else pytest.raises(StateLocked, match="the other"):
        await movable()
    assert ((in_database(address), in_file(path)) != before) is moves


async def test_a_copy_is_all_there_is_and_what_is_written_there_is_nowhere_else(address: Address) -> None:
    from fleetd.store.postgres.copying import scratch_copy

    await fill_database(address, SOME)
    before = in_database(address)
    copy = await scratch_copy(address)
    try:
        assert await copy._database.read(moving.read_content) == Content(SOME.rows, GIVEN)
        assert (await copy.write_intent(INTENT)).id == GIVEN["intent"] + 1
        assert await hold(copy) == GIVEN["hold"] + 1
        await copy.put_note("prices", "2")
        assert await copy.get_note("prices") == "2"
        assert not copy._database.path.parent.exists()
    finally:
        await copy.aclose()
    assert in_database(address) == before


async def test_a_copy_is_the_picture_of_one_moment(address: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who acts writes on: an entry that closes an intent is not seen without its closing."""
    from fleetd.store.postgres import copying

    await fill_database(address, SOME)
    seen = []

    def meanwhile(cell: Any) -> Any:
        if not seen:
            sql(address, "UPDATE note SET value = 'later'")
            sql(address, "DELETE FROM bill")
        seen.append(cell)
        return cell

    monkeypatch.setattr(copying, "read", meanwhile)
    copy = await copying.scratch_copy(address)
    try:
        assert (await copy._database.read(moving.read_content)).rows == SOME.rows
    finally:
        await copy.aclose()
    assert sql(address, "SELECT value FROM note") == [("later",)]


@pytest.mark.parametrize("last", [GIVEN, EMPTY.last, {"intent": 1, "history": 0, "hold": 2}])
async def test_numbers_go_on_from_where_they_were_on_both_sides(
    path: Path, address: Address, last: Mapping[str, int]
) -> None:
    await fill_database(address, Content(EMPTY.rows, last))
    numbers = {t: sql(address, f"SELECT nextval('{t}_id_seq')")[0][0] for t in NUMBERED if t != "hold"}
    assert numbers == {t: last[t] + 1 for t in numbers}
    await move_out(path, address)
    assert (await moving.file_content(path)).last == {**numbers, "hold": last["hold"]}


async def test_a_move_may_take_longer_than_sessions_may_hang(
    path: Path, address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A year's history is not written in eight seconds; nor is a file on a slow disk in three, all the while idle."""
    from fleetd.store.postgres import copying

    limits: list[tuple[object, ...]] = []

    def noting(name: str) -> None:
        original = getattr(copying, name)

        async def noted(cursor: Any, *arguments: Any) -> Any:
            asked = [await copying.one(cursor, f"SHOW {limit}") or () for limit in LIMITS]
            limits.append((name, *(value for (value,) in asked)))
            return await original(cursor, *arguments)

        monkeypatch.setattr(copying, name, noted)

    noting("_write_content")
    noting("_read_content")
    await fill_file(path, SOME)
    await move_in(path, address)
    await (await copying.scratch_copy(address)).aclose()
    await move_out(path, address)
    # Only what waits for a file is idle meanwhile: a copy that hangs keeps nobody's row.
    assert limits == [("_write_content", "0", "3s"), ("_read_content", "0", "3s"), ("_read_content", "0", "0")]


LIMITS = ("statement_timeout", "idle_in_transaction_session_timeout")


async def copied(_path: Path, address: Address) -> None:
    from fleetd.store.postgres.copying import scratch_copy

    await scratch_copy(address)


async def made_ready(_path: Path, address: Address) -> None:
    await prepare(address)


READ_ONLY = "%20-cdefault_transaction_read_only%3Don"
FAULTS: Mapping[str, tuple[Callable[[Path, Address], Awaitable[None]], str, type[StateUnusable], str]] = {
    "in, a table is missing": (move_in, "", StateUnusable, "refuses a statement"),
    "out, a table is missing": (move_out, "", StateUnusable, "refuses a statement"),
    "a copy, a table is missing": (copied, "", StateUnusable, "refuses a statement"),
    "in, the server follows another": (move_in, READ_ONLY, StateAway, "takes no writes"),
    "out, the server follows another": (move_out, READ_ONLY, StateAway, "takes no writes"),
    "no tables yet, the server follows another": (made_ready, READ_ONLY, StateAway, "takes no writes"),
}


@pytest.mark.parametrize(("job", "options", "kind", "says"), FAULTS.values(), ids=FAULTS)
async def test_what_the_database_refuses_is_said_and_leaves_nothing_open(
    path: Path,
    address: Address,
    job: Callable[[Path, Address], Awaitable[None]],
    options: str,
    kind: type[StateUnusable],
    says: str,
) -> None:
    if job is move_in:
        await fill_file(path, SOME)
    if job is not made_ready:
        await prepare(address)
    if not options:
        sql(address, "DROP TABLE bill")
    before = in_file(path)
    with pytest.raises(kind, match=says):
        await job(path, replace(address, url=address.url + options))
    assert in_file(path) == before
    sessions = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name ~ '^fleetd'"
    with anyio.fail_after(20):
        while sql(address, sessions):  # noqa: ASYNC110 - the server tells nobody
            await anyio.sleep(0.02)


async def test_a_server_that_is_away_is_said(path: Path) -> None:
    from fleetd.store.postgres.address import Address

    await fill_file(path, SOME)
    for job in (move_in, move_out, copied, made_ready):
        with pytest.raises(StateAway, match="does not answer"):
            await job(path, Address("postgresql://fleetd@127.0.0.1:9/fleetd"))
