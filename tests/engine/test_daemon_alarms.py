"""What rings wakes the daemon: a check that is due, and an edge of a window."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import anyio
import pytest

from fleetd.model.plan import Check
from tests.support.build import fleet
from tests.support.rig import SilentAlarms, rig
from tests.support.virtual_time import run_virtual


class Bell(SilentAlarms):
    def __init__(self) -> None:
        self.scheduled: list[dict[str, str]] = []

    def start(self, ring: Callable[[str], None]) -> None:
        self.ring = ring

    def schedule(self, checks: Mapping[str, str]) -> None:
        self.scheduled.append(dict(checks))


@pytest.mark.parametrize(("name", "check"), [*((str(c), c) for c in Check), ("edge", None)])
def test_what_rings_is_noted_and_wakes_the_daemon(name: str, check: Check | None) -> None:
    async def story() -> None:
        bell = Bell()
        async with rig(fleet(target=0), alarms=bell, interval=3600) as world, world.daemon_running() as daemon:
            await anyio.sleep(10)
            rung: list[Check] = []
            world.reconciler.checks.rung = rung.append  # type: ignore[method-assign]
            world.cloud.calls.clear()
            bell.ring(name)
            await anyio.sleep(10)
            assert rung == ([] if check is None else [check])
            assert [c.operation for c in world.cloud.calls] == ["list"]
            assert daemon.last_error is None

    run_virtual(story)
