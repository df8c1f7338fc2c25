"""Snapshots of the machines' disks: the part of the world that v1 alone can ask for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

from fleetd.simulator import lifecycle
from fleetd.simulator.records import EventRecord, MachineRecord, Refusal, SnapshotRecord
from fleetd.simulator.state import WorldState


class Disks(ABC):
    """The world's snapshots."""

    state: WorldState

    @abstractmethod
    def advance(self) -> float:
        """Catch up with the clock. Returns world seconds since the epoch."""

    @abstractmethod
    def _alive(self, machine_id: str) -> MachineRecord: ...

    def snapshot(self, machine_id: str, name: str) -> tuple[SnapshotRecord, EventRecord]:
        """Take a snapshot by hand; the event ends when it is done.

        Raises:
            Refusal: no such machine, or one that is being made.
        """
        record = self._alive(machine_id)
        if record.young:
            raise busy(record)
        taken = lifecycle.take_snapshot(self.state, record, name, auto=False)
        return taken, self._snapshot_event(record, "snapshot-create")

    def drop_snapshot(self, snapshot_id: str) -> tuple[SnapshotRecord, EventRecord]:
        """Delete a snapshot.

        Raises:
            Refusal: no such snapshot.
        """
        record, snapshot = self.find_snapshot(snapshot_id)
        record.snapshots.remove(snapshot)
        return snapshot, self._snapshot_event(record, "snapshot-delete")

    def restore_snapshot(self, snapshot_id: str) -> tuple[SnapshotRecord, EventRecord]:
        """Bring a machine's disk back to a snapshot; the machine must be off.

        Raises:
            Refusal: no such snapshot, or the machine is not off.
        """
        record, snapshot = self.find_snapshot(snapshot_id)
        if record.state != "off":
            raise busy(record)
        return snapshot, self._snapshot_event(record, "snapshot-restore")

    def find_snapshot(self, snapshot_id: str) -> tuple[MachineRecord, SnapshotRecord]:
        """The machine and the snapshot.

        Raises:
            Refusal: no such snapshot.
        """
        for record, snapshot in self.snapshots():
            if snapshot.id == snapshot_id:
                return record, snapshot
        raise Refusal("Snapshot not found", subject="snapshot", missing=True)

    def snapshots(self) -> Iterator[tuple[MachineRecord, SnapshotRecord]]:
        """Every snapshot with its machine, machine by machine."""
        self.advance()
        for record in self.state.machines.values():
            for snapshot in record.snapshots:
                yield record, snapshot

    def _snapshot_event(self, record: MachineRecord, name: str) -> EventRecord:
        event = self.state.open_event(record, name)
        self.state.schedule(record, "snapshot done", self.state.t + self.state.draw(self.state.durations.snapshot))
        return event


def busy(record: MachineRecord) -> Refusal:
    """The refusal of what a machine in transition cannot do."""
    return Refusal(f"This machine is currently {record.state}.", subject="state")
