"""One odd value in a provider's answer is that value's problem: every field, every kind of oddity, both dialects."""

from __future__ import annotations

import json
import random
from datetime import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetd.cloud.decoding import MOST_VALUES, NotJson, decode
from fleetd.model.errors import CloudError
from fleetd.model.machine import UNREADABLE, Phase
from tests.support.clients import open_core_cloud, open_paperspace_cloud
from tests.support.core_page import LISTED
from tests.support.scripted_server import Heard, answer, scripted
from tests.support.virtual_time import run_virtual

DEEP: object = "bottom"
for _ in range(60):
    DEEP = {"a": [DEEP]}

ODD = {
    "null": None,
    "a number": 17,
    "zero": 0,
    "a negative number": -1,
    "a huge number": 10**400,
    "a large number": 87_600_000_000,
    "a fraction": 0.5,
    "a boolean": True,
    "no text": "",
    "long text": "x" * 100_000,
    "half a character": "\ud800",
    "a control character": "a\x00b\x1b[2J",
    "NaN as text": "NaN",
    "infinity as text": "-Infinity",
    "a list": [1, "two", None],
    "an object": {"id": "ps2", "state": "ready"},
    "deep": DEEP,
    "a date beyond the calendar": "12022-03-15T00:00:00Z",
    "the calendar's last day": "9999-12-31T23:59:59.999Z",
    "the calendar's first day": "0001-01-01T00:00:00Z",
}
"""What may stand in any field."""

SHAPE = {
    "core": LISTED,
    "v1": {
        "id": "psec02yp2",
        "name": "n",
        "state": "ready",
        "machineType": "P4000",
        "region": "East Coast (NY2)",
        "os": "Ubuntu",
        "cpus": 8,
        "ram": "32212254720",
        "accelerators": [{"name": "P4000", "count": 1, "memory": "8589934592"}],
        "agentType": "Linux",
        "storageTotal": "53687091200",
        "storageUsed": "1000",
        "storageRate": 5,
        "usageRate": 0.51,
        "publicIp": None,
        "publicIpType": "none",
        "privateIp": "10.0.0.1",
        "networkId": "n1",
        "autoShutdownEnabled": True,
        "autoShutdownTimeout": 24,
        "autoShutdownForce": False,
        "autoSnapshotEnabled": True,
        "autoSnapshotFrequency": "daily",
        "autoSnapshotSaveCount": 7,
        "restorePointEnabled": False,
        "reservation": None,
        "updatesPending": False,
        "dtCreated": "2026-01-01T00:00:00.000Z",
        "dtModified": "2026-01-01T00:00:00.000Z",
        "dtDeleted": None,
    },
}
EVENT = {
    "core": {
        "name": "start",
        "state": "done",
        "errorMsg": "",
        "handle": "h",
        "dtCreated": "2026-01-01T00:00:00Z",
        "dtModified": "2026-01-01T00:00:00Z",
        "dtFinished": None,
    },
    "v1": {
        "id": "e1",
        "name": "start",
        "machineId": "psec02yp2",
        "state": "done",
        "error": None,
        "dtCreated": "2026-01-01T00:00:00Z",
        "dtStarted": None,
        "dtFinished": None,
    },
}
FIELDS = [(dialect, field) for dialect, shape in SHAPE.items() for field in shape]
WELL = {"id": "ps-well", "name": "well", "state": "off"}


def sent(dialect, machines, shown, events):
    """What the provider's server says to any GET."""

    def listing(items):
        return items if dialect == "core" else {"hasMore": False, "items": items}

    def say(heard: Heard):
        if heard.path.endswith(("/machines", "/getMachines")):
            return answer(200, listing(machines))
        if heard.path.endswith("/machine-events"):
            return answer(200, listing(events))
        return answer(200, {**shown, "events": events} if dialect == "core" else shown)

    return say


def ask(dialect, say, call):
    async def asked():
        async with scripted(say) as server:
            opened = open_core_cloud if dialect == "core" else open_paperspace_cloud
            cloud = opened(server.url, lambda: "k3y", rng=random.Random(1))
            try:
                return await call(cloud)
            finally:
                await cloud.aclose()

    return run_virtual(asked)


def usable(machine):
    """Sums with what a machine says of itself stay within the calendar and within what is written down."""
    for at in (machine.created_at, *(e.created_at for e in machine.events or ())):
        assert at is None or datetime(1969, 1, 1, tzinfo=at.tzinfo) < at < datetime(3001, 1, 1, tzinfo=at.tzinfo)
    assert machine.hourly_rate is None or 0 <= machine.hourly_rate <= 10**9
    json.dumps(repr(machine)).encode("utf-8")


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD.keys())
@pytest.mark.parametrize(("dialect", "field"), FIELDS)
def test_an_odd_field_of_one_machine_spoils_no_listing(dialect, field, odd):
    entry = {**SHAPE[dialect], field: odd}
    listing = ask(dialect, sent(dialect, [entry, WELL], {}, []), lambda cloud: cloud.list_machines())
    assert listing.complete
    by_id = {m.id: m for m in listing.machines}
    assert by_id["ps-well"].phase is Phase.DOWN
    others = [m for m in listing.machines if m.id != "ps-well"]
    assert len(others) + listing.unidentified + (field == "dtDeleted") >= 1, "it is not forgotten"
    for machine in listing.machines:
        usable(machine)
        assert (machine.state == UNREADABLE) is (machine.unreadable is not None)
        if machine.unreadable is not None:
            assert machine.phase is Phase.UNKNOWN


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD.keys())
@pytest.mark.parametrize(("dialect", "field"), FIELDS)
def test_an_odd_field_of_a_machine_that_is_shown_is_not_said_or_the_answer_is_not_believed(dialect, field, odd):
    shown = {**SHAPE[dialect], field: odd}

    async def show(cloud):
        try:
            return await cloud.show("psec02yp2")
        except CloudError as e:
            return e

    found = ask(dialect, sent(dialect, [], shown, []), show)
    if field not in {"id", "name", "state", "dtDeleted"}:
        assert not isinstance(found, CloudError), found
    if not isinstance(found, CloudError):
        assert found.id == "psec02yp2"
        usable(found)


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD.keys())
@pytest.mark.parametrize(("dialect", "field"), [(d, f) for d, shape in EVENT.items() for f in [*shape, ""]])
def test_an_odd_event_spoils_neither_the_others_nor_its_machine(dialect, field, odd):
    event = {**EVENT[dialect], field: odd} if field else odd
    well = {**EVENT[dialect], "name": "stop", "handle": "well", "id": "well"}
    say = sent(dialect, [], SHAPE[dialect], [event, well])
    machine = ask(dialect, say, lambda cloud: cloud.show("psec02yp2"))
    assert machine.phase is Phase.UP
    assert "well" in {e.handle for e in machine.events}
    usable(machine)


@settings(max_examples=300, deadline=None)
@given(
    st.recursive(
        st.none() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3), inner),
    ),
    st.sampled_from(["", " ", "\ufeff"]),
)
def test_whatever_json_says_is_read(value, before):
    said = (before + json.dumps(value)).encode()
    if "NaN" not in said.decode() and "Infinity" not in said.decode():
        assert json.dumps(decode(said)) == json.dumps(json.loads(json.dumps(value)))
    else:
        decode(said)


@pytest.mark.parametrize(
    ("said", "value"),
    [
        (b'["\\ud800", 1]', ["\ufffd", 1]),
        (b'{"a": 1e999, "b": ' + b"9" * 5000 + b', "c": -1e999}', {"a": None, "b": None, "c": None}),
        (b'{"a": "\xff", "b": 2}', {"a": "\ufffd", "b": 2}),
        (b'[NaN, Infinity, "tab\there"]', [None, None, "tab\there"]),
        (b'[{"id": "x]", "d": ' + b"[" * 5000 + b"]" * 5000 + b'}, "after"]', None),
    ],
)
def test_odd_json_is_read_as_far_as_it_can_be(said, value):
    found = decode(said)
    if value is None:
        assert (found[0]["id"], found[1]) == ("x]", "after")
    else:
        assert found == value


@pytest.mark.parametrize("said", [b"", b"<html>", b"[1", b"nul", b"[" * 200_000, b'{"a": ' * 3000, b"]" * 9])
def test_what_is_no_json_is_said_so(said):
    with pytest.raises(NotJson):
        decode(said)


@pytest.mark.parametrize("said", [b"[" + b"{}," * MOST_VALUES + b"{}]", b"[" * (64 * 1024 * 1024)])
def test_an_answer_of_more_values_than_any_is_refused_before_it_takes_memory(said):
    with pytest.raises(NotJson, match="more than"):
        decode(said)
