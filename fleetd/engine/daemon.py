"""The daemon: passes at an interval, woken early when there is reason to, until it is told to stop."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TypeVar

import anyio
import structlog

from fleetd import __version__
from fleetd.engine.chronicle import Chronicle
from fleetd.engine.clock_steps import ClockSteps
from fleetd.engine.faults import PASS, Faults, wait_after
from fleetd.engine.follower import Follower
from fleetd.engine.pass_report import PassReport
from fleetd.engine.poller import Poller
from fleetd.engine.ports import Alarms, Clock, Meter, Notifier
from fleetd.engine.reconciler import Reconciler
from fleetd.engine.reloading import Reloading
from fleetd.model.errors import CloudError, ConfigError, FleetdError, PassFailed, StoreError
from fleetd.model.journal import Intent
from fleetd.model.plan import Check
from fleetd.model.reasons import Outcome, Verb
from fleetd.model.settings import Settings
from fleetd.planner.transitions import Ending
from fleetd.planner.windows import next_edge
from fleetd.words.changes import differences

log = structlog.get_logger(__name__)

E = TypeVar("E", bound=Exception)

JITTER = 0.1
"""Share of the interval by which a wait varies, so that many daemons do not beat in step."""
WAKE_GAP = 0.05
"""Share of the interval between a wake-up and its pass: endings that come together are served together."""
LONGEST_GAP = 5.0
"""Seconds of that at most: whoever gives an order hears within half a minute what became of it."""
GRACE = 25.0
"""Seconds that a pass under way may take to end after SIGTERM; the unit kills after 45."""
HEARTBEAT = 10.0
"""Seconds between signs of life while the daemon waits on purpose."""


class Daemon:
    """Runs the reconciler for ever. All of its tasks live in the task group of ``run``."""

    def __init__(
        self,
        reconciler: Reconciler,
        poller: Poller,
        follower: Follower,
        notifier: Notifier,
        meter: Meter,
        clock: Clock,
        rng: random.Random,
        alarms: Alarms,
        faults: Faults,
        *,
        load: Callable[[], Settings],
        on_pass: Callable[[PassReport | FleetdError], None] = lambda _result: None,
        command: str = "run",
    ) -> None:
        self.reconciler = reconciler
        self.chronicle = Chronicle(reconciler.recall.journal, clock, command)
        self.faults = faults
        self.started_at: datetime | None = None
        self.pass_began_at: datetime | None = None
        self.last_error: str | None = None
        """Why the last pass failed; None when it did not."""
        self.pause = 0.0
        """Seconds after the last pass in which no other begins, whatever wakes the daemon: the provider asked to be
        left alone, or passes meet faults."""
        self.left_alone_until: datetime | None = None
        """When the pause ends that the provider asked for; None where it asked for none."""
        self.config_since: datetime | None = None
        """When the config in force was read."""
        self.stopping_since: datetime | None = None
        """When it was told to stop; it begins nothing since then."""
        self.reloading = Reloading(load, notifier, faults, meter.reload, clock.now)
        self._poller = poller
        self._follower = follower
        follower.on_end = self.transition_ended
        self._notifier = notifier
        self._clock = clock
        self._steps = ClockSteps(clock)
        self._rng = rng
        self._alarms = alarms
        self._scheduled: dict[Check, str] = {}
        self._on_pass = on_pass
        self._wake = anyio.Event()
        self._stop = anyio.Event()
        self._goes_on = False
        """The last pass has left something to the next that need not wait."""
        self._passing: anyio.CancelScope | None = None
        self._faulty = 0
        """Passes in a row that met a fault."""

    async def run(self) -> None:
        """Reconcile until ``stop``; returns when the last pass has ended and everything is journaled."""
        settings = self.reconciler.settings
        self.started_at = self.config_since = self._clock.now()
        await self.reconciler.load()
        log.info(
            "daemon.started", config=settings.source, fleets=len(settings.fleets), provider=settings.provider.kind
        )
        self.chronicle.started(__version__)
        async with anyio.create_task_group() as group:
            self._follower.attach(group)
            self.reconciler.executor.beside.attach(group)
            group.start_soon(self._poller.run, name="poller")
            self._alarms.start(self._rung)
            self._schedule()
            try:
                with anyio.CancelScope() as passes:
                    self._passing = passes
                    group.start_soon(self._close_down, passes, name="shutdown")
                    await self._passes()
                    await self.reconciler.executor.beside.drain()
            finally:
                self._alarms.stop()
                with anyio.CancelScope(shield=True):
                    self.chronicle.stopped()
                    await self.chronicle.save()
                    await self.reconciler.aclose()
            group.cancel_scope.cancel()
        log.info("daemon.stopped")

    def stop(self) -> None:
        """Begin no more calls, let those under way end, and return from ``run``."""
        if not self._stop.is_set():
            log.info("daemon.stop_requested")
            self.stopping_since = self._clock.now()
            self.reconciler.executor.gate.close()
            # A pass that has called nothing yet is given up: a look can take long.
            given_up = self._passing if self.reconciler.undecided else None
            self.reconciler.recall.orders.withdraw(taken=given_up is not None)
            self._notifier.stopping()
            self._stop.set()
            self._wake.set()
            if given_up is not None:
                given_up.cancel()

    def abandon(self) -> None:
        """Stop without waiting for a pass under way. For one that cannot have called anything yet."""
        self.stop()
        if self._passing is not None:
            self._passing.cancel()

    def wake(self) -> None:
        """Run the next pass now rather than at the end of the interval."""
        self._wake.set()

    def transition_ended(self, intent: Intent, ending: Ending) -> None:
        """A transition is over: look at once what follows from it.

        Nothing follows from one of several that come up, as they were to: the last of them wakes a pass, and before
        it the interval, unless a look costs no more than a tick.
        """
        rose = ending.outcome is Outcome.REACHED and intent.verb in {Verb.CREATE, Verb.START}
        if rose and self._follower.with_others(intent) and not self.reconciler.looks_cheaply:
            return
        self.wake()

    def reload(self) -> None:
        """Read the config again, and swap it whole or not at all.

        Raises:
            ConfigError: the new one has faults; the old one stays in force.
            OrderDeclined: this process keeps to the config that it began with.
        """
        try:
            settings = self.reloading.read(self.reconciler.settings)
        except ConfigError as error:
            self.chronicle.rejected("; ".join(str(fault) for fault in error.faults[:3]))
            raise
        released = sorted({f.name for f in self.reconciler.settings.fleets} - {f.name for f in settings.fleets})
        self.chronicle.reloaded(differences(self.reconciler.settings, settings))
        self.reconciler.settings = settings
        self.reconciler.recall.forget_refusals()
        self.config_since = self._clock.now()
        self._schedule()
        log.info("config.reloaded", config=settings.source, fleets=len(settings.fleets), released=released or None)
        self.wake()

    def _schedule(self) -> None:
        schedules = self.reconciler.settings.schedules
        wanted = {Check.SHUTDOWN_TIMEOUT: schedules.shutdown_timeout_check, Check.SNAPSHOT: schedules.snapshot_check}
        # "every 15m" counts from here: who reloads more often than that must still see it ring.
        changed: dict[str, str] = {
            check: when for check, when in wanted.items() if self._scheduled.get(check) != when
        }
        try:
            self._alarms.schedule(changed)
        except Exception as error:  # noqa: BLE001 - a start and a reload go on; the checks wait for their next ring
            self.faults.saw("alarms", error)
        self._scheduled = wanted

    def _rung(self, name: str) -> None:
        """A check is due, or a window has opened or closed: the pass finds out what that means."""
        if name in set(Check):
            self.reconciler.checks.rung(Check(name))
        self.wake()

    async def _passes(self) -> None:
        ready = False
        while not self._stop.is_set():
            self._wake = anyio.Event()
            await self.chronicle.save()  # a start or a reload stands in history before what follows from it
            await self._pass()
            await self.chronicle.save()
            if not ready:
                ready = True
                self._notifier.ready()
            self._notifier.alive()
            self._set_edge()
            await self._wait()

    def _set_edge(self) -> None:
        try:
            self._alarms.edge(next_edge(self.reconciler.settings.fleets, self._clock.now()))
        except Exception as error:  # noqa: BLE001 - a pass finds out what holds; only its haste is lost
            self.faults.saw("alarms", error)

    def _mind_steps(self) -> None:
        by = self._steps.taken()
        if not by:
            return
        log.warning("clock.was_set", by_s=round(by))
        # An alarm waits for an instant of wall time: set back by hours, the clock would keep "every 15m" for hours.
        self._scheduled = {}
        self._schedule()
        for check in Check:
            self.reconciler.checks.rung(check)

    async def _pass(self) -> None:
        self.pass_began_at = began = self._clock.now()
        self.pause, self.left_alone_until = 0.0, None
        try:
            self._mind_steps()
            report = await self.reconciler.run_pass()
        except* CloudError as group:
            self.reconciler.health.failed(_first(group), self._clock.now())
            self.chronicle.provider(self.reconciler.health.word, str(_first(group)))
            self.pause = self.reconciler.health.retry_after
            self._say_wait()
            self._failed(_first(group), began)
        except* StoreError as group:
            self._failed(_first(group), began)
            log.error("journal.failed", error=self.last_error)  # noqa: TRY400 - no traceback wanted
        except* Exception as group:  # noqa: BLE001 - it ends this pass, and not the process
            words = self.faults.saw(PASS, group)
            self._faulty += 1
            wait = wait_after(self._faulty, self.reconciler.settings.daemon.interval.total_seconds())
            self.pause = max(self.pause, wait)
            self._failed(PassFailed(f"a fault in fleetd ended the pass: {words}"), began)
        else:
            self._faulty = 0
            self.reconciler.health.worked(self._clock.now())
            self.chronicle.provider(self.reconciler.health.word, None)
            self.chronicle.looked(report.observation.doubt)
            self.last_error = None
            self._goes_on = report.goes_on
            self._tell(report)

    def _say_wait(self) -> None:
        """The provider asked to be left alone: until when, in the log here, in status and page from now on."""
        if self.pause:
            self.left_alone_until = self._clock.now() + timedelta(seconds=self.pause)
            log.warning(
                "provider.said_wait", until=self.left_alone_until.isoformat(), retry_after_s=round(self.pause, 3)
            )

    def _failed(self, error: FleetdError, began: datetime) -> None:
        self.last_error = str(error)
        self.reconciler.doubt(began)
        self._tell(error)

    def _tell(self, result: PassReport | FleetdError) -> None:
        try:
            if not isinstance(result, FleetdError):
                self._notifier.status(_one_line(result))
            self._on_pass(result)
        except Exception as error:  # noqa: BLE001 - what is shown must not end what is done
            self.faults.saw("status", error)

    async def _wait(self) -> None:
        interval = self.reconciler.settings.daemon.interval.total_seconds()
        left = interval * self._rng.uniform(1 - JITTER, 1 + JITTER)
        began = anyio.current_time()
        await self._idle_until(began + self.pause, self._stop)  # what a provider asks for, no wake-up shortens
        if self._goes_on:
            self._goes_on = False
            return
        await self._idle_until(began + left, self._wake)
        if self._wake.is_set():
            await self._idle_until(anyio.current_time() + min(interval * WAKE_GAP, LONGEST_GAP), self._stop)

    async def _idle_until(self, until: float, end: anyio.Event) -> None:
        """Wait until ``until`` by the loop's clock, or for the event."""
        while (left := until - anyio.current_time()) > 0 and not end.is_set():
            with anyio.move_on_after(min(left, HEARTBEAT)):
                await end.wait()
            self._notifier.alive()

    async def _close_down(self, passes: anyio.CancelScope) -> None:
        await self._stop.wait()
        await anyio.sleep(GRACE)
        log.warning("daemon.grace_expired", grace_s=GRACE)
        passes.cancel()


def _first(group: ExceptionGroup[E]) -> E:
    """The first leaf: side-by-side calls that fail together fail for one reason."""
    leaf = group.exceptions[0]
    return _first(leaf) if isinstance(leaf, ExceptionGroup) else leaf


def _one_line(report: PassReport) -> str:
    parts = [f"{name} {view.up}/{view.target}" for name, view in report.plan.fleets.items()]
    moving = f", {len(report.intents)} under way" if report.intents else ""
    return ", ".join(parts) + moving
