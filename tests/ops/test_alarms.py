"""Alarms under every time zone that the environment can name, and under clocks that are decades off."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from fleetd.model.fleet import Window
from fleetd.ops.alarms import trigger_of
from fleetd.planner.windows import effective, next_change, next_edge
from tests.support.build import fleet
from tests.support.processes import fleetd

ODD = (
    "JST-9",
    "CST-8",
    "Europe/Berlni",
    "EST5EDT,M3.2.0,M11.1.0",
    "<+03>-3",
    ":/no/such/file",
    "\x01",
    "x" * 300,
    "",
)
START = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)

RING = """
import asyncio
from datetime import UTC, datetime, timedelta
from fleetd.ops.alarms import Alarms

async def main():
    rung, alarms = asyncio.Queue(), Alarms()
    alarms.start(rung.put_nowait)
    alarms.schedule({"a": "every 1s", "b": "0 6 * * *"})
    alarms.edge(datetime.now(UTC) + timedelta(milliseconds=100))
    names = {await asyncio.wait_for(rung.get(), 10) for _ in range(2)}
    alarms.edge(None)
    alarms.stop()
    print(sorted(names))

asyncio.run(main())
"""


def environment(zone: str) -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key != "TZ"} | {"TZ": zone}


@pytest.mark.parametrize("zone", ODD)
def test_alarms_ring_whatever_tz_says(zone: str) -> None:
    command = [sys.executable, "-W", "error", "-c", RING]
    done = subprocess.run(command, env=environment(zone), capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "['a', 'window_edge']\n", done.stderr


CONFIG = """
version = 1
[provider]
kind = "simulator"
[provider.simulator]
speed = 600
[daemon]
interval = "1s"
poll = "100ms"
listen = ""
[fleets.training]
target = 2
[fleets.training.machine]
region = "East Coast (NY2)"
machineType = "P4000"
size = 50
billingType = "hourly"
templateId = "tbu200wi"
[[fleets.training.windows]]
name = "night"
start = "00:00"
end = "24:00"
timezone = "Europe/Berlin"
target = 1
"""


@pytest.mark.long
@pytest.mark.parametrize("zone", ["JST-9", "Europe/Berlni"])
def test_a_fleet_with_a_window_converges_whatever_tz_says(zone: str, tmp_path: Path) -> None:
    config = tmp_path / "fleetd.toml"
    config.write_text(CONFIG)
    env = {"TZ": zone, "STATE_DIRECTORY": str(tmp_path / "state")}
    done = fleetd("apply", "-c", str(config), "--timeout", "1m", **env, timeout=90)
    assert done.returncode == 0, done.stdout + done.stderr
    planned = fleetd("plan", "-c", str(config), "--at", "20:00", **env, timeout=60)
    assert planned.returncode == 0, planned.stdout + planned.stderr


@pytest.mark.parametrize("when", ["every 1s", "every 1m", "* * * * *", "0 6 * * *"])
@pytest.mark.parametrize("years", [56, 200, -50])
def test_a_ring_after_a_jump_of_the_clock_takes_no_time(when: str, years: int) -> None:
    trigger = trigger_of(when, START)
    due = trigger.get_next_fire_time(None, START)
    now = START + timedelta(days=365 * years, seconds=0.5)
    began, rings = time.process_time(), 0
    while due is not None and due <= now:  # as APScheduler does
        due, rings = trigger.get_next_fire_time(due, now), rings + 1
        assert rings <= 1
    assert time.process_time() - began < 1
    assert due is not None
    assert due > now


def test_rings_that_are_on_time_come_one_after_the_other() -> None:
    trigger = trigger_of("every 15m", START)
    due = trigger.get_next_fire_time(None, START)
    found = []
    for _ in range(4):
        assert due is not None
        found.append(due - START)
        due = trigger.get_next_fire_time(due, due + timedelta(milliseconds=3))
    assert found == [timedelta(minutes=15 * n) for n in (1, 2, 3, 4)]


@pytest.mark.parametrize("year", [1970, 1999, 2026, 2150, 2232])
def test_windows_cost_nothing_at_any_year_of_the_clock(year: int) -> None:
    holidays = (*(date(2026, 1, 1) + timedelta(days=7 * n) for n in range(300)), date(2199, 12, 31))
    window = Window(
        "night", 20 * 60, 7 * 60, "Europe/Berlin", except_dates=holidays, dates=(date(2199, 1, 1),), target=1
    )
    team = fleet(windows=(window,))
    now = datetime(year, 6, 1, 12, tzinfo=UTC)
    began = time.process_time()
    edge, change = next_edge([team], now), next_change(team, now)
    assert time.process_time() - began < 0.5
    assert edge is not None
    assert change is not None
    assert now < edge < now + timedelta(days=2)
    assert effective(team, edge).target == 1


def test_a_long_run_of_exceptions_is_looked_beyond() -> None:
    closed = tuple(date(2026, 3, 1) + timedelta(days=n) for n in range(90))
    window = Window("day", 8 * 60, 18 * 60, "UTC", except_dates=closed, target=5)
    assert next_edge([fleet(windows=(window,))], START) == datetime(2026, 5, 30, 8, tzinfo=UTC)
