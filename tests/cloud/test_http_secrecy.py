"""The API key is in no error, no repr, no traceback and no log line, whatever the provider sends back."""

from __future__ import annotations

import json
import random
import traceback
from urllib.parse import quote

import pytest
import structlog

from fleetd.cloud.calls import Call, Effect, KeyHeader
from fleetd.cloud.core.errors import classify
from fleetd.cloud.http import HttpClient
from fleetd.cloud.retry import RetryPolicy
from fleetd.cloud.text import leaks_secret, presentable
from fleetd.model.errors import CloudError, Unauthorized
from tests.support.clients import core_client, open_core_api, open_core_cloud
from tests.support.scripted_server import CLOSE, RESET, answer, scripted
from tests.support.virtual_time import virtual

KEY = 'S3cr3t/+"key"'
CREATE = Call("create", "POST", "/machines/createSingleMachinePublic", Effect.ONCE, body={}, needs_body=True)
SHOW = Call("show", "GET", "/machines/getMachinePublic", names_machine=True)


def spellings(key):
    return {key, quote(key, safe=""), quote(key), json.dumps(key)[1:-1]}


def everything_shown_of(error):
    seen = [error]
    for link in seen:
        seen += [next_ for next_ in (link.__cause__, link.__context__) if next_ is not None]
    return "\n".join(
        [*traceback.format_exception(error), *(text for e in seen for text in (str(e), repr(e), repr(vars(e))))]
    )


def echo(heard):
    """The server shows the client all that it sent."""
    return answer(400, {"error": {"status": 400, "message": f"bad header x-api-key: {heard.headers['x-api-key']}"}})


def echo_escaped(heard):
    return answer(500, body=json.dumps(heard.headers).encode() + quote(heard.headers["x-api-key"], safe="").encode())


def echo_in_details(heard):
    return answer(400, {"error": {"details": {"headers": dict(heard.headers)}}})


def echo_in_location(heard):
    return answer(302, headers={"Location": f"https://x.test/?key={quote(heard.headers['x-api-key'], safe='')}"})


def echo_in_bad_http(heard):
    return f"HTTP/1.1 200 OK\r\nx-api-key {heard.headers['x-api-key']}\r\n\r\n".encode()


def echo_in_status_line(heard):
    return f"HTTP/1.1 {heard.headers['x-api-key']}\r\n\r\n".encode()


def echo_in_reason(heard):
    return f"HTTP/1.1 503 {heard.headers['x-api-key']}\r\nContent-Length: 0\r\n\r\n".encode()


ECHOES = [
    echo,
    echo_escaped,
    echo_in_details,
    echo_in_location,
    echo_in_bad_http,
    echo_in_status_line,
    echo_in_reason,
    RESET,
    CLOSE,
    answer(400, {"status": 400, "message": "Invalid API token"}),
]


@pytest.mark.parametrize("said", ECHOES, ids=[getattr(e, "__name__", str(i)) for i, e in enumerate(ECHOES)])
@pytest.mark.parametrize("call", [CREATE, SHOW], ids=["create", "show"])
@virtual
async def test_the_key_is_not_shown(said, call, capsys):
    with structlog.testing.capture_logs() as lines:
        async with scripted(said) as server:
            made = HttpClient(
                server.url,
                KeyHeader("x-api-key", lambda: KEY),
                classify,
                rng=random.Random(1),
                retries=RetryPolicy(attempts=2),
            )
            with pytest.raises(CloudError) as caught:
                await made.send(call)
            shown = everything_shown_of(caught.value) + repr(made) + str(vars(made)) + repr(lines)
            await made.aclose()
    assert server.requests[0].headers["x-api-key"] == KEY
    assert lines, "nothing was logged"
    assert all(line["log_level"] == "debug" for line in lines)
    for spelling in spellings(KEY):
        assert spelling not in shown
    printed = capsys.readouterr()
    assert KEY not in printed.out + printed.err


@virtual
async def test_a_bearer_token_is_masked_as_well():
    def echo_bearer(heard):
        return answer(400, {"message": heard.headers["authorization"]})

    async with scripted(echo_bearer) as server:
        header = KeyHeader("Authorization", lambda: "t0ken", prefix="Bearer ")
        made = HttpClient(server.url, header, classify, rng=random.Random(1))
        with pytest.raises(CloudError, match=r"^show: Bearer \*\*\*$"):
            await made.send(SHOW)
        await made.aclose()
    assert server.requests[0].headers["authorization"] == "Bearer t0ken"


@virtual
async def test_the_key_is_asked_for_at_every_request():
    keys = iter(["old", "new"])
    async with scripted(answer(200, [])) as server:
        current = ["old"]
        made = open_core_api(server.url, lambda: current[0], rng=random.Random(1))
        await made.list({})
        current[0] = "new"
        await made.list({})
        await made.aclose()
    assert [heard.headers["x-api-key"] for heard in server.requests] == [next(keys), next(keys)]


@pytest.mark.parametrize("key", ["", "with\nnewline", "schlüssel", "nul\0"])
@virtual
async def test_a_key_that_no_header_can_carry_is_refused_without_showing_it(key):
    async with scripted(answer(200, [])) as server:
        cloud = open_core_cloud(server.url, lambda: key, rng=random.Random(1))
        with pytest.raises(Unauthorized) as caught:
            await cloud.list_machines()
        await cloud.aclose()
    assert server.requests == []
    assert not key or key not in everything_shown_of(caught.value)


def test_reprs_do_not_show_the_key():
    made = core_client("http://x.test", lambda: KEY, rng=random.Random(1))
    assert KEY not in repr(made) + repr(vars(made)) + repr(KeyHeader("x-api-key", lambda: KEY))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("two\nlines\tand  more ", "two lines and more"),
        ("\x1b[31mred\x07", "\N{REPLACEMENT CHARACTER}[31mred\N{REPLACEMENT CHARACTER}"),
        ("right\u202eleft", "right\N{REPLACEMENT CHARACTER}left"),
        ("the key is k3y!", "the key is ***!"),
        ("k%23y and k#y", "k%23y and k#y"),
        ("x" * 400, "x" * 299 + "…"),
        ("x" * 298 + "k3y", "x" * 298 + "***"[:1] + "…"),
        ("", ""),
    ],
    ids=["plain", "lines", "terminal codes", "bidi", "key", "other", "long", "key at the cut", "empty"],
)
def test_presentable(text, shown):
    assert presentable(text, secrets=("k3y",)) == shown


def test_a_key_split_by_the_cut_is_not_half_shown():
    assert "S3" not in presentable("x" * 296 + KEY, secrets=(KEY,))


def test_betrayal_is_seen_down_the_chain():
    inner = ValueError("k3y")
    middle, outer = RuntimeError("b"), RuntimeError("a")
    middle.__context__, outer.__cause__ = inner, middle
    assert leaks_secret(outer, ("k3y",))
    assert not leaks_secret(outer, ("other",))
    assert not leaks_secret(outer, ("",))
