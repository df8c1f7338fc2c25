from __future__ import annotations

import json

import pytest

from fleetd.cloud.core.errors import Complaint, classify, read_complaint
from fleetd.model.errors import NotFound, RateLimited, Refused, Unauthorized, Unavailable


def nested(status, message):
    return {"error": {"name": "Error", "status": status, "message": message}}


ROWS = [
    # core-wire's paragraph on errors, row by row
    ("wrong key", 400, {"status": 400, "message": "Invalid API token"}, Unauthorized, 400, "Invalid API token"),
    ("wrong key, nested", 400, nested(400, "No such API Key"), Unauthorized, 400, "No such API Key"),
    ("wrong key, spelt together", 400, {"message": "invalid apiKey"}, Unauthorized, 400, "invalid apiKey"),
    ("missing machine", 404, nested(404, "Machine not found"), NotFound, 404, "Machine not found"),
    ("missing machine in a 400", 400, nested(404, "Machine not found"), NotFound, 404, "Machine not found"),
    ("missing machine, longer", 400, nested(404, "Not found. Id: ps1"), NotFound, 404, "Not found. Id: ps1"),
    ("refused create", 400, nested(400, "templateId not found"), Refused, 400, "templateId not found"),
    ("no body", 404, None, NotFound, 404, "HTTP 404 Not Found"),
    ("no body, refused", 400, None, Refused, 400, "HTTP 400 Bad Request"),
    ("no body, unknown status", 499, None, Refused, 499, "HTTP 499"),
    ("details for a message", 400, {"error": {"status": 400, "details": {"size": ["too small"]}}}, Refused, 400,
     '{"size":["too small"]}'),
    ("details on top", 400, {"details": {"a": 1}}, Refused, 400, '{"a":1}'),
    ("an object for a message", 400, nested(400, {"a": 1}), Refused, 400, '{"a":1}'),
    ("message and details", 400, {"error": {"message": "no", "details": {"a": 1}}}, Refused, 400, "no"),
    ("error as text", 400, {"error": "Bad thing"}, Refused, 400, "Bad thing"),
    ("plain text", 400, b"nope", Refused, 400, "nope"),
    ("JSON text", 400, "nope", Refused, 400, "nope"),
    ("an array", 400, [1], Refused, 400, "HTTP 400 Bad Request"),
    ("HTTP 401", 401, None, Unauthorized, 401, "HTTP 401 Unauthorized"),
    ("HTTP 403", 403, nested(403, "Only the owner may"), Refused, 403, "Only the owner may"),
    ("HTTP 403 for speed", 403, {"message": "Rate limit exceeded, slow down", "status": 403}, RateLimited, 403,
     "Rate limit exceeded, slow down"),
    ("a proxy's 403", 403, b"<html>Forbidden</html>", Unavailable, 403, "HTTP 403 Forbidden"),
    ("403 about the key", 403, nested(403, "Your API token was revoked"), Unauthorized, 403,
     "Your API token was revoked"),
    ("401 in a 400", 400, nested(401, "no"), Unauthorized, 401, "no"),
    ("missing machine or revoked key", 404, nested(404, "API key not found"), Unauthorized, 404, "API key not found"),
    ("rate limit", 429, None, RateLimited, 429, "HTTP 429 Too Many Requests"),
    ("rate limit of a key", 429, nested(429, "API key over its limit"), RateLimited, 429, "API key over its limit"),
    ("rate limit in a 400", 400, nested(429, "slow down"), RateLimited, 429, "slow down"),
    ("down", 503, None, Unavailable, 503, "HTTP 503 Service Unavailable"),
    ("a proxy's page", 502, b"<html><h1>502</h1></html>", Unavailable, 502, "HTTP 502 Bad Gateway"),
    ("down in a 400", 400, nested(500, "oops"), Unavailable, 500, "oops"),
    ("down about keys", 500, nested(500, "API key service is down"), Unavailable, 500, "API key service is down"),
    ("refused in a 500", 500, nested(400, "templateId not found"), Refused, 400, "templateId not found"),
    ("missing in a 500", 500, nested(404, "Machine not found"), NotFound, 404, "Machine not found"),
    ("timeout, said with the key", 400, nested(408, "API token check timed out"), Unavailable, 408,
     "API token check timed out"),
    ("403 in a 400", 400, nested(403, "Only the owner may"), Refused, 403, "Only the owner may"),
    ("404 beside a 400", 404, nested(400, "no"), NotFound, 404, "no"),
    ("401 beside a 400", 401, nested(400, "no"), Unauthorized, 400, "no"),
    ("429 beside a 400", 429, nested(400, "no"), RateLimited, 429, "no"),
    ("statusCode", 400, {"statusCode": 404, "message": "no"}, NotFound, 404, "no"),
    ("the inner status first", 400, {"status": 500, "error": {"status": 404, "message": "no"}}, NotFound, 404, "no"),
    ("the outer status then", 400, {"status": 404, "error": {"message": "no"}}, NotFound, 404, "no"),
    ("error as text, and a message", 400, {"error": "Bad thing", "message": "no"}, Refused, 400, "no"),
    ("error as text, and a status", 400, {"error": "Bad thing", "status": 404}, NotFound, 404, "Bad thing"),
    ("error as a number", 400, {"error": 7, "message": "no"}, Refused, 400, "no"),
    ("no words", 400, nested(400, " "), Refused, 400, "HTTP 400 Bad Request"),
    ("no words in the details", 400, {"details": " "}, Refused, 400, "HTTP 400 Bad Request"),
    ("empty details", 400, {"message": "", "details": []}, Refused, 400, "HTTP 400 Bad Request"),
    ("details as text", 400, {"message": None, "details": "too small"}, Refused, 400, "too small"),
    ("status at its least", 400, nested(100, "no"), Refused, 100, "no"),
    ("status at its most", 400, nested(599, "no"), Unavailable, 599, "no"),
    ("status below", 400, nested(99, "no"), Refused, 400, "no"),
    ("status above", 400, nested(600, "no"), Refused, 400, "no"),
    ("status negative, as text", 400, nested("-404", "no"), Refused, 400, "no"),
    ("long plain text", 400, b"x" * 5000, Refused, 400, "x" * 4096),
    ("timeout", 408, None, Unavailable, 408, "HTTP 408 Request Timeout"),
    ("status as text", 400, nested("404", "Machine not found"), NotFound, 404, "Machine not found"),
    ("status as nonsense", 400, nested("²", "no"), Refused, 400, "no"),
    ("status out of range", 400, nested(40400, "no"), Refused, 400, "no"),
    ("status true", 400, nested(True, "no"), Refused, 400, "no"),
    ("token of another kind", 400, nested(400, "script token missing"), Refused, 400, "script token missing"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("status", "content", "kind", "counts", "message"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS]
)
def test_classify(status, content, kind, counts, message):
    body = b"" if content is None else content if isinstance(content, bytes) else json.dumps(content).encode()
    error = classify(status, {}, body)
    assert (type(error), error.status, error.message) == (kind, counts, message)


@pytest.mark.parametrize("status", [503])
def test_a_503_that_asks_to_wait_is_a_rate_limit(status):
    found = classify(status, {"Retry-After": "3"}, b"")
    assert (type(found), found.status) == (RateLimited, 503)
    assert type(classify(500, {"Retry-After": "3"}, b"")) is Unavailable


def test_a_complaint_without_a_body_is_empty():
    assert read_complaint(b"") == Complaint()
    assert read_complaint(b"[" * 100_000) == Complaint(message="[" * 4096)
