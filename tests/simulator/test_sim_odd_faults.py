"""Faults in what is said and in what is done: other machines, second answers, no effect, odd values, no end."""

from __future__ import annotations

from decimal import Decimal
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from fleetd.model.errors import ConfigError
from fleetd.simulator.bill import bill
from fleetd.simulator.fault_file import parse_faults
from fleetd.simulator.faults import (
    ErrorAnswer,
    Lingering,
    NoEffect,
    OddValues,
    OtherMachine,
    RateLimit,
    Rule,
    StrayAnswer,
    Unavailable,
)
from fleetd.simulator.lifecycle import Fate
from fleetd.simulator.odd_values import VALUES
from tests.support.sim import CREATE, KEY, Reply, Sim, simulated, still_world

V1 = {"authorization": f"Bearer {KEY}"}
V1_CREATE = {
    "name": "My Machine 1",
    "machineType": "P4000",
    "templateId": "tbu200wi",
    "diskSize": 50,
    "region": "East Coast (NY2)",
}
DIALECTS = ("core", "v1")


def session(dialect: str) -> dict[str, Any]:
    return {"headers": V1} if dialect == "v1" else {}


async def create(sim: Sim, dialect: str) -> Reply:
    if dialect == "v1":
        return await sim.post("/v1/machines", V1_CREATE)
    return await sim.post("/machines/createSingleMachinePublic", dict(CREATE))


async def verb(sim: Sim, dialect: str, name: str, machine_id: str) -> Reply:
    if dialect == "core":
        paths = {"destroy": "destroyMachine", "update": "updateMachinePublic"}
        body = {"shutdownTimeoutInHours": 7} if name == "update" else None
        return await sim.post(f"/machines/{machine_id}/{paths.get(name, name)}", body)
    match name:
        case "destroy":
            return await sim.ask("DELETE", f"/v1/machines/{machine_id}")
        case "update":
            return await sim.ask("PUT", f"/v1/machines/{machine_id}", json={"autoSnapshotSaveCount": 7})
        case _:
            return await sim.ask("PATCH", f"/v1/machines/{machine_id}/{name}")


async def show(sim: Sim, dialect: str, machine_id: str) -> Reply:
    if dialect == "v1":
        return await sim.get(f"/v1/machines/{machine_id}")
    return await sim.get("/machines/getMachinePublic", machineId=machine_id)


async def listing(sim: Sim, dialect: str, **query: Any) -> list[Any]:
    if dialect == "v1":
        return list((await sim.get("/v1/machines", **query)).body["items"])
    return list(await sim.list(**query))


def machine(reply: Reply) -> Any:
    return reply.body.get("data", reply.body)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("operation", ["create", "show", "start", "stop", "restart", "destroy", "update"])
async def test_an_answer_about_another_machine(dialect: str, operation: str) -> None:
    async with simulated([OtherMachine(operation=operation)], **session(dialect)) as sim:
        alice = sim.world.add_machine("alice-workstation")
        ours = sim.world.add_machine("ours", "off" if operation == "start" else "ready")
        if operation == "create":
            sim.world.vanish(ours.id)
            reply = await create(sim, dialect)
            assert sim.server.calls[0].machine_id not in {None, alice.id}
        elif operation == "show":
            reply = await show(sim, dialect, ours.id)
        else:
            reply = await verb(sim, dialect, operation, ours.id)
        assert (reply.status, machine(reply)["id"], machine(reply)["name"]) == (200, alice.id, "alice-workstation")
        assert (alice.state, alice.name) == ("ready", "alice-workstation")
        call = sim.server.calls[0]
        assert (call.executed, call.faults) == (True, ("other_machine",))


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_another_machine_of_the_name_that_was_asked_for(dialect: str) -> None:
    rules = [OtherMachine(operation="create", of="alice*", keep_name=True, executed=False)]
    async with simulated(rules, **session(dialect)) as sim:
        sim.world.add_machine("bob")
        alice = sim.world.add_machine("alice")
        reply = await create(sim, dialect)
        assert (machine(reply)["id"], machine(reply)["name"]) == (alice.id, "My Machine 1")
        assert len(sim.world.machines) == 2
        assert sim.server.calls[0].executed is False


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_where_there_is_no_other_machine_one_is_made_up(dialect: str) -> None:
    async with simulated([OtherMachine(executed=False)], **session(dialect)) as sim:
        reply = await create(sim, dialect)
        assert machine(reply)["name"] == "alice-workstation"
        assert sim.world.machines == {}


@pytest.mark.parametrize("rule", [RateLimit(executed=True, retry_after=3), Unavailable(executed=True)])
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_create_that_is_refused_for_now_and_carried_out(rule: Rule, dialect: str) -> None:
    async with simulated([rule], **session(dialect)) as sim:
        reply = await create(sim, dialect)
        assert reply.status in {429, 503}
        assert len(sim.world.machines) == 1
        assert sim.server.calls[0].executed is True


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        pytest.param(StrayAnswer(limit=1), None, id="the first answer again"),
        pytest.param(StrayAnswer(limit=1, body={"id": "psx"}), {"id": "psx"}, id="a body of its own"),
        pytest.param(StrayAnswer(limit=1, seconds=0.05, body={"id": "psx"}), {"id": "psx"}, id="after a while"),
    ],
)
async def test_a_second_answer_is_taken_for_that_to_the_next_request(rule: StrayAnswer, expected: Any) -> None:
    async with simulated([rule]) as sim:
        first, second = sim.world.add_machine("a"), sim.world.add_machine("b")
        path = f"{sim.server.url}/machines/getMachinePublic"
        connector = aiohttp.TCPConnector(limit=1)
        async with aiohttp.ClientSession(headers={"x-api-key": KEY}, connector=connector) as kept:
            bodies = []
            for record in (first, second):
                async with kept.get(path, params={"machineId": record.id}) as response:
                    bodies.append(await response.json())
        assert bodies[0]["id"] == first.id
        assert bodies[1] == (bodies[0] if expected is None else expected)
        assert [call.machine_id for call in sim.server.calls] == [first.id, second.id]


async def test_a_connection_of_its_own_is_safe_from_second_answers() -> None:
    async with simulated([StrayAnswer()]) as sim:
        first, second = sim.world.add_machine("a"), sim.world.add_machine("b")
        assert (await sim.show(first.id))["id"] == first.id
        assert (await sim.show(second.id))["id"] == second.id
        assert (await sim.post(f"/machines/{first.id}/stop")).status == 204


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    ("event", "message"), [("done", None), ("error", None), ("error", "No."), ("in progress", None), ("none", None)]
)
@pytest.mark.parametrize("name", ["start", "stop", "restart", "destroy", "update"])
async def test_a_verb_without_effect(dialect: str, event: str, message: str | None, name: str) -> None:
    rules = parse_faults([{"kind": "no_effect", "event": event, "message": message, "limit": 1}])
    async with simulated(rules, **session(dialect)) as sim:
        state = "off" if name == "start" else "ready"
        record = sim.world.add_machine("a", state, snapshot_keep=3)
        before = len(record.events)
        assert (await verb(sim, dialect, name, record.id)).status in {200, 204}
        sim.hand.move(10_000)
        shown = (await show(sim, dialect, record.id)).body
        assert (shown["state"], shown["name"], record.snapshot_keep) == (state, "a", 3)
        assert sim.server.calls[0].executed is False
        if event == "none" or (dialect == "core" and name == "update"):
            assert len(record.events) == before
        else:
            assert (record.events[-1].state, record.events[-1].error) == (event, message)
        await verb(sim, dialect, name, record.id)
        assert sim.server.calls.writes[-1].executed is True


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_create_without_effect_is_answered_with_a_machine_that_never_was(dialect: str) -> None:
    async with simulated([NoEffect(operation="create")], **session(dialect)) as sim:
        made = machine(await create(sim, dialect))
        assert made["name"] == "My Machine 1"
        assert (await show(sim, dialect, made["id"])).status == 404
        assert sim.world.timeline == []


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("person", [False, True])
@pytest.mark.parametrize("seconds", [None, 600.0])
async def test_a_machine_that_lingers(dialect: str, person: bool, seconds: float | None) -> None:
    async with simulated([Lingering(seconds=seconds)], **session(dialect)) as sim:
        record = sim.world.add_machine("a")
        if person:
            sim.world.human_destroy(record.id, Fate(lingers=True, lingers_seconds=seconds))
        else:
            await verb(sim, dialect, "destroy", record.id)
        sim.hand.move(500)
        assert await listing(sim, dialect) == []
        assert (await show(sim, dialect, record.id)).body["state"] == "destroying"
        assert not record.billed
        sim.hand.move(200)
        assert (await show(sim, dialect, record.id)).status == (200 if seconds is None else 404)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("value", sorted(VALUES))
async def test_an_odd_value_in_a_listing_and_in_show(dialect: str, value: str) -> None:
    rules = [OddValues(machine="a", field="name", value=value)]
    async with simulated(rules, **session(dialect)) as sim:
        odd, sound = sim.world.add_machine("a"), sim.world.add_machine("b")
        path = "/v1/machines" if dialect == "v1" else "/machines/getMachines"
        async with sim.session.get(path) as response:
            raw = await response.read()
        assert VALUES[value] in raw
        assert sound.id.encode() in raw
        assert b'"b"' in raw
        path = f"/v1/machines/{odd.id}" if dialect == "v1" else f"/machines/getMachinePublic?machineId={odd.id}"
        async with sim.session.get(path) as response:
            assert VALUES[value] in await response.read()
        assert (await show(sim, dialect, sound.id)).body["name"] == "b"
        assert odd.name == "a"


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_odd_values_are_drawn_once_for_each_machine(dialect: str) -> None:
    async with simulated([OddValues(share=0.5)], **session(dialect)) as sim:
        for n in range(40):
            sim.world.add_machine(f"m{n}")
        path = "/v1/machines?limit=100" if dialect == "v1" else "/machines/getMachines"
        pages = []
        for _ in range(2):
            async with sim.session.get(path) as response:
                pages.append(await response.read())
        sim.server.set_faults(())
        async with sim.session.get(path) as response:
            true = await response.read()
        assert pages[0] == pages[1] != true


async def test_odd_values_in_the_events_of_a_machine() -> None:
    async with simulated([OddValues(operation="show", field="events.state", value="number")]) as sim:
        record = sim.world.add_machine("a")
        assert {event["state"] for event in (await sim.show(record.id))["events"]} == {17}
        assert (await sim.list())[0]["state"] == "ready"


@pytest.mark.parametrize(
    ("rule", "status"),
    [
        (OddValues(operation="events", field="id", value="null"), 200),
        (ErrorAnswer(operation="events"), 500),
        (ErrorAnswer(operation="events", status=404), 404),
    ],
)
async def test_events_of_v1_that_are_down(rule: Rule, status: int) -> None:
    async with simulated([rule], headers=V1) as sim:
        record = sim.world.add_machine("a")
        reply = await sim.get("/v1/machine-events", machineId=record.id)
        assert reply.status == status
        if status == 200:
            assert {event["id"] for event in reply.body["items"]} == {None}
        assert (await sim.get(f"/v1/machines/{record.id}")).status == 200


def test_an_odd_value_has_a_name() -> None:
    with pytest.raises(ConfigError, match="value must be one of null"):
        parse_faults([{"kind": "odd_values", "value": "nul"}])
    text = (Path(__file__).parents[2] / "docs" / "simulator.md").read_text("utf-8")
    assert f"`value`: {' '.join(VALUES)}," in text


@pytest.mark.parametrize("way", ["cycle", "empty", "fresh"])
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_listing_without_an_end(dialect: str, way: str) -> None:
    rules = parse_faults([{"kind": "endless_list", "way": way}])
    async with simulated(rules, **session(dialect)) as sim:
        for n in range(7):
            sim.world.add_machine(f"m{n}")
        pages: list[list[str]] = []
        after: dict[str, Any] = {}
        for turn in range(12):
            if dialect == "core":
                page = await sim.list(limit=3, skip=3 * turn)
                assert len(page) == 3
            else:
                body = (await sim.get("/v1/machines", limit=3, **after)).body
                assert body["hasMore"] is True
                page, after = body["items"], {"after": body["nextPage"]}
            pages.append([m["id"] for m in page])
        everyone = {id_ for page in pages for id_ in page}
        assert set(sim.world.machines) <= everyone
        if way == "fresh":
            assert len({tuple(page) for page in pages}) == 12
            assert len(everyone) > 20
        else:
            assert everyone == set(sim.world.machines)
        if (dialect, way) == ("v1", "empty"):
            assert pages[-1] == []


async def test_every_answer_has_the_worlds_date() -> None:
    async with simulated() as sim:
        sim.hand.move(7200)
        reply = await sim.get("/machines/getMachines")
        assert parsedate_to_datetime(reply.headers["Date"]) == sim.world.clock.now()


def test_the_bill_follows_prices_types_and_disks() -> None:
    world, hand = still_world()
    record = world.add_machine("a", age_seconds=0)  # 12:00 on 2 March
    hand.move(3600)
    world.set_price("P4000", Decimal("0.61"))
    hand.move(3600)
    world.human_stop(record.id)
    hand.move(20)
    world.advance()
    hand.move(86_400)
    cost = bill(record, world.clock, 0, world.advance())
    assert cost.running == Decimal("0.51") + Decimal("0.61") + Decimal("0.61") * 20 / 3600
    march = 31 * 86_400
    assert cost.storage == Decimal(5) * (86_400 + 7220) / march
    world.upgrade(record.id, "P5000")
    hand.move(100)
    world.advance()
    world.human_start(record.id)
    hand.move(3600)
    later = bill(record, world.clock, 0, world.advance())
    assert round(later.running - cost.running, 9) == round(Decimal("0.78") * (3600 + 100) / 3600, 9)
    assert later.total == later.running + later.storage


def test_a_bill_across_the_months_takes_the_share_of_each() -> None:
    world, hand = still_world()
    record = world.add_machine("a", "off", age_seconds=0)
    hand.move(29.5 * 86_400 + 15 * 86_400)  # to the middle of April
    cost = bill(record, world.clock, 0, world.advance())
    assert cost.running == 0
    assert cost.storage == Decimal(5) * Decimal("29.5") / 31 + Decimal(5) * 15 / 30


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_price_that_changes_is_shown(dialect: str) -> None:
    async with simulated(**session(dialect)) as sim:
        record = sim.world.add_machine("a")
        reply = await sim.post("/_sim/prices", {"machine_type": "P4000", "hourly": "0.61"})
        assert reply.status == 204
        if dialect == "v1":
            assert (await show(sim, "v1", record.id)).body["usageRate"] == 0.61
        else:
            used = (await sim.get("/machines/getUtilization", machineId=record.id, billingMonth="2026-03")).body
            assert used["utilization"]["hourlyRate"] == "0.61"
        assert (await sim.post("/_sim/prices", {"machine_type": "P9", "hourly": "1"})).status == 400


async def test_a_person_hands_an_address_on_and_destroys_slowly() -> None:
    async with simulated() as sim:
        first, second = sim.world.add_machine("a"), sim.world.add_machine("b")
        deed = {"action": "readdress", "address": second.private_ip}
        assert (await sim.post(f"/_sim/machines/{first.id}", deed)).status == 204
        assert len({m["privateIpAddress"] for m in await sim.list()}) == 1
        reply = await sim.post(f"/_sim/machines/{first.id}", {"action": "destroy_slowly"})
        assert reply.status == 204
        assert [m["id"] for m in await sim.list()] == [second.id]
        assert (await sim.show(first.id))["state"] == "destroying"
