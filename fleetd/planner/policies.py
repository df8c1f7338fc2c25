"""Policy checks: what a machine's settings should be, and whether it has outlived its shutdown timeout."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType

from fleetd.model.bounds import hours
from fleetd.model.fleet import Fleet
from fleetd.model.machine import Machine, Phase, SnapshotSight

WARN_AHEAD = timedelta(hours=2)
"""How long before the vendor's own timer ends a machine in use somebody is told."""


NOT_LOOKED = "nobody has looked at its snapshots yet"

_PERIODS: Mapping[str, timedelta] = MappingProxyType(
    {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(weeks=1)}
)
_CLOCKS_APART = timedelta(minutes=5)
"""How far the provider's clock may be ahead of ours before its dates are not believed."""


@dataclass(frozen=True, slots=True)
class Drift:
    """How a machine's settings differ from the fleet's policy."""

    changes: Mapping[str, object]
    """By the names of the port's ``MachineChange``; empty when nothing differs."""
    words: str
    """``shutdownTimeoutInHours 168 -> 24, ...`` for the log line."""
    unverified: tuple[str, ...] = ()
    """What the provider did not say: neither good nor bad."""


def is_settled(machine: Machine, moving: Container[str | None]) -> bool:
    """Whether a check can be made of it now; one in transition waits until it is over."""
    return machine.id not in moving and machine.phase in {Phase.UP, Phase.DOWN}


def timeout_drift(fleet: Fleet, machine: Machine) -> Drift:
    """What ``update`` should change about the shutdown timeout."""
    policy = fleet.shutdown_timeout
    if policy is None:
        return Drift({}, "")
    return _drift(
        ("shutdown_timeout_hours", "shutdownTimeoutInHours", machine.shutdown_timeout_hours, policy.hours),
        ("shutdown_timeout_forces", "shutdownTimeoutForces", machine.shutdown_timeout_forces, policy.force),
    )


def snapshot_drift(fleet: Fleet, machine: Machine) -> Drift:
    """What ``update`` should change about automatic snapshots.

    Only what the policy is about is compared: with ``frequency = "none"`` snapshots are off, and how often they were
    taken does not matter.
    """
    policy = fleet.auto_snapshot
    if policy is None:
        return Drift({}, "")
    seen = machine.snapshots
    enabled = policy.frequency != "none"
    fields: list[tuple[str, str, object, object]] = [
        ("snapshots_enabled", "performAutoSnapshot", seen.enabled, enabled),
    ]
    if enabled:
        # null stands for "none" as well as for "not said": with snapshots on, it is a drift.
        fields.append(("snapshot_frequency", "autoSnapshotFrequency", seen.frequency or "none", policy.frequency))
        if policy.keep is not None:
            # Where snapshots are off there is no count: it comes with turning them on.
            kept = "none" if seen.keep is None and seen.enabled is False else seen.keep
            fields.append(("snapshot_keep", "autoSnapshotSaveCount", kept, policy.keep))
    return _drift(*fields)


def unmet(machine: Machine, changes: Mapping[str, object]) -> str:
    """What of an update does not show in the machine, in words; "" when all does that the provider tells.

    ``changes``: by the names of the port's ``MachineChange``.
    """
    seen = machine.snapshots
    off = changes.get("snapshots_enabled") is False
    told: Mapping[str, tuple[str, object]] = {
        "shutdown_timeout_hours": ("shutdownTimeoutInHours", machine.shutdown_timeout_hours),
        "shutdown_timeout_forces": ("shutdownTimeoutForces", machine.shutdown_timeout_forces),
        "snapshots_enabled": ("performAutoSnapshot", seen.enabled),
        "snapshot_frequency": ("autoSnapshotFrequency", seen.frequency or "none"),
        "snapshot_keep": ("autoSnapshotSaveCount", seen.keep),
    }
    asked = {
        k: v for k, v in changes.items() if v is not None and k in told and not (off and k != "snapshots_enabled")
    }
    wrong = [(*told[k], v) for k, v in asked.items() if told[k][1] is not None and told[k][1] != v]
    return ", ".join(f"{vendor} {_plain(value)} in place of {_plain(wanted)}" for vendor, value, wanted in wrong)


def last_started(machine: Machine) -> datetime | None:
    """When it was started (or made) last, by the provider's clock; None when the events do not say.

    Behind an event whose name cannot be read may be a later start than any that can.
    """
    for event in machine.events or ():
        if not event.name:
            return None
        if event.rises and not event.failed:
            return event.finished_at or event.created_at
    return None


def outlived(fleet: Fleet, machine: Machine, now: datetime, *, started_at: datetime | None = None) -> str | None:
    """Why an up machine is to be stopped for having outlived the timeout; None when it has not, or nobody knows.

    ``started_at``: when it was last seen to come up, by our own clock. The events' dates are the provider's; where
    the two clocks are hours apart they alone would have a machine stopped right after each of its starts.
    """
    policy = fleet.shutdown_timeout
    if policy is None or not policy.enforce or machine.phase is not Phase.UP:
        return None
    began = last_started(machine)
    if began is None:
        return None
    lasted = now - (began if started_at is None else max(began, started_at))
    if lasted <= hours(policy.hours):
        return None
    return f"up for {lasted.total_seconds() / 3600:.1f} h of {policy.hours} h"


def vendor_stops_soon(machine: Machine, now: datetime) -> timedelta | None:
    """How long until the vendor's own timer may stop it, when that is within two hours; else None."""
    timeout, began = machine.shutdown_timeout_hours, last_started(machine)
    if timeout is None or began is None or machine.phase is not Phase.UP:
        return None
    left = began + hours(timeout) - now
    return left if timedelta(0) <= left <= WARN_AHEAD else None


def snapshot_veto(fleet: Fleet, sight: SnapshotSight | None, now: datetime) -> str | None:
    """Why ``destroy_requires_snapshot`` forbids to destroy a machine; None when nothing stands in the way.

    A snapshot whose age nobody knows is none.
    """
    allowed = fleet.destroy_requires_snapshot
    if allowed is None:
        return None
    if sight is None:
        return NOT_LOOKED
    if sight.newest_at is None:
        return sight.doubt
    age = now - sight.newest_at
    if age < -_CLOCKS_APART:
        return f"its newest snapshot is dated {sight.newest_at.isoformat()}, which is to come"
    if age > allowed:
        return f"its newest snapshot is {_hours(age)} old, and may be {_hours(allowed)}"
    return None


def snapshot_missed(fleet: Fleet, machine: Machine, sight: SnapshotSight, now: datetime) -> str | None:
    """Why the policy's snapshots are behind: the newest is older than two periods. None when they are not.

    Machines that are not up are left out, as they change nothing; and so are those whose settings drifted.
    """
    policy = fleet.auto_snapshot
    period = _PERIODS.get(policy.frequency) if policy is not None else None
    if period is None or machine.phase is not Phase.UP or snapshot_drift(fleet, machine).changes:
        return None
    age = machine.age(now)
    if age is None or age <= 2 * period:
        return None
    if sight.newest_at is None:
        return sight.doubt
    behind = now - sight.newest_at
    return f"its newest snapshot is {_hours(behind)} old" if behind > 2 * period else None


def _hours(span: timedelta) -> str:
    return f"{span.total_seconds() / 3600:.1f} h"


def _drift(*fields: tuple[str, str, object, object]) -> Drift:
    wrong = [f for f in fields if f[2] is not None and f[2] != f[3]]
    return Drift(
        changes={name: wanted for name, _, _, wanted in wrong},
        words=", ".join(f"{vendor} {_plain(seen)} -> {_plain(wanted)}" for _, vendor, seen, wanted in wrong),
        unverified=tuple(vendor for _, vendor, seen, _ in fields if seen is None),
    )


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
