"""Words by which a refusal says what it is about, on every dialect.

A refused key stops everything until a person acts, so it is told from other refusals by more than a 403: gateways,
firewalls and rate limiters say 403 as well.
"""

from __future__ import annotations

import re

from fleetd.model.errors import CloudError, RateLimited, Refused, Unavailable

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


def forbidden(message: str, *, said: bool) -> CloudError:
    """What a 403 stands for that does not name the key.

    Args:
        message: what it says.
        said: whether the API says 403 in its own words; else a gateway may have said it without asking the API.
    """
    if names_pace(message):
        return RateLimited(message, status=403)
    return Refused(message, status=403) if said else Unavailable(message, status=403)
