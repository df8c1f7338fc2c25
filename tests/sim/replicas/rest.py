"""The end of a run: what has been recorded by now, and whether that can be judged to be at rest."""

from __future__ import annotations

from collections.abc import Collection

from fleetd.simulator.world import World
from tests.sim.replicas.life import ReplicaSite
from tests.sim.replicas.network import Wire
from tests.sim.replicas.record import ReplicaRecord
from tests.sim.replicas.server import Server
from tests.sim.replicas.story import CALM_LIMIT, ReplicaStory
from tests.sim.settling import quiet_from
from tests.sim.truth import Truth


def gather(
    record: ReplicaRecord, world: World, database: Server, sites: Collection[ReplicaSite], wires: Collection[Wire]
) -> None:
    """Put into the record what the provider, the database and the hosts have seen until now."""
    world.advance()
    calls = [call for wire in wires for call in wire.server.calls]
    record.calls = sorted(calls, key=lambda call: (call.world_seconds, call.seq))
    record.sent = sorted((s for wire in wires for s in wire.sent), key=lambda s: s.at)
    record.timeline = world.timeline
    record.machines = world.state.machines | world.state.gone
    record.lives = [life.span for site in sites for life in site.lives]
    record.tenures, record.written = database.tenures, database.written


def wanted_end(record: ReplicaRecord, story: ReplicaStory) -> float | None:
    """When the run can be judged to have rested, where that is not yet: what is backed off from makes it late.

    Never later than ``CALM_LIMIT`` after the faults: what goes on until then is judged as it is.
    """
    latest = story.calm_from + max(CALM_LIMIT, story.calm)
    wanted = min(quiet_from(Truth(record)) + record.rest, latest)
    return wanted if wanted > record.end else None
