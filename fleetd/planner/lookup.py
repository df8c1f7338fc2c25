"""What a word means that a person, a job or a program gives for a machine: the one way, for every command.

An id means its machine, whatever else has it as a name. Any other word means whatever has that name, or had it
when it was first seen: a person goes by a name that was written down somewhere. Where that is more than one machine
nobody guesses.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fleetd.model.journal import Intent, MachineFacts
from fleetd.model.machine import Machine
from fleetd.model.reasons import Verb
from fleetd.model.report import MachineReport
from fleetd.planner.facts import went
from fleetd.planner.ownership import Owner


@dataclass(frozen=True, slots=True)
class Named:
    """A machine, and what it goes by."""

    id: str
    """"" while nobody knows it: its create waits for an answer."""
    name: str
    fleet: str = ""
    former: str = ""
    """The name that it was first seen under, where that is another."""
    state: str = ""

    @property
    def machine(self) -> Machine:
        """As much of it as is known here."""
        return Machine(self.id, self.name, self.state)


def ours(
    machines: Iterable[Machine],
    owned: Mapping[str, Owner],
    facts: Mapping[str, MachineFacts],
    intents: Iterable[Intent] = (),
) -> list[Named]:
    """The owned machines of a listing, those that are remembered and not known to be gone, and those being made."""
    found: dict[str, Named] = {}
    for machine in machines:
        if machine.id in owned:
            fact = facts.get(machine.id)
            former = fact.name if fact is not None and fact.name != machine.name else ""
            found[machine.id] = Named(machine.id, machine.name, owned[machine.id].fleet, former, machine.state)
    for fact in facts.values():
        if not went(fact):
            remembered = Named(fact.machine_id, fact.name, fact.fleet, state=fact.last_state)
            found.setdefault(fact.machine_id, remembered)
    seen = {n.name for n in found.values()} | {n.former for n in found.values()}
    making = (i for i in intents if i.verb is Verb.CREATE and i.machine_id not in found and i.name not in seen)
    return [*found.values(), *(Named(i.machine_id or "", i.name, i.fleet, state="creating") for i in making)]


def strangers(machines: Iterable[Machine], owned: Mapping[str, Owner]) -> list[Named]:
    """The machines of a listing that are nobody's here: a word may mean one of them, and no order reaches it."""
    return [Named(m.id, m.name, state=m.state) for m in machines if m.id not in owned]


def named(machines: Iterable[MachineReport]) -> list[Named]:
    """The machines of a report, whoever owns them."""
    return [Named(m.id or "", m.name, m.fleet or "", m.former_name or "", m.state) for m in machines]


def meant(word: str | None, machines: Iterable[Named]) -> list[Named]:
    """Whatever of these the word may mean, in their order."""
    known = list(machines)
    by_id = [n for n in known if word and n.id == word]
    return by_id or [n for n in known if word and word in {n.name, n.former}]


def the_one(word: str, machines: Iterable[Named], beside: Iterable[Named] = ()) -> Named:
    """The machine that the word means; see ``one_of_ours``.

    Raises:
        LookupError: none of them, or more than one; the words list these.
    """
    found = one_of_ours(word, machines, beside)
    if found is None:
        raise none_of_ours(word)
    return found


def none_of_ours(word: str) -> LookupError:
    """That no machine of ours is called so."""
    return LookupError(f"{word}: no machine of ours has that id or name")


def one_of_ours(word: str | None, machines: Iterable[Named], beside: Iterable[Named] = ()) -> Named | None:
    """The one of these machines that the word means; None where it means none of them.

    ``beside``: machines that are not ours. Who sees one of them called so does not mean another.

    Raises:
        LookupError: it may mean more than one; the words list these.
    """
    mine = list(machines)
    found = meant(word, [*mine, *beside])
    if len(found) > 1 and any(n in mine for n in found):
        raise LookupError(several(word or "", found))
    return next((n for n in found if n in mine), None)


def several(word: str, found: Sequence[Named]) -> str:
    """Why nobody guesses, and what could be meant."""
    return f"{word}: more than one machine has that name; use its id: {', '.join(_candidate(n) for n in found)}"


def _candidate(named: Named) -> str:
    before = f", {named.former} before" if named.former else ""
    return f"{named.id or 'no id yet'} ({named.name}{before})"
