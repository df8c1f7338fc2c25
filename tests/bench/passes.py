"""A pass in which nothing changes, without what its listing costs: ``python -m tests.bench.passes 1000 10 0``."""

from __future__ import annotations

import gc
import json
import logging
import sys
import time
from functools import partial

import anyio
import structlog

from fleetd.cli.app import COLLECT_AFTER
from tests.bench.goals import Figure
from tests.bench.turns import Times, in_process
from tests.support.build import fleet, token_name
from tests.support.fakecloud import FakeCloud
from tests.support.rig import rig
from tests.support.virtual_time import run_virtual, virtual_clock

MANY = 100_000
FLEETS = (1, 100, 1000)


def no_change(machines: int, fleets: int, foreign: int, *, passes: int = 5) -> list[float]:
    """Seconds of processor time of each of so many passes, the account at its target."""
    took: list[float] = []
    run_virtual(partial(_story, machines, fleets, foreign, passes, took))
    return took[-passes:]


async def _story(machines: int, fleets: int, foreign: int, passes: int, took: list[float]) -> None:
    cloud = FakeCloud(virtual_clock())
    names = [f"fleet-{n}" for n in range(fleets)]
    for n in range(machines):
        address = f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}"
        cloud.add(token_name(n, names[n % fleets]), machine_type="P4000", private_ip=address)
    for n in range(foreign):
        cloud.add(f"other-{n}", machine_type="P4000")
    wanted = [fleet(name, target=len(range(n, machines, fleets))) for n, name in enumerate(names)]
    async with rig(*wanted, cloud=cloud) as world, world.passes_by_hand():
        for _ in range(2 + passes):  # the first learns everything, the second asks what machines cost
            began = time.process_time()
            report = await world.reconciler.run_pass()
            assert not report.plan.actions
            took.append(time.process_time() - began)
            await anyio.sleep(30)


def figures(*, machines: int = MANY, passes: int = 5) -> list[Figure]:
    """Both rows, each case in a process of its own."""
    found = []
    for fleets in FLEETS:
        times = Times(in_process("tests.bench.passes", machines, fleets, 0, passes))
        found.append(Figure("pass", f"{fleets:,} fleets" if fleets > 1 else "1 fleet", times.median, times.words))
    times = Times(in_process("tests.bench.passes", 0, 1000, machines // 10, passes))
    return [*found, Figure("foreign", "", times.median, times.words)]


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    gc.set_threshold(COLLECT_AFTER, 10, 10)  # as the command line has it
    print(json.dumps(no_change(*map(int, sys.argv[1:4]), passes=int(sys.argv[4]))))
