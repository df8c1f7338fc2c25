"""SIGSTOP on a virtual-time loop: nothing of some of its contexts runs until it may, as of a process that is paused.

    loop.stillness.begin(lambda context: context.get(LIFE) is life)   # what it is called by ends it
    loop.stillness.end(...)

What was sent to it waits in the sockets, its timers ring when it runs on, and time goes by without it.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable
from typing import Any

Belongs = Callable[[contextvars.Context], bool]


class Stillness:
    """Which contexts stand still on a loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop: Any = loop
        self._still: list[Belongs] = []
        self._kept: list[asyncio.Handle] = []

    def begin(self, belongs: Belongs) -> None:
        """Let nothing run whose context ``belongs``; the callback that runs now goes on to its end."""
        self._still.append(belongs)
        if len(self._still) == 1:
            self._loop._ready = _Gate(self._loop._ready, self)

    def end(self, belongs: Belongs) -> None:
        """Let it run on."""
        if belongs not in self._still:
            return
        self._still.remove(belongs)
        kept, self._kept = self._kept, []
        everything = [*self._loop._ready, *kept]
        self._loop._ready = _Gate(everything, self) if self._still else deque(everything)

    def awake(self, events: list[tuple[Any, int]]) -> list[tuple[Any, int]]:
        """Those events of the selector that somebody may see."""
        if not self._still:
            return events
        return [event for event in events if not any(h is not None and self.keeps(h) for h in _handles(event[0]))]

    def keeps(self, handle: asyncio.Handle) -> bool:
        """Whether a callback may not run now."""
        context: contextvars.Context = handle._context  # type: ignore[attr-defined]
        return any(belongs(context) for belongs in self._still)

    def keep(self, handle: asyncio.Handle) -> None:
        """It runs later."""
        self._kept.append(handle)


class _Gate(deque[asyncio.Handle]):
    """What is ready, in place of the loop's own queue."""

    def __init__(self, handles: Any, stillness: Stillness) -> None:
        super().__init__(handles)
        self._stillness = stillness

    def popleft(self) -> asyncio.Handle:
        handle = super().popleft()
        if handle.cancelled() or not self._stillness.keeps(handle):
            return handle
        self._stillness.keep(handle)
        return _NOTHING


class _Nothing:
    _cancelled = True


_NOTHING: Any = _Nothing()


def _handles(key: Any) -> tuple[asyncio.Handle | None, ...]:
    return key.data if isinstance(key.data, tuple) else ()
