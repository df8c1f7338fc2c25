"""What every verb is as a call, as a log line and in time."""

from __future__ import annotations

from datetime import timedelta

import structlog

from fleetd.cloud.port import Cloud, MachineChange
from fleetd.model.fleet import Deadlines, Fleet
from fleetd.model.journal import Intent
from fleetd.model.machine import Machine
from fleetd.model.plan import Action
from fleetd.model.reasons import Verb

log = structlog.get_logger(__name__)


async def make_call(cloud: Cloud, action: Action) -> None:
    """Make an action's call; every ``CloudError`` of the port comes through."""
    machine_id = action.machine or ""
    match action.verb:
        case Verb.START:
            await cloud.start(machine_id)
        case Verb.STOP:
            await cloud.stop(machine_id)
        case Verb.RESTART:
            await cloud.restart(machine_id)
        case Verb.DESTROY:
            await cloud.destroy(machine_id, release_public_ip=bool(action.changes.get("release_public_ip")))
        case Verb.UPDATE:
            await cloud.update(machine_id, MachineChange(**action.changes))  # type: ignore[arg-type]
        case Verb.CREATE:  # pragma: no cover - creates have a path of their own
            raise AssertionError(action)


def say_requested(intent: Intent, pass_id: int) -> None:
    """Log that a call is about to be made."""
    log.info(
        _REQUESTED[intent.verb],
        reason=str(intent.reason),
        pass_id=pass_id,
        evidence=intent.evidence,
        actor=intent.actor if intent.actor != "fleetd" else None,
        **intent.log_keys,
    )


def place_of(machine: Machine, fleet: Fleet) -> dict[str, object]:
    """Where a start wants capacity; its lack is remembered under this."""
    return {"region": machine.region or fleet.region, "machineType": machine.machine_type or fleet.machine_type}


def deadline_of(verb: Verb, deadlines: Deadlines) -> timedelta:
    """How long a transition of this verb may take."""
    match verb:
        case Verb.CREATE:
            return deadlines.create
        case Verb.START:
            return deadlines.start
        case Verb.STOP:
            return deadlines.stop
        case Verb.RESTART | Verb.UPDATE:
            return deadlines.restart
        case Verb.DESTROY:
            return deadlines.destroy


_REQUESTED = {
    Verb.CREATE: "machine.create_requested",
    Verb.START: "machine.start_requested",
    Verb.STOP: "machine.stop_requested",
    Verb.RESTART: "machine.restart_requested",
    Verb.DESTROY: "machine.destroy_requested",
    Verb.UPDATE: "machine.update_requested",
}
