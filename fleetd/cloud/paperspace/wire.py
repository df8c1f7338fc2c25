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
    Amount,
    Flag,
    Identified,
    Short,
    Unreadable,
    Whole,
    events_of,
    leniently,
    member,
    moment,
    money,
    newest_first,
    policy,
    read_listed,
    text,
)
from fleetd.model.machine import PHASES, Machine, MachineEvent, Phase
from fleetd.model.regions import normal_region
from fleetd.model.vendor_v1 import V1_SNAPSHOT_FREQUENCIES

_LIVING = frozenset({Phase.UP, Phase.RISING})


class WireMachine(Identified, frozen=True, rename="camel", gc=False):
    """One machine, with every field as the vendor's clients know it."""

    machine_type: Short = None
    region: Short = None
    dt_created: Short = None
    dt_deleted: None = None
    """One that has a date here is read the careful way: it may be deleted."""
    private_ip: Short = None
    public_ip: Short = None
    network_id: Short = None
    usage_rate: Amount = None
    auto_shutdown_enabled: Flag = None
    auto_shutdown_timeout: Whole = None
    auto_shutdown_force: Flag = None
    auto_snapshot_enabled: Flag = None
    auto_snapshot_frequency: Short = None
    auto_snapshot_save_count: Whole = None
    updates_pending: Flag = None


def read_machines(entries: Iterable[object]) -> tuple[Machine, ...]:
    """The machines of a listing, without events; one that cannot be read has its ``unreadable``.

    Those that are deleted are left out.
    """
    return read_listed(entries, _read_carefully, _read_ordinary)


def read_machine(content: object) -> Machine | None:
    """The machine of a show, with its events (``events``), newest first. None when it says that it is deleted.

    Raises:
        Unreadable: it is no machine.
    """
    return _read_carefully(content, events=read_events(member(content, "events")))


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
    return _machine(leniently(content, WireMachine))


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


def _read_carefully(content: object, *, events: tuple[MachineEvent, ...] | None = None) -> Machine | None:
    wire = leniently(content, WireMachine)
    dated = moment(member(content, "dtDeleted")) is not None
    # A date of deletion on a machine that runs would be a contradiction: it stays in view, since it may be paid for.
    if dated and PHASES.get(wire.state, Phase.UNKNOWN) not in _LIVING:
        return None
    return _machine(wire, events=events)


def _read_ordinary(content: object) -> Machine:
    return _machine(msgspec.convert(content, WireMachine))


def _machine(wire: WireMachine, *, events: tuple[MachineEvent, ...] | None = None) -> Machine:
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
        events,
    )


@functools.lru_cache(maxsize=256, typed=True)
def _rate(told: Amount) -> Decimal | None:
    return money(told) or None  # nothing is free: 0 is "not said"


def _timeout(wire: WireMachine) -> int | None:
    """Hours; 0 where the provider says that there is no timeout, whatever number it still remembers."""
    return 0 if wire.auto_shutdown_enabled is False else wire.auto_shutdown_timeout


def _forces(wire: WireMachine) -> bool | None:
    """Null is the API's way to say that nobody set it."""
    said = wire.auto_shutdown_force
    return False if said is None and wire.auto_shutdown_enabled is not None else said
