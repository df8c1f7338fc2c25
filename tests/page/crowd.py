"""Many machines of a few fleets, five of them off: ``python -m tests.page.crowd`` says what their pages weigh."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from fleetd.model.report import FleetReport, MachineReport
from fleetd.ops.page.scene import Scene
from tests.support.fakeseat import AT, a_fleet, a_machine, a_report

OFF = 5
"""Machines that failed to start, all in the fleet that is last by name."""


def crowd(machines: int, fleets: int = 4) -> Scene:
    """A scene with so many machines in all."""
    each = max(1, machines // fleets)
    names = [f"fleet-{n:03d}" for n in range(fleets)]
    off = min(OFF, each - 1)
    wanted: dict[str, FleetReport] = {}
    listed: list[MachineReport] = []
    for name in names:
        down = off if name == names[-1] else 0
        wanted[name] = a_fleet(target=each, configured_target=each, up=each - down, down=down, converged=not down)
        listed += _machines(name, each, down)
    blocked = [
        {"fleet": names[-1], "machine": m.id, "name": m.name, "verb": "start", "reason": "capacity_backoff",
         "until": AT + timedelta(minutes=4), "since": AT - timedelta(minutes=20)}
        for m in listed if m.failure
    ]  # fmt: skip
    return Scene(a_report(fleets=wanted, machines=listed, blocked=blocked), AT, version="1.2.3")


def _machines(fleet: str, count: int, off: int) -> Iterator[MachineReport]:
    for n in range(count):
        fields: dict[str, Any] = {"fleet": fleet, "up_since": AT - timedelta(hours=n % 30 + 1)}
        if n < off:
            fields = {
                "fleet": fleet, "state": "off", "phase": "down", "failure": "insufficient capacity",
                "state_since": AT - timedelta(minutes=20),
            }  # fmt: skip
        yield a_machine(f"{fleet}-{n:06d}", **fields)
