"""A real Prometheus scrapes real daemons and evaluates the shipped rules: each alert fires on its fault, and clears.

A dozen daemons with an account each have their troubles at the same time. In the rules every minute counts a second
(``shortened``); apart from that they are those that are shipped.
"""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal

from fleetd.model.naming import machine_name, make_token
from fleetd.simulator.server import serve
from fleetd.simulator.world import World
from tests.deploy.test_rules import ALERTS, RULES
from tests.peers.shift import PATIENCE, Shift, ask, shortened
from tests.support.exporter import prometheus
from tests.support.processes import KEY, SimulatorProcess, until

PARKING = """
[[fleets.training.windows]]
name = "always"
start = "00:00"
end = "24:00"
timezone = "UTC"
park_idle = true
[fleets.training.idle]
after = "5s"
sources = ["presence"]
[idle_sources.presence]
kind = "exec"
argv = ["/bin/cat", "{file}"]
"""


def goes_down_and_keeps_restarting(shift: Shift) -> None:
    shift.end()
    shift.until_firing("FleetdDown")
    shift.start()
    shift.until_clear("FleetdDown")
    for _ in range(3):
        before = shift.value("fleetd_start_timestamp_seconds")
        shift.end(signal.SIGKILL)
        shift.start()
        until(
            lambda was=before: shift.value("fleetd_start_timestamp_seconds") not in {was, None, 0.0},
            seconds=PATIENCE,
        )
    shift.until_firing("FleetdRestarting")
    shift.until_clear("FleetdRestarting")


def cannot_write_its_journal(shift: Shift) -> None:
    with closing(sqlite3.connect(shift.state / "journal.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        shift.reload(target=2)
        shift.until_firing("FleetdPassStale")
        other.execute("ROLLBACK")
    shift.until_clear("FleetdPassStale")
    shift.until_converged(2)


def is_held_up(shift: Shift) -> None:
    os.kill(shift.process.pid, signal.SIGSTOP)
    time.sleep(5)
    os.kill(shift.process.pid, signal.SIGCONT)
    shift.until_firing("FleetdEventLoopSlow")
    shift.until_clear("FleetdEventLoopSlow")


def is_told_another_time(shift: Shift) -> None:
    shift.world.clock._epoch = shift.world.clock.epoch - timedelta(hours=1)
    shift.until_firing("FleetdClockDisagrees")
    shift.world.clock._epoch = shift.world.clock.epoch + timedelta(hours=1)
    shift.until_clear("FleetdClockDisagrees")


def loses_its_provider_and_its_key(shift: Shift) -> None:
    shift.faults({"kind": "unavailable"})
    shift.until_firing("FleetdProviderUnavailable")
    shift.faults({"kind": "unauthorized"})
    shift.until_firing("FleetdKeyRefused")
    shift.until_clear("FleetdProviderUnavailable")
    shift.faults()
    shift.until_clear("FleetdKeyRefused")


def is_lied_to(shift: Shift) -> None:
    shift.faults({"kind": "empty_list"})
    shift.until_firing("FleetdObservationRejected")
    shift.faults()
    shift.until_clear("FleetdObservationRejected")


def finds_no_capacity(shift: Shift) -> None:
    shift.faults({"kind": "capacity"})
    shift.reload(target=2)
    shift.until_firing("FleetdFleetNotConverged")
    shift.faults()
    shift.until_clear("FleetdFleetNotConverged")
    shift.until_converged(2)


def waits_for_a_machine_that_never_comes(shift: Shift) -> None:
    known = {machine["id"] for machine in shift.sim.machines()}
    shift.faults({"kind": "stuck", "operation": "create"})
    shift.reload(target=2)
    shift.until_firing("FleetdTransitionTimedOut")
    shift.faults()
    (stuck,) = {machine["id"] for machine in shift.sim.machines()} - known
    shift.sim.ask(f"/_sim/machines/{stuck}", {"action": "destroy"})
    shift.until_clear("FleetdTransitionTimedOut")
    shift.until_converged(2)


def is_given_a_bad_config_and_then_declined(shift: Shift) -> None:
    shift.reload(target=-1)
    shift.until_firing("FleetdConfigReloadFailed")
    shift.faults({"kind": "error", "operation": "create", "status": 400, "message": "Invalid templateId"})
    shift.reload(target=2)
    shift.until_clear("FleetdConfigReloadFailed")
    shift.until_firing("FleetdActionRefused")
    shift.faults()
    shift.reload()
    shift.until_clear("FleetdActionRefused")
    shift.until_converged(2)


def runs_into_its_cap(shift: Shift) -> None:
    shift.reload(target=2, guards="max_hourly_cost = 0.60")
    shift.until_firing("FleetdCostGuardBlocks")
    shift.reload(guards="max_hourly_cost = 5")
    shift.until_clear("FleetdCostGuardBlocks")
    shift.until_converged(2)
    shift.reload(guards="max_hourly_cost = 0.60")
    shift.until_firing("FleetdCostAboveLimit")
    shift.reload(guards="max_monthly_cost = 0.01")
    shift.until_clear("FleetdCostAboveLimit")
    shift.until_firing("FleetdBudgetNearlyUsed")
    shift.reload(guards="")
    shift.until_clear("FleetdBudgetNearlyUsed")


def has_orphans_and_knows_nothing_of_its_users(shift: Shift) -> None:
    orphan = shift.sim.add(name=machine_name("retired", make_token("retired", [1, 2, 3, 4, 5])), state="ready")
    presence = shift.state / "presence.json"
    shift.reload(fleet=PARKING.format(file=presence))
    shift.until_firing("FleetdOrphans")
    shift.until_firing("FleetdIdleSourceSilent")
    shift.until_firing("FleetdMachineSilent")
    shift.sim.ask(f"/_sim/machines/{orphan['id']}", {"action": "stop"})
    presence.write_text('{"idle": false, "evidence": "someone is at it"}')
    shift.until_clear("FleetdOrphans")
    shift.until_clear("FleetdIdleSourceSilent")
    shift.until_clear("FleetdMachineSilent")


def cannot_stop_a_machine(shift: Shift) -> None:
    shift.faults({"kind": "no_effect", "operation": "stop"})
    shift.reload(target=0)
    shift.until_firing("FleetdActionWithoutEffect")
    shift.faults()
    shift.reload(target=1)
    shift.until_clear("FleetdActionWithoutEffect")


def is_fought_by_somebody_else(shift: Shift) -> None:
    (machine,) = shift.sim.machines()
    for turn in range(3):
        shift.sim.ask(f"/_sim/machines/{machine['id']}", {"action": "stop"})
        until(lambda: not shift.converged(1), seconds=PATIENCE)
        if turn < 2:
            shift.until_converged(1)
    shift.until_firing("FleetdMachineFoughtOver")
    shift.sim.ask(f"/_sim/machines/{machine['id']}", {"action": "destroy"})
    shift.until_clear("FleetdMachineFoughtOver")
    shift.until_converged(1)


def meets_a_fault_of_its_own(shift: Shift) -> None:
    with shift.fault():
        shift.until_firing("FleetdFault")
    shift.until_clear("FleetdFault")
    shift.until_converged(1)


@dataclass(frozen=True)
class Story:
    """A day that goes wrong."""

    play: Callable[[Shift], None]
    alerts: set[str]
    may_fire: set[str] = field(default_factory=set)
    """What follows from the same fault when it lasts."""
    values: dict[str, Any] = field(default_factory=dict)
    speed: float = 120
    """The provider's. One that runs faster than its clients tells them their own time."""


OF_REPLICAS = {"FleetdNobodyActs", "FleetdSeveralAct", "FleetdNoStandby", "FleetdConfigsDiffer"}
"""They have their own story, for it takes a database (``test_prometheus_replicas``)."""
LATE = {"FleetdFleetNotConverged"}
GONE = {"FleetdDown", "FleetdPassStale"}
STORIES = [
    Story(goes_down_and_keeps_restarting, {"FleetdDown", "FleetdRestarting"}, GONE | LATE),
    Story(cannot_write_its_journal, {"FleetdPassStale"}, LATE),
    Story(is_held_up, {"FleetdEventLoopSlow"}, GONE),
    Story(is_told_another_time, {"FleetdClockDisagrees"}, set(), {"target": 0}, speed=1),
    Story(loses_its_provider_and_its_key, {"FleetdProviderUnavailable", "FleetdKeyRefused"}, LATE),
    Story(is_lied_to, {"FleetdObservationRejected"}, LATE),
    Story(finds_no_capacity, {"FleetdFleetNotConverged"}),
    Story(
        waits_for_a_machine_that_never_comes,
        {"FleetdTransitionTimedOut"},
        LATE,
        {"guards": 'create_deadline = "5s"'},
    ),
    Story(is_given_a_bad_config_and_then_declined, {"FleetdConfigReloadFailed", "FleetdActionRefused"}, LATE),
    Story(runs_into_its_cap, {"FleetdCostGuardBlocks", "FleetdCostAboveLimit", "FleetdBudgetNearlyUsed"}, LATE),
    Story(
        has_orphans_and_knows_nothing_of_its_users,
        {"FleetdOrphans", "FleetdIdleSourceSilent", "FleetdMachineSilent"},
        LATE,
    ),
    Story(cannot_stop_a_machine, {"FleetdActionWithoutEffect"}, LATE),
    Story(
        is_fought_by_somebody_else,
        {"FleetdMachineFoughtOver"},
        LATE | {"FleetdActionWithoutEffect"},
        {"fleet": 'respect_manual = "0s"'},
    ),
    Story(meets_a_fault_of_its_own, {"FleetdFault"}, LATE),
]


def test_there_is_a_story_about_each_alert() -> None:
    assert sorted([*OF_REPLICAS, *(alert for story in STORIES for alert in story.alerts)]) == sorted(ALERTS)


def test_nothing_but_minutes_is_changed_in_the_rules() -> None:
    shipped = RULES.read_text()
    short = shortened(shipped)
    assert shipped.count("m\n") > 10
    assert not re.search(r"\b\d+m\b", short)
    assert re.sub(r"\b(\d+)s\b", r"\1m", short).replace("> 5\n", "> 300\n") == shipped


@pytest.mark.slow
@pytest.mark.peer("prometheus")
def test_each_alert_fires_on_its_fault_and_clears_after_it(tmp_path: Path) -> None:
    with ExitStack() as stack:
        portal = stack.enter_context(start_blocking_portal())
        shifts: list[Shift] = []
        for story in STORIES:
            folder = tmp_path / str(len(shifts))  # short: the path of a unix socket has 107 bytes
            folder.mkdir()
            world = World(seed=1, speed=story.speed)
            server = stack.enter_context(portal.wrap_async_context_manager(serve(world, key=KEY)))
            shift = Shift(folder, SimulatorProcess(server.url), world, **{"target": 1, **story.values})
            stack.callback(shift.end)
            shifts.append(shift)
        for story, shift in zip(STORIES, shifts, strict=True):
            shift.until_converged(story.values.get("target", 1))
        ports = [shift.port for shift in shifts]
        url = stack.enter_context(prometheus(tmp_path, ports, shortened(RULES.read_text()), job="fleetd"))
        for shift in shifts:
            shift.prometheus = url
        until(lambda: len(ask(url, 'up{job="fleetd"} == 1')) == len(shifts), seconds=PATIENCE)
        with ThreadPoolExecutor(len(STORIES)) as pool:
            plays = [pool.submit(story.play, shift) for story, shift in zip(STORIES, shifts, strict=True)]
            for play in plays:
                play.result()
        fired = ask(url, 'count by (alertname, instance) (last_over_time(ALERTS{alertstate="firing"}[1h]))')
        for story, shift in zip(STORIES, shifts, strict=True):
            alerts = {one["metric"]["alertname"] for one in fired if one["metric"].get("instance") == shift.instance}
            assert story.alerts <= alerts <= story.alerts | story.may_fire, story.play.__name__
            exposed = shift.metrics()
            assert all(m["id"] not in exposed and m["name"] not in exposed for m in shift.sim.machines())
