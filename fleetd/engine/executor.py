"""Carrying out a plan: place, fresh look, veto, intent, call, in that order, one action at a time a machine."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial

import structlog

from fleetd.cloud.port import Cloud
from fleetd.engine.basis import Basis
from fleetd.engine.calling import deadline_of, make_call, place_of, say_requested
from fleetd.engine.failures import Failures
from fleetd.engine.follower import Follower
from fleetd.engine.gate import FRESH, Gate, Objection, Ticket
from fleetd.engine.pace import Pace
from fleetd.engine.ports import Clock
from fleetd.engine.preflight import LastWord, Preflight
from fleetd.engine.recall import Recall
from fleetd.engine.side_calls import Job, SideCalls
from fleetd.engine.slowstart import SlowStart
from fleetd.engine.vetoes import Vetoes
from fleetd.model.errors import Ambiguous, CloudError, Withheld
from fleetd.model.fleet import Fleet
from fleetd.model.journal import Intent
from fleetd.model.machine import Machine
from fleetd.model.naming import ALPHABET, DRAWN, machine_name, make_token
from fleetd.model.plan import Action, Skip
from fleetd.model.reasons import Outcome, Reason, Verb
from fleetd.planner.call_budget import share_out
from fleetd.planner.guards import merge

log = structlog.get_logger(__name__)

LOOKS = 3
"""How often a machine is looked at for one call that could not leave right after the look."""


async def _no_objection(_action: Action, _machine: Machine, _cloud: Cloud) -> Reason | None:
    return None


class Executor:
    """Makes the calls of a plan. What it does not do after all, it returns as skips."""

    def __init__(
        self,
        cloud: Cloud,
        recall: Recall,
        vetoes: Vetoes,
        follower: Follower,
        clock: Clock,
        rng: random.Random,
        *,
        gate: Gate,
        pace: Callable[[], Pace],
        on_fault: Callable[[str, BaseException], object] = lambda _where, _error: None,
        last_word: LastWord = _no_objection,
        progress: Callable[[], None] = lambda: None,
    ) -> None:
        self._cloud = cloud
        self._recall = recall
        self._follower = follower
        self._failures = Failures(recall, follower, clock)
        self._clock = clock
        self._rng = rng
        self.gate = gate
        self.beside = SideCalls(gate, on_fault)
        self._pace = pace
        self._preflight = Preflight(recall, vetoes, gate, last_word)
        self._progress = progress
        self._made: set[str] = set()
        """Ids that creates of this pass were answered with."""
        self._hung: dict[str, int] = {}
        """Fleets whose last create got no answer, each with the number of its last try."""
        self._tries = 0
        self._creating: set[str] = set()
        """Fleets with creates under way."""
        self.unanswered: set[int] = set()
        """Intents of calls that this process has made, or is about to, and that have not been answered."""

    async def carry_out(
        self, actions: Sequence[Action], fleets: Mapping[str, Fleet], basis: Basis, pass_id: int
    ) -> list[Skip]:
        """Carry out a plan's actions: all but creates side by side, creates in slow-start batches a fleet.

        ``basis``: what they were decided on. The others are looked at afresh; a create has nothing else to rest on,
        and is dropped when that has grown old.
        """
        self._made.clear()
        pace = self._pace()
        kept, skips = share_out(actions, pace.requests)
        jobs: list[Job] = []
        starts: list[SlowStart] = []
        for fleet in self._doubted_last(f for f in fleets.values() if any(a.fleet == f.name for a in kept)):
            queue = [a for a in kept if a.fleet == fleet.name]
            others = [a for a in queue if a.verb is not Verb.CREATE]
            for behind, action in enumerate(others):
                jobs.append(partial(self._one, action, fleet, pass_id, behind, skips))
            creates = [a for a in queue if a.verb is Verb.CREATE]
            if creates:
                start = SlowStart(fleet, creates, partial(self._create, fleet=fleet, basis=basis, pass_id=pass_id))
                starts.append(start)
                jobs.append(partial(self._creates, start, skips))
        try:
            await self.beside.run(jobs, pace)
        finally:
            for start in starts:
                skips += start.over()
        return merge(skips)

    async def on_its_way(self, machine_id: str) -> Verb | None:
        """The verb of a call that stops, restarts or destroys the machine and has been sent already, or None.

        Ask it after the lease is in force: nothing leaves in between.
        """
        left = self.gate.departed(machine_id)
        if left is not None:
            return left
        return next(
            (
                i.verb
                for i in await self._recall.journal.open_intents()
                if i.machine_id == machine_id and i.verb.destructive and (i.accepted_at or i.ambiguous_since)
            ),
            None,
        )

    async def _one(self, action: Action, fleet: Fleet, pass_id: int, behind: int, skips: list[Skip]) -> None:
        skip = await self._existing(action, fleet, pass_id, behind)
        self._progress()
        if skip is not None:
            skips.append(skip)

    def _doubted_last(self, fleets: Iterable[Fleet]) -> list[Fleet]:
        """Fleets whose last create got no answer begin after all others, those that have waited longest first."""
        return sorted(fleets, key=lambda f: self._hung.get(f.name, 0))

    def _put_last(self, name: str) -> None:
        """Its create was tried just now, or got no answer for the first time: of such fleets it has its turn last."""
        self._tries += 1
        self._hung[name] = self._tries

    async def _creates(self, start: SlowStart, skips: list[Skip]) -> None:
        name = start.fleet.name
        if name in self._creating:
            return  # whether they work is not known yet; ``over`` says so
        if name in self._hung:
            if sum(other in self._hung for other in self._creating) >= self._pace().doubtful:
                return  # a few fleets whose creates hang must not take all the slots again
            self._put_last(name)
        self._creating.add(name)
        try:
            skips += await start.run(self._progress)
        finally:
            self._creating.discard(name)

    async def _create(self, action: Action, behind: int, *, fleet: Fleet, basis: Basis, pass_id: int) -> Skip | None:
        """One create: the intent is durable before the call. A skip means that the batch ends."""
        name = self._new_name(fleet, frozenset(m.name for m in basis.observation.machines))
        with self.gate.ticket(Verb.CREATE, fleet, None, name, basis=basis) as ticket:
            with ticket.scope:
                async with self._cloud.place(
                    Verb.CREATE, behind=behind, leave=partial(self.gate.leave, ticket)
                ) as cloud:
                    return await self._create_from(cloud, ticket, action, pass_id)
            return _create_skip(ticket.objection, fleet)

    async def _create_from(self, cloud: Cloud, ticket: Ticket, action: Action, pass_id: int) -> Skip | None:
        fleet, name = ticket.fleet, ticket.name
        objection = await self._preflight.forbidden(ticket)
        wait = self._recall.creates_wait(self._clock.now())
        if objection is None and wait is not None:
            objection = Objection(Reason.PROVIDER_SAID_WAIT, wait[1], wait[0])
        if objection is not None or not ticket.commit():
            return _create_skip(objection or ticket.objection, fleet)
        intent = await self._write_intent(action, fleet, name, baseline=None, parameters=fleet.parameters)
        self.unanswered.add(intent.id)
        try:
            say_requested(intent, pass_id)
            try:
                machine = await cloud.create(name, fleet.parameters)
                if ticket.basis is not None:
                    await self._must_be_new(machine, name, ticket.basis)
            except Withheld:
                await self._not_sent(intent, ticket.objection)
                return _create_skip(ticket.objection, fleet)
            except CloudError as error:
                if isinstance(error, Ambiguous) and fleet.name not in self._hung:
                    self._put_last(fleet.name)
                return await self._failures.sort_out(intent, error, fleet)
            self._hung.pop(fleet.name, None)
            await self._accepted(intent, machine.id)
        finally:
            self.unanswered.discard(intent.id)
        return None

    async def _must_be_new(self, machine: Machine, name: str, basis: Basis) -> None:
        """An answer that names another machine, or one that is known already, is none.

        Raises:
            Ambiguous: so it is; what the create did is not known.
        """
        # A later pass may have seen this very machine before its create was answered.
        others = {i.machine_id or "" for i in await self._recall.journal.open_intents() if i.name != name}
        learnt = {f.machine_id for f in self._recall.facts.values() if f.name != name}
        known = others | learnt | {m.id for m in basis.observation.machines} | self._made
        if machine.name != name:
            raise Ambiguous(f"asked for {name}, answered with {machine.name}", operation="create")
        if machine.id in known:
            raise Ambiguous(f"asked for {name}, answered with {machine.id}, which was there", operation="create")
        self._made.add(machine.id)

    async def _existing(self, action: Action, fleet: Fleet, pass_id: int, behind: int) -> Skip | None:
        with self.gate.ticket(action.verb, fleet, action.machine, action.name, anyhow=action.even_if_busy) as ticket:
            with ticket.scope:
                async with self._cloud.place(
                    action.verb, behind=behind, leave=partial(self.gate.leave, ticket)
                ) as cloud:
                    return await self._existing_from(cloud, ticket, action, pass_id)
            return self._drop(action, ticket.objection)

    async def _existing_from(self, cloud: Cloud, ticket: Ticket, action: Action, pass_id: int) -> Skip | None:
        """From its place in the queue: look, ask, write the intent, call. Where that took too long, look again."""
        objection = _TOO_SLOW
        try:
            for _ in range(LOOKS):
                ended = await self._attempt(cloud, ticket, action, pass_id)
                if not isinstance(ended, Objection):
                    return ended
                objection = ended
                if ended is not _TOO_SLOW:
                    break
            if ticket.intent is not None:
                await self._not_sent(ticket.intent, objection)
            return self._drop(action, objection)
        finally:
            if ticket.intent is not None:
                self.unanswered.discard(ticket.intent.id)

    async def _attempt(self, cloud: Cloud, ticket: Ticket, action: Action, pass_id: int) -> Objection | Skip | None:
        """One look and, if nobody objects, the call; an objection where it was not made."""
        objection = await self._preflight.ready(cloud, ticket, action)
        if objection is not None:
            return objection
        if ticket.is_stale():
            return _TOO_SLOW
        if not ticket.commit():  # once committed it stays so, however often it is looked
            return ticket.objection or _NOTHING_NEW
        intent = ticket.intent or await self._begin(ticket, action, pass_id)
        if intent.baseline_event not in {None, _newest(ticket)}:
            return Objection(Reason.FRESH_LOOK_DIFFERS, "something was done to it meanwhile")
        try:
            await make_call(cloud, action)
        except Withheld:
            return _TOO_SLOW if ticket.is_stale() else ticket.objection or _NOTHING_NEW
        except CloudError as error:
            return await self._failures.sort_out(intent, error, ticket.fleet)
        await self._accepted(intent, action.machine or "")
        return None

    async def _begin(self, ticket: Ticket, action: Action, pass_id: int) -> Intent:
        parameters = action.changes
        if action.verb is Verb.START and ticket.fresh is not None:
            parameters = place_of(ticket.fresh, ticket.fleet)
        intent = await self._write_intent(
            action, ticket.fleet, ticket.name, baseline=_newest(ticket), parameters=parameters
        )
        ticket.intent = intent
        self.unanswered.add(intent.id)
        say_requested(intent, pass_id)
        return intent

    async def _not_sent(self, intent: Intent, objection: Objection | None) -> None:
        reason, detail, _ = _said(objection)
        await self._recall.verdicts.give(intent, Outcome.NOT_SENT, f"{reason}: {detail}", self._clock.now())

    async def _accepted(self, intent: Intent, machine_id: str) -> None:
        now = self._clock.now()
        self._recall.accepted(intent)
        await self._recall.journal.update_intent(intent.id, machine_id=machine_id, accepted_at=now)
        if intent.verb is Verb.CREATE:
            await self._recall.created(intent, machine_id, now)
        self._follower.follow(replace(intent, machine_id=machine_id, accepted_at=now))

    async def _write_intent(
        self, action: Action, fleet: Fleet, name: str, *, baseline: str | None, parameters: Mapping[str, object]
    ) -> Intent:
        now = self._clock.now()
        return await self._recall.journal.write_intent(
            Intent(
                id=0,
                fleet=fleet.name,
                verb=action.verb,
                reason=action.reason,
                name=name,
                created_at=now,
                deadline_at=now + deadline_of(action.verb, fleet.guards.deadlines),
                machine_id=action.machine,
                parameters=parameters,
                expected_state=action.expected_state,
                baseline_event=baseline,
                evidence=action.evidence,
                actor=action.actor,
            )
        )

    def _new_name(self, fleet: Fleet, taken: frozenset[str]) -> str:
        known = {f.name for f in self._recall.facts.values()}
        while True:
            draw = [self._rng.randrange(len(ALPHABET)) for _ in range(DRAWN)]
            name = machine_name(fleet.name, make_token(fleet.name, draw))
            if name not in taken and name not in known:
                return name

    def _drop(self, action: Action, objection: Objection | None) -> Skip:
        reason, detail, until = _said(objection)
        log.info(
            "machine.action_dropped",
            fleet=action.fleet,
            machine=action.machine,
            name=action.name,
            action=str(action.verb),
            reason=str(reason),
            detail=detail,
        )
        return Skip(action.fleet, action.verb, reason, action.machine, action.name, until=until, detail=detail)


_TOO_SLOW = Objection(Reason.FRESH_LOOK_DIFFERS, f"no call could leave within {FRESH:g} s of a look, {LOOKS} times")
_NOTHING_NEW = Objection(Reason.SHUTTING_DOWN, "no new actions")


def _said(objection: Objection | None) -> tuple[Reason, str, datetime | None]:
    """A ticket that was cancelled from outside has no objection: then the whole daemon ends."""
    objection = objection or _NOTHING_NEW
    return objection.reason, objection.detail, objection.until


def _create_skip(objection: Objection | None, fleet: Fleet) -> Skip:
    reason, detail, until = _said(objection)
    return Skip(fleet.name, Verb.CREATE, reason, until=until, detail=detail)


def _newest(ticket: Ticket) -> str | None:
    events = None if ticket.fresh is None else ticket.fresh.events
    return None if events is None else events[0].handle if events else ""
