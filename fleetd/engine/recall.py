"""Write-through cache of the journal, plus refusals and other short memory of this process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from fleetd.engine.addresses import Addresses
from fleetd.engine.departures import Departures
from fleetd.engine.orders import Orders
from fleetd.engine.ports import Meter
from fleetd.engine.setbacks import Setbacks
from fleetd.engine.verdicts import Verdicts
from fleetd.engine.vetoes import lasting
from fleetd.model.journal import Backoff, IdleReport, Intent, MachineFacts, Memory, Setback, setback_key
from fleetd.model.plan import Observation
from fleetd.model.reasons import Outcome, Reason, Verb
from fleetd.planner.facts import Learnt
from fleetd.planner.ownership import UNSEEN, Owner
from fleetd.planner.transitions import next_backoff
from fleetd.planner.waits import is_waiting
from fleetd.store.port import Journal


class Recall:
    """What ``plan`` may know, gathered from the journal and from this process's own short memory."""

    def __init__(self, journal: Journal, meter: Meter) -> None:
        self.journal = journal
        self.verdicts = Verdicts(journal, meter)
        self.facts: dict[str, MachineFacts] = {}
        self._backoffs: dict[tuple[str, str], Backoff] = {}
        self._refusals: dict[str, Setback] = {}
        self._create_wait: tuple[datetime, timedelta, str] | None = None
        self.setbacks = Setbacks(journal)
        """What was accepted and came to nothing."""
        self.departures = Departures(journal)
        """What may have its effect late."""
        self.addresses = Addresses(journal)
        """What creates assigned."""
        self.orders = Orders(journal)
        """What operators asked for since the last pass."""
        self.latest: Callable[[datetime], datetime] = lambda now: now
        """The later of our clock and the provider's, when ours reads so."""

    async def load(self) -> None:
        """Read what an earlier process left."""
        self.facts = {f.machine_id: f for f in await self.journal.facts()}
        self._backoffs = {(b.region, b.machine_type): b for b in await self.journal.backoffs()}
        await self.setbacks.load()
        await self.departures.load()
        await self.addresses.load()

    async def memory(
        self,
        now: datetime,
        *,
        provider_failing: timedelta,
        idle: Mapping[str, IdleReport] | None = None,
        reached: datetime | None = None,
    ) -> Memory:
        """Everything the planner may know, at ``now``. ``reached``: by when vetoes have ended, where not by now.

        A veto's end is told by the clock that says ``now``.
        """
        reached = reached or now
        return Memory(
            intents=tuple(await self.journal.open_intents()),
            facts=dict(self.facts),
            holds=tuple(lasting(h, now - reached) for h in await self.journal.holds(now=reached)),
            backoffs={k: b for k, b in self._backoffs.items() if _in_force(b.attempt, b.until, now)},
            refusals=self.refusals(now),
            futile=self.setbacks.known(now),
            departing=self.departures.known(now),
            addresses=self.addresses.known(),
            creates_wait=self.creates_wait(now),
            idle=idle or {},
            requests=self.orders.take(),
            provider_failing=provider_failing,
        )

    async def made(self, observation: Observation, owned: Mapping[str, Owner]) -> frozenset[str]:
        """Those of the owned machines that are not remembered, and that this journal's creates made all the same."""
        strangers = {m.id: m.name for m in observation.machines if m.id in owned and m.id not in self.facts}
        return await self.journal.made(strangers)

    async def learn(self, learnt: Learnt) -> None:
        """Keep what a pass learnt."""
        if learnt.changed:
            await self.journal.put_facts(learnt.changed)
            self.facts.update({f.machine_id: f for f in learnt.changed})
        if learnt.forget:
            await self.forget(learnt.forget)

    async def respect_anew(self, latest: datetime) -> None:
        """A stop by hand that lies ahead of both clocks was read off one that was set back: respected from now on."""
        ahead = [f for f in self.facts.values() if f.stopped_at is not None and f.stopped_at > latest]
        if ahead:
            await self.put(replace(f, stopped_at=latest) for f in ahead)

    async def put(self, facts: Iterable[MachineFacts]) -> None:
        """Store facts."""
        kept = list(facts)
        await self.journal.put_facts(kept)
        self.facts.update({f.machine_id: f for f in kept})

    async def forget(self, machine_ids: Sequence[str]) -> None:
        """Drop what is remembered of machines."""
        await self.journal.forget_facts(machine_ids)
        await self.addresses.forget(machine_ids)
        for machine_id in machine_ids:
            self.facts.pop(machine_id, None)

    async def confirm(self, machine_id: str) -> bool:
        """A person says that a machine is ours; False where nobody doubted it."""
        fact = self.facts.get(machine_id)
        if fact is None or not fact.unconfirmed:
            return False
        await self.put([replace(fact, unconfirmed=False)])
        return True

    async def created(self, intent: Intent, machine_id: str, now: datetime) -> None:
        """A create has its machine: from now on a listing that lacks it is doubted."""
        await self.addresses.expect(intent, machine_id)
        known = self.facts.get(machine_id)
        if known is None:
            await self.put([MachineFacts(machine_id, intent.fleet, intent.name, now, now, last_state=UNSEEN)])

    async def ended(self, intent: Intent, outcome: Outcome, error: str | None, now: datetime) -> None:
        """Remember what a transition's ending says about its machine."""
        fact = self.facts.get(intent.machine_id or "")
        if fact is None:
            return
        if fact.last_state == UNSEEN and outcome is Outcome.LOST:
            await self.forget([fact.machine_id])
            return
        by = str(intent.reason)
        match intent.verb, outcome:
            case Verb.DESTROY, Outcome.REACHED:
                fact = replace(fact, destroyed=True, up_since=None, last_seen=now)
            case Verb.STOP, Outcome.REACHED:
                fact = replace(fact, stopped_by=by, stopped_at=now, up_since=None, last_up_at=now, last_state="off")
            case Verb.CREATE, Outcome.REACHED if not intent.ends_up:
                fact = replace(fact, failure=None, failure_reason=None, last_state="off")
            case ((Verb.CREATE | Verb.START | Verb.RESTART), Outcome.REACHED):
                fact = replace(
                    fact,
                    started_by=by,
                    started_at=now,
                    failure=None,
                    failure_reason=None,
                    up_since=self.latest(now),
                    last_up_at=now,
                    first_ready_at=fact.first_ready_at or now,
                    last_state="ready",
                )
            case _, Outcome.GONE:
                fact = replace(fact, gone_at=now, up_since=None)
            case _, Outcome.FAILED_TO_START:
                fact = replace(fact, failure=outcome, failure_reason=error, last_state="off", up_since=None)
            case _, Outcome.TIMED_OUT if intent.verb is not Verb.UPDATE:
                # Nobody may have looked meanwhile: should it be up in the end, it is our start that was late.
                sent = intent.accepted_at is not None
                begun = _BEGUN.get(intent.verb, fact.last_state) if sent else fact.last_state
                fact = replace(fact, failure=outcome, failure_reason=error, last_state=begun)
            case _:
                return
        await self.put([fact])

    async def no_capacity(self, region: str, machine_type: str, reason: str, now: datetime) -> Backoff | None:
        """Lengthen the backoff; None while one is in force: failures meanwhile belong to the same shortage."""
        known = self._backoffs.get((region, machine_type))
        if known is not None and _in_force(known.attempt, known.until, now):
            return None
        attempt = known.attempt + 1 if known is not None else 1
        backoff = Backoff(region, machine_type, attempt, now + next_backoff(attempt), reason)
        self._backoffs[region, machine_type] = backoff  # before anything is waited for: others fail beside this one
        await self.journal.put_backoff(backoff)
        return backoff

    async def has_capacity(self, region: str, machine_type: str) -> None:
        """A machine came up: the shortage is over."""
        if self._backoffs.pop((region, machine_type), None) is not None:
            await self.journal.clear_backoff(region, machine_type)

    def refused(
        self,
        intent: Intent,
        words: str,
        now: datetime,
        *,
        why: Reason = Reason.REFUSED_RECENTLY,
        at_least: timedelta = timedelta(0),
    ) -> datetime:
        """Remember that a call was declined; returns when it may be tried again, not before ``at_least`` is over."""
        key = setback_key(intent.verb, intent.subject)
        before = self._refusals.get(key)
        attempt = 1 if before is None else before.attempt + 1
        since = now if before is None or before.since is None else min(before.since, now)
        lasts = max(next_backoff(attempt), at_least)
        back = Setback(now + lasts, words, since, attempt, why=why, lasts=lasts)
        self._refusals[key] = back
        return back.until

    def creates_must_wait(self, lasts: timedelta, words: str, now: datetime) -> None:
        """The provider asked that the next create wait for so long, of whatever fleet it is."""
        known = self.creates_wait(now)
        if known is None or known[0] < now + lasts:
            self._create_wait = (now, lasts, words)

    def creates_wait(self, now: datetime) -> tuple[datetime, str] | None:
        """Until when the provider asked creates to wait, and its words; None where they need not."""
        waits = self.told_to_wait(now)
        return None if waits is None else (waits[0] + waits[1], waits[2])

    def told_to_wait(self, now: datetime) -> tuple[datetime, timedelta, str] | None:
        """The same as it was told: when, for how long, and its words."""
        waits = self._create_wait
        return waits if waits is not None and is_waiting(waits[0], waits[1], now) else None

    def accepted(self, intent: Intent) -> None:
        """Forget refusals after a success."""
        self._refusals.pop(setback_key(intent.verb, intent.subject), None)

    def refusals(self, now: datetime) -> dict[str, Setback]:
        """The declined calls that still wait, by ``setback_key``."""
        return {k: b for k, b in self._refusals.items() if _in_force(b.attempt, b.until, now, b.lasts)}

    def assume(
        self,
        refusals: Mapping[str, Setback],
        told_to_wait: tuple[datetime, timedelta, str] | None,
        *,
        reconfigured: bool,
    ) -> None:
        """Take over what another process was declined; ``reconfigured``: it has read another config since."""
        self._refusals, self._create_wait = dict(refusals), told_to_wait
        if reconfigured:
            self.setbacks.reconfigured()

    def forget_refusals(self) -> None:
        """A new config may have mended what was refused, or had no effect; the provider is as busy as before."""
        self._refusals = {k: b for k, b in self._refusals.items() if b.why is Reason.RATE_LIMITED}
        self.setbacks.reconfigured()


_BEGUN = {Verb.START: "starting", Verb.RESTART: "restarting"}
"""The state that an accepted call puts a machine in."""


def _in_force(attempt: int, until: datetime, now: datetime, lasts: timedelta | None = None) -> bool:
    step = next_backoff(attempt) if lasts is None else lasts
    return is_waiting(until - step, step, now)
