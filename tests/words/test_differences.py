from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

import pytest

from fleetd.model.fleet import AutoSnapshot, Costs, Guards, IdleRule, Limit, ScaleIn, ShutdownTimeout, Window
from fleetd.model.settings import IdleSource, Schedules, Settings
from fleetd.words.changes import differences
from tests.support.build import fleet
from tests.support.rig import settings

NIGHT = Window("night", 20 * 60, 7 * 60, "Europe/Berlin", park_idle=True)
OLD = fleet(target=8, windows=(NIGHT,))


def fleets(**changes: object) -> Callable[[Settings], Settings]:
    return lambda old: replace(old, fleets=(replace(OLD, **changes),))  # type: ignore[arg-type]


ROWS: list[tuple[Callable[[Settings], Settings], dict[str, list[str]]]] = [
    (lambda old: old, {}),
    (fleets(target=12), {"training": ["training.target 8 -> 12"]}),
    (
        fleets(target=0, allow_destroy=True, scale_in=ScaleIn.DESTROY),
        {
            "training": [
                "training.target 8 -> 0",
                "training.scale_in stop -> destroy",
                "training.allow_destroy false -> true",
            ]
        },
    ),
    (fleets(adopt=("a*", "b")), {"training": ["training.adopt unset -> a*, b"]}),
    (fleets(respect_manual=timedelta(0)), {"training": ["training.respect_manual 30 min -> 0 s"]}),
    (
        fleets(guards=replace(Guards(), max_shrink=Limit(count=3), max_hourly_cost=Decimal("1.5"))),
        {"training": ["training.guards.max_shrink 30% -> 3", "training.guards.max_hourly_cost 0 -> 1.5"]},
    ),
    (
        fleets(windows=(replace(NIGHT, start=21 * 60, except_dates=(date(2026, 12, 24),)),)),
        {
            "training": [
                "training.windows.night.start 20:00 -> 21:00",
                "training.windows.night.except_dates unset -> 2026-12-24",
            ]
        },
    ),
    (
        fleets(windows=(NIGHT, replace(NIGHT, name="late"))),
        {
            "training": [
                "training.windows night -> night, late",
                "training.windows.late.start unset -> 20:00",
                "training.windows.late.end unset -> 07:00",
                "training.windows.late.timezone unset -> Europe/Berlin",
                "training.windows.late.days unset -> 0, 1, 2, 3, 4, 5, 6",
                "training.windows.late.park_idle unset -> true",
            ]
        },
    ),
    (
        fleets(idle=IdleRule(("gpu",), after=timedelta(minutes=30), min_uptime=timedelta(minutes=10))),
        {
            "training": [
                "training.idle.sources unset -> gpu",
                "training.idle.after unset -> 30 min",
                "training.idle.min_uptime unset -> 10 min",
            ]
        },
    ),
    (
        fleets(shutdown_timeout=ShutdownTimeout(24)),
        {
            "training": [
                "training.shutdown_timeout.hours unset -> 24",
                "training.shutdown_timeout.force unset -> false",
                "training.shutdown_timeout.enforce unset -> false",
            ]
        },
    ),
    (
        fleets(auto_snapshot=AutoSnapshot("day")),
        {"training": ["training.auto_snapshot.frequency unset -> day"]},
    ),
    (
        fleets(machine_type="V100", parameters={**OLD.parameters, "machineType": "V100"}),
        {"training": ["training.machine.machineType P4000 -> V100"]},
    ),
    (
        lambda old: replace(old, fleets=(*old.fleets, fleet("batch", target=3))),
        {"batch": ["fleet batch added, target 3"]},
    ),
    (
        lambda old: replace(old, fleets=()),
        {"training": ["fleet training removed; its machines are let go as they are"]},
    ),
    (
        lambda old: replace(old, daemon=replace(old.daemon, interval=timedelta(minutes=2))),
        {"": ["daemon.interval 30 s -> 2 min"]},
    ),
    (
        lambda old: replace(old, costs=Costs({"P4000": Decimal("0.6")}), schedules=Schedules("every 5m")),
        {"": ["costs.prices.P4000 unset -> 0.6", "schedules.shutdown_timeout_check every 15m -> every 5m"]},
    ),
    (
        lambda old: replace(old, idle_sources={"gpu": IdleSource("gpu", "exec", argv=("ask", "--token", "hush"))}),
        {"": ["idle_sources.gpu added"]},
    ),
]


@pytest.mark.parametrize(("change", "wanted"), ROWS)
def test_what_two_configs_say_differently(
    change: Callable[[Settings], Settings], wanted: dict[str, list[str]]
) -> None:
    old = settings(OLD)
    found = differences(old, change(old))
    assert found == wanted
    assert "hush" not in str(found)


def test_an_order_that_decides_is_a_difference() -> None:
    """Of windows that overlap the later one decides, and of fleets that adopt the same name the first."""
    late = replace(NIGHT, name="late")
    one = settings(replace(OLD, windows=(NIGHT, late)), fleet("batch"), fleet("gone"))
    other = settings(fleet("new"), fleet("batch"), replace(OLD, windows=(late, NIGHT)))
    assert differences(one, other) == {
        "": ["order of fleets training, batch -> batch, training"],
        "gone": ["fleet gone removed; its machines are let go as they are"],
        "new": ["fleet new added, target 3"],
        "training": ["training.windows night, late -> late, night"],
    }


def test_both_ways() -> None:
    one = settings(OLD)
    other = replace(one, idle_sources={"gpu": IdleSource("gpu", "lease")})
    assert differences(other, one) == {"": ["idle_sources.gpu removed"]}
    changed = replace(one, idle_sources={"gpu": IdleSource("gpu", "lease", timeout=timedelta(seconds=1))})
    assert differences(other, changed) == {"": ["idle_sources.gpu changed"]}
    assert differences(other, other) == {}
