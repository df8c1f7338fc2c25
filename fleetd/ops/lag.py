"""How late the event loop is: everything else waits as long as its timers do."""

from __future__ import annotations

from collections.abc import Callable

import anyio

EVERY = 1.0
"""Seconds between two measurements."""


async def watch_lag(tell: Callable[[float], None], *, every: float = EVERY) -> None:
    """Tell how many seconds late a timer was, for ever."""
    while True:
        due = anyio.current_time() + every
        await anyio.sleep(every)
        tell(max(0.0, anyio.current_time() - due))
