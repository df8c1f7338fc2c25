"""What is noted while a run goes on, because afterwards it could not be seen any more."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from fleetd.simulator.calls import Call
from fleetd.simulator.wire import Answer
from tests.sim.record import Record

OPEN_INTENTS = (
    "SELECT verb, machine_id, name, created_at, deadline_at, accepted_at FROM intent WHERE closed_at IS NULL"
)
VERBS = frozenset({"create", "start", "stop", "restart", "destroy", "update"})


Rows = Callable[[str], list[tuple[Any, ...]]]
"""Reads the journal as somebody else: ``Site.rows``."""


class Witness:
    """Stands beside the provider and reads the journal at the moment a write arrives."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self.heard: dict[str, tuple[float, str]] = {}
        """By machine: when an idle source was asked about it, and what was true."""

    def arrived(self, call: Call, _answer: Answer, journal: Rows) -> None:
        """A call has reached the provider."""
        if not call.write:
            return
        if call.machine_id in self.heard:
            self._record.heard[call.seq] = self.heard[call.machine_id]
        if call.operation in VERBS and not _is_journaled(call, journal):
            self._record.unjournaled.append(f"{call.operation} {call.machine_id} at {call.world_seconds:.1f} s")

    def verdicts(self, journal: Rows, now: datetime, slack: float) -> None:
        """Look for transitions that should have had their verdict ``slack`` seconds ago."""
        for verb, machine_id, name, _, deadline, _ in journal(OPEN_INTENTS):
            late = now.timestamp() - deadline / 1e6
            if machine_id is not None and late > slack:
                self._record.overdue.append(f"{verb} of {name} is {late:.0f} s past its deadline")

    def secrecy(self, key: str, places: dict[str, str | bytes]) -> None:
        """Look for the key."""
        for place, content in places.items():
            needle: str | bytes = key if isinstance(content, str) else key.encode()
            if needle in content:  # type: ignore[operator]
                self._record.exposures.append(place)


def _is_journaled(call: Call, journal: Rows) -> bool:
    name = call.body.get("machineName") or call.body.get("name") if isinstance(call.body, dict) else None
    for verb, machine_id, intended, *_ in journal(OPEN_INTENTS):
        if verb == call.operation and (intended == name if verb == "create" else machine_id == call.machine_id):
            return True
    return False
