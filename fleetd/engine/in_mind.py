"""Tells what the parts of a look keep in mind, and has another process's parts go on from there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar, cast

from msgspec import Struct, structs

from fleetd.engine.checks import Checks
from fleetd.engine.idleness import Idleness
from fleetd.engine.observer import Observer
from fleetd.engine.recall import Recall
from fleetd.engine.settling import Settling
from fleetd.engine.snapshots import Snapshots
from fleetd.model.bounds import FIRST, LAST, seconds
from fleetd.model.in_mind import CreatesWait, Declined, IdleClockTold, InMind, SnapshotLook
from fleetd.model.journal import IdleReport, Setback
from fleetd.model.machine import SnapshotSight
from fleetd.model.plan import Check
from fleetd.model.reasons import Reason, known
from fleetd.planner.idle import IdleClock

_Told = TypeVar("_Told")


@dataclass(frozen=True, slots=True)
class Keepers:
    """Who keeps something in mind that decides what a pass does."""

    checks: Checks
    snapshots: Snapshots
    recall: Recall
    settling: Settling
    observer: Observer
    idleness: Idleness

    def told(self, now: datetime) -> InMind:
        """All that they keep."""
        waits = self.recall.told_to_wait(now)
        return InMind(
            checks={m: {str(c): policy for c, policy in made.items()} for m, made in self.checks.standing().items()},
            unjudged=tuple(sorted(self.checks.unjudged)),
            snapshots={
                m: SnapshotLook(at=at, newest_at=sight.newest_at, doubt=sight.doubt)
                for m, (at, sight) in self.snapshots.kept(now).items()
            },
            refusals={key: _declined(back) for key, back in self.recall.refusals(now).items()},
            creates_wait=None if waits is None else _creates_wait(*waits),
            reconfigured=self.recall.setbacks.unsaved,
            looked_at=self.settling.looked_at,
            looked_for=self.settling.looked_for,
            unidentified=self.observer.unidentified,
            doubtful=self.observer.doubtful,
            idle_clocks={m: _clock_told(clock) for m, clock in self.idleness.clocks.items()},
        )

    def assume(self, mind: InMind, idle: Mapping[str, IdleReport] | None) -> None:
        """Keep what another process told, and who is idle. What only another version knows is left out.

        An instant that no clock of ours can come near is the nearest that one can.
        """
        mind = _in_reach(mind)
        checks = {str(check): check for check in Check}
        self.checks.assume(
            {m: {checks[c]: by for c, by in made.items() if c in checks} for m, made in mind.checks.items()}
        )
        self.checks.unjudged = frozenset(mind.unjudged)
        self.snapshots.assume(
            {m: (look.at, SnapshotSight(m, look.newest_at, look.doubt)) for m, look in mind.snapshots.items()}
        )
        waits = mind.creates_wait
        self.recall.assume(
            {key: _setback(one) for key, one in mind.refusals.items()},
            None if waits is None else (waits.since, seconds(waits.lasts_s), waits.words),
            reconfigured=mind.reconfigured,
        )
        self.settling.assume(mind.looked_at, mind.looked_for)
        self.observer.assume(mind.unidentified, mind.doubtful)
        if idle is not None:
            idle = {m: replace(report, idle_since=_in_reach(report.idle_since)) for m, report in idle.items()}
            self.idleness.assume(idle, {m: _clock(told) for m, told in mind.idle_clocks.items()})


def _in_reach(told: _Told) -> _Told:
    """With every instant in it of the years that can be reckoned with: it came from another process."""
    found: Any = told
    if isinstance(found, datetime):
        found = min(max(found, FIRST), LAST)
    elif isinstance(found, Struct):
        found = structs.replace(found, **{name: _in_reach(one) for name, one in structs.asdict(found).items()})
    elif isinstance(found, dict):
        found = {key: _in_reach(one) for key, one in found.items()}
    return cast("_Told", found)


def _declined(back: Setback) -> Declined:
    return Declined(
        until=back.until,
        words=back.words,
        since=back.since,
        attempt=back.attempt,
        why=back.why or Reason.REFUSED_RECENTLY,
        lasts_s=(back.lasts or timedelta(0)).total_seconds(),
    )


def _clock_told(clock: IdleClock) -> IdleClockTold:
    uncovered, gap = clock.uncovered.total_seconds(), clock.gap.total_seconds()
    return IdleClockTold(since=clock.idle_since, last_at=clock.last_at, uncovered_s=uncovered, gap_s=gap)


def _clock(told: IdleClockTold) -> IdleClock:
    return IdleClock(told.since, told.last_at, seconds(told.uncovered_s), seconds(told.gap_s))


def _creates_wait(since: datetime, lasts: timedelta, words: str) -> CreatesWait:
    return CreatesWait(since=since, lasts_s=lasts.total_seconds(), words=words)


def _setback(one: Declined) -> Setback:
    why = one.why if known(one.why) else Reason.REFUSED_RECENTLY
    return Setback(one.until, one.words, one.since, one.attempt, why=why, lasts=seconds(one.lasts_s))
