"""A large account as the engine lists it, beside a plain script that fetches each page and decodes it once.

The engine reads every page twice, because a listing that moves while it is read may lack a machine (decisions 0012
and 0021); the script's figure for two readings is given as well.
"""

from __future__ import annotations

import gc
import json
import logging
import random
import sys
from collections.abc import Callable

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


async def by_engine(url: str, dialect: str, machines: int) -> None:
    """As a pass reads it, without waiting for a rate."""
    limits = HttpLimits(max_requests_per_second=100_000)
    cloud = DIALECTS[dialect].open_cloud(url, lambda: "key", rng=random.Random(1), limits=limits)
    listing = await cloud.list_machines()
    await cloud.aclose()
    if not listing.complete or len(listing.machines) != machines:
        raise RuntimeError(f"{len(listing.machines)} machines, {listing.problem}")


async def by_script(url: str, dialect: str, machines: int, readings: int = 1) -> None:
    """One connection, page after page, one decode each."""
    async with aiohttp.ClientSession() as session:
        for _ in range(readings):
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
    ways: dict[str, Callable[[], object]] = {
        "engine": lambda: anyio.run(by_engine, url, dialect, machines),
        "once": lambda: anyio.run(by_script, url, dialect, machines),
        "twice": lambda: anyio.run(by_script, url, dialect, machines, 2),
    }
    took: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(turns + 1):
        for name, work in ways.items():
            gc.collect()
            spent = seconds(work)
            took[name] += [spent] if turn else []
    return took


def figures(*, machines: int = MANY, turns: int = 3) -> list[Figure]:
    """Core and v1."""
    found = []
    for dialect, name in NAMES.items():
        with served(dialect, machines) as url:
            took = in_process("tests.bench.listings", url, dialect, machines, turns)
        engine, once, twice = (Times(took[key]) for key in ("engine", "once", "twice"))
        against = Turns(engine, once)
        words = f"{against.words}, {engine.median / twice.median:.1f} against both readings; {engine.words}"
        found.append(Figure("list", name, against.ratio, words))
    return found


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    gc.set_threshold(COLLECT_AFTER, 10, 10)  # as the command line has it
    print(json.dumps(compare(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
