"""What the vendor's JSON means."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from fleetd.cloud.core import wire
from fleetd.cloud.reading import Unreadable
from fleetd.model.machine import MachineEvent, Phase, SnapshotPolicy
from tests.support.core_page import CREATED, LISTED, SHOWN, UTILIZATION

LEAST = {"id": "ps1", "name": "n", "state": "off"}


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def read(**fields):
    return wire.read_machine({**LEAST, **fields})


def test_the_pages_example_of_show():
    machine = wire.read_machine(SHOWN)
    assert machine.id == "psec02yp2"
    assert machine.name == "New Machine Name1"
    assert machine.phase is Phase.UP
    assert machine.machine_type == "P4000"
    assert machine.region == "East Coast (NY2)"
    assert machine.created_at == at("2022-03-14T15:47:53.852")
    assert machine.private_ip == "10.64.1.99"
    assert machine.public_ip == "172.83.15.54"
    assert machine.network_id == "nng82wb"
    assert machine.hourly_rate is None
    assert machine.shutdown_timeout_hours == 24
    assert machine.shutdown_timeout_forces is False
    assert machine.snapshots == SnapshotPolicy(enabled=False, frequency="day", keep=1)
    assert machine.updates_pending is False
    assert machine.events == (
        MachineEvent(
            name="start",
            state="done",
            handle="fabd398a-9c8e-4565-95fa-5f07928564d8",
            created_at=at("2022-03-14T15:48:30.994"),
            finished_at=at("2022-03-14T15:49:00.734"),
        ),
        MachineEvent(
            name="create",
            state="done",
            handle="396ea947-9c10-4b63-a15b-574a9a9844bc",
            created_at=at("2022-03-14T15:47:53.852"),
            finished_at=at("2022-03-14T15:48:31.026"),
        ),
    )


def test_the_pages_examples_of_list_and_create():
    (machine,) = wire.read_machines([LISTED])
    assert (machine.id, machine.state, machine.events) == ("psec02yp2", "ready", None)
    young = wire.read_created(CREATED)
    assert (young.id, young.phase, young.region, young.events) == ("psazmnxdy", Phase.RISING, None, None)
    assert young.snapshots == SnapshotPolicy(enabled=False)


def test_three_fields_are_enough():
    machine = wire.read_machine(LEAST)
    assert (machine.id, machine.name, machine.state, machine.events) == ("ps1", "n", "off", ())
    assert machine.created_at is machine.shutdown_timeout_hours is machine.updates_pending is None


def test_what_the_page_does_not_know_is_kept_or_ignored():
    machine = read(state="hibernating", name="  Größe\u202e\n", frobnicated={"a": [1]}, teamId="t")
    assert machine.state == "hibernating"
    assert machine.phase is Phase.UNKNOWN
    assert machine.name == "  Größe\u202e\n"


@pytest.mark.parametrize(
    ("fields", "attribute", "value"),
    [
        ({"dtCreated": "2022-03-14T15:47:53.852Z"}, "created_at", at("2022-03-14T15:47:53.852")),
        ({"dtCreated": "2022-03-14T15:47:53+02:00"}, "created_at", at("2022-03-14T13:47:53")),
        ({"dtCreated": "2022-03-14T15:47:53"}, "created_at", at("2022-03-14T15:47:53")),
        ({"dtCreated": "yesterday"}, "created_at", None),
        ({"dtCreated": 1647272873}, "created_at", None),
        ({"dtCreated": "0001-01-01T00:00:00+14:00"}, "created_at", None),
        ({"shutdownTimeoutInHours": "24"}, "shutdown_timeout_hours", 24),
        ({"shutdownTimeoutInHours": 24.0}, "shutdown_timeout_hours", 24),
        ({"shutdownTimeoutInHours": 1.5}, "shutdown_timeout_hours", None),
        ({"shutdownTimeoutInHours": True}, "shutdown_timeout_hours", None),
        ({"shutdownTimeoutInHours": "1e999999"}, "shutdown_timeout_hours", None),
        ({"shutdownTimeoutForces": "true"}, "shutdown_timeout_forces", None),
        ({"autoSnapshotFrequency": "month"}, "snapshots", SnapshotPolicy(frequency="month")),
        ({"autoSnapshotSaveCount": "7"}, "snapshots", SnapshotPolicy(keep=7)),
        ({"region": 5}, "region", None),
        ({"region": ""}, "region", None),
        ({"privateIpAddress": ["10.0.0.1"]}, "private_ip", None),
        ({"ram": 32212254720, "storageUsed": "110080", "cpus": "8"}, "id", "ps1"),
        ({"events": None}, "events", ()),
        ({"events": {"name": "start"}}, "events", ()),
        ({"events": ["start", 5, None]}, "events", ()),
        ({"events": [{}]}, "events", (MachineEvent("", ""),)),
        (
            {"events": [{"name": "start", "state": "error", "errorMsg": None}]},
            "events",
            (MachineEvent("start", "error"),),
        ),
    ],
)
def test_odd_fields_count_as_not_said(fields, attribute, value):
    assert getattr(read(**fields), attribute) == value


def test_the_reason_of_a_failed_start_can_be_read():
    said = "Unable to start: insufficient capacity"
    (event,) = read(events=[{"name": "start", "state": "error", "errorMsg": said}]).events
    assert event.failed
    assert event.error == said


def test_events_come_newest_first_even_if_they_were_sent_otherwise():
    old, new = ({"name": n, "dtCreated": f"2022-03-14T15:4{i}:00Z"} for i, n in enumerate(["create", "start"]))
    assert [event.name for event in read(events=[old, new]).events] == ["start", "create"]
    assert [event.name for event in read(events=[new, old]).events] == ["start", "create"]
    undated = {"name": "stop", "dtCreated": None}
    assert [event.name for event in read(events=[undated, old, new]).events] == ["stop", "create", "start"]


def test_the_pages_example_of_utilization():
    used = wire.read_utilization(UTILIZATION, "psec02yp2", "2022-03")
    assert used.seconds_used == 8728.27191281319
    assert used.hourly_rate == Decimal("0.51")
    assert used.storage_seconds_used == 8785.19808006287
    assert used.storage_monthly_rate == Decimal("5.00")


@pytest.mark.parametrize(
    ("rate", "value"),
    [
        ("0.51", Decimal("0.51")),
        (0.51, Decimal("0.51")),
        (1, Decimal(1)),
        (None, None),
        ("", None),
        ("free", None),
        ("NaN", None),
        ("-1", None),
        ("1e9999", None),
        ([], None),
    ],
)
def test_rates_come_as_text_and_as_numbers(rate, value):
    used = wire.read_utilization({"utilization": {"hourlyRate": rate, "secondsUsed": "60"}}, "ps1", "2022-03")
    assert used.hourly_rate == value
    assert used.seconds_used == 60.0


def test_a_month_without_use_is_no_use():
    used = wire.read_utilization({"utilization": None}, "ps1", "2022-03")
    assert (used.seconds_used, used.storage_seconds_used, used.hourly_rate) == (0.0, 0.0, None)


def test_use_that_is_not_said_is_not_none():
    used = wire.read_utilization({"utilization": {"hourlyRate": "0.51", "secondsUsed": None}}, "ps1", "2022-03")
    assert used.seconds_used is None


@pytest.mark.parametrize(
    "content",
    [
        None,
        [],
        {"utilization": 5},
        {"utilization": {"secondsUsed": "much"}},
        {"utilization": {"secondsUsed": 0, "billingMonth": "2020-01"}},
        {"utilization": {"secondsUsed": 0, "machineId": "ps9"}},
        {"storageUtilization": {"secondsUsed": 0, "machineId": "ps9"}},
        {"storageUtilization": {"secondsUsed": 0, "billingMonth": "2020-01"}},
    ],
)
def test_a_utilization_that_is_none(content):
    with pytest.raises(Unreadable):
        wire.read_utilization(content, "ps1", "2022-03")
