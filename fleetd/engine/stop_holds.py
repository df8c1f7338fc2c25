"""Which holds an operator's stop has left behind: a person's start ends those, and no others."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime

from fleetd.model.journal import Hold
from fleetd.store.port import Journal

NOTE = "kept_off"
"""In the journal: the ids of these holds, as a JSON list. Whatever else stands there counts as none."""


async def remember(journal: Journal, hold: Hold, now: datetime) -> None:
    """A stop has left this hold behind."""
    alive = {h.id for h in await journal.holds(now=now)}
    kept = [number for number in await _ids(journal) if number in alive]
    await journal.put_note(NOTE, json.dumps([*kept, hold.id]))


async def lift(journal: Journal, machine_id: str, name: str, fleet: str, now: datetime) -> Sequence[Hold]:
    """End what stops have left on a machine; what was ended. A hold or freeze that was ordered as one stays."""
    left = set(await _ids(journal))
    lifted = [
        hold
        for hold in await journal.holds(now=now)
        if hold.id in left
        and hold.keeps_off
        and all(hold.forbids(v, fleet=fleet, machine_id=machine_id, name=name, now=now) for v in hold.verbs)
    ]
    for hold in lifted:
        await journal.remove_hold(hold.id)
    return lifted


async def _ids(journal: Journal) -> list[int]:
    try:
        found = json.loads(await journal.get_note(NOTE) or "[]")
    except (ValueError, RecursionError):
        return []
    return [number for number in found if type(number) is int] if isinstance(found, list) else []
