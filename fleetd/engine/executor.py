"""Carrying out a plan: intent, fresh look, veto, call, in that order, one action at a time a machine."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import anyio
import structlog

from fleetd.cloud.port import Cloud, MachineChange
from fleetd.engine.basis import Basis
from fleetd.engine.follower import Follower
from fleetd.engine.ports import Clock, Meter
from fleetd.engine.recall import Recall
from fleetd.engine.vetoes import Vetoes
from fleetd.model.errors import Ambiguous, AskHuman, Busy, CloudError, LookAgain, NotFound, RetryLater
from fleetd.model.fleet import Deadlines, Fleet
from fleetd.model.journal import Intent
from fleetd.model.machine import Machine
from fleetd.model.naming import ALPHABET, DRAWN, machine_name, make_token
from fleetd.model.plan import Action, Skip
from fleetd.model.reasons import Outcome, Reason, Verb
from fleetd.planner.draft import veto_reason, veto_words
from fleetd.planner.guards import merge
from fleetd.planner.ownership import owners

log = structlog.get_logger(__name__)

LastWord = Callable[[Action, Machine], Awaitable[Reason | None]]
"""Asked right before a call with the freshly seen machine; a reason drops the action."""


async def _no_objection(_action: Action, _machine: Machine) -> Reason | None:
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
        meter: Meter,
        rng: random.Random,
        *,
        in_force: Callable[[str], Fleet | None],
        last_word: LastWord = _no_objection,
        progress: Callable[[], None] = lambda: None,
    ) -> None:
        self._cloud = cloud
        self._recall = recall
        self._vetoes = vetoes
        self._follower = follower
        self._clock = clock
        self._meter = meter
        self._rng = rng
        self._in_force = in_force
        self._last_word = last_word
        self._progress = progress
        self._made: set[str] = set()
        """Ids that creates of this pass were answered with."""
        self.closing = False
        """Set on shutdown: no call begins any more."""

    async def carry_out(
        self, actions: Sequence[Action], fleets: Mapping[str, Fleet], basis: Basis, pass_id: int
    ) -> list[Skip]:
        """Carry out a plan's actions: all but creates side by side, creates in slow-start batches a fleet.

        ``basis``: what they were decided on. The others are looked at afresh; a create has nothing else to rest on,
        and is dropped when that has grown old.
        """
        skips: list[Skip] = []
        self._made.clear()

        async def existing(action: Action) -> None:
            skip = await self._existing(action, fleets[action.fleet], pass_id)
            self._progress()
            if skip is not None:
                skips.append(skip)

        async with anyio.create_task_group() as group:
            for action in actions:
                if action.verb is not Verb.CREATE:
                    group.start_soon(existing, action)
        for fleet in fleets.values():
            creates = [a for a in actions if a.verb is Verb.CREATE and a.fleet == fleet.name]
            skips += await self._slow_start(creates, fleet, basis, pass_id)
        return skips

    async def _slow_start(self, creates: Sequence[Action], fleet: Fleet, basis: Basis, pass_id: int) -> list[Skip]:
        """1, 2, 4, ... at once; a failure ends it, so that a broken template costs one call and not ten."""
        done, size = 0, 1
        while done < len(creates):
            batch = creates[done : done + size]
            skips: list[Skip | None] = []

            async def create(action: Action, into: list[Skip | None]) -> None:
                into.append(await self._create(action, fleet, basis, pass_id))

            async with anyio.create_task_group() as group:
                for action in batch:
                    group.start_soon(create, action, skips)
            self._progress()
            done += len(batch)
            failed = [s for s in skips if s is not None]
            if failed:
                return merge([*failed, *self._left_for_later(fleet, len(creates) - done, failed)])
            size *= 2
        return []

    def _left_for_later(self, fleet: Fleet, count: int, failed: Sequence[Skip]) -> list[Skip]:
        if not count:
            return []
        stale = [s for s in failed if s.reason is Reason.OBSERVATION_STALE]
        return [replace(s, count=count) for s in stale[:1]] or [
            Skip(fleet.name, Verb.CREATE, Reason.SLOW_START, count=count)
        ]

    async def _create(self, action: Action, fleet: Fleet, basis: Basis, pass_id: int) -> Skip | None:
        """One create: the intent is durable before the call (design 6). A skip means that the batch ends."""
        if self.closing:
            return Skip(fleet.name, Verb.CREATE, Reason.SHUTTING_DOWN)
        name = self._new_name(fleet, frozenset(m.name for m in basis.observation.machines))
        with self._vetoes.calling(Verb.CREATE, fleet=fleet.name, machine_id=None, name=name):
            hold = await self._vetoes.forbidding(Verb.CREATE, fleet=fleet.name, machine_id=None, name=name)
            if hold is not None:
                return Skip(fleet.name, Verb.CREATE, Reason.FROZEN, until=hold.expires_at, detail=veto_words(hold))
            if self._outdated(fleet):
                return Skip(fleet.name, Verb.CREATE, Reason.CONFIG_CHANGED)
            doubt = basis.doubt(self._clock.now())
            if doubt is not None:
                return Skip(fleet.name, Verb.CREATE, doubt.reason, detail=doubt.detail)
            wait = self._recall.creates_wait(self._clock.now())
            if wait is not None:
                return Skip(fleet.name, Verb.CREATE, Reason.PROVIDER_SAID_WAIT, until=wait[0], detail=wait[1])
            intent = await self._write_intent(action, fleet, name, baseline=None, parameters=fleet.parameters)
            self._say_requested(intent, pass_id)
            try:
                machine = await self._cloud.create(name, fleet.parameters)
                await self._must_be_new(machine, name, basis)
            except CloudError as error:
                return await self._call_failed(intent, error, fleet)
            await self._accepted(intent, machine.id)
        return None

    async def _must_be_new(self, machine: Machine, name: str, basis: Basis) -> None:
        """An answer that names another machine, or one that is known already, is none (design 5).

        Raises:
            Ambiguous: so it is; what the create did is not known.
        """
        known: set[str] = {i.machine_id or "" for i in await self._recall.journal.open_intents()}
        known |= {m.id for m in basis.observation.machines} | self._recall.facts.keys() | self._made
        if machine.name != name:
            raise Ambiguous(f"asked for {name}, answered with {machine.name}", operation="create")
        if machine.id in known:
            raise Ambiguous(f"asked for {name}, answered with {machine.id}, which was there", operation="create")
        self._made.add(machine.id)

    async def _existing(self, action: Action, fleet: Fleet, pass_id: int) -> Skip | None:
        machine_id = action.machine or ""
        with self._vetoes.calling(action.verb, fleet=fleet.name, machine_id=machine_id, name=action.name):
            try:
                fresh = await self._cloud.show(machine_id)
            except CloudError as error:
                return self._drop(action, Reason.FRESH_LOOK_DIFFERS, f"no fresh look: {error}")
            differs = self._differs(action, fresh, fleet)
            if differs is not None:
                return self._drop(action, Reason.FRESH_LOOK_DIFFERS, differs)
            objection = await self._last_word(action, fresh)
            if objection is not None:
                return self._drop(action, objection, "asked again right before the call")
            hold = await self._vetoes.forbidding(
                action.verb, fleet=fleet.name, machine_id=machine_id, name=fresh.name
            )
            if hold is not None:
                return self._drop(action, veto_reason(hold), veto_words(hold), until=hold.expires_at)
            if self.closing:
                return self._drop(action, Reason.SHUTTING_DOWN, "no new actions")
            if self._outdated(fleet):
                return self._drop(action, Reason.CONFIG_CHANGED, "the plan was made by the old config")
            events = fresh.events or ()
            intent = await self._write_intent(
                action,
                fleet,
                fresh.name,
                baseline=None if fresh.events is None else events[0].handle if events else "",
                parameters=_place(fresh, fleet) if action.verb is Verb.START else action.changes,
            )
            self._say_requested(intent, pass_id)
            try:
                await self._call(action)
            except CloudError as error:
                return await self._call_failed(intent, error, fleet)
            await self._accepted(intent, machine_id)
        return None

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

    def _outdated(self, fleet: Fleet) -> bool:
        """Whether a reload has changed or released the fleet since the plan was made."""
        return self._in_force(fleet.name) != fleet

    async def _call(self, action: Action) -> None:
        machine_id = action.machine or ""
        match action.verb:
            case Verb.START:
                await self._cloud.start(machine_id)
            case Verb.STOP:
                await self._cloud.stop(machine_id)
            case Verb.RESTART:
                await self._cloud.restart(machine_id)
            case Verb.DESTROY:
                await self._cloud.destroy(machine_id, release_public_ip=bool(action.changes.get("release_public_ip")))
            case Verb.UPDATE:
                await self._cloud.update(machine_id, MachineChange(**action.changes))  # type: ignore[arg-type]
            case Verb.CREATE:  # pragma: no cover - creates have a path of their own
                raise AssertionError(action)

    async def _accepted(self, intent: Intent, machine_id: str) -> None:
        now = self._clock.now()
        self._recall.accepted(intent.verb, intent.fleet if intent.verb is Verb.CREATE else machine_id)
        await self._recall.journal.update_intent(intent.id, machine_id=machine_id, accepted_at=now)
        if intent.verb is Verb.CREATE:
            await self._recall.created(intent, machine_id, now)
        self._follower.follow(replace(intent, machine_id=machine_id, accepted_at=now))

    async def _call_failed(self, intent: Intent, error: CloudError, fleet: Fleet) -> Skip:
        """Sort out what a failed call means for its intent."""
        now = self._clock.now()
        keys: dict[str, object] = {
            "fleet": intent.fleet,
            "machine": intent.machine_id,
            "name": intent.name,
            "action": str(intent.verb),
            "intent": intent.id,
            "error": str(error),
        }
        journal = self._recall.journal
        skip = Skip(
            fleet.name, intent.verb, Reason.REFUSED_RECENTLY, intent.machine_id, intent.name, detail=str(error)
        )
        match error:
            case AskHuman():
                subject = fleet.name if intent.verb is Verb.CREATE else intent.machine_id or ""
                until = self._recall.refused(intent.verb, subject, str(error), now)
                await journal.close_intent(intent.id, at=now, outcome=Outcome.REFUSED, error=str(error))
                self._meter.action(fleet=intent.fleet, verb=intent.verb, result=Outcome.REFUSED)
                log.error("machine.action_refused", until=until.isoformat(), **keys)
                return replace(skip, until=until)
            case RetryLater():
                await journal.close_intent(intent.id, at=now, outcome=Outcome.NOT_SENT, error=str(error))
                self._meter.action(fleet=intent.fleet, verb=intent.verb, result=Outcome.NOT_SENT)
                log.warning("machine.action_failed", **keys)
                return replace(skip, reason=Reason.PROVIDER_FAILING)
            case Busy():
                # Nothing was done, and the next look may show why. Should it not, the attempts grow apart.
                until = self._recall.refused(intent.verb, intent.machine_id or "", str(error), now)
                await journal.close_intent(intent.id, at=now, outcome=Outcome.NOT_SENT, error=str(error))
                self._meter.action(fleet=intent.fleet, verb=intent.verb, result=Outcome.NOT_SENT)
                log.warning("machine.action_failed", until=until.isoformat(), **keys)
                return replace(skip, until=until)
            case NotFound() if intent.verb is not Verb.DESTROY:
                # The look right before found it. Whatever that means, asking again at once brings no other answer.
                until = self._recall.refused(intent.verb, intent.machine_id or "", str(error), now)
                await journal.close_intent(intent.id, at=now, outcome=Outcome.NOT_SENT, error=str(error))
                self._meter.action(fleet=intent.fleet, verb=intent.verb, result=Outcome.NOT_SENT)
                log.warning("machine.action_failed", until=until.isoformat(), **keys)
                return replace(skip, until=until)
            case LookAgain():
                log.warning("machine.answer_lost", **keys)
                if intent.verb is Verb.CREATE and isinstance(error, Ambiguous) and error.retry_after:
                    self._recall.creates_must_wait(timedelta(seconds=error.retry_after), str(error), now)
                await journal.update_intent(intent.id, ambiguous_since=now)
                if intent.verb is Verb.UPDATE:  # safe to repeat: the next check sees what became of it
                    await self._recall.setbacks.add(intent, str(error), now, forgiven=True)
                    await journal.close_intent(intent.id, at=now, outcome=Outcome.LOST, error=str(error))
                    self._meter.action(fleet=intent.fleet, verb=intent.verb, result=Outcome.LOST)
                else:
                    self._follower.follow(replace(intent, ambiguous_since=now))
                return replace(skip, reason=Reason.CREATE_UNSETTLED)
            case _:  # pragma: no cover - the error tree has no other branch
                raise error

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

    def _drop(self, action: Action, reason: Reason, detail: str, *, until: datetime | None = None) -> Skip:
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

    def _say_requested(self, intent: Intent, pass_id: int) -> None:
        log.info(
            _REQUESTED[intent.verb],
            fleet=intent.fleet,
            machine=intent.machine_id,
            name=intent.name,
            action=str(intent.verb),
            reason=str(intent.reason),
            intent=intent.id,
            pass_id=pass_id,
            evidence=intent.evidence,
            actor=intent.actor if intent.actor != "fleetd" else None,
        )


def _place(machine: Machine, fleet: Fleet) -> dict[str, object]:
    return {"region": machine.region or fleet.region, "machineType": machine.machine_type or fleet.machine_type}


def deadline_of(verb: Verb, deadlines: Deadlines) -> timedelta:
    """How long a transition of this verb may take."""
    match verb:
        case Verb.CREATE:
            return deadlines.create
        case Verb.START:
            return deadlines.start
        case Verb.STOP:
            return deadlines.stop
        case Verb.RESTART | Verb.UPDATE:
            return deadlines.restart
        case Verb.DESTROY:
            return deadlines.destroy


_REQUESTED = {
    Verb.CREATE: "machine.create_requested",
    Verb.START: "machine.start_requested",
    Verb.STOP: "machine.stop_requested",
    Verb.RESTART: "machine.restart_requested",
    Verb.DESTROY: "machine.destroy_requested",
    Verb.UPDATE: "machine.update_requested",
}
