"""What each call looks like on the wire, without a server."""

from __future__ import annotations

import json
import random
from contextlib import asynccontextmanager

import pytest
from yarl import URL

from fleetd import __version__
from fleetd.cloud.core.api import CoreApi
from fleetd.cloud.core.cloud import CoreCloud
from fleetd.cloud.port import MachineChange
from fleetd.model.errors import Ambiguous, Refused
from tests.support.clients import core_client
from tests.support.core_page import AVAILABILITY, CREATE_PARAMETERS, CREATED, LISTED, SHOWN, UTILIZATION

BASE = "https://api.example.test"
MACHINES = f"{BASE}/machines"
KEY = "k3y-0f-the-t3st"
ID = "psec02yp2"


@asynccontextmanager
async def api():
    client = core_client(f"{BASE}/", lambda: KEY, rng=random.Random(1))
    try:
        yield CoreApi(client), CoreCloud(client)
    finally:
        await client.aclose()


def sent(wire):
    """The one request that was made: method, path, query, JSON body, headers."""
    ((method, url), (call,)), *more = wire.requests.items()
    assert not more
    body = call.kwargs["data"]
    headers = call.kwargs["headers"]
    return method, url.path, dict(url.query), json.loads(body) if body is not None else None, headers


async def test_list_asks_for_the_first_page_without_paging(wire):
    wire.get(f"{MACHINES}/getMachines", payload=[LISTED])
    async with api() as (machines, _):
        assert await machines.list({}) == [LISTED]
    method, path, query, body, headers = sent(wire)
    assert (method, path, query, body) == ("GET", "/machines/getMachines", {}, None)
    assert headers["x-api-key"] == KEY
    assert headers["Accept"] == "application/json"
    assert "Content-Type" not in headers


async def test_list_sends_every_filter_in_the_query_and_leaves_nulls_out(wire):
    query = "limit=10&skip=20&name=a+%26+b&performAutoSnapshot=true&updatesPending=false&cpus=8"
    wire.get(f"{MACHINES}/getMachines?{query}", payload=[])
    filters = {
        "limit": 10,
        "skip": 20,
        "name": "a & b",
        "performAutoSnapshot": True,
        "updatesPending": False,
        "cpus": 8,
        "region": None,
    }
    async with api() as (machines, _):
        assert await machines.list(filters) == []
    assert sent(wire)[2] == {
        "limit": "10",
        "skip": "20",
        "name": "a & b",
        "performAutoSnapshot": "true",
        "updatesPending": "false",
        "cpus": "8",
    }


async def test_list_refuses_a_filter_that_the_page_does_not_have(wire):
    async with api() as (machines, _):
        with pytest.raises(Refused, match="did you mean updatesPending"):
            await machines.list({"updatePending": True})
    assert not wire.requests


async def test_list_matches_the_machine_type_itself(wire):
    other = {**LISTED, "id": "ps2", "machineType": "C1"}
    wire.get(f"{MACHINES}/getMachines?state=ready", payload=[LISTED, other, {**LISTED, "id": "ps3"}])
    async with api() as (machines, _):
        found = await machines.list({"machineType": "P4000", "state": "ready", "skip": 1, "limit": 5})
    assert [machine["id"] for machine in found] == ["ps3"]


async def test_show(wire):
    wire.get(f"{MACHINES}/getMachinePublic?machineId={ID}", payload=SHOWN)
    async with api() as (machines, _):
        assert await machines.show(ID) == SHOWN
    assert sent(wire)[:4] == ("GET", "/machines/getMachinePublic", {"machineId": ID}, None)


@pytest.mark.parametrize("status", [200, 201])
async def test_create_accepts_200_and_201(wire, status):
    wire.post(f"{MACHINES}/createSingleMachinePublic", payload=CREATED, status=status)
    async with api() as (machines, _):
        assert await machines.create(CREATE_PARAMETERS) == CREATED
    method, path, query, body, headers = sent(wire)
    assert (method, path, query) == ("POST", "/machines/createSingleMachinePublic", {})
    assert body == CREATE_PARAMETERS
    assert headers["Content-Type"] == "application/json"


async def test_create_through_the_port_puts_in_the_name(wire):
    made = CREATED | {"name": "training-abc126jt"}
    wire.post(f"{MACHINES}/createSingleMachinePublic", payload=made)
    async with api() as (_, cloud):
        machine = await cloud.create("training-abc126jt", {"region": "r", "size": 50, "startOnCreate": False})
    assert sent(wire)[3] == {"region": "r", "size": 50, "startOnCreate": False, "machineName": "training-abc126jt"}
    assert (machine.id, machine.state, machine.events) == ("psazmnxdy", "provisioning", None)


@pytest.mark.parametrize("verb", ["start", "stop", "restart"])
@pytest.mark.parametrize(("status", "body"), [(204, ""), (200, "")], ids=["documented", "gradient"])
async def test_power(wire, verb, status, body):
    wire.post(f"{MACHINES}/{ID}/{verb}", status=status, body=body)
    async with api() as (machines, _):
        assert await getattr(machines, verb)(ID) is None
    assert sent(wire)[:4] == ("POST", f"/machines/{ID}/{verb}", {}, {"machineId": ID})


@pytest.mark.parametrize(
    ("release", "body"),
    [(None, {"machineId": ID}), (True, {"machineId": ID, "releasePublicIp": True})],
    ids=["kept", "released"],
)
async def test_destroy(wire, release, body):
    wire.post(f"{MACHINES}/{ID}/destroyMachine", status=204)
    async with api() as (machines, _):
        assert await machines.destroy(ID, release_public_ip=release) is None
    assert sent(wire)[:4] == ("POST", f"/machines/{ID}/destroyMachine", {}, body)


async def test_update_keeps_an_explicit_null_and_an_answered_machine(wire):
    wire.post(f"{MACHINES}/{ID}/updateMachinePublic", payload=LISTED)
    async with api() as (machines, _):
        assert await machines.update(ID, {"autoSnapshotFrequency": None, "shutdownTimeoutInHours": 24}) == LISTED
    body = {"machineId": ID, "autoSnapshotFrequency": None, "shutdownTimeoutInHours": 24}
    assert sent(wire)[:4] == ("POST", f"/machines/{ID}/updateMachinePublic", {}, body)


@pytest.mark.parametrize(
    ("change", "body"),
    [
        (
            MachineChange(shutdown_timeout_hours=24, shutdown_timeout_forces=False),
            {"shutdownTimeoutInHours": 24, "shutdownTimeoutForces": False},
        ),
        (
            MachineChange(snapshots_enabled=True, snapshot_frequency="day", snapshot_keep=7),
            {"performAutoSnapshot": True, "autoSnapshotFrequency": "day", "autoSnapshotSaveCount": 7},
        ),
        (
            MachineChange(snapshots_enabled=False, snapshot_frequency="none"),
            {"performAutoSnapshot": False, "autoSnapshotFrequency": None},
        ),
        (MachineChange(), None),
    ],
    ids=["timeout", "snapshots", "no snapshots", "nothing"],
)
async def test_update_through_the_port(wire, change, body):
    wire.post(f"{MACHINES}/{ID}/updateMachinePublic", status=204)
    async with api() as (_, cloud):
        await cloud.update(ID, change)
    if body is None:
        assert not wire.requests
    else:
        assert sent(wire)[3] == {"machineId": ID, **body}


async def test_set_access(wire):
    wire.post(f"{MACHINES}/{ID}/setMachineAccess", payload={})
    async with api() as (machines, _):
        assert await machines.set_access(ID, "ubx9ce8k", enable_access=False) == {}
    body = {"machineId": ID, "userId": "ubx9ce8k", "enableAccess": False}
    assert sent(wire)[:4] == ("POST", f"/machines/{ID}/setMachineAccess", {}, body)


async def test_utilization(wire):
    wire.get(f"{MACHINES}/getUtilization?machineId={ID}&billingMonth=2022-03", payload=UTILIZATION)
    async with api() as (machines, _):
        assert await machines.utilization(ID, "2022-03") == UTILIZATION
    assert sent(wire)[2] == {"machineId": ID, "billingMonth": "2022-03"}


async def test_availability(wire):
    query = {"region": "East Coast (NY2)", "machineType": "GPU+"}
    wire.get(URL(f"{MACHINES}/getAvailability").with_query(query), payload=AVAILABILITY)
    async with api() as (machines, _):
        assert await machines.availability("East Coast (NY2)", "GPU+") == AVAILABILITY
    assert sent(wire)[2] == query


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("networks", "/networks/getNetworks"),
        ("templates", "/templates/getTemplates"),
        ("users", "/users/getUsers"),
        ("scripts", "/scripts/getScripts"),
    ],
)
async def test_neighbouring_lists(wire, name, path):
    wire.get(f"{BASE}{path}?name=x", payload=[{"id": "n1"}])
    async with api() as (machines, _):
        assert await getattr(machines, name)({"name": "x"}) == [{"id": "n1"}]


async def test_an_odd_id_stays_inside_its_path_segment(wire):
    wire.post(URL(f"{MACHINES}/ps%2F..%2Fusers%3Fx/stop", encoded=True), status=204)
    async with api() as (machines, _):
        await machines.stop("ps/../users?x")
        for bad in ("", ".", ".."):
            with pytest.raises(Refused, match="nothing was sent"):
                await machines.destroy(bad)
    assert len(wire.requests) == 1


async def test_a_broken_transport_is_ambiguous_for_a_write_where_nothing_proves_it_unsent(wire):
    wire.post(f"{MACHINES}/createSingleMachinePublic", exception=ConnectionResetError("reset"))
    wire.post(f"{MACHINES}/{ID}/stop", exception=ConnectionResetError("reset"))
    async with api() as (_, cloud):
        with pytest.raises(Ambiguous):
            await cloud.create("training-abc126jt", {})
        with pytest.raises(Ambiguous):
            await cloud.stop(ID)
    assert sum(len(calls) for calls in wire.requests.values()) == 2


async def test_the_user_agent_names_the_version(wire):
    wire.get(f"{MACHINES}/getMachines", payload=[])
    client = core_client(BASE, lambda: KEY, rng=random.Random(1))
    await CoreApi(client).list({})
    assert client._session.headers["User-Agent"] == f"fleetd/{__version__}"
    await client.aclose()
    await client.aclose()
    with pytest.raises(RuntimeError, match="closed"):
        await CoreApi(client).list({})
