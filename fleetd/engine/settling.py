"""What a pass settles and learns before it decides: lost creates, answers that never came, what has changed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import anyio
import structlog

from fleetd.engine.departures import DECLINED
from fleetd.engine.external_changes import ExternalChanges
from fleetd.engine.ports import Clock
from fleetd.engine.recall import Recall
from fleetd.engine.setbacks import say_backed_off
from fleetd.model.fleet import Fleet, Guards
from fleetd.model.journal import GONE, Intent
from fleetd.model.machine import Machine
from fleetd.model.plan import Observation
from fleetd.model.reasons import Outcome, Verb, known
from fleetd.planner.facts import learn, may_be_hidden
from fleetd.planner.ownership import oldest_first, owners

log = structlog.get_logger(__name__)

FOREIGN_INTENT = timedelta(days=1)
"""How long an open intent whose verb only another version knows keeps its machine from being touched, at most."""


class Settling:
    """Brings memory up to what was seen. ``unanswered``: ids of intents whose call is still waited for."""

    def __init__(
        self,
        recall: Recall,
        outside: ExternalChanges,
        clock: Clock,
        *,
        unanswered: Callable[[], Collection[int]],
    ) -> None:
        self._recall = recall
        self._outside = outside
        self._clock = clock
        self._unanswered = unanswered
        self._looked_since: dict[int, float] = {}
        """By intent: since when this process looks for its machine, on the event loop's clock."""
        self._passes: tuple[float | None, float | None] = (None, None)
        """When the pass before and this one began, on the same clock."""

    async def load(self) -> None:
        """Take note of what an earlier process left open."""
        await self._outside.load()

    @property
    def looked_at(self) -> datetime | None:
        """When the last look began."""
        return None if self._passes[1] is None else self._instant(self._passes[1])

    @property
    def looked_for(self) -> dict[int, datetime]:
        """By intent, since when this process looks for the machine of a create whose answer was lost."""
        return {intent: self._instant(since) for intent, since in self._looked_since.items()}

    def assume(self, looked_at: datetime | None, looked_for: Mapping[int, datetime]) -> None:
        """Go on with what another process has looked at and looks for."""
        now, ticks = self._clock.now(), anyio.current_time()
        self._passes = (None, None if looked_at is None else ticks - (now - looked_at).total_seconds())
        self._looked_since = {i: ticks - (now - since).total_seconds() for i, since in looked_for.items()}

    def _instant(self, ticks: float) -> datetime:
        return self._clock.now() - timedelta(seconds=anyio.current_time() - ticks)

    async def doubt_unanswered(self, now: datetime) -> Sequence[Intent]:
        """Open intents. One without an answer that no call of ours waits for lost it when a process died."""
        self._passes = (self._passes[1], anyio.current_time())
        intents: list[Intent] = []
        for intent in await self._recall.journal.open_intents():
            if intent.id in self._unanswered():
                intents.append(intent)
                continue
            if intent.verb is Verb.UPDATE and intent.accepted_at is None:
                # Nothing to follow, and safe to repeat: this start's checks look anew.
                await self._give_up(intent, "whether it arrived is not known")
                continue
            if not known(intent.verb):
                if now >= min(intent.deadline_at, intent.created_at + FOREIGN_INTENT) or now < intent.created_at:
                    await self._give_up(
                        intent, f"another version of fleetd began it: {intent.verb} is not known here"
                    )
                else:
                    intents.append(intent)
                continue
            doubted = intent
            since = intent.ambiguous_since
            unanswered = intent.accepted_at is None and since is None
            # A clock that was set back starts the search anew: nobody knows how much of it is over.
            if unanswered or (since is not None and since > now):
                await self._recall.journal.update_intent(intent.id, ambiguous_since=now)
                doubted = replace(intent, ambiguous_since=now)
            intents.append(doubted)
        open_ones = {i.id for i in intents}
        self._looked_since = {i: since for i, since in self._looked_since.items() if i in open_ones}
        return intents

    async def settle(
        self, intents: Sequence[Intent], observation: Observation, fleets: Mapping[str, Fleet]
    ) -> list[Intent]:
        """Look for the machines of lost creates; close those whose settle time has passed."""
        still_open: list[Intent] = []
        taken = {*self._recall.facts, *(i.machine_id for i in intents if i.machine_id is not None)}
        for intent in intents:
            answered = intent.machine_id is not None or intent.id in self._unanswered()
            if intent.verb is not Verb.CREATE or answered:
                still_open.append(intent)
                continue
            found = self._find(intent, observation.machines, taken)
            if found is not None:
                now = self._clock.now()
                await self._recall.journal.update_intent(intent.id, machine_id=found.id, accepted_at=now)
                await self._recall.created(intent, found.id, now)
                taken.add(found.id)
                still_open.append(replace(intent, machine_id=found.id, accepted_at=now))
                log.info("intent.settled", fleet=intent.fleet, machine=found.id, name=intent.name, intent=intent.id)
                continue
            fleet = fleets.get(intent.fleet)
            settle = fleet.guards.settle if fleet is not None else Guards().settle
            over = intent.ambiguous_since is not None and observation.at >= intent.ambiguous_since + settle
            over = self._looked_for(intent) >= settle and over  # asked first: it counts from the first time
            if over and not may_be_hidden(intent, observation, self._recall.facts):
                await self._give_up(intent, "the answer was lost and no such machine appeared")
                continue
            still_open.append(intent)
        return still_open

    def _looked_for(self, intent: Intent) -> timedelta:
        """How long a lost create has been looked for at the least, whatever was done to the wall clock meanwhile.

        By this process: since when an earlier one looked is told by its clock, on another host perhaps, hours off.
        """
        ticks, since = anyio.current_time(), intent.ambiguous_since
        if intent.id not in self._looked_since and since is not None:
            # Its answer was lost after the pass before had begun; when exactly only the wall clock knows.
            longest = 0.0 if self._passes[0] is None else ticks - self._passes[0]
            lost_for = (self._clock.now() - since).total_seconds()
            self._looked_since[intent.id] = ticks - min(max(lost_for, 0.0), longest)
        return timedelta(seconds=ticks - self._looked_since.get(intent.id, ticks))

    async def learn(self, observation: Observation, intents: Sequence[Intent], fleets: Sequence[Fleet]) -> None:
        """Remember what a sane observation shows, and report what changed although fleetd did not ask for it."""
        facts = self._recall.facts
        owned = owners(observation.machines, fleets, facts, intents)
        made = await self._recall.made(observation, owned)
        going = self._recall.departures.known(observation.at)
        late = {m: one.lasts > DECLINED for m, one in going.items() if one.verb is Verb.DESTROY}
        learnt = learn(observation, owned, facts, intents, made, late, self._recall.latest(observation.at))
        assigned = self._recall.addresses.known()
        await self._recall.learn(learnt)
        await self._recall.addresses.see(observation.machines)
        for fact in learnt.new:
            keys = {"fleet": fact.fleet, "machine": fact.machine_id, "name": fact.name, "state": fact.last_state}
            if fact.unconfirmed and not fact.adopted:
                log.warning("machine.was_recovered", **keys)
            else:
                log.info("machine.adopted", unconfirmed=fact.unconfirmed or None, **keys)
        for change in learnt.outside:
            await self._outside.report(change, observation.at)
            left = assigned.get(change.facts.machine_id)
            # Nobody but fleetd releases it with the machine, and it is billed on.
            if left and change.became == GONE and not change.ours:
                keys = {"fleet": change.facts.fleet, "machine": change.facts.machine_id, "name": change.facts.name}
                log.warning("address.was_left", address=left, **keys)

    async def _give_up(self, intent: Intent, error: str) -> None:
        now = self._clock.now()
        if not await self._recall.verdicts.give(intent, Outcome.LOST, error, now):
            return
        log.warning("intent.lost", fleet=intent.fleet, name=intent.name, intent=intent.id, error=error)
        if intent.verb is not Verb.CREATE:
            return
        # Each may have made a machine that nobody can find: one in its place is as it should be, one a minute is not.
        words = f"{error}; a person should look whether one of another name is billed"
        say_backed_off(intent, await self._recall.setbacks.add(intent, words, now, forgiven=True))

    def _find(self, intent: Intent, machines: Sequence[Machine], taken: Collection[str]) -> Machine | None:
        found = [m for m in machines if m.name == intent.name and m.id not in taken]
        return min(found, key=oldest_first, default=None)
