"""Idle sources against real peers over loopback: what cannot be told is unknown, never idle."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from email.utils import format_datetime
from pathlib import Path

import anyio
import pytest
from aiohttp import web

from fleetd.activity.fill import fill_argument, fill_promql, fill_url
from fleetd.activity.opening import open_sources
from fleetd.activity.prometheus import Unusable, judge_answer, judge_samples
from fleetd.model.machine import Machine
from fleetd.model.settings import IdleSource
from fleetd.planner.idle import Activity
from tests.support.build import NOW, machine

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


def test_urls_are_encoded_and_arguments_are_not() -> None:
    assert fill_url("http://x/{name}?ip={private_ip}", HOSTILE) == "http://x/a%22b%5Cc%7Bd%7D.%2A?ip=10.0.0.1"
    assert fill_argument("--host={name}", HOSTILE) == '--host=a"b\\c{d}.*'


def matrix(*series: list[tuple[float, str]], **more: object) -> bytes:
    result = [{"metric": {}, "values": values} for values in series]
    return json.dumps({"status": "success", "data": {"resultType": "matrix", "result": result}, **more}).encode()


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"<html>", "not an answer"),
        (b'{"status": "error", "error": "bad query"}', "bad query"),
        (matrix([(1, "0")], warnings=["shard down"]), "shard down"),
        (matrix(), "no series"),
        (matrix([(1, "0")], [(1, "0")]), "2 series"),
        (matrix([(1, "0"), (2, "NaN")]), "not a number"),
        (matrix([(1, "much")]), "not a number"),
        (b'{"status": "success", "data": {"resultType": "scalar", "result": []}}', "no series"),
    ],
)
def test_answers_from_which_nothing_follows(body, why) -> None:
    with pytest.raises(Unusable, match=why):
        judge_answer(body)


def samples(count: int, value: float = 0.0, *, until: float = 0.0) -> list[tuple[float, float]]:
    end = NOW.timestamp() - until
    return [(end - 30 * i, value) for i in reversed(range(count))]


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        pytest.param(samples(20), Activity.IDLE, id="whole"),
        pytest.param(samples(18), Activity.IDLE, id="nine tenths"),
        pytest.param(samples(17), Activity.UNKNOWN, id="less"),
        pytest.param([*samples(20)[:-1], (NOW.timestamp(), 0.02)], Activity.ACTIVE, id="one busy sample"),
        pytest.param([(NOW.timestamp(), 1.0)], Activity.ACTIVE, id="use is use, covered or not"),
        pytest.param(samples(20, until=61), Activity.UNKNOWN, id="old"),
        pytest.param([], Activity.UNKNOWN, id="nothing"),
        pytest.param(samples(20, float("inf")), Activity.ACTIVE, id="infinite"),
    ],
)
def test_samples(found, verdict) -> None:
    assert judge_samples(found, 0.02, WINDOW, timedelta(seconds=30), NOW)[0] is verdict


@asynccontextmanager
async def server(handler) -> AsyncIterator[str]:
    app = web.Application()
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
        assert await ask(http_source(url)) == [(Activity.UNKNOWN, "no answer: ValueError longer than 65536 bytes")]


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
        body = matrix([(at, str(value)) for at, value in samples(20)])
        return web.Response(body=body, headers={"Date": date})

    async with server(answer) as url:
        source = IdleSource("gpu", "prometheus", url=url, query='up{i="{id}"}', below=0.5)
        ((found, evidence),) = await ask(source)
    assert found is verdict, evidence
    assert ("clock" in evidence) is (verdict is Activity.UNKNOWN)


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


async def test_exec_is_killed_with_its_children_when_time_is_up(tmp_path: Path) -> None:
    mark = tmp_path / "alive"
    child = f"import time; time.sleep(3); open({str(mark)!r}, 'w')"
    code = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {child!r}]); time.sleep(60)"
    begun = time.monotonic()
    ((found, words),) = await ask(command(code, seconds=1))
    assert found is Activity.UNKNOWN
    assert "within 1 s" in words
    assert time.monotonic() - begun < 10
    await anyio.sleep(3)
    assert not mark.exists()


@pytest.mark.parametrize(("lease", "verdict"), [(None, Activity.IDLE), ("job 7 until six", Activity.ACTIVE)])
async def test_leases(lease, verdict) -> None:
    assert (await ask(IdleSource("jobs", "lease"), lease=lease))[0][0] is verdict


async def test_uptime_says_idle() -> None:
    assert (await ask(IdleSource("life", "uptime")))[0][0] is Activity.IDLE
