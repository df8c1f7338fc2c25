"""What happens to a machine over time: states, events, timers. Driven by the agenda, never by a task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from heapq import heappop
from types import MappingProxyType

from fleetd.simulator.records import EventRecord, MachineRecord, SnapshotRecord
from fleetd.simulator.state import Span, WorldState

NO_CAPACITY = (
    "Uh oh. This machine type can't start due to insufficient capacity or higher than normal demand. "
    "Please try again later."
)
"""The vendor's words for a start without capacity (CORE-API-Docs, show)."""

PERIODS: Mapping[str, float] = MappingProxyType(
    {"hour": 3600.0, "day": 86_400.0, "week": 604_800.0, "month": 2_592_000.0}
)
"""Seconds between automatic snapshots, by frequency."""


@dataclass(frozen=True, slots=True)
class Fate:
    """What a fault has in store for a machine that is being created, started, stopped or restarted."""

    capacity: str | None = None
    """The vendor's reason; the machine then ends in off."""
    stuck: bool = False
    """The transition does not end ..."""
    stuck_seconds: float | None = None
    """... or takes this much longer."""
    hidden_seconds: float = 0.0
    """create: for how long lists lack it ..."""
    hidden_from_show: bool = False
    """... and show as well."""
    without_effect: bool = False
    """Nothing happens ..."""
    event: str = "done"
    """... but an event that ends like this: done, error, in progress or none."""
    event_text: str | None = None
    lingers: bool = False
    """destroy: lists lack it at once, show finds it in ``lingers_in`` ..."""
    lingers_seconds: float | None = None
    """... for so long; None for ever."""
    lingers_in: str = "destroying"


KIND_FATE = Fate()


def advance(s: WorldState, t: float) -> None:
    """Let everything happen that is due up to world second ``t``, in order."""
    while s.agenda and s.agenda[0][0] <= t:
        at, ticket, action, machine_id = heappop(s.agenda)
        record = s.machines.get(machine_id)
        if record is None or record.due.get(action) != ticket:
            continue
        s.t = max(s.t, at)
        del record.due[action]
        _ACTIONS[action](s, record)
    s.t = max(s.t, t)


def begin_create(s: WorldState, record: MachineRecord, fate: Fate) -> None:
    """The machine has been asked for: provisioning, then up, or off when it is not to be started."""
    s.note(record, "provisioning", "create")
    record.event = s.open_event(record, "create")
    made = s.draw(s.durations.provisioning)
    if not record.start_on_create:
        _follow(s, record, [("off", made)], fate)
    else:
        _follow(s, record, [("starting", made), *_boot(s, record, fate, s.durations.starting)], fate)


def settle_in(s: WorldState, record: MachineRecord, state: str) -> None:
    """Put a machine that exists already into a state; from a transition it goes on to that transition's end."""
    record.event = s.open_event(record, "create", at=record.created)
    if state == "provisioning":
        s.note(record, "provisioning", "was there")
        made = s.draw(s.durations.provisioning)
        _follow(s, record, [("starting", made), *_boot(s, record, KIND_FATE, s.durations.starting)], KIND_FATE)
        return
    _furnish(s, record)
    name = {"stopping": "stop", "restarting": "restart", "upgrading": "vm-upgrade"}.get(state, "start")
    if state != "off":
        record.event = s.open_event(record, name)
        record.booted = s.t
    _enter(s, record, state, "was there")
    ways: dict[str, list[tuple[str, float]]] = {
        "starting": _up(s, s.durations.starting),
        "restarting": _up(s, s.durations.restarting),
        "upgrading": _up(s, s.durations.upgrading),
        "serviceready": [("ready", s.draw(s.durations.serviceready))],
        "stopping": [("off", s.draw(s.durations.stopping))],
    }
    if state in ways:
        _follow(s, record, ways[state], KIND_FATE)


def begin_start(s: WorldState, record: MachineRecord, fate: Fate, cause: str) -> None:
    """From off to ready, or back to off when there is no capacity."""
    boot = _boot(s, record, fate, s.durations.starting)
    record.event = s.open_event(record, "start")
    _enter(s, record, "starting", cause)
    _follow(s, record, boot, fate)


def begin_restart(s: WorldState, record: MachineRecord, fate: Fate, cause: str) -> None:
    """Stopping followed at once by starting."""
    s.close_event(record, record.event)
    way = _boot(s, record, fate, s.durations.restarting)
    record.event = s.open_event(record, "restart")
    _enter(s, record, "restarting", cause)
    _follow(s, record, way, fate)


def begin_stop(s: WorldState, record: MachineRecord, fate: Fate, cause: str) -> None:
    """To off. What was under way is broken off."""
    s.close_event(record, record.event, "Interrupted: the machine was asked to stop.")
    record.doom = None
    record.event = s.open_event(record, "stop")
    _enter(s, record, "stopping", cause)
    _follow(s, record, [("off", s.draw(s.durations.stopping))], fate)


def begin_upgrade(s: WorldState, record: MachineRecord, machine_type: str) -> None:
    """To another machine type by way of a shutdown; up again if it was up."""
    was_off = record.state == "off"
    record.machine_type = machine_type
    s.reprice(record)
    record.event = s.open_event(record, "vm-upgrade")
    _enter(s, record, "upgrading", "upgrade")
    after = [("off", s.draw(s.durations.upgrading))] if was_off else _up(s, s.durations.upgrading)
    _follow(s, record, after, KIND_FATE)


def begin_nothing(s: WorldState, record: MachineRecord, name: str, fate: Fate) -> EventRecord:
    """The vendor says yes and does nothing. The event, which belongs to no transition."""
    if fate.event == "none":
        return EventRecord("", 0, name, record.id, s.t, s.t)
    event = s.open_event(record, name)
    s.end_event(record, event, fate.event, fate.event_text)
    return event


def begin_destroy(s: WorldState, record: MachineRecord, cause: str, fate: Fate, *, release_ip: bool) -> None:
    """Shut down at once and marked for deletion; its snapshots go with it, its static address does not."""
    s.close_event(record, record.event, "Interrupted: the machine was destroyed.")
    record.event = s.open_event(record, "deactivate")
    record.deleting = True
    record.path.clear()
    record.due.clear()
    s.note(record, fate.lingers_in if fate.lingers else "off" if record.state == "off" else "stopping", cause)
    if record.public_ip_type == "static" and record.public_ip and not release_ip:
        s.reserved_ips.append(record.public_ip)
    takes = s.draw(s.durations.deleting)
    if fate.lingers:
        record.listed_from = float("inf")
        if fate.lingers_seconds is None:
            return
        takes = fate.lingers_seconds
    if takes <= 0:
        remove(s, record, cause)
    else:
        s.schedule(record, "remove", s.t + takes)


def remove(s: WorldState, record: MachineRecord, cause: str) -> None:
    """The machine is no more."""
    s.close_event(record, record.event)
    record.gone = s.t
    del s.machines[record.id]
    s.gone[record.id] = record
    record.snapshots.clear()
    record.deleting = True
    s.note(record, "gone", cause)


def take_snapshot(s: WorldState, record: MachineRecord, name: str, *, auto: bool) -> SnapshotRecord:
    """A new snapshot; the caller sees to its event."""
    snapshot = SnapshotRecord(s.new_id("ss"), name, record.id, auto, s.t)
    record.snapshots.append(snapshot)
    return snapshot


def arm_timers(s: WorldState, record: MachineRecord) -> None:
    """Plan the vendor's own shutdown and the next automatic snapshot, after anything that they depend on changed."""
    record.due.pop("shutdown", None)
    if s.vendor_timer and record.state == "ready" and record.shutdown_hours and record.booted is not None:
        unused_since = max(record.booted, record.disconnected or record.booted)
        s.schedule(record, "shutdown", max(s.t, unused_since + record.shutdown_hours * 3600))
    period = PERIODS.get(record.snapshot_frequency or "")
    if not (record.auto_snapshots and period) or record.young:
        record.due.pop("snapshot", None)
    elif "snapshot" not in record.due:
        newest = max((n.created for n in record.snapshots if n.auto), default=s.t)
        s.schedule(record, "snapshot", max(s.t, newest + period))


def _boot(s: WorldState, record: MachineRecord, fate: Fate, takes: Span) -> list[tuple[str, float]]:
    sold_out = NO_CAPACITY if (record.region, record.machine_type) in s.no_capacity else None
    record.doom = fate.capacity or sold_out
    return _up(s, takes) if record.doom is None else [("off", s.draw(s.durations.failing))]


def _up(s: WorldState, takes: Span) -> list[tuple[str, float]]:
    return [("serviceready", s.draw(takes)), ("ready", s.draw(s.durations.serviceready))]


def _follow(s: WorldState, record: MachineRecord, stages: list[tuple[str, float]], fate: Fate) -> None:
    record.path.clear()
    record.due.pop("step", None)
    at = s.t
    if fate.stuck:
        if fate.stuck_seconds is None:
            return
        at += fate.stuck_seconds
    for state, takes in stages:
        at += takes
        record.path.append((state, at))
    s.schedule(record, "step", record.path[0][1])


def _step(s: WorldState, record: MachineRecord) -> None:
    state, _ = record.path.pop(0)
    cause = "capacity" if record.doom and state == "off" else "vendor"
    _enter(s, record, state, cause)
    if record.path:
        s.schedule(record, "step", record.path[0][1])


def _enter(s: WorldState, record: MachineRecord, state: str, cause: str) -> None:
    if record.state == "provisioning" and record.young:
        _furnish(s, record)
    s.note(record, state, cause)
    match state:
        case "starting" | "restarting":
            _boots(s, record)
        case "ready":
            s.close_event(record, record.event)
            record.last_run = record.last_run if record.script_id is None else s.t
        case "off":
            _went_off(s, record)
    s.touch(record)
    arm_timers(s, record)


def _boots(s: WorldState, record: MachineRecord) -> None:
    record.booted = s.t
    if record.event is None or record.event.state != "in progress":
        record.event = s.open_event(record, "start")
    if record.public_ip_type == "dynamic" and record.public_ip is None:
        record.public_ip = s.new_address(public=True)
    if record.initial_snapshot:
        record.initial_snapshot = False
        snapshot = take_snapshot(s, record, f"{record.name} initial", auto=False)
        s.close_event(record, s.open_event(record, "snapshot-create"))
        if record.restore_point_frequency:
            record.restore_point_snapshot_id = snapshot.id


def _went_off(s: WorldState, record: MachineRecord) -> None:
    s.close_event(record, record.event, record.doom or "")
    record.doom = None
    record.connected = False
    if record.public_ip_type == "dynamic":
        record.public_ip = None
    if record.restore_point_frequency and record.restore_point_snapshot_id:
        s.close_event(record, s.open_event(record, "snapshot-restore"))


def _furnish(s: WorldState, record: MachineRecord) -> None:
    record.young = False
    record.private_ip = s.new_address(public=False)
    if record.public_ip_type == "static":
        record.public_ip = s.new_address(public=True)
    s.close_event(record, record.event)


def _shutdown(s: WorldState, record: MachineRecord) -> None:
    if not record.connected or record.shutdown_forces:
        begin_stop(s, record, KIND_FATE, "vendor's shutdown timer")


def _auto_snapshot(s: WorldState, record: MachineRecord) -> None:
    take_snapshot(s, record, f"{record.name} auto {s.clock.text(s.t)}", auto=True)
    s.close_event(record, s.open_event(record, "snapshot-create"))
    surplus = [n for n in record.snapshots if n.auto][: -(record.snapshot_keep or 1)]
    record.snapshots = [n for n in record.snapshots if n not in surplus]
    arm_timers(s, record)


def _snapshot_done(s: WorldState, record: MachineRecord) -> None:
    for event in record.events:
        if event.name.startswith("snapshot-"):
            s.close_event(record, event)


_ACTIONS: Mapping[str, Callable[[WorldState, MachineRecord], None]] = MappingProxyType(
    {
        "step": _step,
        "shutdown": _shutdown,
        "snapshot": _auto_snapshot,
        "snapshot done": _snapshot_done,
        "remove": lambda s, record: remove(s, record, "deleted"),
    }
)
