"""How old a machine's newest snapshot is.

A snapshot carries no date, and its event does not name it. So the newest one was made when the newest event of the
kind was begun, as long as no snapshot of the machine was deleted since: which one it was is told nowhere.
"""

from __future__ import annotations

from collections.abc import Sequence

from fleetd.cloud.port import Json
from fleetd.model.machine import MachineEvent, SnapshotSight

_MADE, _DELETED = "snapshot-create", "snapshot-delete"


def tells_date(event: Json) -> bool:
    """Whether an event as the API sends it is a snapshot's that was made."""
    return event.get("name") == _MADE and event.get("state") == "done"


def sight(machine_id: str, rows: Sequence[Json], events: Sequence[MachineEvent]) -> SnapshotSight:
    """What is known of the newest one.

    Args:
        machine_id: whose.
        rows: its snapshots.
        events: its events, newest first, at least as far back as the newest snapshot that was made.
    """
    attempts = [event for event in events if event.name == _MADE]
    newest = next((event for event in attempts if event.state == "done"), None)
    failure = attempts[0] if attempts and attempts[0].failed else None
    if not any(row.get("machineId") == machine_id for row in rows):
        return SnapshotSight(machine_id, None, "it has no snapshot", failure)
    if newest is None or newest.created_at is None:
        return SnapshotSight(machine_id, None, "no event tells when its snapshots were made", failure)
    if any(_deleted_since(event, newest, events) for event in events):
        return SnapshotSight(machine_id, None, "a snapshot was deleted since the newest was made", failure)
    return SnapshotSight(machine_id, newest.created_at, failure=failure)


def _deleted_since(event: MachineEvent, newest: MachineEvent, events: Sequence[MachineEvent]) -> bool:
    if event.name != _DELETED or event.failed:
        return False
    if event.created_at is None or newest.created_at is None:
        return True
    return event.created_at >= newest.created_at or events.index(event) < events.index(newest)
