"""Every call of the v1 API: what is sent for it, which answers it takes, and what its errors are called."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from fleetd.cloud.calls import Call, Effect
from fleetd.cloud.listing import MOST_ENTRIES
from fleetd.cloud.paperspace.api import PaperspaceApi
from fleetd.cloud.paperspace.errors import classify
from fleetd.model.errors import (
    Ambiguous,
    CloudError,
    MalformedAnswer,
    NotFound,
    Refused,
    Unauthorized,
    Unavailable,
    Unsupported,
    WaitEnded,
)
from tests.support.asked import Asked

READY = {"id": "ps1", "name": "box", "state": "ready", "region": "East Coast (NY2)", "machineType": "P4000"}
DONE = {"data": READY, "event": {"id": "e1", "machineId": "ps1", "name": "start", "state": "new"}}
Asking = Callable[[PaperspaceApi], Awaitable[Any]]


def page(*items: Any, after: Any = None) -> dict[str, Any]:
    return {"hasMore": after is not None, "items": list(items), "nextPage": after}


def read(operation: str, path: str, *, about: bool = False, patient: bool = True, **query: str) -> Call:
    return Call(operation, "GET", path, query=query, names_machine=about, patient=patient)


def pages(operation: str, path: str, *, about: bool = False, patient: bool = True, **query: str) -> Call:
    return read(operation, path, about=about, patient=patient, **{"limit": "120", **query})


def write(
    operation: str,
    method: str,
    path: str,
    body: dict[str, Any] | None = None,
    *,
    once: bool = False,
    about: bool = True,
    needed: bool = False,
) -> Call:
    effect = Effect.ONCE if once else Effect.REPEATABLE
    return Call(operation, method, path, effect, body=body, names_machine=about, repeat_write=True, needs_body=needed)


NEWEST_FIRST = {"orderBy": "dtCreated", "order": "desc"}
EVENTS = pages("events", "/machine-events", about=True, machineId="ps1", **NEWEST_FIRST)

OBJECTS: dict[str, tuple[Asking, Call]] = {
    "machine": (lambda api: api.machine("ps1"), read("show", "/machines/ps1", about=True)),
    "availability": (
        lambda api: api.availability("ny2", "P4000"),
        read("availability", "/machine-availability", machineType="P4000", region="ny2"),
    ),
    "session": (lambda api: api.session(), read("session", "/auth/session")),
    "account_standing": (lambda api: api.account_standing(), read("account", "/billing/account-standing")),
}
"""Calls that must be answered with an object."""

LISTS: dict[str, tuple[Asking, Call]] = {
    "list": (lambda api: api.list({}), pages("list", "/machines")),
    "list, the first few": (lambda api: api.list({"limit": 3}), pages("list", "/machines", limit="3")),
    "list, many": (lambda api: api.list({"limit": 121}), pages("list", "/machines")),
    "list, filtered": (
        lambda api: api.list({"name": "box", "region": "ny2", "agentType": None}),
        pages("list", "/machines", name="box", region="ny2"),
    ),
    "list, from a cursor": (
        lambda api: api.list({"after": "c7", "orderBy": "name"}),
        pages("list", "/machines", orderBy="name", after="c7"),
    ),
    "events": (lambda api: api.events("ps1"), EVENTS),
    "snapshots": (lambda api: api.snapshots(), pages("snapshots", "/snapshots", **NEWEST_FIRST)),
    "snapshots of one": (
        lambda api: api.snapshots("ps1"),
        pages("snapshots", "/snapshots", about=True, machineId="ps1", **NEWEST_FIRST),
    ),
    "templates": (lambda api: api.templates(), pages("templates", "/os-templates")),
    "custom_templates": (lambda api: api.custom_templates(), pages("custom_templates", "/custom-templates")),
    "networks": (lambda api: api.networks(), pages("networks", "/private-networks")),
    "scripts": (lambda api: api.scripts(), pages("scripts", "/startup-scripts")),
}
"""Calls that must be answered with a page."""

WRITES: dict[str, tuple[Asking, Call]] = {
    "start": (lambda api: api.start("ps1"), write("start", "PATCH", "/machines/ps1/start", {})),
    "stop": (lambda api: api.stop("ps1"), write("stop", "PATCH", "/machines/ps1/stop", {})),
    "restart": (
        lambda api: api.restart("ps1"),
        write("restart", "PATCH", "/machines/ps1/restart", {}, once=True),
    ),
    "destroy": (lambda api: api.destroy("ps1"), write("destroy", "DELETE", "/machines/ps1")),
    "update": (
        lambda api: api.update("ps1", {"autoShutdownTimeout": 8}),
        write("update", "PUT", "/machines/ps1", {"autoShutdownTimeout": 8}),
    ),
    "give access": (
        lambda api: api.set_access("ps1", "u1", enable_access=True),
        write("set_access", "POST", "/machines/ps1/accessors", {"userId": "u1"}),
    ),
    "take access": (
        lambda api: api.set_access("ps1", "u1", enable_access=False),
        write("set_access", "DELETE", "/machines/ps1/accessors/u1"),
    ),
}
"""Calls whose answer may be empty."""

CREATE = write("create", "POST", "/machines", {"name": "box", "diskSize": 50}, once=True, about=False, needed=True)


def create(api: PaperspaceApi) -> Awaitable[Any]:
    return api.create({"name": "box", "diskSize": 50})


async def asked(call: Asking, *said: Any, status: int = 200) -> tuple[Any, list[Call]]:
    http = Asked(classify, *said, status=status)
    return await call(PaperspaceApi(http)), http.calls


async def declined(call: Asking, *said: Any, status: int = 200) -> CloudError:
    with pytest.raises(CloudError) as caught:
        await asked(call, *said, status=status)
    return caught.value


@pytest.mark.parametrize(("call", "sent"), OBJECTS.values(), ids=OBJECTS)
async def test_an_object_is_asked_for_and_taken(call: Asking, sent: Call) -> None:
    assert await asked(call, READY) == (READY, [sent])


@pytest.mark.parametrize(("call", "sent"), LISTS.values(), ids=LISTS)
async def test_a_page_is_asked_for_and_taken(call: Asking, sent: Call) -> None:
    rows = [{"id": "a", "name": "stop", "machineId": "ps1"}, {"id": "b", "name": "x", "machineId": "ps1"}]
    assert await asked(call, page(*rows)) == (rows, [sent])


@pytest.mark.parametrize(("call", "sent"), LISTS.values(), ids=LISTS)
async def test_the_next_page_is_asked_for_by_its_cursor(call: Asking, sent: Call) -> None:
    first, last = {"id": "a", "name": "stop", "machineId": "ps1"}, {"id": "b", "name": "x", "machineId": "ps1"}
    told, calls = await asked(call, page(first, after="c1"), page(last))
    assert told == [first, last]
    following = {**sent.query, "after": "c1"}
    assert [c.query for c in calls] == [sent.query, following]
    assert {(c.operation, c.path, c.names_machine) for c in calls} == {
        (sent.operation, sent.path, sent.names_machine)
    }


@pytest.mark.parametrize(("call", "sent"), WRITES.values(), ids=WRITES)
@pytest.mark.parametrize(("said", "told"), [(b"", None), (b"ok", None), ([1], None), ({}, {}), (DONE, DONE)])
async def test_a_write_is_sent_and_its_answer_taken_as_it_is(call: Asking, sent: Call, said: Any, told: Any) -> None:
    assert await asked(call, said) == (told, [sent])


@pytest.mark.parametrize(("call", "sent"), WRITES.values(), ids=WRITES)
async def test_a_client_that_repeats_no_write_says_so_with_each_also_from_a_place(call: Asking, sent: Call) -> None:
    http, other = Asked(classify, b""), Asked(classify, b"")
    api = PaperspaceApi(http, repeat_writes=False)
    await call(api)
    await call(api.through(other))
    for calls in (http.calls, other.calls):
        assert [(c.operation, c.repeatable) for c in calls] == [(sent.operation, False)]


async def test_a_create_gives_the_machine_with_the_event_to_follow() -> None:
    assert await asked(create, DONE) == ({**READY, "events": [DONE["event"]]}, [CREATE])
    for event in (None, 5, []):
        assert (await asked(create, {"data": READY, "event": event}))[0] == {**READY, "events": []}


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (b"<html>", "the answer is not JSON"),
        ([], "the answer has no data"),
        ({"event": {}}, "the answer has no data"),
        ({"data": [READY]}, "the answer has no data"),
        ({"data": {"name": "box"}}, "the answer is not a machine"),
        ({"data": {"id": 7, "name": "box"}}, "the answer is not a machine"),
        ({"data": {"id": "ps1", "name": "fox"}}, "asked for box, answered with fox"),
        ({"data": READY, "event": {"machineId": "ps2"}}, "asked about ps1, answered about ps2"),
    ],
)
async def test_what_was_made_is_not_known_from_another_answer(said: Any, message: str) -> None:
    error = await declined(create, said)
    assert (type(error), error.operation) == (Ambiguous, "create")
    assert error.message.startswith(message)


@pytest.mark.parametrize(("call", "sent"), {**OBJECTS, **LISTS}.values(), ids={**OBJECTS, **LISTS})
@pytest.mark.parametrize("said", [b"<html>", 7, "yes", None, [READY]])
async def test_what_is_no_answer_to_a_call_is_said_of_that_call(call: Asking, sent: Call, said: Any) -> None:
    error = await declined(call, said)
    assert (type(error), error.operation) == (MalformedAnswer, sent.operation)
    assert error.message.startswith("the answer is not ")


@pytest.mark.parametrize(("call", "sent"), LISTS.values(), ids=LISTS)
@pytest.mark.parametrize(
    ("said", "message"),
    [
        (READY, "the answer is not a page"),
        ({"items": []}, "the answer is not a page"),
        ({"hasMore": False}, "the answer is not a page"),
        ({"hasMore": 0, "items": []}, "the answer is not a page"),
        ({"hasMore": False, "items": {}}, "the answer is not a page"),
        ({"hasMore": True, "items": [READY]}, "there are more pages, and no cursor"),
        ({"hasMore": True, "items": [READY], "nextPage": ""}, "there are more pages, and no cursor"),
        ({"hasMore": True, "items": [READY], "nextPage": True}, "there are more pages, and no cursor"),
        ({"hasMore": True, "items": [READY], "nextPage": 1.5}, "there are more pages, and no cursor"),
        ({"hasMore": False, "items": [{}] * (MOST_ENTRIES + 1)}, "the answer has 10001 entries"),
    ],
)
async def test_what_is_no_page_is_said_of_the_call(call: Asking, sent: Call, said: Any, message: str) -> None:
    error = await declined(call, said)
    assert (type(error), error.operation) == (MalformedAnswer, sent.operation)
    assert error.message.startswith(message)


async def test_a_page_may_have_as_many_entries_as_any_and_a_cursor_that_is_a_number() -> None:
    told, calls = await asked(lambda api: api.networks(), page({"id": "n"}, after=17), page(*[{}] * MOST_ENTRIES))
    assert len(told) == 1 + MOST_ENTRIES
    assert calls[1].query["after"] == "17"


async def test_an_entry_is_an_object() -> None:
    told, _ = await asked(lambda api: api.snapshots("ps1"), page(3, None, {"id": "a2"}, {"user": {"id": "u1"}}))
    assert told == [{}, {}, {"id": "a2"}, {"user": {"id": "u1"}}]


@pytest.mark.parametrize("name", [name for name in LISTS if not name.startswith(("list", "events"))])
async def test_what_is_deleted_is_not_there(name: str) -> None:
    rows = [{"id": "a", "dtDeleted": "2026-03-01T00:00:00Z"}, {"id": "b", "dtDeleted": None}, {"id": "c"}]
    assert (await asked(LISTS[name][0], page(*rows)))[0] == rows[1:]


COMPLAINT = {"code": "CONFLICT", "message": "the machine is busy"}


@pytest.mark.parametrize(
    ("call", "sent"),
    {**OBJECTS, **LISTS, **WRITES, "create": (create, CREATE)}.values(),
    ids={**OBJECTS, **LISTS, **WRITES, "create": ()},
)
async def test_a_complaint_under_a_success_is_said_of_the_call(call: Asking, sent: Call) -> None:
    error = await declined(call, COMPLAINT)
    assert (error.operation, error.message, error.status) == (sent.operation, "the machine is busy", 409)


ABOUT_ONE = {name: row for name, row in WRITES.items() if row[1].names_machine and "access" not in name}


@pytest.mark.parametrize("name", ABOUT_ONE)
@pytest.mark.parametrize("said", [{"id": "ps2"}, {"data": {"id": "ps2"}}, {"event": {"machineId": "ps2"}}])
async def test_an_answer_about_another_machine_is_said_of_the_call(name: str, said: Any) -> None:
    error = await declined(ABOUT_ONE[name][0], said)
    assert (type(error), error.operation) == (Ambiguous, name)


async def test_a_look_at_another_machine_is_malformed() -> None:
    error = await declined(lambda api: api.machine("ps1"), {"id": "ps2"})
    assert (type(error), error.operation) == (MalformedAnswer, "show")


NAMING: dict[str, tuple[str, Callable[[PaperspaceApi, str], Awaitable[Any]]]] = {
    "show": ("show", lambda api, one: api.show(one)),
    "machine": ("show", lambda api, one: api.machine(one)),
    "start": ("start", lambda api, one: api.start(one)),
    "stop": ("stop", lambda api, one: api.stop(one)),
    "restart": ("restart", lambda api, one: api.restart(one)),
    "destroy": ("destroy", lambda api, one: api.destroy(one)),
    "update": ("update", lambda api, one: api.update(one, {})),
    "give access": ("set_access", lambda api, one: api.set_access(one, "u1", enable_access=True)),
    "take access": ("set_access", lambda api, one: api.set_access(one, "u1", enable_access=False)),
    "take a user's access": ("set_access", lambda api, one: api.set_access("ps1", one, enable_access=False)),
}
"""Calls with an id in their path."""


@pytest.mark.parametrize("bad", ["", ".", ".."])
@pytest.mark.parametrize(("operation", "call"), NAMING.values(), ids=NAMING)
async def test_what_is_no_id_is_refused_unsent(
    operation: str, call: Callable[[PaperspaceApi, str], Awaitable[Any]], bad: str
) -> None:
    http = Asked(classify)
    with pytest.raises(Refused) as caught:
        await call(PaperspaceApi(http), bad)
    assert (caught.value.operation, http.calls) == (operation, [])
    assert str(caught.value) == f"{operation}: {bad!r} is no id; nothing was sent"


@pytest.mark.parametrize(("operation", "call"), NAMING.values(), ids=NAMING)
async def test_an_odd_id_stays_inside_its_path_segment(
    operation: str, call: Callable[[PaperspaceApi, str], Awaitable[Any]]
) -> None:
    http = Asked(classify, page(), {})
    await call(PaperspaceApi(http), "a/../b?c")
    assert "a%2F..%2Fb%3Fc" in http.calls[-1].path.split("/")


@pytest.mark.parametrize(
    ("call", "operation"),
    [
        (lambda api: api.destroy("ps1", release_public_ip=True), "destroy"),
        (lambda api: api.destroy("ps1", release_public_ip=False), "destroy"),
        (lambda api: api.utilization("ps1", "2026-03"), "utilization"),
    ],
)
async def test_what_the_api_has_not_is_said_unsent(call: Asking, operation: str) -> None:
    error = await declined(call)
    assert (type(error), error.operation) == (Unsupported, operation)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("machineTypes", "machines cannot be listed by machineTypes; did you mean machineType?"),
        ("stat", "machines cannot be listed by stat; did you mean state?"),
        ("zzz", "machines cannot be listed by zzz"),
    ],
)
async def test_a_filter_that_there_is_not_is_refused_unsent(name: str, hint: str) -> None:
    error = await declined(lambda api: api.list({name: True}))
    assert (type(error), error.operation, error.message) == (Refused, "list", hint)


@pytest.mark.parametrize(
    ("filters", "limit", "found"),
    [
        ({"state": "off"}, "120", ["m1", "m3"]),
        ({"state": "off", "limit": 1}, "120", ["m1"]),
        ({"state": "off", "limit": 0}, "120", []),
        ({"machineId": "m2"}, "120", ["m2"]),
        ({"machineId": "m2", "state": "off"}, "120", []),
        ({"limit": 2}, "2", ["m1", "m2"]),
        ({"limit": 120}, "120", ["m1", "m2", "m3"]),
    ],
)
async def test_what_the_api_cannot_filter_by_is_matched_here(
    filters: dict[str, object], limit: str, found: list[str]
) -> None:
    rows = [{"id": f"m{n}", "state": state} for n, state in enumerate(("off", "ready", "off"), 1)]
    told, calls = await asked(lambda api: api.list(filters), page(*rows))
    assert [row["id"] for row in told] == found
    assert calls == [pages("list", "/machines", limit=limit)]


@pytest.mark.parametrize(("limit", "asked_for"), [(1, 1), (2, 2), (3, 3), (None, 3)])
async def test_no_more_pages_are_read_than_there_is_use_for(limit: int | None, asked_for: int) -> None:
    told = [page({"id": f"m{n}", "state": "off"}, after=f"c{n}") for n in (1, 2)] + [
        page({"id": "m3", "state": "off"})
    ]
    rows, calls = await asked(lambda api: api.list({"state": "off", "limit": limit}), *told)
    assert (len(rows), len(calls)) == (asked_for, asked_for)


@pytest.mark.parametrize(
    "call", [lambda api: api.list({}), lambda api: api.networks(), lambda api: api.events("ps1")]
)
async def test_a_page_that_fails_is_the_lists_failure(call: Asking) -> None:
    broken = Unavailable("no connection", operation="x")
    assert await declined(call, page({"id": "a"}, after="c1"), broken) is broken


async def test_the_listing_is_read_from_both_ends_and_progress_told_once_a_page() -> None:
    told: list[str] = []
    http = Asked(classify, page({"id": "a"}, after="c1"), page({"id": "b"}), page({"id": "b"}, {"id": "a"}))
    reading = await PaperspaceApi(http).read_listing(lambda: told.append("page"))
    assert ([row["id"] for row in reading.items], reading.complete, len(told)) == (["a", "b"], True, 3)
    ways = {call.query["order"]: call for call in http.calls}
    assert set(ways) == {"asc", "desc"}
    assert ways["desc"] == pages("list", "/machines", **NEWEST_FIRST)
    assert http.calls[0] == pages("list", "/machines", orderBy="dtCreated", order="asc")


@pytest.mark.parametrize(("newest", "order"), [(True, "desc"), (False, "asc")])
@pytest.mark.parametrize(
    ("most", "wanted", "requests"), [(1, "m9", 1), (2, "m9", 2), (9, "m9", 3), (9, "m1", 1), (9, "m2", 2)]
)
async def test_an_end_of_the_listing_is_read_until_that_will_do(
    newest: bool, order: str, most: int, wanted: str, requests: int
) -> None:
    said = [page({"id": "m1"}, after="c1"), page({"id": "m2"}, after="c2"), page({"id": "m3"})]

    def enough(rows: list[dict[str, Any]]) -> bool:
        return wanted in {row["id"] for row in rows}

    (reading, cost), calls = await asked(lambda api: api.read_end(most, newest=newest, enough=enough), *said)
    assert [row["id"] for row in reading.items] == [f"m{n}" for n in range(1, requests + 1)]
    assert len(calls) == cost == requests
    assert calls[0] == pages("list", "/machines", orderBy="dtCreated", order=order)


async def test_a_page_that_fails_was_asked_for_too() -> None:
    broken = Unavailable("no connection", operation="list")
    reading, cost = (
        await asked(
            lambda api: api.read_end(9, newest=True, enough=lambda _: False), page({"id": "m1"}, after="c1"), broken
        )
    )[0]
    assert (reading.failure, cost) == (broken, 2)


def event(number: int, name: str, **more: Any) -> dict[str, Any]:
    return {"id": f"e{number}", "name": name, "machineId": "ps1", **more}


@pytest.mark.parametrize(
    ("kwargs", "requests"),
    [
        ({}, 2),
        ({"most": 1}, 1),
        ({"back_to": lambda e: e.get("name") == "stop"}, 1),
        ({"back_to": lambda e: e.get("name") == "create"}, 3),
        ({"back_to": lambda _: False}, 5),
        ({"back_to": lambda _: False, "most": 6}, 6),
    ],
)
async def test_events_are_read_as_far_back_as_one_of_the_kind(kwargs: dict[str, Any], requests: int) -> None:
    said = [
        page(event(0, "stop"), after="c0"),
        page(event(1, "start"), after="c1"),
        page(event(2, "create"), after="c2"),
    ]
    said += [page(event(n, "x"), after=f"c{n}") for n in (3, 4, 5, 6)]
    rows, calls = await asked(lambda api: api.events("ps1", **kwargs), *said)
    assert len(rows) == len(calls) == requests


async def test_an_impatient_look_asks_for_events_once_and_for_the_machine_as_ever() -> None:
    (content, problem), calls = await asked(lambda api: api.look("ps1", patient=False), page(), READY)
    assert (content, problem) == ({**READY, "events": []}, None)
    impatient = pages("events", "/machine-events", about=True, patient=False, machineId="ps1", **NEWEST_FIRST)
    assert calls == [impatient, OBJECTS["machine"][1]]


async def test_a_patient_look_is_a_show() -> None:
    for call in (lambda api: api.show("ps1"), lambda api: api.look("ps1")):
        told, calls = await asked(call, page(event(1, "start")), READY)
        shown = {**READY, "events": [event(1, "start")]}
        assert told in (shown, (shown, None))
        assert calls == [EVENTS, OBJECTS["machine"][1]]


async def test_why_events_cannot_be_read_comes_along_but_for_a_refused_key() -> None:
    broken = Unavailable("no events", operation="events")
    (content, problem), _ = await asked(lambda api: api.look("ps1"), broken, READY)
    assert (content, problem) == ({**READY, "events": None}, broken)
    refused = Unauthorized("no key", operation="events")
    assert await declined(lambda api: api.look("ps1"), refused) is refused


async def test_each_event_once_and_of_what_cannot_be_told_apart_none_has_a_name() -> None:
    at = {"dtCreated": "2026-03-02T12:00:00Z"}
    rows = [
        event(1, "start", state="done", **at),
        event(2, "stop"),
        event(2, "create"),
        event(1, "start", state="new", **at),
        event(3, "start", **at),
        event(3, "start", dtCreated="2026-03-02T13:00:00Z"),
        {"name": "start", "machineId": "ps1"},
        {"id": 7, "name": "start", "machineId": "ps1"},
        event(4, "start") | {"machineId": "ps2"},
    ]
    told, _ = await asked(lambda api: api.events("ps1"), page(*rows))
    assert told[0] == rows[3]
    assert [(e["id"], e["name"], e["machineId"]) for e in told] == [
        ("e1", "start", "ps1"),
        *[(None, None, "ps1")] * 6,
    ]


async def test_all_templates_are_the_vendors_and_then_the_accounts_own() -> None:
    told, calls = await asked(lambda api: api.all_templates(), page({"id": "v"}), page({"id": "own"}))
    assert [row["id"] for row in told] == ["v", "own"]
    assert [call.path for call in calls] == ["/os-templates", "/custom-templates"]


TOO_MANY = Refused("limit: Number must be less than or equal to 50", operation="networks", status=400)


@pytest.mark.parametrize("status", [400, 422])
async def test_a_limit_that_is_refused_is_not_given_again_nor_from_a_place(status: int) -> None:
    refused = Refused(TOO_MANY.message, operation="networks", status=status)
    http = Asked(classify, refused, page({"id": "a"}, after="c1"), page({"id": "b"}))
    api = PaperspaceApi(http)
    assert [row["id"] for row in await api.networks()] == ["a", "b"]
    bare = read("networks", "/private-networks")
    assert http.calls == [pages("networks", "/private-networks"), bare, read("networks", bare.path, after="c1")]
    other = Asked(classify, page())
    await api.through(other).networks()
    assert other.calls == [bare]


async def test_what_is_asked_for_without_a_limit_is_about_the_same() -> None:
    _, calls = await asked(lambda api: api.look("ps1", patient=False), TOO_MANY, page(), READY)
    bare = read("events", "/machine-events", about=True, patient=False, machineId="ps1", **NEWEST_FIRST)
    assert calls[1] == bare
    _, calls = await asked(lambda api: api.list({"after": "c7"}), TOO_MANY, page())
    assert calls[1] == read("list", "/machines", after="c7")


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda api: api.networks(), Refused("limit", status=404)),
        (lambda api: api.networks(), Refused("no", status=400)),
        (lambda api: api.list({"limit": 5}), TOO_MANY),  # the caller's own
        (lambda api: api.networks(), NotFound("limit", status=400)),
    ],
)
async def test_another_refusal_of_a_page_stands(call: Asking, error: CloudError) -> None:
    http = Asked(classify, error)
    with pytest.raises(CloudError) as caught:
        await call(PaperspaceApi(http))
    assert caught.value is error
    assert len(http.calls) == 1


async def test_a_limit_is_refused_once_only() -> None:
    http = Asked(classify, TOO_MANY, TOO_MANY, TOO_MANY)
    api = PaperspaceApi(http)
    for _ in range(2):
        with pytest.raises(Refused):
            await api.networks()
    assert len(http.calls) == 3


async def test_waiting_looks_until_the_machine_is_there() -> None:
    off = READY | {"state": "off"}
    told, calls = await asked(lambda api: api.wait_for("ps1", "off", timeout=60, poll=0), page(), READY, page(), off)
    assert told == {**off, "events": []}
    assert calls == [EVENTS, OBJECTS["machine"][1]] * 2


@pytest.mark.parametrize(
    "gone",
    [
        [page(), NotFound("no such machine", operation="show", status=404)],
        [page(), READY | {"state": "off", "dtDeleted": "2026-03-01T00:00:00Z"}],
    ],
    ids=["not found", "deleted"],
)
async def test_waiting_for_a_machine_that_is_gone_asks_the_list_too(gone: list[Any]) -> None:
    http = Asked(classify, *(page(), READY, *gone, page(READY), *gone, page({"id": "ps2"}), *gone, page()))
    with pytest.raises(WaitEnded) as caught:
        await PaperspaceApi(http).wait_for("ps1", "off", timeout=60, poll=0)
    assert caught.value.verdict == "gone"
    assert [call for call in http.calls if call.operation == "list"] == [pages("list", "/machines")] * 3


async def test_what_is_no_machine_is_waited_through_and_said_in_the_end() -> None:
    with pytest.raises(WaitEnded, match="name") as caught:
        await asked(lambda api: api.wait_for("ps1", "off", timeout=0), page(), {"id": "ps1"})
    assert caught.value.verdict == "timed_out"


async def test_closing_it_closes_the_client() -> None:
    http = Asked(classify)
    await PaperspaceApi(http).aclose()
    assert http.closed
