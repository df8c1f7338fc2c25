"""A large account as the engine lists it, beside a plain script that fetches each page and decodes it once.

The engine's first look reads every page twice, because a listing that moves while it is read may lack a machine
(decision 0021); those after it read each once (decision 0055). The row is of those; the first is given as well.
"""

from __future__ import annotations

import gc
import json
import logging
import random
import sys
import time

import aiohttp
import anyio
import msgspec
import structlog

from fleetd.cli.app import COLLECT_AFTER
from fleetd.cloud.calls import HttpLimits
from fleetd.cloud.dialects import DIALECTS
from tests.bench.goals import Figure
from tests.bench.replay import served
from tests.bench.turns import Times, Turns, in_process, seconds

MANY = 99_900
"""Machines: a hundred pages on Core, the last of which is not full."""
NAMES = {"paperspace-core": "Core", "paperspace": "v1"}


async def by_engine(url: str, dialect: str, machines: int) -> tuple[float, float]:
    """As passes read it, without waiting for a rate: seconds of processor time of a first look and of another."""
    limits = HttpLimits(max_requests_per_second=100_000)
    cloud = DIALECTS[dialect].open_cloud(url, lambda: "key", rng=random.Random(1), limits=limits)
    took: list[float] = []
    for _ in range(2):
        gc.collect()
        began = time.process_time()
        listing = await cloud.list_machines()
        took.append(time.process_time() - began)
        if not listing.complete or len(listing.machines) != machines:
            raise RuntimeError(f"{len(listing.machines)} machines, {listing.problem}")
        del listing
    await cloud.aclose()
    return took[0], took[1]


async def by_script(url: str, dialect: str, machines: int) -> None:
    """One connection, page after page, one decode each."""
    async with aiohttp.ClientSession() as session:
        pages = core_pages if dialect == "paperspace-core" else v1_pages
        rows = await pages(session, url)
        if len(rows) != machines:
            raise RuntimeError(f"{len(rows)} machines")


async def core_pages(session: aiohttp.ClientSession, url: str) -> list[object]:
    rows: list[object] = []
    while True:
        asked = {"limit": 1000, "skip": len(rows)}
        async with session.get(f"{url}/machines/getMachines", params=asked) as answer:
            page = msgspec.json.decode(await answer.read())
        rows += page
        if len(page) < 1000:
            return rows


async def v1_pages(session: aiohttp.ClientSession, url: str) -> list[object]:
    rows: list[object] = []
    asked = {"limit": "120"}
    while True:
        async with session.get(f"{url}/machines", params=asked) as answer:
            page = msgspec.json.decode(await answer.read())
        rows += page["items"]
        if not page["hasMore"]:
            return rows
        asked["after"] = page["nextPage"]


def compare(url: str, dialect: str, machines: int, turns: int) -> dict[str, list[float]]:
    """Seconds of processor time of each turn; the pages have been asked for once before, so all are made."""
    took: dict[str, list[float]] = {"first": [], "further": [], "script": []}
    for turn in range(turns + 1):
        first, further = anyio.run(by_engine, url, dialect, machines)
        gc.collect()
        script = seconds(lambda: anyio.run(by_script, url, dialect, machines))
        if turn:
            took["first"].append(first)
            took["further"].append(further)
            took["script"].append(script)
    return took


def figures(*, machines: int = MANY, turns: int = 3) -> list[Figure]:
    """Core and v1."""
    found = []
    for dialect, name in NAMES.items():
        with served(dialect, machines) as url:
            took = in_process("tests.bench.listings", url, dialect, machines, turns)
        first, further, script = (Times(took[key]) for key in ("first", "further", "script"))
        against = Turns(further, script)
        words = f"{against.words}; {further.words}; a first look {first.median / script.median:.1f}"
        found.append(Figure("list", name, against.ratio, words))
    return found


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    gc.set_threshold(COLLECT_AFTER, 10, 10)  # as the command line has it
    print(json.dumps(compare(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
