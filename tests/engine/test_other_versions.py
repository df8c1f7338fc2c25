"""A journal that another version wrote, or a hand: every column and every note with odd values.

A rollback costs no hold and no freeze, an action that nobody knows keeps its machine, and the daemon starts.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
from rich.console import Console
from structlog.testing import capture_logs

from fleetd.cli.render_status import status_view
from fleetd.engine import departures, idleness, leases, observed_prices, prices, setbacks, stop_holds
from fleetd.engine.handle import EngineHandle
from fleetd.engine.leases import Leases
from fleetd.engine.notes import ASIDE
from fleetd.model.errors import StateUnusable
from fleetd.model.fleet import IdleRule
from fleetd.model.journal import Hold, Intent, MachineFacts
from fleetd.model.reasons import Outcome, Reason, Verb, known
from fleetd.ops.metrics import Metrics
from fleetd.ops.page import service
from fleetd.ops.page.scene import Scene
from fleetd.store import schema
from fleetd.store.rows import BACKOFFS, FACTS, HISTORY, HOLDS, INTENTS, LEASES, Table
from fleetd.store.sqlite import SqliteJournal
from fleetd.words.explaining import explain_fleet, explain_machine
from tests.page.everything import every_page
from tests.support.build import NOW, fleet, token_name
from tests.support.fakecloud import FakeCloud
from tests.support.rig import Rig, rig
from tests.support.virtual_time import run_virtual, virtual_clock

ODD: tuple[Any, ...] = ("terminate", '["stop", "terminate"]', '{"a": ' * 2000, b"\xff", -1, 2**62, -(2**62), 1e300)
COLUMNS = [(t, c) for t in (INTENTS, HISTORY, FACTS, BACKOFFS, HOLDS, LEASES) for c in t.columns if c != "id"]
NAME = token_name(1)
WANTED = fleet(target=2, idle=IdleRule(sources=("gpu",)))


async def lived(directory: Path, cloud: FakeCloud) -> None:
    """A fleet of two, one of them held and leased, a freeze of starts, a transition under way, history, notes."""
    async with rig(WANTED, state=directory, cloud=cloud) as world, world.daemon_running() as daemon:
        await anyio.sleep(100)
        handle = EngineHandle(daemon, Leases(world.journal), world.clock)
        now, ends = world.clock.now(), world.clock.now() + timedelta(days=2)
        common: dict[str, Any] = {"reason": "mine", "actor": "ada", "created_at": now, "expires_at": ends}
        await world.journal.add_hold(Hold(id=0, kind="hold", subject="ps1", verbs=frozenset(Verb), **common))
        await world.journal.add_hold(
            Hold(id=0, kind="freeze", subject="training", verbs=frozenset({Verb.DESTROY}), **common)
        )
        await handle.lease("ps1", "job", timedelta(days=2), "ada")
        await world.journal.put_note("prices", json.dumps({"P4000": "0.51"}))
        await world.reconciler.recall.no_capacity("East Coast (NY2)", "A100", "none left", now)
        intent = Intent(
            0, "training", Verb.STOP, Reason.OVER_TARGET, token_name(7), now, now + timedelta(minutes=10),
            machine_id="ps2", accepted_at=now,
        )  # fmt: skip
        await world.journal.write_intent(intent)
        assert handle.alive() is None


def change(directory: Path, sql: str, *cells: Any) -> None:
    with closing(sqlite3.connect(directory / "journal.db")) as db, db:
        db.execute(sql, cells)


def show_everything(world: Rig) -> None:
    document = EngineHandle(world.daemon, Leases(world.journal), world.clock).status()
    now = world.clock.now()
    Console(width=200, quiet=True).print(status_view(document, now))
    explain_fleet(document, "training", now)
    for machine in document.machines:
        explain_machine(document, machine, now)
    metrics = Metrics(version="test")
    metrics.pass_done(document)
    metrics.show(document, now)
    every_page(Scene(document, now))


@pytest.mark.long
@pytest.mark.parametrize(("table", "column"), COLUMNS, ids=[f"{t.name}.{c}" for t, c in COLUMNS])
def test_no_cell_keeps_a_daemon_from_starting_or_ends_a_veto(table: Table[Any], column: str, tmp_path: Path) -> None:
    async def story() -> None:
        cloud = FakeCloud(virtual_clock())
        await lived(tmp_path, cloud)
        before = (tmp_path / "journal.db").read_bytes()
        for odd in ODD:
            (tmp_path / "journal.db").write_bytes(before)
            try:
                change(tmp_path, f"UPDATE {table.name} SET {column} = ?", odd)
            except sqlite3.IntegrityError:  # a key
                change(tmp_path, f"UPDATE {table.name} SET {column} = ? WHERE rowid = 1", odd)
            cloud.calls.clear()
            async with rig(WANTED, state=tmp_path, cloud=cloud) as world, world.daemon_running():
                await anyio.sleep(33)
                assert world.daemon.last_error is None, odd
                show_everything(world)
                held = [h for h in await world.journal.holds(now=world.clock.now()) if h.kind != "freeze"]
                if (table.name, column) != ("hold", "expires_at") or not isinstance(odd, int | float):
                    on_ps1 = {"fleet": "training", "machine_id": "ps1", "name": NAME, "now": world.clock.now()}
                    if (table.name, column) not in {("hold", "subject"), ("hold", "machine"), ("hold", "verbs")}:
                        assert any(h.forbids(Verb.DESTROY, **on_ps1) for h in held), odd
            assert not any(c.machine == "ps1" for c in cloud.calls if c.operation in {"stop", "destroy"}), odd

    run_virtual(story)


@pytest.mark.parametrize("verbs", ['["stop", "terminate"]', '["terminate"]', "{", "[[1]]", "null", "7"])
@pytest.mark.parametrize("kind", ["hold", "freeze", "pause"])
def test_a_veto_that_is_not_understood_forbids_everything(kind: str, verbs: str, tmp_path: Path) -> None:
    async def story() -> None:
        cloud = FakeCloud(virtual_clock())
        await lived(tmp_path, cloud)
        change(tmp_path, "DELETE FROM hold WHERE kind = 'freeze'")
        subject = "training" if kind == "freeze" else "ps1"
        change(tmp_path, "UPDATE hold SET kind = ?, subject = ?, verbs = ?", kind, subject, verbs)
        journal = await SqliteJournal.open(tmp_path / "journal.db")
        (veto,) = await journal.holds(now=cloud.clock.now())
        for verb in Verb:
            assert veto.forbids(verb, fleet="training", machine_id="ps1", name=NAME, now=cloud.clock.now())
            assert not veto.forbids(verb, fleet="other", machine_id="ps9", name="x", now=cloud.clock.now())
        await journal.aclose()

    run_virtual(story)


@pytest.mark.parametrize("ends", ["soon", b"\xff", "", 2**62])
def test_a_veto_whose_end_cannot_be_read_goes_on(ends: Any, tmp_path: Path) -> None:
    async def story() -> None:
        cloud = FakeCloud(virtual_clock())
        await lived(tmp_path, cloud)
        change(tmp_path, "UPDATE hold SET expires_at = ?", ends)
        journal = await SqliteJournal.open(tmp_path / "journal.db")
        assert len(await journal.holds(now=cloud.clock.now() + timedelta(days=3000))) == 2
        await journal.prune(before=cloud.clock.now(), max_rows=1000)
        assert len(await journal.holds(now=cloud.clock.now())) == 2
        await journal.aclose()

    run_virtual(story)


@pytest.mark.parametrize("cell", ["soon", b"\xff", "", 1e300, 2**62, -(2**62)])
@pytest.mark.parametrize("column", ["began", "until"])
def test_a_lease_whose_times_cannot_be_read_goes_on_until_it_is_ended(column: str, cell: Any, tmp_path: Path) -> None:
    over = (column, cell) == ("until", -(2**62)) or (column, cell) == ("began", 2**62)

    async def story() -> None:
        cloud = FakeCloud(virtual_clock())
        await lived(tmp_path, cloud)
        change(tmp_path, "DELETE FROM hold")
        change(tmp_path, f"UPDATE use_lease SET {column} = ?", cell)
        cloud.calls.clear()
        async with rig(fleet(target=0), state=tmp_path, cloud=cloud) as world, world.daemon_running() as daemon:
            await anyio.sleep(3600)
            assert ("stop ps1" in cloud.writes()) is over, "an instant too early or too late is one all the same"
            handle = EngineHandle(daemon, world.reconciler._idleness.leases, world.clock)
            await handle.lease("ps1", "job", timedelta(0), "ada")
            await anyio.sleep(300)
            assert "stop ps1" in cloud.writes()

    run_virtual(story)


def test_an_action_of_another_version_keeps_its_machine_untouched_until_its_time_is_over(tmp_path: Path) -> None:
    async def story() -> None:
        cloud = FakeCloud(virtual_clock())
        await lived(tmp_path, cloud)
        change(tmp_path, "UPDATE intent SET verb = 'terminate' WHERE closed_at IS NULL")
        change(tmp_path, "DELETE FROM hold")
        change(tmp_path, "DELETE FROM use_lease")
        cloud.calls.clear()
        async with rig(fleet(target=0), state=tmp_path, cloud=cloud) as world, world.daemon_running():
            await anyio.sleep(300)
            assert "stop ps2" not in world.cloud.writes()
            assert "stop ps1" in world.cloud.writes()
            (intent,) = [i for i in await world.journal.open_intents() if i.machine_id == "ps2"]
            assert (str(intent.verb), known(intent.verb)) == ("terminate", False)
            assert world.reconciler.last is not None
            told = [(s.machine, s.reason, s.detail) for s in world.reconciler.last.skips]
            assert told == [("ps2", Reason.IN_TRANSITION, "terminate")]
            await anyio.sleep(900)
            assert not await world.journal.open_intents()
            assert "stop ps2" in world.cloud.writes(), "its deadline is over: the machine is what it is"
            assert any(line.startswith("terminate ps2 lost") for line in await world.history())

    run_virtual(story)


def test_an_action_of_another_version_without_a_machine_counts_as_one(tmp_path: Path) -> None:
    async def story() -> None:
        cloud = FakeCloud(virtual_clock())
        await lived(tmp_path, cloud)
        change(tmp_path, "UPDATE intent SET verb = 'clone', machine_id = NULL WHERE closed_at IS NULL")
        cloud.calls.clear()
        async with rig(fleet(target=3), state=tmp_path, cloud=cloud) as world, world.daemon_running() as daemon:
            await anyio.sleep(300)
            assert "create" not in world.cloud.writes()
            assert daemon.reconciler.last is not None
            view = daemon.reconciler.last.plan.fleets["training"]
            assert view.up + view.rising + view.intents == 3

    run_virtual(story)


NOTES = (
    departures.NOTE, idleness._NOTE, idleness._LEARNT, stop_holds.NOTE, leases._NOTE, prices._NOTE, setbacks.NOTE,
    observed_prices._NOTE, service.NOTE,
)  # fmt: skip
SET_ASIDE = sorted({*NOTES} - {stop_holds.NOTE, leases._NOTE, service.NOTE})
"""Notes of which all is lost where one cannot be read; of the others each row counts for itself."""
ODD_NOTES: tuple[Any, ...] = (
    "", "{", "[]", "{}", "null", "7", '"x"', "[[[1]]]", '{"ps1": 7}', '{"ps1": ["soon", null, 1]}', "[" * 5000,
    '{"ps1": ["0001-01-01T00:00:00+14:00", null, 1e999]}', '{"P4000": "1e999999"}', '{"P4000": "free"}', b"\xff", 7,
    '[{"machine": "ps1"}]', '{"format": 1, "fleets": 7}', '{"P4000": [["1e999", "soon", "later"]]}',
    '{"ps1": {"at": "2026-01-05T12:00:00+00:00", "s": 1e999}}', '{"q": {"ps1": 1e999}}',
    '{"stop:ps1": {"until": "2026-01-05T12:00:00+00:00", "words": "", "since": null, "attempt": 1e999}}',
    '{"stop:ps1": {"until": "2026-01-05T12:00:00Z", "words": "", "since": null, "attempt": 1e999, "baseline": 7}}',
)  # fmt: skip


@pytest.mark.parametrize("note", NOTES)
def test_no_note_keeps_a_daemon_from_starting(note: str, tmp_path: Path) -> None:
    async def story() -> None:
        cloud = FakeCloud(virtual_clock())
        await lived(tmp_path, cloud)
        before = (tmp_path / "journal.db").read_bytes()
        for odd in ODD_NOTES:
            (tmp_path / "journal.db").write_bytes(before)
            change(tmp_path, "INSERT OR REPLACE INTO note (key, value) VALUES (?, ?)", note, odd)
            async with rig(WANTED, state=tmp_path, cloud=cloud) as world, world.daemon_running():
                await anyio.sleep(40)
                assert world.daemon.last_error is None, odd
                assert len(await world.journal.holds(now=world.clock.now())) == 2

    run_virtual(story)


@pytest.mark.parametrize("note", SET_ASIDE)
def test_a_note_that_cannot_be_read_is_set_aside_and_said_once(note: str, tmp_path: Path) -> None:
    async def story() -> None:
        cloud = FakeCloud(virtual_clock())
        await lived(tmp_path, cloud)
        change(tmp_path, "INSERT OR REPLACE INTO note (key, value) VALUES (?, ?)", note, '["of another version"]')
        with capture_logs() as logs:
            async with rig(WANTED, state=tmp_path, cloud=cloud) as world, world.daemon_running():
                await anyio.sleep(100)
                assert await world.journal.get_note(note + ASIDE) == '["of another version"]'
        assert [line["note"] for line in logs if line["event"] == "journal.note_was_set_aside"] == [note]

    run_virtual(story)


def test_a_word_of_another_version_is_itself_and_nothing_else() -> None:
    for kind in (Verb, Reason, Outcome):
        odd = kind("CREATE")
        assert (str(odd), odd.value, json.dumps([odd]), known(odd)) == ("CREATE", "CREATE", '["CREATE"]', False)
        assert odd not in set(kind)
        for member in kind:
            assert kind(member.value) is member
            assert known(member)
    facts = MachineFacts("ps1", "f", "n", NOW, NOW, last_state="off", failure=Outcome("melted"))
    assert FACTS.decode(FACTS.encode(facts)) == facts


@pytest.mark.parametrize(("readers", "opens"), [("1", True), (None, False), ("99", False), ("x", False), ("", False)])
async def test_a_newer_journal_is_opened_where_it_says_that_it_can_be(
    readers: str | None, opens: bool, tmp_path: Path
) -> None:
    path = tmp_path / "journal.db"
    journal = await SqliteJournal.open(path)
    await journal.aclose()
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("ALTER TABLE hold ADD COLUMN colour TEXT NOT NULL DEFAULT 'red'")
        db.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
        db.execute("DELETE FROM note WHERE key = ?", (schema.READERS,))
        if readers is not None:
            db.execute("INSERT INTO note VALUES (?, ?)", (schema.READERS, readers))
    for opening in (SqliteJournal.open, SqliteJournal.open_read_only):
        if opens:
            journal = await opening(path)
            assert await journal.open_intents() == []
            await journal.aclose()
        else:
            with pytest.raises(StateUnusable, match="Nothing was changed: holds, freezes and history are all in it"):
                await opening(path)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (schema.VERSION + 1,)


async def test_every_journal_says_who_can_read_it(tmp_path: Path) -> None:
    journal = await SqliteJournal.open(tmp_path / "journal.db")
    assert await journal.get_note(schema.READERS) == str(schema.OLDEST_READER)
    await journal.aclose()
