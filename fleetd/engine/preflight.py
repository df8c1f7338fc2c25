"""From a place in the queue to the intent: the fresh look, the idle sources' last word, and what forbids the call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio

from fleetd.cloud.port import Cloud
from fleetd.engine.gate import Gate, Objection, Ticket
from fleetd.engine.recall import Recall
from fleetd.engine.vetoes import Vetoes
from fleetd.model.errors import CloudError
from fleetd.model.fleet import Fleet
from fleetd.model.machine import Machine
from fleetd.model.plan import Action
from fleetd.model.reasons import Reason, Verb
from fleetd.planner.ownership import owners

LastWord = Callable[[Action, Machine, Cloud], Awaitable[Reason | None]]
"""Asked right before a call with the freshly seen machine, and with the cloud at the call's place in the rate limit;
a reason drops the action."""


class Preflight:
    """Looks and asks for one write at a time; the ticket carries what was found."""

    def __init__(self, recall: Recall, vetoes: Vetoes, gate: Gate, last_word: LastWord) -> None:
        self._recall = recall
        self._vetoes = vetoes
        self._gate = gate
        self._last_word = last_word

    async def ready(self, cloud: Cloud, ticket: Ticket, action: Action) -> Objection | None:
        """Look afresh and ask everybody who may object; the idle sources only once, however often it is looked."""
        objection = await self._look(cloud, ticket, action)
        if objection is None and not ticket.asked and ticket.fresh is not None:
            reason = await self._last_word(action, ticket.fresh, cloud)
            ticket.asked = True
            objection = None if reason is None else Objection(reason, "asked again right before the call")
        return objection or await self.forbidden(ticket)

    async def forbidden(self, ticket: Ticket) -> Objection | None:
        """What forbids it now; vetoes are read from the journal, where another process may have written one."""
        await self._vetoes.read()
        return self._gate.objection(ticket)

    async def _look(self, cloud: Cloud, ticket: Ticket, action: Action) -> Objection | None:
        objection = self._gate.objection(ticket)
        if objection is not None:
            return objection
        ticket.looking = True
        try:
            fresh = await cloud.show(action.machine or "")
        except CloudError as error:
            return Objection(Reason.FRESH_LOOK_DIFFERS, f"no fresh look: {error}")
        ticket.fresh, ticket.seen_at, ticket.name = fresh, anyio.current_time(), fresh.name
        self._gate.move()
        differs = self._differs(action, fresh, ticket.fleet)
        return None if differs is None else Objection(Reason.FRESH_LOOK_DIFFERS, differs)

    def _differs(self, action: Action, fresh: Machine, fleet: Fleet) -> str | None:
        """Why the machine is not what the plan was made for, or None."""
        if fresh.id != action.machine:
            return f"asked for {action.machine}, answered with {fresh.id}"
        if action.expected_state is not None and fresh.state != action.expected_state:
            return f"it is {fresh.state}, the plan saw {action.expected_state}"
        owner = owners([fresh], [fleet], self._recall.facts).get(fresh.id)
        if owner is None:
            return f"it is called {fresh.name} now and is not ours"
        if action.verb is Verb.DESTROY and owner.unconfirmed is not None:
            return "nobody has confirmed that it is ours"
        return None
