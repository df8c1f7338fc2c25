"""When a lease is in force and when it ended, by the clocks that count; what is kept of leases and read again."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from structlog.testing import capture_logs

from fleetd.engine import leases as module
from fleetd.engine.leases import KEEP, LONGEST, TRUST_AFTER, Lease, Leases
from fleetd.model.errors import OrderDeclined
from tests.support.build import NOW, ago, later
from tests.support.virtual_time import virtual

P = pytest.param
HOUR = timedelta(hours=1)


class Notes:
    def __init__(self, note: str | None = None) -> None:
        self.notes = {} if note is None else {"leases": note}

    async def get_note(self, key: str) -> str | None:
        return self.notes.get(key)

    async def put_note(self, key: str, value: str) -> None:
        for _ in range(5):
            await anyio.lowlevel.checkpoint()  # a file takes its time
        self.notes[key] = value


def leases(note: Any = None) -> tuple[Leases, Any]:
    journal: Any = Notes(note if note is None or isinstance(note, str) else json.dumps(note))
    return Leases(journal), journal


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
    rows = [
        {"machine": m, "source": s, "began": NOW.isoformat(), "until": (NOW + lasts).isoformat(), "actor": a}
        for m, s, lasts, a in (
            ("ps1", "job", HOUR, "ada"), ("ps1", "login", 2 * HOUR, "bob"), ("ps2", "job", timedelta(0), "ada"),
        )
    ]  # fmt: skip
    assert json.loads(journal.notes["leases"]) == rows, "one that has just ended is one of no time"
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
    assert len(json.loads(journal.notes["leases"])) == 3, "one for each source"


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
    (row,) = json.loads(journal.notes["leases"])
    assert (row["began"], row["until"]) == ((NOW + 3 * HOUR).isoformat(), (NOW + 4 * HOUR).isoformat())
    again, _ = leases([row])
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


def row(**fields: Any) -> dict[str, Any]:
    return {
        "machine": "ps1", "source": "job", "began": ago(hours=1).isoformat(), "until": later(hours=1).isoformat(),
        "actor": "ada",
    } | fields  # fmt: skip


def without(key: str) -> dict[str, Any]:
    return {k: v for k, v in row().items() if k != key}


NEEDED = ("machine", "source", "actor", "until")
LONG = {"began": ago(hours=1).isoformat(), "until": (ago(hours=1) + LONGEST + SECOND).isoformat()}


@pytest.mark.parametrize(
    ("note", "held", "used", "unreadable"),
    [
        P(None, [], {}, 0, id="none"),
        P([row()], ["ps1"], {}, 0, id="one in force"),
        P([row(until=ago(minutes=5).isoformat())], [], {"ps1": ago(minutes=5)}, 0, id="one that ended"),
        P([without("began")], ["ps1"], {}, 0, id="an earlier version's"),
        P([row(**LONG)], [], {"ps1": NOW}, 0, id="longer than any: over now at the latest"),
        P([row(**LONG | {"until": (ago(hours=1) + LONGEST).isoformat()})], ["ps1"], {}, 0, id="as long as may be"),
        P(
            [row(began=later(hours=5).isoformat(), until=later(hours=6).isoformat())], [], {"ps1": NOW}, 0,
            id="it begins ahead of the clock",
        ),
        P([row(machine=7)], ["7"], {}, 0, id="an id that is a number"),
        *[P([without(key), row()], ["ps1"], {}, 1, id=f"without {key}") for key in NEEDED],
        P([row(until="soon"), row()], ["ps1"], {}, 1, id="no time"),
        P([row(until=later(hours=1).replace(tzinfo=None).isoformat()), row()], ["ps1"], {}, 1, id="no zone"),
        P([7, None, row()], ["ps1"], {}, 2, id="no rows"),
        P({"machine": "ps1"}, [], {}, 1, id="no list"),
        P("[{", [], {}, 1, id="cut off"),
        P("[" * 9000, [], {}, 1, id="nested"),
    ],
)  # fmt: skip
@virtual
async def test_what_is_read(note: Any, held: list[str], used: dict[str, datetime], unreadable: int) -> None:
    some, _ = leases(note)
    with capture_logs() as logs:
        await some.load(NOW)
    assert sorted(m for m in some.ends(NOW) if some.in_force(m, NOW) is not None) == held
    assert {m: some.last_use(m, NOW) for m in some.ends(NOW) if m not in held} == used
    assert [line["event"] for line in logs] == ["lease.was_unreadable"] * unreadable
    assert all(len(line["row"]) <= 200 and line["log_level"] == "warning" and line["error"] for line in logs)


@virtual
async def test_a_lease_that_is_read_in_force_lasts_by_the_loops_clock_as_well() -> None:
    some, _ = leases([row(), row(machine="ps2", until=ago(minutes=1).isoformat())])
    await some.load(NOW)
    await anyio.sleep(1800)
    assert some.in_force("ps1", NOW + 9 * HOUR) is not None, "the wall clock was set"
    await anyio.sleep(1801)
    assert some.in_force("ps1", NOW + 9 * HOUR) is None
    assert some.last_use("ps2", NOW - 9 * HOUR) == NOW - 9 * HOUR - timedelta(seconds=3661)


@virtual
async def test_one_that_is_longer_than_any_ended_when_it_was_read() -> None:
    some, _ = leases([row(**LONG)])
    await some.load(NOW)
    await anyio.sleep(3600)
    assert some.last_use("ps1", NOW + HOUR) == NOW
    assert some.in_force("ps1", NOW - HOUR / 2) is not None, "a clock that was set back a little: it protects"
    assert some.last_use("ps1", NOW - 3 * HOUR) == NOW - 4 * HOUR, "set back far: the loop's clock tells, and goes on"


@virtual
async def test_one_that_begins_ahead_of_the_clock_ended_when_it_was_read() -> None:
    some, _ = leases([row(began=later(hours=5).isoformat(), until=later(hours=6).isoformat())])
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
    some, journal = leases(
        [row(machine="ps9", began=(now - ended - HOUR).isoformat(), until=(now - ended).isoformat())]
    )
    await anyio.sleep(5)
    await some.load(now - waited)
    await anyio.sleep(waited.total_seconds())
    await some.put("ps1", "job", now + HOUR, "ada", now=now)
    assert [r["machine"] for r in json.loads(journal.notes["leases"])] == ["ps1"] + ["ps9"] * kept


@virtual
async def test_room_is_made_by_those_that_ended_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 3)
    some, journal = leases(
        [row(machine=f"ps{n}", until=ago(minutes=m).isoformat()) for n, m in ((1, 5), (2, 7), (3, 6))]
    )
    await some.load(NOW)

    def kept() -> list[str]:
        return [r["machine"] for r in json.loads(journal.notes["leases"])]

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


@virtual
async def test_what_is_forgotten_for_its_age_makes_room_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 3)
    now = NOW + TRUST_AFTER
    some, journal = leases(
        [row(machine=f"ps{n}", began=at.isoformat(), until=at.isoformat())
         for n, at in ((1, now - OVER), (2, now - HOUR), (3, now - 2 * HOUR))]
    )  # fmt: skip
    await some.load(NOW)
    await anyio.sleep(TRUST_AFTER.total_seconds())
    await some.put("ps4", "job", now + HOUR, "ada", now=now)
    assert [r["machine"] for r in json.loads(journal.notes["leases"])] == ["ps2", "ps3", "ps4"]


@virtual
async def test_none_is_lost_to_another_that_is_being_written() -> None:
    some, journal = leases()
    async with anyio.create_task_group() as group:
        for n in range(3):
            group.start_soon(lambda n=n: some.put(f"ps{n}", "job", NOW + HOUR, "ada", now=NOW))
    assert len(json.loads(journal.notes["leases"])) == len(some.ends(NOW)) == 3
