"""Idle sources that know nothing: of a whole fleet, or of one machine for half an hour. Each is said once."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace

import anyio
import structlog

from fleetd.model.fleet import Fleet, IdleRule
from fleetd.model.journal import IdleReport
from fleetd.model.machine import Machine
from fleetd.model.reasons import Activity
from fleetd.planner.idle import SILENT_AFTER, Reading

log = structlog.get_logger(__name__)

KNOWN_AGAIN = 9
"""Passes in a row that must find a machine idle before it counts as known again: of ten readings one may be missing
(``planner.idle.COVERAGE``), so a source that answers less has nothing parked, ever, and must be heard of."""


class Silence:
    """Remembers who is silent. Monotonic time only: a restart begins anew."""

    def __init__(self) -> None:
        self._sources: set[str] = set()
        self._unknown_since: dict[str, float] = {}
        self._known: set[str] = set()
        """Machines of which something was known since they came up."""
        self._said: set[str] = set()
        self._idle_in_a_row: dict[str, int] = {}
        """Passes, by machine, since it was unknown last."""

    def heard(self, fleet: Fleet, said: Mapping[str, Mapping[str, Reading]]) -> None:
        """One alert when a source knows nothing of a whole fleet any more, one line when it is back."""
        by_source: dict[str, list[Reading]] = {}
        for readings in said.values():
            for source, reading in readings.items():
                by_source.setdefault(source, []).append(reading)
        for source, readings_of in by_source.items():
            silent = not any(r.verdict is not Activity.UNKNOWN for r in readings_of)
            key = f"{fleet.name}:{source}"
            if silent and key not in self._sources:
                self._sources.add(key)
                log.warning("idle_source.went_silent", fleet=fleet.name, source=source, error=readings_of[0].evidence)
            elif not silent and key in self._sources:
                self._sources.discard(key)
                log.info("idle_source.recovered", fleet=fleet.name, source=source)

    def judged(self, fleet: Fleet, rule: IdleRule, machine: Machine, report: IdleReport) -> IdleReport:
        """The report, with how long the machine has been unknown."""
        keys = {"fleet": fleet.name, "machine": machine.id, "name": machine.name}
        unknown = report.verdict == Activity.UNKNOWN
        in_a_row = self._idle_in_a_row[machine.id] = 0 if unknown else self._idle_in_a_row.get(machine.id, 0) + 1
        if not unknown:
            self._known.add(machine.id)
        if report.verdict == Activity.ACTIVE or in_a_row >= KNOWN_AGAIN:
            self._unknown_since.pop(machine.id, None)
            if machine.id in self._said:
                self._said.discard(machine.id)
                log.info("machine.was_heard_again", **keys)
        if not unknown and machine.id not in self._unknown_since:
            return report
        ticks = anyio.current_time()
        lasts = ticks - self._unknown_since.setdefault(machine.id, ticks)
        if machine.id not in self._known:
            lasts = max(0.0, lasts - rule.after.total_seconds())
        if lasts >= SILENT_AFTER and machine.id not in self._said:
            self._said.add(machine.id)
            log.warning("machine.went_silent", **keys, error=report.evidence)
        return replace(report, unknown_s=lasts)

    def keep(self, running: AbstractSet[str]) -> None:
        """Forget machines that are not up."""
        self._unknown_since = {m: t for m, t in self._unknown_since.items() if m in running}
        self._idle_in_a_row = {m: n for m, n in self._idle_in_a_row.items() if m in running}
        self._known &= running
        self._said &= running
