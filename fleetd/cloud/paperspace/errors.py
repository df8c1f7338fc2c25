"""How the v1 API says no: ``{"code": "NOT_FOUND", "message": "...", "details"?: {...}}``.

The codes are tRPC's, each with an HTTP status of its own. Source: the vendor's CLI, which also takes an answer for
an error whose status says success and whose body is of this shape; so does ``is_complaint``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

import msgspec

from fleetd.cloud.decoding import NotJson, decode
from fleetd.cloud.refusals import forbidden, names_key
from fleetd.model.errors import Busy, CloudError, NotFound, RateLimited, Refused, Unauthorized, Unavailable

STATUSES: Mapping[str, int] = MappingProxyType(
    {
        "PARSE_ERROR": 400,
        "BAD_REQUEST": 400,
        "UNAUTHORIZED": 401,
        "FORBIDDEN": 403,
        "NOT_FOUND": 404,
        "METHOD_NOT_SUPPORTED": 405,
        "TIMEOUT": 408,
        "CONFLICT": 409,
        "PRECONDITION_FAILED": 412,
        "PAYLOAD_TOO_LARGE": 413,
        "UNPROCESSABLE_CONTENT": 422,
        "TOO_MANY_REQUESTS": 429,
        "CLIENT_CLOSED_REQUEST": 499,
        "INTERNAL_SERVER_ERROR": 500,
        "NOT_IMPLEMENTED": 501,
    }
)
"""HTTP's status for each of tRPC's codes."""

_NAMES_STATE = re.compile(r"\bmachine is (?:currently|already) (\w+)", re.IGNORECASE)
_FIELDS = 3
"""An error has no more fields than these: code, message, details."""


def classify(status: int, headers: Mapping[str, str], body: bytes) -> CloudError:
    """The error that an answer which is no success stands for. Total: any status, any bytes.

    The code in the body goes before HTTP's status, except that a 401, 404 or 429 counts wherever it stands.
    """
    complaint = _read(body)
    code = complaint.get("code")
    said = STATUSES.get(code) if isinstance(code, str) else None
    counts = said or (status if status >= 300 else 500)
    either = {counts, status}
    message = _message(complaint, body).strip() or f"HTTP {status} {_phrase(status)}".rstrip()
    if 429 in either:
        return RateLimited(message, status=429)
    if 401 in either:
        return Unauthorized(message, status=counts)
    if counts >= 500 or counts in {408, 499}:  # 499: the server believes that we hung up; nobody knows what it did
        asked_to_wait = status == 503 and "Retry-After" in headers
        return RateLimited(message, status=counts) if asked_to_wait else Unavailable(message, status=counts)
    if names_key(message):
        return Unauthorized(message, status=counts)
    if 403 in either:
        return forbidden(message, said=said == 403)
    if 404 in either:
        return NotFound(message, status=404)
    if counts in {409, 412} or state_named(message) is not None:
        return Busy(message, status=counts)
    return Refused(message, status=counts)


def is_complaint(content: object) -> bool:
    """Whether the JSON of an answer is an error, whatever its status says. No object of the API has a ``code``."""
    return (
        isinstance(content, dict)
        and isinstance(content.get("code"), str)
        and isinstance(content.get("message"), str)
        and len(content) <= _FIELDS
    )


def state_named(message: str) -> str | None:
    """The state that a refusal names, as in "This machine is currently starting."; None when it names none."""
    found = _NAMES_STATE.search(message)
    return found.group(1).lower() if found else None


def _read(body: bytes) -> Mapping[str, Any]:
    try:
        content: Any = decode(body)
    except NotJson:
        return {}
    return content if isinstance(content, dict) else {}


def _message(complaint: Mapping[str, Any], body: bytes) -> str:
    message = complaint.get("message")
    if isinstance(message, str) and message.strip():
        issues = complaint.get("issues")
        told = [i["message"] for i in issues if _tells(i)] if isinstance(issues, list) else []
        return ": ".join([message, "; ".join(told)]) if told else message
    details = complaint.get("details")
    if details not in (None, "", {}, []):
        return details if isinstance(details, str) else msgspec.json.encode(details).decode()
    text = body[:4096].decode("utf-8", errors="replace").strip()
    # A proxy's page says less than its status does.
    return "" if complaint or text.startswith(("<", "{", "[")) else text


def _tells(issue: object) -> bool:
    return isinstance(issue, dict) and isinstance(issue.get("message"), str)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
