"""One fleet's machines, sorted by what may be done with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal

from fleetd.model.fleet import Fleet
from fleetd.model.journal import Intent, Memory
from fleetd.model.machine import Machine, Phase
from fleetd.model.plan import Unlike
from fleetd.model.reasons import Outcome, Verb, known
from fleetd.model.regions import normal_region
from fleetd.planner.rates import BILLED, member_rate

_NEVER = datetime.min.replace(tzinfo=UTC)
_FAR = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Roster:
    """A fleet's machines by effective phase: what a transition under way will make of them counts already."""

    fleet: Fleet
    up: tuple[Machine, ...]
    rising: tuple[Machine, ...]
    falling: tuple[Machine, ...]
    down: tuple[Machine, ...]
    unknown: tuple[Machine, ...]
    leaving: tuple[Machine, ...]
    """Being destroyed, by us or by somebody else: they hold no place."""
    creating: tuple[Intent, ...]
    """Open create intents whose machine the listing does not show."""
    moving: Mapping[str, Intent]
    """Open intents by machine id, but those of updates: they move no machine."""
    updating: frozenset[str] = frozenset()
    """Machines with an open update, whose effect has not been seen yet."""

    @property
    def have(self) -> int:
        """Machines that count toward the target. Unknown ones do too: they may be up, and paid for."""
        return len(self.up) + len(self.rising) + len(self.unknown) + len(self.creating)

    @property
    def billed(self) -> tuple[Machine, ...]:
        """Machines that are billed by the hour now, or will be without another call."""
        others = (*self.up, *self.falling, *self.unknown, *self.leaving)
        return (*self.rising, *(m for m in others if m.phase in BILLED))

    @property
    def uncertain(self) -> tuple[Machine, ...]:
        """Machines whose start may have failed: no running machine is stopped to make room for them."""
        return tuple(
            m for m in self.rising if m.phase is Phase.DOWN and self.moving[m.id].ambiguous_since is not None
        )

    @property
    def size(self) -> int:
        """All machines of the fleet: what a percentage in a guard is taken of."""
        return self.have + len(self.falling) + len(self.down)


def roster(
    fleet: Fleet, machines: Sequence[Machine], intents: Iterable[Intent], leaving: Container[str] = ()
) -> Roster:
    """Sort the machines of one fleet. ``leaving``: ids of those that somebody else destroys."""
    own = [i for i in intents if i.fleet == fleet.name]
    # A create may show before it is answered: it is one machine, not two.
    listed_as = {m.name: m.id for m in machines}
    own = [
        replace(i, machine_id=listed_as[i.name])
        if i.verb is Verb.CREATE and i.machine_id is None and i.name in listed_as
        else i
        for i in own
    ]
    moving = {i.machine_id: i for i in own if i.machine_id is not None and i.verb is not Verb.UPDATE}
    listed = {m.id for m in machines}
    sorted_out: dict[str, list[Machine]] = {phase: [] for phase in (*Phase, "leaving")}
    for machine in sorted(machines, key=lambda m: (m.name, m.id)):
        place = "leaving" if machine.id in leaving else _place(machine, moving.get(machine.id))
        sorted_out[place].append(machine)
    return Roster(
        fleet=fleet,
        up=tuple(sorted_out[Phase.UP]),
        rising=tuple(sorted_out[Phase.RISING]),
        falling=tuple(sorted_out[Phase.FALLING]),
        down=tuple(sorted_out[Phase.DOWN]),
        unknown=tuple(sorted_out[Phase.UNKNOWN]),
        leaving=tuple(sorted_out["leaving"]),
        creating=tuple(i for i in own if _makes_one(i) and i.machine_id not in listed),
        moving=moving,
        updating=frozenset(i.machine_id for i in own if i.machine_id is not None and i.verb is Verb.UPDATE),
    )


def start_order(members: Roster, memory: Memory) -> list[Machine]:
    """Down machines: those that are as the config would make them first, then the most recently up."""

    def key(machine: Machine) -> tuple[bool, float, str]:
        facts = memory.facts.get(machine.id)
        last_up = facts.last_up_at if facts is not None else None
        alike = not differing(members.fleet, machine)
        return (not alike, -(last_up or _NEVER).timestamp(), machine.name)

    return sorted(members.down, key=key)


def differing(fleet: Fleet, machine: Machine) -> list[tuple[str, str, str]]:
    """(what, found, wanted) where a machine is told to be otherwise than the fleet's ``machine`` table."""
    region = None if machine.region is None else normal_region(machine.region)
    pairs = (
        ("machineType", machine.machine_type, fleet.machine_type),
        ("region", region, normal_region(fleet.region)),
    )
    return [(what, found, wanted) for what, found, wanted in pairs if found and wanted and found != wanted]


def unlike(members: Roster) -> tuple[Unlike, ...]:
    """How many of a fleet's machines differ, by what."""
    groups = (members.up, members.rising, members.falling, members.down)
    found = Counter(one for group in groups for m in group for one in differing(members.fleet, m))
    return tuple(Unlike(*key, count) for key, count in sorted(found.items()))


def victim_order(members: Roster, memory: Memory, prices: Mapping[str, Decimal]) -> list[Machine]:
    """Up and rising machines in the order in which a surplus is given up.

    Failed, rising, idle longest, drifted, costliest, youngest, name. So a machine that has been ready never goes
    before an unready one.
    """
    rising = {m.id for m in members.rising}

    def key(machine: Machine) -> tuple[object, ...]:
        facts = memory.facts.get(machine.id)
        report = memory.idle.get(machine.id)
        idle_since = report.idle_since if report is not None and report.idle_since is not None else _FAR
        rate = member_rate(members.fleet, machine, prices)
        created = machine.created_at or (facts.first_seen if facts is not None else _FAR)
        return (
            facts is None or facts.failure is None,
            machine.id not in rising,
            idle_since,
            not drifted(members.fleet, machine),
            -(rate or Decimal(0)),
            -created.timestamp(),
            machine.name,
        )

    return sorted([*members.rising, *members.up], key=key)


def drifted(fleet: Fleet, machine: Machine) -> bool:
    """Whether it is not what the fleet would create now. A young machine has no region yet: that is no drift."""
    other_type = machine.machine_type is not None and machine.machine_type != fleet.machine_type
    other_region = machine.region is not None and machine.region != fleet.region
    return other_type or other_region


def timed_out(machine: Machine, memory: Memory) -> bool:
    """Whether its last transition ran past its deadline and it has not been up since."""
    facts = memory.facts.get(machine.id)
    return facts is not None and facts.failure is Outcome.TIMED_OUT


def is_late(machine: Machine, members: Roster, memory: Memory) -> bool:
    """Whether it is still on the way that it should have been done with, and nothing else is tried with it."""
    on_its_way = machine.phase in {Phase.RISING, Phase.FALLING} and machine.id not in members.moving
    return on_its_way and timed_out(machine, memory)


def _place(machine: Machine, intent: Intent | None) -> str:
    phase = machine.phase
    if intent is not None and intent.verb is Verb.DESTROY and intent.accepted_at is not None:
        return "leaving"
    if intent is None or phase is Phase.UNKNOWN:
        return phase
    if not known(intent.verb):  # of another version: what becomes of it is not known, so it keeps its place
        return Phase.UNKNOWN
    match intent.verb:
        case Verb.DESTROY:
            return "leaving"
        case Verb.STOP:
            return phase if phase is Phase.DOWN else Phase.FALLING
        case Verb.CREATE | Verb.START | Verb.RESTART:
            return phase if phase is Phase.UP else Phase.RISING
        case Verb.UPDATE:
            return phase


def _makes_one(intent: Intent) -> bool:
    """A create; or what another version does to no machine, and may make one."""
    return intent.verb is Verb.CREATE or intent.machine_id is None
