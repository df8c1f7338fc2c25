"""Who is idle: asks the sources, keeps the idle clocks, and asks once more right before a stop."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import anyio
import msgspec
import structlog
from msgspec import Struct

from fleetd.engine.leases import Leases
from fleetd.engine.notes import read_note
from fleetd.engine.ports import Clock
from fleetd.engine.rounds import OpenSources, Readings, Rounds
from fleetd.engine.silence import Silence
from fleetd.model.bounds import plausible
from fleetd.model.fleet import Fleet, IdleRule
from fleetd.model.instant import Instant
from fleetd.model.journal import Hold, IdleReport
from fleetd.model.machine import Machine, Phase
from fleetd.model.plan import Action
from fleetd.model.reasons import Activity, Reason, known
from fleetd.model.settings import IdleSource
from fleetd.planner.idle import GAPS, IdleClock, Reading, advance, combine
from fleetd.planner.ownership import Owner
from fleetd.planner.policies import last_started
from fleetd.store.port import Journal

log = structlog.get_logger(__name__)

_NOTE = "idle_clocks"
_LEARNT = "idle_sources_learnt"
SAVE_EVERY = timedelta(minutes=1)
"""How often running clocks are written: after a crash at most so much of a span is uncovered."""
LONGEST_ROUND = timedelta(seconds=60)
"""The longest that a pass waits for all sources. Capped at one interval: observations expire after two."""


class Idleness:
    """The idle clocks of all machines of fleets that have an idle rule."""

    def __init__(self, open_sources: OpenSources, leases: Leases, journal: Journal, clock: Clock) -> None:
        self.leases = leases
        self._rounds = Rounds(open_sources, clock)
        self._silence = Silence()
        self._journal = journal
        self._clock = clock
        self._clocks: dict[str, IdleClock] = {}
        self._reports: dict[str, IdleReport] = {}
        """What was said last of each machine."""
        self._listed: Sequence[Machine] = ()
        """All machines of the account, as the newest listing has them."""
        self._refreshed_at: datetime | None = None
        self._saved_at: datetime | None = None
        self._saved: dict[str, IdleClock] = {}
        """The clocks as they were written last."""
        self._kept = "{}"
        """What the sources had learnt when it was written last."""
        self._read_at: dict[str, float] = {}
        """When each machine was last read about, on the event loop's monotonic clock."""
        self._told: Mapping[str, IdleReport] | None = None
        """What another process's sources say, where these are not to be asked."""
        self._restarts: dict[str, datetime] = {}
        """The starts that were found right before a stop, as the provider dates them."""

    async def load(self) -> None:
        """Read the clocks and leases that an earlier process left."""
        await self.leases.load(self._clock.now())
        self._clocks = await read_note(self._journal, _NOTE, lambda note: dict(_clocks(note)), {})
        self._saved = dict(self._clocks)
        self._rounds.remind(await read_note(self._journal, _LEARNT, _learnt, {}))

    @property
    def clocks(self) -> Mapping[str, IdleClock]:
        """By machine id."""
        return self._clocks

    def assume(self, told: Mapping[str, IdleReport], clocks: Mapping[str, IdleClock]) -> None:
        """Ask nobody: the sources say what they ``told`` another process last, whose clocks go on; after ``load``."""
        self._told, self._clocks = told, dict(clocks)

    async def use(self, settings: Mapping[str, IdleSource]) -> None:
        """Ask these sources from now on; called before every pass, so that a reload takes effect."""
        await self._rounds.use(settings)

    async def aclose(self) -> None:
        """Close all sources. Idempotent."""
        await self._rounds.aclose()

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
        self._listed = machines
        holds = [*holds, *await self._ended_holds()]

        async def one(fleet: Fleet, rule: IdleRule, up: Sequence[Machine]) -> None:
            began = anyio.current_time()
            said = await self._ask(rule, up, machines, interval)
            self._silence.heard(fleet, said)
            now = self._clock.now()
            # The next pass begins an interval after this one has ended.
            max_gap = GAPS * (interval + timedelta(seconds=anyio.current_time() - began))
            for machine in up:
                report = self._advance(machine, rule, said[machine.id], holds, now, max_gap=max_gap)
                reports[machine.id] = self._silence.judged(fleet, rule, machine, self._in_its_words(machine, report))

        async with anyio.create_task_group() as group:
            for fleet in fleets:
                if fleet.idle is None:
                    continue
                up = [
                    m for m in machines if m.phase is Phase.UP and m.id in owned and owned[m.id].fleet == fleet.name
                ]
                running |= {m.id for m in up}
                group.start_soon(one, fleet, fleet.idle, up)
        # A machine that is not up has no idle time: whoever starts it begins anew.
        self._clocks = {m: c for m, c in self._clocks.items() if m in running}
        self._read_at = {m: t for m, t in self._read_at.items() if m in running}
        self._restarts = {m: t for m, t in self._restarts.items() if m in running}
        self._silence.keep(running)
        self._rounds.forget_others({m.id for m in machines if m.phase is not Phase.DOWN})
        self._reports = reports
        self._refreshed_at = self._clock.now()
        return reports

    async def _ask(
        self, rule: IdleRule, up: Sequence[Machine], machines: Sequence[Machine], interval: timedelta
    ) -> Readings:
        if self._told is None:
            return await self._rounds.ask(rule, up, machines, patience=min(interval, LONGEST_ROUND))
        now, found = self._clock.now(), Readings()
        for machine in up:
            told = self._told.get(machine.id)
            if told is not None and known(told.verdict):
                found[machine.id] = {s: Reading(s, told.verdict, now) for s in rule.sources}
            else:
                found[machine.id] = {}
        return found

    def _in_its_words(self, machine: Machine, report: IdleReport) -> IdleReport:
        """With the evidence of the process whose word this is."""
        told = None if self._told is None else self._told.get(machine.id)
        return report if told is None or told.verdict != report.verdict else replace(report, evidence=told.evidence)

    async def save(self, *, at_once: bool = False) -> None:
        """Keep the clocks for the next process; at most once a minute, unless it is the last time.

        One that began anew is kept at once: the next process would go on with the span from before the use.
        """
        now = self._clock.now()
        lately = self._saved_at is not None and timedelta(0) <= now - self._saved_at < SAVE_EVERY
        if lately and not at_once and not any(self._began_anew(m, kept) for m, kept in self._saved.items()):
            return
        self._saved_at, self._saved = now, dict(self._clocks)
        rows = {
            machine: _Row(c.idle_since, c.last_at, c.uncovered.total_seconds(), c.gap.total_seconds())
            for machine, c in sorted(self._clocks.items())
        }
        await self._journal.put_note(_NOTE, json.dumps(msgspec.to_builtins(rows)))
        learnt = json.dumps(self._rounds.memory, sort_keys=True)
        if learnt != self._kept:
            await self._journal.put_note(_LEARNT, learnt)
            self._kept = learnt

    def _began_anew(self, machine: str, kept: IdleClock) -> bool:
        """Whether what is written of a machine's idle time is longer than what is true."""
        since = self._clocks.get(machine, IdleClock()).idle_since
        return kept.idle_since is not None and (since is None or since > kept.idle_since)

    async def last_word(self, fleet: Fleet, action: Action, machine: Machine) -> Reason | None:
        """Ask afresh right before a stop that needs the machine to be unused; a reason forbids it."""
        if action.even_if_busy or not action.verb.destructive:
            return None
        now = self._clock.now()
        if self.leases.in_force(machine.id, now) is not None:
            return Reason.BUSY
        if machine.phase is not Phase.UP and action.reason in {Reason.OVER_TARGET, Reason.BEYOND_STANDBY}:
            used = self.leases.last_use(machine.id, now)
            lately = fleet.idle is not None and used is not None and now - used < fleet.idle.after
            return Reason.NOT_IDLE_LONG_ENOUGH if lately else None
        if machine.phase is not Phase.UP or fleet.idle is None:
            return None
        said = await self._rounds.ask(fleet.idle, [machine], self._listed, patience=None)
        verdict = combine(said[machine.id].values())
        if verdict is Activity.ACTIVE or self.leases.in_force(machine.id, self._clock.now()) is not None:
            self._clocks[machine.id] = IdleClock()  # this was use, whatever the next pass is told
            await self.save()
            return Reason.BUSY
        if verdict is Activity.UNKNOWN:
            return Reason.ACTIVITY_UNKNOWN
        if action.reason is Reason.OPERATOR_REQUEST:
            return None
        return self._used_since(fleet.idle, machine) or self._started_since(fleet.idle, machine)

    def _used_since(self, rule: IdleRule, machine: Machine) -> Reason | None:
        """Use since the pass that decided: a lease that was taken and has ended, or what a later pass was told."""
        now = self._clock.now()
        used = self.leases.last_use(machine.id, now)
        if used is not None and now - used < rule.after:
            self._clocks[machine.id] = IdleClock()
        since = self._clocks.get(machine.id, IdleClock()).idle_since
        return Reason.NOT_IDLE_LONG_ENOUGH if since is None or now - since < rule.after else None

    def _started_since(self, rule: IdleRule, machine: Machine) -> Reason | None:
        """Its events tell of a start that no pass has seen: somebody restarted it, and the idle clock begins anew."""
        began = last_started(machine)
        if began is None:
            return None
        # Date and clock are both the provider's. Where its clock is not known, the date may be far ahead: one start
        # begins the idle clock anew once.
        ago = self.leases.theirs(self._clock.now()) - began
        if ago >= max(rule.after, rule.min_uptime) or self._restarts.get(machine.id) == began:
            return None
        self._restarts[machine.id] = began
        self._clocks[machine.id] = IdleClock()
        return Reason.NOT_IDLE_LONG_ENOUGH

    async def used(self, fleets: Iterable[Fleet], machines: Iterable[Machine]) -> dict[str, datetime]:
        """By machine id, when its newest lease ends or ended, or the newest hold on a machine that is not up ended.

        As far back as a fleet's ``idle.after`` reaches: those that are up have a clock, which knows.
        """
        now = self._clock.now()
        found = self.leases.ends(now)
        longest = max((f.idle.after for f in fleets if f.idle is not None), default=timedelta(0))
        kept = await self._journal.holds(now=now - longest) if longest else []
        ended = [h for h in kept if h.expires_at <= now and not h.keeps_off]
        for machine in machines if ended else ():
            own = [h.expires_at for h in ended if h.is_on(machine.id, machine.name)]
            if own and machine.phase is not Phase.UP:
                found[machine.id] = max([*own, *filter(None, [found.get(machine.id)])])
        return found

    async def _ended_holds(self) -> Sequence[Hold]:
        """Holds that have ended since the last round, perhaps an earlier process's: use while they lasted."""
        last = (c.last_at for c in self._clocks.values() if c.last_at is not None)
        since = self._refreshed_at or min(last, default=None)
        return [] if since is None else await self._journal.holds(now=since)

    def _advance(
        self,
        machine: Machine,
        rule: IdleRule,
        said: Mapping[str, Reading],
        holds: Sequence[Hold],
        now: datetime,
        *,
        max_gap: timedelta,
    ) -> IdleReport:
        readings = [*(said[source] for source in sorted(said)), *self._leased(machine, now)]
        evidence = "; ".join(f"{r.source}: {r.verdict}, {r.evidence}" for r in readings)
        own = [h for h in holds if h.is_on(machine.id, machine.name)]
        held = any(now < h.expires_at for h in own)
        ends = [h.expires_at for h in own if h.expires_at <= now]
        used_until = max([*ends, self.leases.last_use(machine.id, now) or datetime.min.replace(tzinfo=now.tzinfo)])
        verdict = combine(readings)
        if verdict is not Activity.ACTIVE and not held and len(said) < len(rule.sources):
            waiting = self._not_asked(machine, readings, used_until, max_gap=max_gap)
            if waiting is not None:
                return waiting
            verdict = Activity.UNKNOWN
            lacking = "not asked for too long: rounds are long" if machine.id in self._read_at else "not asked yet"
            evidence = "; ".join(filter(None, [evidence, lacking]))
        clock = IdleClock(None, now)
        if not held:
            clock = self._turn(machine, verdict, used_until, now, after=rule.after, max_gap=max_gap)
        self._clocks[machine.id] = clock
        if verdict is Activity.IDLE and clock.idle_since is None:
            verdict = Activity.ACTIVE
            evidence = f"held, which counts as in use; {evidence}"
        return IdleReport(verdict, clock.idle_since if verdict is Activity.IDLE else None, evidence=evidence, at=now)

    def _turn(
        self,
        machine: Machine,
        verdict: Activity,
        used_until: datetime,
        now: datetime,
        *,
        after: timedelta,
        max_gap: timedelta,
    ) -> IdleClock:
        before = self._clocks.get(machine.id, IdleClock())
        ticks = anyio.current_time()
        last = self._read_at.get(machine.id)
        elapsed = None if last is None else timedelta(seconds=ticks - last)
        self._read_at[machine.id] = ticks
        return advance(before, verdict, now, after=after, max_gap=max_gap, elapsed=elapsed, used_until=used_until)

    def _leased(self, machine: Machine, now: datetime) -> Sequence[Reading]:
        """A lease counts whether or not the rule names a source for them: whoever took it was told that it holds."""
        holder = self.leases.holder(machine.id, now)
        return [] if holder is None else [Reading("lease", Activity.ACTIVE, now, f"leased by {holder}")]

    def _not_asked(
        self,
        machine: Machine,
        readings: Sequence[Reading],
        used_until: datetime,
        *,
        max_gap: timedelta,
    ) -> IdleReport | None:
        """What was said last, of a machine that this round did not come to; None when that is too old."""
        before, clock = self._reports.get(machine.id), self._clocks.get(machine.id)
        read_at = self._read_at.get(machine.id)
        if any(r.verdict is Activity.UNKNOWN for r in readings) or before is None or clock is None or read_at is None:
            return None
        if anyio.current_time() - read_at > max_gap.total_seconds():
            return None
        if clock.idle_since is not None:
            self._clocks[machine.id] = clock = replace(clock, idle_since=max(clock.idle_since, used_until))
        return replace(before, idle_since=clock.idle_since if before.idle_since is not None else None)


class _Row(Struct, frozen=True, array_like=True):
    since: Instant | None
    last: Instant | None
    uncovered: float
    gap: float = 0.0


def _clock(row: _Row) -> IdleClock:
    if any(at is not None and plausible(at) is None for at in (row.since, row.last)):
        raise ValueError(str(row))
    return IdleClock(row.since, row.last, timedelta(seconds=row.uncovered), timedelta(seconds=row.gap))


def _clocks(note: Mapping[str, object]) -> Iterable[tuple[str, IdleClock]]:
    """The clocks of an earlier process; one that cannot be read begins anew, which is later, never sooner."""
    for machine, told in note.items():
        try:
            yield machine, _clock(msgspec.convert(told, _Row))
        except (ValueError, OverflowError) as error:
            log.warning("idle_clocks.were_unreadable", machine=machine, error=f"{type(error).__name__} {error}")


def _learnt(note: Mapping[str, object]) -> dict[str, dict[str, int]]:
    return msgspec.convert(note, dict[str, dict[str, int]])
