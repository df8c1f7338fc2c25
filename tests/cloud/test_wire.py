"""Every field of both wires: what is kept of it when it is there, null, or of another shape."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from fleetd.cloud.core import wire as core
from fleetd.cloud.paperspace import wire as v1
from fleetd.cloud.reading import LONGEST_NAME, LONGEST_TEXT, Unreadable, understood
from fleetd.model.bounds import LONGEST
from fleetd.model.errors import Ambiguous, MalformedAnswer
from fleetd.model.machine import Machine, MachineEvent, SnapshotPolicy

BORN = datetime(2026, 3, 1, 10, 0, tzinfo=UTC)
LEAST: dict[str, Any] = {"id": "ps1", "name": "box", "state": "off"}
FULL = Machine(
    id="ps1",
    name="box",
    state="off",
    machine_type="P4000",
    region="East Coast (NY2)",
    created_at=BORN,
    private_ip="10.64.1.99",
    public_ip="172.83.15.54",
    network_id="n1",
    shutdown_timeout_hours=8,
    shutdown_timeout_forces=True,
    snapshots=SnapshotPolicy(enabled=True, frequency="day", keep=7),
    updates_pending=True,
)
CORE_FULL = {
    **LEAST,
    "machineType": "P4000",
    "region": "ny2",
    "dtCreated": "2026-03-01T10:00:00Z",
    "privateIpAddress": "10.64.1.99",
    "publicIpAddress": "172.83.15.54",
    "networkId": "n1",
    "shutdownTimeoutInHours": 8,
    "shutdownTimeoutForces": True,
    "performAutoSnapshot": True,
    "autoSnapshotFrequency": "day",
    "autoSnapshotSaveCount": 7,
    "updatesPending": True,
}
V1_FULL = {
    **LEAST,
    "machineType": "P4000",
    "region": "ny2",
    "dtCreated": "2026-03-01T10:00:00Z",
    "privateIp": "10.64.1.99",
    "publicIp": "172.83.15.54",
    "networkId": "n1",
    "autoShutdownEnabled": True,
    "autoShutdownTimeout": 8,
    "autoShutdownForce": True,
    "autoSnapshotEnabled": True,
    "autoSnapshotFrequency": "daily",
    "autoSnapshotSaveCount": 7,
    "updatesPending": True,
}
NAMES: dict[str, tuple[str, str]] = {
    "machine_type": ("machineType", "machineType"),
    "region": ("region", "region"),
    "created_at": ("dtCreated", "dtCreated"),
    "private_ip": ("privateIpAddress", "privateIp"),
    "public_ip": ("publicIpAddress", "publicIp"),
    "network_id": ("networkId", "networkId"),
    "shutdown_timeout_hours": ("shutdownTimeoutInHours", "autoShutdownTimeout"),
    "shutdown_timeout_forces": ("shutdownTimeoutForces", "autoShutdownForce"),
    "enabled": ("performAutoSnapshot", "autoSnapshotEnabled"),
    "frequency": ("autoSnapshotFrequency", "autoSnapshotFrequency"),
    "keep": ("autoSnapshotSaveCount", "autoSnapshotSaveCount"),
    "updates_pending": ("updatesPending", "updatesPending"),
}
"""Ours, Core's and v1's."""

Read = Callable[[Any], Machine]
READERS = [
    pytest.param(core.read_created, CORE_FULL, 0, id="core"),
    pytest.param(v1.read_created, V1_FULL, 1, id="v1"),
]


def attribute(machine: Machine, name: str) -> Any:
    return getattr(machine.snapshots if name in {"enabled", "frequency", "keep"} else machine, name)


@pytest.mark.parametrize(("read", "full", "_which"), READERS)
def test_whatever_is_said_is_kept(read: Read, full: dict[str, Any], _which: int) -> None:
    assert read(full) == FULL


@pytest.mark.parametrize(("read", "full", "_which"), READERS)
def test_three_fields_are_enough(read: Read, full: dict[str, Any], _which: int) -> None:
    assert read(LEAST) == read(dict.fromkeys(full) | LEAST) == Machine(id="ps1", name="box", state="off")


@pytest.mark.parametrize("ours", NAMES)
@pytest.mark.parametrize(("read", "full", "which"), READERS)
@pytest.mark.parametrize("odd", [[], {}, "", [1], {"a": 1}, 1.5, "\x00"])
def test_a_field_of_another_shape_spoils_no_other(
    read: Read, full: dict[str, Any], which: int, ours: str, odd: Any
) -> None:
    """It counts as not said, unless it is text where text is read."""
    machine = read({**full, NAMES[ours][which]: odd})
    texts = {"machine_type", "region", "private_ip", "public_ip", "network_id", "frequency"}
    found = attribute(machine, ours)
    if ours in texts and odd == "\x00":
        assert found in {"\x00", ""}
    elif ours == "shutdown_timeout_forces" and which == 1:
        assert found is False, "nobody set it"
    else:
        assert found is None
    for other in NAMES.keys() - {ours}:
        assert attribute(machine, other) == attribute(FULL, other), other


@pytest.mark.parametrize("name", ["id", "name", "state"])
@pytest.mark.parametrize("value", [None, 7, [], "x" * 1001])
@pytest.mark.parametrize(("read", "full", "_which"), READERS)
def test_what_lacks_one_of_the_three_is_no_machine(
    read: Read, full: dict[str, Any], _which: int, name: str, value: Any
) -> None:
    with pytest.raises(Unreadable, match=name):
        read({**full, name: value})
    with pytest.raises(Unreadable, match=name):
        read({n: v for n, v in full.items() if n != name})


@pytest.mark.parametrize(
    ("fields", "rate"),
    [
        ({}, None),
        ({"usageRate": 0.51}, Decimal("0.51")),
        ({"usageRate": "0.51"}, Decimal("0.51")),
        ({"usageRate": 0}, None),
        ({"usageRate": -1}, None),
        ({"usageRate": "P4000 hourly"}, None),
    ],
)
def test_only_v1_tells_a_rate(fields: dict[str, Any], rate: Decimal | None) -> None:
    assert v1.read_created({**LEAST, **fields}).hourly_rate == rate
    assert core.read_created({**LEAST, **fields}).hourly_rate is None


@pytest.mark.parametrize(
    ("fields", "hours", "forces"),
    [
        ({}, None, None),
        ({"autoShutdownEnabled": False}, 0, False),
        ({"autoShutdownEnabled": False, "autoShutdownTimeout": 8, "autoShutdownForce": True}, 0, True),
        ({"autoShutdownEnabled": True}, None, False),
        ({"autoShutdownEnabled": True, "autoShutdownTimeout": "8"}, 8, False),
        ({"autoShutdownEnabled": None, "autoShutdownTimeout": 8}, 8, None),
        ({"autoShutdownEnabled": "no", "autoShutdownForce": "yes"}, None, None),
        ({"autoShutdownForce": False}, None, False),
    ],
)
def test_v1s_timeout_is_nothing_without_its_switch(
    fields: dict[str, Any], hours: int | None, forces: bool | None
) -> None:
    machine = v1.read_created({**LEAST, **fields})
    assert (machine.shutdown_timeout_hours, machine.shutdown_timeout_forces) == (hours, forces)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [("hourly", "hour"), ("daily", "day"), ("weekly", "week"), ("monthly", "month"), ("fortnightly", "fortnightly")],
)
def test_v1s_words_for_how_often(theirs: str, ours: str) -> None:
    assert v1.read_created({**LEAST, "autoSnapshotFrequency": theirs}).snapshots.frequency == ours
    assert v1.frequency_word(ours) == theirs
    assert core.read_created({**LEAST, "autoSnapshotFrequency": theirs}).snapshots.frequency == theirs


AT = "2026-03-02T12:00:00Z"
CORE_EVENT = {
    "name": "start",
    "state": "error",
    "errorMsg": "no capacity",
    "handle": "h1",
    "dtCreated": AT,
    "dtFinished": AT,
}
V1_EVENT = {"name": "start", "state": "error", "error": "no capacity", "id": "h1", "dtCreated": AT, "dtFinished": AT}
NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
EVENT = MachineEvent("start", "error", "no capacity", "h1", NOON, NOON)
EVENT_READERS = [
    pytest.param(lambda events: core.read_machine({**LEAST, "events": events}).events, CORE_EVENT, id="core"),
    pytest.param(lambda events: v1.read_machine({**LEAST, "events": events}).events, V1_EVENT, id="v1"),
    pytest.param(v1.read_events, V1_EVENT, id="v1, alone"),
]
ReadEvents = Callable[[Any], tuple[MachineEvent, ...]]
FIELDS = {"name": "name", "state": "state", "errorMsg": "error", "error": "error", "handle": "handle", "id": "handle",
          "dtCreated": "created_at", "dtFinished": "finished_at"}  # fmt: skip


@pytest.mark.parametrize(("read", "event"), EVENT_READERS)
def test_whatever_an_event_says_is_kept(read: ReadEvents, event: dict[str, Any]) -> None:
    assert read([event]) == (EVENT,)
    assert read([{**event, "dtModified": "x", "more": [1]}]) == (EVENT,)


@pytest.mark.parametrize(("read", "event"), EVENT_READERS)
@pytest.mark.parametrize("odd", [None, 7, [], {}, ""])
def test_an_odd_field_of_an_event_spoils_no_other(read: ReadEvents, event: dict[str, Any], odd: Any) -> None:
    for name in event:
        (found,) = read([{**event, name: odd}])
        for theirs in event:
            ours = FIELDS[theirs]
            nothing = None if ours.endswith("_at") else ""
            assert getattr(found, ours) == (nothing if theirs == name else getattr(EVENT, ours)), (name, ours)


@pytest.mark.parametrize(("read", "event"), EVENT_READERS)
@pytest.mark.parametrize("content", [None, {}, "start", 5, ["start", None, 5, []]])
def test_what_is_no_list_of_events_has_none(read: ReadEvents, event: dict[str, Any], content: Any) -> None:
    del event
    assert read(content) == ()


@pytest.mark.parametrize(("read", "event"), EVENT_READERS)
def test_events_come_the_newest_first_whatever_order_they_were_sent_in(
    read: ReadEvents, event: dict[str, Any]
) -> None:
    days = list(range(1, 9))
    for seed in range(5):
        random.Random(seed).shuffle(days)
        sent = [{**event, "dtCreated": f"2026-03-{day:02}T00:00:00Z"} for day in days]
        assert [e.created_at.day for e in read(sent) if e.created_at] == [8, 7, 6, 5, 4, 3, 2, 1]
    undated = [{**event, "dtCreated": f"2026-03-0{day}T00:00:00Z"} for day in (1, 3)]
    undated.insert(1, {**event, "dtCreated": None})
    assert [e.created_at and e.created_at.day for e in read(undated)] == [1, None, 3], "nobody knows the order"


def test_bookkeeping_is_no_event_of_the_machine_and_its_lack_of_a_date_no_doubt() -> None:
    sent = [
        {**V1_EVENT, "id": "old"},
        {"name": "bill-sessions", "dtCreated": None},
        {"name": "bill-upgrade", "dtCreated": AT},
        {**V1_EVENT, "id": "new", "dtCreated": "2026-03-03T12:00:00Z"},
    ]
    assert [e.handle for e in v1.read_events(sent)] == ["new", "old"]


def test_of_one_moment_the_order_is_the_vendors() -> None:
    sent = [{"id": name, "dtCreated": AT} for name in "abc"]
    assert [e.handle for e in v1.read_events(sent)] == ["a", "b", "c"]


def test_core_has_the_events_of_a_show_and_none_else() -> None:
    shown = {**CORE_FULL, "events": [CORE_EVENT]}
    assert core.read_machine(shown).events == (EVENT,)
    assert core.read_created(shown).events is None
    assert [m.events for m in core.read_machines([shown])] == [None]


def test_v1_has_the_events_of_a_show_and_none_else() -> None:
    shown = {**V1_FULL, "events": [V1_EVENT]}
    machine = v1.read_machine(shown)
    assert machine is not None
    assert machine.events == (EVENT,)
    assert v1.read_created(shown).events is None
    assert [m.events for m in v1.read_machines([shown])] == [None]


@pytest.mark.parametrize("read", [core.read_machines, v1.read_machines])
def test_of_a_listing_what_cannot_be_read_is_said_of_that_entry(read: Callable[[Any], tuple[Machine, ...]]) -> None:
    entries = [
        {**LEAST, "machineType": "P4000"},
        {"id": 7, "name": "n", "state": "off"},
        {"id": "ps2", "state": "off", "machineType": "P5000"},
        {"id": "ps3", "name": "x" * (LONGEST_NAME + 1), "state": "off"},
        {"id": "ps4", "name": "x" * LONGEST_NAME, "state": ""},
        *({"name": "n", "state": "off"}, {"id": "", "name": "n", "state": "off"}, None, "ps9", 5),
    ]
    found = read(entries)
    assert [(m.id, m.name, m.state) for m in found] == [
        ("ps1", "box", "off"),
        ("7", "n", "unreadable"),
        ("ps2", "", "unreadable"),
        ("ps3", "", "unreadable"),
        ("ps4", "x" * LONGEST_NAME, "unreadable"),
    ]
    assert [m.unreadable is not None for m in found] == [False, True, True, True, True]
    assert "name" in (found[2].unreadable or "")
    assert [m.machine_type for m in found[:3]] == ["P4000", None, "P5000"]


@pytest.mark.parametrize(
    ("fields", "seen"),
    [
        ({"name": "n", "state": "off"}, []),
        ({"state": "off"}, []),
        ({"state": None}, []),
        ({"name": "n", "state": "ready"}, ["ready"]),
        ({"state": "ready"}, ["unreadable"]),
        ({"name": "x" * (LONGEST_NAME + 1), "state": "starting"}, ["unreadable"]),
    ],
)
def test_an_entry_that_is_deleted_is_left_out_read_or_not_unless_it_runs_all_the_same(
    fields: dict[str, Any], seen: list[str]
) -> None:
    """It may be paid for, whatever else of it cannot be read."""
    assert [m.state for m in v1.read_machines([{"id": "ps1", "dtDeleted": AT, **fields}])] == seen


@pytest.mark.parametrize("value", [7, "x" * (LONGEST_TEXT + 9)])
def test_text_is_kept_as_far_as_anybody_reads(value: Any) -> None:
    found = core.read_created({**LEAST, "networkId": value}).network_id
    assert found == (None if value == 7 else value[:LONGEST_TEXT])


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (0, 0.0),
        ("60", 60.0),
        (LONGEST.total_seconds(), LONGEST.total_seconds()),
        (None, None),
        (LONGEST.total_seconds() + 1, Unreadable),
        (-1, Unreadable),
        ("NaN", Unreadable),
        ("much", Unreadable),
    ],
)
def test_seconds_of_both_halves_are_a_number_that_somebody_could_have_used(value: Any, seconds: Any) -> None:
    for half in ("utilization", "storageUtilization"):
        content = {half: {"secondsUsed": value}}
        if seconds is Unreadable:
            with pytest.raises(Unreadable, match="number of seconds"):
                core.read_utilization(content, "ps1", "2026-03")
            continue
        used = core.read_utilization(content, "ps1", "2026-03")
        storage = seconds or 0.0
        assert (used.seconds_used, used.storage_seconds_used) == (
            (seconds, 0.0) if half == "utilization" else (0.0, storage)
        )


@pytest.mark.parametrize(("field", "ok"), [("machineId", "ps1"), ("billingMonth", "2026-03")])
@pytest.mark.parametrize("half", ["utilization", "storageUtilization"])
def test_a_half_is_of_the_machine_and_month_that_were_asked_about(field: str, ok: str, half: str) -> None:
    for said in (None, ok):
        used = core.read_utilization({half: {"secondsUsed": 1, field: said}}, "ps1", "2026-03")
        assert (used.machine_id, used.month) == ("ps1", "2026-03")
    with pytest.raises(Unreadable, match=field):
        core.read_utilization({half: {"secondsUsed": 1, field: "ps2"}}, "ps1", "2026-03")


def test_rates_of_both_halves_are_kept() -> None:
    content = {"utilization": {"hourlyRate": 0.51}, "storageUtilization": {"monthlyRate": "5.00"}}
    used = core.read_utilization(content, "ps1", "2026-03")
    assert (used.seconds_used, used.hourly_rate, used.storage_monthly_rate) == (None, Decimal("0.51"), Decimal(5))


@pytest.mark.parametrize(
    ("rate", "value"), [(5, Decimal(5)), ("5.00", Decimal(5)), (0, None), (None, None), ("much", None), (-5, None)]
)
def test_v1s_rate_for_the_disk(rate: Any, value: Decimal | None) -> None:
    assert v1.storage_rate({"storageRate": rate}) == value
    assert v1.storage_rate({}) is None


def offer(*types: Any) -> dict[str, Any]:
    return {"availableMachineTypes": list(types)}


P4, NO_P4, P5 = (
    {"machineTypeLabel": t, "isAvailable": a} for t, a in (("P4000", True), ("P4000", False), ("P5000", True))
)


@pytest.mark.parametrize(
    ("templates", "told"),
    [
        ([], None),
        ([offer()], None),
        ([offer(P5)], None),
        ([offer(P4)], True),
        ([offer(NO_P4)], False),
        ([offer(NO_P4), offer(P5, P4)], True),
        ([offer({"machineTypeLabel": "P4000", "isAvailable": "yes"})], False),
        ([offer({"machineTypeLabel": "P4000"})], False),
        ([{"availableMachineTypes": None}, {}, {"availableMachineTypes": P4}, offer("P4000", 3)], None),
    ],
)
def test_whether_any_template_can_be_had_on_a_type(templates: list[dict[str, Any]], told: bool | None) -> None:
    assert v1.available(templates, "P4000") is told


def test_an_answer_that_is_not_understood_is_said_of_the_call() -> None:
    with pytest.raises(MalformedAnswer, match=r"the answer cannot be understood: .*state") as caught:
        understood("show", core.read_machine, {"id": "ps1", "name": "n"})
    assert caught.value.operation == "show"
    with pytest.raises(Ambiguous) as other:
        understood("create", v1.read_created, [], error=Ambiguous)
    assert other.value.operation == "create"
