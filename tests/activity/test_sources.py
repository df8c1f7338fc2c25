"""Idle sources against real peers over loopback: what cannot be told is unknown, never idle."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from urllib.parse import parse_qsl

import anyio
import pytest
from aiohttp import web
from multidict import CIMultiDict

from fleetd.activity.asking import Unusable
from fleetd.activity.fill import Missing, fill_argument, fill_promql, fill_url
from fleetd.activity.opening import open_sources
from fleetd.activity.port import Source
from fleetd.activity.prometheus import PrometheusSource
from fleetd.activity.series import asked_about, judge_answer, judge_series
from fleetd.engine.rounds import Rounds
from fleetd.model.fleet import IdleRule
from fleetd.model.machine import Machine
from fleetd.model.reasons import Activity
from fleetd.model.settings import IdleSource
from tests.support.build import NOW, machine
from tests.support.scripted_server import Heard, scripted
from tests.support.scripted_server import answer as scripted_answer

BOX = machine(1, private_ip="10.64.1.99")
YOUNG = machine(2)
WINDOW = timedelta(minutes=10)
HOSTILE = {"id": "ps1", "name": 'a"b\\c{d}.*', "private_ip": "10.0.0.1", "window": "30s"}


@pytest.mark.parametrize(
    ("query", "filled"),
    [
        ('up{instance=~"{private_ip}:.*"}[{window}]', r'up{instance=~"10\\.0\\.0\\.1:.*"}[30s]'),
        ('up{instance="{private_ip}:9400"}', 'up{instance="10.0.0.1:9400"}'),
        ('up{host="{name}"}', r'up{host="a\"b\\c{d}.*"}'),
        ('up{host=~"{name}"}', r'up{host=~"a\"b\\\\c\\{d\\}\\.\\*"}'),
        ("up{host='{id}'} > {name}", "up{host='ps1'} > {name}"),
    ],
)
def test_a_machine_in_a_query_stays_a_value(query, filled) -> None:
    assert fill_promql(query, HOSTILE) == filled


@pytest.mark.parametrize("name", ["{window}", "{id}", "{private_ip}"])
def test_a_name_that_looks_like_a_placeholder_stays_a_name(name) -> None:
    assert fill_promql('up{host="{name}"}[{window}]', HOSTILE | {"name": name}) == f'up{{host="{name}"}}[30s]'


@pytest.mark.parametrize("name", [".", ".."])
def test_a_name_that_is_a_way_up_the_path_is_asked_nowhere(name) -> None:
    with pytest.raises(Missing):
        fill_url("http://x/idle/{name}", HOSTILE | {"name": name})
    assert (
        fill_url("http://x/idle/{name}.local?m={name}", HOSTILE | {"name": name})
        == f"http://x/idle/{name}.local?m={name}"
    )


def test_urls_are_encoded_and_arguments_are_not() -> None:
    assert fill_url("http://x/{name}?ip={private_ip}", HOSTILE) == "http://x/a%22b%5Cc%7Bd%7D.%2A?ip=10.0.0.1"
    assert fill_argument("--host={name}", HOSTILE) == '--host=a"b\\c{d}.*'


def matrix(*series: list[tuple[float, str]], **more: object) -> bytes:
    result = [{"metric": {"gpu": f"{n}"}, "values": values} for n, values in enumerate(series)]
    return json.dumps({"status": "success", "data": {"resultType": "matrix", "result": result}, **more}).encode()


STEP = timedelta(seconds=30)
ASKED = asked_about(WINDOW, STEP, NOW)
END = NOW.timestamp()


def samples(count: int, value: float = 0.0, *, until: float = 0.0) -> list[tuple[float, str]]:
    return [(END - until - 30 * i, f"{value:g}") for i in reversed(range(count))]


def answer_of(*entries: dict[str, object], **more: object) -> bytes:
    return json.dumps({"status": "success", "data": {"resultType": "matrix", "result": entries}, **more}).encode()


BUSY = json.dumps(samples(20, 90))
QUIET = json.dumps(samples(20))
TWICE = {
    "values": f'"values": {BUSY}, "values": {QUIET}',
    "metric": f'"metric": {{}}, "metric": {{}}, "values": {QUIET}',
}


def without(*places: int, value: float = 0.0) -> list[tuple[float, str]]:
    """A whole series but for some samples; the newest is 0."""
    return [sample for i, sample in enumerate(reversed(samples(20, value))) if i not in places][::-1]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"<html>", "not an answer"),
        (b"\xff\xfe", "not an answer"),
        (b'{"status": "success", "data": ' + b"[" * 4096 + b"]" * 4096 + b"}", "not an answer|nested too deep"),
        (b'{"status": "success", "x": ' + b'{"x":' * 4096 + b"1" + b"}" * 4096 + b"}", "nested too deep"),
        (b'{"status": "error", "error": "bad query"}', "bad query"),
        (matrix(samples(20), warnings=["shard down"]), "shard down"),
        (matrix(samples(20), isPartial=True), "part of an answer"),
        (matrix(), "no series"),
        (matrix([*samples(19), (END, "NaN")]), "not a number"),
        (matrix(samples(20), [(END, "NaN")]), "not a number"),
        (matrix([(END, "much")]), "not a number"),
        (matrix([*samples(19), (END, "-0.5")]), "measures nothing"),
        (matrix([*samples(19), (END, "+Inf")]), "measures nothing"),
        (matrix([(END, 0.0)]), "not an answer"),
        (matrix(samples(20, until=3600)), "not asked about"),
        (matrix([*samples(20), (END + 30, "0")]), "not asked about"),
        (matrix([(END - 600, "0"), *samples(20)]), "not asked about"),
        (matrix([(END, "0")] * 20), "several for one time"),
        (matrix(list(reversed(samples(20)))), "several for one time"),
        (matrix([(END - i, "0") for i in reversed(range(20))]), "several for one time"),
        (b'{"status": "success", "data": {"resultType": "scalar", "result": []}}', "no series"),
        (answer_of({"metric": {}, "values": samples(20)}, {"metric": {}, "values": samples(20)}), "one series twice"),
        (answer_of({"values": samples(20), "histograms": [[END, {"count": "3"}]]}), "histograms"),
        (matrix(samples(20), error="a shard is down"), "a shard is down"),
        (matrix(samples(20), errorType="timeout"), "timeout"),
        *(
            (b'{"status": "success", "data": {"resultType": "matrix", "result": [{%s}]}}' % inside.encode(), "twice")
            for inside in TWICE.values()
        ),
        (
            matrix(samples(20, 90))[:-1]
            + b', "data": '
            + json.dumps(json.loads(matrix(samples(20)))["data"]).encode()
            + b"}",
            "twice",
        ),
    ],
)
def test_answers_from_which_nothing_follows(body, why) -> None:
    with pytest.raises(Unusable, match=why):
        judge_answer(body, ASKED)


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        pytest.param([samples(20)], Activity.IDLE, id="whole"),
        pytest.param([without(4, 9)], Activity.IDLE, id="two single samples missing"),
        pytest.param([without(0)], Activity.IDLE, id="the newest one missing"),
        pytest.param([without(19)], Activity.IDLE, id="the oldest one missing"),
        pytest.param([without(4, 9, 14)], Activity.UNKNOWN, id="less than nine tenths"),
        pytest.param([without(4, 5)], Activity.UNKNOWN, id="two in a row"),
        pytest.param([without(0, 1)], Activity.UNKNOWN, id="old"),
        pytest.param([without(18, 19)], Activity.UNKNOWN, id="it began within the window"),
        pytest.param([[*samples(20)[:-1], (END, "0.02")]], Activity.ACTIVE, id="one busy sample"),
        pytest.param([[(END, "1")]], Activity.ACTIVE, id="use is use, covered or not"),
        pytest.param([[]], Activity.UNKNOWN, id="nothing"),
        pytest.param([samples(20), samples(20)], Activity.IDLE, id="two, both whole"),
        pytest.param([samples(20), samples(20, 1)], Activity.ACTIVE, id="two, one busy"),
        pytest.param([samples(20), without(0, 1, 2, 3)], Activity.UNKNOWN, id="two, one vanished"),
        pytest.param([without(7, 8), samples(20)], Activity.UNKNOWN, id="two, one with a gap"),
        pytest.param([samples(20), []], Activity.UNKNOWN, id="two, one without samples"),
        pytest.param([samples(20), without(0, 1, 2, value=1)], Activity.ACTIVE, id="two, one vanished busy"),
    ],
)
def test_every_series_is_judged_alone(found, verdict) -> None:
    assert judge_series(judge_answer(matrix(*found), ASKED), 0.02, ASKED)[0] is verdict


OTHER_TIMES = {
    "yesterday",
    *(format_datetime(NOW + timedelta(seconds=s), usegmt=True) for s in (59, -7200, -3600, 3600, 7200)),
}


OURS, AN_HOUR_AGO = (format_datetime(NOW - timedelta(hours=h), usegmt=True) for h in (0, 1))


@asynccontextmanager
async def server(handler) -> AsyncIterator[str]:
    async def our_time(_request: web.Request, response: web.StreamResponse) -> None:
        if not OTHER_TIMES & set(response.headers.getall("Date")):
            response.headers["Date"] = format_datetime(NOW, usegmt=True)

    app = web.Application()
    app.on_response_prepare.append(our_time)
    app.router.add_route("*", "/{tail:.*}", handler)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


async def ask(source: IdleSource, *machines: Machine, lease: str | None = None) -> list[tuple[Activity, str]]:
    opened = open_sources({source.name: source}, lambda _machine, _now: lease)[source.name]
    try:
        readings = await opened.read(machines or (BOX,), window=WINDOW, now=NOW)
    finally:
        await opened.aclose()
    assert set(readings) == {m.id for m in machines or (BOX,)}
    return [(r.verdict, r.evidence) for r in readings.values()]


def http_source(url: str, **more) -> IdleSource:
    return IdleSource("web", "http", url=url + "/{id}", timeout=timedelta(seconds=1), **more)


@pytest.mark.parametrize(
    ("status", "body", "verdict"),
    [
        (200, '{"idle": true, "evidence": "no job"}', Activity.IDLE),
        (200, '{"idle": false}', Activity.ACTIVE),
        (200, '{"idle": "yes"}', Activity.UNKNOWN),
        (200, "idle", Activity.UNKNOWN),
        (500, '{"idle": true}', Activity.UNKNOWN),
        (302, '{"idle": true}', Activity.UNKNOWN),
    ],
)
async def test_http(status, body, verdict) -> None:
    async def answer(request: web.Request) -> web.Response:
        assert request.path == "/ps1"
        return web.Response(status=status, text=body, headers={"Location": "/elsewhere"} if status == 302 else {})

    async with server(answer) as url:
        assert (await ask(http_source(url)))[0][0] is verdict


async def test_http_in_pieces() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for piece in (b'{"idle": true,', b' "evidence": "no', b' job"}'):
            await response.write(piece)
            await anyio.sleep(0.02)
        return response

    async with server(answer) as url:
        assert await ask(http_source(url)) == [(Activity.IDLE, "no job")]


async def test_http_without_an_end() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        with suppress(ConnectionError):
            await response.write(b'{"idle": true}')
            while True:
                await response.write(b" " * 20_000)
        return response

    async with server(answer) as url:
        assert await ask(http_source(url)) == [(Activity.UNKNOWN, "longer than 65536 bytes")]


DEEP = '{"idle": true, "more": ' + "[" * 4096 + "]" * 4096 + "}"


@pytest.mark.parametrize(
    ("body", "verdict"),
    [
        pytest.param('{"idle": true, "machine": "ps1"}', Activity.IDLE, id="its own"),
        pytest.param('{"idle": true, "id": "ps1"}', Activity.IDLE, id="its own, as id"),
        pytest.param('{"idle": true, "machine": "ps2"}', Activity.UNKNOWN, id="another machine's"),
        pytest.param('{"idle": true, "id": "ps2"}', Activity.UNKNOWN, id="another machine's, as id"),
        pytest.param('{"idle": false, "machine": "ps2"}', Activity.UNKNOWN, id="another machine's use"),
        pytest.param('{"idle": true, "machine": 1}', Activity.UNKNOWN, id="no id"),
        pytest.param(DEEP, Activity.UNKNOWN, id="nested too deep"),
        pytest.param('{"idle": true}{"idle": true}', Activity.UNKNOWN, id="twice"),
        pytest.param('{"idle": false, "idle": true}', Activity.UNKNOWN, id="both"),
        pytest.param('{"idle": true, "machine": "ps2", "machine": "ps1"}', Activity.UNKNOWN, id="two machines'"),
        pytest.param('{"idle": true, "machine": null}', Activity.UNKNOWN, id="no machine's"),
        pytest.param('{"idle": true, "machine": "ps1", "id": null}', Activity.UNKNOWN, id="no machine's, as id"),
        pytest.param('{"idle": true, "machineId": "ps1"}', Activity.IDLE, id="its own, by the vendor's word"),
        pytest.param('{"idle": true, "machineId": "ps2"}', Activity.UNKNOWN, id="another's, by the vendor's word"),
        pytest.param('{"idle": true, "machine_id": "ps2"}', Activity.UNKNOWN, id="another's, spelled otherwise"),
        pytest.param('{"idle": true, "Machine": "ps2"}', Activity.UNKNOWN, id="another's, in capitals"),
        pytest.param('{"idle": true, "Idle": false}', Activity.UNKNOWN, id="both, in two spellings"),
        pytest.param('{"idle": true, "error": "no nvidia-smi"}', Activity.UNKNOWN, id="an error"),
        pytest.param('{"idle": true, "error": null}', Activity.IDLE, id="no error"),
        pytest.param('{"idle": true, "more": %s}' % ("9" * 5000), Activity.IDLE, id="a long number beside it"),
    ],
)
async def test_whose_verdict_it_is(body, verdict, tmp_path: Path) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text=body)

    async with server(answer) as url:
        assert (await ask(http_source(url)))[0][0] is verdict
    (tmp_path / "says").write_text(body)
    code = f"import sys; sys.stdout.write(open({str(tmp_path / 'says')!r}).read())"
    assert (await ask(command(code)))[0][0] is verdict


@pytest.mark.parametrize("kind", ["http", "prometheus"])
async def test_what_is_packed_is_not_unpacked(kind) -> None:
    packed = gzip.compress(b" " * 100_000_000 + (b'{"idle": true}' if kind == "http" else matrix(samples(20))))

    async def answer(_request: web.Request) -> web.Response:
        headers = {"Content-Encoding": "gzip", "Date": format_datetime(NOW, usegmt=True)}
        return web.Response(body=packed, headers=headers)

    async with server(answer) as url:
        source = http_source(url) if kind == "http" else prometheus(url)
        ((verdict, evidence),) = await ask(source)
    assert (verdict, "packed" in evidence) == (Activity.UNKNOWN, True), evidence


@pytest.mark.parametrize("header", [("Content-Range", "bytes 0-13/40"), ("Warning", '110 - "Response is Stale"')])
async def test_prometheus_that_says_it_is_a_part_or_old_is_unknown(header) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=matrix(samples(20)), headers=CIMultiDict([header, ("Date", OURS)]))

    async with server(answer) as url:
        ((verdict, evidence),) = await ask(prometheus(url))
    assert verdict is Activity.UNKNOWN, evidence


@pytest.mark.parametrize("where", ["answer", "data"])
@pytest.mark.parametrize(
    ("mark", "part"),
    [
        ('"isPartial": true', True),
        ('"isPartial": "true"', True),
        ('"partial": true', True),
        ('"partialResponse": 1', True),
        ('"is_partial": ["store 2"]', True),
        ('"isPartial": false', False),
        ('"partial": null', False),
        ('"partialErrors": []', False),
    ],
)
def test_a_part_of_an_answer_says_nothing_wherever_it_says_so(where, mark, part) -> None:
    whole = matrix(samples(20)).decode()
    at = "{" if where == "answer" else '"resultType"'
    body = whole.replace(at, f"{{{mark}, " if where == "answer" else f'{mark}, "resultType"', 1).encode()
    with pytest.raises(Unusable) if part else nullcontext():
        judge_answer(body, ASKED)


@pytest.mark.parametrize("value", ["0_1", "\uff10", " 0", "0\n", "0x0", "", "zero"])
def test_what_prometheus_writes_no_number_like_is_none(value) -> None:
    body = matrix([[at, value] for at, _ in samples(20)])
    with pytest.raises(Unusable, match="not a number"):
        judge_answer(body, ASKED)


async def test_prometheus_without_an_end() -> None:
    sent = 0

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse(headers={"Date": format_datetime(NOW, usegmt=True)})
        await response.prepare(request)
        with suppress(ConnectionError):
            while True:
                await response.write(b" " * 1_000_000)
                sent += 1
        return response

    async with server(answer) as url:
        ((verdict, evidence),) = await ask(prometheus(url))
    assert (verdict, "longer than" in evidence) == (Activity.UNKNOWN, True), evidence
    assert sent < 40


@pytest.mark.parametrize("kind", ["http", "prometheus"])
async def test_no_redirect_is_followed_and_no_connection_is_used_twice(kind) -> None:
    asked: list[str] = []
    peers: set[object] = set()

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        assert request.transport is not None
        peers.add(request.transport.get_extra_info("peername"))
        if request.path == "/elsewhere":
            body = matrix(samples(20)) if kind == "prometheus" else b'{"idle": true}'
            return web.Response(body=body, headers={"Date": format_datetime(NOW, usegmt=True)})
        return web.Response(status=307, headers={"Location": "/elsewhere"})

    boxes = [machine(n, private_ip=f"10.64.1.{n}") for n in range(1, 5)]
    async with server(answer) as url:
        source = http_source(url) if kind == "http" else prometheus(url)
        found = await ask(source, *boxes)
    assert {verdict for verdict, _ in found} == {Activity.UNKNOWN}
    assert "/elsewhere" not in asked
    assert len(peers) == len(asked) == 4


@pytest.mark.parametrize("kind", ["http", "prometheus"])
async def test_an_answer_that_comes_twice_is_not_the_next_machines(kind) -> None:
    """A peer that keeps the connection and sends each answer twice: the second is nobody's."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = re.search(rb"Content-Length: (\d+)", head)
            text = head + (await reader.readexactly(int(length[1])) if length else b"")
            busy = b"ps2" in text
            body = (
                matrix(samples(20, 1 if busy else 0))
                if kind == "prometheus"
                else json.dumps({"idle": not busy}).encode()
            )
            date = format_datetime(NOW, usegmt=True)
            one = f"HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
            writer.write(one + one)
            await writer.drain()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await serve(reader, writer)
        writer.close()

    listening = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with listening:
        url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        source = replace(http_source(url) if kind == "http" else prometheus(url), at_once=1)
        found = await ask(source, *(machine(n) for n in (1, 2, 3)))
    assert [verdict for verdict, _ in found] == [Activity.IDLE, Activity.ACTIVE, Activity.IDLE]


async def test_a_series_that_vanished_is_missed_when_the_window_has_moved_on_too() -> None:
    told = [samples(20), samples(20)]

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=matrix(*told), headers={"Date": format_datetime(NOW, usegmt=True)})

    async with server(answer) as url:
        source = prometheus(url)
        opened = open_sources({source.name: source}, lambda _machine, _now: None)[source.name]
        try:
            verdicts = []
            for series in (told, [samples(20)], [samples(20), samples(20)]):
                told = series
                verdicts.append((await opened.read([BOX], window=WINDOW, now=NOW))["ps1"].verdict)
        finally:
            await opened.aclose()
    assert verdicts == [Activity.IDLE, Activity.UNKNOWN, Activity.IDLE]


@pytest.mark.parametrize("changed", ["nothing", "the query"])
async def test_a_series_that_vanished_is_missed_after_a_restart_too(changed: str) -> None:
    """And after a reload. Another question is answered otherwise: nothing is missed there."""
    told = [samples(20), samples(20)]

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=matrix(*told), headers={"Date": format_datetime(NOW, usegmt=True)})

    async def verdict(rounds: Rounds, table: IdleSource) -> Activity:
        await rounds.use({"gpu": table})
        said = await rounds.ask(IdleRule(("gpu",), after=WINDOW), [BOX], [BOX], patience=None)
        return said["ps1"]["gpu"].verdict

    def opened() -> Rounds:
        return Rounds(lambda tables: open_sources(tables, lambda _machine, _now: None), Standing())

    async with server(answer) as url:
        first, table = opened(), prometheus(url)
        assert await verdict(first, table) is Activity.IDLE
        told = [samples(20)]
        if changed == "the query":
            table = replace(table, query='max(up{i="{id}"})')
        reloaded = await verdict(first, replace(table, timeout=timedelta(seconds=9)))
        memory = json.loads(json.dumps(first.memory))
        await first.aclose()
        second = opened()
        second.remind(memory)
        restarted = await verdict(second, table)
        await second.aclose()
    expected = Activity.UNKNOWN if changed == "nothing" else Activity.IDLE
    assert [reloaded, restarted] == [expected, expected]


class Standing:
    """A clock that stands still."""

    def now(self) -> datetime:
        return NOW


def prometheus(url: str) -> IdleSource:
    return IdleSource("gpu", "prometheus", url=url, query='up{i="{id}"}', below=0.5)


async def test_http_that_is_not_there() -> None:
    assert (await ask(http_source("http://127.0.0.1:1")))[0][0] is Activity.UNKNOWN


async def test_a_machine_without_what_is_asked_for_is_unknown() -> None:
    source = IdleSource("web", "http", url="http://127.0.0.1:1/{private_ip}")
    assert await ask(source, YOUNG) == [(Activity.UNKNOWN, "the machine has no private_ip yet")]


async def test_prometheus_errors_are_unknown() -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(status=503, text="starting")

    async with server(answer) as url:
        source = IdleSource("gpu", "prometheus", url=url, query='up{i="{id}"}', below=0.5)
        ((verdict, evidence),) = await ask(source)
    assert verdict is Activity.UNKNOWN
    assert "503" in evidence


@pytest.mark.parametrize(
    ("date", "verdict"),
    [
        pytest.param(format_datetime(NOW, usegmt=True), Activity.IDLE, id="its clock is ours"),
        pytest.param(format_datetime(NOW + timedelta(seconds=59), usegmt=True), Activity.IDLE, id="two steps apart"),
        pytest.param(format_datetime(NOW + timedelta(hours=2), usegmt=True), Activity.UNKNOWN, id="ours is behind"),
        pytest.param(format_datetime(NOW - timedelta(hours=2), usegmt=True), Activity.UNKNOWN, id="ours is ahead"),
        pytest.param("yesterday", Activity.UNKNOWN, id="nobody can tell"),
    ],
)
async def test_prometheus_is_believed_only_about_the_time_that_it_was_asked_about(date, verdict) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=matrix(samples(20)), headers={"Date": date})

    async with server(answer) as url:
        source = IdleSource("gpu", "prometheus", url=url, query='up{i="{id}"}', below=0.5)
        ((found, evidence),) = await ask(source)
    assert found is verdict, evidence
    assert ("clock" in evidence) is (verdict is Activity.UNKNOWN)


@pytest.mark.parametrize(
    ("query", "labels", "verdict"),
    [
        pytest.param('up{i="{private_ip}:9400"}', {"i": "10.64.1.99:9400"}, Activity.IDLE, id="its own"),
        pytest.param('up{i="{private_ip}:9400"}', {"i": "10.1.1.1:9400"}, Activity.UNKNOWN, id="another's"),
        pytest.param('max(up{i = "{private_ip}:9400"})', {}, Activity.IDLE, id="without the label"),
        pytest.param(
            'up{i="{private_ip}:1"} or up{i="{private_ip}:2"}', {"i": "10.64.1.99:2"}, Activity.IDLE, id="or"
        ),
        pytest.param('up{i=~"{private_ip}:.*"}', {"i": "10.64.1.99:9400"}, Activity.IDLE, id="by a pattern"),
        pytest.param('up{i=~"{private_ip}:.*"}', {"i": "10.1.1.1:9400"}, Activity.UNKNOWN, id="another's by pattern"),
        pytest.param('up{i=~"{private_ip}:.*"}', {"i": "10x64x1x99:9400"}, Activity.UNKNOWN, id="dots are dots"),
        pytest.param('up{i=~"{private_ip}:.*"}', {"i": "10.64.1.999:9400"}, Activity.UNKNOWN, id="a longer one's"),
        pytest.param('up{i=~"{private_ip}:94\\\\d+"}', {"i": "10.64.1.99:9400"}, Activity.IDLE, id="an escape in it"),
        pytest.param("up{i=~'{private_ip}:1|{private_ip}:2'}", {"i": "10.64.1.99:2"}, Activity.IDLE, id="one of two"),
        pytest.param('up{i=~"{private_ip}:[[:digit:]]+"}', {"i": "x"}, Activity.IDLE, id="what RE2 alone can read"),
        pytest.param('up{i=~"{private_ip}:.*",i!~".*:1"}', {"i": "x"}, Activity.IDLE, id="not by one pattern alone"),
        pytest.param('up{i!="x",h="{id}"}', {"i": "y", "h": "ps1"}, Activity.IDLE, id="by its id"),
        pytest.param('up{i!="x",h="{id}"}', {"i": "y", "h": "ps2"}, Activity.UNKNOWN, id="by another's id"),
        pytest.param('label_replace(up{i="{id}"}, "i", "x", "", "")', {"i": "x"}, Activity.IDLE, id="relabelled"),
    ],
)
async def test_series_of_another_machine_say_nothing(query, labels, verdict) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=answer_of({"metric": labels, "values": samples(20)}))

    async with server(answer) as url:
        ((found, evidence),) = await ask(IdleSource("gpu", "prometheus", url=url, query=query, below=0.5))
    assert found is verdict, evidence


@pytest.mark.parametrize(
    ("headers", "verdict"),
    [
        pytest.param({}, Activity.IDLE, id="made now"),
        pytest.param({"Age": "0"}, Activity.IDLE, id="through a cache that had none"),
        pytest.param({"Age": "3600"}, Activity.UNKNOWN, id="from a cache"),
        pytest.param({"Age": "old"}, Activity.UNKNOWN, id="of nobody knows when"),
        pytest.param(
            {"Date": format_datetime(NOW - timedelta(hours=1), usegmt=True)}, Activity.UNKNOWN, id="an hour old"
        ),
        pytest.param(
            {"Date": format_datetime(NOW + timedelta(hours=1), usegmt=True)}, Activity.UNKNOWN, id="to come"
        ),
        pytest.param({"Date": "yesterday"}, Activity.UNKNOWN, id="of a day that nobody can tell"),
        pytest.param([("Age", "0"), ("Age", "3600")], Activity.UNKNOWN, id="two ages"),
        pytest.param([("Date", OURS), ("Date", AN_HOUR_AGO)], Activity.UNKNOWN, id="two dates"),
        pytest.param([("Date", AN_HOUR_AGO), ("Date", OURS)], Activity.UNKNOWN, id="two dates, the old one first"),
        pytest.param({"Warning": '110 - "Response is Stale"'}, Activity.UNKNOWN, id="a cache warns that it is old"),
        pytest.param({"Content-Range": "bytes 0-13/40"}, Activity.UNKNOWN, id="a part"),
        pytest.param({"Content-Type": "multipart/byteranges; boundary=x"}, Activity.UNKNOWN, id="parts"),
    ],
)
async def test_http_is_believed_only_about_now(headers, verdict) -> None:
    async def answer(request: web.Request) -> web.Response:
        assert request.headers["Cache-Control"] == "no-cache"
        return web.Response(body=b'{"idle": true}', headers=CIMultiDict(headers))

    async with server(answer) as url:
        ((found, evidence),) = await ask(http_source(url))
    assert found is verdict, evidence


def command(code: str, *, seconds: float = 5) -> IdleSource:
    argv = (sys.executable, "-c", code, "{id}", "{private_ip}")
    return IdleSource("job", "exec", argv=argv, timeout=timedelta(seconds=seconds))


SAYS = "import sys, json; print(json.dumps({'idle': %s, 'evidence': ' '.join(sys.argv[1:])}))"


@pytest.mark.parametrize(
    ("code", "verdict", "evidence"),
    [
        (SAYS % "True", Activity.IDLE, "ps1 10.64.1.99"),
        (SAYS % "False", Activity.ACTIVE, "ps1 10.64.1.99"),
        ("print('{}')", Activity.UNKNOWN, "not the JSON"),
        ("import sys; print('{\"idle\": true}'); sys.exit(3)", Activity.UNKNOWN, "exit status 3"),
        ("print('x' * 200_000)", Activity.UNKNOWN, "too much"),
        (
            "import os, json; print(json.dumps({'idle': True, 'evidence': str('PAPERSPACE_API_KEY' in os.environ)}))",
            Activity.IDLE,
            "False",
        ),
    ],
)
async def test_exec(code, verdict, evidence, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAPERSPACE_API_KEY", "secret")
    ((found, words),) = await ask(command(code))
    assert (found, evidence in words) == (verdict, True), words


async def test_exec_that_cannot_be_run() -> None:
    ((found, words),) = await ask(IdleSource("job", "exec", argv=("/no/such/program",)))
    assert found is Activity.UNKNOWN
    assert "cannot be run" in words


SLEEPS = "open({here!r}, 'w').write(str(__import__('os').getpid())); __import__('time').sleep(600)"
LEAVE = {
    "in its group": "subprocess.Popen([sys.executable, '-c', child])",
    "in a session of its own": "subprocess.Popen([sys.executable, '-c', child], start_new_session=True)",
    "in a session of its own, without its environment": (
        "subprocess.Popen([sys.executable, '-c', child], start_new_session=True, env={})"
    ),
    "a daemon": "os.fork() or (os.setsid(), os.fork() and os._exit(0), exec(child))",
    "a daemon of a daemon": (
        "os.fork() or (os.setsid(), os.fork() and os._exit(0), os.setsid(), os.fork() and os._exit(0), exec(child))"
    ),
}


@pytest.mark.parametrize("ends", [True, False], ids=["ends by itself", "runs out of time"])
@pytest.mark.parametrize("leave", LEAVE.values(), ids=LEAVE.keys())
async def test_nothing_that_a_command_started_outlives_it(leave: str, ends: bool, tmp_path: Path) -> None:
    here = tmp_path / "pid"
    last = "print('{\"idle\": true}', flush=True)" if ends else "time.sleep(600)"
    code = (
        f"import os, subprocess, sys, time\nchild = {SLEEPS.format(here=str(here))!r}\n{leave}\n"
        f"while not (os.path.exists({str(here)!r}) and open({str(here)!r}).read()): time.sleep(0.01)\n"
        f"os.close(1) if {not ends} else None\n{last}\nos._exit(0)"
    )
    begun = time.monotonic()
    bystander = subprocess.Popen(["sleep", "600"])  # noqa: ASYNC220 - it is only there
    try:
        ((found, words),) = await ask(command(code, seconds=2))
        assert bystander.poll() is None, "a child that no command started"
    finally:
        bystander.kill()
        bystander.wait()
    assert time.monotonic() - begun < 15
    assert not Path(f"/proc/{here.read_text()}").exists(), words  # noqa: ASYNC240
    if not ends:
        assert (found, "within 2 s" in words) == (Activity.UNKNOWN, True), words


@pytest.mark.parametrize(("lease", "verdict"), [(None, Activity.IDLE), ("job 7 until six", Activity.ACTIVE)])
async def test_leases(lease, verdict) -> None:
    assert (await ask(IdleSource("jobs", "lease"), lease=lease))[0][0] is verdict


async def test_uptime_says_idle() -> None:
    assert (await ask(IdleSource("life", "uptime")))[0][0] is Activity.IDLE


@pytest.mark.parametrize("by", [0, 1, 600, 86_400])
async def test_a_time_that_goes_by_twice_is_unknown(by: int) -> None:
    """The host's clock is set back; its Prometheus has samples of the first time, and takes none of the second."""
    now = [NOW]

    def told(heard: Heard) -> bytes:
        form = dict(parse_qsl(heard.raw.decode()))
        start, end, step = (float(form[name]) for name in ("start", "end", "step"))
        times = [start + n * step for n in range(int((end - start) / step) + 1)]
        headers = {"Date": format_datetime(now[0], usegmt=True)}
        return scripted_answer(200, body=matrix([(at, "0") for at in times]), headers=headers)

    async def verdict(at: datetime, source: Source) -> Activity:
        now[0] = at
        return (await source.read([BOX], window=WINDOW, now=at))["ps1"].verdict

    async with scripted(told) as double:
        table = prometheus(double.url)

        def opened() -> Source:
            return open_sources({table.name: table}, lambda _machine, _now: None)[table.name]

        first = opened()
        assert await verdict(NOW, first) is Activity.IDLE
        back = NOW - timedelta(seconds=by + 0.5)
        found = [await verdict(back, first), await verdict(back + timedelta(seconds=60), first)]
        assert isinstance(first, PrometheusSource)
        second = opened()
        assert isinstance(second, PrometheusSource)
        second.remind(first.learnt())
        restarted = await verdict(back + timedelta(seconds=120), second)
        found += [await verdict(NOW + WINDOW + timedelta(seconds=1), one) for one in (first, second)]
        await first.aclose()
        await second.aclose()
    twice = Activity.UNKNOWN if by else Activity.IDLE
    assert found == [twice, twice, Activity.IDLE, Activity.IDLE]
    assert restarted is twice
