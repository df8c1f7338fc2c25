"""Words that name the key, words that name the pace, and what a 403 is otherwise."""

from __future__ import annotations

from typing import Any

import pytest

from fleetd.cloud.refusals import names_key, names_pace, refusal
from fleetd.model.errors import RateLimited, Refused, Unavailable


@pytest.mark.parametrize(
    ("message", "key", "pace"),
    [
        ("Invalid API token", True, False),
        ("x-api-key is missing", True, False),
        ("access key expired", True, False),
        ("bearer token required", True, False),
        ("Authorization token refused", True, False),
        ("wrong credentials", True, False),
        ("The token that you sent is invalid", True, False),
        ("the credentials were revoked", True, False),
        ("API key exceeded its rate limit", False, True),
        ("Too many requests for this API key", False, True),
        ("invalid token, try again later", False, True),
        ("rate-limited", False, True),
        ("RateLimit reached", False, True),
        ("Slow down", False, True),
        ("request was throttled", False, True),
        ("retry after 3 s", False, True),
        ("call quota exhausted", False, True),
        ("your quota of requests", False, True),
        ("machine quota exhausted", False, False),
        ("SSH key not found", False, False),
        ("", False, False),
    ],
)
def test_what_a_refusal_names(message: str, key: bool, pace: bool) -> None:
    assert (names_key(message), names_pace(message)) == (key, pace)


@pytest.mark.parametrize("said", [True, False])
def test_what_a_403_stands_for(said: bool) -> None:
    about: Any = {"counts": 403, "status": 403, "headers": {}, "said": said}
    slow = refusal("Too many requests", **about)
    assert (type(slow), slow.message, slow.status) == (RateLimited, "Too many requests", 403)
    other = refusal("no", **about)
    assert (type(other), other.message, other.status) == (Refused if said else Unavailable, "no", 403)
