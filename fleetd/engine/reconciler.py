"""One pass: observe, settle what was left open, learn, plan, act. It never waits for a transition."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime

import anyio
import structlog
from msgspec import structs

from fleetd.cloud.port import Cloud
from fleetd.config import config_digest
from fleetd.engine.basis import Basis
from fleetd.engine.billing_records import billed, billed_machines
from fleetd.engine.change_logging import ChangeLogger
from fleetd.engine.clocks import Agreement
from fleetd.engine.executor import Executor
from fleetd.engine.faults import Faults
from fleetd.engine.follower import Follower
from fleetd.engine.gate import Gate
from fleetd.engine.health import Health
from fleetd.engine.idleness import Idleness
from fleetd.engine.look import Look
from fleetd.engine.nightly import Nightly
from fleetd.engine.pace import Pace
from fleetd.engine.pass_report import Looked, PassReport
from fleetd.engine.ports import Clock
from fleetd.engine.recall import Recall
from fleetd.engine.retention import Retention
from fleetd.engine.vetoes import Vetoes
from fleetd.model.errors import CloudError, StoreError
from fleetd.model.fleet import Fleet
from fleetd.model.in_mind import InMind
from fleetd.model.journal import Intent
from fleetd.model.machine import Machine
from fleetd.model.plan import Action, Skip
from fleetd.model.reasons import Reason, Verb
from fleetd.model.settings import Settings
from fleetd.planner.guards import agree_on, goes_by_age
from fleetd.store.port import Journal

log = structlog.get_logger(__name__)


class Reconciler:
    """Runs passes, one at a time."""

    def __init__(
        self,
        settings: Settings,
        cloud: Cloud,
        journal: Journal,
        clock: Clock,
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
        self.vetoes = Vetoes(journal, clock, self._reached)
        self.executor = Executor(
            cloud,
            recall,
            self.vetoes,
            follower,
            clock,
            rng,
            gate=Gate(self.vetoes, clock, in_force=self._fleet_in_force, leased=self._leased),
            pace=lambda: Pace.of(self.settings),
            on_fault=faults.saw,
            last_word=self._last_word,
            progress=progress,
        )
        self.last: PassReport | None = None
        self.believed: PassReport | None = None
        """The last one whose look was believed: what is shown of fleets and machines is from it."""
        self.doubted_since: datetime | None = None
        """Since when no look has been believed; None while the last one was."""
        self.undecided = False
        """Whether a pass is under way that calls nothing yet, or nothing more: it may be given up at any point."""
        self._cloud = cloud
        self._idleness = idleness
        self._look = Look(
            cloud,
            recall,
            clock,
            idleness,
            faults,
            lambda: Pace.of(self.settings),
            unanswered=lambda: self.executor.unanswered,
            progress=progress,
        )
        self.checks = self._look.checks
        self._follower = follower
        self._clock = clock
        self._news = ChangeLogger()
        self._nightly = Nightly(journal)
        self._retention = Retention(journal)
        self._passes = 0
        self._ended_before = 0
        """Transitions that had ended when the last pass began to look."""
        self._digested: tuple[Settings, str] | None = None
        """The config, and its digest."""
        self._goes_on_from: tuple[Basis, Settings] | None = None
        """What the last pass rested on, where the guard on creates alone has cut it."""

    @property
    def agreement(self) -> Agreement:
        """Whether our clock and the provider's agree; wiring tells it what the provider says."""
        return self._look.agreement

    @property
    def fought_over(self) -> Mapping[str, int]:
        """How often, by machine id, those were turned within an hour that somebody turns again and again."""
        return self._look.outside.fought_over(self._clock.now())

    def in_mind(self) -> InMind:
        """What the next pass goes by, and the journal does not have."""
        return structs.replace(
            self._look.in_mind(),
            config=self._digest(),
            unanswered=tuple(sorted(self.executor.unanswered)),
            failing_since=self.health.failing_since,
        )

    def _digest(self) -> str:
        if self._digested is None or self._digested[0] is not self.settings:
            self._digested = (self.settings, config_digest(self.settings))
        return self._digested[1]

    @property
    def remarks(self) -> tuple[str, ...]:
        """What of the provider cannot be read at the moment although it answers."""
        return self._cloud.remarks

    def doubt(self, at: datetime) -> None:
        """No look has been believed since then: the provider could not be asked, say, or a pass failed."""
        self.doubted_since = self.doubted_since or at

    @property
    def looks_cheaply(self) -> bool:
        """Whether a listing is one page, so that a pass's look costs what a tick of the poller does."""
        return self.last is None or len(self.last.observation.machines) < self._cloud.capabilities.page_size

    async def load(self) -> None:
        """Read what an earlier process left in the journal."""
        await self._look.load()
        await self._retention.load()
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
        self._follower.fleets = {f.name: f for f in settings.fleets}
        again = self._basis_again()
        self._ended_before = self._follower.endings
        self._goes_on_from = None
        try:
            failing = self.health.failing_for(self._clock.now())
            seen = await self._look.look(settings, failing=failing, again=again)
        except CloudError:
            # An earlier process left them; a verdict is due by the deadline all the same.
            self._follow(await self.recall.journal.open_intents())
            raise
        if again is None:
            self._follower.saw(seen.basis.observation, seen.basis.seen_at)
        self._report_look(seen, settings)
        self._follow(seen.memory.intents)
        dropped = await self._act(seen)
        skips = (*seen.plan.skips, *dropped)
        self.checks.made(seen.due, seen.observation.machines, seen.memory.intents, seen.plan.actions, skips)
        report = PassReport.of(
            seen, pass_id=self._passes, dropped=dropped, intents=tuple(await self.recall.journal.open_intents())
        )
        self.last = report
        # Where creates hang, the look takes its turn in the queue behind those of all fleets; more creates would not.
        only_creates = all(a.verb is Verb.CREATE for a in report.plan.actions)
        if report.goes_on and only_creates and not self.executor.unanswered:
            self._goes_on_from = (seen.basis, settings)
        if report.observation.sane:
            self.believed, self.doubted_since = report, None
        else:
            self.doubt(report.started_at)
        await self.recall.orders.decided(seen.memory.requests, seen.plan.actions, report.skips, report.intents)
        await self.vetoes.read()
        await self._afterwards(seen, report, settings)
        return report

    def _basis_again(self) -> Basis | None:
        """What the pass before rested on, where this one only goes on with its creates; None to look anew.

        Its own creates are in the journal, and count. Anything else that happened, an ending, an order, a reload or
        much time, asks for a look.
        """
        if self._goes_on_from is None:
            return None
        basis, settings = self._goes_on_from
        old = anyio.current_time() - basis.seen_at > self.settings.daemon.interval.total_seconds() / 2
        happened = self._follower.endings != self._ended_before or self.recall.orders.pending
        return None if old or happened or settings is not self.settings else basis

    def _report_look(self, seen: Looked, settings: Settings) -> None:
        self._news.observed(seen.observation)
        machines, owned = seen.observation.machines, seen.owned
        self.checks.report(seen.due, settings.fleets, machines, owned, seen.memory, self._clock.now())
        if seen.observation.sane:
            self._news.owned(machines, owned, self._follower.fleets)

    async def _afterwards(self, seen: Looked, report: PassReport, settings: Settings) -> None:
        """What a pass reports and writes down once its calls are made: none of it may hold them up."""
        busy = {i.fleet for i in report.intents}
        self._news.passed(report.pass_id, report.duration_s, report.plan, report.skips, busy)
        await self._nightly.passed(report.plan, report.skips)
        self.undecided = True  # its calls are made: who stops the daemon does not wait for what it still asks
        if seen.observation.sane and not self.executor.gate.closing:
            machines, owned = seen.observation.machines, seen.owned
            await self._look.snapshots.check(seen.due, settings.fleets, machines, owned)
            ours = billed_machines(seen.observation, owned, seen.memory, settings.fleets)
            await self._look.ledger.keep(
                ours,
                self.recall.facts,
                seen.started_at,
                listed={m.id for m in machines},
                looks=3 * settings.daemon.interval,
            )
        if self.agreement.doubt is None:  # by a clock that is wrong, everything may be old
            await self._retention.keep(seen.started_at)

    async def _act(self, seen: Looked) -> Sequence[Skip]:
        self.undecided = False
        await self.recall.orders.before_calls(
            seen.memory.requests, seen.plan.actions, self._clock.now(), self.agreement
        )
        return await self.executor.carry_out(seen.plan.actions, self._follower.fleets, seen.basis, self._passes)

    def _follow(self, intents: Iterable[Intent]) -> None:
        """All but those whose call has not been answered: the executor goes on with them."""
        for intent in intents:
            if intent.id not in self.executor.unanswered:
                self._follower.follow(intent)

    def _fleet_in_force(self, name: str) -> Fleet | None:
        """The fleet as the config has it now: a reload may have come since the pass began."""
        return self.settings.fleet(name)

    def _reached(self) -> datetime:
        """The time that both clocks have reached, ours and the provider's: a veto lasts until then."""
        return self.agreement.earliest()

    def _leased(self, machine_id: str) -> str | None:
        return self._idleness.leases.holder(machine_id, self._clock.now())

    async def _last_word(self, action: Action, machine: Machine, cloud: Cloud) -> Reason | None:
        fleet = self.settings.fleet(action.fleet)
        if fleet is None:
            return None
        if self.agreement.doubt is not None:
            now = self._clock.now()
            theirs, costs = self.agreement.theirs(now), self.settings.costs
            if goes_by_age(action) or not agree_on(fleet, action, now, theirs, costs):
                return Reason.CLOCKS_APART
        objection = await self._idleness.last_word(fleet, action, machine)
        objection = objection or await self._look.snapshots.last_word(fleet, action, cloud)
        if objection is None and action.verb is Verb.DESTROY:
            await self._look.ledger.before_destroy(billed(machine, fleet.name))
        return objection
