"""Which machines are ours, and of which fleet. Everything else is foreign and never written to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase

from fleetd.model.fleet import Fleet
from fleetd.model.journal import Intent, MachineFacts
from fleetd.model.machine import Machine
from fleetd.model.naming import split_name
from fleetd.model.reasons import Verb


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose a machine is."""

    fleet: str
    adopted: bool
    """Owned only because the config adopts it."""


def owners(
    machines: Sequence[Machine],
    fleets: Sequence[Fleet],
    facts: Mapping[str, MachineFacts],
    intents: Iterable[Intent] = (),
) -> dict[str, Owner]:
    """Owner by machine id, for the owned ones.

    Owned = the journal knows the id, or the name carries a valid token of a configured fleet, or ``adopt`` names
    it. A token is never drawn twice, so where the journal knows one machine of a name, another of the same name is
    a look-alike and foreign; where it knows none, the oldest is ours.
    """
    names = {f.name for f in fleets}
    by_id: dict[str, str] = {m: f.fleet for m, f in facts.items() if not f.adopted and f.fleet in names}
    taken: dict[str, str] = {f.name: m for m, f in facts.items() if m in by_id}
    for intent in intents:
        if intent.verb is Verb.CREATE and intent.machine_id is not None and intent.fleet in names:
            by_id[intent.machine_id] = intent.fleet
            taken[intent.name] = intent.machine_id

    owned = {m.id: Owner(by_id[m.id], adopted=False) for m in machines if m.id in by_id}
    for machine in sorted(machines, key=oldest_first):
        if machine.id in owned:
            continue
        split = split_name(machine.name, names)
        if split is not None and taken.setdefault(machine.name, machine.id) == machine.id:
            owned[machine.id] = Owner(split[0], adopted=False)
            continue
        adopter = _adopter(machine, fleets)
        if adopter is not None:
            owned[machine.id] = Owner(adopter, adopted=True)
    return owned


def lookalikes(machines: Sequence[Machine], owned: Mapping[str, Owner], fleets: Sequence[Fleet]) -> list[Machine]:
    """Foreign machines that carry a valid token of ours: reported, never written to."""
    names = {f.name for f in fleets}
    return [m for m in machines if m.id not in owned and split_name(m.name, names) is not None]


def made_for(name: str) -> str | None:
    """The fleet for which some fleetd drew this name, configured or not; None where no fleetd did.

    A machine of such a name that nobody owns is an orphan: its fleet left the config, or belongs to another daemon
    with the same key.
    """
    fleet = name.rpartition("-")[0]
    return fleet if fleet and split_name(name, (fleet,)) is not None else None


def _adopter(machine: Machine, fleets: Sequence[Fleet]) -> str | None:
    # An id is more certain than a glob, so ids of all fleets come before globs of any.
    for fleet in fleets:
        if machine.id in fleet.adopt:
            return fleet.name
    for fleet in fleets:
        if any(fnmatchcase(machine.name, pattern) for pattern in fleet.adopt):
            return fleet.name
    return None


def oldest_first(machine: Machine) -> tuple[datetime, str]:
    """Sort key: by creation, those without a date last."""
    return (machine.created_at or datetime.max.replace(tzinfo=UTC), machine.id)
