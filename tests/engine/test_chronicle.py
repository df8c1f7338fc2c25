"""History answers what changed: of fleetd itself, its config, the provider and what is believed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from structlog.testing import capture_logs

from fleetd import __version__
from fleetd.engine import chronicle
from fleetd.engine.chronicle import Chronicle
from fleetd.model.errors import ConfigError, Fault, StateUnusable, StoreError, Unauthorized, Unavailable
from fleetd.model.journal import HistoryEntry
from fleetd.model.settings import Settings
from tests.support.build import NOW, fleet, token_name
from tests.support.fakecloud import FakeCloud
from tests.support.rig import Rig, rig, settings
from tests.support.virtual_time import run_virtual, virtual_clock


async def told(world: Rig) -> list[tuple[str, ...]]:
    """(fleet, verb, reason, words) of what is not about a machine."""
    rows = [entry for _, entry in await world.journal.history()]
    return [
        (e.fleet, e.verb, e.reason, e.error or e.evidence or "") for e in rows if e.machine is None and not e.intent
    ]


def test_a_life_is_told_from_its_start_to_its_end() -> None:
    async def story() -> None:
        async with rig(fleet(target=1)) as world:
            async with world.daemon_running():
                await anyio.sleep(60)
                assert await told(world) == [("", "daemon", "started", __version__)]
            assert await told(world) == [("", "daemon", "started", __version__), ("", "daemon", "stopped", "")]

    run_virtual(story)


def test_a_start_stands_before_what_its_first_pass_finds(tmp_path: Path) -> None:
    """A long first pass writes much; history is in the order of writing."""

    async def story() -> None:
        cloud = FakeCloud(virtual_clock())
        for process in (1, 2):
            async with rig(fleet(target=1), state=tmp_path, cloud=cloud) as world:
                if process == 2:
                    cloud.human("stop", "ps1")
                async with world.daemon_running():
                    await anyio.sleep(300)
                rows = [(e.verb, e.reason) for _, e in await world.journal.history() if e.verb != "create"]
        assert rows == [
            ("daemon", "started"),
            ("daemon", "stopped"),
            ("daemon", "started"),
            ("outside", "operator"),
            ("daemon", "stopped"),
        ]

    run_virtual(story)


def test_a_reload_tells_what_is_different_and_a_bad_one_why_it_is_not_taken() -> None:
    files: list[Settings | ConfigError] = []

    def load() -> Settings:
        found = files.pop(0)
        if isinstance(found, ConfigError):
            raise found
        return found

    async def story() -> None:
        first = (fleet(target=1), fleet("batch", target=0))
        async with rig(*first, load=load) as world, world.daemon_running() as daemon:
            await anyio.sleep(60)
            files[:] = [
                settings(fleet(target=2), fleet("batch", target=0), interval=60),
                ConfigError("fleetd.toml", (Fault("fleets.training.target", "expected a number"),)),
                settings(fleet(target=2), fleet("batch", target=0), interval=60),
            ]
            daemon.reload()
            with pytest.raises(ConfigError):
                daemon.reload()
            daemon.reload()
            await anyio.sleep(60)
            assert [row for row in await told(world) if row[1] == "config"] == [
                ("", "config", "reloaded", "daemon.interval 30 s -> 60 s"),
                ("training", "config", "reloaded", "training.target 1 -> 2"),
                ("", "config", "rejected", "fleets.training.target: expected a number"),
                ("", "config", "reloaded", "nothing is different"),
            ]
            of_fleet = [e.evidence for _, e in await world.journal.history(fleet="training") if e.verb == "config"]
            assert "training.target 1 -> 2" in of_fleet
            assert not [e for _, e in await world.journal.history(fleet="batch") if "training" in (e.evidence or "")]

    run_virtual(story)


@pytest.mark.parametrize(
    ("error", "word"),
    [(Unavailable("down", operation="list"), "unavailable"), (Unauthorized("no", operation="list"), "key_refused")],
)
def test_a_provider_that_is_lost_is_told_once_and_so_is_its_return(error: Exception, word: str) -> None:
    async def story() -> None:
        async with rig(fleet(target=1)) as world, world.daemon_running():
            await anyio.sleep(60)
            world.cloud.before = lambda _op, _id: error
            await anyio.sleep(600)
            world.cloud.before = lambda _op, _id: None
            await anyio.sleep(120)
            rows = [row for row in await told(world) if row[1] == "provider"]
            assert [row[2] for row in rows] == [word, "recovered"]
            assert str(error) in rows[0][3]

    run_virtual(story)


def test_a_listing_that_is_not_believed_is_told_once_with_why() -> None:
    async def story() -> None:
        async with rig(fleet(target=2)) as world, world.daemon_running():
            await anyio.sleep(300)
            whole = world.cloud.listing
            world.cloud.listing = lambda listing: replace(listing, machines=listing.machines[:1])
            await anyio.sleep(600)
            world.cloud.listing = whole
            await anyio.sleep(120)
            rows = [row for row in await told(world) if row[1] == "listing"]
            assert [row[2] for row in rows] == ["not_believed", "believed"]
            assert "the listing lacks" in rows[0][3]

    run_virtual(story)


def test_a_journal_that_cannot_be_written_ends_no_pass_and_loses_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        async with rig(fleet(target=0)) as world:
            append, full = world.journal.append_history, True

            async def refuses(entry: object) -> None:
                if full:
                    raise StoreError("the disk is full")
                await append(entry)  # type: ignore[arg-type]

            monkeypatch.setattr(world.journal, "append_history", refuses)
            kept = Chronicle(world.journal, world.clock, "run")
            kept.started("1")
            await kept.save()
            for n in range(chronicle.MOST_WAITING):
                kept.provider("ok" if n % 2 else "unavailable", str(n))
            full = False
            await kept.save()
            rows = await told(world)
            assert len(rows) == chronicle.MOST_WAITING
            assert rows[-1][2] == "recovered"
            await kept.save()
            assert len(await told(world)) == chronicle.MOST_WAITING

    run_virtual(story)


def test_a_long_difference_is_cut() -> None:
    async def story() -> None:
        async with rig(fleet(target=0)) as world:
            kept = Chronicle(world.journal, world.clock, "run")
            kept.reloaded({"": [f"line {n}" for n in range(chronicle.MOST_DIFFERENCES + 3)]})
            await kept.save()
            ((_, _, _, words),) = await told(world)
            assert words.endswith("line 19 and 3 more")

    run_virtual(story)


def test_what_is_about_machines_is_not_changed() -> None:
    async def story() -> None:
        async with rig(fleet(target=1)) as world:
            world.cloud.add(token_name(1), "ready")
            async with world.daemon_running():
                await anyio.sleep(timedelta(minutes=5).total_seconds())
                assert [e for _, e in await world.journal.history() if e.verb != "daemon"] == []

    run_virtual(story)


async def test_a_journal_that_cannot_be_written_is_said_and_the_line_waits() -> None:
    written: list[HistoryEntry] = []
    full = True

    async def append_history(entry: HistoryEntry) -> None:
        if full:
            raise StateUnusable("the disk is full")
        written.append(entry)

    journal: Any = SimpleNamespace(append_history=append_history)
    clock: Any = SimpleNamespace(now=lambda: NOW)
    kept = Chronicle(journal, clock, "run")
    kept.started("1")
    with capture_logs() as logs:
        await kept.save()
    assert logs == [{"event": "journal.failed", "log_level": "error", "error": "the disk is full"}]
    full = False
    await kept.save()
    await kept.save()
    assert [(entry.verb, entry.reason) for entry in written] == [("daemon", "started")]
