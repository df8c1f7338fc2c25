"""Listings in pages, the verbs over HTTP, the call log, the control paths, and the embedded start."""

from __future__ import annotations

import random
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import pytest

from fleetd.model.errors import ConfigError, FleetdError
from fleetd.simulator.boot import Boot, boot
from fleetd.simulator.control import ControlApi
from fleetd.simulator.core import CoreOptions
from fleetd.simulator.fault_file import parse_faults
from fleetd.simulator.server import serve
from fleetd.simulator.state import Durations
from fleetd.simulator.wire import Request
from tests.support.sim import CREATE, KEY, simulated, still_world


async def test_2500_machines_in_pages() -> None:
    world, _ = still_world()
    ids = [world.add_machine(f"m{n}").id for n in range(2500)]
    async with simulated(world=world) as sim:
        first = await sim.list()
        assert [m["id"] for m in first] == ids[:1000]
        pages = [await sim.list(limit=1000, skip=skip) for skip in (0, 1000, 2000, 3000)]
        assert [m["id"] for page in pages for m in page] == ids
        assert [len(page) for page in pages] == [1000, 1000, 500, 0]
        assert [m["id"] for m in await sim.list(limit=7, skip=2490)] == ids[2490:2497]
        assert len(await sim.list(limit=5000)) == 1000


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"machineId": "psgpu1"}, ["gpu"]),
        ({"name": "gpu"}, ["gpu"]),
        ({"name": "gp"}, []),
        ({"state": "off"}, ["cpu"]),
        ({"machineType": "C5"}, ["cpu"]),
        ({"cpus": "8"}, ["gpu"]),
        ({"gpu": "null"}, ["cpu"]),
        ({"gpu": "Quadro P4000"}, ["gpu"]),
        ({"region": "Europe (AMS1)"}, ["cpu"]),
        ({"ram": "32212254720"}, ["gpu"]),
        ({"usageRate": "C5 hourly"}, ["cpu"]),
        ({"performAutoSnapshot": "true"}, ["gpu"]),
        ({"autoSnapshotFrequency": "day", "autoSnapshotSaveCount": "2"}, ["gpu"]),
        ({"shutdownTimeoutInHours": "168"}, ["gpu", "cpu"]),
        ({"publicIpAddress": "null", "scriptId": "null"}, ["gpu", "cpu"]),
        ({"userId": "ubx9ce8k", "teamId": "tewr3st2z"}, ["gpu", "cpu"]),
        ({"agentType": "LinuxHeadless", "updatesPending": "false"}, ["gpu", "cpu"]),
        ({"state": "off", "machineType": "P4000"}, []),
        ({"limit": "1", "skip": "1"}, ["cpu"]),
        ({"limit": "1", "region": "Europe (AMS1)"}, ["cpu"]),
        ({"limit": "null"}, ["gpu", "cpu"]),
    ],
    ids=str,
)
async def test_filters(query: dict[str, str], found: list[str]) -> None:
    async with simulated() as sim:
        sim.world.add_machine("gpu", id="psgpu1", auto_snapshots=True, snapshot_frequency="day", snapshot_keep=2)
        sim.world.add_machine("cpu", "off", machine_type="C5", region="Europe (AMS1)")
        assert [m["name"] for m in await sim.list(**query)] == found


@pytest.mark.parametrize("slash", ["", "/"])
async def test_every_verb(slash: str) -> None:
    async with simulated() as sim:
        made = (await sim.post(f"/machines/createSingleMachinePublic{slash}", dict(CREATE))).body
        path = f"/machines/{made['id']}"
        sim.hand.move(200)
        done: list[tuple[str, int, str]] = []
        for verb, body in [
            ("stop", None),
            ("start", {"machineId": made["id"]}),
            ("restart", {}),
            ("setMachineAccess", {"userId": "u789ghi2k", "enableAccess": "true"}),
            ("updateMachinePublic", {"machineName": "other", "shutdownTimeoutInHours": "24"}),
            ("destroyMachine", {"releasePublicIp": False}),
        ]:
            status = (await sim.post(f"{path}/{verb}{slash}", body)).status
            state = (await sim.get(f"/machines/getMachinePublic{slash}", machineId=made["id"])).body["state"]
            done.append((verb, status, state))
            sim.hand.move(100)
        assert done == [
            ("stop", 204, "stopping"),
            ("start", 204, "starting"),
            ("restart", 204, "restarting"),
            ("setMachineAccess", 200, "ready"),
            ("updateMachinePublic", 204, "ready"),
            ("destroyMachine", 204, "stopping"),
        ]
        assert (await sim.get("/machines/getMachinePublic", machineId=made["id"])).status == 404


async def test_the_vendors_other_statuses() -> None:
    async with simulated(core=CoreOptions(create_status=201, update_body=True)) as sim:
        reply = await sim.post("/machines/createSingleMachinePublic", dict(CREATE))
        assert reply.status == 201
        updated = await sim.post(f"/machines/{reply.body['id']}/updateMachinePublic", {"machineName": "b"})
        assert (updated.status, updated.body["name"]) == (200, "b")


async def test_an_update_changes_what_it_names_and_nothing_else() -> None:
    async with simulated() as sim:
        record = sim.world.add_machine("a", shutdown_hours=10)
        before = await sim.show(record.id)
        change = {"autoSnapshotFrequency": "week", "autoSnapshotSaveCount": "4", "performAutoSnapshot": "true"}
        await sim.post(f"/machines/{record.id}/updateMachinePublic", change)
        after = await sim.show(record.id)
        assert {k: v for k, v in after.items() if before[k] != v} == {
            "autoSnapshotFrequency": "week",
            "autoSnapshotSaveCount": 4,
            "performAutoSnapshot": True,
        }
        await sim.post(f"/machines/{record.id}/updateMachinePublic", {"autoSnapshotFrequency": None})
        assert (await sim.show(record.id))["autoSnapshotFrequency"] is None
        await sim.post(f"/machines/{record.id}/updateMachinePublic", {"dynamicPublicIp": True})
        assert (await sim.show(record.id))["publicIpAddress"] is not None
        await sim.post(f"/machines/{record.id}/updateMachinePublic", {"dynamicPublicIp": False})
        assert (await sim.show(record.id))["publicIpAddress"] is None


async def test_access_is_given_and_taken() -> None:
    async with simulated() as sim:
        record = sim.world.add_machine("a")
        for enable, accessors in ((True, ["u789ghi2k"]), ("true", ["u789ghi2k"]), (False, []), ("false", [])):
            body = {"machineId": record.id, "userId": "u789ghi2k", "enableAccess": enable}
            assert (await sim.post(f"/machines/{record.id}/setMachineAccess", body)).status == 200
            assert record.accessors == accessors


async def test_a_new_user_stays_although_the_create_fails() -> None:
    person = {"email": "new@example.com", "password": "secret123", "firstName": "Jon", "lastName": "Snow"}
    async with simulated() as sim:
        refused = await sim.post("/machines/createSingleMachinePublic", {**CREATE, **person, "templateId": "tnobody"})
        assert refused.error == (400, "templateId not found")
        (user,) = (await sim.get("/users/getUsers", email="new@example.com")).body
        again = {**CREATE, **person, "email": "other@example.com"}
        made = (await sim.post("/machines/createSingleMachinePublic", again)).body
        assert user["id"] != sim.world.machines[made["id"]].user_id in sim.world.state.users


async def test_the_node_clients_waitfor_carries_the_state_along() -> None:
    async with simulated() as sim:
        record = sim.world.add_machine("a")
        reply = await sim.get("/machines/getMachinePublic", machineId=record.id, state="ready")
        assert reply.body["state"] == "ready"


async def test_any_key_but_none_when_no_key_is_set() -> None:
    world, _ = still_world()
    async with serve(world, latency=None) as server, aiohttp.ClientSession(server.url) as session:
        for key, status in (("anything", 200), ("", 400)):
            async with session.get("/users/getUsers", headers={"x-api-key": key}) as response:
                assert response.status == status


async def test_the_call_log() -> None:
    async with simulated() as sim:
        made = await sim.create()
        sim.hand.move(200)
        await sim.list(limit=5)
        await sim.post(f"/machines/{made['id']}/stop", {"machineId": made["id"]}, headers={"ps_client_name": "node"})
        await sim.get("/nowhere")
        create, listing, stop, nowhere = sim.server.calls
        assert (create.seq, create.operation, create.write, create.machine_id) == (1, "create", True, made["id"])
        assert create.body == CREATE
        assert (create.world_time, create.state_before, create.status) == ("2026-03-02T12:00:00.000Z", None, 200)
        assert (listing.operation, listing.query, listing.write, listing.body) == (
            "list",
            {"limit": "5"},
            False,
            None,
        )
        assert (listing.world_time, listing.world_seconds) == ("2026-03-02T12:03:20.000Z", 200)
        assert (stop.operation, stop.state_before, stop.executed, stop.status) == ("stop", "ready", True, 204)
        assert stop.path == f"/machines/{made['id']}/stop"
        assert (nowhere.operation, nowhere.status, nowhere.executed) == ("", 404, False)
        assert sim.server.calls.writes == [create, stop]
        assert sim.server.calls.of("list", "stop") == [listing, stop]
        reply = await sim.get("/_sim/calls", since=2)
        assert [call["seq"] for call in reply.body] == [3, 4]
        assert (await sim.post("/_sim/reset_calls", {})).status == 204
        assert list(sim.server.calls) == []


async def test_client_headers_are_logged_but_not_the_key() -> None:
    headers = {"x-api-key": KEY, "ps_client_name": "paperspace-node", "ps_client_version": "0.2"}
    async with simulated(headers=headers) as sim:
        await sim.list()
        logged = sim.server.calls[0].headers
        assert (logged["ps_client_name"], logged["ps_client_version"]) == ("paperspace-node", "0.2")
        assert "x-api-key" not in logged


async def test_old_reads_are_forgotten_before_writes() -> None:
    async with simulated(keep_reads=2) as sim:
        await sim.create()
        for _ in range(5):
            await sim.list()
        assert [call.seq for call in sim.server.calls] == [1, 5, 6]
        assert len(sim.server.calls) == 3


async def seeded_run(seed: int) -> tuple[list[dict[str, Any]], Any]:
    """A few hundred requests, each at its own world second, with faults and real durations."""
    world, hand = still_world(seed=seed, durations=Durations())
    faults = parse_faults(
        [
            {"kind": "unavailable", "probability": 0.1},
            {"kind": "capacity", "probability": 0.3},
            {"kind": "partial_list", "share": 0.2, "sticky": False},
            {"kind": "vanish", "probability": 0.02, "limit": 3},
        ]
    )
    choose = random.Random(7)
    async with simulated(faults, world=world) as sim:
        sim.hand = hand
        for _ in range(200):
            hand.move(choose.uniform(1, 30))
            known = list(world.machines)
            verb = choose.choice(["create", "list", "start", "stop", "destroyMachine"])
            if verb == "create":
                await sim.post("/machines/createSingleMachinePublic", dict(CREATE))
            elif verb == "list" or not known:
                await sim.get("/machines/getMachines")
            else:
                await sim.post(f"/machines/{choose.choice(known)}/{verb}")
        return [asdict(call) for call in sim.server.calls], (world.timeline, (await sim.get("/_sim/machines")).body)


async def test_the_same_seed_and_requests_give_the_same_log() -> None:
    first, second, other = await seeded_run(5), await seeded_run(5), await seeded_run(6)
    assert first == second
    assert first[0] != other[0]
    assert {call["status"] for call in first[0]} >= {200, 204, 503}


async def test_ground_truth_over_http() -> None:
    async with simulated() as sim:
        made = await sim.create()
        sim.hand.move(100)
        (truth,) = (await sim.get("/_sim/machines")).body
        assert (truth["id"], truth["state"], truth["billed_now"], truth["billed_seconds"]) == (
            made["id"],
            "starting",
            True,
            10,
        )
        sim.hand.move(3600)
        (truth,) = (await sim.get("/_sim/machines")).body
        assert float(truth["cost"]) == pytest.approx(3610 / 3600 * 0.51, abs=1e-5)
        line = (await sim.get("/_sim/timeline")).body
        assert [(c["at"], c["state"], c["billed"]) for c in line] == [
            (0, "provisioning", False),
            (90, "starting", True),
            (130, "serviceready", True),
            (135, "ready", True),
        ]
        assert len(sim.server.calls) == 1  # control paths are not the vendor's


async def test_people_over_http() -> None:
    async with simulated() as sim:
        added = await sim.post("/_sim/machines", {"id": "pshuman1", "name": "training-backup", "state": "ready"})
        assert (added.status, added.body["id"]) == (201, "pshuman1")
        for deed, state in (("stop", "off"), ("start", "ready"), ("restart", "ready"), ("destroy", "gone")):
            assert (await sim.post("/_sim/machines/pshuman1", {"action": deed})).status == 204
            sim.hand.move(100)
            (truth,) = (await sim.get("/_sim/machines")).body
            assert truth["state"] == state
        assert len(sim.server.calls) == 0


async def test_people_rename_and_connect_over_http() -> None:
    async with simulated() as sim:
        record = sim.world.add_machine("a")
        await sim.post(f"/_sim/machines/{record.id}", {"action": "rename", "name": "b"})
        await sim.post(f"/_sim/machines/{record.id}", {"action": "connect"})
        assert (record.name, record.connected) == ("b", True)


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("/_sim/machines", {"state": "ready"}, 400, "name"),
        ("/_sim/machines", {"name": "a", "sate": "ready"}, 400, "sate"),
        ("/_sim/machines", {"name": "a", "machine_type": "P9"}, 404, "machine_type not found"),
        ("/_sim/machines/psnobody1", {"action": "stop"}, 404, "Machine not found"),
        ("/_sim/machines/psnobody1", {"action": "explode"}, 400, "action must be"),
        ("/_sim/machines/psnobody1", {"action": "rename"}, 400, "rename needs a name"),
        ("/_sim/faults", {"faults": [{"kind": "eror"}]}, 400, "eror"),
        ("/_sim/elsewhere", {}, 404, "no control path"),
    ],
)
async def test_refused_control_requests(path: str, body: dict[str, Any], status: int, message: str) -> None:
    async with simulated() as sim:
        reply = await sim.post(path, body)
        assert reply.status == status
        assert message in reply.body["message"]


async def test_faults_are_replaced_over_http() -> None:
    async with simulated() as sim:
        rules = [{"kind": "unavailable", "limit": 1}, {"kind": "stale_list", "seconds": 9}]
        assert (await sim.post("/_sim/faults", {"faults": rules})).status == 200
        assert [(await sim.get("/machines/getMachines")).status for _ in range(2)] == [503, 200]
        counts = (await sim.get("/_sim/faults")).body
        assert [(c["rule"]["kind"], c["matched"], c["struck"]) for c in counts] == [
            ("unavailable", 1, 1),
            ("stale_list", 2, 2),
        ]


async def test_latency_is_seeded_and_on_the_loop() -> None:
    async with simulated(latency=0.05) as sim:
        began = anyio.current_time()
        await sim.list()
        assert anyio.current_time() - began >= 0.05


async def test_a_taken_port_is_said_plainly() -> None:
    async with simulated() as sim:
        world, _ = still_world()
        with pytest.raises(FleetdError, match=f"cannot listen on 127.0.0.1:{sim.server.port}"):
            async with serve(world, port=sim.server.port):
                pass


async def test_the_embedded_start(tmp_path: Path) -> None:
    faults = tmp_path / "faults.toml"
    faults.write_text('[[faults]]\nkind = "unavailable"\noperation = "users"\n')
    table = {
        "speed": 60.0,
        "seed": 7,
        "faults": faults,
        "latency": timedelta(0),
        "dialect": "paperspace-core",
        "machines": ({"name": "training-backup", "state": "ready"}, {"name": "old", "state": "off"}),
    }
    async with boot(Boot.from_settings(table), key="k") as server:
        assert server.world.clock.speed == 60
        async with aiohttp.ClientSession(server.url, headers={"x-api-key": "k"}) as session:
            async with session.get("/machines/getMachines") as response:
                listed = await response.json()
            async with session.get("/users/getUsers") as response:
                assert response.status == 503
    assert [(m["name"], m["state"]) for m in listed] == [("training-backup", "ready"), ("old", "off")]


async def test_the_embedded_start_with_a_wrong_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        async with boot(Boot(faults=tmp_path / "none.toml")):
            pass


async def test_control_paths_are_for_this_machine_only() -> None:
    async with simulated() as sim:
        for remote, status in ((None, 403), ("192.0.2.7", 403), ("127.0.0.1", 200), ("::1", 200)):
            assert ControlApi(sim.server).answer(Request("GET", "/_sim/calls"), remote).status == status
