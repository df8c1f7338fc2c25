"""The policy checks' eyes: what they look at, and what they say beside the actions that ``plan`` decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import anyio
import structlog

from fleetd.cloud.port import Cloud
from fleetd.model.errors import CloudError
from fleetd.model.fleet import Fleet
from fleetd.model.journal import Memory
from fleetd.model.machine import Machine, Phase
from fleetd.model.plan import Check
from fleetd.planner.idle import Activity
from fleetd.planner.ownership import Owner
from fleetd.planner.policies import snapshot_drift, timeout_drift, vendor_stops_soon

log = structlog.get_logger(__name__)


class Checks:
    """Looks closer where a check needs events, and reports what cannot be verified."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._said: set[tuple[str, str]] = set()

    async def look(
        self,
        checks: frozenset[Check],
        fleets: Sequence[Fleet],
        machines: Sequence[Machine],
        owned: Mapping[str, Owner],
    ) -> dict[str, Machine]:
        """Up machines of fleets with a shutdown timeout, with their events: since when they are up is only there."""
        if Check.SHUTDOWN_TIMEOUT not in checks:
            return {}
        policed = {
            f.name for f in fleets if f.shutdown_timeout is not None and (f.shutdown_timeout.enforce or f.idle)
        }
        up = [m for m in machines if m.id in owned and owned[m.id].fleet in policed and m.phase is Phase.UP]
        shown: dict[str, Machine] = {}

        async def show(machine: Machine) -> None:
            try:
                shown[machine.id] = await self._cloud.show(machine.id)
            except CloudError as error:
                # Without its events nobody knows how long it has been up, so nothing follows from the check.
                log.debug("check.look_failed", machine=machine.id, error=str(error))

        async with anyio.create_task_group() as group:
            for machine in up:
                group.start_soon(show, machine)
        return shown

    def report(
        self,
        checks: frozenset[Check],
        fleets: Sequence[Fleet],
        machines: Sequence[Machine],
        owned: Mapping[str, Owner],
        memory: Memory,
        now: datetime,
    ) -> None:
        """Say what could not be verified, and whose work the vendor's own timer is about to end."""
        by_name = {f.name: f for f in fleets}
        for machine in machines:
            if machine.id not in owned:
                continue
            fleet = by_name[owned[machine.id].fleet]
            unverified: tuple[str, ...] = ()
            if Check.SHUTDOWN_TIMEOUT in checks:
                unverified += timeout_drift(fleet, machine).unverified
                self._warn_of_timer(fleet, memory.shown.get(machine.id), memory, now)
            if Check.SNAPSHOT in checks:
                unverified += snapshot_drift(fleet, machine).unverified
            if unverified and machine.phase is not Phase.RISING:
                self._say_unverified(fleet, machine, ", ".join(unverified))

    def _warn_of_timer(self, fleet: Fleet, machine: Machine | None, memory: Memory, now: datetime) -> None:
        if machine is None:
            return
        left = vendor_stops_soon(machine, now)
        report = memory.idle.get(machine.id)
        if left is not None and report is not None and report.verdict == Activity.ACTIVE:
            log.warning(
                "machine.timeout_neared",
                fleet=fleet.name,
                machine=machine.id,
                name=machine.name,
                left_s=round(left.total_seconds()),
                evidence=report.evidence,
            )

    def _say_unverified(self, fleet: Fleet, machine: Machine, fields: str) -> None:
        if (machine.id, fields) not in self._said:
            self._said.add((machine.id, fields))
            log.info("policy.was_unverified", fleet=fleet.name, machine=machine.id, name=machine.name, fields=fields)
