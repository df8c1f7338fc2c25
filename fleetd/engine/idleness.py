"""Who is idle: asks the sources, keeps the idle clocks, and asks once more right before a stop."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

import anyio
import structlog

from fleetd.activity.port import Source
from fleetd.engine.leases import Leases
from fleetd.engine.ports import Clock
from fleetd.model.fleet import Fleet, IdleRule
from fleetd.model.journal import Hold, IdleReport
from fleetd.model.machine import Machine, Phase
from fleetd.model.plan import Action
from fleetd.model.reasons import Reason, Verb
from fleetd.model.settings import IdleSource
from fleetd.planner.idle import Activity, IdleClock, Reading, advance, combine
from fleetd.planner.ownership import Owner
from fleetd.planner.policies import last_started
from fleetd.store.port import Journal

log = structlog.get_logger(__name__)

OpenSources = Callable[[Mapping[str, IdleSource]], dict[str, Source]]
"""Makes sources from the config's ``[idle_sources]``."""

_NOTE = "idle_clocks"
SAVE_EVERY = timedelta(minutes=1)
"""How often running clocks are written: after a crash at most so much of a span is uncovered."""
LONGEST_ROUND = timedelta(seconds=60)
"""The longest that a pass waits for all sources; never more than an interval, for by two the listing is too old."""
GAPS = 3
"""A reading stands for the time since the one before it, up to so many intervals between passes."""


class Idleness:
    """The idle clocks of all machines of fleets that have an idle rule."""

    def __init__(self, open_sources: OpenSources, leases: Leases, journal: Journal, clock: Clock) -> None:
        self.leases = leases
        self._open_sources = open_sources
        self._sources: dict[str, Source] = {}
        self._settings: Mapping[str, IdleSource] | None = None
        self._journal = journal
        self._clock = clock
        self._clocks: dict[str, IdleClock] = {}
        self._evidence: dict[str, str] = {}
        self._silent: set[str] = set()
        self._saved_at: datetime | None = None
        self._read_at: dict[str, float] = {}
        """When each machine was last read about, on the event loop's monotonic clock."""
        self._restarts: dict[str, datetime] = {}
        """The starts that were found right before a stop, as the provider dates them."""

    async def load(self) -> None:
        """Read the clocks and leases that an earlier process left."""
        await self.leases.load()
        note = await self._journal.get_note(_NOTE)
        self._clocks = {
            machine: IdleClock(_instant(since), _instant(last), timedelta(seconds=uncovered))
            for machine, (since, last, uncovered) in json.loads(note or "{}").items()
        }

    async def use(self, settings: Mapping[str, IdleSource]) -> None:
        """Ask these sources from now on; called before every pass, so that a reload takes effect."""
        if settings == self._settings:
            return
        await self.aclose()
        self._sources = self._open_sources(settings)
        self._settings = settings

    async def aclose(self) -> None:
        """Close all sources. Idempotent."""
        sources, self._sources, self._settings = self._sources, {}, None
        for source in sources.values():
            await source.aclose()

    async def refresh(
        self,
        fleets: Iterable[Fleet],
        machines: Sequence[Machine],
        owned: Mapping[str, Owner],
        holds: Sequence[Hold],
        *,
        interval: timedelta,
    ) -> dict[str, IdleReport]:
        """Ask every source about every up machine of its fleets, advance the clocks, and report by machine id.

        Writes nothing: ``save`` does.
        """
        reports: dict[str, IdleReport] = {}
        running: set[str] = set()

        async def one(fleet: Fleet, after: timedelta, up: Sequence[Machine]) -> None:
            readings = await self._read(fleet, up, patience=min(interval, LONGEST_ROUND))
            now = self._clock.now()
            for machine in up:
                reports[machine.id] = self._advance(
                    machine, readings[machine.id], holds, now, after=after, max_gap=GAPS * interval
                )

        async with anyio.create_task_group() as group:
            for fleet in fleets:
                if fleet.idle is None:
                    continue
                up = [
                    m for m in machines if m.phase is Phase.UP and m.id in owned and owned[m.id].fleet == fleet.name
                ]
                running |= {m.id for m in up}
                group.start_soon(one, fleet, fleet.idle.after, up)
        # A machine that is not up has no idle time: whoever starts it begins anew.
        self._clocks = {m: c for m, c in self._clocks.items() if m in running}
        self._read_at = {m: t for m, t in self._read_at.items() if m in running}
        self._restarts = {m: t for m, t in self._restarts.items() if m in running}
        return reports

    async def save(self) -> None:
        """Keep the clocks for the next process; at most once a minute."""
        now = self._clock.now()
        if self._saved_at is not None and timedelta(0) <= now - self._saved_at < SAVE_EVERY:
            return
        self._saved_at = now
        rows = {
            machine: (_text(c.idle_since), _text(c.last_at), c.uncovered.total_seconds())
            for machine, c in sorted(self._clocks.items())
        }
        await self._journal.put_note(_NOTE, json.dumps(rows))

    async def last_word(self, fleet: Fleet, action: Action, machine: Machine) -> Reason | None:
        """Ask afresh right before a stop that needs the machine to be unused; a reason forbids it."""
        careful = {Reason.PARKED_IDLE, Reason.OVER_TARGET, Reason.OUTLIVED_TIMEOUT, Reason.OPERATOR_REQUEST}
        anyhow = action.even_if_busy or action.verb is Verb.START or action.reason not in careful
        if fleet.idle is None or anyhow or machine.phase is not Phase.UP:
            return None
        readings = (await self._read(fleet, [machine]))[machine.id]
        match combine(readings):
            case Activity.ACTIVE:
                return Reason.BUSY
            case Activity.UNKNOWN:
                return Reason.ACTIVITY_UNKNOWN
            case Activity.IDLE:
                return self._started_since(fleet.idle, action, machine)

    def _started_since(self, rule: IdleRule, action: Action, machine: Machine) -> Reason | None:
        """Its events tell of a start that no pass has seen: somebody restarted it, and the idle clock begins anew."""
        began = last_started(machine)
        if action.reason is not Reason.PARKED_IDLE or began is None:
            return None
        # The date is the provider's, whose clock may be far ahead: one start begins the idle clock anew once.
        if self._clock.now() - began >= max(rule.after, rule.min_uptime) or self._restarts.get(machine.id) == began:
            return None
        self._restarts[machine.id] = began
        self._clocks[machine.id] = IdleClock()
        return Reason.NOT_IDLE_LONG_ENOUGH

    async def _read(
        self, fleet: Fleet, machines: Sequence[Machine], *, patience: timedelta | None = None
    ) -> dict[str, list[Reading]]:
        """What each source says of each machine; with ``patience`` it is a round over a whole fleet."""
        rule = fleet.idle
        found: dict[str, list[Reading]] = {m.id: [] for m in machines}
        if rule is None or not machines:
            return found
        now = self._clock.now()

        async def ask(name: str) -> None:
            source = self._sources.get(name)
            answers: Mapping[str, Reading] = {}
            seconds = None if patience is None else patience.total_seconds()
            with anyio.move_on_after(seconds) as limit:
                answers = {} if source is None else await source.read(machines, window=rule.after, now=now)
            lacking = f"no answer within {seconds:g} s" if limit.cancelled_caught else f"{name} does not answer"
            said = [answers.get(m.id) or Reading(name, Activity.UNKNOWN, now, lacking) for m in machines]
            for machine, reading in zip(machines, said, strict=True):
                found[machine.id].append(reading)
            if patience is not None:
                self._say_silence(name, fleet, said)

        async with anyio.create_task_group() as group:
            for name in rule.sources:
                group.start_soon(ask, name)
        return {m: sorted(readings, key=lambda r: r.source) for m, readings in found.items()}

    def _advance(
        self,
        machine: Machine,
        readings: Sequence[Reading],
        holds: Sequence[Hold],
        now: datetime,
        *,
        after: timedelta,
        max_gap: timedelta,
    ) -> IdleReport:
        verdict = combine(readings)
        evidence = "; ".join(f"{r.source}: {r.verdict}, {r.evidence}" for r in readings)
        held = any(h.kind == "hold" and h.subject in {machine.id, machine.name} and now < h.expires_at for h in holds)
        before = self._clocks.get(machine.id, IdleClock())
        ticks = anyio.current_time()
        last = self._read_at.get(machine.id)
        elapsed = None if last is None else timedelta(seconds=ticks - last)
        self._read_at[machine.id] = ticks
        clock = IdleClock(None, now)
        if not held:
            clock = advance(before, verdict, now, after=after, max_gap=max_gap, elapsed=elapsed)
        self._clocks[machine.id] = clock
        if verdict is Activity.IDLE and clock.idle_since is None:
            verdict = Activity.ACTIVE
            evidence = f"held, which counts as in use; {evidence}"
        return IdleReport(
            str(verdict), clock.idle_since if verdict is Activity.IDLE else None, evidence=evidence, at=now
        )

    def _say_silence(self, name: str, fleet: Fleet, readings: Sequence[Reading]) -> None:
        """One alert when a source knows nothing of a whole fleet any more, one line when it is back."""
        silent = not any(r.verdict is not Activity.UNKNOWN for r in readings)
        key = f"{fleet.name}:{name}"
        if silent and key not in self._silent:
            self._silent.add(key)
            log.warning("idle_source.went_silent", fleet=fleet.name, source=name, error=readings[0].evidence)
        elif not silent and key in self._silent:
            self._silent.discard(key)
            log.info("idle_source.recovered", fleet=fleet.name, source=name)


def _text(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


def _instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
