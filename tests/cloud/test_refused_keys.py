"""A refused key is a 401 or words that name the key; any other 403 is no reason to call a person for the key."""

from __future__ import annotations

import json
import random

import pytest

from fleetd.cloud.core.cloud import CoreCloud
from fleetd.cloud.paperspace.cloud import PaperspaceCloud
from fleetd.cloud.refusals import names_key
from fleetd.cloud.retry import RetryPolicy
from fleetd.model.errors import (
    Ambiguous,
    AskHuman,
    CloudError,
    RateLimited,
    Refused,
    RetryLater,
    Unauthorized,
    Unavailable,
)
from tests.support.clients import core_client, paperspace_client
from tests.support.scripted_server import answer, scripted
from tests.support.virtual_time import run_virtual

KEYS = (Unauthorized,) * 3
GATEWAY = (Unavailable, Ambiguous, Ambiguous)
PACE = (RateLimited, RateLimited, Ambiguous)
DECLINED = (Unavailable, Refused, Refused)
HTML = b"<html><head><title>403 Forbidden</title></head><body>nginx</body></html>"


def core(message, status=403):
    return json.dumps({"error": {"name": "Error", "status": status, "message": message}}).encode()


def v1(message, code="FORBIDDEN"):
    return json.dumps({"code": code, "message": message}).encode()


ANSWERS = {
    "core: a rate limit": ("core", 403, b'{"message": "Rate limit exceeded, slow down", "status": 403}', PACE),
    "core: a rate limit of the key": ("core", 403, core("API key exceeded its rate limit"), PACE),
    "core: nothing": ("core", 403, b"", GATEWAY),
    "core: a proxy's page": ("core", 403, HTML, GATEWAY),
    "core: a firewall's JSON": ("core", 403, b'{"reason": "blocked"}', GATEWAY),
    "core: not allowed": ("core", 403, core("Only a team administrator can do this"), DECLINED),
    "core: not allowed, in a 400": ("core", 400, core("Only a team administrator can do this"), DECLINED),
    "core: the key, in a 400": ("core", 400, core("Invalid API token", 400), KEYS),
    "core: the key": ("core", 403, core("The API key has been revoked"), KEYS),
    "core: the key, in plain text": ("core", 403, b"invalid token", KEYS),
    "core: 401": ("core", 401, b"", KEYS),
    "core: 401 of a proxy": ("core", 401, HTML, KEYS),
    "core: 401 in a 403": ("core", 403, core("no", 401), KEYS),
    "v1: a rate limit": ("v1", 403, v1("Rate limit exceeded, slow down"), PACE),
    "v1: nothing": ("v1", 403, b"", GATEWAY),
    "v1: a proxy's page": ("v1", 403, HTML, GATEWAY),
    "v1: FORBIDDEN": ("v1", 403, v1("Only a team administrator can do this"), DECLINED),
    "v1: FORBIDDEN in a 200": ("v1", 200, v1("Only a team administrator can do this"), DECLINED),
    "v1: FORBIDDEN for the key": ("v1", 403, v1("Your API key is disabled"), KEYS),
    "v1: UNAUTHORIZED": ("v1", 401, v1("no", "UNAUTHORIZED"), KEYS),
    "v1: UNAUTHORIZED in a 403": ("v1", 403, v1("no", "UNAUTHORIZED"), KEYS),
    "v1: UNAUTHORIZED in a 200": ("v1", 200, v1("no", "UNAUTHORIZED"), KEYS),
    "v1: 401": ("v1", 401, b"", KEYS),
}
CALLS = {
    "list": (0, lambda cloud: cloud.list_machines()),
    "show": (0, lambda cloud: cloud.show("ps1")),
    "stop": (1, lambda cloud: cloud.stop("ps1")),
    "destroy": (1, lambda cloud: cloud.destroy("ps1")),
    "create": (2, lambda cloud: cloud.create("n", {})),
    "restart": (2, lambda cloud: cloud.restart("ps1")),
}


@pytest.mark.parametrize(("dialect", "status", "said", "kinds"), ANSWERS.values(), ids=ANSWERS.keys())
@pytest.mark.parametrize("call", CALLS)
def test_what_a_refusal_is_to_each_call(dialect, status, said, kinds, call):
    column, make = CALLS[call]

    async def ask():
        async with scripted(answer(status, body=said)) as server:
            opened, kind = (core_client, CoreCloud) if dialect == "core" else (paperspace_client, PaperspaceCloud)
            retries = RetryPolicy(attempts=2, first_wait=0.1)
            cloud = kind(opened(server.url, lambda: "k3y", rng=random.Random(1), retries=retries))
            try:
                return await make(cloud)
            except CloudError as e:
                return e
            finally:
                await cloud.aclose()

    found = run_virtual(ask)
    assert type(found) is kinds[column], found
    if column == 0 and kinds is not KEYS:
        assert isinstance(found, RetryLater), "the daemon keeps trying"
    assert isinstance(found, AskHuman) is (kinds[column] in {Unauthorized, Refused})


@pytest.mark.parametrize(
    "message",
    [
        "Unrecognized key(s) in object: 'foo'",
        "script token missing",
        "SSH key not found",
        "duplicate key",
        "Forbidden",
    ],
)
def test_other_keys_are_not_the_key(message):
    assert not names_key(message)
