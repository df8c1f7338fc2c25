"""Looking at snapshots: before a destroy that needs a fresh one, and when their check is due."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import anyio
import structlog

from fleetd.cloud.port import Cloud
from fleetd.engine.ports import Clock
from fleetd.model.errors import CloudError
from fleetd.model.fleet import Fleet
from fleetd.model.journal import Memory
from fleetd.model.machine import Machine, Phase, SnapshotSight
from fleetd.model.plan import Action, Check, Due, Plan
from fleetd.model.reasons import Reason, Verb
from fleetd.planner.ownership import Owner
from fleetd.planner.policies import NOT_LOOKED, snapshot_missed, snapshot_veto

log = structlog.get_logger(__name__)

LOOKS_A_PASS = 10
"""How many machines' snapshots a pass looks at, at most: for its destroys, and as many for the check."""

KEPT = timedelta(minutes=5)
"""How long a look is planned with. Before a destroy there is a fresh one all the same."""


class Snapshots:
    """Looks at snapshots where a decision hangs on them, and reports those that were missed or failed.

    ``progress`` is called after every look at a machine.
    """

    def __init__(self, cloud: Cloud, clock: Clock, *, progress: Callable[[], None] = lambda: None) -> None:
        self._cloud = cloud
        self._clock = clock
        self._progress = progress
        self.theirs: Callable[[datetime], datetime] = lambda now: now
        """What the provider's clock reads, by which snapshots are dated, when ours reads ``now``."""
        self._kept: dict[str, tuple[datetime, SnapshotSight]] = {}
        self._said: dict[str, str] = {}
        self._waiting_since: dict[str, datetime] = {}
        self._unlooked: dict[str, None] = {}
        """For whom the check is due, those that have waited longest first."""

    async def decide(self, memory: Memory, planned: Callable[[Memory], Plan]) -> tuple[Plan, Memory]:
        """A plan whose destroys know the snapshots that they hang on: plan, look at what it lacked, plan again."""
        self._kept = self.kept(self._clock.now())
        memory = replace(memory, snapshots={m: sight for m, (_, sight) in self._kept.items()})
        first = planned(memory)
        lacking = [s.machine for s in first.skips if s.reason is Reason.SNAPSHOT_TOO_OLD and s.detail == NOT_LOOKED]
        wanted = [machine for machine in lacking if machine is not None][:LOOKS_A_PASS]
        if not wanted or not first.complete:
            return first, memory
        memory = replace(memory, snapshots={**memory.snapshots, **await self._look(wanted)})
        return planned(memory), memory

    def kept(self, now: datetime) -> dict[str, tuple[datetime, SnapshotSight]]:
        """By machine id, the looks that are planned with still, and when they were."""
        return {m: kept for m, kept in self._kept.items() if now - kept[0] < KEPT}

    def assume(self, kept: Mapping[str, tuple[datetime, SnapshotSight]]) -> None:
        """Plan with another process's looks."""
        self._kept = dict(kept)

    async def last_word(self, fleet: Fleet, action: Action, cloud: Cloud) -> Reason | None:
        """Look afresh right before a destroy, from its place in the rate limit; a reason forbids it."""
        if action.verb is not Verb.DESTROY or fleet.destroy_requires_snapshot is None or action.machine is None:
            return None
        sight = (await self._look([action.machine], cloud))[action.machine]
        return None if snapshot_veto(fleet, sight, self._clock.now()) is None else Reason.SNAPSHOT_TOO_OLD

    async def check(
        self,
        due: Due,
        fleets: Sequence[Fleet],
        machines: Iterable[Machine],
        owned: Mapping[str, Owner],
    ) -> None:
        """Say whose automatic snapshots were missed or failed, where the provider shows snapshots at all.

        Some of the machines for which it is due in each pass; one that could not be looked at has its turn again.
        """
        if not self._cloud.capabilities.snapshots_visible:
            return
        held = {f.name: f for f in fleets if f.auto_snapshot is not None and f.auto_snapshot.frequency != "none"}
        up = {m.id: m for m in machines if m.id in owned and owned[m.id].fleet in held and m.phase is Phase.UP}
        self._waiting_since = {m: at for m, at in self._waiting_since.items() if m in up}
        self._unlooked |= dict.fromkeys(m for m in up if Check.SNAPSHOT in due.get(m, ()))
        self._unlooked = {m: None for m in self._unlooked if m in up}
        wanted = list(self._unlooked)[:LOOKS_A_PASS]
        for machine_id, sight in (await self._look(wanted)).items():
            del self._unlooked[machine_id]
            if machine_id in self._kept:
                self._report(held[owned[machine_id].fleet], up[machine_id], sight)
            else:
                self._unlooked[machine_id] = None

    def _report(self, fleet: Fleet, machine: Machine, sight: SnapshotSight) -> None:
        now = self.theirs(self._clock.now())
        keys = {"fleet": fleet.name, "machine": machine.id, "name": machine.name}
        if sight.failure is not None and self._news(machine, f"failed {sight.failure.handle}"):
            reason = sight.failure.why
            log.warning("snapshot.failed", error=reason, **keys)
        missed = snapshot_missed(fleet, machine, sight, now)
        if missed is None:
            self._waiting_since.pop(machine.id, None)
            self._said.pop(f"{machine.id} missed", None)
            return
        if sight.newest_at is None and snapshot_missed(fleet, machine, self._imagined(machine, now), now) is None:
            return  # the policy may be younger than the machine: its first snapshot gets as long as any
        if self._news(machine, "missed"):
            log.warning("snapshot.was_missed", detail=missed, **keys)

    def _imagined(self, machine: Machine, now: datetime) -> SnapshotSight:
        """As if one had been made when its absence was first noticed."""
        return SnapshotSight(machine.id, self._waiting_since.setdefault(machine.id, now))

    def _news(self, machine: Machine, what: str) -> bool:
        key = f"{machine.id} {what.partition(' ')[0]}"
        known = self._said.get(key)
        self._said[key] = what
        return known != what

    async def _look(self, machine_ids: Iterable[str], cloud: Cloud | None = None) -> dict[str, SnapshotSight]:
        found: dict[str, SnapshotSight] = {}

        async def look(machine_id: str) -> None:
            try:
                sight = await (cloud or self._cloud).snapshots(machine_id)
            except CloudError as error:
                log.debug("check.look_failed", machine=machine_id, error=str(error))
                self._kept.pop(machine_id, None)
                sight = SnapshotSight(machine_id, None, f"its snapshots could not be looked at: {error}")
            else:
                self._kept[machine_id] = (self._clock.now(), sight)
            found[machine_id] = sight
            self._progress()

        async with anyio.create_task_group() as group:
            for machine_id in machine_ids:
                group.start_soon(look, machine_id)
        return found
