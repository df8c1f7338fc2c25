"""The Core API's JSON, as far as fleetd reads it, and what it means.

Of a machine only ``id``, ``name`` and ``state`` can be relied on: a young one has null in most other fields. So
these three must be there as text, else the answer, or that entry of a listing, is malformed; any other field that is
missing, null or not of a shape that the vendor's clients know counts as not said. Unknown fields are ignored,
unknown states kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from fleetd.cloud.reading import (
    Flag,
    Identified,
    Short,
    Unreadable,
    Whole,
    convert,
    decimal,
    events_of,
    leniently,
    member,
    moment,
    money,
    newest_first,
    policy,
    read_listed,
)
from fleetd.model.bounds import LONGEST
from fleetd.model.machine import Machine, MachineEvent, Utilization
from fleetd.model.regions import normal_region


class WireMachine(Identified, frozen=True, rename="camel", gc=False):
    """One machine of list, show or create, with every field as the vendor's clients know it."""

    machine_type: Short = None
    region: Short = None
    dt_created: Short = None
    private_ip_address: Short = None
    public_ip_address: Short = None
    network_id: Short = None
    shutdown_timeout_in_hours: Whole = None
    shutdown_timeout_forces: Flag = None
    perform_auto_snapshot: Flag = None
    auto_snapshot_frequency: Short = None
    auto_snapshot_save_count: Whole = None
    updates_pending: Flag = None


class WireUsage(msgspec.Struct, frozen=True, rename="camel"):
    """One half of a utilization: of the machine, or of its storage."""

    seconds_used: float | str | None = None
    hourly_rate: Any = None
    monthly_rate: Any = None
    machine_id: str | None = None
    billing_month: str | None = None


class WireUtilization(msgspec.Struct, frozen=True, rename="camel"):
    """One machine's use in a billing month; a half is null where there was none."""

    utilization: WireUsage | None = None
    storage_utilization: WireUsage | None = None


def read_machines(entries: Iterable[object]) -> tuple[Machine, ...]:
    """The machines of a listing, without events; one that cannot be read has its ``unreadable``."""
    return read_listed(entries, read_created, _read_ordinary)


def read_machine(content: object) -> Machine:
    """The machine of a show, with its events, newest first.

    Raises:
        Unreadable: it is no machine.
    """
    wire = leniently(content, WireMachine)
    events = events_of(member(content, "events"), error="errorMsg", handle="handle")
    return _machine(wire, events=newest_first(events))


def read_created(content: object) -> Machine:
    """The machine of a create, which has no events yet.

    Raises:
        Unreadable: it is no machine.
    """
    return _machine(leniently(content, WireMachine))


def read_utilization(content: object, machine_id: str, month: str) -> Utilization:
    """One machine's use in a month; ``seconds_used`` is None where the half is there and does not say.

    Raises:
        Unreadable: it is no utilization, its seconds are no number, or a half is of another machine or month.
    """
    wire = convert(content, WireUtilization)
    for half in (wire.utilization, wire.storage_utilization):
        if half is not None and half.machine_id not in {None, machine_id}:
            raise Unreadable("Expected the machine that was asked about - at `$.machineId`")
        if half is not None and half.billing_month not in {None, month}:
            raise Unreadable("Expected the month that was asked about - at `$.billingMonth`")
    used, storage = wire.utilization or WireUsage(), wire.storage_utilization or WireUsage()
    return Utilization(
        machine_id=machine_id,
        month=month,
        seconds_used=None if wire.utilization is not None and used.seconds_used is None else _seconds(used),
        hourly_rate=money(used.hourly_rate),
        storage_seconds_used=_seconds(storage),
        storage_monthly_rate=money(storage.monthly_rate),
    )


def _read_ordinary(content: object) -> Machine:
    return _machine(msgspec.convert(content, WireMachine))


def _machine(wire: WireMachine, *, events: tuple[MachineEvent, ...] | None = None) -> Machine:
    return Machine(
        wire.id,
        wire.name,
        wire.state,
        wire.machine_type or None,
        normal_region(wire.region) if wire.region else None,
        moment(wire.dt_created),
        wire.private_ip_address or None,
        wire.public_ip_address or None,
        wire.network_id or None,
        None,
        wire.shutdown_timeout_in_hours,
        wire.shutdown_timeout_forces,
        policy(wire.perform_auto_snapshot, wire.auto_snapshot_frequency or None, wire.auto_snapshot_save_count),
        wire.updates_pending,
        events,
    )


def _seconds(usage: WireUsage) -> float:
    if usage.seconds_used is None:
        return 0.0
    seconds = decimal(usage.seconds_used)
    if seconds is None or not 0 <= seconds <= LONGEST.total_seconds():
        raise Unreadable("Expected a number of seconds - at `$.secondsUsed`")
    return float(seconds)
