"""The dialect against the simulator, over real HTTP."""

from __future__ import annotations

import random
from contextlib import asynccontextmanager
from decimal import Decimal

import anyio
import pytest

from fleetd.cloud.calls import HttpLimits
from fleetd.cloud.core.api import CoreApi
from fleetd.cloud.core.cloud import CoreCloud
from fleetd.cloud.port import Cloud, MachineChange, MachinesApi
from fleetd.model.errors import (
    Ambiguous,
    MalformedAnswer,
    NotFound,
    RateLimited,
    Refused,
    Unauthorized,
    Unavailable,
)
from fleetd.model.machine import Phase, SnapshotPolicy
from fleetd.model.plan import Listing
from fleetd.simulator import faults
from fleetd.simulator.core import CoreOptions
from fleetd.simulator.server import serve
from fleetd.simulator.world import World
from tests.support.clients import core_client
from tests.support.core_page import CREATE_PARAMETERS
from tests.support.virtual_time import virtual

PARAMETERS = {name: value for name, value in CREATE_PARAMETERS.items() if name != "machineName"}
LIMITS = HttpLimits(max_requests_per_second=1000.0, max_concurrency=10, request_timeout=30.0)


@asynccontextmanager
async def account(*, machines=0, rules=(), key="k3y", speed=1.0, core=None, limits=LIMITS):
    """A simulated account and both ways into it."""
    world = World(seed=5, speed=speed)
    for number in range(machines):
        world.add_machine(f"other-{number}", id=f"ps{number}")
    async with serve(world, key="k3y", latency=None, faults=rules, core=core) as server:
        client = core_client(server.url, lambda: key, rng=random.Random(2), limits=limits)
        cloud, api = CoreCloud(client), CoreApi(client)
        try:
            yield server, cloud, api
        finally:
            await cloud.aclose()
            await api.aclose()


def asked(server, *operations):
    return [call.operation for call in server.calls if not operations or call.operation in operations]


@virtual
async def test_both_implement_their_ports():
    async with account() as (_, cloud, api):
        port: Cloud = cloud
        calls: MachinesApi = api
        assert port.capabilities.page_size == 1000
        assert port.capabilities.utilization
        assert not port.capabilities.snapshots_visible
        assert await calls.list({}) == []


@pytest.mark.parametrize(
    "core",
    [CoreOptions(), CoreOptions(create_status=201, not_found_status=400, update_body=True)],
    ids=["one", "other"],
)
@virtual
async def test_the_life_of_a_machine(core):
    async with account(core=core) as (server, cloud, _):
        machine = await cloud.create("training-abc126jt", PARAMETERS)
        assert (machine.name, machine.phase, machine.events) == ("training-abc126jt", Phase.RISING, None)
        await anyio.sleep(200)
        (listed,) = (await cloud.list_machines()).machines
        assert (listed.id, listed.state, listed.region) == (machine.id, "ready", "East Coast (NY2)")
        change = MachineChange(
            shutdown_timeout_hours=24, snapshots_enabled=True, snapshot_frequency="day", snapshot_keep=7
        )
        await cloud.update(machine.id, change)
        shown = await cloud.show(machine.id)
        assert shown.shutdown_timeout_hours == 24
        assert shown.snapshots == SnapshotPolicy(enabled=True, frequency="day", keep=7)
        assert [event.name for event in shown.events][-1] == "create"
        await cloud.update(machine.id, MachineChange(snapshots_enabled=False, snapshot_frequency="none"))
        assert (await cloud.show(machine.id)).snapshots.frequency is None
        await cloud.restart(machine.id)
        await anyio.sleep(200)
        await cloud.stop(machine.id)
        await anyio.sleep(60)
        assert (await cloud.show(machine.id)).phase is Phase.DOWN
        await cloud.start(machine.id)
        await anyio.sleep(100)
        assert (await cloud.show(machine.id)).phase is Phase.UP
        used = await cloud.utilization(machine.id, server.world.clock.now().strftime("%Y-%m"))
        assert used.hourly_rate == Decimal("0.51")
        assert used.seconds_used > 0
        await cloud.destroy(machine.id)
        await anyio.sleep(60)
        with pytest.raises(NotFound):
            await cloud.show(machine.id)
        assert await cloud.list_machines() == Listing(())


@virtual
async def test_a_failed_start_shows_its_reason():
    rule = faults.Capacity(operation="create")
    async with account(rules=[rule]) as (_, cloud, _api):
        machine = await cloud.create("training-abc126jt", PARAMETERS)
        await anyio.sleep(200)
        shown = await cloud.show(machine.id)
        assert shown.phase is Phase.DOWN
        assert shown.events[0].failed
        assert "capacity" in shown.events[0].error


@virtual
async def test_a_wrong_key():
    async with account(key="wrong") as (server, cloud, api):
        for call in (cloud.list_machines(), cloud.show("ps1"), cloud.create("n", PARAMETERS), api.networks()):
            with pytest.raises(Unauthorized):
                await call
        assert len(server.calls) == 4


@virtual
async def test_refusals_carry_the_vendors_words():
    async with account(machines=1) as (_, cloud, api):
        with pytest.raises(Refused, match="templateId not found"):
            await cloud.create("n", {**PARAMETERS, "templateId": "nope"})
        with pytest.raises(NotFound, match="Machine not found"):
            await cloud.stop("nope")
        with pytest.raises(NotFound):
            await api.utilization("nope", "2022-03")
        with pytest.raises(Refused):
            await api.update("ps0", {"nonsense": 1})


@pytest.mark.parametrize(("machines", "requests"), [(999, 1), (1000, 5), (2500, 6)])
@virtual
async def test_listings_of_every_size_are_whole(machines, requests):
    async with account(machines=machines) as (server, cloud, _):
        listing = await cloud.list_machines()
        assert listing.complete
        assert len({machine.id for machine in listing.machines}) == len(listing.machines) == machines
        assert len(server.calls) == requests


@virtual
async def test_the_api_by_hand_pages_as_asked():
    async with account(machines=2500) as (server, _, api):
        assert len(await api.list({})) == 2500
        assert [call.query for call in server.calls] == [
            {},
            {"limit": "1000", "skip": "1000"},
            {"limit": "1000", "skip": "2000"},
        ]
        server.calls.reset()
        some = await api.list({"limit": 1200, "skip": 900})
        assert [machine["id"] for machine in some] == [f"ps{n}" for n in range(900, 2100)]
        assert [call.query for call in server.calls] == [
            {"limit": "1000", "skip": "900"},
            {"limit": "1000", "skip": "1900"},
        ]
        server.calls.reset()
        assert len(await api.list({"limit": 7, "skip": 2498})) == 2
        assert [call.query for call in server.calls] == [{"limit": "7", "skip": "2498"}]


@pytest.mark.parametrize("by", [1, -1])
@virtual
async def test_shifting_pages_are_not_complete(by):
    async with account(machines=1500, rules=[faults.ShiftingPages(by=by)]) as (_, cloud, _api):
        assert not (await cloud.list_machines()).complete


@virtual
async def test_a_later_page_that_fails_leaves_the_listing_incomplete_and_the_api_raises():
    async with account(machines=1500, rules=[faults.ErrorAnswer(operation="list", nth=(2, 3, 4, 5, 6, 7, 8, 9))]) as (
        _,
        cloud,
        api,
    ):
        listing = await cloud.list_machines()
        assert not listing.complete
        assert len(listing.machines) >= 1000
    async with account(machines=1500, rules=[faults.ErrorAnswer(operation="list", nth=tuple(range(2, 20)))]) as (
        _,
        cloud,
        api,
    ):
        with pytest.raises(Unavailable):
            await api.list({})


@virtual
async def test_duplicates_on_a_page_are_dropped():
    async with account(machines=50, rules=[faults.DuplicatedList()]) as (_, cloud, api):
        listing = await cloud.list_machines()
        assert len(listing.machines) == 50
        assert listing.complete
        assert len(await api.list({})) == 50


@pytest.mark.parametrize(
    "rule",
    [
        faults.TimeoutAfter(operation="create"),
        faults.ResetAfter(operation="create"),
        faults.Truncated(operation="create"),
        faults.ErrorAnswer(operation="create", status=502, executed=True),
        faults.ForeignBody(operation="create", executed=True),
        faults.Unavailable(operation="create", retry_after=3),
    ],
    ids=lambda rule: rule.kind,
)
@virtual
async def test_a_create_whose_answer_is_lost_is_ambiguous_and_never_repeated(rule):
    async with account(rules=[rule]) as (server, cloud, api):
        for create in (cloud.create("training-abc126jt", PARAMETERS), api.create(CREATE_PARAMETERS)):
            server.calls.reset()
            with pytest.raises(Ambiguous):
                await create
            assert asked(server) == ["create"]


@pytest.mark.parametrize("verb", ["start", "stop", "restart", "destroy"])
@pytest.mark.parametrize(
    ("rule", "kind"),
    [
        (faults.ResetAfter(operation="write"), Ambiguous),
        (faults.ErrorAnswer(operation="write"), Ambiguous),
        (faults.RateLimit(operation="write"), RateLimited),
    ],
    ids=["reset", "500", "429"],
)
@virtual
async def test_the_port_never_repeats_a_write(verb, rule, kind):
    async with account(machines=1, rules=[rule]) as (server, cloud, _):
        # A rate limit says nothing of a restart, and made again it would be another.
        with pytest.raises(Ambiguous if verb == "restart" else kind):
            await getattr(cloud, verb)("ps0")
        assert asked(server) == [verb]


@virtual
async def test_the_api_by_hand_repeats_what_is_safe_to_repeat():
    rule = faults.ResetAfter(operation="write", nth=1)
    async with account(machines=1, rules=[rule]) as (server, _, api):
        assert await api.stop("ps0") is None
        assert asked(server) == ["stop", "stop"]
    async with account(machines=1, rules=[rule]) as (server, _, api):
        with pytest.raises(Ambiguous):
            await api.restart("ps0")
        assert asked(server) == ["restart"]


@virtual
async def test_reads_are_repeated():
    rules = [faults.ErrorAnswer(operation="show", nth=1), faults.RateLimit(operation="show", nth=1, retry_after=2)]
    async with account(machines=1, rules=rules) as (server, cloud, _):
        began = anyio.current_time()
        assert (await cloud.show("ps0")).id == "ps0"
        assert asked(server) == ["show"] * 3
        assert anyio.current_time() - began >= 2.25


@virtual
async def test_unknown_states_pass_through():
    async with account(machines=2, rules=[faults.UnknownState(state="quantum")]) as (_, cloud, _api):
        listing = await cloud.list_machines()
        assert {machine.phase for machine in listing.machines} == {Phase.UNKNOWN}
        assert {machine.state for machine in listing.machines} == {"quantum"}


@virtual
async def test_somebody_elses_page_with_status_200_is_a_malformed_answer():
    async with account(machines=1, rules=[faults.ForeignBody()]) as (_, cloud, _api):
        for call in (cloud.list_machines(), cloud.show("ps0")):
            with pytest.raises(MalformedAnswer):
                await call


@virtual
async def test_what_check_online_asks_for():
    async with account() as (_, _cloud, api):
        assert any(template["id"] == "tbu200wi" for template in await api.templates())
        assert {network["region"] for network in await api.networks({"region": "East Coast (NY2)"})} == {
            "East Coast (NY2)"
        }
        assert await api.users()
        assert isinstance(await api.scripts(), list)
