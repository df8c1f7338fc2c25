"""The read-only endpoints, over real TCP on loopback."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import anyio
import pytest
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from fleetd.model.errors import ListenFailed
from fleetd.model.report import encoded
from fleetd.ops import http_answers
from fleetd.ops.http import serve_http
from fleetd.ops.metrics import Metrics
from tests.support.fake_handle import AT, FakeHandle, a_machine, a_report
from tests.support.ports import free_port

PATHS = ("/livez", "/readyz", "/metrics", "/status.json")


@pytest.fixture
def handle() -> FakeHandle:
    return FakeHandle()


@asynccontextmanager
async def served(handle: FakeHandle, listen: str = "127.0.0.1:0", **more: Any) -> AsyncIterator[str]:
    async with serve_http(handle, Metrics(version="1"), listen, now=lambda: AT, **more) as url:
        assert url is not None
        yield url


async def get(url: str, method: str = "GET", **headers: str) -> tuple[int, str, aiohttp.ClientResponse]:
    async with aiohttp.ClientSession() as session, session.request(method, url, headers=headers) as answer:
        return answer.status, await answer.text(), answer


async def test_status_and_metrics_show_the_seats_report(handle: FakeHandle) -> None:
    async with served(handle) as url:
        status, text, answer = await get(f"{url}/status.json")
        assert (status, json.loads(text), answer.content_type) == (
            200,
            json.loads(encoded(a_report())),
            "application/json",
        )
        status, text, answer = await get(f"{url}/metrics")
    assert status == 200
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert families["fleetd_fleet_target"].samples[0].value == 2
    assert families["fleetd_observation_age_seconds"].samples[0].value == 10


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
async def test_probes(handle: FakeHandle, path: str) -> None:
    word = {"/livez": "alive", "/readyz": "ready"}[path]
    async with served(handle) as url:
        assert (await get(url + path))[:2] == (200, json.dumps({word: True}))
        handle.sick, handle.unready = "no pass has begun for 400 s", "no pass has ended well yet"
        status, text, _ = await get(url + path)
    assert status == 503
    assert json.loads(text) == {word: False, "reason": {"alive": handle.sick, "ready": handle.unready}[word]}


async def test_a_provider_that_is_down_is_no_reason_to_restart_the_daemon(handle: FakeHandle) -> None:
    handle.unready = "connection refused"
    async with served(handle) as url:
        assert (await get(f"{url}/livez"))[0] == 200
        assert (await get(f"{url}/readyz"))[0] == 503


@pytest.mark.parametrize(
    ("host", "welcome"),
    [
        pytest.param("127.0.0.1", True, id="the address"),
        pytest.param("127.0.0.1:8750", True, id="with a port"),
        pytest.param("127.1.2.3", True, id="another loopback address"),
        pytest.param("localhost", True, id="localhost"),
        pytest.param("LOCALHOST.:1", True, id="localhost, spelt oddly"),
        pytest.param("[::1]:8750", True, id="IPv6 loopback"),
        pytest.param(os.uname().nodename, True, id="this machine's name"),
        pytest.param("evil.example", False, id="a name that was rebound"),
        pytest.param("evil.example:8750", False, id="with a port too"),
        pytest.param("localhost.evil.example", False, id="a name that begins well"),
        pytest.param("127.0.0.1.evil.example", False, id="an address that goes on"),
        pytest.param("localhost@evil.example", False, id="a user called localhost"),
        pytest.param("0.0.0.0", False, id="the unspecified address"),
        pytest.param("192.0.2.7", False, id="an address that was not called"),
        pytest.param("[::1", False, id="half an address"),
        pytest.param("", False, id="empty"),
        pytest.param("a b", False, id="garbage"),
    ],
)
async def test_the_host_header_must_name_this_machine(handle: FakeHandle, host: str, welcome: bool) -> None:
    async with served(handle) as url:
        for path in PATHS:
            status, text, _ = await get(url + path, Host=host)
            assert status == (200 if welcome else 421), text
            assert welcome or "training" not in text


async def test_no_host_header_at_all(handle: FakeHandle) -> None:
    async with served(handle) as url:
        answer = await raw(url, b"GET /status.json HTTP/1.0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.0 421")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
async def test_nothing_can_be_written(handle: FakeHandle, method: str) -> None:
    async with served(handle) as url:
        for path in (*PATHS, "/veto", "/reload"):
            status, text, answer = await get(url + path, method, Origin="http://localhost:8750")
            assert status == (405 if path in PATHS else 404)
            assert json.loads(text)["error"]["status"] == status
            assert not [name for name in answer.headers if name.lower().startswith("access-control")]
            if status == 405:
                assert answer.headers["Allow"] == "GET,HEAD"
    assert handle.asked == []


async def test_head_is_get_without_a_body(handle: FakeHandle) -> None:
    async with served(handle) as url:
        for path in PATHS:
            assert (await get(url + path, "HEAD"))[:2] == (200, "")


async def test_every_answer_carries_the_headers_that_keep_browsers_in_bounds(handle: FakeHandle) -> None:
    async def page(_request: web.Request) -> web.Response:
        return web.Response(text="<p>", content_type="text/html", headers={"Content-Security-Policy": "its own"})

    async with served(handle, pages=[web.get("/", page)]) as url:
        for path in (*PATHS, "/nowhere"):
            _, _, answer = await get(url + path, Origin="http://evil.example")
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["X-Frame-Options"] == "DENY"
            assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
            assert answer.headers["Referrer-Policy"] == "no-referrer"
            assert answer.headers["Cache-Control"] == "no-store"
            assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
            assert answer.headers["Server"] == "fleetd"
            assert "Access-Control-Allow-Origin" not in answer.headers
        _, _, answer = await get(url + "/")
        assert answer.headers["Content-Security-Policy"] == "its own"


async def raw(url: str, sent: bytes) -> bytes:
    """What comes back for these bytes, until the server closes."""
    port = int(url.rpartition(":")[2])
    received = b""
    with anyio.fail_after(10):
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            try:
                await stream.send(sent)
                while True:
                    received += await stream.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return received


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", id="TLS"),
        pytest.param(b"GET / HTTP/9.9\r\n\r\n", id="another version"),
        pytest.param(b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n", id="an endless path"),
        pytest.param(b"GET / HTTP/1.1\r\nX: " + b"a" * 20_000 + b"\r\n\r\n", id="an endless header"),
        pytest.param(b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 5000 + b"\r\n", id="endless headers"),
        pytest.param(b"GET /status.json HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", id="two hosts"),
        pytest.param(
            b"GET /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            id="two lengths",
        ),
        pytest.param(
            b"GET /%00%ff/../../etc/passwd HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", id="path"
        ),
    ],
)
async def test_nonsense_is_answered_or_cut_off_and_never_logged(handle: FakeHandle, sent: bytes, caplog) -> None:
    with capture_logs() as logs:
        async with served(handle) as url:
            answer = await raw(url, sent)
            assert answer == b"" or answer.split()[1][:1] == b"4", answer
            assert b"training" not in answer
            assert (await get(f"{url}/livez"))[0] == 200
    assert [x["event"] for x in logs] == ["endpoint.opened"]
    assert [r for r in caplog.records if r.levelname in {"WARNING", "ERROR"}] == []


async def test_a_connection_that_sends_nothing_is_closed(handle: FakeHandle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_answers, "PATIENCE", 0.2)
    async with served(handle) as url:
        assert await raw(url, b"") == b""
        assert await raw(url, b"GET /livez HTTP/1.1\r\nHost: loc") == b""


async def test_a_bug_is_an_answer_and_a_line_in_the_log(handle: FakeHandle) -> None:
    handle.answer = {"broken": True}
    with capture_logs() as logs:
        async with served(handle) as url:
            status, text, _ = await get(f"{url}/metrics")
            assert (await get(f"{url}/livez"))[0] == 200
    assert status == 500
    assert "Traceback" not in text
    assert json.loads(text)["error"]["message"] == "fleetd failed on this request; its log says how"
    assert [(x["event"], x.get("path")) for x in logs] == [("endpoint.opened", None), ("request.crashed", "/metrics")]


async def test_a_hostile_name_stays_data(handle: FakeHandle) -> None:
    name = '<script>alert(1)</script>\x1b[2J\ud800"'
    handle.answer = a_report(machines=[a_machine(name)])
    async with served(handle) as url:
        _, text, answer = await get(f"{url}/status.json")
        assert answer.content_type == "application/json"
        assert text.isascii()
        assert json.loads(text)["machines"][0]["name"] == name
        status, metrics, _ = await get(f"{url}/metrics")
    assert status == 200
    assert "script" not in metrics


async def test_nothing_is_served_where_listen_is_empty(handle: FakeHandle) -> None:
    async with serve_http(handle, Metrics(version="1"), "", now=lambda: AT) as url:
        assert url is None


async def test_localhost_is_served_on_every_address_it_has(handle: FakeHandle) -> None:
    port = free_port()
    async with served(handle, f"localhost:{port}"):
        assert (await get(f"http://127.0.0.1:{port}/livez"))[0] == 200


@pytest.mark.parametrize(
    ("listen", "why"),
    [
        pytest.param("127.0.0.1:{taken}", "in use", id="taken"),
        pytest.param("192.0.2.1:8750", "assign", id="not this machine's"),
        pytest.param("no-such-host.invalid:8750", "daemon.listen", id="no such host"),
    ],
)
async def test_an_address_that_cannot_be_had_is_one_clear_error(handle: FakeHandle, listen: str, why: str) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        listen = listen.format(taken=other.getsockname()[1])
        with pytest.raises(ListenFailed, match=why) as caught:
            async with serve_http(handle, Metrics(version="1"), listen, now=lambda: AT):
                pass
    assert str(caught.value).startswith(f"daemon.listen: {listen}: ")


async def test_requests_under_way_do_not_hold_up_a_stop(handle: FakeHandle) -> None:
    begun = anyio.Event()

    async def slow(_request: web.Request) -> web.Response:
        begun.set()
        await anyio.sleep_forever()
        raise AssertionError

    async with anyio.create_task_group() as group:
        with anyio.fail_after(10):
            async with served(handle, pages=[web.get("/slow", slow)]) as url:
                group.start_soon(raw, url, b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
                await begun.wait()


HELD = {
    "idle": b"",
    "half a request": b"GET /livez HT",
    "half a header": b"GET /livez HTTP/1.1\r\nHost: local",
    "answered once": b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a stream": b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "never read": b"GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n" * 50,
}


@pytest.mark.parametrize("sent", HELD.values(), ids=HELD.keys())
@pytest.mark.parametrize("count", [5, 6, 60])
async def test_however_many_connections_are_held_the_probes_are_answered(
    handle: FakeHandle, monkeypatch: pytest.MonkeyPatch, sent: bytes, count: int
) -> None:
    """Each holds a descriptor, and the provider's connections need some as well: the oldest makes room."""
    monkeypatch.setattr(http_answers, "MOST_CONNECTIONS", 5)

    async def slow(_request: web.Request) -> web.Response:
        await anyio.sleep(60)
        return web.Response()

    async def big(_request: web.Request) -> web.Response:
        return web.Response(body=b"x" * 4_000_000)

    async with served(handle, pages=[web.get("/slow", slow), web.get("/big", big)]) as url:
        port = int(url.rpartition(":")[2])
        held = []
        for _ in range(count):
            held.append(await asyncio.open_connection("127.0.0.1", port))
            held[-1][1].write(sent)
        await anyio.sleep(0.05)
        for path in ("/livez", "/metrics", "/livez"):
            with anyio.fail_after(1):
                assert (await get(f"{url}{path}"))[0] == 200
        left = 0
        for reader, writer in held:
            try:
                with anyio.fail_after(0.05), suppress(ConnectionError):
                    await reader.read()
            except TimeoutError:
                left += 1
            writer.transport.abort()
        assert left <= 5


async def test_a_request_that_is_being_answered_outlives_the_idle_ones(
    handle: FakeHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_answers, "MOST_CONNECTIONS", 5)

    async def slow(_request: web.Request) -> web.Response:
        await anyio.sleep(0.3)
        return web.Response(text="done")

    async with served(handle, pages=[web.get("/slow", slow)]) as url, anyio.create_task_group() as group:
        port = int(url.rpartition(":")[2])
        outcome: list[int] = []

        async def ask() -> None:
            outcome.append((await get(f"{url}/slow"))[0])

        group.start_soon(ask)
        await anyio.sleep(0.1)
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(40)]
        await anyio.sleep(0.4)
        assert outcome == [200]
        for _, writer in held:
            writer.transport.abort()
