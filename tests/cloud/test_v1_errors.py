"""How refusals of the v1 API are read."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetd.cloud.paperspace.errors import STATUSES, classify, is_complaint, state_named
from fleetd.model.errors import Busy, CloudError, NotFound, RateLimited, Refused, Unauthorized, Unavailable


def body(code: str, message: str = "no", **more: object) -> bytes:
    return json.dumps({"code": code, "message": message, **more}).encode()


@pytest.mark.parametrize(
    ("status", "content", "kind", "message"),
    [
        (401, body("UNAUTHORIZED", "who?"), Unauthorized, "who?"),
        (401, b"", Unauthorized, "HTTP 401 Unauthorized"),
        (403, b"", Unavailable, "HTTP 403 Forbidden"),
        (403, body("UNAUTHORIZED", "no"), Unauthorized, "no"),
        (403, body("FORBIDDEN", "This token has expired"), Unauthorized, "This token has expired"),
        (403, body("FORBIDDEN", "Too many requests"), RateLimited, "Too many requests"),
        (403, b"<html>blocked</html>", Unavailable, "HTTP 403 Forbidden"),
        (403, body("FORBIDDEN", "only a team's administrator may"), Refused, "only a team's administrator may"),
        (400, body("BAD_REQUEST", "Invalid API key"), Unauthorized, "Invalid API key"),
        (404, body("NOT_FOUND", "Machine not found"), NotFound, "Machine not found"),
        (400, body("NOT_FOUND", "Machine not found"), NotFound, "Machine not found"),
        (404, b"<html>nginx</html>", NotFound, "HTTP 404 Not Found"),
        (409, body("CONFLICT", "busy"), Busy, "busy"),
        (412, body("PRECONDITION_FAILED", "busy"), Busy, "busy"),
        (
            400,
            body("BAD_REQUEST", "This machine is currently starting."),
            Busy,
            "This machine is currently starting.",
        ),
        (400, body("BAD_REQUEST", "name: Required"), Refused, "name: Required"),
        (
            400,
            body("BAD_REQUEST", "Input validation failed", issues=[{"message": "diskSize"}, {"message": "name"}, 3]),
            Refused,
            "Input validation failed: diskSize; name",
        ),
        (405, body("METHOD_NOT_SUPPORTED"), Refused, "no"),
        (413, body("PAYLOAD_TOO_LARGE"), Refused, "no"),
        (429, body("TOO_MANY_REQUESTS"), RateLimited, "no"),
        (429, b"slow down", RateLimited, "slow down"),
        (500, body("INTERNAL_SERVER_ERROR", "oops"), Unavailable, "oops"),
        (408, body("TIMEOUT"), Unavailable, "no"),
        (499, body("CLIENT_CLOSED_REQUEST"), Unavailable, "no"),
        (502, b"<html>bad gateway</html>", Unavailable, "HTTP 502 Bad Gateway"),
        (400, body("SOMETHING_NEW", "no"), Refused, "no"),
        (200, body("NOT_FOUND", "Machine not found"), NotFound, "Machine not found"),
        (200, body("INTERNAL_SERVER_ERROR", "oops"), Unavailable, "oops"),
        (200, body("SOMETHING_NEW", "no"), Unavailable, "no"),
        (
            400,
            json.dumps({"code": "BAD_REQUEST", "details": {"field": "name"}}).encode(),
            Refused,
            '{"field":"name"}',
        ),
    ],
)
def test_classify(status: int, content: bytes, kind: type[CloudError], message: str) -> None:
    found = classify(status, {}, content)
    assert (type(found), found.message) == (kind, message)


@pytest.mark.parametrize(
    ("status", "content", "kind", "counts"),
    [
        (401, b"", Unauthorized, 401),
        (401, body("FORBIDDEN"), Unauthorized, 403),
        (400, body("UNAUTHORIZED"), Unauthorized, 401),
        (400, body("BAD_REQUEST", "Invalid API key"), Unauthorized, 400),
        (403, b"", Unavailable, 403),
        (400, body("FORBIDDEN"), Refused, 403),
        (403, body("BAD_REQUEST"), Unavailable, 403),
        (403, body("FORBIDDEN", "slow down"), RateLimited, 403),
        (404, b"", NotFound, 404),
        (400, body("NOT_FOUND"), NotFound, 404),
        (404, body("BAD_REQUEST"), NotFound, 404),
        (409, b"", Busy, 409),
        (400, body("CONFLICT"), Busy, 409),
        (412, b"", Busy, 412),
        (400, body("PRECONDITION_FAILED"), Busy, 412),
        (400, body("BAD_REQUEST", "The machine is already off"), Busy, 400),
        (400, body("BAD_REQUEST"), Refused, 400),
        (500, body("BAD_REQUEST"), Refused, 400),
        (418, b"", Refused, 418),
        (300, b"", Refused, 300),
        (299, b"", Unavailable, 500),
        (429, body("BAD_REQUEST"), RateLimited, 429),
        (400, body("TOO_MANY_REQUESTS"), RateLimited, 429),
        (408, b"", Unavailable, 408),
        (499, b"", Unavailable, 499),
        (500, b"", Unavailable, 500),
        (400, body("INTERNAL_SERVER_ERROR"), Unavailable, 500),
        (502, body("SOMETHING_NEW"), Unavailable, 502),
        (400, json.dumps({"code": 404, "message": "no"}).encode(), Refused, 400),
        (500, body("PARSE_ERROR"), Refused, 400),
        (400, body("METHOD_NOT_SUPPORTED"), Refused, 405),
        (400, body("TIMEOUT"), Unavailable, 408),
        (400, body("PAYLOAD_TOO_LARGE"), Refused, 413),
        (400, body("UNPROCESSABLE_CONTENT"), Refused, 422),
        (400, body("CLIENT_CLOSED_REQUEST"), Unavailable, 499),
        (400, body("NOT_IMPLEMENTED"), Unavailable, 501),
    ],
)
def test_which_status_counts(status: int, content: bytes, kind: type[CloudError], counts: int) -> None:
    found = classify(status, {}, content)
    assert (type(found), found.status) == (kind, counts)


@pytest.mark.parametrize("code", STATUSES)
def test_every_code_has_its_status(code: str) -> None:
    assert classify(200, {}, body(code)).status == STATUSES[code]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"code": "BAD_REQUEST", "message": " "}, "HTTP 400 Bad Request"),
        ({"code": "BAD_REQUEST", "message": 7}, "HTTP 400 Bad Request"),
        ({"message": "", "details": "too small"}, "too small"),
        ({"message": "no", "details": "too small"}, "no"),
        ({"details": {}}, "HTTP 400 Bad Request"),
        ({"details": []}, "HTTP 400 Bad Request"),
        ({"details": ""}, "HTTP 400 Bad Request"),
        ({"details": " "}, "HTTP 400 Bad Request"),
        ({"details": [1]}, "[1]"),
        ({"message": "no", "issues": "many"}, "no"),
        ({"message": "no", "issues": []}, "no"),
        ({"message": "no", "issues": [{"message": 7}, {}, None]}, "no"),
        ({"message": "no", "issues": [{"message": "a"}]}, "no: a"),
        ([1], "HTTP 400 Bad Request"),
        ("text", '"text"'),
        (b"plain words", "plain words"),
        (b"  <html>", "HTTP 400 Bad Request"),
        (b"{half", "HTTP 400 Bad Request"),
        (b"[half", "HTTP 400 Bad Request"),
        (b"x" * 5000, "x" * 4096),
        (b"\xff", "\ufffd"),
    ],
)
def test_what_a_refusal_says(content: object, message: str) -> None:
    sent = content if isinstance(content, bytes) else json.dumps(content).encode()
    assert classify(400, {}, sent).message == message


def test_a_status_that_nobody_knows_has_no_words() -> None:
    assert classify(599, {}, b"").message == "HTTP 599"


@pytest.mark.parametrize(("headers", "kind"), [({}, Unavailable), ({"Retry-After": "3"}, RateLimited)])
def test_a_server_that_names_a_time_limits_the_rate(headers: dict[str, str], kind: type[CloudError]) -> None:
    found = classify(503, headers, b"")
    assert (type(found), found.status) == (kind, 503)
    assert type(classify(500, headers, b"")) is Unavailable
    assert type(classify(200, headers, body("INTERNAL_SERVER_ERROR"))) is Unavailable


@settings(deadline=None)
@given(st.integers(100, 599), st.binary(max_size=80))
def test_any_answer_is_some_error(status: int, content: bytes) -> None:
    assert isinstance(classify(status, {}, content), CloudError)


@settings(deadline=None)
@given(st.sampled_from(sorted(STATUSES)), st.text(max_size=40))
def test_a_code_means_the_same_under_its_own_status_and_under_200(code: str, message: str) -> None:
    content = body(code, message)
    alone = {"FORBIDDEN"}
    if code not in alone:
        assert type(classify(STATUSES[code], {}, content)) is type(classify(200, {}, content))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"code": "NOT_FOUND", "message": "no"}, True),
        ({"code": "NOT_FOUND", "message": "no", "details": {}}, True),
        ({"code": "NOT_FOUND"}, False),
        ({"message": "no"}, False),
        ({"code": "NOT_FOUND", "message": 7}, False),
        ({"code": "NOT_FOUND", "message": "no", "details": {}, "issues": []}, False),
        ({"code": 404, "message": "no"}, False),
        ({"id": "ps1", "code": "x", "message": "y", "name": "z"}, False),
        ([{"code": "NOT_FOUND", "message": "no"}], False),
        (None, False),
    ],
)
def test_which_bodies_are_complaints(content: object, expected: bool) -> None:
    assert is_complaint(content) is expected


@pytest.mark.parametrize(
    ("message", "state"),
    [
        ("This machine is currently starting.", "starting"),
        ("The machine is already off", "off"),
        ("MACHINE IS CURRENTLY STARTING", "starting"),
        ("This machine type is currently unavailable", None),
        ("", None),
    ],
)
def test_the_state_that_a_refusal_names(message: str, state: str | None) -> None:
    assert state_named(message) == state
