"""How the v1 API says no: ``{"code": "NOT_FOUND", "message": "...", "details"?: {...}}``.

The codes are tRPC's, each with an HTTP status of its own. Source: the vendor's CLI, which also takes an answer for
an error whose status says success and whose body is of this shape; so does ``is_complaint``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from fleetd.cloud.decoding import NotJson, decode
from fleetd.cloud.refusals import plain, refusal, spelled
from fleetd.model.errors import Busy, CloudError, Refused

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

    The code in the body goes before HTTP's status.
    """
    complaint = _read(body)
    code = complaint.get("code")
    said = STATUSES.get(code) if isinstance(code, str) else None
    counts = said or (status if status >= 300 else 500)
    message = _message(complaint, body)
    return refusal(
        message,
        counts=counts,
        status=status,
        headers=headers,
        said=said == 403,
        unheard=(408, 499),  # 499: the server believes that we hung up; nobody knows what it did
        other=Busy if counts in {409, 412} or state_named(message) is not None else Refused,
    )


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
    text = "" if complaint else plain(body)
    return spelled(complaint.get("details")) or ("" if text.startswith(("{", "[")) else text)


def _tells(issue: object) -> bool:
    return isinstance(issue, dict) and isinstance(issue.get("message"), str)
