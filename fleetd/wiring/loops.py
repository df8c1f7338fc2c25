"""The event loop on which fleetd acts: its clock goes on while the machine sleeps.

Python's own stands still then. A look of hours ago would be one of a moment ago, and the call that waited behind it
would leave on waking.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

T = TypeVar("T")


def run_awake(main: Callable[[], Awaitable[T]]) -> T:
    """As ``anyio.run``, on such a loop."""
    return anyio.run(main, backend_options={"loop_factory": _AwakeLoop})


def since_boot() -> float:
    """Seconds since the machine was started, with those that it slept (CLOCK_BOOTTIME); nobody sets this clock."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


async def watch_lag(tell: Callable[[float], None], *, every: float = 1.0) -> None:
    """Tell how many seconds late a timer of ``every`` seconds was, for ever: everything else waits as long."""
    while True:
        due = anyio.current_time() + every
        await anyio.sleep(every)
        tell(max(0.0, anyio.current_time() - due))


class _AwakeLoop(asyncio.SelectorEventLoop):
    def time(self) -> float:
        return since_boot()
