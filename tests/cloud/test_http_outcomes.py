"""What a failure means for a call, for every kind of failure and every kind of call."""

from __future__ import annotations

import random
import socket
from contextlib import asynccontextmanager

import pytest

from fleetd.cloud import http
from fleetd.cloud.calls import Call, Effect, HttpLimits, KeyHeader
from fleetd.cloud.core.errors import classify
from fleetd.cloud.http import HttpClient
from fleetd.cloud.retry import RetryPolicy
from fleetd.model.errors import (
    Ambiguous,
    MalformedAnswer,
    NotFound,
    RateLimited,
    Refused,
    Unauthorized,
    Unavailable,
)
from tests.support.scripted_server import CLOSE, HANG, RESET, answer, scripted
from tests.support.virtual_time import virtual

READ = Call("show", "GET", "/machines/getMachinePublic", query={"machineId": "ps1"}, names_machine=True)
LIST = Call("list", "GET", "/machines/getMachines")
WRITE = Call("stop", "POST", "/machines/ps1/stop", Effect.REPEATABLE, body={"machineId": "ps1"}, names_machine=True)
RESTART = Call("restart", "POST", "/machines/ps1/restart", Effect.ONCE, body={}, names_machine=True)
CREATE = Call("create", "POST", "/machines/createSingleMachinePublic", Effect.ONCE, body={}, needs_body=True)
CALLS = {"read": READ, "list": LIST, "write": WRITE, "restart": RESTART, "create": CREATE}

ONCE = RetryPolicy(attempts=1)
MISSING = {"error": {"name": "Error", "status": 404, "message": "Machine not found"}}
REFUSED = {"error": {"name": "Error", "status": 400, "message": "templateId not found"}}
CUT_OFF = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"
FINE = None


@asynccontextmanager
async def client(url, *, key="k3y", retries=ONCE, **options):
    made = HttpClient(
        url, KeyHeader("x-api-key", lambda: key), classify, rng=random.Random(3), retries=retries, **options
    )
    try:
        yield made
    finally:
        await made.aclose()


async def outcome(call, url, **options):
    async with client(url, **options) as made:
        try:
            made.read_json(call, await made.send(call))
        except Exception as e:  # noqa: BLE001 - the outcome is what is tested
            return e
        return None


TABLE = {
    # what is answered, and what a read, a list, a write, a restart and a create make of it
    "timeout": (HANG, (Unavailable, Unavailable, Ambiguous, Ambiguous, Ambiguous)),
    "reset": (RESET, (Unavailable, Unavailable, Ambiguous, Ambiguous, Ambiguous)),
    "closed": (CLOSE, (Unavailable, Unavailable, Ambiguous, Ambiguous, Ambiguous)),
    "cut off in a 200": (CUT_OFF, (Unavailable, Unavailable, FINE, FINE, Ambiguous)),
    "cut off in a 400": (
        CUT_OFF.replace(b"200 OK", b"400 No"),
        (Unavailable, Unavailable, Ambiguous, Ambiguous, Ambiguous),
    ),
    "not HTTP": (b"SSH-2.0-OpenSSH_9.6\r\n", (Unavailable, Unavailable, Ambiguous, Ambiguous, Ambiguous)),
    "429": (answer(429), (RateLimited, RateLimited, RateLimited, Ambiguous, Ambiguous)),
    "429 in a 400": (
        answer(400, {"status": 429, "message": "slow down"}),
        (RateLimited, RateLimited, RateLimited, Ambiguous, Ambiguous),
    ),
    "503 with Retry-After": (
        answer(503, headers={"Retry-After": "7"}),
        (RateLimited, RateLimited, RateLimited, Ambiguous, Ambiguous),
    ),
    "503": (answer(503), (Unavailable, Unavailable, Ambiguous, Ambiguous, Ambiguous)),
    "500": (answer(500), (Unavailable, Unavailable, Ambiguous, Ambiguous, Ambiguous)),
    "502 with a page": (
        answer(502, body=b"<html>Bad Gateway</html>"),
        (Unavailable, Unavailable, Ambiguous, Ambiguous, Ambiguous),
    ),
    "500 in a 400": (
        answer(400, {"error": {"status": 500, "message": "oops"}}),
        (Unavailable, Unavailable, Ambiguous, Ambiguous, Ambiguous),
    ),
    "400 in a 500": (answer(500, REFUSED), (Refused, Refused, Refused, Ambiguous, Ambiguous)),
    "408": (answer(408), (Unavailable, Unavailable, Ambiguous, Ambiguous, Ambiguous)),
    "redirect": (
        answer(302, headers={"Location": "https://elsewhere.test/"}),
        (Refused, Refused, Refused, Ambiguous, Ambiguous),
    ),
    "401": (answer(401), (Unauthorized,) * 5),
    "403": (answer(403, {"message": "Forbidden"}), (Unavailable, Unavailable, Ambiguous, Ambiguous, Ambiguous)),
    "403 in the API's words": (
        answer(403, {"error": {"status": 403, "message": "only an administrator may"}}),
        (Unavailable, Unavailable, Refused, Refused, Refused),
    ),
    "wrong key": (answer(400, {"status": 400, "message": "Invalid API token"}), (Unauthorized,) * 5),
    "404": (answer(404, MISSING), (NotFound, Refused, NotFound, NotFound, Refused)),
    "404 in a 400": (answer(400, MISSING), (NotFound, Refused, NotFound, NotFound, Refused)),
    "400": (answer(400, REFUSED), (Refused,) * 5),
    "409 with nothing": (answer(409), (Refused,) * 5),
    "200 with nothing": (answer(200), (MalformedAnswer, MalformedAnswer, FINE, FINE, Ambiguous)),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", (MalformedAnswer, MalformedAnswer, FINE, FINE, Ambiguous)),
    "200 with a page": (
        answer(200, body=b"<html>hello</html>"),
        (MalformedAnswer, MalformedAnswer, FINE, FINE, Ambiguous),
    ),
    "200 without an end to its depth": (
        answer(200, body=b"[" * 100_000),
        (MalformedAnswer, MalformedAnswer, FINE, FINE, Ambiguous),
    ),
    "200 in no encoding": (
        answer(200, body=b'"\xff\xfe"'),
        (FINE,) * 5,
    ),
    "200 with JSON": (answer(200, {"id": "ps1"}), (FINE,) * 5),
    "201 with JSON": (answer(201, {"id": "ps1"}), (FINE,) * 5),
}
ROWS = [
    pytest.param(said, CALLS[call], kind, id=f"{happening}-{call}")
    for happening, (said, kinds) in TABLE.items()
    for call, kind in zip(CALLS, kinds, strict=True)
]


@pytest.mark.parametrize(("said", "call", "kind"), ROWS)
@virtual
async def test_outcome(said, call, kind):
    async with scripted(said) as server:
        error = await outcome(call, server.url)
    assert type(error) is (kind or type(None)), error
    assert len(server.requests) == 1
    if error is not None:
        assert error.operation == call.operation
        assert error.message


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@virtual
async def test_without_a_connection_nothing_was_sent(call):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert type(await outcome(call, f"http://127.0.0.1:{port}")) is Unavailable


@pytest.mark.parametrize("url", ["http://", "http://[::1", "ftp://example.test", "/machines", "nonsense", ""])
def test_a_base_url_that_is_none_is_refused_at_once(url):
    with pytest.raises(ValueError, match=r"(?i)url|netloc"):
        HttpClient(url, KeyHeader("x-api-key", lambda: "k3y"), classify, rng=random.Random(3))


@pytest.mark.parametrize(("timeout", "said"), [(30.0, "5"), (2.0, "2")], ids=["connect timeout", "request timeout"])
@virtual
async def test_a_connection_that_is_not_accepted_times_out_unsent(timeout, said):
    # A listening socket whose backlog is full swallows further connections, as a firewall does.
    full = socket.socket()
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    fillers = []
    try:
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
            fillers.append(filler)
        limits = HttpLimits(request_timeout=timeout)
        error = await outcome(CREATE, f"http://127.0.0.1:{full.getsockname()[1]}", limits=limits)
    finally:
        for opened in (full, *fillers):
            opened.close()
    assert type(error) is Unavailable
    assert error.message == f"no connection within {said} s"


@virtual
async def test_an_error_says_what_the_provider_said_and_where():
    async with scripted(answer(400, REFUSED)) as server:
        error = await outcome(CREATE, server.url)
    assert (error.operation, error.status, error.message) == ("create", 400, "templateId not found")
    async with scripted(answer(400, MISSING)) as server:
        error = await outcome(READ, server.url)
    assert (error.status, str(error)) == (404, "show: Machine not found")


@virtual
async def test_retry_after_comes_along():
    async with scripted(answer(429, headers={"retry-after": "7"})) as server:
        error = await outcome(CREATE, server.url)
    assert error.retry_after == 7.0


@virtual
async def test_a_redirect_is_not_followed_with_the_key():
    async with scripted(answer(200, [])) as elsewhere:
        target = f"{elsewhere.url}/machines/getMachines"
        async with scripted(answer(307, headers={"Location": target})) as server:
            error = await outcome(LIST, server.url)
        assert elsewhere.requests == []
    assert error.message == f"redirected to {target}: check the base URL"


@virtual
async def test_an_answer_without_end_is_not_read_to_its_end(monkeypatch):
    monkeypatch.setattr(http, "BODY_LIMIT", 10_000)
    long = answer(200, ["x" * 20_000])
    async with scripted(long) as server:
        assert type(await outcome(LIST, server.url)) is MalformedAnswer
        assert type(await outcome(CREATE, server.url)) is Ambiguous
        assert await outcome(WRITE, server.url) is None
    async with scripted(answer(400, {"message": "x" * 20_000})) as server:
        assert type(await outcome(LIST, server.url)) is Refused


@virtual
async def test_every_http_request_is_counted_once_with_its_code_and_its_time():
    told = []
    script = (answer(503), RESET, HANG, answer(200, []))
    async with scripted(*script, latency=0.25) as server:
        retries = RetryPolicy(attempts=4)
        limits = HttpLimits(request_timeout=3.0)
        count = lambda operation, code, seconds: told.append((operation, code, round(seconds, 2)))
        error = await outcome(LIST, server.url, retries=retries, limits=limits, on_request=count)
    assert type(error) is Unavailable
    assert [(operation, code) for operation, code, _ in told] == [
        ("list", "503"),
        ("list", "lost"),
        ("list", "timeout"),
    ]
    assert told[0][2] == told[1][2] == 0.25
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    told.clear()
    await outcome(LIST, f"http://127.0.0.1:{port}", on_request=count)
    assert told == [("list", "unreachable", 0.0)]
