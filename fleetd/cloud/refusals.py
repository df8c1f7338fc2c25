"""What a refusal is about, by its status and its words, on every dialect.

A refused key stops everything until a person acts, so it is told from other refusals by more than a 403: gateways,
firewalls and rate limiters say 403 as well.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from http import HTTPStatus

import msgspec

from fleetd.model.errors import CloudError, NotFound, RateLimited, Refused, Unauthorized, Unavailable

_KEY = re.compile(
    r"\b(?:x[\s_-]*)?(?:api|access|auth(?:entication|orization)?|bearer)[\s_-]*(?:token|key)s?\b"
    r"|\b(?:invalid|expired|revoked|missing|unknown|bad|wrong)[\s_-]+(?:credentials?|token)\b"
    r"|\b(?:token|credentials?)\b[^.]{0,20}\b(?:invalid|expired|revoked)\b",
    re.IGNORECASE,
)
_PACE = re.compile(
    r"\brate[\s_-]*limit|\btoo many requests\b|\bslow(?:ing)? down\b|\bthrottl|\btry again (?:later|in)\b"
    r"|\bretry (?:later|after)\b|\b(?:request|call)s? (?:limit|quota)\b|\bquota of requests\b",
    re.IGNORECASE,
)


def names_key(message: str) -> bool:
    """Whether it is the key that is refused."""
    return _KEY.search(message) is not None and not names_pace(message)


def names_pace(message: str) -> bool:
    """Whether there were too many requests."""
    return _PACE.search(message) is not None


def refusal(
    message: str,
    *,
    counts: int,
    status: int,
    headers: Mapping[str, str],
    said: bool,
    unheard: Collection[int] = (408,),
    other: type[CloudError] = Refused,
) -> CloudError:
    """The error that an answer which is no success stands for.

    Args:
        message: what its body says; without it the error says what HTTP calls the status.
        counts: the status that goes before HTTP's, except that a 401, 403, 404 or 429 counts wherever it stands.
        status: HTTP's.
        headers: the answer's.
        said: whether the API says 403 in its own words; else a gateway may have said it without asking the API.
        unheard: statuses below 500 of which nobody knows whether the call was carried out.
        other: what it is when it is none of these.
    """
    message = message.strip() or f"HTTP {status} {phrase(status)}".rstrip()
    either = {counts, status}
    if 429 in either:
        return RateLimited(message, status=429)
    if 401 in either:
        return Unauthorized(message, status=counts)
    if counts >= 500 or counts in unheard:
        asked_to_wait = status == 503 and "Retry-After" in headers
        return RateLimited(message, status=counts) if asked_to_wait else Unavailable(message, status=counts)
    if names_key(message):
        return Unauthorized(message, status=counts)
    if 403 in either:
        kind = RateLimited if names_pace(message) else Refused if said else Unavailable
        return kind(message, status=403)
    if 404 in either:
        return NotFound(message, status=404)
    return other(message, status=counts)


def phrase(status: int) -> str:
    """What HTTP calls a status; "" for one that it does not know."""
    with suppress(ValueError):
        return HTTPStatus(status).phrase
    return ""


def plain(body: bytes) -> str:
    """The beginning of a body that is text; "" for a proxy's page, which says less than its status does."""
    text = body[:4096].decode("utf-8", errors="replace").strip()
    return "" if text.startswith("<") else text


def spelled(details: object) -> str:
    """An error's details as text; "" where there are none."""
    if details in (None, "", {}, []):
        return ""
    return details if isinstance(details, str) else msgspec.json.encode(details).decode()
