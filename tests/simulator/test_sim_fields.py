"""Every answer has exactly the fields of the vendor page's example, in the types that the page shows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.sim import CREATE, Sim, simulated

PAGE: dict[str, Any] = json.loads((Path(__file__).parent / "page_examples.json").read_text("utf-8"))


def shape(value: Any) -> Any:
    """Keys in order, and of lists the first entry; a number is a number."""
    if isinstance(value, dict):
        return {key: shape(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "number"
    return type(value).__name__


async def ready_as_on_the_page(sim: Sim) -> str:
    made = await sim.create(assignPublicIp=True, templateId="tkni3aa4")
    sim.hand.move(200)
    policy = {
        "machineName": "New Machine Name1",
        "shutdownTimeoutInHours": 24,
        "autoSnapshotFrequency": "day",
        "autoSnapshotSaveCount": 1,
    }
    assert (await sim.post(f"/machines/{made['id']}/updateMachinePublic", policy)).status == 204
    return str(made["id"])


async def test_create_answers_as_on_the_page() -> None:
    async with simulated() as sim:
        reply = await sim.post("/machines/createSingleMachinePublic", dict(CREATE))
        assert reply.status == 200
        assert list(reply.body) == list(PAGE["create"])
        varying = {"id", "dtCreated"}
        assert {k: v for k, v in reply.body.items() if k not in varying} == {
            k: v for k, v in PAGE["create"].items() if k not in varying
        }
        assert reply.body["dtCreated"] == "2026-03-02T12:00:00.000Z"


async def test_list_answers_as_on_the_page() -> None:
    async with simulated() as sim:
        await ready_as_on_the_page(sim)
        assert shape(await sim.list()) == shape(PAGE["list"])


async def test_show_answers_as_on_the_page() -> None:
    async with simulated() as sim:
        machine_id = await ready_as_on_the_page(sim)
        shown = await sim.show(machine_id)
        assert shape(shown) == shape(PAGE["show"])
        varying = {"id", "dtCreated", "events", "privateIpAddress", "publicIpAddress"}
        assert {k: v for k, v in shown.items() if k not in varying} == {
            k: v for k, v in PAGE["show"].items() if k not in varying
        }
        assert [(e["name"], e["state"]) for e in shown["events"]] == [
            (e["name"], e["state"]) for e in PAGE["show"]["events"]
        ]


async def test_utilization_answers_as_on_the_page() -> None:
    async with simulated() as sim:
        machine_id = await ready_as_on_the_page(sim)
        sim.hand.move(8728.27)
        reply = await sim.get("/machines/getUtilization", machineId=machine_id, billingMonth="2026-03")
        assert shape(reply.body) == shape(PAGE["utilization"])
        used, stored = reply.body["utilization"], reply.body["storageUtilization"]
        assert (used["hourlyRate"], stored["monthlyRate"]) == ("0.51", "5.00")
        assert used["secondsUsed"] == pytest.approx(110 + 8728.27)  # provisioning (90 s) is not billed by the hour
        assert stored["secondsUsed"] == pytest.approx(200 + 8728.27)


async def test_availability_answers_as_on_the_page() -> None:
    async with simulated() as sim:
        reply = await sim.get("/machines/getAvailability", region="East Coast (NY2)", machineType="P4000")
        assert (reply.status, reply.body) == (200, PAGE["availability"])


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/networks/getNetworks", ["id", "name", "region", "dtCreated", "network", "netmask", "teamId"]),
        ("/templates/getTemplates", ["id", "label", "os", "name", "dtCreated"]),
        ("/users/getUsers", ["id", "email", "firstname", "lastname", "dtCreated", "teamId"]),
        (
            "/scripts/getScripts",
            ["id", "ownerType", "ownerId", "name", "description", "dtCreated", "isEnabled", "runOnce"],
        ),
    ],
)
async def test_the_other_lists_have_the_fields_of_the_clients_examples(path: str, fields: list[str]) -> None:
    async with simulated() as sim:
        reply = await sim.get(path)
        assert reply.status == 200
        assert list(reply.body[0]) == fields
        chosen = await sim.get(path, id=reply.body[0]["id"])
        assert chosen.body == [reply.body[0]]
        assert (await sim.get(path, id="nobody")).body == []


@pytest.mark.parametrize(
    ("changes", "filled"),
    [
        pytest.param({}, {"publicIpAddress": None}, id="no public address"),
        pytest.param({"dynamicPublicIp": True}, {"dynamicPublicIp": True}, id="dynamic address"),
        pytest.param({"scriptId": "sc8k2m4xa"}, {"scriptId": "sc8k2m4xa"}, id="script"),
        pytest.param({"region": "Europe (AMS1)"}, {"region": "Europe (AMS1)", "networkId": "nams1k2"}, id="network"),
        pytest.param({"machineType": "C5"}, {"gpu": None, "cpus": 4, "usageRate": "C5 hourly"}, id="cpu only"),
        pytest.param({"size": 100}, {"storageTotal": "107374182400"}, id="size"),
    ],
)
async def test_a_young_machine_is_filled_in_when_it_is_made(changes: dict[str, Any], filled: dict[str, Any]) -> None:
    empty = {"os", "ram", "gpu", "storageTotal", "storageUsed", "networkId", "privateIpAddress", "publicIpAddress"}
    async with simulated() as sim:
        made = await sim.create(**changes)
        assert {name for name in {*empty, "region"} if made[name] is not None} == set()
        sim.hand.move(89)
        assert (await sim.list())[0]["region"] is None
        sim.hand.move(120)
        shown = await sim.show(made["id"])
        assert {name: shown[name] for name in filled} == filled
        still_null = {name for name in empty if shown[name] is None}
        assert still_null <= {"publicIpAddress", "gpu"}
        assert (shown["publicIpAddress"] is not None) == ("dynamicPublicIp" in changes)
        assert (shown["dtLastRun"] is not None) == ("scriptId" in changes)
