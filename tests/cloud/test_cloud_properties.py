"""Whatever bytes come back, every call ends in a value or in a ``CloudError``."""

from __future__ import annotations

import json
import random

import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleetd.cloud.core.api import CoreApi
from fleetd.cloud.core.cloud import CoreCloud
from fleetd.cloud.core.errors import classify
from fleetd.cloud.port import MachineChange
from fleetd.cloud.retry import RetryPolicy
from fleetd.cloud.text import LONGEST, presentable
from fleetd.model.errors import CloudError, RateLimited, Refused
from tests.support.clients import core_client
from tests.support.core_page import LISTED, SHOWN, UTILIZATION
from tests.support.scripted_server import CLOSE, RESET, answer, scripted
from tests.support.virtual_time import run_virtual

KEY = "k3y-0f-the-t3st"

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
"""Any JSON."""


def distorted(example):
    """The vendor's example with some fields replaced or missing."""
    odd = st.dictionaries(st.sampled_from(sorted(example)), JSON, max_size=4)
    lost = st.sets(st.sampled_from(sorted(example)), max_size=3)
    return st.builds(lambda new, gone: {k: v for k, v in {**example, **new}.items() if k not in gone}, odd, lost)


MACHINE = distorted(SHOWN) | distorted(LISTED)
BODIES = (
    (JSON | MACHINE | st.lists(MACHINE, max_size=3) | distorted(UTILIZATION)).map(lambda c: json.dumps(c).encode())
    | st.binary(max_size=60)
    | st.just(b"[" * 20_000)
    | st.just(b"9" * 6_000)
)
STATUSES = st.sampled_from([200, 201, 204, 301, 304, 400, 401, 404, 408, 418, 429, 500, 503]) | st.integers(200, 599)
HEADERS = st.dictionaries(
    st.sampled_from(["Retry-After", "Date", "Location", "Content-Encoding"]),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)
    | st.sampled_from(["gzip", "deflate", "1"]),
    max_size=2,
)
SAID = (
    st.builds(lambda status, body, headers: answer(status, body=body, headers=headers), STATUSES, BODIES, HEADERS)
    | st.binary(min_size=1, max_size=80)
    | st.builds(
        lambda head, body: b"HTTP/1.1 " + head + b"\r\n\r\n" + body, st.binary(max_size=40), st.binary(max_size=40)
    )
    | st.sampled_from([RESET, CLOSE])
)
CALLS = {
    "list": lambda cloud, _api: cloud.list_machines(),
    "show": lambda cloud, _api: cloud.show("ps1"),
    "create": lambda cloud, _api: cloud.create("n", {"size": 50}),
    "start": lambda cloud, _api: cloud.start("ps1"),
    "stop": lambda cloud, _api: cloud.stop("ps1"),
    "restart": lambda cloud, _api: cloud.restart("ps1"),
    "destroy": lambda cloud, _api: cloud.destroy("ps1"),
    "update": lambda cloud, _api: cloud.update("ps1", MachineChange(snapshot_keep=3)),
    "utilization": lambda cloud, _api: cloud.utilization("ps1", "2022-03"),
    "availability": lambda _cloud, api: api.availability("r", "P4000"),
    "raw list": lambda _cloud, api: api.list({"machineType": "P4000"}),
    "raw stop": lambda _cloud, api: api.stop("ps1"),
    "wait_for": lambda _cloud, api: api.wait_for("ps1", "ready", timeout=20.0),
    "templates": lambda _cloud, api: api.templates(),
}


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(call=st.sampled_from(sorted(CALLS)), said=SAID)
def test_no_answer_raises_anything_but_a_cloud_error(call, said):
    async def ask():
        async with scripted(said) as server:
            client = core_client(
                server.url, lambda: KEY, rng=random.Random(1), retries=RetryPolicy(attempts=2, first_wait=0.1)
            )
            try:
                return await CALLS[call](CoreCloud(client), CoreApi(client))
            except CloudError as e:
                return e
            finally:
                await client.aclose()

    with structlog.testing.capture_logs():
        outcome = run_virtual(ask)
    if isinstance(outcome, CloudError):
        assert outcome.operation
        assert len(outcome.message) <= 2 * LONGEST + 100
        assert outcome.message.isprintable()
        assert isinstance(getattr(outcome, "retry_after", None), float | None)


@settings(max_examples=300, deadline=None)
@given(status=st.integers(100, 999), headers=HEADERS, body=BODIES)
def test_classify_is_total(status, headers, body):
    error = classify(status, headers, body)
    assert isinstance(error, CloudError)
    if status == 429:
        assert isinstance(error, RateLimited)
    if status == 404:
        assert not isinstance(error, Refused)
    assert 100 <= (error.status or 0) <= 999


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=500), st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=3, max_size=20))
def test_presentable_shows_one_line_without_the_key(text, key):
    shown = presentable(f"{text}{key}{text}", secrets=(key,))
    assert len(shown) <= LONGEST
    assert not shown or shown.isprintable()
    assert key not in shown or key in "***…"
