"""What every write passes right before it leaves the process. Nothing here waits: all that is asked is in mind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

import anyio

from fleetd.engine.basis import Basis
from fleetd.engine.ports import Clock
from fleetd.engine.vetoes import Vetoes
from fleetd.model.errors import Withheld
from fleetd.model.fleet import Fleet
from fleetd.model.journal import Intent
from fleetd.model.machine import Machine
from fleetd.model.reasons import Reason, Verb
from fleetd.model.vetoes import veto_detail
from fleetd.planner.draft import veto_reason

FRESH = 2.0
"""Seconds for which a look at a machine is good for a call."""


@dataclass(frozen=True, slots=True)
class Objection:
    """Why a call is not made."""

    reason: Reason
    detail: str = ""
    until: datetime | None = None


@dataclass(eq=False, slots=True)
class Ticket:
    """One write on its way, from the queue to its answer."""

    verb: Verb
    fleet: Fleet
    machine_id: str | None
    name: str
    anyhow: bool = False
    """An operator wants it although somebody uses the machine."""
    basis: Basis | None = None
    """What a create rests on."""
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    """Around everything up to the intent, and cancelled up to there only."""
    looking: bool = False
    committed: bool = False
    """Its intent is being written, or is there."""
    fresh: Machine | None = None
    """Its machine, as it was last looked at for this call."""
    asked: bool = False
    """The idle sources have had their last word."""
    intent: Intent | None = None
    seen_at: float | None = None
    """The loop's clock at its last look."""
    objection: Objection | None = None
    """Why it was ended, or held back at the last moment."""
    left: bool = False

    def end(self, objection: Objection) -> None:
        """Give it up, unless its intent is being written."""
        if not self.committed and not self.scope.cancel_called:
            self.objection = objection
            self.scope.cancel()

    def commit(self) -> bool:
        """Its intent is about to be written; False where it was given up."""
        self.committed = not self.scope.cancel_called
        return self.committed

    def is_stale(self) -> bool:
        """Whether its look is too old for a call."""
        return self.seen_at is not None and anyio.current_time() - self.seen_at >= FRESH


class Gate:
    """Knows all writes that are on their way, and what forbids them.

    Args:
        vetoes: holds and freezes.
        clock: wall time.
        in_force: a fleet as the config has it now.
        leased: who uses a machine by a lease, in words; None where nobody does.
    """

    def __init__(
        self,
        vetoes: Vetoes,
        clock: Clock,
        *,
        in_force: Callable[[str], Fleet | None],
        leased: Callable[[str], str | None] = lambda _machine_id: None,
    ) -> None:
        self.tickets: list[Ticket] = []
        self.moved = anyio.Event()
        """Set, and replaced, whenever a write comes a step further."""
        self.closing = False
        self._vetoes = vetoes
        self._clock = clock
        self._in_force = in_force
        self._leased = leased

    @contextmanager
    def ticket(
        self,
        verb: Verb,
        fleet: Fleet,
        machine_id: str | None,
        name: str,
        *,
        anyhow: bool = False,
        basis: Basis | None = None,
    ) -> Iterator[Ticket]:
        """A write begins its way; it is over when the block is left."""
        ticket = Ticket(verb, fleet, machine_id, name, anyhow, basis)
        self.tickets.append(ticket)
        if self.closing:
            ticket.end(Objection(Reason.SHUTTING_DOWN, "no new actions"))
        try:
            yield ticket
        finally:
            self.tickets.remove(ticket)
            self.move()

    def move(self) -> None:
        """A write has come a step further."""
        self.moved.set()
        self.moved = anyio.Event()

    def close(self) -> None:
        """Shutdown: what has not left does not leave any more."""
        self.closing = True
        for ticket in self.tickets:
            ticket.end(Objection(Reason.SHUTTING_DOWN, "no new actions"))

    def objection(self, ticket: Ticket) -> Objection | None:
        """What forbids this write at this moment."""
        if self.closing:
            return Objection(Reason.SHUTTING_DOWN, "no new actions")
        hold = self._vetoes.against(
            ticket.verb, fleet=ticket.fleet.name, machine_id=ticket.machine_id, name=ticket.name
        )
        if hold is not None:
            return Objection(veto_reason(hold), veto_detail(hold), hold.expires_at)
        if ticket.machine_id is not None and ticket.verb.destructive and not ticket.anyhow:
            holder = self._leased(ticket.machine_id)
            if holder is not None:
                return Objection(Reason.BUSY, f"leased: {holder}")
        if self._in_force(ticket.fleet.name) != ticket.fleet:
            return Objection(Reason.CONFIG_CHANGED, "the plan was made by the old config")
        doubt = None if ticket.basis is None else ticket.basis.doubt(self._clock.now())
        return None if doubt is None else Objection(doubt.reason, doubt.detail)

    def leave(self, ticket: Ticket) -> None:
        """A write is about to leave: the last word on it.

        Raises:
            Withheld: it may not; ``ticket.objection`` says why.
        """
        if ticket.is_stale():
            ticket.objection = Objection(Reason.FRESH_LOOK_DIFFERS, f"the last look is more than {FRESH:g} s old")
        else:
            ticket.objection = self.objection(ticket)
        if ticket.objection is not None:
            raise Withheld(f"{ticket.objection.reason}: {ticket.objection.detail}")
        ticket.left = True

    def departed(self, machine_id: str) -> Verb | None:
        """The verb of a destructive call for the machine that was sent and is not answered yet, or None."""
        return next(
            (t.verb for t in self.tickets if t.left and t.machine_id == machine_id and t.verb.destructive), None
        )
