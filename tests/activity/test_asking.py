"""One question a machine, so many at one time; what makes an answer none; and which source is opened."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from fleetd.activity.asking import Unusable, ask_each, open_session, refuse_what_headers_say
from fleetd.activity.command import CommandSource
from fleetd.activity.http import HttpSource
from fleetd.activity.opening import open_sources
from fleetd.activity.plain import LeaseSource, UptimeSource
from fleetd.activity.prometheus import PrometheusSource
from fleetd.model.machine import Machine
from fleetd.model.reasons import Activity
from fleetd.model.settings import IdleSource
from fleetd.planner.idle import Reading
from tests.support.build import machine
from tests.support.virtual_time import virtual

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
BOXES = [machine(n) for n in range(1, 8)]


@pytest.mark.parametrize(("at_once", "seconds"), [(1, 7.0), (3, 3.0), (7, 1.0), (50, 1.0)])
@virtual
async def test_so_many_are_asked_about_at_one_time_and_each_has_its_own_reading(at_once: int, seconds: float) -> None:
    async def ask(box: Machine) -> tuple[Activity, str]:
        await anyio.sleep(1.0)
        return Activity.IDLE, f"of {box.id}"

    began = anyio.current_time()
    readings = await ask_each("job", BOXES, ask, at_once=at_once, now=NOW)
    assert anyio.current_time() - began == seconds
    assert readings == {box.id: Reading("job", Activity.IDLE, NOW, f"of {box.id}") for box in BOXES}


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ([], None),
        ([("Age", "0"), ("Date", "x"), ("Content-Type", "text/plain"), ("Content-Encoding", "identity")], None),
        ([("Via", "a"), ("Via", "b")], None),
        ([("Age", "0"), ("age", "0")], "it says Age twice: which of them is it?"),
        ([("Date", "x"), ("Date", "x")], "it says Date twice: which of them is it?"),
        ([("Content-Type", "x"), ("Content-Type", "y")], "it says Content-Type twice: which of them is it?"),
        (
            [("Content-Encoding", ""), ("Content-Encoding", "")],
            "it says Content-Encoding twice: which of them is it?",
        ),
        ([("content-range", "bytes 0-1/9")], "a part of an answer only"),
        ([("Content-Type", " Multipart/Mixed")], "a part of an answer only"),
        ([("Warning", "w" * 99)], "it comes with a warning: '" + "w" * 60 + "'"),
    ],
)
def test_headers_from_which_nothing_follows(headers: list[tuple[str, str]], why: str | None) -> None:
    told = CIMultiDictProxy(CIMultiDict(headers))
    if why is None:
        refuse_what_headers_say(told)
        return
    with pytest.raises(Unusable) as caught:
        refuse_what_headers_say(told)
    assert str(caught.value) == why


async def test_a_session_keeps_no_connection_and_unpacks_nothing() -> None:
    session = open_session()
    connector: Any = session.connector
    assert (connector.force_close, connector.limit) == (True, 0)
    assert session.headers["Accept-Encoding"] == "identity"
    assert session.auto_decompress is False
    await session.close()


def nobody(machine_id: str, now: datetime) -> str | None:
    del machine_id, now
    return None


@pytest.mark.parametrize(
    ("kind", "opened"),
    [
        ("prometheus", PrometheusSource),
        ("http", HttpSource),
        ("exec", CommandSource),
        ("lease", LeaseSource),
        ("uptime", UptimeSource),
    ],
)
async def test_a_table_of_each_kind_is_a_source_of_that_name(kind: str, opened: type) -> None:
    (source,) = open_sources({"x": IdleSource("mine", kind)}, nobody).values()
    assert (type(source), source.name) == (opened, "mine")
    assert await source.read([], window=timedelta(minutes=1), now=NOW) == {}
    await source.aclose()
    await source.aclose()


def test_another_kind_is_a_fault() -> None:
    with pytest.raises(ValueError, match="no such kind of idle source: guess"):
        open_sources({"x": IdleSource("x", "guess")}, nobody)


async def test_a_lease_is_asked_for_by_machine_and_time() -> None:
    asked: list[Any] = []

    def lease_of(machine_id: str, now: datetime) -> str | None:
        asked.append((machine_id, now))
        return "job 7" if machine_id == "ps2" else None

    source = open_sources({"x": IdleSource("jobs", "lease")}, lease_of)["x"]
    assert await source.read(BOXES[:2], window=timedelta(minutes=1), now=NOW) == {
        "ps1": Reading("jobs", Activity.IDLE, NOW, "no lease"),
        "ps2": Reading("jobs", Activity.ACTIVE, NOW, "leased by job 7"),
    }
    assert asked == [("ps1", NOW), ("ps2", NOW)]


async def test_uptime_says_idle_of_each() -> None:
    source = open_sources({"x": IdleSource("life", "uptime")}, nobody)["x"]
    assert await source.read(BOXES[:2], window=timedelta(minutes=1), now=NOW) == {
        f"ps{n}": Reading("life", Activity.IDLE, NOW, "by uptime alone") for n in (1, 2)
    }
