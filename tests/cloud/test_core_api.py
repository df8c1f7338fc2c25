"""Every call of the Core API: what is sent for it, which answers it takes, and what its errors are called."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from fleetd.cloud.calls import Call, Effect
from fleetd.cloud.core.api import CoreApi
from fleetd.cloud.core.errors import classify
from fleetd.cloud.listing import MOST_ENTRIES
from fleetd.model.errors import Ambiguous, CloudError, MalformedAnswer, Refused, WaitEnded
from tests.support.asked import Asked

READY = {"id": "ps1", "name": "box", "state": "ready", "region": "East Coast (NY2)", "machineType": "P4000"}
Asking = Callable[[CoreApi], Awaitable[Any]]


def read(operation: str, path: str, *, about: bool = False, **query: str) -> Call:
    return Call(operation, "GET", path, query=query, names_machine=about)


def write(operation: str, verb: str, *, once: bool = False, **body: object) -> Call:
    return Call(
        operation,
        "POST",
        f"/machines/ps1/{verb}",
        Effect.ONCE if once else Effect.REPEATABLE,
        body={"machineId": "ps1", **body},
        names_machine=True,
        repeat_write=True,
    )


OBJECTS: dict[str, tuple[Asking, Call]] = {
    "show": (
        lambda api: api.show("ps1"),
        read("show", "/machines/getMachinePublic", about=True, machineId="ps1"),
    ),
    "utilization": (
        lambda api: api.utilization("ps1", "2026-03"),
        read("utilization", "/machines/getUtilization", about=True, machineId="ps1", billingMonth="2026-03"),
    ),
    "availability": (
        lambda api: api.availability("East Coast (NY2)", "GPU+"),
        read("availability", "/machines/getAvailability", region="East Coast (NY2)", machineType="GPU+"),
    ),
    "create": (
        lambda api: api.create({"machineName": "box", "size": 50}),
        Call(
            "create",
            "POST",
            "/machines/createSingleMachinePublic",
            Effect.ONCE,
            body={"machineName": "box", "size": 50},
            needs_body=True,
        ),
    ),
}
"""Calls that must be answered with an object."""

LISTS: dict[str, tuple[Asking, Call]] = {
    "list": (lambda api: api.list({}), read("list", "/machines/getMachines")),
    "list, the first few": (lambda api: api.list({"limit": 3}), read("list", "/machines/getMachines", limit="3")),
    "list, filtered": (
        lambda api: api.list({"name": "box", "updatesPending": True, "performAutoSnapshot": False, "region": None}),
        read("list", "/machines/getMachines", name="box", updatesPending="true", performAutoSnapshot="false"),
    ),
    "the first page": (lambda api: api.read_page(0), read("list", "/machines/getMachines")),
    "the third page": (
        lambda api: api.read_page(2),
        read("list", "/machines/getMachines", limit="1000", skip="2000"),
    ),
    "networks": (lambda api: api.networks(), read("networks", "/networks/getNetworks")),
    "networks, one": (lambda api: api.networks({"name": "n"}), read("networks", "/networks/getNetworks", name="n")),
    "templates": (lambda api: api.templates(), read("templates", "/templates/getTemplates")),
    "templates, one": (
        lambda api: api.templates({"name": "n"}),
        read("templates", "/templates/getTemplates", name="n"),
    ),
    "all templates": (lambda api: api.all_templates(), read("templates", "/templates/getTemplates")),
    "users": (lambda api: api.users(), read("users", "/users/getUsers")),
    "users, one": (lambda api: api.users({"email": "e"}), read("users", "/users/getUsers", email="e")),
    "scripts": (lambda api: api.scripts(), read("scripts", "/scripts/getScripts")),
    "scripts, one": (lambda api: api.scripts({"name": "n"}), read("scripts", "/scripts/getScripts", name="n")),
}
"""Calls that must be answered with an array."""

WRITES: dict[str, tuple[Asking, Call]] = {
    "start": (lambda api: api.start("ps1"), write("start", "start")),
    "stop": (lambda api: api.stop("ps1"), write("stop", "stop")),
    "restart": (lambda api: api.restart("ps1"), write("restart", "restart", once=True)),
    "destroy": (lambda api: api.destroy("ps1"), write("destroy", "destroyMachine")),
    "destroy, and keep the address": (
        lambda api: api.destroy("ps1", release_public_ip=False),
        write("destroy", "destroyMachine", releasePublicIp=False),
    ),
    "destroy, and the address": (
        lambda api: api.destroy("ps1", release_public_ip=True),
        write("destroy", "destroyMachine", releasePublicIp=True),
    ),
    "update": (
        lambda api: api.update("ps1", {"autoSnapshotFrequency": None, "shutdownTimeoutInHours": 8}),
        write("update", "updateMachinePublic", autoSnapshotFrequency=None, shutdownTimeoutInHours=8),
    ),
    "set_access": (
        lambda api: api.set_access("ps1", "u1", enable_access=True),
        write("set_access", "setMachineAccess", userId="u1", enableAccess=True),
    ),
}
"""Calls whose answer may be empty."""


async def asked(call: Asking, *said: Any, status: int = 200) -> tuple[Any, list[Call]]:
    http = Asked(classify, *said, status=status)
    return await call(CoreApi(http)), http.calls


async def declined(call: Asking, *said: Any, status: int = 200) -> CloudError:
    with pytest.raises(CloudError) as caught:
        await asked(call, *said, status=status)
    return caught.value


@pytest.mark.parametrize(("call", "sent"), OBJECTS.values(), ids=OBJECTS)
async def test_an_object_is_asked_for_and_taken(call: Asking, sent: Call) -> None:
    assert await asked(call, READY) == (READY, [sent])


@pytest.mark.parametrize(("call", "sent"), LISTS.values(), ids=LISTS)
async def test_an_array_is_asked_for_and_taken(call: Asking, sent: Call) -> None:
    rows = [{"id": "a", "name": "n"}, {"id": "b"}, {}]
    assert await asked(call, rows) == (rows, [sent])


@pytest.mark.parametrize(("call", "sent"), WRITES.values(), ids=WRITES)
@pytest.mark.parametrize(("said", "told"), [(b"", None), (b"ok", None), ([1], None), ({}, {}), (READY, READY)])
async def test_a_write_is_sent_and_its_answer_taken_as_it_is(call: Asking, sent: Call, said: Any, told: Any) -> None:
    assert await asked(call, said, status=204) == (told, [sent])


@pytest.mark.parametrize(("call", "sent"), WRITES.values(), ids=WRITES)
async def test_a_client_that_repeats_no_write_says_so_with_each(call: Asking, sent: Call) -> None:
    http = Asked(classify, b"")
    await call(CoreApi(http, repeat_writes=False))
    assert [(c.operation, c.repeatable) for c in http.calls] == [(sent.operation, False)]


@pytest.mark.parametrize(("call", "sent"), {**OBJECTS, **LISTS}.values(), ids={**OBJECTS, **LISTS})
@pytest.mark.parametrize("said", [b"<html>", 7, "yes", None])
async def test_what_is_no_answer_to_a_call_is_said_of_that_call(call: Asking, sent: Call, said: Any) -> None:
    error = await declined(call, said)
    assert (type(error), error.operation) == (
        MalformedAnswer if sent.effect is Effect.READ else Ambiguous,
        sent.operation,
    )
    assert str(error).startswith(f"{sent.operation}: the answer is not ")


@pytest.mark.parametrize(("call", "sent"), OBJECTS.values(), ids=OBJECTS)
async def test_an_array_is_no_object(call: Asking, sent: Call) -> None:
    error = await declined(call, [READY])
    assert error.operation == sent.operation
    assert error.message in {"the answer is not an object", "the answer is not a machine"}


@pytest.mark.parametrize(("call", "sent"), LISTS.values(), ids=LISTS)
async def test_an_object_is_no_array(call: Asking, sent: Call) -> None:
    error = await declined(call, READY)
    assert (error.operation, error.message) == (sent.operation, "the answer is not an array")


@pytest.mark.parametrize(("call", "sent"), WRITES.values(), ids=WRITES)
async def test_an_answer_about_another_machine_is_said_of_the_call(call: Asking, sent: Call) -> None:
    if sent.operation == "set_access":  # what it answers may tell of the user
        assert await asked(call, {"id": "u1"}) == ({"id": "u1"}, [sent])
        return
    error = await declined(call, {"id": "ps2"})
    assert (type(error), error.operation) == (Ambiguous, sent.operation)


@pytest.mark.parametrize("name", ["show", "utilization"])
async def test_a_look_at_another_machine_is_said_of_the_call(name: str) -> None:
    error = await declined(OBJECTS[name][0], {"id": "ps2"})
    assert (type(error), error.operation) == (MalformedAnswer, name)


@pytest.mark.parametrize("made", [{}, {"id": None, "name": "box"}, {"id": 7, "name": "box"}, {"name": "box"}])
async def test_what_was_made_without_an_id_is_no_machine(made: dict[str, Any]) -> None:
    error = await declined(OBJECTS["create"][0], made, status=201)
    assert (type(error), error.message, error.status) == (Ambiguous, "the answer is not a machine", 201)


async def test_what_has_another_name_than_was_asked_for_is_not_what_was_made() -> None:
    error = await declined(OBJECTS["create"][0], READY | {"name": "fox"})
    assert (type(error), error.message) == (Ambiguous, "asked for box, answered with fox")


async def test_the_parameters_of_a_create_are_the_callers_own() -> None:
    given = {"machineName": "box"}
    _, (call,) = await asked(lambda api: api.create(given), READY)
    assert call.body == given
    assert call.body is not given


@pytest.mark.parametrize("machine_id", ["", ".", ".."])
@pytest.mark.parametrize("verb", ["start", "stop", "restart", "destroy"])
async def test_what_is_no_id_is_refused_unsent(verb: str, machine_id: str) -> None:
    http = Asked(classify)
    with pytest.raises(Refused, match="nothing was sent") as caught:
        await getattr(CoreApi(http), verb)(machine_id)
    assert (caught.value.operation, http.calls) == (verb, [])


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("updatePending", "machines cannot be listed by updatePending; did you mean updatesPending?"),
        ("machineTypes", "machines cannot be listed by machineTypes; did you mean machineType?"),
        ("zzz", "machines cannot be listed by zzz"),
    ],
)
async def test_a_filter_that_there_is_not_is_refused_unsent(name: str, hint: str) -> None:
    error = await declined(lambda api: api.list({name: True}))
    assert (type(error), error.operation, error.message) == (Refused, "list", hint)


@pytest.mark.parametrize(
    ("filters", "query", "found"),
    [
        ({}, {}, ["a1", "b", "a2", "a3"]),
        ({"machineType": "A"}, {}, ["a1", "a2", "a3"]),
        ({"machineType": "A", "state": "off"}, {"state": "off"}, ["a1", "a2", "a3"]),
        ({"machineType": "A", "limit": 2}, {}, ["a1", "a2"]),
        ({"machineType": "A", "limit": 0}, {}, []),
        ({"machineType": "A", "skip": 1}, {}, ["a2", "a3"]),
        ({"machineType": "A", "skip": 1, "limit": 1}, {}, ["a2"]),
        ({"machineType": "C"}, {}, []),
    ],
)
async def test_a_type_is_matched_here_and_the_cut_comes_after(
    filters: dict[str, object], query: dict[str, str], found: list[str]
) -> None:
    rows = [{"id": name, "machineType": name[0].upper()} for name in ("a1", "b", "a2", "a3")]
    told, calls = await asked(lambda api: api.list(filters), rows)
    assert [row["id"] for row in told] == found
    assert calls == [read("list", "/machines/getMachines", **query)]


def rows(first: int, count: int) -> list[dict[str, Any]]:
    return [{"id": f"ps{n}"} for n in range(first, first + count)]


@pytest.mark.parametrize(
    ("filters", "pages", "queries", "count"),
    [
        ({"limit": 1000}, [(0, 1000)], [{"limit": "1000"}], 1000),
        ({"limit": 1001}, [(0, 1000), (1000, 500)], [{"limit": "1000"}, {"limit": "1000", "skip": "1000"}], 1001),
        ({"limit": 2000}, [(0, 1000), (1000, 9)], [{"limit": "1000"}, {"limit": "1000", "skip": "1000"}], 1009),
        (
            {"limit": 1500, "skip": 30},
            [(30, 1000), (1030, 1000)],
            [{"limit": "1000", "skip": "30"}, {"limit": "1000", "skip": "1030"}],
            1500,
        ),
        (
            {"name": "x"},
            [(0, 1000), (1000, 1), (0, 0)],
            [
                {"name": "x"},
                {"name": "x", "limit": "1000", "skip": "1000"},
                {"name": "x", "limit": "1000", "skip": "2000"},
            ],
            1001,
        ),
    ],
)
async def test_a_long_list_is_read_page_by_page(
    filters: dict[str, object], pages: list[tuple[int, int]], queries: list[dict[str, str]], count: int
) -> None:
    told, calls = await asked(lambda api: api.list(filters), *(rows(*page) for page in pages))
    assert calls == [read("list", "/machines/getMachines", **query) for query in queries]
    assert len(told) == count


async def test_progress_is_told_once_a_page_and_the_number_of_pages_is_remembered() -> None:
    told: list[str] = []
    http = Asked(
        classify, rows(0, 1000), rows(1000, 1000), rows(2000, 5), rows(0, 1000), rows(1000, 1000), rows(2000, 5)
    )
    api = CoreApi(http)
    for _ in range(2):
        reading = await api.read_listing({}, progress=lambda: told.append("page"))
        assert (len(reading.items), reading.complete) == (2005, True)
    assert len(told) == len(http.calls) == 6


@pytest.mark.parametrize("filtered", [{}, {"machineType": "A"}])
async def test_a_page_that_fails_is_the_listings_failure(filtered: dict[str, object]) -> None:
    broken = MalformedAnswer("half a page", operation="list")
    http = Asked(classify, rows(0, 1000), broken, rows(2000, 1))
    reading = await CoreApi(http).read_listing(filtered)
    assert reading.failure is broken
    error = await declined(lambda api: api.list(filtered), rows(0, 1000), broken, rows(2000, 1))
    assert error is broken


@pytest.mark.parametrize(("extra", "fails"), [(0, False), (1, True)])
async def test_a_list_of_more_entries_than_any_has_is_refused(extra: int, fails: bool) -> None:
    entries = [{}] * (MOST_ENTRIES + extra)
    if fails:
        assert "10001 entries" in (await declined(lambda api: api.networks(), entries)).message
    else:
        assert len((await asked(lambda api: api.networks(), entries))[0]) == MOST_ENTRIES


async def test_an_entry_that_is_no_object_is_an_empty_one() -> None:
    assert (await asked(lambda api: api.users(), [3, None, {"id": "u1"}]))[0] == [{}, {}, {"id": "u1"}]


LOOK = read("show", "/machines/getMachinePublic", about=True, machineId="ps1", state="off")


async def test_waiting_looks_until_the_machine_is_there() -> None:
    off = READY | {"state": "off"}
    told, calls = await asked(lambda api: api.wait_for("ps1", "off", timeout=60, poll=0), READY, off)
    assert (told, calls) == (off, [LOOK, LOOK])


async def test_waiting_for_a_machine_that_is_gone_asks_the_list_too() -> None:
    gone = classify(404, {}, b"")
    with pytest.raises(WaitEnded) as caught:
        await asked(
            lambda api: api.wait_for("ps1", "off", timeout=60, poll=0),
            *(READY, gone, [READY], gone, [{"id": "ps2"}], gone, []),
        )
    assert caught.value.verdict == "gone"


async def test_what_is_no_machine_is_waited_through_and_said_in_the_end() -> None:
    with pytest.raises(WaitEnded, match="name") as caught:
        await asked(lambda api: api.wait_for("ps1", "off", timeout=0), {"id": "ps1"})
    assert caught.value.verdict == "timed_out"


async def test_closing_it_closes_the_client() -> None:
    http = Asked(classify)
    await CoreApi(http).aclose()
    assert http.closed
