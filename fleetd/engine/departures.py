"""Stops and destroys that came to nothing, and that may have their effect late.

A machine whose stop was sent may go at any moment, whatever the provider said since. Were another one stopped in its
place, both would be gone, and the fleet below its target. Kept in the journal: a restart forgets none of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated

from msgspec import Meta, Struct, to_builtins

from fleetd.engine.notes import read_note, rows_of
from fleetd.model.instant import Instant
from fleetd.model.journal import Departure, Intent
from fleetd.model.reasons import Verb
from fleetd.planner.waits import is_waiting
from fleetd.store.port import Journal

NOTE = "departures"
"""The journal's note that holds them."""
LATE = timedelta(minutes=30)
"""How long after an accepted call its effect may come; each further one begins it anew."""
DECLINED = timedelta(minutes=10)
"""The same of a call that was declined, from the first in a row: it should have done nothing."""


class Departures:
    """By machine id."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._known: dict[str, Departure] = {}

    async def load(self) -> None:
        """Read what an earlier process left. What cannot be read is left out."""
        self._known = await read_note(self._journal, NOTE, _read, {})

    def known(self, now: datetime) -> dict[str, Departure]:
        """Those whose effect may come still."""
        return {m: one for m, one in self._known.items() if is_waiting(one.at, one.lasts, now)}

    async def add(self, intent: Intent, now: datetime, *, declined: bool = False) -> None:
        """A call was sent, and nothing came of it so far."""
        if intent.verb not in {Verb.STOP, Verb.DESTROY} or intent.machine_id is None:
            return
        known = self.known(now)
        if declined and intent.machine_id in known:
            return
        known[intent.machine_id] = Departure(now, DECLINED if declined else LATE, intent.verb)
        self._known = known
        rows = {m: _Row(one.at, one.lasts.total_seconds(), one.verb) for m, one in sorted(known.items())}
        await self._journal.put_note(NOTE, json.dumps(to_builtins(rows), separators=(",", ":")))


class _Row(Struct, frozen=True):
    at: Instant
    s: Annotated[float, Meta(ge=0, le=LATE.total_seconds())]
    verb: object = Verb.STOP


def _read(note: Mapping[str, object]) -> dict[str, Departure]:
    return {
        machine: Departure(row.at, timedelta(seconds=row.s), Verb.DESTROY if row.verb == Verb.DESTROY else Verb.STOP)
        for machine, row in rows_of(note, _Row).items()
    }
