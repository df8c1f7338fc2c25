"""Machines that are on their way out at the provider's, and not because fleetd asked: their places are free."""

from __future__ import annotations

from datetime import datetime, timedelta

from fleetd.model.journal import MachineFacts
from fleetd.model.machine import Machine, Phase
from fleetd.planner.waits import is_waiting

LEAVING = "leaving"
"""What is remembered as such a machine's state. It is looked at with ``show`` in every pass: it may come back."""

_WORDS = ("destroy", "delet", "terminat", "deactivat", "decommission", "remov")
"""How the names of states begin that a machine does not come back from."""


def leaves(machine: Machine, *, listed: bool) -> bool:
    """Whether a machine, as ``show`` has it, is on its way out, or may be: not listed, and in no known state."""
    return surely_leaves(machine) or (machine.phase is Phase.UNKNOWN and not listed)


def surely_leaves(machine: Machine) -> bool:
    """Whether its own destroy event says so, and it was not started since; or the name of its state does."""
    for event in machine.events or ():
        if event.ends:
            return True
        if event.rises and not event.failed:
            break
    return machine.state.casefold().startswith(_WORDS)


def frees_its_place(machine: Machine, fact: MachineFacts | None, patience: timedelta, now: datetime) -> bool:
    """Whether one that leaves, or may, holds no place in its fleet any more.

    A state that says nothing, of a machine that is not listed, may be a machine's that comes back and is paid for:
    it is waited for as long as a destroy may take.
    """
    if machine.state == LEAVING or surely_leaves(machine):
        return True
    return fact is not None and fact.last_state == LEAVING and not is_waiting(fact.last_seen, patience, now)
