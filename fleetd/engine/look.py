"""Everything of a pass but its calls: observe, settle, learn, check, ask who is idle, plan.

The daemon acts on what comes of it; ``plan``, ``explain`` and ``status`` without a daemon run the same code on a copy
of the journal and only show it. So what they say is what the next pass does.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

import anyio

from fleetd.cloud.port import Cloud
from fleetd.engine.basis import Basis
from fleetd.engine.billing_records import BillingRecords, billed_machines
from fleetd.engine.checks import Checks
from fleetd.engine.clocks import Agreement
from fleetd.engine.external_changes import ExternalChanges
from fleetd.engine.faults import Faults
from fleetd.engine.idleness import Idleness
from fleetd.engine.in_mind import Keepers
from fleetd.engine.observed_prices import ObservedPrices
from fleetd.engine.observer import Observer
from fleetd.engine.pace import Pace
from fleetd.engine.pass_report import Looked
from fleetd.engine.ports import Clock
from fleetd.engine.prices import Prices
from fleetd.engine.recall import Recall
from fleetd.engine.settling import Settling
from fleetd.engine.snapshots import Snapshots
from fleetd.model.in_mind import InMind
from fleetd.model.journal import IdleReport, Memory
from fleetd.model.plan import NOTHING_DUE, Due, Observation
from fleetd.model.settings import Settings
from fleetd.planner.facts import believed, expected_ids, turned
from fleetd.planner.guards import PROVIDER_DOUBT
from fleetd.planner.orphans import orphans_of
from fleetd.planner.ownership import Owner, owners
from fleetd.planner.plan import plan
from fleetd.planner.policies import is_settled


class Look:
    """Looks. What it learns goes into the journal behind ``recall``."""

    def __init__(
        self,
        cloud: Cloud,
        recall: Recall,
        clock: Clock,
        idleness: Idleness,
        faults: Faults,
        pace: Callable[[], Pace],
        *,
        agreement: Agreement | None = None,
        unanswered: Callable[[], Collection[int]] = frozenset,
        progress: Callable[[], None] = lambda: None,
    ) -> None:
        self.checks = Checks(cloud, progress=progress)
        self.snapshots = Snapshots(cloud, clock, progress=progress)
        self.tariffs = ObservedPrices(recall.journal)
        self.prices = Prices(cloud, recall.journal, self.tariffs)
        self.ledger = BillingRecords(cloud, recall.journal, clock, self.tariffs, progress=progress)
        self._recall = recall
        self._clock = clock
        self._idleness = idleness
        self._faults = faults
        self._observer = Observer(cloud, clock, looks=lambda: pace().looks, progress=progress)
        self.agreement = agreement or Agreement(clock)
        """Whether our clock and the provider's agree."""
        idleness.leases.theirs = self.snapshots.theirs = self.agreement.theirs
        idleness.leases.latest = recall.latest = self.agreement.latest_at
        self.outside = ExternalChanges(recall, faults, self.agreement)
        self._settling = Settling(
            recall,
            self.outside,
            clock,
            unanswered=unanswered,
        )
        self._keepers = Keepers(self.checks, self.snapshots, recall, self._settling, self._observer, idleness)

    def in_mind(self) -> InMind:
        """What the next look goes by, and the journal does not have."""
        return self._keepers.told(self._clock.now())

    def assume(self, mind: InMind, idle: Mapping[str, IdleReport] | None) -> None:
        """Look as the process does that has told this, and who is idle; after ``load``. None: ask the sources."""
        self._keepers.assume(mind, idle)

    async def load(self) -> None:
        """Read what an earlier process left in the journal."""
        await self._recall.load()
        await self._settling.load()
        await self._idleness.load()
        await self.tariffs.load()
        await self.prices.load()
        await self.ledger.load()

    async def look(
        self,
        settings: Settings,
        *,
        failing: timedelta = timedelta(0),
        at: datetime | None = None,
        forecast: bool = False,
        again: Basis | None = None,
    ) -> Looked:
        """One look.

        Args:
            settings: what is wanted.
            failing: for how long the provider has answered nothing but errors, until now.
            at: plan as if it were then, with the machines as they are now.
            forecast: work out every fleet's month, with a budget or without.
            again: what the pass before rested on, where nothing has happened since but its own creates: no listing
                is read then.

        Raises:
            CloudError: the provider could not be looked at.
            StoreError: the journal could not be written.
        """
        started, began = self._clock.now(), anyio.current_time()
        await self._idleness.use(settings.idle_sources)
        observation, basis = (again.observation, again) if again else await self._observe(settings, started)
        self.agreement.told_doubt()
        await self._recall.respect_anew(self.agreement.latest())
        memory = await self._recall.memory(
            self._clock.now(), provider_failing=failing, reached=self.agreement.earliest()
        )
        observation = believed(observation, memory.facts)
        owned = owners(observation.machines, settings.fleets, memory.facts, memory.intents)
        due = self.checks.due(owned, settings.fleets) if observation.sane else NOTHING_DUE
        if forecast and observation.sane:
            ours = billed_machines(observation, owned, memory, settings.fleets)
            await self.ledger.ask_all(ours, {m.id for m in observation.machines})
        memory = replace(
            memory,
            idle=await self._idle(settings, observation, owned, memory),
            leased=await self._idleness.used(settings.fleets, observation.machines),
            bills=self.ledger.month(started),
            shown=await self.checks.look(
                due, settings.fleets, observation.machines, owned, interval=settings.daemon.interval
            ),
        )
        memory = replace(memory, unjudged=self.checks.unjudged)
        if due:
            await self._learn_prices(settings, observation, owned, memory, due, started)
        decided, memory = await self.snapshots.decide(
            memory,
            lambda known: plan(
                settings.fleets,
                observation if at is None else replace(observation, at=at),
                # Read together with the time: a clock may be set at any moment.
                replace(known, clocks_apart=self.agreement.doubt, clock_ahead=self.agreement.apart_by),
                at or self._clock.now(),
                costs=replace(settings.costs, prices=self.prices.known(settings.costs.prices)),
                stale_after=basis.stale_after,
                due=due,
                on_fault=self._faults.saw,
                forecast=forecast,
                owned=owned,
            ),
        )
        return Looked(started, began, basis, observation, owned, due, memory, decided)

    async def _learn_prices(
        self,
        settings: Settings,
        observation: Observation,
        owned: Mapping[str, Owner],
        memory: Memory,
        due: Due,
        started: datetime,
    ) -> None:
        """With the checks: of the machines that are due, and of the orphans, which the cap counts."""
        moving = {i.machine_id for i in memory.intents}
        left = orphans_of(observation.machines, owned, memory.facts, settings.fleets)
        asked = {m.id for machines in left.values() for m in machines} | due.keys()
        settled = [m for m in observation.machines if m.id in asked and is_settled(m, moving)]
        await self.prices.learn(settled, settings.costs.prices, started, billed=self.ledger.rates(started))
        await self.tariffs.save()

    async def _observe(self, settings: Settings, started: datetime) -> tuple[Observation, Basis]:
        intents = await self._settling.doubt_unanswered(started)
        facts = self._recall.facts
        expected = expected_ids(facts, settings.fleets, intents, started)
        seen_at = anyio.current_time()
        observation = await self._observer.observe(
            expected, lambda machines: turned(machines, facts, settings.fleets, intents)
        )
        if observation.sane:
            fleets = {f.name: f for f in settings.fleets}
            intents = await self._settling.settle(intents, observation, fleets)
            await self._settling.learn(observation, intents, settings.fleets)
        return observation, Basis(observation, seen_at, stale_after=2 * settings.daemon.interval)

    async def _idle(
        self, settings: Settings, observation: Observation, owned: Mapping[str, Owner], memory: Memory
    ) -> Mapping[str, IdleReport]:
        """Idle clocks stand still while the provider fails or the listing cannot be trusted."""
        if not observation.sane or memory.provider_failing > PROVIDER_DOUBT:
            return {}
        reports = await self._idleness.refresh(
            settings.fleets, observation.machines, owned, memory.holds, interval=settings.daemon.interval
        )
        await self._idleness.save()
        return reports
