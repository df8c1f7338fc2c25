"""Every call of both dialects, answered about another machine: nothing of it is believed."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from fleetd.cloud.core.api import CoreApi
from fleetd.cloud.core.cloud import CoreCloud
from fleetd.cloud.paperspace.api import PaperspaceApi
from fleetd.cloud.paperspace.cloud import PaperspaceCloud
from fleetd.cloud.port import MachineChange
from fleetd.cloud.retry import RetryPolicy
from fleetd.model.errors import Ambiguous, CloudError, MalformedAnswer
from tests.support.clients import core_client, paperspace_client
from tests.support.scripted_server import answer, scripted
from tests.support.virtual_time import virtual

ALICE = {"id": "ps0", "name": "alice-workstation", "state": "ready", "machineType": "P4000", "dtCreated": None}
PAIR = {"data": ALICE, "event": {"id": "e1", "name": "start", "state": "new", "machineId": "ps0"}}
STRAY_EVENT = {"data": ALICE | {"id": "ps1", "name": "ours"}, "event": PAIR["event"]}
USAGE = {"machineId": "ps0", "utilization": {"secondsUsed": 9, "hourlyRate": "0.51", "billingMonth": "2026-03"}}
PAGE = {"items": [{"id": "e1", "machineId": "ps0", "name": "start"}], "hasMore": False}
EMPTY = {"items": [], "hasMore": False}
CHANGE = MachineChange(shutdown_timeout_hours=8)

CoreCall = Callable[[CoreCloud, CoreApi], Awaitable[Any]]
CORE: dict[str, tuple[Any, CoreCall, type[CloudError]]] = {
    "show": (ALICE, lambda cloud, _: cloud.show("ps1"), MalformedAnswer),
    "show by hand": (ALICE, lambda _, api: api.show("ps1"), MalformedAnswer),
    "create": (ALICE, lambda cloud, _: cloud.create("ours", {}), Ambiguous),
    "create by hand": (ALICE, lambda _, api: api.create({"machineName": "ours"}), Ambiguous),
    "create, a nameless answer": ({"id": "ps9"}, lambda cloud, _: cloud.create("ours", {}), Ambiguous),
    "create, an array": ([ALICE], lambda cloud, _: cloud.create("ours", {}), Ambiguous),
    "start": (ALICE, lambda cloud, _: cloud.start("ps1"), Ambiguous),
    "stop": (ALICE, lambda cloud, _: cloud.stop("ps1"), Ambiguous),
    "stop, by machineId": ({"machineId": "ps0"}, lambda cloud, _: cloud.stop("ps1"), Ambiguous),
    "restart": (ALICE, lambda cloud, _: cloud.restart("ps1"), Ambiguous),
    "destroy": (ALICE, lambda cloud, _: cloud.destroy("ps1"), Ambiguous),
    "update": (ALICE, lambda cloud, _: cloud.update("ps1", CHANGE), Ambiguous),
    "utilization": (USAGE, lambda cloud, _: cloud.utilization("ps1", "2026-03"), MalformedAnswer),
    "utilization, a machine": (ALICE, lambda cloud, _: cloud.utilization("ps1", "2026-03"), MalformedAnswer),
    "list": (ALICE, lambda cloud, _: cloud.list_machines(), MalformedAnswer),
}

V1Call = Callable[[PaperspaceCloud, PaperspaceApi], Awaitable[Any]]
V1: dict[str, tuple[tuple[Any, ...], V1Call, type[CloudError]]] = {
    "show": ((EMPTY, ALICE), lambda cloud, _: cloud.show("ps1"), MalformedAnswer),
    "show by hand": ((EMPTY, ALICE), lambda _, api: api.show("ps1"), MalformedAnswer),
    "show, in data": ((EMPTY, PAIR), lambda cloud, _: cloud.show("ps1"), MalformedAnswer),
    "create": ((PAIR,), lambda cloud, _: cloud.create("ours", {}), Ambiguous),
    "create by hand": ((PAIR,), lambda _, api: api.create({"name": "ours"}), Ambiguous),
    "create, another's event": ((STRAY_EVENT,), lambda cloud, _: cloud.create("ours", {}), Ambiguous),
    "start": ((PAIR,), lambda cloud, _: cloud.start("ps1"), Ambiguous),
    "start, another's event": ((STRAY_EVENT,), lambda cloud, _: cloud.start("ps1"), Ambiguous),
    "start, bare": ((ALICE,), lambda cloud, _: cloud.start("ps1"), Ambiguous),
    "stop": ((PAIR,), lambda cloud, _: cloud.stop("ps1"), Ambiguous),
    "restart": ((PAIR,), lambda cloud, _: cloud.restart("ps1"), Ambiguous),
    "destroy": ((PAIR,), lambda cloud, _: cloud.destroy("ps1"), Ambiguous),
    "update": ((PAIR,), lambda cloud, _: cloud.update("ps1", CHANGE), Ambiguous),
    "utilization": ((EMPTY, ALICE), lambda cloud, _: cloud.utilization("ps1", "2026-03"), MalformedAnswer),
    "list": ((ALICE,), lambda cloud, _: cloud.list_machines(), MalformedAnswer),
}


@asynccontextmanager
async def spoken(client, cloud, api, url):
    http = client(url, lambda: "k3y", rng=random.Random(1), retries=RetryPolicy(attempts=1))
    try:
        yield cloud(http), api(http)
    finally:
        await http.aclose()


@pytest.mark.parametrize(("said", "call", "kind"), CORE.values(), ids=CORE)
@virtual
async def test_core(said, call, kind):
    async with (
        scripted(answer(200, said)) as server,
        spoken(core_client, CoreCloud, CoreApi, server.url) as (cloud, api),
    ):
        with pytest.raises(kind):
            await call(cloud, api)


@pytest.mark.parametrize(("said", "call", "kind"), V1.values(), ids=V1)
@virtual
async def test_v1(said, call, kind):
    async with (
        scripted(*(answer(200, part) for part in said)) as server,
        spoken(paperspace_client, PaperspaceCloud, PaperspaceApi, server.url) as (cloud, api),
    ):
        with pytest.raises(kind):
            await call(cloud, api)


@virtual
async def test_events_and_snapshots_of_another_machine_are_not_this_ones():
    ours = ALICE | {"id": "ps1", "name": "ours"}
    async with (
        scripted(answer(200, PAGE), answer(200, ours), answer(200, PAGE), answer(200, PAGE)) as server,
        spoken(paperspace_client, PaperspaceCloud, PaperspaceApi, server.url) as (cloud, _),
    ):
        assert (await cloud.show("ps1")).events == ()
        assert (await cloud.snapshots("ps1")).newest_at is None


@virtual
async def test_what_names_the_machine_asked_about_or_none_is_believed():
    ours = ALICE | {"id": "ps1", "name": "ours"}
    for said in (ours, {"machineId": "ps1"}, {}, None):
        async with (
            scripted(answer(200, said)) as server,
            spoken(core_client, CoreCloud, CoreApi, server.url) as (cloud, _),
        ):
            await cloud.stop("ps1")
    async with (
        scripted(answer(200, {"data": ours, "event": None})) as server,
        spoken(paperspace_client, PaperspaceCloud, PaperspaceApi, server.url) as (cloud, _),
    ):
        await cloud.stop("ps1")
        assert (await cloud.create("ours", {})).id == "ps1"
