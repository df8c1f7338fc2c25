"""Changes that fleetd did not ask for: logged, written to history, remembered."""

from __future__ import annotations

from datetime import datetime

import structlog

from fleetd.engine.faults import Faults
from fleetd.engine.recall import Recall
from fleetd.model.journal import HistoryEntry
from fleetd.model.machine import Phase
from fleetd.model.reasons import Outcome
from fleetd.planner.facts import OutsideChange
from fleetd.planner.outside import Culprit, classify, remember

log = structlog.get_logger(__name__)


class Outsiders:
    """Says who changed a machine of ours."""

    def __init__(self, recall: Recall, faults: Faults) -> None:
        self._recall = recall
        self._faults = faults

    async def report(self, change: OutsideChange, at: datetime) -> None:
        """Say what changed and by whom, as far as the events tell."""
        was = change.facts
        try:
            culprit = classify(change.machine, was)
        except Exception as error:  # noqa: BLE001 - its own problem: that it changed is known, and must not be lost
            self._faults.saw("machine", error)
            culprit = Culprit.UNKNOWN
        setbacks = self._recall.setbacks
        if (
            change.machine is not None
            and change.machine.phase is not Phase.UNKNOWN
            and await setbacks.late(change.machine, at)
        ):
            culprit = Culprit.FLEETD
        elif (
            change.machine is not None
            and change.machine.phase is not Phase.UNKNOWN
            and culprit in {Culprit.UNKNOWN, Culprit.FAILED_START}
        ):
            up = change.machine.phase in {Phase.UP, Phase.RISING}
            await setbacks.undone(change.machine.id, up=up, now=at)
        log.warning(
            "machine.changed_outside",
            fleet=was.fleet,
            machine=was.machine_id,
            name=was.name,
            was=was.last_state,
            became=change.became,
            reason=str(culprit),
        )
        now_known = self._recall.facts.get(was.machine_id)
        if now_known is not None:
            await self._recall.put([remember(now_known, change.machine, culprit, at)])
        await self._recall.journal.append_history(
            HistoryEntry(
                ts=at,
                fleet=was.fleet,
                machine=was.machine_id,
                name=was.name,
                verb="outside",
                reason=str(culprit),
                outcome=Outcome.OBSERVED,
                error=f"{was.last_state} -> {change.became}",
                actor="outside",
            )
        )
