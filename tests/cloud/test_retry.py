from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest

from fleetd.cloud.retry import LONGEST_RETRY_AFTER, RetryPolicy, retry_after

NOW = datetime(2030, 3, 5, 10, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": ""}, None),
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": " 2.5 "}, 2.5),
        ({"Retry-After": "0"}, 0.0),
        ({"Retry-After": "-5"}, 0.0),
        ({"Retry-After": "1e300"}, LONGEST_RETRY_AFTER),
        ({"Retry-After": "inf"}, LONGEST_RETRY_AFTER),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "Tue, 05 Mar 2030 10:00:30 GMT"}, 30.0),
        ({"Retry-After": "Tue, 05 Mar 2030 09:00:00 GMT"}, 0.0),
        ({"Retry-After": "Tue, 05 Mar 2030 12:00:30 +0200"}, 30.0),
        ({"Retry-After": "Tue, 05 Mar 2030 10:00:30 -0000"}, 30.0),
        ({"Retry-After": "Wed, 01 Jan 2031 00:00:00 GMT"}, LONGEST_RETRY_AFTER),
        ({"Retry-After": "Tue, 45 Mar 2030 10:00:30 GMT"}, None),
        (
            {"Retry-After": "Fri, 01 Jan 2021 00:00:20 GMT", "Date": "Fri, 01 Jan 2021 00:00:00 GMT"},
            20.0,
        ),
        ({"Retry-After": "Tue, 05 Mar 2030 10:00:30 GMT", "Date": "yesterday"}, 30.0),
    ],
)
def test_retry_after(headers, seconds):
    assert retry_after(headers, NOW) == seconds


@pytest.mark.parametrize(
    ("attempt", "asked", "least", "most"),
    [
        (1, None, 0.25, 0.5),
        (2, None, 0.5, 1.0),
        (3, None, 1.0, 2.0),
        (5, None, 4.0, 8.0),
        (50, None, 4.0, 8.0),
        (10_000, None, 4.0, 8.0),
        (1, 0.0, 0.25, 0.5),
        (1, 30.0, 30.0, 30.5),
        (5, 1.0, 4.0, 8.0),
    ],
)
def test_wait(attempt, asked, least, most):
    rng = random.Random(7)
    waits = [RetryPolicy().wait(attempt, asked, rng) for _ in range(200)]
    assert least <= min(waits)
    assert max(waits) <= most
    assert len(set(waits)) > 100
