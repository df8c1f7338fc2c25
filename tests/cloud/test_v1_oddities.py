"""Answers of the v1 API that its types do not promise, read without harm."""

from __future__ import annotations

import json
import random
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from structlog.testing import capture_logs

from fleetd.cloud.calls import HttpLimits
from fleetd.cloud.paperspace import snapshots, wire
from fleetd.cloud.paperspace.api import PaperspaceApi
from fleetd.cloud.paperspace.cloud import PaperspaceCloud
from fleetd.cloud.paperspace.inquiry import inquire
from fleetd.cloud.port import MachineChange
from fleetd.cloud.reading import Unreadable
from fleetd.cloud.retry import RetryPolicy
from fleetd.model.errors import Ambiguous, Busy, CloudError, MalformedAnswer, NotFound, Refused, Unauthorized
from fleetd.model.machine import MachineEvent, SnapshotPolicy
from fleetd.planner.policies import last_started
from tests.support.build import fleet
from tests.support.clients import paperspace_client
from tests.support.rig import settings

BASE = "https://api.example.test/v1"
KEY = "k3y-0f-the-t3st"
MACHINE = {"id": "ps1", "name": "box", "state": "ready"}
AT = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


@asynccontextmanager
async def dialect():
    client = paperspace_client(
        BASE, lambda: KEY, rng=random.Random(1), limits=HttpLimits(), retries=RetryPolicy(attempts=1)
    )
    try:
        yield PaperspaceCloud(client), PaperspaceApi(client)
    finally:
        await client.aclose()


def page(*items: Any, after: str | None = None) -> dict[str, Any]:
    return {"hasMore": after is not None, "items": list(items), "nextPage": after}


def bodies(wire_: Any) -> list[Any]:
    calls = [call for calls in wire_.requests.values() for call in calls]
    return [json.loads(c.kwargs["data"]) if c.kwargs["data"] is not None else None for c in calls]


async def test_the_key_is_a_bearer(wire) -> None:
    wire.get(f"{BASE}/machines?limit=120&orderBy=dtCreated&order=asc", payload=page(MACHINE))
    async with dialect() as (cloud, _):
        listing = await cloud.list_machines()
        assert [m.id for m in listing.machines] == ["ps1"]
    ((call,),) = wire.requests.values()
    assert call.kwargs["headers"]["Authorization"] == f"Bearer {KEY}"
    assert call.kwargs["data"] is None


async def test_a_limit_that_the_api_refuses_is_not_given_again(wire) -> None:
    refused = {"code": "BAD_REQUEST", "message": "limit: Number must be less than or equal to 50"}
    first = f"{BASE}/private-networks"
    wire.get(f"{first}?limit=120", status=400, payload=refused)
    wire.get(first, payload=page({"id": "n1"}, after="c1"))
    wire.get(f"{first}?after=c1", payload=page({"id": "n2"}))
    async with dialect() as (_, api):
        assert [row["id"] for row in await api.networks()] == ["n1", "n2"]
    assert len(wire.requests) == 3


async def test_another_refusal_of_a_page_stands(wire) -> None:
    wire.get(f"{BASE}/private-networks?limit=120", status=400, payload={"code": "BAD_REQUEST", "message": "no"})
    async with dialect() as (_, api):
        with pytest.raises(Refused, match="no"):
            await api.networks()


@pytest.mark.parametrize(
    "answer",
    [
        {"items": [MACHINE]},
        {"hasMore": False},
        {"hasMore": True, "items": [MACHINE]},
        {"hasMore": True, "items": [MACHINE], "nextPage": ""},
        [MACHINE],
    ],
    ids=["no hasMore", "no items", "no cursor", "empty cursor", "an array"],
)
async def test_what_is_no_page_is_malformed(wire, answer: Any) -> None:
    wire.get(f"{BASE}/machines?limit=120&orderBy=dtCreated&order=asc", payload=answer)
    async with dialect() as (cloud, _):
        with pytest.raises(MalformedAnswer):
            await cloud.list_machines()


async def test_pages_without_an_end_are_not_complete(wire) -> None:
    for order in ("asc", "desc"):
        url = f"{BASE}/machines?limit=120&orderBy=dtCreated&order={order}"
        wire.get(url, payload=page(MACHINE, after="c1"), repeat=True)
        wire.get(f"{url}&after=c1", payload=page(MACHINE, after="c1"), repeat=True)
    async with dialect() as (cloud, _):
        listing = await cloud.list_machines()
        assert (len(listing.machines), listing.complete) == (1, False)


@pytest.mark.parametrize(
    ("code", "kind"),
    [("NOT_FOUND", NotFound), ("CONFLICT", Busy), ("BAD_REQUEST", Refused), ("INTERNAL_SERVER_ERROR", Ambiguous)],
)
async def test_an_error_under_status_200_is_an_error(wire, code: str, kind: type[CloudError]) -> None:
    wire.patch(f"{BASE}/machines/ps1/restart", payload={"code": code, "message": "no"})
    async with dialect() as (cloud, _):
        with pytest.raises(kind, match="no"):
            await cloud.restart("ps1")


@pytest.mark.parametrize(
    "payload", [{}, {"data": None}, {"data": {"name": "box"}}, {"data": {"id": "ps1"}}, [], None]
)
async def test_a_create_that_answers_oddly_is_ambiguous(wire, payload: Any) -> None:
    wire.post(f"{BASE}/machines", payload=payload)
    async with dialect() as (cloud, _):
        with pytest.raises(Ambiguous):
            await cloud.create("box", {})


@pytest.mark.parametrize(
    ("verb", "state", "fails"),
    [
        ("start", "starting", False),
        ("start", "ready", False),
        ("start", "stopping", True),
        ("start", "hibernating", True),
        ("stop", "stopping", False),
        ("stop", "off", False),
        ("stop", "starting", True),
    ],
)
async def test_a_refusal_for_being_there_already_is_none(wire, verb: str, state: str, fails: bool) -> None:
    refusal = {"code": "CONFLICT", "message": f"This machine is currently {state}."}
    wire.patch(f"{BASE}/machines/ps1/{verb}", status=409, payload=refusal)
    async with dialect() as (cloud, _):
        if fails:
            with pytest.raises(Busy):
                await getattr(cloud, verb)("ps1")
        else:
            await getattr(cloud, verb)("ps1")


async def test_events_of_another_machine_are_not_taken_for_this_ones(wire) -> None:
    strangers = [{"id": "e2", "name": "start", "state": "error", "machineId": "ps2"}, {"id": "e3", "name": "start"}]
    mine = {"id": "e1", "name": "create", "state": "done", "machineId": "ps1"}
    wire.get(
        f"{BASE}/machine-events?limit=120&machineId=ps1&orderBy=dtCreated&order=desc", payload=page(*strangers, mine)
    )
    wire.get(f"{BASE}/machines/ps1", payload=MACHINE)
    async with dialect() as (cloud, _):
        shown = await cloud.show("ps1")
        assert [e.handle for e in shown.events or ()] == ["e1"]


EVENT = {"machineId": "ps1", "name": "start", "state": "done", "dtCreated": "2026-03-02T12:00:00Z"}


@pytest.mark.parametrize(
    ("start", "create"),
    [
        pytest.param("same", "same", id="two of one id"),
        pytest.param(None, "e1", id="none"),
        pytest.param(17, "e1", id="a number"),
    ],
)
async def test_events_that_cannot_be_told_apart_are_not_read_as_if_the_lost_ones_had_not_been(
    wire, start: object, create: str
) -> None:
    """The last start may be what is lost, and the create before it says that the machine is up for days."""
    born = EVENT | {"id": create, "name": "create", "dtCreated": "2026-03-01T12:00:00Z"}
    url = f"{BASE}/machine-events?limit=120&machineId=ps1&orderBy=dtCreated&order=desc"
    wire.get(url, payload=page(EVENT | {"id": start}, born))
    wire.get(f"{BASE}/machines/ps1", payload=MACHINE)
    async with dialect() as (cloud, _):
        shown = await cloud.show("ps1")
    assert [e.name for e in shown.events or ()] == ["", "create" if create == "e1" else ""]
    assert last_started(shown) is None


@pytest.mark.parametrize(
    ("status", "payload"),
    [
        (404, {"code": "NOT_FOUND", "message": "no such machine"}),
        (500, {"code": "INTERNAL_SERVER_ERROR", "message": "oops"}),
        (403, {"code": "FORBIDDEN", "message": "no"}),
        (429, {"code": "TOO_MANY_REQUESTS", "message": "slow down"}),
        (200, [1]),
        (200, {"hasMore": False, "items": None}),
        (200, {"hasMore": None, "items": []}),
    ],
)
async def test_a_machine_whose_events_cannot_be_read_is_shown_without_them_and_it_is_said_once(
    wire, status: int, payload: Any
) -> None:
    url = f"{BASE}/machine-events?limit=120&machineId=ps1&orderBy=dtCreated&order=desc"
    wire.get(f"{BASE}/machines/ps1", payload=MACHINE, repeat=True)
    for _ in range(3):
        wire.get(url, status=status, payload=payload)
    wire.get(url, payload=page(), repeat=True)
    async with dialect() as (cloud, _):
        with capture_logs() as logs:
            for _ in range(3):
                shown = await cloud.show("ps1")
                assert (shown.state, shown.events) == ("ready", None)
                assert shown.not_looked
                assert shown.not_looked in cloud.remarks[0]
            assert (await cloud.show("ps1")).events == ()
            assert cloud.remarks == ()
    assert [e["event"] for e in logs if e["event"].startswith("events.")] == [
        "events.went_silent",
        "events.came_back",
    ]


async def test_neither_a_machine_that_is_not_there_nor_a_refused_key_is_a_matter_of_events(
    wire,
) -> None:
    url = f"{BASE}/machine-events?limit=120&machineId=ps1&orderBy=dtCreated&order=desc"
    gone = {"code": "NOT_FOUND", "message": "no such machine"}
    wire.get(url, status=404, payload=gone)
    wire.get(f"{BASE}/machines/ps1", status=404, payload=gone)
    wire.get(url, status=401, payload={"code": "UNAUTHORIZED", "message": "who?"})
    async with dialect() as (cloud, _):
        with pytest.raises(NotFound):
            await cloud.show("ps1")
        with pytest.raises(Unauthorized):
            await cloud.show("ps1")
        assert cloud.remarks == ()


async def test_another_machine_than_the_one_asked_for_is_malformed(wire) -> None:
    wire.get(f"{BASE}/machine-events?limit=120&machineId=ps2&orderBy=dtCreated&order=desc", payload=page())
    wire.get(f"{BASE}/machines/ps2", payload=MACHINE)
    async with dialect() as (cloud, _):
        with pytest.raises(MalformedAnswer, match="asked about ps2"):
            await cloud.show("ps2")


@pytest.mark.parametrize(
    ("change", "sent"),
    [
        (MachineChange(shutdown_timeout_hours=24), {"autoShutdownEnabled": True, "autoShutdownTimeout": 24}),
        (MachineChange(shutdown_timeout_forces=False), {"autoShutdownForce": False}),
        (MachineChange(snapshots_enabled=True), {"autoSnapshotEnabled": True}),
        (MachineChange(snapshot_frequency="hour"), {"autoSnapshotFrequency": "hourly"}),
        (MachineChange(snapshot_frequency="none"), {"autoSnapshotEnabled": False}),
        (
            MachineChange(snapshots_enabled=True, snapshot_frequency="week", snapshot_keep=3),
            {"autoSnapshotEnabled": True, "autoSnapshotFrequency": "weekly", "autoSnapshotSaveCount": 3},
        ),
    ],
)
async def test_changes_travel_by_the_apis_names(wire, change: MachineChange, sent: dict[str, Any]) -> None:
    wire.put(f"{BASE}/machines/ps1", payload={"data": MACHINE, "event": None})
    async with dialect() as (cloud, _):
        await cloud.update("ps1", change)
    assert bodies(wire) == [sent]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {"shutdown_timeout_hours": None, "shutdown_timeout_forces": None, "hourly_rate": None}),
        ({"usageRate": 0.51}, {"hourly_rate": Decimal("0.51")}),
        ({"usageRate": 0}, {"hourly_rate": None}),
        ({"usageRate": "P4000 hourly"}, {"hourly_rate": None}),
        ({"autoShutdownEnabled": True, "autoShutdownTimeout": 24}, {"shutdown_timeout_hours": 24}),
        ({"autoShutdownEnabled": False, "autoShutdownTimeout": 24}, {"shutdown_timeout_hours": 0}),
        ({"autoShutdownEnabled": None, "autoShutdownTimeout": None}, {"shutdown_timeout_hours": None}),
        ({"autoShutdownEnabled": True, "autoShutdownForce": None}, {"shutdown_timeout_forces": False}),
        (
            {"autoSnapshotEnabled": True, "autoSnapshotFrequency": "daily", "autoSnapshotSaveCount": 7},
            {"snapshots": SnapshotPolicy(True, "day", 7)},
        ),
        (
            {"autoSnapshotEnabled": True, "autoSnapshotFrequency": "fortnightly"},
            {"snapshots": SnapshotPolicy(True, "fortnightly", None)},
        ),
    ],
)
def test_fields(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    machine = wire.read_machine({**MACHINE, **fields, "events": []})
    assert machine is not None
    assert {name: getattr(machine, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("state", "deleted", "seen"),
    [
        ("off", "2026-03-01T00:00:00.000Z", False),
        ("stopping", "2026-03-01T00:00:00.000Z", False),
        ("ready", "2026-03-01T00:00:00.000Z", True),
        ("provisioning", "2026-03-01T00:00:00.000Z", True),
        ("off", None, True),
        ("off", "soon", True),
    ],
)
def test_a_deleted_machine_is_none_unless_it_runs_all_the_same(state: str, deleted: str | None, seen: bool) -> None:
    content = {**MACHINE, "state": state, "dtDeleted": deleted}
    assert (len(wire.read_machines([content])) == 1) is seen
    assert (wire.read_machine({**content, "events": []}) is not None) is seen


@pytest.mark.parametrize("content", [{}, {"id": "ps1", "name": "x"}, {"id": "", "name": "x", "state": "off"}, "ps1"])
def test_what_is_no_machine(content: Any) -> None:
    with pytest.raises(Unreadable):
        wire.read_machine(content)


def test_bookkeeping_is_no_event_of_the_machine() -> None:
    entries = [
        {"id": "e2", "name": "bill-sessions", "state": "done"},
        {"id": "e1", "name": "stop", "state": "done"},
        3,
    ]
    assert [e.handle for e in wire.read_events(entries)] == ["e1"]


def event(name: str, state: str = "done", *, hours_ago: float | None = 0, handle: str = "") -> MachineEvent:
    at = None if hours_ago is None else AT.replace(hour=int(12 - hours_ago))
    return MachineEvent(name, state, error="disk" if state == "error" else "", handle=handle or name, created_at=at)


ROW = {"id": "ss1", "machineId": "ps1"}


@pytest.mark.parametrize(
    ("rows", "events", "newest", "doubt", "failed"),
    [
        pytest.param([], [event("snapshot-create")], None, "it has no snapshot", False, id="none"),
        pytest.param([{"id": "s", "machineId": "ps2"}], [event("snapshot-create")], None, "it has no snapshot", False,
                     id="another machine's"),
        pytest.param([ROW], [], None, "no event tells when its snapshots were made", False, id="no event"),
        pytest.param([ROW], [event("snapshot-create", hours_ago=None)], None,
                     "no event tells when its snapshots were made", False, id="no date"),
        pytest.param([ROW], [event("stop"), event("snapshot-create", hours_ago=3)], 9, "", False, id="three hours"),
        pytest.param([ROW], [event("snapshot-create", "error"), event("snapshot-create", hours_ago=3)], 9, "", True,
                     id="one failed since"),
        pytest.param([ROW], [event("snapshot-create", "in progress"), event("snapshot-create", hours_ago=3)], 9, "",
                     False, id="one under way"),
        pytest.param([ROW], [event("snapshot-create"), event("snapshot-create", "error", hours_ago=3)], 12, "", False,
                     id="made up for"),
        pytest.param([ROW], [event("snapshot-delete"), event("snapshot-create", hours_ago=3)], None,
                     "a snapshot was deleted since the newest was made", False, id="deleted since"),
        pytest.param([ROW], [event("snapshot-delete", "error"), event("snapshot-create", hours_ago=3)], 9, "", False,
                     id="not deleted after all"),
        pytest.param([ROW], [event("snapshot-create"), event("snapshot-delete", hours_ago=3)], 12, "", False,
                     id="deleted before"),
        pytest.param([ROW], [event("snapshot-create"), event("snapshot-delete")], None,
                     "a snapshot was deleted since the newest was made", False, id="deleted at that moment"),
        pytest.param([ROW], [event("snapshot-delete", hours_ago=5), event("snapshot-create", hours_ago=3)], None,
                     "a snapshot was deleted since the newest was made", False, id="deleted since, by the order"),
        pytest.param([ROW], [event("snapshot-create", "error"), event("snapshot-create", "error", hours_ago=3)], None,
                     "no event tells when its snapshots were made", True, id="none was ever made"),
        pytest.param([], [event("snapshot-create", "error")], None, "it has no snapshot", True, id="a failure"),
        pytest.param([ROW], [event("snapshot-create", hours_ago=3), event("snapshot-delete", hours_ago=None)], None,
                     "a snapshot was deleted since the newest was made", False, id="deleted nobody knows when"),
    ],
)  # fmt: skip
def test_how_old_the_newest_snapshot_is(rows: Any, events: Any, newest: int | None, doubt: str, failed: bool) -> None:
    sight = snapshots.sight("ps1", rows, events)
    assert sight.newest_at == (None if newest is None else AT.replace(hour=newest))
    assert (sight.machine_id, sight.doubt) == ("ps1", doubt)
    assert sight.failure is (next(e for e in events if e.name == "snapshot-create") if failed else None)


@pytest.mark.parametrize(
    ("sent", "tells"),
    [
        ({"name": "snapshot-create", "state": "done"}, True),
        ({"name": "snapshot-create", "state": "error"}, False),
        ({"name": "snapshot-delete", "state": "done"}, False),
        ({}, False),
    ],
)
def test_which_event_tells_when_a_snapshot_was_made(sent: dict[str, Any], tells: bool) -> None:
    assert snapshots.tells_date(sent) is tells


@pytest.mark.parametrize(
    ("status", "session", "told"),
    [
        (200, {"team": {"maxMachines": 5}}, True),
        (200, {"team": {"maxMachines": "5"}}, True),
        (200, {"team": {"maxMachines": 6}}, False),
        (200, {"team": {"maxMachines": None}}, False),
        (200, {"team": {}}, False),
        (200, {"team": None}, False),
        (200, {"user": {}}, False),
        (403, {"code": "FORBIDDEN", "message": "no"}, False),
        (404, {"code": "NOT_FOUND", "message": "no"}, False),
    ],
)
async def test_targets_are_compared_with_the_accounts_limit(wire, status: int, session: Any, told: bool) -> None:
    for path in ("os-templates", "custom-templates", "private-networks", "startup-scripts"):
        wire.get(f"{BASE}/{path}?limit=120", payload=page())
    wire.get(f"{BASE}/billing/account-standing", payload={"isInGoodStanding": True})
    wire.get(f"{BASE}/auth/session", status=status, payload=session)
    async with dialect() as (_, api):
        faults = await inquire(api, settings(fleet(target=4), fleet("other", target=2)))
    said = [str(fault) for fault in faults if fault.path == "fleets"]
    assert said == (["fleets: the targets come to 6 machines, and the account may have 5"] if told else [])
