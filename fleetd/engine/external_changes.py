"""Changes that fleetd did not ask for: logged, written to history, remembered."""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog

from fleetd.engine.clocks import Agreement
from fleetd.engine.faults import Faults
from fleetd.engine.recall import Recall
from fleetd.model.journal import OUTSIDE, HistoryEntry
from fleetd.model.machine import Machine, Phase
from fleetd.model.reasons import Outcome, Verb
from fleetd.planner.attribution import Culprit, classify, remember
from fleetd.planner.facts import OutsideChange
from fleetd.planner.waits import is_waiting

log = structlog.get_logger(__name__)


FIGHT = 3
"""Turns by somebody else within ``FIGHT_WITHIN`` from which on it is no wish of a person's any more: another program,
another daemon perhaps, wants the machine otherwise and will not stop."""
FIGHT_WITHIN = timedelta(hours=1)

REMEMBERED = 5000
"""Entries of history that a start reads."""

LATE_EFFECT = "late_effect"
"""The reason, in history, of what a call of fleetd's did after it had been given up."""


class ExternalChanges:
    """Says who changed a machine of ours."""

    def __init__(self, recall: Recall, faults: Faults, agreement: Agreement) -> None:
        self._recall = recall
        self._agreement = agreement
        self._faults = faults
        self._turns: dict[str, list[datetime]] = {}

    async def load(self) -> None:
        """Read from history what an earlier process reported, as far as anything follows from it still."""
        for _, entry in await self._recall.journal.history(limit=REMEMBERED):
            if entry.machine is None or (entry.verb != OUTSIDE and entry.reason != LATE_EFFECT):
                continue
            if entry.tells_gone:
                self._turns.pop(entry.machine, None)
            elif entry.reason == Culprit.OPERATOR:
                turns = [t for t in self._turns.get(entry.machine, []) if is_waiting(t, FIGHT_WITHIN, entry.ts)]
                self._turns[entry.machine] = [*turns, entry.ts]
            if entry.reason != Culprit.OPERATOR or len(self._turns.get(entry.machine, ())) >= FIGHT:
                self._recall.setbacks.turned(entry.machine, entry.ts)

    def fought_over(self, now: datetime) -> dict[str, int]:
        """How often, by machine id, those were turned that somebody turns again and again."""
        counts = {m: sum(is_waiting(t, FIGHT_WITHIN, now) for t in turns) for m, turns in self._turns.items()}
        return {m: count for m, count in counts.items() if count >= FIGHT}

    async def report(self, change: OutsideChange, at: datetime) -> None:
        """Say what changed and by whom, as far as the events tell; of a late effect of fleetd's own, which call's."""
        was = change.facts
        if change.back:
            self._say(change, Culprit.UNKNOWN)
            await self._write(change, at, Culprit.UNKNOWN)
            return
        try:
            culprit = classify(change.machine, was)
        except Exception as error:  # noqa: BLE001 - its own problem: that it changed is known, and must not be lost
            self._faults.saw("machine", error)
            culprit = Culprit.UNKNOWN
        setbacks = self._recall.setbacks
        turned = change.machine if change.machine is not None and change.machine.phase is not Phase.UNKNOWN else None
        late = Verb.DESTROY if change.ours else None
        if turned is not None:
            late = await setbacks.late(turned, at)
        if late is not None:
            culprit = Culprit.FLEETD
        self._say(change, culprit, late)
        if turned is not None and culprit in {Culprit.UNKNOWN, Culprit.FAILED_START}:
            await setbacks.undone(turned.id, up=turned.phase in {Phase.UP, Phase.RISING}, now=at)
        elif late is None and change.machine is None:
            await setbacks.vanished(was.machine_id, at)
        elif change.machine is not None and culprit is Culprit.OPERATOR:
            await self._fight(change, change.machine, at)
        if change.machine is None:
            self._turns.pop(was.machine_id, None)
        now_known = self._recall.facts.get(was.machine_id)
        if now_known is not None:
            await self._recall.put([remember(now_known, change.machine, culprit, at, self._agreement.latest())])
        await self._write(change, at, culprit, late)

    def _say(self, change: OutsideChange, culprit: Culprit, late: Verb | None = None) -> None:
        keys = {"fleet": change.facts.fleet, "machine": change.facts.machine_id, "name": change.facts.name}
        turn = {"was": change.was, "became": change.became}
        if late is None:
            log.warning("machine.changed_outside", **turn, reason=str(culprit), **keys)
        else:
            log.info("machine.changed_late", action=str(late), **turn, **keys)

    async def _write(self, change: OutsideChange, at: datetime, culprit: Culprit, late: Verb | None = None) -> None:
        await self._recall.journal.append_history(
            HistoryEntry(
                ts=at,
                fleet=change.facts.fleet,
                machine=change.facts.machine_id,
                name=change.facts.name,
                verb=late or OUTSIDE,
                reason=LATE_EFFECT if late else str(culprit),
                outcome=Outcome.REACHED if late else Outcome.OBSERVED,
                error=f"{change.was} -> {change.became}",
                actor="fleetd" if late else "outside",
            )
        )

    async def _fight(self, change: OutsideChange, machine: Machine, at: datetime) -> None:
        """Somebody turns it again and again: fleetd's own calls for it grow apart, and a person is told."""
        turns = [t for t in self._turns.get(machine.id, []) if is_waiting(t, FIGHT_WITHIN, at)]
        self._turns[machine.id] = turns = [*turns, at]
        if len(turns) < FIGHT:
            return
        back = await self._recall.setbacks.undone(machine.id, up=machine.phase in {Phase.UP, Phase.RISING}, now=at)
        log.error(
            "machine.was_fought_over",
            fleet=change.facts.fleet,
            machine=machine.id,
            name=machine.name,
            became=change.became,
            count=len(turns),
            until=None if back is None else back.until.isoformat(),
        )
