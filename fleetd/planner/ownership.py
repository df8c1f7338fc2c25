"""Which machines are ours, and of which fleet. Everything else is foreign and never written to."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase

from fleetd.model.fleet import Fleet
from fleetd.model.journal import Intent, MachineFacts
from fleetd.model.machine import Machine
from fleetd.model.naming import split_name
from fleetd.model.reasons import Reason, Verb

UNSEEN = "unseen"
"""The last state of a machine that nobody has seen: all that is known of it is the id in a create's answer."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose a machine is."""

    fleet: str
    adopted: bool
    """Owned only because the config adopts it."""
    unconfirmed: Reason | None = None
    """Why it is not destroyed before a person has confirmed it: ``RECOVERED`` or ``ADOPTED_BY_GLOB``; else None."""


def owners(
    machines: Sequence[Machine],
    fleets: Sequence[Fleet],
    facts: Mapping[str, MachineFacts],
    intents: Iterable[Intent] = (),
) -> dict[str, Owner]:
    """Owner by machine id, for the owned ones.

    Owned = the journal knows the id, or the name carries a valid token of a configured fleet, or ``adopt`` names
    it. A token is never drawn twice, so where the journal knows one machine of a name, another of the same name is
    a look-alike and foreign; where it knows none, the oldest is ours. A pattern of ``adopt`` takes no name that a
    fleetd drew, be it for this fleet or another: that one's machine has an owner, or is an orphan.

    The id in a create's answer is a claim until a machine of that id and of the create's name has been seen: one
    that is called otherwise at first sight is somebody else's.
    """
    if not machines:  # as often: nothing is missing, nothing has turned
        return {}
    names = {f.name for f in fleets}
    claims = _Claims.of(names, facts, intents)
    adoption = _Adoption.of(fleets)

    def doubt(machine: Machine, why: Reason) -> Reason | None:
        return None if claims.sure(machine, facts) or adoption.writes_out(machine) else why

    plain = {name: Owner(name, adopted=False) for name in names}
    owned: dict[str, Owner] = {}
    for machine in machines:
        fleet = claims.by_id.get(machine.id)
        if fleet is not None and not is_mistaken(machine, claims.unseen.get(machine.id)):
            why = doubt(machine, Reason.RECOVERED)
            # Most of an account, so one value serves all of a fleet.
            owned[machine.id] = plain[fleet] if why is None else Owner(fleet, adopted=False, unconfirmed=why)
    others = (machine for machine in machines if machine.id not in owned)
    for machine in sorted(others, key=lambda m: (m.id not in facts, *oldest_first(m))):
        split = split_name(machine.name, names)
        if split is not None and claims.taken.setdefault(machine.name, machine.id) == machine.id:
            owned[machine.id] = Owner(split[0], adopted=False, unconfirmed=doubt(machine, Reason.RECOVERED))
            continue
        adopter = adoption.adopter(machine, claims.taken)
        if adopter is not None:
            why = doubt(machine, Reason.ADOPTED_BY_GLOB)
            owned[machine.id] = Owner(adopter, adopted=True, unconfirmed=why)
    return owned


def recorded(facts: Iterable[MachineFacts], names: Container[str]) -> dict[str, str]:
    """Fleets by the ids of machines that the journal has as made for one of these."""
    return {f.machine_id: f.fleet for f in facts if not f.adopted and f.fleet in names}


@dataclass(frozen=True, slots=True)
class _Claims:
    """What the journal says, whatever machines are called."""

    by_id: dict[str, str]
    """Fleets by machine id."""
    taken: dict[str, str]
    """Machine ids by name: another machine of that name is a look-alike."""
    made: set[str]
    """Ids that open creates were answered with."""
    drawn: set[str]
    """Names of creates that wait for their answer, or have lost it."""
    unseen: dict[str, str]
    """Names of creates by the id that they were answered with, of machines that nobody has seen."""

    @classmethod
    def of(cls, names: Container[str], facts: Mapping[str, MachineFacts], intents: Iterable[Intent]) -> _Claims:
        by_id = recorded(facts.values(), names)
        unseen = {m: f.name for m, f in facts.items() if f.last_state == UNSEEN}
        claims = cls(
            by_id, {f.name: m for m, f in facts.items() if m in by_id and m not in unseen}, set(), set(), unseen
        )
        for intent in intents:
            if intent.verb is not Verb.CREATE or intent.fleet not in names:
                continue
            if intent.machine_id is None:
                claims.drawn.add(intent.name)
                continue
            claims.made.add(intent.machine_id)
            by_id[intent.machine_id] = intent.fleet
            claims.taken[intent.name] = intent.machine_id
        return claims

    def sure(self, machine: Machine, facts: Mapping[str, MachineFacts]) -> bool:
        """Whether this journal made it, or a person has confirmed it."""
        known = facts.get(machine.id)
        if known is not None:
            return not known.unconfirmed
        return machine.id in self.made or machine.name in self.drawn


@dataclass(frozen=True, slots=True)
class _Adoption:
    """What all fleets' ``adopt`` says, made ready once: an account can have many thousand foreign machines."""

    written: dict[str, str]
    """Fleets by what is written out, ids and whole names; the first fleet in the file of several."""
    patterns: tuple[tuple[str, str], ...]
    """(pattern, fleet), in the file's order."""

    @classmethod
    def of(cls, fleets: Sequence[Fleet]) -> _Adoption:
        written: dict[str, str] = {}
        for fleet in fleets:
            for entry in fleet.adopt:
                written.setdefault(entry, fleet.name)
        patterns = tuple((e, f.name) for f in fleets for e in f.adopt if any(c in e for c in "*?["))
        return cls(written, patterns)

    def writes_out(self, machine: Machine) -> bool:
        """Whether ``adopt`` has its id or its whole name, as against a pattern that it matches."""
        return machine.id in self.written or machine.name in self.written

    def adopter(self, machine: Machine, taken: dict[str, str]) -> str | None:
        """The fleet that adopts it, if any. ``taken``: machine ids by name."""
        # An id is more certain than a name, and a name than a pattern, so those of all fleets come first.
        if machine.id in self.written:
            return self.written[machine.id]
        if machine.name in self.written:  # of several machines of one name that takes one
            mine = taken.setdefault(machine.name, machine.id) == machine.id
            return self.written[machine.name] if mine else None
        if not self.patterns or made_for(machine.name) is not None:
            return None
        return next((fleet for pattern, fleet in self.patterns if fnmatchcase(machine.name, pattern)), None)


def is_mistaken(machine: Machine, made_as: str | None) -> bool:
    """Whether it cannot be the machine that a create of this name made. One without a readable name may be."""
    return made_as is not None and bool(machine.name) and machine.name != made_as


def lookalikes(machines: Iterable[Machine], owned: Container[str], fleets: Iterable[str]) -> list[Machine]:
    """Foreign machines that carry a valid token of one of these fleets: reported, never written to."""
    names = frozenset(fleets)
    return [m for m in machines if m.id not in owned and split_name(m.name, names) is not None]


def made_for(name: str) -> str | None:
    """The fleet for which some fleetd drew this name, configured or not; None where no fleetd did.

    A machine of such a name that nobody owns is an orphan: its fleet left the config, or belongs to another daemon
    with the same key.
    """
    fleet = name.rpartition("-")[0]
    return fleet if fleet and split_name(name, (fleet,)) is not None else None


def oldest_first(machine: Machine) -> tuple[datetime, str]:
    """Sort key: by creation, those without a date last."""
    return (machine.created_at or datetime.max.replace(tzinfo=UTC), machine.id)
