"""The v1 API's JSON, as far as fleetd reads it, and what it means.

As with Core, only ``id``, ``name`` and ``state`` must be there; any other field that is missing, null or of another
shape counts as not said. The generated types promise more, but they are types and no measurement.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

import msgspec

from fleetd.cloud.reading import (
    Id,
    Name,
    Short,
    State,
    Unreadable,
    Whole,
    convert,
    events_of,
    flag,
    moment,
    money,
    newest_first,
    policy,
    read_listed,
    region,
    text,
    whole,
)
from fleetd.model.machine import PHASES, Machine, MachineEvent, Phase
from fleetd.model.regions import normal_region
from fleetd.model.vendor_v1 import V1_SNAPSHOT_FREQUENCIES

_LIVING = frozenset({Phase.UP, Phase.RISING})


class WireMachine(msgspec.Struct, frozen=True, rename="camel"):
    """One machine. Fields that may be anything are read by the helpers below."""

    id: Id
    name: Name
    state: State
    machine_type: Any = None
    region: Any = None
    dt_created: Any = None
    dt_deleted: Any = None
    private_ip: Any = None
    public_ip: Any = None
    network_id: Any = None
    usage_rate: Any = None
    auto_shutdown_enabled: Any = None
    auto_shutdown_timeout: Any = None
    auto_shutdown_force: Any = None
    auto_snapshot_enabled: Any = None
    auto_snapshot_frequency: Any = None
    auto_snapshot_save_count: Any = None
    updates_pending: Any = None


class Listed(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """An entry of a listing in which every field is as the vendor's clients know it; see ``core.wire.Listed``."""

    id: Id
    name: Name
    state: State
    machine_type: Short = None
    region: Short = None
    dt_created: Short = None
    dt_deleted: None = None
    """One that has a date here is read the long way: it may be deleted."""
    private_ip: Short = None
    public_ip: Short = None
    network_id: Short = None
    usage_rate: int | float | Short = None
    auto_shutdown_enabled: bool | None = None
    auto_shutdown_timeout: Whole = None
    auto_shutdown_force: bool | None = None
    auto_snapshot_enabled: bool | None = None
    auto_snapshot_frequency: Short = None
    auto_snapshot_save_count: Whole = None
    updates_pending: bool | None = None


def read_machines(entries: Iterable[object]) -> tuple[Machine, ...]:
    """The machines of a listing, without events; one that cannot be read has its ``unreadable``.

    Those that are deleted are left out.
    """

    def read(entry: object) -> Machine | None:
        wire = convert(entry, WireMachine)
        return None if _deleted(wire) else _machine(wire)

    return read_listed(entries, read, _read_ordinary)


def read_machine(content: object) -> Machine | None:
    """The machine of a show, with its events (``events``), newest first. None when it says that it is deleted.

    Raises:
        Unreadable: it is no machine.
    """
    wire = convert(content, WireMachine)
    events = content.get("events") if isinstance(content, dict) else None
    return None if _deleted(wire) else _machine(wire, events=read_events(events))


def is_deleted(content: object) -> bool:
    """Whether it is a machine that is gone; what cannot be read may be there."""
    try:
        return read_machine(content) is None
    except Unreadable:
        return False


def read_created(content: object) -> Machine:
    """The machine of a create, which has no events yet.

    Raises:
        Unreadable: it is no machine.
    """
    return _machine(convert(content, WireMachine))


def read_events(content: object) -> tuple[MachineEvent, ...]:
    """Events, newest first; an entry that is none is passed over, and so is the vendor's bookkeeping (``bill-*``)."""
    events = events_of(content, error="error", handle="id")
    return newest_first([event for event in events if not event.name.startswith("bill-")])


def storage_rate(content: Mapping[str, Any]) -> Decimal | None:
    """Dollars a month for the disk. The types give the number no unit; storage is sold by the month."""
    return money(content.get("storageRate")) or None


def offers(templates: Iterable[Mapping[str, Any]]) -> list[tuple[str, bool]]:
    """The machine types that templates list, and whether each can be had now."""
    lists = [template.get("availableMachineTypes") for template in templates]
    entries = [
        entry for entries in lists if isinstance(entries, list) for entry in entries if isinstance(entry, dict)
    ]
    labels = [(text(e.get("machineTypeLabel")), e.get("isAvailable") is True) for e in entries]
    return [(label, now) for label, now in labels if label is not None]


def available(templates: Iterable[Mapping[str, Any]], machine_type: str) -> bool | None:
    """Whether any template can be had on that machine type now; None when none of them lists it."""
    told = [now for kind, now in offers(templates) if kind == machine_type]
    return any(told) if told else None


def frequency_word(ours: str) -> str:
    """``hour`` as the API spells it, ``hourly``; another word as it is, so that the API can refuse it."""
    return next((theirs for theirs, known in V1_SNAPSHOT_FREQUENCIES.items() if known == ours), ours)


def _read_ordinary(content: object) -> Machine:
    wire = msgspec.convert(content, Listed)
    frequency = wire.auto_snapshot_frequency or None
    return Machine(
        wire.id,
        wire.name,
        wire.state,
        wire.machine_type or None,
        normal_region(wire.region) if wire.region else None,
        moment(wire.dt_created),
        wire.private_ip or None,
        wire.public_ip or None,
        wire.network_id or None,
        _rate(wire.usage_rate),
        _timeout(wire),
        _forces(wire),
        policy(
            wire.auto_snapshot_enabled,
            V1_SNAPSHOT_FREQUENCIES.get(frequency, frequency) if frequency is not None else None,
            wire.auto_snapshot_save_count,
        ),
        wire.updates_pending,
    )


@functools.lru_cache(maxsize=256, typed=True)
def _rate(told: float | str | None) -> Decimal | None:
    return money(told) or None


def _machine(wire: WireMachine, *, events: tuple[MachineEvent, ...] | None = None) -> Machine:
    frequency = text(wire.auto_snapshot_frequency)
    return Machine(
        id=wire.id,
        name=wire.name,
        state=wire.state,
        machine_type=text(wire.machine_type),
        region=region(wire.region),
        created_at=moment(wire.dt_created),
        private_ip=text(wire.private_ip),
        public_ip=text(wire.public_ip),
        network_id=text(wire.network_id),
        hourly_rate=money(wire.usage_rate) or None,  # nothing is free: 0 is "not said"
        shutdown_timeout_hours=_timeout(wire),
        shutdown_timeout_forces=_forces(wire),
        snapshots=policy(
            flag(wire.auto_snapshot_enabled),
            V1_SNAPSHOT_FREQUENCIES.get(frequency, frequency) if frequency is not None else None,
            whole(wire.auto_snapshot_save_count),
        ),
        updates_pending=flag(wire.updates_pending),
        events=events,
    )


def _timeout(wire: WireMachine | Listed) -> int | None:
    """Hours; 0 where the provider says that there is no timeout, whatever number it still remembers."""
    return 0 if wire.auto_shutdown_enabled is False else whole(wire.auto_shutdown_timeout)


def _forces(wire: WireMachine | Listed) -> bool | None:
    """Null is the API's way to say that nobody set it."""
    said = flag(wire.auto_shutdown_force)
    return False if said is None and isinstance(wire.auto_shutdown_enabled, bool) else said


def _deleted(wire: WireMachine) -> bool:
    # A date of deletion on a machine that runs would be a contradiction: it stays in view, since it may be paid for.
    return moment(wire.dt_deleted) is not None and PHASES.get(wire.state, Phase.UNKNOWN) not in _LIVING


__all__ = [
    "Unreadable",
    "available",
    "frequency_word",
    "offers",
    "read_created",
    "read_events",
    "read_machine",
    "read_machines",
    "storage_rate",
]
