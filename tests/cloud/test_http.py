"""What the HTTP client itself says: its requests' lines, its errors, its headers and its addresses."""

from __future__ import annotations

import random
import ssl
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any
from unittest import mock

import aiohttp
import anyio
import pytest
from structlog.testing import capture_logs

from fleetd import __version__
from fleetd.cloud import http as module
from fleetd.cloud.calls import Answer, Call, Effect, HttpLimits, KeyHeader
from fleetd.cloud.core.errors import classify
from fleetd.cloud.http import HttpClient
from fleetd.cloud.progress import Progress
from fleetd.cloud.rate import FIRST
from fleetd.cloud.retry import RetryPolicy
from fleetd.cloud.unpacking import BadCoding
from fleetd.model.errors import (
    Ambiguous,
    Busy,
    CloudError,
    MalformedAnswer,
    NotFound,
    RateLimited,
    Refused,
    Unauthorized,
    Unavailable,
    Untrusted,
    Withheld,
)
from tests.support.scripted_server import HANG, RESET, answer, scripted
from tests.support.virtual_time import virtual

READ = Call("show", "GET", "/show", query={"machineId": "ps 1&2"}, names_machine=True)
LIST = Call("list", "GET", "/list")
STOP = Call("stop", "POST", "/ps1/stop", Effect.REPEATABLE, body={"a": [1, None]}, names_machine=True)
RESTART = Call("restart", "POST", "/ps1/restart", Effect.ONCE, body={}, names_machine=True)
CREATE = Call("create", "POST", "/create", Effect.ONCE, body={}, needs_body=True)
KEY = "s3cr3t-k3y"
NOW = datetime(2030, 3, 5, 10, 0, tzinfo=UTC)


def made(url: str = "https://api.example.test", *, key: str = KEY, read: Any = classify, **more: Any) -> HttpClient:
    more.setdefault("retries", RetryPolicy(attempts=1))
    return HttpClient(url, KeyHeader("x-api-key", lambda: key, "Key "), read, rng=random.Random(3), **more)


@asynccontextmanager
async def client(url: str, **more: Any):
    opened = made(url, **more)
    try:
        yield opened
    finally:
        await opened.aclose()


async def caught(call: Call, url: str, **more: Any) -> CloudError:
    async with client(url, **more) as opened:
        with pytest.raises(CloudError) as raised:
            await opened.send(call)
    return raised.value


SAID: list[Any] = [
    pytest.param(answer(200, {}), READ, {"event": "request.answered", "code": "200"}, id="answered"),
    pytest.param(
        answer(404, {"message": "Machine not found"}),
        READ,
        {"event": "request.failed", "code": "404", "kind": "NotFound", "error": "Machine not found"},
        id="declined",
    ),
    pytest.param(HANG, STOP, {"event": "request.failed", "code": "timeout", "kind": "Ambiguous"}, id="timeout"),
    pytest.param(RESET, READ, {"event": "request.failed", "code": "lost", "kind": "Unavailable"}, id="lost"),
]


@pytest.mark.parametrize(("said", "call", "line"), SAID)
@virtual
async def test_every_request_has_a_line(said: Any, call: Call, line: dict[str, str]) -> None:
    told: list[tuple[str, str, float]] = []
    async with (
        scripted(said, latency=0.25) as server,
        client(
            server.url,
            limits=HttpLimits(request_timeout=2.0),
            on_request=lambda name, code, seconds: told.append((name, code, seconds)),
        ) as opened,
    ):
        await anyio.sleep(100)
        with capture_logs() as logs, suppress(CloudError):
            await opened.send(call)
    (entry,) = logs
    assert (
        entry.items()
        >= {
            **line,
            "log_level": "debug",
            "operation": call.operation,
            "method": call.method,
            "path": call.path,
            "duration_s": 2.0 if said == HANG else 0.25,
        }.items()
    )
    assert entry.keys() - {"kind", "error"} == {
        *("event", "log_level", "operation", "method", "path", "code", "duration_s")
    }
    assert [(name, code, round(seconds, 3)) for name, code, seconds in told] == [
        (call.operation, line["code"], entry["duration_s"])
    ]


@virtual
async def test_what_a_request_carries() -> None:
    async with scripted(answer(200, {})) as server, client(f"{server.url}/v1/") as opened:
        await opened.send(READ)
        await opened.send(STOP)
    look, stop = server.requests
    assert (look.method, look.target, look.raw) == ("GET", "/v1/show?machineId=ps%201%262", b"")
    assert (stop.method, stop.target, stop.body) == ("POST", "/v1/ps1/stop", {"a": [1, None]})
    for heard in (look, stop):
        headers = {name.lower(): value for name, value in heard.headers.items()}
        assert headers["x-api-key"] == f"Key {KEY}"
        assert headers["accept"] == "application/json"
        assert headers["accept-encoding"] == "gzip, deflate"
        assert headers["user-agent"] == f"fleetd/{__version__}"
        assert headers.get("content-type") == (None if heard is look else "application/json")


@pytest.mark.parametrize("key", ["", "schlüssel", "two\nlines"])
async def test_a_key_that_no_header_can_carry_is_said_of_the_call(key: str) -> None:
    error = await caught(STOP, "http://127.0.0.1:1", key=key)
    assert (type(error), error.operation) == (Unauthorized, "stop")


@pytest.mark.parametrize(
    ("call", "body", "value"),
    [
        (READ, b'{"a": 1}', {"a": 1}),
        (STOP, b'{"a": 1}', {"a": 1}),
        (STOP, b"<html>", None),
        (RESTART, b"", None),
        (READ, b"<html>", MalformedAnswer),
        (CREATE, b"<html>", Ambiguous),
    ],
)
def test_a_body_is_read_where_it_matters(call: Call, body: bytes, value: Any) -> None:
    opened = made()
    if not isinstance(value, type):
        assert opened.read_json(call, Answer(201, body)) == value
        return
    with pytest.raises(CloudError) as raised:
        opened.read_json(call, Answer(201, body))
    assert (type(raised.value), raised.value.operation, raised.value.status) == (value, call.operation, 201)
    assert raised.value.message.startswith("the answer is not JSON: ")


@pytest.mark.parametrize(
    ("call", "kind"), [(READ, MalformedAnswer), (STOP, Ambiguous), (RESTART, Ambiguous), (CREATE, Ambiguous)]
)
def test_what_is_not_understood_is_said_of_the_call_without_the_key(call: Call, kind: type[CloudError]) -> None:
    error = made().malformed(call, f"odd:\n{KEY}", status=202)
    assert (type(error), error.operation, error.status, error.message) == (kind, call.operation, 202, "odd: ***")
    assert made().malformed(call, "odd").status is None


FOUND: list[tuple[CloudError, dict[str, type[CloudError]]]] = [
    # what the dialect makes of it, and what it is for a look, a list, a stop, a restart and a create
    (NotFound("x", status=404), {"list": Refused, "create": Refused}),
    (Busy("x", status=409), {"list": Refused, "create": Refused}),
    (Refused("x", status=400), {}),
    (Refused("x", status=403), {"show": Unavailable, "list": Unavailable}),
    (Unauthorized("x", status=401), {}),
    (RateLimited("x", status=429), {"restart": Ambiguous, "create": Ambiguous}),
    (Unavailable("x", status=500), {"stop": Ambiguous, "restart": Ambiguous, "create": Ambiguous}),
    (Refused("x", status=500), {"restart": Ambiguous, "create": Ambiguous}),
    (Refused("x", status=408), {"restart": Ambiguous, "create": Ambiguous}),
]


@pytest.mark.parametrize("status", [200, 400, 500, 408])
@pytest.mark.parametrize(("found", "otherwise"), FOUND, ids=[f"{type(f).__name__} {f.status}" for f, _ in FOUND])
@pytest.mark.parametrize("call", [READ, LIST, STOP, RESTART, CREATE], ids=lambda call: call.operation)
def test_what_an_answer_stands_for_is_decided_by_the_calls_effect(
    found: CloudError, otherwise: dict[str, type[CloudError]], call: Call, status: int
) -> None:
    seen: list[Any] = []

    def read(*told: Any) -> CloudError:
        seen.append(told)
        return found

    error = made(read=read).declined(call, Answer(status, b"body"))
    assert seen == [(status, {}, b"body")]
    kind = otherwise.get(call.operation, type(found))
    if call.effect is Effect.ONCE and status in {500, 408}:
        kind = Ambiguous
    assert (type(error), error.operation, error.message, error.status) == (kind, call.operation, "x", found.status)


def test_where_the_dialect_tells_no_status_the_answers_counts() -> None:
    assert made(read=lambda *_: Refused(f"no {KEY}")).declined(READ, Answer(418, b"")).status == 418
    assert made(read=lambda *_: Refused(f"no {KEY}")).declined(READ, Answer(418, b"")).message == "no ***"


@pytest.mark.parametrize(
    ("status", "headers", "call", "kind", "seconds"),
    [
        (429, {"Retry-After": "7"}, READ, RateLimited, 7.0),
        (503, {"Retry-After": "7"}, STOP, RateLimited, 7.0),
        (500, {"Retry-After": "7"}, STOP, Ambiguous, 7.0),
        (500, {}, READ, Unavailable, None),
        (503, {"Retry-After": "Tue, 05 Mar 2030 10:00:30 GMT"}, READ, RateLimited, 30.0),
    ],
)
@virtual
async def test_how_long_to_wait_comes_along(
    status: int, headers: dict[str, str], call: Call, kind: type[CloudError], seconds: float | None
) -> None:
    async with scripted(answer(status, headers=headers)) as server:
        error = await caught(call, server.url, now=lambda: NOW)
    assert (type(error), getattr(error, "retry_after", "")) == (kind, seconds)


@pytest.mark.parametrize("status", [300, 302, 399])
@virtual
async def test_a_redirect_says_where_to(status: int) -> None:
    async with scripted(answer(status, headers={"Location": "https://elsewhere.test/"}), answer(status)) as server:
        first, second = await caught(READ, server.url), await caught(READ, server.url)
    assert first.message == "redirected to https://elsewhere.test/: check the base URL"
    assert len(server.requests) == 2
    assert type(first) is type(second) is Refused
    assert first.status == status


async def test_without_a_place_to_go_a_redirect_says_nowhere() -> None:
    assert made()._declined(READ, 302, {}, b"").error.message == "redirected to nowhere: check the base URL"


@pytest.mark.parametrize(
    ("said", "call", "message"),
    [
        (HANG, READ, "no answer within 2 s"),
        (HANG, STOP, "no answer within 2 s"),
        (RESET, STOP, "the connection broke before the answer was complete: "),
        (b"SSH-2.0\r\n", READ, "the connection broke before the answer was complete: "),
    ],
)
@virtual
async def test_a_call_without_an_answer_says_what_happened(said: Any, call: Call, message: str) -> None:
    async with scripted(said) as server:
        error = await caught(call, server.url, limits=HttpLimits(request_timeout=2.0))
    assert error.message.startswith(message)
    assert (error.operation, error.status) == (call.operation, None)
    shown = error.__cause__ is not None
    assert shown is (said in {HANG, RESET}), (
        "what the library raised says more, and of an odd answer it shows the key"
    )


@pytest.mark.parametrize(("seconds", "sent"), [(-1.0, False), (0.0, False), (0.5, True)])
@virtual
async def test_no_request_begins_without_time_for_it(seconds: float, sent: bool) -> None:
    told: list[Any] = []
    async with (
        scripted(answer(200, {})) as server,
        client(server.url, on_request=lambda *seen: told.append(seen[:2])) as opened,
    ):
        came = await opened._exchange(READ, {}, seconds)
    assert (len(server.requests), len(told)) == ((1, 1) if sent else (0, 0))
    if not sent:
        assert not isinstance(came, Answer)
        assert (type(came.error), came.cause) == (Unavailable, None)
        assert str(came.error) == "show: no time was left to try again"


def test_an_answer_may_be_packed_in_ways_that_are_unpacked_here_and_no_other() -> None:
    assert made()._headers(READ)["Accept-Encoding"] == "gzip, deflate"


async def test_without_a_connection_it_is_said_that_there_was_none() -> None:
    told: list[Any] = []
    error = await caught(CREATE, "http://127.0.0.1:1", on_request=lambda *seen: told.append(seen[:2]))
    assert (type(error), error.operation) == (Unavailable, "create")
    assert error.message.startswith("no connection: ")
    assert told == [("create", "unreachable")]


@virtual
async def test_what_is_held_back_is_counted_as_that_and_says_of_which_call() -> None:
    def leave() -> None:
        raise Withheld("frozen")

    told: list[Any] = []
    async with (
        scripted(answer(200, {})) as server,
        client(server.url, on_request=lambda *seen: told.append(seen[:2])) as opened,
        opened.place(2, leave=leave) as place,
    ):
        await place.send(READ)
        with pytest.raises(Withheld, match="frozen") as raised:
            await place.send(STOP)
    assert raised.value.operation == "stop"
    assert told == [("show", "200"), ("stop", "withheld")]


@virtual
async def test_a_body_that_is_too_long_is_said_with_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BODY_LIMIT", 100)
    told: list[Any] = []
    async with scripted(answer(200, ["x" * 200])) as server:
        error = await caught(LIST, server.url, on_request=lambda *seen: told.append(seen[:2]))
    assert (type(error), error.message) == (MalformedAnswer, "the answer has more than 100 bytes")
    assert told == [("list", "200")]


@virtual
async def test_what_a_write_came_to_is_known_from_the_head_of_its_answer() -> None:
    cut = b"HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\n{"
    told: list[Any] = []
    async with (
        scripted(cut) as server,
        client(server.url, on_request=lambda *seen: told.append(seen[:2])) as opened,
    ):
        assert await opened.send(STOP) == Answer(201, b"")
        with pytest.raises(Ambiguous):
            await opened.send(CREATE)
    assert told == [("stop", "201"), ("create", "timeout")]


@virtual
async def test_who_is_due_when() -> None:
    opened, now = made(), anyio.current_time()
    assert opened._due(LIST) == FIRST
    assert opened._due(STOP) == opened._due(CREATE) == now
    assert opened._due(READ) == now + 3.0


@virtual
async def test_a_place_goes_behind_the_writes_before_it() -> None:
    """A quarter of a second for each of the same fleet; and it is paid for, and a create's is told as one."""
    opened, seen = made(), []

    @asynccontextmanager
    async def place(requests: int, *, due: float, create: bool):
        seen.append((requests, due - anyio.current_time(), create))
        yield None

    opened._admission.place = place  # type: ignore[method-assign,assignment]
    async with opened.place(3, behind=4, create=True, leave=print):
        pass
    async with opened.place(2, leave=print) as placed:
        assert placed._held.leave is print
    assert seen == [(3, 1.0, True), (2, 0.0, False)]


@virtual
async def test_from_a_place_a_read_is_made_again_once_and_at_once_only() -> None:
    async with (
        scripted(answer(500)) as server,
        client(server.url, retries=RetryPolicy(attempts=9)) as opened,
        opened.place(2, leave=lambda: None) as place,
    ):
        with pytest.raises(Unavailable):
            await place.send(READ)
    assert len(server.requests) == 2
    async with (
        scripted(answer(429, headers={"Retry-After": "2"})) as server,
        client(server.url, retries=RetryPolicy(attempts=9)) as opened,
        opened.place(2, leave=lambda: None) as place,
    ):
        with pytest.raises(RateLimited):
            await place.send(READ)
    assert len(server.requests) == 1, "nobody waits long while a place is held"


async def test_a_client_that_is_closed_makes_no_call() -> None:
    opened = made()
    await opened.aclose()
    await opened.aclose()
    with pytest.raises(RuntimeError, match="closed"):
        await opened.send(LIST)


def test_an_address_is_sent_as_it_was_put_together() -> None:
    call = Call("x", "GET", "/a%41b%2Fc", query={"q": "a+b c/ü", "empty": ""})
    assert str(made("https://api.example.test/v1/")._url(call)) == (
        "https://api.example.test/v1/a%41b%2Fc?q=a%2Bb%20c%2F%C3%BC&empty="
    )
    assert str(made()._url(LIST)) == "https://api.example.test/list"


async def test_a_session_keeps_nothing_from_one_answer_to_the_next() -> None:
    opened = made(limits=HttpLimits(max_concurrency=7))
    session = opened._open_session()
    assert opened._open_session() is session
    connector: Any = session.connector
    assert (connector.limit, connector.force_close) == (7, True)
    assert isinstance(session.cookie_jar, aiohttp.DummyCookieJar)
    assert session.auto_decompress is False
    assert (len(session.trace_configs), session.headers["User-Agent"]) == (1, f"fleetd/{__version__}")
    await opened.aclose()
    assert session.closed


SSL: Any = mock.Mock(host="h", port=443, ssl=True)
CERTIFICATE = aiohttp.ClientConnectorCertificateError(SSL, ssl.SSLCertVerificationError(1, f"expired {KEY}"))
REFUSED = aiohttp.ClientConnectorError(SSL, OSError(111, "Connection refused"))
UNTRUSTED = "the provider's certificate is not accepted, and nothing was sent: "
BROKE = "the connection broke before the answer was complete: "


@pytest.mark.parametrize(
    ("how", "error", "code", "message", "kinds"),
    [
        pytest.param({}, REFUSED, "unreachable", f"no connection: {REFUSED}", (Unavailable,) * 3, id="refused"),
        pytest.param({"begun": True}, OSError(), "unreachable", "no connection: OSError", (Unavailable,) * 3,
                     id="unsent"),
        pytest.param({"begun": True}, TimeoutError(), "unreachable", "no connection within 5 s", (Unavailable,) * 3,
                     id="no connection in time"),
        pytest.param({"begun": True, "sent": True}, OSError("reset"), "lost", f"{BROKE}reset",
                     (Unavailable, Ambiguous, Ambiguous), id="reset"),
        pytest.param({"begun": True, "sent": True}, OSError(f"of {KEY}"), "lost", f"{BROKE}of ***",
                     (Unavailable, Ambiguous, Ambiguous), id="the key in it"),
        pytest.param({"begun": True, "sent": True}, OSError(), "lost", f"{BROKE}OSError",
                     (Unavailable, Ambiguous, Ambiguous), id="without words"),
        pytest.param({"begun": True, "sent": True}, TimeoutError(), "timeout", "no answer within 12.3 s",
                     (Unavailable, Ambiguous, Ambiguous), id="no answer in time"),
        pytest.param({"begun": True, "sent": True}, BadCoding("packed oddly"), "lost", "packed oddly",
                     (Unavailable, Ambiguous, Ambiguous), id="packed oddly"),
        pytest.param({"begun": True, "sent": True, "status": 400}, OSError("cut"), "lost", f"{BROKE}cut",
                     (Unavailable, Ambiguous, Ambiguous), id="a refusal cut off"),
        pytest.param({"begun": True, "sent": True, "status": 200}, OSError("cut"), "lost", f"{BROKE}cut",
                     (Unavailable, None, Ambiguous), id="a success cut off"),
        pytest.param({"begun": True}, CERTIFICATE, "unreachable",
                     f"{UNTRUSTED}{CERTIFICATE.certificate_error}".replace(KEY, "***"), (Untrusted,) * 3,
                     id="certificate"),
    ],
)  # fmt: skip
@pytest.mark.parametrize(("call", "column"), [(READ, 0), (STOP, 1), (CREATE, 2)])
def test_what_no_answer_means(
    how: dict[str, Any], error: Any, code: str, message: str, kinds: tuple[Any, ...], call: Call, column: int
) -> None:
    told, came = made()._unanswered(call, error, Progress(**how), 12.345)
    if kinds[column] is None:
        assert (told, came) == ("200", Answer(200, b""))
        return
    assert not isinstance(came, Answer)
    assert (told, type(came.error), came.error.operation) == (code, kinds[column], call.operation)
    assert came.error.message == message
    assert came.error.status is None
    assert came.cause is (None if KEY in str(error) else error)


@virtual
async def test_the_date_of_an_answer_is_told_whatever_it_says() -> None:
    dates: list[datetime] = []
    said = [answer(s, {}, headers=h) for s, h in ((200, {"Date": "Tue, 05 Mar 2030 10:00:00 GMT"}), (200, {}))]
    async with (
        scripted(*said, answer(500, headers={"Date": "Tue, 05 Mar 2030 10:00:01 GMT"})) as server,
        client(server.url, limits=HttpLimits(on_date=dates.append)) as opened,
    ):
        await opened.send(READ)
        await opened.send(READ)
        with pytest.raises(Unavailable):
            await opened.send(READ)
    assert [date.second for date in dates] == [0, 1]
