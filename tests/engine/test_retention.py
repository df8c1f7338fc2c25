"""History is kept by age and by number, by the daemon itself."""

from __future__ import annotations

from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from structlog.testing import capture_logs

from fleetd.engine import retention
from fleetd.engine.chronicle import Chronicle
from fleetd.model.journal import CHRONICLED, HistoryEntry
from tests.support.build import fleet
from tests.support.rig import rig
from tests.support.virtual_time import run_virtual, virtual, virtual_clock


@pytest.mark.long
def test_a_running_daemon_drops_what_is_too_old_and_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "MOST_ROWS", 5)  # the line of the daemon's start is one of the older ones

    async def story() -> None:
        with capture_logs() as logs:
            async with rig(fleet(target=0)) as world:
                for days in (91, 89):
                    at = world.clock.now() - timedelta(days=days)
                    await world.journal.append_history(entry(at))
                async with world.daemon_running():
                    await anyio.sleep(60)
                    assert [(world.clock.now() - e.ts).days for e in await entries(world)] == [89], "after a start"
                    await anyio.sleep(20 * 3600)
                    assert len(await entries(world)) == 1
                    await anyio.sleep(20 * 3600)
                    assert await entries(world) == [], "and once a day"
                    for _ in range(9):
                        await world.journal.append_history(entry(world.clock.now()))
                    await anyio.sleep(25 * 3600)
                    assert len(await entries(world)) == 5
        dropped = [line["dropped"] for line in logs if line["event"] == "journal.was_pruned"]
        assert dropped == [1, 1, 5]

    run_virtual(story)


def test_a_clock_far_ahead_drops_nothing() -> None:
    async def story() -> None:
        with capture_logs() as logs:
            async with rig(fleet(target=0), interval=600) as world:
                for days in (50, 96, 95):
                    await world.journal.append_history(entry(world.clock.now() - timedelta(days=days)))
                async with world.daemon_running():
                    await anyio.sleep(3600)
                    assert len(await entries(world)) == 3, "the newest is 95 days old: so far ahead may the clock be"
                    await anyio.sleep(25 * 3600)
                    assert len(await entries(world)) == 1, "a clock that is so for a day is right"
                    world.clock.step(100 * 86400)
                    await anyio.sleep(3600)
                    assert len(await entries(world)) == 1
        assert [line["event"] for line in logs].count("journal.was_not_pruned") == 2

    run_virtual(story)


def test_two_starts_by_a_clock_that_is_far_ahead_drop_nothing() -> None:
    """The first one's own line is no witness for the second one."""

    async def story() -> None:
        async with rig(fleet(target=0), interval=600) as world:
            for days in (50, 1):
                await world.journal.append_history(entry(world.clock.now() - timedelta(days=days)))
            world.clock.step(100 * 86400)
            for _ in range(2):
                kept = retention.Retention(world.journal)
                await kept.load()
                await kept.keep(world.clock.now())
                told = Chronicle(world.journal, world.clock, "run")
                told.started("1")
                await told.save()
            assert len(await entries(world)) == 2

    run_virtual(story)


def entry(at: datetime) -> HistoryEntry:
    return HistoryEntry(at, "training", "ps1", "a", "outside", "operator", "observed")


async def entries(world) -> list[HistoryEntry]:
    return [entry for _, entry in await world.journal.history() if entry.verb not in CHRONICLED]


@pytest.mark.parametrize(
    ("later", "prunes"),
    [(0, False), (24 * 3600 - 1, False), (24 * 3600, True), (-1, True), (9 * 24 * 3600, True)],
    ids=["at once again", "within a day", "after a day", "the clock was set back: that counts as time", "long after"],
)
@virtual
async def test_it_is_pruned_once_a_day(later: float, prunes: bool) -> None:
    pruned: list[tuple[datetime, int]] = []

    async def prune(*, before: datetime, max_rows: int) -> int:
        pruned.append((before, max_rows))
        return 0

    journal: Any = SimpleNamespace(prune=prune)
    keeper = retention.Retention(journal)
    now = virtual_clock().now()
    await keeper.keep(now)
    assert pruned == [(now - retention.KEEP, retention.MOST_ROWS)], "after a start"
    await anyio.sleep(max(0.0, later))
    await keeper.keep(now + timedelta(seconds=later))
    assert len(pruned) == 1 + prunes


@pytest.mark.parametrize("dropped", [0, 3])
@virtual
async def test_what_was_dropped_is_said_with_from_when(dropped: int) -> None:
    async def prune(**_how: Any) -> int:
        return dropped

    journal: Any = SimpleNamespace(prune=prune)
    now = virtual_clock().now()
    with capture_logs() as logs:
        await retention.Retention(journal).keep(now)
    told = {
        "event": "journal.was_pruned", "log_level": "info", "dropped": 3,
        "before": (now - retention.KEEP).isoformat(),
    }  # fmt: skip
    assert logs == ([told] if dropped else [])
