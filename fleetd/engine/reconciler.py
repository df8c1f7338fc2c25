"""One pass: observe, settle what was left open, learn, plan, act. It never waits for a transition."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import anyio
import structlog

from fleetd.cloud.port import Cloud
from fleetd.engine.basis import Basis
from fleetd.engine.checks import Checks
from fleetd.engine.executor import Executor
from fleetd.engine.faults import Faults
from fleetd.engine.follower import Follower
from fleetd.engine.gate import Gate
from fleetd.engine.health import Health
from fleetd.engine.idleness import Idleness
from fleetd.engine.ledger import Billed, Ledger, billed_machines
from fleetd.engine.news import News
from fleetd.engine.nightly import Nightly
from fleetd.engine.observer import Observer
from fleetd.engine.outsiders import Outsiders
from fleetd.engine.pace import Pace
from fleetd.engine.ports import Clock, Meter
from fleetd.engine.prices import Prices
from fleetd.engine.recall import Recall
from fleetd.engine.retention import Retention
from fleetd.engine.snapshots import Snapshots
from fleetd.engine.vetoes import Vetoes
from fleetd.model.errors import CloudError, StoreError
from fleetd.model.fleet import Fleet
from fleetd.model.journal import IdleReport, Intent, Memory
from fleetd.model.machine import Machine
from fleetd.model.plan import NOTHING_DUE, Action, Observation, Plan, Skip
from fleetd.model.reasons import Outcome, Reason, Verb, known
from fleetd.model.settings import Settings
from fleetd.planner.facts import believed, expected_ids, learn, may_be_hidden, turned
from fleetd.planner.guards import PROVIDER_DOUBT
from fleetd.planner.ownership import Owner, oldest_first, owners
from fleetd.planner.plan import plan
from fleetd.planner.policies import may_judge
from fleetd.store.port import Journal

log = structlog.get_logger(__name__)

FOREIGN_INTENT = timedelta(days=1)
"""How long an open intent whose verb only another version knows keeps its machine from being touched, at most."""


@dataclass(frozen=True, slots=True)
class PassReport:
    """What a pass saw and did."""

    pass_id: int
    started_at: datetime
    duration_s: float
    observation: Observation
    owned: Mapping[str, Owner]
    plan: Plan
    skips: tuple[Skip, ...]
    """The plan's own, and those of the calls that were dropped."""
    intents: tuple[Intent, ...]
    """Open after the pass."""
    memory: Memory

    @property
    def converged(self) -> bool:
        """Every fleet at its target with nothing under way."""
        return self.plan.complete and not self.intents and all(v.converged for v in self.plan.fleets.values())

    @property
    def goes_on(self) -> bool:
        """Whether the next pass follows at once: this one was cut by a limit of its own, and nothing of it failed.

        A guard on creates is a slow start and not a speed limit; the other guards keep the interval's pace.
        """
        dropped = {s.reason for s in self.skips[len(self.plan.skips) :]}
        if dropped:
            return Reason.CALLS_USED_UP in dropped <= {Reason.CALLS_USED_UP, Reason.CREATE_UNANSWERED}
        creates = [s for s in self.skips if s.verb is Verb.CREATE]
        cut = {s.fleet for s in creates if s.reason is Reason.GUARD_CREATES}
        otherwise = {s.fleet for s in creates if s.reason is not Reason.GUARD_CREATES}
        return bool((cut & {a.fleet for a in self.plan.actions if a.verb is Verb.CREATE}) - otherwise)


class Reconciler:
    """Runs passes, one at a time."""

    def __init__(
        self,
        settings: Settings,
        cloud: Cloud,
        journal: Journal,
        clock: Clock,
        meter: Meter,
        rng: random.Random,
        follower: Follower,
        recall: Recall,
        idleness: Idleness,
        faults: Faults,
        *,
        progress: Callable[[], None] = lambda: None,
    ) -> None:
        self.settings = settings
        self.health = Health()
        self.recall = recall
        self.vetoes = Vetoes(journal, clock)
        self.executor = Executor(
            cloud,
            recall,
            self.vetoes,
            follower,
            clock,
            meter,
            rng,
            gate=Gate(self.vetoes, clock, in_force=self._fleet_in_force, leased=self._leased),
            pace=lambda: Pace.of(self.settings),
            on_fault=faults.saw,
            last_word=self._last_word,
            progress=progress,
        )
        self.last: PassReport | None = None
        self.undecided = False
        """Whether a pass is under way that has called nothing yet: it may be given up at any point."""
        self._cloud = cloud
        self._observer = Observer(cloud, clock, looks=lambda: Pace.of(self.settings).looks, progress=progress)
        self._idleness = idleness
        self.checks = Checks(cloud, progress=progress)
        self._snapshots = Snapshots(cloud, clock, progress=progress)
        self._faults = faults
        self._outside = Outsiders(recall, faults)
        self._prices = Prices(cloud, journal)
        self.ledger = Ledger(cloud, journal, clock, progress=progress)
        self._follower = follower
        self._clock = clock
        self._meter = meter
        self._news = News()
        self._nightly = Nightly(journal)
        self._retention = Retention(journal)
        self._passes = 0

    @property
    def remarks(self) -> tuple[str, ...]:
        """What of the provider cannot be read at the moment although it answers."""
        return self._cloud.remarks

    async def load(self) -> None:
        """Read what an earlier process left in the journal."""
        await self.recall.load()
        await self._idleness.load()
        await self._prices.load()
        await self._retention.load()
        await self.ledger.load()
        await self.vetoes.read()

    async def aclose(self) -> None:
        """Keep the idle clocks for the next process, and close the idle sources. Idempotent."""
        try:
            if self.last is not None:
                await self._idleness.save(at_once=True)
        except StoreError as error:  # those of a minute ago are in the journal
            log.error("journal.failed", error=str(error))  # noqa: TRY400 - no traceback wanted
        await self._idleness.aclose()

    async def run_pass(self) -> PassReport:
        """One round.

        Raises:
            CloudError: the provider could not be looked at; ``health`` has noted it.
            StoreError: the journal could not be written; nothing was called without an intent.
        """
        asked = self.recall.orders.pending
        self.undecided = True
        try:
            return await self._pass()
        except Exception:
            await self.recall.orders.failed()
            raise
        finally:
            self.undecided = False
            self.recall.orders.abandon(asked)

    async def _pass(self) -> PassReport:
        self._passes += 1
        settings = self.settings
        fleets = {f.name: f for f in settings.fleets}
        self._follower.fleets = fleets
        started, began = self._clock.now(), anyio.current_time()
        await self._idleness.use(settings.idle_sources)
        intents = await self._doubt_unanswered(started)
        expected = expected_ids(self.recall.facts, settings.fleets, intents, started)
        facts = self.recall.facts
        seen_at = anyio.current_time()
        try:
            observation = await self._observer.observe(
                expected, lambda machines: turned(machines, facts, settings.fleets, intents)
            )
        except CloudError:
            self._follow(intents)  # an earlier process left them; a verdict is due by the deadline all the same
            raise
        basis = Basis(observation, seen_at, stale_after=2 * settings.daemon.interval)
        failing = self.health.failing_for(self._clock.now())
        if observation.sane:
            intents = await self._settle(intents, observation, fleets)
            await self._learn(observation, intents, settings)
        self._news.observed(observation)
        memory = await self.recall.memory(self._clock.now(), provider_failing=failing)
        observation = believed(observation, memory.facts)
        owned = owners(observation.machines, settings.fleets, memory.facts, memory.intents)
        due = self.checks.due(owned) if observation.sane else NOTHING_DUE
        memory = replace(
            memory,
            idle=await self._idle(observation, owned, memory, failing),
            bills=self.ledger.month(started),
            shown=await self.checks.look(
                due, settings.fleets, observation.machines, owned, interval=settings.daemon.interval
            ),
        )
        if due:
            moving = {i.machine_id for i in memory.intents}
            settled = [m for m in observation.machines if m.id in due and may_judge(m, moving)]
            await self._prices.learn(settled, settings.costs.prices, started)
        self.checks.report(due, settings.fleets, observation.machines, owned, memory, self._clock.now())
        if observation.sane:
            self._news.owned(observation.machines, owned, fleets)
            await self._snapshots.check(due, settings.fleets, observation.machines, owned)
        decided, memory = await self._snapshots.decide(
            memory,
            lambda known: plan(
                settings.fleets,
                observation,
                known,
                self._clock.now(),
                costs=replace(settings.costs, prices=self._prices.known(settings.costs.prices)),
                stale_after=basis.stale_after,
                due=due,
                on_fault=self._faults.saw,
            ),
        )
        self._follow(memory.intents)
        dropped = await self._act(memory, decided, fleets, basis)
        self.checks.made(due, observation.machines, memory.intents, decided.actions, (*decided.skips, *dropped))
        report = PassReport(
            pass_id=self._passes,
            started_at=started,
            duration_s=anyio.current_time() - began,
            observation=observation,
            owned=owned,
            plan=decided,
            skips=(*decided.skips, *dropped),
            intents=tuple(await self.recall.journal.open_intents()),
            memory=memory,
        )
        self.last = report
        await self.recall.orders.decided(memory.requests, decided.actions, report.skips, report.intents)
        await self.vetoes.read()
        busy = {i.fleet for i in report.intents}
        self._news.passed(report.pass_id, report.duration_s, decided, report.skips, busy)
        await self._nightly.passed(decided, report.skips)
        if observation.sane:
            billed = billed_machines(observation, owned, memory, settings.fleets)
            await self.ledger.keep(billed, memory.facts, started)
        await self._retention.keep(started)
        return report

    async def _act(self, memory: Memory, decided: Plan, fleets: Mapping[str, Fleet], basis: Basis) -> Sequence[Skip]:
        self.undecided = False
        await self.recall.orders.before_calls(memory.requests, decided.actions, self._clock.now())
        return await self.executor.carry_out(decided.actions, fleets, basis, self._passes)

    async def _idle(
        self, observation: Observation, owned: Mapping[str, Owner], memory: Memory, failing: timedelta
    ) -> Mapping[str, IdleReport]:
        """Idle clocks stand still while the provider fails or the listing cannot be trusted."""
        if not observation.sane or failing > PROVIDER_DOUBT:
            return {}
        reports = await self._idleness.refresh(
            self.settings.fleets,
            observation.machines,
            owned,
            memory.holds,
            interval=self.settings.daemon.interval,
        )
        await self._idleness.save()
        return reports

    def _follow(self, intents: Iterable[Intent]) -> None:
        """All but those whose call has not been answered: the executor goes on with them."""
        for intent in intents:
            if intent.id not in self.executor.unanswered:
                self._follower.follow(intent)

    def _fleet_in_force(self, name: str) -> Fleet | None:
        """The fleet as the config has it now: a reload may have come since the pass began."""
        return self.settings.fleet(name)

    def _leased(self, machine_id: str) -> str | None:
        return self._idleness.leases.holder(machine_id, self._clock.now())

    async def _last_word(self, action: Action, machine: Machine, cloud: Cloud) -> Reason | None:
        fleet = self.settings.fleet(action.fleet)
        if fleet is None:
            return None
        objection = await self._idleness.last_word(fleet, action, machine)
        objection = objection or await self._snapshots.last_word(fleet, action, cloud)
        if objection is None and action.verb is Verb.DESTROY:
            await self.ledger.before_destroy(Billed(machine.id, fleet.name, machine.name))
        return objection

    async def _doubt_unanswered(self, now: datetime) -> Sequence[Intent]:
        """Open intents. One without an answer that no call of ours waits for lost it when a process died."""
        intents: list[Intent] = []
        for intent in await self.recall.journal.open_intents():
            if intent.id in self.executor.unanswered:
                intents.append(intent)
                continue
            if (
                intent.verb is Verb.UPDATE and intent.accepted_at is None
            ):  # nothing to follow, and safe to repeat: this start's checks look anew
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
                await self.recall.journal.update_intent(intent.id, ambiguous_since=now)
                doubted = replace(intent, ambiguous_since=now)
            intents.append(doubted)
        return intents

    async def _settle(
        self, intents: Sequence[Intent], observation: Observation, fleets: Mapping[str, Fleet]
    ) -> list[Intent]:
        """Look for the machines of lost creates; close those whose settle time has passed (design 6)."""
        still_open: list[Intent] = []
        taken = {*self.recall.facts, *(i.machine_id for i in intents if i.machine_id is not None)}
        for intent in intents:
            answered = intent.machine_id is not None or intent.id in self.executor.unanswered
            if intent.verb is not Verb.CREATE or answered:
                still_open.append(intent)
                continue
            found = self._find(intent, observation.machines, taken)
            if found is not None:
                now = self._clock.now()
                await self.recall.journal.update_intent(intent.id, machine_id=found.id, accepted_at=now)
                await self.recall.created(intent, found.id, now)
                taken.add(found.id)
                still_open.append(replace(intent, machine_id=found.id, accepted_at=now))
                log.info("intent.settled", fleet=intent.fleet, machine=found.id, name=intent.name, intent=intent.id)
                continue
            fleet = fleets.get(intent.fleet)
            settle = fleet.guards.settle if fleet is not None else timedelta(seconds=90)
            over = intent.ambiguous_since is not None and observation.at >= intent.ambiguous_since + settle
            if over and not may_be_hidden(intent, observation, self.recall.facts):
                await self._give_up(intent, "the answer was lost and no such machine appeared")
                continue
            still_open.append(intent)
        return still_open

    async def _give_up(self, intent: Intent, error: str) -> None:
        now = self._clock.now()
        if not await self.recall.journal.close_intent(intent.id, at=now, outcome=Outcome.LOST, error=error):
            return
        self._meter.action(fleet=intent.fleet, verb=intent.verb, result=Outcome.LOST)
        log.warning("intent.lost", fleet=intent.fleet, name=intent.name, intent=intent.id, error=error)

    def _find(self, intent: Intent, machines: Sequence[Machine], taken: Collection[str]) -> Machine | None:
        found = [m for m in machines if m.name == intent.name and m.id not in taken]
        return min(found, key=oldest_first, default=None)

    async def _learn(self, observation: Observation, intents: Sequence[Intent], settings: Settings) -> None:
        facts = self.recall.facts
        owned = owners(observation.machines, settings.fleets, facts, intents)
        learnt = learn(observation, owned, facts, intents, await self.recall.made(observation, owned))
        await self.recall.learn(learnt)
        for fact in learnt.new:
            keys = {"fleet": fact.fleet, "machine": fact.machine_id, "name": fact.name, "state": fact.last_state}
            if fact.unconfirmed and not fact.adopted:
                log.warning("machine.was_recovered", **keys)
            else:
                log.info("machine.adopted", unconfirmed=fact.unconfirmed or None, **keys)
        for change in learnt.outside:
            await self._outside.report(change, observation.at)
