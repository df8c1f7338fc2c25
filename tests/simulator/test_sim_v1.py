"""The v1 dialect over the same world."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from fleetd.simulator.faults import (
    Capacity,
    ErrorAnswer,
    Invisible,
    RateLimit,
    ReorderedList,
    ShiftingPages,
    TimeoutAfter,
    Unauthorized,
    Unavailable,
    UnknownState,
)
from fleetd.simulator.lifecycle import NO_CAPACITY
from tests.support.sim import KEY, Reply, Sim, simulated

BEARER = {"Authorization": f"Bearer {KEY}"}
CREATE = {
    "name": "training-1",
    "machineType": "A4000",
    "templateId": "tbu200wi",
    "region": "East Coast (NY2)",
    "diskSize": 50,
}


def words(text: str) -> set[str]:
    return set(text.split())


MACHINE = words(
    "id name state machineType region os cpus ram accelerators agentType storageTotal storageUsed storageRate "
    "usageRate publicIp publicIpType privateIp networkId autoShutdownEnabled autoShutdownTimeout autoShutdownForce "
    "autoSnapshotEnabled autoSnapshotFrequency autoSnapshotSaveCount restorePointEnabled restorePointFrequency "
    "restorePointSnapshotId reservation updatesPending dtCreated dtModified dtDeleted"
)
EVENT = words("id name machineId state error dtCreated dtStarted dtFinished")
TEMPLATE = "id name agentType defaultSizeGb operatingSystemLabel dtCreated availableMachineTypes"


def v1(*faults: Any, **options: Any) -> Any:
    return simulated(faults, headers=options.pop("headers", BEARER), **options)


async def make(sim: Sim, **changes: Any) -> Reply:
    return await sim.post("/v1/machines", {**CREATE, **changes})


def code(reply: Reply) -> tuple[int, str, str]:
    return reply.status, reply.body["code"], reply.body["message"]


async def test_a_machine_from_its_create_to_its_end() -> None:
    async with v1() as sim:
        made = await make(sim)
        assert made.status == 200
        assert list(made.body) == ["data", "event"]
        machine, event = made.body["data"], made.body["event"]
        assert set(machine) == MACHINE
        assert set(event) == EVENT
        assert (machine["state"], machine["privateIp"], machine["networkId"]) == ("provisioning", None, None)
        assert (event["name"], event["state"], event["machineId"]) == ("create", "new", machine["id"])
        path = f"/v1/machines/{machine['id']}"
        told = []
        for method, what in (("PATCH", "stop"), ("PATCH", "start"), ("PATCH", "restart")):
            sim.hand.move(200)
            reply = await sim.ask(method, f"{path}/{what}", json={})
            told.append((reply.status, reply.body["data"]["state"], reply.body["event"]["name"]))
        assert told == [(200, "stopping", "stop"), (200, "starting", "start"), (200, "restarting", "restart")]
        sim.hand.move(200)
        shown = (await sim.get(path)).body
        assert set(shown) == MACHINE
        assert (shown["state"], shown["networkId"], shown["usageRate"]) == ("ready", "nng82wb", 0.76)
        assert shown["accelerators"] == [{"name": "RTX A4000", "count": 1, "memory": 16 * 1024**3}]
        deleted = await sim.ask("DELETE", path)
        assert (deleted.status, deleted.body["event"]["name"]) == (200, "deactivate")
        sim.hand.move(10)
        assert code(await sim.get(path)) == (404, "NOT_FOUND", "Machine not found")


async def test_an_event_can_be_followed_to_its_end() -> None:
    async with v1() as sim:
        event_id = (await make(sim)).body["event"]["id"]
        seen = []
        for seconds in (0.5, 10, 200):
            sim.hand.move(seconds)
            event = (await sim.get(f"/v1/machine-events/{event_id}")).body
            seen.append((event["state"], event["dtStarted"] is None, event["dtFinished"] is None, event["error"]))
        assert seen == [("new", True, True, None), ("in progress", False, True, None), ("done", False, False, None)]


async def test_no_capacity_is_told_by_the_event_alone() -> None:
    async with v1(Capacity()) as sim:
        made = (await make(sim)).body["data"]
        sim.hand.move(200)
        assert (await sim.get(f"/v1/machines/{made['id']}")).body["state"] == "off"
        page = (await sim.get("/v1/machine-events", machineId=made["id"])).body
        assert [(e["name"], e["state"], e["error"]) for e in page["items"]] == [
            ("start", "error", NO_CAPACITY),
            ("create", "done", None),
        ]
        types = {
            entry["machineTypeLabel"]: entry["isAvailable"]
            for entry in (await sim.get("/v1/os-templates")).body["items"][0]["availableMachineTypes"]
        }
        assert types["A4000"] is False


@pytest.mark.parametrize(
    "headers",
    [{"accept": "*/*"}, {"Authorization": "Bearer "}, {"Authorization": f"Basic {KEY}"}, {"x-api-key": KEY}],
    ids=["none", "empty", "another scheme", "the other dialect's header"],
)
async def test_a_wrong_key(headers: dict[str, str]) -> None:
    async with v1(headers=headers) as sim:
        assert code(await sim.get("/v1/machines")) == (401, "UNAUTHORIZED", "Invalid API key")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        *(
            pytest.param({name: None}, f"{name}: Expected", id=f"null {name}")
            for name in ("name", "machineType", "templateId", "region", "diskSize")
        ),
        ({"name": ""}, "name: Expected `str` of length >= 1"),
        ({"diskSize": "50"}, "diskSize: Expected `int`"),
        ({"diskSize": 0}, "diskSize: Invalid enum value 0"),
        ({"diskSize": 60}, "diskSize: Invalid enum value 60"),
        ({"autoShutdownTimeout": 169}, "autoShutdownTimeout: Expected `float` <= 168.0"),
        ({"autoSnapshotSaveCount": 11}, "autoSnapshotSaveCount: Expected `int` <= 10"),
        ({"startOnCreate": "true"}, "startOnCreate: Expected `bool`"),
        ({"publicIpType": "floating"}, "publicIpType: Invalid enum value 'floating'"),
        ({"autoSnapshotFrequency": "day"}, "autoSnapshotFrequency: Invalid enum value 'day'"),
        ({"size": 50}, "Object contains unknown field `size`"),
        ({"region": "Mars (M1)"}, "region not found"),
        ({"machineType": "P9"}, "machine_type not found"),
        ({"templateId": "tnobody"}, "template not found"),
        ({"networkId": "nnobody"}, "network not found"),
        ({"startupScriptId": "scnobody"}, "script not found"),
        ({"accessorIds": ["unobody"]}, "user not found"),
        ({"autoShutdownEnabled": True}, "autoShutdownTimeout: Required"),
        ({"autoSnapshotEnabled": True}, "autoSnapshotFrequency: Required"),
        ({"restorePointEnabled": True}, "restorePointEnabled needs takeInitialSnapshot"),
    ],
)
async def test_refused_creates(changes: dict[str, Any], message: str) -> None:
    async with v1() as sim:
        status, name, said = code(await make(sim, **changes))
        assert (status, name) == (400, "BAD_REQUEST")
        assert message in said
        assert sim.world.machines == {}


async def test_a_create_without_its_required_fields() -> None:
    async with v1() as sim:
        for name in CREATE:
            reply = await sim.post("/v1/machines", {k: v for k, v in CREATE.items() if k != name})
            assert code(reply) == (400, "BAD_REQUEST", f"Object missing required field `{name}`")


@pytest.mark.parametrize(
    ("state", "verb", "message"),
    [
        ("starting", "start", "This machine is currently starting."),
        ("ready", "start", "This machine is currently ready."),
        ("stopping", "start", "This machine is currently stopping."),
        ("off", "stop", "This machine is currently off."),
        ("provisioning", "stop", "This machine is currently provisioning."),
        ("off", "restart", "This machine is currently off."),
    ],
)
async def test_refused_in_this_state(state: str, verb: str, message: str) -> None:
    async with v1() as sim:
        record = sim.world.add_machine("a", state)
        assert code(await sim.ask("PATCH", f"/v1/machines/{record.id}/{verb}")) == (409, "CONFLICT", message)
        assert record.state == state
        assert not sim.server.calls[0].executed


@pytest.mark.parametrize(
    ("method", "path", "arguments", "expected"),
    [
        ("POST", "/v1/machines/psnobody1/start", {}, (404, "NOT_FOUND", "Not found")),
        ("GET", "/v1/machine", {}, (404, "NOT_FOUND", "Not found")),
        ("GET", "/v1", {}, (404, "NOT_FOUND", "Not found")),
        ("PATCH", "/v1/machines/psnobody1/start", {}, (404, "NOT_FOUND", "Machine not found")),
        ("PATCH", "/v1/machines/psnobody1/start", {"json": {"force": True}}, (400, "BAD_REQUEST", None)),
        ("PATCH", "/v1/machines/psnobody1/start", {"data": b"{"}, (400, "BAD_REQUEST", "The body is not JSON")),
        ("PATCH", "/v1/machines/psnobody1/start", {"params": {"a": "b"}}, (400, "BAD_REQUEST", None)),
        ("PUT", "/v1/machines/psnobody1", {"json": {"name": "x"}}, (404, "NOT_FOUND", "Machine not found")),
        ("DELETE", "/v1/machines/psnobody1", {}, (404, "NOT_FOUND", "Machine not found")),
        ("GET", "/v1/machines", {"params": {"skip": "1"}}, (400, "BAD_REQUEST", None)),
        ("GET", "/v1/machines", {"params": {"limit": "none"}}, (400, "BAD_REQUEST", None)),
        ("GET", "/v1/machines", {"params": {"orderBy": "region"}}, (400, "BAD_REQUEST", None)),
        ("GET", "/v1/machines", {"params": {"after": "§"}}, (400, "BAD_REQUEST", "after: Invalid cursor")),
        ("GET", "/v1/machines", {"json": {"limit": 1}}, (400, "BAD_REQUEST", None)),
        ("GET", "/v1/machine-events/nobody", {}, (404, "NOT_FOUND", "Machine event not found")),
        ("DELETE", "/v1/snapshots/ssnobody", {}, (404, "NOT_FOUND", "Snapshot not found")),
        ("GET", "/v1/private-networks/nnobody", {}, (404, "NOT_FOUND", "Private network not found")),
        ("POST", "/v1/startup-scripts/scnobody/assign", {"json": {"machineId": "ps1"}}, (404, "NOT_FOUND", None)),
    ],
)
async def test_other_refusals(method: str, path: str, arguments: dict[str, Any], expected: tuple[Any, ...]) -> None:
    async with v1() as sim:
        status, name, message = code(await sim.ask(method, path, **arguments))
        assert (status, name) == expected[:2]
        assert expected[2] in {None, message}


async def walk(sim: Sim, path: str, **query: Any) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    while True:
        page = (await sim.get(path, **query)).body
        assert page["hasMore"] is (page["nextPage"] is not None)
        items += page["items"]
        if not page["hasMore"]:
            return items
        query["after"] = page["nextPage"]


@pytest.mark.parametrize(
    ("query", "order"),
    [
        ({}, [f"m{n}" for n in range(49, -1, -1)]),
        ({"order": "asc"}, [f"m{n}" for n in range(50)]),
        ({"orderBy": "name", "order": "asc", "limit": "7"}, sorted(f"m{n}" for n in range(50))),
        ({"limit": "120", "machineType": "C5"}, ["m1", "m0"]),
        ({"name": "m7"}, ["m7"]),
        ({"region": "Europe (AMS1)"}, []),
        ({"region": "ams1"}, []),
        ({"region": "ny2", "name": "m7"}, ["m7"]),
        ({"agentType": "LinuxHeadless", "limit": "50", "order": "asc"}, [f"m{n}" for n in range(50)]),
    ],
)
async def test_pages_of_machines(query: dict[str, str], order: list[str]) -> None:
    async with v1() as sim:
        for n in range(50):
            sim.world.add_machine(f"m{n}", machine_type="C5" if n < 2 else "P4000")
        assert [m["name"] for m in await walk(sim, "/v1/machines", **query)] == order


async def test_2500_machines_in_pages_of_the_largest_size() -> None:
    async with v1() as sim:
        ids = [sim.world.add_machine(f"m{n}").id for n in range(2500)]
        listed = await walk(sim, "/v1/machines", limit="120", order="asc")
        assert [m["id"] for m in listed] == ids
        assert len(sim.server.calls) == 21
        assert (await sim.get("/v1/machines", limit=121)).status == 400


async def test_a_cursor_survives_machines_that_come_and_go() -> None:
    async with v1() as sim:
        records = [sim.world.add_machine(f"m{n}") for n in range(10)]
        first = (await sim.get("/v1/machines", limit=5, order="asc")).body
        sim.world.vanish(records[4].id)  # the one that the page ended with
        sim.world.vanish(records[0].id)
        sim.world.add_machine("young", age_seconds=0)
        rest = await walk(sim, "/v1/machines", limit=5, order="asc", after=first["nextPage"])
        assert [m["name"] for m in rest] == ["m5", "m6", "m7", "m8", "m9", "young"]


async def test_the_feed_of_events_of_all_machines() -> None:
    async with v1() as sim:
        for n in range(3):
            await make(sim, name=f"m{n}")
            sim.hand.move(1)
        sim.hand.move(300)
        feed = await walk(sim, "/v1/machine-events", limit=2)
        assert len(feed) == 6
        assert [e["dtCreated"] for e in feed] == sorted((e["dtCreated"] for e in feed), reverse=True)
        assert set(feed[0]) == EVENT


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ({"name": "other"}, {"name": "other"}),
        (
            {"autoShutdownEnabled": True, "autoShutdownTimeout": 24, "autoShutdownForce": True},
            {"autoShutdownEnabled": True, "autoShutdownTimeout": 24, "autoShutdownForce": True},
        ),
        ({"autoShutdownEnabled": False}, {"autoShutdownEnabled": False, "autoShutdownTimeout": None}),
        (
            {"autoSnapshotEnabled": True, "autoSnapshotFrequency": "weekly", "autoSnapshotSaveCount": 3},
            {"autoSnapshotEnabled": True, "autoSnapshotFrequency": "weekly", "autoSnapshotSaveCount": 3},
        ),
        ({"publicIpType": "static"}, {"publicIpType": "static"}),
        ({"autoSnapshotSaveCount": 0}, {"autoSnapshotSaveCount": 0}),
        ({"autoShutdownEnabled": True, "autoShutdownTimeout": 168}, {"autoShutdownTimeout": 168}),
        ({"diskSize": 100}, {"storageTotal": 100 * 1024**3, "storageRate": 7.0}),
        ({"machineType": "A100"}, {"machineType": "A100", "state": "upgrading", "usageRate": 3.09}),
    ],
)
async def test_an_update(body: dict[str, Any], shown: dict[str, Any]) -> None:
    async with v1() as sim:
        record = sim.world.add_machine("a")
        reply = await sim.ask("PUT", f"/v1/machines/{record.id}", json=body)
        assert reply.status == 200
        assert reply.body["event"]["name"] == "vm-upgrade"
        assert {k: reply.body["data"][k] for k in shown} == shown
        sim.hand.move(200)
        assert (await sim.get(f"/v1/machines/{record.id}")).body["state"] == "ready"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"diskSize": 60}, "diskSize: Invalid enum value 60"),
        ({"publicIpType": "dynamic"}, "publicIpType: dynamic cannot be set on an existing machine"),
        ({"autoSnapshotSaveCount": 11}, "autoSnapshotSaveCount: Expected `int` <= 10"),
        ({"machineType": "P9"}, "machine type not found"),
        ({"networkId": "nams1k2"}, "network not found"),
        ({"restorePointSnapshotId": "ssnobody"}, "Snapshot not found"),
        ({"autoSnapshotEnabled": True}, "autoSnapshotFrequency: Required when autoSnapshotEnabled is true"),
        ({"templateId": "tbu200wi"}, "Object contains unknown field `templateId`"),
    ],
)
async def test_refused_updates(body: dict[str, Any], message: str) -> None:
    async with v1() as sim:
        record = sim.world.add_machine("a")
        reply = await sim.ask("PUT", f"/v1/machines/{record.id}", json=body)
        assert code(reply) == (400, "BAD_REQUEST", message)


async def test_the_network_of_an_existing_machine_cannot_be_changed() -> None:
    async with v1() as sim:
        record = sim.world.add_machine("a")
        other = (await sim.post("/v1/private-networks", {"name": "b", "region": record.region})).body["id"]
        reply = await sim.ask("PUT", f"/v1/machines/{record.id}", json={"networkId": other})
        assert code(reply) == (400, "BAD_REQUEST", "networkId: cannot be changed on an existing machine")
        same = await sim.ask("PUT", f"/v1/machines/{record.id}", json={"networkId": record.network_id})
        assert same.status == 200


async def test_snapshots() -> None:
    async with v1() as sim:
        record, other = sim.world.add_machine("a"), sim.world.add_machine("b")
        made = (await sim.post("/v1/snapshots", {"machineId": record.id, "name": "mine"})).body
        assert set(made["data"]) == {"id", "name", "machineId", "isAutoSnapshot"}
        assert (made["event"]["name"], made["event"]["machineId"]) == ("snapshot-create", record.id)
        sim.hand.move(60)
        followed = (await sim.get(f"/v1/machine-events/{made['event']['id']}")).body
        assert followed["state"] == "done"
        path = f"/v1/snapshots/{made['data']['id']}"
        assert (await sim.get("/v1/snapshots", machineId=record.id)).body["items"] == [made["data"]]
        assert (await sim.get("/v1/snapshots", machineId=other.id)).body["items"] == []
        assert (await sim.ask("PUT", path, json={"name": "yours"})).body["name"] == "yours"
        busy = await sim.post(f"{path}/restore", {})
        assert code(busy) == (409, "CONFLICT", "This machine is currently ready.")
        sim.world.stop(record.id)
        sim.hand.move(60)
        restored = await sim.post(f"{path}/restore", {"createSnapshotBeforeRestore": True})
        assert restored.body["event"]["name"] == "snapshot-restore"
        assert len((await sim.get("/v1/snapshots")).body["items"]) == 2
        assert (await sim.ask("DELETE", path)).body["event"]["name"] == "snapshot-delete"
        assert (await sim.get(path)).status == 404


async def test_automatic_snapshots_are_seen_and_their_age_is_the_events() -> None:
    async with v1() as sim:
        made = await make(sim, autoSnapshotEnabled=True, autoSnapshotFrequency="daily", autoSnapshotSaveCount=2)
        sim.hand.move(5 * 86_400 + 200)
        machine_id = made.body["data"]["id"]
        found = (await sim.get("/v1/snapshots", machineId=machine_id)).body["items"]
        assert [s["isAutoSnapshot"] for s in found] == [True, True]
        newest = next(e for e in await walk(sim, "/v1/machine-events") if e["name"] == "snapshot-create")
        assert newest["dtFinished"].startswith("2026-03-07T12:")


async def test_users_of_a_machine() -> None:
    async with v1() as sim:
        record = sim.world.add_machine("a")
        path = f"/v1/machines/{record.id}/accessors"
        added = await sim.post(path, {"userId": "u789ghi2k"})
        assert added.body["user"]["email"] == "jeff@example.com"
        assert (await sim.get(path)).body["items"] == [added.body]
        assert (await sim.post(path, {"userId": "unobody"})).status == 400
        assert (await sim.ask("DELETE", f"{path}/u789ghi2k")).body["dtDeleted"] is not None
        assert (await sim.get(path)).body["items"] == []
        assert (await sim.ask("DELETE", f"{path}/u789ghi2k")).status == 404


@pytest.mark.parametrize(
    ("path", "fields", "names"),
    [
        (
            "/v1/os-templates",
            TEMPLATE,
            [
                "Windows 10",
                "Ubuntu 22.04 MLaiB H100x8",
                "Ubuntu 22.04 MLaiB H100",
                "Ubuntu 22.04 MLaiB A100x8",
                "Ubuntu 22.04 MLaiB A100",
                "Ubuntu 22.04",
                "Ubuntu 20.04 MLaiB",
                "Ubuntu 20.04 Desktop",
                "Ubuntu 20.04",
            ],
        ),
        (
            "/v1/custom-templates",
            f"{TEMPLATE} parentMachineId region dtDeleted",
            ["training image 7"],
        ),
        (
            "/v1/startup-scripts",
            "id name description isEnabled isRunOnce assignedMachineIds dtCreated dtDeleted",
            ["node exporter"],
        ),
    ],
)
async def test_other_lists(path: str, fields: str, names: list[str]) -> None:
    async with v1() as sim:
        items = (await sim.get(path)).body["items"]
        assert [item["name"] for item in items] == names
        assert set(items[0]) == words(fields)
        assert [item["name"] for item in (await sim.get(path, name=names[-1])).body["items"]] == [names[-1]]


async def test_windows_templates_are_not_for_cpu_machines() -> None:
    async with v1() as sim:
        (windows,) = (await sim.get("/v1/os-templates", name="Windows 10")).body["items"]
        types = {t["machineTypeLabel"]: t["isAvailable"] for t in windows["availableMachineTypes"]}
        assert (types["C5"], types["A4000"]) == (False, True)


async def test_networks() -> None:
    async with v1() as sim:
        made = (await sim.post("/v1/private-networks", {"name": "mine", "region": "Europe (AMS1)"})).body
        assert (await sim.get("/v1/private-networks", name="mine")).body["items"] == [made]
        assert (await sim.get(f"/v1/private-networks/{made['id']}")).body == made
        assert len((await sim.get("/v1/private-networks", region="Europe (AMS1)")).body["items"]) == 2
        again = await sim.post("/v1/private-networks", {"name": "mine", "region": "Europe (AMS1)"})
        assert again.status == 400
        machine = await make(sim, networkId=made["id"], region="Europe (AMS1)")
        sim.hand.move(200)
        shown = (await sim.get(f"/v1/machines/{machine.body['data']['id']}")).body
        assert shown["networkId"] == made["id"]


async def test_scripts() -> None:
    async with v1() as sim:
        record = sim.world.add_machine("a")
        made = (await sim.post("/v1/startup-scripts", {"name": "s", "script": "true", "isRunOnce": True})).body
        path = f"/v1/startup-scripts/{made['id']}"
        assigned = await sim.post(f"{path}/assign", {"machineId": record.id})
        assert assigned.body["assignedMachineIds"] == [record.id]
        assert (await sim.get(path)).body == assigned.body
        assert (await sim.post(f"{path}/unassign", {"machineId": record.id})).body["assignedMachineIds"] == []


async def test_scripts_are_changed_and_deleted() -> None:
    async with v1() as sim:
        made = (await sim.post("/v1/startup-scripts", {"name": "s", "script": "true"})).body
        path = f"/v1/startup-scripts/{made['id']}"
        changes = {"name": "t", "script": "false", "isRunOnce": True, "isEnabled": False}
        changed = (await sim.ask("PUT", path, json=changes)).body
        assert (changed["name"], changed["isRunOnce"], changed["isEnabled"]) == ("t", True, False)
        assert (await sim.ask("PUT", path, json={})).body == changed
        record = sim.world.add_machine("a")
        await sim.post(f"{path}/assign", {"machineId": record.id})
        assert (await sim.ask("DELETE", path)).status == 200
        assert (await sim.get(path)).status == 404
        assert record.script_id is None


async def test_networks_are_renamed_and_deleted_when_nobody_is_in_them() -> None:
    async with v1() as sim:
        made = (await sim.post("/v1/private-networks", {"name": "mine", "region": "East Coast (NY2)"})).body
        path = f"/v1/private-networks/{made['id']}"
        assert (await sim.ask("PUT", path, json={"name": "ours"})).body["name"] == "ours"
        machine = (await make(sim, networkId=made["id"])).body["data"]
        assert (await sim.ask("DELETE", path)).status == 409
        sim.hand.move(300)
        await sim.ask("DELETE", f"/v1/machines/{machine['id']}")
        sim.hand.move(300)
        assert (await sim.ask("DELETE", path)).status == 200
        assert (await sim.get(path)).status == 404


async def test_own_templates_are_renamed_and_deleted_and_the_vendors_are_not() -> None:
    async with v1() as sim:
        (own,) = (await sim.get("/v1/custom-templates")).body["items"]
        path = f"/v1/custom-templates/{own['id']}"
        assert (await sim.get(path)).body == own
        assert (await sim.ask("PUT", path, json={"name": "image 8"})).body["name"] == "image 8"
        assert (await sim.ask("DELETE", "/v1/custom-templates/tbu200wi")).status == 404
        assert (await sim.ask("DELETE", path)).status == 200
        assert (await sim.get("/v1/custom-templates")).body["items"] == []


async def test_one_user_of_a_machine() -> None:
    async with v1() as sim:
        record = sim.world.add_machine("a")
        path = f"/v1/machines/{record.id}/accessors"
        added = await sim.post(path, {"userId": "u789ghi2k"})
        assert (await sim.get(f"{path}/u789ghi2k")).body == added.body
        assert (await sim.get(f"{path}/unobody")).status == 404


async def test_static_addresses_are_listed_with_their_machines() -> None:
    async with v1() as sim:
        static = (await make(sim, name="a", publicIpType="static")).body["data"]
        await make(sim, name="b", publicIpType="dynamic")
        sim.hand.move(300)
        (row,) = (await sim.get("/v1/public-ips")).body["items"]
        shown = (await sim.get(f"/v1/machines/{static['id']}")).body
        assert (row["ip"], row["assignedToMachineId"]) == (shown["publicIp"], static["id"])


async def test_the_accounts_standing() -> None:
    async with v1() as sim:
        assert (await sim.get("/v1/billing/account-standing")).body == {
            "isInGoodStanding": True,
            "hasPaymentMethod": True,
            "isAdminLocked": False,
            "messages": [],
        }


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (ErrorAnswer(), (500, "INTERNAL_SERVER_ERROR", "Internal Server Error")),
        (ErrorAnswer(status=412, message="not now"), (412, "PRECONDITION_FAILED", "not now")),
        (RateLimit(), (429, "TOO_MANY_REQUESTS", "Too Many Requests")),
        (Unavailable(), (503, "INTERNAL_SERVER_ERROR", "Service Unavailable")),
        (Unauthorized(), (401, "UNAUTHORIZED", "Invalid API key")),
    ],
)
async def test_faults_speak_the_dialect(rule: Any, expected: tuple[int, str, str]) -> None:
    async with v1(rule) as sim:
        assert code(await make(sim)) == expected
        assert sim.world.machines == {}


async def test_faults_of_machines_and_listings() -> None:
    async with v1(Invisible(seconds=10), UnknownState(machine="odd"), TimeoutAfter(operation="stop")) as sim:
        await make(sim)
        odd = sim.world.add_machine("odd")
        assert [(m["name"], m["state"]) for m in await walk(sim, "/v1/machines")] == [("odd", "hibernating")]
        with pytest.raises(TimeoutError):
            await sim.ask("PATCH", f"/v1/machines/{odd.id}/stop", timeout=aiohttp.ClientTimeout(total=0.1))
        assert odd.state == "stopping"
        sim.hand.move(10)
        assert len(await walk(sim, "/v1/machines")) == 2
        for n in range(8):
            sim.world.add_machine(f"m{n}")
        sim.server.set_faults([ShiftingPages(by=1)])
        assert len(await walk(sim, "/v1/machines", limit=5)) == 9
        sim.server.set_faults([ReorderedList()])
        whole = [(await sim.get("/v1/machines")).body["items"] for _ in range(2)]
        assert sorted(m["id"] for m in whole[0]) == sorted(m["id"] for m in whole[1])
        assert whole[0] != whole[1]


async def test_both_dialects_show_one_world() -> None:
    async with v1() as sim:
        made = (await make(sim, machineType="P4000", autoSnapshotFrequency="daily")).body["data"]
        sim.hand.move(200)
        headers = {"x-api-key": KEY}
        core = (await sim.ask("GET", "/machines/getMachines", headers=headers)).body
        assert [(m["id"], m["state"], m["autoSnapshotFrequency"]) for m in core] == [(made["id"], "ready", "day")]
        stop = await sim.ask("POST", f"/machines/{made['id']}/stop", headers=headers)
        assert stop.status == 204
        assert (await sim.get(f"/v1/machines/{made['id']}")).body["state"] == "stopping"
        assert [(call.dialect, call.operation) for call in sim.server.calls] == [
            ("v1", "create"),
            ("core", "list"),
            ("core", "stop"),
            ("v1", "show"),
        ]
        assert KEY not in repr(list(sim.server.calls))
