"""The policy checks: for which machines they are due, what they look at, and what they say beside ``plan``'s actions.

A check is due for a machine when its schedule has rung since it was last made, and when it never was: of a machine
that is new, and of all of them after a start. One in transition is checked when that is over, and a drift that could
not be mended is tried again, neither at the next ring only: that of the snapshots is a day away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime

import anyio
import structlog

from fleetd.cloud.port import Cloud
from fleetd.model.errors import CloudError
from fleetd.model.fleet import Fleet
from fleetd.model.journal import Intent, Memory
from fleetd.model.machine import Machine, Phase
from fleetd.model.plan import Check, Due, Skip
from fleetd.model.reasons import Verb
from fleetd.planner.idle import Activity
from fleetd.planner.ownership import Owner
from fleetd.planner.policies import may_judge, snapshot_drift, timeout_drift, vendor_stops_soon

log = structlog.get_logger(__name__)


class Checks:
    """Knows what is due, looks closer where a check needs events, and reports what cannot be verified.

    ``progress`` is called after every look at a machine.
    """

    def __init__(self, cloud: Cloud, *, progress: Callable[[], None] = lambda: None) -> None:
        self._cloud = cloud
        self._progress = progress
        self._said: set[tuple[str, str]] = set()
        self._rings = dict.fromkeys(Check, 0)
        self._made: dict[str, dict[Check, int]] = {}
        """By machine id: the ring after which each check was last made of it."""
        self._asked: Mapping[Check, int] = {}

    def rung(self, check: Check) -> None:
        """Its schedule says that it is time: it is due for every machine."""
        self._rings[check] += 1

    def due(self, owned: Iterable[str]) -> Due:
        """The checks that are due, for the machines with these ids; those with none are left out."""
        self._asked = dict(self._rings)
        found = {
            machine: frozenset(c for c, ring in self._asked.items() if self._made.get(machine, {}).get(c) != ring)
            for machine in owned
        }
        return {machine: checks for machine, checks in found.items() if checks}

    def made(self, due: Due, machines: Sequence[Machine], intents: Iterable[Intent], skips: Iterable[Skip]) -> None:
        """What was due is done, but where a machine could not be judged, or its drift could not be mended.

        Args:
            due: as it was asked for before.
            machines: those listed; what is remembered of others is forgotten.
            intents: open before the pass acted.
            skips: what the pass did not do.
        """
        if not due:
            return
        moving = {i.machine_id for i in intents}
        unmended = {s.machine for s in skips if s.verb is Verb.UPDATE}
        for machine in machines:
            if machine.id in due and may_judge(machine, moving) and machine.id not in unmended:
                self._made[machine.id] = dict(self._asked)
        listed = {m.id for m in machines}
        self._made = {machine: rings for machine, rings in self._made.items() if machine in listed}

    async def look(
        self,
        due: Due,
        fleets: Sequence[Fleet],
        machines: Sequence[Machine],
        owned: Mapping[str, Owner],
    ) -> dict[str, Machine]:
        """Up machines of fleets with a shutdown timeout, with their events: since when they are up is only there."""
        policed = {
            f.name for f in fleets if f.shutdown_timeout is not None and (f.shutdown_timeout.enforce or f.idle)
        }
        up = [
            m
            for m in machines
            if Check.SHUTDOWN_TIMEOUT in due.get(m.id, ()) and owned[m.id].fleet in policed and m.phase is Phase.UP
        ]
        shown: dict[str, Machine] = {}

        async def show(machine: Machine) -> None:
            try:
                shown[machine.id] = await self._cloud.show(machine.id)
            except CloudError as error:
                # Without its events nobody knows how long it has been up, so nothing follows from the check.
                log.debug("check.look_failed", machine=machine.id, error=str(error))
            self._progress()

        async with anyio.create_task_group() as group:
            for machine in up:
                group.start_soon(show, machine)
        return shown

    def report(
        self,
        due: Due,
        fleets: Sequence[Fleet],
        machines: Sequence[Machine],
        owned: Mapping[str, Owner],
        memory: Memory,
        now: datetime,
    ) -> None:
        """Say what could not be verified, and whose work the vendor's own timer is about to end."""
        by_name = {f.name: f for f in fleets}
        for machine in machines:
            checks = due.get(machine.id)
            if not checks:
                continue
            fleet = by_name[owned[machine.id].fleet]
            unverified: tuple[str, ...] = ()
            if Check.SHUTDOWN_TIMEOUT in checks:
                unverified += timeout_drift(fleet, machine).unverified
                self._warn_of_timer(fleet, memory.shown.get(machine.id), memory, now)
            if Check.SNAPSHOT in checks:
                unverified += snapshot_drift(fleet, machine).unverified
            if unverified and machine.phase is not Phase.RISING:
                self._say_unverified(fleet, machine, unverified)

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

    def _say_unverified(self, fleet: Fleet, machine: Machine, fields: Sequence[str]) -> None:
        new = [field for field in fields if (machine.id, field) not in self._said]
        if new:
            self._said.update((machine.id, field) for field in new)
            log.info(
                "policy.was_unverified",
                fleet=fleet.name,
                machine=machine.id,
                name=machine.name,
                fields=", ".join(new),
            )
