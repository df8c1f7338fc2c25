"""The policy checks: for which machines they are due, what they look at, what they say besides ``plan``'s actions.

A check is due for a machine when its schedule has rung since it was last made, and when it never was by the policy
that the machine's fleet has now: of a machine that is new, of all of them after a start, and of those whose fleet has
another policy since a reload. One in transition is checked when that is over; a drift that could not be mended is
tried again; and one that should have been looked at or stopped, and was not for a reason that passes soon, has its
turn in the next pass. None of them waits for the next ring: it may be a day away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime, timedelta

import anyio
import structlog

from fleetd.cloud.port import Cloud
from fleetd.model.errors import CloudError
from fleetd.model.fleet import Fleet
from fleetd.model.journal import Intent, Memory
from fleetd.model.machine import Machine, Phase
from fleetd.model.plan import Action, Check, Due, Skip
from fleetd.model.reasons import Activity, Reason, Verb
from fleetd.planner.ownership import Owner
from fleetd.planner.policies import is_settled, last_started, snapshot_drift, timeout_drift, vendor_stops_soon

log = structlog.get_logger(__name__)

LOOKS_AT_ONCE = 10
"""How many machines are looked at side by side."""
LOOKING = 0.5
"""Share of the interval after which a pass begins no more looks: after two intervals it may decide nothing."""

Standing = Mapping[str, Mapping[Check, str]]
"""By machine id: the checks that are not due, each with the policy by which it was made."""
_Stamp = tuple[int, str]

_PASSES_SOON = frozenset(
    {
        Reason.GUARD_STOPS,
        Reason.CALLS_USED_UP,
        Reason.OBSERVATION_PARTIAL,
        Reason.OBSERVATION_REJECTED,
        Reason.OBSERVATION_STALE,
        Reason.PROVIDER_FAILING,
        Reason.FRESH_LOOK_DIFFERS,
        Reason.REFUSED_RECENTLY,
        Reason.RATE_LIMITED,
        Reason.NO_EFFECT,
        Reason.CALL_UNSETTLED,
        Reason.CONFIG_CHANGED,
        Reason.SHUTTING_DOWN,
    }
)
"""Why a stop is put off that a later pass may make. A veto and somebody's use last: they wait for the next ring."""


def policy_words(fleet: Fleet, check: Check) -> str:
    """What a check holds the fleet's machines to, as the document of status has it."""
    policy = fleet.shutdown_timeout if check is Check.SHUTDOWN_TIMEOUT else fleet.auto_snapshot
    if policy is None:
        return "none"
    return ", ".join(f"{f.name} = {str(getattr(policy, f.name)).lower()}" for f in fields(policy))


class Checks:
    """Knows what is due, looks closer where a check needs events, and reports what cannot be verified.

    ``progress`` is called after every look at a machine.
    """

    def __init__(self, cloud: Cloud, *, progress: Callable[[], None] = lambda: None) -> None:
        self._cloud = cloud
        self._progress = progress
        self._said: set[tuple[str, str]] = set()
        self._rings = dict.fromkeys(Check, 0)
        self._made: dict[str, Mapping[Check, _Stamp]] = {}
        """By machine id: after which ring, and by which policy, each check was last made of it."""
        self._asked: dict[str, Mapping[Check, _Stamp]] = {}
        """Likewise, as it is asked for now; one value for all machines of a fleet."""
        self._turn = 0
        self._turns: dict[str, int] = {}
        """By machine id: when it was looked at last, counted in looks of ours, not in time."""
        self._unseen: frozenset[str] = frozenset()
        """Those that the last look left out, or could not see."""
        self.unjudged: frozenset[str] = frozenset()
        """Those whose timeout should be enforced, and whose events did not tell when they were started."""
        self._enforced: frozenset[str] = frozenset()
        """Those that the last look was to find out about whether they outlived their timeout."""

    def rung(self, check: Check) -> None:
        """Its schedule says that it is time: it is due for every machine."""
        self._rings[check] += 1

    def due(self, owned: Mapping[str, Owner], fleets: Sequence[Fleet]) -> Due:
        """The checks that are due, by the ids of the machines; those with none are left out."""
        stamps = {f.name: {check: (self._rings[check], policy_words(f, check)) for check in Check} for f in fleets}
        self._asked = {machine: stamps[owner.fleet] for machine, owner in owned.items()}
        found: dict[str, frozenset[Check]] = {}
        for machine, asked in self._asked.items():
            made = self._made.get(machine, {})
            if made != asked:
                found[machine] = frozenset(c for c, stamp in asked.items() if made.get(c) != stamp)
        return found

    def standing(self) -> Standing:
        """The checks that have been made since they rang last."""
        return {
            machine: {check: words for check, (ring, words) in made.items() if ring == self._rings[check]}
            for machine, made in self._made.items()
        }

    def assume(self, standing: Standing) -> None:
        """Take over what another process has ``standing``."""
        self._made = {
            machine: {check: (self._rings[check], words) for check, words in made.items()}
            for machine, made in standing.items()
        }

    def made(
        self,
        due: Due,
        machines: Sequence[Machine],
        intents: Iterable[Intent],
        actions: Iterable[Action],
        skips: Iterable[Skip],
    ) -> None:
        """What was due is done, but where a later pass can do what this one could not.

        A machine that is being updated stays due: whether the update had its effect, the next look at it tells.

        Args:
            due: as it was asked for before.
            machines: those listed; what is remembered of others is forgotten.
            intents: open before the pass acted.
            actions: what the pass did.
            skips: what the pass did not do.
        """
        if not due:
            return
        moving = {i.machine_id for i in intents}
        unmended = {a.machine for a in actions if a.verb is Verb.UPDATE}
        unmended |= {s.machine for s in skips if s.verb is Verb.UPDATE}
        unstopped = {s.machine for s in skips if s.verb is Verb.STOP and s.reason in _PASSES_SOON}
        waiting = self._unseen | (self._enforced & unstopped)
        for machine in machines:
            if machine.id not in due or not is_settled(machine, moving) or machine.id in unmended:
                continue
            asked = self._asked[machine.id]
            if machine.id in waiting:
                made = dict(self._made.get(machine.id, {}))
                made.update({c: stamp for c, stamp in asked.items() if c is not Check.SHUTDOWN_TIMEOUT})
                asked = made
            self._made[machine.id] = asked
        listed = {m.id for m in machines}
        self._made = {machine: rings for machine, rings in self._made.items() if machine in listed}
        self._turns = {machine: turn for machine, turn in self._turns.items() if machine in listed}

    async def look(
        self,
        due: Due,
        fleets: Sequence[Fleet],
        machines: Sequence[Machine],
        owned: Mapping[str, Owner],
        *,
        interval: timedelta,
    ) -> dict[str, Machine]:
        """Up machines of fleets with a shutdown timeout, with their events: since when they are up is only there.

        Those that were looked at longest ago come first. As many as half an interval allows; the rest stays due.
        """
        timed = {f.name: f.shutdown_timeout for f in fleets if f.shutdown_timeout is not None}
        enforced = {name for name, timeout in timed.items() if timeout.enforce}
        policed = enforced | {f.name for f in fleets if f.name in timed and f.idle}
        up = [
            m
            for m in machines
            if Check.SHUTDOWN_TIMEOUT in due.get(m.id, ()) and owned[m.id].fleet in policed and m.phase is Phase.UP
        ]
        up.sort(key=lambda m: self._turns.get(m.id, 0))
        shown: dict[str, Machine] = {}

        async def show(machine: Machine) -> None:
            self._turns[machine.id] = self._turn
            try:
                shown[machine.id] = await self._cloud.show(machine.id)
            except CloudError as error:
                # Without its events nobody knows how long it has been up, so nothing follows from the check.
                log.debug("check.look_failed", machine=machine.id, error=str(error))
            self._progress()

        self._turn += 1
        enough = anyio.current_time() + LOOKING * interval.total_seconds()
        for first in range(0, len(up), LOOKS_AT_ONCE):
            if first and anyio.current_time() >= enough:
                break
            async with anyio.create_task_group() as group:
                for machine in up[first : first + LOOKS_AT_ONCE]:
                    group.start_soon(show, machine)
        self._unseen = frozenset(m.id for m in up) - shown.keys()
        self._enforced = frozenset(m.id for m in up if owned[m.id].fleet in enforced)
        blind = {m for m in self._enforced & shown.keys() if last_started(shown[m]) is None}
        ours = {m.id for m in machines if m.id in owned and owned[m.id].fleet in enforced}
        self.unjudged = frozenset((self.unjudged - shown.keys() | blind) & ours)
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
            if machine.phase is not Phase.RISING:
                self._say_unverified(fleet, machine, unverified)

    def _warn_of_timer(self, fleet: Fleet, machine: Machine | None, memory: Memory, now: datetime) -> None:
        if machine is None:
            return
        left = vendor_stops_soon(machine, memory.theirs(now))
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

    def _say_unverified(self, fleet: Fleet, machine: Machine, unsaid: Sequence[str]) -> None:
        new = [field for field in unsaid if (machine.id, field) not in self._said]
        if new:
            self._said.update((machine.id, field) for field in new)
            log.info(
                "policy.was_unverified",
                fleet=fleet.name,
                machine=machine.id,
                name=machine.name,
                fields=", ".join(new),
            )
