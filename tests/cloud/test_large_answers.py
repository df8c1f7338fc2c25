"""Neither memory nor the loop's time grows with what a provider answers, packed or not."""

from __future__ import annotations

import asyncio
import gzip
import random
import time
import tracemalloc
import zlib

import pytest

from fleetd.cloud.calls import HttpLimits
from fleetd.cloud.core.cloud import CoreCloud
from fleetd.cloud.http import BODY_LIMIT
from fleetd.cloud.paperspace.cloud import PaperspaceCloud
from fleetd.cloud.retry import RetryPolicy
from fleetd.model.errors import CloudError, MalformedAnswer
from tests.support.clients import core_client, paperspace_client
from tests.support.scripted_server import answer, scripted

MACHINE = b'{"id":"ps%d","name":"n","state":"off"}'
BODIES = {
    "brackets": b"[" * (4 * BODY_LIMIT),
    "braces": b'{"a":' * BODY_LIMIT,
    "a million tiny machines": b"[" + b",".join(MACHINE % n for n in range(1_000_000)) + b"]",
    "many tiny machines": b"[" + b",".join(MACHINE % n for n in range(100_000)) + b"]",
    "empty objects": b"[" + b"{}," * 2_000_000 + b"{}]",
    "nulls": b"[" + b"null," * 2_000_000 + b"null]",
    "one long name": b'[{"id":"ps1","state":"off","name":"' + b"x" * (BODY_LIMIT - 100) + b'"}]',
    "one long number": b'[{"id":' + b"9" * (BODY_LIMIT - 100) + b"}]",
    "an odd number among many": b"[" + b",".join([MACHINE % n for n in range(40_000)] + [b"1e999"]) + b"]",
    "spaces": b" " * (2 * BODY_LIMIT),
    "nothing that is JSON": b"x" * (2 * BODY_LIMIT),
}
PACKINGS = {
    "as it is": (lambda body: body, {}),
    "gzip": (lambda body: gzip.compress(body, 1), {"Content-Encoding": "gzip"}),
}
MOST_MEMORY = 12 * BODY_LIMIT
"""Bytes at the worst: the answer, and its values."""
LONGEST_BLOCK = 1.0
"""Seconds, on a machine that has other things to do."""


async def longest_block(done: asyncio.Event) -> float:
    worst = 0.0
    while not done.is_set():
        began = time.thread_time()
        await asyncio.sleep(0)
        worst = max(worst, time.thread_time() - began)
    return worst


@pytest.mark.parametrize(("pack", "headers"), PACKINGS.values(), ids=PACKINGS.keys())
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
async def test_what_one_answer_costs(body, pack, headers):
    said = answer(200, body=pack(body), headers=headers)
    limits = HttpLimits(request_timeout=60)
    async with scripted(said) as server:
        client = core_client(server.url, lambda: "k3y", rng=random.Random(1), limits=limits, retries=RetryPolicy(1))
        done = asyncio.Event()
        watch = asyncio.create_task(longest_block(done))
        tracemalloc.start()
        try:
            outcome = await CoreCloud(client).list_machines()
        except CloudError as e:
            outcome = e
        finally:
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            done.set()
            blocked = await watch
            await client.aclose()
    print(f"peak {peak / 1e6:.0f} MB, blocked {blocked:.2f} s, {type(outcome).__name__}")
    assert peak < MOST_MEMORY
    assert blocked < 10 * LONGEST_BLOCK, "traced, everything is slow"
    if isinstance(outcome, CloudError):
        assert isinstance(outcome, MalformedAnswer)


@pytest.mark.parametrize(
    "said",
    [b"no gzip at all", gzip.compress(b"[]")[:-9], gzip.compress(b"[1]")[:12]],
    ids=["no gzip", "cut at the end", "cut in the middle"],  # gzip writes the time: workers must agree on the names
)
@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "gzip, gzip"])
async def test_what_cannot_be_unpacked_is_no_answer(said, coding):
    async with scripted(answer(200, body=said, headers={"Content-Encoding": coding})) as server:
        client = paperspace_client(server.url, lambda: "k3y", rng=random.Random(1), retries=RetryPolicy(1))
        with pytest.raises(CloudError):
            await PaperspaceCloud(client).list_machines()
        await client.aclose()


@pytest.mark.parametrize(
    ("pack", "headers"),
    [*PACKINGS.values(), (lambda body: zlib.compress(body, 1), {"Content-Encoding": "deflate"})],
    ids=[*PACKINGS.keys(), "deflate"],
)
async def test_a_packed_answer_is_read(pack, headers):
    body = b"[" + b",".join(MACHINE % n for n in range(999)) + b"]"
    async with scripted(answer(200, body=pack(body), headers=headers)) as server:
        client = core_client(server.url, lambda: "k3y", rng=random.Random(1))
        assert len((await CoreCloud(client).list_machines()).machines) == 999
        await client.aclose()
