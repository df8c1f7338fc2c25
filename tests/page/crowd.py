"""Many machines of a few fleets, five of them off: ``python -m tests.page.crowd`` says what their pages weigh."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from msgspec.structs import replace

from fleetd.model.report import FleetReport, MachineReport
from fleetd.ops.page.fleet_page import fleet_page
from fleetd.ops.page.home import home
from fleetd.ops.page.record import Record
from fleetd.ops.page.scene import Scene
from fleetd.ops.page.serving import PACKING
from tests.support.fake_handle import AT, a_fleet, a_machine, a_report

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
    record = Record()
    for minutes in (1440, 900, 20, 0):
        then = {n: replace(f, up=f.target if minutes > 20 else f.up) for n, f in wanted.items()}
        seen = {"at": AT - timedelta(minutes=minutes), "complete": True, "rejected": None}
        record.saw(a_report(fleets=then, observation=seen), patience=timedelta(days=1))
    return Scene(a_report(fleets=wanted, machines=listed, blocked=blocked), AT, record, version="1.2.3")


def _machines(fleet: str, count: int, off: int) -> Iterator[MachineReport]:
    for n in range(count):
        fields: dict[str, Any] = {"fleet": fleet, "up_since": AT - timedelta(hours=n % 30 + 1)}
        if n < off:
            fields = {
                "fleet": fleet, "state": "off", "phase": "down", "failure": "insufficient capacity",
                "state_since": AT - timedelta(minutes=20),
            }  # fmt: skip
        yield a_machine(f"{fleet}-{n:06d}", **fields)


def main() -> None:
    for count in (4, 480, 2000):
        scene = crowd(count)
        for path, page in (("/", home(scene)), ("/fleet/fleet-003", fleet_page(scene, "fleet-003"))):
            packed = len(gzip.compress(page.encode(), PACKING))
            elements = len(re.findall("<[a-z]", page))
            print(f"{count:>5} machines  {path:<16} {len(page):>7} bytes, {packed:>6} packed, {elements:>5} elements")


if __name__ == "__main__":
    main()
