"""How the Core API says no.

Its errors do not follow HTTP: a wrong key is a 400, a missing machine can be one. What counts is the status in the
body and the message there. Source: what the vendor's own clients (paperspace-node, gradient) and their tests show.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fleetd.cloud.decoding import NotJson, decode
from fleetd.cloud.refusals import plain, refusal, spelled
from fleetd.model.errors import CloudError


@dataclass(frozen=True, slots=True)
class Complaint:
    """What the body of an answer says."""

    status: int | None = None
    message: str = ""


def classify(status: int, headers: Mapping[str, str], body: bytes) -> CloudError:
    """The error that an answer which is no success stands for. Total: any status, any bytes.

    A status in the body goes before HTTP's. A refused key is a 401, or a message that names the key, whatever the
    status.
    """
    complaint = read_complaint(body)
    counts, said = complaint.status or status, complaint.status is not None
    return refusal(complaint.message, counts=counts, status=status, headers=headers, said=said)


def read_complaint(body: bytes) -> Complaint:
    """The status and the message in an error's body; both can be missing, and so can the body.

    Known shapes: ``{"error": {"name", "status", "message"}}``, ``{"status", "message"}``, and ``details``, an
    object, in the message's place.
    """
    try:
        content: Any = decode(body)
    except NotJson:
        return Complaint(message=plain(body))
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
    return spelled(message if message not in (None, "") else content.get("details"))
