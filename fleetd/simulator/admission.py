"""What a new machine must be like to be accepted. The rules are the vendor page's, the same in both dialects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from fleetd.simulator.catalogue import MACHINE_TYPES, REGIONS
from fleetd.simulator.records import MachineRecord, Refusal
from fleetd.simulator.state import WorldState


@dataclass(frozen=True, slots=True)
class NewMachine:
    """What is asked for. None is "as the vendor likes"."""

    name: str
    machine_type: str
    region: str
    template_id: str
    size_gb: int
    user_id: str | None = None
    team_id: str | None = None
    network_id: str | None = None
    script_id: str | None = None
    public_ip_type: str = "none"
    start_on_create: bool = True
    initial_snapshot: bool = False
    restore_point_frequency: str | None = None
    shutdown_hours: float | None = 168
    shutdown_forces: bool = False
    auto_snapshots: bool = False
    snapshot_frequency: str | None = None
    snapshot_keep: int | None = None
    accessors: tuple[str, ...] = ()


class Foreign(TypedDict, total=False):
    """What may be said of a machine that is put into the world by ``World.add_machine``, besides its make."""

    shutdown_hours: float | None
    shutdown_forces: bool
    auto_snapshots: bool
    snapshot_frequency: str | None
    snapshot_keep: int | None
    public_ip_type: str


class Changes(Foreign, total=False):
    """What an update may set, by the record's names."""

    name: str
    network_id: str
    size_gb: int
    restore_point_frequency: str | None
    restore_point_snapshot_id: str | None


def admit(s: WorldState, new: NewMachine, *, machine_id: str | None = None) -> MachineRecord:
    """A record for the machine, not yet part of the world.

    Raises:
        Refusal: something that it names does not exist or does not go together.
    """
    _check(s, new)
    network_id = new.network_id or next((n.id for n in s.networks.values() if n.region == new.region), "")
    record = MachineRecord(
        id=s.claim_id(machine_id) if machine_id is not None else s.new_id("ps"),
        internal_id=s.new_internal_id(),
        name=new.name,
        machine_type=new.machine_type,
        region=new.region,
        template=s.templates[new.template_id],
        size_gb=new.size_gb,
        created=s.t,
        modified=s.t,
        user_id=new.user_id or s.owner_id,
        team_id=new.team_id or s.team_id,
        network_id=network_id,
        script_id=new.script_id,
        public_ip_type=new.public_ip_type,
        start_on_create=new.start_on_create,
        initial_snapshot=new.initial_snapshot,
        restore_point_frequency=new.restore_point_frequency,
        shutdown_hours=new.shutdown_hours,
        shutdown_forces=new.shutdown_forces,
        auto_snapshots=new.auto_snapshots,
        snapshot_frequency=new.snapshot_frequency,
        snapshot_keep=new.snapshot_keep,
        accessors=list(new.accessors),
    )
    s.reprice(record)
    return record


def _check(s: WorldState, new: NewMachine) -> None:
    known = {
        "region": new.region in REGIONS,
        "machine_type": new.machine_type in MACHINE_TYPES,
        "script": new.script_id is None or new.script_id in s.scripts,
        "team": new.team_id in {None, s.team_id},
        "user": {new.user_id or s.owner_id, *new.accessors} <= set(s.users),
    }
    for subject, exists in known.items():
        if not exists:
            raise Refusal(f"{subject} not found", subject=subject, missing=True)
    template = s.templates.get(new.template_id)
    if template is None or template.region not in {None, new.region}:
        raise Refusal("template not found", subject="template", missing=True)
    if template.windows and MACHINE_TYPES[new.machine_type].cpu_only:
        raise Refusal(
            f"Windows templates cannot be used with machine type {new.machine_type}", subject="machine_type"
        )
    network = s.networks.get(new.network_id) if new.network_id is not None else None
    if new.network_id is not None and (network is None or network.region != new.region):
        raise Refusal("network not found", subject="network", missing=True)
    if new.size_gb < 1:
        raise Refusal("size must be at least 1", subject="size")
