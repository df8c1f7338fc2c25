"""What a fleet's policies add to the create call of its dialect."""

from __future__ import annotations

from fleetd.config.schema import FleetTable
from fleetd.model.fleet import Scalar
from fleetd.model.vendor_v1 import V1_SNAPSHOT_FREQUENCIES


def created_with(table: FleetTable, dialect: str) -> dict[str, Scalar]:
    """The create call's parameters: the ``machine`` table, and the policies where the call can carry them.

    v1 sets policies up in the create alone, by its vendor's pages; on machines that exist an update may be ignored.
    Core's create has no such parameters. The two never say the same thing twice: ``check`` refuses that.

    Args:
        table: the fleet's table.
        dialect: paperspace-core or paperspace.
    """
    parameters: dict[str, Scalar] = dict(table.machine)
    if dialect != "paperspace":
        return parameters
    timeout, snapshot = table.shutdown_timeout, table.auto_snapshot
    if timeout is not None:
        parameters["autoShutdownEnabled"] = True
        parameters["autoShutdownTimeout"] = timeout.hours
        parameters["autoShutdownForce"] = timeout.force
    if snapshot is not None:
        parameters["autoSnapshotEnabled"] = snapshot.frequency != "none"
        if snapshot.frequency != "none":
            theirs = {ours: v1 for v1, ours in V1_SNAPSHOT_FREQUENCIES.items()}
            parameters["autoSnapshotFrequency"] = theirs.get(snapshot.frequency, snapshot.frequency)
            if snapshot.keep is not None:
                parameters["autoSnapshotSaveCount"] = snapshot.keep
    return parameters
