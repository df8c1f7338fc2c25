"""When a lease is in force and when it ended, by the clocks that count; what is kept of leases and read again."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, cast

import anyio
import anyio.lowlevel
import pytest
from structlog.testing import capture_logs

from fleetd.engine import leases as module
from fleetd.engine.leases import KEEP, LONGEST, TRUST_AFTER, Lease, Leases
from fleetd.model.bounds import FIRST, LAST
from fleetd.model.errors import OrderDeclined, StateUnusable
from fleetd.model.journal import KeptLease
from fleetd.store.rows import LEASES
from tests.support.build import NOW, ago, later
from tests.support.virtual_time import virtual

P = pytest.param
HOUR = timedelta(hours=1)


class Notes:
    """A journal of leases, with an earlier version's note or without."""

    def __init__(self, note: str | None, *rows: KeptLease) -> None:
        self.notes = {} if note is None else {"leases": note}
        self.rows = {(row.machine, row.source): row for row in rows}
        self.puts: list[tuple[list[str], list[str]]] = []
        """The machines of what was put, and of what was dropped; one for each transaction."""
        self.full: set[str] = set()
        """Writes that fail."""

    async def leases(self) -> list[KeptLease]:
        return list(self.rows.values())

    async def put_leases(self, leases: Iterable[KeptLease], *, drop: Iterable[tuple[str, str]] = ()) -> None:
        if "put_leases" in self.full:
            raise StateUnusable("full")
        put = {(one.machine, one.source): KeptLease(*(getattr(one, c) for c in LEASES.columns)) for one in leases}
        dropped = sorted(drop)
        for _ in range(5):
            await anyio.lowlevel.checkpoint()  # a file takes its time
        assert not put.keys() & {*dropped}
        assert self.rows.keys() >= {*dropped}
        self.rows = {key: one for key, one in self.rows.items() if key not in dropped} | put
        self.puts.append(([machine for machine, _ in put], [machine for machine, _ in dropped]))

    async def get_note(self, key: str) -> str | None:
        return self.notes.get(key)

    async def put_note(self, key: str, value: str) -> None:
        if "put_note" in self.full:
            raise StateUnusable("full")
        self.notes[key] = value

    def kept(self) -> list[str]:
        return sorted(machine for machine, _ in self.rows)


def leases(*rows: KeptLease, note: Any = None) -> tuple[Leases, Notes]:
    journal = Notes(note if note is None or isinstance(note, str) else json.dumps(note), *rows)
    return Leases(cast("Any", journal)), journal


def lease(*, loops: bool = True, ticks: float = 3600) -> Lease:
    """For an hour from now; the loop's clock reads 0 now."""
    return Lease("ps1", "job", NOW, NOW + HOUR, "ada", ticks, loops)


SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("one", "now", "ticks", "lasts"),
    [
        P(lease(), NOW, 0, True, id="just taken"),
        P(lease(), NOW + HOUR - SECOND, 3599, True, id="nearly over"),
        P(lease(), NOW + HOUR, 3600, False, id="over"),
        P(lease(), NOW + 9 * HOUR, 3599, True, id="the wall clock was set ahead"),
        P(lease(loops=False), NOW + 9 * HOUR, 3599, False, id="an earlier process's: only that counts"),
        P(lease(), NOW - HOUR + SECOND, 3600, True, id="it was set back a little"),
        P(lease(), NOW - HOUR, 3600, False, id="it was set back by as much as it lasts"),
    ],
)
def test_whether_it_is_in_force(one: Lease, now: datetime, ticks: float, lasts: bool) -> None:
    assert one.in_force(now, ticks) is lasts


@pytest.mark.parametrize(
    ("one", "now", "ticks", "ended"),
    [
        P(lease(), NOW + 2 * HOUR, 7200, NOW + HOUR, id="both clocks agree"),
        P(lease(), NOW + 2 * HOUR, 5400, NOW + 1.5 * HOUR, id="the loop's says later"),
        P(lease(loops=False), NOW + 2 * HOUR, 5400, NOW + HOUR, id="which is not asked"),
        P(lease(), NOW + 2 * HOUR, 9000, NOW + HOUR, id="the loop's says earlier"),
        P(lease(), NOW, 7200, NOW - HOUR, id="the wall clock was set back: the loop's alone tells"),
        P(lease(), NOW, 1800, NOW, id="now at the latest"),
        P(lease(), NOW + HOUR, 3600, NOW + HOUR, id="this very moment"),
        P(lease(), NOW + HOUR, 5400, NOW + HOUR, id="this very moment by the wall clock, earlier by the loop's"),
    ],
)
def test_when_it_ended(one: Lease, now: datetime, ticks: float, ended: datetime) -> None:
    assert one.ended(now, ticks) == ended


@virtual
async def test_what_is_told_of_a_machine_with_leases() -> None:
    some, journal = leases()
    await some.load(NOW)
    began = anyio.current_time()
    await some.put("ps1", "job", NOW + HOUR, "ada", now=NOW)
    await some.put("ps1", "login", NOW + 2 * HOUR, "bob", now=NOW)
    await some.put("ps2", "job", NOW - HOUR, "ada", now=NOW)
    assert list(journal.rows.values()) == [
        KeptLease(m, s, NOW, NOW + lasts, a)
        for m, s, lasts, a in (
            ("ps1", "job", HOUR, "ada"),
            ("ps1", "login", 2 * HOUR, "bob"),
            ("ps2", "job", timedelta(0), "ada"),
        )
    ], "one that has just ended is one of no time"
    assert some.holder("ps1", NOW) == "login (bob) until 2026-03-02 14:00:00 UTC"
    assert (some.last_use("ps1", NOW), some.holder("ps2", NOW), some.holder("ps3", NOW)) == (None, None, None)
    assert some.in_force("ps2", NOW) is None
    assert some.last_use("ps2", NOW) == NOW
    assert some.last_use("ps3", NOW) is None
    assert some.ends(NOW) == {"ps1": NOW + 2 * HOUR, "ps2": NOW}
    await anyio.sleep(began + 5400 - anyio.current_time())
    now = NOW + 1.5 * HOUR
    assert some.last_use("ps1", now) == NOW + HOUR
    held = some.in_force("ps1", now)
    assert held is not None
    assert held.source == "login"
    await some.put("ps1", "login", now, "bob", now=now)
    assert some.in_force("ps1", now) is None
    assert some.last_use("ps1", now) == now
    assert some.ends(now) == {"ps1": now, "ps2": NOW}
    assert journal.kept() == ["ps1", "ps1", "ps2"], "one for each source"
    assert journal.puts == [(["ps1"], []), (["ps1"], []), (["ps2"], []), (["ps1"], [])], (
        "only what changed is written"
    )
    assert journal.notes == {}


@virtual
async def test_one_that_lasts_although_the_wall_clock_says_otherwise_ends_later_than_now() -> None:
    some, _ = leases()
    await some.put("ps1", "job", NOW + HOUR, "ada", now=NOW)
    assert some.ends(NOW + 5 * HOUR) == {"ps1": NOW + 5 * HOUR + SECOND}


@virtual
async def test_the_clock_that_says_longer_counts() -> None:
    some, journal = leases()
    some.latest = lambda now: now + 3 * HOUR
    await some.put("ps1", "job", NOW + HOUR, "ada", now=NOW)
    (kept,) = journal.rows.values()
    assert (kept.began, kept.until) == (NOW + 3 * HOUR, NOW + 4 * HOUR)
    again, _ = leases(kept)
    await again.load(NOW + 5 * HOUR)
    assert again.in_force("ps1", NOW + 5 * HOUR) is None
    again.theirs = lambda now: now - 2 * HOUR
    assert again.in_force("ps1", NOW + 5 * HOUR) is not None
    assert again.last_use("ps1", NOW + 5 * HOUR) is None


@virtual
async def test_ours_counts_where_it_says_longer_than_the_providers_and_the_loops() -> None:
    some, _ = leases()
    await some.put("ps1", "job", NOW + HOUR, "ada", now=NOW)
    some.theirs = lambda now: now + HOUR / 2
    await anyio.sleep(75 * 60)
    for minutes, lasts in ((59, True), (60, False)):  # ours was set back meanwhile
        assert (some.in_force("ps1", later(minutes=minutes)) is not None) is lasts
        assert (some.last_use("ps1", later(minutes=minutes)) is None) is lasts


def row(**fields: Any) -> KeptLease:
    return replace(KeptLease("ps1", "job", ago(hours=1), later(hours=1), "ada"), **fields)


LONG = {"began": ago(hours=1), "until": ago(hours=1) + LONGEST + SECOND}


@pytest.mark.parametrize(
    ("kept", "held", "used"),
    [
        P(None, {}, {}, id="none"),
        P(row(), {"ps1": later(hours=1)}, {}, id="one in force"),
        P(row(until=ago(minutes=5)), {}, {"ps1": ago(minutes=5)}, id="one that ended"),
        P(row(**LONG), {}, {"ps1": NOW}, id="longer than any: over now at the latest"),
        P(row(**LONG | {"began": ago(days=40), "until": ago(days=2)}), {}, {"ps1": ago(days=2)}, id="it ended"),
        P(
            row(**LONG | {"until": ago(hours=1) + LONGEST}), {"ps1": ago(hours=1) + LONGEST}, {},
            id="as long as may be",
        ),
        P(row(began=later(hours=5), until=later(hours=6)), {}, {"ps1": NOW}, id="it begins ahead of the clock"),
        P(row(until=LAST), {"ps1": ago(hours=1) + LONGEST}, {}, id="an end that cannot be read: as long as may be"),
        P(row(until=LAST, began=ago(days=31)), {}, {"ps1": NOW}, id="and no longer"),
        P(row(until=LAST - SECOND), {}, {"ps1": NOW}, id="one that can"),
        P(row(began=FIRST), {"ps1": later(hours=1)}, {}, id="a beginning that cannot be read"),
        P(row(began=FIRST, until=ago(minutes=5)), {}, {"ps1": ago(minutes=5)}, id="and it is over"),
        P(row(began=FIRST + SECOND), {}, {"ps1": NOW}, id="one that can be"),
        P(row(began=FIRST, until=LAST), {"ps1": NOW + LONGEST}, {}, id="neither can"),
    ],
)  # fmt: skip
@virtual
async def test_what_is_found(kept: KeptLease | None, held: dict[str, datetime], used: dict[str, datetime]) -> None:
    some, journal = leases(*([] if kept is None else [kept]))
    await some.load(NOW)
    assert {m: one.until for m in some.ends(NOW) if (one := some.in_force(m, NOW)) is not None} == held
    assert {m: some.last_use(m, NOW) for m in some.ends(NOW) if m not in held} == used
    assert journal.puts == [], "looking writes nothing"


def noted(**fields: Any) -> dict[str, Any]:
    return {
        "machine": "ps1", "source": "job", "began": ago(hours=1).isoformat(), "until": later(hours=1).isoformat(),
        "actor": "ada",
    } | fields  # fmt: skip


def without(key: str) -> dict[str, Any]:
    return {k: v for k, v in noted().items() if k != key}


NEEDED = ("machine", "source", "actor", "until")
OF_ALL_TIMES = {"began": "0001-01-01T00:00:00+14:00", "until": "9999-12-31T23:59:59-14:00"}


@pytest.mark.parametrize(
    ("note", "taken", "unreadable"),
    [
        P([noted()], [row()], 0, id="one in force"),
        P([noted(until=ago(minutes=5).isoformat())], [row(until=ago(minutes=5))], 0, id="one that ended"),
        P([noted(), noted(source="login", machine="ps2")], [row(), row(source="login", machine="ps2")], 0, id="two"),
        P([noted(actor="bob"), noted()], [row()], 0, id="the last of two that are the same"),
        P([without("began")], [row(began=NOW)], 0, id="the first versions' did not say when it began"),
        P([noted(machine=7)], [row(machine="7")], 0, id="an id that is a number"),
        P([noted(**OF_ALL_TIMES)], [row(began=FIRST, until=LAST)], 0, id="times that no clock comes near"),
        *[P([without(key), noted()], [row()], 1, id=f"without {key}") for key in NEEDED],
        P([noted(until="soon"), noted()], [row()], 1, id="no time"),
        P([noted(until=later(hours=1).replace(tzinfo=None).isoformat()), noted()], [row()], 1, id="no zone"),
        P([noted(began=NOW.replace(tzinfo=None).isoformat()), noted()], [row()], 1, id="no zone at the beginning"),
        P([7, None, noted()], [row()], 2, id="no rows"),
        P({"machine": "ps1"}, [], 1, id="no list"),
        P([], [], 0, id="an empty list"),
        P("[{", [], 1, id="cut off"),
        P("[" * 9000, [], 1, id="nested"),
    ],
)
@virtual
async def test_an_earlier_versions_note_is_taken_over_once(
    note: Any, taken: list[KeptLease], unreadable: int
) -> None:
    some, journal = leases(note=note)
    with capture_logs() as logs:
        await some.load(NOW)
    assert (list(journal.rows.values()), journal.notes) == (taken, {"leases": ""})
    assert [line["event"] for line in logs] == ["lease.was_unreadable"] * unreadable
    assert all(len(line["row"]) <= 200 and line["log_level"] == "warning" and line["error"] for line in logs)
    assert sorted(some.ends(NOW)) == sorted(one.machine for one in taken), "and counts at once"
    writes = len(journal.puts)
    with capture_logs() as logs:
        await Leases(cast("Any", journal)).load(NOW)
    assert (len(journal.puts), logs) == (writes, []), "once"


@pytest.mark.parametrize("cut", ["put_leases", "put_note"])
@virtual
async def test_a_note_that_could_not_be_taken_over_is_in_force_and_taken_over_later(cut: str) -> None:
    """As where the process dies at it: none is lost, and what was said since is not forgotten over it."""
    some, journal = leases(
        note=[noted(), noted(machine="ps2"), noted(machine="ps3", until=ago(minutes=1).isoformat())]
    )
    journal.full = {cut}
    await some.load(NOW)
    assert sorted(m for m in some.ends(NOW) if some.in_force(m, NOW)) == ["ps1", "ps2"]
    journal.full = set()
    await some.put("ps2", "job", NOW, "bob", now=NOW)  # its work is done
    again = Leases(cast("Any", journal))
    await again.load(NOW)
    assert [again.in_force(m, NOW) is not None for m in ("ps1", "ps2", "ps3")] == [True, False, False]
    assert (journal.notes, journal.kept()) == ({"leases": ""}, ["ps1", "ps2", "ps3"])


@virtual
async def test_a_lease_that_is_read_in_force_lasts_by_the_loops_clock_as_well() -> None:
    some, _ = leases(row(), row(machine="ps2", until=ago(minutes=1)))
    await some.load(NOW)
    await anyio.sleep(1800)
    assert some.in_force("ps1", NOW + 9 * HOUR) is not None, "the wall clock was set"
    await anyio.sleep(1801)
    assert some.in_force("ps1", NOW + 9 * HOUR) is None
    assert some.last_use("ps2", NOW - 9 * HOUR) == NOW - 9 * HOUR - timedelta(seconds=3661)
    assert some.last_use("ps2", NOW + 9 * HOUR) == ago(minutes=1), (
        "no later than it says: it was over when it was read"
    )


@virtual
async def test_one_that_is_longer_than_any_ended_when_it_was_read() -> None:
    some, _ = leases(row(**LONG))
    await some.load(NOW)
    await anyio.sleep(3600)
    assert some.last_use("ps1", NOW + HOUR) == NOW
    assert some.in_force("ps1", NOW - HOUR / 2) is not None, "a clock that was set back a little: it protects"
    assert some.last_use("ps1", NOW - 3 * HOUR) == NOW - 4 * HOUR, "set back far: the loop's clock tells, and goes on"


@virtual
async def test_one_that_begins_ahead_of_the_clock_ended_when_it_was_read() -> None:
    some, _ = leases(row(began=later(hours=5), until=later(hours=6)))
    await some.load(NOW)
    await anyio.sleep(1800)
    assert some.last_use("ps1", NOW + timedelta(seconds=1800)) == NOW


OVER = KEEP + SECOND


@pytest.mark.parametrize(
    ("ended", "waited", "kept"),
    [
        P(OVER, TRUST_AFTER, False, id="long ago"),
        P(KEEP, TRUST_AFTER, True, id="not long enough ago"),
        P(timedelta(days=30), TRUST_AFTER, True, id="a month ago"),
        P(OVER, TRUST_AFTER - SECOND, True, id="the process has just begun"),
    ],
)
@virtual
async def test_what_is_forgotten(ended: timedelta, waited: timedelta, kept: bool) -> None:
    now = NOW + TRUST_AFTER
    some, journal = leases(row(machine="ps9", began=now - ended - HOUR, until=now - ended))
    await anyio.sleep(5)
    await some.load(now - waited)
    await anyio.sleep(waited.total_seconds())
    await some.put("ps1", "job", now + HOUR, "ada", now=now)
    assert journal.kept() == ["ps1"] + ["ps9"] * kept


@virtual
async def test_room_is_made_by_those_that_ended_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 3)
    some, journal = leases(*(row(machine=f"ps{n}", until=ago(minutes=m)) for n, m in ((1, 5), (2, 7), (3, 6))))
    await some.load(NOW)
    kept = journal.kept
    await some.put("ps4", "job", NOW + HOUR, "ada", now=NOW)
    assert kept() == ["ps1", "ps3", "ps4"]
    await some.put("ps4", "job", NOW + 2 * HOUR, "ada", now=NOW)
    assert kept() == ["ps1", "ps3", "ps4"], "a renewal takes no room"
    await some.put("ps5", "job", NOW + HOUR, "ada", now=NOW)
    await some.put("ps6", "job", NOW + HOUR, "ada", now=NOW)
    assert kept() == ["ps4", "ps5", "ps6"]
    with pytest.raises(OrderDeclined, match=r"^3 leases are in force, and no more can be kept"):
        await some.put("ps7", "job", NOW + HOUR, "ada", now=NOW)
    assert kept() == ["ps4", "ps5", "ps6"]
    assert journal.puts[-1] == (["ps6"], ["ps1"])


@virtual
async def test_what_is_forgotten_for_its_age_makes_room_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 3)
    now = NOW + TRUST_AFTER
    some, journal = leases(
        *(row(machine=f"ps{n}", began=at, until=at)
          for n, at in ((1, now - OVER), (2, now - HOUR), (3, now - 2 * HOUR)))
    )  # fmt: skip
    await some.load(NOW)
    await anyio.sleep(TRUST_AFTER.total_seconds())
    await some.put("ps4", "job", now + HOUR, "ada", now=now)
    assert journal.kept() == ["ps2", "ps3", "ps4"]


@virtual
async def test_none_is_lost_to_another_that_is_being_written() -> None:
    some, journal = leases()
    async with anyio.create_task_group() as group:
        for n in range(3):
            group.start_soon(lambda n=n: some.put(f"ps{n}", "job", NOW + HOUR, "ada", now=NOW))
    assert len(journal.kept()) == len(some.ends(NOW)) == 3
