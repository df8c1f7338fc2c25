"""The on-call person's handle on the running daemon (``ops.daemon_handle.DaemonHandle``)."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import timedelta

from msgspec.structs import replace

from fleetd.engine.daemon import HEARTBEAT, Daemon
from fleetd.engine.leases import Leases
from fleetd.engine.ports import Clock
from fleetd.engine.status import status_report, step_report
from fleetd.engine.vetoes import hold_of, order_entry, refuse_nobody
from fleetd.model.answers import Adopted, LeaseTaken, OrderTaken, VetoTaken, veto_taken
from fleetd.model.errors import NotYet, OrderDeclined
from fleetd.model.journal import HistoryEntry, Hold, MachineOrder, Request, VetoOrder
from fleetd.model.machine import Machine
from fleetd.model.plan import Skip
from fleetd.model.reasons import Outcome, Reason, Verb, VetoKind
from fleetd.model.report import DaemonReport, LastFault, LastPass, LeaseReport, Report, veto_report
from fleetd.model.vetoes import veto_evidence
from fleetd.planner.aged import aged, patience_of
from fleetd.planner.lookup import Named, meant, none_of_ours, one_of_ours, ours, several, strangers
from fleetd.words.reasons import sentence

STALE_PASSES = 5
"""Intervals without a pass after which the daemon counts as stuck."""
SLOW_CALLS = 5
"""Calls that a provider may keep a pass waiting for, one after the other, each for its whole timeout."""
DECIDED_WITHIN = 30.0
"""Seconds in which whoever gives an order for a machine hears what the pass made of it."""


class EngineHandle:
    """Answers from the last pass and hands orders to the reconciler; every order goes into history with its actor."""

    def __init__(
        self,
        daemon: Daemon,
        leases: Leases,
        clock: Clock,
        *,
        command: str = "run",
        lease: Callable[[], LeaseReport | None] = lambda: None,
    ) -> None:
        """``lease``: of one of several replicas, who acts and how; None of a daemon that is alone."""
        self._command = command
        self._lease = lease
        self._daemon = daemon
        self._leases = leases
        self._clock = clock

    def status(self) -> Report:
        """See ``DaemonHandle.status``."""
        reconciler = self._daemon.reconciler
        report = status_report(
            reconciler.last,
            daemon=self._about(),
            vetoes=reconciler.vetoes.in_force,
            believed=reconciler.believed,
            doubted_since=reconciler.doubted_since,
            doubt=self._daemon.last_error,
            turned=reconciler.fought_over,
        )
        settings = reconciler.settings
        cap = settings.costs.max_hourly_cost or None
        report = replace(report, max_hourly_cost=cap, in_mind=reconciler.in_mind())
        return aged(report, self._clock.now(), patience_of(settings.daemon.interval))

    def alive(self) -> str | None:
        """See ``DaemonHandle.alive``."""
        began = self._daemon.pass_began_at
        if began is None:
            return None
        settings = self._daemon.reconciler.settings
        slow = settings.provider.request_timeout * SLOW_CALLS
        patience = settings.daemon.interval * STALE_PASSES + slow + timedelta(seconds=HEARTBEAT + self._daemon.pause)
        idle = self._clock.now() - began
        return f"no pass has begun for {idle.total_seconds():.0f} s" if idle > patience else None

    def ready(self) -> str | None:
        """See ``DaemonHandle.ready``."""
        report = self._daemon.reconciler.last
        if report is None:
            return "no pass has ended well yet"
        if self._daemon.last_error is not None:
            return self._daemon.last_error
        return report.observation.undecided

    def reload(self, actor: str) -> None:
        """See ``DaemonHandle.reload``."""
        del actor  # the config's own log line says what changed; who sent it is in systemd's journal
        self._daemon.reload()

    def wake(self) -> None:
        """See ``DaemonHandle.wake``."""
        self._daemon.wake()

    async def veto(self, order: VetoOrder, actor: str) -> VetoTaken:
        """See ``DaemonHandle.veto``."""
        if order.kind == VetoKind.FREEZE and order.subject is not None:
            self._must_know_fleet(order.subject)
        found = self._to_hold(order.subject or "") if order.kind == VetoKind.HOLD else []
        now, until = self._clock.now(), self._daemon.reconciler.agreement.latest() + order.lasts
        hold = await self._daemon.reconciler.vetoes.add(hold_of(order, actor, found, at=now, until=until))
        await self._record(order_entry(order.kind, order.subject, found, actor, now, veto_evidence(hold)))
        self._daemon.wake()
        return veto_taken(hold, (m.id for m, _ in found))

    async def lift(self, kind: VetoKind, subject: str | None, actor: str) -> int:
        """See ``DaemonHandle.lift``. A hold ends by the machine's id and by its name, whichever it was made with."""
        found = self._called(subject) if kind == VetoKind.HOLD else []
        removed = await self._daemon.reconciler.vetoes.lift(kind, subject, found)
        if removed:
            # They were in use until now: no round may have fallen into the hold.
            for machine in (m for m, _ in found if m.id):
                await self._leases.put(machine.id, "hold", self._clock.now(), actor, now=self._clock.now())
            verb = "release" if kind == VetoKind.HOLD else "unfreeze"
            await self._record(order_entry(verb, subject, found, actor, self._clock.now(), None))
            self._daemon.wake()
        return removed

    async def request(self, order: MachineOrder, actor: str) -> OrderTaken:
        """See ``DaemonHandle.request``."""
        machine, fleet = self._owned(order.subject)
        if self._is_stopping():
            raise await self._declined(order, machine, fleet, actor, *self._shuts_down(order, machine, fleet))
        lifted = await self._lift_keep_off(machine, fleet, order, actor) if order.verb is Verb.START else []
        request = Request(order.verb, machine.id, actor, order.reason, order.even_if_busy, order.keep_off)
        orders = self._daemon.reconciler.recall.orders
        self._daemon.wake()
        decision = await orders.ask(request, patience=DECIDED_WITHIN)
        taken = OrderTaken(
            verb=order.verb,
            machine=machine.id,
            name=machine.name,
            fleet=fleet,
            lifted=tuple(veto_report(h) for h in lifted),
            result="undecided",
        )
        if decision is None:
            return taken
        if decision.begun:
            kept_off = decision.kept_off
            return replace(
                taken,
                result="begun",
                transition=None if decision.intent is None else step_report(decision.intent),
                kept_off_until=None if kept_off is None else self._daemon.reconciler.vetoes.told(kept_off).expires_at,
            )
        skip = decision.skip
        if skip is not None and skip.reason is Reason.ALREADY_SO:
            return replace(taken, result="already_so", state=skip.detail)
        reason = "" if skip is None else str(skip.reason)
        if skip is not None:
            words = sentence(skip, self._clock.now())
        elif self._is_stopping():
            if not decision.withdrawn:
                return taken  # the stop came between its call and the answer
            words, reason = self._shuts_down(order, machine, fleet)
        elif decision.withdrawn:
            words = f"{machine.name}: no pass has come to it within {DECIDED_WITHIN:.0f} s"
            words += f": {self._daemon.last_error}" if self._daemon.last_error else ""
        else:
            failed = self._daemon.last_error
            why = f"the pass failed: {failed}" if failed else "the last listing has no such machine"
            words = f"{machine.name}: {why}"
        if lifted:
            words = f"{words.removesuffix('.')}; the hold that the last stop left on it is ended all the same"
        raise await self._declined(order, machine, fleet, actor, words, reason)

    def _is_stopping(self) -> bool:
        return self._daemon.stopping_since is not None

    def _shuts_down(self, order: MachineOrder, machine: Machine, fleet: str) -> tuple[str, str]:
        """Nothing new is begun any more, in words and as a reason."""
        skip = Skip(fleet, order.verb, Reason.SHUTTING_DOWN, machine.id, machine.name)
        return sentence(skip, self._clock.now()), str(skip.reason)

    async def _declined(
        self, order: MachineOrder, machine: Machine, fleet: str, actor: str, words: str, reason: str
    ) -> OrderDeclined:
        """Write down who wanted what, and why it was not done; the error to raise."""
        await self._record(
            HistoryEntry(
                ts=self._clock.now(),
                fleet=fleet,
                machine=machine.id,
                name=machine.name,
                verb=order.verb,
                reason=Reason.OPERATOR_REQUEST,
                outcome=Outcome.NOT_SENT,
                error=words,
                evidence=order.reason,
                actor=actor,
            )
        )
        return OrderDeclined(words, reason=reason)

    async def lease(self, machine: str, source: str, lasts: timedelta, actor: str) -> LeaseTaken:
        """See ``DaemonHandle.lease``."""
        now = self._clock.now()
        found = self._leased(machine)
        for machine_id in found:
            await self._leases.put(machine_id, source, now + lasts, actor, now=now)
            verb = await self._daemon.reconciler.executor.on_its_way(machine_id)
            if verb is not None and lasts:
                raise OrderDeclined(f"{machine}: its {verb} is on the way", reason=str(Reason.IN_TRANSITION))
        return LeaseTaken(machine=found[0], source=source, until=now + lasts)

    def _leased(self, subject: str) -> list[str]:
        """Ids of the machines that a job may mean: what is called so now, and what was when the job began.

        A lease protects: where one name was two machines' one after the other, both are leased.
        """
        reconciler = self._daemon.reconciler
        found = meant(subject, self._ours())
        called = [n for n in found if n.former != subject]
        if len(called) > 1:
            raise LookupError(several(subject, called))
        if not found:
            raise self._nobody(subject)
        if all(reconciler.settings.fleet(n.fleet) is None for n in found):
            raise none_of_ours(subject)
        return [n.id for n in sorted(found, key=lambda n: (n not in called, n.id))]

    async def _lift_keep_off(self, machine: Machine, fleet: str, order: MachineOrder, actor: str) -> Sequence[Hold]:
        """A person's start ends what a person's stop left, and no other veto."""
        lifted = await self._daemon.reconciler.vetoes.lift_keep_off(machine, fleet)
        for hold in lifted:
            words = f"{order.reason}; it was kept off by {hold.actor}: {hold.reason}"
            await self._record(
                order_entry("release", machine.name, [(machine, fleet)], actor, self._clock.now(), words)
            )
        return lifted

    async def adopt(self, subject: str, reason: str, actor: str) -> Adopted:
        """See ``DaemonHandle.adopt``."""
        machine, fleet = self._owned(subject)
        recall = self._daemon.reconciler.recall
        if machine.id not in recall.facts:
            raise LookupError(f"{subject}: no pass has remembered it yet; try again after the next")
        confirmed = await recall.confirm(machine.id)
        if confirmed:
            await self._record(
                order_entry("adopt", machine.name, [(machine, fleet)], actor, self._clock.now(), reason)
            )
            self._daemon.wake()
        return Adopted(machine=machine.id, name=machine.name, fleet=fleet, confirmed=confirmed)

    def _to_hold(self, subject: str) -> list[tuple[Machine, str]]:
        """The machine that a hold is to be on; one whose create waits for its answer has no id yet.

        Nothing is found where no pass has ended well yet, and the journal does not know it: then the hold is on
        whatever has that id or name.

        Raises:
            LookupError: no machine of ours has that id or name, or more than one.
        """
        reconciler = self._daemon.reconciler
        found = self._called(subject)
        if not found:
            fleets = (f.name for f in reconciler.settings.fleets)
            refuse_nobody(subject, fleets, sure=reconciler.last is not None)
        return found

    def _owned(self, subject: str) -> tuple[Machine, str]:
        """The machine of a configured fleet that is meant, with its fleet.

        Raises:
            LookupError: no machine of ours has that id or name, or more than one.
            NotYet: nobody knows yet what there is.
        """
        settings = self._daemon.reconciler.settings
        found = [(m, fleet) for m, fleet in self._called(subject) if settings.fleet(fleet) is not None]
        if not found:
            raise self._nobody(subject)
        return found[0]

    def _nobody(self, subject: str) -> Exception:
        if self._daemon.reconciler.last is None:
            return NotYet(f"{subject}: no pass has ended yet, and no machine is remembered by that name: try again")
        return none_of_ours(subject)

    def _called(self, subject: str | None) -> list[tuple[Machine, str]]:
        """The machine that is meant, with its fleet; none where nothing is called so.

        Raises:
            LookupError: more than one is.
        """
        report = self._daemon.reconciler.believed
        beside = () if report is None else strangers(report.observation.machines, report.owned)
        found = one_of_ours(subject, self._ours(), beside)
        return [] if found is None else [(found.machine, found.fleet)]

    def _ours(self) -> list[Named]:
        """Machines of ours as they were seen last, and as they are remembered."""
        reconciler = self._daemon.reconciler
        report, facts = reconciler.believed, reconciler.recall.facts
        if report is None:
            return ours((), {}, facts)
        return ours(report.observation.machines, report.owned, facts, report.intents)

    def _must_know_fleet(self, name: str) -> None:
        settings = self._daemon.reconciler.settings
        if settings.fleet(name) is None:
            known = ", ".join(f.name for f in settings.fleets) or "none"
            raise LookupError(f"the daemon's config has no fleet {name}; it has {known}")

    async def _record(self, entry: HistoryEntry) -> None:
        await self._daemon.reconciler.recall.journal.append_history(entry)

    def _about(self) -> DaemonReport:
        daemon = self._daemon
        report, fault, ahead = daemon.reconciler.last, daemon.faults.last, daemon.reconciler.agreement.ahead
        rejection = daemon.reloading.rejection
        return DaemonReport(
            running=True,
            command=self._command,
            lease=self._lease(),
            pid=os.getpid(),
            since=daemon.started_at,
            stopping_since=daemon.stopping_since,
            config=daemon.reconciler.settings.source,
            config_since=daemon.config_since,
            config_fault=None if rejection is None else rejection.why,
            config_fault_since=None if rejection is None else rejection.at,
            last_pass=None
            if report is None
            else LastPass(
                id=report.pass_id,
                at=report.started_at,
                duration_s=round(report.duration_s, 3),
                actions=len(report.plan.actions),
            ),
            provider=daemon.reconciler.health.word,
            provider_until=daemon.left_alone_until,
            clock_ahead_s=None if ahead is None else round(ahead, 1),
            provider_remarks=tuple(daemon.reconciler.remarks),
            error=daemon.last_error,
            faults=daemon.faults.count,
            last_fault=None if fault is None else LastFault(at=fault.at, where=fault.where, error=fault.words),
        )
