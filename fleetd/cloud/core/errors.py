"""How the Core API says no.

Its errors do not follow HTTP: a wrong key is a 400, a missing machine can be one. What counts is the status in the
body and the message there. Source: what the vendor's own clients (paperspace-node, gradient) and their tests show.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import msgspec

from fleetd.cloud.decoding import NotJson, decode
from fleetd.cloud.refusals import forbidden, names_key
from fleetd.model.errors import CloudError, NotFound, RateLimited, Refused, Unauthorized, Unavailable


@dataclass(frozen=True, slots=True)
class Complaint:
    """What the body of an answer says."""

    status: int | None = None
    message: str = ""


def classify(status: int, headers: Mapping[str, str], body: bytes) -> CloudError:
    """The error that an answer which is no success stands for. Total: any status, any bytes.

    A status in the body goes before HTTP's where the two differ, except that a 401, 403, 404 or 429 counts wherever
    it stands. A refused key is a 401, or a message that names the key, whatever the status.
    """
    complaint = read_complaint(body)
    counts = complaint.status or status
    either = {complaint.status, status}
    message = complaint.message.strip() or f"HTTP {status} {_phrase(status)}".rstrip()
    if 429 in either:
        return RateLimited(message, status=429)
    if 401 in either:
        return Unauthorized(message, status=counts)
    if counts >= 500 or counts == 408:
        asked_to_wait = status == 503 and "Retry-After" in headers
        return RateLimited(message, status=counts) if asked_to_wait else Unavailable(message, status=counts)
    if names_key(message):
        return Unauthorized(message, status=counts)
    if 403 in either:
        return forbidden(message, said=complaint.status is not None)
    if 404 in either:
        return NotFound(message, status=404)
    return Refused(message, status=counts)


def read_complaint(body: bytes) -> Complaint:
    """The status and the message in an error's body; both can be missing, and so can the body.

    Known shapes: ``{"error": {"name", "status", "message"}}``, ``{"status", "message"}``, and ``details``, an
    object, in the message's place.
    """
    try:
        content: Any = decode(body)
    except NotJson:
        return Complaint(message=_plain(body))
    if isinstance(content, str):
        return Complaint(message=content)
    if not isinstance(content, dict):
        return Complaint()
    inner = content.get("error")
    if isinstance(inner, str):
        return Complaint(_status(content), _text(content) or inner)
    if not isinstance(inner, dict):
        inner = {}
    return Complaint(_status(inner) or _status(content), _text(inner) or _text(content))


def _status(content: Mapping[str, Any]) -> int | None:
    for name in ("status", "statusCode"):
        value = content.get(name)
        if isinstance(value, str) and value.isascii() and value.isdigit():
            value = int(value[:4])
        if isinstance(value, int) and not isinstance(value, bool) and 100 <= value <= 599:
            return value
    return None


def _text(content: Mapping[str, Any]) -> str:
    message = content.get("message")
    if isinstance(message, str) and message.strip():
        return message
    details = message if message not in (None, "") else content.get("details")
    if details in (None, "", {}, []):
        return ""
    return details if isinstance(details, str) else msgspec.json.encode(details).decode()


def _plain(body: bytes) -> str:
    text = body[:4096].decode("utf-8", errors="replace").strip()
    # A proxy's page says less than its status does.
    return "" if text.startswith("<") else text


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
