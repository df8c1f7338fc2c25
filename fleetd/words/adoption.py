"""What ``check --online`` says of each entry of ``adopt``: whether it finds machines, and how they differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

from fleetd.model.errors import Fault
from fleetd.model.fleet import Fleet
from fleetd.model.lists import some
from fleetd.model.machine import Machine
from fleetd.model.plan import Listing, Unlike
from fleetd.planner.ownership import Owner, made_for, owners
from fleetd.planner.roster import differing
from fleetd.words.fleets import unlike_sentence


def adoption_faults(fleets: Sequence[Fleet], listing: Listing) -> Iterator[Fault]:
    """Entries that find nothing or what is another fleet's, and machines adopted that differ from the fleet's table.

    Of a listing that is not complete it says only what differs.
    """
    owned = owners(listing.machines, fleets, {})
    whole = listing.complete and not listing.unidentified
    for fleet in fleets:
        for place, entry in enumerate(fleet.adopt):
            where = f"fleets.{fleet.name}.adopt[{place}]"
            named = [m for m in listing.machines if _names(entry, m)]
            if not named and whole:
                why = "" if set(entry) & set("*?[") else ": none has that id or name"
                yield Fault(where, f"it takes no machine of the account{why}")
            taken = [m for m in named if (owner := owned.get(m.id)) is not None and owner.fleet == fleet.name]
            if not taken and (other := _elsewhere(entry, named, owned)):
                yield Fault(where, f"it takes no machine: {other}")
            found = Counter(one for m in taken for one in differing(fleet, m))
            for key, count in sorted(found.items()):
                yield Fault(where, unlike_sentence(Unlike(*key, count)))


def _elsewhere(entry: str, named: Sequence[Machine], owned: Mapping[str, Owner]) -> str:
    """Whose the machine is that an entry writes out; nothing of a pattern, which leaves others theirs."""
    whose = [(m.name, owned[m.id].fleet) for m in named if entry in {m.id, m.name} and m.id in owned]
    return some([f"{name} is of fleet {fleet}" for name, fleet in whose], 3)


def _names(entry: str, machine: Machine) -> bool:
    if entry in {machine.id, machine.name}:
        return True
    return made_for(machine.name) is None and fnmatchcase(machine.name, entry)
