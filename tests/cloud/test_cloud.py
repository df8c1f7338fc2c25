"""Both dialects as the engine sees them: what is asked for each of the port's calls, and what comes of the answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from fleetd.cloud.core import errors as core_errors
from fleetd.cloud.core.cloud import CoreCloud
from fleetd.cloud.dialects import DIALECTS
from fleetd.cloud.paperspace import errors as v1_errors
from fleetd.cloud.paperspace.cloud import PaperspaceCloud
from fleetd.cloud.port import Capabilities, MachineChange, freely
from fleetd.model.errors import (
    Ambiguous,
    Busy,
    CloudError,
    MalformedAnswer,
    NotFound,
    Refused,
    Unavailable,
    Unsupported,
)
from fleetd.model.machine import MachineEvent, SnapshotSight, Utilization
from fleetd.model.reasons import Verb
from tests.support.asked import Asked

NOW = datetime(2026, 3, 11, tzinfo=UTC)
READY = {"id": "ps1", "name": "box", "state": "ready"}
GONE = NotFound("Machine not found", operation="show", status=404)
DOWN = Unavailable("no connection", operation="list")

Clouds = tuple[Any, Asked]
Call = Callable[[Any], Awaitable[Any]]


def core(*said: Any) -> Clouds:
    http = Asked(core_errors.classify, *said)
    return CoreCloud(http), http


def v1(*said: Any) -> Clouds:
    http = Asked(v1_errors.classify, *said)
    return PaperspaceCloud(http, now=lambda: NOW), http


def page(*items: Any, after: Any = None) -> dict[str, Any]:
    return {"hasMore": after is not None, "items": list(items), "nextPage": after}


def rows(first: int, count: int, **fields: Any) -> list[dict[str, Any]]:
    return [{"id": f"m{n}", "name": f"n{n}", "state": "off", **fields} for n in range(first, first + count)]


def paths(http: Asked) -> list[str]:
    return [f"{call.method} {call.path}" for call in http.calls]


def cursors(http: Asked) -> list[str]:
    return [f"{call.query.get('order')} {call.query.get('after', '')}".strip() for call in http.calls]


CHANGE = MachineChange(shutdown_timeout_hours=8)
EVERYTHING = MachineChange(
    shutdown_timeout_hours=8,
    shutdown_timeout_forces=False,
    snapshots_enabled=True,
    snapshot_frequency="day",
    snapshot_keep=0,
)
OFF = MachineChange(snapshots_enabled=False, snapshot_frequency="none")
CORE_CALLS: dict[str, tuple[Call, Any, str, dict[str, Any] | None]] = {
    "create": (
        lambda c: c.create("box", {"size": 50, "machineName": "other"}),
        READY,
        "POST /machines/createSingleMachinePublic",
        {"size": 50, "machineName": "box"},
    ),
    "start": (lambda c: c.start("ps1"), b"", "POST /machines/ps1/start", {"machineId": "ps1"}),
    "stop": (lambda c: c.stop("ps1"), b"", "POST /machines/ps1/stop", {"machineId": "ps1"}),
    "restart": (lambda c: c.restart("ps1"), b"", "POST /machines/ps1/restart", {"machineId": "ps1"}),
    "destroy": (lambda c: c.destroy("ps1"), b"", "POST /machines/ps1/destroyMachine", {"machineId": "ps1"}),
    "destroy, not releasing": (
        lambda c: c.destroy("ps1", release_public_ip=False),
        b"",
        "POST /machines/ps1/destroyMachine",
        {"machineId": "ps1"},
    ),
    "destroy, releasing": (
        lambda c: c.destroy("ps1", release_public_ip=True),
        b"",
        "POST /machines/ps1/destroyMachine",
        {"machineId": "ps1", "releasePublicIp": True},
    ),
    "update": (
        lambda c: c.update("ps1", CHANGE),
        b"",
        "POST /machines/ps1/updateMachinePublic",
        {"machineId": "ps1", "shutdownTimeoutInHours": 8},
    ),
    "update, everything": (
        lambda c: c.update("ps1", EVERYTHING),
        b"",
        "POST /machines/ps1/updateMachinePublic",
        {
            "machineId": "ps1",
            "shutdownTimeoutInHours": 8,
            "shutdownTimeoutForces": False,
            "performAutoSnapshot": True,
            "autoSnapshotFrequency": "day",
            "autoSnapshotSaveCount": 0,
        },
    ),
    "update, no snapshots": (
        lambda c: c.update("ps1", OFF),
        b"",
        "POST /machines/ps1/updateMachinePublic",
        {"machineId": "ps1", "performAutoSnapshot": False, "autoSnapshotFrequency": None},
    ),
}
V1_CALLS: dict[str, tuple[Call, Any, str, dict[str, Any] | None]] = {
    "create": (
        lambda c: c.create("box", {"diskSize": 50, "name": "other"}),
        {"data": READY},
        "POST /machines",
        {"diskSize": 50, "name": "box"},
    ),
    "start": (lambda c: c.start("ps1"), b"", "PATCH /machines/ps1/start", {}),
    "stop": (lambda c: c.stop("ps1"), b"", "PATCH /machines/ps1/stop", {}),
    "restart": (lambda c: c.restart("ps1"), b"", "PATCH /machines/ps1/restart", {}),
    "destroy": (lambda c: c.destroy("ps1"), b"", "DELETE /machines/ps1", None),
    "destroy, releasing": (lambda c: c.destroy("ps1", release_public_ip=True), b"", "DELETE /machines/ps1", None),
    "update": (
        lambda c: c.update("ps1", CHANGE),
        b"",
        "PUT /machines/ps1",
        {"autoShutdownEnabled": True, "autoShutdownTimeout": 8},
    ),
    "update, everything": (
        lambda c: c.update("ps1", EVERYTHING),
        b"",
        "PUT /machines/ps1",
        {
            "autoShutdownEnabled": True,
            "autoShutdownTimeout": 8,
            "autoShutdownForce": False,
            "autoSnapshotEnabled": True,
            "autoSnapshotFrequency": "daily",
            "autoSnapshotSaveCount": 0,
        },
    ),
    "update, no snapshots": (
        lambda c: c.update("ps1", OFF),
        b"",
        "PUT /machines/ps1",
        {"autoSnapshotEnabled": False},
    ),
    "update, how often": (
        lambda c: c.update("ps1", MachineChange(snapshot_frequency="fortnightly")),
        b"",
        "PUT /machines/ps1",
        {"autoSnapshotFrequency": "fortnightly"},
    ),
}
WRITES = [
    pytest.param(opened, *row, id=f"{dialect}: {name}")
    for dialect, opened, table in (("core", core, CORE_CALLS), ("v1", v1, V1_CALLS))
    for name, row in table.items()
]


@pytest.mark.parametrize(("opened", "call", "said", "sent", "body"), WRITES)
async def test_a_write_is_one_request_that_is_never_repeated(
    opened: Callable[..., Clouds], call: Call, said: Any, sent: str, body: dict[str, Any] | None
) -> None:
    cloud, http = opened(said)
    made = await call(cloud)
    assert paths(http) == [sent]
    assert (http.calls[0].body, http.calls[0].repeatable) == (body, False)
    assert made is None or (made.id, made.name, made.state, made.events) == ("ps1", "box", "ready", None)


@pytest.mark.parametrize(("opened", "call", "said", "sent", "body"), WRITES)
async def test_what_a_write_came_to_is_not_swallowed(
    opened: Callable[..., Clouds], call: Call, said: Any, sent: str, body: dict[str, Any] | None
) -> None:
    del said, sent, body
    for error in (Ambiguous("lost"), Refused("no"), Busy("it is being moved", status=409)):
        cloud, _ = opened(error)
        with pytest.raises(CloudError) as caught:
            await call(cloud)
        assert caught.value is error


@pytest.mark.parametrize("opened", [core, v1])
async def test_where_nothing_is_to_be_changed_nothing_is_sent(opened: Callable[..., Clouds]) -> None:
    cloud, http = opened()
    await cloud.update("ps1", MachineChange())
    assert http.calls == []


@pytest.mark.parametrize(
    ("opened", "said"),
    [(core, {"id": "ps1", "name": "box"}), (v1, {"data": {"id": "ps1", "name": "box"}})],
    ids=["core", "v1"],
)
async def test_a_machine_that_was_made_and_cannot_be_read_may_be_there(
    opened: Callable[..., Clouds], said: Any
) -> None:
    cloud, _ = opened(said)
    with pytest.raises(Ambiguous, match="state") as caught:
        await cloud.create("box", {})
    assert caught.value.operation == "create"


@pytest.mark.parametrize(
    ("verb", "state", "done"),
    [
        ("start", "starting", True),
        ("start", "provisioning", True),
        ("start", "serviceready", True),
        ("start", "stopping", False),
        ("start", "off", False),
        ("start", "hibernating", False),
        ("stop", "stopping", True),
        ("stop", "off", True),
        ("stop", "ready", False),
        ("stop", "restarting", False),
        ("restart", "restarting", False),
    ],
)
async def test_on_v1_being_refused_for_being_there_is_being_there(verb: str, state: str, done: bool) -> None:
    busy = Busy(f"This machine is currently {state}.", operation=verb, status=409)
    cloud, _ = v1(busy)
    if done:
        await getattr(cloud, verb)("ps1")
    else:
        with pytest.raises(Busy):
            await getattr(cloud, verb)("ps1")


async def test_core_shows_a_machine_in_one_request() -> None:
    cloud, http = core({**READY, "events": [{"name": "start", "state": "done", "handle": "h"}]})
    machine = await cloud.show("ps1")
    assert (machine.id, machine.events, machine.not_looked) == (
        "ps1",
        (MachineEvent("start", "done", handle="h"),),
        None,
    )
    assert paths(http) == ["GET /machines/getMachinePublic"]
    assert cloud.remarks == ()


async def test_v1_shows_a_machine_after_its_events() -> None:
    cloud, http = v1(page({"id": "e1", "name": "start", "state": "done", "machineId": "ps1"}), READY)
    machine = await cloud.show("ps1")
    assert (machine.id, machine.events, machine.not_looked) == (
        "ps1",
        (MachineEvent("start", "done", handle="e1"),),
        None,
    )
    assert paths(http) == ["GET /machine-events", "GET /machines/ps1"]


async def test_v1_asks_for_events_once_only_while_they_cannot_be_read() -> None:
    broken = Unavailable("no events today", operation="events", status=500)
    cloud, http = v1(broken, READY, broken, READY, page(), READY, page(), READY)
    for _ in range(2):
        machine = await cloud.show("ps1")
        assert (machine.events, machine.not_looked) == (None, "no events today")
        assert "no events today" in cloud.remarks[0]
    assert (await cloud.show("ps1")).events == ()
    assert cloud.remarks == ()
    await cloud.show("ps1")
    assert [call.patient for call in http.calls if call.operation == "events"] == [True, False, False, True]
    assert all(call.patient for call in http.calls if call.operation == "show")


DELETED = {**READY, "state": "off", "dtDeleted": "2026-03-01T00:00:00Z"}


@pytest.mark.parametrize(
    ("opened", "said", "kind", "message"),
    [
        pytest.param(core, [[]], MalformedAnswer, "the answer is not an object", id="core: no object"),
        pytest.param(core, [{}], MalformedAnswer, "the answer cannot be understood", id="core: no machine"),
        pytest.param(core, [GONE], NotFound, "Machine not found", id="core: gone"),
        pytest.param(core, [{**READY, "machineId": "ps1", "id": "ps2"}], MalformedAnswer,
                     "asked for ps1, answered with ps2", id="core: another"),
        pytest.param(v1, [page(), {}], MalformedAnswer, "the answer cannot be understood", id="v1: no machine"),
        pytest.param(v1, [page(), DELETED], NotFound, "the machine is deleted", id="v1: deleted"),
        pytest.param(v1, [page(), GONE], NotFound, "Machine not found", id="v1: gone"),
        pytest.param(v1, [page(), {**READY, "machineId": "ps1", "id": "ps2"}], MalformedAnswer,
                     "asked for ps1, answered with ps2", id="v1: another"),
    ],
)  # fmt: skip
async def test_what_is_not_the_machine_is_no_look_at_it(
    opened: Callable[..., Clouds], said: list[Any], kind: type[CloudError], message: str
) -> None:
    cloud, _ = opened(*said)
    with pytest.raises(kind) as caught:
        await cloud.show("ps1")
    assert caught.value.message.startswith(message)
    assert caught.value.operation == "show"
    assert caught.value.status == (404 if kind is NotFound else None)


@pytest.mark.parametrize(
    ("opened", "said"),
    [(core, [READY, {"id": "b"}, {"name": "c"}]), (v1, page(READY, {"id": "b"}, {"name": "c"}))],
    ids=["core", "v1"],
)
async def test_a_listing_has_what_can_be_read_and_says_what_cannot(opened: Callable[..., Clouds], said: Any) -> None:
    told: list[str] = []
    cloud, _ = opened(said)
    listing = await cloud.list_machines(lambda: told.append("page"))
    assert [(m.id, m.state, m.events) for m in listing.machines] == [
        ("ps1", "ready", None),
        ("b", "unreadable", None),
    ]
    assert (listing.complete, listing.problem, listing.unidentified, told) == (True, "", 1, ["page"])


@pytest.mark.parametrize(
    ("opened", "said"),
    [
        (core, [rows(0, 1000), DOWN, []]),
        (v1, [page({"id": "m0", "name": "n", "state": "off"}, after="c1"), DOWN, DOWN]),
    ],
    ids=["core", "v1"],
)
async def test_a_listing_of_which_a_page_failed_is_not_complete_and_teaches_nothing(
    opened: Callable[..., Clouds], said: list[Any]
) -> None:
    cloud, _ = opened(*said)
    listing = await cloud.list_machines()
    assert (listing.complete, listing.problem, len(listing.machines) > 0) == (False, "no connection", True)
    assert cloud._places.total == 0


async def test_core_finds_those_that_share_a_page_there_and_the_others_one_by_one() -> None:
    everything = [*rows(0, 1000), *rows(1000, 500)]
    first, second = everything[:1000], everything[1000:]
    cloud, http = core(first, second, [], first, everything[999:])
    listing = await cloud.list_machines()
    assert (listing.complete, len(http.calls)) == (True, 5), "it was read a second time, to be sure"
    http.calls.clear()
    http._said[:] = [second, {**READY, "id": "m7"}]
    found = await cloud.find({"m7", "m1100", "m1200"})
    assert {m: s.state for m, s in found.machines.items()} == {"m7": "ready", "m1100": "off", "m1200": "off"}
    assert found.requests == len(http.calls) == 2
    assert [(c.path, dict(c.query)) for c in http.calls] == [
        ("/machines/getMachines", {"limit": "1000", "skip": "1000"}),
        ("/machines/getMachinePublic", {"machineId": "m7"}),
    ]


async def test_core_tells_of_each_on_a_page_that_failed_why_and_nothing_of_those_that_are_not_on_it() -> None:
    cloud, http = core(DOWN, GONE)
    cloud._places.learn(rows(0, 1500))
    found = await cloud.find({"m1100", "m1200", "m3"})
    assert found.machines == {"m1100": DOWN, "m1200": DOWN, "m3": GONE}
    assert found.requests == 2
    http._said[:] = [rows(1100, 1)]
    found = await cloud.find({"m1100", "m1200"})
    assert (set(found.machines), found.requests) == ({"m1100"}, 1)
    assert cloud._places.of("m1100") == 1000, "where it was seen last"


async def test_core_believes_neither_of_two_copies_that_disagree() -> None:
    cloud, _ = core([{**READY, "id": "m1"}, {**READY, "id": "m2"}, {**READY, "id": "m1", "state": "off"}])
    cloud._places.learn(rows(0, 5))
    assert set((await cloud.find({"m1", "m2"})).machines) == {"m2"}


def learnt(count: int, *said: Any) -> Clouds:
    cloud, http = v1(*said)
    cloud._places.learn(rows(0, count))
    return cloud, http


async def test_v1_finds_those_at_an_end_there_and_the_others_one_by_one() -> None:
    newest = list(reversed(rows(880, 120, events=[{"name": "start"}])))
    cloud, http = learnt(1000, page(*newest, after="c1"), {**READY, "id": "m400"}, {**READY, "id": "m500"})
    found = await cloud.find({"m999", "m998", "m997", "m500", "m400"})
    assert {m: (s.state, s.events) for m, s in found.machines.items()} == {
        **dict.fromkeys(("m999", "m998", "m997"), ("off", None)),
        **dict.fromkeys(("m500", "m400"), ("ready", None)),
    }
    assert found.requests == len(http.calls) == 3
    assert http.calls[0].query == {"limit": "120", "orderBy": "dtCreated", "order": "desc"}
    assert paths(http)[1:] == ["GET /machines/m400", "GET /machines/m500"]


async def test_v1_reads_a_page_more_than_they_should_be_on_and_then_no_further() -> None:
    said = [page(*rows(900 - n, 1), after=f"c{n}") for n in range(5)]
    cloud, http = learnt(1000, *said)
    found = await cloud.find({"m999", "m998"})
    assert cursors(http) == ["desc", "desc c0"]
    assert (found.machines, found.requests) == ({}, 2)


async def test_v1_reads_the_oldest_first_where_they_are_nearer() -> None:
    cloud, http = learnt(1000, page(*rows(1, 2), after="c1"))
    found = await cloud.find({"m1", "m2"})
    assert (cursors(http), set(found.machines), found.requests) == (["asc"], {"m1", "m2"}, 1)


async def test_v1_reads_as_far_as_the_deepest_of_them_should_be() -> None:
    said = [page(*rows(2000 + n, 1), after=f"c{n}") for n in range(6)]
    cloud, http = learnt(1000, *said)
    found = await cloud.find({"m999", "m998", "m850", "m849"})
    assert cursors(http) == ["desc", "desc c0", "desc c1"]
    assert (found.machines, found.requests) == ({}, 3)


async def test_v1_learns_from_a_listing_where_each_is() -> None:
    cloud, http = v1(page(*rows(0, 600)), page(*rows(1, 2), after="c1"))
    await cloud.list_machines()
    await cloud.find({"m1", "m2"})
    assert cursors(http) == ["asc", "asc"]


async def test_v1_says_of_each_that_was_looked_for_on_pages_that_failed_why() -> None:
    cloud, http = learnt(1000, page(*rows(999, 1), after="c1"), DOWN)
    found = await cloud.find({"m999", "m998"})
    assert found.machines["m998"] is DOWN
    assert found.machines["m999"].state == "off"
    assert found.requests == len(http.calls) == 2
    cloud, http = learnt(1000, DOWN)
    found = await cloud.find({"m999", "m998"})
    assert (found.machines, found.requests) == ({"m999": DOWN, "m998": DOWN}, 1)


@pytest.mark.parametrize(
    ("said", "kind", "message"),
    [
        (DELETED, NotFound, "the machine is deleted"),
        (GONE, NotFound, "Machine not found"),
        ({"id": "ps1"}, MalformedAnswer, "the answer cannot be understood"),
        ({**READY, "id": "ps2", "machineId": "ps1"}, MalformedAnswer, "asked for ps1, answered with ps2"),
        (DOWN, Unavailable, "no connection"),
    ],
)
async def test_v1_tells_of_each_what_came_of_looking(said: Any, kind: type[CloudError], message: str) -> None:
    cloud, http = v1(said)
    found = await cloud.find({"ps1"})
    (sight,) = found.machines.values()
    assert (type(sight), found.requests, paths(http)) == (kind, 1, ["GET /machines/ps1"])
    assert sight.message.startswith(message)
    assert sight.operation == ("show" if sight is not DOWN else "list")
    assert sight.status == (404 if kind is NotFound else None)


async def test_v1_looks_without_asking_for_events() -> None:
    cloud, http = v1({**READY, "events": [{"name": "start"}]})
    (machine,) = (await cloud.find({"ps1"})).machines.values()
    assert (machine.events, paths(http)) == (None, ["GET /machines/ps1"])


@pytest.mark.parametrize("opened", [core, v1])
async def test_nobody_is_looked_for_in_no_request(opened: Callable[..., Clouds]) -> None:
    cloud, http = opened()
    found = await cloud.find(())
    assert (found.machines, found.requests, http.calls) == ({}, 0, [])


async def test_core_shows_no_snapshots() -> None:
    cloud, http = core()
    with pytest.raises(Unsupported) as caught:
        await cloud.snapshots("ps1")
    assert (caught.value.operation, http.calls) == ("snapshots", [])


async def test_v1_dates_the_newest_snapshot_by_the_events_back_to_the_last_that_was_made() -> None:
    made = {"id": "e3", "name": "snapshot-create", "machineId": "ps1", "dtCreated": "2026-03-01T00:00:00Z"}
    older = [{**made, "id": "e1", "state": "new"}, {**made, "id": "e2", "name": "start"}]
    cloud, http = v1(
        page({"id": "ss1", "machineId": "ps1"}),
        page(*older, after="c1"),
        page({**made, "state": "done"}, after="c2"),
    )
    assert await cloud.snapshots("ps1") == SnapshotSight("ps1", datetime(2026, 3, 1, tzinfo=UTC))
    assert paths(http) == ["GET /snapshots", "GET /machine-events", "GET /machine-events"]


async def test_core_tells_the_use_that_the_vendor_bills() -> None:
    used = {"secondsUsed": 9, "hourlyRate": "0.51"}
    cloud, http = core({"machineId": "ps1", "utilization": used, "storageUtilization": None})
    assert await cloud.utilization("ps1", "2026-03") == Utilization("ps1", "2026-03", 9.0, Decimal("0.51"), 0.0, None)
    assert http.calls[0].query == {"machineId": "ps1", "billingMonth": "2026-03"}
    cloud, _ = core({"machineId": "ps1", "utilization": {"secondsUsed": "much"}})
    with pytest.raises(MalformedAnswer, match="secondsUsed") as caught:
        await cloud.utilization("ps1", "2026-03")
    assert caught.value.operation == "utilization"


DAY = 86_400.0
MACHINE = {**READY, "usageRate": 0.51, "storageRate": 5, "dtCreated": "2026-02-01T00:00:00Z"}


def event(number: int, name: str, at: str) -> dict[str, Any]:
    return {"id": f"e{number}", "name": name, "state": "done", "machineId": "ps1", "dtCreated": at, "dtFinished": at}


@pytest.mark.parametrize(
    ("events", "machine", "used"),
    [
        pytest.param([event(1, "start", "2026-02-20T00:00:00Z")], MACHINE, (10 * DAY, 10 * DAY, 5), id="up to now"),
        pytest.param([event(1, "create", "2026-03-06T00:00:00Z")], MACHINE | {"dtCreated": "2026-03-06T00:00:00Z"},
                     (5 * DAY, 5 * DAY, 5), id="made in the month"),
        pytest.param([event(2, "stop", "2026-03-03T00:00:00Z"), event(1, "start", "2026-02-20T00:00:00Z")],
                     MACHINE | {"state": "off"}, (2 * DAY, 10 * DAY, 5), id="off"),
        pytest.param([event(2, "start", "2026-03-12T00:00:00Z"), event(1, "stop", "2026-02-20T00:00:00Z")],
                     MACHINE, (0.0, 11 * DAY, 5), id="our clock is late"),
        pytest.param([event(2, "start", "2026-04-12T00:00:00Z"), event(1, "start", "2026-02-20T00:00:00Z")],
                     MACHINE, (31 * DAY, 31 * DAY, 5), id="the month is over"),
        pytest.param([event(1, "start", "2026-02-20T00:00:00Z")], MACHINE | {"dtCreated": None},
                     (10 * DAY, 10 * DAY, None), id="born nobody knows when"),
        pytest.param([], MACHINE, (None, 10 * DAY, 5), id="no events"),
        pytest.param([], MACHINE | {"dtCreated": "2026-05-01T00:00:00Z"}, (None, 0.0, 5), id="not born yet"),
    ],
)  # fmt: skip
async def test_v1_works_a_month_out(
    events: list[Any], machine: dict[str, Any], used: tuple[float | None, float, int | None]
) -> None:
    cloud, http = v1(page(*events), machine)
    seconds, storage, rate = used
    assert await cloud.utilization("ps1", "2026-03") == Utilization(
        "ps1", "2026-03", seconds, Decimal("0.51"), storage, None if rate is None else Decimal(rate)
    )
    assert paths(http) == ["GET /machine-events", "GET /machines/ps1"]


async def test_v1_reads_a_months_events_back_to_what_it_was_at_the_begin_and_at_most_so_many_pages() -> None:
    told = [
        page(event(1, "start", "2026-03-02T00:00:00Z"), after="c1"),
        page(event(2, "stop", "2026-02-28T00:00:00Z"), after="c2"),
    ]
    cloud, http = v1(*told, MACHINE)
    await cloud.utilization("ps1", "2026-03")
    assert paths(http) == ["GET /machine-events"] * 2 + ["GET /machines/ps1"]
    many = [page(event(n, "snapshot-create", "2026-03-02T00:00:00Z"), after=f"c{n}") for n in range(20)]
    cloud, http = v1(*many, MACHINE)
    assert (await cloud.utilization("ps1", "2026-03")).seconds_used is None
    assert paths(http) == ["GET /machine-events"] * 20 + ["GET /machines/ps1"]


@pytest.mark.parametrize(("said", "kind"), [(DELETED, NotFound), ({"id": "ps1"}, MalformedAnswer)])
async def test_v1_tells_no_use_of_what_is_no_machine(said: Any, kind: type[CloudError]) -> None:
    cloud, _ = v1(page(), said)
    with pytest.raises(kind) as caught:
        await cloud.utilization("ps1", "2026-03")
    assert (caught.value.operation, caught.value.status) == ("utilization", 404 if kind is NotFound else None)


@pytest.mark.parametrize(
    ("opened", "verb", "requests", "create"),
    [
        (core, Verb.CREATE, 1, True),
        (core, Verb.STOP, 2, False),
        (core, Verb.START, 2, False),
        (v1, Verb.CREATE, 1, True),
        (v1, Verb.DESTROY, 3, False),
        (v1, Verb.START, 3, False),
    ],
)
async def test_a_place_is_paid_for_the_write_and_the_look_before_it(
    opened: Callable[..., Clouds], verb: Verb, requests: int, create: bool
) -> None:
    def leave() -> None:
        raise AssertionError

    looked: list[Any] = [READY] if opened is core else [page(), READY]
    cloud, http = opened(*([] if create else looked), {**READY, "data": READY})
    async with cloud.place(verb, behind=7, leave=leave) as placed:
        assert placed.capabilities == cloud.capabilities
        if create:
            await placed.create("box", {})
        else:
            await placed.show("ps1")
            await placed.stop("ps1")
    async with cloud.place(verb):
        pass
    assert http.places == [
        {"requests": requests, "behind": 7, "create": create, "leave": leave},
        {"requests": requests, "behind": 0, "create": create, "leave": freely},
    ]
    assert len(http.calls) == requests, "what a place is paid for is what the look and the write take"
    assert not http.calls[-1].repeatable


async def test_a_place_of_v1_knows_what_is_known_and_what_it_learns_stays_known() -> None:
    refused = Refused("limit: at most 50", operation="events", status=400)
    broken = Unavailable("no events", operation="events", status=500)
    cloud, http = v1(refused, page(), READY, broken, READY, page(), READY, page(), MACHINE)
    await cloud.show("ps1")
    async with cloud.place(Verb.STOP) as placed:
        assert (await placed.show("ps1")).events is None
        assert "limit" not in http.calls[3].query
        assert placed.remarks == cloud.remarks != ()
        assert (await placed.show("ps1")).events == ()
        assert (await placed.utilization("ps1", "2026-03")).storage_seconds_used == 10 * DAY, "it has the same clock"
    assert cloud.remarks == ()


@pytest.mark.parametrize(
    ("opened", "dialect", "capabilities"),
    [
        (core, "paperspace-core", Capabilities(True, False, 1000)),
        (v1, "paperspace", Capabilities(True, True, 120, utilization_computed=True)),
    ],
    ids=["core", "v1"],
)
async def test_what_each_can_do_is_known_with_and_without_one(
    opened: Callable[..., Clouds], dialect: str, capabilities: Capabilities
) -> None:
    assert opened()[0].capabilities == DIALECTS[dialect].capabilities == capabilities


@pytest.mark.parametrize("opened", [core, v1])
async def test_closing_it_closes_the_client(opened: Callable[..., Clouds]) -> None:
    cloud, http = opened()
    await cloud.aclose()
    assert http.closed
