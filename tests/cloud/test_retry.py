from __future__ import annotations

import random
from datetime import UTC, datetime

import anyio
import pytest

from fleetd.cloud.retry import IN_PLACE, LONGEST_RETRY_AFTER, Attempts, RetryPolicy, retry_after
from fleetd.model.errors import (
    Ambiguous,
    CloudError,
    MalformedAnswer,
    NotFound,
    RateLimited,
    Refused,
    Unauthorized,
    Unavailable,
)
from tests.support.virtual_time import virtual

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


def test_the_waits_of_a_policy_are_its_own():
    policy = RetryPolicy(first_wait=2.0, longest_wait=3.0)
    waits = [policy.wait(n, None, random.Random(5)) for n in (1, 2, 9)]
    assert 1.0 <= waits[0] <= 2.0
    assert 1.5 <= waits[1] == waits[2] <= 3.0
    assert 30.0 <= policy.wait(1, 30.0, random.Random(5)) <= 32.0
    assert max(policy.wait(1, 30.0, random.Random(n)) for n in range(50)) > 31.0


def test_while_a_place_is_held_there_is_one_attempt_more_and_no_long_wait():
    assert (IN_PLACE.attempts, IN_PLACE.patience) == (2, 1.0)
    assert RetryPolicy().patience > 10**9


@virtual
async def test_a_calls_time_begins_with_its_first_attempt():
    attempts = Attempts(30.0)
    await anyio.sleep(100)
    assert attempts.left == 30.0
    assert attempts.begin() == 30.0
    await anyio.sleep(12)
    assert attempts.left == attempts.begin() == 18.0
    await anyio.sleep(20)
    assert attempts.left == -2.0


@pytest.mark.parametrize(
    ("error", "hopeful"),
    [
        (Unavailable("x"), True),
        (RateLimited("x"), True),
        (Ambiguous("x"), True),
        (Refused("x"), False),
        (NotFound("x"), False),
        (Unauthorized("x"), False),
        (MalformedAnswer("x"), False),
    ],
)
def test_which_error_may_come_to_another_end(error: CloudError, hopeful: bool):
    attempts = Attempts(30.0)
    assert attempts.hopeful
    assert attempts.settle(error) is error
    assert attempts.hopeful is hopeful


def test_once_an_answer_was_lost_every_other_end_is_ambiguous():
    attempts = Attempts(30.0)
    first, lost = Unavailable("no connection"), Ambiguous("lost", operation="stop")
    assert attempts.settle(first) is first
    assert attempts.settle(lost) is lost
    for n, error in enumerate((NotFound("gone", operation="stop", status=404), Unavailable("down"))):
        settled = attempts.settle(error)
        assert (type(settled), settled.operation, settled.status) == (Ambiguous, error.operation, error.status)
        assert settled.message == f"lost; then: {error.message}"
        assert attempts.hopeful is bool(n)
