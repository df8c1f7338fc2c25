"""Every request of ours, and every answer that we read, against the facts of the vendor's published types."""

from __future__ import annotations

from typing import Any

import anyio
import msgspec
import pytest

from fleetd.cloud.paperspace import errors, wire
from fleetd.cloud.paperspace.api import PaperspaceApi
from fleetd.cloud.port import MachineChange
from fleetd.model import vendor_v1
from fleetd.model.machine import PHASES, Machine
from tests.contract import v1_facts as facts
from tests.contract.account import PARAMETERS, Account, account
from tests.support.virtual_time import virtual

NAME = "training-abc126jt"


async def everything(at: Account) -> tuple[Machine, list[tuple[str, Any, Any]]]:
    """Make every call that there is; gives what was answered: (what it is, the answer, its fields)."""
    cloud, api = at.cloud, at.api
    assert isinstance(api, PaperspaceApi)
    made = await cloud.create(NAME, PARAMETERS["paperspace"])
    by_hand = await api.create(
        {**PARAMETERS["paperspace"], "name": "by-hand", "startOnCreate": False, "publicIpType": "dynamic"}
    )
    told: list[tuple[str, Any, Any]] = [
        ("create", {k: v for k, v in by_hand.items() if k != "events"}, facts.MACHINE)
    ]
    told += [("create", event, facts.EVENT) for event in by_hand["events"]]
    await anyio.sleep(300)
    everything_at_once = MachineChange(
        shutdown_timeout_hours=24,
        shutdown_timeout_forces=True,
        snapshots_enabled=True,
        snapshot_frequency="day",
        snapshot_keep=7,
    )
    await cloud.update(made.id, everything_at_once)
    told.append(("update", await api.update(made.id, {"name": "renamed", "autoSnapshotEnabled": False}), DONE))
    by_name = {"machineId": made.id, "name": "by hand"}
    taken = await api._requests.write("create_snapshot", "POST", "/snapshots", by_name)
    told.append(("snapshot", taken, facts.done(facts.SNAPSHOT)))
    await anyio.sleep(120)
    assert (await cloud.snapshots(made.id)).newest_at is not None
    told += [("snapshot", row, facts.SNAPSHOT) for row in await api.snapshots(made.id)]
    (row,) = await api.snapshots()
    dropped = await api._requests.write("delete_snapshot", "DELETE", f"/snapshots/{row['id']}")
    told.append(("snapshot", dropped, facts.done(facts.SNAPSHOT)))
    for verb, wait in (("stop", 60), ("start", 100), ("restart", 200)):
        told.append((verb, await getattr(api, verb)(made.id), DONE))
        await anyio.sleep(wait)
    told.append(("access", await api.set_access(made.id, "u789ghi2k", enable_access=True), facts.ACCESSOR))
    accessors = await api._requests.get("accessors", f"/machines/{made.id}/accessors")
    told += [("access", row, facts.ACCESSOR) for row in accessors["items"]]
    told.append(("access", await api.set_access(made.id, "u789ghi2k", enable_access=False), facts.ACCESSOR))
    shown = await api.show(made.id)
    told.append(("show", without(shown, "events"), facts.MACHINE))
    told += [("event", event, facts.EVENT) for event in shown["events"]]
    filters = {"name": "by-hand", "region": "East Coast (NY2)", "machineType": "P4000", "agentType": "LinuxHeadless"}
    ordered = {"orderBy": "name", "order": "asc", "limit": 5, "state": "off"}
    told += [("list", row, facts.MACHINE) for row in await api.list({**filters, **ordered})]
    assert len((await cloud.list_machines()).machines) == 2
    told += [("template", row, facts.OS_TEMPLATE) for row in await api.templates()]
    told += [("template", row, facts.CUSTOM_TEMPLATE) for row in await api.custom_templates()]
    told += [("network", row, facts.NETWORK) for row in await api.networks()]
    told += [("script", row, facts.SCRIPT) for row in await api.scripts()]
    told.append(("account", await api.account_standing(), facts.STANDING))
    told.append(("destroy", await api.destroy(by_hand["id"]), DONE))
    await cloud.destroy(made.id)
    return made, told


DONE = facts.done(facts.MACHINE)


def without(row: dict[str, Any], name: str) -> dict[str, Any]:
    return {k: v for k, v in row.items() if k != name}


@virtual
async def test_every_request_and_every_answer_is_as_the_types_say() -> None:
    async with account("paperspace") as at:
        _, told = await everything(at)
        asked = list(at.server.calls)
        assert [fault for call in asked for fault in facts.request_faults(call)] == []
        made = {known[0] for call in asked if (known := facts.fact_of(call.method, call.path)) is not None}
        assert made == set(facts.CALLS), "every call of ours was made here, and no other"
        assert [(what, fault) for what, answer, fields in told for fault in facts.faults(answer, fields)] == []
        assert len(told) > 30


@virtual
async def test_more_than_a_page_is_asked_for_as_the_types_say() -> None:
    async with account("paperspace", machines=250) as at:
        assert len((await at.cloud.list_machines()).machines) == 250
        asked = list(at.server.calls)
        assert len(asked) == 6, "three pages, from both ends"
        assert [fault for call in asked for fault in facts.request_faults(call)] == []


@pytest.mark.parametrize(
    ("broken", "fault"),
    [
        ({"method": "POST", "path": "/v1/machines/ps1/start"}, "there is no call POST /v1/machines/ps1/start"),
        ({"query": {"skip": "3"}}, "GET /machines query: there is no skip"),
        ({"query": {"order": "down"}}, "GET /machines query: order is 'down'"),
        ({"method": "PATCH", "path": "/v1/machines/ps1/stop"}, "PATCH /machines/{id}/stop body: None, and not {}"),
        (
            {"method": "PUT", "path": "/v1/machines/ps1", "body": {"autoSnapshotFrequency": None}},
            "PUT /machines/{id} body: autoSnapshotFrequency is None",
        ),
    ],
)
def test_the_facts_can_be_broken(broken: dict[str, Any], fault: str) -> None:
    defaults = {"method": "GET", "path": "/v1/machines", "query": {}, "body": None}
    call = facts.Call(0, "", 0.0, 0.0, "v1", headers={}, operation="", write=False, **(defaults | broken))
    assert facts.request_faults(call) == [fault]


def camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.title() for part in rest)


def test_what_we_read_exists() -> None:
    assert {camel(f.name) for f in msgspec.structs.fields(wire.WireMachine)} <= set(facts.MACHINE)


def test_what_may_be_sent_exists() -> None:
    assert set(vendor_v1.V1_CREATE_PARAMETERS) == set(facts.CREATE) - {"accessorIds"}
    assert set(vendor_v1.V1_CREATE_REQUIRED) == facts.CALLS["POST", "/machines"].needs
    assert set(vendor_v1.V1_UPDATE_PARAMETERS) == set(facts.UPDATE)
    assert set(vendor_v1.V1_LIST_FILTERS) == set(facts.CALLS["GET", "/machines"].query)
    kinds = {str: facts.TEXT.types, bool: facts.YES.types, int: facts.NUMBER.types}
    for name, kind in {**vendor_v1.V1_CREATE_PARAMETERS, **vendor_v1.V1_UPDATE_PARAMETERS}.items():
        assert {**facts.CREATE, **facts.UPDATE}[name].types == kinds[kind], name


def test_the_words_are_the_types_words() -> None:
    assert set(PHASES) == facts.STATE.among
    assert set(vendor_v1.V1_SNAPSHOT_FREQUENCIES) == facts.FREQUENCY.among
    assert set(vendor_v1.V1_PUBLIC_IP_TYPES) == facts.ADDRESS.among
    assert set(vendor_v1.V1_RESTORE_POINT_FREQUENCIES) == facts.RESTORE.among


CLI_CODES = {
    "BAD_REQUEST", "NOT_FOUND", "INTERNAL_SERVER_ERROR", "UNAUTHORIZED", "FORBIDDEN", "TIMEOUT", "CONFLICT",
    "CLIENT_CLOSED_REQUEST", "PRECONDITION_FAILED", "PAYLOAD_TOO_LARGE", "METHOD_NOT_SUPPORTED", "TOO_MANY_REQUESTS",
}  # fmt: skip
"""Codes that the vendor's CLI maps from a status."""


def test_every_code_of_the_cli_is_known() -> None:
    assert set(errors.STATUSES) >= CLI_CODES
