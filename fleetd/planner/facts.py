"""What a pass learns about the machines it owns, and what changed although fleetd did not ask for it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from types import MappingProxyType

from fleetd.model.fleet import Fleet
from fleetd.model.journal import GONE, Intent, MachineFacts
from fleetd.model.machine import PHASES, Machine, Phase
from fleetd.model.plan import Observation
from fleetd.model.reasons import Verb
from fleetd.planner.leaving import LEAVING
from fleetd.planner.ownership import Owner, owners, recorded

FORGET_GONE_AFTER = timedelta(days=7)
"""How long a machine that is gone is remembered, so that history and the shrink guard can speak of it."""


@dataclass(frozen=True, slots=True)
class OutsideChange:
    """An owned machine is in another phase than fleetd left it in, and no intent explains it."""

    machine: Machine | None
    """With its events, if ``show`` gave them; None when it is gone."""
    facts: MachineFacts
    """What was remembered before."""
    became: str
    """The new state, or "gone"."""
    ours: bool = False
    """It is gone by a destroy of fleetd's that was late."""
    back: bool = False
    """It was gone, as listing and show said, and is there again as it was: nobody is known to have turned it."""

    @property
    def was(self) -> str:
        """The state before, or "gone"."""
        return GONE if went(self.facts) else self.facts.last_state


@dataclass(frozen=True, slots=True)
class Learnt:
    """The outcome of comparing an observation with memory."""

    changed: tuple[MachineFacts, ...]
    """Facts to store."""
    forget: tuple[str, ...]
    """Ids to forget."""
    outside: tuple[OutsideChange, ...]
    new: tuple[MachineFacts, ...]
    """Owned machines seen for the first time."""


def expected_ids(
    facts: Mapping[str, MachineFacts], fleets: Sequence[Fleet], intents: Sequence[Intent], now: datetime
) -> frozenset[str]:
    """Ids that a complete listing must contain, or that ``show`` must be asked about.

    Left out: machines gone or destroyed, machines that are being destroyed, machines created within the settle time,
    which may be invisible still, and those that the config does not own any more.
    """
    settle = {f.name: f.guards.settle for f in fleets}
    leaving: set[str] = set()
    for intent in intents:
        if intent.machine_id is None:
            continue
        if intent.verb is Verb.DESTROY:
            leaving.add(intent.machine_id)
        elif intent.verb is Verb.CREATE:
            since = intent.accepted_at or intent.created_at
            if now < since + settle.get(intent.fleet, timedelta(0)):
                leaving.add(intent.machine_id)
    there = [f for f in facts.values() if not went(f)]
    # What the journal made for a configured fleet is that fleet's, whatever else is asked.
    made = recorded(there, settle).keys()
    remembered = [Machine(f.machine_id, f.name, f.last_state) for f in there if f.machine_id not in made]
    return frozenset((made | owners(remembered, fleets, facts, intents).keys()) - leaving)


def turned(
    machines: Sequence[Machine], facts: Mapping[str, MachineFacts], fleets: Sequence[Fleet], intents: Sequence[Intent]
) -> list[MachineFacts]:
    """What is remembered of the owned machines that a listing has in another phase, although no intent explains it.

    Those that went, and are listed all the same, are among them, and those that are leaving, or may be. Somebody
    changed them, or the listing is an old one; only ``show`` can tell.
    """
    moving = {i.machine_id: i for i in intents if i.machine_id is not None and i.verb is not Verb.UPDATE}
    found: list[MachineFacts] = []
    for m in machines:
        f = facts.get(m.id)
        if f is None or (f.last_state == m.state and f.last_state in PHASES and not went(f)):
            continue  # as it was, as nearly all are
        if went(f) or _surprising(f, m, moving.get(m.id)) or _may_leave(f, m, moving):
            found.append(f)
    if found:  # in most passes there is none, and nobody need ask whose they are
        owned = owners(machines, fleets, facts, intents)
        found = [f for f in found if f.machine_id in owned]
    left = [f for f in facts.values() if f.last_state == LEAVING and not went(f)]
    if left:
        listed = {m.id for m in machines}
        left = [f for f in left if f.machine_id not in listed]
    ours = owners([Machine(f.machine_id, f.name, f.last_state) for f in left], fleets, facts, intents)
    return [*found, *(f for f in left if f.machine_id in ours)]


def went(fact: MachineFacts) -> bool:
    """Whether it was proven that the machine is no more."""
    return fact.destroyed or fact.gone_at is not None


def believed(observation: Observation, facts: Mapping[str, MachineFacts]) -> Observation:
    """Without the machines that went and that ``show`` has not found again: an old listing has them still.

    A machine whose name cannot be read has the one that it is remembered by.
    """
    lingering = _lingering(observation, facts)
    if not lingering and all(m.name for m in observation.machines):
        return observation
    there = (m for m in observation.machines if m.id not in lingering)
    return replace(observation, machines=tuple(_named(m, facts.get(m.id)) for m in there))


def may_be_hidden(intent: Intent, observation: Observation, facts: Mapping[str, MachineFacts]) -> bool:
    """Whether a lost create's machine may be one whose name cannot be read; until its deadline that is waited out."""
    if observation.at >= intent.deadline_at:
        return False
    return observation.unidentified > 0 or any(
        m.unreadable is not None and not m.name and m.id not in facts for m in observation.machines
    )


def as_left(fact: MachineFacts, machine: Machine) -> bool:
    """Whether a machine is, up or down, as it was last seen."""
    before, after = _standing(fact.last_state), _standing(machine.state)
    return before is not None and before == after


def learn(
    observation: Observation,
    owned: Mapping[str, Owner],
    facts: Mapping[str, MachineFacts],
    intents: Sequence[Intent],
    made: Collection[str] = (),
    late: Mapping[str, bool] = MappingProxyType({}),
    latest: datetime | None = None,
) -> Learnt:
    """Compare a sane observation with what was remembered.

    ``made``: ids of machines that the journal does not remember, and whose create it has all the same. ``late``: ids
    of machines whose destroy by fleetd came to nothing so far, and whether it was accepted: that they leave is nobody
    else's deed, and that one goes whose destroy was accepted is fleetd's. ``latest``: the later of our clock and the
    provider's, where that is not the time of the observation: no machine is up for longer because one was set back.
    """
    now = observation.at
    latest = latest or now
    moving = {i.machine_id: i for i in intents if i.machine_id is not None and i.verb is not Verb.UPDATE}
    changed: list[MachineFacts] = []
    outside: list[OutsideChange] = []
    new: list[MachineFacts] = []
    lingering = _lingering(observation, facts)
    for machine in observation.machines:
        owner = owned.get(machine.id)
        if owner is None or machine.id in lingering:
            continue
        if machine.id in observation.unverified:
            continue  # the next listing is compared with what was believed last
        old = facts.get(machine.id)
        if old is None:
            fact = _first_sight(machine, owner, moving.get(machine.id), now, latest, made=machine.id in made)
            if machine.id in observation.leaving:
                fact = _left(fact, now)
            changed.append(fact)
            new.append(fact)
            continue
        ours = machine.id in moving or machine.id in late
        began = machine.id in observation.leaving and old.last_state != LEAVING and not ours
        turn = began or _surprising(old, machine, moving.get(machine.id))
        if turn or went(old):
            seen = observation.shown.get(machine.id, machine)
            outside.append(OutsideChange(seen, old, machine.state, back=not turn))
        fact = _left(old, now) if machine.id in observation.leaving else _update(old, machine, owner, now, latest)
        if fact != old:
            changed.append(fact)
    for machine_id in sorted(observation.gone):
        old = facts.get(machine_id)
        if old is not None and old.gone_at is None:
            ours = late.get(machine_id, False)
            since = old.last_seen if old.last_state == LEAVING else now  # its place has been free since then
            gone = replace(old, destroyed=True, last_seen=now) if ours else replace(old, gone_at=since)
            changed.append(replace(gone, up_since=None))
            outside.append(OutsideChange(None, old, GONE, ours))
    listed = frozenset(m.id for m in observation.machines)
    forget = tuple(m for m, f in facts.items() if _forgettable(f, observation, listed))
    return Learnt(tuple(changed), forget, tuple(outside), tuple(new))


def _first_sight(
    machine: Machine, owner: Owner, intent: Intent | None, now: datetime, latest: datetime, *, made: bool
) -> MachineFacts:
    up = machine.phase is Phase.UP
    return MachineFacts(
        machine_id=machine.id,
        fleet=owner.fleet,
        name=machine.name if intent is None else intent.name,
        first_seen=now,
        last_seen=now,
        last_state=machine.state,
        adopted=owner.adopted,
        unconfirmed=owner.unconfirmed is not None and not made,
        first_ready_at=now if up else None,
        up_since=latest if up else None,
        last_up_at=now if up else None,
    )


def _update(old: MachineFacts, machine: Machine, owner: Owner, now: datetime, latest: datetime) -> MachineFacts:
    up = machine.phase is Phase.UP
    was_up = old.up_since is not None
    if _nothing_new(old, machine, owner, now, latest, up=up, was_up=was_up):
        return old
    fact = replace(
        old,
        fleet=owner.fleet,
        adopted=owner.adopted,
        unconfirmed=old.unconfirmed and owner.unconfirmed is not None,  # a person may have come in between
        last_state=machine.state,
        gone_at=None,
        destroyed=False,
        last_up_at=now if up or was_up else old.last_up_at,
        first_ready_at=old.first_ready_at or (now if up else None),
        # An instant of the future was read off a clock that has been set back since: it counts from now. Not so while
        # only our clock says that it is to come: set right again, it would have the machine up for hours more.
        up_since=min(old.up_since or latest, latest) if up else None,
        failure=None if up else old.failure,
        failure_reason=None if up else old.failure_reason,
    )
    # ``last_seen`` alone is no news worth a write each pass; it is refreshed with the next real change, or hourly.
    if fact == replace(old, last_up_at=fact.last_up_at) and now - old.last_seen < timedelta(hours=1):
        return old
    return replace(fact, last_seen=now)


def _nothing_new(
    old: MachineFacts, machine: Machine, owner: Owner, now: datetime, latest: datetime, *, up: bool, was_up: bool
) -> bool:
    """A quick look at what nearly every machine of every pass is: as it was a moment ago."""
    return (
        up == was_up
        and old.last_state == machine.state
        and old.fleet == owner.fleet
        and old.adopted == owner.adopted
        and old.unconfirmed == (owner.unconfirmed is not None)
        and (old.up_since is None or old.up_since <= latest)
        and old.gone_at is None
        and not old.destroyed
        and (not up or (old.failure is None and old.first_ready_at is not None))
        and now - old.last_seen < timedelta(hours=1)
    )


def _left(old: MachineFacts, now: datetime) -> MachineFacts:
    """What is remembered of one that is leaving: ``last_seen`` says since when."""
    return old if old.last_state == LEAVING else replace(old, last_state=LEAVING, last_seen=now, up_since=None)


def _may_leave(old: MachineFacts, machine: Machine, moving: Mapping[str, Intent]) -> bool:
    """Whether only ``show`` can tell if it is leaving."""
    if old.last_state == LEAVING:
        return True
    return machine.phase is Phase.UNKNOWN and machine.unreadable is None and machine.id not in moving


def _surprising(old: MachineFacts, machine: Machine, intent: Intent | None) -> bool:
    if intent is not None or old.last_state == machine.state:
        return False
    before, after = _standing(old.last_state), _standing(machine.state)
    # rising -> up and falling -> down are the ends of what began before; only a turn is news.
    return before is not None and after is not None and before != after


def _named(machine: Machine, fact: MachineFacts | None) -> Machine:
    return machine if machine.name or fact is None else replace(machine, name=fact.name)


def _standing(state: str) -> str | None:
    return _PHASE_GROUPS.get(Machine(id="", name="", state=state).phase)


_PHASE_GROUPS = {Phase.UP: "on", Phase.RISING: "on", Phase.FALLING: "off", Phase.DOWN: "off"}


def _lingering(observation: Observation, facts: Mapping[str, MachineFacts]) -> frozenset[str]:
    """Ids of machines that went and that ``show`` has not found again: an old listing may have them still."""
    return frozenset(m for m, fact in facts.items() if went(fact) and m not in observation.shown)


def _forgettable(fact: MachineFacts, observation: Observation, listed: frozenset[str]) -> bool:
    """Whether it went long ago."""
    if fact.machine_id in listed:
        return False  # without the memory that it went it would count as there
    if fact.destroyed:
        return observation.at - fact.last_seen > FORGET_GONE_AFTER
    return fact.gone_at is not None and observation.at - fact.gone_at > FORGET_GONE_AFTER
