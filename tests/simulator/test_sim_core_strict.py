"""What the Core API refuses, and how it says so."""

from __future__ import annotations

from typing import Any

import pytest

from fleetd.simulator.core import CoreOptions
from tests.support.sim import CREATE, KEY, simulated

SHOW = "/machines/getMachinePublic"
MAKE = "/machines/createSingleMachinePublic"


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="none"),
        pytest.param({"x-api-key": ""}, id="empty"),
        pytest.param({"x-api-key": KEY + "x"}, id="wrong"),
        pytest.param({"Authorization": f"Bearer {KEY}"}, id="the other dialect's header"),
    ],
)
@pytest.mark.parametrize("path", ["/machines/getMachines", "/machines/psnobody1/start", "/users/getUsers"])
async def test_a_wrong_key_is_a_400(headers: dict[str, str], path: str) -> None:
    async with simulated(headers=headers or {"accept": "*/*"}) as sim:
        reply = await sim.ask("POST" if path.endswith("start") else "GET", path)
        assert (reply.status, reply.body) == (400, {"status": 400, "message": "Invalid API token"})
        assert not sim.server.calls[0].executed


async def test_the_key_is_in_no_log() -> None:
    async with simulated() as sim:
        await sim.list()
        assert KEY not in repr(list(sim.server.calls))
        assert KEY not in str((await sim.get("/_sim/calls")).body)


@pytest.mark.parametrize("status", [404, 400])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"{SHOW}?machineId=psnobody1"),
        ("GET", "/machines/getUtilization?machineId=psnobody1&billingMonth=2026-03"),
        ("POST", "/machines/psnobody1/start"),
        ("POST", "/machines/psnobody1/stop"),
        ("POST", "/machines/psnobody1/restart"),
        ("POST", "/machines/psnobody1/destroyMachine"),
        ("POST", "/machines/psnobody1/updateMachinePublic"),
    ],
)
async def test_an_unknown_machine(method: str, path: str, status: int) -> None:
    async with simulated(core=CoreOptions(not_found_status=status)) as sim:
        reply = await sim.ask(method, path)
        assert reply.status == status
        assert reply.body == {"error": {"name": "Error", "status": 404, "message": "Machine not found"}}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/machines/getMachines"),
        ("DELETE", "/machines/getMachines"),
        ("GET", MAKE),
        ("GET", "/machines/psabc1234/start"),
        ("PUT", "/machines/psabc1234/updateMachinePublic"),
        ("GET", "/machines"),
        ("GET", "/"),
        ("POST", "/machines/psabc1234/destroy"),
        ("GET", "/machines/psabc1234/start/now"),
    ],
)
async def test_a_wrong_verb_or_path(method: str, path: str) -> None:
    async with simulated() as sim:
        reply = await sim.ask(method, path)
        assert reply.status == 404
        assert reply.error == (404, f"There is no method to handle {method} {path}")


@pytest.mark.parametrize(
    ("path", "query", "message"),
    [
        (SHOW, {}, "machineId is a required parameter"),
        (SHOW, {"machineId": "null"}, "machineId is a required parameter"),
        (SHOW, {"id": "ps1"}, "id is not a parameter of this call"),
        ("/machines/getMachines", {"id": "ps1"}, "id is not a parameter of this call"),
        ("/machines/getMachines", {"limit": "many"}, "limit must be a number"),
        ("/machines/getMachines", {"limit": "0"}, "limit must be a whole number, 1 or more"),
        ("/machines/getMachines", {"limit": "1.5"}, "limit must be a whole number, 1 or more"),
        ("/machines/getMachines", {"skip": "-1"}, "skip must be a whole number, 0 or more"),
        ("/machines/getMachines", {"cpus": "eight"}, "cpus must be a number"),
        ("/machines/getMachines", {"performAutoSnapshot": "yes"}, "performAutoSnapshot must be a boolean"),
        ("/machines/getUtilization", {"machineId": "ps1"}, "billingMonth is a required parameter"),
        (
            "/machines/getUtilization",
            {"machineId": "ps1", "billingMonth": "2026-13"},
            "billingMonth must be a month as YYYY-MM",
        ),
        ("/machines/getAvailability", {"region": "East Coast (NY2)"}, "machineType is a required parameter"),
        ("/machines/getAvailability", {"region": "Mars (M1)", "machineType": "P4000"}, "region not found"),
        ("/machines/getAvailability", {"region": "East Coast (NY2)", "machineType": "C5"}, "machineType not found"),
        ("/networks/getNetworks", {"label": "x"}, "label is not a parameter of this call"),
    ],
)
async def test_refused_query_parameters(path: str, query: dict[str, str], message: str) -> None:
    async with simulated() as sim:
        reply = await sim.get(path, **query)
        assert (reply.status, reply.error) == (400, (400, message))


async def test_get_parameters_do_not_travel_in_a_body() -> None:
    async with simulated() as sim:
        reply = await sim.ask("GET", "/machines/getMachines", json={"params": {"limit": 1}})
        assert (reply.status, reply.error[0]) == (400, 400)
        assert "in the query" in reply.error[1]


async def test_a_repeated_query_parameter() -> None:
    async with simulated() as sim:
        reply = await sim.ask("GET", "/machines/getMachines", params=[("limit", "1"), ("limit", "2")])
        assert reply.error == (400, "limit is given more than once")


WINDOWS = {"templateId": "twi10srv"}
PERSON = {"email": "new@example.com", "password": "secret123", "firstName": "Jon", "lastName": "Snow"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        *(
            pytest.param({name: None}, f"{name} is a required parameter", id=f"no {name}")
            for name in ("region", "machineType", "size", "billingType", "machineName", "templateId")
        ),
        ({"machineName": "  "}, "machineName is a required parameter"),
        ({"machineName": 7}, "machineName must be a string"),
        ({"size": "big"}, "size must be a number"),
        ({"size": True}, "size must be a number"),
        ({"size": [50]}, "size must be a number"),
        ({"size": 1.5}, "size must be a whole number of GB"),
        ({"size": 0}, "size must be at least 1"),
        ({"size": "9" * 5000}, "size must be a number"),
        ({"startOnCreate": 1}, "startOnCreate must be a boolean"),
        ({"startOnCreate": {}}, "startOnCreate must be a boolean"),
        ({"billingType": "monthly"}, "billingType must be hourly"),
        ({"region": "Mars (M1)"}, "region not found"),
        ({"machineType": "P9000"}, "machineType not found"),
        ({"machineType": "A4000"}, "machineType not found"),
        ({"templateId": "tnobody"}, "templateId not found"),
        ({"templateId": "t4v9own7", "region": "Europe (AMS1)"}, "templateId not found"),
        ({"networkId": "nnobody"}, "networkId not found"),
        ({"networkId": "nng82wb", "region": "Europe (AMS1)"}, "networkId not found"),
        ({"scriptId": "scnobody"}, "scriptId not found"),
        ({"teamId": "tenobody"}, "teamId not found"),
        ({"userId": "unobody"}, "userId not found"),
        ({**WINDOWS, "machineType": "C5"}, "Windows templates cannot be used with machine type C5"),
        ({"assignPublicIp": True, "dynamicPublicIp": True}, "assignPublicIp cannot be used with dynamicPublicIp"),
        (
            {"markSnapshotAsRestorePoint": True, "restorePointFrequency": "shutdown"},
            "markSnapshotAsRestorePoint needs takeInitialSnapshot to be true",
        ),
        (
            {"markSnapshotAsRestorePoint": True, "takeInitialSnapshot": True},
            "markSnapshotAsRestorePoint needs restorePointFrequency",
        ),
        ({"restorePointFrequency": "daily"}, "restorePointFrequency must be shutdown"),
        ({**PERSON, "userId": "ubx9ce8k"}, "userId cannot be used with email"),
        ({"email": "new@example.com"}, "password is a required parameter when a user is created"),
        ({**PERSON, "email": "jeff@example.com"}, "A user with this email already exists"),
        ({"machineId": "psabc1234"}, "machineId is not a parameter of this call"),
        ({"nmae": "x"}, "nmae is not a parameter of this call"),
    ],
)
async def test_refused_creates(changes: dict[str, Any], message: str) -> None:
    async with simulated() as sim:
        reply = await sim.post(MAKE, {**CREATE, **changes})
        assert (reply.status, reply.error) == (400, (400, message))
        assert sim.world.machines == {}
        assert not sim.server.calls[0].executed


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{", "Unexpected token in JSON"),
        (b"region=x", "Unexpected token in JSON"),
        (b"[]", "The body must be a JSON object"),
        (b'"x"', "The body must be a JSON object"),
        (b"", "region is a required parameter"),
    ],
)
async def test_a_body_that_is_no_object(data: bytes, message: str) -> None:
    async with simulated() as sim:
        reply = await sim.ask("POST", MAKE, data=data)
        assert (reply.status, reply.error) == (400, (400, message))


async def test_post_parameters_do_not_travel_in_the_query() -> None:
    async with simulated() as sim:
        reply = await sim.ask("POST", MAKE, params={k: str(v) for k, v in CREATE.items()})
        assert (reply.status, reply.error[0]) == (400, 400)
        assert "in the body" in reply.error[1]
        assert sim.world.machines == {}


@pytest.mark.parametrize("verb", ["start", "stop", "restart", "destroyMachine", "updateMachinePublic"])
async def test_a_machine_id_in_the_body_must_be_the_paths(verb: str) -> None:
    async with simulated() as sim:
        record = sim.world.add_machine("a", "ready")
        refused = await sim.post(f"/machines/{record.id}/{verb}", {"machineId": "psother12"})
        assert refused.error == (400, "machineId in the body differs from the one in the path")
        assert record.state == "ready"
        accepted = await sim.post(f"/machines/{record.id}/{verb}", {"machineId": record.id})
        assert accepted.status == 204
        assert accepted.body == ""


@pytest.mark.parametrize(
    ("verb", "body", "message"),
    [
        ("updateMachinePublic", {"name": "x"}, "name is not a parameter of this call"),
        ("updateMachinePublic", {"machineName": " "}, "machineName must not be empty"),
        ("updateMachinePublic", {"shutdownTimeoutInHours": "soon"}, "shutdownTimeoutInHours must be a number"),
        ("updateMachinePublic", {"shutdownTimeoutInHours": -1}, "shutdownTimeoutInHours must not be negative"),
        (
            "updateMachinePublic",
            {"autoSnapshotFrequency": "daily"},
            "autoSnapshotFrequency must be hour, day, week or null",
        ),
        ("updateMachinePublic", {"autoSnapshotSaveCount": 0}, "autoSnapshotSaveCount must be at least 1"),
        (
            "updateMachinePublic",
            {"assignPublicIp": True, "dynamicPublicIp": True},
            "assignPublicIp cannot be used with dynamicPublicIp",
        ),
        ("destroyMachine", {"releasePublicIp": "perhaps"}, "releasePublicIp must be a boolean"),
        ("start", {"force": True}, "force is not a parameter of this call"),
        ("setMachineAccess", {"enableAccess": True}, "userId is a required parameter"),
        ("setMachineAccess", {"userId": "ubx9ce8k"}, "enableAccess is a required parameter"),
        ("setMachineAccess", {"userId": "unobody", "enableAccess": True}, "userId not found"),
    ],
)
async def test_refused_writes_to_a_machine(verb: str, body: dict[str, Any], message: str) -> None:
    async with simulated() as sim:
        record = sim.world.add_machine("a", "ready")
        reply = await sim.post(f"/machines/{record.id}/{verb}", body)
        assert (reply.status, reply.error) == (400, (400, message))
        assert (record.state, record.name, record.accessors) == ("ready", "a", [])


@pytest.mark.parametrize(
    ("state", "verb", "message"),
    [
        ("provisioning", "stop", "This machine is currently provisioning."),
        ("upgrading", "stop", "This machine is currently upgrading."),
        ("stopping", "start", "This machine is currently stopping."),
        ("off", "restart", "This machine is currently off."),
        ("starting", "restart", "This machine is currently starting."),
    ],
)
async def test_refused_in_this_state(state: str, verb: str, message: str) -> None:
    async with simulated() as sim:
        record = sim.world.add_machine("a", state)
        reply = await sim.post(f"/machines/{record.id}/{verb}")
        assert (reply.status, reply.error) == (400, (400, message))
        assert record.state == state
