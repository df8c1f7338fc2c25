"""Every kind of fault, as a client on the other end of the socket meets it."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import pytest

from fleetd.model.errors import ConfigError
from fleetd.simulator.fault_file import load_faults, parse_faults
from fleetd.simulator.faultplan import FaultPlan, Target
from fleetd.simulator.faults import (
    Capacity,
    DuplicatedList,
    EmptyList,
    ErrorAnswer,
    ForeignBody,
    Invisible,
    PartialList,
    RateLimit,
    ReorderedList,
    ResetAfter,
    ResetBefore,
    Rule,
    ShiftingPages,
    SlowDrip,
    StaleList,
    Stuck,
    TimeoutAfter,
    TimeoutBefore,
    Truncated,
    Unauthorized,
    Unavailable,
    UnknownState,
    Vanish,
)
from fleetd.simulator.lifecycle import NO_CAPACITY
from tests.support.sim import CREATE, KEY, Sim, simulated

MAKE = "/machines/createSingleMachinePublic"


@pytest.mark.parametrize(
    ("rule", "status", "body", "retry_after", "made"),
    [
        pytest.param(
            ErrorAnswer(),
            500,
            {"error": {"name": "Error", "status": 500, "message": "Internal Server Error"}},
            None,
            0,
            id="error",
        ),
        pytest.param(ErrorAnswer(executed=True, status=502, body="bad"), 502, "bad", None, 1, id="error, executed"),
        pytest.param(ErrorAnswer(status=418, body={"tea": True}), 418, {"tea": True}, None, 0, id="error, own body"),
        pytest.param(
            Unauthorized(), 400, {"status": 400, "message": "Invalid API token"}, None, 0, id="unauthorized"
        ),
        pytest.param(
            RateLimit(retry_after=2),
            429,
            {"error": {"name": "Error", "status": 429, "message": "Too Many Requests"}},
            "2",
            0,
            id="rate limit with Retry-After",
        ),
        pytest.param(
            RateLimit(),
            429,
            {"error": {"name": "Error", "status": 429, "message": "Too Many Requests"}},
            None,
            0,
            id="rate limit",
        ),
        pytest.param(
            Unavailable(retry_after=1.5),
            503,
            {"error": {"name": "Error", "status": 503, "message": "Service Unavailable"}},
            "1.5",
            0,
            id="unavailable with Retry-After",
        ),
        pytest.param(ForeignBody(body="<html>"), 200, "<html>", None, 0, id="foreign body"),
        pytest.param(ForeignBody(body="<html>", executed=True), 200, "<html>", None, 1, id="foreign body, executed"),
    ],
)
async def test_another_answer(rule: Rule, status: int, body: Any, retry_after: str | None, made: int) -> None:
    async with simulated([rule]) as sim:
        reply = await sim.post(MAKE, dict(CREATE))
        assert (reply.status, reply.body, reply.headers.get("Retry-After")) == (status, body, retry_after)
        assert len(sim.world.machines) == made
        call = sim.server.calls[0]
        assert (call.status, call.executed, call.faults) == (status, bool(made), (rule.kind,))


@pytest.mark.parametrize(
    ("rule", "error", "made"),
    [
        pytest.param(TimeoutBefore(), TimeoutError, 0, id="timeout before"),
        pytest.param(TimeoutAfter(), TimeoutError, 1, id="timeout after"),
        pytest.param(TimeoutBefore(seconds=0.01), aiohttp.ServerDisconnectedError, 0, id="short timeout before"),
        pytest.param(ResetBefore(), aiohttp.ClientOSError, 0, id="reset before"),
        pytest.param(ResetAfter(), aiohttp.ClientOSError, 1, id="reset after"),
        pytest.param(Truncated(), aiohttp.ClientPayloadError, 1, id="truncated"),
        pytest.param(SlowDrip(seconds=100), TimeoutError, 1, id="slow drip"),
    ],
)
async def test_no_answer(rule: Rule, error: type[Exception], made: int) -> None:
    async with simulated([rule]) as sim:
        with pytest.raises(error):
            await sim.post(MAKE, dict(CREATE), timeout=aiohttp.ClientTimeout(total=0.1))
        assert len(sim.world.machines) == made
        call = sim.server.calls[0]
        assert (call.executed, call.faults) == (bool(made), (rule.kind,))
        assert call.status == (200 if isinstance(rule, Truncated | SlowDrip) else None)
        assert call.machine_id == next(iter(sim.world.machines), None)


async def test_an_empty_answer_can_be_cut_short_as_well() -> None:
    async with simulated([Truncated(operation="stop")]) as sim:
        record = sim.world.add_machine("a")
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await sim.post(f"/machines/{record.id}/stop")
        assert record.state == "stopping"
        assert sim.server.calls[0].status is None


async def test_a_slow_answer_arrives_whole() -> None:
    async with simulated([SlowDrip(seconds=0.05, chunks=5)]) as sim:
        reply = await sim.post(MAKE, dict(CREATE))
        assert reply.body["state"] == "provisioning"


async def test_hanging_requests_do_not_delay_the_end() -> None:
    with anyio.fail_after(2):
        async with simulated([TimeoutBefore(operation="list"), TimeoutAfter(), SlowDrip()]) as sim:
            hanging = [asyncio.create_task(sim.get(path)) for path in ("/machines/getMachines", "/users/getUsers")]
            await asyncio.sleep(0.1)
            assert len(sim.server.calls) == 2
        ended = await asyncio.gather(*hanging, return_exceptions=True)
    assert all(isinstance(end, aiohttp.ClientError) for end in ended)


async def test_capacity_is_silent_but_for_the_event_and_availability() -> None:
    async with simulated([Capacity(machine_type="P4000", region="East Coast (NY2)", until=1000)]) as sim:
        made = await sim.create()
        elsewhere = await sim.create(region="Europe (AMS1)")
        for wanted in ("provisioning", "off"):
            assert (await sim.show(made["id"]))["state"] == wanted
            sim.hand.move(200)
        assert (await sim.show(elsewhere["id"]))["state"] == "ready"
        newest = (await sim.show(made["id"]))["events"][0]
        assert (newest["name"], newest["state"], newest["errorMsg"]) == ("start", "error", NO_CAPACITY)
        assert (await sim.post(f"/machines/{made['id']}/start")).status == 204
        sim.hand.move(100)
        assert (await sim.show(made["id"]))["state"] == "off"
        asked = {"region": "East Coast (NY2)", "machineType": "P4000"}
        assert (await sim.get("/machines/getAvailability", **asked)).body == {"available": False}
        sim.hand.move(1000)
        assert (await sim.get("/machines/getAvailability", **asked)).body == {"available": True}
        await sim.post(f"/machines/{made['id']}/start")
        sim.hand.move(100)
        assert (await sim.show(made["id"]))["state"] == "ready"


@pytest.mark.parametrize(
    ("operation", "state"), [("start", "starting"), ("stop", "stopping"), ("restart", "restarting")]
)
async def test_stuck(operation: str, state: str) -> None:
    async with simulated([Stuck(operation=operation)]) as sim:
        record = sim.world.add_machine("a", "off" if operation == "start" else "ready")
        await sim.post(f"/machines/{record.id}/{operation}")
        sim.hand.move(100_000)
        assert (await sim.show(record.id))["state"] == state


@pytest.mark.parametrize("show", [False, True])
async def test_invisible_after_create(show: bool) -> None:
    async with simulated([Invisible(seconds=60, show=show)]) as sim:
        made = await sim.create()
        assert await sim.list() == []
        found = await sim.get("/machines/getMachinePublic", machineId=made["id"])
        assert found.status == (404 if show else 200)
        sim.hand.move(60)
        assert [m["id"] for m in await sim.list()] == [made["id"]]
        assert (await sim.show(made["id"]))["id"] == made["id"]


async def test_a_stale_list_tells_the_past() -> None:
    async with simulated([StaleList(seconds=100, after=1)]) as sim:
        old, going = sim.world.add_machine("old"), sim.world.add_machine("going")
        sim.hand.move(50)
        sim.world.advance()
        sim.world.human_rename(old.id, "renamed")
        sim.world.human_destroy(going.id)
        sim.world.add_machine("young", age_seconds=0)
        sim.hand.move(90)  # 140: the listing is of second 40
        assert [(m["name"], m["state"]) for m in await sim.list()] == [("old", "ready"), ("going", "ready")]
        sim.hand.move(13)  # of second 53: the one is being destroyed
        assert [(m["name"], m["state"]) for m in await sim.list()] == [
            ("renamed", "ready"),
            ("going", "stopping"),
            ("young", "ready"),
        ]
        sim.hand.move(10)
        assert [m["name"] for m in await sim.list()] == ["renamed", "young"]
        assert (await sim.show(old.id))["name"] == "renamed"


async def names(sim: Sim, **query: Any) -> list[str]:
    return [m["name"] for m in await sim.list(**query)]


async def with_ten(sim: Sim) -> list[str]:
    for n in range(10):
        sim.world.add_machine(f"m{n}", machine_type="C5" if n < 2 else "P4000")
    return [f"m{n}" for n in range(10)]


async def test_a_partial_list_lacks_the_same_machines_until_told_otherwise() -> None:
    async with simulated([PartialList(share=0.5)]) as sim:
        everyone = await with_ten(sim)
        first = await names(sim)
        assert 0 < len(first) < 10
        assert [await names(sim) for _ in range(5)] == [first] * 5
        assert set(first) < set(everyone)
        sim.server.set_faults([PartialList(share=0.5, sticky=False)])
        assert len({tuple(await names(sim)) for _ in range(5)}) > 1
        sim.server.set_faults([PartialList(share=1, machine="m1*")])
        assert await names(sim) == [name for name in everyone if name != "m1"]


async def test_an_empty_list_is_empty_but_show_finds_the_machine() -> None:
    async with simulated([EmptyList(limit=2)]) as sim:
        record = sim.world.add_machine("a")
        assert (await sim.list(), await sim.list()) == ([], [])
        assert await names(sim) == ["a"]
        sim.server.set_faults([EmptyList(machine_type="C5")])
        assert (await sim.show(record.id))["name"] == "a"
        assert await names(sim) == ["a"]


async def test_a_list_with_duplicates() -> None:
    async with simulated([DuplicatedList(share=1, machine_type="C5")]) as sim:
        everyone = await with_ten(sim)
        assert await names(sim) == ["m0", "m0", "m1", "m1", *everyone[2:]]


async def test_a_reordered_list_has_everybody_in_another_order() -> None:
    async with simulated([ReorderedList()]) as sim:
        everyone = await with_ten(sim)
        orders = [await names(sim) for _ in range(3)]
        assert all(sorted(order) == everyone for order in orders)
        assert orders[0] != orders[1] != orders[2]


@pytest.mark.parametrize(("by", "second"), [(1, ["m4", "m5", "m6"]), (-1, ["m2", "m3", "m4"])])
async def test_shifting_pages(by: int, second: list[str]) -> None:
    async with simulated([ShiftingPages(by=by)]) as sim:
        await with_ten(sim)
        assert await names(sim, limit=3) == ["m0", "m1", "m2"]
        assert await names(sim, limit=3, skip=3) == second


async def test_an_unknown_state_is_shown_everywhere_and_true_nowhere() -> None:
    async with simulated([UnknownState(machine="m3", until=100)]) as sim:
        await with_ten(sim)
        states = {m["name"]: m["state"] for m in await sim.list()}
        assert {n for n, s in states.items() if s == "hibernating"} == {"m3"}
        (record,) = (r for r in sim.world.machines.values() if r.name == "m3")
        assert (await sim.show(record.id))["state"] == "hibernating"
        assert record.state == "ready"
        sim.hand.move(100)
        assert (await sim.show(record.id))["state"] == "ready"


async def test_a_machine_vanishes_once() -> None:
    async with simulated([Vanish(after=10, machine_type="C5")]) as sim:
        everyone = await with_ten(sim)
        assert await names(sim) == everyone
        sim.hand.move(10)
        left = [await names(sim) for _ in range(3)]
        assert len(left[0]) == 9
        assert left[0] == left[1] == left[2]
        assert set(everyone) - set(left[0]) <= {"m0", "m1"}
        assert [c.cause for c in sim.world.timeline][-1] == "vanished"


async def test_a_revoked_key_works_again_later() -> None:
    async with simulated([Unauthorized(after=10, until=20)]) as sim:
        statuses = []
        for _ in range(3):
            statuses.append((await sim.get("/users/getUsers")).status)
            sim.hand.move(10)
        assert statuses == [200, 400, 200]


async def test_a_fault_of_the_answer_and_one_of_the_machine_go_together() -> None:
    async with simulated([ResetAfter(operation="create"), Invisible(seconds=30)]) as sim:
        with pytest.raises(aiohttp.ClientOSError):
            await sim.post(MAKE, dict(CREATE))
        assert sim.server.calls[0].faults == ("reset_after", "invisible_after_create")
        assert await sim.list() == []
        sim.hand.move(30)
        assert len(await sim.list()) == 1


LIST, SHOW = Target("list", write=False), Target("show", write=False, machine_id="ps1", machine_name="gpu-1")
START = Target("start", write=True, machine_id="ps1", machine_name="gpu-1", machine_type="P4000", region="NY")


@pytest.mark.parametrize(
    ("conditions", "calls", "strikes"),
    [
        pytest.param({}, [LIST, SHOW, START], [1, 1, 1], id="any"),
        pytest.param({"operation": "show"}, [LIST, SHOW, START], [0, 1, 0], id="operation"),
        pytest.param({"operation": ["list", "start"]}, [LIST, SHOW, START], [1, 0, 1], id="operations"),
        pytest.param({"operation": "read"}, [LIST, SHOW, START], [1, 1, 0], id="read"),
        pytest.param({"operation": "write"}, [LIST, SHOW, START], [0, 0, 1], id="write"),
        pytest.param({"machine": "gpu-*"}, [LIST, SHOW, START], [0, 1, 1], id="machine by name"),
        pytest.param({"machine": "ps1"}, [LIST, SHOW, START], [0, 1, 1], id="machine by id"),
        pytest.param({"machine": "ps2"}, [LIST, SHOW, START], [0, 0, 0], id="another machine"),
        pytest.param({"machine_type": "P4000"}, [LIST, SHOW, START], [0, 0, 1], id="machine type"),
        pytest.param({"region": "NY"}, [LIST, SHOW, START], [0, 0, 1], id="region"),
        pytest.param({"nth": 2}, [LIST] * 4, [0, 1, 0, 0], id="nth"),
        pytest.param({"nth": [1, 3]}, [LIST] * 4, [1, 0, 1, 0], id="nths"),
        pytest.param({"nth": 2, "operation": "list"}, [LIST, SHOW, LIST], [0, 0, 1], id="nth of an operation"),
        pytest.param({"every": 2}, [LIST] * 5, [0, 1, 0, 1, 0], id="every"),
        pytest.param({"limit": 2}, [LIST] * 4, [1, 1, 0, 0], id="limit"),
        pytest.param({"after": 2}, [LIST] * 4, [0, 0, 1, 1], id="after"),
        pytest.param({"until": 2}, [LIST] * 4, [1, 1, 0, 0], id="until"),
        pytest.param({"probability": 0.0}, [LIST] * 4, [0, 0, 0, 0], id="never"),
    ],
)
def test_the_conditions_of_a_rule(conditions: dict[str, Any], calls: list[Target], strikes: list[int]) -> None:
    plan = FaultPlan(parse_faults([{"kind": "error", **conditions}]))
    assert [int(plan.decide(call, float(t)).answer is not None) for t, call in enumerate(calls)] == strikes


def test_chance_is_seeded() -> None:
    def strikes(seed: int) -> list[bool]:
        plan = FaultPlan([ErrorAnswer(probability=0.5)], random.Random(seed))
        return [plan.decide(LIST, 0).answer is not None for _ in range(100)]

    assert strikes(1) == strikes(1) != strikes(2)
    assert 30 < sum(strikes(1)) < 70


def test_the_first_matching_answer_wins() -> None:
    plan = FaultPlan([RateLimit(operation="show"), ErrorAnswer(), Unavailable()])
    assert isinstance(plan.decide(LIST, 0).answer, ErrorAnswer)
    assert plan.struck == [0, 1, 0]


GOOD = [{"kind": "rate_limit", "operation": ["list", "show"], "retry_after": 2}, {"kind": "capacity", "limit": 1}]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (
            "faults.toml",
            'faults=[{kind="rate_limit",operation=["list","show"],retry_after=2},{kind="capacity",limit=1}]',
        ),
        ("faults.json", json.dumps({"faults": GOOD})),
        ("list.json", json.dumps(GOOD)),
    ],
)
def test_a_file_of_faults(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    assert load_faults(path) == (RateLimit(operation=("list", "show"), retry_after=2), Capacity(limit=1))


@pytest.mark.parametrize(
    ("content", "faults"),
    [
        pytest.param("[[faults", ["TOML"], id="not TOML"),
        pytest.param("faults = 3", ["faults: must be a list of rules"], id="not a list"),
        pytest.param('[[rules]]\nkind = "error"', ["rules: unknown key"], id="another key"),
        pytest.param(
            '[[faults]]\nkind = "eror"\n[[faults]]\nkind = "error"\nnht = 2\n[[faults]]\nkind="error"\nlimit="x"',
            [
                "faults[0].kind: Invalid value 'eror'; kinds are capa",
                "unknown field `nht`",
                "faults[2].limit: Expected `int | null`",
            ],
            id="every rule at once",
        ),
    ],
)
def test_a_wrong_file_of_faults_names_every_rule(tmp_path: Path, content: str, faults: list[str]) -> None:
    path = tmp_path / "faults.toml"
    path.write_text(content)
    with pytest.raises(ConfigError) as caught:
        load_faults(path)
    for fault in faults:
        assert fault in str(caught.value)
    assert len(caught.value.faults) == len(faults)


def test_a_missing_file_of_faults(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_faults(tmp_path / "none.toml")


async def test_the_key_is_asked_for_although_a_fault_of_the_machine_strikes() -> None:
    async with simulated([Stuck()], headers={"x-api-key": KEY + "x"}) as sim:
        reply = await sim.post(MAKE, dict(CREATE))
        assert reply.status == 400
        assert sim.world.machines == {}
